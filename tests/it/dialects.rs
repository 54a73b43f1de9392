//! A user's own dialect against a small JSON site: every paging but keyset, which the Moebooru stories walk.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, Uri},
    routing::get,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::shell::Shell;

/// A site of numbered things, and every address that was asked for.
struct Site {
    url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    things: Mutex<Vec<u64>>,
    log: Mutex<Vec<String>>,
    /// Things that vanish before the second page is answered.
    vanish: Mutex<usize>,
    /// How often it was asked for something.
    asked: std::sync::atomic::AtomicUsize,
    /// Replies that say in words, with status 200, that it is too much; and when each came.
    busy: Mutex<(usize, Vec<std::time::Instant>)>,
}

type Asked = (
    State<Arc<Shared>>,
    Query<std::collections::BTreeMap<String, String>>,
    Uri,
);

fn thing(id: u64) -> Value {
    let body = format!("the bytes of {id}");
    json!({ "id": id, "file": format!("/file/{id}"), "sha256": hex::encode(Sha256::digest(&body)) })
}

impl Shared {
    fn note(&self, uri: &Uri) {
        self.log.lock().unwrap().push(uri.to_string());
    }

    fn slice(&self, from: usize, count: usize) -> (Vec<Value>, usize) {
        let things = self.things.lock().unwrap();
        let page = things
            .iter()
            .skip(from)
            .take(count)
            .map(|id| thing(*id))
            .collect();
        (page, things.len())
    }
}

fn number(query: &std::collections::BTreeMap<String, String>, key: &str) -> usize {
    query.get(key).map_or(0, |text| text.parse().unwrap())
}

fn by_offset((State(site), Query(query), uri): Asked) -> Json<Value> {
    site.note(&uri);
    if number(&query, "offset") > 0 {
        let gone = std::mem::take(&mut *site.vanish.lock().unwrap());
        site.things.lock().unwrap().drain(..gone);
    }
    let (page, total) = site.slice(number(&query, "offset"), number(&query, "limit"));
    Json(json!({ "things": page, "total": total }))
}

fn by_cursor((State(site), Query(query), uri): Asked) -> Json<Value> {
    site.note(&uri);
    let at = query
        .get("at")
        .map_or(0, |at| at.trim_start_matches("after ").parse().unwrap());
    let (page, total) = site.slice(at, 3);
    let next = (at + 3 < total).then(|| format!("after {}", at + 3));
    Json(json!({ "things": page, "next": next }))
}

fn once((State(site), _, uri): Asked) -> Json<Value> {
    site.note(&uri);
    Json(json!({ "things": site.slice(0, 100).0 }))
}

fn failing((State(site), _, uri): Asked) -> Json<Value> {
    site.note(&uri);
    Json(json!({ "error": { "code": "badtoken", "info": "a token is needed" } }))
}

/// A cursor that goes round in a circle: a, b, c, a…
fn circling((State(site), Query(query), uri): Asked) -> Json<Value> {
    site.note(&uri);
    let (from, next) = match query.get("at").map(String::as_str) {
        None => (0, "a"),
        Some("a") => (3, "b"),
        Some("b") => (6, "c"),
        Some(_) => (9, "a"),
    };
    Json(json!({ "things": site.slice(from, 3).0, "next": next }))
}

/// A cursor that is another one each time, before the same entries.
fn spinning((State(site), _, uri): Asked) -> Json<Value> {
    site.note(&uri);
    let nth = site
        .asked
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Json(json!({ "things": site.slice(0, 3).0, "next": format!("token {nth}") }))
}

/// A listing that says that it has more than it shows.
fn hiding((State(site), Query(query), uri): Asked) -> Json<Value> {
    site.note(&uri);
    let (offset, hidden) = (number(&query, "offset"), *site.vanish.lock().unwrap());
    let (page, total) = site.slice(offset, number(&query, "limit"));
    let page = if offset >= total - hidden {
        vec![]
    } else {
        page
    };
    Json(json!({ "things": page, "total": total }))
}

fn throttling((State(site), _, uri): Asked) -> Json<Value> {
    site.note(&uri);
    let (left, times) = &mut *site.busy.lock().unwrap();
    times.push(std::time::Instant::now());
    match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            Json(json!({ "error": { "code": "toofast", "info": "slow down" } }))
        }
        None => Json(json!({ "things": site.slice(0, 100).0 })),
    }
}

