//! Durations, sizes and rates as people write them: a number and a unit.
//!
//! Owns every unit of the configuration. Promises that nothing is guessed: a number without a unit, a unit of another
//! kind, zero and overflow are refused with the text and a right example, and what [`duration`] and [`rate`] print
//! reads back as the same value. Numbers may have a fraction; the arithmetic is exact and rounds down.

use std::time::Duration;

use super::Rate;

/// Units and how many of the smallest each holds.
type Units = &'static [(&'static str, u128)];

const NANOS: u128 = 1_000_000_000;
const TIMES: Units = &[
    ("ms", NANOS / 1000),
    ("s", NANOS),
    ("min", 60 * NANOS),
    ("h", 3600 * NANOS),
    ("d", 86_400 * NANOS),
];
const PERIODS: Units = &[
    ("s", NANOS),
    ("min", 60 * NANOS),
    ("h", 3600 * NANOS),
    ("d", 86_400 * NANOS),
];
const SIZES: Units = &[
    ("B", 1),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];
/// A century: clock arithmetic with more would overflow.
const LONGEST: u128 = 36_500 * 86_400 * NANOS;
/// What a column of the database holds.
const LARGEST: u128 = i64::MAX as u128;
/// Digits after the point: nanoseconds of a second.
const MOST_PLACES: usize = 9;

/// Reads a duration such as `250ms`, `10s`, `30min`, `6h` or `30d`.
///
/// # Errors
/// A sentence that quotes the text and shows a right one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let shape = Shape::new(text, "duration", "10s");
    let nanos = shape.quantity(text, TIMES)?;
    shape.within(nanos, LONGEST).map(Duration::from_nanos)
}

/// Reads a size such as `12 B`, `500 KB` (1000) or `8 MiB` (1024 × 1024), in bytes.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_size(text: &str) -> Result<u64, String> {
    let shape = Shape::new(text, "size", "20 GB");
    let bytes = shape.quantity(text, SIZES)?;
    shape.within(bytes, LARGEST)
}

/// Reads a bandwidth such as `2 MB/s`, in bytes per second.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_bandwidth(text: &str) -> Result<u64, String> {
    let shape = Shape::new(text, "bandwidth", "2 MB/s");
    let Some(size) = text.trim().strip_suffix("/s") else {
        return Err(format!("`{text}` does not end in `/s`; {}", shape.hint()));
    };
    let bytes = shape.quantity(size, SIZES)?;
    shape.within(bytes, LARGEST)
}

/// Reads a rate such as `1/s`, `30/min`, `100/h`, `0.5/s` or `unlimited`.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let shape = Shape::new(text, "rate", "30/min");
    if text.trim() == "unlimited" {
        return Ok(Rate::Unlimited);
    }
    let Some((count, period)) = text.split_once('/') else {
        return Err(format!("`{text}` has no period; {}", shape.hint()));
    };
    let Some((value, places, "")) = decimal(count) else {
        return Err(shape.refuse());
    };
    let period = shape.unit(period.trim(), PERIODS)?;
    if value == 0 {
        return Err(format!("`{text}` is zero; {}", shape.hint()));
    }
    let nanos = period * 10u128.pow(places) / value;
    if nanos == 0 {
        return Err(format!(
            "`{text}` is faster than any clock; write `unlimited`"
        ));
    }
    match u64::try_from(nanos) {
        Ok(gap) if nanos <= LONGEST => Ok(Rate::Every(Duration::from_nanos(gap))),
        _ => Err(format!("`{text}` is too slow; {}", shape.hint())),
    }
}

/// Writes a duration so that [`parse_duration`] reads it back: `6h`, `90s`, `1.5s`.
pub fn duration(value: Duration) -> String {
    let nanos = value.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let whole = TIMES
        .iter()
        .skip(1)
        .rev()
        .find(|(_, unit)| nanos.is_multiple_of(*unit));
    let (name, unit) = match whole {
        Some(found) => *found,
        None if nanos > NANOS => ("s", NANOS),
        None => TIMES[0],
    };
    let places = unit.ilog10();
    let fraction = format!("{:0width$}", nanos % unit, width = places as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}{name}", nanos / unit)
}

