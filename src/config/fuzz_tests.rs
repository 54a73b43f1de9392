//! Whatever is written into a configuration, it is read or refused, and no complaint shows a secret.

use proptest::prelude::*;

use super::{Source, top};

const SECRET: &str = "S3CRET-0123456789";

/// A configuration that uses most keys, with a secret wherever one may stand.
fn whole() -> String {
    format!(
        r#"archive.path = "archive"
[network]
proxy = "http://me:{SECRET}@127.0.0.1:1080"
tries = 3
max_page = "8 MiB"
allow = ["127.0.0.1:8801"]
[sites.mine]
dialect = "moebooru"
url = "http://127.0.0.1:8801"
rate = "30/min"
media_hosts = ["*.example.org"]
cookies = {{ sid = "{SECRET}" }}
headers = {{ Authorization = "{SECRET}" }}
login = {{ user = "me", password = "{SECRET}" }}
[[jobs]]
name = "all"
site = "mine"
listing = "posts"
params = {{ tags = "landscape" }}
with = ["comments"]
where = '.tags | length > 0'
window = "23:00-07:30"
"#
    )
}

/// What the complaints about `text` say, or `None` when there are none.
fn complaints(text: &str) -> Option<String> {
    let source = Source::new("archive.toml", text);
    let complaints = top::read(source, |_| Vec::new()).err()?;
    Some(complaints.iter().map(ToString::to_string).collect())
}

/// Each case compiles the built-in dialects.
fn few() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases / 8,
        ..default
    }
}

#[test]
fn the_whole_configuration_is_right() {
    assert_eq!(complaints(&whole()), None);
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn fuzz_no_slip_of_the_keyboard_brings_a_secret_into_a_complaint(at in 0_usize..1000, gone in 0_usize..8, typed in "[a-z\"'=\\[\\]{}#.,\\\\\n 0-9]{0,3}") {
        let mut text = whole();
        let at = at % text.len();
        text.replace_range(at..(at + gone).min(text.len()), &typed);
        if let Some(said) = complaints(&text) {
            prop_assert!(!said.is_empty());
            // The secret itself may have been typed over: what is left of it is no secret less.
            prop_assert!(!said.contains("CRET-01") && !said.contains("3456789"), "{}\n---\n{}", said, text);
        }
    }

    #[test]
    fn fuzz_any_text_is_read_or_refused(text in "\\PC{0,200}", keys in "(\\[?\\[?(archive|network|sites\\.x|jobs|daemon|notify)\\]?\\]?\n|(path|url|dialect|tries|allow|cookies|every|params) ?= ?(\"[a-z:/{}*.]{0,12}\"|[0-9]{1,3}|\\[\\]|\\{\\}|true)\n){0,12}") {
        for text in [text, keys] {
            if let Some(said) = complaints(&text) {
                prop_assert!(!said.is_empty());
            }
        }
    }
}
