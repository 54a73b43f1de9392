//! When the daemon runs a job: `every`, `cron` and `window`.
//!
//! Promises that a cron expression parses and comes true some day, and that a window has an inside and an outside.

use std::str::FromStr as _;

use croner::Cron;
use jiff::civil::{Time, date};

use super::{Schedule, reader::Table, units};

/// `every` or `cron` of a job.
pub(super) fn schedule(table: &Table<'_>) -> Schedule {
    let (every, cron) = (table.get("every"), table.get("cron"));
    if let (Some(_), Some(cron)) = (&every, &cron) {
        cron.error("`every` and `cron` exclude each other; keep one of them");
    }
    let every = every
        .and_then(|node| node.parsed(units::parse_duration))
        .map(Schedule::Every);
    let cron = cron
        .and_then(|node| node.parsed(checked_cron))
        .map(Schedule::Cron);
    every.or(cron).unwrap_or(Schedule::Manual)
}

/// Accepts a cron expression that comes true some day.
fn checked_cron(text: &str) -> Result<String, String> {
    const HINT: &str = "write minute, hour, day, month and weekday, like `0 3 * * *`";
    let cron = Cron::from_str(text).map_err(|error| {
        let error = error.to_string().to_lowercase();
        format!(
            "`{text}` is not a cron expression: {}; {HINT}",
            error.trim_end_matches('.')
        )
    })?;
    // Any start will do: what does not happen after this day never does.
    match cron.find_next_occurrence(&date(2024, 1, 1).at(0, 0, 0, 0), true) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{text}` never comes true; {HINT}")),
    }
}

/// Reads `23:00-07:30` as two different times of the day.
pub(super) fn window(text: &str) -> Result<(Time, Time), String> {
    let time = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
        let valid = digits(hour) && digits(minute);
        valid.then(|| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok())?
    };
    let times = text
        .split_once('-')
        .and_then(|(from, to)| Some((time(from)?, time(to)?)));
    match times {
        Some((from, to)) if from == to => Err(format!(
            "`{text}` begins and ends at one time; leave `window` out to run at any time, or write it like `23:00-07:30`"
        )),
        Some(times) => Ok(times),
        None => Err(format!(
            "`{text}` is not a window; write two local times, like `23:00-07:30`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_checked() {
        assert!(checked_cron("0 3 * * *").is_ok());
        for text in ["", "0 3 * *", "61 * * * *", "soon", "0 0 30 2 *"] {
            let error = checked_cron(text).expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("`0 3 * * *`"),
                "{error}"
            );
        }
    }

    #[test]
    fn windows_are_two_different_times() {
        let night = (
            jiff::civil::time(23, 0, 0, 0),
            jiff::civil::time(7, 30, 0, 0),
        );
        assert_eq!(window("23:00-07:30"), Ok(night));
        for text in [
            "23:00",
            "23-07",
            "24:00-07:00",
            "7:00-08:00",
            "07:30-07:30",
            "a-b",
            "+1:00-02:00",
            "",
        ] {
            assert!(window(text).expect_err(text).contains("`23:00-07:30`"));
        }
    }
}
