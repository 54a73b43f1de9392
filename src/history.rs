//! An item's history: every line of the record log that is about it, in order, and what each revision changed, in words.
//!
//! Only reads. The log is read from its beginning: a history is asked for by a person now and then, so no index is kept
//! for it, and it is right for an archive that was rebuilt or copied too.

use std::{collections::BTreeMap, convert::Infallible, fmt};

use memchr::memmem;
use serde::Serialize;
use serde_json::Value;

use crate::{
    archive::{Archive, LogLine, Met, Segment, each_line},
    text::{bytes, count},
};

/// Characters of a value that a change shows.
const SHOWN: usize = 80;

/// What happened to an item, the oldest first.
#[derive(Debug, Default, Serialize)]
pub struct History {
    /// What happened.
    pub events: Vec<Event>,
    /// What of the log cannot be read, in words: something may be missing here.
    pub unread: Vec<String>,
}

/// One line of the log.
#[derive(Debug, Serialize)]
pub struct Event {
    /// The line's number.
    pub seq: u64,
    /// When, RFC 3339.
    pub seen: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a line says.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// A revision.
    Item {
        /// Its number.
        rev: u32,
        /// Files that are held.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Files that are not.
        missing: usize,
        /// Against the revision before it; none in the first.
        changes: Vec<Change>,
    },
    /// The site has removed the item.
    Gone {
        /// How that is known.
        why: String,
    },
    /// The site has it again.
    Back,
    /// It is in a job's listing from now on.
    Joined {
        /// The job.
        job: String,
        /// Only a follow-up showed it.
        followed: bool,
    },
    /// A whole walk of the job's listing did not show it any more.
    Left {
        /// The job.
        job: String,
    },
}

/// One difference between two revisions.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Change {
    /// A field has another value.
    Field {
        /// Its name in the record.
        field: &'static str,
        /// Null where there was none.
        from: Option<String>,
        /// Null where there is none any more.
        to: Option<String>,
    },
    /// Tags came and went.
    Tags {
        /// New ones.
        added: Vec<String>,
        /// Those that are no more.
        removed: Vec<String>,
    },
    /// A file came, went, or has other bytes.
    File {
        /// What it is to the item.
        role: String,
        /// Its place among the files of this role.
        index: u64,
        /// The object, or why it was missing; null where there was no such file.
        from: Option<Held>,
        /// The same for now.
        to: Option<Held>,
    },
}

/// Whether a file is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// As this object.
    Sha256(String),
    /// It is not, for this reason.
    Missing(String),
}

impl History {
    /// Reads what the log says of an item up to the offset `until`, the end of what is committed.
    pub fn read(
        archive: &Archive,
        segments: &[Segment],
        until: u64,
        (site, kind, id): (&str, &str, &str),
    ) -> Self {
        let mut history = Self::default();
        let mut last: Option<Value> = None;
        // Most lines are about others, and are passed over unparsed.
        let needle = format!("\"id\":{}", Value::from(id));
        let finder = memmem::Finder::new(needle.as_bytes());
        let Ok(()) = each_line::<Infallible>(archive, segments, until, |met| {
            match met {
                Met::Line(_, line) if finder.find(line).is_some() => {
                    let Ok(head) = LogLine::read(line) else {
                        history.unread.push("a line is no JSON".to_owned());
                        return Ok(());
                    };
                    let of = |text: &Option<_>, wanted| text.as_deref() == Some(wanted);
                    if of(&head.site, site) && of(&head.kind, kind) && of(&head.id, id) {
                        history.events.extend(event(&head, line, &mut last));
                    }
                }
                Met::Line(..) | Met::Torn(_) => {}
                Met::Broken(why) => history.unread.push(why),
            }
            Ok(())
        });
        history
    }
}

