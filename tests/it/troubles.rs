//! Trouble that is no fault of any file: full disks, limits of the system, a database that somebody else holds, signals.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    harness::{Case, one},
    site::{Booru, Fault, Post, What},
    world::{LONG, Running, World, files_below, wait_for},
};

/// No run of these stories takes this long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

fn world(posts: usize) -> World {
    World::new(Booru::builder().posts(posts))
}

/// Fails unless the job waits for this reason.
#[track_caller]
fn is_paused(world: &World, reason: &str) {
    let job = world.job_status();
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&"paused".into(), &reason.into()),
        "{job}"
    );
}

/// Larder by a shell that sets a limit first.
fn limited(world: &World, limit: &str, args: &[&str]) -> Running {
    let mut shell = Command::new("sh");
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_larder")]);
    world.spawn_by(shell, args, "")
}

#[test]
fn fault_03_a_second_term_signal_ends_it_at_once() {
    let world = world(3);
    world.booru.script(
        What::AnyFile,
        vec![Fault::Stall(Duration::from_secs(60)); 3],
    );
    let mut running = world.spawn(&["run"]);
    wait_for("files", DEADLINE, || world.booru.files_asked() > 0);
    running.terminate();
    wait_for("the first to be heard", DEADLINE, || {
        running.has_said("Stopping")
    });
    let told = Instant::now();
    running.terminate();
    running.wait(DEADLINE).expect(3);
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
    // Nobody is to blame for that end.
    let crashes: i64 = one(
        &database(&world),
        "SELECT coalesce(max(crashes), 0) FROM tasks",
    );
    world.run(0);
    assert_eq!(crashes, 0);
    world.holds_everything();
}

fn database(world: &World) -> Connection {
    Connection::open(world.archive("larder.db")).expect("the database")
}

#[test]
fn fault_10_a_larder_that_slept_goes_on() {
    let mut world = world(12);
    world.network("stall_timeout = \"1s\"\nheader_timeout = \"1s\"");
    world
        .booru
        .script(What::AnyFile, vec![Fault::Stall(Duration::from_secs(4)); 2]);
    let mut running = world.spawn(&["run"]);
    wait_for("files", DEADLINE, || world.booru.files_asked() > 2);
    running.signal(rustix::process::Signal::STOP);
    // Longer than any of its sockets would wait.
    let until = Instant::now() + Duration::from_secs(3);
    wait_for("the time to wake", DEADLINE, || Instant::now() >= until);
    running.signal(rustix::process::Signal::CONT);
    running.wait(DEADLINE).expect(0);
    world.holds_everything();
    assert!(world.booru.files_asked() > 12, "nothing had timed out");
}

#[test]
fn fault_11_another_state_folder_is_no_way_into_an_archive_in_use() {
    let world = world(3);
    world
        .booru
        .script(What::Page, vec![Fault::Stall(Duration::from_secs(4))]);
    let mut running = world.spawn(&["run"]);
    wait_for("the first page", LONG, || !world.booru.log().is_empty());
    let config = fs::read_to_string(world.config()).expect("ours");
    let other = config.replace("[archive]\n", "[archive]\nstate = \"elsewhere\"\n");
    fs::write(world.beside("other.toml"), other).expect("ours");
    let path = world.beside("other.toml");
    let mut second = Command::new(env!("CARGO_BIN_EXE_larder"));
    let second = second
        .arg("-c")
        .arg(&path)
        .arg("run")
        .output()
        .expect("larder");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(said.contains(&format!("pid {}", running.pid())), "{said}");
    running.wait(DEADLINE).expect(0);
    world.holds_everything();
}

#[cfg(debug_assertions)]
mod rooms {
    use super::*;

