//! Text that may be shown: URLs without secrets, everything on one line.

use url::{Url, form_urlencoded};

/// Query keys whose values never are secrets and help to understand a message.
const SAFE: &[&str] = &[
    "api_version",
    "bvid",
    "commit",
    "date",
    "fid",
    "filter",
    "format",
    "id",
    "ids",
    "illust_id",
    "json",
    "lang",
    "limit",
    "mid",
    "mode",
    "name",
    "offset",
    "order",
    "order_by",
    "p",
    "page",
    "pid",
    "pn",
    "post_id",
    "ps",
    "q",
    "query",
    "rating",
    "rest",
    "s",
    "search",
    "sort",
    "tag",
    "tags",
    "title",
    "type",
    "user_id",
    "word",
];
/// A message names the start of a longer URL only.
const LONGEST: usize = 400;

/// `url` for logs and errors: without user, password and fragment; values of unknown query keys shown as `***`.
pub fn redact(url: &Url) -> String {
    if url.cannot_be_a_base() {
        // Such as data: and mailto:, where everything is content.
        return format!("{}:***", url.scheme());
    }
    let mut shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    shown.push_str(url.path());
    let mut separator = '?';
    let pieces = url.query().unwrap_or_default().split('&');
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        shown.push(separator);
        separator = '&';
        let key = form_urlencoded::parse(piece.as_bytes())
            .next()
            .map(|(key, _)| key.into_owned());
        match piece.split_once('=') {
            Some(_) if key.is_some_and(|key| SAFE.contains(&key.as_str())) => shown.push_str(piece),
            Some((name, _)) => shown.push_str(&format!("{name}=***")),
            // A bare word may be a token.
            None => shown.push_str("***"),
        }
    }
    one_line(&shown)
}

/// `text` with control, bidirectional and zero-width characters escaped, cut when very long.
pub(super) fn one_line(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        redact(&Url::parse(url).expect("a url"))
    }

    #[test]
    fn urls_show_no_secrets() {
        assert_eq!(
            shown(
                "https://u:S3CRET@ex.example:8443/a/b?page=2&api_key=S3CRET&tags=a+b&&S3CRET#S3CRET"
            ),
            "https://ex.example:8443/a/b?page=2&api_key=***&tags=a+b&***"
        );
        assert_eq!(
            shown("https://ex.example/?login=S3CRET"),
            "https://ex.example/?login=***"
        );
        assert_eq!(shown("https://ex.example/x"), "https://ex.example/x");
        assert_eq!(shown("data:text/plain,S3CRET"), "data:***");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(
            one_line("a\r\n\u{1b}[1m\u{202e}b"),
            "a\\r\\n\\u{1b}[1m\\u{202e}b"
        );
        assert!(one_line(&"x".repeat(9000)).len() < 410);
    }
}
