//! One host's lane: claims its tasks, waits for its turn, hands them to workers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Active, Failure, Machine, Runner, judge,
    panic::{caught, crashed},
    site_of,
};
use crate::{
    class::Class,
    clock::Millis,
    disk::{self, Op},
    fetch::{Fetched, fetch},
    pace::{Connection, HoldReason, Host, HostKey},
    store::{self, Claim, Claimed, FileTask, PageOutcome, PageTask, Task, Verdict, Why, Work},
    text::duration,
    walk::walk,
};

/// Files claimed ahead, for each connection: enough that a worker never waits for a commit.
const AHEAD: usize = 4;
/// Files claimed ahead at most.
const MOST_AHEAD: usize = 128;
/// Pages claimed ahead: a walk has one, follow-ups more.
const PAGES_AHEAD: u32 = 4;
/// The longest that a lane without work sleeps: the clock may jump.
const LONGEST_SLEEP: Millis = 30_000;

struct Lane {
    runner: Arc<Runner>,
    host: Arc<Host>,
    wake: Arc<Notify>,
    pages: VecDeque<Task>,
    files: VecDeque<Task>,
    refill: Option<JoinHandle<Result<Claimed, store::Error>>>,
    /// Files claimed at once.
    batch: usize,
    /// Whether the queue must be looked at: it was woken, or slept.
    look: bool,
    /// Whether more files may be in the queue than were claimed.
    more_files: bool,
    /// When the next waiting task is due.
    due: Option<Millis>,
}

/// Works until the run stops, then puts back what was claimed and not begun.
pub(super) async fn work(runner: Arc<Runner>, host: Arc<Host>, wake: Arc<Notify>) {
    let lane = work_until_stopped(runner.clone(), host, wake);
    if let Err(panic) = caught(lane).await {
        // Without its lane a host's tasks would wait for ever.
        runner.break_off(store::Error::Stopped(format!("larder panicked: {panic}")));
    }
}

async fn work_until_stopped(runner: Arc<Runner>, host: Arc<Host>, wake: Arc<Notify>) {
    let batch = (host.idle_connections() * AHEAD).clamp(AHEAD, MOST_AHEAD);
    let mut lane = Lane {
        runner: runner.clone(),
        host,
        wake,
        pages: VecDeque::new(),
        files: VecDeque::new(),
        refill: None,
        batch,
        look: true,
        more_files: true,
        due: None,
    };
    let worked = lane.work().await;
    let ended = lane.put_back().await;
    if let Err(error) = worked.and(ended) {
        // Should the run go on all the same, it opens another lane.
        runner.forget_lane(lane.host.key());
        runner.stumble(error).await;
    }
}

