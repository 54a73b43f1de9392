//! The daemon: nights that pass by a clock that tests turn, and the real one, told by other commands what to do.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use larder::{
    clock::Clock,
    daemon::{self, Options},
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    site::{Booru, Fault, What},
    world::{JOB, LONG, Running, World, wait_for},
};

/// A daemon in this process, by a clock that the test turns.
struct Nights {
    time: Arc<AtomicI64>,
    stop: CancellationToken,
    work: Option<thread::JoinHandle<Result<(), daemon::Error>>>,
}

impl Nights {
    fn begin(world: &World, at: &str) -> Self {
        let nights = Self {
            time: Arc::default(),
            stop: CancellationToken::new(),
            work: None,
        };
        nights.turn_to(at);
        let options = Options {
            config: world.config(),
            look: Duration::from_millis(5),
        };
        let (clock, stop) = (Clock::Fixed(nights.time.clone()), nights.stop.clone());
        let work = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(daemon::run(options, clock, Arc::new(Notify::new()), stop))
        });
        Self {
            work: Some(work),
            ..nights
        }
    }

    /// It is now this time, in UTC, which is local time here.
    fn turn_to(&self, at: &str) {
        let at: jiff::Timestamp = at.parse().expect("a time");
        self.time.store(at.as_millisecond(), Ordering::Relaxed);
    }

    fn end(mut self) {
        self.stop.cancel();
        let work = self.work.take().expect("not ended yet");
        work.join().expect("no panic").expect("a good end");
    }
}

fn status_of(world: &World, name: &str) -> Value {
    let status = world.status();
    let jobs = status["jobs"].as_array().expect("a list");
    let job = jobs.iter().find(|job| job["name"] == name);
    job.cloned().unwrap_or(Value::Null)
}

/// Waits until a job has had this many runs, and none is under way.
#[track_caller]
fn wait_for_runs(world: &World, name: &str, runs: i64) {
    wait_for(&format!("run {runs} of {name}"), LONG, || {
        let job = status_of(world, name);
        job["total"]["runs"] == runs && job["last_run"]["ended"].is_string()
    });
}

/// The pages that were asked for with this tag.
fn asked(world: &World, tag: &str) -> usize {
    let asked = world.asked();
    asked.iter().filter(|tags| tags.contains(tag)).count()
}

/// A daemon of its own, once it is at work.
fn start(world: &World) -> Running {
    let running = world.spawn(&["daemon"]);
    wait_for("the daemon", LONG, || {
        let out = world.larder(&["status", "--json"]);
        out.code == Some(0) && out.stdout.contains("\"kind\": \"daemon\"")
    });
    running
}

#[track_caller]
fn end(mut running: Running) -> String {
    running.terminate();
    running.wait(LONG).expect(0).stderr
}

#[test]
fn nights_pass_and_each_job_runs_in_its_window_once_over_restarts_too() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", "every = \"20h\"\nwindow = \"23:00-07:30\"");
    world.also("tick", "tick", "every = \"1h\"");
    let nights = Nights::begin(&world, "2026-01-10T12:00:00Z");
    // The other job shows that the daemon has looked: at noon the window is closed.
    wait_for_runs(&world, "tick", 1);
    nights.turn_to("2026-01-10T22:59:59Z");
    wait_for_runs(&world, "tick", 2);
    assert_eq!(asked(&world, "seed"), 0);
    nights.turn_to("2026-01-10T23:00:00Z");
    wait_for_runs(&world, JOB, 1);
    world.holds_everything();
    // The same night there is no second one.
    nights.turn_to("2026-01-11T05:00:00Z");
    wait_for_runs(&world, "tick", 3);
    assert_eq!(status_of(&world, JOB)["total"]["runs"], 1);
    // It is due at seven in the evening, when the daemon is away, and is made up for when the window opens.
    nights.end();
    let nights = Nights::begin(&world, "2026-01-11T20:30:00Z");
    wait_for_runs(&world, "tick", 4);
    assert_eq!(status_of(&world, JOB)["total"]["runs"], 1);
    let post = world.booru.add(|_| ());
    nights.turn_to("2026-01-11T23:10:00Z");
    wait_for_runs(&world, JOB, 2);
    assert!(world.posts().contains_key(&post));
    nights.end();
    world.holds_everything();
}

