//! One host: its turns, its connections and its holds.
//!
//! **Invariant:** at most one waiter stands at the limiter; the others queue, in order, at the turnstile before it.
//! A hold only ever grows, so whoever sleeps through one looks again and misses nothing.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use super::{HostKey, LONGEST_HOLD, limiter::Limiter};
use crate::config::{Limits, Rate};

/// The longest wait that throttling without a Retry-After doubles to.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// Throttling never slows a host below this share of its rate.
const LEAST_SHARE: f64 = 1.0 / 64.0;
/// What a good reply gives back: after one halving, the full rate returns with 25 good replies.
const REGAINED: f64 = 0.02;

/// Why a host is not asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// It sent Retry-After.
    RetryAfter,
    /// It throttles without saying for how long.
    Throttled,
    /// It cannot be reached or answers with errors.
    Failing,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetryAfter => "asked to wait",
            Self::Throttled => "is throttling",
            Self::Failing => "does not answer",
        })
    }
}

/// A time in which a host is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// When it ends.
    pub until: Instant,
    /// Why.
    pub reason: HoldReason,
    /// The reply that caused it, if it was one.
    pub status: Option<u16>,
}

/// What has been asked of a host since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostCounts {
    /// Turns taken.
    pub requests: u64,
    /// Replies that throttled, with Retry-After or without.
    pub throttled: u64,
}

