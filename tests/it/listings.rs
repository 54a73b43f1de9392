//! Walks over everything that a Moebooru site lists besides searches for posts: what is asked, what is kept, and that a
//! second walk adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    site::{Booru, BooruBuilder, Post, Profile},
    world::{World, text},
};

/// A world whose one job walks this listing.
fn world(site: BooruBuilder, listing: &str, params: &str, keys: &str) -> World {
    let mut world = World::new(site);
    world.no_jobs();
    world.listing(listing, listing, params, keys);
    world
}

/// The newest record of each item of a kind, by id.
fn kept(world: &World, kind: &str) -> BTreeMap<String, serde_json::Value> {
    let records = world.records().into_iter();
    let records = records.filter(|line| line["type"] == "item" && line["kind"] == kind);
    records
        .map(|record| (text(&record["id"]), record))
        .collect()
}

/// The address and query of every request for a page.
fn asked(world: &World) -> Vec<String> {
    let pages = world.booru.pages();
    pages
        .iter()
        .map(|page| format!("{}?{}", page.path, page.raw_query))
        .collect()
}

/// Runs again: nothing new is known, and no file is asked for.
fn a_second_run_adds_nothing(world: &World) {
    let before = world.revisions();
    world.booru.clear_log();
    world.run(0);
    assert_eq!(world.revisions(), before);
    assert_eq!(world.booru.files().len(), 0);
}

#[test]
fn a_pool_is_kept_with_its_posts_in_their_order() {
    for profile in [Profile::New, Profile::Old] {
        let site = Booru::builder().profile(profile).posts(60);
        // Out of order, over three pages of 24, and one of them deleted.
        let mut order: Vec<u64> = site.ids();
        order.sort_by_key(|id| id * 37 % 101);
        order.truncate(50);
        let deleted = order[30];
        let site = site
            .pool(7, "over the heath", &order)
            .alter(deleted, Post::delete);
        let world = world(site, "pool", "id = 7", "");
        world.run(0);
        assert_eq!(
            asked(&world),
            [
                "/pool/show.json?id=7",
                "/pool/show.json?id=7&page=2",
                "/pool/show.json?id=7&page=3"
            ]
        );
        let pool = &kept(&world, "pool")["7"];
        assert_eq!(
            (&pool["title"], &pool["text"], &pool["stats"]["post_count"]),
            (
                &json!("over_the_heath"),
                &json!("The pictures of pool 7."),
                &json!(50)
            )
        );
        let pages = kept(&world, "pool-page");
        let told: Vec<u64> = (1..=3)
            .flat_map(|page| {
                let page = &pages[&format!("7-{page}")];
                assert_eq!(page["parent"], json!({"kind": "pool", "id": "7"}));
                let ids: Vec<u64> = text(&page["text"])
                    .split(' ')
                    .map(|id| id.parse().unwrap())
                    .collect();
                ids
            })
            .collect();
        assert_eq!((told, pages.len()), (order.clone(), 3));
        let (posts, objects) = (world.posts(), world.objects());
        assert_eq!(
            posts.keys().copied().collect::<BTreeSet<_>>(),
            order.iter().copied().collect()
        );
        for truth in world
            .booru
            .truth()
            .iter()
            .filter(|truth| order.contains(&truth.id))
        {
            let file = &posts[&truth.id]["files"][0];
            if truth.deleted {
                assert_eq!(file["missing"], "no_url");
            } else {
                assert_eq!(file["sha256"], truth.sha256);
                assert_eq!(objects[&truth.sha256], truth.bytes);
            }
        }
        assert_eq!(world.lines("post", "gone").len(), 1);
        a_second_run_adds_nothing(&world);
    }
}

#[test]
fn a_pool_says_less_of_a_post_than_a_search_and_never_makes_less_of_its_record() {
    let site = Booru::builder().posts(30);
    let all = site.ids();
    let mut world = World::new(site.pool(7, "a pool", &all[..26]));
    world.no_jobs();
    world.listing("pool", "pool", "id = 7", "");
    world.also("search", "seed", "");
    let updated = |world: &World| {
        let posts = world.posts().into_values();
        posts.filter(|post| !post["updated"].is_null()).count()
    };
    let revisions = |world: &World| world.lines("post", "item").len();
    world.larder(&["run", "pool"]).expect(0);
    assert_eq!((revisions(&world), updated(&world)), (26, 0));
    // The search knows more: one revision of each, and no file again.
    world.booru.clear_log();
    world.larder(&["run", "search"]).expect(0);
    assert_eq!((revisions(&world), updated(&world)), (56, 30));
    assert_eq!(world.booru.files().len(), 4);
    for job in ["pool", "search", "pool"] {
        world.larder(&["run", job]).expect(0);
        assert_eq!((revisions(&world), updated(&world)), (56, 30), "{job}");
    }
    world.holds_everything();
}

