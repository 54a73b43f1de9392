//! Every read operation of a Moebooru site besides posts, their comments and notes (`recorded`): the whole normal form
//! of replies in recorded shapes with invented contents, and what is sent for the parameters of a job.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use larder::{
    class::Class,
    config::Config,
    dialect::{Asked, Catalog, Cursor, EndpointKind, Entry, Page, Value, Values},
};
use serde_json::json;

use super::recorded::{base, endpoint, recording};

/// Parameters, written as JSON.
fn values(params: &serde_json::Value) -> Values {
    serde_json::from_value(params.clone()).unwrap()
}

fn cursor(cursor: serde_json::Value) -> Cursor {
    serde_json::from_value(cursor).unwrap()
}

fn read(from: &str, body: &[u8], params: &serde_json::Value, at: &Cursor) -> Page {
    endpoint(from)
        .read(body, &Asked::new(&base(), &[], &values(params), at))
        .unwrap()
}

/// The normal forms of a page, whole but for `raw`, one below the other; every entry must be good and have its raw JSON.
fn items_at(from: &str, file: &str, params: &serde_json::Value, at: &Cursor) -> String {
    let page = read(from, &recording(file), params, at);
    let item = |entry: &Entry| {
        let Entry::Good(item) = entry else {
            panic!("{entry:?}")
        };
        let raw: serde_json::Value = serde_json::from_str(item.raw[from].get()).unwrap();
        assert!(raw.is_object(), "{raw}");
        let mut json = serde_json::to_value(item).unwrap();
        json.as_object_mut().unwrap().remove("raw");
        serde_json::to_string_pretty(&json).unwrap()
    };
    let items: Vec<_> = page.entries.iter().map(item).collect();
    items.join("\n")
}

fn items(from: &str, file: &str, params: &serde_json::Value) -> String {
    items_at(from, file, params, &Cursor::new())
}

#[test]
fn a_list_of_pools() {
    insta::assert_snapshot!(items("pools", "pools", &json!({})));
    // The same pools, told by another request, are the same items: a record must not change with who asked.
    let told = items("pools_of_post", "posts_api_v2", &json!({"post_id": 912}));
    let listed = items("pools", "pools", &json!({}));
    let bare = |text: &str| text.replace("\"post_count\": 9", "\"post_count\": 3");
    assert!(bare(&told).starts_with(&bare(&listed)), "{told}");
}

#[test]
fn a_pool_with_its_posts_in_order() {
    insta::assert_snapshot!(items("pool", "pool_show", &json!({"id": 41})));
}

#[test]
fn an_empty_pool_is_a_pool_with_an_empty_page() {
    insta::assert_snapshot!(items("pool", "pool_show_empty", &json!({"id": 45})));
}

#[test]
fn a_later_page_of_a_pool_says_which_page_it_is_and_not_what_the_pool_is() {
    let at = cursor(json!({"page": 3}));
    let page = read("pool", &recording("pool_show"), &json!({"id": 41}), &at);
    let names: Vec<_> = page
        .entries
        .iter()
        .map(|entry| match entry {
            Entry::Good(item) => format!("{}/{}", item.kind, item.id),
            Entry::Bad { message, .. } => panic!("{message}"),
        })
        .collect();
    assert_eq!(
        names,
        ["pool-page/41-3", "post/912", "post/910", "post/911"]
    );
}

#[test]
fn a_walk_over_a_pool_ends_where_its_posts_do() {
    let next = |posts: usize, count: usize, at: serde_json::Value| {
        let posts: Vec<_> = (1..=posts).map(|id| json!({ "id": id })).collect();
        let body = json!({"id": 41, "name": "x", "post_count": count, "posts": posts});
        let body = serde_json::to_vec(&body).unwrap();
        let page = read("pool", &body, &json!({"id": 41}), &cursor(at));
        let next = page.shown.next.map(|next| next["page"].as_i64().unwrap());
        (page.entries.len(), next)
    };
    assert_eq!(next(24, 24, json!({})), (26, Some(2)), "a full page");
    assert_eq!(next(0, 24, json!({"page": 2})), (0, None));
    assert_eq!(next(23, 23, json!({})), (25, None), "all of them");
    assert_eq!(next(20, 23, json!({})), (22, Some(2)), "three are owed");
    assert_eq!(next(3, 51, json!({"page": 3})), (4, None), "the last");
    assert_eq!(next(0, 7, json!({})), (2, None), "none is to be had");
    assert_eq!(
        next(30, 30, json!({})),
        (32, Some(2)),
        "an account with longer pages"
    );
}

