//! Going on in the middle of a file: when it may be asked, and whether the answer fits (RFC 9110, sections 13.1.5, 14.4).
//!
//! **Invariant:** bytes of two answers are joined only when a strong validator says that they are of one file, and the
//! answer itself says that it begins where the first one ended and goes to the end.

use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

/// A Last-Modified this much older than its Date can no longer hide a second change (RFC 9110, section 8.8.2.2).
const SETTLED: Duration = Duration::from_secs(60);

/// What proves that bytes sent at two times are of one file: a strong ETag, else a Last-Modified that is strong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Validator(String);

/// Where a download goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Bytes at hand.
    pub offset: u64,
    /// Of which file they are.
    pub validator: Validator,
    /// Bytes of the whole file, where its first answer said so.
    pub total: Option<u64>,
}

impl Validator {
    /// The strong validator of an answer. A weak ETag says that the bytes may differ, so it is none, and a Last-Modified
    /// beside it is not trusted either.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.contains_key(ETAG) {
            let etag = only(headers, &ETAG)?;
            let inner = etag.strip_prefix('"')?.strip_suffix('"')?;
            return (!inner.contains('"')).then(|| Self(etag.to_owned()));
        }
        let modified = only(headers, &LAST_MODIFIED)?;
        let time = httpdate::parse_http_date(modified).ok()?;
        let date = httpdate::parse_http_date(only(headers, &DATE)?).ok()?;
        let age = date.duration_since(time).ok()?;
        (age >= SETTLED).then(|| Self(modified.to_owned()))
    }

    /// Whether an answer is of another file. One without validators is judged by what else it says.
    fn differs(&self, headers: &HeaderMap) -> bool {
        let name = if self.0.starts_with('"') {
            ETAG
        } else {
            LAST_MODIFIED
        };
        headers.contains_key(&name) && only(headers, &name) != Some(&self.0)
    }
}

impl Resume {
    /// The headers that ask for the rest, or for the whole file if it is another one by now.
    pub(super) fn headers(&self) -> [(String, String); 2] {
        [
            ("Range".to_owned(), format!("bytes={}-", self.offset)),
            ("If-Range".to_owned(), self.validator.0.clone()),
        ]
    }

    /// Checks a 206 whose body has `length` bytes; returns the bytes of the whole file.
    ///
    /// # Errors
    /// What does not fit. Then nothing of the answer may be used.
    pub(super) fn check(&self, headers: &HeaderMap, length: Option<u64>) -> Result<u64, String> {
        let asked = || match self.total {
            Some(total) => format!(
                "bytes {}-{} were asked for",
                self.offset,
                total.saturating_sub(1)
            ),
            None => format!("all from byte {} was asked for", self.offset),
        };
        let text = only(headers, &CONTENT_RANGE).unwrap_or_default();
        let Some(range) = ContentRange::parse(text) else {
            return Err(format!("sent `{text}` as Content-Range where {}", asked()));
        };
        let whole = range.first == self.offset
            && range.last + 1 == range.total
            && self.total.is_none_or(|total| total == range.total)
            && length.is_none_or(|length| length == range.total - self.offset);
        if !whole {
            return Err(format!("sent `{text}` where {}", asked()));
        }
        if self.validator.differs(headers) {
            return Err("sent the rest of another file".to_owned());
        }
        Ok(range.total)
    }
}

/// A Content-Range that names its bytes and the size of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    total: u64,
}

impl ContentRange {
    /// Reads `bytes 0-9/100`; `None` for anything else, an unknown size and impossible numbers among it.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| -> Option<u64> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self {
            first: number(first)?,
            last: number(last)?,
            total: number(total)?,
        };
        let sound = range.first <= range.last && range.last < range.total;
        (unit.eq_ignore_ascii_case("bytes") && sound).then_some(range)
    }
}

