//! What becomes of a request that did not succeed: who waits, for how long, and whether it is tried again.
//!
//! The one place that turns a failure into a verdict. [`Class`] knows what is worth trying again; this room adds what
//! the reply said about the host.

use std::time::Duration;

use crate::{
    archive,
    class::{Class, Remedy},
    config::Network,
    dialect::Throttle,
    disk::{self, Trouble},
    http,
    pace::{HoldReason, Host},
    store::{self, Verdict},
    text::one_line,
};

/// What can fail of this machine while everything else works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// This process has no descriptor left: nobody's fault.
    Crowded,
    /// The disk itself fails.
    BrokenDisk,
}

/// A request that did not succeed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The class.
    pub class: Class,
    /// What happened, for people; no secrets.
    pub message: String,
    /// The reply's status, if there was one.
    pub status: Option<u16>,
    /// What the reply asked for.
    pub retry_after: Option<Duration>,
    /// What was asked for, without secrets, where the queue does not know it.
    pub url: Option<String>,
    /// Whether the reply, whatever its status, means that the host wants to be left alone for a while.
    pub slow_down: bool,
    /// What keeps everything from being written: then it is nobody's fault, and no try of this task.
    pub trouble: Option<Trouble>,
    /// What the store said, where it was the store that refused.
    pub store: Option<store::Error>,
    /// What failed of this machine, where it was that.
    pub machine: Option<Machine>,
    /// Whether no connection to the host came about.
    pub unreached: bool,
    /// Whether the key of the request's signature may be an old one.
    pub stale_key: bool,
}

impl Failure {
    /// A failure that has nothing to do with the host.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: one_line(&message.into()),
            status: None,
            retry_after: None,
            url: None,
            slow_down: false,
            trouble: None,
            store: None,
            machine: None,
            unreached: false,
            stale_key: false,
        }
    }
}

impl Failure {
    /// Says which address it is about.
    #[must_use]
    pub fn about(self, url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            ..self
        }
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        let slow_down = matches!(error.status, Some(429 | 503 | 509 | 529));
        Self {
            class: error.class,
            message: error.message,
            status: error.status,
            retry_after: error.retry_after,
            url: None,
            slow_down,
            unreached: error.unreached,
            stale_key: false,
            trouble: None,
            store: None,
            // The one thing of this machine's that a request can want for.
            machine: (error.class == Class::Storage).then_some(Machine::Crowded),
        }
    }
}

impl From<archive::Error> for Failure {
    fn from(error: archive::Error) -> Self {
        let source = error.source_of_io();
        let too_large = source.is_some_and(disk::is_too_large);
        Self {
            trouble: error.trouble(),
            machine: match source {
                Some(source) if disk::is_crowded(source) => Some(Machine::Crowded),
                Some(source) if disk::is_broken(source) => Some(Machine::BrokenDisk),
                _ => None,
            },
            ..Self::new(
                if too_large {
                    Class::TooLarge
                } else {
                    Class::Storage
                },
                error.to_string(),
            )
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self {
            store: Some(error.clone()),
            ..Self::new(Class::Storage, error.to_string())
        }
    }
}

/// How long a task waits that no descriptor was left for.
const CROWDED: Duration = Duration::from_secs(1);

/// Decides what becomes of a task after `tries` earlier ones that counted, and makes the host wait if it asked to.
pub fn judge(
    failure: &Failure,
    tries: u32,
    is_page: bool,
    network: &Network,
    throttle: &Throttle,
    host: &Host,
) -> Verdict {
    if failure.machine == Some(Machine::Crowded) {
        host.fewer_connections();
        return Verdict::Again {
            wait: i64::try_from(CROWDED.as_millis()).unwrap_or(i64::MAX),
            counted: false,
        };
    }
    let Some(held) = hold(failure, is_page, network, throttle, host) else {
        return Verdict::Failed;
    };
    match failure.class.remedy() {
        // The host's hold is the wait; the try was not the task's fault.
        Remedy::Deferred => Verdict::Again {
            wait: 0,
            counted: false,
        },
        Remedy::Person if is_page => Verdict::JobWaits,
        Remedy::Transient | Remedy::Checksum | Remedy::Permanent | Remedy::Person => {
            match failure
                .class
                .next_try(tries + 1, network.tries, network.backoff)
            {
                Some(_) if held => Verdict::Again {
                    wait: 0,
                    counted: true,
                },
                Some(wait) => Verdict::Again {
                    wait: i64::try_from(wait.as_millis()).unwrap_or(i64::MAX),
                    counted: true,
                },
                None => Verdict::Failed,
            }
        }
    }
}

/// Makes the host wait where the failure says so; returns whether it waits, or `None` when it is not there at all.
fn hold(
    failure: &Failure,
    is_page: bool,
    network: &Network,
    throttle: &Throttle,
    host: &Host,
) -> Option<bool> {
    let (backoff, status) = (network.backoff, failure.status);
    if failure.unreached {
        return host.unreached(backoff).then_some(true);
    }
    let throttles = failure.class.remedy() == Remedy::Deferred;
    if let Some(wait) = failure.retry_after {
        host.hold(wait, HoldReason::RetryAfter, status);
    } else if (failure.slow_down || throttles) && !throttle.waits.is_empty() {
        host.throttled_by(&throttle.waits, status);
    } else if throttles && status.is_some_and(|status| (200..300).contains(&status)) {
        // A code in a reply that looks like a good one: such a site means it.
        host.throttled_in_words(backoff, status);
    } else if throttles || failure.slow_down {
        host.throttled(backoff, status);
    } else if status == Some(403) && !is_page {
        return Some(host.refused(backoff));
    } else {
        host.answered();
        return Some(false);
    }
    Some(true)
}
