//! What is known of damaged objects, and when each folder of objects was last hashed.
//!
//! Who verifies leaves [`Notes`] without holding the lock, as others leave requests: each row says what was seen and when,
//! and nothing that the writer keeps hangs on it. A row in `damage` outranks `objects`: nothing is deduplicated onto the
//! object, and the next walk that meets it wants it anew.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Error, Group, Reader, Store, schema};
use crate::{
    archive::{Digest, Kind, Orphan, Put, Segment},
    class::Class,
    clock::Millis,
};

/// One damaged object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The object.
    pub digest: Digest,
    /// `missing` or `corrupt`.
    pub kind: String,
    /// What was asked for in vain, the last time that it was, as (address, class, message).
    pub tried: Option<(String, String, String)>,
}

/// What hashing one folder of objects found, as (object, kind).
pub type Checked = (u16, Vec<(Digest, Kind)>);

/// The first and the last digest that belong to a folder of objects.
fn range(shard: u16) -> (Digest, Digest) {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    let [high, low] = (shard << 4).to_be_bytes();
    (first[0], first[1]) = (high, low);
    (last[0], last[1]) = (high, low | 0xf);
    (Digest::new(first), Digest::new(last))
}

/// Leaves what a verification found.
#[derive(Debug)]
pub struct Notes {
    db: Connection,
}

impl Notes {
    /// Opens the database of a state folder to leave notes in it; `None` where there is none, or none of this schema.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(state: &Path) -> Result<Option<Self>, Error> {
        let what = Error::database("leave notes");
        if Reader::open(state)?.is_none() {
            return Ok(None);
        }
        let db = Connection::open(Store::path_in(state)).map_err(&what)?;
        db.busy_timeout(std::time::Duration::from_secs(5))
            .map_err(&what)?;
        // A note that a power cut takes is written again; checkpoints are the writer's.
        for (name, value) in [("synchronous", "NORMAL"), ("wal_autocheckpoint", "0")] {
            db.pragma_update(None, name, value).map_err(&what)?;
        }
        Ok(schema::is_current(&db)
            .map_err(&what)?
            .then_some(Self { db }))
    }

    /// Notes that these folders were hashed at `now`: what is damaged in them, and that nothing else is.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn checked(&mut self, folders: &[Checked], now: Millis) -> Result<(), Error> {
        let what = Error::database("note what was checked");
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&what)?;
        for (shard, damage) in folders {
            note(&tx, *shard, damage, now).map_err(&what)?;
        }
        tx.commit().map_err(&what)
    }
}

fn note(
    db: &Connection,
    shard: u16,
    damage: &[(Digest, Kind)],
    now: Millis,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached("SELECT sha256 FROM damage WHERE sha256 BETWEEN ? AND ?")?;
    let known: Vec<Digest> = select
        .query_map(range(shard), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for healed in known
        .iter()
        .filter(|known| !damage.iter().any(|(found, _)| found == *known))
    {
        db.prepare_cached("DELETE FROM damage WHERE sha256 = ?")?
            .execute([healed])?;
    }
    for (digest, kind) in damage {
        add(db, digest, *kind, now)?;
    }
    let sql = "INSERT INTO checks VALUES (?, ?) ON CONFLICT (shard) DO UPDATE SET at = excluded.at";
    db.prepare_cached(sql)?.execute((shard, now))?;
    Ok(())
}

fn add(db: &Connection, digest: &Digest, kind: Kind, now: Millis) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO damage (sha256, kind, found) VALUES (?, ?, ?)
         ON CONFLICT (sha256) DO UPDATE SET kind = excluded.kind",
    )?
    .execute((digest, kind.word(), now))?;
    Ok(())
}

/// The object with this md5, or other hash by which a site names it, if one is held. It is looked at before it is trusted: one that is not there with its size is
/// noted as damaged.
pub(super) fn held(group: &Group<'_>, md5: &[u8]) -> Result<Option<Digest>, Error> {
    // Uses objects_md5. A SHA-256 is the object's own name, whether a site was ever known to call it so or not.
    let own = if md5.len() == 32 { "sha256" } else { "md5" };
    let mut select = group.db.prepare_cached(&format!(
        "SELECT sha256, bytes FROM objects o
         WHERE {own} = ? AND NOT EXISTS (SELECT 1 FROM damage d WHERE d.sha256 = o.sha256)"
    ))?;
    let rows = select.query_map([md5], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(Digest, i64)> = rows.collect::<Result<_, _>>()?;
    for (digest, bytes) in rows {
        if group.objects.has(&digest, bytes.unsigned_abs()) {
            return Ok(Some(digest));
        }
        tracing::error!(
            "The object {digest} is not on the disk as it was stored; it is fetched anew"
        );
        let there = group.objects.path(&digest).exists();
        let kind = if there { Kind::Corrupt } else { Kind::Missing };
        add(group.db, &digest, kind, group.now)?;
    }
    Ok(None)
}

impl Group<'_> {
    /// Notes that an object is whole: as `put` brought it, or as it was found.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn mended(&mut self, digest: &Digest, put: Option<&Put>) -> Result<(), Error> {
        self.db
            .prepare_cached("DELETE FROM damage WHERE sha256 = ?")?
            .execute([digest])?;
        let Some(put) = put else { return Ok(()) };
        self.shards.insert(digest.shard());
        let bytes = i64::try_from(put.bytes).unwrap_or(i64::MAX);
        let new = self
            .db
            .prepare_cached(
                "INSERT INTO objects (sha256, bytes, media, added) VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
            )?
            .execute(params![digest, bytes, put.media, self.now])?;
        if new > 0 {
            self.changes.objects += 1;
            self.changes.bytes += bytes;
        }
        Ok(())
    }

    /// Notes that a damaged object could not be had from `url`.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn not_mended(
        &mut self,
        digest: &Digest,
        url: &str,
        class: Class,
        message: &str,
    ) -> Result<(), Error> {
        self.db
            .prepare_cached("UPDATE damage SET tried = ?2, url = ?3, class = ?4, message = ?5 WHERE sha256 = ?1")?
            .execute(params![digest, self.now, url, class.word(), message])?;
        Ok(())
    }

    /// Takes over whole objects that the database does not know. Returns how many were new.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn adopt(&mut self, orphans: &[Orphan]) -> Result<usize, Error> {
        let mut insert = self.db.prepare_cached(
            "INSERT INTO objects (sha256, bytes, media, md5, added) VALUES (?, ?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
        )?;
        let mut adopted = 0;
        for orphan in orphans {
            let bytes = i64::try_from(orphan.bytes).unwrap_or(i64::MAX);
            let row = params![orphan.digest, bytes, orphan.media, orphan.md5, self.now];
            if insert.execute(row)? > 0 {
                // A crash may have left its name in the memory of the system alone.
                self.shards.insert(orphan.digest.shard());
                self.changes.objects += 1;
                self.changes.bytes += bytes;
                adopted += 1;
            }
        }
        Ok(adopted)
    }
}

