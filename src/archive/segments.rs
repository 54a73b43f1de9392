//! Sealed segments of the record log: zstd, readable by any zstd tool, named by the SHA-256 of their own bytes.
//!
//! A segment is a row of frames that each hold about [`FRAME`] of whole lines and a checksum, then zstd's seek table in a
//! skippable frame (facebook/zstd, contrib/seekable_format, format 0.1.0). So one line costs the decoding of one frame, a
//! flipped bit costs one frame and not what follows it, and no tool but larder needs to know about either.

use std::{
    fs,
    io::{self, BufRead, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::{self, CParameter};

use super::{Digest, Error};

/// Where sealed lines stand in the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name: the SHA-256 of the file.
    pub digest: Digest,
    /// Bytes of lines before it.
    pub base: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// The number of its last line.
    pub last_seq: u64,
}

impl Segment {
    /// Bytes of lines up to its end.
    pub fn end(&self) -> u64 {
        self.base + self.bytes
    }

    /// The name of its file below `records/`.
    pub fn file_name(&self) -> String {
        file_name(&self.digest)
    }
}

/// Lines of one frame. Less compresses worse, more makes `show` and views slower.
const FRAME: usize = 1 << 20;
/// zstd's own default. Measured on invented records in such frames: 8.0 times smaller at 370 MB/s; level 9: 8.4 times at 90.
const LEVEL: i32 = 3;
/// The magic numbers of a skippable frame and of the seek table in it.
const SKIPPABLE: u32 = 0x184d_2a5e;
const SEEKABLE: u32 = 0x8f92_eab1;
/// Bytes of the table's footer: number of frames, descriptor, magic number.
const FOOTER: usize = 9;
/// Bytes of a frame's header at most (RFC 8878, section 3.1.1.1).
const MOST_HEAD: usize = 18;
/// Frames of a segment at most: beyond that it is no segment of ours.
const MOST_FRAMES: u64 = 1 << 20;

/// The name of a segment's file.
pub(super) fn file_name(digest: &Digest) -> String {
    format!("{digest}.jsonl.zst")
}

/// The digest that a file's name claims, if it is a segment's.
pub(super) fn named(name: &str) -> Option<Digest> {
    let digest: Digest = name.strip_suffix(".jsonl.zst")?.parse().ok()?;
    (file_name(&digest) == name).then_some(digest)
}

/// What [`write`] made.
pub(super) struct Written {
    /// Of the file.
    pub digest: Digest,
    /// Of the lines.
    pub lines: Digest,
    /// Bytes of the lines.
    pub bytes: u64,
}

/// Compresses `lines` to their end into `out`.
pub(super) fn write(mut lines: impl BufRead, out: &mut impl Write) -> io::Result<Written> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    let (mut file_hash, mut line_hash, mut bytes) = (Sha256::new(), Sha256::new(), 0);
    let (mut table, mut frames) = (Vec::new(), 0_u32);
    let mut gathered = Vec::with_capacity(FRAME + FRAME / 4);
    loop {
        let more = lines.read_until(b'\n', &mut gathered)? > 0;
        if gathered.len() >= FRAME || (!more && !gathered.is_empty()) {
            let frame = compressor.compress(&gathered)?;
            for size in [frame.len(), gathered.len()] {
                let size = u32::try_from(size).map_err(|_| too_long())?;
                table.extend(size.to_le_bytes());
            }
            frames += 1;
            file_hash.update(&frame);
            out.write_all(&frame)?;
            line_hash.update(&gathered);
            bytes += gathered.len() as u64;
            gathered.clear();
        }
        if !more {
            break;
        }
    }
    table.extend(frames.to_le_bytes());
    table.push(0);
    table.extend(SEEKABLE.to_le_bytes());
    let length = u32::try_from(table.len()).map_err(|_| too_long())?;
    let head = [SKIPPABLE.to_le_bytes(), length.to_le_bytes()].concat();
    for part in [head, table] {
        file_hash.update(&part);
        out.write_all(&part)?;
    }
    Ok(Written {
        digest: Digest::new(file_hash.finalize().into()),
        lines: Digest::new(line_hash.finalize().into()),
        bytes,
    })
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line of 4 GiB")
}