#[test]
fn tags_with_their_kinds() {
    insta::assert_snapshot!(items("tags", "tags", &json!({"order": "name"})));
}

#[test]
fn related_tags_whose_counts_are_texts_or_numbers() {
    insta::assert_snapshot!(items(
        "related_tags",
        "tag_related",
        &json!({"tags": "heath mars*"})
    ));
}

#[test]
fn related_tags_of_one_kind_are_another_item_and_may_be_none() {
    insta::assert_snapshot!(items(
        "related_tags",
        "tag_related_typed",
        &json!({"tags": "heath mist", "type": "artist"})
    ));
}

#[test]
fn artists_their_aliases_and_members() {
    insta::assert_snapshot!(items("artists", "artists", &json!({"order": "name"})));
}

#[test]
fn one_comment_is_the_one_in_the_list_of_its_post() {
    let one = items("comment", "comment_show", &json!({"id": 58}));
    insta::assert_snapshot!(one);
    let listed = items("comments", "comments", &json!({"post_id": 912}));
    assert!(listed.starts_with(&one), "{listed}");
}

#[test]
fn wiki_pages() {
    insta::assert_snapshot!(items("wiki", "wiki", &json!({"order": "title"})));
}

#[test]
fn of_all_wiki_pages_whose_title_contains_the_words_the_one_is_taken_that_is_called_so() {
    let all = items("wiki", "wiki", &json!({"order": "title"}));
    for (title, id) in [
        ("heath", "62"),
        ("Dry heath", "61"),
        ("HEATH_(weather)?", "63"),
    ] {
        let one = items("wiki_page", "wiki", &json!({ "title": title }));
        assert!(one.contains(&format!("\"id\": \"{id}\"")), "{title}: {one}");
        assert_eq!(one.matches("\"kind\"").count(), 1, "{one}");
        assert!(all.contains(&one), "{one}");
    }
    for title in ["eath", "heath_", ""] {
        let error = endpoint("wiki_page")
            .read(
                &recording("wiki"),
                &Asked::new(
                    &base(),
                    &[],
                    &values(&json!({ "title": title })),
                    &Cursor::new(),
                ),
            )
            .expect_err(title);
        assert_eq!(error.class, Class::Http404);
        assert!(
            error
                .message
                .contains(&format!("no wiki page is called `{title}`")),
            "{}",
            error.message
        );
    }
}

#[test]
fn versions_of_a_wiki_page() {
    insta::assert_snapshot!(items(
        "wiki_history",
        "wiki_history",
        &json!({"title": "Heath"})
    ));
}

#[test]
fn versions_of_a_wiki_page_that_do_not_say_of_which() {
    let title = items(
        "wiki_history",
        "wiki_history_bare",
        &json!({"title": "heath"}),
    );
    insta::assert_snapshot!(title);
    let id = items("wiki_history", "wiki_history_bare", &json!({"id": 62}));
    assert!(
        id.contains("\"id\": \"62-2\"") && id.contains("\"id\": \"62-1\""),
        "{id}"
    );
}

#[test]
fn notes_with_some_words() {
    insta::assert_snapshot!(items(
        "note_search",
        "note_search",
        &json!({"query": "heron"})
    ));
}

#[test]
fn all_notes_of_the_site_are_the_notes_of_its_posts() {
    assert_eq!(
        items("notes", "notes", &json!({})),
        items("notes", "notes", &json!({"post_id": 907}))
    );
}

#[test]
fn versions_of_notes_are_known_by_post_version_and_time() {
    insta::assert_snapshot!(items(
        "note_history",
        "note_history",
        &json!({"post_id": 907})
    ));
}

