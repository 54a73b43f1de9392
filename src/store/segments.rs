//! The sealed part of the record log as the database has committed it, and lines by their place.

use rusqlite::{Connection, params};

use super::{Error, Reader};
use crate::archive::{Archive, Lines, Segment};

/// Sealings that may happen while the log is opened, before somebody is wrong.
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
        if self.keeps("segments")? {
            all(&self.db)
        } else {
            Ok(Vec::new())
        }
    }

    /// Opens the record log of `archive`: every place that the database has committed by now can be read, whatever another
    /// larder seals meanwhile.
    ///
    /// # Errors
    /// When SQLite refuses, or the log cannot be opened.
    pub fn lines(&self, archive: &Archive) -> Result<Lines, Error> {
        for _ in 0..MOST_SEALINGS {
            let lines = archive.lines(self.segments()?)?;
            // Else what was opened as `current.jsonl` may begin elsewhere.
            if self.base()? == lines.base() {
                return Ok(lines);
            }
        }
        Err(Error::Damaged("the order of the sealed records".to_owned()))
    }

    /// Bytes of the sealed part.
    fn base(&self) -> Result<u64, Error> {
        if !self.keeps("segments")? {
            return Ok(0);
        }
        let mut select = self
            .db
            .prepare_cached("SELECT coalesce(max(base + bytes), 0) FROM segments")?;
        Ok(select
            .query_row([], |row| row.get::<_, i64>(0))?
            .unsigned_abs())
    }
}