    /// Free bytes and files that the disk is said to have, and a way to change it.
    struct Room<'a>(&'a World);

    impl Room<'_> {
        fn is(&self, free: u64, files: u64) {
            let text = format!("{free} {} {files} 1000000", 1_u64 << 40);
            fs::write(self.0.beside("room.new"), text).expect("ours");
            fs::rename(self.0.beside("room.new"), self.0.beside("room")).expect("ours");
        }

        fn rule(&self) -> String {
            format!("room={}", self.0.beside("room").display())
        }
    }

    /// A time some hours from now, whatever the time is.
    fn later() -> String {
        let now = jiff::Zoned::now();
        let until = now.checked_add(jiff::Span::new().hours(5)).expect("a time");
        until.strftime("%H:%M").to_string()
    }

    #[test]
    fn fault_12_a_run_with_time_left_waits_for_room_and_goes_on() {
        let world = world(40);
        world.write("min_free = \"1 MiB\"");
        let slow = Fault::Forever(Box::new(Fault::Stall(Duration::from_millis(150))));
        world.booru.script(What::AnyFile, vec![slow]);
        let room = Room(&world);
        room.is(3 << 20, 500_000);
        let mut running = world.spawn_with(&["run", "--until", &later()], &room.rule());
        wait_for("some files", DEADLINE, || world.booru.files_asked() >= 5);
        room.is(0, 500_000);
        wait_for("the pause", DEADLINE, || {
            world.job_status()["reason"] == "disk_full"
        });
        is_paused(&world, "disk_full");
        assert!(!running.is_over() && world.booru.files_asked() < 40);
        // Twice the mark and more.
        room.is(3 << 20, 500_000);
        running.wait(DEADLINE).expect(0);
        world.holds_everything();
        assert!(world.job_status()["reason"].is_null());
    }

    #[test]
    fn fault_12_a_run_with_time_left_goes_on_after_a_full_moment() {
        for faults in [
            "enospc@write:6~staging",
            // With the ballast gone there is no room either.
            "enospc@write:3~current.jsonl;enospc@write:4~current.jsonl",
            "enospc@commit:9",
        ] {
            let case = Case::new(20);
            let faults = format!("{};{faults}", case.tracing());
            let args = ["-q", "run", "--until", &later()];
            let out = case
                .world
                .spawn_with(&args, &faults)
                .wait(DEADLINE)
                .expect(1);
            assert!(out.text().contains("waits"), "{faults}: {}", out.text());
            assert_eq!(case.is_whole(), Ok(()), "{faults}");
        }
    }

    #[test]
    fn fault_12_a_run_without_an_end_says_why_it_ends() {
        let world = world(3);
        let room = Room(&world);
        room.is((1 << 30) - 1, 500_000);
        let out = world.spawn_with(&["run"], &room.rule()).wait(DEADLINE);
        out.expect(3).says("paused (disk_full)").says("make room");
        is_paused(&world, "disk_full");
        world.run(0);
        world.holds_everything();
    }

    #[test]
    fn fault_14_a_disk_without_inodes_is_not_called_full() {
        let world = world(3);
        let room = Room(&world);
        room.is(1 << 39, 9_999);
        let out = world.spawn_with(&["run"], &room.rule()).wait(DEADLINE);
        out.expect(3).says("paused (inodes)");
        is_paused(&world, "inodes");
        assert_eq!(world.booru.log().len(), 0);
        world.run(0);
        world.holds_everything();
    }

    #[test]
    fn fault_14_the_last_inode_goes_while_files_come() {
        // The disk says so only when it is asked why: at the start there was room.
        let world = world(6);
        let room = Room(&world);
        room.is(1 << 39, 500_000);
        let faults = format!("{};enospc@create:4+~staging", room.rule());
        world.booru.script(
            What::AnyFile,
            vec![Fault::Ok, Fault::Stall(Duration::from_millis(1500))],
        );
        let mut running = world.spawn_with(&["run"], &faults);
        wait_for("a file", DEADLINE, || world.booru.files_asked() > 0);
        room.is(1 << 39, 0);
        running.wait(DEADLINE).expect(3).says("paused (inodes)");
        world.run(0);
        world.holds_everything();
    }
}

#[cfg(debug_assertions)]
#[test]
fn fault_13_ballast_is_thrown_off_for_the_database_and_taken_up_again() {
    let case = Case::new(20);
    let world = &case.world;
    let out = case.run("enospc@commit:6");
    out.expect(3);
    assert!(!world.archive("ballast").exists());
    is_paused(world, "disk_full");
    assert_eq!(case.claims_hold(), Ok(()));
    assert_eq!(case.finish(), Ok(()));
    assert_eq!(case.is_whole(), Ok(()));
    assert!(world.archive("ballast").exists());
}

#[test]
fn fault_15_a_file_larger_than_the_system_allows_fails_alone() {
    let large = |post: &mut Post| {
        let mut body = post.body().to_vec();
        body.resize(6 << 20, 0x5a);
        let ext = post.ext.clone();
        post.set_body(&ext, body);
    };
    let world = World::new(Booru::builder().posts(5).post(large));
    // 4 MiB, in blocks of 512 bytes.
    let mut running = limited(&world, "ulimit -f 8192", &["run"]);
    running.wait(DEADLINE).expect(1);
    assert_eq!(world.classes(), ["too_large"]);
    assert_eq!(files_below(&world.archive("objects")).len(), 5);
    world.larder(&["retry", "--class", "too_large"]).expect(0);
    world.run(0);
    world.holds_everything();
}

/// A run with these faults pauses its job for this reason, and the next one ends it.
#[cfg(debug_assertions)]
#[track_caller]
fn pauses_and_goes_on(faults: &str, reason: &str) {
    let case = Case::new(20);
    case.run(faults).expect(3);
    is_paused(&case.world, reason);
    assert_eq!(case.claims_hold(), Ok(()));
    assert_eq!(case.finish(), Ok(()));
    assert_eq!(case.is_whole(), Ok(()));
}

#[cfg(debug_assertions)]
#[test]
fn fault_16_a_read_only_archive_pauses_the_job() {
    pauses_and_goes_on("erofs@create:6+~staging", "read_only");
}

#[cfg(debug_assertions)]
#[test]
fn fault_17_a_disk_that_fails_three_times_in_a_row_pauses_the_job() {
    pauses_and_goes_on("eio@write:6+~staging", "storage");
}

