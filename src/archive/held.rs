//! Objects that are there already: looked at, set aside when they are damaged, removed when nothing refers to them.
//!
//! Everything goes through the open folder of the object, so that a link in its place leads nowhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use rustix::fs::{AtFlags, CWD, RenameFlags, renameat_with, unlinkat};

use super::{Digest, Error, Objects, objects::SHARDS, sync_dir};
use crate::disk::{self, Op};

impl Objects {
    /// Whether the object is there with this size; its bytes are not read.
    pub fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::symlink_metadata(self.path(digest))
            .is_ok_and(|meta| meta.is_file() && meta.len() == bytes)
    }

    /// Shows every file that is called like an object and lies in its place, with its size, in the order of their names.
    ///
    /// # Errors
    /// When a folder cannot be read, or `each` says so.
    pub fn each<E: From<Error>>(
        &self,
        mut each: impl FnMut(Digest, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        for shard in 0..SHARDS as u16 {
            let folder = self.folder().join(format!("{shard:03x}"));
            if !fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir()) {
                continue;
            }
            let mut found = Vec::new();
            for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
                let entry = entry.map_err(Error::io("read", &folder))?;
                let name = entry.file_name();
                let digest = name.to_str().and_then(|name| name.parse::<Digest>().ok());
                let Some(digest) = digest.filter(|digest| digest.shard() == shard) else {
                    continue;
                };
                // Of the entry itself: a link is no object.
                let meta = entry.metadata().map_err(Error::io("read", entry.path()))?;
                if meta.is_file() {
                    found.push((digest, meta.len()));
                }
            }
            found.sort_unstable();
            for (digest, bytes) in found {
                each(digest, bytes)?;
            }
        }
        Ok(())
    }

    /// Puts whole bytes in the place of a damaged object, unless somebody else has done so meanwhile.
    pub(super) fn replace(&self, digest: &Digest, temp: &Path) -> Result<bool, Error> {
        let _one = self.mending.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_whole(digest)? {
            return Ok(false);
        }
        if let Some(aside) = self.set_aside(digest)? {
            tracing::warn!(
                "The object {digest} was damaged; what was there is kept as {}",
                aside.display()
            );
        }
        self.name(digest, temp)
    }

    /// Moves what lies under an object's name, whatever it is, to the folder `damaged/`. Durable when it returns; where to,
    /// or `None` when nothing was there.
    ///
    /// # Errors
    /// When the disk refuses, or the object's folder is a link.
    pub fn set_aside(&self, digest: &Digest) -> Result<Option<PathBuf>, Error> {
        let path = self.path(digest);
        let shard = match self.open_shard(digest.shard()) {
            Ok(shard) => shard,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        disk::make_dirs(&self.damaged).map_err(Error::io("make", &self.damaged))?;
        let name = digest.to_string();
        for nth in 0_u32.. {
            let aside = self.damaged.join(format!("{name}.{nth}"));
            let moved = disk::at(Op::Rename(&path, &aside), || {
                let flags = RenameFlags::NOREPLACE;
                Ok(renameat_with(&shard, &name, CWD, &aside, flags)?)
            });
            match moved {
                Ok(()) => {
                    sync_dir(&self.damaged)?;
                    sync_dir(path.parent().expect("an object lies in a folder"))?;
                    return Ok(Some(aside));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("set aside", path)(error)),
            }
        }
        Ok(None)
    }

    /// Removes an object that nothing refers to; durable when it returns. One that is gone already is no error.
    ///
    /// # Errors
    /// When the disk refuses, or the object's folder is a link.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let shard = match self.open_shard(digest.shard()) {
            Ok(shard) => shard,
            Err(Error::Io { source, .. }) if gone(&source) => return Ok(()),
            Err(error) => return Err(error),
        };
        let removed = disk::at(Op::Remove(&path), || {
            Ok(unlinkat(&shard, digest.to_string(), AtFlags::empty())?)
        });
        match removed {
            Err(error) if !gone(&error) => Err(Error::io("remove", path)(error)),
            _ => sync_dir(path.parent().expect("an object lies in a folder")),
        }
    }
}
