//! Files: what is asked again and what is not, what is refused, and that bytes are fetched once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::{
    site::{Booru, Fault, Post, Request, What, client},
    world::{World, text},
};

/// A site of so many posts, and the id of one of them.
fn world_of(posts: usize) -> (World, u64) {
    let world = World::new(Booru::builder().posts(posts));
    let id = world.booru.ids()[posts / 2];
    (world, id)
}

/// The requests for the picture of a post.
fn asked_for(world: &World, id: u64) -> Vec<Request> {
    let truth = world
        .booru
        .truth()
        .into_iter()
        .find(|truth| truth.id == id)
        .expect("the post");
    let mut files = world.booru.files();
    files.retain(|file| file.md5() == Some(&truth.md5));
    files
}

fn forever(fault: Fault) -> Vec<Fault> {
    vec![Fault::Forever(Box::new(fault))]
}

fn busy(status: u16) -> Fault {
    Fault::Status(
        status,
        vec![],
        "<html><body>Not now.</body></html>".to_owned(),
    )
}

#[test]
fn a_file_that_is_throttled_then_broken_then_halved_is_kept_in_the_end() {
    let (world, id) = world_of(3);
    let faults = vec![
        Fault::RetryAfter(429, "2".to_owned()),
        busy(503),
        Fault::HalfBody,
    ];
    world.booru.script(What::File(id), faults);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert!(asked.len() <= 5, "{} requests", asked.len());
    assert_eq!(
        asked.iter().map(|r| r.status).collect::<Vec<_>>(),
        [429, 503, 200, 200]
    );
    assert!(
        asked[1].at - asked[0].at >= Duration::from_secs(2),
        "{:?}",
        asked[1].at - asked[0].at
    );
    assert!(world.failures().is_empty());
    assert!(
        world.status()["hosts"][0]["throttled"].as_u64() >= Some(2),
        "{}",
        world.status()
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a date in a header is one of the real clock"
)]
fn retry_after_may_be_a_date() {
    let (world, id) = world_of(3);
    let date = SystemTime::now() + Duration::from_secs(3);
    let text = httpdate::fmt_http_date(date);
    let date = httpdate::parse_http_date(&text).expect("our own");
    let until = Instant::now() + date.duration_since(SystemTime::now()).expect("ahead");
    world
        .booru
        .script(What::File(id), vec![Fault::RetryAfter(503, text)]);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(asked.len(), 2);
    assert!(
        asked[1].at + Duration::from_millis(5) >= until,
        "{:?} early",
        until - asked[1].at
    );
}

#[test]
fn a_wait_that_a_host_asks_for_holds_all_its_requests() {
    let (world, _) = world_of(60);
    world
        .booru
        .script(What::AnyFile, vec![Fault::RetryAfter(429, "2".to_owned())]);
    world.run(0);
    world.holds_everything();
    let log = world.booru.log();
    let held = log
        .iter()
        .find(|request| request.status == 429)
        .expect("the hold")
        .at;
    // Those under way when the reply came are no breach.
    let (from, until) = (
        held + Duration::from_millis(150),
        held + Duration::from_secs(2),
    );
    let early = log
        .iter()
        .filter(|request| request.at > from && request.at < until)
        .count();
    let after = log.iter().filter(|request| request.at >= until).count();
    assert_eq!(early, 0);
    assert!(
        after > 40,
        "the hold came too late to show anything: {after}"
    );
}

#[test]
fn a_wait_outlives_the_larder_that_was_told() {
    let (world, id) = world_of(3);
    world
        .booru
        .script(What::File(id), vec![Fault::RetryAfter(429, "3".to_owned())]);
    let mut running = world.spawn(&["run"]);
    super::world::wait_for("the 429", super::world::LONG, || {
        world.booru.log().iter().any(|r| r.status == 429)
    });
    let told = Instant::now();
    running.terminate();
    running.wait(super::world::LONG).expect(3);
    world.run(0);
    world.holds_everything();
    assert!(asked_for(&world, id)[1].at - told > Duration::from_millis(2800));
}

/// Gives a post the picture of another, at an address of its own.
fn copy(of: &Post) -> impl Fn(&mut Post) + use<> {
    let (ext, body) = (of.ext.clone(), of.body().to_vec());
    move |post| post.set_body(&ext, body.clone())
}

/// A site of so many posts with one picture.
fn same_picture(posts: usize) -> World {
    let mut first: Option<Post> = None;
    World::new(Booru::builder().posts(posts).each(|post| match &first {
        None => first = Some(post.clone()),
        Some(first) => copy(first)(post),
    }))
}

