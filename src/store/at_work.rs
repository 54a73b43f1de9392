//! Which tasks larder is at just now, in a small file that outlives its death.
//!
//! The queue knows what is claimed, which is more: most of it waits for its turn, and has killed nobody. A commit for each
//! task that is begun would cost too much, and is not needed: what is written to this file is there after a death of the
//! process. After one of the machine it may not be, but then no task is to blame. A note may outlive its task too: it names
//! the lease, and only one that still holds counts.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::Lease;
use crate::disk;

/// Tasks that can be noted at once; more are at work unseen.
const SLOTS: u32 = 512;
/// Bytes of a slot: the task, and the token of its lease.
const SLOT: usize = 16;

/// The file.
#[derive(Debug)]
pub(super) struct AtWork {
    file: File,
    free: Mutex<Vec<u32>>,
}

/// What larder was at: the task, and the token of its lease.
pub(super) type WasAt = (i64, i64);

/// A task that larder is at until this is dropped.
#[derive(Debug)]
pub struct Begun {
    at_work: Arc<AtWork>,
    slot: Option<u32>,
}

impl AtWork {
    /// Opens the file in a state folder. Also says what an earlier larder was at when it died.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn open(state: &Path) -> io::Result<(Arc<Self>, Vec<WasAt>)> {
        let file = disk::open(&state.join("at-work"))?;
        let mut bytes = vec![0; SLOTS as usize * SLOT];
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let length = length.min(bytes.len());
        file.read_exact_at(&mut bytes[..length], 0)?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, i64::from_le_bytes);
        let found = bytes
            .chunks_exact(SLOT)
            .map(|slot| (number(&slot[..8]), number(&slot[8..])))
            .filter(|(task, _)| *task != 0)
            .collect();
        // In full, so that a note later needs no room on the disk.
        file.write_all_at(&vec![0; bytes.len()], 0)?;
        let at_work = Self {
            file,
            free: Mutex::new((0..SLOTS).rev().collect()),
        };
        Ok((Arc::new(at_work), found))
    }

    /// Notes that larder is at the task of this lease.
    pub(super) fn begin(self: &Arc<Self>, lease: &Lease) -> Begun {
        let slot = self.free().pop();
        if let Some(slot) = slot {
            let mut bytes = [0; SLOT];
            bytes[..8].copy_from_slice(&lease.task.to_le_bytes());
            bytes[8..].copy_from_slice(&lease.token.to_le_bytes());
            let place = u64::from(slot) * SLOT as u64;
            if let Err(error) = self.file.write_all_at(&bytes, place) {
                tracing::debug!(%error, "Could not note what larder is at");
            }
        }
        Begun {
            at_work: self.clone(),
            slot,
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // What stands there may stay: a lease that has ended is nobody's any more.
        if let Some(slot) = self.slot {
            self.at_work.free().push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_and_not_ended_is_found_by_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lease = |task| Lease {
            task,
            job: 1,
            run: 1,
            token: -task,
        };
        let (first, found) = AtWork::open(folder.path()).expect("opens");
        assert_eq!(found, []);
        let kept = first.begin(&lease(7));
        drop(first.begin(&lease(8)));
        // In the place of the one that has ended.
        let _last = first.begin(&lease(9));
        let (second, found) = AtWork::open(folder.path()).expect("opens");
        assert_eq!(found, [(7, -7), (9, -9)]);
        drop(kept);
        drop(second);
        assert_eq!(AtWork::open(folder.path()).expect("opens").1, []);
    }

    #[test]
    fn more_than_can_be_noted_is_no_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at_work, _) = AtWork::open(folder.path()).expect("opens");
        let lease = Lease {
            task: 1,
            job: 1,
            run: 1,
            token: 1,
        };
        let begun: Vec<_> = (0..SLOTS + 3).map(|_| at_work.begin(&lease)).collect();
        drop(begun);
        assert_eq!(at_work.free().len(), SLOTS as usize);
    }
}
