//! `larder rebuild`.

use std::{cell::Cell, path::Path};

use super::{Usage, clock, exit, load, print, progress};
use crate::{
    text::{bytes, count, duration, one_line},
    upkeep::{
        self,
        rebuild::{Rebuilt, Step, rebuild},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Rebuild {
    /// Even where the database is whole: walk positions, run counts and failures are forgotten
    #[arg(long)]
    force: bool,
}

/// How often the progress is shown, in things done.
const SHOW_EVERY: u64 = 1000;
/// Lines of a list; of a longer one, the rest is a number.
const LONGEST_LIST: usize = 20;

fn number(n: u64) -> String {
    count(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Rebuild {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let clock = clock();
        let started = clock.now();
        let bar = progress::pages_bar("rebuild");
        let shown = Cell::new(0);
        let show = |step| {
            let (n, words) = match step {
                Step::Objects(n) => (n, "objects looked at"),
                Step::Records(n) => (n, "records read"),
            };
            if n % SHOW_EVERY == 0 || shown.get() == 0 {
                shown.set(n);
                bar.set_message(format!("{} {words}", number(n)));
                bar.tick();
            }
        };
        let rebuilt = rebuild(&config, self.force, &clock, &show);
        bar.finish_and_clear();
        let rebuilt = match rebuilt {
            Err(error @ upkeep::Error::Healthy(_)) => return Err(Usage(error.to_string()).into()),
            rebuilt => rebuilt?,
        };
        print(describe(&rebuilt, clock.now() - started))?;
        let lost =
            !rebuilt.broken.is_empty() || rebuilt.contents.missing > 0 || rebuilt.corrupt > 0;
        Ok(if lost { exit::SOME_FAILED } else { exit::OK })
    }
}

fn describe(rebuilt: &Rebuilt, took: i64) -> String {
    let contents = &rebuilt.contents;
    let mut text = format!(
        "larder.db is made anew in {}: {} items, {} objects, {}, {} records\n",
        duration(took),
        count(contents.items),
        count(contents.objects),
        bytes(contents.bytes),
        number(rebuilt.records)
    );
    if let Some(aside) = &rebuilt.aside {
        text += &format!("  the old one is {}\n", aside.display());
    }
    for (n, words) in [
        (
            rebuilt.adopted.cast_signed(),
            "objects that no record names were taken over",
        ),
        (
            contents.missing,
            "objects that records name are not on the disk: `larder verify --repair`",
        ),
        (
            contents.resized,
            "objects have the wrong size: `larder verify --repair`",
        ),
        (
            rebuilt.corrupt.cast_signed(),
            "files that no record names are damaged: `larder verify --repair`",
        ),
    ] {
        if n > 0 {
            text += &format!("  {} {words}\n", count(n));
        }
    }
    for note in rebuilt
        .notes
        .iter()
        .chain(&rebuilt.broken)
        .take(LONGEST_LIST)
    {
        text += &format!("  {}\n", one_line(note));
    }
    let more = (rebuilt.notes.len() + rebuilt.broken.len()).saturating_sub(LONGEST_LIST);
    if more > 0 {
        text += &format!("  and {more} more of this kind\n");
    }
    if rebuilt.added.is_none() {
        text += "  jobs of `larder add`, if there were any, were kept in the old one alone: add them again\n";
    }
    text + "What only the old one knew begins anew: walk positions, counts of old runs, failures. The next `larder run` walks \
            everything again and fetches no file that is held.\n"
}
