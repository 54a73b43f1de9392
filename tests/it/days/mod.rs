//! Jobs over days: `today`, `yesterday` and ranges, night after night.
//!
//! Where the time matters, larder's library runs in this process on a clock that the story turns; where it does not, the
//! real binary runs. A clock of a story shows UTC.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod site;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use larder::{
    clock::Clock,
    config::Config,
    http::Http,
    run::{Ended, Means, Patience, Runner, walks},
    session::Session,
};
use serde_json::{Value, json};
use site::{Daily, write};
use tokio_util::sync::CancellationToken;

use crate::shell::{Shell, until};

/// Runs the job in this process at `time`; returns how it ended.
fn run_at(shell: &Shell, time: &str) -> Ended {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let now: jiff::Timestamp = time.parse().unwrap();
    let time = Arc::new(AtomicI64::new(now.as_millisecond()));
    let clock = Clock::Fixed(time.clone());
    runtime.block_on(async {
        // What waits for another try waits by this clock.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                time.fetch_add(1, Ordering::Relaxed);
            }
        });
        let config = Config::load(&shell.path("archive.toml")).unwrap();
        let session = Session::open(&config, "run", clock.clone()).unwrap();
        let walks = walks(&config.jobs[0], clock.today(), false).unwrap();
        let means = Means::of_one(Http::new(&config.network).unwrap());
        let runner = Runner::begin(
            &config,
            vec![(config.jobs[0].clone(), walks)],
            session.store.clone(),
            session.archive.clone(),
            &means,
            Patience::Ends,
            CancellationToken::new(),
        );
        let runner = runner.await.unwrap();
        runner.run().await.unwrap();
        let ended = runner.jobs.values().next().unwrap().ended();
        drop(runner);
        session.close().await;
        ended.unwrap()
    })
}