impl Lane {
    async fn work(&mut self) -> Result<(), store::Error> {
        let stop = self.runner.stop.clone();
        loop {
            // Dropped at a stop: a connection that was not used yet is nothing to lose.
            let connection = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                connection = self.host.connection() => connection,
            };
            let Some(task) = self.next().await? else {
                return Ok(());
            };
            if needs_request(&task) {
                self.keep_quiet(&task).await;
                // Dropped at a stop: the task has not begun, and goes back.
                tokio::select! {
                    () = stop.cancelled() => {
                        self.pages.push_front(task);
                        return Ok(());
                    }
                    () = self.host.turn() => {}
                }
            }
            let active = self
                .runner
                .jobs
                .get(&task.lease.job)
                .filter(|job| !job.is_over())
                .cloned();
            let Some(active) = active else {
                self.release(vec![task]).await?;
                continue;
            };
            let (runner, host) = (self.runner.clone(), self.host.clone());
            let abandon = runner.abandon.clone();
            self.runner.tracker.spawn(async move {
                let lease = task.lease;
                let work = perform(runner.clone(), host, active.clone(), task, connection);
                // Dropped only when the grace of a stop is over: its claim is taken back at the next start.
                tokio::select! {
                    () = abandon.cancelled() => {}
                    outcome = caught(work) => if let Err(panic) = outcome {
                        crashed(&runner, &active, lease, format!("larder panicked over it: {panic}")).await;
                    }
                }
            });
        }
    }

    /// Holds the host while the task's site has its quiet time.
    async fn keep_quiet(&self, task: &Task) {
        let job = self.runner.jobs.get(&task.lease.job);
        let Some(active) = job.filter(|_| matches!(task.work, Work::Page(_))) else {
            return;
        };
        let now = self.runner.context.store.clock().now();
        let site = site_of(&active.job, self.host.key());
        let Some(until) = site.dialect.quiet_until(now) else {
            return;
        };
        let wait = Duration::from_millis((until - now).unsigned_abs());
        let held = self.host.held();
        self.host.hold(wait, HoldReason::Quiet, None);
        if held.is_none() {
            tracing::info!(
                job.name = %active.job.name,
                "{} has its quiet time; it is asked again in {}", site.name, duration(until - now)
            );
            self.runner.keep_hosts().await;
        }
    }

    /// The next task, pages first; `None` when the run stops.
    async fn next(&mut self) -> Result<Option<Task>, store::Error> {
        let (stop, wake) = (self.runner.stop.clone(), self.wake.clone());
        loop {
            // Registered before the queue is looked at, so that no wake-up is missed in between.
            let woken = wake.notified();
            tokio::pin!(woken);
            self.look |= woken.as_mut().enable();
            if let Some(page) = self.pages.pop_front() {
                return Ok(Some(page));
            }
            if std::mem::take(&mut self.look) {
                self.more_files = true;
                let claimed = claim(&self.runner, &self.host, true, PAGES_AHEAD).await?;
                self.due = claimed.next_due;
                self.pages.extend(claimed.tasks);
                continue;
            }
            if self.more_files && self.refill.is_none() && self.files.len() <= self.batch / 2 {
                // Before the claim, not after it: what is queued meanwhile wakes the lane, and is looked for again.
                self.more_files = false;
                let (runner, host) = (self.runner.clone(), self.host.clone());
                let most = u32::try_from(self.batch).unwrap_or(u32::MAX);
                self.refill = Some(tokio::spawn(async move {
                    claim(&runner, &host, false, most).await
                }));
            }
            if let Some(file) = self.files.pop_front() {
                return Ok(Some(file));
            }
            if let Some(refill) = &mut self.refill {
                let claimed = refill.await;
                // Before anything is made of it: a handle that has given its result must not be asked again.
                self.refill = None;
                let claimed =
                    claimed.map_err(|error| store::Error::Stopped(error.to_string()))??;
                self.more_files |= claimed.tasks.len() >= self.batch;
                self.due = [self.due, claimed.next_due].into_iter().flatten().min();
                self.files.extend(claimed.tasks);
                continue;
            }
            let now = self.runner.context.store.clock().now();
            let sleep = self
                .due
                .map_or(LONGEST_SLEEP, |due| (due - now).clamp(1, LONGEST_SLEEP));
            // Whichever is dropped, the queue is looked at again: nothing is lost.
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = woken => {}
                () = tokio::time::sleep(Duration::from_millis(sleep.unsigned_abs())) => {}
            }
            self.look = true;
        }
    }

    /// Puts back what was claimed and not begun.
    async fn put_back(&mut self) -> Result<(), store::Error> {
        let mut left: Vec<_> = self.pages.drain(..).chain(self.files.drain(..)).collect();
        if let Some(refill) = self.refill.take()
            && let Ok(Ok(claimed)) = refill.await
        {
            left.extend(claimed.tasks);
        }
        self.release(left).await
    }

    async fn release(&self, tasks: Vec<Task>) -> Result<(), store::Error> {
        if tasks.is_empty() {
            return Ok(());
        }
        let leases: Vec<_> = tasks.iter().map(|task| task.lease).collect();
        if let Ok(mut renewed) = self.runner.leases.lock() {
            for lease in &leases {
                renewed.remove(&(lease.task, lease.token));
            }
        }
        self.runner
            .context
            .store
            .write("put back tasks", move |group| group.release(&leases))
            .await
    }
}

/// Claims tasks of the host, of the jobs that go on.
async fn claim(
    runner: &Runner,
    host: &Host,
    pages: bool,
    most: u32,
) -> Result<Claimed, store::Error> {
    let (jobs, limited) = runner.claimable();
    let claim = Claim {
        host: host.key().to_string(),
        pages,
        jobs,
        limited,
        most,
    };
    let claimed = runner
        .context
        .store
        .write("claim tasks", move |group| group.claim(&claim))
        .await?;
    let mut leases = runner.leases.lock().expect("nobody panics with it");
    leases.extend(
        claimed
            .tasks
            .iter()
            .map(|task| (task.lease.task, task.lease.token)),
    );
    drop(leases);
    Ok(claimed)
}

