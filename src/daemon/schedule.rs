//! When a job is run next: its `every` or `cron`, its window, and what its last run has left.
//!
//! Pure: the time and the zone are handed in, and the answer is the same for the daemon, which acts on it, and for
//! `status`, which tells it. **Invariant:** due times follow from the start of the last run, which the database keeps, so
//! they survive a restart, and a start that was missed is made up for once.

use std::time::Duration;

use croner::Cron;
use jiff::{Timestamp, Zoned, civil::Time, tz::TimeZone};

use crate::{
    clock::Millis,
    config::{Job, Schedule},
    disk::Trouble,
    store::{BY_USER, Standing},
};

/// The part of a period that starts are spread over, so that not every job begins at once.
const SPREAD: i64 = 20;
/// They are never spread over more.
const MOST_SPREAD: Millis = 5 * 60 * 1000;

/// What is to be done with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is due and its window is open.
    Run,
    /// It is run at this time.
    At {
        /// When.
        time: Millis,
        /// Whether it is due already and waits for its window.
        window: bool,
    },
    /// It waits for a person.
    Paused,
    /// Only `larder run`, or a request, begins it.
    ByHand,
}

/// The time of day in which decisions are made.
#[derive(Debug, Clone)]
pub struct Now {
    /// The time.
    pub time: Millis,
    /// The zone of local time.
    pub zone: TimeZone,
    /// Since when the daemon knows the job: a first run by `cron` comes after it.
    pub since: Millis,
}

/// What is to be done with `job`. `tried` is when this daemon began it last.
pub fn plan(job: &Job, standing: Option<&Standing>, tried: Option<Millis>, now: &Now) -> Plan {
    if !job.enabled {
        return Plan::ByHand;
    }
    let paused = standing.and_then(|standing| standing.paused.as_deref());
    let started = standing.and_then(|standing| standing.started);
    let due = match paused {
        // The limit is one of a run: the next one goes on.
        Some("limit") => next(job, started.max(tried), now),
        // Of the disk: a run that begins looks for itself.
        Some(reason) if Trouble::ALL.iter().any(|t| t.word() == reason) => Some(now.time),
        Some(_) => return Plan::Paused,
        None if standing.is_some_and(|standing| standing.unfinished) => Some(now.time),
        // What was added by hand is to be had once.
        None if started.is_none() && job.added => Some(now.time),
        None => next(job, started, now),
    };
    let Some(due) = due else {
        return Plan::ByHand;
    };
    let Some(window) = job.window else {
        return if due <= now.time {
            Plan::Run
        } else {
            Plan::At {
                time: due,
                window: false,
            }
        };
    };
    let at = due.max(now.time);
    match (is_open(window, at, &now.zone), due <= now.time) {
        (true, true) => Plan::Run,
        (true, false) => Plan::At {
            time: due,
            window: false,
        },
        (false, window_only) => Plan::At {
            time: opening(window, at, &now.zone),
            window: window_only,
        },
    }
}

/// Whether the next run of a job walks everything again.
pub fn is_full(job: &Job, standing: Option<&Standing>, now: Millis) -> bool {
    let Some(standing) = standing else {
        return false;
    };
    if standing.unfinished {
        return standing.full;
    }
    let last = standing.walked_all;
    job.full_every
        .is_some_and(|every| last.is_some_and(|last| last.saturating_add(millis(every)) <= now))
}

/// Whether somebody holds the job.
pub fn is_held(standing: &Standing) -> bool {
    standing.paused.as_deref() == Some(BY_USER)
}

/// Whether the window is open at this time.
pub fn is_open((from, to): (Time, Time), at: Millis, zone: &TimeZone) -> bool {
    let time = local(at, zone).time();
    if from < to {
        from <= time && time < to
    } else {
        time >= from || time < to
    }
}

/// When the window opens next after a time at which it is closed.
fn opening((from, _): (Time, Time), at: Millis, zone: &TimeZone) -> Millis {
    let now = local(at, zone);
    let on = |date: jiff::civil::Date| date.to_datetime(from).to_zoned(zone.clone()).ok();
    let today = on(now.date()).filter(|time| *time > now);
    let next = today.or_else(|| on(now.date().tomorrow().ok()?));
    next.map_or(at, |time| time.timestamp().as_millisecond())
}

/// When a job is due; `None` for one without a schedule.
fn next(job: &Job, started: Option<Millis>, now: &Now) -> Option<Millis> {
    // A start that lies in the future was made by a clock that was wrong.
    let started = started.map(|started| started.min(now.time));
    match &job.schedule {
        Schedule::Manual => None,
        Schedule::Every(every) => {
            let Some(started) = started else {
                return Some(now.since.min(now.time));
            };
            let every = millis(*every);
            Some(started.saturating_add(every + jitter(&job.name, every)))
        }
        Schedule::Cron(cron) => {
            let cron: Cron = cron.parse().expect("checked by the configuration");
            let after = local(started.unwrap_or(now.since.min(now.time)), &now.zone);
            // A run that began with its jitter began after the time that it was due at; that one is not met again.
            let due = cron.find_next_occurrence(&after, false).ok()?;
            let later = cron.find_next_occurrence(&due, false).ok();
            let gap = later.map_or(0, |later| at(&later) - at(&due));
            Some(at(&due) + jitter(&job.name, gap))
        }
    }
}

/// A wait of its own for each job, the same each time.
fn jitter(name: &str, period: Millis) -> Millis {
    let most = (period / SPREAD).clamp(0, MOST_SPREAD);
    // FNV-1a, 64 bits: the same in every version of larder.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The upper bits are mixed better.
    ((hash >> 16) % (most.unsigned_abs() + 1)).cast_signed()
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX / 4)
}

fn local(time: Millis, zone: &TimeZone) -> Zoned {
    let time = Timestamp::from_millisecond(time).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(zone.clone())
}

fn at(time: &Zoned) -> Millis {
    time.timestamp().as_millisecond()
}

#[cfg(test)]
mod tests;
