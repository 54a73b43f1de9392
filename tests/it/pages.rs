//! Replies that are no listing: each has a clear message and the right exit code, and costs nothing once it is over.

use std::{
    io,
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{
    site::{Booru, Fault, What, client},
    world::{World, text},
};

fn forever(fault: Fault) -> Vec<Fault> {
    vec![Fault::Forever(Box::new(fault))]
}

fn json_body(body: impl Into<Vec<u8>>) -> Fault {
    Fault::Body("application/json; charset=utf-8", body.into())
}

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(
        status,
        vec![("Content-Type", "application/json")],
        body.to_owned(),
    )
}

/// Faults that have an end: as many as a page is tried, and none for the next run.
fn tries(fault: Fault) -> Vec<Fault> {
    vec![fault; 6]
}

/// Breaks the second page of three, once for good; the next run must keep everything.
fn broken_second_page(faults: Vec<Fault>, code: i32, class: &str, words: &str) {
    let world = World::new(Booru::builder().posts(30));
    let given = faults.len();
    world.booru.script(What::PageWith("id:<*"), faults);
    let out = world.run(code).says(words).text();
    assert!(
        out.contains(if code == 3 {
            "paused"
        } else {
            "not walked to its end"
        }),
        "{out}"
    );
    let job = world.job_status();
    assert_eq!(
        job["state"],
        if code == 3 { "paused" } else { "failed" },
        "{class}: {job}"
    );
    let failures = world.failures();
    if code == 3 {
        assert_eq!(job["reason"], class);
    } else {
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(failures[0]["class"], class);
        assert!(
            text(&failures[0]["message"]).contains(words),
            "{}",
            failures[0]
        );
    }
    // What came before is kept, and no more was asked than the class is worth.
    // A job that waits for a person leaves its files for later.
    let kept = (world.posts().len(), world.objects().len());
    assert!(
        kept == (10, 10) || code == 3 && kept.0 == kept.1,
        "{class}: {kept:?}"
    );
    let asked = world.booru.pages().len() - 1;
    assert!(asked <= 6 && asked <= given, "{class}: asked {asked} times");
    let unspent = given - asked;
    assert_eq!(unspent, 0, "{class}: the script has more faults than tries");
    if class == "http_4xx" {
        // Such a walk begins anew. With something new at the top, no page of it is the broken one again.
        world.booru.add(|_| {});
    }
    world.run(0);
    world.holds_everything();
    assert!(
        world.failures().is_empty(),
        "{class}: {:?}",
        world.failures()
    );
}

#[test]
fn fault_81_an_html_page_is_not_an_empty_listing() {
    let page = Fault::Body(
        "text/html",
        b"<html><body>We are moving.</body></html>".to_vec(),
    );
    broken_second_page(
        tries(page),
        1,
        "listing",
        "an HTML page came instead of the listing",
    );
}

#[test]
fn fault_81_html_that_claims_to_be_json_is_seen_for_what_it_is() {
    broken_second_page(
        tries(json_body("  <!DOCTYPE html><html></html>")),
        1,
        "listing",
        "HTML",
    );
}

#[test]
fn fault_81_a_login_form_pauses_the_job() {
    let form =
        r#"<html><form action="/user/authenticate"><input type="password" name="p"></form></html>"#;
    broken_second_page(
        vec![Fault::Body("text/html", form.into())],
        3,
        "auth",
        "a login form",
    );
}

#[test]
fn fault_81_a_challenge_pauses_the_job_and_is_not_tried_again() {
    let page = Fault::Status(
        403,
        vec![],
        "<html><title>Just a moment...</title></html>".to_owned(),
    );
    broken_second_page(vec![page], 3, "blocked", "403");
}

#[test]
fn fault_81_an_empty_reply_is_not_an_empty_listing() {
    broken_second_page(tries(Fault::Empty), 1, "listing", "the reply is empty");
}

#[test]
fn fault_81_an_object_that_reports_an_error_is_shown_in_the_sites_own_words() {
    let error = r#"{"success": false, "reason": "the database is asleep"}"#;
    broken_second_page(
        tries(json_body(error)),
        1,
        "listing",
        "the database is asleep",
    );
    broken_second_page(
        tries(status(500, error)),
        1,
        "http_5xx",
        "the database is asleep",
    );
    let denied = r#"{"success": false, "reason": "access denied"}"#;
    broken_second_page(vec![json_body(denied)], 3, "auth", "access denied");
    let never = r#"{"success": false, "reason": "You can only search up to six tags at once"}"#;
    broken_second_page(vec![status(500, never)], 1, "http_4xx", "six tags");
}