fn needs_request(task: &Task) -> bool {
    !matches!(&task.work, Work::File(file) if file.held.is_some())
}

/// Does one task and records how it ended.
async fn perform(
    runner: Arc<Runner>,
    host: Arc<Host>,
    active: Arc<Active>,
    task: Task,
    connection: Connection,
) {
    let Task { lease, tries, work } = task;
    // Dropped however this ends: then the claim runs out, if nobody has put the task back, and somebody else takes it.
    let _renewed = Renewed {
        runner: runner.clone(),
        lease,
    };
    let _at_work = runner.context.store.at_work(&lease);
    let is_page = matches!(work, Work::Page(_));
    let (context, job) = (&runner.context, &active.job);
    // Kept until a failure is judged: the next request must not slip in before the hold that this reply asks for.
    let connection = Mutex::new(Some(connection));
    let asked = || drop(connection.lock().map(|mut connection| connection.take()));
    let (Work::File(FileTask { url: what, .. }) | Work::Page(PageTask { endpoint: what, .. })) =
        &work;
    // A point for tests to die at.
    let _ = disk::pass(Op::Work(what));
    let result = match work {
        Work::Page(page) => match walk(context, job, active.earlier, lease, page, asked).await {
            Ok(walked) => {
                if walked.asked {
                    host.ok();
                } else {
                    host.answered();
                }
                // Before the lanes are woken: a page beyond a limit must not be claimed.
                if walked.listing {
                    active.walked.fetch_add(1, Ordering::Relaxed);
                    active.listed.fetch_add(walked.items, Ordering::Relaxed);
                }
                let more = walked.outcome == PageOutcome::Stored { more: true };
                let limits = runner.check_limits(&active, more && walked.listing).await;
                for (key, site) in &walked.hosts {
                    runner.open_lane(key, site);
                }
                if let PageOutcome::Failed(class, message) = walked.outcome {
                    tracing::error!(job.name = %job.name, class = %class, "The walk of `{}` cannot go on: {message}", job.name);
                }
                limits
            }
            Err(failure) => Err(failure),
        },
        Work::File(file) => match fetch(context, &host, job, lease, file, asked).await {
            Ok(Fetched::Cut) => {
                // A stop cut it short: it has not failed.
                runner.put_back(lease).await;
                Ok(())
            }
            Ok(fetched) => {
                runner.disk_works();
                match fetched {
                    Fetched::Asked => host.served(),
                    Fetched::Unchanged => host.ok(),
                    Fetched::Held | Fetched::Cut => {}
                }
                runner.check_limits(&active, false).await
            }
            Err(failure) => Err(failure),
        },
    };
    if let Err(failure) = result {
        let task = TaskRef {
            lease,
            tries,
            is_page,
        };
        failed(&runner, &host, &active, &task, failure, connection).await;
    }
}

/// A claim that is renewed as long as this lives.
struct Renewed {
    runner: Arc<Runner>,
    lease: store::Lease,
}

impl Drop for Renewed {
    fn drop(&mut self) {
        let key = (self.lease.task, self.lease.token);
        if let Ok(mut leases) = self.runner.leases.lock() {
            leases.remove(&key);
        }
    }
}

/// What judging a failure needs to know of its task.
struct TaskRef {
    lease: store::Lease,
    tries: u32,
    is_page: bool,
}