/// Writes a rate so that [`parse_rate`] reads it back: `2/s`, `30/min`, `unlimited`.
pub fn rate(value: Rate) -> String {
    let Rate::Every(gap) = value else {
        return "unlimited".to_owned();
    };
    let gap = gap.as_nanos().max(1);
    let mut nearest = String::from("unlimited");
    for places in 0..=MOST_PLACES {
        for (name, period) in PERIODS {
            let scaled = period * 10u128.pow(digits(places));
            let count = scaled / gap;
            if count == 0 {
                continue;
            }
            let whole = count / 10u128.pow(digits(places));
            let fraction = count % 10u128.pow(digits(places));
            nearest = match places {
                0 => format!("{whole}/{name}"),
                _ => format!("{whole}.{fraction:0places$}/{name}"),
            };
            if scaled / count == gap {
                return nearest;
            }
        }
    }
    nearest
}

/// What is being read, for the words of a refusal.
struct Shape<'a> {
    text: &'a str,
    what: &'static str,
    example: &'static str,
}

impl<'a> Shape<'a> {
    fn new(text: &'a str, what: &'static str, example: &'static str) -> Self {
        Self {
            text,
            what,
            example,
        }
    }

    fn hint(&self) -> String {
        format!("write it like `{}`", self.example)
    }

    fn refuse(&self) -> String {
        format!(
            "`{}` is not a {}; write a number and a unit, like `{}`",
            self.text, self.what, self.example
        )
    }

    /// A number and one of `units`, in the smallest.
    fn quantity(&self, text: &str, units: Units) -> Result<u128, String> {
        let (value, places, unit) = decimal(text).ok_or_else(|| self.refuse())?;
        let unit = self.unit(unit, units)?;
        let product = value.checked_mul(unit).ok_or_else(|| self.too_large())?;
        Ok(product / 10u128.pow(places))
    }

    fn unit(&self, word: &str, units: Units) -> Result<u128, String> {
        if let Some((_, size)) = units.iter().find(|(name, _)| *name == word) {
            return Ok(*size);
        }
        let text = self.text;
        if word.is_empty() {
            return Err(format!("`{text}` has no unit; {}", self.hint()));
        }
        let near = match word {
            "m" => Some("min"),
            _ => units
                .iter()
                .map(|(name, _)| *name)
                .find(|name| name.eq_ignore_ascii_case(word)),
        };
        if let Some(near) = near.filter(|near| units.iter().any(|(name, _)| name == near)) {
            return Err(format!(
                "`{text}`: unknown unit `{word}`; write `{near}`, like `{}`",
                self.example
            ));
        }
        let names: Vec<_> = units.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(format!(
            "`{text}`: unknown unit `{word}`; units are {}, like `{}`",
            names.join(", "),
            self.example
        ))
    }

