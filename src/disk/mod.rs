//! The disk: the file operations that make larder's promise, and what it says when it cannot go on.
//!
//! `archive` and `store` write, sync, rename and remove through here alone. So a test can count these operations, let any of
//! them fail, and end the process or the power before any of them: the layer `faults` does that, in builds with debug
//! assertions only. A release build calls the system and nothing else.

mod ballast;
#[cfg(debug_assertions)]
mod faults;
mod room;
mod trouble;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

pub(crate) use ballast::Ballast;
pub use room::{Room, Short};
pub use trouble::Trouble;
pub(crate) use trouble::{is_broken, is_crowded, is_too_large};

/// One operation that a test may count, refuse or die before.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(debug_assertions),
    allow(dead_code, reason = "only tests look at them")
)]
pub(crate) enum Op<'a> {
    /// A file is made.
    Create(&'a Path),
    /// Bytes are written to a file.
    Write(&'a Path),
    /// The bytes of a file are made durable.
    Sync(&'a Path),
    /// A folder is made.
    MakeDir(&'a Path),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// A file is removed.
    Remove(&'a Path),
    /// The names in a folder are made durable.
    SyncDir(&'a Path),
    /// Everything on the disk of this folder is made durable.
    SyncAll(&'a Path),
    /// The database commits a group.
    Commit,
    /// The group is committed; nobody has heard of it yet.
    Committed,
    /// A worker begins with a task, named by its address.
    Work(&'a str),
}

/// Does one operation, unless a test has other plans.
///
/// # Errors
/// The operation's own, or a test's.
#[inline]
pub(crate) fn at(op: Op<'_>, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[cfg(debug_assertions)]
    return faults::at(op, act);
    #[cfg(not(debug_assertions))]
    {
        let _ = op;
        act()
    }
}

/// A point that is no operation of its own.
///
/// # Errors
/// A test's.
#[inline]
pub(crate) fn pass(op: Op<'_>) -> io::Result<()> {
    at(op, || Ok(()))
}

/// Makes a file that must not be there, not even as a link.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = None;
    at(Op::Create(path), || {
        file = Some(options.open(path)?);
        Ok(())
    })?;
    file.ok_or_else(|| io::ErrorKind::Other.into())
}

/// Opens a file to read and write, making it where there is none.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let mut file = None;
    at(Op::Create(path), || {
        file = Some(options.create(true).truncate(false).open(path)?);
        Ok(())
    })?;
    file.ok_or_else(|| io::ErrorKind::Other.into())
}

/// Writes slices one behind the other, in as few calls as the kernel takes.
pub(crate) fn write_all(
    file: &mut File,
    path: &Path,
    mut slices: Vec<io::IoSlice<'_>>,
) -> io::Result<()> {
    const AT_ONCE: usize = 512;
    at(Op::Write(path), || {
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let most = rest.len().min(AT_ONCE);
            match file.write_vectored(&rest[..most]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => io::IoSlice::advance_slices(&mut rest, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// Writes to a file one piece after another.
pub(crate) struct Writer<'a> {
    file: &'a File,
    path: &'a Path,
}

impl<'a> Writer<'a> {
    /// Of the file at `path`.
    pub(crate) fn new(file: &'a File, path: &'a Path) -> Self {
        Self { file, path }
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file;
        at(Op::Write(self.path), || file.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes bytes at a place of a file.
pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    at(Op::Write(path), || file.write_all_at(bytes, offset))
}

/// Makes the bytes of a file durable. **Invariant:** after an error nobody syncs this file again: the kernel may have
/// dropped what it could not write, and would call the next sync a success.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    at(Op::Sync(path), || file.sync_data())
}

/// Makes a file with these bytes, durable but for its name.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path, 0o666)?;
    write_all(&mut file, path, vec![io::IoSlice::new(bytes)])?;
    sync(&file, path)
}

/// Makes a folder. One that is there is an error.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    at(Op::MakeDir(path), || fs::create_dir(path))
}

/// Makes a folder and those above it, where they are not there, and makes their names durable.
pub(crate) fn make_dirs(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        make_dirs(parent)?;
    }
    match make_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => match path.parent() {
            Some(parent) if parent != Path::new("") => sync_dir(parent),
            _ => sync_dir(Path::new(".")),
        },
    }
}

/// Gives a file another name, in the place of whatever has it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    at(Op::Rename(from, to), || fs::rename(from, to))
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    at(Op::Remove(path), || fs::remove_file(path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    at(Op::SyncDir(path), || File::open(path)?.sync_all())
}

/// Makes everything durable that was written to the disk of an open folder.
pub(crate) fn sync_all(folder: &File, path: &Path) -> io::Result<()> {
    at(Op::SyncAll(path), || Ok(rustix::fs::syncfs(folder)?))
}