/// The ids of all posts that have a record.
fn archived(shell: &Shell) -> BTreeSet<u64> {
    let records = std::fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    let lines = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["type"] == "item")
        .map(|line| line["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

fn job(shell: &Shell) -> Value {
    shell.larder(&["status", "--json"]).ends(0).json()["jobs"][0].clone()
}

/// A site with ten days of one post each.
fn january() -> Daily {
    let site = Daily::start();
    for day in 1..=10 {
        site.day(&format!("2024-01-{day:02}"), &[day]);
    }
    site
}

/// Days of January, newest first.
fn days(from: u64, to: u64) -> Vec<String> {
    (from..=to)
        .rev()
        .map(|day| format!("2024-01-{day:02}"))
        .collect()
}

#[test]
fn each_night_asks_the_days_that_are_new_and_those_that_were_not_over_everywhere() {
    let (site, shell) = (Daily::start(), Shell::new());
    for day in 1..=6 {
        site.day(&format!("2024-03-0{day}"), &[day]);
    }
    write(&shell, &site, "2024-03-01..yesterday", "");
    assert_eq!(run_at(&shell, "2024-03-05T03:00:00Z"), Ended::Done);
    assert_eq!(
        site.days(),
        ["2024-03-04", "2024-03-03", "2024-03-02", "2024-03-01"]
    );
    assert_eq!(archived(&shell), (1..=4).collect());
    // In some time zones it was still the 4th: what is popular there has changed.
    site.day("2024-03-04", &[44, 4]);
    assert_eq!(run_at(&shell, "2024-03-06T03:00:00Z"), Ended::Done);
    assert_eq!(site.days(), ["2024-03-05", "2024-03-04"]);
    assert!(archived(&shell).contains(&44));
    assert_eq!(run_at(&shell, "2024-03-06T12:00:00Z"), Ended::Done);
    assert_eq!(site.days(), ["2024-03-05"]);
    assert_eq!(run_at(&shell, "2024-03-06T12:00:01Z"), Ended::Done);
    assert_eq!(site.days(), [""; 0]);
    assert_eq!(site.files().len(), 6);
}

#[test]
fn a_range_up_to_today_asks_today_each_time() {
    let (site, shell) = (Daily::start(), Shell::new());
    site.day("2024-03-01", &[1]).day("2024-03-02", &[2]);
    write(&shell, &site, "2024-03-01..2099-12-31", "");
    run_at(&shell, "2024-03-02T13:00:00Z");
    assert_eq!(site.days(), ["2024-03-02", "2024-03-01"]);
    site.day("2024-03-02", &[2, 22]);
    run_at(&shell, "2024-03-02T14:00:00Z");
    assert_eq!(site.days(), ["2024-03-02"]);
    assert_eq!(archived(&shell), BTreeSet::from([1, 2, 22]));
}

#[test]
fn a_day_that_ends_while_a_run_stands_still_is_over_only_for_a_walk_that_begins_then() {
    let (site, shell) = (Daily::start(), Shell::new());
    site.day("2024-03-01", &[1, 2, 3])
        .day("2024-03-02", &[4, 5, 6])
        .day("2024-03-03", &[7]);
    write(&shell, &site, "2024-03-01..today", "max_pages = 1");
    // One page of three: the walk of the second has begun before that day was over.
    let ended = run_at(&shell, "2024-03-02T20:00:00Z");
    assert!(matches!(
        ended,
        Ended::Paused {
            reason: "limit",
            ..
        }
    ));
    write(&shell, &site, "2024-03-01..today", "");
    run_at(&shell, "2024-03-03T20:00:00Z");
    assert_eq!(
        site.pages(),
        [
            "2024-03-02 1",
            "2024-03-02 2",
            "2024-03-03 1",
            "2024-03-01 1",
            "2024-03-01 2"
        ]
    );
    run_at(&shell, "2024-03-03T21:00:00Z");
    assert_eq!(site.days(), ["2024-03-03", "2024-03-02"]);
    run_at(&shell, "2024-03-03T22:00:00Z");
    assert_eq!(site.days(), ["2024-03-03"]);
}

#[test]
fn an_interrupted_run_is_taken_up_with_the_days_that_came_meanwhile_first() {
    let (site, shell) = (Daily::start(), Shell::new());
    for day in 1..=6 {
        site.day(&format!("2024-03-0{day}"), &[day]);
    }
    write(&shell, &site, "2024-03-01..yesterday", "max_pages = 2");
    run_at(&shell, "2024-03-05T20:00:00Z");
    assert_eq!(site.days(), ["2024-03-04", "2024-03-03"]);
    write(&shell, &site, "2024-03-01..yesterday", "");
    assert_eq!(run_at(&shell, "2024-03-07T20:00:00Z"), Ended::Done);
    assert_eq!(
        site.days(),
        ["2024-03-06", "2024-03-05", "2024-03-02", "2024-03-01"]
    );
    assert_eq!(archived(&shell), (1..=6).collect());
}

#[test]
fn yesterday_alone_is_one_day_and_another_one_tomorrow() {
    let (site, shell) = (Daily::start(), Shell::new());
    for day in 1..=3 {
        site.day(&format!("2024-03-0{day}"), &[day]);
    }
    write(&shell, &site, "yesterday", "");
    site.fall_ill("2024-03-01");
    run_at(&shell, "2024-03-02T03:00:00Z");
    assert_eq!(site.days(), ["2024-03-01", "2024-03-01"]);
    site.heal();
    // The day that failed is asked again, and the new one does not wait for another night.
    run_at(&shell, "2024-03-03T03:00:00Z");
    assert_eq!(
        site.days().into_iter().collect::<BTreeSet<_>>(),
        ["2024-03-01", "2024-03-02"].map(str::to_owned).into()
    );
    run_at(&shell, "2024-03-04T03:00:00Z");
    assert_eq!(site.days(), ["2024-03-03"]);
    assert_eq!(archived(&shell), (1..=3).collect());
}

#[test]
fn days_are_those_of_the_local_time_zone() {
    let shell = Shell::new();
    let site = Daily::start();
    write(&shell, &site, "yesterday", "");
    let asks = |zone: &str| -> String {
        let out = shell.command(&["check"]).env("TZ", zone).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        out.split_whitespace()
            .find(|word| word.contains("day="))
            .unwrap()
            .to_owned()
    };
    // A day lies between these zones, whatever the time is.
    assert_ne!(asks("<-12>12"), asks("<+12>-12"));
}

#[test]
fn a_run_that_was_killed_asks_no_finished_day_again() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    site.stall(Some("2024-01-06"));
    let run = shell.start(&["run"]);
    until("the sixth is asked for", || {
        site.was_asked("2024-01-06 1").then_some(())
    });
    // Dropping it is SIGKILL.
    drop(run);
    assert_eq!(site.days(), days(6, 10));
    site.stall(None);
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), days(1, 6));
    let ran = shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), [""; 0]);
    assert!(ran.out.contains("10 walked before"), "{}", ran.out);
    assert_eq!(archived(&shell), (1..=10).collect());
}

#[test]
fn a_longer_range_walks_only_what_is_new_and_full_walks_all() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-03..2024-01-05", "");
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), days(3, 5));
    write(&shell, &site, "2024-01-01..2024-01-07", "");
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), [days(6, 7), days(1, 2)].concat());
    // What decides what a day shows is another walk.
    write(
        &shell,
        &site,
        "2024-01-01..2024-01-07",
        "where = '.id != \"3\"'",
    );
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), days(1, 7));
    site.day("2024-01-02", &[2, 22]);
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), [""; 0]);
    shell.larder(&["run", "--full"]).ends(0);
    assert_eq!(site.days(), days(1, 7));
    assert!(archived(&shell).contains(&22));
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), [""; 0]);
}

