//! `larder find`: search over the archive.

use std::{fmt::Write, path::Path};

use serde_json::{Value, json};

use super::{Unknown, Usage, exit, load, print, print_json, progress, reader};
use crate::{
    archive::{Archive, Line},
    config::Config,
    find::{Hit, Query, find},
    text::{count, one_line},
};

#[derive(Debug, clap::Args)]
#[command(after_long_help = ABOUT)]
pub(super) struct Find {
    /// Words and fields, such as 'sunset tag:landscape author:moss after:2024-01 -is:gone'
    #[arg(required = true)]
    query: Vec<String>,
    /// Show at most so many; without it 50, and as JSON all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Items that are shown unless more are asked for.
const SHOWN: usize = 50;

const ABOUT: &str = "\
Every term must hold; a `-` before it leaves out what it holds for (quote the question, or write `--` before one that \
begins so). Words are looked for in titles, texts, names of authors \
and tags; `word*` is the beginning of a word, \"two words\" are a phrase. Chinese and Japanese words are found within a text.

  tag:NAME       exactly this tag; tag:NAME* its beginning
  author:W title:W text:W
                 only there
  site:S kind:K id:ID
                 exactly
  after:DAY before:DAY
                 made on that day or later, before it; 2024-05-31, 2024-05 or 2024
  is:missing     some file of it is not held
  is:gone        the site has removed it

The index is find.db beside the database. It is brought up to date when somebody searches, and may be removed.";

impl Find {
    pub(super) fn run(&self, path: &Path, quiet: bool) -> anyhow::Result<u8> {
        let config = load(path)?;
        let hits = search(&config, &self.query.join(" "), quiet)?;
        let most = if self.json { usize::MAX } else { SHOWN };
        let shown = &hits[..hits.len().min(self.limit.unwrap_or(most))];
        let archive = Archive::open(&config.archive.path, &[])?;
        let reader = reader(&config)?.ok_or_else(|| empty(&config))?;
        let lines = reader.lines(&archive)?;
        let record = |hit: &Hit| -> anyhow::Result<Value> {
            let line = lines.at(Line { offset: hit.place })?;
            Ok(serde_json::from_slice(&line).unwrap_or_default())
        };
        if self.json {
            let found: anyhow::Result<Vec<_>> = shown
                .iter()
                .map(|hit| Ok(as_json(hit, &record(hit)?)))
                .collect();
            print_json(&found?.into())?;
        } else {
            let mut text = String::new();
            for hit in shown {
                text += &as_text(hit, &record(hit)?);
            }
            let more = hits.len() - shown.len();
            if more > 0 {
                let _ = writeln!(
                    text,
                    "and {} more (--limit)",
                    count(i64::try_from(more).unwrap_or(i64::MAX))
                );
            }
            print(text)?;
        }
        if hits.is_empty() {
            return Err(Unknown("nothing was found".to_owned()).into());
        }
        Ok(exit::OK)
    }
}

/// What a question finds; the index is brought up to date first.
pub(super) fn search(config: &Config, query: &str, quiet: bool) -> anyhow::Result<Vec<Hit>> {
    let query: Query = query
        .parse()
        .map_err(|error: crate::find::NotAQuery| Usage(error.to_string()))?;
    if !Archive::exists(&config.archive.path) {
        return Err(empty(config).into());
    }
    let archive = Archive::open(&config.archive.path, &[])?;
    let reader = reader(config)?.ok_or_else(|| empty(config))?;
    let bar = if quiet {
        indicatif::ProgressBar::hidden()
    } else {
        progress::bytes_bar(0)
    };
    let watch = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let hits = find(&archive, &reader, &config.archive.state, &query, watch);
    bar.finish_and_clear();
    Ok(hits?)
}

fn empty(config: &Config) -> Unknown {
    Unknown(format!(
        "there is nothing to search in {} yet; `larder run` archives",
        config.archive.path.display()
    ))
}

fn name(hit: &Hit) -> String {
    format!("{}/{}/{}", hit.site, hit.kind, hit.id)
}

fn as_json(hit: &Hit, record: &Value) -> Value {
    let mut found = json!({ "item": name(hit) });
    for key in ["url", "title", "author", "created", "seen", "tags", "files"] {
        found[key] = record[key].clone();
    }
    found
}

/// `yande.re/post/1234  2024-05-31  "Hills", by moss, 2 files`.
fn as_text(hit: &Hit, record: &Value) -> String {
    let text = |value: &Value| value.as_str().map(one_line).filter(|text| !text.is_empty());
    let made = text(&record["created"])
        .or(text(&record["seen"]))
        .unwrap_or_default();
    let day: String = made.chars().take(10).collect();
    let short = |text: String| {
        let mut short: String = text.chars().take(60).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    };
    let tags = || {
        let tags = record["tags"].as_array()?.iter().filter_map(Value::as_str);
        Some(one_line(&tags.collect::<Vec<_>>().join(" "))).filter(|tags| !tags.is_empty())
    };
    let what = text(&record["title"])
        .or_else(tags)
        .or_else(|| text(&record["text"]));
    let mut words = vec![short(what.unwrap_or_else(|| "(no title)".to_owned()))];
    words.extend(text(&record["author"]["name"]).map(|name| format!("by {}", short(name))));
    let files = record["files"].as_array().map_or(0, Vec::len);
    words.extend((files > 1).then(|| format!("{files} files")));
    format!("{}  {day}  {}\n", one_line(&name(hit)), words.join(", "))
}