/// One frame of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it begins in the file.
    at: u64,
    /// Its bytes there.
    size: u32,
    /// Bytes of lines before it in this segment.
    pub from: u64,
    /// Bytes of its lines.
    pub bytes: u32,
}

impl Frame {
    /// Whether the line that begins at `offset` in the segment is in this frame.
    pub(super) fn holds(&self, offset: u64) -> bool {
        (self.from..self.from + u64::from(self.bytes)).contains(&offset)
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct Opened {
    file: fs::File,
    pub frames: Vec<Frame>,
}

impl Opened {
    /// Opens a segment and reads its seek table. Where that is damaged, or is not for as many bytes of lines as are known
    /// to be there, the frames are looked for one after another up to the first that is damaged too.
    ///
    /// # Errors
    /// When the file cannot be read, or has no whole frame.
    pub(super) fn new(path: &Path, bytes: Option<u64>) -> Result<Self, Error> {
        let file = fs::File::open(path).map_err(Error::io("open", path))?;
        let fits = |frames: &Vec<Frame>| bytes.is_none_or(|bytes| bytes == length(frames));
        let frames = match table(&file) {
            Ok(frames) if fits(&frames) => frames,
            _ => walk(&file).map_err(Error::io("read", path))?,
        };
        Ok(Self { file, frames })
    }

    /// The lines of one frame.
    pub(super) fn read(&self, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut compressed = vec![0; frame.size as usize];
        self.file.read_exact_at(&mut compressed, frame.at)?;
        // Before anything is allocated on the word of a table that may be damaged.
        let said = zstd_safe::get_frame_content_size(&compressed)
            .ok()
            .flatten();
        if said != Some(u64::from(frame.bytes)) {
            return Err(damaged("a frame has another length than its table says"));
        }
        zstd::bulk::decompress(&compressed, frame.bytes as usize)
    }

    /// Bytes of all lines.
    pub(super) fn bytes(&self) -> u64 {
        length(&self.frames)
    }
}

fn length(frames: &[Frame]) -> u64 {
    let last = frames.last();
    last.map_or(0, |frame| frame.from + u64::from(frame.bytes))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the seek table at the end of a segment.
fn table(file: &fs::File) -> io::Result<Vec<Frame>> {
    let length = file.metadata()?.len();
    let start = length.checked_sub(FOOTER as u64);
    let start = start.ok_or_else(|| damaged("it is too short to be a segment"))?;
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, start)?;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let frames = u64::from(word(&footer[..4]));
    let size = frames * 8;
    let start = start.checked_sub(size).and_then(|s| s.checked_sub(8));
    let wrong = word(&footer[5..]) != SEEKABLE || footer[4] != 0 || frames > MOST_FRAMES;
    let start = start
        .filter(|_| !wrong)
        .ok_or_else(|| damaged("its seek table is damaged"))?;
    let mut table = vec![0; size as usize + 8];
    file.read_exact_at(&mut table, start)?;
    let (mut at, mut from) = (0, 0);
    let mut found = Vec::with_capacity(frames as usize);
    for entry in table[8..].chunks_exact(8) {
        let (size, bytes) = (word(&entry[..4]), word(&entry[4..]));
        found.push(Frame {
            at,
            size,
            from,
            bytes,
        });
        at += u64::from(size);
        from += u64::from(bytes);
    }
    for frame in &found {
        // Frames say themselves how much they hold: offsets must not hang on a flipped bit of the table.
        let mut head = [0; MOST_HEAD];
        let head = &mut head[..MOST_HEAD.min(frame.size as usize)];
        file.read_exact_at(head, frame.at)?;
        let said = zstd_safe::get_frame_content_size(head).ok().flatten();
        if said != Some(u64::from(frame.bytes)) {
            return Err(damaged("its seek table is damaged"));
        }
    }
    let whole = word(&table[..4]) == SKIPPABLE
        && u64::from(word(&table[4..8])) == size + FOOTER as u64
        && at == start;
    if whole {
        Ok(found)
    } else {
        Err(damaged("its seek table is damaged"))
    }
}

/// Finds frames without a table, from the start.
fn walk(mut file: &fs::File) -> io::Result<Vec<Frame>> {
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file)?;
    io::Read::read_to_end(&mut file, &mut bytes)?;
    let (mut at, mut from, mut found) = (0, 0, Vec::new());
    while let Ok(size) = zstd_safe::find_frame_compressed_size(&bytes[at..]) {
        let lines = zstd_safe::get_frame_content_size(&bytes[at..]);
        // A frame of another kind, such as the seek table, ends the lines.
        let Some(lines) = lines.ok().flatten().filter(|lines| *lines > 0) else {
            break;
        };
        let (Ok(size), Ok(lines)) = (u32::try_from(size), u32::try_from(lines)) else {
            break;
        };
        found.push(Frame {
            at: at as u64,
            size,
            from,
            bytes: lines,
        });
        at += size as usize;
        from += u64::from(lines);
    }
    if found.is_empty() {
        Err(damaged("it has no whole frame"))
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(7);
        let line = |n| format!("{{\"seq\":{n},\"noise\":\"{:x}\"}}\n", rng.u128(..));
        (1..=count).map(line).collect::<String>().into_bytes()
    }

    fn segment(folder: &Path, lines: &[u8]) -> (std::path::PathBuf, Written) {
        let path = folder.join("segment");
        let mut file = fs::File::create(&path).expect("a folder of ours");
        let written = write(lines, &mut file).expect("written");
        (path, written)
    }

    #[test]
    fn a_segment_is_named_by_its_bytes_and_gives_its_lines_back_by_frame() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = lines(60_000);
        let (path, written) = segment(folder.path(), &lines);
        assert_eq!(written.digest, Digest::of(&fs::read(&path).expect("there")));
        assert_eq!(written.lines, Digest::of(&lines));
        assert_eq!(named(&file_name(&written.digest)), Some(written.digest));
        let opened = Opened::new(&path, None).expect("opens");
        assert!(opened.frames.len() > 2, "{}", opened.frames.len());
        assert_eq!(opened.bytes(), lines.len() as u64);
        let read: Vec<u8> = opened
            .frames
            .iter()
            .flat_map(|frame| opened.read(frame).expect("reads"))
            .collect();
        assert!(read == lines);
        for frame in &opened.frames {
            assert!(opened.read(frame).expect("reads").ends_with(b"\n"));
        }
        let found = walk(&opened.file).expect("walks");
        assert_eq!(found, opened.frames, "the table says what is there");
    }

