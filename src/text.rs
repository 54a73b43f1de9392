//! Text for people: numbers, sizes and times as they are said; what a site, a server or a file says made safe to print.

/// The longest line: a message names the start of what is longer.
const LONGEST: usize = 400;

/// `text` with control, bidirectional and zero-width characters escaped, cut when very long.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if line.len() > LONGEST {
            line.push('…');
            break;
        }
        match c {
            c if c.is_control() => line.extend(c.escape_default()),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{61c}'
            | '\u{feff}' => {
                line.extend(c.escape_unicode());
            }
            c => line.push(c),
        }
    }
    line
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A size in steps of 1000: `1.2 GB`.
pub fn bytes(number: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut size = number as f64;
    let mut unit = 0;
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    while size.abs() >= 999.5 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && size.abs() < 99.95);
    format!("{size:.digits$} {}", units[unit])
}

/// A time span in milliseconds, as people say it: `350 ms`, `12 s`, `3 min`, `5.2 h`, `3.1 days`.
pub fn duration(millis: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let seconds = millis as f64 / 1000.0;
    match seconds.abs() {
        s if s < 1.0 => format!("{millis} ms"),
        s if s < 10.0 => format!("{seconds:.1} s"),
        s if s < 120.0 => format!("{seconds:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", seconds / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86400.0),
    }
}

/// A time in the system's zone, to the second: `2026-11-22 05:54:46`.
pub fn local_time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_say_them() {
        assert_eq!(
            [count(0), count(999), count(1000), count(-1_234_567)],
            ["0", "999", "1,000", "-1,234,567"]
        );
        assert_eq!(
            [
                bytes(0),
                bytes(999),
                bytes(1000),
                bytes(99_950),
                bytes(1_592_129)
            ],
            ["0 B", "999 B", "1.0 KB", "100 KB", "1.6 MB"]
        );
        assert_eq!(
            [
                duration(350),
                duration(1500),
                duration(90_000),
                duration(600_000)
            ],
            ["350 ms", "1.5 s", "90 s", "10 min"]
        );
    }

    #[test]
    fn nothing_that_moves_the_cursor_or_turns_the_text_around_gets_through() {
        assert_eq!(
            one_line("a\u{1b}[2Jb\u{202e}c\nd\u{200b}"),
            "a\\u{1b}[2Jb\\u{202e}c\\nd\\u{200b}"
        );
        assert_eq!(one_line("ümlauts and 日本語"), "ümlauts and 日本語");
    }
}
