//! Deaths of larder at any moment, and archives that are not what they should be.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    site::{Booru, BooruBuilder, Fault, Post, What},
    world::{LONG, World, files_below, wait_for},
};

/// What a lane may have under way or claimed: 4 connections, and 4 files ahead for each.
const UNDER_WAY: usize = 4 + 16;

/// A site with duplicates, a deleted post, comments and pools.
fn site() -> BooruBuilder {
    let mut first: Option<Post> = None;
    let mut nth = 0;
    let site = Booru::builder().posts(120).each(|post| {
        nth += 1;
        match &first {
            None => first = Some(post.clone()),
            Some(first) if nth % 10 == 0 => post.set_body(&first.ext, first.body().to_vec()),
            Some(_) if nth % 35 == 0 => post.delete(),
            Some(_) => {}
        }
    });
    let ids = site.ids();
    site.comments(ids[3], 30)
        .comments(ids[50], 2)
        .notes(ids[60], 2)
        .pool(4, "four", &ids[20..30])
}

fn world() -> World {
    let mut world = World::new(site());
    world.job("seed", "with = [\"comments\", \"notes\"]");
    world
}

#[test]
fn a_run_that_is_killed_and_run_again_ends_with_the_same_archive() {
    let whole = world();
    whole.run(0);
    whole.holds_everything();
    let (revisions, objects) = (whole.revisions(), whole.objects());
    let files = whole.booru.files().len();
    for kills in [vec![1], vec![55], vec![20, 40, 60, 80, 100]] {
        let world = world();
        let mut killed = 0;
        for seen in &kills {
            let mut running = world.spawn(&["run"]);
            wait_for("files", LONG, || {
                running.is_over() || world.booru.files().len() >= *seen
            });
            killed += usize::from(running.kill().code.is_none());
        }
        assert!(killed > 0, "{kills:?} came too late");
        world.run(0);
        world.holds_everything();
        assert_eq!(world.revisions(), revisions, "{kills:?}");
        assert_eq!(world.objects(), objects, "{kills:?}");
        assert!(
            files_below(&world.archive("staging")).is_empty(),
            "{kills:?}"
        );
        let again = world.booru.files().len() - files;
        assert!(
            again <= killed * UNDER_WAY,
            "{kills:?}: {again} files were asked for again"
        );
        let lines = world.lines("post", "item").len() + world.lines("post", "gone").len();
        assert_eq!(
            lines,
            whole.lines("post", "item").len() + whole.lines("post", "gone").len()
        );
        world.larder(&["verify"]).expect(0);
    }
}

#[test]
fn a_larder_that_dies_while_it_starts_leaves_nothing_to_mend() {
    let world = world();
    for nth in 0..16 {
        let running = world.spawn(&["run"]);
        let until = Instant::now() + Duration::from_micros(3000 * nth);
        wait_for("the moment to kill", LONG, || Instant::now() >= until);
        running.kill();
    }
    world.run(0);
    world.holds_everything();
}

