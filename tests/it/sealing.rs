//! The record log in sealed pieces: nothing that reads it can tell, and a death between any two steps leaves nothing to mend.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use larder::archive::Archive;

use super::{
    site::{Booru, BooruBuilder},
    world::{LONG, World, files_below, text, wait_for},
};

/// So little that each group of a few records is sealed.
const SMALL: &str = "segment = \"4 KiB\"";

fn site() -> BooruBuilder {
    let site = Booru::builder().posts(60);
    let ids = site.ids();
    site.comments(ids[3], 12)
}

fn world() -> World {
    let mut world = World::new(site());
    world.job("seed", "with = [\"comments\"]");
    world
}

fn segments(world: &World) -> Vec<PathBuf> {
    let mut files = files_below(&world.archive("records"));
    files.retain(|path| path.extension().is_some_and(|end| end == "zst"));
    files
}

fn current(world: &World) -> PathBuf {
    world.archive("records/current.jsonl")
}

/// Fails unless every line is there once, in an unbroken row of numbers.
#[track_caller]
fn is_unbroken(world: &World) {
    let numbers: Vec<_> = world.records().iter().map(|r| r["seq"].as_u64()).collect();
    let row: Vec<_> = (1..=numbers.len() as u64).map(Some).collect();
    assert_eq!(numbers, row);
}

#[test]
fn a_sealed_log_reads_as_one_that_is_not() {
    let (plain, sealed) = (world(), world());
    sealed.write(SMALL);
    plain.run(0);
    sealed.run(0);
    assert!(segments(&plain).is_empty());
    assert!(segments(&sealed).len() > 5, "{:?}", segments(&sealed));
    is_unbroken(&sealed);
    assert_eq!(sealed.revisions(), plain.revisions());
    sealed.holds_everything();
    for id in sealed.booru.ids().into_iter().step_by(9) {
        let item = format!("127.0.0.1/post/{id}");
        let out = sealed.larder(&["show", "--json", &item]).expect(0);
        let shown: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
        assert_eq!(text(&shown["id"]), id.to_string());
        assert_eq!(shown, sealed.posts()[&id]);
    }
    // A walk that finds nothing new adds nothing but its own line.
    let before = sealed.records().len();
    sealed.booru.clear_log();
    sealed.run(0);
    assert_eq!(sealed.records().len(), before + 1);
    assert!(sealed.booru.files().is_empty());
    sealed.larder(&["verify"]).expect(0);
}

#[test]
fn segments_are_named_by_their_bytes_and_read_by_any_zstd_tool() {
    let world = world();
    world.write(SMALL);
    world.run(0);
    let mut lines = 0;
    for path in segments(&world) {
        let bytes = fs::read(&path).expect("a segment");
        let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        assert_eq!(
            path.file_name().and_then(|name| name.to_str()),
            Some(&*format!("{name}.jsonl.zst"))
        );
        let tool = Command::new("zstd")
            .args(["-dcq"])
            .arg(&path)
            .stderr(Stdio::inherit())
            .output();
        match tool {
            Ok(out) => {
                assert!(out.status.success());
                assert_eq!(out.stdout, zstd::decode_all(&bytes[..]).expect("zstd"));
                lines += String::from_utf8(out.stdout).expect("text").lines().count();
            }
            // Where the tool is not installed, the library that it is made of has to do.
            Err(_) => lines += zstd::decode_all(&bytes[..]).expect("zstd").len().min(1),
        }
    }
    assert!(lines > 0);
}

/// The log of an archive that is not sealed, and the numbers that its database has committed.
fn unsealed() -> (World, u64, u64) {
    let world = world();
    world.run(0);
    let lines = world.records();
    let bytes = fs::metadata(current(&world)).expect("the log").len();
    (world, bytes, lines.len() as u64)
}

/// Runs on, and fails unless every line that was there is there once, sealed or not, and nothing was asked for again.
fn goes_on(world: &World, sealed: bool, what: &str) {
    let before: BTreeSet<_> = world.revisions();
    let lines = world.records().len();
    world.booru.clear_log();
    world.run(0);
    is_unbroken(world);
    assert_eq!(world.revisions(), before, "{what}");
    assert_eq!(world.records().len(), lines + 1, "{what}");
    assert_eq!(segments(world).len(), usize::from(sealed), "{what}");
    assert!(world.booru.files().is_empty(), "{what}");
    assert!(files_below(&world.archive("staging")).is_empty(), "{what}");
    world.holds_everything();
    world.larder(&["verify"]).expect(0);
    let kept = files_below(&world.archive(""));
    let aside = |path: &PathBuf| path.to_string_lossy().contains("uncommitted");
    assert!(!kept.iter().any(aside), "{what}: {kept:?}");
}

