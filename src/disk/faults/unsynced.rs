//! What a power cut would take away: the worst that POSIX allows.
//!
//! A name made, moved or removed is safe once its folder was synced; the bytes of a file once the file was. Measured on
//! ext4: a file that was written and not synced came back with no bytes, and one that was renamed without a sync of its folder
//! under its old name. Removals are not undone: what comes back of them is swept like any leftover.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::Op;

/// What was done and is not yet safe.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Names, in the order in which they were made.
    names: Vec<Name>,
    /// Files with bytes that are not safe: how many of them are.
    bytes: BTreeMap<PathBuf, u64>,
}

#[derive(Debug, PartialEq)]
enum Name {
    Made(PathBuf),
    Folder(PathBuf),
    Moved(PathBuf, PathBuf),
}

impl Name {
    fn is_in(&self, folder: &Path) -> bool {
        let (Self::Made(path) | Self::Folder(path) | Self::Moved(_, path)) = self;
        path.parent() == Some(folder)
    }
}

impl Unsynced {
    /// What must be known of the state before an operation.
    pub(super) fn before(&mut self, op: Op<'_>) {
        if let Op::Write(path) = op {
            let safe = || fs::metadata(path).map_or(0, |meta| meta.len());
            self.bytes.entry(path.to_owned()).or_insert_with(safe);
        }
    }

    /// Takes in an operation that has succeeded.
    pub(super) fn after(&mut self, op: Op<'_>) {
        match op {
            Op::Create(path) => {
                self.names.push(Name::Made(path.to_owned()));
                self.bytes.insert(path.to_owned(), 0);
            }
            Op::Sync(path) => {
                self.bytes.remove(path);
            }
            Op::MakeDir(path) => self.names.push(Name::Folder(path.to_owned())),
            Op::Rename(from, to) => {
                self.names.push(Name::Moved(from.to_owned(), to.to_owned()));
                if let Some(safe) = self.bytes.remove(from) {
                    self.bytes.insert(to.to_owned(), safe);
                }
            }
            Op::Remove(path) => {
                self.bytes.remove(path);
                self.names
                    .retain(|name| *name != Name::Made(path.to_owned()));
            }
            Op::SyncDir(folder) => self.keep(folder),
            Op::SyncAll(_) => *self = Self::default(),
            Op::Write(_) | Op::Commit | Op::Committed | Op::Work(_) => {}
        }
    }

    /// The names in a folder are safe.
    fn keep(&mut self, folder: &Path) {
        let (kept, rest): (Vec<_>, Vec<_>) =
            self.names.drain(..).partition(|name| name.is_in(folder));
        self.names = rest;
        for name in kept {
            // A file that is safe under its new name needs no safe old one.
            if let Name::Moved(from, _) = name {
                self.names.retain(|name| *name != Name::Made(from.clone()));
            }
        }
    }

    /// Takes it all away.
    pub(super) fn undo(&mut self) {
        for name in std::mem::take(&mut self.names).into_iter().rev() {
            // What somebody has removed since is gone either way.
            match name {
                Name::Made(path) => {
                    self.bytes.remove(&path);
                    let _ = fs::remove_file(path);
                }
                Name::Folder(path) => {
                    self.bytes.retain(|file, _| !file.starts_with(&path));
                    let _ = fs::remove_dir_all(path);
                }
                Name::Moved(from, to) => {
                    if fs::rename(&to, &from).is_ok()
                        && let Some(safe) = self.bytes.remove(&to)
                    {
                        self.bytes.insert(from, safe);
                    }
                }
            }
        }
        for (path, safe) in std::mem::take(&mut self.bytes) {
            shorten(&path, safe);
        }
    }
}

