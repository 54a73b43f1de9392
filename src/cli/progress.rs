//! What a person sees while larder works: a bar per job on a terminal, a log line each few seconds elsewhere.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::log::bars;
use crate::{
    fetch::allowed,
    pace::Host,
    run::{Active, Runner},
    store::RunCounts,
    text::{bytes, count, duration},
};

/// How often bars are drawn.
const DRAW: Duration = Duration::from_millis(250);
/// How often a line is logged.
const LOG: Duration = Duration::from_secs(5);
/// Jobs that are shown at once: of a thousand, nobody reads each line.
const MOST_SHOWN: usize = 10;
/// Rates are of this last while.
const WINDOW: Duration = Duration::from_secs(10);

/// Reports on a run until it is aborted.
pub(super) async fn report(runner: Arc<Runner>) {
    let on_terminal = !bars().is_hidden();
    let mut tick = tokio::time::interval(if on_terminal { DRAW } else { LOG });
    tick.tick().await;
    let mut jobs: BTreeMap<i64, Shown> = BTreeMap::new();
    loop {
        tick.tick().await;
        let mut open = 0;
        for (id, active) in &runner.jobs {
            if active.ended().is_some() {
                if let Some(shown) = jobs.remove(id) {
                    shown.bar.finish_and_clear();
                }
                continue;
            }
            open += 1;
            if open <= MOST_SHOWN {
                jobs.entry(*id)
                    .or_insert_with(|| Shown::new(active, on_terminal))
                    .update(&runner, active, on_terminal);
            }
        }
        if open > MOST_SHOWN && !on_terminal {
            tracing::info!("{} more jobs are under way", open - MOST_SHOWN);
        }
    }
}

/// Takes every bar off the terminal.
pub(super) fn clear() {
    // A terminal that went away needs no clearing.
    let _ = bars().clear();
}

/// A bar of bytes, for `verify`.
pub(super) fn bytes_bar(total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bars().add(ProgressBar::new(total).with_style(style.expect("the template is a constant")))
}

/// A bar of objects, for `verify --repair`.
pub(super) fn objects_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} objects {eta}");
    bars().add(ProgressBar::new(total).with_style(style.expect("the template is a constant")))
}

/// A bar of files, for `view`.
pub(super) fn files_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len}");
    bars().add(ProgressBar::new(0).with_style(style.expect("the template is a constant")))
}

/// A spinner with a message, for walks whose length nobody knows.
pub(super) fn pages_bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} {msg}")
        .expect("the template is a constant");
    bars().add(
        ProgressBar::new_spinner()
            .with_style(style)
            .with_prefix(name.to_owned()),
    )
}

struct Shown {
    bar: ProgressBar,
    history: VecDeque<(Instant, i64, i64)>,
}

impl Shown {
    fn new(active: &Active, on_terminal: bool) -> Self {
        let style = ProgressStyle::with_template("{prefix:<16!.bold} {bar:8} {wide_msg}")
            .expect("the template is a constant");
        let bar = if on_terminal {
            bars().add(ProgressBar::new(0))
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar: bar.with_style(style).with_prefix(active.job.name.clone()),
            history: VecDeque::new(),
        }
    }

    fn update(&mut self, runner: &Runner, active: &Active, on_terminal: bool) {
        let counts = runner.context.store.counts(active.run);
        let done = counts.stored + counts.deduplicated + counts.known;
        let now = Instant::now();
        self.history.push_back((now, done, counts.bytes));
        while self.history.len() > 2
            && self
                .history
                .front()
                .is_some_and(|(at, ..)| now - *at > WINDOW)
        {
            self.history.pop_front();
        }
        let (since, files, size) =
            self.history
                .front()
                .copied()
                .unwrap_or((now, done, counts.bytes));
        let seconds = (now - since).as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
        let rate = |n: i64| n as f64 / seconds;
        let hold = hold(runner, active);
        let text = describe(
            &counts,
            rate(done - files),
            rate(counts.bytes - size),
            hold.as_deref(),
        );
        if on_terminal {
            self.bar.set_length(
                u64::try_from(done + counts.files_waiting)
                    .unwrap_or(0)
                    .max(1),
            );
            self.bar.set_position(u64::try_from(done).unwrap_or(0));
            self.bar.set_message(text);
        } else {
            tracing::info!(
                job.name = %active.job.name, items = counts.seen, files = done, files_waiting = counts.files_waiting,
                bytes = counts.bytes, "`{}`: {text}", active.job.name
            );
        }
    }
}

fn describe(counts: &RunCounts, files_per_s: f64, bytes_per_s: f64, hold: Option<&str>) -> String {
    let done = counts.stored + counts.deduplicated + counts.known;
    // What a person looks for first stands first: a narrow terminal cuts the end.
    let mut text = String::new();
    if let Some(hold) = hold {
        text += &format!("waits: {hold}; ");
    }
    text += &format!(
        "{} items, {}/{} files, {}",
        count(counts.seen),
        count(done),
        count(done + counts.files_waiting),
        bytes(counts.bytes)
    );
    if counts.pages_waiting > 1 {
        text += &format!(", {} pages to ask", count(counts.pages_waiting));
    }
    if hold.is_none() && files_per_s > 0.01 && counts.files_waiting > 0 {
        let left = (counts.files_waiting as f64 / files_per_s * 1000.0) as i64;
        let more = if counts.pages_waiting > 0 { ">" } else { "" };
        text += &format!(", {more}{} left", duration(left));
    }
    if bytes_per_s >= 1.0 {
        text += &format!(", {}/s", bytes(bytes_per_s as i64));
    }
    if counts.files_failed + counts.items_failed > 0 {
        text += &format!(
            ", {} failed",
            count(counts.files_failed + counts.items_failed)
        );
    }
    text
}

/// Why the job waits, if one of its hosts does: `yande.re:443 asked to wait (30 s)`.
fn hold(runner: &Runner, active: &Active) -> Option<String> {
    let of_job = |host: &Arc<Host>| {
        let (name, port) = host.key().as_str().rsplit_once(':')?;
        allowed(&active.job.site, name, port.parse().ok()?).then(|| host.clone())
    };
    let hosts = runner.context.pace.hosts();
    let held = hosts
        .iter()
        .filter_map(of_job)
        .find_map(|host| Some((host.held()?, host)));
    held.map(|(hold, host)| {
        let left = hold
            .until
            .saturating_duration_since(tokio::time::Instant::now());
        let left = duration(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        format!("{} {}: {left}", host.key(), hold.reason)
    })
}
