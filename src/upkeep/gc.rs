//! Removing what nothing refers to: in practice what crashes have left, for what a record ever named is never removed.
//!
//! An object is referred to by the files of items, and by every line of the record log that names it, however old. What
//! nothing refers to is marked first; a day later it is looked at again, and removed if still nothing refers to it. Files
//! that the database does not know count as well. Nothing is removed on the word of a database that does not know the
//! whole archive, nor while the record log cannot be read to its end. Damaged bytes are set aside instead.

use std::{collections::BTreeSet, fs, sync::Arc, time::UNIX_EPOCH};

use super::Error;
use crate::{
    archive::{self, Archive, Digest, LogLine, Met, each_line},
    clock::{Clock, Millis},
    config::Config,
    store::{Reader, Store},
};

/// How long nothing may have referred to an object before it is removed, and how old its file must be.
pub const WAIT: Millis = 24 * 60 * 60 * 1000;
/// Objects marked or removed in one transaction.
const BATCH: usize = 256;

/// An object that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The object.
    pub digest: Digest,
    /// Its size; `None` when its file is gone already.
    pub bytes: Option<u64>,
    /// Since when it is marked.
    pub since: Option<Millis>,
    /// When its file was last written.
    pub modified: Option<Millis>,
}

impl Garbage {
    /// When it may be removed, if it is marked at `now` at the latest.
    pub fn due(&self, now: Millis) -> Millis {
        let since = self.since.unwrap_or(now);
        since.max(self.modified.unwrap_or(0)) + WAIT
    }
}

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// Marked now.
    pub marked: usize,
    /// Removed now.
    pub removed: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged ones that were set aside instead.
    pub aside: usize,
}

/// Finds what nothing refers to. Reads only.
///
/// # Errors
/// When it cannot be told for sure.
pub fn find(config: &Config, archive: &Archive, reader: &Reader) -> Result<Vec<Garbage>, Error> {
    is_sure(config, archive, reader)?;
    let rows = reader.unreferenced()?;
    let known: BTreeSet<Digest> = rows.iter().map(|row| row.digest).collect();
    let mut found: Vec<_> = rows
        .into_iter()
        .map(|row| (row.digest, row.since))
        .collect();
    archive.objects.each(|digest, _| {
        if !known.contains(&digest) && !reader.knows(&digest)? {
            found.push((digest, None));
        }
        Ok::<_, Error>(())
    })?;
    let named = named_by_records(archive, reader, &found)?;
    found.retain(|(digest, _)| !named.contains(digest));
    found.sort_unstable();
    Ok(found
        .into_iter()
        .map(|(digest, since)| look(archive, digest, since))
        .collect())
}

fn look(archive: &Archive, digest: Digest, since: Option<Millis>) -> Garbage {
    let meta = fs::symlink_metadata(archive.objects.path(&digest)).ok();
    let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Garbage {
        digest,
        bytes: meta.map(|meta| meta.len()),
        since,
        modified: modified.and_then(|time| time.as_millis().try_into().ok()),
    }
}

/// Refuses to judge on the word of a database that does not know the whole archive.
fn is_sure(config: &Config, archive: &Archive, reader: &Reader) -> Result<(), Error> {
    let unsure = |why: String| Err(Error::Unsure(why));
    if let Some(said) = reader.quick_check()? {
        return unsure(format!(
            "larder.db is damaged ({said}); `larder rebuild` makes it anew"
        ));
    }
    if reader.totals()?.items == 0 && archive.holds_anything() {
        return unsure(
            "larder.db knows of no item at all; `larder rebuild` makes it anew".to_owned(),
        );
    }
    if !reader.is_current()? {
        return unsure(
            "larder.db is of an older larder; the next `larder run` brings it up to date"
                .to_owned(),
        );
    }
    let (segments, committed, seq) = reader.committed()?;
    archive.fits(&segments, committed, seq)?;
    if let Some(since) = reader.rebuilt()? {
        let mut waits = Vec::new();
        for job in config.jobs.iter().filter(|job| job.enabled) {
            if !reader.walked_since(&job.name, since)? {
                waits.push(format!("`{}`", job.name));
            }
        }
        if !waits.is_empty() {
            return unsure(format!(
                "larder.db was rebuilt, and what an unfinished run had begun is unknown until these jobs have been walked to \
                 their end: {}",
                waits.join(", ")
            ));
        }
    }
    Ok(())
}

