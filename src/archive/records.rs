//! The record log: JSON Lines, append-only.
//!
//! Lines gather in memory while a group of writes is under way; [`RecordLog::sync`] makes them durable before the
//! database commits. **Invariant:** the log on disk is never shorter than what the database committed; what is longer is
//! cut back at the start.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Archive, Error, sync_dir};
use crate::disk;

/// Times that a failing write is tried. A write may be, a sync may not.
const WRITES: u32 = 3;

/// The log under way.
#[derive(Debug)]
pub struct RecordLog {
    file: fs::File,
    path: PathBuf,
    /// Bytes that are on disk and counted.
    length: u64,
    pending: Vec<u8>,
    seq: u64,
}

/// A state of the log to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    length: u64,
    pending: usize,
    seq: u64,
}

/// Where a line stands in `current.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Bytes before it.
    pub offset: u64,
}

impl RecordLog {
    /// Opens the log and cuts it back to `committed` bytes, after which the next line gets the number `seq` + 1. What is
    /// cut is kept in a file of the folder `aside`.
    ///
    /// # Errors
    /// When the log is shorter than the database says: then something removed records.
    pub fn open(archive: &Archive, aside: &Path, committed: u64, seq: u64) -> Result<Self, Error> {
        let path = archive.log_path();
        let file = disk::open(&path).map_err(Error::io("open", &path))?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        if length < committed {
            return Err(Error::Identity(format!(
                "{} has {length} bytes, but the database has committed {committed}: records are missing; restore the file \
                 from a backup",
                path.display()
            )));
        }
        if length > committed {
            // A crash leaves a group's lines at most; a database put back from a backup, all that came after it. They are
            // kept beside the database, whichever it was.
            let kept = aside.join(format!("uncommitted-{committed}-{length}.jsonl"));
            keep_tail(&file, committed, &kept).map_err(Error::io("write", &kept))?;
            tracing::warn!(
                bytes = length - committed,
                "Cut back the record log to what the database has committed; what was cut is in {}",
                kept.display()
            );
            file.set_len(committed).map_err(Error::io("cut", &path))?;
            disk::sync(&file, &path).map_err(Error::io("sync", &path))?;
        }
        sync_dir(path.parent().expect("the log is in records/"))?;
        Ok(Self {
            file,
            path,
            length: committed,
            pending: Vec::new(),
            seq,
        })
    }

    /// The number that the next line gets.
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Adds a line, whose own `seq` must be [`Self::next_seq`]. It is on disk after [`Self::sync`].
    pub fn append(&mut self, line: &impl Serialize) -> Line {
        let offset = self.length + self.pending.len() as u64;
        serde_json::to_writer(&mut self.pending, line).expect("lines are plain JSON values");
        self.pending.push(b'\n');
        self.seq += 1;
        Line { offset }
    }

    /// A mark to go back to when a write that appended lines fails.
    pub fn mark(&self) -> Mark {
        Mark {
            length: self.length,
            pending: self.pending.len(),
            seq: self.seq,
        }
    }

    /// Forgets the lines added since `mark`, those already on the disk too.
    pub fn back_to(&mut self, mark: Mark) {
        self.pending.truncate(mark.pending);
        self.seq = mark.seq;
        if self.length > mark.length {
            self.length = mark.length;
            self.pending.clear();
        }
    }

    /// Takes off the disk what a write that failed has left of lines that are forgotten. Should that fail too, the next
    /// start does it.
    pub fn trim(&self) {
        if let Err(error) = self.file.set_len(self.length) {
            tracing::debug!(%error, "Could not cut the record log back");
        }
    }

    /// The length and number to commit once [`Self::sync`] has succeeded.
    pub fn end(&self) -> (u64, u64) {
        (self.length + self.pending.len() as u64, self.seq)
    }

    /// Whether lines wait for [`Self::sync`].
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes and syncs the pending lines.
    ///
    /// # Errors
    /// When the disk refuses; the lines stay pending and the group must not be committed. A `write` may be tried again, a
    /// `sync` never: then this log is not to be written any more.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut tries = 1;
        while let Err(error) = disk::write_at(&self.file, &self.path, &self.pending, self.length) {
            let error = Error::io("write", &self.path)(error);
            if tries == WRITES || error.trouble().is_some() {
                return Err(error);
            }
            tries += 1;
        }
        disk::sync(&self.file, &self.path).map_err(Error::io("sync", &self.path))?;
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Copies what follows `from` to a new file and syncs it.
fn keep_tail(mut log: &fs::File, from: u64, to: &Path) -> io::Result<()> {
    let mut file = fs::File::create(to)?;
    log.seek(SeekFrom::Start(from))?;
    io::copy(&mut log, &mut file)?;
    file.sync_all()?;
    to.parent().map_or(Ok(()), disk::sync_dir)
}

/// Reads the line at `line`, without its end.
///
/// # Errors
/// When the log cannot be read there.
pub fn read_line(path: &Path, line: Line) -> Result<String, Error> {
    let mut file = fs::File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::Start(line.offset))
        .map_err(Error::io("read", path))?;
    let mut reader = io::BufReader::with_capacity(1 << 16, file);
    let mut text = String::new();
    io::BufRead::read_line(&mut (&mut reader).take(1 << 28), &mut text)
        .map_err(Error::io("read", path))?;
    text.truncate(text.trim_end_matches('\n').len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_cut_back_to_what_was_committed_and_never_grows_shorter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let mut log = RecordLog::open(&archive, folder.path(), 0, 0).expect("opens");
        log.append(&"one");
        log.sync().expect("syncs");
        let (length, seq) = log.end();
        let second = log.append(&"two");
        log.sync().expect("syncs");
        assert_eq!(
            read_line(&archive.log_path(), second).expect("there"),
            "\"two\""
        );
        let log = RecordLog::open(&archive, folder.path(), length, seq).expect("opens");
        assert_eq!(
            (
                fs::read_to_string(archive.log_path())
                    .expect("there")
                    .as_str(),
                log.next_seq()
            ),
            ("\"one\"\n", 2)
        );
        let kept = folder
            .path()
            .join(format!("uncommitted-{length}-{}.jsonl", 2 * length));
        assert_eq!(
            fs::read_to_string(kept).expect("what was cut is kept"),
            "\"two\"\n"
        );
        assert!(RecordLog::open(&archive, folder.path(), length + 1, seq).is_err());
    }

    #[test]
    fn lines_of_a_failed_write_are_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let mut log = RecordLog::open(&archive, folder.path(), 0, 0).expect("opens");
        log.append(&1);
        let mark = log.mark();
        log.append(&2);
        log.back_to(mark);
        log.append(&3);
        log.sync().expect("syncs");
        assert_eq!(
            fs::read_to_string(archive.log_path()).expect("there"),
            "1\n3\n"
        );
    }
}
