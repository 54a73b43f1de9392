//! A file's end: its object and its references in one act, or its failure.

use rusqlite::{OptionalExtension, params};

use super::{Error, Group, Lease, catalog, counts::RunCounts, wanted};
use crate::{archive::Digest, class::Class};

/// A file whose bytes are under their name, waiting to be committed.
#[derive(Debug)]
pub struct FileStored {
    /// The object.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Its media type.
    pub media: Option<String>,
    /// The hash by which the site named it, in lower-case hex; it was right.
    pub named: Option<String>,
    /// The reply's ETag.
    pub etag: Option<String>,
    /// The reply's Last-Modified.
    pub modified: Option<String>,
    /// Whether nothing told how long it is.
    pub unverified: bool,
    /// Bytes that were downloaded; 0 when the object was held already and nothing was asked.
    pub downloaded: u64,
    /// Whether this put created the file, so that its name must be made durable.
    pub put: bool,
}

impl Group<'_> {
    /// Commits a stored file: the object, every reference that waited for it, the task. Returns whether the claim held.
    ///
    /// # Errors
    /// When a row cannot be read or written.
    pub fn file_stored(&mut self, lease: &Lease, file: &FileStored) -> Result<bool, Error> {
        if !self.holds(lease)? {
            return Ok(false);
        }
        let md5 = file
            .named
            .as_ref()
            .and_then(|named| hex::decode(named).ok());
        let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
        // An object without an md5 learns it when a site names one. Nothing is inserted for bytes that nobody brought.
        let new = if file.bytes == 0 {
            0
        } else {
            self
            .db
            .prepare_cached(
                "INSERT INTO objects (sha256, bytes, media, md5, added) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (sha256) DO NOTHING",
            )?
            .execute(params![file.digest, bytes, file.media, md5, self.now])?
        };
        // A new row claims a name whose folder may not be synced yet, whichever put made it.
        if new > 0 || file.put {
            self.shards.insert(file.digest.shard());
        }
        if new == 0 && md5.is_some() {
            self.db
                .prepare_cached("UPDATE objects SET md5 = ?2 WHERE sha256 = ?1 AND md5 IS NULL")?
                .execute(params![file.digest, md5])?;
        }
        if new > 0 {
            self.changes.objects += 1;
            self.changes.bytes += bytes;
        }
        if file.bytes > 0 {
            // Its bytes came, or were read again where they lay.
            self.mended(&file.digest, None)?;
        }
        self.revive(&file.digest)?;
        let items = self.resolve(lease, file, md5.as_deref())?;
        self.db
            .prepare_cached("DELETE FROM tasks WHERE id = ?")?
            .execute([lease.task])?;
        let references = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let stored = i64::from(new > 0 || file.put);
        self.changes.run(lease.run).add(&RunCounts {
            files_waiting: -1,
            stored,
            deduplicated: references - stored,
            bytes: i64::try_from(file.downloaded).unwrap_or(i64::MAX),
            ..RunCounts::default()
        });
        for item in items {
            catalog::finish_if_complete(self, lease.run, item)?;
        }
        Ok(true)
    }

    /// Commits that a file which is held has not changed. Returns whether the claim held.
    ///
    /// # Errors
    /// When a row cannot be read or written.
    pub fn file_unchanged(&mut self, lease: &Lease) -> Result<bool, Error> {
        if !self.holds(lease)? {
            return Ok(false);
        }
        self.keep_old(lease)?;
        Ok(true)
    }

    /// Ends the question whether a held file has changed: it stays as it is.
    fn keep_old(&mut self, lease: &Lease) -> Result<(), Error> {
        let own = "UPDATE files SET state = 'held', class = NULL
                   WHERE (item, role, idx) = (SELECT item, role, idx FROM tasks WHERE id = ?)
                   RETURNING item";
        let item = self
            .db
            .prepare_cached(own)?
            .query_row([lease.task], |row| row.get(0))?;
        self.db
            .prepare_cached("DELETE FROM tasks WHERE id = ?")?
            .execute([lease.task])?;
        self.changes.run(lease.run).add(&RunCounts {
            files_waiting: -1,
            known: 1,
            ..RunCounts::default()
        });
        catalog::finish_if_complete(self, lease.run, item)
    }

    /// Points every file that waited for these bytes to the object; returns their items.
    fn resolve(
        &mut self,
        lease: &Lease,
        file: &FileStored,
        md5: Option<&[u8]>,
    ) -> Result<Vec<i64>, Error> {
        let mut items = Vec::new();
        let own =
            // Validators that were another one's while the bytes are the same prove nothing: they are not asked by again.
            "UPDATE files SET state = 'held', object = ?1, class = NULL, unverified = ?5,
                   etag = CASE WHEN object IS ?1 AND coalesce(etag, modified) IS NOT NULL THEN NULL ELSE ?2 END,
                   modified = CASE WHEN object IS ?1 AND coalesce(etag, modified) IS NOT NULL THEN NULL ELSE ?3 END
                   WHERE (item, role, idx) = (SELECT item, role, idx FROM tasks WHERE id = ?4)
                   RETURNING item";
        let mut statement = self.db.prepare_cached(own)?;
        let rows = statement.query_map(
            params![
                file.digest,
                file.etag,
                file.modified,
                lease.task,
                file.unverified
            ],
            |row| row.get(0),
        )?;
        for row in rows {
            items.push(row?);
        }
        if let Some(md5) = md5 {
            // Uses files_waiting.
            let others = "UPDATE files SET state = 'held', object = ?1, class = NULL WHERE md5 = ?2 AND state = 'waiting' RETURNING item";
            let mut statement = self.db.prepare_cached(others)?;
            for row in statement.query_map(params![file.digest, md5], |row| row.get(0))? {
                items.push(row?);
            }
            // Uses files_missing: another address brought what was given up. Of a gone item there is no draft to mend.
            let mended = "UPDATE files SET state = 'held', object = ?1, class = NULL
                          WHERE md5 = ?2 AND md5 IS NOT NULL AND state = 'missing'
                            AND EXISTS (SELECT 1 FROM items i WHERE i.id = files.item AND i.draft IS NOT NULL)
                          RETURNING item";
            let mut statement = self.db.prepare_cached(mended)?;
            for row in statement.query_map(params![file.digest, md5], |row| row.get(0))? {
                items.push(row?);
            }
        }
        Ok(items)
    }
}

