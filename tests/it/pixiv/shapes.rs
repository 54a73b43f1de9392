//! Every endpoint of the dialect `pixiv` reads a reply in its recorded shape (contents are invented) into the whole normal
//! form: numbers and texts mixed, `[]` for an empty map, adverts, masked entries, a message or none.

use larder::{
    class::Class,
    config::Config,
    dialect::{Asked, Catalog, Cursor, Dialect, Entry, Page, ReplyError, Values},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

fn dialect() -> Arc<Dialect> {
    Catalog::built_in().get("pixiv").unwrap().clone()
}

fn recording(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pixiv");
    fs::read(folder.join(format!("{name}.json"))).unwrap()
}

fn ask(
    endpoint: &str,
    body: &[u8],
    params: Value,
    at: Value,
    status: u16,
) -> Result<Page, ReplyError> {
    let dialect = dialect();
    let endpoint = &dialect.endpoints[endpoint];
    let params: Values = serde_json::from_value(params).unwrap();
    let params = endpoint.complete(&params).unwrap();
    let mut cursor = endpoint.paging(&params).start().cursor;
    cursor.extend(serde_json::from_value::<Cursor>(at).unwrap());
    let base = "https://www.pixiv.net/".parse().unwrap();
    let with: Vec<String> = endpoint.follows.clone();
    let asked = Asked {
        status,
        ..Asked::new(&base, &with, &params, &cursor)
    };
    endpoint.read(body, &asked)
}

fn read(endpoint: &str, file: &str, params: Value, at: Value) -> Page {
    ask(endpoint, &recording(file), params, at, 200).unwrap()
}

/// What a page shows, one below the other, whole but for `raw`; every entry must be good and hold what the site sent.
fn whole(endpoint: &str, file: &str, params: Value, at: Value) -> String {
    let page = read(endpoint, file, params, at);
    let shown = &page.shown;
    let mut lines = Vec::new();
    let told = json!({ "total": shown.total, "last": shown.last, "next": shown.next, "slice": shown.slice });
    let mut told = told.as_object().unwrap().clone();
    told.retain(|_, value| !value.is_null());
    lines.push(format!("shown: {}", Value::Object(told)));
    lines.extend(
        page.follow
            .iter()
            .map(|follow| format!("goes on: {}", serde_json::to_string(follow).unwrap())),
    );
    for entry in &page.entries {
        let Entry::Good(item) = entry else {
            panic!("{entry:?}")
        };
        let raw: Value = serde_json::from_str(item.raw[endpoint].get()).unwrap();
        assert!(raw.is_object() || raw.is_array(), "{raw}");
        let mut json = serde_json::to_value(item).unwrap();
        json.as_object_mut().unwrap().remove("raw");
        lines.push(serde_json::to_string_pretty(&json).unwrap());
        let leads =
            |how: &str, follow| format!("{how}: {}", serde_json::to_string(follow).unwrap());
        lines.extend(item.follow.iter().map(|follow| leads("needs", follow)));
        lines.extend(item.also.iter().map(|follow| leads("with it", follow)));
    }
    lines.join("\n")
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $test:ident: $endpoint:literal of $file:literal, $params:tt, $at:tt;)*) => {
        /// The endpoints that have a test here.
        const TESTED: &[&str] = &[$($endpoint),*];
        $(
            $(#[$doc])*
            #[test]
            fn $test() {
                insta::assert_snapshot!(whole($endpoint, $file, json!($params), json!($at)));
            }
        )*
    };
}

