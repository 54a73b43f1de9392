use super::*;
use crate::config::Config;

/// The job of a configuration with these keys.
fn job(keys: &str) -> std::sync::Arc<Job> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive.toml");
    let text = format!(
        "archive.path = \"a\"\n[[jobs]]\nname = \"j\"\nsite = \"yande.re\"\nlisting = \"posts\"\nparams = {{ tags = \"x\" }}\n{keys}\n"
    );
    std::fs::write(&path, text).expect("a file");
    let config = Config::load(&path).expect("a good configuration");
    config.jobs[0].clone()
}

fn time(text: &str) -> Millis {
    text.parse::<Timestamp>().expect("a time").as_millisecond()
}

fn now(text: &str, zone: &str) -> Now {
    Now {
        time: time(text),
        zone: TimeZone::get(zone).expect("a zone"),
        since: time(text),
    }
}

fn ran(started: &str) -> Standing {
    Standing {
        name: "j".to_owned(),
        started: Some(time(started)),
        walked_all: Some(time(started)),
        ..Standing::default()
    }
}

/// When a job is run next, in UTC and without its jitter.
#[track_caller]
fn at(plan: &Plan, period_s: i64) -> String {
    let Plan::At { time, .. } = plan else {
        panic!("{plan:?}")
    };
    let jitter = jitter("j", period_s * 1000);
    crate::clock::rfc3339(time - jitter)
}

#[test]
fn every_counts_from_the_last_start_and_a_first_run_is_due_at_once() {
    let job = job("every = \"6h\"");
    let noon = now("2026-03-01T12:00:00Z", "UTC");
    assert_eq!(plan(&job, None, None, &noon), Plan::Run);
    let last = ran("2026-03-01T11:00:00Z");
    let next = plan(&job, Some(&last), None, &noon);
    assert_eq!(at(&next, 6 * 3600), "2026-03-01T17:00:00Z");
    // The daemon was down for days: it is made up for, and once.
    let long_ago = ran("2026-02-20T11:00:00Z");
    assert_eq!(plan(&job, Some(&long_ago), None, &noon), Plan::Run);
    // The clock was a year ahead when it began.
    let future = ran("2027-03-01T11:00:00Z");
    let next = plan(&job, Some(&future), None, &noon);
    assert_eq!(at(&next, 6 * 3600), "2026-03-01T18:00:00Z");
}

#[test]
fn the_jitter_is_small_stable_and_a_job_s_own() {
    let day = 86_400_000;
    for name in ["a", "b", "another"] {
        assert_eq!(jitter(name, day), jitter(name, day));
        assert!((0..=MOST_SPREAD).contains(&jitter(name, day)));
        assert!((0..=5_000).contains(&jitter(name, 100_000)));
    }
    assert_ne!(jitter("a", day), jitter("b", day));
    assert_eq!(jitter("a", 0), 0);
}

#[test]
fn cron_is_local_time_across_both_changes_of_the_clock() {
    let job = job("cron = \"30 2 * * *\"");
    let next = |last: &str, at_: &str| {
        let now = now(at_, "Europe/Berlin");
        at(&plan(&job, Some(&ran(last)), None, &now), 86_400)
    };
    // 02:30 in winter is 01:30 UTC, in summer 00:30 UTC.
    let winter = next("2026-03-26T01:31:00Z", "2026-03-26T02:00:00Z");
    assert_eq!(winter, "2026-03-27T01:30:00Z");
    // On 2026-03-29 there is no 02:30: it is run once that day, as soon as there is a later time.
    let gap = plan(
        &job,
        Some(&ran("2026-03-28T01:36:00Z")),
        None,
        &now("2026-03-28T02:00:00Z", "Europe/Berlin"),
    );
    let Plan::At { time: gap, .. } = gap else {
        panic!("{gap:?}")
    };
    assert!(
        gap >= time("2026-03-29T01:00:00Z") && gap < time("2026-03-29T01:10:00Z"),
        "{}",
        crate::clock::rfc3339(gap)
    );
    let after = next("2026-03-29T01:06:00Z", "2026-03-29T02:00:00Z");
    assert_eq!(after, "2026-03-30T00:30:00Z");
    // On 2026-10-25 there are two: the first one counts, and only that.
    let before = next("2026-10-24T00:36:00Z", "2026-10-24T02:00:00Z");
    assert_eq!(before, "2026-10-25T00:30:00Z");
    let twice = next("2026-10-25T00:36:00Z", "2026-10-25T00:40:00Z");
    assert_eq!(twice, "2026-10-26T01:30:00Z");
}