#[test]
fn a_window_that_closes_stops_the_run_and_the_next_opening_goes_on_with_it() {
    let mut world = World::new(Booru::builder().posts(60));
    world.job("seed", "cron = \"0 2 * * *\"\nwindow = \"01:00-05:00\"");
    // The third page does not answer in time.
    let slow = || Fault::Stall(Duration::from_secs(3600));
    world.network("stall_timeout = \"1h\"\nheader_timeout = \"1h\"");
    world.booru.script(What::PageWith("id:*"), vec![slow()]);
    world.also("tick", "tick", "every = \"1h\"");
    let nights = Nights::begin(&world, "2026-01-10T01:30:00Z");
    wait_for_runs(&world, "tick", 1);
    nights.turn_to("2026-01-10T02:06:00Z");
    wait_for("a page that hangs", LONG, || asked(&world, "seed") == 2);
    nights.turn_to("2026-01-10T05:00:00Z");
    wait_for("the window to close", LONG, || {
        let job = status_of(&world, JOB);
        job["last_run"]["ended"].is_null() && job["pages"]["done"] == 1
    });
    nights.turn_to("2026-01-11T01:00:00Z");
    wait_for_runs(&world, JOB, 1);
    nights.end();
    world.holds_everything();
    // What was done on the first night is not done again on the second.
    let firsts = world
        .asked()
        .into_iter()
        .filter(|tags| tags.contains("seed") && !tags.contains("id:"));
    assert_eq!(firsts.count(), 1);
}

#[test]
fn fault_03_a_term_signal_ends_a_daemon_soon_with_nothing_lost() {
    let mut world = World::new(Booru::builder().posts(30));
    world.job("seed", "every = \"1h\"");
    let running = start(&world);
    wait_for_runs(&world, JOB, 1);
    world.larder(&["run"]).expect(75).says("daemon (pid");
    let said = end(running);
    assert!(said.contains("Stopped"), "{said}");
    world.holds_everything();
    assert_eq!(world.status()["holder"], Value::Null);
    // A new one has nothing to do: the job has run within its hour.
    world.booru.clear_log();
    let running = start(&world);
    world.also("other", "other", "every = \"1h\"");
    wait_for_runs(&world, "other", 1);
    end(running);
    assert_eq!(asked(&world, "seed"), 0);
}

#[test]
fn a_job_that_is_paused_stays_so_until_it_is_resumed() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", "every = \"1h\"");
    // Before anything was ever run, and without a daemon.
    world
        .larder(&["pause", JOB])
        .expect(0)
        .says("Holding `all`");
    world.also("other", "other", "every = \"1h\"");
    let running = start(&world);
    wait_for_runs(&world, "other", 1);
    let job = world.job_status();
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&"paused".into(), &"user".into())
    );
    assert_eq!(job["listing"], "posts");
    end(running);
    world
        .larder(&["run", JOB])
        .expect(3)
        .says("larder resume all");
    world.larder(&["run"]).expect(0);
    assert_eq!(asked(&world, "seed"), 0);
    let running = start(&world);
    assert_eq!(world.job_status()["reason"], "user");
    world
        .larder(&["resume", JOB])
        .expect(0)
        .says("Asked larder daemon");
    wait_for_runs(&world, JOB, 1);
    // With a daemon at work.
    world
        .larder(&["pause", JOB])
        .expect(0)
        .says("Asked larder daemon");
    wait_for("the pause", LONG, || {
        world.job_status()["state"] == "paused"
    });
    end(running);
    world
        .larder(&["resume", JOB])
        .expect(0)
        .says("was held (by hand)");
    world
        .larder(&["resume", JOB])
        .expect(0)
        .says("was not held");
    world.larder(&["pause", "nobody"]).expect(2);
    world.holds_everything();
}

#[test]
fn a_pause_stops_a_run_under_way() {
    let mut world = World::new(Booru::builder().posts(60));
    world.job("seed", "every = \"1h\"");
    world.network("stall_timeout = \"1h\"\nheader_timeout = \"1h\"");
    let slow = Fault::Stall(Duration::from_secs(3600));
    world.booru.script(What::PageWith("id:*"), vec![slow]);
    let running = start(&world);
    wait_for("a page that hangs", LONG, || world.asked().len() == 2);
    world.larder(&["pause", JOB]).expect(0);
    wait_for("the pause", LONG, || {
        world.job_status()["state"] == "paused"
    });
    world.larder(&["resume", JOB]).expect(0);
    wait_for_runs(&world, JOB, 1);
    end(running);
    world.holds_everything();
}

