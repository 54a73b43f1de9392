//! What people write and do, and the popular posts: shapes, page sizes, and what is not served.

use serde_json::{Value, json};

use super::super::{Booru, Post, Profile, client};

fn keys(value: &Value) -> Vec<&str> {
    let map = value.as_object().expect("an object");
    map.keys().map(String::as_str).collect()
}

fn length(site: &Booru, target: &str) -> usize {
    let reply = client::get(site, target);
    assert_eq!(reply.status, 200, "{target}");
    reply.json().as_array().expect("a list").len()
}

#[test]
fn every_list_prints_the_recorded_keys_in_order() {
    let site = Booru::builder().posts(2);
    let post = site.ids()[0];
    let site = site
        .notes(post, 1)
        .artist("heron", &["https://a.example"], None);
    let site = site
        .wiki("heath", &["One.", "Two."])
        .topic("hills", 1)
        .start();
    for (target, wanted) in [
        ("/artist.json", "id name alias_id group_id urls"),
        (
            "/wiki.json",
            "id created_at updated_at title body updater_id locked version",
        ),
        (
            "/wiki/history.json?title=Heath",
            "id created_at updated_at title body updater_id locked version",
        ),
        (
            "/note/history.json",
            "created_at updated_at creator_id x y width height is_active post_id body version",
        ),
        (
            "/note/search.json?query=bold",
            "id created_at updated_at creator_id x y width height is_active post_id body version",
        ),
        ("/user.json", "name id"),
        (
            "/forum.json",
            "body creator creator_id id parent_id title updated_at pages",
        ),
    ] {
        let list = client::get(&site, target).json();
        assert_eq!(keys(&list[0]).join(" "), wanted, "{target}");
        // All versions of a wiki page come at once, whatever page is asked for.
        let past = format!(
            "{target}{}page=9",
            if target.contains('?') { "&" } else { "?" }
        );
        let left = if target.starts_with("/wiki/history") {
            2
        } else {
            0
        };
        assert_eq!(length(&site, &past), left, "{target}");
    }
}

#[test]
fn versions_of_the_old_build_do_not_say_which_page_they_are_of() {
    let site = Booru::builder()
        .profile(Profile::Old)
        .wiki("heath", &["One.", "Two."])
        .start();
    let list = client::get(&site, "/wiki/history.json?id=1").json();
    assert_eq!(
        keys(&list[0]).join(" "),
        "created_at updated_at version body user_id is_locked"
    );
    assert_eq!(
        (&list[0]["version"], &list[1]["version"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(length(&site, "/wiki/history.json?title=nothing"), 0);
}

#[test]
fn pages_have_the_engines_sizes() {
    let mut site = Booru::builder().posts(1).topic("long", 105);
    let post = site.ids()[0];
    for nth in 0..60 {
        site = site
            .artist(&format!("a{nth:02}"), &[], None)
            .user(&format!("u{nth}"))
            .topic("t", 0)
            .wiki(&format!("w{nth:02}"), &["x"]);
    }
    let site = site.notes(post, 60).start();
    for (target, size) in [
        ("/artist.json", 25),
        ("/artist.json?name=a", 50),
        ("/artist.json?name=a&page=2", 10),
        ("/user.json", 20),
        ("/forum.json", 30),
        ("/forum.json?parent_id=1", 100),
        ("/wiki.json", 25),
        ("/wiki.json?limit=60", 60),
        ("/note/search.json?query=note", 25),
        ("/note/history.json?limit=99", 25),
        ("/note/history.json?id=3", 1),
        ("/note/history/3.json?limit=9", 1),
        (&format!("/note/history.json?post_id={post}"), 50),
    ] {
        assert_eq!(length(&site, target), size, "{target}");
    }
}

#[test]
fn what_the_engine_does_not_serve_as_json_is_refused() {
    let site = Booru::builder().posts(1).wiki("heath", &["x"]).start();
    for (target, status) in [
        ("/wiki/show.json?title=heath", 406),
        ("/note/search.json", 406),
        ("/favorite/list_users.json?id=9", 404),
        ("/forum.json?parent_id=99999999999", 400),
        ("/post/popular_by_day.json?year=2026&month=13&day=42", 400),
        ("/post/popular_by_month.json?year=2026&month=0", 400),
    ] {
        let reply = client::get(&site, target);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, ""),
            "{target}"
        );
    }
}

#[test]
fn a_name_is_how_it_begins_and_a_title_a_part() {
    let site = Booru::builder()
        .artist("heron", &[], None)
        .artist("grey_heron", &[], None);
    let site = site
        .wiki("dry heath", &["Of heather."])
        .wiki("heath", &["Open."])
        .user("Grey_Heron")
        .start();
    for (target, found) in [
        ("/artist.json?name=heron", 1),
        ("/artist.json?name=her&url=https://nothing.example", 1),
        ("/wiki.json?query=title:heath", 2),
        ("/wiki.json?query=heather", 1),
        ("/wiki.json?query=heat", 0),
        ("/user.json?name=y+h", 1),
        ("/user.json?id=2", 1),
    ] {
        assert_eq!(length(&site, target), found, "{target}");
    }
}

#[test]
fn users_who_like_a_post_are_one_text() {
    let site = Booru::builder().posts(2);
    let ids = site.ids();
    let site = site.favorites(ids[0], &["wren", "heron"]).start();
    let of = |id: u64| client::get(&site, &format!("/favorite/list_users.json?id={id}")).json();
    assert_eq!(of(ids[0]), json!({"favorited_users": "wren,heron"}));
    assert_eq!(of(ids[1]), json!({"favorited_users": ""}));
}

#[test]
fn popular_posts_are_forty_of_the_span_best_first_without_deleted_ones() {
    // The first 107 posts are of 2023-11-14, a Tuesday.
    let site = Booru::builder().posts(200).start();
    let best = |target: &str| -> Vec<u64> {
        let posts = client::get(&site, target).json();
        let posts = posts.as_array().expect("a list");
        let scores: Vec<_> = posts.iter().map(|post| post["score"].as_i64()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{target}: {scores:?}");
        posts
            .iter()
            .map(|post| post["id"].as_u64().expect("a number"))
            .collect()
    };
    let day = "/post/popular_by_day.json?year=2023&month=11&day=14";
    let found = best(day);
    assert_eq!(found.len(), 40);
    assert!(found.iter().all(|id| site.ids()[..107].contains(id)));
    site.edit(found[0], Post::delete);
    assert!(!best(day).contains(&found[0]));
    assert_eq!(
        best("/post/popular_by_day.json?year=2023&month=11&day=13").len(),
        0
    );
    let week = best("/post/popular_by_week.json?year=2023&month=11&day=19");
    assert_eq!(week, best("/post/popular_by_month.json?year=2023&month=11"));
    assert_eq!(
        best("/post/popular_by_week.json?year=2023&month=11&day=20").len(),
        0
    );
    // The site's own today is eleven days later.
    assert_eq!(
        (
            best("/post/popular_by_day.json").len(),
            best("/post/popular_recent.json").len()
        ),
        (0, 0)
    );
    assert_eq!(best("/post/popular_recent.json?period=1m").len(), 40);
}
