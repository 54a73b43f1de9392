//! Retry-After (RFC 9110 section 10.2.3): seconds or an HTTP date.

use std::time::{Duration, SystemTime};

use super::LONGEST_HOLD;

/// How long the header asks to wait, at most 24 h.
///
/// `None` for junk, for the past and for zero: none of them is a wait, so the caller's own back-off applies.
pub fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds are still a wait, only a very long one.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).ok()?
    };
    (!wait.is_zero()).then(|| wait.min(LONGEST_HOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_junk_is_not() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let date = |ahead: i64| {
            let at = 1_700_000_000 + ahead;
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64))
        };
        assert_eq!(parse("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(parse(&date(90), now), Some(Duration::from_secs(90)));
        for longer in ["31536000", "99999999999999999999999", &date(400 * 86_400)] {
            assert_eq!(parse(longer, now), Some(LONGEST_HOLD), "{longer}");
        }
        for none in [
            "",
            "0",
            "-5",
            "1.5",
            "soon",
            "5 s",
            &date(-60),
            &date(0),
            "\u{661}",
        ] {
            assert_eq!(parse(none, now), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn fuzz_whatever_the_header_says_the_wait_is_none_or_within_a_day(text in "\\PC{0,40}|[0-9]{1,40}|-?[0-9]{0,3}\\.?[0-9]{0,3} ?(s|sec|GMT)?", seconds: u64, now in 0_u64..4_000_000_000, at in 0_u64..4_000_000_000) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            for header in [text, seconds.to_string()] {
                let wait = parse(&header, now);
                proptest::prop_assert!(wait.is_none_or(|wait| !wait.is_zero() && wait <= LONGEST_HOLD));
            }
            let longest = LONGEST_HOLD.as_secs();
            proptest::prop_assert_eq!(parse(&seconds.to_string(), now), (seconds > 0).then(|| Duration::from_secs(seconds.min(longest))));
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            let left = at.duration_since(now).ok().filter(|left| !left.is_zero());
            proptest::prop_assert_eq!(parse(&httpdate::fmt_http_date(at), now), left.map(|left| left.min(LONGEST_HOLD)));
        }
    }
}
