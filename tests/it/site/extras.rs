//! The listings around posts: comments, notes, pools and tags.
//!
//! Promises: recorded shapes, page sizes and orders. A missing comment is 404, a missing pool a redirect.

use serde_json::{Map, Value, json};

use super::{
    log::Request,
    pages::{page, refuse},
    posts::Post,
    query::{Range, Refusal, leading_number, number},
    render,
    wire::Answer,
    world::{Pool, World},
};

/// Cuts one page out of a listing and prints it.
pub(super) fn listing<T>(
    items: &[T],
    page: usize,
    size: usize,
    print: impl Fn(&T) -> Value,
) -> Answer {
    let items = items.iter().skip((page - 1) * size).take(size);
    Answer::json(200, &items.map(print).collect())
}

pub(super) fn comments(world: &World, request: &Request) -> Answer {
    // Without a post the engine filters by post 0, which has no comments.
    let post = match number(request.param("post_id").unwrap_or_default()) {
        Ok(id) => id.unsigned_abs(),
        Err(refusal) => return refuse(world, refusal),
    };
    let comments = world.comments.iter().rev();
    let comments: Vec<_> = comments.filter(|comment| comment.post_id == post).collect();
    listing(&comments, page(request), 25, |comment| {
        render::comment(comment)
    })
}

pub(super) fn comment(world: &World, id: u64) -> Answer {
    match world.comments.iter().find(|comment| comment.id == id) {
        Some(comment) => Answer::json(200, &render::comment(comment)),
        None => Answer::json(404, &json!({"status": 404, "error": "Not Found"}))
            .with("Content-Type", "application/json; charset=UTF-8"),
    }
}

pub(super) fn notes(world: &World, request: &Request) -> Answer {
    if let Some(post) = request.param("post_id") {
        let post = match number(post) {
            Ok(id) => id.unsigned_abs(),
            Err(refusal) => return refuse(world, refusal),
        };
        let notes = world.notes.iter().rev();
        let notes: Vec<_> = notes.filter(|note| note.post_id == post).collect();
        return listing(&notes, 1, notes.len(), |note| render::note(note));
    }
    let mut posts: Vec<&Post> = world
        .posts
        .iter()
        .filter(|post| post.last_noted_at > 0)
        .collect();
    posts.sort_by_key(|post| std::cmp::Reverse(post.last_noted_at));
    let posts = posts.iter().skip((page(request) - 1) * 16).take(16);
    let notes = posts.flat_map(|post| {
        let notes = world.notes.iter().rev();
        notes
            .filter(|note| note.post_id == post.id)
            .map(render::note)
    });
    Answer::json(200, &notes.collect())
}

pub(super) fn pools(world: &World, request: &Request) -> Answer {
    let mut found: Vec<&Pool> = world.pools.iter().collect();
    found.sort_by_key(|pool| std::cmp::Reverse(pool.created_at));
    let (mut size, mut order) = (20, "");
    let query = request.param("query").unwrap_or_default().to_lowercase();
    for token in query.split_whitespace() {
        match token.split_once(':') {
            Some(("order", by)) => order = by,
            Some(("limit", most)) => {
                size = usize::try_from(leading_number(most).clamp(1, 100)).expect("clamped");
            }
            Some(("posts", range)) => match Range::parse(range, number) {
                Ok(range) => found
                    .retain(|pool| range.has(&i64::try_from(pool.posts.len()).expect("few posts"))),
                Err(refusal) => return refuse(world, refusal),
            },
            _ => {
                found.retain(|pool| pool.name.to_lowercase().contains(token));
                order = if order.is_empty() { "name" } else { order };
            }
        }
    }
    match order {
        "name" => found.sort_by_key(|pool| pool.name.to_lowercase()),
        "id" => found.sort_by_key(|pool| std::cmp::Reverse(pool.id)),
        _ => {}
    }
    listing(&found, page(request), size, |pool| render::pool(pool))
}

pub(super) fn pool(world: &World, request: &Request, id: u64) -> Answer {
    let Some(pool) = world.pools.iter().find(|pool| pool.id == id) else {
        let home = format!("{}/pool", world.base);
        let text =
            format!("<html><body>You are being <a href=\"{home}\">redirected</a>.</body></html>");
        return Answer::html(302, &text).with("Location", &home);
    };
    let posts = pool.posts.iter().skip((page(request) - 1) * 24).take(24);
    let posts: Vec<u64> = posts.copied().collect();
    Answer::json(200, &render::pool_with_posts(world, pool, &posts))
}

