//! `larder run`.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{ConfigErrors, Usage, check, clock, eprint, exit, job, load, print, progress};
use crate::{
    class::advice_on,
    config::{Config, Diagnostics, Job, Site},
    daemon::schedule::is_held,
    http::Http,
    pace::Pace,
    run::{Active, DryReport, Ended, Means, Patience, Runner, dry_run, walks},
    session::Session,
    store::{PageTask, Reader, RunCounts, Store, Walks},
    text::{bytes, count, duration, one_line},
};

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Jobs to run; none: all that are enabled
    jobs: Vec<String>,
    /// Stop at this local time, such as 07:30; a full disk is waited for until then
    #[arg(long, value_name = "TIME", value_parser = time_of_day)]
    until: Option<jiff::civil::Time>,
    /// Walk everything again, ignoring what was walked before
    #[arg(long)]
    full: bool,
    /// Walk and report, and leave nothing behind
    #[arg(long)]
    dry_run: bool,
}

fn time_of_day(text: &str) -> Result<jiff::civil::Time, String> {
    let time = text.parse::<jiff::civil::Time>();
    time.map_err(|_| "write a time of the day, such as 07:30".to_owned())
}

impl Run {
    pub(super) fn run(&self, path: &Path, quiet: bool) -> anyhow::Result<u8> {
        let config = load(path)?;
        let held = held_by_hand(&config)?;
        let mut jobs = self.select(&config)?;
        jobs.retain(|job| {
            let is_held = held.contains(&job.name);
            if is_held && !quiet {
                eprint(&format!(
                    "larder: `{0}` is held by hand; `larder resume {0}` lets it go on",
                    job.name
                ));
            }
            !is_held
        });
        if jobs.is_empty() {
            return Ok(exit::STOPPED);
        }
        refuse_unset(&config, &jobs)?;
        for note in check::notes(&config) {
            tracing::warn!("{note}");
        }
        for unfit in config.unfit.iter().filter(|_| self.jobs.is_empty()) {
            tracing::warn!(job.name = %unfit.name, "The added job `{0}` does not fit the configuration any more: see `larder check`, or drop it: `larder forget {0}`", unfit.name);
        }
        let jobs = plan(&jobs, self.full)?;
        let runtime = runtime()?;
        if self.dry_run {
            return runtime.block_on(dry(&config, jobs, quiet));
        }
        let session = Session::open(&config, "run", clock())?;
        if !quiet {
            announce(&config, &session)?;
        }
        let finished = runtime.block_on(work(&config, jobs, session, self.until, quiet))?;
        if !quiet {
            print(&finished.summary)?;
        }
        Ok(finished.code)
    }

    fn select(&self, config: &Config) -> anyhow::Result<Vec<Arc<Job>>> {
        let jobs: Vec<_> = if self.jobs.is_empty() {
            config
                .jobs
                .iter()
                .filter(|job| job.enabled)
                .cloned()
                .collect()
        } else {
            self.jobs
                .iter()
                .map(|name| job(config, name).cloned())
                .collect::<anyhow::Result<_>>()?
        };
        if jobs.is_empty() {
            let path = config.path.display();
            let message = match config.jobs.first() {
                None => format!(
                    "{path} has no job yet; add a web address (`larder add URL`), or write one: [[jobs]] with a name, a site, a listing and its params"
                ),
                Some(first) => format!(
                    "none of the {} jobs of {path} is enabled; name one: `larder run {}`",
                    config.jobs.len(),
                    first.name
                ),
            };
            return Err(Usage(message).into());
        }
        Ok(jobs)
    }
}

/// The names of jobs that somebody holds.
fn held_by_hand(config: &Config) -> anyhow::Result<Vec<String>> {
    let standings = Reader::open(&config.archive.state)?.map(|reader| reader.standings());
    let held = standings.transpose()?.unwrap_or_default().into_iter();
    Ok(held.filter(is_held).map(|standing| standing.name).collect())
}

/// Says so when the archive was made just now.
pub(super) fn announce(config: &Config, session: &Session) -> anyhow::Result<()> {
    if !session.created {
        return Ok(());
    }
    print(format_args!(
        "Made the archive {}\n  to refuse any other disk in its place, add to [archive]: id = \"{}\"\n",
        config.archive.path.display(),
        session.archive.id()
    ))
}

