//! An item in larder's normal form, as a dialect's filters make it and as replies about it merge.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::params::{Value, Values};
use crate::class::Class;

/// One thing of a site as known so far. Identity is (site, `kind`, `id`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What sort of thing, such as `post`.
    pub kind: String,
    /// The site's own id, always text.
    #[serde(deserialize_with = "text")]
    pub id: String,
    /// Its web page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its title.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub title: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// RFC 3339, UTC.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub created: Option<String>,
    /// RFC 3339, UTC.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub updated: Option<String>,
    /// In the site's order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub tags: Vec<String>,
    /// Its text.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub text: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Its files.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub files: Vec<FileRef>,
    /// What must be asked to make it whole; never stored.
    #[serde(default, skip_serializing, deserialize_with = "or_default")]
    pub follow: Vec<Follow>,
    /// What is wanted along with it, whether or not it has changed: by the job's `with`, or always; never stored.
    #[serde(default, skip_serializing, deserialize_with = "or_default")]
    pub also: Vec<Follow>,
    /// Why it is gone upstream.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub gone: Option<String>,
    /// Whether this reply says less of the item than others do: then it makes no revision of one that has a record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stub: bool,
    /// Volatile numbers: a change makes no revision.
    #[serde(
        default,
        skip_serializing_if = "serde_json::Map::is_empty",
        deserialize_with = "or_default"
    )]
    pub stats: serde_json::Map<String, serde_json::Value>,
    /// The site's own JSON by endpoint; added by larder, never by a filter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, Box<RawValue>>,
}

/// Who made an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// The site's id of the account.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub id: Option<String>,
    /// The name shown.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub name: Option<String>,
}

/// What an item belongs to, on the same site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The parent's kind.
    pub kind: String,
    /// The parent's id.
    #[serde(deserialize_with = "text")]
    pub id: String,
}

/// One file of an item. Identity within the item is (`role`, `index`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// What it is to the item, such as `original`.
    pub role: String,
    /// Its place among the files of this role, from 0.
    #[serde(default)]
    pub index: u32,
    /// Where it is; without one it is missing from the start.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub url: Option<String>,
    /// The name the site gives it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub name: Option<String>,
    /// Its size in bytes, as the site says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Lower-case hex, as the site says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub md5: Option<String>,
    /// Lower-case hex, as the site says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub sha1: Option<String>,
    /// Lower-case hex, as the site says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub sha256: Option<String>,
    /// Media type, as the site says.
    #[serde(
        default,
        rename = "type",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub media: Option<String>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Why there is no `url`, as a failure class, such as `auth`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_text"
    )]
    pub missing: Option<String>,
}

impl FileRef {
    /// The hash by which the site names the bytes: the MD5, or the SHA-1 or SHA-256 of a site that has none.
    pub fn named(&self) -> Option<Vec<u8>> {
        let hash = [&self.md5, &self.sha1, &self.sha256]
            .into_iter()
            .flatten()
            .next()?;
        hex::decode(hash).ok()
    }
}

/// A request that something leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// An endpoint of the dialect.
    pub endpoint: String,
    /// Its parameters.
    #[serde(default, deserialize_with = "values")]
    pub params: Values,
    /// Of this dialect, at its own site; otherwise of the item's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
}

/// The longest id, in bytes: as long as a title of MediaWiki. Larger ones are not ids but mistakes.
const LONGEST_ID: usize = 255;

impl Item {
    /// Reads the output of an `item` filter and brings it into shape: addresses absolute, dates in UTC, hashes checked.
    ///
    /// # Errors
    /// What does not fit the normal form.
    pub fn read(json: &str, base: &Url) -> Result<Self, String> {
        let mut item: Self =
            serde_json::from_str(json).map_err(|error| strip_position(&error.to_string()))?;
        if item.kind.is_empty()
            || !item
                .kind
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-')
        {
            return Err(format!("`kind` is {:?}; use lower-case letters", item.kind));
        }
        if item.id.is_empty() || item.id.len() > LONGEST_ID {
            return Err(format!(
                "`id` has {} bytes; 1 to {LONGEST_ID} are allowed",
                item.id.len()
            ));
        }
        item.raw.clear();
        item.url = item.url.map(|url| below(base, &url));
        item.created = item.created.map(|time| instant(&time));
        item.updated = item.updated.map(|time| instant(&time));
        item.tags.retain(|tag| !tag.is_empty());
        item.author = item.author.filter(|a| a.id.is_some() || a.name.is_some());
        for file in &mut item.files {
            let url = file.url.take().filter(|url| !url.is_empty());
            file.url = url.map(|url| absolute(base, &url));
            check_hash("md5", file.md5.as_mut(), 32)?;
            check_hash("sha1", file.sha1.as_mut(), 40)?;
            check_hash("sha256", file.sha256.as_mut(), 64)?;
            if let Some(word) = &file.missing
                && word.parse::<Class>().is_err()
            {
                return Err(format!("`missing` is {word:?}, which is no failure class"));
            }
        }
        item.files
            .sort_by(|a, b| (&a.role, a.index).cmp(&(&b.role, b.index)));
        item.files
            .dedup_by(|b, a| (&a.role, a.index) == (&b.role, b.index));
        Ok(item)
    }