async fn file(
    State(site): State<Arc<Shared>>,
    Path(id): Path<u64>,
    uri: Uri,
) -> (StatusCode, String) {
    site.note(&uri);
    (StatusCode::OK, format!("the bytes of {id}"))
}

impl Site {
    fn start(things: std::ops::RangeInclusive<u64>) -> Self {
        let shared = Arc::new(Shared {
            things: Mutex::new(things.rev().collect()),
            ..Shared::default()
        });
        let router = Router::new()
            .route(
                "/offset",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { by_offset((s, q, u)) }),
            )
            .route(
                "/cursor",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { by_cursor((s, q, u)) }),
            )
            .route(
                "/once",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { once((s, q, u)) }),
            )
            .route(
                "/failing",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { failing((s, q, u)) }),
            )
            .route(
                "/throttling",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { throttling((s, q, u)) }),
            )
            .route(
                "/circling",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { circling((s, q, u)) }),
            )
            .route(
                "/spinning",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { spinning((s, q, u)) }),
            )
            .route(
                "/hiding",
                get(|s: State<_>, q: Query<_>, u: Uri| async move { hiding((s, q, u)) }),
            )
            .route("/file/{id}", get(file))
            .with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    /// Addresses asked for below `path`.
    fn asked(&self, path: &str) -> Vec<String> {
        let log = self.shared.log.lock().unwrap();
        log.iter()
            .filter(|uri| uri.starts_with(path))
            .cloned()
            .collect()
    }
}

const DIALECT: &str = r#"
format = 1
name = "things"
error = '.error | select(. != null) | {class: ({badtoken: "auth", toofast: "rate_limited"}[.code] // "listing"), message: .info}'

[listing.offset]
get = "/offset{?offset,limit}"
paging = { by = "offset", size = 4, max = 10, overlap = 1 }
total = '.total'
each = '.things[]'
item = '{kind: "thing", id, files: [{role: "file", url: .file, sha256}]}'
roles = ["file"]

[listing.cursor]
get = "/cursor{?at}"
paging = { by = "cursor" }
next = '.next | select(. != null) | {at: .}'
each = '.things[]'
item = '{kind: "thing", id, files: [{role: "file", url: .file, sha256}]}'
roles = ["file"]

[listing.once]
get = "/once"
paging = { by = "once" }
each = '.things[]'
item = '{kind: "thing", id}'

[listing.circling]
get = "/circling{?at}"
paging = { by = "cursor" }
next = '{at: .next}'
each = '.things[]'
item = '{kind: "thing", id}'

[listing.spinning]
get = "/spinning{?at}"
paging = { by = "cursor" }
next = '{at: .next}'
each = '.things[]'
item = '{kind: "thing", id}'

[listing.hiding]
get = "/hiding{?offset,limit}"
paging = { by = "offset", size = 4, overlap = 1 }
total = '.total'
each = '.things[]'
item = '{kind: "thing", id}'

[listing.throttling]
get = "/throttling"
paging = { by = "once" }
each = '.things[]'
item = '{kind: "thing", id}'

[listing.failing]
get = "/failing"
paging = { by = "once" }
each = '.things[]'
item = '{kind: "thing", id}'
"#;

fn shell(site: &Site, listing: &str) -> Shell {
    let shell = Shell::new();
    shell.write("things.toml", DIALECT);
    let host = site.url.trim_start_matches("http://");
    shell.write(
        "archive.toml",
        &format!(
            r#"
            dialects = ["things.toml"]
            archive.path = "archive"
            [network]
            allow = ["{host}"]
            backoff = "10ms"
            tries = 1
            [sites.mine]
            dialect = "things"
            url = "{}"
            rate = "unlimited"
            media_rate = "unlimited"
            [[jobs]]
            name = "all"
            site = "mine"
            listing = "{listing}"
            "#,
            site.url
        ),
    );
    shell
}