/// A secret whose variable is unset is an error only now that it is needed.
pub(super) fn refuse_unset(config: &Config, jobs: &[Arc<Job>]) -> anyhow::Result<()> {
    refuse_unset_of(config, jobs.iter().map(|job| &*job.site))
}

/// The same for sites.
pub(super) fn refuse_unset_of<'a>(
    config: &Config,
    sites: impl IntoIterator<Item = &'a Site>,
) -> anyhow::Result<()> {
    let diagnostics = Diagnostics::default();
    let mut told = std::collections::BTreeSet::new();
    for site in sites {
        for variable in site.unset() {
            if told.insert((site.name.clone(), variable)) {
                let message = format!(
                    "[sites.{}] needs the environment variable `{variable}`, which is not set",
                    site.name
                );
                diagnostics.file(&config.path, message);
            }
        }
    }
    if diagnostics.is_empty() {
        Ok(())
    } else {
        Err(ConfigErrors(diagnostics.into_vec()).into())
    }
}

/// What each job would walk in a run that begins now. `full`: what is remembered is walked too.
pub(super) fn plan(jobs: &[Arc<Job>], full: bool) -> anyhow::Result<Vec<(Arc<Job>, Walks)>> {
    let (diagnostics, today) = (Diagnostics::default(), clock().today());
    let mut planned = Vec::new();
    for job in jobs {
        match walks(job, today, full) {
            Ok(walks) => planned.push((job.clone(), walks)),
            Err(error) => diagnostics.file(&job.file, format!("[jobs.{}] {error}", job.name)),
        }
    }
    if diagnostics.is_empty() {
        Ok(planned)
    } else {
        Err(ConfigErrors(diagnostics.into_vec()).into())
    }
}

/// Threads for hashing, files and parsing: what is stored, read and looked up at once, and few more.
const BLOCKING_THREADS: usize = 24;

/// SIGXFSZ, which comes with a write beyond the largest size that the system allows a file.
const TOO_LARGE: i32 = 25;

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let context = runtime.enter();
    // Once heard, it never kills: what is left is an error of that one write.
    let _ = signal(SignalKind::from_raw(TOO_LARGE)).context("listen for signals")?;
    drop(context);
    Ok(runtime)
}

/// How a run ended.
pub(super) struct Finished {
    pub(super) code: u8,
    pub(super) summary: String,
}

/// Runs the jobs in `session` until they have ended or somebody says stop.
pub(super) async fn work(
    config: &Config,
    jobs: Vec<(Arc<Job>, Walks)>,
    session: Session,
    until: Option<jiff::civil::Time>,
    quiet: bool,
) -> anyhow::Result<Finished> {
    let stop = CancellationToken::new();
    let signals = Signals::listen(&stop)?;
    if let Some(until) = until {
        stop_at(until, &stop, &signals);
    }
    let started = clock().now();
    let names: Vec<_> = jobs.iter().map(|(job, _)| job.name.clone()).collect();
    let means = Means::of_one(Http::new(&config.network)?);
    // Whoever names an end wants larder to make the best of the time until then.
    let patience = match until {
        Some(_) => Patience::Waits,
        None => Patience::Ends,
    };
    let runner = Runner::begin(
        config,
        jobs,
        session.store.clone(),
        session.archive.clone(),
        &means,
        patience,
        stop,
    )
    .await?;
    let reporter = (!quiet).then(|| tokio::spawn(progress::report(runner.clone())));
    let result = runner.run().await;
    if let Some(reporter) = reporter {
        reporter.abort();
        let _ = reporter.await;
        progress::clear();
    }
    let took = clock().now() - started;
    let mut summary = String::new();
    for active in runner.jobs.values() {
        summary += &summarise(active, &session.store, took);
        if let Some(wall) = wall_of(&config.archive.state, &active.job.name)? {
            summary += &format!("  {}\n", one_line(&wall));
        }
    }
    let state = config.archive.state.clone();
    let ended: Vec<_> = runner
        .jobs
        .values()
        .filter_map(|active| active.ended())
        .collect();
    drop(runner);
    session.close().await;
    result?;
    let code = if ended.contains(&Ended::Stopped) {
        signals.code()
    } else if ended.iter().any(|end| matches!(end, Ended::Paused { .. })) {
        exit::STOPPED
    } else if any_failed(&state, &names)? {
        exit::SOME_FAILED
    } else {
        exit::OK
    };
    Ok(Finished { code, summary })
}

