//! The lock: one larder writes an archive at a time; who it is can be read by everybody.
//!
//! The lock is the kernel's (flock), freed by death; the text in the file only says who. Not for network file systems.

use std::{
    fmt, fs, io,
    io::{Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    clock::{Clock, rfc3339},
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
    file: fs::File,
}

/// `status` looks at the lock for a moment; a command that wants it waits this often, 50 ms each.
const TRIES: u32 = 10;

fn lock_path(state: &Path) -> PathBuf {
    state.join("larder.lock")
}

impl Lock {
    /// Takes the lock of the state folder `state` of the archive at `root`, for the command `kind`.
    ///
    /// # Errors
    /// [`Error::InUse`] when another larder holds it.
    pub fn take(state: &Path, root: &Path, kind: &str, clock: &Clock) -> Result<Self, Error> {
        fs::create_dir_all(state).map_err(Error::io("make", state))?;
        let path = lock_path(state);
        super::keep_private(&path)?;
        let open = fs::OpenOptions::new().read(true).write(true).open(&path);
        let mut file = open.map_err(Error::io("open", &path))?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
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
        let holder = Holder {
            kind: kind.to_owned(),
            pid: std::process::id(),
            since: rfc3339(clock.now()),
        };
        let text = serde_json::to_string(&holder).expect("texts and a number are JSON") + "\n";
        let write = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()));
        write.map_err(Error::io("write", path))?;
        Ok(Self { file })
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
        let _ = self.file.set_len(0);
    }
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
    }
}
