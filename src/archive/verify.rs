//! Verification: re-hashes every object and reports; it changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Archive, Digest, Error};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The database knows the object, the disk does not.
    Missing(Digest),
    /// The bytes do not match the name.
    Corrupt(Digest, PathBuf),
    /// A file that is not larder's.
    Foreign(PathBuf),
}

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verified {
    /// Objects that are whole.
    pub good: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whole objects that the database does not know: a crash between rename and commit leaves them.
    pub unreferenced: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Re-hashes every object; `known` are those that the database has committed, with their sizes.
///
/// # Errors
/// When a folder or file cannot be read.
pub fn verify(
    archive: &Archive,
    mut known: BTreeMap<Digest, u64>,
    mut progress: impl FnMut(u64),
) -> Result<Verified, Error> {
    let mut result = Verified::default();
    for folder in sorted(archive.objects.folder())? {
        if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir()) {
            result.damage.push(Damage::Foreign(folder));
            continue;
        }
        for path in sorted(&folder)? {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            let digest = name
                .parse::<Digest>()
                .ok()
                .filter(|d| archive.objects.path(d) == path && is_file(&path));
            let Some(digest) = digest else {
                result.damage.push(Damage::Foreign(path));
                continue;
            };
            let (found, bytes) = hash(&path)?;
            if known.remove(&digest).is_none() {
                result.unreferenced += 1;
            }
            if found == digest {
                result.good += 1;
                result.bytes += bytes;
            } else {
                result.damage.push(Damage::Corrupt(digest, path));
            }
            progress(bytes);
        }
    }
    result.damage.extend(known.into_keys().map(Damage::Missing));
    Ok(result)
}

/// A regular file, not a link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(Error::io("read", folder))?;
    paths.sort();
    Ok(paths)
}

/// The hash of a file's bytes, and how many they are.
pub(super) fn hash(path: &Path) -> Result<(Digest, u64), Error> {
    let mut file = fs::File::open(path).map_err(Error::io("open", path))?;
    let (mut sha256, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Digest::new(sha256.finalize().into()), bytes)),
            Ok(n) => {
                sha256.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
}
