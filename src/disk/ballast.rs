//! Ballast: room kept for the database, thrown off when its disk is full.
//!
//! Without it a full disk could not even be written down. It is taken up again at a later start.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Room, Short, Trouble, open};

/// Its size at most; 2 % of the disk where that is less.
const SIZE: u64 = 64 << 20;
/// It is taken up only where this many times its size is free.
const ROOM: u64 = 4;

/// A file that holds room for the database.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Takes up ballast in a state folder, where there is room. That it cannot is no error: there may be less than it needs.
    pub(crate) fn take(state: &Path) -> Self {
        let ballast = Self {
            path: state.join("ballast"),
        };
        if let Err(error) = ballast.fill(state) {
            tracing::debug!(%error, "Could not take up ballast");
            ballast.release();
        }
        ballast
    }

    fn fill(&self, state: &Path) -> io::Result<()> {
        let room = Room::of(state)?;
        let size = SIZE.min(room.size / 50);
        let held = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if held >= size || room.free < size * ROOM {
            return Ok(());
        }
        let file = open(&self.path)?;
        // Reserved, not written: a moment's work on most disks. Where there is no such thing, there is no ballast.
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&file, flags, 0, size)?)
    }

    /// What there is too little of on the disk of a state folder, where that is not the archive's; `times` as in
    /// [`Room::short`].
    pub(crate) fn short(state: &Path, archive: &Path, times: u64) -> Option<Short> {
        let disk = |folder: &Path| fs::metadata(folder).ok().map(|meta| meta.dev());
        if disk(state) == disk(archive) {
            return None;
        }
        let room = Room::of(state).ok()?;
        let least = SIZE.min(room.size / 50);
        (room.free < least * times).then(|| Short {
            trouble: Trouble::DiskFull,
            message: format!(
                "only {} are free on the disk of the database, {}",
                crate::text::bytes(i64::try_from(room.free).unwrap_or(i64::MAX)),
                state.display()
            ),
        })
    }

    /// Throws it off. Returns whether there was any.
    pub(crate) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_taken_up_once_and_thrown_off() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ballast = Ballast::take(folder.path());
        let length = |folder: &Path| fs::metadata(folder.join("ballast")).map(|meta| meta.len());
        // Where the disk has little room there is none.
        if let Ok(size) = length(folder.path()) {
            assert!(size <= SIZE);
            Ballast::take(folder.path());
            assert_eq!(length(folder.path()).expect("there"), size);
            assert!(ballast.release() && !ballast.release());
        }
        assert!(length(folder.path()).is_err());
    }
}
