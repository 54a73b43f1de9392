//! Fetching damaged objects anew, from every address that is known for them.
//!
//! Damage is set aside, never deleted, and only bytes with the very SHA-256 of the object take its place: what came for an
//! address that serves something else by now is archived nowhere. The site's pace, proxy and media hosts hold as in a run.
//! Needs the lock. Killed at any moment, the next call finds what is mended and goes on with the rest.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    medic::{Medic, Outcome},
};
use crate::{
    archive::{self, Archive, Digest, Kind, LogLine, Met, each_line},
    class::Class,
    config::Config,
    store::{self, Reader, Store},
};

/// Objects that are fetched at once; each host's own limits hold besides.
pub(super) const AT_ONCE: usize = 16;

/// An address that was asked in vain.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Without secrets.
    pub url: String,
    /// The failure.
    pub class: Class,
    /// What happened.
    pub message: String,
}

/// An object that is whole again.
#[derive(Debug, Clone)]
pub struct Back {
    /// The object.
    pub object: Digest,
    /// Its size.
    pub bytes: u64,
    /// The address that had it, without secrets.
    pub url: String,
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Objects that are whole again.
    pub back: Vec<Back>,
    /// Objects that were whole after all.
    pub whole: Vec<Digest>,
    /// Where damaged bytes were set aside.
    pub aside: Vec<PathBuf>,
    /// Damaged objects that nothing refers to: set aside, they are no damage any more.
    pub dropped: Vec<Digest>,
    /// Objects that are still damaged, with what was tried.
    pub left: BTreeMap<Digest, Vec<Tried>>,
    /// Whether it was told to stop before the end.
    pub stopped: bool,
}

/// Where an object may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The site's id.
    pub site: String,
    pub url: String,
}

/// Fetches all that is known to be damaged. `progress` hears of each object that is done with.
///
/// # Errors
/// When the disk or the database refuses; what a site refuses is in the result.
pub async fn repair(
    config: &Config,
    archive: &Arc<Archive>,
    store: &Store,
    progress: impl Fn(),
    stop: &CancellationToken,
) -> Result<Repaired, Error> {
    let mut done = Repaired::default();
    let damaged = set_aside(archive, store, &mut done).await?;
    if damaged.is_empty() {
        return Ok(done);
    }
    let sources = sources(archive, store, &damaged).await?;
    let medic = Arc::new(Medic::new(config, archive, store, stop)?);
    let mut waiting = sources.into_iter();
    let mut fetching = JoinSet::new();
    let mut error = None;
    loop {
        while fetching.len() < AT_ONCE && !stop.is_cancelled() && error.is_none() {
            let Some((digest, sources)) = waiting.next() else {
                break;
            };
            let medic = medic.clone();
            fetching.spawn(async move { (digest, medic.mend(digest, sources).await) });
        }
        let Some(joined) = fetching.join_next().await else {
            break;
        };
        progress();
        match joined {
            Ok((_, Ok(Outcome::Back(back)))) => done.back.push(back),
            Ok((digest, Ok(Outcome::Dropped))) => done.dropped.push(digest),
            Ok((digest, Ok(Outcome::Left(tried)))) => {
                done.left.insert(digest, tried);
            }
            Ok((_, Err(failed))) => error = Some(failed),
            Err(panicked) => error = Some(panicked.into()),
        }
    }
    done.left
        .extend(waiting.map(|(digest, _)| (digest, Vec::new())));
    done.stopped = stop.is_cancelled();
    medic.keep_hosts().await?;
    error.map_or(Ok(done), Err)
}

/// Sets aside what is damaged. Returns what is, whether it was there to be set aside or not.
async fn set_aside(
    archive: &Arc<Archive>,
    store: &Store,
    done: &mut Repaired,
) -> Result<Vec<(Digest, Kind)>, Error> {
    let reader = open(store)?;
    let mut damaged = Vec::new();
    for known in reader.damage()? {
        let (archive, digest) = (archive.clone(), known.digest);
        let looking = tokio::task::spawn_blocking(move || {
            if archive.objects.is_whole(&digest)? {
                return Ok::<_, archive::Error>(None);
            }
            archive.objects.set_aside(&digest).map(Some)
        });
        let Some(aside) = looking.await?? else {
            done.whole.push(digest);
            store
                .write("note that an object is whole", move |group| {
                    group.mended(&digest, None)
                })
                .await?;
            continue;
        };
        done.aside.extend(aside);
        let kind = if known.kind == Kind::Missing.word() {
            Kind::Missing
        } else {
            Kind::Corrupt
        };
        damaged.push((digest, kind));
    }
    Ok(damaged)
}

pub(super) fn open(store: &Store) -> Result<Reader, store::Error> {
    let state = store.path().parent().unwrap_or(store.path());
    Reader::open(state)?.ok_or_else(|| store::Error::Damaged("the whole of it".to_owned()))
}

/// Every address that items' files and records know for these objects, the newest first.
async fn sources(
    archive: &Arc<Archive>,
    store: &Store,
    damaged: &[(Digest, Kind)],
) -> Result<BTreeMap<Digest, Vec<Source>>, Error> {
    let mut found: BTreeMap<Digest, Vec<Source>> =
        damaged.iter().map(|(d, _)| (*d, Vec::new())).collect();
    let reader = open(store)?;
    for (digest, site, url) in reader.sources_of_damage()? {
        let list = found.entry(digest).or_default();
        let source = Source { site, url };
        if !list.contains(&source) {
            list.push(source);
        }
    }
    let (segments, committed, _) = reader.committed()?;
    drop(reader);
    let archive = archive.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut older: BTreeMap<Digest, Vec<Source>> = BTreeMap::new();
        let Ok(()) = each_line::<Infallible>(&archive, &segments, committed, |met| {
            match met {
                Met::Line(_, line) => note_sources(line, &found, &mut older),
                Met::Torn(_) => {}
                Met::Broken(why) => tracing::warn!(
                    "Part of the record log cannot be read, so addresses may be unknown: {why}"
                ),
            }
            Ok(())
        });
        for (digest, sources) in older {
            let list = found.entry(digest).or_default();
            for source in sources.into_iter().rev() {
                if !list.contains(&source) {
                    list.push(source);
                }
            }
        }
        found
    });
    Ok(reading.await?)
}

fn note_sources(
    line: &[u8],
    wanted: &BTreeMap<Digest, Vec<Source>>,
    found: &mut BTreeMap<Digest, Vec<Source>>,
) {
    let Ok(line) = LogLine::read(line) else {
        return;
    };
    let Some(site) = line.site else { return };
    for file in line.files {
        let (Some(digest), Some(url)) = (file.sha256, file.url) else {
            continue;
        };
        if wanted.contains_key(&digest) {
            let site = site.clone().into_owned();
            found.entry(digest).or_default().push(Source { site, url });
        }
    }
}