/// Those of `candidates` that some line of the record log names.
fn named_by_records(
    archive: &Archive,
    reader: &Reader,
    candidates: &[(Digest, Option<Millis>)],
) -> Result<BTreeSet<Digest>, Error> {
    let candidates: BTreeSet<_> = candidates.iter().map(|(digest, _)| *digest).collect();
    let mut named = BTreeSet::new();
    if candidates.is_empty() {
        return Ok(named);
    }
    let (segments, committed, _) = reader.committed()?;
    let unread =
        |why: String| Error::Unsure(format!("the record log cannot be read to its end: {why}"));
    each_line(archive, &segments, committed, |met| match met {
        Met::Line(place, line) => {
            let line =
                LogLine::read(line).map_err(|why| unread(format!("at byte {place}: {why}")))?;
            let digests = line.files.iter().filter_map(|file| file.sha256);
            named.extend(digests.filter(|digest| candidates.contains(digest)));
            Ok(())
        }
        Met::Torn(_) => Err(unread("its last line has no end".to_owned())),
        Met::Broken(why) => Err(unread(why)),
    })?;
    Ok(named)
}

/// Marks what nothing refers to, and removes what has been marked for a day. The lock is held.
///
/// # Errors
/// When it cannot be told for sure what is referred to, or the disk or the database refuses. What was begun is finished by
/// the next collection.
pub async fn collect(
    config: &Config,
    archive: &Arc<Archive>,
    store: &Store,
    clock: &Clock,
) -> Result<Collected, Error> {
    let state = &config.archive.state;
    let reader =
        Reader::open(state)?.ok_or_else(|| Error::Unsure("there is no larder.db".to_owned()))?;
    let found = find(config, archive, &reader)?;
    // Whatever is marked and was found to be referred to after all is garbage no more.
    let still: BTreeSet<_> = found.iter().map(|garbage| garbage.digest).collect();
    let revived = reader
        .unreferenced()?
        .into_iter()
        .filter(|row| row.since.is_some());
    let revived: Vec<_> = revived
        .map(|row| row.digest)
        .filter(|digest| !still.contains(digest))
        .collect();
    drop(reader);
    store
        .write("unmark objects", move |group| group.unbury(&revived))
        .await?;
    let (now, mut done) = (clock.now(), Collected::default());
    let fresh: Vec<_> = found
        .iter()
        .filter(|g| g.since.is_none())
        .map(|g| g.digest)
        .collect();
    for batch in fresh.chunks(BATCH) {
        let batch = batch.to_vec();
        done.marked += store
            .write("mark objects", move |group| group.bury_objects(&batch))
            .await?;
    }
    let due: Vec<_> = found
        .into_iter()
        .filter(|garbage| garbage.since.is_some() && garbage.due(now) <= now)
        .collect();
    for batch in due.chunks(BATCH) {
        sweep(archive, store, batch, now - WAIT, &mut done).await?;
    }
    Ok(done)
}

/// Removes a batch, in the order that a death between any two steps leaves something to finish, never something lost.
async fn sweep(
    archive: &Arc<Archive>,
    store: &Store,
    batch: &[Garbage],
    before: Millis,
    done: &mut Collected,
) -> Result<(), Error> {
    let digests: Vec<_> = batch.iter().map(|garbage| garbage.digest).collect();
    let condemned = store
        .write("begin to remove objects", move |group| {
            group.condemn(&digests, before)
        })
        .await?;
    let archive = archive.clone();
    let (doomed, sizes) = (condemned.clone(), batch.to_vec());
    let removing = tokio::task::spawn_blocking(move || {
        let (mut removed, mut bytes, mut aside) = (Vec::new(), 0, 0);
        for digest in doomed {
            let there = sizes.iter().find(|garbage| garbage.digest == digest);
            let there = there.and_then(|garbage| garbage.bytes);
            if there.is_some() && !archive.objects.is_whole(&digest)? {
                aside += usize::from(archive.objects.set_aside(&digest)?.is_some());
                continue;
            }
            archive.objects.remove(&digest)?;
            bytes += there.unwrap_or(0);
            removed.push(digest);
        }
        Ok::<_, archive::Error>((removed, bytes, aside))
    });
    let (removed, bytes, aside) = removing.await??;
    store
        .write("forget objects", move |group| {
            group.forget_objects(&condemned)
        })
        .await?;
    done.removed.extend(removed);
    done.bytes += bytes;
    done.aside += aside;
    Ok(())
}
