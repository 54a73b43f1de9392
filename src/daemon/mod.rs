//! The daemon: runs jobs when they are due and their windows are open, until it is told to stop.
//!
//! One loop looks each second: what has ended, what was asked, whether the configuration has changed, what is due. It
//! decides with [`schedule::plan`] from the database alone, so a restart changes nothing. Each job has a run of its own;
//! all of them share the pace of the hosts.
//! **Invariant:** a job is begun only after its last run has ended in this process.

mod face;
mod jobs;
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
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    face::Face,
    notices::{Fact, Notices},
    schedule::{Now, Plan, plan},
    systemd::Systemd,
    watch::Watch,
};
use crate::{
    clock::{Clock, Millis},
    config::{Config, Diagnostic, Event, Job},
    disk::Trouble,
    http::{self, Http},
    run::{Means, Runner},
    session::{self, Session, configuration},
    store::{self, Reader, Standing},
    text::{count, local_time, one_line},
};

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
