//! A wiki whose files a dialect of one's own archives: `api.php` of MediaWiki, as far as `list=allimages` goes.
//!
//! The shapes are those of MediaWiki's own help (API:Allimages, API:Continue, Manual:Maxlag parameter, seen 2026): errors
//! have status 200, a continued query needs every key of `continue` again, and a wiki whose databases lag says in a 200
//! how long to wait. Stricter than MediaWiki in one thing: what it only warns of, such as an unknown parameter, is an
//! error here.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// Files of one reply at most, for those who are not bots.
const MOST: usize = 500;
const PROPERTIES: [&str; 8] = [
    "timestamp",
    "user",
    "url",
    "size",
    "dimensions",
    "sha1",
    "mime",
    "canonicaltitle",
];

/// One file of the wiki.
#[derive(Clone)]
struct File {
    bytes: Vec<u8>,
    version: u32,
}

/// How the next requests are answered instead.
#[derive(Clone)]
pub(super) enum Trouble {
    /// An error of this code, in a 200.
    Error(&'static str),
    /// The databases lag: an error in a 200, with Retry-After.
    Lag(u64),
}

pub(super) struct Wiki {
    pub(super) url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    /// By name, which is the order of the listing.
    files: Mutex<BTreeMap<String, File>>,
    log: Mutex<Vec<(Instant, String)>>,
    troubles: Mutex<VecDeque<Trouble>>,
    /// A name whose page is not answered.
    stalled: Mutex<Option<String>>,
    /// Files that are sent with other bytes than the listing says.
    damaged: Mutex<Vec<String>>,
}

type Asked = BTreeMap<String, String>;

fn refuse(code: &str, info: &str) -> (HeaderMap, Value) {
    let mut headers = HeaderMap::new();
    headers.insert(
        "mediawiki-api-error",
        HeaderValue::from_str(code).expect("a word"),
    );
    let error = json!({
        "error": { "code": code, "info": info, "*": "See /w/api.php for API usage." },
        "servedby": "wiki1"
    });
    (headers, error)
}

/// What the API objects to in a request.
fn objection(asked: &Asked) -> Option<(HeaderMap, Value)> {
    for (key, value) in asked {
        let good = match key.as_str() {
            "action" => value == "query",
            "format" => value == "json",
            "list" => value == "allimages",
            "formatversion" => ["1", "2"].contains(&value.as_str()),
            "aisort" => value == "name",
            "ailimit" => value.parse().is_ok_and(|n: usize| (1..=MOST).contains(&n)),
            "aiprop" => value.split('|').all(|word| PROPERTIES.contains(&word)),
            "maxlag" => value.parse::<i64>().is_ok(),
            "aiprefix" | "aicontinue" => true,
            "continue" => value == "-||",
            _ => {
                let info = format!("Unrecognized parameter: {key}.");
                return Some(refuse("unknown_parameter", &info));
            }
        };
        if !good {
            let info = format!("Unrecognized value for parameter \"{key}\": {value}.");
            return Some(refuse("badvalue", &info));
        }
    }
    if asked.contains_key("aicontinue") != asked.contains_key("continue") {
        let info = "Invalid continue param. You should pass the original value returned by the previous query.";
        return Some(refuse("badcontinue", info));
    }
    for key in ["action", "format", "list"] {
        if !asked.contains_key(key) {
            let info = format!("The \"{key}\" parameter must be set.");
            return Some(refuse("missingparam", &info));
        }
    }
    None
}

/// What is listed of a file, as far as `aiprop` asks.
fn listed(base: &str, name: &str, file: &File, asked: &Asked) -> Value {
    let properties = asked.get("aiprop").map_or("timestamp|url", String::as_str);
    let mut entry = json!({ "name": name });
    let mut put = |key: &str, value: Value| {
        entry
            .as_object_mut()
            .expect("an object")
            .insert(key.to_owned(), value);
    };
    for property in properties.split('|') {
        match property {
            "timestamp" => put(
                "timestamp",
                json!(format!("2024-01-31T12:00:{:02}Z", file.version)),
            ),
            "user" => put("user", json!("Gardener")),
            "url" => {
                put("url", json!(format!("{base}/images/{}", path_of(name))));
                put(
                    "descriptionurl",
                    json!(format!("{base}/wiki/File:{}", encoded(name))),
                );
            }
            "size" | "dimensions" => {
                put("size", json!(file.bytes.len()));
                put("width", json!(640));
                put("height", json!(480));
            }
            "sha1" => put("sha1", json!(hex::encode(Sha1::digest(&file.bytes)))),
            "mime" => put("mime", json!("image/png")),
            _ => put(
                "canonicaltitle",
                json!(format!("File:{}", name.replace('_', " "))),
            ),
        }
    }
    put("ns", json!(6));
    put("title", json!(format!("File:{}", name.replace('_', " "))));
    entry
}

impl Shared {
    fn page(&self, base: &str, asked: &Asked) -> Value {
        let files = self.files.lock().unwrap();
        let limit = asked.get("ailimit").map_or(10, |n| n.parse().unwrap());
        let from = asked.get("aicontinue").cloned().unwrap_or_default();
        let prefix = asked.get("aiprefix").cloned().unwrap_or_default();
        let mut found = files
            .range(from..)
            .filter(|(name, _)| name.starts_with(&prefix));
        let page: Vec<_> = found
            .by_ref()
            .take(limit)
            .map(|(name, file)| listed(base, name, file, asked))
            .collect();
        let mut reply = match found.next() {
            Some((next, _)) => json!({ "continue": { "aicontinue": next, "continue": "-||" } }),
            None => json!({ "batchcomplete": "" }),
        };
        reply["limits"] = json!({ "allimages": MOST });
        reply["query"] = json!({ "allimages": page });
        reply
    }
}

/// Where MediaWiki keeps a file: below two folders made of the digits of a hash of its name.
fn path_of(name: &str) -> String {
    let digest = hex::encode(Sha1::digest(name));
    format!("{}/{}/{}", &digest[..1], &digest[..2], encoded(name))
}

/// A name as it stands in an address.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:!()".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

async fn api(
    State(wiki): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    uri: Uri,
) -> (HeaderMap, String) {
    wiki.note(&uri);
    let from = asked.get("aicontinue").cloned();
    while from.is_some() && *wiki.stalled.lock().unwrap() == from {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let trouble = wiki.troubles.lock().unwrap().pop_front();
    let base = format!("http://{}", headers["host"].to_str().expect("a host"));
    let (mut headers, body) = match trouble {
        Some(Trouble::Error(code)) => refuse(code, "You need read permission to use this module."),
        Some(Trouble::Lag(seconds)) => {
            let (mut headers, mut body) = refuse("maxlag", "Waiting for db1: 7.5 seconds lagged.");
            headers.insert("retry-after", HeaderValue::from(seconds));
            headers.insert("x-database-lag", HeaderValue::from(7));
            body["error"]["lag"] = json!(7.5);
            (headers, body)
        }
        None => objection(&asked).unwrap_or_else(|| (HeaderMap::new(), wiki.page(&base, &asked))),
    };
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    (headers, body.to_string())
}

async fn image(
    State(wiki): State<Arc<Shared>>,
    Path((_, _, name)): Path<(String, String, String)>,
    uri: Uri,
) -> impl IntoResponse {
    wiki.note(&uri);
    let Some(file) = wiki.files.lock().unwrap().get(&name).cloned() else {
        return (StatusCode::NOT_FOUND, Vec::new());
    };
    let mut bytes = file.bytes;
    if wiki.damaged.lock().unwrap().contains(&name) {
        bytes[0] ^= 1;
    }
    (StatusCode::OK, bytes)
}

impl Shared {
    fn note(&self, uri: &Uri) {
        let mut log = self.log.lock().unwrap();
        log.push((Instant::now(), uri.to_string()));
    }
}

impl Wiki {
    /// A wiki with this many files, some with names that are no easy paths.
    pub(super) fn start(files: usize) -> Self {
        Self::at("127.0.0.1:0", files)
    }

    /// The same at an address of one's choice.
    pub(super) fn at(address: &str, files: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/w/api.php", get(api))
            .route("/images/{a}/{ab}/{name}", get(image))
            .with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = tokio::net::TcpListener::bind(address);
        let listener = runtime.block_on(listener).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let wiki = Self {
            url,
            shared,
            _runtime: runtime,
        };
        for n in 0..files {
            wiki.upload(&name(n), 1);
        }
        wiki
    }

    /// Puts a version of a file where an earlier one may have been.
    pub(super) fn upload(&self, name: &str, version: u32) {
        let bytes = format!("\u{89}PNG version {version} of {name}").into_bytes();
        let mut files = self.shared.files.lock().unwrap();
        files.insert(name.to_owned(), File { bytes, version });
    }

    /// Gives a file a second name.
    pub(super) fn copy(&self, from: &str, to: &str) {
        let mut files = self.shared.files.lock().unwrap();
        let file = files[from].clone();
        files.insert(to.to_owned(), file);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.shared.files.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.shared.files.lock().unwrap()[name].bytes.clone()
    }

    pub(super) fn trouble(&self, troubles: &[Trouble]) {
        let mut all = self.shared.troubles.lock().unwrap();
        all.extend(troubles.iter().cloned());
    }

    /// Does not answer for the page that continues at `name`.
    pub(super) fn stall(&self, name: Option<&str>) {
        *self.shared.stalled.lock().unwrap() = name.map(str::to_owned);
    }

    /// Sends other bytes for `name` than it should.
    pub(super) fn damage(&self, name: &str) {
        self.shared.damaged.lock().unwrap().push(name.to_owned());
    }

    pub(super) fn mend(&self) {
        self.shared.damaged.lock().unwrap().clear();
    }

    /// The requests for pages since the log was forgotten, with their times.
    pub(super) fn pages(&self) -> Vec<(Instant, String)> {
        self.asked("/w/api.php")
    }

    /// The requests for files.
    pub(super) fn files(&self) -> Vec<String> {
        let files = self.asked("/images/");
        files.into_iter().map(|(_, uri)| uri).collect()
    }

    fn asked(&self, below: &str) -> Vec<(Instant, String)> {
        let log = self.shared.log.lock().unwrap();
        let wanted = log.iter().filter(|(_, uri)| uri.starts_with(below));
        wanted.cloned().collect()
    }

    pub(super) fn forget(&self) {
        self.shared.log.lock().unwrap().clear();
    }
}

/// The name of the nth file.
pub(super) fn name(n: usize) -> String {
    match n % 5 {
        0 => format!("Ash_{n:03}.png"),
        1 => format!("Äpfel_{n:03}_(50%).png"),
        2 => format!("What?_{n:03}.png"),
        3 => format!("Oak,_so-\"called\"_+_{n:03}.png"),
        _ => format!("Roses_&_rue_{n:03}.png"),
    }
}