/// Judges a failure and records it.
async fn failed(
    runner: &Arc<Runner>,
    host: &Host,
    active: &Active,
    task: &TaskRef,
    failure: Failure,
    connection: Mutex<Option<Connection>>,
) {
    let site = site_of(&active.job, host.key());
    let throttle = &site.dialect.throttle;
    let verdict = judge(
        &failure,
        task.tries,
        task.is_page,
        &runner.context.network,
        throttle,
        host,
    );
    if throttle.by_account {
        runner.hold_site(site, host);
    }
    // Where the job pauses it is kept until that is known everywhere: the page is back in the queue before.
    let _kept = matches!(verdict, Verdict::JobWaits).then_some(connection);
    let what = if task.is_page { "page" } else { "file" };
    if let Some(error) = failure.store {
        if error.trouble().is_some() {
            runner.put_back(task.lease).await;
        }
        runner.stumble(error).await;
        return;
    }
    if let Some(trouble) = failure.trouble {
        // Nobody's fault: the task goes back untried, and the run is held.
        runner.put_back(task.lease).await;
        runner.hold(trouble, failure.message).await;
        return;
    }
    if failure.class == Class::Poison {
        crashed(runner, active, task.lease, failure.message).await;
        return;
    }
    match failure.machine {
        Some(Machine::Crowded) => runner.crowded().await,
        Some(Machine::BrokenDisk) => runner.disk_failed(&failure.message).await,
        None => {}
    }
    match &verdict {
        Verdict::Again { wait, .. } => {
            let left = host.held().map(|hold| {
                hold.until
                    .saturating_duration_since(tokio::time::Instant::now())
            });
            let wait = left.map_or(*wait, |left| {
                i64::try_from(left.as_millis()).unwrap_or(i64::MAX)
            });
            tracing::info!(
                job.name = %active.job.name, class = %failure.class, wait_ms = wait,
                "Could not get a {what} of `{}`, trying again in {}: {}",
                active.job.name, duration(wait), failure.message
            );
        }
        // Without a page the walk is not whole: somebody must look.
        Verdict::Failed if task.is_page => tracing::error!(
            job.name = %active.job.name, class = %failure.class,
            "Gave up a {what} of `{}`: {}", active.job.name, failure.message
        ),
        Verdict::Failed => tracing::warn!(
            job.name = %active.job.name, class = %failure.class,
            "Gave up a {what} of `{}`: {}", active.job.name, failure.message
        ),
        Verdict::JobWaits => {}
    }
    if host.held().is_some() {
        // For `status` in other processes, and for the next one.
        runner.keep_hosts().await;
    }
    let pauses = matches!(verdict, Verdict::JobWaits);
    let Failure {
        class,
        message,
        url,
        ..
    } = failure;
    let lease = task.lease;
    let why = Why {
        class,
        message: message.clone(),
        url,
    };
    let recorded = runner
        .context
        .store
        .write("record a failure", move |group| {
            group.fail(&lease, &why, &verdict)
        })
        .await;
    match recorded {
        Err(error) => runner.stumble(error).await,
        Ok(_) if pauses => runner.pause(active, class.word(), &message),
        Ok(moved) => {
            if let Some(key) = moved.and_then(|host| host.parse().ok()) {
                runner.open_lane(&key, site_of(&active.job, &key));
            }
            runner.wake_all();
        }
    }
}

impl Runner {
    /// Puts a task back as it was.
    async fn put_back(&self, lease: store::Lease) {
        let back = move |group: &mut store::Group<'_>| group.release(&[lease]);
        if let Err(error) = self.context.store.write("put back a task", back).await {
            // Then its claim runs out.
            tracing::debug!(%error, "Could not put a task back");
        }
    }

    fn forget_lane(&self, key: &HostKey) {
        self.lanes
            .lock()
            .expect("nobody panics with it")
            .remove(key);
    }

    /// Stops the walk of a job that has reached a limit of its own; what it has found is still fetched, unless the limit
    /// is one of bytes. `walks_on`: another page of the listing is in the queue.
    async fn check_limits(&self, active: &Active, walks_on: bool) -> Result<(), Failure> {
        let (job, now) = (&active.job, self.context.store.counts(active.run));
        let passed = |limit: Option<u64>, done: i64| {
            limit.filter(|limit| u64::try_from(done).is_ok_and(|done| done >= *limit))
        };
        let message = |word: &str, limit: u64| {
            format!("reached `{word}` = {limit}; the next run goes on from here")
        };
        let reached = passed(job.max_bytes, now.bytes - active.before.bytes);
        if let Some(limit) = reached.filter(|_| !now.is_finished() && !active.is_over()) {
            let paused = self
                .pause_and_keep(active, Class::Limit.word(), message("max_bytes", limit))
                .await;
            return Ok(paused?);
        }
        let pages = i64::try_from(active.walked.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let listed = i64::try_from(active.listed.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let walked = passed(job.max_pages, pages)
            .map(|limit| message("max_pages", limit))
            .or_else(|| passed(job.max_items, listed).map(|limit| message("max_items", limit)));
        if let Some(message) = walked.filter(|_| walks_on) {
            active
                .walked_enough
                .lock()
                .expect("nobody panics with it")
                .get_or_insert(message);
            self.ended.notify_one();
        }
        Ok(())
    }
}