/// One host and everything about its pace.
#[derive(Debug)]
pub struct Host {
    key: HostKey,
    origin: Instant,
    state: Mutex<State>,
    turnstile: tokio::sync::Mutex<()>,
    permits: Arc<Semaphore>,
    /// Permits in use that a lower limit takes away when they come back.
    surplus: Arc<AtomicUsize>,
    requests: AtomicU64,
    throttled: AtomicU64,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    /// The share of the rate that throttling has left, 1 for all of it.
    share: f64,
    limiter: Option<Limiter>,
    last: Option<Instant>,
    hold: Option<Hold>,
    /// Throttling replies in a row, those during a hold not counted.
    streak: u32,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub struct Connection {
    permit: Option<OwnedSemaphorePermit>,
    surplus: Arc<AtomicUsize>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let fewer = |surplus: usize| surplus.checked_sub(1);
        if self
            .surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer)
            .is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Host {
    pub(super) fn new(key: HostKey, limits: Limits) -> Self {
        let limits = Limits {
            connections: limits.connections.max(1),
            ..limits
        };
        let mut state = State {
            limits,
            share: 1.0,
            limiter: None,
            last: None,
            hold: None,
            streak: 0,
        };
        let origin = Instant::now();
        state.renew_limiter(origin);
        Self {
            key,
            origin,
            state: Mutex::new(state),
            turnstile: tokio::sync::Mutex::new(()),
            permits: Arc::new(Semaphore::new(limits.connections as usize)),
            surplus: Arc::new(AtomicUsize::new(0)),
            requests: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        }
    }

    /// Its name.
    pub fn key(&self) -> &HostKey {
        &self.key
    }

    /// Waits for one of the host's connections; first come, first served.
    pub async fn connection(&self) -> Connection {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        Connection {
            permit: permit.ok(),
            surplus: Arc::clone(&self.surplus),
        }
    }

    /// Connections that nobody uses now.
    pub fn idle_connections(&self) -> usize {
        self.permits.available_permits()
    }

    /// Returns when this host may be asked one more request, and counts it.
    ///
    /// Waits out a hold, then the rate. Dropping the future gives up the place in the queue and nothing else.
    pub async fn turn(&self) {
        if !self.free() {
            let _turnstile = self.turnstile.lock().await;
            loop {
                if let Some(hold) = self.held() {
                    sleep_until(hold.until).await;
                    continue;
                }
                let taken = self.state().take(Instant::now());
                match taken {
                    Ok(()) => break,
                    Err(wait) => sleep(wait).await,
                }
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops the whole host. The longer of this hold and one under way wins.
    ///
    /// Up to a tenth is added to `wait`, so that not everybody comes back at once; 24 h is the most.
    pub fn hold(&self, wait: Duration, reason: HoldReason, status: Option<u16>) {
        if reason != HoldReason::Failing {
            self.throttled.fetch_add(1, Ordering::Relaxed);
        }
        self.state().extend_hold(wait, reason, status);
    }

    /// The hold under way.
    pub fn held(&self) -> Option<Hold> {
        self.state().held(Instant::now())
    }

    /// A reply that throttles without Retry-After: halves the rate and holds the host for `backoff`, doubling to 5 min
    /// while it goes on. Returns the wait.
    ///
    /// Replies that come in during a hold were asked for before it: they are counted and change nothing.
    pub fn throttled(&self, backoff: Duration, status: Option<u16>) -> Duration {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let now = Instant::now();
        if let Some(hold) = state.held(now) {
            return hold.until - now;
        }
        let wait = backoff
            .saturating_mul(1 << state.streak.min(16))
            .min(LONGEST_BACKOFF);
        state.streak = state.streak.saturating_add(1);
        let half = (state.share / 2.0).max(LEAST_SHARE);
        state.set_share(self.origin, half);
        state.extend_hold(wait, HoldReason::Throttled, status);
        state.held(now).map_or(wait, |hold| hold.until - now)
    }

    /// A good reply: ends a row of throttling ones and gives back a little of the rate.
    pub fn ok(&self) {
        let mut state = self.state();
        if state.share >= 1.0 && state.streak == 0 || state.held(Instant::now()).is_some() {
            return;
        }
        state.streak = 0;
        let more = (state.share + REGAINED).min(1.0);
        state.set_share(self.origin, more);
    }

    /// What has been asked so far.
    pub fn counts(&self) -> HostCounts {
        HostCounts {
            requests: self.requests.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }

    /// Takes the stricter of the present limits and these.
    pub(super) fn restrict(&self, limits: Limits) {
        let mut state = self.state();
        let rate = slower(state.limits.rate, limits.rate);
        if rate != state.limits.rate {
            state.limits.rate = rate;
            state.renew_limiter(self.origin);
        }
        let fewer = limits.connections.clamp(1, state.limits.connections);
        let gone = (state.limits.connections - fewer) as usize;
        state.limits.connections = fewer;
        if gone > 0 {
            let taken = self.permits.forget_permits(gone);
            self.surplus.fetch_add(gone - taken, Ordering::AcqRel);
        }
    }

    /// One connection fewer from now on, for this machine has no descriptor left; the last one stays.
    pub fn fewer_connections(&self) {
        let limits = self.state().limits;
        self.restrict(Limits {
            rate: Rate::Unlimited,
            connections: limits.connections.saturating_sub(1),
        });
    }

    /// Whether nothing stands in the way: no rate, no hold.
    fn free(&self) -> bool {
        let state = self.state();
        state.limiter.is_none() && state.held(Instant::now()).is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self, now: Instant) -> Option<Hold> {
        self.hold.filter(|hold| hold.until > now)
    }

    fn extend_hold(&mut self, wait: Duration, reason: HoldReason, status: Option<u16>) {
        let wait = wait.min(LONGEST_HOLD);
        let until = Instant::now() + wait.mul_f64(1.0 + fastrand::f64() / 10.0).min(LONGEST_HOLD);
        if self.hold.is_none_or(|hold| hold.until < until) {
            self.hold = Some(Hold {
                until,
                reason,
                status,
            });
        }
    }

    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(limiter) = &self.limiter {
            // Up to a tenth more, so that the requests do not tick like a clock.
            let jitter = self.period().mul_f64(fastrand::f64() / 10.0);
            limiter.take(now).map_err(|wait| wait + jitter)?;
        }
        self.last = Some(now);
        Ok(())
    }

    fn period(&self) -> Duration {
        match self.limits.rate {
            Rate::Unlimited => Duration::ZERO,
            Rate::Every(period) => period.min(LONGEST_HOLD).div_f64(self.share),
        }
    }

    fn set_share(&mut self, origin: Instant, share: f64) {
        if share != self.share {
            self.share = share;
            self.renew_limiter(origin);
        }
    }

    fn renew_limiter(&mut self, origin: Instant) {
        self.limiter = Limiter::new(origin, self.period(), self.last);
    }
}

fn slower(one: Rate, other: Rate) -> Rate {
    match (one, other) {
        (Rate::Unlimited, rate) | (rate, Rate::Unlimited) => rate,
        (Rate::Every(one), Rate::Every(other)) => Rate::Every(one.max(other)),
    }
}
