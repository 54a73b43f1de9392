//! Objects that the disk has lost: whatever referred to them waits for them again.

use rusqlite::{OptionalExtension, params};

use super::{Error, Group, counts::RunCounts, wanted};
use crate::{archive::Digest, class::Class};

/// One file whose object is gone.
struct Reference {
    item: i64,
    role: String,
    index: u32,
    url: Option<String>,
    md5: Option<Vec<u8>>,
    job: Option<i64>,
    run: Option<i64>,
}

impl Group<'_> {
    /// Forgets an object that is not on the disk as it was stored, and queues every file that it was. Returns how many.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn lost(&mut self, digest: &Digest) -> Result<usize, Error> {
        let sql = "DELETE FROM objects WHERE sha256 = ? RETURNING bytes";
        let bytes: Option<i64> = self
            .db
            .prepare_cached(sql)?
            .query_row([digest], |row| row.get(0))
            .optional()?;
        let Some(bytes) = bytes else { return Ok(0) };
        self.changes.objects -= 1;
        self.changes.bytes -= bytes;
        // One look at every file: this does not happen twice in a disk's life.
        let mut select = self.db.prepare_cached(
            "SELECT f.item, f.role, f.idx, f.url, f.md5, r.job, (SELECT max(id) FROM runs WHERE job = r.job)
             FROM files f JOIN items i ON i.id = f.item LEFT JOIN runs r ON r.id = i.run
             WHERE f.object = ?",
        )?;
        let rows = select.query_map([digest], |row| {
            Ok(Reference {
                item: row.get(0)?,
                role: row.get(1)?,
                index: row.get(2)?,
                url: row.get(3)?,
                md5: row.get(4)?,
                job: row.get(5)?,
                run: row.get(6)?,
            })
        })?;
        let rows: Vec<Reference> = rows.collect::<Result<_, _>>()?;
        for reference in &rows {
            self.queue_again(reference)?;
        }
        Ok(rows.len())
    }

    fn queue_again(&mut self, file: &Reference) -> Result<(), Error> {
        let Reference {
            item,
            role,
            index,
            url,
            md5,
            ..
        } = file;
        let host = url.as_deref().map(wanted::host_of).unwrap_or_default();
        let (Some(job), Some(run), false) = (file.job, file.run, host.is_empty()) else {
            let sql = "UPDATE files SET state = 'missing', object = NULL, class = ?4 WHERE item = ?1 AND role = ?2 AND idx = ?3";
            let row = params![item, role, index, Class::Storage.word()];
            self.db.prepare_cached(sql)?.execute(row)?;
            return Ok(());
        };
        let sql = "UPDATE files SET state = 'waiting', object = NULL, class = NULL WHERE item = ? AND role = ? AND idx = ?";
        self.db.prepare_cached(sql)?.execute((item, role, index))?;
        let key = wanted::file_key(*item, role, *index, md5.as_deref());
        let queued = self
            .db
            .prepare_cached(
                "INSERT INTO tasks (job, run, kind, key, host, state, item, role, idx, url)
                 VALUES (?1, ?2, 'file', ?3, ?4, 'ready', ?5, ?6, ?7, ?8)
                 ON CONFLICT (job, kind, key) DO UPDATE SET state = 'ready', run = excluded.run, due = 0, tries = 0
                 WHERE tasks.state = 'failed'",
            )?
            .execute(params![job, run, key, host, item, role, index, url])?;
        if queued > 0 {
            self.changes.run(run).add(&RunCounts {
                files_waiting: 1,
                ..RunCounts::default()
            });
            let sql = "UPDATE runs SET ended = NULL, result = NULL WHERE id = ?";
            self.db.prepare_cached(sql)?.execute([run])?;
        }
        Ok(())
    }
}