/// Prints which pools hold these posts, and those pools.
pub(super) fn memberships(world: &World, posts: &[&Post]) -> (Value, Value) {
    let (mut members, mut pools) = (Vec::new(), Vec::new());
    let mut row = 0;
    for pool in &world.pools {
        let known = members.len();
        for (place, post) in pool.posts.iter().enumerate() {
            row += 1;
            if posts.iter().any(|shown| shown.id == *post) {
                members.push(json!({
                    "id": row,
                    "pool_id": pool.id,
                    "post_id": post,
                    "active": true,
                    "sequence": (place + 1).to_string(),
                    "next_post_id": pool.posts.get(place + 1),
                    "prev_post_id": place.checked_sub(1).map(|before| pool.posts[before]),
                }));
            }
        }
        if members.len() > known {
            pools.push(render::pool(pool));
        }
    }
    (json!(members), json!(pools))
}

pub(super) fn tags(world: &World, request: &Request) -> Answer {
    let mut found: Vec<(usize, &String, usize)> = world
        .tags
        .iter()
        .enumerate()
        .map(|(place, tag)| (place + 1, tag, count(world, tag)))
        .collect();
    let asked = |name| -> Result<Option<usize>, Refusal> {
        let value = request.param(name).map(number).transpose()?;
        Ok(value.map(|value| usize::try_from(value).unwrap_or_default()))
    };
    let (id, after) = match (asked("id"), asked("after_id")) {
        (Ok(id), Ok(after)) => (id, after),
        (Err(refusal), _) | (_, Err(refusal)) => return refuse(world, refusal),
    };
    found.retain(|(own, name, _)| {
        let kind = request.param("type").map(leading_number);
        id.is_none_or(|id| id == *own)
            && after.is_none_or(|after| *own >= after)
            && request.param("name").is_none_or(|part| name.contains(part))
            && kind.is_none_or(|kind| kind == i128::from(tag_type(world, name)))
    });
    match request.param("order") {
        Some("date") => found.sort_by_key(|(id, _, _)| std::cmp::Reverse(*id)),
        Some("count") => found.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count)),
        _ => found.sort_by_key(|(_, name, _)| *name),
    }
    let limit = request.param("limit").map_or(50, leading_number);
    let limit = match usize::try_from(limit).unwrap_or_default() {
        0 => usize::MAX / 1_000_000,
        limit => limit.min(usize::MAX / 1_000_000),
    };
    listing(
        &found,
        page(request),
        limit,
        |(id, name, count)| json!({"id": id, "name": name, "count": count, "type": tag_type(world, name), "ambiguous": false}),
    )
}

/// Prints the 25 commonest companions of each tag; counts are texts, but numbers when a type was asked for.
pub(super) fn related(world: &World, request: &Request) -> Answer {
    let kind = request.param("type");
    let mut out = Map::new();
    for tag in request.param("tags").unwrap_or_default().split_whitespace() {
        let living = |post: &&Post| !post.is_deleted() && post.has_tag(tag);
        let posts: Vec<&Post> = world.posts.iter().filter(living).collect();
        let together = |other: &str| posts.iter().filter(|post| post.has_tag(other)).count();
        let mut found: Vec<(&String, usize)> = world
            .tags
            .iter()
            .map(|other| (other, together(other)))
            .filter(|(other, count)| {
                *count > 0 && kind.is_none_or(|kind| type_name(world, other) == kind)
            })
            .collect();
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let print = |(other, count): &(&String, usize)| match kind {
            Some(_) => json!([other, count]),
            None => json!([other, count.to_string()]),
        };
        let rows = found.iter().take(25).map(print).collect();
        out.insert(tag.to_owned(), rows);
    }
    Answer::json(200, &Value::Object(out))
}

/// Returns the 25 commonest tags that a pattern with `*` stands for.
pub(super) fn matching_tags(world: &World, pattern: &str) -> Vec<String> {
    let hits = world
        .tags
        .iter()
        .filter(|tag| matches_pattern(pattern, tag));
    let mut hits: Vec<String> = hits.cloned().collect();
    hits.sort_by_key(|tag| std::cmp::Reverse(count(world, tag)));
    hits.truncate(25);
    hits
}

fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let cuts = tail.char_indices().map(|(cut, _)| cut).chain([tail.len()]);
            cuts.into_iter()
                .any(|cut| matches_pattern(rest, &tail[cut..]))
        }),
    }
}

fn count(world: &World, tag: &str) -> usize {
    let tagged = |post: &&Post| !post.is_deleted() && post.has_tag(tag);
    world.posts.iter().filter(tagged).count()
}

fn tag_type(world: &World, tag: &str) -> u8 {
    world.tag_types.get(tag).copied().unwrap_or_default()
}

pub(super) fn type_name(world: &World, tag: &str) -> &'static str {
    match tag_type(world, tag) {
        1 => "artist",
        3 => "copyright",
        4 => "character",
        5 => "circle",
        6 => "faults",
        _ => "general",
    }
}