#[test]
fn ten_posts_with_one_picture_are_one_request_one_object_and_ten_records() {
    let world = same_picture(10);
    assert_eq!(
        world
            .booru
            .truth()
            .into_iter()
            .map(|t| t.url)
            .collect::<BTreeSet<_>>()
            .len(),
        10
    );
    world.run(0);
    world.holds_everything();
    assert_eq!(
        (
            world.booru.files().len(),
            world.objects().len(),
            world.posts().len()
        ),
        (1, 1, 10)
    );
    let files = world.job_status()["files"].clone();
    assert_eq!(
        (&files["stored"], &files["deduplicated"]),
        (&json!(1), &json!(9))
    );
}

#[test]
fn bytes_that_are_held_are_not_asked_for_under_another_address() {
    let (world, _) = world_of(3);
    world.run(0);
    let mut held = None;
    world
        .booru
        .edit(world.booru.ids()[1], |post| held = Some(post.clone()));
    let new = world.booru.add(copy(&held.expect("edited")));
    world.booru.clear_log();
    world.run(0);
    world.holds_everything();
    assert_eq!(world.booru.files().len(), 0);
    assert!(world.posts().contains_key(&new));
}

#[test]
fn when_one_address_of_a_picture_fails_the_next_serves_all_its_posts() {
    let world = same_picture(3);
    world.booru.script(What::AnyFile, vec![busy(404)]);
    let out = world.larder(&["run"]);
    assert_eq!((world.booru.files().len(), world.objects().len()), (2, 1));
    world.holds_everything();
    out.expect(0);
}

#[test]
fn wrong_bytes_are_fetched_three_times_and_never_kept() {
    let (world, id) = world_of(3);
    world
        .booru
        .script(What::File(id), forever(Fault::WrongBytes));
    world.run(1);
    assert_eq!(asked_for(&world, id).len(), 3);
    assert_eq!(world.classes(), ["checksum"]);
    assert_eq!(world.objects().len(), 2);
    let file = &world.posts()[&id]["files"][0];
    assert_eq!(
        (&file["sha256"], &file["missing"]),
        (&Value::Null, &json!("checksum"))
    );
    assert_eq!(text(&world.failures()[0]["item"]), format!("post/{id}"));
}

#[test]
fn what_is_not_there_is_asked_for_once_more_and_then_left_alone() {
    let (world, id) = world_of(3);
    world
        .booru
        .script(What::File(id), vec![busy(404), busy(404)]);
    for asked in [1, 2, 2] {
        world.run(1);
        assert_eq!(asked_for(&world, id).len(), asked);
        assert_eq!(world.classes(), ["http_404"]);
        assert_eq!(world.objects().len(), 2);
    }
    world.booru.clear_log();
    world.larder(&["retry", "--class", "checksum"]).expect(0);
    assert_eq!(
        world.classes(),
        ["http_404"],
        "only the class that was named"
    );
    world.larder(&["retry"]).expect(0).says("1 task put back");
    world.run(0);
    assert_eq!(
        (world.booru.pages().len(), world.booru.files().len()),
        (0, 1),
        "a retry walks nothing"
    );
    world.holds_everything();
    assert!(world.failures().is_empty());
}

#[test]
fn a_retry_of_a_picture_serves_all_its_posts() {
    let world = same_picture(3);
    world
        .booru
        .script(What::AnyFile, vec![Fault::WrongBytes; 9]);
    world.run(1);
    world.larder(&["retry"]).expect(0);
    world.run(0);
    world.holds_everything();
}

/// The first page of the site's listing as JSON.
fn page(world: &World) -> Value {
    client::get(&world.booru, "/post.json?limit=10&tags=seed").json()
}

fn served(page: &Value) -> Vec<Fault> {
    vec![Fault::Body(
        "application/json",
        page.to_string().into_bytes(),
    )]
}

#[test]
fn a_post_without_an_address_is_a_failure_of_its_own() {
    for null in [true, false] {
        let (world, _) = world_of(10);
        let mut page = page(&world);
        let id = page[4]["id"].as_u64().expect("an id");
        if null {
            page[4]["file_url"] = Value::Null;
        } else {
            page[4].as_object_mut().expect("a post").remove("file_url");
        }
        world.booru.script(What::Page, served(&page));
        world.run(1);
        assert_eq!(world.classes(), ["no_url"]);
        assert_eq!((world.objects().len(), world.posts().len()), (9, 10));
        world.run(0);
        world.holds_everything();
        assert_eq!(world.posts()[&id]["rev"], 2);
        assert!(world.failures().is_empty());
    }
}