#[test]
fn a_death_while_a_segment_is_compressed_leaves_the_log_as_it_was() {
    let (world, ..) = unsealed();
    fs::write(world.archive("staging/segment"), b"half of one").expect("written");
    goes_on(&world, false, "compressing");
}

#[test]
fn a_death_before_a_segment_is_committed_leaves_it_to_the_next_start() {
    let (world, bytes, seq) = unsealed();
    let archive = Archive::open(&world.archive(""), &[]).expect("an archive");
    archive.make_segment(0, bytes, seq).expect("sealed");
    assert_eq!(segments(&world).len(), 1);
    goes_on_from_the_segment(&world, "renamed");
}

#[test]
fn a_death_after_a_segment_is_committed_leaves_the_copy_to_the_next_start() {
    let (world, bytes, seq) = unsealed();
    let archive = Archive::open(&world.archive(""), &[]).expect("an archive");
    let segment = archive.make_segment(0, bytes, seq).expect("sealed");
    let db = rusqlite::Connection::open(world.archive("larder.db")).expect("a database");
    db.execute(
        "INSERT INTO segments (base, bytes, sha256, last_seq) VALUES (0, ?, ?, ?)",
        (bytes.cast_signed(), segment.digest, seq.cast_signed()),
    )
    .expect("committed");
    drop(db);
    goes_on_from_the_segment(&world, "committed");
}

/// As [`goes_on`], where each line is in a segment and in `current.jsonl` too.
fn goes_on_from_the_segment(world: &World, what: &str) {
    // A reader is right whichever of the two it looks into.
    for id in world.booru.ids().into_iter().step_by(9) {
        let item = format!("127.0.0.1/post/{id}");
        let out = world.larder(&["show", "--json", &item]).expect(0);
        let shown: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
        assert_eq!(text(&shown["id"]), id.to_string(), "{what}");
    }
    let log = fs::read(current(world)).expect("the log");
    world.booru.clear_log();
    world.run(0);
    assert_eq!(segments(world).len(), 1, "{what}");
    let sealed = zstd::decode_all(&fs::read(&segments(world)[0]).expect("there")[..]);
    assert!(sealed.expect("zstd") == log, "{what}");
    let left = fs::read_to_string(current(world)).expect("the run's own line");
    assert_eq!(left.lines().count(), 1, "{what}: {left}");
    is_unbroken(world);
    goes_on(world, true, what);
}

#[test]
fn a_segment_of_another_archive_is_left_alone() {
    let (world, bytes, seq) = unsealed();
    let (other, ..) = unsealed();
    let archive = Archive::open(&other.archive(""), &[]).expect("an archive");
    let segment = archive.make_segment(0, bytes, seq);
    let name = segment.map(|segment| segment.file_name());
    // The other site has another port: its records differ in their addresses.
    if let Ok(name) = name {
        fs::copy(
            other.archive("records").join(&name),
            world.archive("records").join(&name),
        )
        .expect("copied");
    }
    let before = fs::read(current(&world)).expect("the log");
    world.run(0);
    assert!(
        fs::read(current(&world))
            .expect("the log")
            .starts_with(&before)
    );
}

#[test]
fn a_segment_that_is_gone_is_missed_at_the_next_start() {
    let world = world();
    world.write(SMALL);
    world.run(0);
    fs::remove_file(&segments(&world)[2]).expect("a segment");
    world
        .larder(&["verify"])
        .expect(1)
        .says("segment")
        .says("it is gone");
    world.run(78).says("records are missing");
    assert!(world.booru.files().len() == 60, "nothing was asked for");
}

#[test]
fn killed_runs_that_seal_all_the_time_end_with_the_same_archive() {
    let whole = world();
    whole.run(0);
    let revisions = whole.revisions();
    let world = world();
    world.write(SMALL);
    let mut killed = 0;
    // Not so close together that one file is there at three deaths: then it would be held to be their cause.
    for seen in [4, 18, 32, 46] {
        let mut running = world.spawn(&["run"]);
        wait_for("files", LONG, || {
            running.is_over() || world.booru.files().len() >= seen
        });
        killed += usize::from(running.kill().code.is_none());
    }
    assert!(killed > 2, "the kills came too late");
    world.run(0);
    assert!(segments(&world).len() > 5);
    is_unbroken(&world);
    assert_eq!(world.revisions(), revisions);
    world.holds_everything();
}

#[test]
fn a_database_from_before_a_sealing_is_refused_and_left_alone() {
    let world = world();
    world.run(0);
    let old = fs::read(world.archive("larder.db")).expect("a database");
    world.write(SMALL);
    world.booru.add(|_| {});
    world.run(0);
    world.booru.add(|_| {});
    world.run(0);
    assert!(!segments(&world).is_empty());
    fs::write(world.archive("larder.db"), old).expect("a folder of ours");
    let records = world.records();
    world.run(78).says("larder rebuild");
    assert_eq!(world.records(), records);
}
