//! What keeps the whole archive from being written, and what a run makes of it.
//!
//! A full disk is no failure of any file: what was under way goes back into the queue untried, every job is held and says
//! why, and nothing more is claimed. A run that is to end then ends; a patient one looks again, and goes on at twice the
//! mark at which it stopped, so that it does not start and stop with each file.

use std::sync::{Arc, atomic::Ordering};

use super::{Runner, site_of, store};
use crate::disk::{Ballast, Short, Trouble};

/// Failures of the disk in a row, whichever files they met, after which the disk is to blame.
const FAILING: u32 = 3;
/// Times in a row that no descriptor was left for anything, after which there will not be one.
const CROWDED_OUT: u32 = 20;
/// How often a disk that refused writes is tried again, in looks.
const TRY_EVERY: u32 = 15;

/// What a run does when the archive cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Ends; the next one goes on.
    Ends,
    /// Waits until it can be written again.
    Waits,
}

impl Runner {
    /// Whether the archive cannot be written just now.
    pub(super) fn is_held(&self) -> bool {
        self.held().is_some()
    }

    /// What keeps the archive from being written just now.
    pub fn held(&self) -> Option<Trouble> {
        *self.hold.lock().expect("nobody panics with it")
    }

    /// Looks whether there is room, and whether what held the run is over.
    pub(super) async fn check_disk(self: &Arc<Self>, looks: u32) -> Result<(), store::Error> {
        let held = self.held();
        if matches!(held, Some(Trouble::ReadOnly | Trouble::Storage)) {
            if looks.is_multiple_of(TRY_EVERY) && self.can_write().await {
                self.go_on().await?;
            }
            return Ok(());
        }
        let times = if held.is_some() { 2 } else { 1 };
        match (self.short(times).await, held) {
            (Some(short), None) => self.hold(short.trouble, short.message).await,
            (None, Some(_)) => self.go_on().await?,
            _ => {}
        }
        Ok(())
    }

    /// What there is too little of, on the archive's disk or the database's.
    async fn short(&self, times: u64) -> Option<Short> {
        let (archive, min_free) = (self.context.archive.clone(), self.min_free);
        let state = self.context.store.path().parent()?.to_owned();
        let look = move || {
            archive
                .short_of_room(min_free, times)
                .or_else(|| Ballast::short(&state, archive.root(), times))
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    async fn can_write(&self) -> bool {
        let archive = self.context.archive.clone();
        let look = tokio::task::spawn_blocking(move || archive.try_to_write());
        look.await.is_ok_and(|tried| tried.is_ok())
    }

    /// Holds every job: nothing of the archive can be written.
    pub(super) async fn hold(&self, trouble: Trouble, message: String) {
        if self
            .hold
            .lock()
            .expect("nobody panics with it")
            .replace(trouble)
            .is_some()
        {
            return;
        }
        self.context.store.say(Some(trouble));
        for active in self.jobs.values().filter(|active| !active.is_over()) {
            let (id, words) = (active.id, message.clone());
            let keep = move |group: &mut store::Group<'_>| group.pause(id, trouble.word(), &words);
            // The lock says it too, where not even this can be written.
            if let Err(error) = self.context.store.write("hold a job", keep).await {
                tracing::warn!(%error, "Could not note why the job waits");
            }
            match self.patience {
                Patience::Ends => self.pause(active, trouble.word(), &message),
                Patience::Waits => tracing::error!(
                    job.name = %active.job.name, reason = trouble.word(),
                    "The job `{}` waits: {message}", active.job.name
                ),
            }
        }
    }

    /// Lets every job go on.
    async fn go_on(self: &Arc<Self>) -> Result<(), store::Error> {
        let jobs: Vec<_> = self.claimable_when_free().0;
        let hosts = self
            .context
            .store
            .write("let the jobs go on", move |group| {
                for job in &jobs {
                    group.resume(*job)?;
                }
                group.hosts_of(&jobs)
            })
            .await?;
        *self.hold.lock().expect("nobody panics with it") = None;
        self.disk_works();
        self.context.store.say(None);
        tracing::info!("The archive can be written again: going on");
        for (job, host) in hosts {
            if let (Some(active), Ok(key)) = (self.jobs.get(&job), host.parse()) {
                self.open_lane(&key, site_of(&active.job, &key));
            }
        }
        self.wake_all();
        Ok(())
    }

    /// What becomes of a run that the store refuses: a trouble holds it, anything else ends it.
    pub(super) async fn stumble(&self, error: store::Error) {
        match error.trouble() {
            Some(trouble) => self.hold(trouble, error.to_string()).await,
            None => self.break_off(error),
        }
    }

    /// The disk has failed one file.
    pub(super) async fn disk_failed(&self, message: &str) {
        if self.failing.fetch_add(1, Ordering::Relaxed) + 1 >= FAILING {
            let message = format!("the disk failed {FAILING} times in a row: {message}");
            self.hold(Trouble::Storage, message).await;
        }
    }

    /// No descriptor was left for a task.
    pub(super) async fn crowded(&self) {
        if self.crowded.fetch_add(1, Ordering::Relaxed) + 1 >= CROWDED_OUT {
            let message =
                "this process may open too few files at once; raise the limit (`ulimit -n`)";
            self.hold(Trouble::Storage, message.to_owned()).await;
        }
    }

    /// Something was stored: whatever failed before was no matter of the disk.
    pub(super) fn disk_works(&self) {
        self.failing.store(0, Ordering::Relaxed);
        self.crowded.store(0, Ordering::Relaxed);
    }
}