#[test]
fn users() {
    insta::assert_snapshot!(items("users", "users", &json!({})));
}

#[test]
fn topics_of_the_forum() {
    insta::assert_snapshot!(items("forum", "forum", &json!({})));
}

#[test]
fn replies_to_a_topic_of_the_forum() {
    insta::assert_snapshot!(items("forum", "forum_replies", &json!({"parent_id": 71})));
}

#[test]
fn who_likes_a_post_comes_as_one_text() {
    insta::assert_snapshot!(items("favorites", "favorites", &json!({"post_id": 912})));
}

#[test]
fn nobody_likes_a_post() {
    insta::assert_snapshot!(items(
        "favorites",
        "favorites_none",
        &json!({"post_id": 912})
    ));
}

#[test]
fn popular_posts_are_posts_like_any() {
    let posts = items("posts", "posts_new", &json!({}));
    for (name, params) in [
        ("popular_by_day", json!({"date": "2023-11-14"})),
        ("popular_by_week", json!({"date": "2023-11-14"})),
        ("popular_by_month", json!({"date": "2023-11-14"})),
        ("popular_recent", json!({"period": "1w"})),
    ] {
        assert_eq!(items(name, "posts_new", &params), posts, "{name}");
    }
}

#[test]
fn a_post_of_a_pool_is_the_post_of_a_search_but_for_what_a_pool_does_not_tell() {
    let read = |from: &str, file: &str, params: serde_json::Value| {
        let page = read(from, &recording(file), &params, &Cursor::new());
        let entry = page.entries.into_iter().find_map(|entry| match entry {
            Entry::Good(item) if item.kind == "post" && item.id == "912" => Some(*item),
            _ => None,
        });
        entry.unwrap()
    };
    let mut pooled = read("pool", "pool_show", json!({"id": 41}));
    let mut searched = read("posts", "posts_new", json!({}));
    assert!(pooled.stub && !searched.stub);
    assert!(pooled.updated.is_none());
    (pooled.stub, searched.updated) = (false, None);
    pooled.raw.clear();
    searched.raw.clear();
    assert_eq!(
        serde_json::to_value(pooled).unwrap(),
        serde_json::to_value(searched).unwrap()
    );
}

#[test]
fn the_kinds_of_a_posts_tags_are_kept_with_it_when_they_were_asked_for() {
    let params = json!({"tags": "", "tag_types": true});
    let page = read("posts", &recording("posts_api_v2"), &params, &Cursor::new());
    assert_eq!(page.shown.next.unwrap()["before"], 912);
    let Entry::Good(post) = &page.entries[0] else {
        panic!()
    };
    let raw: serde_json::Value = serde_json::from_str(post.raw["posts"].get()).unwrap();
    assert_eq!(
        raw["tag_types"],
        json!({"heath": "general", "purple_hills": "general", "summer": "general"})
    );
    // The kinds are no part of what the post means: whoever asks for them does not change the post.
    let with = items("posts", "posts_api_v2", &params);
    assert!(
        items("posts", "posts_new", &json!({})).starts_with(&with),
        "{with}"
    );
    // An engine that does not know of them answers as ever.
    let plain = read("posts", &recording("posts_old"), &params, &Cursor::new());
    assert_eq!((plain.entries.len(), plain.shown.next.is_some()), (2, true));
}

/// What `larder check` would print as the first request of a job, below the site's address; `None` when nothing is asked.
fn asked(listing: &str, params: &str) -> Result<Option<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.toml");
    let text = format!(
        "[archive]\npath = \"a\"\n[[jobs]]\nname = \"job\"\nsite = \"yande.re\"\nlisting = \"{listing}\"\nparams = {{ {params} }}\n"
    );
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).map_err(|all| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        all.join("\n")
    })?;
    let job = config.job("job").unwrap();
    let at = job.listing.paging(&job.params).start();
    let limit = job.listing.paging(&job.params).limit(None);
    let request = job.listing.request(&job.site, &job.params, &at, limit)?;
    Ok(request.map(|request| request.url.as_str().replace("https://yande.re", "")))
}