/// Leaves the safe bytes of a file, and half of the others of one that had any: the disk was just at it.
fn shorten(path: &Path, safe: u64) {
    let Ok(meta) = fs::metadata(path) else { return };
    let more = meta.len().saturating_sub(safe);
    let left = if safe == 0 { 0 } else { safe + more / 2 };
    let mode = meta.permissions();
    // Objects are read-only from the start.
    let _ = fs::set_permissions(path, Permissions::from_mode(0o600));
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        let _ = file.set_len(left);
    }
    let _ = fs::set_permissions(path, mode);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk {
        folder: tempfile::TempDir,
        unsynced: Unsynced,
    }

    impl Disk {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().expect("a temporary folder"),
                unsynced: Unsynced::default(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn dir(&mut self, name: &str) {
            fs::create_dir(self.path(name)).expect("made");
            self.unsynced.after(Op::MakeDir(&self.path(name)));
        }

        fn write(&mut self, name: &str, bytes: &str) {
            let path = self.path(name);
            if !path.exists() {
                fs::write(&path, "").expect("made");
                self.unsynced.after(Op::Create(&path));
            }
            self.unsynced.before(Op::Write(&path));
            let text = fs::read_to_string(&path).expect("there") + bytes;
            fs::write(&path, text).expect("written");
        }

        fn rename(&mut self, from: &str, to: &str) {
            let (from, to) = (self.path(from), self.path(to));
            fs::rename(&from, &to).expect("renamed");
            self.unsynced.after(Op::Rename(&from, &to));
        }

        fn sync(&mut self, name: &str) {
            self.unsynced.after(Op::Sync(&self.path(name)));
        }

        fn sync_dir(&mut self, name: &str) {
            let path = self.path(name);
            let path = if name.is_empty() {
                self.folder.path().to_owned()
            } else {
                path
            };
            self.unsynced.after(Op::SyncDir(&path));
        }

        fn cut(&mut self) -> Vec<(String, String)> {
            self.unsynced.undo();
            let mut left = Vec::new();
            let mut folders = vec![self.folder.path().to_owned()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).expect("there") {
                    let path = entry.expect("there").path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    let name = path.strip_prefix(self.folder.path()).expect("below");
                    let text = fs::read_to_string(&path).expect("there");
                    left.push((name.display().to_string(), text));
                }
            }
            left.sort();
            left
        }
    }

    /// A file on its way to its name, as far as `steps` go.
    fn put(steps: &str) -> Vec<(String, String)> {
        let mut disk = Disk::new();
        disk.dir("staging");
        disk.dir("objects");
        disk.sync_dir("");
        disk.write("staging/1", "bytes");
        for step in steps.split_whitespace() {
            match step {
                "sync" => disk.sync("staging/1"),
                "rename" => disk.rename("staging/1", "objects/a"),
                "syncdir" => disk.sync_dir("objects"),
                "syncfs" => disk.unsynced.after(Op::SyncAll(disk.folder.path())),
                _ => disk.sync_dir("staging"),
            }
        }
        disk.cut()
    }

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_is_not() {
        let left = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
        assert_eq!(put(""), vec![]);
        assert_eq!(put("staging"), left("staging/1", ""));
        assert_eq!(put("sync staging rename"), left("staging/1", "bytes"));
        assert_eq!(put("rename syncdir"), left("objects/a", ""));
        assert_eq!(put("sync rename syncdir"), left("objects/a", "bytes"));
        assert_eq!(put("rename syncfs"), left("objects/a", "bytes"));
        assert_eq!(put("syncfs rename"), left("staging/1", "bytes"));
    }

    #[test]
    fn a_log_loses_what_was_added_since_its_sync_but_for_a_torn_rest() {
        let mut disk = Disk::new();
        disk.write("log", "safe\n");
        disk.sync("log");
        disk.sync_dir("");
        disk.write("log", "lost");
        assert_eq!(disk.cut(), [("log".to_owned(), "safe\nlo".to_owned())]);
    }

    #[test]
    fn a_folder_whose_name_is_not_safe_goes_with_all_that_is_in_it() {
        let mut disk = Disk::new();
        disk.dir("objects");
        disk.write("objects/a", "bytes");
        disk.sync("objects/a");
        disk.sync_dir("objects");
        assert_eq!(disk.cut(), []);
    }
}
