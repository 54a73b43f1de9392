//! Where every job stands: one [`Status`] value, printed as text or JSON.
//!
//! Reads the tables that a run writes, on a connection of its own, whether a larder runs or not.

mod json;
mod next;
mod table;

use std::collections::BTreeSet;

use crate::{
    archive::{Archive, Holder, Lock},
    clock::{Clock, Millis},
    config::Config,
    disk::Trouble,
    store::{self, HostRow, JobRow, Reader, RunCounts, Totals},
};

/// The archive, who works on it, every job and every host.
#[derive(Debug)]
pub struct Status {
    /// The archive's folder.
    pub path: std::path::PathBuf,
    /// Its identity, once it exists.
    pub id: Option<String>,
    /// It in numbers.
    pub totals: Totals,
    /// The larder that holds it.
    pub holder: Option<Holder>,
    /// Why the daemon goes on with the configuration before the last change.
    pub config_error: Option<String>,
    /// Every job of the configuration or the database.
    pub jobs: Vec<JobStatus>,
    /// Every host that was asked.
    pub hosts: Vec<HostRow>,
    /// When this was read.
    pub now: Millis,
}

/// The states of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing to do, or never run.
    Idle,
    /// Its run waits for a larder to go on.
    Queued,
    /// A larder works on it.
    Running,
    /// It waits for a time.
    Waiting,
    /// It waits for a person.
    Paused,
    /// Its last run walked the whole listing.
    Done,
    /// Its last run could not walk the whole listing.
    Failed,
    /// It is not in the configuration any more.
    Orphaned,
}

impl State {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Orphaned => "orphaned",
        }
    }
}

/// One job.
#[derive(Debug)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// Its listing.
    pub listing: String,
    /// Whether `larder add` keeps it.
    pub added: bool,
    /// Where it stands.
    pub state: State,
    /// Why it waits, as a word of the contract.
    pub reason: Option<String>,
    /// Until when it waits.
    pub until: Option<Millis>,
    /// When the daemon at work runs it next.
    pub next: Option<Millis>,
    /// What the site said, or what else a person should know.
    pub message: Option<String>,
    /// The run under way, or the last one.
    pub counts: RunCounts,
    /// Entries of the listing, where the site says.
    pub total: Option<i64>,
    /// Why that run saw less than the listing holds, in words.
    pub wall: Option<String>,
    /// (started, ended, result) of that run.
    pub last: Option<(Millis, Option<Millis>, Option<String>)>,
    /// Failures listed now.
    pub failures: i64,
    /// Files per second, and bytes, of the run under way.
    pub rate: (f64, f64),
    /// Seconds until the run's end, where they can be told.
    pub eta_s: Option<i64>,
    /// Sums over its life: runs, pages, items, files, bytes.
    pub life: [i64; 5],
}

/// Why the status could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Status {
    /// Reads the status of everything, or of one job.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn read(config: &Config, only: Option<&str>, clock: &Clock) -> Result<Self, Error> {
        Self::read_with(config, None, only, clock)
    }

    /// The same from the database alone, while the daemon goes on with a configuration that is no longer there; `bare` names
    /// the archive only, and `mistakes` are those of what is there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn read_without_config(
        bare: &Config,
        mistakes: String,
        only: Option<&str>,
        clock: &Clock,
    ) -> Result<Self, Error> {
        Self::read_with(bare, Some(mistakes), only, clock)
    }

    fn read_with(
        config: &Config,
        mistakes: Option<String>,
        only: Option<&str>,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let known_jobs = mistakes.is_none();
        let state = &config.archive.state;
        let now = clock.now();
        let holder = Lock::holder(state);
        let id = Archive::open(&config.archive.path, &[])
            .ok()
            .map(|archive| archive.id().to_owned());
        let reader = Reader::open(state)?;
        let (totals, rows, hosts) = match &reader {
            Some(reader) => (reader.totals()?, reader.jobs()?, reader.hosts()?),
            None => (Totals::default(), Vec::new(), Vec::new()),
        };
        let daemon = holder
            .as_ref()
            .is_some_and(|holder| holder.kind == "daemon");
        let mut config_error = mistakes;
        if let (None, true, Some(reader)) = (&config_error, daemon, &reader) {
            config_error = reader.refused_config()?;
        }
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        let known: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
        let mut jobs: Vec<_> = rows
            .into_iter()
            .filter(|row| wanted(&row.name))
            .map(|row| of_row(row, config, known_jobs, holder.is_some(), &hosts, now))
            .map(|job| with_trouble(job, holder.as_ref()))
            .collect();
        let new = config
            .jobs
            .iter()
            .filter(|job| !known.contains(&job.name) && wanted(&job.name));
        jobs.extend(new.map(|job| JobStatus {
            added: job.added,
            ..never_run(&job.name, &job.site.name, &job.listing.name)
        }));
        for unfit in config.unfit.iter().filter(|unfit| wanted(&unfit.name)) {
            if !known.contains(&unfit.name) {
                jobs.push(never_run(&unfit.name, "", ""));
            }
            let job = jobs.iter_mut().find(|job| job.name == unfit.name);
            let complaint = unfit.complaints.first();
            if let (Some(job), Some(complaint)) = (job, complaint) {
                (job.added, job.state) = (true, State::Failed);
                job.reason = Some("config".to_owned());
                job.message = Some(complaint.message.clone());
            }
        }
        let order = |job: &JobStatus| {
            config
                .jobs
                .iter()
                .position(|j| j.name == job.name)
                .unwrap_or(usize::MAX)
        };
        jobs.sort_by_key(order);
        if daemon {
            let with_next = |job: JobStatus| {
                let configured = config.job(&job.name).cloned();
                next::with_next(job, configured.as_deref(), clock, now)
            };
            jobs = jobs.into_iter().map(with_next).collect();
        }
        Ok(Self {
            path: config.archive.path.clone(),
            id,
            totals,
            holder,
            config_error,
            jobs,
            hosts,
            now,
        })
    }
}

