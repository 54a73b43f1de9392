//! The time of day, handed in so that tests choose it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Unix time in milliseconds, as the database keeps it.
pub type Millis = i64;

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that a test turns.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the time comes from"
    )]
    pub fn now(&self) -> Millis {
        match self {
            Self::System => jiff::Timestamp::now().as_millisecond(),
            Self::Fixed(time) => time.load(Ordering::Relaxed),
        }
    }
}

/// `time` as RFC 3339 in UTC, whole seconds.
pub fn rfc3339(time: Millis) -> String {
    let time = jiff::Timestamp::from_millisecond(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let whole = jiff::Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}