#[test]
fn what_is_asked_first_for_each_listing() {
    for (listing, params, url) in [
        (
            "posts",
            "tag_types = true",
            "/post.json?tags=deleted%3Aall&limit=100&api_version=2&include_tags=1",
        ),
        (
            "posts",
            "tags = \"heath\"",
            "/post.json?tags=heath%20deleted%3Aall&limit=100",
        ),
        (
            "popular_by_day",
            "date = \"2024-02-09\"",
            "/post/popular_by_day.json?year=2024&month=2&day=9",
        ),
        (
            "popular_by_week",
            "date = \"2024-11-29\"",
            "/post/popular_by_week.json?year=2024&month=11&day=29",
        ),
        (
            "popular_by_month",
            "date = \"2024-12-01\"",
            "/post/popular_by_month.json?year=2024&month=12",
        ),
        ("popular_recent", "", "/post/popular_recent.json?period=1d"),
        (
            "popular_recent",
            "period = \"1m\"",
            "/post/popular_recent.json?period=1m",
        ),
        ("pools", "", "/pool.json?page=1"),
        (
            "pools",
            "query = \"heath order:updated posts:>9\"",
            "/pool.json?query=heath%20order%3Aupdated%20posts%3A%3E9&page=1",
        ),
        ("pool", "id = 41", "/pool/show.json?id=41"),
        ("tags", "", "/tag.json?order=name&limit=500&page=1"),
        (
            "tags",
            "name = \"*_(painter)\", type = 1, after_id = 9",
            "/tag.json?name=%2A_%28painter%29&type=1&order=name&after_id=9&limit=500&page=1",
        ),
        (
            "related_tags",
            "tags = \"heath mist\", type = \"artist\"",
            "/tag/related.json?tags=heath%20mist&type=artist",
        ),
        ("artists", "", "/artist.json?order=name&page=1"),
        (
            "artists",
            "name = \"her\"",
            "/artist.json?name=her&order=name&page=1",
        ),
        ("comments", "post_id = 7", "/comment.json?post_id=7&page=1"),
        ("comment", "id = 58", "/comment/show.json?id=58"),
        ("wiki", "", "/wiki.json?order=title&limit=100&page=1"),
        (
            "wiki_page",
            "title = \"Dry Heath\"",
            "/wiki.json?order=title&query=title%3Adry_heath&limit=1000",
        ),
        (
            "wiki_history",
            "title = \"heath\"",
            "/wiki/history.json?title=heath",
        ),
        ("wiki_history", "id = 62", "/wiki/history.json?id=62"),
        ("notes", "post_id = 7", "/note.json?post_id=7"),
        ("notes", "", "/note.json?page=1"),
        (
            "note_search",
            "query = \"a heron\"",
            "/note/search.json?query=a%20heron&page=1",
        ),
        ("note_history", "", "/note/history.json?page=1"),
        (
            "note_history",
            "user_id = 19",
            "/note/history.json?user_id=19&page=1",
        ),
        ("users", "", "/user.json?page=1"),
        (
            "users",
            "name = \"her\", order = \"posts\"",
            "/user.json?name=her&order=posts&page=1",
        ),
        ("forum", "", "/forum.json?page=1"),
        ("forum", "parent_id = 71", "/forum.json?parent_id=71&page=1"),
        (
            "favorites",
            "post_id = 912",
            "/favorite/list_users.json?id=912",
        ),
    ] {
        assert_eq!(
            asked(listing, params).as_ref().map(Option::as_deref),
            Ok(Some(url)),
            "{listing}"
        );
    }
}

