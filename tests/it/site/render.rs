//! How posts, pools, comments and notes are printed: exactly the recorded keys, in the recorded order and types.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{
    pictures,
    posts::Post,
    world::{Comment, Note, Pool, Profile, World},
};

/// What a file name may hold unencoded.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The keys that neither the older build nor `/pool/show` prints.
const YOUNG_KEYS: [&str; 8] = [
    "updated_at",
    "approver_id",
    "file_ext",
    "is_rating_locked",
    "is_pending",
    "is_note_locked",
    "last_noted_at",
    "last_commented_at",
];

/// The keys that a deleted post lacks.
const URL_KEYS: [&str; 3] = ["file_url", "sample_url", "jpeg_url"];

/// Prints epoch seconds as the engine prints dates: `2026-11-22T04:46:58.742Z`.
pub(super) fn iso(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).expect("a time of this century");
    format!("{time:.3}")
}

/// Returns the address of the original: its name is built from the current tags, only the md5 counts.
pub(super) fn file_url(world: &World, post: &Post) -> String {
    address(world, post, "image", &post.ext)
}

fn address(world: &World, post: &Post, kind: &str, ext: &str) -> String {
    let Post { id, tags, md5, .. } = post;
    let size = if kind == "sample" { "sample " } else { "" };
    let name = match world.profile {
        Profile::New => format!("yande.re {id} {size}{tags}"),
        Profile::Old => format!("Konachan.com - {id} {size}{tags}"),
    };
    let name = utf8_percent_encode(name.trim_end(), NAME);
    format!("{}/{kind}/{md5}/{name}.{ext}", world.base)
}

/// Prints a post for `/post`: 44 keys or 36 keys; three fewer and `flag_detail` when deleted.
pub(super) fn post(world: &World, post: &Post) -> Map<String, Value> {
    let mut map = full(world, post);
    if world.profile == Profile::Old {
        map.retain(|key, _| !YOUNG_KEYS.contains(&key.as_str()));
    }
    if post.is_deleted() {
        map.retain(|key, _| !URL_KEYS.contains(&key.as_str()));
        map["preview_url"] = json!(format!("{}/deleted-preview.png", world.base));
    }
    if let Some(reason) = &post.flag_reason {
        let at = iso(post.updated_at);
        let detail = json!({"post_id": post.id, "reason": reason, "created_at": at});
        map.insert("flag_detail".to_owned(), detail);
    }
    map
}

/// Prints a post for `/pool/show`: 36 keys, an ISO date, addresses even when deleted.
fn pool_post(world: &World, post: &Post) -> Value {
    let mut map = full(world, post);
    map.retain(|key, _| !YOUNG_KEYS.contains(&key.as_str()));
    map["created_at"] = json!(iso(post.created_at));
    Value::Object(map)
}

