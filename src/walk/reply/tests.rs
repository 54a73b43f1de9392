//! What replies are taken for before anybody reads them.

use proptest::prelude::*;

use url::Url;

use super::*;
use crate::{
    config::Config,
    dialect::{Cursor, Values},
};

/// A site that talks Moebooru.
fn site() -> Arc<Site> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("archive.toml");
    let text = "archive.path = \"a\"\n[sites.mine]\ndialect = \"moebooru\"\nurl = \"https://booru.example\"\n";
    std::fs::write(&path, text).expect("ours");
    let config = Config::load(&path).expect("no mistake");
    config.site("mine").expect("its own")
}

/// What a reply is taken for.
fn class(status: u16, kind: Option<&str>, body: &[u8]) -> Result<(), Class> {
    thread_local! {
        static SITE: Arc<Site> = site();
    }
    SITE.with(|site| {
        let url: Url = "https://booru.example/post.json".parse().expect("a url");
        let reply = Reply::for_tests(status, kind, body, url);
        let endpoint = &site.dialect.endpoints["posts"];
        let (params, cursor) = (Values::default(), Cursor::default());
        let asked = Asked {
            status,
            ..Asked::new(&site.url, &[], &params, &cursor)
        };
        let classified = classify(site, endpoint, &asked, &reply);
        classified.map_err(|failure| failure.class)
    })
}

proptest! {
    #[test]
    fn fuzz_only_a_good_status_without_a_page_for_people_is_read(
        status in 100_u16..600,
        kind in prop_oneof![Just(None), Just(Some("text/html")), Just(Some("application/json"))],
        space in "[ \n\t]{0,3}",
        html: bool,
        words in prop_oneof![
            Just(""),
            Just("<input type=password>"),
            Just("Just a moment..."),
            Just("{\"success\":false,\"reason\":\"access denied\"}"),
        ],
        rest in "\\PC{0,40}",
    ) {
        let start = if html { "<html>" } else { "" };
        let body = format!("{space}{start}{words}{rest}");
        let page = kind == Some("text/html") || body.trim_ascii_start().starts_with('<');
        let class = class(status, kind, body.as_bytes());
        let good = (200..300).contains(&status);
        prop_assert_eq!(class.is_ok(), good && !page, "{:?}", class);
        // What a person must look at is not tried again and again.
        if good && page && words.starts_with("Just") {
            prop_assert_eq!(class, Err(Class::Blocked));
        }
        if status == 429 {
            prop_assert_eq!(class, Err(Class::RateLimited));
        }
    }
}
