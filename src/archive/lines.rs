//! Reading lines of the record log at known places: many of them in their order, or one.
//!
//! Whoever reads beside a writer asks only for places that the database has committed: those lines are whole.

use std::{
    fs,
    io::{self, BufRead, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{Archive, Error, Line};

/// Bytes read at once when many lines are wanted.
const AHEAD: usize = 1 << 20;
/// Bytes read at first when one line is wanted; most lines are shorter.
const ONE: usize = 8 << 10;
/// No line is longer.
const LONGEST: usize = 1 << 28;

/// The record log, open for reading.
#[derive(Debug)]
pub struct Lines {
    file: fs::File,
    path: PathBuf,
}

impl Archive {
    /// Opens the record log for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn lines(&self) -> Result<Lines, Error> {
        let path = self.log_path();
        let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Lines { file, path })
    }
}

impl Lines {
    /// Hands each of `places`, which rise, to `each` with its line, without the line's end. One buffer serves them all.
    ///
    /// # Errors
    /// When the log cannot be read, or ends before a place; or what `each` says.
    pub fn each<E: From<Error>>(
        &self,
        places: impl IntoIterator<Item = Line>,
        mut each: impl FnMut(Line, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| E::from(Error::io("read", &self.path)(error));
        let mut reader = io::BufReader::with_capacity(AHEAD, &self.file);
        let mut at = reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut text = Vec::new();
        for line in places {
            let skip = line.offset.wrapping_sub(at) as i64;
            // What is buffered stays so.
            reader.seek_relative(skip).map_err(failed)?;
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if text.pop() != Some(b'\n') {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
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
        let mut text = vec![0; ONE];
        let mut have = 0;
        loop {
            let read = self
                .file
                .read_at(&mut text[have..], line.offset + have as u64);
            let read = read.map_err(Error::io("read", &self.path))?;
            if let Some(end) = text[have..have + read].iter().position(|b| *b == b'\n') {
                text.truncate(have + end);
                return Ok(text);
            }
            have += read;
            if read == 0 || have > LONGEST {
                return Err(Error::io("read", &self.path)(
                    io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            if have == text.len() {
                text.resize(have * 2, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_at_their_places_whatever_lies_between() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let (mut log, mut places) = (Vec::new(), Vec::new());
        for size in [1, ONE - 1, ONE, 3 * ONE, 2 * AHEAD, 5] {
            places.push(Line {
                offset: log.len() as u64,
            });
            log.extend(std::iter::repeat_n(b'a' + (places.len() % 26) as u8, size));
            log.push(b'\n');
        }
        fs::write(archive.log_path(), &log).expect("written");
        let lines = archive.lines().expect("opens");
        let length = |place: &Line| lines.at(*place).expect("there").len();
        let all: Vec<_> = places.iter().map(length).collect();
        assert_eq!(all, [1, ONE - 1, ONE, 3 * ONE, 2 * AHEAD, 5]);
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
    }
}
