//! What a date parameter says: a day or a range of days, each written out or as `today` or `yesterday`.
//!
//! Pure: which day it is, is handed in. A range has its newest day first, and no day that has not begun.

use std::str::FromStr;

use jiff::{ToSpan, civil::Date};

use super::{Endpoint, ParamKind, Value, Values};

/// Days of one range: more than fifty years, which no listing goes back.
pub const MOST_DAYS: i32 = 20_000;

/// What a date parameter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dates {
    text: String,
    from: When,
    to: Option<When>,
}

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Day(Date),
    /// So many days before today.
    Ago(i32),
}

impl Dates {
    /// Whether it is a range, which is walked day by day.
    pub fn is_range(&self) -> bool {
        self.to.is_some()
    }

    /// Whether it says another day tomorrow.
    pub fn moves(&self) -> bool {
        [Some(self.from), self.to].contains(&Some(When::Ago(0)))
            || [Some(self.from), self.to].contains(&Some(When::Ago(1)))
    }

    /// The days on `today`, the newest first; none when the range has not begun. A day alone is taken as it is, a range
    /// ends with today at the latest.
    ///
    /// # Errors
    /// When there are more than [`MOST_DAYS`].
    pub fn days(&self, today: Date) -> Result<impl Iterator<Item = Date>, String> {
        let from = self.from.on(today);
        let to = self.to.map_or(from, |to| to.on(today).min(today));
        let count = days_between(from, to);
        if count > MOST_DAYS {
            return Err(format!(
                "`{}` has {count} days; one range has {MOST_DAYS} at most: let it begin later",
                self.text
            ));
        }
        Ok((0..count).filter_map(move |ago| to.checked_sub(ago.days()).ok()))
    }
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "today" => Some(Self::Ago(0)),
            "yesterday" => Some(Self::Ago(1)),
            // Only this form: what is sent to sites is the text itself.
            _ => text
                .parse()
                .ok()
                .filter(|day: &Date| day.to_string() == text)
                .map(Self::Day),
        }
    }

    fn on(self, today: Date) -> Date {
        match self {
            Self::Day(day) => day,
            Self::Ago(days) => today.saturating_sub(days.days()),
        }
    }
}

/// Days from `from` to `to`, both counted.
fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days() + 1).max(0)
}

impl FromStr for Dates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a date; write `2024-01-31`, `today`, `yesterday`, or a range `2024-01-01..yesterday`"
            )
        };
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => (When::parse(from), Some(When::parse(to).ok_or_else(wrong)?)),
            None => (When::parse(text), None),
        };
        let dates = Self {
            text: text.to_owned(),
            from: from.ok_or_else(wrong)?,
            to,
        };
        match (dates.from, dates.to) {
            (When::Day(from), Some(When::Day(to))) if from > to => Err(backwards(text)),
            (When::Ago(from), Some(When::Ago(to))) if from < to => Err(backwards(text)),
            _ => Ok(dates),
        }
    }
}

fn backwards(text: &str) -> String {
    format!("`{text}` ends before it begins; write the earlier day first")
}

impl Endpoint {
    /// The date parameters among `values`, by name.
    pub fn dates(&self, values: &Values) -> Vec<(String, Dates)> {
        let date = |(name, value): (&String, &Value)| {
            let param = self.params.get(name)?;
            let Value::Text(text) = value else {
                return None;
            };
            let dates = (param.kind == ParamKind::Date).then(|| text.parse().ok())?;
            Some((name.clone(), dates?))
        };
        values.iter().filter_map(date).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn days(text: &str) -> Vec<String> {
        let dates: Dates = text.parse().expect(text);
        let days = dates.days(date(2024, 3, 2)).expect(text);
        days.map(|day| day.to_string()).collect()
    }

    #[test]
    fn a_range_has_its_newest_day_first_and_none_that_has_not_begun() {
        assert_eq!(
            days("2024-02-28..yesterday"),
            ["2024-03-01", "2024-02-29", "2024-02-28"]
        );
        assert_eq!(days("yesterday..today"), ["2024-03-02", "2024-03-01"]);
        assert_eq!(days("2024-03-01..2099-12-31"), ["2024-03-02", "2024-03-01"]);
        assert_eq!(days("2024-03-02..yesterday"), [""; 0]);
        assert_eq!(days("2030-01-01..2030-01-05"), [""; 0]);
    }

    #[test]
    fn a_day_alone_is_taken_as_it_is() {
        assert_eq!(days("2099-01-31"), ["2099-01-31"]);
        assert_eq!(days("yesterday"), ["2024-03-01"]);
        assert_eq!(days("today"), ["2024-03-02"]);
        let moves = |text: &str| text.parse::<Dates>().expect(text).moves();
        assert!(moves("today") && moves("2024-01-01..yesterday"));
        assert!(!moves("2024-01-01") && !moves("2024-01-01..2024-01-02"));
    }

    #[test]
    fn what_is_no_date_or_no_range_says_so() {
        for (text, word) in [
            ("2024-02-30", "not a date"),
            ("20240131", "not a date"),
            ("2024-01-31T00:00", "not a date"),
            ("2024-01-01..", "not a date"),
            ("..yesterday", "not a date"),
            ("tomorrow", "not a date"),
            ("2024-02-02..2024-02-01", "ends before it begins"),
            ("today..yesterday", "ends before it begins"),
        ] {
            let error = text.parse::<Dates>().expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        let long: Dates = "1900-01-01..2024-01-01".parse().expect("a range");
        assert!(long.days(date(2024, 3, 2)).is_err());
        assert!(
            long.days(date(1901, 3, 2)).is_ok(),
            "its future has not begun"
        );
        let longest: Dates = "1970-01-01..2024-10-03".parse().expect("just short enough");
        assert_eq!(
            longest.days(date(2025, 1, 1)).expect("short").count(),
            20_000
        );
    }
}