#[test]
fn a_full_run_that_was_interrupted_goes_on_and_another_does_not_make_do_with_less() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-06", "");
    shell.larder(&["run"]).ends(0);
    site.days();
    write(&shell, &site, "2024-01-01..2024-01-06", "max_pages = 2");
    for wanted in [days(5, 6), days(3, 4)] {
        shell.larder(&["run", "--full"]).ends(3);
        assert_eq!(site.days(), wanted);
    }
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), days(1, 2));
    // Half of a run that is not full is none of a full one.
    write(&shell, &site, "2024-01-01..2024-01-08", "max_pages = 1");
    shell.larder(&["run"]).ends(3);
    assert_eq!(site.days(), days(8, 8));
    write(&shell, &site, "2024-01-01..2024-01-08", "");
    shell.larder(&["run", "--full"]).ends(0);
    assert_eq!(site.days(), days(1, 8));
}

#[test]
fn a_day_that_fails_keeps_no_other_away_and_is_asked_until_it_heals() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    site.fall_ill("2024-01-08");
    let ran = shell.larder(&["run"]).ends(1);
    assert!(ran.out.contains("not walked to its end"), "{}", ran.out);
    let mut asked = site.days();
    assert_eq!(asked.iter().filter(|day| **day == "2024-01-08").count(), 2);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 10, "{asked:?}");
    assert_eq!(archived(&shell).len(), 9);
    for _ in 0..4 {
        shell.larder(&["run"]).ends(1);
        assert_eq!(site.days(), ["2024-01-08", "2024-01-08"]);
    }
    assert_eq!(job(&shell)["state"], "failed");
    site.heal();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), ["2024-01-08"]);
    assert_eq!(archived(&shell).len(), 10);
    assert_eq!(shell.larder(&["failures", "--json"]).json(), json!([]));
}

#[test]
fn a_day_that_failed_before_an_interruption_is_asked_again_by_the_run_that_goes_on() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    site.fall_ill("2024-01-09");
    site.stall(Some("2024-01-03"));
    let run = shell.start(&["run"]);
    until("the third is asked for", || {
        site.was_asked("2024-01-03 1").then_some(())
    });
    drop(run);
    site.heal();
    site.stall(None);
    site.days();
    shell.larder(&["run"]).ends(0);
    let asked: BTreeSet<_> = site.days().into_iter().collect();
    let wanted = [days(9, 9), days(1, 3)].concat();
    assert_eq!(asked, wanted.into_iter().collect());
    assert_eq!(archived(&shell).len(), 10);
}

#[test]
fn posts_that_are_popular_day_after_day_are_no_loop() {
    let (site, shell) = (Daily::start(), Shell::new());
    let posts: Vec<u64> = (1..=9).collect();
    for day in 1..=4 {
        site.day(&format!("2024-01-0{day}"), &posts);
    }
    write(&shell, &site, "2024-01-01..2024-01-04", "");
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.pages().len(), 20);
    assert_eq!(
        (archived(&shell).len(), site.files().len()),
        (posts.len(), posts.len())
    );
    let items = job(&shell)["items"].clone();
    assert_eq!((&items["seen"], &items["new"]), (&json!(9), &json!(9)));
}

#[test]
fn a_day_that_goes_in_circles_is_a_loop_and_the_others_are_walked() {
    let (site, shell) = (january(), Shell::new());
    site.day("2024-01-05", &[50, 51, 52, 53]);
    site.go_in_circles("2024-01-05");
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    shell.larder(&["run"]).ends(1);
    let pages = site.pages();
    assert!(pages.len() < 20, "{pages:?}");
    let failures = shell.larder(&["failures", "--json"]).json();
    assert_eq!(failures[0]["class"], "loop");
    assert_eq!(job(&shell)["reason"], "loop");
    assert_eq!(archived(&shell).len(), 13);
}

#[test]
fn limits_of_a_run_count_over_its_days() {
    for (limit, each) in [("max_pages = 4", 4), ("max_items = 4", 4)] {
        let (site, shell) = (january(), Shell::new());
        write(&shell, &site, "2024-01-01..2024-01-10", limit);
        let mut left = 10;
        while left > each {
            let ran = shell.larder(&["run"]).ends(3);
            assert!(ran.out.contains("paused (limit)"), "{}", ran.out);
            assert_eq!(site.days(), days(left - each + 1, left));
            left -= each;
        }
        shell.larder(&["run"]).ends(0);
        assert_eq!(site.days(), days(1, left));
    }
    // A limit that is reached with the last day stops nothing.
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "max_pages = 10");
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days().len(), 10);
}

