//! Reading lines of the record log at known places: many of them in their order, or one.
//!
//! A place is an offset in the whole log, wherever the line lies: in a sealed segment or in `current.jsonl`. Whoever reads
//! beside a writer asks only for places that the database has committed before the log was opened: those lines are whole,
//! and stay readable here even when the log is sealed meanwhile.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufRead, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Archive, Digest, Error, Line, Segment,
    log::sealed_end,
    segments::{Frame, Opened},
};

/// Bytes read at once when many lines are wanted.
const AHEAD: usize = 1 << 20;
/// Bytes read at first when one line is wanted; most lines are shorter.
const ONE: usize = 8 << 10;
/// No line is longer.
const LONGEST: usize = 1 << 28;
/// Frames of segments that are kept decoded: lines that are wanted together were mostly written together.
const FRAMES: usize = 16;

/// The record log, open for reading.
#[derive(Debug)]
pub struct Lines {
    records: PathBuf,
    segments: Vec<Segment>,
    /// `current.jsonl`, where there is one.
    current: Option<fs::File>,
    frames: Mutex<VecDeque<Arc<Decoded>>>,
}

/// A frame of a segment.
#[derive(Debug)]
struct Decoded {
    /// Where its first line stands in the whole log.
    from: u64,
    lines: Vec<u8>,
}

impl Decoded {
    fn holds(&self, line: Line) -> bool {
        (self.from..self.from + self.lines.len() as u64).contains(&line.offset)
    }

    /// The line at this place, without its end.
    fn line(&self, line: Line) -> Option<&[u8]> {
        let rest = self.lines.get((line.offset - self.from) as usize..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        Some(&rest[..end])
    }
}

impl Archive {
    /// Opens the record log, whose sealed part is `segments`, in order. What is sealed afterwards is read from
    /// `current.jsonl` as it is now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn lines(&self, segments: Vec<Segment>) -> Result<Lines, Error> {
        let path = self.log_path();
        let current = match fs::File::open(&path) {
            Ok(file) => Some(file),
            // Just after sealing, and before the first line, there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        Ok(Lines {
            records: self.records(),
            segments,
            current,
            frames: Mutex::default(),
        })
    }
}

impl Lines {
    /// Where `current.jsonl` begins in the whole log.
    pub fn base(&self) -> u64 {
        sealed_end(&self.segments)
    }

    /// Hands each of `places`, which rise, to `each` with its line, without the line's end. Each frame is decoded once, and
    /// one buffer serves all other lines.
    ///
    /// # Errors
    /// When the log cannot be read, or ends before a place; or what `each` says.
    pub fn each<E: From<Error>>(
        &self,
        places: impl IntoIterator<Item = Line>,
        mut each: impl FnMut(Line, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| E::from(self.failed(error));
        let base = self.base();
        let mut places = places.into_iter().peekable();
        let mut sealed: Option<(Digest, Opened)> = None;
        let mut frame: Option<Decoded> = None;
        while let Some(line) = places.next_if(|line| line.offset < base) {
            if !frame.as_ref().is_some_and(|frame| frame.holds(line)) {
                frame = Some(self.decode(line, &mut sealed)?);
            }
            let text = frame.as_ref().and_then(|frame| frame.line(line));
            each(line, text.ok_or_else(|| failed(no_line()))?)?;
        }
        let Some(current) = &self.current else {
            return places.next().map_or(Ok(()), |_| Err(failed(no_line())));
        };
        let mut reader = io::BufReader::with_capacity(AHEAD, current);
        let mut at = base + reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut text = Vec::new();
        for line in places {
            let skip = line.offset.wrapping_sub(at) as i64;
            // What is buffered stays so.
            reader.seek_relative(skip).map_err(failed)?;
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if text.pop() != Some(b'\n') {
                return Err(failed(no_line()));
            }
            at = line.offset + read as u64;
            each(line, &text)?;
        }
        Ok(())
    }

    /// Reads the line at one place, without its end.
    ///
    /// # Errors
    /// When the log cannot be read there.
    pub fn at(&self, line: Line) -> Result<Vec<u8>, Error> {
        if line.offset < self.base() {
            let frame = self.frame(line)?;
            let text = frame.line(line).ok_or_else(|| self.failed(no_line()))?;
            return Ok(text.to_vec());
        }
        let current = self
            .current
            .as_ref()
            .ok_or_else(|| self.failed(no_line()))?;
        let offset = line.offset - self.base();
        let mut text = vec![0; ONE];
        let mut have = 0;
        loop {
            let read = current.read_at(&mut text[have..], offset + have as u64);
            let read = read.map_err(|error| self.failed(error))?;
            if let Some(end) = text[have..have + read].iter().position(|b| *b == b'\n') {
                text.truncate(have + end);
                return Ok(text);
            }
            have += read;
            if read == 0 || have > LONGEST {
                return Err(self.failed(no_line()));
            }
            if have == text.len() {
                text.resize(have * 2, 0);
            }
        }
    }

    /// The decoded frame of a sealed line.
    fn frame(&self, line: Line) -> Result<Arc<Decoded>, Error> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let found = frames.iter().position(|frame| frame.holds(line));
        let frame = match found.and_then(|nth| frames.remove(nth)) {
            Some(frame) => frame,
            None => Arc::new(self.decode(line, &mut None)?),
        };
        frames.truncate(FRAMES - 1);
        frames.push_front(frame.clone());
        Ok(frame)
    }

