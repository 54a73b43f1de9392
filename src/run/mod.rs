//! A run: workers over the queue until it is empty or told to stop.
//!
//! One lane per host claims tasks and waits for the host's turn, so that a host that must wait keeps no worker busy. Work
//! stops at safe points only: a task that has begun to store its result finishes; a claimed one that has not begun goes
//! back into the queue.

mod dry;
mod hold;
pub(crate) mod hosts;
mod lane;
mod means;
mod mirrors;
mod panic;
mod policy;
mod recheck;
mod signer;
mod under_way;
mod walks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use dry::{DryReport, dry_run};
pub use hold::Patience;
pub use means::Means;
pub use mirrors::Mirrors;
pub use policy::{Failure, Machine, judge};
pub use signer::{Signed, Signer};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
pub use under_way::UnderWay;
pub use walks::{days_key, on_day, walks};

use self::hosts::Holds;
use crate::{
    archive::Archive,
    class::Class,
    config::{Config, Job, MinFree, Network, Site},
    disk::Trouble,
    http::Http,
    pace::{Host, HostKey, Pace},
    store::{self, JobSpec, Reader, RunCounts, Store, Walks},
    walk::shows_all,
};

/// What every worker needs.
#[derive(Debug)]
pub struct Context {
    /// Rows and records.
    pub store: Store,
    /// Objects.
    pub archive: Arc<Archive>,
    /// Requests.
    pub http: Http,
    /// Which address of a site with several answers.
    pub mirrors: Arc<Mirrors>,
    /// What some sites must be shown to answer.
    pub signer: Arc<Signer>,
    /// Whose turn it is.
    pub pace: Pace,
    /// Limits and retries.
    pub network: Network,
    /// Replies parsed at once: jq needs many times a page's bytes.
    pub readers: Arc<Semaphore>,
    /// Files stored at once: a slow disk holds up the downloads instead of filling the memory.
    pub storing: Arc<Semaphore>,
    /// Files under way that a site names by md5: two jobs that want the same bytes ask for them once.
    pub under_way: Arc<UnderWay>,
    /// Whether another job may have brought a file since it was claimed.
    pub several_jobs: bool,
    /// Whether items are looked up again whatever is known of them.
    pub full: bool,
    /// Large downloads are to save what they have and end: larder stops.
    pub cut: CancellationToken,
}

/// How often requests of other processes are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often claims are renewed, in looks.
const RENEW_EVERY: u32 = 15;
/// How long work under way may go on after a stop.
const GRACE: Duration = Duration::from_secs(8);
/// After this much of it, downloads that can be gone on with are cut.
const CUT_AFTER: Duration = Duration::from_secs(4);

/// How a job's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its queue is empty.
    Done,
    /// It waits for a person, or for the job's limit to be raised.
    Paused {
        /// A word of the contract: a class, or a trouble.
        reason: &'static str,
        /// What happened.
        message: String,
    },
    /// Told to stop before the end.
    Stopped,
    /// Forgotten meanwhile, as somebody asked.
    Forgotten,
}

/// One job of a run.
#[derive(Debug)]
pub struct Active {
    /// The job.
    pub job: Arc<Job>,
    /// Its row.
    pub id: i64,
    /// Its run's row.
    pub run: i64,
    /// The counters when this process began.
    pub before: RunCounts,
    /// Days that are not walked because they are remembered.
    pub days_known: usize,
    /// Entries that the walk before met.
    pub earlier: Option<u64>,
    /// Pages of its listing that this process has stored.
    walked: AtomicU64,
    /// Items of its listing that this process has kept.
    listed: AtomicUsize,
    /// Set when the walk has come to a limit of the job: what it found is still fetched.
    walked_enough: Mutex<Option<String>>,
    ended: Mutex<Option<Ended>>,
}