impl Reader {
    /// When each folder of objects was last hashed, for those that ever were.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn checks(&self) -> Result<Vec<(u16, Millis)>, Error> {
        if !self.keeps("checks")? {
            return Ok(Vec::new());
        }
        let mut select = self.db.prepare("SELECT shard, at FROM checks")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The objects that should be in a folder.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn objects_in(&self, shard: u16) -> Result<Vec<Digest>, Error> {
        let sql = self.kept("SELECT sha256 FROM objects o WHERE sha256 BETWEEN ? AND ?")?;
        let mut select = self.db.prepare_cached(&sql)?;
        let rows = select.query_map(range(shard), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether the database knows this object, and does not remove it just now.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn knows(&self, digest: &Digest) -> Result<bool, Error> {
        let sql = self.kept("SELECT 1 FROM objects o WHERE sha256 = ?")?;
        Ok(self.db.prepare_cached(&sql)?.exists([digest])?)
    }

    /// A query of objects `o` that leaves out those whose removal was begun.
    fn kept(&self, sql: &str) -> Result<String, Error> {
        if !self.keeps("tombstones")? {
            return Ok(sql.to_owned());
        }
        let deleting = "SELECT 1 FROM tombstones t WHERE t.sha256 = o.sha256 AND t.deleting = 1";
        Ok(format!("{sql} AND NOT EXISTS ({deleting})"))
    }

    /// The damage that is known.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn damage(&self) -> Result<Vec<Damaged>, Error> {
        if !self.keeps("damage")? {
            return Ok(Vec::new());
        }
        let mut select = self
            .db
            .prepare("SELECT sha256, kind, url, class, message FROM damage ORDER BY sha256")?;
        let rows = select.query_map([], |row| {
            let tried: (Option<String>, Option<String>, Option<String>) =
                (row.get(2)?, row.get(3)?, row.get(4)?);
            Ok(Damaged {
                digest: row.get(0)?,
                kind: row.get(1)?,
                tried: match tried {
                    (Some(url), Some(class), Some(message)) => Some((url, class, message)),
                    _ => None,
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Where damaged objects came from as far as items' files say, as (object, site's id, address).
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn sources_of_damage(&self) -> Result<Vec<(Digest, String, String)>, Error> {
        // One look at each file, however much is damaged.
        let mut select = self.db.prepare(
            "SELECT f.object, i.site, f.url FROM files f JOIN items i ON i.id = f.item
             WHERE f.url IS NOT NULL AND f.object IN (SELECT sha256 FROM damage)",
        )?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What of the record log is committed: its sealed segments, the bytes of all of it, and the number of its last line.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn committed(&self) -> Result<(Vec<Segment>, u64, u64), Error> {
        // One snapshot: sealing changes the one, writing the others.
        let tx = self.db.unchecked_transaction()?;
        let (bytes, seq) = (self.log_number("log_bytes")?, self.log_number("log_seq")?);
        let committed = (self.segments()?, bytes, seq);
        tx.commit()?;
        Ok(committed)
    }

    /// What SQLite's own check of the database says, unless that it is whole.
    ///
    /// # Errors
    /// When SQLite cannot even check.
    pub fn quick_check(&self) -> Result<Option<String>, Error> {
        let what = Error::database("check it");
        let said: String = self
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(what)?;
        Ok((said != "ok").then_some(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_all_digests_that_begin_like_its_name() {
        let (first, last) = range(0xabc);
        assert!(first.to_string().starts_with("abc000") && last.to_string().starts_with("abcfff"));
        assert_eq!((first.shard(), last.shard()), (0xabc, 0xabc));
        assert_eq!((range(0).0.shard(), range(4095).1.shard()), (0, 4095));
        assert!(range(0xabb).1 < first && last < range(0xabd).0);
    }
}
