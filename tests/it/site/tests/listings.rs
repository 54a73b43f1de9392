//! What the post listing prints, and how it changes.

use serde_json::Value;

use super::super::{Booru, Post, Profile, client};

fn keys(post: &Value) -> Vec<&str> {
    let map = post.as_object().expect("an object");
    map.keys().map(String::as_str).collect()
}

#[test]
fn each_profile_prints_its_own_keys_in_order() {
    let young = Booru::builder().posts(1).start();
    let new = client::search(&young, "");
    let new = keys(&new[0]);
    assert_eq!(new.len(), 44);
    assert_eq!(
        new[..6],
        [
            "id",
            "tags",
            "created_at",
            "updated_at",
            "creator_id",
            "approver_id"
        ]
    );
    assert_eq!(
        new[41..],
        ["is_note_locked", "last_noted_at", "last_commented_at"]
    );

    let old = Booru::builder().profile(Profile::Old).posts(1).start();
    let posts = client::search(&old, "");
    let old = keys(&posts[0]);
    assert_eq!(old.len(), 36);
    assert_eq!(
        old[..5],
        ["id", "tags", "created_at", "creator_id", "author"]
    );
    assert_eq!(old[35], "frames");
    assert!(old.iter().all(|key| new.contains(key)));
    let url = posts[0]["file_url"].as_str().expect("text");
    assert!(
        url.contains("/Konachan.com%20-%20101%20artist_0%20even%20"),
        "{url}"
    );
}

#[test]
fn a_deleted_post_lacks_its_addresses_but_keeps_its_md5() {
    let site = Booru::builder().posts(3).start();
    let id = site.ids()[1];
    site.edit(id, Post::delete);
    let posts = client::search(&site, &format!("id:{id}"));
    let post = &posts[0];
    assert_eq!(keys(post).len(), 42);
    assert!(
        ["file_url", "sample_url", "jpeg_url"]
            .iter()
            .all(|key| post.get(key).is_none())
    );
    assert_eq!(post["md5"], site.truth()[1].md5);
    assert_eq!(post["status"], "deleted");
    assert_eq!(keys(post).last(), Some(&"flag_detail"));
    assert!(
        post["preview_url"]
            .as_str()
            .expect("text")
            .ends_with("/deleted-preview.png")
    );
    let url = site.truth()[1].url.replace(&site.url(), "");
    assert_eq!(client::get(&site, &url).status, 404);
}

#[test]
fn a_retag_changes_the_address_and_the_change_number_but_not_the_md5() {
    let site = Booru::builder().posts(5).start();
    let id = site.ids()[0];
    let before = client::search(&site, &format!("id:{id}")).remove(0);
    site.edit(id, |post| post.retag("new_tag seed"));
    let after = client::search(&site, &format!("id:{id}")).remove(0);
    assert_ne!(before["file_url"], after["file_url"]);
    assert_eq!(before["md5"], after["md5"]);
    assert_eq!(client::ids(&site, "order:change_desc")[0], id);
    assert!(after["updated_at"].as_i64() > before["updated_at"].as_i64());

    site.edit(id, |post| post.score += 1);
    let scored = client::search(&site, &format!("id:{id}")).remove(0);
    assert_eq!(scored["change"], after["change"]);
    let old_address = before["file_url"]
        .as_str()
        .expect("text")
        .replace(&site.url(), "");
    assert_eq!(client::get(&site, &old_address).body, site.truth()[0].bytes);
}

#[test]
fn pages_and_limits_are_clamped_and_the_end_is_empty() {
    let site = Booru::builder().posts(1003).start();
    let count = |query: &str| match client::get(&site, &format!("/post.json?{query}")).json() {
        Value::Array(posts) => posts.len(),
        other => panic!("not a listing: {other}"),
    };
    assert_eq!(count(""), 40);
    assert_eq!(count("limit=5000"), 1000);
    assert_eq!(count("limit=5000&page=2"), 3);
    assert_eq!(count("limit=7&tags=limit:3"), 3);
    assert_eq!(count("page=999999999"), 0);
    assert_eq!(client::get(&site, "/post.json?page=99").text(), "[]");
    assert_eq!(count("limit=2&page=0"), 2);
}