#[test]
fn a_missed_start_runs_at_the_next_opening_of_the_window() {
    let job = job("every = \"6h\"\nwindow = \"23:00-07:30\"");
    let last = ran("2026-01-10T06:00:00Z");
    let noon = now("2026-01-10T14:00:00Z", "UTC");
    let waits = plan(&job, Some(&last), None, &noon);
    let opens = time("2026-01-10T23:00:00Z");
    assert_eq!(
        waits,
        Plan::At {
            time: opens,
            window: true
        }
    );
    let night = now("2026-01-10T23:00:00Z", "UTC");
    assert_eq!(plan(&job, Some(&last), None, &night), Plan::Run);
    // What a closing window has cut off goes on at the next opening, however short ago it began.
    let cut = Standing {
        unfinished: true,
        ..ran("2026-01-11T07:00:00Z")
    };
    let morning = now("2026-01-11T07:30:00Z", "UTC");
    let Plan::At {
        time: again,
        window,
    } = plan(&job, Some(&cut), None, &morning)
    else {
        panic!("it runs outside of its window")
    };
    assert_eq!((again, window), (time("2026-01-11T23:00:00Z"), true));
}

#[test]
fn a_window_within_a_day_and_one_over_midnight() {
    let utc = TimeZone::UTC;
    let hour = |h| jiff::civil::time(h, 0, 0, 0);
    let open = |window, at: &str| is_open(window, time(at), &utc);
    let day = (hour(9), hour(17));
    assert!(open(day, "2026-01-01T09:00:00Z") && !open(day, "2026-01-01T17:00:00Z"));
    let night = (hour(23), hour(7));
    assert!(open(night, "2026-01-01T23:00:00Z") && open(night, "2026-01-01T06:59:59Z"));
    assert!(!open(night, "2026-01-01T07:00:00Z") && !open(night, "2026-01-01T22:59:59Z"));
}

#[test]
fn who_waits_for_a_person_is_not_run_and_who_has_no_schedule_is_left_alone() {
    let now = now("2026-01-10T14:00:00Z", "UTC");
    let scheduled = job("every = \"1h\"");
    let paused = |reason: &str| Standing {
        paused: Some(reason.to_owned()),
        unfinished: true,
        ..ran("2026-01-10T13:30:00Z")
    };
    for reason in ["user", "auth", "blocked"] {
        let plan = plan(&scheduled, Some(&paused(reason)), None, &now);
        assert_eq!(plan, Plan::Paused, "{reason}");
    }
    // A limit is one of a single run: the next goes on at its time.
    let limit = plan(&scheduled, Some(&paused("limit")), None, &now);
    assert_eq!(at(&limit, 3600), "2026-01-10T14:30:00Z");
    let full = plan(&scheduled, Some(&paused("disk_full")), None, &now);
    assert_eq!(full, Plan::Run);
    let manual = job("");
    assert_eq!(plan(&manual, None, None, &now), Plan::ByHand);
    let done = ran("2026-01-01T00:00:00Z");
    assert_eq!(plan(&manual, Some(&done), None, &now), Plan::ByHand);
    let cut = Standing {
        unfinished: true,
        ..done
    };
    assert_eq!(plan(&manual, Some(&cut), None, &now), Plan::Run);
    let disabled = job("every = \"1h\"\nenabled = false");
    assert_eq!(plan(&disabled, None, None, &now), Plan::ByHand);
}

#[test]
fn everything_is_walked_again_when_its_time_has_come() {
    let job = job("every = \"1d\"\nfull_every = \"30d\"");
    let first = ran("2026-01-01T00:00:00Z");
    let on = |day: &str| time(&format!("{day}T00:00:00Z"));
    assert!(!is_full(&job, None, on("2026-01-01")));
    assert!(!is_full(&job, Some(&first), on("2026-01-30")));
    assert!(is_full(&job, Some(&first), on("2026-01-31")));
}