fn archived(shell: &Shell) -> BTreeSet<u64> {
    let records = std::fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    let lines = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["type"] == "item")
        .map(|line| line["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn an_offset_walk_overlaps_and_loses_nothing_when_entries_vanish_before_it() {
    let site = Site::start(1..=11);
    *site.shared.vanish.lock().unwrap() = 3;
    let shell = shell(&site, "offset");
    shell.larder(&["run"]).ends(0);
    let kept = archived(&shell);
    assert!(
        (1..=8).all(|id| kept.contains(&id)),
        "{kept:?}, {:?}",
        site.asked("/offset")
    );
    assert!(
        site.asked("/offset")
            .iter()
            .all(|uri| uri.contains("limit=4"))
    );
    // The hash that the listing names is checked, and a second run asks for no file.
    let files = site.asked("/file").len();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.asked("/file").len(), files);
}

#[test]
fn a_cursor_walk_follows_what_the_reply_says_and_ends_where_it_says_nothing() {
    let site = Site::start(1..=7);
    let shell = shell(&site, "cursor");
    shell.larder(&["run"]).ends(0);
    assert_eq!(archived(&shell), (1..=7).collect());
    assert_eq!(
        site.asked("/cursor"),
        ["/cursor", "/cursor?at=after%203", "/cursor?at=after%206"]
    );
    assert_eq!(site.asked("/file").len(), 7);
}

#[test]
fn a_listing_of_one_page_is_asked_once() {
    let site = Site::start(1..=5);
    let shell = shell(&site, "once");
    shell.larder(&["run"]).ends(0);
    assert_eq!((archived(&shell).len(), site.asked("/once").len()), (5, 1));
}

#[test]
fn an_error_with_status_200_is_what_the_dialect_says_it_is() {
    let site = Site::start(1..=1);
    let shell = shell(&site, "failing");
    let ran = shell.larder(&["run"]).ends(3);
    assert!(
        ran.out.contains("paused (auth)") && ran.out.contains("a token is needed"),
        "{}",
        ran.out
    );
}

#[test]
fn fault_72_throttling_in_a_reply_with_status_200_is_no_end_and_holds_the_host() {
    let site = Site::start(1..=5);
    site.shared.busy.lock().unwrap().0 = 2;
    let shell = shell(&site, "throttling");
    shell.larder(&["run"]).ends(0);
    assert_eq!(archived(&shell).len(), 5);
    let times = site.shared.busy.lock().unwrap().1.clone();
    // Sixty times the back-off, then twice that; and no try was counted.
    let least = [600, 1200].map(std::time::Duration::from_millis);
    assert_eq!(times.len(), 3);
    for (pair, least) in times.windows(2).zip(least) {
        assert!(pair[1] - pair[0] >= least, "{:?}", pair[1] - pair[0]);
    }
}

#[test]
fn fault_77_a_cursor_that_goes_in_a_circle_is_left() {
    for (listing, items) in [("circling", 12), ("spinning", 3)] {
        let site = Site::start(1..=12);
        let shell = shell(&site, listing);
        let ran = shell.larder(&["run"]).ends(1);
        assert!(ran.out.contains("not walked to its end"), "{}", ran.out);
        let failures = shell.larder(&["failures", "--json"]).ends(0).json();
        assert_eq!(failures[0]["class"], "loop", "{failures}");
        let asked = site.asked(&format!("/{listing}")).len();
        assert!(asked <= 8, "{listing}: {asked} requests");
        assert_eq!(archived(&shell).len(), items);
    }
}

#[test]
fn fault_80_a_listing_that_says_it_has_more_is_not_taken_to_be_finished() {
    let site = Site::start(1..=30);
    *site.shared.vanish.lock().unwrap() = 10;
    let shell = shell(&site, "hiding");
    let ran = shell.larder(&["run"]).ends(1);
    assert!(ran.out.contains("not walked to its end"), "{}", ran.out);
    let failures = shell.larder(&["failures", "--json"]).ends(0).json();
    assert_eq!(failures[0]["class"], "listing", "{failures}");
    let message = failures[0]["message"].as_str().unwrap();
    assert!(message.contains("of 30 entries"), "{message}");
    // Once the site shows the rest, the walk goes on from there.
    *site.shared.vanish.lock().unwrap() = 0;
    shell.larder(&["run"]).ends(0);
    assert_eq!(archived(&shell).len(), 30);
}