#[test]
fn parameters_that_the_site_would_not_look_at_are_complained_about() {
    for (listing, params, words) in [
        (
            "pools",
            "query = \"heath limit:5\"",
            "`limit:5` breaks the pages",
        ),
        ("pool", "", "`id` (int) is missing"),
        ("pool", "id = \"41\"", "expected"),
        ("popular_by_day", "", "`date` (date) is missing"),
        ("popular_by_day", "date = \"2024-02-30\"", "is not a date"),
        ("popular_recent", "period = \"1h\"", "did you mean `1d`"),
        ("tags", "order = \"names\"", "did you mean `name`"),
        ("tags", "type = \"artist\"", "expected"),
        ("related_tags", "", "`tags` (text) is missing"),
        (
            "related_tags",
            "tags = \"a\", type = \"artists\"",
            "did you mean `artist`",
        ),
        (
            "artists",
            "name = \"a\", url = \"https://x.example\"",
            "looks at `name` only",
        ),
        ("wiki_history", "", "which page?"),
        (
            "wiki_history",
            "title = \"a\", id = 1",
            "looks at `title` only",
        ),
        ("note_history", "id = 1, post_id = 2", "looks at one of"),
        ("note_search", "", "`query` (text) is missing"),
        ("users", "order = \"id\"", "unknown value `id`"),
        ("favorites", "", "`post_id` (int) is missing"),
        ("pools_of_post", "post_id = 1", "is not a listing"),
    ] {
        let error = asked(listing, params).expect_err(listing);
        assert!(error.contains(words), "{listing}: {error}");
    }
}

#[test]
fn errors_of_the_site_are_told_apart_whatever_was_asked() {
    for (name, endpoint) in &Catalog::built_in().get("moebooru").unwrap().endpoints {
        for (file, class) in [
            ("error_too_many_tags", Class::Http4xx),
            ("error_access_denied", Class::Auth),
            ("error_unknown", Class::Listing),
        ] {
            let params = values(&json!({"title": "heath", "id": 1, "post_id": 1}));
            let read = endpoint.read(
                &recording(file),
                &Asked::new(&base(), &[], &params, &Cursor::new()),
            );
            assert_eq!(read.unwrap_err().class, class, "{name} {file}");
            let reported = endpoint.reported(
                &recording(file),
                &Asked::new(&base(), &[], &params, &Cursor::new()),
            );
            assert_eq!(reported.unwrap().class, class, "{name} {file}");
        }
        // What is missing is told by the status alone.
        let not_found = recording("error_not_found");
        assert!(
            endpoint
                .reported(
                    &not_found,
                    &Asked::new(&base(), &[], &Values::new(), &Cursor::new())
                )
                .is_none()
        );
    }
}

#[test]
fn what_is_no_page_of_it_is_refused_whatever_was_asked() {
    let objects = [
        "pool",
        "related_tags",
        "comment",
        "favorites",
        "pools_of_post",
    ];
    for (name, endpoint) in &Catalog::built_in().get("moebooru").unwrap().endpoints {
        let other = if objects.contains(&name.as_str()) {
            "[]"
        } else {
            "{}"
        };
        let params = values(&json!({"title": "heath", "id": 1, "post_id": 1}));
        for body in ["", "null", "7", "\"x\"", "<html>", other] {
            let read = endpoint.read(
                body.as_bytes(),
                &Asked::new(&base(), &[], &params, &Cursor::new()),
            );
            assert_eq!(read.expect_err(body).class, Class::Listing, "{name} {body}");
        }
    }
}

#[test]
fn entries_that_are_none_fail_alone() {
    let lists = Catalog::built_in();
    for (name, endpoint) in &lists.get("moebooru").unwrap().endpoints {
        if endpoint.kind != EndpointKind::Listing
            || ["pool", "related_tags", "comment", "favorites", "wiki_page"]
                .contains(&name.as_str())
        {
            continue;
        }
        let params = Values::from([("title".to_owned(), Value::Text("x".to_owned()))]);
        let body = r#"[7, null, "x", [], {"id": 5, "name": "n", "title": "t", "post_id": 4, "version": 1}]"#;
        let page = endpoint
            .read(
                body.as_bytes(),
                &Asked::new(&base(), &[], &params, &Cursor::new()),
            )
            .unwrap();
        let good: Vec<_> = page
            .entries
            .iter()
            .map(|entry| matches!(entry, Entry::Good(_)))
            .collect();
        assert_eq!(
            good,
            [false, false, false, false, true],
            "{name} {:?}",
            page.entries
        );
    }
}