#[test]
fn a_pool_brings_the_files_of_posts_that_were_kept_without() {
    let site = Booru::builder().posts(5);
    let all = site.ids();
    let mut world = World::new(site.pool(7, "a pool", &all));
    world.job("seed", "files = []");
    world.run(0);
    assert_eq!((world.posts().len(), world.objects().len()), (5, 0));
    world.listing("pool", "pool", "id = 7", "");
    world.larder(&["run", "pool"]).expect(0);
    assert_eq!(world.objects().len(), 5);
    for (id, post) in world.posts() {
        assert!(post["files"][0]["sha256"].is_string(), "post {id}: {post}");
    }
}

#[test]
fn all_pools_with_their_posts_are_walked_though_they_share_them() {
    let site = Booru::builder().posts(55);
    let all = site.ids();
    let mut backwards = all.clone();
    backwards.reverse();
    let mut site = site
        .pool(101, "there", &all)
        .pool(102, "and back", &backwards)
        .pool(103, "empty", &[]);
    for id in 1..=22 {
        site = site.pool(id, &format!("one of {id}"), &all[..1]);
    }
    let world = world(site, "pools", "", "with = [\"posts\"]");
    world.run(0);
    assert_eq!(kept(&world, "pool").len(), 25);
    assert_eq!(kept(&world, "pool-page").len(), 22 + 3 + 3 + 1);
    assert_eq!(world.posts().len(), 55);
    assert_eq!((world.objects().len(), world.booru.files().len()), (55, 55));
    let lists: Vec<_> = asked(&world)
        .into_iter()
        .filter(|asked| asked.starts_with("/pool.json"))
        .collect();
    assert_eq!(
        lists.len(),
        8,
        "two pages and an empty one asked twice, and a round more since page numbers drift: {lists:?}"
    );
    a_second_run_adds_nothing(&world);
}

#[test]
fn a_pool_that_is_not_there_is_said_to_be_so_at_once() {
    let world = world(Booru::builder().posts(1), "pool", "id = 999", "");
    world.run(1).says("not there");
    assert_eq!(world.classes(), ["http_404"]);
    assert_eq!(asked(&world), ["/pool/show.json?id=999", "/pool?"]);
}

#[test]
fn the_pools_of_a_search_are_those_that_hold_the_words() {
    let site = Booru::builder()
        .posts(1)
        .pool(1, "purple heath", &[])
        .pool(2, "marsh", &[]);
    let world = world(site, "pools", "query = \"heath order:id\"", "");
    world.run(0);
    assert_eq!(kept(&world, "pool").into_keys().collect::<Vec<_>>(), ["1"]);
}

#[test]
fn tags_are_kept_with_their_kinds() {
    let site = Booru::builder()
        .posts(30)
        .tag_type("even", 3)
        .tag_type("odd", 6);
    let world = world(site, "tags", "", "");
    world.run(0);
    let tags: BTreeMap<String, String> = kept(&world, "tag")
        .into_values()
        .map(|tag| (text(&tag["title"]), text(&tag["tags"][0])))
        .collect();
    // seed, even, odd, landscape, portrait, seven mod7_N and three artists.
    assert_eq!(tags.len(), 15, "{tags:?}");
    let kind = |name: &str| tags[name].as_str();
    assert_eq!(
        [kind("seed"), kind("artist_1"), kind("even"), kind("odd")],
        ["type:general", "type:artist", "type:copyright", "type:6"]
    );
    assert_eq!(
        asked(&world).len(),
        8,
        "two pages of ten and an empty one asked twice, and a round more since page numbers drift"
    );
    a_second_run_adds_nothing(&world);
}