shapes! {
    a_work_leads_to_its_pages: "illust" of "illust", {"id": 90_000_009}, {};
    an_ugoira_leads_to_its_frames: "illust" of "illust_ugoira", {"id": 90_000_006}, {};
    a_work_for_adults_without_a_login_says_what_is_missing: "illust" of "illust_hidden", {"id": 90_000_004}, {};
    an_ugoira_for_adults_without_a_login_does_too: "illust" of "illust_ugoira_hidden", {"id": 90_000_005}, {};
    the_pages_of_a_work_in_order: "pages" of "pages", {"id": 90_000_008}, {};
    the_zip_and_the_frames_of_an_ugoira: "ugoira_meta" of "ugoira_meta", {"id": 90_000_006}, {};
    comments_and_which_have_replies: "comments" of "comments", {"illust_id": 90_000_009}, {};
    replies_to_a_comment: "replies" of "replies", {"comment_id": 700_001}, {};
    a_series_and_its_works: "series" of "series", {"id": 5151}, {};
    a_user_in_short: "user" of "user", {"user": 4711}, {};
    a_user_in_full: "user_full" of "user_full", {"user": 4711}, {};
    all_works_of_an_artist_by_number: "works" of "works", {"user": 4711}, {};
    an_artist_without_works: "works" of "works_none", {"user": 4713}, {};
    works_of_an_artist_in_the_order_asked:
        "works_shown" of "works_shown", {"user": 4711, "ids": ["90000009", "90000008", "80000001"]}, {};
    works_of_an_artist_with_a_tag: "works_by_tag" of "works_by_tag", {"user": 4711, "tag": "heath"}, {};
    the_latest_works_of_an_artist: "works_latest" of "works_latest", {"user": 4711}, {};
    bookmarks_with_a_masked_one: "bookmarks" of "bookmarks", {"user": 4710}, {};
    bookmarks_past_the_end: "bookmarks" of "bookmarks_past_the_end", {"user": 4710}, {"offset": 48};
    who_a_user_follows: "following" of "following", {"user": 4710}, {};
    who_follows_a_user: "followers" of "followers", {"user": 4710}, {};
    new_works_of_the_followed: "follow_latest" of "follow_latest", {}, {};
    new_works_of_ones_mypixiv: "mypixiv_latest" of "mypixiv_latest", {}, {};
    series_that_one_watches: "watch_list" of "watch_list", {}, {};
    no_series_at_all: "watch_list" of "watch_list_none", {}, {};
    what_stands_on_the_front_page: "top" of "top", {}, {};
    a_ranking_of_numbers_and_texts: "ranking" of "ranking", {}, {};
    the_last_page_of_a_ranking: "ranking" of "ranking_last", {}, {"page": 10};
    the_newest_of_everybody: "new" of "new", {}, {};
    what_is_recommended_beside_a_work: "recommend" of "recommend", {"id": 90_000_009}, {};
    more_that_is_recommended: "recommend_more" of "recommend_more", {"ids": ["90000008"]}, {};
    works_that_pixiv_picks: "discovery" of "discovery", {}, {};
    artists_that_pixiv_picks: "discovery_users" of "discovery_users", {}, {};
    a_search_without_a_message: "search" of "search", {"word": "heath"}, {};
    a_search_for_illustrations: "search_illustrations" of "search_illustrations", {"word": "heath"}, {};
    a_search_for_manga: "search_manga" of "search_manga", {"word": "heath", "order": "date"}, {};
    what_the_page_of_a_word_shows: "search_top" of "search_top", {"word": "heath"}, {};
    a_tag_in_the_encyclopedia: "tag" of "tag", {"tag": "水彩"}, {};
    a_tag_that_the_encyclopedia_does_not_know: "tag" of "tag_unknown", {"tag": "heath mist"}, {};
    numbers_of_stories: "tag_stories" of "tag_stories", {"tag": "heath"}, {};
    the_page_of_all_requests: "requests" of "requests", {}, {};
    finished_requests_and_their_works: "requests_complete" of "requests_complete", {}, {};
    artists_who_take_requests: "requests_creators" of "requests_creators", {}, {};
    requests_in_progress: "requests_in_progress" of "requests_in_progress", {}, {};
    who_is_live: "sketch_live" of "sketch_live", {}, {};
    counts_of_the_account: "user_extra" of "user_extra", {}, {};
    the_dashboard: "dashboard" of "dashboard", {}, {};
    its_settings: "dashboard_settings" of "dashboard_settings", {}, {};
    works_that_may_sell_requests: "request_strategy" of "request_strategy", {}, {};
    titles_of_picked_works: "discovery_meta" of "discovery_meta", {}, {};
    titles_of_picked_artists: "discovery_users_meta" of "discovery_users_meta", {}, {};
    the_key_of_notifications: "webpush" of "webpush", {}, {};
    notifications: "notification" of "notification", {}, {};
    a_linked_service: "linked_service" of "linked_service", {"page": 1}, {};
}

#[test]
fn no_endpoint_is_without_such_a_test() {
    let tested: BTreeSet<_> = TESTED.iter().copied().collect();
    let dialect = dialect();
    let all: BTreeSet<_> = dialect.endpoints.keys().map(String::as_str).collect();
    assert_eq!(tested, all);
}

