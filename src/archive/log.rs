//! The record log as one row of lines: sealed segments, then the file under way.
//!
//! Every line has a place, its offset in the whole log, that sealing does not change; [`Lines`](super::Lines) turns places
//! into text. Here all lines are read in turn, and what is damaged is reported, never shown as a line.

use std::{
    fs,
    io::{self, BufRead, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    Archive, Digest, Error, Segment,
    segments::{self, Opened},
};

/// A line is no longer than this; what is, is damage.
const LONGEST: u64 = 1 << 28;

/// The end of the sealed part.
pub(super) fn sealed_end(segments: &[Segment]) -> u64 {
    segments.last().map_or(0, Segment::end)
}

/// What [`each_line`] meets.
#[derive(Debug)]
pub enum Met<'a> {
    /// A line without its end, with its offset in the whole log.
    Line(u64, &'a [u8]),
    /// What follows the last line end of `current.jsonl`: a write that was cut off.
    Torn(&'a [u8]),
    /// Lines that cannot be read, in words for people.
    Broken(String),
}

/// Shows every line of the log to `each`, in order, up to the offset `until`.
///
/// # Errors
/// Only those of `each`: what cannot be read is shown to it as [`Met::Broken`].
pub fn each_line<E>(
    archive: &Archive,
    segments: &[Segment],
    until: u64,
    each: impl FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    each_line_from(archive, segments, 0, until, each)
}

/// Shows every line that begins at the offset `from` or after it. What comes before is not read.
///
/// # Errors
/// As [`each_line`].
pub fn each_line_from<E>(
    archive: &Archive,
    segments: &[Segment],
    from: u64,
    until: u64,
    mut each: impl FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for segment in segments.iter().filter(|segment| segment.end() > from) {
        let name = segment.file_name();
        let path = archive.records().join(&name);
        let opened = match Opened::new(&path, Some(segment.bytes)) {
            Ok(opened) => opened,
            Err(error) => {
                each(Met::Broken(error.to_string()))?;
                continue;
            }
        };
        let mut end = 0;
        for frame in &opened.frames {
            end = frame.from + u64::from(frame.bytes);
            if segment.base + end <= from {
                continue;
            }
            match opened.read(frame) {
                Ok(lines) => show(&lines, segment.base + frame.from, from, &mut each)?,
                Err(error) => each(Met::Broken(format!(
                    "records/{name}: the {} bytes of lines from {} on cannot be read: {error}",
                    frame.bytes, frame.from
                )))?,
            }
        }
        if end < segment.bytes {
            each(Met::Broken(format!(
                "records/{name}: its {} bytes of lines end after {end}",
                segment.bytes
            )))?;
        }
    }
    let base = sealed_end(segments);
    current_from(archive, base, from.max(base), until, each)
}

fn show<E>(
    lines: &[u8],
    mut place: u64,
    from: u64,
    each: &mut impl FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if place >= from {
            each(Met::Line(place, line.strip_suffix(b"\n").unwrap_or(line)))?;
        }
        place += line.len() as u64;
    }
    Ok(())
}

/// Shows the lines of `current.jsonl`, which begins at `base`, up to the offset `until`.
pub(super) fn current<E>(
    archive: &Archive,
    base: u64,
    until: u64,
    each: impl FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    current_from(archive, base, base, until, each)
}

/// The same from the offset `from` on, where a line begins.
fn current_from<E>(
    archive: &Archive,
    base: u64,
    from: u64,
    until: u64,
    mut each: impl FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let path = archive.log_path();
    let mut file = match fs::File::open(&path) {
        Ok(file) => file,
        // Just after sealing, and before the first line, there is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return each(Met::Broken(Error::io("open", path)(error).to_string())),
    };
    if let Err(error) = file.seek(SeekFrom::Start(from - base)) {
        return each(Met::Broken(Error::io("read", path)(error).to_string()));
    }
    let mut reader = io::BufReader::with_capacity(1 << 18, file);
    let (mut place, mut line) = (from, Vec::new());
    while place < until {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST.min(until - place))
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(read) => {
                match line.strip_suffix(b"\n") {
                    Some(line) => each(Met::Line(place, line))?,
                    None => each(Met::Torn(&line))?,
                }
                place += read as u64;
            }
            Err(error) => {
                return each(Met::Broken(Error::io("read", path)(error).to_string()));
            }
        }
    }
    Ok(())
}