/// Whether anything of these jobs stands as failed.
fn any_failed(state: &Path, names: &[String]) -> anyhow::Result<bool> {
    let rows = Reader::open(state)?
        .map(|reader| reader.jobs())
        .transpose()?
        .unwrap_or_default();
    Ok(rows
        .iter()
        .any(|row| names.contains(&row.name) && row.failures > 0))
}

/// Why the run of a job saw less than its listing holds.
fn wall_of(state: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let reader = crate::store::Reader::open(state)?;
    let rows = reader.map(|reader| reader.jobs()).transpose()?;
    let mut rows = rows.unwrap_or_default().into_iter();
    let row = rows.find(|row| row.name == name);
    Ok(row.and_then(|row| row.last).and_then(|last| last.wall))
}

/// What happened to a job this time, by outcome.
fn summarise(active: &Active, store: &Store, took: i64) -> String {
    let (now, before) = (store.counts(active.run), active.before);
    let since = |pick: fn(&RunCounts) -> i64| pick(&now) - pick(&before);
    let name = &active.job.name;
    let mut text = match active.ended() {
        Some(Ended::Done) if now.pages_failed > 0 => {
            format!(
                "{name}: not walked to its end, see `larder failures {name}`; took {}\n",
                duration(took)
            )
        }
        Some(Ended::Done) => format!("{name}: done in {}\n", duration(took)),
        Some(Ended::Paused { reason, message }) => {
            format!(
                "{name}: paused ({reason}): {}\n  to do: {}\n",
                one_line(&message),
                advice_on(reason)
            )
        }
        Some(Ended::Forgotten) => return format!("{name}: forgotten; what it archived stays\n"),
        _ => format!("{name}: stopped before the end; `larder run` goes on from here\n"),
    };
    let mut row = |title: &str, parts: &[(i64, &str)]| {
        let parts: Vec<_> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{} {word}", count(*n)))
            .collect();
        if !parts.is_empty() {
            text += &format!("  {title:<6} {}\n", parts.join(", "));
        }
    };
    row(
        "items",
        &[
            (since(|c| c.fresh), "new"),
            (since(|c| c.changed), "changed"),
            (since(|c| c.unchanged), "unchanged"),
            (since(|c| c.filtered), "refused by `where`"),
            (since(|c| c.gone), "gone upstream"),
            (since(|c| c.items_failed), "unreadable"),
        ],
    );
    let known = i64::try_from(active.days_known).unwrap_or(i64::MAX);
    row("days", &[(known, "walked before")]);
    let size = format!("stored ({})", bytes(since(|c| c.bytes)));
    row(
        "files",
        &[
            (since(|c| c.stored), &size),
            (since(|c| c.deduplicated), "held already under another item"),
            (since(|c| c.known), "known"),
            (now.files_waiting, "left for next time"),
            (since(|c| c.files_failed), "failed"),
        ],
    );
    if since(|c| c.files_failed) + since(|c| c.items_failed) > 0 {
        text += &format!("  see `larder failures {name}`\n");
    }
    text
}

async fn dry(config: &Config, jobs: Vec<(Arc<Job>, Walks)>, quiet: bool) -> anyhow::Result<u8> {
    let stop = CancellationToken::new();
    let signals = Signals::listen(&stop)?;
    let (http, pace) = (Http::new(&config.network)?, Pace::new());
    let mut code = exit::OK;
    for (job, walks) in jobs {
        let firsts = not_walked(config, walks)?;
        let several = firsts.len() > 1;
        let bar = progress::pages_bar(&job.name);
        let show = |report: &DryReport| {
            bar.set_message(format!("{} pages, {} items", report.pages, report.items));
        };
        let result = dry_run(
            &job,
            firsts,
            &config.network,
            &http,
            &pace,
            &clock(),
            &stop,
            show,
        )
        .await;
        bar.finish_and_clear();
        let failures = match result {
            Ok((report, failures)) => {
                // A walk that broke off says nothing of the whole; of many days the others are worth telling.
                if !quiet && (failures.is_empty() || several) {
                    print(dry_text(&job.name, &report))?;
                }
                failures
            }
            Err(failure) => vec![failure],
        };
        for failure in failures {
            code = exit::SOME_FAILED;
            eprint(&format!(
                "larder: {}: {} ({})",
                job.name, failure.message, failure.class
            ));
        }
        if stop.is_cancelled() {
            return Ok(signals.code());
        }
    }
    Ok(code)
}