fn event(head: &LogLine<'_>, line: &[u8], last: &mut Option<Value>) -> Option<Event> {
    let job = || head.job.as_deref().unwrap_or_default().to_owned();
    let what = match &*head.line {
        "item" => {
            let record: Value = serde_json::from_slice(line).ok()?;
            let changes = last
                .as_ref()
                .map_or_else(Vec::new, |old| changes(old, &record));
            *last = Some(record);
            let held = head.files.iter().filter(|file| file.sha256.is_some());
            What::Item {
                rev: head.rev,
                files: held.clone().count(),
                bytes: held.filter_map(|file| file.bytes).sum(),
                missing: head
                    .files
                    .iter()
                    .filter(|file| file.sha256.is_none())
                    .count(),
                changes,
            }
        }
        "gone" => What::Gone {
            why: head.why.as_deref().unwrap_or_default().to_owned(),
        },
        "back" => What::Back,
        "joined" => What::Joined {
            job: job(),
            followed: head.followed,
        },
        "left" => What::Left { job: job() },
        // A later larder may write more.
        _ => return None,
    };
    Some(Event {
        seq: head.seq,
        seen: head.seen.as_deref().unwrap_or_default().to_owned(),
        what,
    })
}

/// What differs in meaning: scores, raw replies and addresses change without it.
fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    for field in ["title", "author", "created", "updated", "text", "parent"] {
        let (from, to) = (said(&old[field]), said(&new[field]));
        if from != to {
            found.push(Change::Field { field, from, to });
        }
    }
    let (before, after) = (tags(old), tags(new));
    let only_in = |one: &[String], other: &[String]| {
        let only = one.iter().filter(|tag| !other.contains(tag));
        only.cloned().collect::<Vec<_>>()
    };
    let (added, removed) = (only_in(&after, &before), only_in(&before, &after));
    if !added.is_empty() || !removed.is_empty() {
        found.push(Change::Tags { added, removed });
    }
    let (mut before, after) = (files(old), files(new));
    for (place, to) in after {
        let from = before.remove(&place);
        if from.as_ref() != Some(&to) {
            let (role, index) = place;
            let to = Some(to);
            found.push(Change::File {
                role,
                index,
                from,
                to,
            });
        }
    }
    found.extend(
        before
            .into_iter()
            .map(|((role, index), from)| Change::File {
                role,
                index,
                from: Some(from),
                to: None,
            }),
    );
    found
}

/// A field in one text: an author by name, a parent by kind and id.
fn said(value: &Value) -> Option<String> {
    let text = |key: &str| value[key].as_str();
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(_) => match (text("name"), text("kind"), text("id")) {
            (Some(name), _, Some(id)) => Some(format!("{name} ({id})")),
            (Some(name), ..) => Some(name.to_owned()),
            (None, Some(kind), Some(id)) => Some(format!("{kind}/{id}")),
            (None, None, Some(id)) => Some(id.to_owned()),
            (None, _, None) => Some(value.to_string()),
        },
        other => Some(other.to_string()),
    }
}

fn tags(record: &Value) -> Vec<String> {
    let list = record["tags"].as_array().into_iter().flatten();
    let mut tags: Vec<_> = list.filter_map(Value::as_str).map(str::to_owned).collect();
    tags.sort_unstable();
    tags
}

fn files(record: &Value) -> BTreeMap<(String, u64), Held> {
    let list = record["files"].as_array().into_iter().flatten();
    list.map(|file| {
        let role = file["role"].as_str().unwrap_or_default().to_owned();
        let held = match file["sha256"].as_str() {
            Some(digest) => Held::Sha256(digest.to_owned()),
            None => Held::Missing(file["missing"].as_str().unwrap_or("unknown").to_owned()),
        };
        ((role, file["index"].as_u64().unwrap_or_default()), held)
    })
    .collect()
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item { rev, .. } => write!(f, "revision {rev}"),
            Self::Gone { .. } => f.write_str("gone"),
            Self::Back => f.write_str("back"),
            Self::Joined { .. } => f.write_str("joined"),
            Self::Left { .. } => f.write_str("left"),
        }
    }
}

