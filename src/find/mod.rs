//! Search over the archive: an index of its own beside the database, made of the record log when somebody searches.
//!
//! Archiving pays nothing for it. The index knows how far of the log it has read, and goes on from there; it may be removed
//! at any time, and is made anew for another archive, an older log, or by another version of it.

pub(crate) mod query;
pub(crate) mod words;

use std::{borrow::Cow, path::Path};

use serde::Deserialize;

pub use query::{NotAQuery, Query};

use crate::{
    archive::{Archive, Met, each_line_from},
    dialect::Author,
    store::{self, Indexed, Reader, SearchIndex},
};

/// An item that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The site's id.
    pub site: String,
    /// Of the item.
    pub kind: String,
    /// Of the item.
    pub id: String,
    /// Where its newest record stands in the log.
    pub place: u64,
}

/// Lines of the log that are read in one transaction.
const BATCH: u64 = 5000;

/// What of a line is searched.
#[derive(Deserialize)]
struct Searched<'a> {
    #[serde(rename = "type", borrow)]
    line: Cow<'a, str>,
    #[serde(default, borrow)]
    site: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    seen: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    created: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    author: Option<Author>,
    #[serde(default)]
    tags: Vec<String>,
    /// A run has the number of its files here.
    #[serde(default)]
    files: serde_json::Value,
}

/// Brings the index up to date and asks it. `watch` hears how many bytes of the log are read, and of how many.
///
/// # Errors
/// When the index or the database refuses.
pub fn find(
    archive: &Archive,
    reader: &Reader,
    state: &Path,
    query: &Query,
    mut watch: impl FnMut(u64, u64),
) -> Result<Vec<Hit>, store::Error> {
    let (_, committed, _) = reader.committed()?;
    let index = SearchIndex::open(state, archive.id(), committed)?;
    while !catch_up(archive, reader, &index, &mut watch)? {}
    index.find(query)
}

/// Reads what the index has not read yet. False when the log was sealed meanwhile: then what was read last may have come from
/// the wrong place, is forgotten, and is to be read again.
fn catch_up(
    archive: &Archive,
    reader: &Reader,
    index: &SearchIndex,
    watch: &mut impl FnMut(u64, u64),
) -> Result<bool, store::Error> {
    let (segments, committed, _) = reader.committed()?;
    index.begin()?;
    let from = index.read_to();
    let mut lines = 0;
    let mut sealed = false;
    // A segment is in the database before its lines leave current.jsonl.
    let keep = |to| {
        let sealed = reader.committed()?.0.len() != segments.len();
        if sealed {
            index.rollback()?;
        } else {
            index.commit(to)?;
        }
        Ok::<_, store::Error>(sealed)
    };
    each_line_from(archive, &segments, from, committed, |met| {
        match met {
            Met::Line(place, line) if !sealed => {
                take(index, place, line)?;
                lines += 1;
                if lines % BATCH == 0 {
                    sealed = keep(place + line.len() as u64 + 1)?;
                    watch(place - from, committed - from);
                    if !sealed {
                        index.begin()?;
                    }
                }
            }
            Met::Line(..) | Met::Torn(_) => {}
            Met::Broken(why) => tracing::warn!(
                "Part of the record log cannot be read, so not everything is found: {why}"
            ),
        }
        Ok::<_, store::Error>(())
    })?;
    Ok(!sealed && !keep(committed)?)
}

fn take(index: &SearchIndex, place: u64, line: &[u8]) -> Result<(), store::Error> {
    let read = std::str::from_utf8(line)
        .ok()
        .and_then(|line| serde_json::from_str::<Searched<'_>>(line).ok());
    let Some(line) = read else {
        tracing::warn!(
            place,
            "A line of the record log is damaged, and is not searched"
        );
        return Ok(());
    };
    let (Some(site), Some(kind), Some(id)) = (&line.site, &line.kind, &line.id) else {
        return Ok(());
    };
    match &*line.line {
        "item" => {
            let files = line.files.as_array().map_or(&[][..], Vec::as_slice);
            let author = line.author.as_ref();
            let names = author.map(|author| [author.id.as_deref(), author.name.as_deref()]);
            let names: Vec<_> = names.into_iter().flatten().flatten().collect();
            index.put(&Indexed {
                site,
                kind,
                id,
                place,
                made: line
                    .created
                    .as_deref()
                    .or(line.seen.as_deref())
                    .unwrap_or_default(),
                missing: files.iter().any(|file| file["sha256"].is_null()),
                title: line.title.as_deref().unwrap_or_default(),
                text: line.text.as_deref().unwrap_or_default(),
                author: &names.join(" "),
                tags: &line.tags,
            })
        }
        "gone" => index.set_gone((site, kind, id), true),
        "back" => index.set_gone((site, kind, id), false),
        _ => Ok(()),
    }
}
