//! A database made anew from what an archive says of itself: objects on the disk, lines of the record log.
//!
//! It is built in a file of its own, without a journal, and is no larder.db before [`Rebuilder::finish`] has put it to
//! rest. What no line says stays unknown: walk positions, the counts of old runs, the queue and its failures. Jobs that were
//! forgotten or renamed are known again under the names that lines have.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use super::{Added, Error, schema, segments};
use crate::{
    archive::{Archive, Digest, FileState, LogLine, Orphan, Segment},
    clock::Millis,
    disk,
};

/// A database under construction.
#[derive(Debug)]
pub struct Rebuilder {
    db: Connection,
    path: PathBuf,
    now: Millis,
    /// What the configuration says of jobs: their site and listing, by name.
    configured: BTreeMap<String, (String, String)>,
    /// Rows of jobs, by name.
    jobs: BTreeMap<String, i64>,
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Objects that records name, and those that were taken over.
    pub objects: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Items.
    pub items: i64,
    /// Objects that records name and that are not on the disk.
    pub missing: i64,
    /// Objects that have another size on the disk than records say.
    pub resized: i64,
}

fn failed(source: rusqlite::Error) -> Error {
    Error::database("build it anew")(source)
}

impl Rebuilder {
    /// Begins a database in the file `path`, which must not exist.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(path: &Path, archive: &Archive, now: Millis) -> Result<Self, Error> {
        let db = schema::open_writer(path)?;
        // Until it is finished it is nobody's: what a crash leaves is thrown away.
        for (name, value) in [
            ("journal_mode", "OFF"),
            ("synchronous", "OFF"),
            ("temp_store", "FILE"),
        ] {
            db.pragma_update(None, name, value).map_err(failed)?;
        }
        db.pragma_update(None, "cache_size", -65_536)
            .map_err(failed)?;
        db.execute_batch(
            "BEGIN; CREATE TEMP TABLE disk (sha256 BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
        )
        .map_err(failed)?;
        let sql = "INSERT INTO meta VALUES ('archive', ?1), ('rebuilt', ?2)";
        db.execute(sql, (archive.id(), now.to_string()))
            .map_err(failed)?;
        Ok(Self {
            db,
            path: path.to_owned(),
            now,
            configured: BTreeMap::new(),
            jobs: BTreeMap::new(),
        })
    }

    /// Says what the configuration knows of a job, for its row, should a line name it.
    pub fn configured(&mut self, job: &str, site: &str, listing: &str) {
        let known = (site.to_owned(), listing.to_owned());
        self.configured.insert(job.to_owned(), known);
    }

    /// Takes over a job that `larder add` keeps: it is nowhere else.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn keep_added(&mut self, added: &Added) -> Result<(), Error> {
        super::added::keep(&self.db, added).map_err(failed)
    }

    /// Notes that an object is on the disk.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn on_disk(&mut self, digest: &Digest, bytes: u64) -> Result<(), Error> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("INSERT INTO disk VALUES (?, ?) ON CONFLICT DO NOTHING")
            .and_then(|mut insert| insert.execute((digest, bytes)))
            .map_err(failed)?;
        Ok(())
    }

    /// Takes in a line of the log, which stands at `place`. Lines come in the order of their numbers.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn line(&mut self, place: u64, line: &LogLine<'_>) -> Result<(), Error> {
        let (Some(site), Some(kind), Some(id)) = (&line.site, &line.kind, &line.id) else {
            // About no item: a run.
            return Ok(());
        };
        let item = (&**site, &**kind, &**id);
        match &*line.line {
            "item" => self.record(place, item, line),
            "gone" => self.gone(item, Some(line.why.as_deref().unwrap_or("gone"))),
            "back" => self.gone(item, None),
            "joined" | "left" => self.member(item, line),
            _ => Ok(()),
        }
        .map_err(failed)
    }

    fn record(
        &mut self,
        place: u64,
        (site, kind, id): (&str, &str, &str),
        line: &LogLine<'_>,
    ) -> rusqlite::Result<()> {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let item: i64 = self
            .db
            .prepare_cached(
                "INSERT INTO items (site, kind, ident, run, rev, digest, place) VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)
                 ON CONFLICT (site, kind, ident) DO UPDATE SET rev = excluded.rev, digest = excluded.digest, place = excluded.place
                 RETURNING id",
            )?
            .query_row(params![site, kind, id, line.rev, line.digest, place], |row| row.get(0))?;
        if line.rev > 1 {
            // The newest record alone says what files the item has; the objects of all are kept.
            self.db
                .prepare_cached("DELETE FROM files WHERE item = ?")?
                .execute([item])?;
        }
        let seen = self.seen(line);
        for file in &line.files {
            self.file(item, file, seen)?;
        }
        Ok(())
    }

    fn file(&mut self, item: i64, file: &FileState, seen: Millis) -> rusqlite::Result<()> {
        let md5 = file.md5.as_ref().and_then(|md5| hex::decode(md5).ok());
        let state = if file.sha256.is_some() {
            "held"
        } else {
            "missing"
        };
        self.db
            .prepare_cached(
                "INSERT INTO files (item, role, idx, state, url, md5, object, class, etag, modified, unverified)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                item,
                file.role,
                file.index,
                state,
                file.url,
                md5,
                file.sha256,
                file.missing,
                file.etag,
                file.last_modified,
                file.unverified_length
            ])?;
        let Some(digest) = file.sha256 else {
            return Ok(());
        };
        // Of an object whose newer version could not be had, the site's md5 is that of the newer.
        let md5 = md5.filter(|_| file.missing.is_none());
        let bytes = file.bytes.and_then(|bytes| i64::try_from(bytes).ok());
        self.db
            .prepare_cached(
                "INSERT INTO objects (sha256, bytes, media, md5, added) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (sha256) DO UPDATE SET md5 = excluded.md5 WHERE objects.md5 IS NULL AND excluded.md5 IS NOT NULL",
            )?
            .execute(params![digest, bytes.unwrap_or(0), file.media, md5, seen])?;
        Ok(())
    }

    fn gone(
        &mut self,
        (site, kind, id): (&str, &str, &str),
        why: Option<&str>,
    ) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "UPDATE items SET gone = ?4 WHERE site = ?1 AND kind = ?2 AND ident = ?3",
            )?
            .execute((site, kind, id, why))?;
        Ok(())
    }

    /// When a line was written.
    fn seen(&self, line: &LogLine<'_>) -> Millis {
        let seen: Option<jiff::Timestamp> = line.seen.as_deref().and_then(|seen| seen.parse().ok());
        seen.map_or(self.now, jiff::Timestamp::as_millisecond)
    }

    /// An item has joined a job, or has left it. It may have joined before its own record was complete.
    fn member(
        &mut self,
        (site, kind, id): (&str, &str, &str),
        line: &LogLine<'_>,
    ) -> rusqlite::Result<()> {
        let Some(name) = line.job.as_deref() else {
            return Ok(());
        };
        let (job, seen) = (self.job(name)?, self.seen(line));
        let sql = "INSERT INTO items (site, kind, ident, run) VALUES (?, ?, ?, 0)
                   ON CONFLICT (site, kind, ident) DO UPDATE SET run = 0 RETURNING id";
        let item: i64 = self
            .db
            .prepare_cached(sql)?
            .query_row((site, kind, id), |row| row.get(0))?;
        if line.line == "left" {
            let sql = "UPDATE members SET left = ? WHERE job = ? AND item = ?";
            self.db.prepare_cached(sql)?.execute((seen, job, item))?;
            return Ok(());
        }
        // Which run showed it last is unknown: one before all that are to come.
        let run = (!line.followed).then_some(0);
        self.db
            .prepare_cached(
                "INSERT INTO members (job, item, joined, run) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (job, item) DO UPDATE SET joined = excluded.joined, run = excluded.run, left = NULL",
            )?
            .execute((job, item, seen, run))?;
        Ok(())
    }

    /// The row of a job. Of one that the configuration does not know, nothing but the name is known until it runs again.
    fn job(&mut self, name: &str) -> rusqlite::Result<i64> {
        if let Some(row) = self.jobs.get(name) {
            return Ok(*row);
        }
        let (site, listing) = self.configured.get(name).cloned().unwrap_or_default();
        let sql = "INSERT INTO jobs (name, site, listing, params, walk) VALUES (?, ?, ?, '', '') RETURNING id";
        let row = self
            .db
            .prepare_cached(sql)?
            .query_row((name, site, listing), |row| row.get(0))?;
        self.jobs.insert(name.to_owned(), row);
        Ok(row)
    }

    /// The objects on the disk that no line names.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn orphans(&self) -> Result<Vec<Digest>, Error> {
        let sql = "SELECT sha256 FROM disk d WHERE NOT EXISTS (SELECT 1 FROM objects o WHERE o.sha256 = d.sha256)";
        let mut select = self.db.prepare(sql).map_err(failed)?;
        let rows = select.query_map([], |row| row.get(0)).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// Takes over an object that no line names.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn adopt(&mut self, orphan: &Orphan) -> Result<(), Error> {
        let bytes = i64::try_from(orphan.bytes).unwrap_or(i64::MAX);
        let row = params![orphan.digest, bytes, orphan.media, orphan.md5, self.now];
        self.db
            .prepare_cached(
                "INSERT INTO objects (sha256, bytes, media, md5, added) VALUES (?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| insert.execute(row))
            .map_err(failed)?;
        Ok(())
    }

    /// Completes the database: what is damaged, the sums, and how far the log goes. It is whole and on the disk when this
    /// returns, in one file.
    ///
    /// # Errors
    /// When SQLite or the disk refuses.
    pub fn finish(
        self,
        sealed: &[Segment],
        log_bytes: u64,
        log_seq: u64,
        records: u64,
    ) -> Result<Contents, Error> {
        let contents = self.complete(sealed, log_bytes, log_seq, records)?;
        let Self { db, path, .. } = self;
        // The writer's own mode, so that the file is as it would be after a run.
        db.pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        db.close().map_err(|(_, error)| failed(error))?;
        let file = std::fs::File::open(&path).map_err(crate::archive::Error::io("open", &path))?;
        disk::sync(&file, &path).map_err(crate::archive::Error::io("sync", &path))?;
        Ok(contents)
    }

    fn complete(
        &self,
        sealed: &[Segment],
        log_bytes: u64,
        log_seq: u64,
        records: u64,
    ) -> Result<Contents, Error> {
        let db = &self.db;
        for segment in sealed {
            segments::add(db, segment)?;
        }
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let meta = "INSERT INTO meta VALUES ('log_bytes', ?), ('log_seq', ?)";
        db.execute(meta, (log_bytes.to_string(), log_seq.to_string()))
            .map_err(failed)?;
        let damage = |sql: &str| {
            let sql = format!("INSERT INTO damage (sha256, kind, found) {sql}");
            let rows = db.execute(&sql, [self.now]).map_err(failed)?;
            Ok::<_, Error>(i64::try_from(rows).unwrap_or(i64::MAX))
        };
        let missing = damage(
            "SELECT sha256, 'missing', ?1 FROM objects o WHERE NOT EXISTS (SELECT 1 FROM disk d WHERE d.sha256 = o.sha256)",
        )?;
        let resized = damage(
            "SELECT sha256, 'corrupt', ?1 FROM objects o JOIN disk d USING (sha256) WHERE d.bytes <> o.bytes",
        )?;
        db.execute(
            "UPDATE totals SET objects = (SELECT count(*) FROM objects), bytes = (SELECT coalesce(sum(bytes), 0) FROM objects),
                               items = (SELECT count(*) FROM items), records = ?",
            [number(records)],
        )
        .map_err(failed)?;
        let sums = "SELECT objects, bytes, items FROM totals";
        let contents = db.query_row(sums, [], |row| {
            Ok(Contents {
                objects: row.get(0)?,
                bytes: row.get(1)?,
                items: row.get(2)?,
                missing,
                resized,
            })
        });
        let contents = contents.map_err(failed)?;
        db.execute_batch("COMMIT; DROP TABLE temp.disk")
            .map_err(failed)?;
        Ok(contents)
    }
}
