//! Objects: bytes named by their SHA-256.
//!
//! A [`Staged`] file is written while it is hashed; small ones stay in memory, so that bytes already held cost no write.
//! [`Objects::put`] checks what was promised, syncs the file and renames it. The folder's own sync is the group's.
//! Everything here blocks; callers run it off the async threads.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use md5::Md5;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

use super::{Digest, Error, Promise, content::is_html};
use crate::{
    class::Class,
    disk::{self, Op},
};

/// The objects of one archive.
#[derive(Debug)]
pub struct Objects {
    folder: PathBuf,
    staging: PathBuf,
    pub(super) damaged: PathBuf,
    /// Folders known to exist, a bit each.
    made: Box<[AtomicU64]>,
    /// Whether the name of one of them may not be durable yet.
    unsynced: AtomicBool,
    /// The folder of all objects, kept open: a sync needs no descriptor then, and so cannot want for one.
    opened: Option<fs::File>,
    /// Held while a damaged object gives way to whole bytes.
    pub(super) mending: Mutex<()>,
}

/// Folders below `objects/`.
pub(super) const SHARDS: usize = 4096;
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
    /// What it was promised to be.
    pub promise: Promise,
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
    pub(super) name: String,
    pub(super) file: Option<(fs::File, PathBuf)>,
    kept: Vec<Bytes>,
    head: Vec<u8>,
    pub(super) bytes: u64,
    /// Whether a note counts on its file: then it stays when this is dropped.
    pub(super) saved: bool,
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
            saved: false,
            sha256: Sha256::new(),
            md5: wanted.md5.as_ref().map(|_| Md5::new()),
            sha1: wanted.sha1.as_ref().map(|_| sha1::Sha1::new()),
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a note counts on it.
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// Removes it, though it may have been saved.
    pub fn discard(mut self) {
        self.saved = false;
    }

    /// Adds chunks, hashing them.
    ///
    /// # Errors
    /// When the staging file cannot be made or written.
    pub fn write(&mut self, objects: &Objects, chunks: Vec<Bytes>) -> Result<(), Error> {
        for chunk in &chunks {
            self.hash(chunk);
        }
        self.kept.extend(chunks);
        if self.bytes as usize > SPILL || self.file.is_some() {
            self.spill(objects)?;
        }
        Ok(())
    }

    /// Takes in a chunk that is or will be in the file.
    pub(super) fn hash(&mut self, chunk: &[u8]) {
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

    /// Writes everything to its file and syncs it.
    pub(super) fn sync(&mut self, objects: &Objects) -> Result<&fs::File, Error> {
        let path = objects.staging.join(&self.name);
        let file = self.spill(objects)?;
        disk::sync(file, &path).map_err(Error::io("sync", path))?;
        Ok(file)
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
        if let Some((_, path)) = self.file.take().filter(|_| !self.saved) {
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
            damaged: root.join("damaged"),
            mending: Mutex::new(()),
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

    /// Checks a staged file against what was promised and gives it its name. An object that is there already is read again:
    /// when it is whole it is left alone, else it is set aside for the bytes at hand, which are proven.
    ///
    /// # Errors
    /// [`PutError::Refused`] when the bytes are not what was promised.
    pub fn put(&self, mut staged: Staged, wanted: &Wanted) -> Result<Put, PutError> {
        // Whatever comes of it, there is nothing to go on with.
        staged.saved = false;
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
        let there = fs::symlink_metadata(self.path(&digest)).is_ok();
        if there && self.is_whole(&digest)? {
            return Ok(put(false));
        }
        staged.sync(self)?;
        self.make_shard(digest.shard())?;
        let (file, temp) = staged.file.take().expect("spilled above");
        drop(file);
        let named = if there {
            self.replace(&digest, &temp)
        } else {
            self.name(&digest, &temp)
        };
        if !matches!(named, Ok(true)) {
            let _ = disk::remove(&temp);
        }
        Ok(put(named?))
    }

    /// Gives a staged file its name. Returns whether it was free: the same bytes may arrive twice at once, and whichever
    /// was first is complete.
    pub(super) fn name(&self, digest: &Digest, temp: &Path) -> Result<bool, Error> {
        let shard = self.open_shard(digest.shard())?;
        let name = digest.to_string();
        let path = self.path(digest);
        let renamed = disk::at(Op::Rename(temp, &path), || {
            let flags = RenameFlags::NOREPLACE;
            Ok(renameat_with(CWD, temp, shard, &name, flags)?)
        });
        match renamed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("rename", path)(error)),
        }
    }

    /// Opens a folder of objects. A link in its place is refused: nothing outside the archive is written.
    pub(super) fn open_shard(&self, shard: u16) -> Result<OwnedFd, Error> {
        let path = self.folder.join(format!("{shard:03x}"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|error| Error::io("use as a folder of objects", path)(error.into()))
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
    if !proven && let Some(objection) = wanted.promise.objection(&staged.head) {
        return refuse(Class::UnexpectedType, objection);
    }
    Ok(found
        .map(str::to_owned)
        .or_else(|| wanted.content_type.clone()))
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
            archive.sweep_staging(0).expect("swept"),
            0,
            "nothing is left in staging"
        );
    }

    #[test]
    fn a_damaged_object_is_replaced_by_proven_bytes_and_kept_aside() {
        let (folder, archive) = archive();
        let first = put(&archive, b"whole", &Wanted::default()).expect("put");
        let path = archive.objects.path(&first.digest);
        for (nth, damage) in [&b""[..], b"wholf", b"more than whole"]
            .into_iter()
            .enumerate()
        {
            fs::remove_file(&path).expect("there");
            fs::write(&path, damage).expect("written");
            assert!(!archive.objects.is_whole(&first.digest).expect("readable"));
            let again = put(&archive, b"whole", &Wanted::default()).expect("put");
            assert!(again.fresh);
            assert_eq!(fs::read(&path).expect("there"), b"whole");
            let aside = folder
                .path()
                .join(format!("damaged/{}.{nth}", first.digest));
            assert_eq!(fs::read(aside).expect("kept"), damage);
        }
        assert!(archive.objects.has(&first.digest, 5) && !archive.objects.has(&first.digest, 4));
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let (_folder, archive) = archive();
        let outside = tempfile::tempdir().expect("a temporary folder");
        let digest = Digest::of(b"whole");
        let shard = archive.objects.folder().join(&digest.to_string()[..3]);
        std::os::unix::fs::symlink(outside.path(), shard).expect("a link");
        let refused = put(&archive, b"whole", &Wanted::default());
        assert!(matches!(refused, Err(PutError::Storage(_))), "{refused:?}");
        fs::write(outside.path().join(digest.to_string()), b"theirs").expect("written");
        assert!(archive.objects.remove(&digest).is_err());
        assert!(archive.objects.set_aside(&digest).is_err());
        assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 1);
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
