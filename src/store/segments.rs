//! The sealed part of the record log as the database has committed it, and lines by their place.

use rusqlite::{Connection, params};

use super::{Error, Reader};
use crate::archive::{Archive, Line, LogReader, Segment};

/// Sealings that may happen while one line is read, before somebody is wrong.
const MOST_SEALINGS: u32 = 8;

/// The sealed segments, in order.
pub(super) fn all(db: &Connection) -> Result<Vec<Segment>, Error> {
    let mut select =
        db.prepare_cached("SELECT base, bytes, sha256, last_seq FROM segments ORDER BY base")?;
    let rows = select.query_map([], |row| {
        Ok(Segment {
            base: row.get::<_, i64>(0)?.unsigned_abs(),
            bytes: row.get::<_, i64>(1)?.unsigned_abs(),
            digest: row.get(2)?,
            last_seq: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Commits a segment that is durable under its name.
pub(super) fn add(db: &Connection, segment: &Segment) -> Result<(), Error> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    db.prepare_cached("INSERT INTO segments (base, bytes, sha256, last_seq) VALUES (?, ?, ?, ?)")?
        .execute(params![
            number(segment.base),
            number(segment.bytes),
            segment.digest,
            number(segment.last_seq)
        ])?;
    Ok(())
}

impl Reader {
    /// The sealed segments of the record log, in order.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn segments(&self) -> Result<Vec<Segment>, Error> {
        all(&self.db)
    }

    /// A reader of the lines of `archive`, for [`Self::line`].
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn log(&self, archive: &Archive) -> Result<LogReader, Error> {
        Ok(LogReader::new(archive, self.segments()?))
    }

    /// The line at `place`, such as an item's newest record, wherever it lies now: another larder may seal the log meanwhile.
    ///
    /// # Errors
    /// When the line cannot be read.
    pub fn line(&self, log: &mut LogReader, place: u64) -> Result<String, Error> {
        for _ in 0..MOST_SEALINGS {
            let read = log.read(Line { offset: place });
            // What was read from a `current.jsonl` that began elsewhere is another line, or none.
            if self.base()? == log.base() {
                return Ok(read?);
            }
            log.now_sealed(self.segments()?);
        }
        Err(Error::Damaged("the order of the sealed records".to_owned()))
    }

    /// Bytes of the sealed part.
    fn base(&self) -> Result<u64, Error> {
        let mut select = self
            .db
            .prepare_cached("SELECT coalesce(max(base + bytes), 0) FROM segments")?;
        Ok(select
            .query_row([], |row| row.get::<_, i64>(0))?
            .unsigned_abs())
    }
}
