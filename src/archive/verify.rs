//! Verification: hashes what is there, compares it with what should be there, and changes nothing.
//!
//! One folder of objects at a time, so that a verification can stop and go on anywhere and needs no more memory than one
//! folder's names. Who asks in which order, and what is remembered of it, is not decided here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Archive, Digest, Error, Segment,
    hash::{Hasher, is_file, is_of_the_disk},
    segments,
};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An object that the database knows is not on the disk.
    Missing,
    /// The bytes of an object do not match its name.
    Corrupt,
    /// A file that is not larder's, or not where larder puts it.
    Foreign,
    /// A sealed segment of the record log is gone or damaged.
    Segment,
    /// A line of the record log is damaged.
    Line,
    /// The record log is shorter than the database has committed.
    Short,
    /// The database is gone or damaged.
    Database,
}

impl Kind {
    /// The word that scripts see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Foreign => "foreign",
            Self::Segment => "segment",
            Self::Line => "line",
            Self::Short => "short",
            Self::Database => "database",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong.
    pub kind: Kind,
    /// The object, where it is about one.
    pub object: Option<Digest>,
    /// Where.
    pub path: PathBuf,
    /// More of it, for people; may be empty.
    pub message: String,
}

impl Damage {
    /// Damage that is about no object.
    pub fn of(kind: Kind, path: PathBuf, message: impl Into<String>) -> Self {
        Self {
            kind,
            object: None,
            path,
            message: message.into(),
        }
    }

    fn object(kind: Kind, object: Digest, path: PathBuf, message: String) -> Self {
        Self {
            kind,
            object: Some(object),
            path,
            message,
        }
    }
}

/// A whole object that the database does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Its MD5, so that a site that names it need not be asked.
    pub md5: [u8; 16],
    /// Media type by its magic bytes.
    pub media: Option<String>,
}

/// What is in one folder of objects.
#[derive(Debug, Default)]
pub struct Shard {
    /// Objects that are whole and known.
    pub whole: u64,
    /// Bytes of these and of the orphans.
    pub bytes: u64,
    /// Objects that are whole and not known: a crash between rename and commit leaves them, or an older database.
    pub orphans: Vec<Orphan>,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Hashes the objects of one folder; `known` are those that the database has committed.
///
/// # Errors
/// When the folder or a file may not be read. A file that the disk cannot read is damage.
pub fn check_shard(
    archive: &Archive,
    shard: u16,
    mut known: Vec<Digest>,
    hasher: &mut Hasher<'_>,
) -> Result<Shard, Error> {
    let folder = archive.objects.folder().join(format!("{shard:03x}"));
    let mut found = Shard::default();
    let entries = match fs::symlink_metadata(&folder) {
        Ok(meta) if meta.is_dir() => sorted(&folder)?,
        // A link in its place is reported with the strangers; what should be in it is missing.
        Ok(_) => Vec::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    known.sort_unstable();
    let mut seen = vec![false; known.len()];
    for path in entries {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let digest = name
            .parse::<Digest>()
            .ok()
            .filter(|d| archive.objects.path(d) == path && is_file(&path));
        let Some(digest) = digest else {
            let why = "it is not called like an object of this folder, or is no file";
            found.damage.push(Damage::of(Kind::Foreign, path, why));
            continue;
        };
        let nth = known.binary_search(&digest);
        if let Ok(nth) = nth {
            seen[nth] = true;
        }
        match hasher.hash(&path, nth.is_err()) {
            Ok(hashed) if hashed.sha256 == digest => {
                found.bytes += hashed.bytes;
                match (nth, hashed.md5) {
                    (Err(_), Some(md5)) => found.orphans.push(Orphan {
                        digest,
                        bytes: hashed.bytes,
                        md5,
                        media: hashed.media,
                    }),
                    _ => found.whole += 1,
                }
            }
            Ok(hashed) => {
                let why = format!("{} bytes with the SHA-256 {}", hashed.bytes, hashed.sha256);
                let damage = Damage::object(Kind::Corrupt, digest, path, why);
                found.damage.push(damage);
            }
            Err(Error::Io { source, .. }) if is_of_the_disk(&source) => {
                let why = format!("cannot be read: {source}");
                let damage = Damage::object(Kind::Corrupt, digest, path, why);
                found.damage.push(damage);
            }
            // Removed since the folder was read.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if let Ok(nth) = nth {
                    seen[nth] = false;
                }
            }
            Err(error) => return Err(error),
        }
    }
    for (digest, _) in known.iter().zip(seen).filter(|(_, seen)| !seen) {
        let path = archive.objects.path(digest);
        let damage = Damage::object(Kind::Missing, *digest, path, String::new());
        found.damage.push(damage);
    }
    Ok(found)
}

/// What is in `objects/` and `records/` and is not larder's. `segments` are those that the database knows; without a
/// database, all that are called like one.
///
/// # Errors
/// When a folder cannot be read.
pub fn strangers(archive: &Archive, segments: Option<&[Segment]>) -> Result<Vec<Damage>, Error> {
    let mut found = Vec::new();
    for path in sorted(archive.objects.folder())? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let is_shard =
            name.len() == 3 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_shard || !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            let why = "it is not a folder of objects";
            found.push(Damage::of(Kind::Foreign, path, why));
        }
    }
    for path in sorted(&archive.records())? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let known = |digest| segments.is_none_or(|known| known.iter().any(|s| s.digest == digest));
        let why = match segments::named(name) {
            _ if !is_file(&path) => "it is no file",
            _ if name == "current.jsonl" => continue,
            Some(digest) if known(digest) => continue,
            Some(_) => "the database does not know this segment; `larder rebuild` reads it",
            None => "it is not a file of the record log",
        };
        found.push(Damage::of(Kind::Foreign, path, why));
    }
    Ok(found)
}

/// Hashes the sealed segments.
///
/// # Errors
/// When one may not be read.
pub fn check_segments(
    archive: &Archive,
    segments: &[Segment],
    hasher: &mut Hasher<'_>,
) -> Result<Vec<Damage>, Error> {
    let mut found = Vec::new();
    for segment in segments {
        let path = archive.records().join(segment.file_name());
        let why = match hasher.hash(&path, false) {
            Ok(hashed) if hashed.sha256 == segment.digest => continue,
            Ok(hashed) => format!("its bytes have the SHA-256 {}", hashed.sha256),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                "it is gone".to_owned()
            }
            Err(Error::Io { source, .. }) if is_of_the_disk(&source) => {
                format!("cannot be read: {source}")
            }
            Err(error) => return Err(error),
        };
        let why = format!("{why}; put it back from a backup: what it says can be had nowhere else");
        found.push(Damage::of(Kind::Segment, path, why));
    }
    Ok(found)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(Error::io("read", folder))?;
    paths.sort();
    Ok(paths)
}
