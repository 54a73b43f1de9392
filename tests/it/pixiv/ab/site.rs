//! A mock pixiv-ab: eight operations below `/api/pixiv`, and renditions beside them.
//!
//! Strict: each form has its own key names, and what it does not know it answers with 400.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::StatusCode,
    response::Response,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

pub(super) struct Ab {
    pub(super) url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    url: String,
    pictures: u64,
    overload: Mutex<u32>,
    log: Mutex<Vec<Request>>,
}

impl Shared {
    fn picture(&self, id: u64) -> Value {
        json!({
            "title": format!("夏の丘 {id}"), "tags": ["水彩", "heath"], "artist": "青鷺", "id": id, "uid": 4711,
            "url": format!("{}/img-master/img/2023/11/14/22/15/07/{id}_p0_master1200.jpg", self.url)
        })
    }

    /// A page, or all: nothing is a 404.
    fn pictures(&self, page: Option<u64>) -> Result<Value, u16> {
        let from = page.map_or(Ok(0), |page| page.checked_sub(1).ok_or(400_u16))? * 20;
        let most = page.map_or(u64::MAX, |_| 20);
        let until = self.pictures.min(from.saturating_add(most));
        let list: Vec<_> = (from..until).map(|n| self.picture(n + 1)).collect();
        if list.is_empty() {
            Err(404)
        } else {
            Ok(list.into())
        }
    }

    fn answer(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Value, u16> {
        let keys = |given: &[String], known: [&str; 6]| {
            let good = given.iter().all(|key| known.contains(&key.as_str()));
            if good { Ok(()) } else { Err(400_u16) }
        };
        let words: Vec<_> = path
            .strip_prefix("/api/pixiv/")
            .ok_or(404_u16)?
            .split('/')
            .collect();
        if method == "POST" {
            return match (words[..].concat().as_str(), kind) {
                ("", "application/x-www-form-urlencoded") => {
                    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes())
                        .into_owned()
                        .collect();
                    let given: Vec<_> = form.keys().cloned().collect();
                    keys(&given, ["Tags", "Date", "Artist", "UserId", "Page", "R18"])?;
                    self.pictures(Some(
                        form.get("Page")
                            .map_or(Ok(1), |page| page.parse())
                            .map_err(|_| 400_u16)?,
                    ))
                }
                ("json", "application/json") => {
                    let json: Value = serde_json::from_str(body).map_err(|_| 400_u16)?;
                    let given: Vec<_> = json.as_object().ok_or(400_u16)?.keys().cloned().collect();
                    keys(&given, ["tags", "date", "artist", "uid", "page", "r18"])?;
                    if !json["r18"].is_boolean() {
                        return Err(400);
                    }
                    self.pictures(Some(json["page"].as_u64().ok_or(400_u16)?))
                }
                _ => Err(400),
            };
        }
        match words[..] {
            ["daily" | "r18", "tag", _] | ["daily" | "r18", "random"] if self.pictures > 0 => {
                Ok(self.picture(1))
            }
            ["daily" | "r18", "user", "id", id] if id.parse::<u64>().is_ok() => self.pictures(None),
            ["daily" | "r18", "user", "name", _] => self.pictures(None),
            ["daily" | "r18", "date", day] if day.len() == 10 => self.pictures(None),
            ["daily" | "r18", "id", id] => Ok(self.picture(id.parse().map_err(|_| 400_u16)?)),
            _ => Err(404),
        }
    }
}

async fn handle(State(site): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let headers = parts.headers.iter();
    let headers: BTreeMap<_, _> = headers
        .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
        .collect();
    // Segments are told apart before they are decoded.
    let path = parts.uri.path().to_owned();
    let kind = headers.get("content-type").cloned().unwrap_or_default();
    site.log.lock().unwrap().push(Request {
        path: path.clone(),
        headers,
        body: body.clone(),
    });
    let mut overload = site.overload.lock().unwrap();
    let (status, kind, bytes) = if path.starts_with("/img-master/") {
        (
            200,
            "image/jpeg",
            [b"\xff\xd8\xff\xe0", path.as_bytes(), b"\xff\xd9"].concat(),
        )
    } else if *overload > 0 {
        *overload -= 1;
        (500, "text/plain", b"busy".to_vec())
    } else {
        assert!(percent_decode_str(&path).decode_utf8().is_ok());
        match site.answer(parts.method.as_str(), &path, &kind, &body) {
            Ok(json) => (200, "application/json", json.to_string().into_bytes()),
            Err(status) => (status, "text/plain", Vec::new()),
        }
    };
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", kind)
        .body(Body::from(bytes))
        .unwrap()
}

impl Ab {
    /// A site of so many pictures.
    pub(super) fn start(pictures: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            pictures,
            overload: Mutex::default(),
            log: Mutex::default(),
        });
        let router = Router::new().fallback(handle).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    pub(super) fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) fn base(&self) -> String {
        format!("{}/api/pixiv", self.url)
    }

    /// So many of the next requests are answered with 500.
    pub(super) fn overload(&self, requests: u32) {
        *self.shared.overload.lock().unwrap() = requests;
    }

    pub(super) fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }
}
