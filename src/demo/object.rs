//! The shape of the sample site's replies.
//!
//! Keys, their order and their types are those recorded from a running Moebooru (the build of January 2022); only the
//! keys of `pool_posts` are from memory of its source. A deleted post lacks the keys of its three file URLs and has
//! `flag_detail`; no JPEG or sample is ever made, so both URLs repeat `file_url` and both sizes are 0.

use serde_json::{Map, Value, json};

use super::{
    catalogue::{EPOCH, PEOPLE, POOLS, Post},
    talk::{Comment, Note},
};

pub(super) fn post_object(post: &Post, root: &str) -> Value {
    let Post {
        id,
        md5,
        width,
        height,
        created,
        ..
    } = post;
    let file_url = format!(
        "{root}/image/{md5}/sample%20{id}%20{}.png",
        post.tags.join("%20")
    );
    let preview_url = if post.deleted {
        format!("{root}/deleted-preview.png")
    } else {
        format!("{root}/data/preview/{}/{}/{md5}.jpg", &md5[..2], &md5[2..4])
    };
    // Previews fit into 150 × 150 pixels.
    let longest = (*width).max(*height).max(150);
    let updated = post.last_noted.max(*created);
    let gone = |key: &str| post.deleted && ["file_url", "sample_url", "jpeg_url"].contains(&key);
    // A list, because an object of this many keys is beyond the recursion that `json!` may use.
    let pairs = [
        ("id", json!(id)),
        ("tags", json!(post.tags.join(" "))),
        ("created_at", json!(created)),
        ("updated_at", json!(updated)),
        ("creator_id", json!(post.author + 1)),
        ("approver_id", json!(null)),
        ("author", json!(PEOPLE[post.author])),
        ("change", json!(id * 2)),
        ("source", json!(format!("painted by larder, number {id}"))),
        ("score", json!(post.score)),
        ("md5", json!(md5)),
        ("file_size", json!(post.file_size)),
        ("file_ext", json!("png")),
        ("file_url", json!(file_url)),
        ("is_shown_in_index", json!(true)),
        ("preview_url", json!(preview_url)),
        ("preview_width", json!(width * 150 / longest)),
        ("preview_height", json!(height * 150 / longest)),
        ("actual_preview_width", json!(width)),
        ("actual_preview_height", json!(height)),
        ("sample_url", json!(file_url)),
        ("sample_width", json!(width)),
        ("sample_height", json!(height)),
        ("sample_file_size", json!(0)),
        ("jpeg_url", json!(file_url)),
        ("jpeg_width", json!(width)),
        ("jpeg_height", json!(height)),
        ("jpeg_file_size", json!(0)),
        ("rating", json!(post.rating)),
        ("is_rating_locked", json!(false)),
        ("has_children", json!(post.has_children)),
        ("parent_id", json!(post.parent)),
        (
            "status",
            json!(if post.deleted { "deleted" } else { "active" }),
        ),
        ("is_pending", json!(false)),
        ("width", json!(width)),
        ("height", json!(height)),
        ("is_held", json!(false)),
        ("frames_pending_string", json!("")),
        ("frames_pending", json!([])),
        ("frames_string", json!("")),
        ("frames", json!([])),
        ("is_note_locked", json!(false)),
        ("last_noted_at", json!(post.last_noted)),
        ("last_commented_at", json!(post.last_commented)),
    ];
    let pairs = pairs.into_iter().filter(|(key, _)| !gone(key));
    let mut object: Map<String, Value> =
        pairs.map(|(key, value)| (key.to_owned(), value)).collect();
    if post.deleted {
        let created_at = iso(created + 86_400);
        let detail =
            json!({"post_id": id, "reason": "asked for by its painter", "created_at": created_at});
        object.insert("flag_detail".to_owned(), detail);
    }
    object.into()
}

pub(super) fn comment_object(comment: &Comment) -> Value {
    json!({
        "id": comment.id,
        "created_at": iso(comment.created),
        "post_id": comment.post,
        "creator": PEOPLE[comment.author],
        "creator_id": comment.author + 1,
        "body": comment.body,
    })
}

pub(super) fn note_object(note: &Note) -> Value {
    json!({
        "id": note.id,
        "created_at": iso(note.created),
        "updated_at": iso(note.created),
        "creator_id": 1,
        "x": 10,
        "y": 12,
        "width": 40,
        "height": 20,
        "is_active": note.active,
        "post_id": note.post,
        "body": note.body,
        "version": 1,
    })
}

/// The pool at a place of [`POOLS`]; ids start at 1.
pub(super) fn pool_object(at: usize) -> Value {
    let (name, description, posts) = POOLS[at];
    let created = iso(EPOCH + 3_000_000 + at as i64 * 3600);
    json!({
        "id": at + 1,
        "name": name,
        "created_at": created,
        "updated_at": created,
        "user_id": 1,
        "is_public": true,
        "post_count": posts.len(),
        "description": description,
    })
}

/// The places that the posts of a page have in pools, and those pools.
pub(super) fn pools_of(page: &[&Post]) -> (Vec<Value>, Vec<Value>) {
    let (mut members, mut pools) = (Vec::new(), Vec::new());
    for (at, (_, _, posts)) in POOLS.iter().enumerate() {
        let before = members.len();
        for (place, id) in posts
            .iter()
            .enumerate()
            .filter(|(_, id)| page.iter().any(|post| post.id == **id))
        {
            members.push(json!({
                "id": at * posts.len() + place + 1,
                "pool_id": at + 1,
                "post_id": id,
                "active": true,
                "sequence": (place + 1).to_string(),
                "next_post_id": posts.get(place + 1),
                "prev_post_id": place.checked_sub(1).map(|place| posts[place]),
            }));
        }
        if members.len() > before {
            pools.push(pool_object(at));
        }
    }
    (members, pools)
}

/// Seconds since 1970 as the engine writes them: `2026-11-22T04:47:30.000Z`.
fn iso(seconds: i64) -> String {
    let time =
        jiff::Timestamp::from_second(seconds).expect("the site's times are all in this century");
    format!("{time:.3}")
}
