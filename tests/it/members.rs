//! Which items belong to which job: the lines `joined` and `left` of the record log.

use serde_json::{Value, json};

use super::{
    shell::{Shell, head},
    site::{Booru, Fault, What, client},
    world::{JOB, World, text},
};

/// (type, job, id) of every line about members, in order.
fn lines(world: &World) -> Vec<[String; 3]> {
    let mut lines = world.records();
    lines.retain(|line| line["type"] == "joined" || line["type"] == "left");
    lines
        .iter()
        .map(|line| ["type", "job", "id"].map(|key| text(&line[key])))
        .collect()
}

fn count(world: &World, kind: &str) -> usize {
    lines(world).iter().filter(|line| line[0] == kind).count()
}

fn of(kind: &str, job: &str, id: u64) -> [String; 3] {
    [kind.to_owned(), job.to_owned(), id.to_string()]
}

#[test]
fn what_a_listing_shows_joins_its_job_once_and_a_second_walk_adds_no_line() {
    let world = World::new(Booru::builder().posts(25));
    world.run(0);
    let joined = lines(&world);
    assert_eq!(joined.len(), 25);
    for id in world.booru.ids() {
        assert!(joined.contains(&of("joined", JOB, id)), "{id}");
    }
    let line = world
        .records()
        .into_iter()
        .find(|line| line["type"] == "joined")
        .expect("the first line");
    let keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        ["v", "type", "seq", "seen", "job", "site", "kind", "id"]
    );
    assert_eq!((&line["v"], &line["kind"]), (&json!(1), &json!("post")));
    world.run(0);
    assert_eq!(lines(&world), joined);
    // Every line has a number of its own, rising.
    let numbers: Vec<_> = world.records().iter().map(|r| r["seq"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_item_of_two_jobs_joins_each_of_them() {
    let mut world = World::new(Booru::builder().posts(10));
    world.also("even", "even", "");
    world.run(0);
    let joined = lines(&world);
    assert_eq!(joined.len(), 15, "{joined:?}");
    let even = world.booru.truth();
    for truth in even.iter().filter(|t| t.tags.contains("even")) {
        assert!(joined.contains(&of("joined", JOB, truth.id)));
        assert!(joined.contains(&of("joined", "even", truth.id)));
    }
}

#[test]
fn a_post_that_the_listing_does_not_show_any_more_has_left_and_may_come_back() {
    let world = World::new(Booru::builder().posts(25));
    world.run(0);
    let id = world.booru.ids()[12];
    world.booru.edit(id, |post| post.retag("elsewhere"));
    world.run(0);
    assert_eq!(lines(&world)[25..], [of("left", JOB, id)]);
    assert!(
        world.posts().contains_key(&id),
        "what was archived of it stays"
    );
    world.run(0);
    assert_eq!(lines(&world).len(), 26, "it is said once");
    world.booru.edit(id, |post| post.retag("seed again"));
    world.run(0);
    assert_eq!(lines(&world)[26..], [of("joined", JOB, id)]);
}

#[test]
fn a_deleted_post_that_is_still_listed_has_not_left() {
    let world = World::new(Booru::builder().posts(5));
    world.run(0);
    let id = world.booru.ids()[2];
    world.booru.edit(id, super::site::Post::delete);
    world.run(0);
    assert_eq!(world.lines("post", "gone").len(), 1);
    assert_eq!(count(&world, "left"), 0);
}

#[test]
fn nothing_leaves_after_a_walk_that_broke_off() {
    let mut world = World::new(Booru::builder().posts(25));
    world.network("tries = 1");
    world.run(0);
    let id = world.booru.ids()[3];
    world.booru.edit(id, |post| post.retag("elsewhere"));
    let broken = Fault::Status(500, vec![], String::new());
    world
        .booru
        .script(What::Page, vec![Fault::Ok, broken.clone()]);
    world.run(1);
    assert_eq!(count(&world, "left"), 0);
    // It is taken up where it broke off, and ends whole.
    world.run(0);
    assert_eq!(lines(&world)[25..], [of("left", JOB, id)]);
}

#[test]
fn nothing_leaves_while_an_entry_cannot_be_read() {
    let world = World::new(Booru::builder().posts(8));
    world.run(0);
    let mut page: Value = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    page[4]["id"] = Value::Null;
    let page = Fault::Body("application/json", page.to_string().into_bytes());
    world.booru.script(What::Page, vec![page]);
    world.run(1);
    assert_eq!(count(&world, "left"), 0);
}

#[test]
fn a_listing_that_suddenly_shows_nothing_is_not_believed_before_it_does_so_twice() {
    let mut world = World::new(Booru::builder().posts(12));
    world.run(0);
    let nothing = || Fault::Body("application/json", b"[]".to_vec());
    world.booru.script(What::Page, vec![nothing(), nothing()]);
    world.run(0);
    assert_eq!(count(&world, "left"), 0);
    world.run(0);
    assert_eq!(count(&world, "left"), 0, "all of it was there again");
    world.job("seed", "where = '.id == \"101\"'");
    world.run(0);
    assert_eq!(count(&world, "left"), 0);
    world.run(0);
    assert_eq!(count(&world, "left"), 11, "{:?}", lines(&world));
}

#[test]
fn a_walk_by_page_numbers_says_of_nothing_that_it_left() {
    let mut world = World::new(Booru::builder().posts(25));
    world.job("seed order:score", "");
    world.run(0);
    let id = world.booru.ids()[3];
    world.booru.edit(id, |post| post.retag("elsewhere"));
    world.run(0);
    assert_eq!((count(&world, "joined"), count(&world, "left")), (25, 0));
}

#[test]
fn comments_are_found_through_their_post_and_join_no_job() {
    let booru = Booru::builder().posts(3);
    let first = booru.ids()[0];
    let mut world = World::new(booru.comments(first, 2));
    world.job("seed", "with = [\"comments\"]");
    world.run(0);
    assert_eq!(world.lines("comment", "item").len(), 2);
    assert_eq!(world.lines("comment", "joined").len(), 0);
    assert_eq!(world.lines("post", "joined").len(), 3);
}

#[test]
fn a_follow_up_with_files_joins_and_never_leaves() {
    let booru = Booru::builder().posts(4);
    let two = [booru.ids()[0], booru.ids()[1]];
    let site = booru.pool(7, "seven", &two).start();
    let shell = Shell::new();
    shell.write(
        "books.toml",
        r#"
format = 1
name = "books"
[listing.books]
get = "/pool.json"
paging = { by = "once" }
each = '.[]'
item = '{kind: "pool", id, title: .name}'
[listing.books.with.posts]
params = '{id: .id}'
[listing.posts]
get = "/pool/show.json{?id}"
params = ["id"]
paging = { by = "once" }
each = '.posts[]'
item = '{kind: "post", id, files: [{role: "original", url: .file_url, md5}]}'
roles = ["original"]
[params.id]
type = "int"
required = true
"#,
    );
    let head = head(&site).replace("\"moebooru\"", "\"books\"");
    let job =
        "[[jobs]]\nname = \"books\"\nsite = \"mock\"\nlisting = \"books\"\nwith = [\"posts\"]\n";
    shell.write(
        "archive.toml",
        &format!("dialects = [\"books.toml\"]\n{head}\n{job}"),
    );
    let members = |shell: &Shell| -> Vec<(String, String, bool)> {
        let log = std::fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
        let lines = log
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        let lines = lines.filter(|l| l["type"] == "joined" || l["type"] == "left");
        lines
            .map(|l| (text(&l["kind"]), text(&l["id"]), l["followed"] == true))
            .collect()
    };
    shell.larder(&["run"]).ends(0);
    let member = |kind: &str, id: u64, followed| (kind.to_owned(), id.to_string(), followed);
    let all = [
        member("pool", 7, false),
        member("post", two[0], true),
        member("post", two[1], true),
    ];
    assert_eq!(members(&shell), all);
    // A pool may lose a post without anybody being told by a listing of pools.
    site.pool(7, "seven", &two[..1]);
    shell.larder(&["run"]).ends(0);
    assert_eq!(members(&shell), all);
}

#[test]
fn an_archive_of_the_first_version_opens_and_its_items_join_at_the_next_run() {
    let world = World::new(Booru::builder().posts(5));
    world.run(0);
    let before = world.revisions();
    world.put_back_to_the_first_schema();
    world.status();
    world.run(0);
    assert_eq!(count(&world, "joined"), 10);
    assert_eq!((world.revisions(), world.booru.files().len()), (before, 5));
}
