//! Hashing files that are there already, nicely: what is read for its hash alone does not push out what others read.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use md5::Md5;
use rustix::{
    fs::{Advice, fadvise},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{Digest, Error, Objects, Orphan};

/// What hashing a file found.
#[derive(Debug)]
pub(super) struct Hashed {
    pub sha256: Digest,
    /// Where it was asked for.
    pub md5: Option<[u8; 16]>,
    pub bytes: u64,
    /// Media type by its magic bytes.
    pub media: Option<String>,
}

/// Hashes one file after another.
pub struct Hasher<'a> {
    buffer: Vec<u8>,
    heard: Box<dyn FnMut(u64) + 'a>,
}

impl std::fmt::Debug for Hasher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

/// Bytes read at once.
const AT_ONCE: usize = 1 << 18;
/// Bytes kept to tell the content's type.
const HEAD: usize = 512;

impl<'a> Hasher<'a> {
    /// A hasher; `heard` hears of each few bytes that were read, and may take its time.
    pub fn new(heard: impl FnMut(u64) + 'a) -> Self {
        Self {
            buffer: vec![0; AT_ONCE],
            heard: Box::new(heard),
        }
    }

    pub(super) fn hash(&mut self, path: &Path, md5: bool) -> Result<Hashed, Error> {
        let mut file = fs::File::open(path).map_err(Error::io("open", path))?;
        // Advice that is not taken costs nothing.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let (mut sha256, mut bytes, mut head) = (Sha256::new(), 0, Vec::new());
        let mut md5 = md5.then(Md5::new);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let read = &self.buffer[..n];
                    sha256.update(read);
                    if let Some(md5) = &mut md5 {
                        md5.update(read);
                        head.extend_from_slice(&read[..n.min(HEAD.saturating_sub(head.len()))]);
                    }
                    bytes += n as u64;
                    (self.heard)(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path)(error)),
            }
        }
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Hashed {
            sha256: Digest::new(sha256.finalize().into()),
            md5: md5.map(|md5| md5.finalize().into()),
            bytes,
            media: infer::get(&head).map(|kind| kind.mime_type().to_owned()),
        })
    }
}

/// A regular file, not a link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Whether an error is damage of what was read, rather than of who reads.
pub(super) fn is_of_the_disk(error: &io::Error) -> bool {
    let own = [
        Errno::NOENT,
        Errno::ACCESS,
        Errno::PERM,
        Errno::MFILE,
        Errno::NFILE,
    ];
    !own.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl Objects {
    /// Reads an object that nobody vouches for; `None` when its bytes are not those of its name, or it is not there.
    ///
    /// # Errors
    /// When it is there and may not be read.
    pub fn read_orphan(
        &self,
        digest: &Digest,
        hasher: &mut Hasher<'_>,
    ) -> Result<Option<Orphan>, Error> {
        let path = self.path(digest);
        if !is_file(&path) {
            return Ok(None);
        }
        let hashed = match hasher.hash(&path, true) {
            Ok(hashed) => hashed,
            Err(Error::Io { source, .. }) if is_of_the_disk(&source) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (true, Some(md5)) = (hashed.sha256 == *digest, hashed.md5) else {
            return Ok(None);
        };
        Ok(Some(Orphan {
            digest: *digest,
            bytes: hashed.bytes,
            md5,
            media: hashed.media,
        }))
    }

    /// Whether the object is on the disk with the bytes of its name.
    ///
    /// # Errors
    /// When it is there and may not be read.
    pub fn is_whole(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path(digest);
        if !is_file(&path) {
            return Ok(false);
        }
        match Hasher::new(|_| ()).hash(&path, false) {
            Ok(hashed) => Ok(hashed.sha256 == *digest),
            Err(Error::Io { source, .. })
                if is_of_the_disk(&source) || source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
