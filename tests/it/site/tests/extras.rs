//! Comments, notes, pools, tags, and who may ask.

use serde_json::{Value, json};

use super::super::{Booru, Post, Profile, client, pages::password_hash};

fn length(value: &Value) -> usize {
    value.as_array().expect("a list").len()
}

#[test]
fn comments_come_newest_first_25_a_page() {
    let site = Booru::builder().posts(2).comments(101, 30).start();
    let first = client::get(&site, "/comment.json?post_id=101").json();
    assert_eq!((length(&first), &first[0]["id"]), (25, &json!(30)));
    let second = client::get(&site, "/comment.json?post_id=101&page=2").json();
    assert_eq!(length(&second), 5);
    assert_eq!(client::get(&site, "/comment.json").text(), "[]");
    assert_eq!(
        client::get(&site, "/comment/show.json?id=30").json(),
        first[0]
    );
    let missing = client::get(&site, "/comment/show/99.json");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json(), json!({"status": 404, "error": "Not Found"}));
}

#[test]
fn the_last_note_of_several_is_a_removed_one() {
    let site = Booru::builder().posts(2).notes(101, 3).start();
    let notes = client::get(&site, "/note.json?post_id=101").json();
    let active: Vec<_> = (0..3).map(|n| notes[n]["is_active"].clone()).collect();
    assert_eq!(active, [false, true, true]);
    assert_eq!(client::get(&site, "/note.json").json(), notes);
}

#[test]
fn a_pool_shows_24_posts_a_page_with_iso_dates_and_deleted_posts() {
    let builder = Booru::builder().posts(30);
    let mut ids = builder.ids();
    ids.reverse();
    let site = builder.pool(7, "Long pool", &ids).start();
    site.edit(ids[0], Post::delete);
    let pool = client::get(&site, "/pool/show.json?id=7").json();
    assert_eq!(length(&pool["posts"]), 24);
    let first = &pool["posts"][0];
    assert_eq!(first["id"], ids[0]);
    assert_eq!(first.as_object().expect("an object").len(), 36);
    assert!(first["file_url"].is_string());
    let created_at = first["created_at"].as_str().expect("text");
    assert!(created_at.strip_suffix(".000Z").is_some());
    let rest = client::get(&site, "/pool/show/7.json?page=2").json();
    assert_eq!(length(&rest["posts"]), 6);
    assert_eq!(
        client::get(&site, "/pool.json?query=long").json()[0]["post_count"],
        30
    );

    let missing = client::get(&site, "/pool/show.json?id=999");
    assert_eq!(missing.status, 302);
    assert_eq!(
        missing.header("location"),
        Some(format!("{}/pool", site.url()).as_str())
    );
}

#[test]
fn related_counts_are_texts_and_tags_can_be_filtered() {
    let site = Booru::builder().posts(10).start();
    let related = client::get(&site, "/tag/related.json?tags=seed").json();
    assert_eq!(related["seed"][0], json!(["seed", "10"]));
    let typed = client::get(&site, "/tag/related.json?tags=seed&type=artist").json();
    assert_eq!(typed["seed"][0], json!(["artist_0", 4]));

    let tags = client::get(&site, "/tag.json?order=count&limit=2").json();
    assert_eq!(length(&tags), 2);
    assert_eq!(tags[0]["name"], "seed");
    assert_eq!(tags[0]["type"], 0);
    assert_eq!(length(&client::get(&site, "/tag.json?name=rtis").json()), 3);
    let from = tags[0]["id"].clone();
    let after = client::get(&site, &format!("/tag.json?limit=0&after_id={from}")).json();
    let ids: Vec<_> = after
        .as_array()
        .expect("a list")
        .iter()
        .map(|tag| &tag["id"])
        .collect();
    assert!(ids.contains(&&from));
}

#[test]
fn password_hashes_match_the_known_values() {
    let known = [
        (
            "choujin-steiner",
            "1dd407fdcd6c4f7f257d18cd57f8c4d1720e9e32",
        ),
        (
            "So-I-Heard-You-Like-Mupkids-?",
            "ac4cb8db202c4e046136b56ddca5bf02851db5e5",
        ),
    ];
    for (salt, hash) in known {
        assert_eq!(password_hash(salt, "your-password"), hash);
    }
}

#[test]
fn a_login_is_checked_when_given_and_when_required() {
    let denied = json!({"success": false, "reason": "access denied"});
    let site = Booru::builder().posts(1).start();
    let right = "login=Reader&password_hash=1dd407fdcd6c4f7f257d18cd57f8c4d1720e9e32";
    let wrong = "login=reader&password_hash=0000";
    assert_eq!(
        client::get(&site, &format!("/post.json?{right}")).status,
        200
    );
    let refused = client::get(&site, &format!("/post.json?{wrong}"));
    assert_eq!((refused.status, refused.json()), (403, denied.clone()));
    let refused = client::post(&site, "/post/destroy.json", &[("id", "101")]);
    assert_eq!((refused.status, refused.json()), (403, denied));
    let done = client::post(&site, &format!("/post/vote.json?{right}"), &[("id", "101")]);
    assert_eq!(done.status, 200);

    let closed = Booru::builder().posts(1).require_login(true).start();
    assert_eq!(client::get(&closed, "/post.json").status, 403);
    assert_eq!(
        client::get(&closed, &format!("/post.json?{right}")).status,
        200
    );
}

#[test]
fn the_old_site_can_turn_away_what_is_no_browser() {
    let builder = Booru::builder().profile(Profile::Old).posts(1);
    let site = builder.browsers_only(true).start();
    let blocked = client::get(&site, "/post.json");
    assert_eq!(blocked.status, 403);
    assert!(
        blocked
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    let head = "GET /post.json HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (larder)\r\n";
    assert_eq!(
        client::send(&site, head, "").expect("an answer").status,
        200
    );
}

#[test]
fn an_unknown_route_is_an_empty_404() {
    let site = Booru::builder().start();
    let reply = client::get(&site, "/nothing.json");
    assert_eq!((reply.status, reply.text().as_str()), (404, ""));
    assert_eq!(client::get(&site, "/post/index.json").text(), "[]");
}