impl What {
    /// What there is to say of it, a line each.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Item { changes, .. } if !changes.is_empty() => {
                changes.iter().map(ToString::to_string).collect()
            }
            Self::Item {
                files,
                bytes: size,
                missing,
                ..
            } => {
                let size = bytes(i64::try_from(*size).unwrap_or(i64::MAX));
                let mut words = match files {
                    0 => "no files".to_owned(),
                    1 => format!("1 file, {size}"),
                    n => format!(
                        "{} files, {size}",
                        count(i64::try_from(*n).unwrap_or(i64::MAX))
                    ),
                };
                if *missing > 0 {
                    words += &format!("; {missing} missing");
                }
                vec![words]
            }
            Self::Gone { why } => vec![format!("{why}; what was archived stays")],
            Self::Back => vec!["the site has it again".to_owned()],
            Self::Joined {
                job,
                followed: false,
            } => vec![job.clone()],
            Self::Joined {
                job,
                followed: true,
            } => vec![format!("{job}, by a follow-up")],
            Self::Left { job } => vec![format!("{job}: a whole walk did not show it any more")],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, from, to } => match (from, to) {
                (Some(from), Some(to)) => write!(f, "{field} {} → {}", quoted(from), quoted(to)),
                (None, Some(to)) => write!(f, "{field} {}, none before", quoted(to)),
                (Some(from), None) => write!(f, "no {field} any more, was {}", quoted(from)),
                (None, None) => write!(f, "{field}"),
            },
            Self::Tags { added, removed } => {
                f.write_str("tags")?;
                added.iter().try_for_each(|tag| write!(f, " +{tag}"))?;
                removed.iter().try_for_each(|tag| write!(f, " -{tag}"))
            }
            Self::File {
                role,
                index,
                from,
                to,
            } => {
                write!(f, "file {role} {index} ")?;
                match (from, to) {
                    (None, Some(to)) => write!(f, "is new: {to}"),
                    (Some(from), None) => write!(f, "is not in it any more, was {from}"),
                    (Some(from), Some(to)) => write!(f, "{from} → {to}"),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As many digits as `cat` and `path` ask for.
            Self::Sha256(digest) => f.write_str(digest.get(..8).unwrap_or(digest)),
            Self::Missing(why) => write!(f, "missing ({why})"),
        }
    }
}

/// A value in quotes, cut when it is long.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(old: &Value, new: &Value) -> Vec<String> {
        changes(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_is_said_in_words() {
        let old = json!({
            "title": "Hill", "tags": ["b", "a"], "author": {"id": "7", "name": "moss"}, "parent": null,
            "files": [
                {"role": "original", "index": 0, "sha256": "3f9a12cd00"},
                {"role": "original", "index": 1, "sha256": null, "missing": "http_404"},
                {"role": "sample", "index": 0, "sha256": "77aa"},
            ],
            "stats": {"score": 1},
        });
        let new = json!({
            "title": null, "tags": ["c", "a"], "author": {"id": "7", "name": "fern"},
            "parent": {"kind": "post", "id": "3"}, "text": "x".repeat(100),
            "files": [
                {"role": "original", "index": 0, "sha256": "88ab55ef11"},
                {"role": "original", "index": 1, "sha256": "99cd"},
                {"role": "original", "index": 2, "sha256": "aabb"},
            ],
            "stats": {"score": 2},
        });
        assert_eq!(
            words(&old, &new),
            [
                "no title any more, was \"Hill\"".to_owned(),
                "author \"moss (7)\" → \"fern (7)\"".to_owned(),
                format!("text \"{}…\", none before", "x".repeat(80)),
                "parent \"post/3\", none before".to_owned(),
                "tags +c -b".to_owned(),
                "file original 0 3f9a12cd → 88ab55ef".to_owned(),
                "file original 1 missing (http_404) → 99cd".to_owned(),
                "file original 2 is new: aabb".to_owned(),
                "file sample 0 is not in it any more, was 77aa".to_owned(),
            ]
        );
        assert!(words(&old, &old).is_empty());
    }
}