#[test]
fn a_day_with_an_entry_that_nobody_can_read_is_walked_again() {
    let (site, shell) = (january(), Shell::new());
    site.garble(4);
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    for wanted in [days(1, 10), days(4, 4)] {
        shell.larder(&["run"]).ends(1);
        assert_eq!(site.days(), wanted);
        let failures = shell.larder(&["failures", "--json"]).json();
        assert_eq!(failures[0]["class"], "dialect");
    }
    site.heal();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), days(4, 4));
    assert_eq!(archived(&shell).len(), 10);
    assert_eq!(shell.larder(&["failures", "--json"]).json(), json!([]));
    // A later look that cannot read it takes back that the day is whole.
    site.garble(7);
    shell.larder(&["run", "--full"]).ends(1);
    site.days();
    shell.larder(&["run"]).ends(1);
    assert_eq!(site.days(), days(7, 7));
}

#[test]
fn a_file_that_failed_is_asked_again_although_its_day_is_not() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    site.fall_ill("/file/6");
    shell.larder(&["run"]).ends(1);
    assert_eq!((site.days().len(), site.files().len()), (10, 11));
    site.heal();
    shell.larder(&["run"]).ends(0);
    assert_eq!(
        (site.days(), site.files()),
        (vec![], vec!["/file/6".to_owned()])
    );
    assert_eq!(shell.larder(&["failures", "--json"]).json(), json!([]));
    let last = std::fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    assert!(last.contains("\"rev\":2"), "{last}");
}

#[test]
fn a_walk_of_days_shows_no_end_that_it_does_not_know() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    site.stall(Some("2024-01-06"));
    let run = shell.start(&["run"]);
    let job = until("the fourth day is under way", || {
        let job = job(&shell);
        (job["pages"]["done"] == 4 && job["files"]["stored"] == 4).then_some(job)
    });
    assert_eq!(
        (&job["state"], &job["pages"]["waiting"], &job["eta_s"]),
        (&json!("running"), &json!(6), &Value::Null)
    );
    drop(run);
    assert_eq!(self::job(&shell)["state"], "queued");
}

#[test]
fn check_tells_the_days_and_a_dry_run_walks_those_that_are_left() {
    let (site, shell) = (january(), Shell::new());
    write(&shell, &site, "2024-01-01..2024-01-10", "");
    let checked = shell.larder(&["check"]).ends(0).out;
    for words in [
        "/daily?year=2024&month=01&day=10&page=1&limit=2",
        "days        10, the newest first: 2024-01-10 to 2024-01-01",
    ] {
        assert!(checked.contains(words), "{checked}");
    }
    site.fall_ill("2024-01-02");
    let dry = shell.larder(&["run", "--dry-run"]).ends(1);
    assert!(dry.out.contains("9 pages, 9 items"), "{}", dry.out);
    assert!(dry.err.contains("http_5xx"), "{}", dry.err);
    assert!(!shell.path("archive").exists());
    shell.larder(&["run"]).ends(1);
    site.heal();
    let dry = shell.larder(&["run", "--dry-run"]).ends(0);
    assert!(dry.out.contains("1 page, 1 item"), "{}", dry.out);
    let dry = shell.larder(&["run", "--dry-run", "--full"]).ends(0);
    assert!(dry.out.contains("10 pages, 10 items"), "{}", dry.out);
}

#[test]
fn ranges_that_make_no_sense_are_refused_or_ask_nothing() {
    let (site, shell) = (january(), Shell::new());
    for (date, words) in [
        ("2024-01-10..2024-01-01", "ends before it begins"),
        ("today..yesterday", "ends before it begins"),
        ("2024-13-01..today", "is not a date"),
        ("1950-01-01..2024-01-01", "20000 at most"),
        ("1950-01-01..yesterday", "20000 at most"),
        (
            "2024-01-01..today\", until = \"2024-01-01..today",
            "a job walks the days of one range, and `date` is one",
        ),
    ] {
        write(&shell, &site, date, "");
        for command in ["check", "run"] {
            let ran = shell.larder(&[command]).ends(78);
            let said = format!("{}{}", ran.out, ran.err);
            assert!(said.contains(words), "{date}: {said}");
        }
    }
    write(&shell, &site, "2095-01-01..2095-02-01", "");
    let checked = shell.larder(&["check"]).ends(0).out;
    assert!(
        checked.contains("the first day of its range has not come"),
        "{checked}"
    );
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.days(), [""; 0]);
}
