//! The daemon: runs jobs when they are due and their windows are open, until it is told to stop.
//!
//! One loop looks each second: what has ended, what was asked, whether the configuration has changed, what is due. It
//! decides with [`schedule::plan`] from the database alone, so a restart changes nothing. Each job has a run of its own;
//! all of them share the pace of the hosts.
//! **Invariant:** a job is begun only after its last run has ended in this process.

mod face;
mod metrics;
mod notices;
mod reload;
pub mod schedule;
mod systemd;
pub mod unit;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{Notify, watch as told},
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use self::{
    face::Face,
    notices::{Fact, Notices},
    schedule::{Now, Plan, is_full, plan},
    systemd::Systemd,
    watch::Watch,
};
use crate::{
    clock::{Clock, Millis},
    config::{Config, Diagnostic, Event, Job},
    disk::Trouble,
    http::{self, Http},
    run::{Ended, Means, Patience, Runner, walks},
    session::{self, Session, configuration},
    store::{self, Reader, Standing},
    text::{count, local_time, one_line},
};

/// Jobs of one site that run side by side: more would only share its rate.
const OF_ONE_SITE: usize = 4;
/// How long a job waits that could not be begun, or whose run the machine has broken off.
const AGAIN: Millis = 30_000;
/// How often the database is read although nothing is known to have changed: a clock may have jumped.
const READ_AGAIN: u32 = 30;
/// After this long, work that does not end is left to the next start.
const GRACE: Duration = Duration::from_secs(9);

/// Why the daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, at the start.
    #[error("{} mistakes in the configuration", .0.len())]
    Config(Vec<Diagnostic>),
    /// The archive.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The client.
    #[error("{}", .0.message)]
    Http(http::Error),
}

/// What a daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// How often it looks.
    pub look: Duration,
}

/// A job at work.
struct Running {
    job: Arc<Job>,
    runner: Arc<Runner>,
    stop: CancellationToken,
    work: JoinHandle<Result<(), store::Error>>,
}

/// The daemon.
struct Daemon {
    options: Options,
    config: Arc<Config>,
    session: Session,
    means: Means,
    clock: Clock,
    /// The runs under way, by the job's name.
    running: BTreeMap<String, Running>,
    standings: BTreeMap<String, Standing>,
    /// When each job was begun last by this process.
    tried: BTreeMap<String, Millis>,
    /// Jobs that are not begun before this time.
    later: BTreeMap<String, Millis>,
    /// Jobs that cannot be begun before the configuration changes; why was said.
    unfit: BTreeSet<String>,
    since: Millis,
    watch: Watch,
    systemd: Systemd,
    face: Option<Face>,
    /// The configuration in force, for the face.
    in_force: told::Sender<Arc<Config>>,
    notices: Notices,
    /// What keeps the archive from being written, as it was told.
    trouble: Option<Trouble>,
    /// Damaged objects, as they were told.
    damaged: Option<i64>,
    /// Told when a run has ended.
    ended: Arc<Notify>,
    /// Whether the database must be read again.
    read: bool,
    /// Whether the limits of hosts are to be set anew once the runs that are being stopped have ended.
    renew: bool,
    looks: u32,
}

/// Runs the daemon until `stop`. `hangup` is told when the configuration is to be read again.
///
/// # Errors
/// When the configuration or the archive cannot be used at the start, or the database breaks.
pub async fn run(
    options: Options,
    clock: Clock,
    hangup: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let load = || configuration(&options.config, Vec::new()).map_err(Error::Config);
    let mut watch = Watch::default();
    // Read once for its files and once after they are watched: a change in between is not missed.
    watch.read(&load()?.files());
    let config = Arc::new(load()?);
    let session = Session::open(&config, "daemon", clock.clone())?;
    let means = Means::of_many(Http::new(&config.network).map_err(Error::Http)?);
    let mut daemon = Daemon {
        options,
        means,
        session,
        running: BTreeMap::new(),
        standings: BTreeMap::new(),
        tried: BTreeMap::new(),
        later: BTreeMap::new(),
        unfit: BTreeSet::new(),
        since: clock.now(),
        watch,
        systemd: Systemd::from_env(),
        face: None,
        in_force: told::Sender::new(config.clone()),
        notices: Notices::new(),
        trouble: None,
        damaged: None,
        ended: Arc::default(),
        read: true,
        renew: false,
        looks: 0,
        clock,
        config,
    };
    let worked = daemon.work(&hangup, &stop).await;
    daemon.end().await;
    worked
}

