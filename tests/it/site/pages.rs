//! Which address answers what, and the post listing itself.
//!
//! Promises: the checks come in the engine's order: the front server (raw `<`), then login, then the route. Unknown
//! routes are an empty 404.

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use super::{
    extras,
    log::Request,
    lore, pictures, popular,
    posts::Post,
    query::{Query, Refusal, leading_number},
    render, search,
    wire::Answer,
    world::{Profile, World},
};

/// The most posts one listing holds.
const MAX_LIMIT: usize = 1000;

/// Answers a request as the real site would; `draw` differs for every request.
pub(super) fn answer(world: &World, request: &Request, draw: u64) -> Answer {
    if request.raw_query.contains(['<', '>', '"']) {
        return Answer::empty(400, "");
    }
    if request.is_file() {
        return file(world, request);
    }
    if let Err(refusal) = check_login(world, request) {
        return refusal;
    }
    let (path, format) = match request.path.rsplit_once('.') {
        Some((path, format)) if !format.contains('/') => (path, format),
        _ => (request.path.as_str(), "html"),
    };
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() == 2 && parts[1] == "index" {
        parts.pop();
    }
    let number = parts.get(2).copied().or_else(|| request.param("id"));
    let number = u64::try_from(leading_number(number.unwrap_or_default())).unwrap_or_default();
    match (parts.as_slice(), format) {
        ([_, verb], "json" | "xml") if request.method == "POST" && is_write(verb) => {
            Answer::json(200, &json!({"success": true}))
        }
        (["post"], "json" | "xml") => posts(world, request, format == "xml", draw),
        (["comment"], "json") => extras::comments(world, request),
        (["comment", "show", ..], "json") => extras::comment(world, number),
        (["note"], "json") => extras::notes(world, request),
        (["post", verb], "json") if verb.starts_with("popular_") => {
            popular::posts(world, request, verb)
        }
        (_, "json") if lore::knows(&parts) => lore::answer(world, request, &parts),
        (["pool"], "json") => extras::pools(world, request),
        (["pool", "show", ..], "json") => extras::pool(world, request, number),
        (["tag"], "json") => extras::tags(world, request),
        (["tag", "related"], "json") => extras::related(world, request),
        ([] | ["post" | "comment" | "note" | "pool" | "tag" | "wiki" | "forum"], "html") => {
            Answer::html(
                200,
                "<!DOCTYPE html>\n<html><body>A page for people.</body></html>\n",
            )
        }
        (_, "json") => Answer::empty(404, "application/json"),
        _ => Answer::empty(404, "text/html"),
    }
}

fn is_write(verb: &str) -> bool {
    let verbs = [
        "create",
        "update",
        "destroy",
        "vote",
        "revert",
        "revert_tags",
        "add_post",
        "remove_post",
        "lock",
        "unlock",
    ];
    verbs.contains(&verb)
}

fn check_login(world: &World, request: &Request) -> Result<(), Answer> {
    let denied = || Answer::json(403, &json!({"success": false, "reason": "access denied"}));
    if request.param("api_key").is_some() {
        // The site has no keys, so every key is a wrong one.
        return Err(Answer::empty(403, "text/html"));
    }
    let write = request.method == "POST" && request.path.contains('.') && {
        let stem = request.path.rsplit_once('.').map_or("", |(stem, _)| stem);
        stem.rsplit('/').next().is_some_and(is_write)
    };
    match (request.param("login"), request.param("password_hash")) {
        (None, None) if world.require_login || write => Err(denied()),
        (None, None) => Ok(()),
        (Some(login), Some(hash)) => {
            let (name, password) = &world.account;
            let right = login.to_lowercase() == name.to_lowercase();
            if right && hash == password_hash(salt(world), password) {
                Ok(())
            } else {
                Err(denied())
            }
        }
        _ => Err(denied()),
    }
}

fn salt(world: &World) -> &str {
    world.salt.as_deref().unwrap_or(match world.profile {
        Profile::New => "choujin-steiner",
        Profile::Old => "So-I-Heard-You-Like-Mupkids-?",
    })
}

/// Returns what the site wants as `password_hash`.
pub(super) fn password_hash(salt: &str, password: &str) -> String {
    hex::encode(Sha1::digest(format!("{salt}--{password}--")))
}

