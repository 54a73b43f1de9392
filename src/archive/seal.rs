//! Sealing: `current.jsonl` becomes a segment, once it is long enough.
//!
//! The order: compress into staging, sync, decode again and compare, rename, sync the folder; then the database commits
//! the segment; only then `current.jsonl` goes. Killed before the commit, the segment is a copy of what is still in
//! `current.jsonl`, and the next start finishes the sealing ([`left_over`]). Killed after it, `current.jsonl` is a copy of
//! what is in the segment, known by the number of its first line, and the next start removes it.
//! **Invariant:** each line is in one of the two at every moment, and no line is in neither.

use std::{
    fs,
    io::{self, BufReader, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{
    Archive, Digest, Error, Segment,
    log::{sealed_end, seq_of},
    segments::{self, Opened},
    sync_dir,
};
use crate::disk;

impl Archive {
    /// Makes a segment of all that is in `current.jsonl`: `bytes` of lines after `base`, the last of them `last_seq`. It is
    /// durable under its name when this returns; `current.jsonl` is as it was.
    ///
    /// # Errors
    /// When the disk refuses, or does not give back what was written.
    pub fn make_segment(&self, base: u64, bytes: u64, last_seq: u64) -> Result<Segment, Error> {
        let temp = self.root.join("staging/segment");
        let made = self.compress(&temp, base, bytes, last_seq);
        if made.is_err() {
            // What cannot be removed now is removed by the next try, or the next start.
            let _ = disk::remove(&temp);
        }
        made
    }

    fn compress(
        &self,
        temp: &Path,
        base: u64,
        bytes: u64,
        last_seq: u64,
    ) -> Result<Segment, Error> {
        let log = self.log_path();
        let lines = fs::File::open(&log).map_err(Error::io("open", &log))?;
        if temp.exists() {
            // What is left of an earlier try.
            disk::remove(temp).map_err(Error::io("remove", temp))?;
        }
        let file = disk::create(temp, 0o444).map_err(Error::io("make", temp))?;
        let lines = BufReader::with_capacity(1 << 18, lines.take(bytes));
        let mut out = disk::Writer::new(&file, temp);
        let written = segments::write(lines, &mut out).map_err(Error::io("write", temp))?;
        disk::sync(&file, temp).map_err(Error::io("sync", temp))?;
        drop(file);
        let opened = Opened::new(temp, Some(written.bytes))?;
        let mut again = Sha256::new();
        for frame in &opened.frames {
            again.update(opened.read(frame).map_err(Error::io("read", temp))?);
        }
        if written.bytes != bytes || Digest::new(again.finalize().into()) != written.lines {
            let error = io::Error::new(io::ErrorKind::InvalidData, "it does not read as written");
            return Err(Error::io("seal", &log)(error));
        }
        let segment = Segment {
            digest: written.digest,
            base,
            bytes,
            last_seq,
        };
        let path = self.records().join(segment.file_name());
        disk::rename(temp, &path).map_err(Error::io("rename", &path))?;
        sync_dir(&self.records())?;
        Ok(segment)
    }

    /// Removes `current.jsonl`, all of whose lines are in a segment that the database has committed.
    pub(super) fn drop_sealed(&self) -> Result<(), Error> {
        let path = self.log_path();
        disk::remove(&path).map_err(Error::io("remove", path))?;
        sync_dir(&self.records())
    }

    /// Whether every sealed segment is there; its bytes are not read.
    ///
    /// # Errors
    /// When one is gone: then something removed records.
    pub fn has_segments(&self, known: &[Segment]) -> Result<(), Error> {
        let gone = known
            .iter()
            .map(|segment| self.records().join(segment.file_name()))
            .find(|path| !path.is_file());
        gone.map_or(Ok(()), |path| {
            Err(Error::Identity(format!(
                "{} is gone: records are missing; restore the file from a backup, or go on with what is left: \
                 `larder rebuild`",
                path.display()
            )))
        })
    }

    /// The segment of a sealing that was cut short before the database heard of it: it follows on those `known`, and its
    /// lines are those of `current.jsonl`, which ends where the database has `committed`.
    ///
    /// # Errors
    /// When the folder or `current.jsonl` cannot be read.
    pub fn left_over(&self, known: &[Segment], committed: u64) -> Result<Option<Segment>, Error> {
        let base = sealed_end(known);
        for (digest, path) in self.segment_files()? {
            if known.iter().any(|segment| segment.digest == digest) {
                continue;
            }
            let found = Opened::new(&path, None).ok();
            let Some(opened) = found.filter(|opened| base + opened.bytes() == committed) else {
                continue;
            };
            if let Some(last_seq) = self.is_copy(&opened)? {
                return Ok(Some(Segment {
                    digest,
                    base,
                    bytes: opened.bytes(),
                    last_seq,
                }));
            }
        }
        Ok(None)
    }

    /// The number of the last line, when these are the lines at the start of `current.jsonl`.
    fn is_copy(&self, opened: &Opened) -> Result<Option<u64>, Error> {
        let path = self.log_path();
        let Ok(mut file) = fs::File::open(&path) else {
            return Ok(None);
        };
        let mut last = None;
        for frame in &opened.frames {
            let Ok(lines) = opened.read(frame) else {
                return Ok(None);
            };
            let mut own = vec![0; lines.len()];
            match file.read_exact(&mut own) {
                Ok(()) if own == lines => {}
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(Error::io("read", path)(error)),
            }
            last = lines.split(|b| *b == b'\n').rev().find_map(seq_of).or(last);
        }
        Ok(last)
    }
}
