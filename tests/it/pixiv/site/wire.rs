//! The two ports of the site, what may come in, and the log.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::StatusCode,
    response::Response,
};
use serde_json::Value;
use url::form_urlencoded;

use super::{answers, render, world::World};
use crate::loopback::Loopback;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whether the image host was asked.
    pub media: bool,
    pub method: String,
    pub path: String,
    /// The query's pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Names are lower-case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub at: Instant,
    /// What was answered.
    pub status: u16,
}

impl Request {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
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
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            kind: "application/json; charset=utf-8",
            body: value.to_string().into_bytes(),
        }
    }

    pub(super) fn html(status: u16, text: &str) -> Self {
        Self {
            status,
            kind: "text/html; charset=UTF-8",
            body: text.as_bytes().to_vec(),
        }
    }
}

pub(crate) struct Pixiv {
    /// Of the web API.
    pub url: String,
    /// Of the image host.
    pub img: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

pub(super) struct Shared {
    world: Mutex<World>,
    log: Mutex<Vec<Request>>,
    img: String,
}

type Site = (Arc<Shared>, bool);

async fn handle(State((site, media)): State<Site>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let headers = parts.headers.iter();
    let path = percent_encoding::percent_decode_str(parts.uri.path())
        .decode_utf8()
        .unwrap()
        .into_owned();
    let mut request = Request {
        media,
        method: parts.method.to_string(),
        path,
        query: form_urlencoded::parse(query).into_owned().collect(),
        headers: headers
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        at: Instant::now(),
        status: 0,
    };
    let mut world = site.world.lock().unwrap();
    let answer = if media {
        file(&world, &request)
    } else {
        page(&mut world, &request, &site.img)
    };
    drop(world);
    request.status = answer.status;
    site.log.lock().unwrap().push(request);
    Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap())
        .header("content-type", answer.kind)
        .body(Body::from(answer.body))
        .unwrap()
}

/// The image host: a Referer of pixiv, and no cookie.
fn file(world: &World, request: &Request) -> Answer {
    let refused = |why: &str| Answer::html(403, why);
    if !["https://www.pixiv.net/", "https://app-api.pixiv.net/"]
        .contains(&request.header("referer"))
    {
        return refused("403 Forbidden");
    }
    if request.headers.contains_key("cookie") {
        return refused("a cookie does not belong here");
    }
    for work in world.works.values() {
        for page in 0..work.pages {
            let path = match work.kind {
                super::Kind::Ugoira => render::zip(work),
                _ => render::original(work, page),
            };
            if path == request.path {
                let kind = match path.rsplit('.').next() {
                    Some("zip") => "application/zip",
                    Some("png") => "image/png",
                    _ => "image/jpeg",
                };
                return Answer {
                    status: 200,
                    kind,
                    body: work.bytes(page),
                };
            }
        }
    }
    Answer::html(404, "404 Not Found")
}

fn page(world: &mut World, request: &Request, img: &str) -> Answer {
    if request.header("user-agent").is_empty() {
        return Answer::html(403, "<html><title>Just a moment...</title></html>");
    }
    if let Some(mut hook) = world.hook.take() {
        hook(world, request);
        world.hook.get_or_insert(hook);
    }
    if let Some(status) = world.refuse.pop_front() {
        return Answer {
            status,
            kind: "text/plain",
            body: Vec::new(),
        };
    }
    if let Some((allowed, refused)) = &mut world.burst {
        if *allowed > 0 {
            *allowed -= 1;
        } else if *refused > 0 {
            *refused -= 1;
            return Answer {
                status: 429,
                kind: "text/plain",
                body: Vec::new(),
            };
        }
    }
    answers::answer(world, request, img)
}

impl Pixiv {
    /// A site of which nobody knows anything yet.
    pub(crate) fn start() -> Self {
        let loopback = Loopback::bind();
        let [url, img] = loopback.urls.clone();
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new()),
            log: Mutex::default(),
            img: img.clone(),
        });
        let runtime = loopback.serve(|media| {
            Router::new()
                .fallback(handle)
                .with_state((shared.clone(), media))
        });
        Self {
            url,
            img,
            shared,
            _runtime: runtime,
        }
    }

    /// The site's world, which stands still meanwhile.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Everything asked so far.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.shared.log.lock().unwrap().clear();
    }

    /// Requests of the API below a path.
    pub(crate) fn asked(&self, below: &str) -> Vec<Request> {
        let mut log = self.log();
        log.retain(|request| !request.media && request.path.starts_with(below));
        log
    }

    /// Requests of the image host.
    pub(crate) fn files(&self) -> Vec<Request> {
        let mut log = self.log();
        log.retain(|request| request.media);
        log
    }
}
