//! All danmaku of a part of a video in the XML that players read.

use serde_json::Value;

use super::super::{Unknown, Usage, exit, print};
use crate::{
    archive::{Archive, Line},
    config::Config,
    store::Reader,
};

/// Prints the danmaku of a part, by their place in the video.
pub(super) fn print_xml(
    config: &Config,
    reader: &Reader,
    site: &str,
    kind: &str,
    id: &str,
) -> anyhow::Result<u8> {
    if kind != "part" || id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Usage(format!(
            "{site}/{kind}/{id} has no danmaku; write SITE/part/CID, such as bilibili/part/9001"
        ))
        .into());
    }
    let places = reader.placed_below(site, "danmaku", &format!("{id}:"))?;
    if places.is_empty() {
        let message = format!("no danmaku of {site}/part/{id} are in the archive");
        return Err(Unknown(message).into());
    }
    let archive = Archive::open(&config.archive.path, &[])?;
    let lines = reader.lines(&archive)?;
    let mut all = Vec::with_capacity(places.len());
    for place in places {
        let record: Value = serde_json::from_slice(&lines.at(Line { offset: place })?)?;
        all.push((
            record["stats"]["progress"].as_i64().unwrap_or(0),
            element(&record),
        ));
    }
    all.sort();
    print(format_args!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<i><chatserver>chat.bilibili.com</chatserver><chatid>{id}</chatid>\
         <mission>0</mission><maxlimit>{}</maxlimit><source>k-v</source>\n",
        all.len()
    ))?;
    for (_, element) in &all {
        print(format_args!("{element}\n"))?;
    }
    print("</i>\n")?;
    Ok(exit::OK)
}

/// Seconds, mode, size, colour, time, pool, sender, number.
fn element(record: &Value) -> String {
    let number = |key: &str| record["stats"][key].as_i64().unwrap_or(0);
    let created = record["created"].as_str().unwrap_or_default();
    let created = created.parse::<jiff::Timestamp>();
    let id = record["id"].as_str().unwrap_or_default();
    format!(
        "<d p=\"{}.{:03},{},{},{},{},{},{},{}\">{}</d>",
        number("progress").max(0) / 1000,
        number("progress").max(0) % 1000,
        number("mode"),
        number("size"),
        number("color"),
        created.map_or(0, jiff::Timestamp::as_second),
        number("pool"),
        escaped(record["author"]["id"].as_str().unwrap_or_default()),
        escaped(id.rsplit(':').next().unwrap_or_default()),
        escaped(record["text"].as_str().unwrap_or_default()),
    )
}

/// Text in XML, without the characters that XML cannot hold.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