#[test]
fn a_post_added_at_the_top_shifts_pages_but_not_a_keyset() {
    let site = Booru::builder().posts(10).start();
    let ids = site.ids();
    let page = |query: &str| client::get(&site, &format!("/post.json?limit=3&{query}")).json();
    let second = page("page=2")[0]["id"].clone();
    let cursor = format!("tags=id:%3C{}", ids[7]);
    let beyond = page(&cursor)[0]["id"].clone();
    assert_eq!(second, beyond);
    let added = site.add(|post| post.retag("late"));
    assert!(added > ids[9]);
    assert_eq!(page("page=2")[0]["id"], ids[7]);
    assert_eq!(page(&cursor)[0]["id"], beyond);
}

#[test]
fn two_sites_built_alike_are_alike_and_their_files_are_true() {
    let build = || Booru::builder().posts(30).start();
    let (one, two) = (build(), build());
    for (a, b) in one.truth().iter().zip(two.truth()) {
        assert_eq!((a.id, &a.sha256), (b.id, &b.sha256));
    }
    for (truth, post) in one.truth().iter().zip(client::search(&one, "order:id")) {
        let reply = client::get(&one, &truth.url.replace(&one.url(), ""));
        assert_eq!(reply.body, truth.bytes);
        assert_eq!(post["file_size"], truth.bytes.len());
        let magic: &[u8] = match post["file_ext"].as_str() {
            Some("png") => b"\x89PNG\r\n\x1a\n",
            _ => b"\xff\xd8\xff",
        };
        assert!(reply.body.starts_with(magic));
        if post["jpeg_file_size"] != 0 {
            let jpeg = post["jpeg_url"]
                .as_str()
                .expect("text")
                .replace(&one.url(), "");
            assert_eq!(post["jpeg_file_size"], client::get(&one, &jpeg).body.len());
        }
        let plain = format!(
            "/data/image/{}/{}/{}.png",
            &truth.md5[..2],
            &truth.md5[2..4],
            truth.md5
        );
        assert_eq!(client::get(&one, &plain).body, truth.bytes);
    }
    let ids = one.ids();
    assert!(
        ids.windows(2).any(|pair| pair[1] - pair[0] > 1),
        "no gaps in {ids:?}"
    );
}

#[test]
fn version_two_adds_tag_types_and_pools_only_when_asked() {
    let site = Booru::builder()
        .posts(4)
        .pool(1, "a pool", &[101, 103])
        .start();
    assert_eq!(site.ids()[..2], [101, 103]);
    let bare = client::get(&site, "/post.json?api_version=2").json();
    assert_eq!(keys(&bare), ["posts"]);
    let target = "/post.json?api_version=2&include_tags=1&include_pools=1&tags=id:103";
    let full = client::get(&site, target).json();
    assert_eq!(keys(&full), ["posts", "pool_posts", "pools", "tags"]);
    assert_eq!(full["tags"]["artist_1"], "artist");
    assert_eq!(full["tags"]["seed"], "general");
    assert_eq!(full["pool_posts"][0]["sequence"], "2");
    assert_eq!(full["pool_posts"][0]["prev_post_id"], 101);
    assert_eq!(full["pools"][0]["name"], "a_pool");
    assert_eq!(client::ids(&site, "pool:1"), [101, 103]);
}

#[test]
fn the_xml_root_carries_the_total() {
    let site = Booru::builder().posts(43).start();
    let text = client::get(&site, "/post.xml?limit=1&tags=seed").text();
    assert!(text.contains("<posts count=\"43\" offset=\"0\">"), "{text}");
    assert!(
        text.contains(" approver_id=\"\" author=\"uploader\""),
        "{text}"
    );
    assert!(!text.contains("frames=\""), "{text}");
}