/// A header that is there exactly once, as visible text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn validator(lines: &[(&str, &str)]) -> Option<String> {
        Validator::of(&headers(lines)).map(|validator| validator.0)
    }

    fn resume(validator: &str) -> Resume {
        Resume {
            offset: 4,
            validator: Validator(validator.to_owned()),
            total: Some(10),
        }
    }

    const OLD: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    const LATER: &str = "Tue, 15 Nov 1994 08:13:31 GMT";
    const SOON: &str = "Tue, 15 Nov 1994 08:13:30 GMT";

    #[test]
    fn fault_56_only_strong_validators_join_bytes() {
        assert_eq!(validator(&[("etag", "\"a\"")]).as_deref(), Some("\"a\""));
        assert_eq!(
            validator(&[("last-modified", OLD), ("date", LATER)]).as_deref(),
            Some(OLD)
        );
        for weak in [
            &[][..],
            &[("etag", "W/\"a\"")],
            &[("etag", "a")],
            &[("etag", "\"")],
            &[("etag", "\"a\", \"b\"")],
            &[("etag", "\"a\""), ("etag", "\"b\"")],
            &[("etag", "W/\"a\""), ("last-modified", OLD), ("date", LATER)],
            &[("last-modified", OLD), ("date", SOON)],
            &[("last-modified", OLD)],
            &[("last-modified", LATER), ("date", OLD)],
        ] {
            assert_eq!(validator(weak), None, "{weak:?}");
        }
    }

    #[test]
    fn fault_57_an_answer_must_begin_where_the_first_one_ended_and_go_to_the_end() {
        let check = |lines: &[(&str, &str)], length| resume("\"a\"").check(&headers(lines), length);
        for (range, etag, length) in [
            ("bytes 4-9/10", "\"a\"", Some(6)),
            ("Bytes 4-9/10", "\"a\"", None),
        ] {
            let lines = [("content-range", range), ("etag", etag)];
            assert_eq!(check(&lines, length), Ok(10), "{range}");
        }
        assert_eq!(check(&[("content-range", "bytes 4-9/10")], Some(6)), Ok(10));
        for (range, etag, length) in [
            ("bytes 0-9/10", "\"a\"", None),
            ("bytes 5-9/10", "\"a\"", None),
            ("bytes 4-8/10", "\"a\"", None),
            ("bytes 4-10/11", "\"a\"", None),
            ("bytes 4-9/*", "\"a\"", None),
            ("bytes */10", "\"a\"", None),
            ("items 4-9/10", "\"a\"", None),
            ("bytes 4-9/10", "\"b\"", None),
            ("bytes 4-9/10", "W/\"a\"", None),
            ("bytes 4-9/10", "\"a\"", Some(5)),
            ("", "\"a\"", None),
        ] {
            let lines = [("content-range", range), ("etag", etag)];
            assert!(check(&lines, length).is_err(), "{range} {etag} {length:?}");
        }
        let twice = [("content-range", "bytes 4-9/10"); 2];
        assert!(check(&twice, None).is_err());
        let dated = headers(&[("content-range", "bytes 4-9/10"), ("last-modified", LATER)]);
        assert!(resume(OLD).check(&dated, None).is_err());
        assert_eq!(resume(LATER).check(&dated, None), Ok(10));
    }

    proptest! {
        #[test]
        fn fuzz_content_range_reads_back_what_it_is_and_nothing_else(text in "\\PC{0,40}", first: u64, more in 0_u64..1 << 40, after in 1_u64..1 << 40) {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(range.first <= range.last && range.last < range.total);
            }
            let last = first.saturating_add(more);
            let total = last.saturating_add(after);
            let range = ContentRange::parse(&format!("bytes {first}-{last}/{total}"));
            prop_assert_eq!(range.is_some(), last < total);
            let same = ContentRange { first, last, total };
            prop_assert!(range.is_none_or(|range| range == same));
        }

        #[test]
        fn fuzz_an_answer_with_any_content_range_joins_only_what_fits(unit in "(bytes|Bytes|b)", first in 0_u64..20, last in 0_u64..20, total in 0_u64..20, length in proptest::option::of(0_u64..20)) {
            let text = format!("{unit} {first}-{last}/{total}");
            let fits = resume("\"a\"").check(&headers(&[("content-range", &text)]), length).is_ok();
            let right = unit != "b" && (first, last, total) == (4, 9, 10) && length.is_none_or(|length| length == 6);
            prop_assert_eq!(fits, right);
        }
    }
}
