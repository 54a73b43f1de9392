//! `larder verify`, with `--repair` or without.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{clock, exit, load, print, print_json, progress, run};
use crate::{
    archive::{Archive, Damage, Digest, Kind},
    config::{
        Config,
        units::{parse_bandwidth, parse_duration},
    },
    session::Session,
    text::{bytes, count, one_line},
    upkeep::{
        repair::{Back, Repaired, Tried, repair},
        verify::{Pace, Report, verify},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Set aside what is damaged, and fetch it from wherever it came from
    #[arg(long)]
    repair: bool,
    /// Begin nothing new after this long, such as 2h; the next verify goes on with what was checked longest ago
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_time: Option<Duration>,
    /// Read no faster than this, such as "20 MB/s"
    #[arg(long, value_name = "RATE", value_parser = parse_bandwidth)]
    rate: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(&self, path: &Path, quiet: bool) -> anyhow::Result<u8> {
        let config = load(path)?;
        let archive = Archive::open(&config.archive.path, &[])?;
        let pace = Pace {
            max_time: self.max_time,
            rate: self.rate,
        };
        let (report, repaired, code) = if self.repair {
            run::runtime()?.block_on(mend(&config, pace, quiet))?
        } else {
            let state = &config.archive.state;
            let bar = bar(&config);
            let look = |n| bar.inc(n);
            let report = verify(&archive, state, pace, &clock(), &mut |_| Ok(()), &look)?;
            bar.finish_and_clear();
            (report, Mended::default(), None)
        };
        let out = Outcome::new(report, repaired);
        if self.json {
            print_json(&out.as_json())?;
        } else {
            print(out.as_text())?;
        }
        Ok(code.unwrap_or(if out.damage.is_empty() {
            exit::OK
        } else {
            exit::SOME_FAILED
        }))
    }
}

/// A bar over all bytes that the database knows of; without a database, over none.
fn bar(config: &Config) -> indicatif::ProgressBar {
    let totals = match super::reader(config) {
        Ok(Some(reader)) => reader.totals().unwrap_or_default(),
        _ => crate::store::Totals::default(),
    };
    progress::bytes_bar(totals.bytes.unsigned_abs())
}

/// What a repair did besides what a verification found.
#[derive(Debug, Default)]
struct Mended {
    repaired: Repaired,
    adopted: usize,
}

/// Verifies and repairs, with the lock held all the time. The code is that of a signal, when one came.
async fn mend(
    config: &Config,
    pace: Pace,
    quiet: bool,
) -> anyhow::Result<(Report, Mended, Option<u8>)> {
    let session = Session::open(config, "verify", clock())?;
    let (archive, store) = (session.archive.clone(), session.store.clone());
    let (state, bar) = (config.archive.state.clone(), bar(config));
    let handle = tokio::runtime::Handle::current();
    let verifying = tokio::task::spawn_blocking(move || {
        let mut adopted = 0;
        let mut adopt = |orphans: Vec<_>| {
            let act = store.write("take over objects", move |group| group.adopt(&orphans));
            adopted += handle.block_on(act)?;
            Ok(())
        };
        let progress = |n| bar.inc(n);
        let report = verify(&archive, &state, pace, &clock(), &mut adopt, &progress);
        bar.finish_and_clear();
        report.map(|report| (report, adopted))
    });
    let (report, adopted) = verifying.await??;
    let mut mended = Mended {
        adopted,
        ..Mended::default()
    };
    let mut code = None;
    // A damaged database is no ground to build on.
    if !report.damage.iter().any(|d| d.kind == Kind::Database) {
        let stop = CancellationToken::new();
        let signals = run::Signals::listen(&stop)?;
        let damaged = report.damage.iter().filter(|d| d.object.is_some()).count();
        let bar = if quiet {
            indicatif::ProgressBar::hidden()
        } else {
            progress::objects_bar(damaged as u64)
        };
        let repaired = repair(
            config,
            &session.archive,
            &session.store,
            || bar.inc(1),
            &stop,
        )
        .await;
        bar.finish_and_clear();
        match repaired {
            Ok(repaired) => mended.repaired = repaired,
            Err(error) => {
                session.close().await;
                return Err(error.into());
            }
        }
        code = mended.repaired.stopped.then(|| signals.code());
    }
    session.close().await;
    Ok((report, mended, code))
}

/// What is left after all, and what was done.
struct Outcome {
    report: Report,
    mended: Mended,
    damage: Vec<Damage>,
}

impl Outcome {
    fn new(mut report: Report, mended: Mended) -> Self {
        let Repaired {
            back,
            whole,
            dropped,
            ..
        } = &mended.repaired;
        let mut healed: BTreeSet<Digest> = back.iter().map(|back| back.object).collect();
        report.bytes += back.iter().map(|back| back.bytes).sum::<u64>();
        healed.extend(whole);
        report.good += healed.len() as u64;
        healed.extend(dropped);
        let damage = std::mem::take(&mut report.damage);
        let damage = damage
            .into_iter()
            .filter(|d| d.object.is_none_or(|object| !healed.contains(&object)))
            .collect();
        Self {
            report,
            mended,
            damage,
        }
    }

    fn as_json(&self) -> Value {
        let Report {
            good,
            bytes,
            unreferenced,
            left,
            ..
        } = &self.report;
        let damage: Vec<_> = self.damage.iter().map(|damage| {
            let tried = damage.object.and_then(|object| self.mended.repaired.left.get(&object));
            let tried: Vec<_> = tried.into_iter().flatten().map(|tried| {
                json!({ "url": tried.url, "class": tried.class.word(), "message": tried.message })
            }).collect();
            json!({
                "kind": damage.kind.word(), "object": damage.object, "path": damage.path.to_string_lossy(),
                "message": damage.message, "tried": tried,
            })
        }).collect();
        let repaired = &self.mended.repaired;
        let back: Vec<_> = repaired
            .back
            .iter()
            .map(|back| json!({ "object": back.object, "url": back.url }))
            .collect();
        let aside: Vec<_> = repaired.aside.iter().map(|p| p.to_string_lossy()).collect();
        json!({
            "good": good, "bytes": bytes, "unreferenced": unreferenced, "left": left, "damage": damage,
            "repaired": back, "aside": aside, "adopted": self.mended.adopted,
        })
    }

    fn as_text(&self) -> String {
        let repaired = &self.mended.repaired;
        let mut text = String::new();
        for Back { object, url, .. } in &repaired.back {
            text += &format!("repaired  {object}\n          from {}\n", one_line(url));
        }
        for path in &repaired.aside {
            text += &format!("aside     {}\n", path.display());
        }
        for damage in &self.damage {
            text += &format!("{:<8}  {}\n", damage.kind.word(), damage.path.display());
            if !damage.message.is_empty() {
                text += &format!("          {}\n", one_line(&damage.message));
            }
            let Some(object) = &damage.object else {
                continue;
            };
            match repaired.left.get(object) {
                Some(tried) if tried.is_empty() && !repaired.stopped => {
                    text += "          no address is known for it; put it back from a backup\n";
                }
                tried => {
                    for Tried {
                        url,
                        class,
                        message,
                    } in tried.into_iter().flatten()
                    {
                        // Most failures name the address themselves.
                        let about = if message.contains(url.as_str()) {
                            String::new()
                        } else {
                            format!("{}: ", one_line(url))
                        };
                        text += &format!("          tried: {about}{message} ({class})\n");
                    }
                }
            }
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let number = |n: u64| count(i64::try_from(n).unwrap_or(i64::MAX));
        let size = bytes(i64::try_from(self.report.bytes).unwrap_or(i64::MAX));
        let mut text = format!("{} objects are whole, {size}", number(self.report.good));
        let mut also = |n: u64, words: &str| {
            if n > 0 {
                text += &format!("; {} {words}", number(n));
            }
        };
        let adopted = self.mended.adopted as u64;
        also(adopted, "of them were not in the database, and are now");
        also(
            self.report.unreferenced.saturating_sub(adopted),
            "of them are not in the database",
        );
        also(self.mended.repaired.back.len() as u64, "fetched anew");
        also(
            self.report.left as u64,
            "of 4,096 folders are left for the next time",
        );
        if self.damage.is_empty() {
            text += "; nothing is damaged\n";
        } else {
            text += &format!("; {} damaged\n", number(self.damage.len() as u64));
        }
        let mendable = self.damage.iter().any(|d| d.object.is_some());
        if mendable && self.mended.repaired.left.is_empty() {
            text += "`larder verify --repair` sets damaged objects aside and fetches them anew\n";
        }
        text
    }
}
