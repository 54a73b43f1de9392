//! The manifest of a view: what was made, as JSON Lines in the file `.larder-view`.
//!
//! Its first line says of which archive and how; then comes a line for each folder and file that the view made. It is written
//! before anything is touched, with all that will be made, and once more at the end: after a kill the next larder knows
//! each file that may be its own. Whatever it says, a file is touched only after it was looked at.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};

use super::{
    Error, Link,
    folder::{Folder, OWN, Stamp},
};
use crate::archive::Digest;

/// The version of the file.
const VERSION: u32 = 1;

/// Of what the view is, and how it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    v: u32,
    #[serde(rename = "type")]
    line: Cow<'static, str>,
    /// The archive's identity.
    pub archive: String,
    /// The template.
    pub name: String,
    /// Only items of these jobs; empty for all.
    pub jobs: Vec<String>,
    /// Only items that this question finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    /// As it was asked for.
    pub link: Link,
    /// Whether each file has one.
    pub sidecar: bool,
    /// What decides how the view looks, when it was whole; without it, it has to be made again.
    pub basis: Option<String>,
    /// Files of the records that the archive does not hold.
    pub unheld: u64,
    /// Lines that follow.
    pub lines: usize,
}

/// How a file was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Made {
    Hard,
    Symbolic,
    Reflink,
    Sidecar,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// This object.
    Object(Digest),
    /// JSON with this hash.
    Json([u8; 16]),
}

/// One file that the view made, or is about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: Box<str>,
    /// For what it stands, whatever it is called.
    pub key: u128,
    pub content: Content,
    pub made: Made,
    /// What was there when it had been made.
    pub stamp: Option<Stamp>,
}

/// All that a view knows of itself.
#[derive(Debug)]
pub(super) struct Manifest {
    pub head: Head,
    /// In the order of their paths.
    pub entries: Vec<Entry>,
    /// Folders that the view made.
    pub folders: BTreeSet<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    folder: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<[i64; 3]>,
}

impl Head {
    /// The head of a view of the archive `archive`.
    pub(super) fn new(archive: &str, options: &super::Options) -> Self {
        Self {
            v: VERSION,
            line: "view".into(),
            archive: archive.to_owned(),
            name: options.name.to_string(),
            jobs: options.jobs.clone(),
            find: options.find.clone(),
            link: options.link,
            sidecar: options.sidecar,
            basis: None,
            unheld: 0,
            lines: 0,
        }
    }
}

impl Manifest {
    /// Reads the manifest of a folder; `None` where there is none.
    pub(super) fn load(folder: &Folder, at: &std::path::Path) -> Result<Option<Self>, Error> {
        let Some(file) = folder.read(OWN)? else {
            return Ok(None);
        };
        let damaged = |()| {
            Error::Refused(format!(
                "{}/{OWN} is damaged; remove the folder (nothing in it is needed) and make the view again",
                at.display()
            ))
        };
        let reading = Error::io("read", at.join(OWN));
        let mut reader = io::BufReader::with_capacity(1 << 18, file);
        let mut text = Vec::new();
        if let Err(error) = reader.read_until(b'\n', &mut text) {
            return Err(reading(error));
        }
        let head: Head = serde_json::from_slice(&text).map_err(|_| damaged(()))?;
        if head.line != "view" {
            return Err(damaged(()));
        }
        if head.v > VERSION {
            return Err(Error::Refused(format!(
                "the view {} was made by a newer larder: use that one, or another folder",
                at.display()
            )));
        }
        let mut manifest = Self {
            entries: Vec::with_capacity(head.lines.min(1 << 20)),
            folders: BTreeSet::new(),
            head,
        };
        for _ in 0..manifest.head.lines {
            text.clear();
            if let Err(error) = reader.read_until(b'\n', &mut text) {
                return Err(reading(error));
            }
            let line: Line<'_> = serde_json::from_slice(&text).map_err(|_| damaged(()))?;
            manifest.take(line).ok_or(()).map_err(damaged)?;
        }
        Ok(Some(manifest))
    }

    /// Takes a line, if it makes sense and names nothing outside of the folder.
    fn take(&mut self, line: Line<'_>) -> Option<()> {
        if let Some(folder) = line.folder {
            self.folders.insert(below(folder.into_owned())?);
            return Some(());
        }
        let made = line.made?;
        let content = match (line.sha256, line.json) {
            (Some(digest), None) if made != Made::Sidecar => Content::Object(digest),
            (None, Some(json)) if made == Made::Sidecar => {
                let mut hash = [0; 16];
                hex::decode_to_slice(json.as_ref(), &mut hash).ok()?;
                Content::Json(hash)
            }
            _ => return None,
        };
        let stamp = line.stamp.map(|[ino, bytes, changed]| Stamp {
            ino: ino.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
            changed,
        });
        self.entries.push(Entry {
            path: below(line.path?.into_owned())?.into_boxed_str(),
            key: u128::from_str_radix(&line.key?, 16).ok()?,
            content,
            made,
            stamp,
        });
        Some(())
    }

    /// Writes the manifest, durably and in place of the one before.
    pub(super) fn save<'a>(
        folder: &Folder,
        mut head: Head,
        folders: &BTreeSet<String>,
        entries: impl ExactSizeIterator<Item = &'a Entry>,
    ) -> Result<(), Error> {
        head.lines = folders.len() + entries.len();
        folder.replace(OWN, |to| {
            serde_json::to_writer(&mut *to, &head)?;
            to.write_all(b"\n")?;
            let mut put = |line: &Line<'_>| -> io::Result<()> {
                serde_json::to_writer(&mut *to, line)?;
                to.write_all(b"\n")
            };
            for path in folders {
                put(&Line {
                    folder: Some(path.into()),
                    ..Line::default()
                })?;
            }
            for entry in entries {
                put(&Line::of(entry))?;
            }
            Ok(())
        })
    }
}

impl<'a> Line<'a> {
    fn of(entry: &'a Entry) -> Self {
        let (sha256, json) = match entry.content {
            Content::Object(digest) => (Some(digest), None),
            Content::Json(hash) => (None, Some(hex::encode(hash).into())),
        };
        let stamp = entry.stamp.map(|stamp| {
            let Stamp {
                ino,
                bytes,
                changed,
            } = stamp;
            [ino.cast_signed(), bytes.cast_signed(), changed]
        });
        Self {
            folder: None,
            path: Some(entry.path.as_ref().into()),
            key: Some(format!("{:032x}", entry.key).into()),
            made: Some(entry.made),
            sha256,
            json,
            stamp,
        }
    }
}

/// A path as views make them: relative, each component a plain name.
fn below(path: String) -> Option<String> {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('\0');
    path.split('/').all(plain).then_some(path)
}
