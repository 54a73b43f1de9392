//! The folder of a view: every touch of the disk below it.
//!
//! **Invariant:** nothing outside of the folder is made, changed or removed: each folder on the way is opened by its own name
//! without following links. Nothing that stands there is overwritten unless the caller has looked at it first.

use std::{
    cell::RefCell,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ioctl_ficlone, linkat, mkdirat, openat,
        readlinkat, renameat, renameat_with, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::Error;

/// What larder keeps for itself in the folder begins so.
pub(super) const OWN: &str = ".larder-view";
/// A file on its way to its name.
const TEMP: &str = ".larder-view.tmp";
/// The mode of folders and files before the umask.
const FOLDER: Mode = Mode::from_raw_mode(0o777);
const FILE: Mode = Mode::from_raw_mode(0o666);

/// The folder, open.
pub(super) struct Folder {
    path: PathBuf,
    root: Rc<OwnedFd>,
    /// The folder that was opened last: paths come in order.
    last: RefCell<(String, Rc<OwnedFd>)>,
}

/// What tells a file from another one at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp {
    pub ino: u64,
    pub bytes: u64,
    /// Nanoseconds since 1970 of the last change of its bytes.
    pub changed: i64,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File { device: u64, stamp: Stamp },
    Link,
    Folder,
    Other,
}

