//! Objects: bytes named by their SHA-256.
//!
//! A [`Staged`] file is written while it is hashed; small ones stay in memory, so that bytes already held cost no write.
//! [`Objects::put`] checks what was promised, syncs the file and renames it. The folder's own sync is the group's.
//! Everything here blocks; callers run it off the async threads.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use md5::Md5;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

use super::{Digest, Error};
use crate::{
    class::Class,
    disk::{self, Op},
};

/// The objects of one archive.
#[derive(Debug)]
pub struct Objects {
    folder: PathBuf,
    staging: PathBuf,
    /// Folders known to exist, a bit each.
    made: Box<[AtomicU64]>,
    /// Whether the name of one of them may not be durable yet.
    unsynced: AtomicBool,
    /// The folder of all objects, kept open: a sync needs no descriptor then, and so cannot want for one.
    opened: Option<fs::File>,
}

/// Folders below `objects/`.
const SHARDS: usize = 4096;
/// More folders than this in one group are synced with one `syncfs`.
const FEW_SHARDS: usize = 3;
/// Bytes that a staged file keeps in memory before it makes a file.
const SPILL: usize = 1 << 20;
/// Bytes kept to tell the content's type.
const HEAD: usize = 512;

/// What a file must be to be kept.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Lower-case hex.
    pub md5: Option<String>,
    /// Lower-case hex.
    pub sha1: Option<String>,
    /// Lower-case hex.
    pub sha256: Option<String>,
    /// Size, as the site's listing says.
    pub bytes: Option<u64>,
    /// Content-Type of the reply.
    pub content_type: Option<String>,
}

/// An object that was put.
#[derive(Debug)]
pub struct Put {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// MD5, where it was computed.
    pub md5: Option<String>,
    /// Media type by its magic bytes, else as the reply said.
    pub media: Option<String>,
    /// Whether its bytes were not held before.
    pub fresh: bool,
}

