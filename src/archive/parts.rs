//! Parts: what came of a file before its download broke off, kept in `staging/` to go on from.
//!
//! A part is two files there: the bytes, and a note `KEY.part` that says how many of them are good, and of which file they
//! are. **Invariant:** the bytes that a note counts were synced before the note was written, and are hashed again before
//! anything is added to them; what lies behind them is cut off. So neither a kill nor a power cut makes a part lie.
//! Everything here blocks; callers run it off the async threads.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Archive, Digest, Error, Staged, Wanted, write_synced};
use crate::{clock::Millis, disk};

/// Parts that nobody has gone on with for so long are removed at the next start.
const LONGEST_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Bytes that are hashed at a time.
const CHUNK: usize = 1 << 20;
/// What the name of a note ends in.
const NOTE: &str = ".part";

/// What is known of a part besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note<V> {
    /// The file in `staging/` that holds the bytes.
    file: String,
    /// How many of them count.
    bytes: u64,
    /// What the site must still say of the file, in the caller's own terms.
    validator: V,
    /// The size of the whole file, where the site said so.
    total: Option<u64>,
}

/// A part that can be gone on with.
#[derive(Debug)]
pub struct Opened<V> {
    /// Its bytes, hashed.
    pub staged: Staged,
    /// As it was given to [`Part::save`].
    pub validator: V,
    /// As it was given to [`Part::save`].
    pub total: Option<u64>,
}

/// Which parts are in use, and which are not to be used.
#[derive(Debug, Default)]
pub(super) struct Parts {
    taken: Mutex<BTreeSet<String>>,
    /// Those that have a note: a file without one costs no look at the disk.
    noted: Mutex<BTreeSet<String>>,
    distrusted: Mutex<BTreeSet<String>>,
}

impl Parts {
    /// Learns which notes an earlier larder left.
    pub(super) fn learn(&self, kept: &BTreeSet<String>) {
        let keys = kept.iter().filter_map(|name| name.strip_suffix(NOTE));
        lock(&self.noted).extend(keys.map(str::to_owned));
    }
}

/// The right to the part of one file, given back when dropped.
#[derive(Debug)]
pub struct Part {
    archive: Arc<Archive>,
    key: String,
}

fn lock(names: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    /// Takes the part of the file that `name` tells from all others, whether there is one yet or not. `None` while
    /// somebody else has it, and after [`Part::distrust`].
    pub fn take(archive: &Arc<Archive>, name: &str) -> Option<Self> {
        let key = Digest::of(name.as_bytes()).to_string()[..32].to_owned();
        if lock(&archive.parts.distrusted).contains(&key) {
            return None;
        }
        let new = lock(&archive.parts.taken).insert(key.clone());
        new.then(|| Self {
            archive: archive.clone(),
            key,
        })
    }

    /// Whether there is anything to open.
    pub fn exists(&self) -> bool {
        lock(&self.archive.parts.noted).contains(&self.key)
    }

    fn note(&self) -> PathBuf {
        self.archive.staging().join(format!("{}{NOTE}", self.key))
    }

    /// Opens what was saved, hashing it for `wanted`. What cannot be used is removed: it costs a download, no more.
    pub fn open<V: for<'de> Deserialize<'de>>(&self, wanted: &Wanted) -> Option<Opened<V>> {
        if !self.exists() {
            return None;
        }
        let note: Note<V> = serde_json::from_slice(&fs::read(self.note()).ok()?).ok()?;
        let path = is_name(&note.file).then(|| self.archive.staging().join(&note.file))?;
        match reopen(&path, &note, wanted) {
            Ok(staged) => Some(Opened {
                staged,
                validator: note.validator,
                total: note.total,
            }),
            Err(error) => {
                tracing::debug!(%error, "Could not go on with {}", path.display());
                let _ = disk::remove(&path);
                self.forget();
                None
            }
        }
    }

    /// Makes everything that has come durable, so that whoever takes this part later can go on from here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save<V: Serialize>(
        &self,
        staged: &mut Staged,
        validator: &V,
        total: Option<u64>,
    ) -> Result<(), Error> {
        staged.sync(&self.archive.objects)?;
        let note = Note {
            file: staged.name.clone(),
            bytes: staged.bytes,
            validator,
            total,
        };
        let text = serde_json::to_vec(&note).expect("texts and numbers are JSON");
        let (path, temp) = (self.note(), self.note().with_extension("new"));
        if temp.exists() {
            // What is left of an earlier try.
            disk::remove(&temp).map_err(Error::io("remove", &temp))?;
        }
        write_synced(&temp, &text)?;
        disk::rename(&temp, &path).map_err(Error::io("rename", &path))?;
        staged.saved = true;
        lock(&self.archive.parts.noted).insert(self.key.clone());
        Ok(())
    }

    /// Removes the note. The bytes go with the [`Staged`] that holds them.
    pub fn forget(&self) {
        if lock(&self.archive.parts.noted).remove(&self.key) {
            // What is left here is swept at a later start.
            let _ = disk::remove(&self.note());
        }
    }

    /// Lets this file be downloaded in one piece as long as this larder lives: joined from parts, it was not what it
    /// should be.
    pub fn distrust(&self) {
        self.forget();
        lock(&self.archive.parts.distrusted).insert(self.key.clone());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        lock(&self.archive.parts.taken).remove(&self.key);
    }
}

