//! A record: what was known of an item at one time, and the digest that is its identity.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Digest;
use crate::dialect::Item;

/// One file of a record, after it was stored or has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// What it is to the item.
    pub role: String,
    /// Its place among the files of this role.
    pub index: u32,
    /// The object, when it is held.
    pub sha256: Option<Digest>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Its media type.
    #[serde(rename = "type")]
    pub media: Option<String>,
    /// Where it came from.
    pub url: Option<String>,
    /// The name that the site gives it.
    pub name: Option<String>,
    /// As the site says.
    pub md5: Option<String>,
    /// The reply's ETag.
    pub etag: Option<String>,
    /// The reply's Last-Modified.
    pub last_modified: Option<String>,
    /// Pixels.
    pub width: Option<u64>,
    /// Pixels.
    pub height: Option<u64>,
    /// Whether nothing told how long it is: it may have been cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified_length: bool,
    /// Why it is not held.
    pub missing: Option<String>,
}

/// One revision of an item, as the log keeps it. Keys stand in the order of the contract.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    v: u32,
    #[serde(rename = "type")]
    line: &'static str,
    /// Rising number of the line.
    pub seq: u64,
    /// When it was seen, RFC 3339.
    pub seen: String,
    /// The record's identity.
    pub digest: Digest,
    /// The item's revision, from 1.
    pub rev: u32,
    site: &'a str,
    kind: &'a str,
    id: &'a str,
    url: Option<&'a str>,
    title: Option<&'a str>,
    author: Option<&'a crate::dialect::Author>,
    created: Option<&'a str>,
    updated: Option<&'a str>,
    tags: &'a [String],
    text: Option<&'a str>,
    parent: Option<&'a crate::dialect::Parent>,
    files: &'a [FileState],
    stats: &'a serde_json::Map<String, Value>,
    raw: &'a std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>,
}

impl<'a> Record<'a> {
    /// The revision `rev` of `item` on `site`, with `files` in the order of (role, index).
    pub fn new(
        site: &'a str,
        item: &'a Item,
        files: &'a [FileState],
        digest: Digest,
        rev: u32,
        seq: u64,
        seen: String,
    ) -> Self {
        Self {
            v: 1,
            line: "item",
            seq,
            seen,
            digest,
            rev,
            site,
            kind: &item.kind,
            id: &item.id,
            url: item.url.as_deref(),
            title: item.title.as_deref(),
            author: item.author.as_ref(),
            created: item.created.as_deref(),
            updated: item.updated.as_deref(),
            tags: &item.tags,
            text: item.text.as_deref(),
            parent: item.parent.as_ref(),
            files,
            stats: &item.stats,
            raw: &item.raw,
        }
    }
}

/// The SHA-256 of the RFC 8785 form of what a record means: scores, raw replies and addresses change without meaning.
pub fn record_digest(site: &str, item: &Item, files: &[FileState]) -> Digest {
    let mut tags = item.tags.clone();
    tags.sort_unstable();
    let files: Vec<_> = files
        .iter()
        .map(|file| json!([file.role, file.index, file.sha256.map(|d| d.to_string())]))
        .collect();
    let mut meaning = json!({
        "site": site, "kind": item.kind, "id": item.id, "title": item.title, "author": item.author,
        "created": item.created, "updated": item.updated, "tags": tags, "text": item.text, "parent": item.parent,
        "files": files,
    });
    if let Value::Object(map) = &mut meaning {
        // Absent and null mean the same.
        map.retain(|_, value| !value.is_null());
    }
    let canonical =
        serde_jcs::to_vec(&meaning).expect("texts, lists and small numbers have a canonical form");
    Digest::of(&canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_ignores_what_is_volatile_and_notices_what_is_not() {
        let base = url::Url::parse("https://booru.example/").expect("valid");
        let item = |json: &str| Item::read(json, &base).expect("reads");
        let digest = |item: &Item| record_digest("booru.example", item, &[]);
        let one = item(r#"{"kind":"post","id":1,"tags":["b","a"],"stats":{"score":1}}"#);
        let same = item(
            r#"{"kind":"post","id":"1","tags":["a","b"],"stats":{"score":2},"title":null,"url":"/x"}"#,
        );
        let other = item(r#"{"kind":"post","id":"1","tags":["a","b"],"title":"t"}"#);
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(
            digest(&one).to_string(),
            Digest::of(
                br#"{"files":[],"id":"1","kind":"post","site":"booru.example","tags":["a","b"]}"#
            )
            .to_string()
        );
    }
}