    /// Decodes the frame of a sealed line; `opened` is the segment that was read last.
    fn decode(&self, line: Line, opened: &mut Option<(Digest, Opened)>) -> Result<Decoded, Error> {
        let after = self.segments.partition_point(|s| s.base <= line.offset);
        let segment = after.checked_sub(1).map(|nth| &self.segments[nth]);
        let segment = segment.filter(|segment| line.offset < segment.end());
        let segment = segment.ok_or_else(|| self.failed(no_line()))?;
        let path = self.records.join(segment.file_name());
        if opened.as_ref().map(|(name, _)| *name) != Some(segment.digest) {
            *opened = Some((segment.digest, Opened::new(&path, Some(segment.bytes))?));
        }
        let (_, file) = opened.as_ref().expect("opened above");
        let holds = |frame: &&Frame| frame.holds(line.offset - segment.base);
        let frame = file.frames.iter().find(holds);
        let frame = frame.ok_or_else(|| Error::io("read", &path)(no_line()))?;
        Ok(Decoded {
            from: segment.base + frame.from,
            lines: file.read(frame).map_err(Error::io("read", &path))?,
        })
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read", self.records.join("current.jsonl"))(error)
    }
}

fn no_line() -> io::Error {
    let what = "there is no whole line at the place that the database names";
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_at_their_places_sealed_or_not_whatever_lies_between() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let (mut log, mut places, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for pass in 0..3 {
            let begun = log.len();
            for size in [1, ONE - 1, ONE, 3 * ONE, 2 * AHEAD, 5] {
                places.push(Line {
                    offset: log.len() as u64,
                });
                log.extend(std::iter::repeat_n(b'a' + (places.len() % 26) as u8, size));
                log.push(b'\n');
            }
            fs::write(archive.log_path(), &log[begun..]).expect("written");
            if pass < 2 {
                let bytes = (log.len() - begun) as u64;
                let segment = archive.make_segment(begun as u64, bytes, 0);
                sealed.push(segment.expect("sealed"));
                archive.drop_sealed().expect("removed");
            }
        }
        let lines = archive.lines(sealed).expect("opens");
        let length = |place: &Line| lines.at(*place).expect("there").len();
        let all: Vec<_> = places.iter().map(length).collect();
        assert_eq!(all, [1, ONE - 1, ONE, 3 * ONE, 2 * AHEAD, 5].repeat(3));
        for step in 1..4 {
            let wanted = places.iter().copied().step_by(step);
            let mut seen = Vec::new();
            let read = lines.each::<Error>(wanted.clone(), |place, text| {
                assert_eq!(text, lines.at(place).expect("there"));
                seen.push(place);
                Ok(())
            });
            read.expect("reads");
            assert_eq!(seen, wanted.collect::<Vec<_>>());
        }
        let beyond = Line {
            offset: log.len() as u64,
        };
        assert!(lines.at(beyond).is_err());
        assert!(lines.each::<Error>([beyond], |_, _| Ok(())).is_err());
        // What is sealed while it is read stays where it was.
        archive.drop_sealed().expect("removed");
        let all: Vec<_> = places.iter().map(length).collect();
        assert_eq!(all, [1, ONE - 1, ONE, 3 * ONE, 2 * AHEAD, 5].repeat(3));
    }
}
