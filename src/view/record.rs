//! What a view reads of a record. Texts are borrowed from the line where they can be; what few views want is read on demand.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::archive::Digest;

type Text<'a> = Option<Cow<'a, str>>;

/// A line of the record log, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub site: Cow<'a, str>,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    pub rev: u32,
    #[serde(borrow)]
    pub seen: Text<'a>,
    #[serde(borrow)]
    pub url: Text<'a>,
    #[serde(borrow)]
    pub title: Text<'a>,
    #[serde(borrow)]
    pub author: Option<Author<'a>>,
    #[serde(borrow)]
    pub created: Text<'a>,
    #[serde(borrow)]
    pub updated: Text<'a>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    pub text: Text<'a>,
    #[serde(borrow)]
    pub parent: Option<Parent<'a>>,
    #[serde(borrow, default)]
    pub files: Vec<File<'a>>,
    #[serde(borrow)]
    raw: Option<&'a RawValue>,
}

/// Who made the item.
#[derive(Debug, Deserialize)]
pub(super) struct Author<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// What the item belongs to.
#[derive(Debug, Deserialize)]
pub(super) struct Parent<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

/// One file of the item.
#[derive(Debug, Deserialize)]
pub(super) struct File<'a> {
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    pub index: u32,
    pub sha256: Option<Digest>,
    pub bytes: Option<u64>,
    #[serde(borrow, rename = "type")]
    pub media: Text<'a>,
    #[serde(borrow)]
    pub url: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    pub md5: Text<'a>,
    pub width: Option<u64>,
    pub height: Option<u64>,
}

impl<'a> Record<'a> {
    /// Reads a line.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// The tags, in the site's order.
    pub(super) fn tags(&self) -> Vec<Cow<'a, str>> {
        let tags = self.tags.map(|tags| serde_json::from_str(tags.get()));
        tags.and_then(Result::ok).unwrap_or_default()
    }

    /// The site's own JSON by endpoint.
    pub(super) fn raw(&self) -> serde_json::Map<String, serde_json::Value> {
        let raw = self.raw.map(|raw| serde_json::from_str(raw.get()));
        raw.and_then(Result::ok).unwrap_or_default()
    }
}

impl File<'_> {
    /// The name that the site gives the file, else the last part of its address.
    pub(super) fn name(&self) -> Option<Cow<'_, str>> {
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            return Some(name.into());
        }
        let url = self.url.as_deref()?;
        let path = url.split(['?', '#']).next()?;
        let (before, last) = path.rsplit_once('/')?;
        if last.is_empty() || before.ends_with('/') {
            return None;
        }
        Some(percent_decode_str(last).decode_utf8_lossy())
    }
}

/// A name without its extension.
pub(super) fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ext)) if !stem.is_empty() && ext.len() <= 8 => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_the_site_says_or_as_its_address_ends() {
        let name = |json: &str| {
            let json = format!(r#"{{"role":"original","index":0,{json}}}"#);
            let file: File<'_> = serde_json::from_str(&json).expect("a file");
            file.name().map(Cow::into_owned)
        };
        let url = r#""url":"https://x.example/image/ab/a%20b%2Fc.png?x=/y.gif#z""#;
        assert_eq!(name(url).as_deref(), Some("a b/c.png"));
        assert_eq!(
            name(&format!(r#"{url},"name":"own.zip""#)).as_deref(),
            Some("own.zip")
        );
        assert_eq!(name(r#""url":"https://x.example/""#), None);
        assert_eq!(name(r#""url":"https://x.example""#), None);
        assert_eq!(name(r#""url":null"#), None);
        assert_eq!(
            [
                stem("a.b.png"),
                stem(".png"),
                stem("a.sentence of words"),
                stem("x")
            ],
            ["a.b", ".png", "a.sentence of words", "x"]
        );
    }

    #[test]
    fn a_record_is_read_whatever_is_missing_or_new_in_it() {
        let line = br#"{"v":1,"type":"item","seq":7,"seen":"2026-01-02T03:04:05Z","digest":"x","rev":2,"site":"s","kind":"post","id":"1",
            "url":null,"title":"a \"b\"","author":null,"created":null,"updated":null,"tags":["x","\u00e4"],"text":null,"parent":null,
            "files":[],"stats":{"score":1},"raw":{"posts":{"id":1}},"later":[1]}"#;
        let record = Record::read(line).expect("reads");
        assert_eq!((record.rev, record.title.as_deref()), (2, Some("a \"b\"")));
        assert_eq!(record.tags(), ["x", "ä"]);
        assert_eq!(record.raw()["posts"]["id"], 1);
        let bare = Record::read(br#"{"rev":1,"site":"s","kind":"k","id":"1"}"#).expect("reads");
        assert!(bare.files.is_empty() && bare.tags().is_empty() && bare.raw().is_empty());
        assert!(Record::read(b"{}").is_err());
    }
}
