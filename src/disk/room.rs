//! How much room a disk has, and when that is too little to go on.

use std::{io, path::Path};

use super::Trouble;
use crate::config::MinFree;

/// What is free on a disk, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may be written.
    pub free: u64,
    /// Bytes in all.
    pub size: u64,
    /// Files that may be made; `None` where the disk knows no such limit.
    pub files: Option<u64>,
    /// Files in all.
    pub most_files: u64,
}

/// Why nothing more is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// What there is too little of.
    pub trouble: Trouble,
    /// How much there is, and how much is asked for; for people.
    pub message: String,
}

/// The default of `min_free`, unless 2 % of the disk are more.
const LEAST_FREE: u64 = 1 << 30;
/// Files that must be left to make, unless 2 % of all that the disk can hold are fewer.
const LEAST_FILES: u64 = 10_000;

impl Room {
    /// The room on the disk of this folder.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        let room = Self {
            free: stat.f_bavail * stat.f_frsize,
            size: stat.f_blocks * stat.f_frsize,
            files: (stat.f_files > 0).then_some(stat.f_favail),
            most_files: stat.f_files,
        };
        #[cfg(debug_assertions)]
        let room = super::faults::room(folder).unwrap_or(room);
        Ok(room)
    }

    /// What there is too little of, where that is so. Whoever was held before is let go only when there is `times` as much
    /// as is asked for: 2 keeps a full disk from stopping the work every few seconds.
    pub fn short(&self, min_free: MinFree, times: u64) -> Option<Short> {
        let words = |n: u64| crate::text::bytes(i64::try_from(n).unwrap_or(i64::MAX));
        let least = match min_free {
            MinFree::Default => LEAST_FREE.max(self.size / 50),
            MinFree::Bytes(bytes) => bytes,
        };
        if self.free < least.saturating_mul(times) {
            return Some(Short {
                trouble: Trouble::DiskFull,
                message: format!(
                    "only {} are free on the archive's disk; `min_free` asks for {}",
                    words(self.free),
                    words(least)
                ),
            });
        }
        let least = LEAST_FILES.min(self.most_files / 50);
        let left = self
            .files
            .filter(|left| *left < least.saturating_mul(times))?;
        Some(Short {
            trouble: Trouble::Inodes,
            message: format!(
                "only {left} more files can be made on the archive's disk, whatever their size; {least} must be left"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(free: u64, files: u64) -> Room {
        Room {
            free,
            size: 100 << 30,
            files: Some(files),
            most_files: 1_000_000,
        }
    }

    #[test]
    fn a_disk_that_was_full_is_used_again_only_at_twice_the_mark() {
        let least = MinFree::Bytes(1000);
        let trouble = |room: Room, times| room.short(least, times).map(|short| short.trouble);
        assert_eq!(trouble(room(999, 1 << 20), 1), Some(Trouble::DiskFull));
        assert_eq!(trouble(room(1000, 1 << 20), 1), None);
        assert_eq!(trouble(room(1999, 1 << 20), 2), Some(Trouble::DiskFull));
        assert_eq!(trouble(room(2000, 1 << 20), 2), None);
        assert_eq!(trouble(room(2000, 9_999), 1), Some(Trouble::Inodes));
        assert_eq!(trouble(room(2000, 19_999), 2), Some(Trouble::Inodes));
        assert_eq!(trouble(room(2000, 20_000), 2), None);
    }

    #[test]
    fn the_default_mark_is_two_percent_of_a_large_disk_and_a_gibibyte_of_a_small_one() {
        let trouble = |room: Room| room.short(MinFree::Default, 1).is_some();
        assert!(trouble(room((2 << 30) - 1, 1 << 20)) && !trouble(room(2 << 30, 1 << 20)));
        let small = Room {
            size: 10 << 30,
            ..room(1 << 30, 1 << 20)
        };
        assert!(
            !trouble(small)
                && trouble(Room {
                    free: (1 << 30) - 1,
                    ..small
                })
        );
        // Some disks know no limit of files, and a small one has few from the start.
        assert!(!trouble(Room {
            files: None,
            most_files: 0,
            ..small
        }));
        assert!(!trouble(Room {
            files: Some(150),
            most_files: 200,
            ..small
        }));
    }
}
