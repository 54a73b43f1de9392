//! Addresses of the sample site.
//!
//! `/post.json`, `/comment.json`, `/note.json`, `/pool.json` and `/image/<md5>/<any name>`, read only; everything else
//! is 404 with an empty body, as on the engine. Listings are bare arrays, `[]` past the end. Numbers that cannot be read
//! are taken as if they were absent. Previews are named in posts but not served.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::{
    catalogue::{Catalogue, POOLS},
    object::{comment_object, note_object, pool_object, pools_of, post_object},
    query,
};

/// Default and greatest number of posts on a page.
const LIMIT: usize = 40;
const MAX_LIMIT: usize = 1000;

/// What the handlers share.
pub(super) struct Shared {
    catalogue: &'static Catalogue,
    /// The site's address without the last slash.
    root: String,
    pub(super) pages: AtomicU64,
    pub(super) files: AtomicU64,
}

impl Shared {
    pub(super) fn new(catalogue: &'static Catalogue, url: &Url) -> Self {
        let root = url.as_str().trim_end_matches('/').to_owned();
        Self {
            catalogue,
            root,
            pages: AtomicU64::new(0),
            files: AtomicU64::new(0),
        }
    }

    /// A listing page, counted.
    fn listing(&self, reply: &impl Serialize) -> Response {
        let body = serde_json::to_string(reply).expect("values with text keys are always JSON");
        self.pages.fetch_add(1, Ordering::Relaxed);
        (
            [(header::CONTENT_TYPE, "application/json; charset=utf-8")],
            body,
        )
            .into_response()
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/post.json", get(posts))
        .route("/comment.json", get(comments))
        .route("/note.json", get(notes))
        .route("/pool.json", get(pools))
        .route("/image/{md5}/{*name}", get(image))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(shared)
}

/// Parameters of all listings; each reads those that it knows.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    limit: String,
    page: String,
    tags: String,
    post_id: String,
    api_version: String,
    include_pools: String,
}

impl Asked {
    /// Pages count from 1.
    fn page(&self) -> usize {
        self.page.parse().unwrap_or(1).max(1)
    }

    /// True for the first page of a list that has no second.
    fn first(&self) -> bool {
        self.page() == 1
    }
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn posts(State(site): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let limit = asked.limit.parse().unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let page = query::Query::parse(&asked.tags).page(&site.catalogue.posts, limit, asked.page());
    let posts: Vec<Value> = page
        .iter()
        .map(|post| post_object(post, &site.root))
        .collect();
    if asked.api_version != "2" {
        return site.listing(&posts);
    }
    let mut reply = Map::new();
    reply.insert("posts".to_owned(), posts.into());
    if asked.include_pools == "1" {
        let (members, pools) = pools_of(&page);
        reply.insert("pool_posts".to_owned(), members.into());
        reply.insert("pools".to_owned(), pools.into());
    }
    site.listing(&reply)
}

/// Newest first. Without `post_id` the engine looks for post 0 and finds nothing.
async fn comments(State(site): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let post = asked.post_id.parse().unwrap_or(0);
    let found = site
        .catalogue
        .comments
        .iter()
        .rev()
        .filter(|comment| comment.post == post && asked.first());
    site.listing(&found.map(comment_object).collect::<Vec<_>>())
}

/// Newest first; without `post_id` the notes of all posts.
async fn notes(State(site): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let post: Option<u64> = asked.post_id.parse().ok();
    let found = site.catalogue.notes.iter().rev();
    let found = found.filter(|note| post.is_none_or(|post| note.post == post) && asked.first());
    site.listing(&found.map(note_object).collect::<Vec<_>>())
}

async fn pools(State(site): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let found = (0..POOLS.len()).rev().filter(|_| asked.first());
    site.listing(&found.map(pool_object).collect::<Vec<_>>())
}

/// A picture; only the hash in its address counts.
async fn image(
    State(site): State<Arc<Shared>>,
    Path((md5, _name)): Path<(String, String)>,
) -> Response {
    let Some(bytes) = site.catalogue.files.get(&md5) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    site.files.fetch_add(1, Ordering::Relaxed);
    let headers = [
        (header::CONTENT_TYPE, "image/png".to_owned()),
        (header::ETAG, format!("\"{md5}\"")),
    ];
    (headers, bytes.clone()).into_response()
}
