//! The lock: one larder writes an archive at a time; who it is can be read by everybody.
//!
//! The lock is the kernel's (flock), freed by death; the text in the file only says who. Not for network file systems.

use std::{
    fmt, fs, io,
    io::Seek,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    clock::{Clock, rfc3339},
    disk,
    text::local_time,
};

/// The larder that holds an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The command, such as `run`.
    pub kind: String,
    /// Its process.
    pub pid: u32,
    /// Since when, RFC 3339.
    pub since: String,
    /// What keeps it from writing just now, as a word of the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.parse::<jiff::Timestamp>();
        let since = since.map_or_else(
            |_| self.since.clone(),
            |time| local_time(time.as_millisecond()),
        );
        write!(f, "{} (pid {}, since {since})", self.kind, self.pid)
    }
}

/// A lock that is held; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    files: Vec<fs::File>,
    holder: Mutex<Holder>,
}

/// `status` looks at the lock for a moment; a command that wants it waits this often, 50 ms each.
const TRIES: u32 = 10;
/// The text is padded to this length, so that it is written over in one piece, and on a full disk too.
const LENGTH: usize = 256;

fn lock_path(state: &Path) -> PathBuf {
    state.join("larder.lock")
}

impl Lock {
    /// Takes the lock of the archive at `root` for the command `kind`: that of its state folder `state`, and that of its own
    /// where the two are not one.
    ///
    /// # Errors
    /// [`Error::InUse`] when another larder holds either.
    pub fn take(state: &Path, root: &Path, kind: &str, clock: &Clock) -> Result<Self, Error> {
        disk::make_dirs(state).map_err(Error::io("make", state))?;
        let mut files = vec![take(state, root)?];
        let place = |folder: &Path| {
            fs::metadata(folder)
                .ok()
                .map(|meta| (meta.dev(), meta.ino()))
        };
        if root.is_dir() && place(root) != place(state) {
            files.push(take(root, root)?);
        }
        let holder = Holder {
            kind: kind.to_owned(),
            pid: std::process::id(),
            since: rfc3339(clock.now()),
            reason: None,
        };
        for file in &files {
            let write = file.set_len(0).and_then(|()| write(file, &holder));
            write.map_err(Error::io("write", lock_path(state)))?;
        }
        Ok(Self {
            files,
            holder: Mutex::new(holder),
        })
    }

    /// Says what keeps the holder from writing just now, or that nothing does.
    pub fn say(&self, reason: Option<&str>) {
        let mut holder = self.holder.lock().expect("nobody panics with it");
        holder.reason = reason.map(str::to_owned);
        for file in &self.files {
            if let Err(error) = write(file, &holder) {
                tracing::debug!(%error, "Could not say so in the lock");
            }
        }
    }

    /// Who holds the lock of the state folder `state` now.
    pub fn holder(state: &Path) -> Option<Holder> {
        let file = fs::File::open(lock_path(state)).ok()?;
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => Some(read(&file).unwrap_or_else(unknown)),
            _ => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes with the holder; the lock itself is freed by closing the file.
        for file in &self.files {
            let _ = file.set_len(0);
        }
    }
}

/// Locks one folder of the archive at `root`.
fn take(folder: &Path, root: &Path) -> Result<fs::File, Error> {
    let path = lock_path(folder);
    super::keep_private(&path)?;
    let open = fs::OpenOptions::new().read(true).write(true).open(&path);
    let file = open.map_err(Error::io("open", &path))?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(fs::TryLockError::WouldBlock) => {
                let path = root.to_owned();
                let holder = read(&file).unwrap_or_else(unknown);
                return Err(Error::InUse { path, holder });
            }
            Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
    }
}

fn write(file: &fs::File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_string(holder).expect("texts and a number are JSON");
    text += &" ".repeat(LENGTH.saturating_sub(text.len() + 1));
    text.push('\n');
    file.write_all_at(text.as_bytes(), 0)
}

fn read(mut file: &fs::File) -> Option<Holder> {
    file.rewind().ok()?;
    serde_json::from_str(io::read_to_string(file).ok()?.trim()).ok()
}

fn unknown() -> Holder {
    Holder {
        kind: "unknown".to_owned(),
        pid: 0,
        since: rfc3339(0),
        reason: None,
    }
}
