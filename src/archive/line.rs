//! Lines of the record log as they are read back: whether they are whole, and what of them an index needs.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::{Archive, Damage, Digest, FileState, Kind, Met, Segment, log::current, record_digest};
use crate::dialect::{Author, Item, Parent};

/// Reads the lines of `current.jsonl` up to `committed`, an offset in the whole log; the first of them has the number after
/// that of the last of `segments`. Of an item's record what its digest covers is checked, of the rest that it is JSON.
pub fn check_lines(archive: &Archive, segments: &[Segment], committed: u64) -> Vec<Damage> {
    let path = archive.log_path();
    let mut found = Vec::new();
    let mut expected = segments.last().map_or(0, |segment| segment.last_seq) + 1;
    let mut number = 0;
    let mut end = segments.last().map_or(0, Segment::end);
    let damage = |kind, why: String| Damage::of(kind, path.clone(), why);
    // The sealed part has its own check.
    let read = current::<std::convert::Infallible>(archive, end, committed, |met| {
        match met {
            Met::Line(place, line) => {
                number += 1;
                end = place + line.len() as u64 + 1;
                match check_line(line) {
                    Ok(seq) if seq == expected => {}
                    Ok(seq) => {
                        let why =
                            format!("line {number} has the number {seq}; {expected} should follow");
                        found.push(damage(Kind::Line, why));
                        expected = seq;
                    }
                    Err(why) => found.push(damage(Kind::Line, format!("line {number}: {why}"))),
                }
                expected += 1;
            }
            Met::Torn(rest) => {
                end += rest.len() as u64;
                let why = format!("line {} has no end", number + 1);
                found.push(damage(Kind::Line, why));
            }
            Met::Broken(why) => found.push(damage(Kind::Line, why)),
        }
        Ok(())
    });
    let Ok(()) = read;
    if end < committed {
        let why = format!(
            "it ends at byte {end} of the record log, the database has committed {committed}"
        );
        found.push(damage(Kind::Short, why));
    }
    found
}

/// An item's line as far as its digest covers it.
#[derive(Deserialize)]
struct Meaning {
    site: String,
    kind: String,
    id: String,
    title: Option<String>,
    author: Option<Author>,
    created: Option<String>,
    updated: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    text: Option<String>,
    parent: Option<Parent>,
    #[serde(default)]
    files: Vec<FileState>,
    digest: Digest,
}

/// Whether a line is what larder wrote; its number.
fn check_line(line: &[u8]) -> Result<u64, String> {
    #[derive(Deserialize)]
    struct Head {
        v: u32,
        #[serde(rename = "type")]
        kind: String,
        seq: u64,
    }
    let text = std::str::from_utf8(line).map_err(|_| "it is not text".to_owned())?;
    let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if head.v != 1 {
        return Err(format!("its format is {}", head.v));
    }
    if head.kind != "item" {
        return Ok(head.seq);
    }
    let line: Meaning = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let item = Item {
        kind: line.kind,
        id: line.id,
        url: None,
        title: line.title,
        author: line.author,
        created: line.created,
        updated: line.updated,
        tags: line.tags,
        text: line.text,
        parent: line.parent,
        files: Vec::new(),
        follow: Vec::new(),
        also: Vec::new(),
        gone: None,
        stub: false,
        stats: serde_json::Map::new(),
        raw: std::collections::BTreeMap::new(),
    };
    if record_digest(&line.site, &item, &line.files) == line.digest {
        Ok(head.seq)
    } else {
        Err(format!(
            "what it says of {}/{} does not match its digest",
            item.kind, item.id
        ))
    }
}

/// What an index needs to know of a line: the rest, such as the site's own reply, is passed over.
#[derive(Debug, Deserialize)]
pub struct LogLine<'a> {
    /// `item`, `gone`, `back`, `joined`, `left`, `run`.
    #[serde(rename = "type", borrow)]
    pub line: Cow<'a, str>,
    /// Its number.
    pub seq: u64,
    /// When it was written, RFC 3339.
    #[serde(default, borrow)]
    pub seen: Option<Cow<'a, str>>,
    /// The site's id.
    #[serde(default, borrow)]
    pub site: Option<Cow<'a, str>>,
    /// Of the item.
    #[serde(default, borrow)]
    pub kind: Option<Cow<'a, str>>,
    /// Of the item.
    #[serde(default, borrow)]
    pub id: Option<Cow<'a, str>>,
    /// Of a membership.
    #[serde(default, borrow)]
    pub job: Option<Cow<'a, str>>,
    /// Of a membership: only a follow-up showed the item.
    #[serde(default)]
    pub followed: bool,
    /// Of a record: its revision.
    #[serde(default)]
    pub rev: u32,
    /// Of a record: its identity.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Of a record: its files.
    #[serde(default, deserialize_with = "files")]
    pub files: Vec<FileState>,
    /// Of a tombstone.
    #[serde(default, borrow)]
    pub why: Option<Cow<'a, str>>,
}

impl<'a> LogLine<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not text".to_owned())?;
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// The files of a record. A run has their number under the same name, which is of no interest here.
fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FileState>, D::Error> {
    struct Files;

    impl<'de> Visitor<'de> for Files {
        type Value = Vec<FileState>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("files, or their number")
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut files = Vec::new();
            while let Some(file) = list.next_element()? {
                files.push(file);
            }
            Ok(files)
        }
    }
    deserializer.deserialize_any(Files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_line_reads() {
        let run = br#"{"v":1,"type":"run","seq":7,"seen":"2026-11-22T00:00:00Z","job":"a","site":"b","files":3}"#;
        let run = LogLine::read(run).expect("a line");
        assert_eq!((&*run.line, run.seq, run.files.len()), ("run", 7, 0));
        let item = br#"{"v":1,"type":"item","seq":8,"rev":2,"site":"b","kind":"post","id":"1","raw":{"x":[1,{}]},
            "files":[{"role":"original","index":0,"missing":"http_404"}]}"#;
        let item = LogLine::read(item).expect("a line");
        assert_eq!((item.rev, item.files.len()), (2, 1));
        assert!(LogLine::read(b"{").is_err() && LogLine::read(b"\xff").is_err());
    }

    #[test]
    fn a_line_whose_meaning_was_changed_is_found() {
        let base = url::Url::parse("https://booru.example/").expect("valid");
        let json = r#"{"kind":"post","id":1,"tags":["b","a"],"title":"t","author":{"name":"n"}}"#;
        let item = Item::read(json, &base).expect("reads");
        let digest = record_digest("booru.example", &item, &[]);
        let record = crate::archive::Record::new(
            "booru.example",
            &item,
            &[],
            digest,
            1,
            9,
            "2026-11-22T00:00:00Z".to_owned(),
        );
        let line = serde_json::to_string(&record).expect("JSON");
        assert_eq!(check_line(line.as_bytes()), Ok(9));
        for (from, to) in [
            ("\"t\"", "\"u\""),
            ("\"a\"", "\"c\""),
            ("\"n\"", "\"m\""),
            ("item", "jtem\\"),
        ] {
            let changed = line.replacen(from, to, 1);
            assert!(check_line(changed.as_bytes()).is_err(), "{changed}");
        }
    }
}