    /// An item of which nothing is known but that it is, or was.
    pub fn bare(kind: &str, id: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            url: None,
            title: None,
            author: None,
            created: None,
            updated: None,
            tags: Vec::new(),
            text: None,
            parent: None,
            files: Vec::new(),
            follow: Vec::new(),
            also: Vec::new(),
            gone: None,
            stub: false,
            stats: serde_json::Map::new(),
            raw: BTreeMap::new(),
        }
    }

    /// Merges what a later reply says about the same item: its values win, files are a union by (role, index).
    pub fn merge(&mut self, later: Self) {
        fn take<T>(mine: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *mine = later;
            }
        }
        take(&mut self.url, later.url);
        take(&mut self.title, later.title);
        take(&mut self.author, later.author);
        take(&mut self.created, later.created);
        take(&mut self.updated, later.updated);
        take(&mut self.text, later.text);
        take(&mut self.parent, later.parent);
        take(&mut self.gone, later.gone);
        if !later.tags.is_empty() {
            self.tags = later.tags;
        }
        for file in later.files {
            match self
                .files
                .iter_mut()
                .find(|f| (&f.role, f.index) == (&file.role, file.index))
            {
                Some(mine) => *mine = file,
                None => self.files.push(file),
            }
        }
        self.files
            .sort_by(|a, b| (&a.role, a.index).cmp(&(&b.role, b.index)));
        self.stub &= later.stub;
        self.stats.extend(later.stats);
        self.raw.extend(later.raw);
    }
}

/// serde's message without its position in a text that nobody sees.
fn strip_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// A dialect's own path of an item, below the site's base path.
fn below(base: &Url, url: &str) -> String {
    if url.starts_with('/') && !url.starts_with("//") {
        format!("{}{url}", base.as_str().trim_end_matches('/'))
    } else {
        absolute(base, url)
    }
}

/// An address as the site wrote it, relative to its host.
fn absolute(base: &Url, url: &str) -> String {
    base.join(url).map_or_else(|_| url.to_owned(), String::from)
}

fn check_hash(name: &str, hash: Option<&mut String>, digits: usize) -> Result<(), String> {
    let Some(hash) = hash else { return Ok(()) };
    hash.make_ascii_lowercase();
    if hash.len() == digits && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is {hash:?}; {digits} hex digits are expected"
        ))
    }
}

/// Epoch seconds or any time with an offset, as RFC 3339 in UTC; what is neither stays as it is.
fn instant(text: &str) -> String {
    let time = match text.parse::<i64>() {
        Ok(seconds) => jiff::Timestamp::from_second(seconds).ok(),
        Err(_) => jiff::Timestamp::from_str(text).ok(),
    };
    time.map_or_else(|| text.to_owned(), |time| time.to_string())
}

/// Text, or a number as the text it was written as: ids beyond 2^53 survive.
fn scalar(raw: &RawValue) -> Result<Option<String>, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(text)
            .map(Some)
            .map_err(|e| e.to_string()),
        Some(b'[' | b'{' | b't' | b'f') => {
            Err(format!("expected text or a number, found {}", &text[..1]))
        }
        _ => Ok(Some(text.to_owned())),
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let found = opt_text(deserializer)?;
    found.ok_or_else(|| serde::de::Error::custom("`id` is null"))
}

fn opt_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    scalar(raw).map_err(serde::de::Error::custom)
}

/// Null means absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Parameters of a follow-up as plain JSON scalars.
fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
    let map = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    Ok(map
        .into_iter()
        .filter_map(|(k, v)| Some((k, value_of(&v)?)))
        .collect())
}

/// A JSON scalar or list as a parameter's value; null is no value.
pub(super) fn value_of(json: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match json {
        Json::Null | Json::Object(_) => return None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Text(number.to_string()), Value::Int),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(
            list.iter()
                .filter_map(value_of)
                .map(|value| value.to_string())
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Item, String> {
        Item::read(json, &Url::parse("https://booru.example/").expect("valid"))
    }

    #[test]
    fn ids_beyond_two_to_the_53_survive() {
        let item = read(r#"{"kind":"reply","id":9223372036854775807123}"#).expect("reads");
        assert_eq!(item.id, "9223372036854775807123");
    }

    #[test]
    fn dates_become_utc_and_addresses_absolute() {
        let item = read(
            r#"{"kind":"post","id":"1","url":"/post/show/1","created":1795322818,"updated":"2026-11-22T04:47:30.5+09:00",
                "files":[{"role":"original","url":"//files.example/a b.png","md5":"D41D8CD98F00B204E9800998ECF8427E"}]}"#,
        )
        .expect("reads");
        assert_eq!(
            item.url.as_deref(),
            Some("https://booru.example/post/show/1")
        );
        assert_eq!(item.created.as_deref(), Some("2026-11-22T04:46:58Z"));
        assert_eq!(item.updated.as_deref(), Some("2026-11-21T19:47:30.5Z"));
        assert_eq!(
            item.files[0].url.as_deref(),
            Some("https://files.example/a%20b.png")
        );
        assert_eq!(
            item.files[0].md5.as_deref(),
            Some("d41d8cd98f00b204e9800998ecf8427e")
        );
    }

    #[test]
    fn what_is_no_item_says_what_is_wrong() {
        for (json, word) in [
            ("{}", "kind"),
            (r#"{"kind":"post","id":null}"#, "null"),
            (r#"{"kind":"post","id":[]}"#, "expected text"),
            (r#"{"kind":"post","id":1,"colour":2}"#, "colour"),
            (
                r#"{"kind":"post","id":1,"files":[{"role":"x","md5":"zz"}]}"#,
                "md5",
            ),
            ("[1]", "invalid"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn a_later_reply_adds_and_never_takes_away() {
        let mut item = read(
            r#"{"kind":"post","id":1,"title":"a","tags":["x"],"files":[{"role":"original"}]}"#,
        )
        .expect("reads");
        item.merge(
            read(r#"{"kind":"post","id":1,"text":"b","files":[{"role":"original","index":1}]}"#)
                .expect("reads"),
        );
        assert_eq!(
            (item.title.as_deref(), item.text.as_deref()),
            (Some("a"), Some("b"))
        );
        assert_eq!((item.tags.len(), item.files.len()), (1, 2));
    }
}