/// A file that is given up: another address of the same bytes gets its turn; without one, its references are missing.
pub(super) fn give_up_file(
    group: &mut Group<'_>,
    lease: &Lease,
    file: (i64, &str, u32),
    class: Class,
) -> Result<Option<String>, Error> {
    let (item, role, index) = file;
    let sql = "SELECT md5, url, object IS NOT NULL AND NOT EXISTS (SELECT 1 FROM damage d WHERE d.sha256 = object)
               FROM files WHERE item = ? AND role = ? AND idx = ?";
    let row = group
        .db
        .prepare_cached(sql)?
        .query_row((item, role, index), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let (md5, url, held): (Option<Vec<u8>>, Option<String>, bool) = row.unwrap_or_default();
    if held {
        // It was only asked whether it has changed. What is held stays, and the next walk asks again.
        group.keep_old(lease)?;
        return Ok(None);
    }
    let missing = "UPDATE files SET state = CASE WHEN object IS NULL THEN 'missing' ELSE 'held' END, class = ?1
                   WHERE item = ?2 AND role = ?3 AND idx = ?4";
    group
        .db
        .prepare_cached(missing)?
        .execute((class.word(), item, role, index))?;
    let mut items = vec![item];
    if let Some(md5) = &md5 {
        let mut same = group.db.prepare_cached(
            "UPDATE files SET state = CASE WHEN object IS NULL THEN 'missing' ELSE 'held' END, class = ?1
             WHERE md5 = ?2 AND state = 'waiting' AND url IS ?3 RETURNING item",
        )?;
        for row in same.query_map(params![class.word(), md5, url], |row| row.get(0))? {
            items.push(row?);
        }
        let other =
            "SELECT item, role, idx, url FROM files WHERE md5 = ? AND state = 'waiting' LIMIT 1";
        let next: Option<(i64, String, u32, Option<String>)> = group
            .db
            .prepare_cached(other)?
            .query_row([md5], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        if let Some((other_item, other_role, other_index, other_url)) = next {
            let host = other_url
                .as_deref()
                .map(wanted::host_of)
                .unwrap_or_default();
            group
                .db
                .prepare_cached(
                    "UPDATE tasks SET state = 'ready', due = 0, tries = 0, item = ?2, role = ?3, idx = ?4, url = ?5, host = ?6 WHERE id = ?1",
                )?
                .execute(params![lease.task, other_item, other_role, other_index, other_url, host])?;
            for item in items {
                catalog::finish_if_complete(group, lease.run, item)?;
            }
            return Ok(Some(host));
        }
    }
    let change = RunCounts {
        files_waiting: -1,
        files_failed: 1,
        ..RunCounts::default()
    };
    group.changes.run(lease.run).add(&change);
    for item in items {
        catalog::finish_if_complete(group, lease.run, item)?;
    }
    Ok(None)
}