#[test]
fn works_of_one_kind_are_a_part_of_all() {
    let ids = |kind: &str| -> Vec<String> {
        let page = read(
            "works",
            "works",
            json!({"user": 4711, "type": kind}),
            json!({}),
        );
        let follow = page
            .follow
            .iter()
            .map(|follow| serde_json::to_value(follow).unwrap());
        let ids = follow.flat_map(|follow| follow["params"]["ids"].as_array().unwrap().clone());
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    // By number: as texts, 9 would come first.
    assert_eq!(ids("all"), ["90000009", "90000008", "80000001", "9"]);
    assert_eq!(ids("illust"), ["90000009", "80000001", "9"]);
    assert_eq!(ids("manga"), ["90000008"]);
}

#[test]
fn a_thousand_works_are_asked_for_48_at_a_time() {
    let illusts: serde_json::Map<_, _> =
        (1..=1000).map(|id| (id.to_string(), Value::Null)).collect();
    let body = json!({"error": false, "message": "", "body": {"illusts": illusts, "manga": []}})
        .to_string();
    let page = ask("works", body.as_bytes(), json!({"user": 1}), json!({}), 200).unwrap();
    let chunks: Vec<_> = page
        .follow
        .iter()
        .map(|follow| {
            serde_json::to_value(follow).unwrap()["params"]["ids"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(chunks.len(), 21);
    assert!(chunks[..20].iter().all(|n| *n == 48) && chunks[20] == 40);
}

#[test]
fn a_ranking_day_is_a_date_and_its_contents_may_be_all() {
    let urls = |params: &str| -> Vec<String> {
        let text = format!(
            "[[jobs]]\nname = \"j\"\nsite = \"pixiv\"\nlisting = \"ranking\"\nparams = {{ {params} }}\n"
        );
        let text = format!("[archive]\npath = \"a\"\n{text}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.toml");
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        config
            .jobs
            .iter()
            .map(|job| {
                let at = job.listing.paging(&job.params).start();
                let request = job
                    .listing
                    .request(&job.site, &job.params, &at, None)
                    .unwrap()
                    .unwrap();
                request.url.to_string()
            })
            .collect()
    };
    assert_eq!(
        urls("mode = \"weekly\", date = \"2024-02-03\", content = \"manga\""),
        [
            "https://www.pixiv.net/ranking.php?format=json&p=1&mode=weekly&date=20240203&content=manga"
        ]
    );
    assert_eq!(
        urls(""),
        ["https://www.pixiv.net/ranking.php?format=json&p=1&mode=daily"]
    );
}

#[test]
fn what_the_site_reports_has_the_class_that_its_status_and_its_words_mean() {
    let class = |file: &str, endpoint: &str, status| -> Option<Class> {
        let params = if endpoint == "illust" {
            json!({"id": 7})
        } else {
            json!({"user": 7})
        };
        ask(endpoint, &recording(file), params, json!({}), status)
            .err()
            .map(|error| error.class)
    };
    assert_eq!(
        class("error_not_found", "illust", 404),
        Some(Class::Http404)
    );
    assert_eq!(class("error_left", "user", 404), Some(Class::Http404));
    assert_eq!(class("error_left", "user", 200), Some(Class::Http404));
    assert_eq!(class("error_unknown", "bookmarks", 200), Some(Class::Auth));
    assert_eq!(class("error_unknown", "bookmarks", 401), Some(Class::Auth));
    assert_eq!(
        class("error_malformed", "bookmarks", 400),
        Some(Class::Auth),
        "only for members"
    );
    assert_eq!(
        class("error_malformed", "illust", 400),
        Some(Class::Http4xx)
    );
    assert_eq!(class("error_bare", "illust", 200), Some(Class::Listing));
    assert_eq!(class("error_bare", "illust", 429), Some(Class::RateLimited));
    assert_eq!(class("error_bare", "illust", 502), Some(Class::Http5xx));
}

#[test]
fn a_search_that_is_throttled_is_a_page_with_a_total_of_0() {
    let page = read(
        "search",
        "search_throttled",
        json!({"word": "heath"}),
        json!({}),
    );
    assert_eq!((page.shown.total, page.shown.count), (Some(0), 0));
    assert!(dialect().endpoints["search"].zero_throttles);
}

#[test]
fn replies_of_other_shapes_are_refused_whole() {
    for (endpoint, params) in [
        ("illust", json!({"id": 7})),
        ("pages", json!({"id": 7})),
        ("ugoira_meta", json!({"id": 7})),
        ("bookmarks", json!({"user": 7})),
        ("works", json!({"user": 7})),
        ("works_shown", json!({"user": 7, "ids": ["1"]})),
        ("follow_latest", json!({})),
        ("ranking", json!({})),
        ("search", json!({"word": "x"})),
        ("comments", json!({"illust_id": 7})),
        ("series", json!({"id": 7})),
        ("watch_list", json!({})),
        ("requests_complete", json!({})),
    ] {
        for body in [
            json!({"error": false, "message": "", "body": []}),
            json!({"error": false, "body": null}),
            json!([]),
        ] {
            let read = ask(
                endpoint,
                body.to_string().as_bytes(),
                params.clone(),
                json!({}),
                200,
            );
            let error = read.err().unwrap_or_else(|| panic!("{endpoint} {body}"));
            assert_eq!(error.class, Class::Listing, "{endpoint} {body}: {error}");
        }
    }
}
