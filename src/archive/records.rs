//! The record log: JSON Lines, append-only.
//!
//! Lines gather in memory while a group of writes is under way; [`RecordLog::sync`] makes them durable before the
//! database commits. **Invariant:** the log on disk is never shorter than what the database committed; what is longer is
//! cut back at the start.
//!
//! Offsets count through the whole log: its sealed segments, in order, and on into `current.jsonl`.

use std::{
    fs,
    io::{self, BufRead, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Archive, Error, Segment, log::seq_of, sync_dir};
use crate::disk;

/// Times that a failing write is tried. A write may be, a sync may not.
const WRITES: u32 = 3;

/// The log under way.
#[derive(Debug)]
pub struct RecordLog {
    /// `current.jsonl`; none before its first line.
    file: Option<fs::File>,
    path: PathBuf,
    /// Bytes of the sealed segments before it.
    base: u64,
    /// Bytes that are on disk and counted, sealed ones among them.
    length: u64,
    pending: Vec<u8>,
    seq: u64,
    /// From this length on `current.jsonl` is sealed.
    full: u64,
    /// Whether the name of `current.jsonl` may not be durable yet.
    unnamed: bool,
}

/// A state of the log to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    length: u64,
    pending: usize,
    seq: u64,
}

/// Where a line stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Bytes before it.
    pub offset: u64,
}