/// The walks that a run would make: not of days that it would leave out as remembered.
fn not_walked(config: &Config, walks: Walks) -> anyhow::Result<Vec<PageTask>> {
    let Walks {
        mut firsts,
        days,
        full,
        ..
    } = walks;
    if let (Some(key), false) = (days, full)
        && let Some(reader) = Reader::open(&config.archive.state)?
    {
        let known = reader.days(key)?;
        firsts.retain(|first| first.day.is_none_or(|day| !known.contains(&day.date)));
    }
    Ok(firsts)
}

fn dry_text(name: &str, report: &DryReport) -> String {
    let number = |n: u64| count(i64::try_from(n).unwrap_or(i64::MAX));
    let things =
        |n: u64, word: &str| format!("{} {word}{}", number(n), if n == 1 { "" } else { "s" });
    let mut text = format!(
        "{name}: {}, {}, {}; {} by the site's own account; nothing was kept\n",
        things(report.pages, "page"),
        things(report.items, "item"),
        things(report.files, "file"),
        bytes(i64::try_from(report.bytes).unwrap_or(i64::MAX))
    );
    for (n, words) in [
        (report.filtered, "refused by `where`"),
        (report.gone, "gone upstream"),
        (report.unreadable, "unreadable"),
        (
            report.lookups,
            "look-ups more, which would tell what the listing does not",
        ),
    ] {
        if n > 0 {
            text += &format!("  {} {words}\n", number(n));
        }
    }
    if report.wall {
        text += "  the site shows no more of this listing, though there is more\n";
    }
    if let Some(why) = &report.unreadable_why {
        let n = number(report.unreadable);
        text += &format!("  {n} unreadable, the first because: {}\n", one_line(why));
    }
    text
}

/// Why a run was told to stop.
#[derive(Clone)]
pub(super) struct Signals(Arc<AtomicU8>);

impl Signals {
    /// Stops at the first SIGINT or SIGTERM; ends the process at the second.
    pub(super) fn listen(stop: &CancellationToken) -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let why = Self(Arc::new(AtomicU8::new(exit::STOPPED)));
        for (kind, code) in [
            (SignalKind::interrupt(), exit::INTERRUPTED),
            (SignalKind::terminate(), exit::STOPPED),
        ] {
            let mut signals = signal(kind).context("listen for signals")?;
            let (stop, why) = (stop.clone(), why.clone());
            tokio::spawn(async move {
                if signals.recv().await.is_some() {
                    tracing::warn!(
                        "Stopping: what is under way is finished first; once more to stop at once"
                    );
                    why.0.store(code, Ordering::Relaxed);
                    stop.cancel();
                }
                if signals.recv().await.is_some() {
                    // Everything committed stays; the rest is taken back at the next start.
                    std::process::exit(i32::from(code));
                }
            });
        }
        Ok(why)
    }

    pub(super) fn code(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

fn stop_at(until: jiff::civil::Time, stop: &CancellationToken, why: &Signals) {
    let now = jiff::Zoned::now();
    let today = now
        .date()
        .to_datetime(until)
        .to_zoned(now.time_zone().clone());
    let next = today.ok().and_then(|time| {
        if time > now {
            Some(time)
        } else {
            time.checked_add(jiff::Span::new().days(1)).ok()
        }
    });
    let wait = next
        .and_then(|time| time.duration_since(&now).try_into().ok())
        .unwrap_or(Duration::ZERO);
    let (stop, why) = (stop.clone(), why.clone());
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        tracing::info!("It is {until}: stopping");
        why.0.store(exit::STOPPED, Ordering::Relaxed);
        stop.cancel();
    });
}