impl Active {
    /// How it ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.lock().expect("nobody panics with it").clone()
    }

    fn end(&self, how: Ended) {
        self.ended
            .lock()
            .expect("nobody panics with it")
            .get_or_insert(how);
    }

    /// The limit that the walk has come to, in words.
    fn limit(&self) -> Option<String> {
        self.walked_enough
            .lock()
            .expect("nobody panics with it")
            .clone()
    }

    fn is_over(&self) -> bool {
        self.ended.lock().expect("nobody panics with it").is_some()
    }
}

/// A run of several jobs.
#[derive(Debug)]
pub struct Runner {
    /// What workers need.
    pub context: Context,
    /// The jobs, by row.
    pub jobs: BTreeMap<i64, Arc<Active>>,
    min_free: MinFree,
    patience: Patience,
    /// What keeps the archive from being written.
    hold: Mutex<Option<Trouble>>,
    /// Failures of the disk in a row.
    failing: AtomicU32,
    /// Times in a row that no descriptor was left.
    crowded: AtomicU32,
    /// Whether what a larder that died has stored last is still being read again.
    rechecking: AtomicBool,
    /// Waits that an earlier process was asked for.
    holds: Holds,
    lanes: Mutex<BTreeMap<HostKey, Arc<Notify>>>,
    leases: Mutex<BTreeSet<(i64, i64)>>,
    /// Whether this run does what other processes ask for; in a daemon that one does.
    attends: bool,
    /// One run after the other reads again what a larder that died has left.
    recheck: Arc<tokio::sync::Mutex<()>>,
    ended: Notify,
    stop: CancellationToken,
    /// Drops the work that did not end in its grace.
    abandon: CancellationToken,
    tracker: TaskTracker,
    error: Mutex<Option<store::Error>>,
}

impl Runner {
    /// Begins or takes up a run of each job. Nothing is asked of any site before [`Self::run`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin(
        config: &Config,
        jobs: Vec<(Arc<Job>, Walks)>,
        store: Store,
        archive: Arc<Archive>,
        means: &Means,
        patience: Patience,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, store::Error> {
        let names: Vec<_> = config.jobs.iter().map(|job| job.name.clone()).collect();
        let mut active = BTreeMap::new();
        let mut hosts = Vec::new();
        let several_jobs = jobs.len() > 1 || !means.attends;
        let full = jobs.iter().any(|(_, walks)| walks.full);
        for (job, walks) in jobs {
            let begun = store.begin(spec(&job, walks, &names)).await?;
            let before = store.counts(begun.run);
            hosts.extend(begun.hosts.iter().map(|host| (host.clone(), job.clone())));
            let one = Active {
                job,
                id: begun.job,
                run: begun.run,
                before,
                days_known: begun.days_known,
                earlier: begun.earlier,
                walked: AtomicU64::new(0),
                listed: AtomicUsize::new(0),
                walked_enough: Mutex::default(),
                ended: Mutex::default(),
            };
            active.insert(begun.job, Arc::new(one));
        }
        let runner = Arc::new(Self {
            context: Context {
                store,
                archive,
                http: means.http.clone(),
                mirrors: means.mirrors.clone(),
                signer: means.signer.clone(),
                pace: means.pace.clone(),
                network: config.network.clone(),
                readers: means.readers.clone(),
                storing: means.storing.clone(),
                under_way: means.under_way.clone(),
                several_jobs,
                cut: CancellationToken::new(),
                full,
            },
            jobs: active,
            min_free: config.archive.min_free,
            patience,
            hold: Mutex::default(),
            failing: AtomicU32::new(0),
            crowded: AtomicU32::new(0),
            rechecking: AtomicBool::new(true),
            holds: Holds::read(&config.archive.state),
            lanes: Mutex::default(),
            leases: Mutex::default(),
            attends: means.attends,
            recheck: means.recheck.clone(),
            ended: Notify::new(),
            stop,
            abandon: CancellationToken::new(),
            tracker: TaskTracker::new(),
            error: Mutex::default(),
        });
        for site in runner.jobs.values().flat_map(|active| active.job.sites()) {
            // Named first, so that a host of two sites gets the lower of their limits from the start.
            if let Some(key) = HostKey::from_url(&site.url) {
                let host = runner.context.pace.host(&key, site.api);
                runner.restore_hold(&host);
            }
        }
        // Before anything is asked of anybody.
        runner.check_disk(0).await?;
        for (host, job) in hosts {
            if let Ok(key) = host.parse() {
                runner.open_lane(&key, site_of(&job, &key));
            }
        }
        Ok(runner)
    }

