//! `larder gc`.

use std::path::Path;

use super::{Unknown, clock, exit, load, print, reader, run};
use crate::{
    archive::Archive,
    session::Session,
    text::{bytes, count, local_time},
    upkeep::gc::{Garbage, collect, find},
};

#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// Mark what nothing refers to, and remove what was marked a day ago or earlier
    #[arg(long)]
    apply: bool,
}

/// Lines of a list; of a longer one, the rest is a number.
const LONGEST_LIST: usize = 20;

/// A number of things: `1 object`, `2 objects`.
fn things(n: usize, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {word}{s}", number(n))
}

fn number(n: usize) -> String {
    count(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Gc {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let archive = Archive::open(&config.archive.path, &[])?;
        if !self.apply {
            let reader = reader(&config)?.ok_or_else(|| {
                Unknown("there is no larder.db; nothing is known to be superfluous".to_owned())
            })?;
            let garbage = find(&config, &archive, &reader)?;
            print(list(&garbage, clock().now()))?;
            return Ok(exit::OK);
        }
        let session = Session::open(&config, "gc", clock())?;
        let collected = run::runtime()?.block_on(async {
            let collected = collect(&config, &session.archive, &session.store, &clock()).await;
            session.close().await;
            collected
        })?;
        let mut text = format!(
            "{} removed, {}; {} marked, to be removed by `larder gc --apply` a day from now\n",
            things(collected.removed.len(), "object"),
            bytes(i64::try_from(collected.bytes).unwrap_or(i64::MAX)),
            number(collected.marked)
        );
        if collected.aside > 0 {
            text += &format!(
                "  {} damaged and set aside instead\n",
                things(collected.aside, "object")
            );
        }
        print(text)?;
        Ok(exit::OK)
    }
}

/// What a collection would do.
fn list(garbage: &[Garbage], now: i64) -> String {
    if garbage.is_empty() {
        return "Nothing is superfluous: every object belongs to a record.\n".to_owned();
    }
    let size: u64 = garbage.iter().filter_map(|garbage| garbage.bytes).sum();
    let mut text = format!(
        "Nothing refers to {}, {}:\n",
        things(garbage.len(), "object"),
        bytes(i64::try_from(size).unwrap_or(i64::MAX))
    );
    for one in garbage.iter().take(LONGEST_LIST) {
        let due = one.due(now);
        let when = match one.since {
            _ if one.bytes.is_none() => "its file is gone already".to_owned(),
            None => "not marked yet".to_owned(),
            Some(_) if due <= now => "may be removed".to_owned(),
            Some(_) => format!("may be removed from {} on", local_time(due)),
        };
        let bytes = bytes(one.bytes.and_then(|n| n.try_into().ok()).unwrap_or(0));
        text += &format!("  {}  {bytes}  {when}\n", one.digest);
    }
    if garbage.len() > LONGEST_LIST {
        text += &format!("  and {} more\n", number(garbage.len() - LONGEST_LIST));
    }
    text + "Nothing was changed. `larder gc --apply` marks them, and removes what was marked a day before.\n"
}
