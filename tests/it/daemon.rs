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
    wait_for("the file", LONG, || {
        world.classes().is_empty() && world.posts()[&id]["files"][0]["sha256"].is_string()
    });
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

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// One request, by hand; the whole reply.
fn ask(port: u16, path: &str, host: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    reply
}

#[test]
fn fault_94_the_daemon_answers_on_its_own_name_and_to_no_foreign_page() {
    let mut world = World::new(Booru::builder().posts(20));
    let port = free_port();
    let listen = format!("every = \"1h\"\n[daemon]\nlisten = \"127.0.0.1:{port}\"");
    world.job("seed", &listen);
    let running = start(&world);
    wait_for_runs(&world, JOB, 1);
    let own = format!("127.0.0.1:{port}");
    assert!(ask(port, "/healthz", &own).ends_with("ok\n"));
    let metrics = ask(port, "/metrics", &own);
    for line in [
        "larder_archive_items 20\n",
        "larder_job_state{job=\"all\",state=\"done\",reason=\"\"} 1\n",
        "larder_job_runs_total{job=\"all\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(ask(port, "/status.json", "localhost").contains("\"kind\":\"daemon\""));
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "localhost.evil.example",
    ] {
        for path in ["/metrics", "/status.json", "/healthz"] {
            let reply = ask(port, path, host);
            assert!(reply.starts_with("HTTP/1.1 403 "), "{host}: {reply}");
            assert!(!reply.contains("larder_"), "{reply}");
        }
    }
    let reply = ask(port, "/status.json", &own).to_lowercase();
    assert!(!reply.contains("access-control"), "{reply}");
    // A socket instead, at once.
    let socket = world.archive("face");
    let listen = format!(
        "every = \"1h\"\n[daemon]\nlisten = \"unix:{}\"",
        socket.display()
    );
    world.job("seed", &listen);
    wait_for("the socket", LONG, || socket.exists());
    wait_for("the port to close", LONG, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    end(running);
    assert!(!socket.exists());
}

#[test]
fn programs_are_told_what_happened_and_none_of_the_secrets() {
    let mut world = World::new(Booru::builder().posts(20));
    let told = world.config().with_file_name("told");
    fs::create_dir(&told).expect("ours");
    let script = format!(
        "env > {0}/$LARDER_EVENT.env; cat > {0}/$LARDER_EVENT.new; mv {0}/$LARDER_EVENT.new {0}/$LARDER_EVENT.json",
        told.display()
    );
    let keys = format!(
        "every = \"1h\"\n[[notify]]\non = [\"end\", \"auth\"]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n\
         [[notify]]\non = [\"end\"]\nurl = \"{}/hook/S3CRET\"\n\
         [[notify]]\non = [\"disk\"]\ncommand = [\"/bin/sh\", \"-c\", \"touch {}/never\"]",
        world.booru.url(),
        told.display()
    );
    world.job("seed", &keys);
    let running = start(&world);
    let read = |name: &str| fs::read_to_string(told.join(name)).unwrap_or_default();
    wait_for("the end", LONG, || !read("end.json").is_empty());
    let fact: Value = serde_json::from_str(&read("end.json")).expect("JSON");
    assert_eq!(
        (&fact["event"], &fact["job"], &fact["result"], &fact["new"]),
        (&"end".into(), &JOB.into(), &"done".into(), &20.into())
    );
    let env = read("end.env");
    assert!(
        env.contains("LARDER_JOB=all\n") && env.contains("LARDER_NEW=20\n"),
        "{env}"
    );
    assert!(!env.contains("CARGO"), "{env}");
    let hook = || {
        world
            .booru
            .log()
            .into_iter()
            .find(|asked| asked.path == "/hook/S3CRET")
    };
    wait_for("the hook", LONG, || hook().is_some());
    // The login ends.
    let refused = || Fault::Status(401, vec![], "log in".into());
    world
        .booru
        .script(What::Page, (0..20).map(|_| refused()).collect());
    world.also(
        "more",
        "more",
        &format!("every = \"1h\"\n{}", &keys["every = \"1h\"\n".len()..]),
    );
    let config = fs::read_to_string(world.config()).expect("ours");
    let once = config.replacen(&keys["every = \"1h\"\n".len()..], "", 1);
    fs::write(world.config(), once).expect("ours");
    wait_for("the auth notice", LONG, || {
        read("auth.json").contains("\"auth\"")
    });
    let said = end(running);
    assert!(!said.contains("S3CRET"), "{said}");
    assert!(!told.join("never").exists());
}

#[test]
fn the_unit_names_what_may_be_written_and_the_log_is_json_when_asked_for() {
    let mut world = World::new(Booru::builder().posts(3));
    world.job("seed", "every = \"1h\"");
    let unit = world.larder(&["daemon", "--print-unit"]).expect(0).stdout;
    let archive = world.archive("");
    let archive = archive.to_str().expect("text").trim_end_matches('/');
    assert!(
        unit.contains(&format!("ReadWritePaths={archive}\n")),
        "{unit}"
    );
    assert!(
        unit.contains("Type=notify-reload") && unit.contains("daemon\n"),
        "{unit}"
    );
    assert!(!world.archive("LARDER").exists(), "nothing is made");
    let running = world.spawn(&["--log-format", "json", "daemon"]);
    // It may be told to stop before it has looked: what has ended is told of all the same.
    wait_for_runs(&world, JOB, 1);
    let said = end(running);
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert!(line["timestamp"].is_string(), "{line}");
    }
    assert!(said.contains("Ran `all`"), "{said}");
}