fn posts(world: &World, request: &Request, xml: bool, draw: u64) -> Answer {
    if xml && request.param("api_version") == Some("2") {
        let reason = json!({"success": false, "reason": "V2 API is JSON-only"});
        return Answer::json(424, &reason);
    }
    let tags = request.param("tags").unwrap_or_default();
    let query = match Query::parse(tags, |pattern| extras::matching_tags(world, pattern)) {
        Ok(query) => query,
        Err(refusal) => return refuse(world, refusal),
    };
    let limit = query.limit.as_deref().or_else(|| request.param("limit"));
    let limit = limit.map_or(40, leading_number).clamp(1, MAX_LIMIT as i128);
    let limit = usize::try_from(limit).expect("clamped");
    let page = match query.order.as_deref() {
        Some("random") => 1,
        _ => page(request),
    };
    let found = search::search(world, &query, draw);
    let offset = (page - 1) * limit;
    let cut: Vec<&Post> = found.iter().copied().skip(offset).take(limit).collect();
    if xml {
        let text = render::posts_xml(world, &cut, found.len(), offset);
        let kind = "application/xml; charset=utf-8";
        return Answer::new(200, kind, text.into_bytes());
    }
    let printed: Vec<_> = cut.iter().map(|post| render::post(world, post)).collect();
    match request.param("api_version") {
        Some("2") => Answer::json(200, &envelope(world, request, &cut, json!(printed))),
        _ => Answer::json(200, &json!(printed)),
    }
}

/// Wraps a listing as `api_version=2` asks: tag types and pools only when they were asked for.
fn envelope(world: &World, request: &Request, posts: &[&Post], printed: Value) -> Value {
    let wants = |name| request.param(name) == Some("1");
    let mut out = Map::new();
    out.insert("posts".to_owned(), printed);
    if wants("include_pools") {
        let (members, pools) = extras::memberships(world, posts);
        out.insert("pool_posts".to_owned(), members);
        out.insert("pools".to_owned(), pools);
    }
    if wants("include_tags") {
        let mut types = Map::new();
        for tag in posts.iter().flat_map(|post| post.tags.split_whitespace()) {
            types.insert(tag.to_owned(), json!(extras::type_name(world, tag)));
        }
        out.insert("tags".to_owned(), Value::Object(types));
    }
    if wants("include_votes") {
        out.insert("votes".to_owned(), json!({}));
    }
    Value::Object(out)
}

/// Answers a search that the engine or its database will not run.
pub(super) fn refuse(world: &World, refusal: Refusal) -> Answer {
    let reason = match (refusal, world.profile) {
        (Refusal::Beyond32, _) => return Answer::empty(400, "text/html"),
        (Refusal::Beyond64, _) => {
            "Error: Provided value outside of the range of a signed 64bit integer."
        }
        (Refusal::TooManyTags, Profile::New) => {
            "Error: You cannot search for more than 6 tags at a time"
        }
        (Refusal::TooManyTags, Profile::Old) => "You can only search up to six tags at once",
    };
    Answer::json(500, &json!({"success": false, "reason": reason}))
}

/// Returns the page asked for, from 1 to a million.
pub(super) fn page(request: &Request) -> usize {
    let page = request.param("page").map_or(1, leading_number);
    usize::try_from(page.clamp(1, 1_000_000)).expect("clamped")
}

/// Serves what `Range` asks for, if it is still the file that `If-Range` names (RFC 9110, section 13.1.5).
fn part(request: &Request, kind: &str, body: Vec<u8>, etag: &str) -> Answer {
    let same = request
        .header("if-range")
        .is_none_or(|known| known == etag && !known.starts_with("W/"));
    let from = request.header("range").filter(|_| same);
    let from = from.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let size = body.len();
    match from {
        None => Answer::new(200, kind, body),
        Some(from) if from < size => Answer::new(206, kind, body[from..].to_vec()).with(
            "Content-Range",
            &format!("bytes {from}-{}/{size}", size - 1),
        ),
        Some(_) => Answer::empty(416, "").with("Content-Range", &format!("bytes */{size}")),
    }
}

/// Serves a picture by the md5 in its path; the originals of deleted posts are gone.
fn file(world: &World, request: &Request) -> Answer {
    if request.path.starts_with("/deleted-preview") {
        return Answer::new(200, "image/png", pictures::png(0, 16, 16));
    }
    let md5 = request.md5().unwrap_or_default();
    let Some(post) = world.posts.iter().find(|post| post.md5 == md5) else {
        return Answer::empty(404, "text/html");
    };
    if post.is_deleted() {
        return Answer::empty(404, "text/html");
    }
    let kinds = ["jpeg", "sample", "preview"];
    let smaller = kinds.into_iter().find(|kind| {
        request.path.starts_with(&format!("/{kind}/"))
            || request.path.starts_with(&format!("/data/{kind}/"))
    });
    let (kind, body) = match smaller {
        Some(size) => ("image/jpeg", pictures::smaller(md5, size)),
        None => (pictures::content_type(&post.ext), post.body().to_vec()),
    };
    let weak = if world.weak_etags { "W/" } else { "" };
    let end = &world.etag_end;
    let etag = format!("{weak}\"{:x}-{:x}{end}\"", post.created_at, body.len());
    let made = u64::try_from(post.created_at).expect("a time after 1970");
    let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(made);
    let answer = match request.header("if-none-match") {
        Some(known) if known == etag => Answer::empty(304, ""),
        _ => part(request, kind, body, &etag),
    };
    answer
        .with("ETag", &etag)
        .with("Last-Modified", &httpdate::fmt_http_date(made))
}
