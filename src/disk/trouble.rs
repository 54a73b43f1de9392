//! What keeps everything from being written, whatever it is: no matter of one file.

use std::{fmt, io, path::Path};

use rustix::io::Errno;

use super::Room;

/// Why nothing can be written for now. The words are part of the contract: `status` shows them as a job's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No room is left, or no quota.
    DiskFull,
    /// No more files can be made.
    Inodes,
    /// The disk is mounted read-only.
    ReadOnly,
    /// The disk fails again and again.
    Storage,
    /// Another program holds the database.
    DbBusy,
}

impl Trouble {
    /// Every trouble.
    pub const ALL: [Self; 5] = [
        Self::DiskFull,
        Self::Inodes,
        Self::ReadOnly,
        Self::Storage,
        Self::DbBusy,
    ];

    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::Inodes => "inodes",
            Self::ReadOnly => "read_only",
            Self::Storage => "storage",
            Self::DbBusy => "db_busy",
        }
    }

    /// What a person can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::DiskFull => "make room on the archive's disk, then run again",
            Self::Inodes => {
                "remove files you do not need from the archive's disk: it can hold no more of them"
            }
            Self::ReadOnly => "find out why the disk is mounted read-only, then run again",
            Self::Storage => "look at the archive's disk and at the system's log",
            Self::DbBusy => "end the program that has larder.db open for writing",
        }
    }

    /// The trouble behind an error of a write on the disk of `path`, where it is one. The failure of a sync never is: that
    /// is not a matter of waiting.
    pub fn of(error: &io::Error, path: &Path) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => {
                let folder = path.parent().unwrap_or(path);
                let room = Room::of(folder).ok();
                let left = room.is_none_or(|room| room.files != Some(0));
                Some(if left { Self::DiskFull } else { Self::Inodes })
            }
            io::ErrorKind::QuotaExceeded => Some(Self::DiskFull),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether the disk itself failed, or what leads to it: three such errors in a row are not a matter of one file.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    let errors = [
        Errno::IO,
        Errno::NXIO,
        Errno::NODEV,
        Errno::STALE,
        Errno::NOTCONN,
        Errno::TIMEDOUT,
    ];
    let is = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
    errors.iter().any(is)
}

/// Whether this process, or the machine, has no descriptor left.
pub(crate) fn is_crowded(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the system allows no file of this size.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_whose_fault_they_are() {
        let trouble = |errno: Errno| Trouble::of(&errno.into(), Path::new("/tmp/x"));
        assert_eq!(trouble(Errno::NOSPC), Some(Trouble::DiskFull));
        assert_eq!(trouble(Errno::DQUOT), Some(Trouble::DiskFull));
        assert_eq!(trouble(Errno::ROFS), Some(Trouble::ReadOnly));
        // One file may be unlucky; that the whole disk is bad shows by the next ones.
        assert_eq!(trouble(Errno::IO), None);
        assert_eq!(trouble(Errno::MFILE), None);
        assert!(is_crowded(&Errno::MFILE.into()) && is_crowded(&Errno::NFILE.into()));
        assert!(is_too_large(&Errno::FBIG.into()) && !is_too_large(&Errno::NOSPC.into()));
    }
}