/// How a file comes to its name.
pub(super) enum Make<'a> {
    /// A hard link to the object at this path.
    Hard(&'a Path),
    /// A symbolic link with this target.
    Symbolic(&'a str),
    /// A copy of the object at this path that shares its blocks.
    Reflink(&'a Path),
    /// A file with these bytes.
    Bytes(&'a [u8]),
}

/// Looks at a path without following a link there.
pub(super) fn look(folder: impl AsFd, path: &str) -> rustix::io::Result<Option<Found>> {
    let stat = match statat(folder, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File {
            device: stat.st_dev,
            stamp: Stamp {
                ino: stat.st_ino,
                bytes: stat.st_size.unsigned_abs(),
                changed: stat.st_mtime * 1_000_000_000 + stat.st_mtime_nsec as i64,
            },
        },
        FileType::Symlink => Found::Link,
        FileType::Directory => Found::Folder,
        _ => Found::Other,
    }))
}

impl Folder {
    /// Opens the folder at `path`, which exists.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty());
        let root = Rc::new(root.map_err(|error| Error::io("open", path)(error.into()))?);
        Ok(Self {
            path: path.to_owned(),
            last: RefCell::new((String::new(), root.clone())),
            root,
        })
    }

    /// Keeps other larders from working on this view until the folder is dropped.
    pub(super) fn lock(&self) -> Result<(), Error> {
        use rustix::fs::{FlockOperation, flock};
        match flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Error::Busy(self.path.clone())),
            // Some network file systems lock no folders: then nobody is kept out.
            _ => Ok(()),
        }
    }

    /// Names in the folder itself that are not larder's own.
    pub(super) fn holds_anything(&self) -> Result<bool, Error> {
        for entry in fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let entry = entry.map_err(Error::io("read", &self.path))?;
            if !entry.file_name().to_string_lossy().starts_with(OWN) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folder `below`, opened without following links; `None` when it is not there, or is no folder.
    fn at(&self, below: &str, make: bool) -> Result<Option<Rc<OwnedFd>>, Error> {
        if below.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let (last, fd) = &*self.last.borrow()
            && last == below
        {
            return Ok(Some(fd.clone()));
        }
        let (above, name) = below.rsplit_once('/').unwrap_or(("", below));
        let Some(parent) = self.at(above, make)? else {
            return Ok(None);
        };
        let failed =
            |what| move |error: Errno| Error::io(what, self.path.join(below))(error.into());
        if make {
            match mkdirat(&parent, name, FOLDER) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("make")(error)),
            }
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(&parent, name, flags, Mode::empty()) {
            Ok(fd) => Rc::new(fd),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(failed("open")(error)),
        };
        *self.last.borrow_mut() = (below.to_owned(), fd.clone());
        Ok(Some(fd))
    }

    /// What stands at a path; nothing does where a folder on the way is none.
    pub(super) fn look(&self, path: &str) -> Result<Option<Found>, Error> {
        let (folder, name) = split(path);
        let Some(fd) = self.at(folder, false)? else {
            return Ok(None);
        };
        look(&*fd, name).map_err(|error| self.failed("look at", path, error))
    }

    /// The target of the symbolic link at a path.
    pub(super) fn target(&self, path: &str) -> Result<Option<String>, Error> {
        let (folder, name) = split(path);
        let Some(fd) = self.at(folder, false)? else {
            return Ok(None);
        };
        let target = readlinkat(&*fd, name, Vec::new());
        let target = target.map_err(|error| self.failed("read", path, error))?;
        Ok(target.into_string().ok())
    }

    /// Opens the regular file at a path for reading.
    pub(super) fn read(&self, path: &str) -> Result<Option<fs::File>, Error> {
        let (folder, name) = split(path);
        let Some(fd) = self.at(folder, false)? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&*fd, name, flags, Mode::empty()) {
            Ok(file) => fs::File::from(file),
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(self.failed("open", path, error)),
        };
        let meta = file
            .metadata()
            .map_err(Error::io("read", self.path.join(path)))?;
        Ok(meta.is_file().then_some(file))
    }

    /// Makes a file. With `replace`, what stands there gives way at once; without, the file is not made where anything
    /// stands. The error is the kernel's own: `EXIST` for something in the way, `NOENT` for an object that is not there.
    pub(super) fn make(
        &self,
        path: &str,
        make: &Make<'_>,
        replace: bool,
    ) -> Result<rustix::io::Result<()>, Error> {
        let (folder, name) = split(path);
        let Some(fd) = self.at(folder, true)? else {
            return Ok(Err(Errno::EXIST));
        };
        let at_once = matches!(make, Make::Hard(_) | Make::Symbolic(_)) && !replace;
        if at_once {
            return Ok(place(fd.as_fd(), name, make));
        }
        let made =
            place(self.root.as_fd(), TEMP, make).and_then(|()| self.rename(&fd, name, replace));
        if made.is_err() {
            // It is this view's own, whether it was made or left by an earlier one.
            let _ = unlinkat(&self.root, TEMP, AtFlags::empty());
        }
        Ok(made)
    }

    /// Gives the temporary file its name.
    fn rename(&self, folder: &OwnedFd, name: &str, replace: bool) -> rustix::io::Result<()> {
        if replace {
            return renameat(&self.root, TEMP, folder, name);
        }
        match renameat_with(&self.root, TEMP, folder, name, RenameFlags::NOREPLACE) {
            // Not every file system can promise it.
            Err(Errno::INVAL | Errno::NOSYS) => match look(folder, name)? {
                Some(_) => Err(Errno::EXIST),
                None => renameat(&self.root, TEMP, folder, name),
            },
            renamed => renamed,
        }
    }

    /// Whether a file could be made so, without leaving it.
    pub(super) fn try_out(&self, make: &Make<'_>) -> rustix::io::Result<()> {
        let made = place(self.root.as_fd(), TEMP, make);
        let _ = unlinkat(&self.root, TEMP, AtFlags::empty());
        made
    }

    /// Removes a file that the caller has looked at.
    pub(super) fn remove(&self, path: &str) -> Result<(), Error> {
        let (folder, name) = split(path);
        let Some(fd) = self.at(folder, false)? else {
            return Ok(());
        };
        match unlinkat(&*fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("remove", path, error)),
        }
    }

    /// Removes an empty folder. Returns whether it is gone.
    pub(super) fn remove_folder(&self, path: &str) -> Result<bool, Error> {
        let (above, name) = split(path);
        let Some(fd) = self.at(above, false)? else {
            return Ok(true);
        };
        *self.last.borrow_mut() = (String::new(), self.root.clone());
        match unlinkat(&*fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            // Somebody else's files are in it, or it is no folder any more.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Ok(false),
            Err(error) => Err(self.failed("remove", path, error)),
        }
    }

    /// Replaces a file in the folder itself by one that `write` fills, once it is on the disk.
    pub(super) fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&mut io::BufWriter<&fs::File>) -> io::Result<()>,
    ) -> Result<(), Error> {
        let new = format!("{name}.new");
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.root, &*new, flags, FILE);
        let file = fs::File::from(file.map_err(|error| self.failed("make", &new, error))?);
        let mut buffer = io::BufWriter::with_capacity(1 << 16, &file);
        let written = write(&mut buffer).and_then(|()| io::Write::flush(&mut buffer));
        written
            .and_then(|()| file.sync_data())
            .map_err(Error::io("write", self.path.join(&new)))?;
        renameat(&self.root, &*new, &self.root, name)
            .map_err(|error| self.failed("rename", &new, error))
    }

    fn failed(&self, what: &'static str, path: &str, error: Errno) -> Error {
        Error::io(what, self.path.join(path))(error.into())
    }
}

/// Makes a file of which nothing stands there yet; only a temporary one takes the place of an older.
fn place(folder: BorrowedFd<'_>, name: &str, make: &Make<'_>) -> rustix::io::Result<()> {
    if name == TEMP {
        let _ = unlinkat(folder, name, AtFlags::empty());
    }
    let create = || {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(folder, name, flags, FILE)
    };
    match make {
        Make::Hard(object) => linkat(CWD, *object, folder, name, AtFlags::empty()),
        Make::Symbolic(target) => symlinkat(*target, folder, name),
        Make::Reflink(object) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let object = openat(CWD, *object, flags, Mode::empty())?;
            ioctl_ficlone(create()?, object)
        }
        Make::Bytes(bytes) => {
            let mut file = fs::File::from(create()?);
            let written = io::Write::write_all(&mut file, bytes);
            written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
    }
}

/// Folder and name of a path.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
