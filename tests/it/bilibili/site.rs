//! The two ports of the mock site, what may come in, and the log.
//!
//! Promises: strict where the real one is (user agent, Referer, signatures over what came, their age, the size of a page,
//! logins, JSON within JSON, the token of a POST), and as odd: status 200 for refusals, `null` for `[]`, answers in which
//! everything is zero, guests who are told that three replies are all, 304 behind the last segment.
#![allow(dead_code, reason = "each story uses only a part of the site")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{Router, body::Body, body::to_bytes, extract::State, response::Response};
use url::form_urlencoded;

use super::{super::loopback::Loopback, answers, world::World};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub media: bool,
    pub method: String,
    pub path: String,
    /// The query's pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Names are lower-case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.header("cookie").split("; ");
        cookies
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
}

pub(crate) struct Bilibili {
    /// Of the API.
    pub url: String,
    /// Of the files.
    pub files: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    world: Mutex<World>,
    log: Mutex<Vec<Request>>,
    files: String,
}

type Site = (Arc<Shared>, bool);

async fn handle(State((site, media)): State<Site>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default();
    // The site reads a plus as it stands in a form, so a signature over another reading fails there.
    let headers = parts.headers.iter();
    let request = Request {
        media,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers: headers
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let mut world = site.world.lock().unwrap();
    let answer = if media {
        answers::file(&request)
    } else {
        answers::answer(&mut world, &request, &site.files)
    };
    drop(world);
    site.log.lock().unwrap().push(request);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

impl Bilibili {
    /// A subject without a reply.
    pub(crate) fn start() -> Self {
        let loopback = Loopback::bind();
        let [url, files] = loopback.urls.clone();
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new()),
            log: Mutex::default(),
            files: files.clone(),
        });
        let runtime = loopback.serve(|media| {
            Router::new()
                .fallback(handle)
                .with_state((shared.clone(), media))
        });
        Self {
            url,
            files,
            shared,
            _runtime: runtime,
        }
    }

    /// The site's world, which stands still meanwhile.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Requests of the API to a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Request> {
        let log = self.shared.log.lock().unwrap();
        let asked = log.iter().filter(|r| !r.media && r.path == path);
        asked.cloned().collect()
    }

    /// Requests of the API, and of the files.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let log = self.shared.log.lock().unwrap();
        let files = log.iter().filter(|request| request.media).count();
        (log.len() - files, files)
    }

    /// Requests of the files, by path.
    pub(crate) fn fetched(&self) -> BTreeMap<String, usize> {
        let mut fetched = BTreeMap::new();
        for request in self.shared.log.lock().unwrap().iter().filter(|r| r.media) {
            *fetched.entry(request.path.clone()).or_default() += 1;
        }
        fetched
    }

    pub(crate) fn clear(&self) {
        self.shared.log.lock().unwrap().clear();
    }
}
