//! `larder history`: what happened to an item, revision by revision.

use std::{fmt::Write, path::Path};

use super::{Unknown, exit, load, print, print_json, reader, show::identify};
use crate::{
    archive::Archive,
    history::History,
    text::{local_time, one_line},
};

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// SITE/KIND/ID, such as yande.re/post/1234, or a web address
    item: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let (site, kind, id) = identify(&config, &self.item)?;
        let name = format!("{site}/{kind}/{id}");
        let unknown = || Unknown(format!("{name} is not in the archive"));
        let reader = reader(&config)?.ok_or_else(unknown)?;
        let (segments, committed, _) = reader.committed()?;
        let archive = Archive::open(&config.archive.path, &[])?;
        let history = History::read(&archive, &segments, committed, (&site, &kind, &id));
        for why in &history.unread {
            tracing::warn!("Part of the record log cannot be read, so this may not be all: {why}");
        }
        if history.events.is_empty() {
            return Err(unknown().into());
        }
        if self.json {
            print_json(&serde_json::to_value(&history)?)?;
        } else {
            print(as_text(&name, &history))?;
        }
        Ok(exit::OK)
    }
}

fn as_text(name: &str, history: &History) -> String {
    let mut text = format!("{}\n", one_line(name));
    for event in &history.events {
        let seen = event.seen.parse::<jiff::Timestamp>();
        let mut when = seen.map_or_else(
            |_| one_line(&event.seen),
            |t| local_time(t.as_millisecond()),
        );
        let mut what = event.what.to_string();
        for words in event.what.words() {
            let _ = writeln!(text, "  {when:<19}  {what:<11}  {}", one_line(&words));
            (when, what) = (String::new(), String::new());
        }
    }
    text
}
