//! What nothing refers to: tombstones, and the removal of what they mark.
//!
//! A tombstone is a wait: it says since when nothing refers to an object. Whatever refers to the object again removes its
//! tombstone in the same transaction. **Invariant:** a file is removed only after `deleting` was committed, and its rows
//! go only after the file: a death in between is found and finished.

use rusqlite::params;

use super::{Error, Group, Reader, schema};
use crate::{archive::Digest, clock::Millis};

/// An object that nothing refers to, as far as rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreferenced {
    /// The object.
    pub digest: Digest,
    /// Since when that is known.
    pub since: Option<Millis>,
    /// Whether its removal was begun.
    pub deleting: bool,
}

impl Reader {
    /// Objects in `objects` or `tombstones` that no file of an item refers to.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn unreferenced(&self) -> Result<Vec<Unreferenced>, Error> {
        // One look at each file: SQLite makes an index of them for the time of the query.
        let mut select = self.db.prepare(
            "SELECT o.sha256, t.since, coalesce(t.deleting, 0) FROM (SELECT sha256 FROM objects UNION SELECT sha256 FROM tombstones) o
             LEFT JOIN tombstones t ON t.sha256 = o.sha256
             WHERE o.sha256 NOT IN (SELECT object FROM files WHERE object IS NOT NULL)
             ORDER BY o.sha256",
        )?;
        let rows = select.query_map([], |row| {
            Ok(Unreferenced {
                digest: row.get(0)?,
                since: row.get(1)?,
                deleting: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether the database has the schema of this larder.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn is_current(&self) -> Result<bool, Error> {
        Ok(schema::is_current(&self.db)?)
    }

    /// When the database was made anew by a rebuild, if it ever was.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn rebuilt(&self) -> Result<Option<Millis>, Error> {
        use rusqlite::OptionalExtension;
        let sql = "SELECT value FROM meta WHERE key = 'rebuilt'";
        let text: Option<String> = self.db.query_row(sql, [], |row| row.get(0)).optional()?;
        text.map(|text| {
            text.parse()
                .map_err(|_| Error::Damaged("meta.rebuilt".to_owned()))
        })
        .transpose()
    }

    /// Whether a run of this job that began after `since` has walked its listing to the end.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn walked_since(&self, job: &str, since: Millis) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM runs r JOIN jobs j ON j.id = r.job WHERE j.name = ? AND r.started >= ? AND r.result = 'done'";
        Ok(self.db.prepare(sql)?.exists((job, since))?)
    }
}

impl Group<'_> {
    /// Whatever refers to an object takes its tombstone away.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub(super) fn revive(&mut self, digest: &Digest) -> Result<(), Error> {
        self.db
            .prepare_cached("DELETE FROM tombstones WHERE sha256 = ?")?
            .execute([digest])?;
        Ok(())
    }

    /// Marks objects that nothing refers to. Those that are marked already keep their time.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn bury_objects(&mut self, objects: &[Digest]) -> Result<usize, Error> {
        let mut insert = self.db.prepare_cached(
            "INSERT INTO tombstones (sha256, since) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
        )?;
        let mut marked = 0;
        for digest in objects {
            marked += insert.execute((digest, self.now))?;
        }
        Ok(marked)
    }

    /// Takes the tombstones of these objects away: something refers to them after all.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn unbury(&mut self, objects: &[Digest]) -> Result<(), Error> {
        for digest in objects {
            self.revive(digest)?;
        }
        Ok(())
    }

    /// Begins the removal of those of `objects` that have had their tombstone since before `before`, and that no file of an
    /// item refers to now. Returns these.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn condemn(&mut self, objects: &[Digest], before: Millis) -> Result<Vec<Digest>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT DISTINCT object FROM files WHERE object IS NOT NULL AND object IN (SELECT sha256 FROM tombstones)";
        let mut select = self.db.prepare(sql)?;
        let referred: std::collections::BTreeSet<Digest> = select
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut update = self
            .db
            .prepare_cached("UPDATE tombstones SET deleting = 1 WHERE sha256 = ? AND since <= ?")?;
        let mut condemned = Vec::new();
        for digest in objects {
            if !referred.contains(digest) && update.execute((digest, before))? > 0 {
                condemned.push(*digest);
            }
        }
        Ok(condemned)
    }

    /// Forgets objects whose files are gone.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn forget_objects(&mut self, objects: &[Digest]) -> Result<(), Error> {
        for digest in objects {
            let sql = "DELETE FROM objects WHERE sha256 = ? RETURNING bytes";
            let bytes: Vec<i64> = self
                .db
                .prepare_cached(sql)?
                .query_map([digest], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for bytes in bytes {
                self.changes.objects -= 1;
                self.changes.bytes -= bytes;
            }
            for sql in [
                "DELETE FROM damage WHERE sha256 = ?",
                "DELETE FROM tombstones WHERE sha256 = ?",
            ] {
                self.db.prepare_cached(sql)?.execute(params![digest])?;
            }
        }
        Ok(())
    }
}