fn full(world: &World, post: &Post) -> Map<String, Value> {
    let original = file_url(world, post);
    // Only PNG files get a JPEG and a sample; otherwise both are the original, with a size of 0.
    let smaller = |kind: &str| match post.ext.as_str() {
        "png" => {
            let size = pictures::smaller_size(kind);
            (address(world, post, kind, "jpg"), size)
        }
        _ => (original.clone(), 0),
    };
    let (sample_url, sample_size) = smaller("sample");
    let (jpeg_url, jpeg_size) = smaller("jpeg");
    let (m, base) = (&post.md5, &world.base);
    let is_child = |other: &Post| other.parent_id == Some(post.id) && !other.is_deleted();
    let preview = |edge: u32| {
        let longest = post.width.max(post.height).max(1);
        let scale = |side: u32| {
            if longest > edge {
                side * edge / longest
            } else {
                side
            }
        };
        (scale(post.width), scale(post.height))
    };
    let pairs = [
        ("id", json!(post.id)),
        ("tags", json!(post.tags)),
        ("created_at", json!(post.created_at)),
        ("updated_at", json!(post.updated_at)),
        ("creator_id", json!(post.creator_id)),
        ("approver_id", json!(post.approver_id)),
        ("author", json!(post.author)),
        ("change", json!(post.change)),
        ("source", json!(post.source)),
        ("score", json!(post.score)),
        ("md5", json!(m)),
        ("file_size", json!(post.file_size)),
        ("file_ext", json!(post.ext)),
        ("file_url", json!(original)),
        ("is_shown_in_index", json!(post.shown_in_index)),
        (
            "preview_url",
            json!(format!(
                "{base}/data/preview/{}/{}/{m}.jpg",
                &m[..2],
                &m[2..4]
            )),
        ),
        ("preview_width", json!(preview(150).0)),
        ("preview_height", json!(preview(150).1)),
        ("actual_preview_width", json!(preview(300).0)),
        ("actual_preview_height", json!(preview(300).1)),
        ("sample_url", json!(sample_url)),
        ("sample_width", json!(post.width)),
        ("sample_height", json!(post.height)),
        ("sample_file_size", json!(sample_size)),
        ("jpeg_url", json!(jpeg_url)),
        ("jpeg_width", json!(post.width)),
        ("jpeg_height", json!(post.height)),
        ("jpeg_file_size", json!(jpeg_size)),
        ("rating", json!(post.rating.to_string())),
        ("is_rating_locked", json!(post.rating_locked)),
        ("has_children", json!(world.posts.iter().any(is_child))),
        ("parent_id", json!(post.parent_id)),
        ("status", json!(post.status)),
        ("is_pending", json!(post.status == "pending")),
        ("width", json!(post.width)),
        ("height", json!(post.height)),
        ("is_held", json!(post.held)),
        ("frames_pending_string", json!("")),
        ("frames_pending", json!([])),
        ("frames_string", json!("")),
        ("frames", json!([])),
        ("is_note_locked", json!(false)),
        ("last_noted_at", json!(post.last_noted_at)),
        ("last_commented_at", json!(post.last_commented_at)),
    ];
    pairs
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// Prints the XML listing, whose root is the only place with a total.
pub(super) fn posts_xml(world: &World, posts: &[&Post], count: usize, offset: usize) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<posts count=\"{count}\" offset=\"{offset}\">\n"
    );
    for post in posts {
        out.push_str("  <post");
        for (key, value) in self::post(world, post) {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => escape(&text),
                Value::Array(_) | Value::Object(_) => continue,
                other => other.to_string(),
            };
            out.extend([" ", &key, "=\"", &text, "\""]);
        }
        out.push_str("/>\n");
    }
    out + "</posts>\n"
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn comment(comment: &Comment) -> Value {
    json!({
        "id": comment.id,
        "created_at": iso(comment.created_at),
        "post_id": comment.post_id,
        "creator": "uploader",
        "creator_id": 1,
        "body": comment.body,
    })
}

pub(super) fn note(note: &Note) -> Value {
    json!({
        "id": note.id,
        "created_at": iso(note.created_at),
        "updated_at": iso(note.updated_at),
        "creator_id": 1,
        "x": 10,
        "y": 12,
        "width": 40,
        "height": 20,
        "is_active": note.active,
        "post_id": note.post_id,
        "body": note.body,
        "version": note.version,
    })
}

pub(super) fn pool(pool: &Pool) -> Value {
    json!({
        "id": pool.id,
        "name": pool.name,
        "created_at": iso(pool.created_at),
        "updated_at": iso(pool.created_at),
        "user_id": 1,
        "is_public": true,
        "post_count": pool.posts.len(),
        "description": format!("The pictures of pool {}.", pool.id),
    })
}

/// Prints a pool with one page of its posts, deleted ones included.
pub(super) fn pool_with_posts(world: &World, pool: &Pool, posts: &[u64]) -> Value {
    let mut value = self::pool(pool);
    let found = posts.iter().filter_map(|id| world.find(*id));
    value["posts"] = found.map(|post| pool_post(world, post)).collect();
    value
}