    #[test]
    fn a_flipped_bit_costs_one_frame_and_a_lost_table_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, _) = segment(folder.path(), &lines(60_000));
        let whole = fs::read(&path).expect("there");
        let frames = Opened::new(&path, None).expect("opens").frames;
        let mut flipped = whole.clone();
        flipped[frames[1].at as usize + 40] ^= 1;
        fs::write(&path, &flipped).expect("written");
        let opened = Opened::new(&path, None).expect("opens");
        let read: Vec<_> = frames.iter().map(|f| opened.read(f).is_ok()).collect();
        assert_eq!(read.iter().filter(|ok| !**ok).count(), 1);
        assert!(!read[1]);
        fs::write(&path, &whole[..whole.len() - 5]).expect("written");
        assert_eq!(Opened::new(&path, None).expect("opens").frames, frames);
        fs::write(&path, b"not zstd at all").expect("written");
        assert!(Opened::new(&path, None).is_err());
        fs::write(&path, b"").expect("written");
        assert!(Opened::new(&path, None).is_err());
    }

    #[test]
    fn whatever_byte_is_damaged_a_line_is_right_or_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = lines(60_000);
        let (path, _) = segment(folder.path(), &lines);
        let whole = fs::read(&path).expect("there");
        let mut rng = fastrand::Rng::with_seed(11);
        let near_the_end = whole.len() - 80..whole.len();
        let places = (0..40)
            .map(|_| rng.usize(..whole.len()))
            .chain(near_the_end);
        for at in places.collect::<Vec<_>>() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).expect("written");
            let Ok(opened) = Opened::new(&path, None) else {
                continue;
            };
            for frame in &opened.frames {
                if let Ok(read) = opened.read(frame) {
                    let from = frame.from as usize;
                    assert!(read == lines[from..from + read.len()], "byte {at}");
                }
            }
        }
    }

    #[test]
    fn an_empty_log_makes_a_segment_without_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, written) = segment(folder.path(), b"");
        assert_eq!(written.bytes, 0);
        assert_eq!(Opened::new(&path, None).expect("opens").bytes(), 0);
    }
}
