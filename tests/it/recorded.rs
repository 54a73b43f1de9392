//! Replies in the shapes that engines were recorded with (their contents are invented), read by the built-in dialect:
//! the whole normal form of each.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{fs, path::Path, sync::Arc};

use larder::{
    class::Class,
    dialect::{Asked, Catalog, Cursor, Endpoint, Entry, Page, Values},
};
use serde_json::{Value, json};
use url::Url;

pub(super) fn endpoint(name: &str) -> Arc<Endpoint> {
    let catalog = Catalog::built_in();
    catalog.get("moebooru").unwrap().endpoints[name].clone()
}

pub(super) fn recording(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/moebooru");
    fs::read(folder.join(format!("{name}.json"))).unwrap()
}

pub(super) fn base() -> Url {
    "https://booru.example/".parse().unwrap()
}

fn page(from: &str, file: &str, with: &[&str]) -> Page {
    let with: Vec<_> = with.iter().map(ToString::to_string).collect();
    endpoint(from)
        .read(
            &recording(file),
            &Asked::new(&base(), &with, &Values::new(), &Cursor::new()),
        )
        .unwrap()
}

/// The normal forms without `raw`; every entry must be good, and hold what the site sent.
fn items(from: &str, file: &str) -> Value {
    let page = page(from, file, &[]);
    let item = |entry: &Entry| {
        let Entry::Good(item) = entry else {
            panic!("{entry:?}")
        };
        let raw: Value = serde_json::from_str(item.raw[from].get()).unwrap();
        assert!(raw.is_object());
        let mut json = serde_json::to_value(item).unwrap();
        json.as_object_mut().unwrap().remove("raw");
        json
    };
    page.entries.iter().map(item).collect()
}

#[test]
fn a_page_of_a_new_engine_becomes_posts() {
    let expected = json!([
        {
            "kind": "post", "id": "912", "url": "https://booru.example/post/show/912",
            "author": { "id": "12", "name": "heron" },
            "created": "2023-11-14T22:28:32Z", "updated": "2023-11-14T22:30:12Z",
            "tags": ["heath", "purple_hills", "summer", "rating:s"], "text": "https://paintings.example/912",
            "files": [{
                "role": "original", "index": 0, "bytes": 300_912, "md5": "50620cf08df37ca01d7cc200e1925725",
                "url": "https://images.booru.example/data/image/50620cf08df37ca01d7cc200e1925725/912%20heath%20purple_hills%20summer.png",
                "width": 1600, "height": 900
            }],
            "stats": { "score": 31 }
        },
        // A child, found questionable since.
        {
            "kind": "post", "id": "911", "url": "https://booru.example/post/show/911",
            "author": { "id": "12", "name": "heron" },
            "created": "2023-11-14T22:28:31Z", "updated": "2023-11-14T23:45:55Z",
            "tags": ["heath", "purple_hills", "rating:q"], "text": "",
            "parent": { "kind": "post", "id": "912" },
            "files": [{
                "role": "original", "index": 0, "bytes": 300_911, "md5": "ea4ac2d66df5762d2c507f3b76005a57",
                "url": "https://images.booru.example/data/image/ea4ac2d66df5762d2c507f3b76005a57/911%20heath%20purple_hills.png",
                "width": 1600, "height": 900
            }],
            "stats": { "score": 7 }
        },
        // Deleted: no address of its file, and gone.
        {
            "kind": "post", "id": "910", "url": "https://booru.example/post/show/910",
            "author": { "id": "12", "name": "heron" },
            "created": "2023-11-14T22:28:30Z", "updated": "2023-11-14T22:30:10Z",
            "tags": ["marsh", "rating:s"], "text": "https://paintings.example/910",
            "files": [{ "role": "original", "index": 0, "bytes": 300_910, "md5": "24ff2835801c9c706b3a59bcae8f9d19", "width": 1600, "height": 900 }],
            "gone": "deleted by the site",
            "stats": { "score": 7 }
        },
        // No address of its file either, but there.
        {
            "kind": "post", "id": "907", "url": "https://booru.example/post/show/907",
            "author": { "name": "heron" },
            "created": "2023-11-14T22:28:27Z", "updated": "2023-11-14T22:30:07Z",
            "tags": ["marsh", "mist", "rating:s"], "text": "https://paintings.example/907",
            "files": [{ "role": "original", "index": 0, "bytes": 300_907, "md5": "df2cc4f2ebe9c877ae334db9d5196eb9", "width": 1600, "height": 900 }],
            "stats": { "score": 7 }
        },
        {
            "kind": "post", "id": "905", "url": "https://booru.example/post/show/905",
            "author": { "id": "12", "name": "heron" },
            "created": "2023-11-14T22:28:25Z", "updated": "2023-11-14T22:30:05Z",
            "tags": ["birch_wood", "étude", "水彩", "rating:e"], "text": "https://paintings.example/905",
            "files": [{
                "role": "original", "index": 0, "bytes": 300_905, "md5": "45456542b2f01ad55557b6ff1c812375",
                "url": "https://booru.example/data/image/905.jpg", "width": 900, "height": 1600
            }],
            "stats": { "score": 7 }
        }
    ]);
    assert_eq!(items("posts", "posts_new"), expected);
}