#[test]
fn what_is_added_retried_and_forgotten_takes_effect_in_a_running_daemon() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", "every = \"1h\"");
    let gone = Fault::Status(404, vec![], "gone".into());
    let id = world.booru.ids()[3];
    world.booru.script(What::File(id), vec![gone]);
    let running = start(&world);
    wait_for_runs(&world, JOB, 1);
    wait_for("the failure", LONG, || world.classes() == ["http_404"]);
    world.larder(&["retry"]).expect(0);
    wait_for("the file", LONG, || world.classes().is_empty());
    world.holds_everything();
    let url = format!("{}/post?tags=added", world.booru.url());
    world.larder(&["add", &url, "--name", "new"]).expect(0);
    wait_for_runs(&world, "new", 1);
    assert!(asked(&world, "added") > 0);
    world.larder(&["forget", "new"]).expect(0);
    wait_for("the job to go", LONG, || status_of(&world, "new").is_null());
    end(running);
}

#[test]
fn fault_38_a_reload_takes_what_is_good_and_keeps_what_was_before_what_is_bad() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", "every = \"1h\"");
    let running = start(&world);
    wait_for_runs(&world, JOB, 1);
    // A good change: a new job, at once.
    world.also("second", "second", "every = \"1h\"");
    wait_for_runs(&world, "second", 1);
    // A bad one: the old one stays, and both the log and `status` say so.
    let good = fs::read_to_string(world.config()).expect("ours");
    fs::write(world.config(), format!("{good}\nevry = \"1h\"\n")).expect("ours");
    wait_for("the refusal", LONG, || {
        let status = world.larder(&["status", "--json"]);
        status.code == Some(0) && status.stdout.contains("evry")
    });
    let status = world.status();
    assert!(
        status["config_error"]
            .as_str()
            .is_some_and(|e| e.contains("evry"))
    );
    assert_eq!(status_of(&world, JOB)["state"], "done");
    world.larder(&["status"]).expect(0).says("evry");
    // Another archive is none that a running daemon can change to.
    fs::write(
        world.config(),
        good.replace("path = \"archive\"", "path = \"b\"\nstate = \"archive\""),
    )
    .expect("ours");
    wait_for("the second refusal", LONG, || {
        let status = world.larder(&["status", "--json"]);
        status.code == Some(0) && status.stdout.contains("restart the daemon")
    });
    // Mended: all is well, and what is new in it holds.
    world.also("third", "third", "every = \"1h\"");
    wait_for_runs(&world, "third", 1);
    wait_for("the end of the complaint", LONG, || {
        world.status()["config_error"].is_null()
    });
    let said = end(running);
    assert!(
        said.contains("is refused, the one before stays in force"),
        "{said}"
    );
    // Without a daemon a bad configuration is none.
    fs::write(world.config(), format!("{good}\nevry = \"1h\"\n")).expect("ours");
    world.larder(&["status"]).expect(78);
}

#[test]
fn a_reload_changes_a_run_under_way() {
    let mut world = World::new(Booru::builder().posts(60));
    world.job("seed", "every = \"1h\"");
    world.keys("cookies = { a = \"1\" }");
    world.network("stall_timeout = \"1h\"\nheader_timeout = \"1h\"");
    let slow = Fault::Stall(Duration::from_secs(3600));
    world.booru.script(What::PageWith("id:*"), vec![slow]);
    let running = start(&world);
    wait_for("a page that hangs", LONG, || world.asked().len() == 2);
    world.keys("cookies = { a = \"2\" }");
    wait_for_runs(&world, JOB, 1);
    end(running);
    world.holds_everything();
    let pages = world.booru.pages();
    let cookie = |nth: usize| pages[nth].header("cookie").unwrap_or_default().to_owned();
    assert_eq!((cookie(0), cookie(2)), ("a=1".to_owned(), "a=2".to_owned()));
}
