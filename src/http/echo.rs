//! What a site says back of the secrets that it was sent: taken out before anybody reads, stores or prints the reply.
//!
//! Only of values that cannot be anything else: replacing every `disabled` because a cookie says so would mend nothing.

use super::Outgoing;

/// What stands in place of a secret.
const STARS: &[u8] = b"***";
/// Shorter values may be words of the reply.
const SHORTEST: usize = 12;
/// Longer ones are secrets though they have no digit.
const LONG: usize = 20;

/// Takes every secret of the request out of its reply, as it was sent or as URLs and JSON write it.
pub(super) fn strip(reply: &mut Vec<u8>, out: &Outgoing) {
    let sent = [&out.secret_query, &out.secret_headers, &out.cookies];
    let values = sent
        .into_iter()
        .flatten()
        .filter_map(|(_, secret)| secret.expose());
    for value in values {
        // A header may name the kind of its secret first, such as `Bearer`.
        let word = value.rsplit(' ').next().unwrap_or(value);
        for secret in [value, word] {
            if is_telling(secret) {
                for form in forms(secret) {
                    replace(reply, form.as_bytes());
                }
            }
        }
    }
}

fn is_telling(secret: &str) -> bool {
    let (digits, letters) = (
        secret.bytes().any(|b| b.is_ascii_digit()),
        secret.bytes().any(|b| b.is_ascii_alphabetic()),
    );
    secret.len() >= SHORTEST && digits && letters || secret.len() >= LONG
}

/// The ways to write a secret; the same one twice where nothing needs escaping.
fn forms(secret: &str) -> [String; 3] {
    let encoded = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let quoted = serde_json::to_string(secret).unwrap_or_default();
    [
        secret.to_owned(),
        encoded,
        quoted.trim_matches('"').to_owned(),
    ]
}

/// Puts stars in place of `secret` wherever it stands.
fn replace(reply: &mut Vec<u8>, secret: &[u8]) {
    let mut from = 0;
    while let Some(at) = find(&reply[from..], secret) {
        let at = from + at;
        reply.splice(at..at + secret.len(), STARS.iter().copied());
        from = at + STARS.len();
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        from += at;
        if text[from..].starts_with(word) {
            return Some(from);
        }
        from += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn stripped(reply: &str, secrets: &[&str]) -> String {
        let pairs = |values: &[&str]| -> Vec<(String, Secret)> {
            let pair = |value: &&str| ("x".to_owned(), Secret::new(*value));
            values.iter().map(pair).collect()
        };
        let out = Outgoing {
            secret_query: pairs(&secrets[..1]),
            secret_headers: pairs(&secrets[1..]),
            ..Outgoing::get("https://a.example/".parse().expect("a url"))
        };
        let mut reply = reply.as_bytes().to_vec();
        strip(&mut reply, &out);
        String::from_utf8(reply).expect("text")
    }

    #[test]
    fn fault_95_a_reply_keeps_nothing_of_the_secrets_that_it_echoes() {
        let secrets = ["S3CRET-key/12+", "Bearer S3CRET-\"token\"-34"];
        let echo = r#"{"next": "/x?key=S3CRET-key%2F12%2B&b=1", "error": "not S3CRET-key/12+S3CRET-key/12+",
                       "you": "Bearer S3CRET-\"token\"-34", "token": "S3CRET-\"token\"-34"}"#;
        let kept = stripped(echo, &secrets);
        assert!(!kept.contains("S3CRET"), "{kept}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&kept).is_ok(),
            "{kept}"
        );
        // Words stay words.
        let words = r#"{"disabled": true, "a": "yes please", "n": 20250101}"#;
        for secret in ["disabled", "yes please", "2", "20250101", ""] {
            assert_eq!(stripped(words, &[secret, secret]), words);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_found_is_what_is_there(text in "[ab]{0,40}", word in "[ab]{1,4}") {
            let found = find(text.as_bytes(), word.as_bytes());
            proptest::prop_assert_eq!(found, text.find(&word));
        }
    }
}