#[test]
fn tags_of_a_kind_and_those_that_go_with_them() {
    let site = Booru::builder().posts(30);
    let mut world = world(site, "tags", "type = 1, order = \"count\"", "");
    world.listing("related", "related_tags", "tags = \"even artist_*\"", "");
    world.listing(
        "artists",
        "related_tags",
        "tags = \"even\", type = \"artist\"",
        "",
    );
    world.run(0);
    assert_eq!(kept(&world, "tag").len(), 3);
    let related = kept(&world, "related-tags");
    assert_eq!(
        related.keys().collect::<Vec<_>>(),
        ["artist_*", "even", "even type:artist"]
    );
    assert!(
        related["even"]["stats"]["seed"].is_number(),
        "{}",
        related["even"]
    );
    assert_eq!(
        related["even type:artist"]["tags"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    a_second_run_adds_nothing(&world);
}

#[test]
fn the_kinds_of_tags_cost_no_request_more() {
    let world = world(
        Booru::builder().posts(25),
        "posts",
        "tags = \"seed\", tag_types = true",
        "",
    );
    world.run(0);
    world.holds_everything();
    let plain = self::world(Booru::builder().posts(25), "posts", "tags = \"seed\"", "");
    plain.run(0);
    assert_eq!(asked(&world).len(), asked(&plain).len());
    assert_eq!(world.revisions().len(), 25);
    for (id, post) in world.posts() {
        let types = post["raw"]["posts"]["tag_types"].as_object().unwrap();
        let tags: BTreeSet<_> = text(&post["raw"]["posts"]["tags"])
            .split(' ')
            .map(str::to_owned)
            .collect();
        assert_eq!(
            types.keys().cloned().collect::<BTreeSet<_>>(),
            tags,
            "post {id}"
        );
        assert!(types.values().any(|kind| kind == "artist"), "post {id}");
    }
}

#[test]
fn wiki_pages_are_kept_with_their_versions() {
    for profile in [Profile::New, Profile::Old] {
        let mut site = Booru::builder()
            .profile(profile)
            .wiki("Dry Heath", &["First.", "Second."])
            .wiki("heath", &["Only."]);
        for nth in 0..12 {
            site = site.wiki(&format!("marsh {nth:02}"), &["Wet."]);
        }
        let mut world = world(site, "wiki", "", "with = [\"history\"]");
        world.listing("page", "wiki_page", "title = \"HEATH\"", "");
        world.run(0);
        let pages = kept(&world, "wiki");
        assert_eq!(pages.len(), 14);
        assert_eq!(
            (
                &pages["1"]["title"],
                &pages["1"]["text"],
                &pages["1"]["rev"]
            ),
            (&json!("dry_heath"), &json!("Second."), &json!(1))
        );
        let versions = kept(&world, "wiki-version");
        assert_eq!(versions.len(), 15);
        assert_eq!(
            (
                &versions["dry_heath-1"]["text"],
                &versions["dry_heath-2"]["text"]
            ),
            (&json!("First."), &json!("Second."))
        );
        a_second_run_adds_nothing(&world);
    }
}

#[test]
fn a_wiki_page_that_is_not_there_is_said_to_be_so_at_once() {
    let site = Booru::builder().wiki("dry_heath", &["Dry."]);
    let world = world(site, "wiki_page", "title = \"heath\"", "");
    world.run(1).says("no wiki page is called `heath`");
    assert_eq!(
        (world.classes(), asked(&world).len()),
        (vec!["http_404".to_owned()], 1)
    );
}

#[test]
fn all_notes_are_kept_with_their_versions() {
    let mut site = Booru::builder().posts(20);
    for id in site.ids() {
        site = site.notes(id, 2);
    }
    let site = site.rewrite_note(3, "Another word.");
    let mut world = world(site, "notes", "", "with = [\"history\"]");
    world.listing("words", "note_search", "query = \"another\"", "");
    world.listing("versions", "note_history", "user_id = 1", "");
    world.run(0);
    let notes = kept(&world, "note");
    assert_eq!((notes.len(), world.lines("note", "gone").len()), (40, 20));
    assert_eq!(notes["3"]["text"], "Another word.");
    let versions = kept(&world, "note-version");
    assert_eq!(versions.len(), 41);
    assert_eq!(
        versions
            .values()
            .filter(|version| version["tags"] == json!(["removed"]))
            .count(),
        20
    );
    a_second_run_adds_nothing(&world);
}

#[test]
fn the_popular_posts_of_a_day_are_kept_with_their_files() {
    // Posts are a minute apart from 2023-11-14T22:13:20Z on: 107 of them are of that day.
    let site = Booru::builder().posts(150);
    let gone = site.ids()[120];
    let site = site.alter(gone, Post::delete);
    let mut world = world(site, "popular_by_day", "date = \"2023-11-15\"", "");
    world.run(0);
    assert_eq!(
        asked(&world),
        ["/post/popular_by_day.json?year=2023&month=11&day=15"]
    );
    let truth = world.booru.truth();
    let posts = world.posts();
    assert_eq!((posts.len(), world.objects().len()), (40, 40));
    assert!(posts.keys().all(|id| {
        truth[107..]
            .iter()
            .any(|truth| truth.id == *id && !truth.deleted)
    }));
    // The day before has more than 40 of its own; the week and the month begin with it.
    world.listing("before", "popular_by_day", "date = \"2023-11-14\"", "");
    world.listing("week", "popular_by_week", "date = \"2023-11-19\"", "");
    world.listing("month", "popular_by_month", "date = \"2023-11-01\"", "");
    world.listing("recent", "popular_recent", "period = \"1m\"", "");
    world.booru.clear_log();
    world.run(0);
    assert!(asked(&world).contains(&"/post/popular_by_month.json?year=2023&month=11".to_owned()));
    let posts = world.posts();
    assert!(posts.len() >= 80, "{}", posts.len());
    assert!(
        posts.values().all(|post| post["rev"] == 1),
        "whoever shows a post shows the same"
    );
    a_second_run_adds_nothing(&world);
}

#[test]
fn topics_of_the_forum_are_kept_with_their_replies() {
    let mut site = Booru::builder().topic("rules", 0).topic("that hill", 130);
    for nth in 0..33 {
        site = site.topic(&format!("topic {nth}"), 1);
    }
    let world = world(site, "forum", "", "with = [\"replies\"]");
    world.run(0);
    let posts = kept(&world, "forum");
    assert_eq!(posts.len(), 35 + 130 + 33);
    let of_the_hill = json!({"kind": "forum", "id": "2"});
    assert_eq!(
        posts
            .values()
            .filter(|post| post["parent"] == of_the_hill)
            .count(),
        130
    );
    let replies = |page: &str| format!("/forum.json?parent_id=2&page={page}");
    let asked_for: Vec<_> = asked(&world)
        .into_iter()
        .filter(|asked| asked.contains("parent_id=2&"))
        .collect();
    // A round more, since page numbers drift.
    assert_eq!(asked_for, ["1", "2", "1", "2"].map(replies));
    a_second_run_adds_nothing(&world);
    // An answer lifts its topic, and the topic is seen changed.
    world.booru.topic("one more", 2);
    world.run(0);
    assert_eq!(kept(&world, "forum").len(), 35 + 130 + 33 + 3);
}

#[test]
fn artists_users_favourites_and_a_comment_are_kept() {
    let mut site = Booru::builder().posts(3).user("wren").user("Grey_Heron");
    let post = site.ids()[1];
    site = site
        .comments(post, 1)
        .favorites(post, &["wren", "Grey_Heron"]);
    site = site
        .artist("heron", &["https://paintings.example/heron"], None)
        .artist("grey_heron", &[], Some("heron"));
    for nth in 0..50 {
        site = site.artist(&format!("painter {nth:02}"), &[], None);
    }
    for nth in 0..20 {
        site = site.user(&format!("reader{nth}"));
    }
    let mut world = world(site, "artists", "", "");
    world.listing("some", "artists", "name = \"painter\"", "");
    world.listing("users", "users", "", "");
    world.listing("comment", "comment", "id = 1", "");
    world.also("likes", "seed", "with = [\"favorites\"]");
    world.run(0);
    let artists = kept(&world, "artist");
    assert_eq!(artists.len(), 52);
    assert_eq!(artists["1"]["text"], "https://paintings.example/heron");
    assert_eq!(artists["2"]["parent"], json!({"kind": "artist", "id": "1"}));
    assert_eq!(kept(&world, "user").len(), 23);
    assert_eq!(
        kept(&world, "comment")["1"]["parent"]["id"],
        post.to_string()
    );
    let likes = kept(&world, "favorites");
    assert_eq!(likes.len(), 3);
    assert_eq!(
        likes[&post.to_string()]["tags"],
        json!(["wren", "Grey_Heron"])
    );
    a_second_run_adds_nothing(&world);
}