/// Why bytes were not kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// They are not what was promised.
    #[error("{message}")]
    Refused {
        /// The failure.
        class: Class,
        /// What differs.
        message: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// A file on its way into the archive.
#[derive(Debug)]
pub struct Staged {
    name: String,
    file: Option<(fs::File, PathBuf)>,
    kept: Vec<Bytes>,
    head: Vec<u8>,
    bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
    sha1: Option<sha1::Sha1>,
}

impl Staged {
    /// Begins a file; `name` is unique among the tasks under way and made of hex digits and dots.
    pub fn new(name: String, wanted: &Wanted) -> Self {
        Self {
            name,
            file: None,
            kept: Vec::new(),
            head: Vec::new(),
            bytes: 0,
            sha256: Sha256::new(),
            md5: wanted.md5.as_ref().map(|_| Md5::new()),
            sha1: wanted.sha1.as_ref().map(|_| sha1::Sha1::new()),
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds chunks, hashing them.
    ///
    /// # Errors
    /// When the staging file cannot be made or written.
    pub fn write(&mut self, objects: &Objects, chunks: Vec<Bytes>) -> Result<(), Error> {
        for chunk in &chunks {
            self.sha256.update(chunk);
            if let Some(md5) = &mut self.md5 {
                md5.update(chunk);
            }
            if let Some(sha1) = &mut self.sha1 {
                sha1.update(chunk);
            }
            let room = HEAD.saturating_sub(self.head.len()).min(chunk.len());
            self.head.extend_from_slice(&chunk[..room]);
            self.bytes += chunk.len() as u64;
        }
        self.kept.extend(chunks);
        if self.bytes as usize > SPILL || self.file.is_some() {
            self.spill(objects)?;
        }
        Ok(())
    }

    fn spill(&mut self, objects: &Objects) -> Result<&fs::File, Error> {
        if self.file.is_none() {
            let path = objects.staging.join(&self.name);
            let file = disk::create(&path, 0o444).map_err(Error::io("make", &path))?;
            self.file = Some((file, path));
        }
        let (file, path) = self.file.as_mut().expect("made above");
        let slices: Vec<_> = self
            .kept
            .iter()
            .map(|chunk| io::IoSlice::new(chunk))
            .collect();
        disk::write_all(file, path, slices).map_err(Error::io("write", &*path))?;
        self.kept.clear();
        Ok(file)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some((_, path)) = self.file.take() {
            // What is left here is swept at the next start.
            let _ = disk::remove(&path);
        }
    }
}

impl Objects {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            folder: root.join("objects"),
            staging: root.join("staging"),
            made: (0..SHARDS / 64).map(|_| AtomicU64::new(0)).collect(),
            unsynced: AtomicBool::new(false),
            opened: fs::File::open(root.join("objects")).ok(),
        }
    }

    /// Where the object of this name lies, whether it is there or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..3]).join(name)
    }

    /// The folder of all objects.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether an object is there with this size and the bytes that its name says. One that cannot be read is not.
    pub fn is_whole(&self, digest: &Digest, bytes: u64) -> bool {
        super::verify::hash(&self.path(digest)).is_ok_and(|found| found == (*digest, bytes))
    }

    /// Moves what lies under an object's name to the folder `damaged/`, durably. Nothing there is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_aside(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let folder = self.folder.with_file_name("damaged");
        disk::make_dirs(&folder).map_err(Error::io("make", &folder))?;
        for nth in 0_u32.. {
            let aside = folder.join(format!("{digest}.{nth}"));
            let moved = disk::at(Op::Rename(&path, &aside), || {
                Ok(renameat_with(
                    CWD,
                    &path,
                    CWD,
                    &aside,
                    RenameFlags::NOREPLACE,
                )?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::io("set aside", path)(error)),
                Ok(()) => break,
            }
        }
        super::sync_dir(&folder)?;
        super::sync_dir(path.parent().expect("an object lies in a folder"))
    }

    /// Checks a staged file against what was promised and gives it its name. An object that is there already, with the
    /// same size, is left alone.
    ///
    /// # Errors
    /// [`PutError::Refused`] when the bytes are not what was promised.
    pub fn put(&self, mut staged: Staged, wanted: &Wanted) -> Result<Put, PutError> {
        let digest = Digest::new(std::mem::take(&mut staged.sha256).finalize().into());
        let md5 = staged.md5.take().map(|hash| hex::encode(hash.finalize()));
        let sha1 = staged.sha1.take().map(|hash| hex::encode(hash.finalize()));
        let media = check(&staged, wanted, &digest, md5.as_deref(), sha1.as_deref())?;
        let bytes = staged.bytes;
        let put = |fresh| Put {
            digest,
            bytes,
            md5: md5.clone(),
            media: media.clone(),
            fresh,
        };
        let path = self.path(&digest);
        let held = fs::symlink_metadata(&path)
            .ok()
            .filter(fs::Metadata::is_file);
        if held.as_ref().is_some_and(|held| held.len() == bytes) {
            return Ok(put(false));
        }
        let temp = self.staging.join(&staged.name);
        let file = staged.spill(self)?;
        disk::sync(file, &temp).map_err(Error::io("sync", &temp))?;
        self.make_shard(digest.shard())?;
        let (file, temp) = staged.file.take().expect("spilled above");
        drop(file);
        // An object of the wrong size is damage: the bytes at hand are proven and take its place.
        let flags = if held.is_some() {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        let renamed = disk::at(Op::Rename(&temp, &path), || {
            Ok(renameat_with(CWD, &temp, CWD, &path, flags)?)
        });
        match renamed {
            Ok(()) => Ok(put(true)),
            Err(error) => {
                let _ = disk::remove(&temp);
                // The same bytes arrived twice at once: the other one won, and is complete.
                if error.kind() == io::ErrorKind::AlreadyExists {
                    return Ok(put(false));
                }
                Err(Error::io("rename", path)(error).into())
            }
        }
    }

    fn make_shard(&self, shard: u16) -> Result<(), Error> {
        let (word, bit) = (&self.made[usize::from(shard) / 64], 1_u64 << (shard % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let path = self.folder.join(format!("{shard:03x}"));
        match disk::make_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make", path)(error)),
        }
        // Made now, or by a larder that died: the next group makes its name durable.
        self.unsynced.store(true, Ordering::Release);
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the names of a group of objects durable: one `syncfs` for many folders, else each folder.
    ///
    /// # Errors
    /// When a sync fails: then nothing of the group may be committed.
    pub fn sync(&self, shards: &std::collections::BTreeSet<u16>) -> Result<(), Error> {
        if shards.is_empty() {
            return Ok(());
        }
        if shards.len() > FEW_SHARDS {
            return self.sync_all();
        }
        for shard in shards {
            let path = self.folder.join(format!("{shard:03x}"));
            match disk::sync_dir(&path) {
                Err(error) if disk::is_crowded(&error) => return self.sync_all(),
                synced => synced.map_err(Error::io("sync", path))?,
            }
        }
        if self.unsynced.swap(false, Ordering::AcqRel) {
            match disk::sync_dir(&self.folder) {
                Err(error) if disk::is_crowded(&error) => return self.sync_all(),
                synced => synced.map_err(Error::io("sync", &self.folder))?,
            }
        }
        Ok(())
    }

    fn sync_all(&self) -> Result<(), Error> {
        self.unsynced.store(false, Ordering::Release);
        let sync = |folder: &fs::File| {
            disk::sync_all(folder, &self.folder).map_err(Error::io("sync", &self.folder))
        };
        match &self.opened {
            Some(folder) => sync(folder),
            None => sync(&fs::File::open(&self.folder).map_err(Error::io("open", &self.folder))?),
        }
    }
}

/// Compares a staged file with what was promised; returns its media type.
fn check(
    staged: &Staged,
    wanted: &Wanted,
    sha256: &Digest,
    md5: Option<&str>,
    sha1: Option<&str>,
) -> Result<Option<String>, PutError> {
    let refuse = |class, message: String| Err(PutError::Refused { class, message });
    if staged.bytes == 0 {
        return refuse(Class::Empty, "the reply has no bytes".to_owned());
    }
    let found = infer::get(&staged.head).map(|kind| kind.mime_type());
    let html = is_html(&staged.head);
    let promised_html = wanted
        .content_type
        .as_deref()
        .is_some_and(|t| t.contains("html"));
    let sha256 = sha256.to_string();
    let hashes = [
        ("md5", wanted.md5.as_deref(), md5),
        ("sha1", wanted.sha1.as_deref(), sha1),
        ("sha256", wanted.sha256.as_deref(), Some(sha256.as_str())),
    ];
    let mut proven = false;
    for (name, wanted, found) in hashes {
        match (wanted, found) {
            (Some(wanted), Some(found)) if wanted == found => proven = true,
            (Some(_), Some(_)) if html => {
                return refuse(
                    Class::UnexpectedType,
                    "an HTML page came instead of the file".to_owned(),
                );
            }
            (Some(wanted), Some(found)) => {
                return refuse(
                    Class::Checksum,
                    format!("the site says {name} {wanted}, its bytes have {found}"),
                );
            }
            _ => {}
        }
    }
    if let Some(wanted) = wanted
        .bytes
        .filter(|wanted| *wanted != staged.bytes && !proven)
    {
        return refuse(
            Class::Checksum,
            format!("the site says {wanted} bytes, {} came", staged.bytes),
        );
    }
    // A hash that matches proves the content, whatever it looks like.
    if !proven && html && !promised_html {
        return refuse(
            Class::UnexpectedType,
            "an HTML page came instead of the file".to_owned(),
        );
    }
    Ok(found
        .map(str::to_owned)
        .or_else(|| wanted.content_type.clone()))
}

fn is_html(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    let begins =
        |word: &[u8]| start.len() >= word.len() && start[..word.len()].eq_ignore_ascii_case(word);
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<body")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    fn archive() -> (tempfile::TempDir, Archive) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        (folder, archive)
    }

    fn put(archive: &Archive, bytes: &[u8], wanted: &Wanted) -> Result<Put, PutError> {
        let mut staged = Staged::new(format!("{:x}", fastrand::u64(..)), wanted);
        for chunk in bytes.chunks(400_000) {
            staged.write(&archive.objects, vec![Bytes::copy_from_slice(chunk)])?;
        }
        archive.objects.put(staged, wanted)
    }

    #[test]
    fn an_object_is_named_by_its_hash_and_put_once() {
        let (_folder, archive) = archive();
        for size in [3, SPILL + 7, 3 * SPILL] {
            let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let first = put(&archive, &bytes, &Wanted::default()).expect("put");
            assert!(
                first.fresh && first.digest == Digest::of(&bytes) && first.bytes == size as u64
            );
            assert_eq!(
                fs::read(archive.objects.path(&first.digest)).expect("there"),
                bytes
            );
            assert!(
                !put(&archive, &bytes, &Wanted::default())
                    .expect("put again")
                    .fresh
            );
        }
        assert_eq!(
            archive.sweep_staging().expect("swept"),
            0,
            "nothing is left in staging"
        );
    }

    #[test]
    fn a_damaged_object_is_replaced_by_proven_bytes() {
        let (_folder, archive) = archive();
        let first = put(&archive, b"whole", &Wanted::default()).expect("put");
        let path = archive.objects.path(&first.digest);
        fs::remove_file(&path).expect("there");
        fs::write(&path, b"").expect("written");
        assert!(
            put(&archive, b"whole", &Wanted::default())
                .expect("put")
                .fresh
        );
        assert_eq!(fs::read(path).expect("there"), b"whole");
    }

    #[test]
    fn what_is_not_as_promised_is_refused_and_leaves_nothing() {
        let (_folder, archive) = archive();
        let md5 = |text: &str| Wanted {
            md5: Some(text.to_owned()),
            ..Wanted::default()
        };
        let class = |bytes: &[u8], wanted: &Wanted| match put(&archive, bytes, wanted) {
            Err(PutError::Refused { class, .. }) => class,
            other => panic!("{other:?}"),
        };
        assert_eq!(class(b"", &Wanted::default()), Class::Empty);
        assert_eq!(
            class(b"x", &md5("9dd4e461268c8034f5c8564e155c67a7")),
            Class::Checksum
        );
        assert_eq!(
            class(
                b"<!DOCTYPE html><p>",
                &md5("9dd4e461268c8034f5c8564e155c67a6")
            ),
            Class::UnexpectedType
        );
        assert_eq!(class(b"<html>", &Wanted::default()), Class::UnexpectedType);
        assert_eq!(
            class(
                b"xy",
                &Wanted {
                    bytes: Some(3),
                    ..Wanted::default()
                }
            ),
            Class::Checksum
        );
        assert!(put(&archive, b"x", &md5("9dd4e461268c8034f5c8564e155c67a6")).is_ok());
        assert_eq!(
            fs::read_dir(archive.root().join("objects"))
                .expect("there")
                .count(),
            1
        );
    }
}