fn reopen<V>(path: &Path, note: &Note<V>, wanted: &Wanted) -> io::Result<Staged> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    // Staged files are read-only, as objects are. The descriptor stays one that may write.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    if file.metadata()?.len() < note.bytes {
        return Err(io::Error::other("shorter than its note says"));
    }
    file.set_len(note.bytes)?;
    let mut staged = Staged::new(note.file.clone(), wanted);
    let mut buffer = vec![0; CHUNK];
    // Ends behind the last byte, where the next one is to be written.
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        staged.hash(&buffer[..read]);
    }
    if staged.bytes != note.bytes {
        return Err(io::Error::other("it changes while it is read"));
    }
    staged.file = Some((file, path.to_owned()));
    staged.saved = true;
    Ok(staged)
}

/// The name of a file that [`Staged::new`] may have made: nothing leads out of the folder.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'.')
        && name.bytes().any(|b| b != b'.')
}

/// Names of files in `staging` that a later download may go on with.
pub(super) fn kept(staging: &Path, now: Millis) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(NOTE) || !is_young(&entry.path(), now) {
            continue;
        }
        let note = fs::read(entry.path()).ok();
        let note =
            note.and_then(|text| serde_json::from_slice::<Note<serde::de::IgnoredAny>>(&text).ok());
        if let Some(note) = note.filter(|note| is_name(&note.file)) {
            names.extend([name, note.file]);
        }
    }
    names
}

fn is_young(path: &Path, now: Millis) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    let since = modified
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.is_some_and(|since| {
        let age = now.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        age < i64::try_from(LONGEST_KEPT.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn archive() -> (tempfile::TempDir, Arc<Archive>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        (folder, Arc::new(archive))
    }

    fn wanted() -> Wanted {
        Wanted {
            md5: Some("900150983cd24fb0d6963f7d28e17f72".to_owned()),
            ..Wanted::default()
        }
    }

    /// Saves `text` as the part called `x`, and lets go of it.
    fn save(archive: &Arc<Archive>, text: &'static str) {
        let part = Part::take(archive, "x").expect("nobody has it");
        let mut staged = Staged::new("1.2".to_owned(), &wanted());
        staged
            .write(&archive.objects, vec![Bytes::from(text)])
            .expect("written");
        part.save(&mut staged, &"e", Some(3)).expect("saved");
    }

    #[test]
    fn what_was_saved_is_gone_on_with_and_becomes_the_same_object() {
        let (_folder, archive) = archive();
        save(&archive, "ab");
        assert_eq!(archive.sweep_staging(0).expect("swept"), 0);
        let part = Part::take(&archive, "x").expect("nobody has it");
        assert!(Part::take(&archive, "x").is_none(), "one at a time");
        let opened: Opened<String> = part.open(&wanted()).expect("there");
        assert_eq!((opened.validator.as_str(), opened.total), ("e", Some(3)));
        let mut staged = opened.staged;
        assert_eq!(staged.bytes(), 2);
        staged
            .write(&archive.objects, vec![Bytes::from("c")])
            .expect("written");
        let put = archive.objects.put(staged, &wanted()).expect("put");
        part.forget();
        assert_eq!(put.digest, Digest::of(b"abc"));
        let path = archive.objects.path(&put.digest);
        assert_eq!(fs::read(&path).expect("there"), b"abc");
        assert_eq!(
            fs::metadata(path).expect("there").permissions().mode() & 0o777,
            0o444
        );
        assert_eq!(
            archive.sweep_staging(0).expect("swept"),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn what_came_after_the_last_save_is_cut_off() {
        let (_folder, archive) = archive();
        save(&archive, "ab");
        let path = archive.staging().join("1.2");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        fs::write(&path, b"ab\0\0\0").expect("written");
        let part = Part::take(&archive, "x").expect("nobody has it");
        let opened: Opened<String> = part.open(&wanted()).expect("there");
        assert_eq!(opened.staged.bytes(), 2);
        assert_eq!(fs::read(path).expect("there"), b"ab");
    }

    #[test]
    fn a_part_that_is_not_what_its_note_says_is_removed() {
        let (_folder, archive) = archive();
        for damage in ["short", "gone", "note"] {
            save(&archive, "ab");
            let part = Part::take(&archive, "x").expect("nobody has it");
            let path = archive.staging().join("1.2");
            match damage {
                "short" => {
                    fs::remove_file(&path).expect("there");
                    fs::write(&path, b"a").expect("written");
                }
                "gone" => fs::remove_file(&path).expect("there"),
                _ => fs::write(
                    part.note(),
                    br#"{"file":"../../x","bytes":1,"validator":"e"}"#,
                )
                .expect("written"),
            }
            assert!(part.open::<String>(&wanted()).is_none(), "{damage}");
            drop(part);
            archive.sweep_staging(0).expect("swept");
            assert_eq!(
                fs::read_dir(archive.staging()).expect("there").count(),
                0,
                "{damage}"
            );
        }
    }

    #[test]
    fn parts_that_nobody_went_on_with_are_swept_in_the_end() {
        let (_folder, archive) = archive();
        save(&archive, "ab");
        assert_eq!(archive.sweep_staging(i64::MAX).expect("swept"), 2);
    }

    #[test]
    fn what_was_joined_wrongly_is_not_joined_again() {
        let (_folder, archive) = archive();
        save(&archive, "ab");
        Part::take(&archive, "x").expect("nobody has it").distrust();
        assert!(Part::take(&archive, "x").is_none());
        assert!(Part::take(&archive, "y").is_some());
    }
}