#[test]
fn a_page_of_an_old_engine_becomes_posts() {
    let expected = json!([
        {
            "kind": "post", "id": "354", "url": "https://booru.example/post/show/354",
            "author": { "id": "12", "name": "heron" },
            "created": "2023-11-14T22:19:14Z",
            "tags": ["lighthouse", "night", "rating:s"], "text": "https://paintings.example/354",
            "files": [{
                "role": "original", "index": 0, "bytes": 300_354, "md5": "5ae59f0586fe43ef785ebb6c5ea8272f",
                "url": "https://images.booru.example/data/image/5ae59f0586fe43ef785ebb6c5ea8272f/354%20lighthouse%20night.png",
                "width": 1600, "height": 900
            }],
            "stats": { "score": 7 }
        },
        {
            "kind": "post", "id": "352", "url": "https://booru.example/post/show/352",
            "author": { "name": "Anonymous" },
            "created": "2023-11-14T22:19:12Z",
            "tags": ["dunes", "lighthouse", "rating:s"], "text": "https://paintings.example/352",
            "parent": { "kind": "post", "id": "354" },
            "files": [{
                "role": "original", "index": 0, "bytes": 300_352, "md5": "aaeb7d2e4aec31be4eaac5aebeaf06c5",
                "url": "https://images.booru.example/data/image/aaeb7d2e4aec31be4eaac5aebeaf06c5/352%20dunes%20%20lighthouse.png",
                "width": 1600, "height": 900
            }],
            "stats": { "score": 7 }
        }
    ]);
    assert_eq!(items("posts", "posts_old"), expected);
}

#[test]
fn comments_belong_to_their_post() {
    let expected = json!([
        {
            "kind": "comment", "id": "58", "url": "https://booru.example/post/show/912#c58",
            "author": { "id": "19", "name": "wren" }, "created": "2024-03-01T10:20:30.405Z",
            "text": "Is that the same hill as in post #911?\r\nÜber allen Gipfeln.",
            "parent": { "kind": "post", "id": "912" }
        },
        {
            "kind": "comment", "id": "57", "url": "https://booru.example/post/show/912#c57",
            "created": "2024-03-01T09:00:00Z", "text": "[quote]mist[/quote] and heather",
            "parent": { "kind": "post", "id": "912" }
        }
    ]);
    assert_eq!(items("comments", "comments"), expected);
}

#[test]
fn notes_belong_to_their_post_and_a_removed_one_is_gone() {
    let expected = json!([
        {
            "kind": "note", "id": "22", "url": "https://booru.example/post/show/907",
            "author": { "id": "19" }, "created": "2024-04-02T00:00:01Z", "updated": "2024-04-03T00:00:02.5Z",
            "text": "taken back", "parent": { "kind": "post", "id": "907" }, "gone": "removed from the picture"
        },
        {
            "kind": "note", "id": "21", "url": "https://booru.example/post/show/907",
            "author": { "id": "12" }, "created": "2024-04-01T00:00:01Z", "updated": "2024-04-01T00:00:01Z",
            "text": "<b>A heron</b>, half hidden.", "parent": { "kind": "post", "id": "907" }
        }
    ]);
    assert_eq!(items("notes", "notes"), expected);
}

#[test]
fn the_second_api_tells_the_pools_of_a_post() {
    let expected = json!([
        {
            "kind": "pool", "id": "41", "url": "https://booru.example/pool/show/41", "title": "over_the_heath",
            "author": { "id": "12" }, "created": "2023-12-01T08:00:00Z", "updated": "2023-12-24T18:30:00.25Z",
            "text": "A day on the heath.", "stats": { "post_count": 9 }
        },
        {
            "kind": "pool", "id": "44", "url": "https://booru.example/pool/show/44", "title": "purple",
            "author": { "id": "19" }, "created": "2023-12-05T08:00:00Z", "updated": "2023-12-05T08:00:00Z",
            "text": "", "stats": { "post_count": 140 }
        },
        // Its memberships go to the record of the post, which they complete.
        { "kind": "post", "id": "912" }
    ]);
    assert_eq!(items("pools_of_post", "posts_api_v2"), expected);
    let page = page("pools_of_post", "posts_api_v2", &[]);
    let Entry::Good(post) = &page.entries[2] else {
        panic!()
    };
    let raw: Value = serde_json::from_str(post.raw["pools_of_post"].get()).unwrap();
    let members = raw["pool_posts"].as_array().unwrap();
    let sequences: Vec<_> = members.iter().map(|member| &member["sequence"]).collect();
    assert!(sequences.contains(&&json!("12b")), "{sequences:?}");
    assert_eq!(items("pools_of_post", "api_v2_without_pools"), json!([]));
}

