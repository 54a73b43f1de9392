//! HTML pages that only a person can pass.

use crate::class::Class;

/// Bytes of a page that are looked at.
const LOOK_AT: usize = 64 << 10;

/// What an HTML page that stands before the thing asked for is: a challenge for browsers, or a login form.
pub fn wall(page: &[u8]) -> Option<(Class, &'static str)> {
    let text = String::from_utf8_lossy(&page[..page.len().min(LOOK_AT)]).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&[
        "cf-chl",
        "challenge-platform",
        "just a moment",
        "captcha",
        "ddos-guard",
    ]) {
        Some((Class::Blocked, "a challenge for browsers"))
    } else if has(&["type=\"password\"", "type='password'", "type=password"]) {
        Some((Class::Auth, "a login form"))
    } else {
        None
    }
}
