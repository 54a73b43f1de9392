//! The archive on disk: identity, objects, record log, staging, and the lock that keeps a second larder out.
//!
//! Everything that outlives larder is here, as plain files. **Invariant:** a file below `objects/` is complete and its
//! bytes match its name; it is written to `staging/`, checked, synced and only then renamed.

mod content;
mod digest;
mod hash;
mod held;
mod line;
mod lines;
mod lock;
mod log;
mod objects;
mod parts;
mod record;
mod records;
mod seal;
mod segments;
mod verify;

#[cfg(test)]
mod fuzz_tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use content::Promise;
pub use digest::{Digest, NotADigest};
pub use hash::Hasher;
pub use line::{LogLine, check_lines};
pub use lines::Lines;
pub use lock::{Holder, Lock};
pub use log::{Layout, Met, each_line, each_line_from, layout};
pub use objects::{Objects, Put, PutError, Staged, Wanted};
pub use parts::{Opened, Part};
pub use record::{FileState, Record, record_digest};
pub use records::{Line, Mark, RecordLog};
pub use segments::Segment;
pub use verify::{Damage, Kind, Orphan, Shard, check_segments, check_shard, strangers};

use crate::{
    clock::Millis,
    config::MinFree,
    disk::{self, Room, Short, Trouble},
};

/// What can go wrong with the archive itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("could not {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, such as `write`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder is not the archive that was meant.
    #[error("{0}")]
    Identity(String),
    /// Another larder holds the archive.
    #[error("the archive {path} is in use by larder {holder}", path = path.display())]
    InUse {
        /// The archive.
        path: PathBuf,
        /// By whom.
        holder: Holder,
    },
}

impl Error {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// What keeps everything from being written, where it is that. The failure of a sync never is.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Io { what, path, source } if *what != SYNC => Trouble::of(source, path),
            _ => None,
        }
    }

    /// Whether bytes could not be written, as against made durable.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Io { what, .. } if *what == "write")
    }

    /// The system's own error.
    pub(crate) fn source_of_io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What a sync is called in [`Error::Io`].
const SYNC: &str = "sync";

/// The identity of an archive, in the file `LARDER`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Identity {
    format: u32,
    id: String,
}

/// The format of the folder.
const FORMAT: u32 = 1;

/// `current.jsonl` is sealed when it is this long, unless the configuration says otherwise.
pub const SEAL_AT: u64 = 64 << 20;

/// One archive.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    id: String,
    seal_at: u64,
    /// The objects.
    pub objects: Objects,
    parts: parts::Parts,
}