#[test]
fn follow_ups_are_asked_only_where_there_may_be_something() {
    let follow = |file| -> Vec<Vec<String>> {
        let page = page("posts", file, &["comments", "notes", "pools"]);
        let names = |entry: &Entry| {
            let Entry::Good(item) = entry else { panic!() };
            let own = item
                .also
                .iter()
                .all(|f| f.params["post_id"].to_string() == item.id);
            assert!(own, "{:?}", item.also);
            item.also.iter().map(|f| f.endpoint.clone()).collect()
        };
        page.entries.iter().map(names).collect()
    };
    assert_eq!(
        follow("posts_new"),
        [
            vec!["comments", "pools_of_post"],
            vec!["pools_of_post"],
            vec!["pools_of_post"],
            vec!["notes", "pools_of_post"],
            vec!["pools_of_post"]
        ]
    );
    // An old engine does not say: it is asked.
    assert_eq!(
        follow("posts_old"),
        [["comments", "notes", "pools_of_post"]; 2]
    );
}

#[test]
fn the_cursor_is_the_smallest_id_and_an_empty_page_has_none() {
    assert_eq!(
        page("posts", "posts_new", &[]).shown.next.unwrap()["before"],
        905
    );
    assert_eq!(
        page("posts", "posts_old", &[]).shown.next.unwrap()["before"],
        352
    );
    let empty = endpoint("posts")
        .read(
            b"[]",
            &Asked::new(&base(), &[], &Values::new(), &Cursor::new()),
        )
        .unwrap();
    assert!(empty.entries.is_empty() && empty.shown.next.is_none());
}

#[test]
fn errors_of_the_site_are_told_apart_on_every_endpoint() {
    for (file, class, words) in [
        ("error_too_many_tags", Class::Http4xx, "six tags"),
        ("error_out_of_range", Class::Http4xx, "64bit"),
        ("error_access_denied", Class::Auth, "access denied"),
        ("error_unknown", Class::Listing, "the herons are on strike"),
    ] {
        for name in ["posts", "comments", "notes", "pools_of_post"] {
            let error = endpoint(name)
                .read(
                    &recording(file),
                    &Asked::new(&base(), &[], &Values::new(), &Cursor::new()),
                )
                .unwrap_err();
            assert_eq!(error.class, class, "{name} {file}");
            assert!(error.message.contains(words), "{}", error.message);
            let reported = endpoint(name)
                .reported(
                    &recording(file),
                    &Asked::new(&base(), &[], &Values::new(), &Cursor::new()),
                )
                .unwrap();
            assert_eq!(reported.message, error.message);
        }
    }
}

#[test]
fn what_is_no_page_is_refused() {
    for name in ["posts", "comments", "notes"] {
        for body in [
            "",
            " \n",
            "{}",
            "null",
            "7",
            "\"x\"",
            "[",
            "<html>",
            "{\"posts\": []}",
        ] {
            let error = endpoint(name)
                .read(
                    body.as_bytes(),
                    &Asked::new(&base(), &[], &Values::new(), &Cursor::new()),
                )
                .expect_err(body);
            assert_eq!(error.class, Class::Listing, "{name} {body}");
        }
    }
    for body in ["", "[]", "null", "7", "<html>"] {
        assert!(
            endpoint("pools_of_post")
                .read(
                    body.as_bytes(),
                    &Asked::new(&base(), &[], &Values::new(), &Cursor::new())
                )
                .is_err(),
            "{body}"
        );
    }
}

#[test]
fn only_the_id_of_a_post_must_be_there() {
    let page = endpoint("posts")
        .read(
            br#"[{"id": 5}, {"tags": "no id"}, 7, null, {"id": 6, "tags": ""}]"#,
            &Asked::new(&base(), &[], &Values::new(), &Cursor::new()),
        )
        .unwrap();
    let good: Vec<_> = page
        .entries
        .iter()
        .map(|entry| matches!(entry, Entry::Good(..)))
        .collect();
    assert_eq!(
        good,
        [true, false, false, false, true],
        "{:#?}",
        page.entries
    );
    assert_eq!(page.shown.count, 5);
}
