//! Hashing everything again, the folder that was checked longest ago first.
//!
//! Reads only, without the lock, beside a larder at work; what it leaves in the database are notes: which folders were
//! checked when, and what is damaged. A verification that is killed or runs out of time has checked what it has noted,
//! and the next one begins with the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use super::Error;
use crate::{
    archive::{
        self, Archive, Damage, Hasher, Kind, Orphan, Shard, check_lines, check_segments,
        check_shard, strangers,
    },
    clock::{Clock, Millis},
    store::{self, Checked, Notes, Reader},
};

/// How a verification is held back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// No folder is begun after this long.
    pub max_time: Option<Duration>,
    /// Bytes read per second at most.
    pub rate: Option<u64>,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// Objects that are whole.
    pub good: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that the database does not know.
    pub unreferenced: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// Folders that were not looked at for want of time.
    pub left: usize,
}

/// Notes are left no more often than this.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Folders of objects.
const SHARDS: u16 = 4096;

/// Verifies the archive, whose database is in the folder `state`. `found` is shown whole objects that the database does not
/// know, `progress` hears of bytes that were read.
///
/// # Errors
/// When something may not be read. What cannot be read because the disk is bad is damage.
pub fn verify(
    archive: &Archive,
    state: &Path,
    pace: Pace,
    clock: &Clock,
    found: &mut dyn FnMut(Vec<Orphan>) -> Result<(), store::Error>,
    progress: &dyn Fn(u64),
) -> Result<Report, Error> {
    let started = Instant::now();
    let mut read = 0;
    let mut hasher = Hasher::new(|bytes| {
        read += bytes;
        progress(bytes);
        if let Some(rate) = pace.rate {
            let due = Duration::from_secs_f64(read as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    });
    let mut report = Report::default();
    let reader = database(archive, state, &mut report)?;
    log(archive, reader.as_ref(), &mut hasher, &mut report)?;
    // A database that may not be written is no reason not to look.
    let mut notes = reader
        .as_ref()
        .and_then(|_| Notes::open(state).ok().flatten());
    let (mut unnoted, mut noted_at) = (Vec::new(), Instant::now());
    let mut shards = by_age(reader.as_ref())?.into_iter();
    let late = |first: bool| {
        pace.max_time
            .is_some_and(|most| !first && started.elapsed() >= most)
    };
    let mut looked_at = BTreeSet::new();
    while !late(looked_at.is_empty()) {
        let Some(shard) = shards.next() else { break };
        let checked = check(archive, reader.as_ref(), shard, &mut hasher)?;
        report.good += checked.whole + checked.orphans.len() as u64;
        report.bytes += checked.bytes;
        report.unreferenced += checked.orphans.len() as u64;
        unnoted.push((shard, objects(&checked.damage)));
        report.damage.extend(checked.damage);
        if !checked.orphans.is_empty() {
            found(checked.orphans)?;
        }
        looked_at.insert(shard);
        if noted_at.elapsed() >= NOTE_EVERY {
            note(&mut notes, &mut unnoted, clock.now());
            noted_at = Instant::now();
        }
    }
    note(&mut notes, &mut unnoted, clock.now());
    report.left = shards.len();
    if let Some(reader) = &reader {
        // What an earlier one has found elsewhere is still damage.
        for known in reader.damage()? {
            if !looked_at.contains(&known.digest.shard()) {
                report.damage.push(known_damage(archive, &known));
            }
        }
    }
    Ok(report)
}

/// Opens the database, if it is there and whole.
fn database(
    archive: &Archive,
    state: &Path,
    report: &mut Report,
) -> Result<Option<Reader>, store::Error> {
    let path = store::Store::path_in(state);
    let mut damaged = |why: String| {
        let why = format!("{why}; `larder rebuild` makes it anew from the archive");
        report
            .damage
            .push(Damage::of(Kind::Database, path.clone(), why));
        Ok(None)
    };
    let reader = match Reader::open(state) {
        Ok(Some(reader)) => reader,
        Ok(None) if archive.holds_anything() => return damaged("it is gone".to_owned()),
        Ok(None) => return Ok(None),
        Err(error) if error.is_damage() => return damaged("it cannot be read".to_owned()),
        Err(error) => return Err(error),
    };
    match reader.quick_check() {
        Ok(None) => Ok(Some(reader)),
        Ok(Some(said)) => damaged(format!("it is damaged: {said}")),
        Err(error) if error.is_damage() => damaged("it is damaged".to_owned()),
        Err(error) => Err(error),
    }
}

/// Looks at everything but the objects.
fn log(
    archive: &Archive,
    reader: Option<&Reader>,
    hasher: &mut Hasher<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    let Some(reader) = reader else {
        // Without a database nobody knows how long the log should be.
        let layout = archive::layout(archive)?;
        report.damage.extend(strangers(archive, None)?);
        report
            .damage
            .extend(check_segments(archive, &layout.segments, hasher)?);
        let broken = |why| Damage::of(Kind::Segment, archive.root().join("records"), why);
        report.damage.extend(layout.broken.into_iter().map(broken));
        let mut lines = check_lines(archive, &layout.segments, u64::MAX);
        lines.retain(|damage| damage.kind != Kind::Short);
        report.damage.extend(lines);
        return Ok(());
    };
    loop {
        let (segments, committed, _) = reader.committed()?;
        let mut damage = strangers(archive, Some(&segments))?;
        damage.extend(check_segments(archive, &segments, hasher)?);
        damage.extend(check_lines(archive, &segments, committed));
        // Sealed meanwhile, what was `current.jsonl` is a segment now.
        if damage.is_empty() || reader.segments()? == segments {
            for damage in damage {
                if damage.kind != Kind::Foreign || !is_being_sealed(archive, reader, &damage.path)?
                {
                    report.damage.push(damage);
                }
            }
            return Ok(());
        }
    }
}

/// How long another larder may take between naming a segment and committing it.
const SEALING: Duration = Duration::from_secs(2);

/// Whether a file is a segment that the database has heard of by now, or that the next start takes over.
fn is_being_sealed(archive: &Archive, reader: &Reader, path: &Path) -> Result<bool, Error> {
    let is_it = |segment: &archive::Segment| path.ends_with(segment.file_name());
    if path.extension().is_none_or(|end| end != "zst") {
        return Ok(false);
    }
    let since = Instant::now();
    while since.elapsed() < SEALING {
        let (segments, committed, _) = reader.committed()?;
        let next = archive.left_over(&segments, committed)?;
        if segments.iter().chain(&next).any(is_it) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// Folders of objects, the one that was checked longest ago first.
fn by_age(reader: Option<&Reader>) -> Result<Vec<u16>, store::Error> {
    let checks = reader.map(Reader::checks).transpose()?.unwrap_or_default();
    let checks: BTreeMap<u16, Millis> = checks.into_iter().collect();
    let mut shards: Vec<_> = (0..SHARDS).collect();
    shards.sort_by_key(|shard| checks.get(shard));
    Ok(shards)
}

/// Hashes one folder; what another larder has changed meanwhile is looked at again.
fn check(
    archive: &Archive,
    reader: Option<&Reader>,
    shard: u16,
    hasher: &mut Hasher<'_>,
) -> Result<Shard, Error> {
    // Rows first: what has a row by now has its file too.
    let known = reader.map(|reader| reader.objects_in(shard)).transpose()?;
    let mut checked = check_shard(archive, shard, known.unwrap_or_default(), hasher)?;
    let Some(reader) = reader else {
        // Nobody knows what should be there: that it is whole is all there is to say.
        checked.whole += checked.orphans.len() as u64;
        checked.orphans.clear();
        return Ok(checked);
    };
    for damage in std::mem::take(&mut checked.damage) {
        let stands = match (damage.kind, &damage.object) {
            (Kind::Missing, Some(object)) => {
                reader.knows(object)? && !archive.objects.is_whole(object)?
            }
            (Kind::Corrupt, Some(object)) => {
                !archive.objects.is_whole(object)? && damage.path.exists()
            }
            _ => true,
        };
        if stands {
            checked.damage.push(damage);
        }
    }
    for orphan in std::mem::take(&mut checked.orphans) {
        if reader.knows(&orphan.digest)? {
            checked.whole += 1;
        } else {
            checked.orphans.push(orphan);
        }
    }
    Ok(checked)
}

fn objects(damage: &[Damage]) -> Vec<(archive::Digest, Kind)> {
    damage
        .iter()
        .filter_map(|damage| Some((damage.object?, damage.kind)))
        .collect()
}

fn note(notes: &mut Option<Notes>, unnoted: &mut Vec<Checked>, now: Millis) {
    if let Some(open) = notes
        && let Err(error) = open.checked(unnoted, now)
    {
        tracing::warn!(%error, "What was checked cannot be noted: the next `larder verify` begins anew");
        *notes = None;
    }
    unnoted.clear();
}

fn known_damage(archive: &Archive, known: &store::Damaged) -> Damage {
    Damage {
        kind: if known.kind == Kind::Missing.word() {
            Kind::Missing
        } else {
            Kind::Corrupt
        },
        object: Some(known.digest),
        path: archive.objects.path(&known.digest),
        message: "found by an earlier verify".to_owned(),
    }
}
