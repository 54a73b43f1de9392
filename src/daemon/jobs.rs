//! The runs of a daemon: begun when they are due, stopped when their window closes, and told of when they have ended.

use std::sync::Arc;

use serde_json::json;
use tokio::{sync::Notify, task::JoinError};
use tokio_util::sync::CancellationToken;

use super::{
    Daemon, Error, Running,
    schedule::{self, Plan, is_full, plan},
};
use crate::{
    clock::Millis,
    config::{Event, Job},
    run::{Ended, Patience, Runner, walks},
    store,
    text::count,
};

/// Jobs of one site that run side by side: more would only share its rate.
const OF_ONE_SITE: usize = 4;
/// How long a job waits that could not be begun, or whose run the machine has broken off.
const AGAIN: Millis = 30_000;

impl Daemon {
    /// Ends runs whose windows have closed.
    pub(super) fn close_windows(&self) {
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
    pub(super) async fn reap(&mut self) -> Result<(), Error> {
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
    pub(super) async fn take_leave(
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
    pub(super) async fn begin_what_is_due(&mut self) -> Result<(), Error> {
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
}

/// Says that a run has ended when it is dropped.
struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