    fn within(&self, value: u128, most: u128) -> Result<u64, String> {
        match u64::try_from(value) {
            Ok(0) => Err(format!("`{}` is zero; {}", self.text, self.hint())),
            Ok(small) if value <= most => Ok(small),
            _ => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> String {
        format!("`{}` is too large; {}", self.text, self.hint())
    }
}

/// A number without sign, as (value, decimal places), and what follows it.
fn decimal(text: &str) -> Option<(u128, u32, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > MOST_PLACES {
        return None;
    }
    let value = format!("{whole}{fraction}").parse().ok()?;
    Some((value, digits(fraction.len()), rest.trim()))
}

fn digits(places: usize) -> u32 {
    u32::try_from(places).expect("at most nine places")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values_read_as_what_they_say() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("10 s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("30min"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("8MiB"), Ok(8 << 20));
        assert_eq!(parse_size("20 GB"), Ok(20_000_000_000));
        assert_eq!(parse_size("500 KB"), Ok(500_000));
        assert_eq!(parse_size("12 B"), Ok(12));
        assert_eq!(parse_bandwidth("2 MB/s"), Ok(2_000_000));
        assert_eq!(parse_rate("0.5/s"), Ok(Rate::Every(Duration::from_secs(2))));
        assert_eq!(
            parse_rate("100/h"),
            Ok(Rate::Every(Duration::from_secs(36)))
        );
        assert_eq!(parse_rate("unlimited"), Ok(Rate::Unlimited));
    }

    #[test]
    fn refusals_quote_the_text_and_show_a_right_one() {
        let durations = [
            "",
            "10",
            "s",
            "10m",
            "10 GB",
            "-5s",
            "0s",
            "0.0001ms0",
            "1e3s",
            "1.s",
            "1.2.3s",
            "99999999d",
        ];
        let sizes = [
            "5",
            "5 mb",
            "5 XB",
            "0 B",
            "0.1 B",
            "9999999999 TB",
            "5 MB/s",
            "99999999999999999999999999999999999999999 B",
        ];
        let rates = [
            "1",
            "1/",
            "/s",
            "0/s",
            "1/week",
            "2 MB/s",
            "1/ms",
            "0.000000001/d",
            "1/s/s",
        ];
        let bandwidths = ["2 MB", "2/s", "0 MB/s", "2 Mbit/s", "fast"];
        for text in durations {
            let error = parse_duration(text).expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("`10s`"),
                "{error}"
            );
        }
        for text in sizes {
            let error = parse_size(text).expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("`20 GB`"),
                "{error}"
            );
        }
        for text in rates {
            let error = parse_rate(text).expect_err(text);
            let shown = error.contains("`30/min`") || error.contains("`unlimited`");
            assert!(error.contains(&format!("`{text}`")) && shown, "{error}");
        }
        for text in bandwidths {
            let error = parse_bandwidth(text).expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("`2 MB/s`"),
                "{error}"
            );
        }
        assert!(
            parse_duration("10m")
                .expect_err("minutes")
                .contains("write `min`")
        );
        assert!(parse_size("5 mb").expect_err("case").contains("write `MB`"));
    }

    #[test]
    fn values_print_shortly() {
        for text in ["6h", "90s", "1.5s", "30d", "250ms", "0.5ms", "30min"] {
            assert_eq!(duration(parse_duration(text).expect(text)), text);
        }
        for text in ["1/s", "30/min", "100/h", "unlimited", "5/d", "2.5/s"] {
            let value = parse_rate(text).expect(text);
            assert_eq!(parse_rate(&rate(value)), Ok(value));
        }
        assert_eq!(rate(Rate::Every(Duration::from_millis(500))), "2/s");
        assert_eq!(rate(Rate::Every(Duration::from_secs(2))), "30/min");
    }

    proptest! {
        #[test]
        fn durations_read_back(nanos in 1u64..3_000_000_000_000_000_000) {
            let value = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&duration(value)), Ok(value));
        }

        #[test]
        fn whole_seconds_read_back(seconds in 1u64..3_000_000_000) {
            let value = Duration::from_secs(seconds);
            prop_assert_eq!(parse_duration(&duration(value)), Ok(value));
        }

        #[test]
        fn rates_read_back(count in 1u64..1_000_000, places in 0usize..4, unit in 0usize..4) {
            let scale = 10u64.pow(digits(places));
            let count = format!("{}.{:0width$}", count / scale, count % scale, width = places.max(1));
            let value = parse_rate(&format!("{count}/{}", PERIODS[unit].0)).expect("a rate");
            prop_assert_eq!(parse_rate(&rate(value)), Ok(value));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text), parse_bandwidth(&text));
        }
    }
}
