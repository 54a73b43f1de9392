//! What a daemon at work makes of each job: when it runs next, and which ones wait for their windows.

use super::{JobStatus, State};
use crate::{
    clock::{Clock, Millis},
    config::Job,
    daemon::schedule::{Now, Plan, plan},
    store::Standing,
};

/// Adds when the daemon runs this job next, decided as it decides.
pub(super) fn with_next(
    mut job: JobStatus,
    configured: Option<&Job>,
    clock: &Clock,
    now: Millis,
) -> JobStatus {
    let Some(configured) = configured else {
        return job;
    };
    let last = job.last.as_ref();
    let standing = Standing {
        name: job.name.clone(),
        paused: job.reason.clone().filter(|_| job.state == State::Paused),
        started: last.map(|(started, ..)| *started),
        unfinished: last.is_some_and(|(_, ended, _)| ended.is_none()),
        ..Standing::default()
    };
    let now = Now {
        time: now,
        zone: clock.zone(),
        since: now,
    };
    match plan(configured, Some(&standing), None, &now) {
        Plan::At { time, window } => {
            job.next = Some(time);
            if window && job.state != State::Paused {
                job.state = State::Waiting;
                job.reason = Some("window".to_owned());
                job.until = Some(time);
                job.message = Some("its window opens then".to_owned());
            }
        }
        // It is about to begin, or waits for other jobs of its site.
        Plan::Run if matches!(job.state, State::Idle | State::Done | State::Failed) => {
            job.state = State::Queued;
            job.reason = None;
        }
        Plan::Run | Plan::Paused | Plan::ByHand => {}
    }
    job
}