fn never_run(name: &str, site: &str, listing: &str) -> JobStatus {
    JobStatus {
        name: name.to_owned(),
        site: site.to_owned(),
        listing: listing.to_owned(),
        added: false,
        state: State::Idle,
        reason: None,
        until: None,
        next: None,
        message: None,
        counts: RunCounts::default(),
        total: None,
        wall: None,
        last: None,
        failures: 0,
        rate: (0.0, 0.0),
        eta_s: None,
        life: [0; 5],
    }
}

fn of_row(
    row: JobRow,
    config: &Config,
    known_jobs: bool,
    held: bool,
    hosts: &[HostRow],
    now: Millis,
) -> JobStatus {
    let mut job = match config.job(&row.name) {
        // A job that was held before it was ever run has neither in its row.
        Some(job) if row.site.is_empty() => never_run(&job.name, &job.site.name, &job.listing.name),
        _ => never_run(&row.name, &row.site, &row.listing),
    };
    job.life = row.life;
    job.failures = row.failures;
    job.message = row.message;
    let configured = config.job(&row.name);
    job.added = configured.is_some_and(|job| job.added);
    if let Some(last) = &row.last {
        job.counts = last.counts;
        job.total = last.total;
        job.wall.clone_from(&last.wall);
        job.last = Some((last.started, last.ended, last.result.clone()));
    }
    let sites = configured.into_iter().flat_map(|job| job.sites());
    let hold = sites
        .filter_map(|site| hold_of(site, hosts, now))
        .max_by_key(|(until, _)| *until);
    job.state = match &row.last {
        _ if configured.is_none() && known_jobs => State::Orphaned,
        _ if row.paused.is_some() => State::Paused,
        None => State::Idle,
        Some(last) if last.ended.is_none() && !held => State::Queued,
        Some(last) if last.ended.is_none() && (hold.is_some() || row.due.is_some()) => {
            State::Waiting
        }
        Some(last) if last.ended.is_none() => State::Running,
        Some(last) => match last.result.as_deref() {
            Some("failed") => State::Failed,
            Some("done") => State::Done,
            _ => State::Idle,
        },
    };
    match job.state {
        State::Paused => job.reason = row.paused,
        State::Waiting => {
            (job.until, job.message) = match (hold, row.due) {
                (Some((until, words)), _) => (Some(until), Some(words)),
                (None, due) => (due, Some("trying again after a failure".to_owned())),
            };
            let message = job.message.as_deref().unwrap_or_default();
            let reason = if message.ends_with(crate::pace::QUIET) {
                "window"
            } else {
                "rate_limited"
            };
            job.reason =
                Some(reason.to_owned()).filter(|_| message != "trying again after a failure");
        }
        State::Failed => {
            let word = row.walk_class.as_deref().filter(|class| *class == "loop");
            job.reason = Some(word.unwrap_or("listing").to_owned());
        }
        _ => {}
    }
    if matches!(job.state, State::Running | State::Waiting) {
        estimate(&mut job, now);
    }
    job
}

/// What keeps the larder at work from writing keeps its jobs; the database may not be able to say so.
fn with_trouble(mut job: JobStatus, holder: Option<&Holder>) -> JobStatus {
    let word = holder.and_then(|holder| holder.reason.as_deref());
    let trouble = word.and_then(|word| Trouble::ALL.into_iter().find(|t| t.word() == word));
    let Some(trouble) = trouble.filter(|_| matches!(job.state, State::Running | State::Waiting))
    else {
        return job;
    };
    job.reason = Some(trouble.word().to_owned());
    job.until = None;
    if trouble == Trouble::DbBusy {
        job.state = State::Waiting;
        job.message = Some("another program holds larder.db; larder waits for it".to_owned());
    } else {
        job.state = State::Paused;
    }
    job
}

/// A hold of one of the site's hosts, with words for people.
fn hold_of(site: &crate::config::Site, hosts: &[HostRow], now: Millis) -> Option<(Millis, String)> {
    let of_site = |host: &str| {
        let (name, port) = host.rsplit_once(':')?;
        Some(crate::fetch::allowed(site, name, port.parse().ok()?))
    };
    let held = hosts.iter().filter(|row| of_site(&row.host) == Some(true));
    let held = held.filter_map(|row| Some((row.until.filter(|until| *until > now)?, row)));
    let (until, row) = held.max_by_key(|(until, _)| *until)?;
    Some((
        until,
        format!(
            "{} {}",
            row.host,
            row.reason.as_deref().unwrap_or("asked to wait")
        ),
    ))
}

/// Rates since the run began, and what they mean for its end.
fn estimate(job: &mut JobStatus, now: Millis) {
    let Some((started, ..)) = job.last else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "rates are for people")]
    let per_second = |n: i64| n as f64 * 1000.0 / (now - started).max(1) as f64;
    let files = job.counts.stored + job.counts.deduplicated;
    job.rate = (per_second(files), per_second(job.counts.bytes));
    let unseen = job.total.map_or(0, |total| {
        (total - job.counts.seen - job.counts.filtered).max(0)
    });
    let known_end = job.counts.pages_waiting == 0 || job.total.is_some();
    if known_end && job.rate.0 > 0.0 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "an estimate in whole seconds"
        )]
        let seconds = ((job.counts.files_waiting + unseen) as f64 / job.rate.0).ceil() as i64;
        job.eta_s = Some(seconds);
    }
}
