//! `larder show`: an item's newest record.

mod danmaku;

use std::{fmt::Write, path::Path};

use anyhow::Context as _;
use serde_json::Value;

use super::{Unknown, Usage, exit, load, print, print_json, reader};
use crate::{
    archive::{Archive, Line},
    class::Class,
    config::{AddressBook, Config, Place},
    text::{bytes, one_line},
};

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// SITE/KIND/ID, such as yande.re/post/1234, or a web address
    item: String,
    /// The whole record as JSON, with the site's own reply
    #[arg(long)]
    json: bool,
    /// Another form: `xml` is all danmaku of a part of a video (SITE/part/CID), as players read them
    #[arg(long, value_enum, conflicts_with = "json")]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Xml,
}

impl Show {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let (site, kind, id) = identify(&config, &self.item)?;
        let name = format!("{site}/{kind}/{id}");
        if !Archive::exists(&config.archive.path) {
            return Err(Unknown(format!(
                "there is no archive at {} yet; `larder run` makes it",
                config.archive.path.display()
            ))
            .into());
        }
        let unknown = || Unknown(format!("{name} is not in the archive"));
        let reader = reader(&config)?.ok_or_else(unknown)?;
        if self.format == Some(Format::Xml) {
            return danmaku::print_xml(&config, &reader, &site, &kind, &id);
        }
        let row = reader.item(&site, &kind, &id)?.ok_or_else(unknown)?;
        let Some(place) = row.place else {
            return Err(Unknown(format!(
                "{name} is known, but its files are still under way"
            ))
            .into());
        };
        let archive = Archive::open(&config.archive.path, &[])?;
        let line = reader.lines(&archive)?.at(Line { offset: place })?;
        let mut record: Value = serde_json::from_slice(&line)
            .with_context(|| format!("the record of {name} is damaged"))?;
        if self.json {
            print_json(&record)?;
        } else {
            if let Some(why) = row.gone {
                record["gone"] = why.into();
            }
            print(as_text(&record, &archive))?;
        }
        Ok(exit::OK)
    }
}

/// (site id, kind, id) of what the user typed.
pub(super) fn identify(config: &Config, text: &str) -> anyhow::Result<(String, String, String)> {
    let book = AddressBook::new(config);
    let item_at = |place: &Place<'_>| {
        let (kind, id) = place.site.dialect.item_at(&place.path, &place.query)?;
        Some((place.site.id.clone(), kind.to_owned(), id))
    };
    if !text.contains("://") {
        let parts: Vec<_> = text.splitn(3, '/').collect();
        let [site, kind, id] = parts[..] else {
            return Err(Usage(format!(
                "`{}` is not an item; write SITE/KIND/ID, such as yande.re/post/1234, or a web address",
                one_line(text)
            ))
            .into());
        };
        // An id may hold a slash, and so may an address without its scheme.
        if id.contains('/')
            && let Some(item) = book.find(text).ok().as_ref().and_then(item_at)
        {
            return Ok(item);
        }
        // A site may be named as in the configuration, or as records name it.
        let site = config.sites.get(site).map_or(site, |site| site.id.as_str());
        return Ok((site.to_owned(), kind.to_owned(), id.to_owned()));
    }
    let place = book.find(text).map_err(|no| Usage(no.to_string()))?;
    item_at(&place).ok_or_else(|| {
        let kinds = place.site.dialect.kinds.values();
        let known = kinds.filter_map(|paths| Some(format!("`{}`", paths.first()?)));
        let known: Vec<_> = known.collect();
        let (shown, name) = (&place.shown, &place.site.name);
        Usage(format!(
            "`{shown}` is no item of {name}; its items are at {}",
            known.join(", ")
        ))
        .into()
    })
}

fn as_text(record: &Value, archive: &Archive) -> String {
    let word = |key: &str| record.get(key).and_then(Value::as_str).map(one_line);
    let mut text = format!(
        "{}/{}/{}  revision {}, seen {}\n",
        word("site").unwrap_or_default(),
        word("kind").unwrap_or_default(),
        word("id").unwrap_or_default(),
        record["rev"],
        word("seen").unwrap_or_default()
    );
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "  {key:<8} {value}");
        }
    };
    line("gone", word("gone"));
    line("title", word("title"));
    line("address", word("url"));
    let author = record["author"]["name"]
        .as_str()
        .or(record["author"]["id"].as_str())
        .map(one_line);
    line("author", author);
    line("created", word("created"));
    line("updated", word("updated"));
    let tags = record["tags"].as_array().map(|tags| {
        tags.iter()
            .filter_map(Value::as_str)
            .map(one_line)
            .collect::<Vec<_>>()
            .join(" ")
    });
    line("tags", tags);
    line("text", word("text"));
    let parent = record["parent"]["id"].as_str().map(|id| {
        format!(
            "{}/{id}",
            record["parent"]["kind"].as_str().unwrap_or_default()
        )
    });
    line("parent", parent);
    let numbers = record["stats"].as_object().map(|stats| {
        let stats = stats.iter().map(|(name, value)| format!("{name} {value}"));
        one_line(&stats.collect::<Vec<_>>().join(", "))
    });
    line("numbers", numbers);
    let files = record["files"].as_array().map_or(&[][..], Vec::as_slice);
    if files.len() > 1 {
        let size = files.iter().filter_map(|file| file["bytes"].as_i64()).sum();
        line(
            "files",
            Some(format!("{} files, {}", files.len(), bytes(size))),
        );
    }
    for file in files {
        line("file", Some(describe_file(file, archive)));
    }
    text
}

fn describe_file(file: &Value, archive: &Archive) -> String {
    let role = one_line(file["role"].as_str().unwrap_or_default());
    let Some(digest) = file["sha256"].as_str().and_then(|text| text.parse().ok()) else {
        let class = file["missing"].as_str().unwrap_or("unknown");
        let advice = class.parse().map_or("", Class::advice);
        let advice = Some(advice).filter(|advice| !advice.is_empty());
        let advice = advice.map_or_else(String::new, |advice| format!(" ({advice})"));
        return format!("{role}  missing: {}{advice}", one_line(class));
    };
    let mut words = vec![role];
    words.extend(file["type"].as_str().map(one_line));
    words.extend(file["bytes"].as_i64().map(bytes));
    if let (Some(width), Some(height)) = (file["width"].as_u64(), file["height"].as_u64()) {
        words.push(format!("{width}x{height}"));
    }
    words.extend(file["name"].as_str().map(one_line));
    if file["unverified_length"] == true {
        words.push("nothing told its length: it may have been cut".to_owned());
    }
    format!(
        "{}\n           {}",
        words.join("  "),
        archive.objects.path(&digest).display()
    )
}
