//! One request per period: governor's limiter on tokio's clock.
//!
//! governor cannot change its rate, so a change makes a new limiter that is told of the last request; its own clock
//! does not follow tokio's, so it reads one that is set before each question.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

/// Nanoseconds since the host was made.
#[derive(Debug, Clone, Default)]
struct Ticks(Arc<AtomicU64>);

impl Ticks {
    fn set(&self, since: Duration) {
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Lets one request through per period, without bursts.
#[derive(Debug)]
pub(super) struct Limiter {
    origin: Instant,
    ticks: Ticks,
    inner: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>,
}

impl Limiter {
    /// `last` is when the host was asked last: it counts against the new rate. `origin` must not be after it.
    ///
    /// `None` when `period` is zero: there is nothing to limit.
    pub(super) fn new(origin: Instant, period: Duration, last: Option<Instant>) -> Option<Self> {
        // `per_second(5)` would mean a burst of 5.
        let quota = Quota::with_period(period)?.allow_burst(std::num::NonZeroU32::MIN);
        let ticks = Ticks::default();
        ticks.set(last.unwrap_or_else(Instant::now).duration_since(origin));
        let inner = RateLimiter::direct_with_clock(quota, ticks.clone());
        if last.is_some() {
            // The first request of a new limiter always passes; this one is the `last`.
            let _ = inner.check();
        }
        Some(Self {
            origin,
            ticks,
            inner,
        })
    }

    /// Takes the turn that is due, or says how long until it is.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        self.ticks.set(now.duration_since(self.origin));
        self.inner
            .check()
            .map_err(|not_until| not_until.wait_time_from(self.ticks.now()))
    }
}