#[test]
fn fault_81_an_object_is_not_a_listing() {
    broken_second_page(tries(json_body("{}")), 1, "listing", "a list was expected");
}

#[test]
fn fault_82_truncated_json_is_asked_for_again() {
    broken_second_page(tries(Fault::ShortLength), 1, "listing", "not JSON");
    broken_second_page(
        tries(Fault::HalfBody),
        1,
        "truncated",
        "closed before the end",
    );
}

#[test]
fn fault_83_a_page_of_two_million_brackets_is_refused() {
    let page = json_body("[".repeat(2_000_000));
    broken_second_page(tries(page), 1, "listing", "nested deeper than");
}

#[test]
fn a_site_that_breaks_connections_is_named() {
    broken_second_page(tries(Fault::Reset), 1, "connect", "connection");
}

#[test]
fn fault_82_errors_of_a_moment_cost_only_a_request() {
    let world = World::new(Booru::builder().posts(80));
    let faults = [
        status(500, ""),
        status(503, ""),
        Fault::Reset,
        Fault::Empty,
        Fault::HalfBody,
        Fault::RetryAfter(429, "0".to_owned()),
    ];
    // Twice each, and then the right page.
    let faults = faults
        .into_iter()
        .flat_map(|fault| [fault.clone(), fault, Fault::Ok]);
    world
        .booru
        .script(What::PageWith("id:<*"), faults.collect());
    world.run(0);
    world.holds_everything();
    assert_eq!(world.booru.pages().len(), 9 + 12);
    assert!(world.failures().is_empty());
}

/// The first page of the site, padded to so many bytes.
fn padded(world: &World, bytes: usize) -> Vec<u8> {
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").body;
    assert!(page.len() < bytes, "a page has {} bytes", page.len());
    page.resize(bytes, b' ');
    page
}

#[test]
fn fault_83_a_page_may_be_as_long_as_allowed_and_no_longer() {
    let mut world = World::new(Booru::builder().posts(30));
    world.network("max_page = \"64 KiB\"");
    let (fits, long) = (padded(&world, 64 << 10), padded(&world, (64 << 10) + 1));
    world.booru.clear_log();
    world
        .booru
        .script(What::Page, vec![json_body(fits), json_body(long)]);
    world.run(1).says("max_page");
    assert_eq!(world.classes(), ["too_large"]);
    assert_eq!((world.booru.pages().len(), world.posts().len()), (2, 10));
    world.run(0);
    world.holds_everything();
    assert!(world.failures().is_empty());
}

#[test]
fn fault_84_tags_that_are_not_utf8_are_kept_as_they_were_sent() {
    let mut world = World::new(Booru::builder().posts(3));
    world.job("", "");
    let mut page = client::get(&world.booru, "/post.json?limit=10").body;
    let at = page
        .windows(4)
        .position(|word| word == b"seed")
        .expect("a tag");
    page[at..at + 4].copy_from_slice(b"s\xff\xfed");
    world.booru.clear_log();
    world.booru.script(What::Page, vec![json_body(page)]);
    world.run(0);
    let (id, post) = world.posts().pop_last().expect("posts");
    assert_eq!(
        (world.posts().len(), world.objects().len(), Some(id)),
        (3, 3, world.booru.ids().last().copied())
    );
    assert!(
        text(&post["tags"]).contains("s\u{fffd}\u{fffd}d"),
        "{}",
        post["tags"]
    );
    let raw = hex::decode(text(&post["raw"]["posts.hex"])).expect("what the site sent");
    assert!(raw.windows(4).any(|word| word == b"s\xff\xfed"));
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_76_a_listing_that_shows_one_page_for_ever_is_left() {
    for tags in ["seed", "order:score"] {
        let mut world = World::new(Booru::builder().posts(30));
        world.job(tags, "");
        world.booru.script(What::Page, vec![Fault::SamePage; 8]);
        world.run(1).says("the same entries again and again");
        let asked = world.booru.pages().len();
        assert!(asked <= 8, "{tags}: {asked} requests");
        assert_eq!(
            (world.classes(), world.posts().len()),
            (vec!["loop".to_owned()], 10)
        );
        let job = world.job_status();
        assert_eq!(
            (&job["state"], &job["reason"]),
            (&json!("failed"), &json!("loop"))
        );
        // The faults that are left are spent by hand.
        (asked..8).for_each(|_| drop(client::get(&world.booru, "/post.json")));
        world.run(0);
        world.holds_everything();
        assert!(world.failures().is_empty(), "{tags}");
    }
}

/// Answers on this port for the site, for as long as the test runs.
fn forward(listener: TcpListener, to: String) {
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(site) = TcpStream::connect(&to) else {
                return;
            };
            let pairs = [
                (client.try_clone(), site.try_clone()),
                (Ok(site), Ok(client)),
            ];
            for (from, to) in pairs {
                let (Ok(mut from), Ok(mut to)) = (from, to) else {
                    return;
                };
                thread::spawn(move || {
                    io::copy(&mut from, &mut to).ok();
                    to.shutdown(std::net::Shutdown::Both).ok();
                });
            }
        }
    });
}

