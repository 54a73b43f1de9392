//! Making larder.db anew from `objects/` and `records/` alone.
//!
//! The new database is built beside the old one and takes its place at the end: first the old one and its side files are
//! renamed, then the new one gets its name. Killed before that, nothing has changed; killed between the two, there is no
//! larder.db, which every larder refuses until the next rebuild. Nothing is deleted, and the archive itself is only read.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Error;
use crate::{
    archive::{
        self, Archive, Hasher, Layout, Lock, LogLine, Met, Segment, each_line, layout, sync_dir,
    },
    clock::Clock,
    config::Config,
    disk,
    store::{self, Added, Contents, Reader, Rebuilder, Store},
};

/// What a rebuild made, and what it could not.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// What the database holds now.
    pub contents: Contents,
    /// Lines of the record log.
    pub records: u64,
    /// Whole objects that no record names.
    pub adopted: u64,
    /// Objects that no record names and whose bytes do not match their names.
    pub corrupt: u64,
    /// What of the record log cannot be read, in words.
    pub broken: Vec<String>,
    /// What else a person may want to know.
    pub notes: Vec<String>,
    /// Jobs of `larder add` that were taken over; `None` when the old database could not say.
    pub added: Option<usize>,
    /// Where the old database is.
    pub aside: Option<PathBuf>,
}

/// What a rebuild is doing, with how many are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Looking at what is in `objects/`.
    Objects(u64),
    /// Reading the record log.
    Records(u64),
}

/// Makes the database of the archive that `config` names anew; a whole one only with `force`.
///
/// # Errors
/// When the archive is in use, is not the one meant, or cannot be read.
pub fn rebuild(
    config: &Config,
    force: bool,
    clock: &Clock,
    progress: &dyn Fn(Step),
) -> Result<Rebuilt, Error> {
    let (root, state) = (&config.archive.path, &config.archive.state);
    let mut expected = Vec::new();
    expected.extend(
        config
            .archive
            .id
            .as_deref()
            .map(|id| (id, "`[archive] id`")),
    );
    let known = match Store::known_archive(state) {
        Err(error @ store::Error::Newer { .. }) => return Err(error.into()),
        known => known.ok().flatten(),
    };
    expected.extend(known.as_deref().map(|id| (id, "the database")));
    let archive = Archive::open(root, &expected)?;
    let _lock = Lock::take(state, root, "rebuild", clock)?;
    let path = Store::path_in(state);
    if !force && is_whole(&archive, state) {
        return Err(Error::Healthy(path));
    }
    let new = state.join("larder.db.new");
    for side in ["", "-journal", "-wal", "-shm"] {
        // What an earlier rebuild was killed over.
        remove(&beside(&new, side))?;
    }
    // A damaged one may still know them.
    let added = Reader::open(state)
        .ok()
        .flatten()
        .and_then(|reader| reader.added().ok());
    let mut rebuilt = build(config, &archive, &new, added.as_deref(), clock, progress)?;
    rebuilt.aside = set_aside(&path)?;
    disk::rename(&new, &path).map_err(archive::Error::io("rename", &new))?;
    sync_dir(state)?;
    Ok(rebuilt)
}

/// Whether the database there is can be used as it is.
fn is_whole(archive: &Archive, state: &Path) -> bool {
    let look = || -> Result<bool, Error> {
        let Some(reader) = Reader::open(state)? else {
            return Ok(false);
        };
        if reader.quick_check()?.is_some() {
            return Ok(false);
        }
        let (segments, committed, seq) = reader.committed()?;
        if archive.left_over(&segments, committed)?.is_none() {
            archive.fits(&segments, committed, seq)?;
        }
        // One that knows of nothing is none, whatever its pages say.
        Ok(committed > 0 || !archive.holds_anything())
    };
    look().unwrap_or(false)
}