#[test]
fn bodies_that_are_not_the_picture_are_never_kept() {
    let faults = [
        (Fault::Empty, "empty"),
        (Fault::Html, "unexpected_type"),
        (Fault::HtmlLabelledPng, "unexpected_type"),
        (Fault::ShortLength, "checksum"),
        (Fault::HalfBody, "truncated"),
        (Fault::Reset, "connect"),
        (Fault::Body("image/gif", b"GIF89a".to_vec()), "checksum"),
        (busy(500), "http_5xx"),
        (busy(403), "http_403"),
        (busy(410), "http_410"),
    ];
    let (world, _) = world_of(12);
    let ids = world.booru.ids();
    for (id, (fault, _)) in ids.iter().zip(&faults) {
        world.booru.script(What::File(*id), forever(fault.clone()));
    }
    world.run(1).says("larder failures");
    let posts = world.posts();
    let failures = world.failures();
    for (id, (fault, class)) in ids.iter().zip(&faults) {
        let failure = failures
            .iter()
            .find(|failure| failure["item"] == format!("post/{id}"));
        assert_eq!(
            failure.map(|failure| text(&failure["class"])).as_deref(),
            Some(*class),
            "{fault:?}"
        );
        assert!(asked_for(&world, *id).len() <= 6, "{fault:?}");
        assert_eq!(posts[id]["files"][0]["missing"], *class);
    }
    assert_eq!((failures.len(), world.objects().len()), (10, 2));
}

#[test]
fn bodies_that_go_wrong_once_are_asked_for_again_at_once() {
    let faults = [
        Fault::Empty,
        Fault::ShortLength,
        Fault::HalfBody,
        Fault::Reset,
        Fault::WrongBytes,
        busy(502),
    ];
    let (world, _) = world_of(8);
    let ids = world.booru.ids();
    for (id, fault) in ids.iter().zip(&faults) {
        world.booru.script(What::File(*id), vec![fault.clone()]);
    }
    world.run(0);
    world.holds_everything();
    for (id, fault) in ids.iter().zip(&faults) {
        assert_eq!(asked_for(&world, *id).len(), 2, "{fault:?}");
    }
}

#[test]
fn a_silent_host_is_given_up_after_the_timeout_and_asked_again() {
    let (mut world, id) = world_of(3);
    world.network("header_timeout = \"200ms\"");
    world
        .booru
        .script(What::File(id), vec![Fault::Stall(Duration::from_secs(20))]);
    world.run(0);
    world.holds_everything();
}

#[test]
fn a_file_larger_than_allowed_is_not_kept() {
    let (mut world, _) = world_of(6);
    let mut sizes: Vec<_> = world
        .booru
        .truth()
        .iter()
        .map(|truth| truth.bytes.len())
        .collect();
    sizes.sort_unstable();
    world.network(&format!("max_file = \"{} B\"", sizes[3]));
    world.run(1);
    let large = sizes.iter().filter(|size| **size > sizes[3]).count();
    assert!(large > 0);
    assert_eq!(world.classes(), vec!["too_large"; large]);
    assert_eq!(world.objects().len(), 6 - large);
    world.network("");
    world.larder(&["retry"]).expect(0);
    world.run(0);
    world.holds_everything();
}

#[test]
fn a_file_on_a_host_that_is_not_the_sites_is_not_asked_for_until_it_is_named() {
    let (mut world, _) = world_of(10);
    let other = Booru::builder().posts(10).start();
    let mut page = page(&world);
    let url = text(&page[4]["file_url"]).replace(&world.booru.host(), &other.host());
    page[4]["file_url"] = json!(url);
    for (network, line) in [
        (
            String::new(),
            format!("media_hosts = [\"{}\"]", other.host()),
        ),
        (
            format!("\"{}\"", other.host()),
            format!("media_hosts = [\"{}\"]", other.host()),
        ),
    ] {
        // A second key would be a mistake: the exception joins the list that is there.
        let config = std::fs::read_to_string(world.config()).expect("written");
        if !network.is_empty() {
            std::fs::write(
                world.config(),
                config.replacen("allow = [", &format!("allow = [{network}, "), 1),
            )
            .expect("written");
        }
        world.booru.script(What::Page, served(&page));
        world.run(1);
        assert_eq!(world.classes(), ["blocked_address"]);
        assert!(
            text(&world.failures()[0]["message"]).contains(&line),
            "{}",
            world.failures()[0]
        );
        assert_eq!((other.log().len(), world.objects().len()), (0, 9));
    }
    let config = std::fs::read_to_string(world.config()).expect("written");
    let named = format!("page_size = 10\nmedia_hosts = [\"{}\"]", other.host());
    std::fs::write(world.config(), config.replacen("page_size = 10", &named, 1)).expect("written");
    world.larder(&["retry"]).expect(0);
    world.run(0);
    world.holds_everything();
    assert_eq!(other.files().len(), 1);
    world.keys("");
}
