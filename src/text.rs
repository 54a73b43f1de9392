//! Text for people: numbers, sizes and times as they are said; what a site, a server or a file says made safe to print.

use std::borrow::Cow;

/// The longest line: a message names the start of what is longer.
const LONGEST: usize = 400;

/// `text` with control, bidirectional and invisible characters escaped, cut when very long.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if line.len() > LONGEST {
            line.push('…');
            break;
        }
        escape(c, &mut line);
    }
    line
}

/// The same for text of several lines: everything that is printed goes through this or through [`json`].
pub fn shown(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && is_acting(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' {
            safe.push(c);
        } else {
            escape(c, &mut safe);
        }
    }
    Cow::Owned(safe)
}

/// JSON in which nothing acts on a terminal: the writer itself leaves C1 controls and bidirectional marks as they are.
pub fn json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && is_acting(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe += &format!("\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn escape(c: char, to: &mut String) {
    if c.is_control() {
        to.extend(c.escape_default());
    } else if is_acting(c) {
        to.extend(c.escape_unicode());
    } else {
        to.push(c);
    }
}

/// Whether a character does something to the text around it, or hides: controls, marks that turn text around, and what has
/// no width (Unicode 16: Cc, Bidi_Control, Default_Ignorable, without the selectors of emoji).
fn is_acting(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
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

    proptest::proptest! {
        #[test]
        fn fault_96_whatever_a_site_says_is_printed_as_visible_characters_and_line_breaks(text: String, acting in "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200b}-\u{206f}\u{feff}\u{e0001}]{0,9}") {
            let text = format!("{text}{acting}");
            let printed = [shown(&text), json(&text), one_line(&text).into()];
            for printed in printed {
                proptest::prop_assert!(printed.chars().all(|c| c == '\n' || !is_acting(c)), "{:?}", printed);
            }
            // JSON means the same as before.
            let quoted = serde_json::to_string(&text).expect("text is JSON");
            let read: String = serde_json::from_str(&json(&quoted)).expect("it still is");
            proptest::prop_assert_eq!(read, text);
        }
    }
}