impl RecordLog {
    /// Opens the log and cuts it back to `committed` bytes, after which the next line gets the number `seq` + 1. What is
    /// cut is kept in a file of the folder `aside`. `sealed` is the last sealed segment that the database knows.
    ///
    /// # Errors
    /// When the log is shorter than the database says: then something removed records. When it does not follow on what is
    /// sealed: then the database is older than the log.
    pub fn open(
        archive: &Archive,
        aside: &Path,
        sealed: Option<&Segment>,
        committed: u64,
        seq: u64,
    ) -> Result<Self, Error> {
        let path = archive.log_path();
        let base = sealed.map_or(0, Segment::end);
        let mut file = open(&path)?;
        let (follows, length) = fits(file.as_ref(), &path, sealed, committed, seq)?;
        if follows == Follows::Repeats {
            file = None;
            archive.drop_sealed()?;
        }
        if let Some(file) = file.as_ref().filter(|_| length > committed) {
            // A crash leaves a group's lines at most; a database put back from a backup, all that came after it. They are
            // kept beside the database, whichever it was.
            let kept = aside.join(format!("uncommitted-{committed}-{length}.jsonl"));
            keep_tail(file, committed - base, &kept).map_err(Error::io("write", &kept))?;
            tracing::warn!(
                bytes = length - committed,
                "Cut back the record log to what the database has committed; what was cut is in {}",
                kept.display()
            );
            file.set_len(committed - base)
                .map_err(Error::io("cut", &path))?;
            disk::sync(file, &path).map_err(Error::io("sync", &path))?;
        }
        sync_dir(path.parent().expect("the log is in records/"))?;
        Ok(Self {
            file,
            path,
            base,
            length: committed,
            pending: Vec::new(),
            seq,
            full: archive.seal_at,
            unnamed: true,
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
        let cut = |file: &fs::File| file.set_len(self.length - self.base);
        if let Some(Err(error)) = self.file.as_ref().map(cut) {
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
        let begun = self.file.is_none();
        if begun {
            let file = disk::open(&self.path).map_err(Error::io("make", &self.path))?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("opened above");
        let mut tries = 1;
        while let Err(error) =
            disk::write_at(file, &self.path, &self.pending, self.length - self.base)
        {
            let error = Error::io("write", &self.path)(error);
            if tries == WRITES || error.trouble().is_some() {
                return Err(error);
            }
            tries += 1;
        }
        disk::sync(file, &self.path).map_err(Error::io("sync", &self.path))?;
        // Of a file made by a group that failed the name may not be durable either.
        if self.unnamed {
            sync_dir(self.path.parent().expect("the log is in records/"))?;
            self.unnamed = false;
        }
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Whether `current.jsonl` is long enough to be sealed, and nothing waits for [`Self::sync`].
    pub fn is_full(&self) -> bool {
        self.length - self.base >= self.full && self.pending.is_empty()
    }

    /// Makes a segment of what is committed; the log is as it was. To be committed, then given to [`Self::begin_after`].
    ///
    /// # Errors
    /// When the disk refuses: then sealing is put off until the log has grown on.
    pub fn seal(&mut self, archive: &Archive) -> Result<Segment, Error> {
        let sealed = archive.make_segment(self.base, self.length - self.base, self.seq);
        if sealed.is_err() {
            self.full = self.full.saturating_mul(2);
        }
        sealed
    }

    /// Goes on after `segment`, which the database has committed.
    ///
    /// # Errors
    /// When the disk refuses: then nothing more may be written.
    pub fn begin_after(&mut self, archive: &Archive, segment: &Segment) -> Result<(), Error> {
        self.file = None;
        archive.drop_sealed()?;
        self.base = segment.end();
        self.full = archive.seal_at;
        self.unnamed = true;
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

/// Opens `current.jsonl`; none where there is none.
fn open(path: &Path) -> Result<Option<fs::File>, Error> {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

impl Archive {
    /// Whether the record log is what the database has committed, or more of it. Changes nothing.
    ///
    /// # Errors
    /// What is missing, or does not fit.
    pub fn fits(&self, sealed: &[Segment], committed: u64, seq: u64) -> Result<(), Error> {
        self.has_segments(sealed)?;
        let path = self.log_path();
        let file = match fs::File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        fits(file.as_ref(), &path, sealed.last(), committed, seq).map(|_| ())
    }
}

/// Compares the log with what the database has committed. Returns where it ends in the whole log.
fn fits(
    file: Option<&fs::File>,
    path: &Path,
    sealed: Option<&Segment>,
    committed: u64,
    seq: u64,
) -> Result<(Follows, u64), Error> {
    let base = sealed.map_or(0, Segment::end);
    let (mut follows_on, mut length) = (Follows::On, base);
    if let Some(file) = file {
        // What is committed of it, if anything is, begins with a line that is committed.
        let last = if committed > base { seq } else { seq + 1 };
        follows_on = follows(file, sealed, last, path)?;
        if follows_on == Follows::On {
            length += file.metadata().map_err(Error::io("read", path))?.len();
        }
    }
    if length < committed {
        return Err(Error::Identity(format!(
            "{} ends at byte {length} of the record log, but the database has committed {committed}: records are missing; \
             restore the file from a backup, or go on with what is left: `larder rebuild`",
            path.display()
        )));
    }
    Ok((follows_on, length))
}

/// What `current.jsonl` is to the last sealed segment.
#[derive(Debug, PartialEq, Eq)]
enum Follows {
    /// It goes on after it.
    On,
    /// It holds the segment's own lines: the sealing was cut short before it was removed.
    Repeats,
}

/// Tells by the number of its first line what `current.jsonl` is. `last` is the highest that it may have.
fn follows(
    file: &fs::File,
    sealed: Option<&Segment>,
    last: u64,
    path: &Path,
) -> Result<Follows, Error> {
    let (bytes, last_sealed) = sealed.map_or((0, 0), |sealed| (sealed.bytes, sealed.last_seq));
    let mut first = Vec::new();
    let mut reader = io::BufReader::new(file);
    reader
        .read_until(b'\n', &mut first)
        .map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    match seq_of(first.strip_suffix(b"\n").unwrap_or(&first)) {
        Some(seq) if seq <= last_sealed && length == bytes => Ok(Follows::Repeats),
        Some(seq) if seq <= last_sealed || seq > last => Err(Error::Identity(format!(
            "{} begins with line {seq}, but the database knows of sealed lines up to {last_sealed} and of {last} in all: it \
             is an older copy, or not the database of these records; put the right larder.db back, or make it anew: \
             `larder rebuild`",
            path.display()
        ))),
        _ => Ok(Follows::On),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_cut_back_to_what_was_committed_and_never_grows_shorter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let mut log = RecordLog::open(&archive, folder.path(), None, 0, 0).expect("opens");
        log.append(&"one");
        log.sync().expect("syncs");
        let (length, seq) = log.end();
        let second = log.append(&"two");
        log.sync().expect("syncs");
        let lines = archive.lines(Vec::new()).expect("opens");
        assert_eq!(lines.at(second).expect("there"), b"\"two\"");
        let log = RecordLog::open(&archive, folder.path(), None, length, seq).expect("opens");
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
        assert!(RecordLog::open(&archive, folder.path(), None, length + 1, seq).is_err());
    }

    #[test]
    fn lines_of_a_failed_write_are_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let mut log = RecordLog::open(&archive, folder.path(), None, 0, 0).expect("opens");
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
