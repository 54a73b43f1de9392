//! What a host says about itself: redirects, waits, refusals, errors, and silence.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{asked_for, forever, is_missing, met};
use crate::{
    site::{Booru, Fault, Request, What},
    world::{LONG, World, wait_for},
};

fn status(status: u16) -> Fault {
    Fault::Status(status, vec![], String::new())
}

fn wait(status: u16, value: &str) -> Fault {
    Fault::RetryAfter(status, value.to_owned())
}

/// The time from each request to the next.
fn gaps(requests: &[Request]) -> Vec<Duration> {
    let pairs = requests.windows(2);
    pairs.map(|pair| pair[1].at - pair[0].at).collect()
}

#[test]
fn fault_65_redirects_in_a_circle_or_to_nowhere_are_given_up_at_once() {
    let world = World::new(Booru::builder().posts(3));
    let [circle, nowhere, _] = world.booru.ids()[..] else {
        panic!("three posts")
    };
    let file = world.booru.truth()[0].url.clone();
    let here = file.leak();
    let again = Fault::Status(302, vec![("Location", here)], String::new());
    world.booru.script(What::File(circle), forever(again));
    world
        .booru
        .script(What::File(nowhere), forever(status(302)));
    world.run(1);
    assert_eq!(asked_for(&world, circle).len(), 11);
    assert_eq!(asked_for(&world, nowhere).len(), 1);
    is_missing(&world, circle, "redirect");
    is_missing(&world, nowhere, "redirect");
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn fault_67_a_host_that_asks_to_wait_is_left_alone_and_no_try_is_counted() {
    let mut world = World::new(Booru::builder().posts(30));
    world.network("tries = 1");
    world.booru.script(What::AnyFile, vec![wait(429, "2")]);
    world.run(0);
    world.holds_everything();
    let log = world.booru.log();
    let held = log.iter().find(|request| request.status == 429);
    let held = held.expect("the hold").at;
    let until = held + Duration::from_secs(2);
    // Those under way when the reply came are no breach.
    let from = held + Duration::from_millis(150);
    let early = log.iter().filter(|r| r.at > from && r.at < until).count();
    assert_eq!(early, 0);
    assert!(log.iter().any(|request| request.at >= until));
}

#[test]
fn fault_68_throttling_that_names_no_time_is_backed_off_from() {
    let mut world = World::new(Booru::builder().posts(3));
    world.network("tries = 2");
    world.keys("media_connections = 1");
    // A second `media_connections` is a mistake: the world has one already.
    let config = std::fs::read_to_string(world.config()).expect("written");
    let config = config.replacen("media_connections = 4\n", "", 1);
    let config = config.replace("backoff = \"10ms\"", "backoff = \"200ms\"");
    std::fs::write(world.config(), config).expect("written");
    let past = "Tue, 15 Nov 1994 08:12:31 GMT";
    let faults = vec![
        status(429),
        wait(429, past),
        wait(503, "soon"),
        wait(429, "-3"),
    ];
    world.booru.script(What::AnyFile, faults);
    world.run(0);
    world.holds_everything();
    let log = world.booru.log();
    assert_eq!(met(&log).len(), 4);
    // A page that comes in between ends the row.
    let mut row = 0;
    for (request, gap) in log.iter().zip(gaps(&log)) {
        let held = if request.fault.is_some() {
            row += 1;
            Duration::from_millis(200 << (row - 1))
        } else {
            row = 0;
            Duration::ZERO
        };
        assert!(gap >= held, "{row}: {gap:?}");
    }
    assert_eq!(world.status()["hosts"][0]["throttled"], 4);
}

#[test]
fn fault_69_a_host_that_asks_for_a_year_gets_a_day_and_keeps_nobody() {
    let mut world = World::new(Booru::builder().posts(3));
    let mut running = {
        world
            .booru
            .script(What::AnyFile, forever(wait(429, "31536000")));
        world.spawn(&["run"])
    };
    wait_for("the wait", LONG, || {
        world.status()["jobs"][0]["state"] == "waiting"
    });
    let status = world.status();
    let until: jiff::Timestamp = status["jobs"][0]["until"]
        .as_str()
        .and_then(|until| until.parse().ok())
        .expect("a time");
    let began: jiff::Timestamp = status["jobs"][0]["last_run"]["started"]
        .as_str()
        .and_then(|started| started.parse().ok())
        .expect("a time");
    let hours = (until.as_second() - began.as_second()) / 3600;
    assert!((23..=24).contains(&hours), "{hours}");
    // It is deferred, not failed, and the larder can be told to stop at once.
    let told = Instant::now();
    running.terminate();
    running.wait(LONG).expect(3);
    assert!(
        told.elapsed() < Duration::from_secs(8),
        "{:?}",
        told.elapsed()
    );
    let asked = world.booru.files().len();
    assert!(asked <= 4, "{asked}");
    for failure in world.failures() {
        assert_eq!(
            (&failure["class"], &failure["tries"]),
            (&json!("rate_limited"), &json!(0))
        );
    }
    world.network("");
}

#[test]
fn fault_70_errors_of_a_server_pass_and_a_misdirected_request_takes_a_new_connection() {
    let world = World::new(Booru::builder().posts(6));
    let id = world.booru.ids()[2];
    world
        .booru
        .script(What::File(id), vec![status(500), status(503), status(421)]);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    let seen: Vec<_> = asked.iter().map(|request| request.status).collect();
    assert_eq!(seen, [500, 503, 421, 200]);
    let before: Vec<_> = world
        .booru
        .files()
        .iter()
        .filter(|request| request.at < asked[3].at)
        .map(|request| request.connection)
        .collect();
    assert!(!before.contains(&asked[3].connection), "{before:?}");
}

#[test]
fn fault_71_a_host_that_refuses_file_after_file_is_slowed_down_and_each_is_asked_for_once() {
    let mut world = World::new(Booru::builder().posts(9));
    world.keys("media_connections = 1");
    let config = std::fs::read_to_string(world.config()).expect("written");
    let config = config.replacen("media_connections = 4\n", "", 1);
    let config = config.replace("backoff = \"10ms\"", "backoff = \"300ms\"");
    std::fs::write(world.config(), config).expect("written");
    world.booru.script(What::AnyFile, vec![status(403); 7]);
    let ran = world.larder(&["run"]).expect(1);
    let files = world.booru.files();
    assert_eq!((met(&files).len(), files.len()), (7, 9));
    let gaps = gaps(&files);
    for (gap, least) in gaps[4..7].iter().zip([300, 600, 1200]) {
        assert!(*gap >= Duration::from_millis(least), "{gap:?}");
    }
    assert_eq!(world.classes(), ["http_403"; 7], "{}", ran.text());
}

#[test]
fn fault_71_what_is_gone_is_asked_for_once_more_at_the_next_walk() {
    let world = World::new(Booru::builder().posts(3));
    let [lost, gone, _] = world.booru.ids()[..] else {
        panic!("three posts")
    };
    world.booru.script(What::File(lost), forever(status(404)));
    world.booru.script(What::File(gone), forever(status(410)));
    for asked in [1, 2, 2] {
        world.run(1);
        assert_eq!(met(&asked_for(&world, lost)).len(), asked);
        assert_eq!(met(&asked_for(&world, gone)).len(), asked);
        assert_eq!(world.classes(), ["http_404", "http_410"]);
    }
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn fault_73_a_host_whose_name_is_not_found_fails_in_the_end_and_heals() {
    let mut world = World::new(Booru::builder().posts(20));
    let own = world.booru.host();
    world.keys(&format!("media_hosts = [\"{own}\"]"));
    world.url("http://no-such-host.invalid:80");
    world
        .run(1)
        .says("could not find the address of no-such-host.invalid");
    assert_eq!(world.classes(), ["dns"]);
    assert_eq!(world.failures()[0]["tries"], 6);
    assert_eq!(world.job_status()["state"], "failed");
    assert!(world.booru.log().is_empty());
    let back = world.booru.url();
    world.url(&back);
    world.run(0);
    world.holds_everything();
    assert_eq!(world.failures(), Vec::<Value>::new());
}