#[test]
fn a_site_that_is_not_there_is_waited_for_until_a_later_run() {
    let mut world = World::new(Booru::builder().posts(20));
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = port.local_addr().expect("bound").to_string();
    drop(port);
    let own = world.booru.host();
    world.keys(&format!("media_hosts = [\"{own}\"]"));
    world.url(&format!("http://{host}"));
    for _ in 0..2 {
        world
            .run(1)
            .says("could not connect to")
            .says("not walked to its end");
        assert_eq!(world.classes(), ["connect"]);
        assert_eq!(world.failures()[0]["tries"], 6);
    }
    forward(TcpListener::bind(&host).expect("still free"), own);
    world.run(0);
    world.holds_everything();
    assert!(world.failures().is_empty());
    assert_eq!(
        world.job_status()["total"]["runs"],
        1,
        "it is one and the same run that went on"
    );
}

#[test]
fn fault_82_a_walk_that_broke_goes_on_where_it_was() {
    let world = World::new(Booru::builder().posts(50));
    let third = vec![
        Fault::Ok,
        status(502, ""),
        status(502, ""),
        status(502, ""),
        status(502, ""),
        status(502, ""),
        status(502, ""),
    ];
    world.booru.script(What::PageWith("id:<*"), third);
    world.run(1);
    assert_eq!(world.posts().len(), 20);
    let broken = world.bounds().last().copied();
    world.booru.clear_log();
    world.run(0);
    world.holds_everything();
    assert_eq!(world.bounds().first().copied(), broken);
}

#[test]
fn follow_ups_that_fail_leave_their_post_and_are_asked_again() {
    let site = Booru::builder().posts(5);
    let id = site.ids()[2];
    let mut world = World::new(site.comments(id, 3));
    world.job("seed", "with = [\"comments\"]");
    world.booru.script(
        What::Path("/comment.json"),
        forever(Fault::Stall(Duration::from_millis(1))),
    );
    world.run(0);
    let mut broken = World::new(Booru::builder().posts(5).comments(id, 3));
    broken.job("seed", "with = [\"comments\"]");
    broken
        .booru
        .script(What::Path("/comment.json"), tries(status(500, "")));
    broken.run(1);
    broken.holds_everything();
    assert_eq!(broken.classes(), ["http_5xx"]);
    broken.run(0);
    assert_eq!(broken.lines("comment", "item").len(), 3);
    assert_eq!(broken.revisions(), world.revisions());
}

#[test]
fn mistakes_in_the_configuration_are_named_before_anything_is_asked() {
    let mut world = World::new(Booru::builder().posts(3));
    std::fs::write(world.config(), "[archive\npath = 1\n").expect("a folder of ours");
    world.run(78).says("archive.toml:1");
    world.job("seed", "max_page = 3");
    world.run(78).says("max_pages");
    world.job("seed", "");
    world.larder(&["run", "al"]).expect(2).says("all");
    world.keys("conections = 3");
    world.run(78).says("connections");
    assert!(world.booru.log().is_empty() && !world.archive("").exists());
}