fn build(
    config: &Config,
    archive: &Archive,
    new: &Path,
    added: Option<&[Added]>,
    clock: &Clock,
    progress: &dyn Fn(Step),
) -> Result<Rebuilt, Error> {
    let mut rebuilt = Rebuilt::default();
    let mut builder = Rebuilder::create(new, archive, clock.now())?;
    for job in &config.jobs {
        builder.configured(&job.name, &job.site.name, &job.listing.name);
    }
    for job in added.unwrap_or_default() {
        builder.keep_added(job)?;
    }
    rebuilt.added = added.map(<[Added]>::len);
    let mut number = 0;
    archive.objects.each(|digest, bytes| {
        number += 1;
        progress(Step::Objects(number));
        builder.on_disk(&digest, bytes).map_err(Error::from)
    })?;
    let end = read_log(archive, &mut builder, &mut rebuilt, progress)?;
    // Nobody vouches for them but their own bytes: a crash, or an older database, may have left them.
    let mut hasher = Hasher::new(|_| ());
    for digest in builder.orphans()? {
        match archive.objects.read_orphan(&digest, &mut hasher)? {
            Some(orphan) => {
                builder.adopt(&orphan)?;
                rebuilt.adopted += 1;
            }
            None => rebuilt.corrupt += 1,
        }
    }
    rebuilt.contents = builder.finish(&end.segments, end.bytes, end.seq, rebuilt.records)?;
    Ok(rebuilt)
}

/// How far the log goes.
struct End {
    segments: Vec<Segment>,
    bytes: u64,
    seq: u64,
}

/// Takes in every line. One that is in two places is taken once.
fn read_log(
    archive: &Archive,
    builder: &mut Rebuilder,
    rebuilt: &mut Rebuilt,
    progress: &dyn Fn(Step),
) -> Result<End, Error> {
    let Layout {
        segments,
        current,
        broken,
        copies,
    } = layout(archive)?;
    rebuilt.broken.extend(broken);
    rebuilt.notes.extend(copies);
    let sealed = segments.last().map_or(0, Segment::end);
    let (mut seq, mut bytes) = (0, sealed);
    let until = if current { u64::MAX } else { sealed };
    each_line(archive, &segments, until, |met| {
        let (place, text) = match met {
            Met::Line(place, text) => (place, text),
            // The next start keeps it aside.
            Met::Torn(_) => return Ok(()),
            Met::Broken(why) => {
                rebuilt.broken.push(why);
                return Ok(());
            }
        };
        bytes = bytes.max(place + text.len() as u64 + 1);
        match LogLine::read(text) {
            Ok(line) if line.seq <= seq => {}
            Ok(line) => {
                if line.seq > seq + 1 {
                    rebuilt.broken.push(missing(seq + 1, line.seq - 1));
                }
                seq = line.seq;
                rebuilt.records += 1;
                progress(Step::Records(rebuilt.records));
                builder.line(place, &line)?;
            }
            Err(why) => {
                let text = String::from_utf8_lossy(text);
                let start: String = text.chars().take(60).collect();
                rebuilt.broken.push(format!(
                    "at byte {place} of the record log is no record ({why}): {start}"
                ));
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(End {
        segments,
        bytes,
        seq,
    })
}

fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} of the record log is missing")
    } else {
        format!("lines {first} to {last} of the record log are missing")
    }
}

/// Renames the database and its side files. Returns the database's new name, if there was one.
fn set_aside(path: &Path) -> Result<Option<PathBuf>, archive::Error> {
    let taken = |aside: &Path| {
        ["", "-wal", "-shm"]
            .iter()
            .any(|side| beside(aside, side).exists())
    };
    let aside = (0..=u32::MAX)
        .map(|nth| beside(path, &format!(".before-rebuild.{nth}")))
        .find(|aside| !taken(aside))
        .expect("some number is free");
    // The database first: without it, what its side files hold is applied to nothing.
    let mut moved = None;
    for side in ["", "-wal", "-shm"] {
        let (from, to) = (beside(path, side), beside(&aside, side));
        let moved_now = if from.exists() {
            disk::rename(&from, &to)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        match moved_now {
            Ok(()) if side.is_empty() => moved = Some(to),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(archive::Error::io("rename", from)(error)),
        }
    }
    Ok(moved)
}

/// `path` with more at the end of its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove(path: &Path) -> Result<(), archive::Error> {
    if path.exists() {
        disk::remove(path).map_err(archive::Error::io("remove", path))?;
    }
    Ok(())
}