impl Archive {
    /// Opens the archive at `root`. `expected` are the identities that it must have, with who says so.
    ///
    /// # Errors
    /// When there is no archive, or another one.
    pub fn open(root: &Path, expected: &[(&str, &str)]) -> Result<Self, Error> {
        let path = root.join("LARDER");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Identity(match expected.first() {
                    Some((id, who)) => format!(
                        "{} is not the archive {id} that {who} names (it has no file LARDER); is its disk mounted?",
                        root.display()
                    ),
                    None => format!(
                        "there is no archive at {} yet; `larder run` makes it",
                        root.display()
                    ),
                }));
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let identity: Identity = serde_json::from_str(&text).map_err(|_| {
            Error::Identity(format!("{} is not a file of larder's", path.display()))
        })?;
        if identity.format > FORMAT {
            return Err(Error::Identity(format!(
                "the archive {} has format {}; this larder reads up to {FORMAT}",
                root.display(),
                identity.format
            )));
        }
        for (id, who) in expected {
            if *id != identity.id {
                return Err(Error::Identity(format!(
                    "{} is the archive {}, but {who} names {id}; is the right disk mounted?",
                    root.display(),
                    identity.id
                )));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            objects: Objects::new(root),
            parts: parts::Parts::default(),
            id: identity.id,
            seal_at: SEAL_AT,
        })
    }

    /// Seals `current.jsonl` when it is this long.
    #[must_use]
    pub fn sealing_at(self, bytes: u64) -> Self {
        Self {
            seal_at: bytes,
            ..self
        }
    }

    /// Whether an archive is at `root`.
    pub fn exists(root: &Path) -> bool {
        root.join("LARDER").exists()
    }

    /// Makes an archive at `root`, which must not hold one.
    ///
    /// # Errors
    /// When a file or folder cannot be made.
    pub fn create(root: &Path) -> Result<Self, Error> {
        for folder in ["objects", "records", "staging"] {
            let path = root.join(folder);
            disk::make_dirs(&path).map_err(Error::io("make", path))?;
        }
        let id = format!("{:032x}", fastrand::u128(..));
        let identity = Identity {
            format: FORMAT,
            id: id.clone(),
        };
        let text = serde_json::to_string(&identity).expect("a number and a text are JSON") + "\n";
        let (path, temp) = (root.join("LARDER"), root.join("staging/LARDER"));
        // Left by a larder that died here, before this was an archive.
        if temp.exists() {
            disk::remove(&temp).map_err(Error::io("remove", &temp))?;
        }
        write_synced(&temp, text.as_bytes())?;
        disk::rename(&temp, &path).map_err(Error::io("make", &path))?;
        sync_dir(root)?;
        Self::open(root, &[(&id, "it")])
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether anything is in it that an empty database would not know.
    pub fn holds_anything(&self) -> bool {
        let log = fs::metadata(self.log_path()).is_ok_and(|m| m.len() > 0);
        let any = |folder: &str| {
            let mut entries = fs::read_dir(self.root.join(folder))
                .into_iter()
                .flatten()
                .flatten();
            entries.any(|entry| entry.file_name() != "current.jsonl")
        };
        log || any("objects") || any("records")
    }

    /// The record log under way.
    pub fn log_path(&self) -> PathBuf {
        self.root.join("records/current.jsonl")
    }

    /// What there is too little of on the archive's disk; `times` as in [`Room::short`]. What cannot be told is no reason.
    pub fn short_of_room(&self, min_free: MinFree, times: u64) -> Option<Short> {
        Room::of(&self.root).ok()?.short(min_free, times)
    }

    /// Writes, syncs and removes a small file, to see whether the archive can be written again.
    ///
    /// # Errors
    /// When it cannot.
    pub fn try_to_write(&self) -> Result<(), Error> {
        let path = self.root.join("staging/try");
        // What an earlier try has left.
        let _ = fs::remove_file(&path);
        write_synced(&path, b"larder")?;
        disk::remove(&path).map_err(Error::io("remove", path))
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Removes what an earlier larder left in `staging/` and nobody can go on with. Call only with the lock held. Returns
    /// how many files.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not be removed, or one of the archive's folders is a link to elsewhere.
    pub fn sweep_staging(&self, now: Millis) -> Result<usize, Error> {
        for folder in ["objects", "records", "staging", "damaged"] {
            let path = self.root.join(folder);
            if fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
                return Err(Error::Identity(format!(
                    "{} is not a folder of its own: a link could lead anywhere; put the real folder in its place",
                    path.display()
                )));
            }
        }
        let folder = self.staging();
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let (kept, mut removed) = (parts::kept(&folder, now), 0);
        self.parts.learn(&kept);
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            let name = path.file_name().unwrap_or_default();
            if kept.contains(&*name.to_string_lossy()) {
                continue;
            }
            disk::remove(&path).map_err(Error::io("remove", path))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// Writes a small file and syncs it.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    disk::write_new(path, bytes).map_err(Error::io("write", path))
}

/// Makes sure that a file of the state folder is there and that nobody but its owner reads it: it may hold addresses that
/// are nobody else's business. What SQLite puts beside the database gets the same mode.
pub(crate) fn keep_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let private = fs::Permissions::from_mode(0o600);
        file.set_permissions(private)
            .map_err(Error::io("change the mode of", path))?;
    }
    Ok(())
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    disk::sync_dir(path).map_err(Error::io(SYNC, path))
}
