//! Every run comes to an end, and no failure keeps what is new from being seen.

use serde_json::json;

use super::{
    site::{Booru, Fault, What, client},
    world::{World, text},
};

fn page(world: &World, limit: u32) -> serde_json::Value {
    client::get(&world.booru, &format!("/post.json?limit={limit}&tags=seed")).json()
}

#[test]
fn an_address_that_nobody_can_ask_fails_at_once_and_the_run_ends() {
    for url in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://127.0.0.1:99999/x.png",
        "data:image/png,x",
    ] {
        let world = World::new(Booru::builder().posts(8));
        let mut page = page(&world, 10);
        page[2]["file_url"] = json!(url);
        world.booru.script(
            What::Page,
            vec![Fault::Body(
                "application/json",
                page.to_string().into_bytes(),
            )],
        );
        world.run(1);
        assert_eq!(world.classes(), ["bad_url"], "{url}");
        assert_eq!(world.objects().len(), 7);
        // The next walk sees a good address.
        world.run(0);
        world.holds_everything();
    }
}

#[test]
fn a_follow_up_that_always_fails_keeps_no_new_post_away() {
    let booru = Booru::builder().posts(6);
    let first = booru.ids()[0];
    let mut world = World::new(booru.comments(first, 2));
    world.job("seed", r#"with = ["comments"]"#);
    world.network("tries = 2");
    let ill = Fault::Forever(Box::new(Fault::Status(500, vec![], String::new())));
    world.booru.script(What::Path("/comment.json"), vec![ill]);
    world.run(1);
    let new = world.booru.add(|post| post.tags.push_str(" seed"));
    world.run(1);
    assert!(world.posts().contains_key(&new), "{:?}", world.asked());
    assert!(world.classes().iter().all(|class| class == "http_5xx"));
}

#[test]
fn a_listing_page_that_never_heals_is_walked_from_the_top_again() {
    let mut world = World::new(Booru::builder().posts(25));
    world.network("tries = 1");
    let ids = world.booru.ids();
    let ill = Fault::Forever(Box::new(Fault::Html));
    // The page after the first ten: its bound is the tenth id from the top.
    let mut sorted = ids;
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let bound: &'static str = format!("id:<{}", sorted[9]).leak();
    world.booru.script(What::PageWith(bound), vec![ill]);
    for _ in 0..3 {
        world.larder(&["run"]);
    }
    let new = world.booru.add(|post| post.tags.push_str(" seed"));
    world.larder(&["run"]);
    world.larder(&["run"]);
    assert!(world.posts().contains_key(&new));
}

#[test]
fn page_numbers_keep_the_size_that_they_were_counted_with() {
    let mut world = World::new(Booru::builder().posts(30));
    world.job("seed order:score", "max_items = 4");
    world.run(3);
    world.job("seed order:score", "");
    // The run that goes on is enough: a later walk from the top would hide what it skipped.
    world.run(0);
    world.holds_everything();
}

#[test]
fn failures_show_no_secret_of_an_address() {
    let world = World::new(Booru::builder().posts(3));
    let mut page = page(&world, 10);
    let url = text(&page[0]["file_url"]);
    page[0]["file_url"] = json!(format!("{url}.gone?token=S3CRET-1"));
    page[0]["md5"] = json!("0123456789abcdef0123456789abcdef");
    let missing = Fault::Status(404, vec![], String::new());
    world.booru.script(
        What::Page,
        vec![Fault::Body(
            "application/json",
            page.to_string().into_bytes(),
        )],
    );
    world
        .booru
        .script(What::AnyFile, vec![Fault::Forever(Box::new(missing))]);
    world.run(1);
    for args in [&["failures"][..], &["failures", "--json"]] {
        let said = world.larder(args).text();
        assert!(
            said.contains("token=***") && !said.contains("S3CRET"),
            "{said}"
        );
    }
}