#[test]
fn fault_19_a_process_with_few_descriptors_gets_all_files() {
    let world = world(60);
    // More connections than descriptors come and go with each look at the database.
    let config = fs::read_to_string(world.config()).expect("ours");
    let config = config.replace("connections = 4", "connections = 16");
    fs::write(world.config(), config).expect("ours");
    let slow = Fault::Forever(Box::new(Fault::Stall(Duration::from_millis(50))));
    world.booru.script(What::AnyFile, vec![slow]);
    // From too few to start with, a few more each time: so there is one time when there are just too few to go on with.
    let mut wanted = false;
    for descriptors in (12..112).step_by(4) {
        let limit = format!("ulimit -n {descriptors}");
        let out = limited(&world, &limit, &["-v", "run"]).wait(DEADLINE);
        wanted |= out.text().contains("descriptor left");
        if out.code == Some(0) {
            break;
        }
        let code = out.code;
        assert!(
            matches!(code, Some(3 | 1)),
            "{limit}: {code:?} {}",
            out.text()
        );
    }
    assert!(wanted, "there were always enough, or never");
    world.holds_everything();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
}

#[cfg(debug_assertions)]
#[test]
fn fault_24_a_slow_disk_holds_the_downloads_up() {
    let world = World::in_memory(Booru::builder().posts(150));
    let trace = world.beside("trace");
    let faults = format!("trace={};wait60@sync~staging", trace.display());
    let mut running = world.spawn_with(&["run"], &faults);
    let (mut most, mut looks) = (0, 0);
    wait_for("the end", DEADLINE, || {
        // In this order: what is stored between the two is no more than what is under way.
        let asked = world.booru.files_asked();
        let stored = fs::read_to_string(&trace).unwrap_or_default();
        let stored = stored
            .lines()
            .filter(|line| line.starts_with("rename\t"))
            .count();
        most = most.max(asked.saturating_sub(stored));
        looks += 1;
        running.is_over()
    });
    running.wait(DEADLINE).expect(0);
    world.holds_everything();
    // Connections, files being stored, and what was asked for before it was written.
    assert!(most <= 4 + 16 + 8 && looks > 10, "{most} in {looks} looks");
}

/// Time that a process has used the processor for.
fn used(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn fault_25_a_database_that_somebody_else_holds_is_waited_for() {
    let world = world(40);
    let mut running = world.spawn(&["-v", "run"]);
    wait_for("some files", DEADLINE, || world.booru.files_asked() >= 10);
    let other = database(&world);
    other.busy_timeout(Duration::from_secs(30)).expect("set");
    other.execute_batch("BEGIN EXCLUSIVE").expect("held");
    let before = used(running.pid());
    wait_for("the reason", DEADLINE, || {
        let job = world.job_status();
        (&job["state"], &job["reason"]) == (&"waiting".into(), &"db_busy".into())
    });
    let spent = used(running.pid()).saturating_sub(before);
    assert!(spent < Duration::from_secs(2), "it spins: {spent:?}");
    other.execute_batch("COMMIT").expect("let go");
    running.wait(DEADLINE).expect(0);
    world.holds_everything();
    assert_eq!(
        world.booru.files_asked(),
        world.objects().len(),
        "nothing was done twice"
    );
    assert!(world.status()["holder"].is_null());
}

#[test]
fn fault_25_a_stop_does_not_wait_for_a_database_that_somebody_else_holds() {
    let world = world(40);
    let mut running = world.spawn(&["-v", "run"]);
    wait_for("some files", DEADLINE, || world.booru.files_asked() >= 10);
    let other = database(&world);
    other.busy_timeout(Duration::from_secs(30)).expect("set");
    other.execute_batch("BEGIN EXCLUSIVE").expect("held");
    let told = Instant::now();
    running.terminate();
    let out = running.wait(DEADLINE);
    assert_eq!(out.code, Some(3), "{}", out.text());
    assert!(
        told.elapsed() < Duration::from_secs(25),
        "{:?}",
        told.elapsed()
    );
    other.execute_batch("COMMIT").expect("let go");
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_20_a_machine_without_free_ports_is_waited_for() {
    let strace = Command::new("strace").arg("-V").output();
    if !strace.is_ok_and(|out| out.status.success()) {
        println!("strace is not there: nothing was confirmed");
        return;
    }
    let world = world(12);
    let calls = world.beside("calls");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "trace=connect", "-o"])
        .arg(&calls);
    strace.args(["-e", "inject=connect:error=EADDRNOTAVAIL:when=1..2"]);
    strace.arg(env!("CARGO_BIN_EXE_larder"));
    let out = world.spawn_by(strace, &["run"], "").wait(DEADLINE);
    let calls = fs::read_to_string(calls).unwrap_or_default();
    if !calls.contains("connect(") {
        println!("strace may not trace here: nothing was confirmed");
        return;
    }
    out.expect(0);
    assert!(calls.contains("(INJECTED)"), "{calls}");
    // Connections are kept: far fewer than requests.
    let made = calls
        .lines()
        .filter(|line| line.contains("connect(") && !line.contains("INJECTED"));
    assert!(made.count() < world.booru.log().len(), "{calls}");
    world.holds_everything();
}