    /// Works until every job has ended or the stop comes.
    ///
    /// # Errors
    /// When the database or the archive refuses to store results.
    pub async fn run(self: &Arc<Self>) -> Result<(), store::Error> {
        self.tracker.spawn(recheck::work(self.clone()));
        let stop = self.stop.clone();
        let grace = async move {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(grace);
        // Dropped when a stop has waited for long enough for a database that somebody else holds.
        let (watched, over) = tokio::select! {
            watched = self.watch() => (watched, false),
            () = &mut grace => (Ok(()), true),
        };
        for job in self.jobs.values() {
            job.end(Ended::Stopped);
        }
        // Whatever happened, the lanes are told and waited for: they hold the store.
        self.stop.cancel();
        self.tracker.close();
        let ended = async {
            let soon = tokio::time::timeout(CUT_AFTER, self.tracker.wait()).await;
            if soon.is_err() {
                self.context.cut.cancel();
                self.tracker.wait().await;
            }
        };
        let over = over
            || tokio::select! {
                () = ended => false,
                () = grace => true,
            };
        if over {
            self.context.cut.cancel();
            tracing::warn!(
                "Work under way did not end in {GRACE:?}; it is taken back at the next start"
            );
            // What was given to the store is stored; the store itself can end once nobody holds it.
            self.abandon.cancel();
            if self.attends {
                self.context.store.hurry();
            }
            self.tracker.wait().await;
        }
        self.keep_hosts().await;
        let error = self.error.lock().expect("nobody panics with it").take();
        error.map_or(watched, Err)
    }

    /// Waits for every job to end, for the stop, or for an error, and attends to what comes up meanwhile.
    async fn watch(self: &Arc<Self>) -> Result<(), store::Error> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            // Registered before the jobs are looked at, so that nothing ends unseen in between.
            let ended = self.ended.notified();
            let changed = self.context.store.changed().notified();
            self.if_refused(self.end_finished().await).await?;
            if self.jobs.values().all(|job| job.is_over()) || self.has_failed() {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                if self.attends {
                    self.note_stop().await;
                }
                return Ok(());
            }
            // Nothing is lost when one of these is dropped: each only says that it is time to look again.
            tokio::select! {
                () = ended => {}
                () = changed => {}
                () = self.stop.cancelled() => {}
                _ = look.tick() => {
                    looks += 1;
                    self.if_refused(self.attend(looks).await).await?;
                }
            }
        }
    }

    /// A store that cannot write for now holds the run; it does not end it.
    async fn if_refused(&self, result: Result<(), store::Error>) -> Result<(), store::Error> {
        match result {
            Err(error) if error.trouble().is_some() => {
                self.stumble(error).await;
                Ok(())
            }
            result => result,
        }
    }

    /// Should larder be killed before it has stopped, its tasks are not to blame.
    async fn note_stop(&self) {
        let note = |group: &mut store::Group<'_>| group.stopping();
        if let Err(error) = self.context.store.write("note the stop", note).await {
            tracing::debug!(%error, "Could not note the stop");
        }
    }

    fn has_failed(&self) -> bool {
        self.error.lock().expect("nobody panics with it").is_some()
    }

    /// Ends the runs that have nothing left to do.
    async fn end_finished(&self) -> Result<(), store::Error> {
        if self.is_held() || self.rechecking.load(Ordering::Relaxed) {
            return Ok(());
        }
        for active in self.jobs.values().filter(|active| !active.is_over()) {
            if self.context.store.counts(active.run).is_finished() {
                let (job, run) = (active.id, active.run);
                self.context
                    .store
                    .write("end a run", move |group| group.end_run(job, run))
                    .await?;
                if self.context.store.counts(run).is_finished() {
                    active.end(Ended::Done);
                }
                continue;
            }
            // All that may be left are pages at which the walk was told to stop.
            let counts = self.context.store.counts(active.run);
            if let Some(message) = active.limit()
                && counts.files_waiting <= 0
                && !self.works_on_pages(active).await?
            {
                self.pause_and_keep(active, Class::Limit.word(), message)
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether pages that complete items are in the queue, or any page is being asked for.
    async fn works_on_pages(&self, active: &Active) -> Result<bool, store::Error> {
        let job = active.id;
        self.context
            .store
            .write("look for pages", move |group| group.works_on_pages(job))
            .await
    }

    /// Renews claims and does what other processes ask for.
    async fn attend(self: &Arc<Self>, looks: u32) -> Result<(), store::Error> {
        if looks.is_multiple_of(RENEW_EVERY) {
            let tokens: Vec<_> = self
                .leases
                .lock()
                .expect("nobody panics with it")
                .iter()
                .map(|(_, token)| *token)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            self.context
                .store
                .write("renew claims", move |group| group.renew(&tokens))
                .await?;
            self.keep_hosts().await;
        }
        self.check_disk(looks).await?;
        if !self.attends {
            return Ok(());
        }
        let state = self
            .context
            .store
            .path()
            .parent()
            .map(std::path::Path::to_owned);
        let asked =
            tokio::task::spawn_blocking(move || Reader::open(&state?).ok()??.has_requests().ok())
                .await;
        if asked.ok().flatten() == Some(true) {
            self.do_what_was_asked().await?;
            self.wake_hosts().await?;
        }
        Ok(())
    }

    /// Looks for tasks that were queued by others than the lanes.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn wake_hosts(self: &Arc<Self>) -> Result<(), store::Error> {
        let jobs = self.claimable().0;
        let hosts = self
            .context
            .store
            .write("look for hosts", move |group| group.hosts_of(&jobs))
            .await?;
        for (job, host) in hosts {
            if let (Some(active), Ok(key)) = (self.jobs.get(&job), host.parse()) {
                self.open_lane(&key, site_of(&active.job, &key));
            }
        }
        self.wake_all();
        Ok(())
    }

    /// Ends the run of a job that is no more.
    pub fn forget(&self, job: i64) {
        // What is under way for it is dropped when it ends: its claims are gone.
        if let Some(active) = self.jobs.get(&job).filter(|active| !active.is_over()) {
            tracing::info!(job.name = %active.job.name, "Forgetting the job `{}`, as asked", active.job.name);
            active.end(Ended::Forgotten);
            self.ended.notify_one();
        }
    }

    /// Ends the run of a job that somebody holds.
    pub fn pause_by_hand(&self, job: i64) {
        if let Some(active) = self.jobs.get(&job).filter(|active| !active.is_over()) {
            tracing::info!(job.name = %active.job.name, "Pausing the job `{}`, as asked", active.job.name);
            active.end(Ended::Paused {
                reason: store::BY_USER,
                message: store::BY_HAND.to_owned(),
            });
            self.ended.notify_one();
        }
    }

    /// Does what other processes have asked for, a part at a time: the work goes on meanwhile.
    async fn do_what_was_asked(&self) -> Result<(), store::Error> {
        loop {
            let answered = self.context.store.take_requests().await?;
            if answered.retried.ready > 0 {
                let tasks = answered.retried.ready;
                tracing::info!(tasks, "Put failed tasks back, as asked");
            }
            for name in &answered.added {
                tracing::info!(job.name = %name, "Keeping the job `{name}`, as asked; the next run takes it");
            }
            for job in &answered.forgotten {
                self.forget(*job);
            }
            for job in &answered.paused {
                self.pause_by_hand(*job);
            }
            if !answered.more {
                return Ok(());
            }
        }
    }

    /// Keeps what hosts asked for.
    pub(super) async fn keep_hosts(&self) {
        let kept = hosts::keep(&self.context.pace, &self.context.store);
        if let Err(error) = kept.await {
            tracing::warn!(%error, "Could not keep the hosts' state");
        }
    }

    /// Wakes every lane.
    fn wake_all(&self) {
        for wake in self.lanes.lock().expect("nobody panics with it").values() {
            wake.notify_one();
        }
    }

    /// Makes sure that a lane works on this host's tasks, and wakes it.
    fn open_lane(self: &Arc<Self>, key: &HostKey, site: &Site) {
        let mut lanes = self.lanes.lock().expect("nobody panics with it");
        if let Some(wake) = lanes.get(key) {
            wake.notify_one();
            return;
        }
        let own = HostKey::from_url(&site.url).as_ref() == Some(key);
        // Pages and files of one host share its limits: the lower of each.
        let host = self.context.pace.host(key, site.media);
        if own {
            self.context.pace.host(key, site.api);
        }
        self.restore_hold(&host);
        if site.dialect.throttle.by_account
            && let Some(api) = HostKey::from_url(&site.url)
        {
            host.share(&self.context.pace.host(&api, site.api));
        }
        let wake = Arc::new(Notify::new());
        lanes.insert(key.clone(), wake.clone());
        let runner = self.clone();
        self.tracker
            .spawn(async move { lane::work(runner, host, wake).await });
    }

    /// Holds every host of a site whose account is held back, as `held` is.
    fn hold_site(&self, site: &Site, held: &Host) {
        for host in self.context.pace.hosts() {
            let (name, port) = host.key().parts();
            if host.key() != held.key() && site.takes_files_from(name, port) {
                host.share(held);
            }
        }
    }

    fn restore_hold(&self, host: &Host) {
        self.holds.restore(host, self.context.store.clock().now());
    }

    /// The jobs whose tasks may be claimed, and those of them whose walk may not go on.
    fn claimable(&self) -> (Vec<i64>, Vec<i64>) {
        if self.is_held() {
            return (Vec::new(), Vec::new());
        }
        self.claimable_when_free()
    }

    fn claimable_when_free(&self) -> (Vec<i64>, Vec<i64>) {
        let open = || self.jobs.values().filter(|job| !job.is_over());
        let limited = open().filter(|job| job.limit().is_some());
        (
            open().map(|job| job.id).collect(),
            limited.map(|job| job.id).collect(),
        )
    }

    /// Holds a job for a person; the rest of the run goes on.
    fn pause(&self, active: &Active, reason: &'static str, message: &str) {
        tracing::error!(job.name = %active.job.name, reason, "Paused the job `{}`: {message}", active.job.name);
        active.end(Ended::Paused {
            reason,
            message: message.to_owned(),
        });
        self.ended.notify_one();
    }

    /// Holds a job and keeps the reason for `status`.
    async fn pause_and_keep(
        &self,
        active: &Active,
        reason: &'static str,
        message: String,
    ) -> Result<(), store::Error> {
        let (id, words) = (active.id, message.clone());
        let keep = move |group: &mut store::Group<'_>| group.pause(id, reason, &words);
        self.context.store.write("hold a job", keep).await?;
        self.pause(active, reason, &message);
        Ok(())
    }

    fn break_off(&self, error: store::Error) {
        self.error
            .lock()
            .expect("nobody panics with it")
            .get_or_insert(error);
        self.ended.notify_one();
    }
}

/// The site of a job whose pages or files come from a host.
fn site_of<'a>(job: &'a Job, key: &HostKey) -> &'a Arc<Site> {
    let (name, port) = key.parts();
    job.site_at(name, port)
}

/// What the store must know of a job.
fn spec(job: &Job, walks: Walks, names: &[String]) -> JobSpec {
    JobSpec {
        name: job.name.clone(),
        site: job.site.name.clone(),
        listing: job.listing.name.clone(),
        params: serde_json::to_string(&job.params).expect("parameters are plain JSON"),
        walk: walks::walk_key(job, &job.params).to_string(),
        walks,
        whole: shows_all(job),
        host: HostKey::from_url(&job.site.url)
            .map(|key| key.to_string())
            .unwrap_or_default(),
        names: names.to_vec(),
    }
}
