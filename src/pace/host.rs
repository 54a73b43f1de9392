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
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use super::{HostKey, LONGEST_HOLD, limiter::Limiter};
use crate::config::{Limits, Rate};

/// The longest wait that throttling without a Retry-After doubles to.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// The same for throttling said in words, as bilibili does: such a site means it.
const LONGEST_IN_WORDS: Duration = Duration::from_secs(6 * 60 * 60);
/// How much longer than the back-off a site is left alone that throttles in words.
const IN_WORDS: u32 = 60;
/// Refusals (403) in a row from which on a host is asked more slowly: nobody counts on the next one being let in.
const MANY_REFUSALS: u32 = 5;
/// Requests in a row that did not reach a host before it is taken to be gone for this run.
pub(super) const GONE_AFTER: u32 = 10;
/// A probe that nobody has told the end of by then is forgotten.
const PROBE: Duration = Duration::from_secs(60);
/// Throttling never slows a host below this share of its rate.
const LEAST_SHARE: f64 = 1.0 / 64.0;
/// What a good reply gives back: after one halving, the full rate returns with 25 good replies.
const REGAINED: f64 = 0.02;

/// What is said of a host in its quiet time.
pub const QUIET: &str = "has its quiet time";

/// Why a host is not asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// It sent Retry-After.
    RetryAfter,
    /// It throttles without saying for how long.
    Throttled,
    /// It cannot be reached.
    Failing,
    /// Its dialect says that it is to be left alone at this time.
    Quiet,
    /// It refuses one request after another.
    Refusing,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetryAfter => "asked to wait",
            Self::Throttled => "is throttling",
            Self::Failing => "does not answer",
            Self::Quiet => QUIET,
            Self::Refusing => "refuses one file after another",
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
    /// Told when a probe has come to its end.
    probed: Notify,
    permits: Arc<Semaphore>,
    /// Permits in use that a lower limit takes away when they come back.
    surplus: Arc<AtomicUsize>,
    requests: AtomicU64,
    throttled: AtomicU64,
    /// What of these was told already.
    told: Mutex<HostCounts>,
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
    /// Requests in a row that did not reach the host, those during a hold not counted.
    unreached: u32,
    /// Until when the one request that may find out whether the host is back is waited for.
    probe: Option<Instant>,
    /// Refusals in a row.
    refused: u32,
    /// Whether the next limits replace these.
    outdated: bool,
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
            unreached: 0,
            probe: None,
            refused: 0,
            outdated: false,
        };
        let origin = Instant::now();
        state.renew_limiter(origin);
        Self {
            key,
            origin,
            state: Mutex::new(state),
            turnstile: tokio::sync::Mutex::new(()),
            probed: Notify::new(),
            permits: Arc::new(Semaphore::new(limits.connections as usize)),
            surplus: Arc::new(AtomicUsize::new(0)),
            requests: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// What was counted since this was last asked.
    pub fn fresh_counts(&self) -> HostCounts {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.counts();
        let before = std::mem::replace(&mut *told, now);
        HostCounts {
            requests: now.requests - before.requests,
            throttled: now.throttled - before.throttled,
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
                // Registered before the state is looked at, so that no probe ends unseen.
                let probed = self.probed.notified();
                if let Some(hold) = self.held() {
                    sleep_until(hold.until).await;
                    continue;
                }
                let probe = self.state().probe.filter(|until| *until > Instant::now());
                if let Some(until) = probe {
                    // Whichever ends first, the state is looked at again.
                    tokio::select! {
                        () = probed => {}
                        () = sleep_until(until) => {}
                    }
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
        if matches!(reason, HoldReason::RetryAfter | HoldReason::Throttled) {
            self.throttled.fetch_add(1, Ordering::Relaxed);
            self.answered();
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
        let wait = |streak| doubled(backoff, streak).min(LONGEST_BACKOFF);
        self.slow_down(wait, status)
    }

    /// The same for throttling that stands in the body of a reply: a minute of back-offs of one second, doubling to 6 h.
    pub fn throttled_in_words(&self, backoff: Duration, status: Option<u16>) -> Duration {
        let backoff = backoff.saturating_mul(IN_WORDS);
        let wait = |streak| doubled(backoff, streak).min(LONGEST_IN_WORDS);
        self.slow_down(wait, status)
    }

    /// As [`Self::throttled`], with the waits that are known of this site; the last of them is repeated.
    pub fn throttled_by(&self, waits: &[Duration], status: Option<u16>) -> Duration {
        let last = waits.len().saturating_sub(1);
        let wait = |streak: u32| waits.get(last.min(streak as usize)).copied();
        self.slow_down(|streak| wait(streak).unwrap_or_default(), status)
    }

    /// Waits along with another host of the same account, and counts on from where that one is: the account is what is
    /// held back, whichever of them says so next.
    pub fn share(&self, other: &Self) {
        let (hold, streak) = (other.held(), other.streak());
        let Some(hold) = hold else { return };
        let mut state = self.state();
        state.streak = state.streak.max(streak);
        if state.hold.is_none_or(|own| own.until < hold.until) {
            state.hold = Some(hold);
        }
    }

    /// Throttling replies in a row.
    pub fn streak(&self) -> u32 {
        self.state().streak
    }

    /// Goes on counting where an earlier process stopped.
    pub fn set_streak(&self, streak: u32) {
        self.state().streak = streak;
    }

    fn slow_down(&self, wait: impl Fn(u32) -> Duration, status: Option<u16>) -> Duration {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        self.answered();
        let mut state = self.state();
        let now = Instant::now();
        if let Some(hold) = state.held(now) {
            return hold.until - now;
        }
        let wait = wait(state.streak);
        state.streak = state.streak.saturating_add(1);
        let half = (state.share / 2.0).max(LEAST_SHARE);
        state.set_share(self.origin, half);
        state.extend_hold(wait, HoldReason::Throttled, status);
        state.held(now).map_or(wait, |hold| hold.until - now)
    }

    /// A request that did not reach the host: holds it for `backoff`, doubling to 5 min while it goes on, and lets one
    /// request through after each hold to find out whether it is back. Returns false once the host is taken to be gone:
    /// then there is no hold any more, and no use in trying again.
    ///
    /// Requests that fail during a hold were made before it, and change nothing.
    pub fn unreached(&self, backoff: Duration) -> bool {
        let mut state = self.state();
        let held = state.held(Instant::now()).is_some();
        if !held {
            state.unreached = state.unreached.saturating_add(1);
        }
        state.probe = None;
        let gone = state.unreached > GONE_AFTER;
        if !held && !gone {
            let wait = doubled(backoff, state.unreached - 1).min(LONGEST_BACKOFF);
            state.extend_hold(wait, HoldReason::Failing, None);
        }
        drop(state);
        self.probed.notify_waiters();
        !gone
    }

    /// A file that the host refuses to hand out (403). From the fifth in a row on each holds the host for `backoff`,
    /// doubling to 5 min. Returns whether it does.
    pub fn refused(&self, backoff: Duration) -> bool {
        self.answered();
        let mut state = self.state();
        state.refused = state.refused.saturating_add(1);
        let Some(more) = state.refused.checked_sub(MANY_REFUSALS) else {
            return false;
        };
        if state.held(Instant::now()).is_none() {
            let wait = doubled(backoff, more).min(LONGEST_BACKOFF);
            state.extend_hold(wait, HoldReason::Refusing, Some(403));
        }
        true
    }

    /// Any reply but a refusal: the host is there.
    pub fn answered(&self) {
        let mut state = self.state();
        let probed = state.unreached > 0;
        (state.unreached, state.probe) = (0, None);
        drop(state);
        if probed {
            self.probed.notify_waiters();
        }
    }

    /// A good reply: ends a row of throttling ones and gives back a little of the rate.
    pub fn ok(&self) {
        self.answered();
        let mut state = self.state();
        if state.share >= 1.0 && state.streak == 0 || state.held(Instant::now()).is_some() {
            return;
        }
        state.streak = 0;
        let more = (state.share + REGAINED).min(1.0);
        state.set_share(self.origin, more);
    }

    /// A file that came: a good reply, and the end of a row of refusals. A page that comes says nothing about files.
    pub fn served(&self) {
        self.state().refused = 0;
        self.ok();
    }

    /// What has been asked so far.
    pub fn counts(&self) -> HostCounts {
        HostCounts {
            requests: self.requests.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }

    /// The next limits replace the present ones.
    pub(super) fn renew(&self) {
        self.state().outdated = true;
    }

    /// Takes the stricter of the present limits and these, or these where the present ones are outdated.
    pub(super) fn restrict(&self, limits: Limits) {
        let mut state = self.state();
        if std::mem::take(&mut state.outdated) {
            state.limits.rate = limits.rate;
            state.renew_limiter(self.origin);
            let more = limits.connections.saturating_sub(state.limits.connections);
            for _ in 0..more {
                let fewer = |surplus: usize| surplus.checked_sub(1);
                let taken_back =
                    self.surplus
                        .fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
                if taken_back.is_err() {
                    self.permits.add_permits(1);
                }
            }
            state.limits.connections += more;
        }
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

    /// Whether nothing stands in the way: no rate, no hold, no doubt.
    fn free(&self) -> bool {
        let state = self.state();
        state.limiter.is_none() && state.unreached == 0 && state.held(Instant::now()).is_none()
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
        if (1..=GONE_AFTER).contains(&self.unreached) {
            self.probe = Some(now + PROBE);
        }
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

/// `backoff` after so many times in a row.
fn doubled(backoff: Duration, times: u32) -> Duration {
    backoff.saturating_mul(1 << times.min(16))
}

fn slower(one: Rate, other: Rate) -> Rate {
    match (one, other) {
        (Rate::Unlimited, rate) | (rate, Rate::Unlimited) => rate,
        (Rate::Every(one), Rate::Every(other)) => Rate::Every(one.max(other)),
    }
}
