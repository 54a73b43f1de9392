//! When a site is left alone: how long after it throttles, and at which times of the week.

use std::time::Duration;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Time, Weekday},
    tz::Offset,
};

use crate::{
    clock::Millis,
    config::{
        reader::{Node, Table},
        units,
    },
};

/// How a site throttles.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Waits after throttling replies in a row, the last again and again; empty for larder's own.
    pub waits: Vec<Duration>,
    /// Whether it holds back the account: then all hosts of the site wait.
    pub by_account: bool,
    /// Statuses that ask to slow down besides 429, 503, 509 and 529.
    pub statuses: Vec<u16>,
}

/// A time of the week in which a site is not asked.
#[derive(Debug)]
pub struct Quiet {
    day: Option<Weekday>,
    from: Time,
    length: Duration,
    offset: Offset,
}

impl Throttle {
    /// Reads `[throttle]`.
    pub(super) fn read(table: Table<'_>) -> Self {
        let list = |key| {
            let node = table.get(key);
            node.and_then(|node: Node<'_>| node.list())
                .unwrap_or_default()
        };
        let waits = list("waits");
        let statuses = list("status");
        let status = |node: &Node<'_>| {
            let status = node.int().and_then(|n| u16::try_from(n).ok());
            let status = status.filter(|status| (400..600).contains(status));
            if status.is_none() {
                node.error("is not a status of an error; write a number from 400 to 599");
            }
            status
        };
        let by = table.get("by").and_then(|node| {
            let word = node.text()?;
            if !matches!(word, "account" | "host") {
                node.unknown("word", word, ["account", "host"]);
            }
            Some(word == "account")
        });
        let throttle = Self {
            waits: waits
                .iter()
                .filter_map(|node| node.parsed(units::parse_duration))
                .collect(),
            by_account: by.unwrap_or(false),
            statuses: statuses.iter().filter_map(status).collect(),
        };
        table.finish();
        throttle
    }
}

impl Quiet {
    /// Reads one entry of `quiet`.
    pub(super) fn read(table: Table<'_>) -> Option<Self> {
        const DAYS: [(&str, Weekday); 7] = [
            ("mon", Weekday::Monday),
            ("tue", Weekday::Tuesday),
            ("wed", Weekday::Wednesday),
            ("thu", Weekday::Thursday),
            ("fri", Weekday::Friday),
            ("sat", Weekday::Saturday),
            ("sun", Weekday::Sunday),
        ];
        let day = table.get("day").and_then(|node| {
            let word = node.text()?;
            let day = DAYS.iter().find(|(name, _)| *name == word);
            if day.is_none() {
                node.unknown("day", word, DAYS.iter().map(|(name, _)| *name));
            }
            day.map(|(_, day)| *day)
        });
        let from = table.need("from").and_then(|node| {
            node.parsed(|text| {
                let time = text.parse::<Time>();
                time.map_err(|_| format!("`{text}` is not a time of the day, such as `22:00`"))
            })
        });
        let length = table
            .need("for")
            .and_then(|node| node.parsed(units::parse_duration));
        let offset = table.need("zone").and_then(|node| node.parsed(offset));
        table.finish();
        Some(Self {
            day,
            from: from?,
            length: length?,
            offset: offset?,
        })
    }

    /// When the quiet time that `now` is in ends.
    pub fn until(&self, now: Millis) -> Option<Millis> {
        let there = self
            .offset
            .to_datetime(Timestamp::from_millisecond(now).ok()?);
        let length = SignedDuration::try_from(self.length).ok()?;
        // One that began yesterday may last into today; longer ones than a day do not help anybody.
        [there.date(), there.date().yesterday().ok()?]
            .into_iter()
            .filter(|date| self.day.is_none_or(|day| date.weekday() == day))
            .find_map(|date| {
                let begin = self.offset.to_timestamp(date.to_datetime(self.from)).ok()?;
                let begin = begin.as_millisecond();
                let end = begin.saturating_add(i64::try_from(length.as_millis()).ok()?);
                (begin..end).contains(&now).then_some(end)
            })
    }
}

/// An offset from UTC, such as `+08:00`: a zone whose rules change is not for a file that is compiled in.
fn offset(text: &str) -> Result<Offset, String> {
    let wrong = || format!("`{text}` is not an offset from UTC, such as `+08:00`");
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, most: i32| {
        let number = text.parse::<i32>().ok().filter(|n| (0..=most).contains(n));
        number.filter(|_| text.len() == 2).ok_or_else(wrong)
    };
    let seconds = sign * (number(hours, 14)? * 3600 + number(minutes, 59)? * 60);
    Offset::from_seconds(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostics, Source};

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn quiet(text: &str) -> (Option<Quiet>, Vec<String>) {
        let (source, diagnostics) = (Source::new("x.toml", text), Diagnostics::default());
        let quiet = Table::parse(&source, &diagnostics, Quiet::read).flatten();
        let complaints = diagnostics.into_vec();
        (quiet, complaints.into_iter().map(|c| c.message).collect())
    }

    #[test]
    fn a_window_of_the_week_is_known_in_its_own_zone() {
        let text = "day = \"sun\"\nfrom = \"22:00\"\nfor = \"3h\"\nzone = \"+08:00\"";
        let (quiet, complaints) = quiet(text);
        assert_eq!(complaints, Vec::<String>::new());
        let quiet = quiet.expect("read");
        // 2026-11-22 is a Sunday; 22:00 there is 14:00 in UTC, and the window ends on Monday there.
        let end = Some(at("2026-11-22T17:00:00Z"));
        assert_eq!(quiet.until(at("2026-11-22T13:59:59Z")), None);
        assert_eq!(quiet.until(at("2026-11-22T14:00:00Z")), end);
        assert_eq!(quiet.until(at("2026-11-22T16:59:59Z")), end);
        assert_eq!(quiet.until(at("2026-11-22T17:00:00Z")), None);
        assert_eq!(quiet.until(at("2026-11-23T14:30:00Z")), None);
    }

    #[test]
    fn without_a_day_it_is_every_day_and_mistakes_are_named() {
        let (every, _) = quiet("from = \"23:30:00\"\nfor = \"60min\"\nzone = \"-03:30\"");
        let every = every.expect("read");
        assert_eq!(
            every.until(at("2026-01-02T03:15:00Z")),
            Some(at("2026-01-02T04:00:00Z"))
        );
        for (text, word) in [
            (
                "day = \"snu\"\nfrom = \"1:00\"\nfor = \"1h\"\nzone = \"+08:00\"",
                "did you mean `sun`",
            ),
            ("from = \"25:00\"\nfor = \"1h\"\nzone = \"+08:00\"", "22:00"),
            (
                "from = \"22:00\"\nfor = \"1h\"\nzone = \"Asia/Shanghai\"",
                "+08:00",
            ),
            ("from = \"22:00\"\nfor = \"1h\"\nzone = \"+8:00\"", "+08:00"),
            ("from = \"22:00\"\nzone = \"+08:00\"", "`for` is missing"),
        ] {
            let (_, complaints) = quiet(text);
            assert!(
                complaints.iter().any(|c| c.contains(word)),
                "{text}: {complaints:?}"
            );
        }
    }
}