/// The record log as the files say, for when no database knows it.
#[derive(Debug, Default)]
pub struct Layout {
    /// The sealed part, in order.
    pub segments: Vec<Segment>,
    /// Whether `current.jsonl` goes on after it; else it is what the last segment was made of.
    pub current: bool,
    /// What cannot be read, in words.
    pub broken: Vec<String>,
    /// Segments that hold nothing of their own, in words.
    pub copies: Vec<String>,
}

/// Orders the segments in `records/` by the numbers of their lines, and leaves out those that hold nothing of their own.
///
/// # Errors
/// When the folder cannot be read.
pub fn layout(archive: &Archive) -> Result<Layout, Error> {
    let (mut found, mut broken, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for (digest, path) in archive.segment_files()? {
        match seqs(&path) {
            Ok((first, last, bytes)) => found.push((first, last, bytes, digest)),
            Err(error) => broken.push(error.to_string()),
        }
    }
    found.sort_unstable();
    let file = archive.log_path();
    let length = fs::metadata(&file).map_or(0, |meta| meta.len());
    let begins = first_seq(&file);
    let (mut base, mut segments, mut current) = (0, Vec::<Segment>::new(), true);
    for (first, last_seq, bytes, digest) in found {
        let copied = segments.last().is_some_and(|s| last_seq <= s.last_seq);
        let in_current = begins.is_some_and(|begins| first >= begins);
        let name = segments::file_name(&digest);
        if in_current && !copied && begins == Some(first) && bytes == length {
            current = false;
        } else if copied || in_current {
            copies.push(format!(
                "records/{name} holds only lines that are elsewhere too; it was left out"
            ));
            continue;
        }
        segments.push(Segment {
            digest,
            base,
            bytes,
            last_seq,
        });
        base += bytes;
    }
    Ok(Layout {
        segments,
        current,
        broken,
        copies,
    })
}

/// The number of the first line of a file that has one.
fn first_seq(path: &Path) -> Option<u64> {
    let reader = io::BufReader::new(fs::File::open(path).ok()?);
    reader
        .split(b'\n')
        .map_while(Result::ok)
        .find_map(|line| seq_of(&line))
}

/// The numbers of the first and last line that can be read, and the bytes of all lines.
fn seqs(path: &Path) -> Result<(u64, u64, u64), Error> {
    let opened = Opened::new(path, None)?;
    let mut numbers = opened.frames.iter().filter_map(|frame| {
        let lines = opened.read(frame).ok()?;
        let mut lines = lines.split(|byte| *byte == b'\n').filter_map(seq_of);
        let first = lines.next()?;
        Some((first, lines.next_back().unwrap_or(first)))
    });
    let first = numbers.next();
    let last = numbers.next_back().or(first);
    match (first, last) {
        (Some((first, _)), Some((_, last))) => Ok((first, last, opened.bytes())),
        _ => {
            let what = io::Error::new(io::ErrorKind::InvalidData, "it has no line of a record log");
            Err(Error::io("read", path)(what))
        }
    }
}

/// The `seq` of a line.
pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let numbered: Numbered = serde_json::from_slice(line).ok()?;
    Some(numbered.seq)
}

impl Archive {
    /// The folder of the record log.
    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// The files in `records/` that are called like segments.
    pub(super) fn segment_files(&self) -> Result<Vec<(Digest, PathBuf)>, Error> {
        let folder = self.records();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let digest = entry.file_name().to_str().and_then(segments::named);
            found.extend(digest.map(|digest| (digest, entry.path())));
        }
        found.sort_unstable();
        Ok(found)
    }
}