impl Daemon {
    async fn work(&mut self, hangup: &Notify, stop: &CancellationToken) -> Result<(), Error> {
        self.accept().await?;
        tracing::info!(
            jobs = self.config.jobs.len(),
            "The daemon keeps {} jobs",
            count(self.config.jobs.len() as i64)
        );
        self.open_face().await;
        self.systemd.ready();
        let mut tick = tokio::time::interval(self.options.look);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            // Registered before the runs are looked at, so that none ends unseen.
            let notify = self.ended.clone();
            let ended = notify.notified();
            self.reap().await?;
            self.begin_what_is_due().await?;
            self.tell();
            // Nothing is lost when one of these is dropped: each only says that it is time to look.
            tokio::select! {
                () = stop.cancelled() => {}
                () = ended => {}
                () = hangup.notified() => self.reload(None).await?,
                _ = tick.tick() => self.look().await?,
            }
        }
        Ok(())
    }

    /// What is done each second.
    async fn look(&mut self) -> Result<(), Error> {
        self.looks = self.looks.wrapping_add(1);
        self.read |= self.looks.is_multiple_of(READ_AGAIN);
        self.systemd.alive();
        match self.do_what_was_asked().await {
            Err(error) if error.trouble().is_some() => {
                tracing::warn!(%error, "Could not do what was asked");
            }
            done => done?,
        }
        if let Some(changed) = self.watch.look(&self.config.files()) {
            self.reload(Some(&changed)).await?;
        }
        self.close_windows();
        self.tell_of_trouble();
        Ok(())
    }

    /// Answers where the configuration says.
    async fn open_face(&mut self) {
        self.in_force.send_replace(self.config.clone());
        let wanted = self.config.listen.clone();
        if self.face.as_ref().map(Face::listen) == wanted.as_ref() {
            return;
        }
        if let Some(face) = self.face.take() {
            face.close().await;
        }
        let Some(listen) = wanted else { return };
        match Face::open(listen, self.in_force.subscribe(), self.clock.clone()).await {
            Ok(face) => self.face = Some(face),
            // The archive matters more.
            Err(error) => tracing::error!("Cannot listen on {error}; the daemon works without"),
        }
    }

    /// Tells people when the archive cannot be written.
    fn tell_of_trouble(&mut self) {
        let trouble = self
            .running
            .values()
            .find_map(|running| running.runner.held());
        if trouble != self.trouble
            && let Some(trouble) = trouble
        {
            let facts = vec![("reason", json!(trouble.word()))];
            let message = format!("the archive cannot be written: {}", trouble.advice());
            self.notify(Event::Disk, message, facts);
        }
        self.trouble = trouble;
    }

    fn notify(&self, event: Event, message: String, facts: Vec<(&'static str, serde_json::Value)>) {
        let archive = (
            "archive",
            json!(self.config.archive.path.display().to_string()),
        );
        let fact = Fact {
            event,
            message,
            facts: [vec![archive], facts].concat(),
        };
        self.notices
            .tell(&self.config.notices, &self.means.http, &fact);
    }

    /// Does what other processes have asked for.
    async fn do_what_was_asked(&mut self) -> Result<(), store::Error> {
        let state = self.config.archive.state.clone();
        let look = move || Reader::open(&state).ok()??.has_requests().ok();
        if tokio::task::spawn_blocking(look).await.ok().flatten() != Some(true) {
            return Ok(());
        }
        loop {
            let answered = self.session.store.take_requests().await?;
            self.read = true;
            if answered.retried.ready > 0 {
                let tasks = answered.retried.ready;
                tracing::info!(tasks, "Put failed tasks back, as asked");
                for running in self.running.values() {
                    running.runner.wake_hosts().await?;
                }
            }
            for running in self.running.values() {
                for job in &answered.forgotten {
                    running.runner.forget(*job);
                }
                for job in &answered.paused {
                    running.runner.pause_by_hand(*job);
                }
            }
            for (name, why) in &answered.resumed {
                tracing::info!(job.name = %name, why, "The job `{name}` may go on, as asked");
                self.later.remove(name);
            }
            if !answered.added.is_empty() || !answered.forgotten.is_empty() {
                self.read_added_jobs().await?;
            }
            if !answered.more {
                return Ok(());
            }
        }
    }

    /// Ends runs whose windows have closed.
    fn close_windows(&self) {
        let (now, zone) = (self.clock.now(), self.clock.zone());
        for (name, running) in &self.running {
            if let Some(window) = running.job.window
                && !schedule::is_open(window, now, &zone)
                && !running.stop.is_cancelled()
            {
                tracing::info!(job.name = %name, "The window of `{name}` closes: it goes on when it opens again");
                running.stop.cancel();
            }
        }
    }

    /// Takes leave of the runs that have ended.
    async fn reap(&mut self) -> Result<(), Error> {
        let over = self
            .running
            .extract_if(.., |_, running| running.work.is_finished());
        for (name, running) in over.collect::<Vec<_>>() {
            self.read = true;
            match self.take_leave(&name, running).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.trouble().is_some() => self.put_off(&name, &error),
                Ok(Err(error)) => return Err(error.into()),
                Err(panic) => self.put_off(&name, &panic),
            }
        }
        Ok(())
    }

    /// Waits for a run to end, and tells of it.
    async fn take_leave(
        &self,
        name: &str,
        running: Running,
    ) -> Result<Result<(), store::Error>, JoinError> {
        let result = running.work.await;
        let store = &self.session.store;
        for active in running.runner.jobs.values() {
            self.say_end(name, active.ended(), store.counts(active.run));
            store.drop_counts(active.run);
        }
        result
    }

    fn put_off(&mut self, name: &str, error: &dyn std::fmt::Display) {
        tracing::error!(job.name = %name, %error, "The run of `{name}` broke off; it is tried again soon");
        self.later.insert(name.to_owned(), self.clock.now() + AGAIN);
    }

    fn say_end(&self, name: &str, ended: Option<Ended>, counts: store::RunCounts) {
        let (new, changed, files, failed) = (
            counts.fresh,
            counts.changed,
            counts.stored,
            counts.files_failed,
        );
        match ended {
            Some(Ended::Done) => tracing::info!(
                job.name = %name, new, changed, files, failed, bytes = counts.bytes,
                "Ran `{name}`: {} new items, {} changed, {} files", count(new), count(changed), count(files)
            ),
            Some(Ended::Stopped) => {
                tracing::info!(job.name = %name, "Stopped `{name}` before its end");
            }
            // Said where it happened.
            _ => {}
        }
        let (result, reason, message) = match ended {
            Some(Ended::Done) if counts.pages_failed > 0 => ("failed", None, None),
            Some(Ended::Done) => ("done", None, None),
            Some(Ended::Paused { reason, message }) => ("paused", Some(reason), Some(message)),
            // It goes on.
            _ => return,
        };
        let words = match (&message, reason) {
            (Some(message), Some(reason)) => format!("{name}: paused ({reason}): {message}"),
            _ => format!(
                "{name}: {result}: {} new items, {} changed, {} files, {} failed",
                count(new),
                count(changed),
                count(files),
                count(failed)
            ),
        };
        let facts = vec![
            ("job", json!(name)),
            ("result", json!(result)),
            ("reason", json!(reason)),
            ("new", json!(new)),
            ("changed", json!(changed)),
            ("files", json!(files)),
            ("failed", json!(failed)),
            ("bytes", json!(counts.bytes)),
        ];
        if reason.is_some_and(|reason| matches!(reason, "auth" | "blocked")) {
            self.notify(Event::Auth, words.clone(), facts.clone());
        }
        self.notify(Event::End, words, facts);
    }

    /// Begins every job that is due.
    async fn begin_what_is_due(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.read) {
            self.read_standings().await?;
        }
        if self.renew {
            if self
                .running
                .values()
                .any(|running| running.stop.is_cancelled())
            {
                return Ok(());
            }
            self.means.pace.renew();
            self.renew = false;
        }
        let config = self.config.clone();
        let now = self.now();
        for job in &config.jobs {
            let waits = self.later.get(&job.name).is_some_and(|at| *at > now.time);
            if waits || self.unfit.contains(&job.name) || self.running.contains_key(&job.name) {
                continue;
            }
            let standing = self.standings.get(&job.name);
            let tried = self.tried.get(&job.name).copied();
            if plan(job, standing, tried, &now) != Plan::Run {
                continue;
            }
            let of_site = self
                .running
                .values()
                .filter(|r| r.job.site.name == job.site.name);
            if of_site.count() >= OF_ONE_SITE {
                continue;
            }
            let full = is_full(job, standing, now.time);
            self.begin(job, full).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, job: &Arc<Job>, full: bool) -> Result<(), Error> {
        let name = &job.name;
        if let Some(variable) = job.sites().find_map(|site| site.unset().into_iter().next()) {
            tracing::error!(job.name = %name, "The job `{name}` needs the environment variable `{variable}`, which is not set");
            self.unfit.insert(name.clone());
            return Ok(());
        }
        let walks = match walks(job, self.clock.today(), full) {
            Ok(walks) => walks,
            Err(error) => {
                tracing::error!(job.name = %name, "The job `{name}` cannot be run: {error}");
                self.unfit.insert(name.clone());
                return Ok(());
            }
        };
        let stop = CancellationToken::new();
        if let Some(standing) = self.standings.get(name) {
            let id = standing.job;
            let take_back = move |group: &mut store::Group<'_>| group.take_back(id);
            let store = &self.session.store;
            match store.write("take back claims", take_back).await {
                Err(error) if error.trouble().is_some() => {
                    self.put_off(name, &error);
                    return Ok(());
                }
                done => done?,
            }
        }
        let begun = Runner::begin(
            &self.config,
            vec![(job.clone(), walks)],
            self.session.store.clone(),
            self.session.archive.clone(),
            &self.means,
            Patience::Waits,
            stop.clone(),
        );
        self.tried.insert(name.clone(), self.clock.now());
        let runner = match begun.await {
            Ok(runner) => runner,
            Err(error) if error.trouble().is_some() => {
                self.put_off(name, &error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        tracing::info!(job.name = %name, full, "Running `{name}`");
        let (worker, ended) = (runner.clone(), self.ended.clone());
        let work = tokio::spawn(async move {
            // Told however it ends, a panic too.
            let _tell = Tell(ended);
            worker.run().await
        });
        let running = Running {
            job: job.clone(),
            runner,
            stop,
            work,
        };
        self.running.insert(name.clone(), running);
        Ok(())
    }

    async fn read_standings(&mut self) -> Result<(), Error> {
        let state = self.config.archive.state.clone();
        let read = move || -> Result<(Vec<Standing>, i64), store::Error> {
            Reader::open(&state)?.map_or(Ok((Vec::new(), 0)), |reader| {
                Ok((reader.standings()?, reader.damaged()?))
            })
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (standings, damaged) =
            read.map_err(|error| store::Error::Stopped(error.to_string()))??;
        self.standings = standings.into_iter().map(|s| (s.name.clone(), s)).collect();
        let before = self.damaged.replace(damaged).unwrap_or(damaged);
        if damaged > before {
            let more = damaged - before;
            let message = format!(
                "{} objects of the archive are damaged, {} of them found now: `larder verify --repair` fetches what it can",
                count(damaged),
                count(more)
            );
            let facts = vec![("damaged", json!(damaged)), ("found", json!(more))];
            self.notify(Event::Damage, message, facts);
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now {
            time: self.clock.now(),
            zone: self.clock.zone(),
            since: self.since,
        }
    }

    /// Tells systemd what is under way, and what comes next.
    fn tell(&mut self) {
        let mut words = match self.running.len() {
            0 => "nothing to do".to_owned(),
            1 => "1 job at work".to_owned(),
            n => format!("{n} jobs at work"),
        };
        let now = self.now();
        let next = self.config.jobs.iter().filter_map(|job| {
            let idle = !self.running.contains_key(&job.name);
            let tried = self.tried.get(&job.name).copied();
            match plan(job, self.standings.get(&job.name), tried, &now) {
                Plan::At { time, .. } if idle => Some((time, &job.name)),
                _ => None,
            }
        });
        if let Some((time, name)) = next.min() {
            words += &format!("; next {} at {}", one_line(name), local_time(time));
        }
        self.systemd.status(&words);
    }

    /// Stops every run and closes the archive.
    async fn end(mut self) {
        self.systemd.stopping();
        tracing::info!("Stopping: what is under way is finished first");
        let note = |group: &mut store::Group<'_>| group.stopping();
        let noted = tokio::time::timeout(
            Duration::from_secs(1),
            self.session.store.write("note the stop", note),
        );
        if !matches!(noted.await, Ok(Ok(()))) {
            tracing::debug!("Could not note the stop");
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        let store = self.session.store.clone();
        let hurry = tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            store.hurry();
        });
        for (name, running) in std::mem::take(&mut self.running) {
            let error = match self.take_leave(&name, running).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            tracing::error!(job.name = %name, error, "The run of `{name}` broke off");
        }
        hurry.abort();
        let _ = hurry.await;
        if let Some(face) = self.face.take() {
            face.close().await;
        }
        self.notices.end().await;
        self.session.close().await;
        tracing::info!("Stopped");
    }
}

/// Says that a run has ended when it is dropped.
struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