#[test]
fn a_database_that_was_only_begun_is_no_obstacle() {
    let world = world();
    fs::create_dir_all(world.archive("")).expect("a folder of ours");
    // What is there between the opening of a new database and its first transaction.
    fs::write(world.archive("larder.db"), "").expect("a folder of ours");
    world.status();
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_03_a_term_signal_ends_a_run_soon_and_the_next_goes_on() {
    let world = world();
    let slow = Fault::Forever(Box::new(Fault::Stall(Duration::from_millis(30))));
    world.booru.script(What::AnyFile, vec![slow]);
    let mut running = world.spawn(&["run"]);
    wait_for("files", LONG, || world.booru.files().len() >= 20);
    let told = Instant::now();
    running.terminate();
    running.wait(LONG).expect(3).says("larder run");
    assert!(told.elapsed() < Duration::from_secs(10));
    assert!(files_below(&world.archive("staging")).is_empty());
    let files = world.booru.files().len();
    assert!(files < 60, "it did not stop");
    assert_eq!(world.job_status()["state"], "queued");
    world.run(0);
    world.holds_everything();
    let unique = world.objects().len();
    assert_eq!(
        world.booru.files().len(),
        unique,
        "what was under way is finished, not asked for again"
    );
}

#[test]
fn fault_03_a_term_signal_does_not_wait_for_a_site_that_is_silent() {
    let world = world();
    world
        .booru
        .script(What::AnyFile, vec![Fault::Stall(Duration::from_secs(25))]);
    let mut running = world.spawn(&["run"]);
    wait_for("files", LONG, || !world.booru.files().is_empty());
    let told = Instant::now();
    running.terminate();
    running.wait(LONG).expect(3);
    assert!(
        told.elapsed() < Duration::from_millis(10_500),
        "{:?}",
        told.elapsed()
    );
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_11_a_second_larder_is_told_who_is_at_work() {
    let world = world();
    world
        .booru
        .script(What::Page, vec![Fault::Stall(Duration::from_secs(3))]);
    let mut running = world.spawn(&["run"]);
    wait_for("the first page", LONG, || !world.booru.log().is_empty());
    world
        .larder(&["run"])
        .expect(75)
        .says(&format!("pid {}", running.pid()));
    let status = world.status();
    assert_eq!(status["holder"]["pid"], running.pid());
    assert_eq!(status["jobs"][0]["state"], "running");
    running.wait(LONG).expect(0);
    world.holds_everything();
    assert!(world.status()["holder"].is_null());
}

/// Objects, records and identity, byte for byte.
fn snapshot(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files_below(&world.archive("objects"));
    files.extend(files_below(&world.archive("records")));
    files.push(world.archive("LARDER"));
    files
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect()
}

#[test]
fn fault_27_an_archive_without_its_database_is_refused_and_left_as_it_is() {
    let world = world();
    world.run(0);
    let before = snapshot(&world);
    for file in ["larder.db", "larder.db-wal", "larder.db-shm"] {
        fs::remove_file(world.archive(file)).ok();
    }
    world.booru.clear_log();
    for _ in 0..2 {
        world.run(78).says("larder.db").says("is gone");
        assert_eq!(snapshot(&world), before);
        assert!(!world.archive("larder.db").exists() && world.booru.log().is_empty());
    }
}

#[test]
fn fault_23_another_archive_in_its_place_is_refused() {
    let (world, other) = (world(), world());
    world.run(0);
    other.run(0);
    let own = fs::read(world.archive("LARDER")).expect("an identity");
    fs::copy(other.archive("LARDER"), world.archive("LARDER")).expect("a folder of ours");
    let before = snapshot(&world);
    world.booru.clear_log();
    world.run(78).says("is the right disk mounted?");
    assert_eq!(snapshot(&world), before);
    assert!(world.booru.log().is_empty());
    fs::write(world.archive("LARDER"), own).expect("a folder of ours");
    world.run(0);
}

#[test]
fn fault_21_an_empty_mount_point_is_not_the_archive() {
    let world = world();
    world.write("id = \"0b9f6a520b9f6a520b9f6a520b9f6a52\"");
    world.run(78).says("is its disk mounted?");
    assert!(files_below(&world.archive("")).is_empty() && world.booru.log().is_empty());
}

#[test]
fn records_that_were_cut_off_are_refused() {
    let world = world();
    world.run(0);
    let log = world.archive("records/current.jsonl");
    let bytes = fs::read(&log).expect("the log");
    fs::write(&log, &bytes[..bytes.len() / 2]).expect("a folder of ours");
    world.run(78).says("records are missing");
    fs::write(&log, [&bytes[..], b"{\"half a li"].concat()).expect("a folder of ours");
    world.run(0);
    assert_eq!(fs::read(&log).expect("the log")[..bytes.len()], bytes);
    world.holds_everything();
}

#[test]
fn a_status_read_while_a_run_is_under_way_disturbs_nobody() {
    let world = world();
    let mut running = world.spawn(&["run"]);
    let mut looks = 0;
    while !running.is_over() {
        world.status();
        world.failures();
        looks += 1;
        thread::yield_now();
    }
    running.wait(LONG).expect(0);
    assert!(looks > 1);
    world.holds_everything();
}
