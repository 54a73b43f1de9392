//! Text that may be shown: URLs without secrets, everything on one line.

use url::{Url, form_urlencoded};

use crate::text::one_line;

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
}
