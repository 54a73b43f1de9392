//! A site that lists what was popular on each day, and the user dialect that reads it.
//!
//! Strict: it answers 400 to what it does not know. A test changes its days between runs, lets some fail, and reads what
//! was asked from its log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::shell::Shell;

/// Entries of a page.
const SIZE: usize = 2;

pub(super) struct Daily {
    pub(super) url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    days: Mutex<BTreeMap<String, Vec<u64>>>,
    log: Mutex<Vec<String>>,
    /// Days that are answered with 500, and files with 503.
    ill: Mutex<BTreeSet<String>>,
    /// A day that is not answered.
    stalled: Mutex<Option<String>>,
    /// Days whose pages go round in circles.
    circles: Mutex<BTreeSet<String>>,
    /// Posts that are sent as text.
    garbled: Mutex<BTreeSet<u64>>,
}

type Asked = BTreeMap<String, String>;

fn post(id: u64) -> Value {
    let body = format!("the bytes of {id}");
    json!({ "id": id, "file": format!("/file/{id}"), "sha256": hex::encode(Sha256::digest(&body)) })
}

async fn popular(
    State(site): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, StatusCode> {
    let known = ["year", "month", "day", "page", "limit"];
    if asked.len() != known.len() || known.iter().any(|key| !asked.contains_key(*key)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let day = format!("{}-{}-{}", asked["year"], asked["month"], asked["day"]);
    let page: usize = asked["page"].parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    site.log.lock().unwrap().push(format!("{day} {page}"));
    while site.stalled.lock().unwrap().as_ref() == Some(&day) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if site.ill.lock().unwrap().contains(&day) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let from = if site.circles.lock().unwrap().contains(&day) {
        (page - 1) % 2 * SIZE
    } else {
        (page - 1) * SIZE
    };
    let garbled = site.garbled.lock().unwrap();
    let entry = |id: &u64| {
        if garbled.contains(id) {
            json!(format!("post {id}"))
        } else {
            post(*id)
        }
    };
    let days = site.days.lock().unwrap();
    let posts = days.get(&day).into_iter().flatten();
    let posts: Vec<_> = posts.skip(from).take(SIZE).map(entry).collect();
    Ok(Json(json!({ "posts": posts })))
}

async fn file(State(site): State<Arc<Shared>>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    let name = format!("/file/{id}");
    site.log.lock().unwrap().push(name.clone());
    if site.ill.lock().unwrap().contains(&name) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(format!("the bytes of {id}"))
}

impl Daily {
    /// A site without a day.
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/daily", get(popular))
            .route("/file/{id}", get(file))
            .with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listener).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    /// Sets what was popular on a day.
    pub(super) fn day(&self, day: &str, posts: &[u64]) -> &Self {
        let mut days = self.shared.days.lock().unwrap();
        days.insert(day.to_owned(), posts.to_vec());
        drop(days);
        self
    }

    /// A day, or the address of a file, that fails from now on.
    pub(super) fn fall_ill(&self, what: &str) {
        self.shared.ill.lock().unwrap().insert(what.to_owned());
    }

    pub(super) fn heal(&self) {
        self.shared.ill.lock().unwrap().clear();
        self.shared.garbled.lock().unwrap().clear();
    }

    /// Does not answer for this day until it is another.
    pub(super) fn stall(&self, day: Option<&str>) {
        *self.shared.stalled.lock().unwrap() = day.map(str::to_owned);
    }

    /// Shows the first two pages of this day over and over.
    pub(super) fn go_in_circles(&self, day: &str) {
        self.shared.circles.lock().unwrap().insert(day.to_owned());
    }

    /// Sends this post as something that no filter reads.
    pub(super) fn garble(&self, post: u64) {
        self.shared.garbled.lock().unwrap().insert(post);
    }

    /// The days asked for, in order, as `2024-03-01 1` with the page; forgets them.
    pub(super) fn pages(&self) -> Vec<String> {
        let mut log = self.shared.log.lock().unwrap();
        let (files, pages) = log.drain(..).partition(|line| line.starts_with('/'));
        *log = files;
        pages
    }

    /// The days whose first page was asked for, in order; forgets them.
    pub(super) fn days(&self) -> Vec<String> {
        let mut pages = self.pages();
        pages.retain(|page| page.ends_with(" 1"));
        pages.iter().map(|page| page[..10].to_owned()).collect()
    }

    /// Whether this was asked for, without forgetting it.
    pub(super) fn was_asked(&self, line: &str) -> bool {
        self.shared.log.lock().unwrap().iter().any(|l| l == line)
    }

    /// The files asked for, sorted; forgets them.
    pub(super) fn files(&self) -> Vec<String> {
        let mut log = self.shared.log.lock().unwrap();
        let (mut files, pages): (Vec<_>, _) = log.drain(..).partition(|line| line.starts_with('/'));
        *log = pages;
        files.sort();
        files
    }
}

const DIALECT: &str = r#"
format = 1
name = "daily"

[listing.popular]
get = "/daily{?year,month,day,page,limit}"
vars = '.date | split("-") | {year: .[0], month: .[1], day: .[2]}'
paging = { by = "page", size = 2, end = "short" }
each = '.posts[]'
item = '{kind: "post", id, files: [{role: "file", url: .file, sha256}]}'
roles = ["file"]

[listing.popular.params]
date = { type = "date", required = true }
until = { type = "date" }
"#;

/// Writes a configuration with the job `popular` over `date`; `keys` go below it.
pub(super) fn write(shell: &Shell, site: &Daily, date: &str, keys: &str) {
    shell.write("daily.toml", DIALECT);
    let (url, host) = (&site.url, site.url.trim_start_matches("http://"));
    shell.write(
        "archive.toml",
        &format!(
            r#"
            dialects = ["daily.toml"]
            archive.path = "archive"
            [network]
            allow = ["{host}"]
            tries = 2
            backoff = "10ms"
            [sites.daily]
            dialect = "daily"
            url = "{url}"
            id = "daily"
            rate = "unlimited"
            connections = 4
            media_rate = "unlimited"
            [[jobs]]
            name = "popular"
            site = "daily"
            listing = "popular"
            params = {{ date = "{date}" }}
            {keys}
            "#
        ),
    );
}
