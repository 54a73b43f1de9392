//! Sidecars: what is known of a file as flat JSON beside it, in the shape that gallery-dl's `--write-metadata` made common.
//!
//! The site's own object comes first, as it was sent; then what gallery-dl adds to every file (`category`,
//! `subcategory`, `date`, `filename`, `extension`, `num`, `count`), the common keys that the site itself does not name so,
//! and the object's `sha256`. Four spaces deep, a line break at the end, as gallery-dl writes it.
//! Source: gallery_dl/postprocessor/metadata.py and gallery_dl/extractor/moebooru.py, read in 2026.

use jiff::{Timestamp, fmt::strtime};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    fields::ext_of,
    record::{File, Record, stem},
};

/// Which of an item's held files a sidecar is about.
pub(super) struct Nth<'a> {
    pub file: &'a File<'a>,
    /// From 1.
    pub num: usize,
    pub count: usize,
}

/// The bytes of a sidecar; without a file, of the item alone.
pub(super) fn sidecar(record: &Record<'_>, nth: Option<&Nth<'_>>) -> Vec<u8> {
    let own = own(record);
    let has_own = own.is_some();
    let mut json = own.unwrap_or_default();
    let mut fill = |key: &str, value: Value| {
        if !value.is_null() && json.get(key).is_none_or(Value::is_null) {
            json.insert(key.to_owned(), value);
        }
    };
    let author = record.author.as_ref();
    fill("id", id(&record.id));
    fill("title", record.title.as_deref().into());
    fill(
        "author",
        author.and_then(|author| author.name.as_deref()).into(),
    );
    fill("tags", tags(record));
    if !has_own {
        fill(
            "author_id",
            author
                .and_then(|author| author.id.as_deref())
                .map_or(Value::Null, id),
        );
        fill("created_at", record.created.as_deref().into());
        fill("updated_at", record.updated.as_deref().into());
        fill("description", record.text.as_deref().into());
        fill(
            "parent_id",
            record
                .parent
                .as_ref()
                .map_or(Value::Null, |parent| id(&parent.id)),
        );
        fill("url", record.url.as_deref().into());
    }
    if let Some(Nth { file, .. }) = nth {
        fill("md5", file.md5.as_deref().into());
        fill("width", file.width.into());
        fill("height", file.height.into());
        fill("file_size", file.bytes.into());
        fill("file_url", file.url.as_deref().into());
    }
    let mut set = |key: &str, value: Value| json.insert(key.to_owned(), value);
    set("category", record.site.as_ref().into());
    set("subcategory", record.kind.as_ref().into());
    if let Some(date) = record.created.as_deref().and_then(date) {
        set("date", date.into());
    }
    if let Some(Nth { file, num, count }) = nth {
        set("filename", file.name().as_deref().map(stem).into());
        set("extension", ext_of(file).into());
        set("num", (*num).into());
        set("count", (*count).into());
        set(
            "sha256",
            file.sha256.map(|digest| digest.to_string()).into(),
        );
    }
    written(&json)
}

/// The site's own object about this very item, among the replies that its record keeps.
fn own(record: &Record<'_>) -> Option<Map<String, Value>> {
    record.raw().into_iter().find_map(|(_, raw)| match raw {
        Value::Object(raw) if is_id(raw.get("id")?, &record.id) => Some(raw),
        _ => None,
    })
}

fn is_id(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text == id,
        Value::Number(number) => number.to_string() == id,
        _ => false,
    }
}

/// An id as sites write it in JSON: a number where it is one.
fn id(text: &str) -> Value {
    let number = text
        .parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text);
    number.map_or_else(|| text.into(), Value::from)
}

/// One text, as booru sites have it; a list where a tag has spaces.
fn tags(record: &Record<'_>) -> Value {
    let tags = record.tags();
    if tags.iter().any(|tag| tag.contains(char::is_whitespace)) {
        return tags.iter().map(AsRef::as_ref).collect();
    }
    tags.join(" ").into()
}

/// The time as gallery-dl prints one, in UTC.
fn date(time: &str) -> Option<String> {
    let time: Timestamp = time.parse().ok()?;
    strtime::format("%Y-%m-%d %H:%M:%S", time).ok()
}

fn written(json: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, format);
    json.serialize(&mut to)
        .expect("plain JSON values go into memory");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"role":"original","index":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "bytes":9,"type":"image/png","url":"https://x.example/image/d41d/sea%20at%20noon.jpg","md5":"d41d8cd98f00b204e9800998ecf8427e","width":3,"height":4}"#;

    #[test]
    fn the_sites_own_object_is_kept_and_what_gallery_dl_adds_is_added() {
        let line = format!(
            r#"{{"rev":1,"site":"x.example","kind":"post","id":"12","created":"2024-02-29T23:59:59Z","tags":["sea","sun"],
            "files":[{FILE}],"raw":{{"pools":{{"pool_posts":[]}},
            "posts":{{"id":12,"tags":"sea sun","created_at":1709251199,"md5":"d41d8cd98f00b204e9800998ecf8427e","file_size":9,"big":18446744073709551615,"author":"me","title":null}}}}}}"#
        );
        let record = Record::read(line.as_bytes()).expect("reads");
        let nth = Nth {
            file: &record.files[0],
            num: 1,
            count: 1,
        };
        let text = String::from_utf8(sidecar(&record, Some(&nth))).expect("UTF-8");
        let expected = r#"{
    "id": 12,
    "tags": "sea sun",
    "created_at": 1709251199,
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "file_size": 9,
    "big": 18446744073709551615,
    "author": "me",
    "title": null,
    "width": 3,
    "height": 4,
    "file_url": "https://x.example/image/d41d/sea%20at%20noon.jpg",
    "category": "x.example",
    "subcategory": "post",
    "date": "2024-02-29 23:59:59",
    "filename": "sea at noon",
    "extension": "png",
    "num": 1,
    "count": 1,
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn without_an_object_of_the_site_the_record_says_what_it_knows() {
        let line = r#"{"rev":1,"site":"x","kind":"comment","id":"007","author":{"id":"3","name":"you"},"created":"not a time",
            "tags":["two words"],"text":"hello","parent":{"kind":"post","id":"12"},"files":[],"raw":{"comments":{"id":8}}}"#;
        let record = Record::read(line.as_bytes()).expect("reads");
        let json: Value = serde_json::from_slice(&sidecar(&record, None)).expect("JSON");
        let expected = serde_json::json!({
            "id": "007", "author": "you", "tags": ["two words"], "author_id": 3, "created_at": "not a time",
            "description": "hello", "parent_id": 12, "category": "x", "subcategory": "comment",
        });
        assert_eq!(json, expected);
    }
}
