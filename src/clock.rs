//! The time of day, handed in so that tests choose it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

/// Unix time in milliseconds, as the database keeps it.
pub type Millis = i64;

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that a test turns; its local time is UTC.
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

    /// The day in local time.
    pub fn today(&self) -> Date {
        let now = Timestamp::from_millisecond(self.now()).unwrap_or(Timestamp::UNIX_EPOCH);
        now.to_zoned(self.zone()).date()
    }

    /// The zone of local time.
    pub fn zone(&self) -> TimeZone {
        match self {
            Self::System => TimeZone::system(),
            Self::Fixed(_) => TimeZone::UTC,
        }
    }
}

/// Whether `day` is over everywhere on earth: UTC-12, where days end last, has passed it.
pub fn is_over(day: Date, now: Millis) -> bool {
    let last = day
        .at(12, 0, 0, 0)
        .checked_add(1.day())
        .and_then(|noon| noon.to_zoned(TimeZone::UTC));
    last.is_ok_and(|last| last.timestamp().as_millisecond() <= now)
}

/// `time` as RFC 3339 in UTC, whole seconds.
pub fn rfc3339(time: Millis) -> String {
    let time = jiff::Timestamp::from_millisecond(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let whole = jiff::Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_over_when_its_last_time_zone_has_passed_it() {
        let day = date(2024, 2, 29);
        let at = |text: &str| {
            let time: Timestamp = text.parse().expect("a time");
            time.as_millisecond()
        };
        assert!(!is_over(day, at("2024-03-01T11:59:59.999Z")));
        assert!(is_over(day, at("2024-03-01T12:00:00Z")));
        let clock = Clock::Fixed(Arc::new(AtomicI64::new(at("2024-02-29T23:59:59Z"))));
        assert_eq!(clock.today(), day);
    }
}
