//! larder.db lost, damaged or old: what is refused, and what is made anew from objects and records.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use serde_json::Value;

use super::{
    site::{Booru, Fault, Post, What},
    world::{LONG, World, files_below, text, wait_for},
};

/// A site with all that records tell apart: duplicates, comments, a deleted post, one that was edited, one whose file is
/// never there. Archived, with a log that is sealed in part.
fn archived() -> World {
    let mut first: Option<Post> = None;
    let site = Booru::builder().posts(40).each(|post| match &first {
        None => first = Some(post.clone()),
        Some(first) if post.id.is_multiple_of(10) => {
            post.set_body(&first.ext, first.body().to_vec());
        }
        Some(_) => {}
    });
    let ids = site.ids();
    let mut world = World::new(site.comments(ids[3], 5));
    world.job("seed", "with = [\"comments\"]");
    world.write("segment = \"64 KiB\"");
    let gone = Fault::Status(404, vec![], "<html>not here</html>".to_owned());
    let gone = vec![Fault::Forever(Box::new(gone))];
    world.booru.script(What::File(ids[7]), gone);
    world.run(1);
    world.booru.edit(ids[5], |post| {
        let body = [post.body(), b"more"].concat();
        post.set_body("png", body);
    });
    world.booru.edit(ids[6], |post| post.retag("seed other"));
    world.booru.edit(ids[8], Post::delete);
    world.run(1);
    world.booru.edit(ids[8], Post::restore);
    world.booru.edit(ids[9], Post::delete);
    world.run(1);
    assert_eq!(world.lines("post", "gone").len(), 2);
    assert_eq!(world.lines("post", "back").len(), 1);
    assert!(
        files_below(&world.archive("records")).len() > 1,
        "sealed in part"
    );
    world.booru.clear_log();
    world
}

fn remove_database(world: &World) {
    for file in ["larder.db", "larder.db-wal", "larder.db-shm"] {
        fs::remove_file(world.archive(file)).ok();
    }
}

fn before_rebuild(world: &World) -> PathBuf {
    world.archive("larder.db.before-rebuild.0")
}

/// Job, item, whether the item has left the job, whether no run has met it.
type Member = (String, String, bool, bool);

/// Who belongs to which job, and whether it has left it.
fn members(world: &World) -> Vec<Member> {
    let db = rusqlite::Connection::open(world.archive("larder.db")).expect("a database");
    let sql = "SELECT j.name, i.kind || '/' || i.ident, m.left IS NOT NULL, m.run IS NULL
               FROM members m JOIN jobs j ON j.id = m.job JOIN items i ON i.id = m.item ORDER BY 1, 2";
    let mut select = db.prepare(sql).expect("tables");
    let rows = select.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// What a rebuild has to bring back: the archive in numbers, who belongs to which job, and what is said of items.
fn known(world: &World) -> (Value, Vec<Member>, Vec<String>) {
    let mut archive = world.status()["archive"].clone();
    archive.as_object_mut().expect("an object").remove("path");
    let shown = world.booru.ids().into_iter().skip(4).take(7).map(|id| {
        let item = format!("127.0.0.1/post/{id}");
        world.larder(&["show", &item]).expect(0).stdout
    });
    (archive, members(world), shown.collect())
}

/// Fails unless the next run finds everything where it was and asks for no file but the one that is not there.
#[track_caller]
fn goes_on(world: &World) {
    let (revisions, objects) = (world.revisions(), world.objects());
    world.booru.clear_log();
    world.run(1);
    let missing = world.booru.ids()[7];
    let truths = world.booru.truth();
    let truth = truths.iter().find(|truth| truth.id == missing);
    let asked = world.booru.files();
    assert!(
        !asked.is_empty(),
        "what was missing is tried again, as before"
    );
    for file in asked {
        assert_eq!(file.md5(), truth.map(|truth| &*truth.md5), "{file:?}");
    }
    assert_eq!(world.revisions(), revisions);
    assert_eq!(world.objects(), objects);
    assert_eq!(world.classes(), ["http_404"]);
    world.larder(&["verify"]).expect(0);
}

#[test]
fn fault_27_a_lost_database_is_refused_and_made_anew() {
    let world = archived();
    let before = known(&world);
    remove_database(&world);
    world.run(78).says("is gone").says("larder rebuild");
    world.larder(&["verify"]).expect(1).says("larder rebuild");
    world.larder(&["gc"]).expect(1);
    world.larder(&["gc", "--apply"]).expect(78);
    assert!(!world.archive("larder.db").exists() && world.booru.log().is_empty());
    world.larder(&["rebuild"]).expect(0).says("made anew");
    assert_eq!(known(&world), before);
    assert!(world.booru.log().is_empty(), "a rebuild asks nobody");
    assert!(!before_rebuild(&world).exists());
    goes_on(&world);
}

#[test]
fn fault_26_a_damaged_database_is_refused_and_made_anew() {
    let world = archived();
    let before = known(&world);
    let path = world.archive("larder.db");
    let length = fs::metadata(&path).expect("a database").len();
    let file = File::options().write(true).open(&path).expect("a database");
    let mut rng = fastrand::Rng::with_seed(26);
    for page in 1..length / 4096 {
        let mut noise = [0; 4096];
        rng.fill(&mut noise);
        file.write_all_at(&noise, page * 4096).expect("written");
    }
    drop(file);
    for file in ["larder.db-wal", "larder.db-shm"] {
        fs::remove_file(world.archive(file)).ok();
    }
    let damaged = fs::read(&path).expect("there");
    world.run(78).says("larder rebuild");
    let out = world.larder(&["verify"]).expect(1);
    assert!(out.stdout.starts_with("database") || out.text().contains("database"));
    assert!(
        fs::read(&path).expect("there") == damaged,
        "nothing was written"
    );
    world.larder(&["rebuild"]).expect(0).says("before-rebuild");
    assert!(fs::read(before_rebuild(&world)).expect("kept") == damaged);
    assert_eq!(known(&world), before);
    goes_on(&world);
}

#[test]
fn fault_26_one_damaged_page_is_found_by_verify_and_mended_by_rebuild() {
    let world = archived();
    let before = known(&world);
    let path = world.archive("larder.db");
    let whole = fs::read(&path).expect("a database");
    let pages = whole.len() / 4096;
    let mut rng = fastrand::Rng::with_seed(27);
    let mut found = 0;
    for _ in 0..4 {
        let mut damaged = whole.clone();
        let page = rng.usize(1..pages);
        rng.fill(&mut damaged[page * 4096..(page + 1) * 4096]);
        fs::write(&path, &damaged).expect("written");
        let check = rusqlite::Connection::open(&path).expect("opens");
        let said = check.query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0));
        drop(check);
        if said.is_ok_and(|said| said == "ok") {
            // A page that nothing uses.
            continue;
        }
        found += 1;
        world.larder(&["verify"]).expect(1).says("larder rebuild");
        world.larder(&["rebuild"]).expect(0);
        assert_eq!(known(&world), before, "page {page}");
    }
    assert!(found > 0, "the damage was not where it hurts");
    goes_on(&world);
}

#[test]
fn fault_28_what_an_old_copy_of_the_database_does_not_know_is_taken_over() {
    let world = World::new(Booru::builder().posts(6));
    world.run(0);
    let old = fs::read(world.archive("larder.db")).expect("a database");
    for _ in 0..4 {
        world.booru.add(|_| {});
    }
    world.run(0);
    remove_database(&world);
    fs::write(world.archive("larder.db"), old).expect("a folder of ours");
    assert_eq!(world.status()["archive"]["objects"], 6, "an old copy");
    world.booru.clear_log();
    let out = world.larder(&["verify"]).expect(0);
    assert!(
        out.text().contains("4 of them are not in the database"),
        "{}",
        out.text()
    );
    // Old enough by themselves, they have been seen just now.
    for path in files_below(&world.archive("objects")) {
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .expect("ours");
        let file = File::options().write(true).open(&path).expect("an object");
        file.set_modified(old).expect("set");
    }
    for _ in 0..2 {
        world
            .larder(&["gc", "--apply"])
            .expect(0)
            .says("0 objects removed");
    }
    assert_eq!(world.objects().len(), 10);
    world
        .larder(&["verify", "--repair"])
        .expect(0)
        .says("4 of them were not in the database, and are now");
    assert_eq!(world.status()["archive"]["objects"], 10);
    world.run(0);
    assert!(world.booru.files().is_empty(), "every byte is held");
    world.holds_everything();
    world
        .larder(&["gc"])
        .expect(0)
        .says("Nothing is superfluous");
}

#[test]
fn a_rebuild_that_is_killed_changes_nothing_and_can_be_called_again() {
    let world = archived();
    let before = known(&world);
    let whole = fs::read(world.archive("larder.db")).expect("a database");
    let mut killed = 0;
    for nth in 0..6 {
        let mut running = world.spawn(&["rebuild", "--force"]);
        let new = world.archive("larder.db.new");
        wait_for("the new database", LONG, || {
            running.is_over() || new.exists()
        });
        let until = std::time::Instant::now() + std::time::Duration::from_millis(6 * nth);
        wait_for("the moment to kill", LONG, || {
            std::time::Instant::now() >= until
        });
        killed += u32::from(running.kill().code.is_none());
        if !world.archive("larder.db").exists() {
            // Between the two renames.
            world.run(78).says("larder rebuild");
        }
    }
    assert!(killed > 0, "every kill came too late");
    let found = fs::read(world.archive("larder.db")).unwrap_or_default();
    if found == whole {
        world.larder(&["rebuild"]).expect(2);
    }
    world.larder(&["rebuild", "--force"]).expect(0);
    assert_eq!(known(&world), before);
    assert!(!world.archive("larder.db.new").exists());
    goes_on(&world);
}

#[test]
fn a_whole_database_is_made_anew_only_when_it_must_be() {
    let world = archived();
    let before = known(&world);
    world.larder(&["rebuild"]).expect(2).says("--force");
    world
        .larder(&["rebuild", "--force"])
        .expect(0)
        .says("before-rebuild.0");
    world
        .larder(&["rebuild", "--force"])
        .expect(0)
        .says("before-rebuild.1");
    assert_eq!(known(&world), before);
    goes_on(&world);
    // The old one is a database like any other.
    let old = rusqlite::Connection::open(before_rebuild(&world)).expect("opens");
    let runs: i64 = old
        .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(runs, 3);
}

#[test]
fn who_has_left_a_job_has_left_it_after_a_rebuild_too() {
    let world = World::new(Booru::builder().posts(6));
    world.run(0);
    let gone = world.booru.ids()[2];
    world.booru.edit(gone, |post| post.retag("other"));
    world.run(0);
    let before = members(&world);
    let left = before.iter().filter(|(_, _, left, _)| *left);
    assert_eq!(
        left.map(|(_, item, ..)| item.clone()).collect::<Vec<_>>(),
        [format!("post/{gone}")]
    );
    remove_database(&world);
    world.larder(&["rebuild"]).expect(0);
    assert_eq!(members(&world), before);
    let status = world.job_status();
    assert_eq!(
        (&status["state"], &status["site"]),
        (&"idle".into(), &"booru".into())
    );
    let lines = world.records().len();
    world.run(0);
    assert_eq!(
        world.records().len(),
        lines + 1,
        "nobody joins or leaves by it"
    );
    assert_eq!(members(&world), before);
}

#[test]
fn jobs_that_larder_add_keeps_are_taken_over_from_a_database_that_still_knows_them() {
    let world = World::new(Booru::builder().posts(3));
    world.run(0);
    let address = format!("{}/post?tags=odd", world.booru.url());
    world.larder(&["add", &address, "--name", "odds"]).expect(0);
    world.larder(&["rebuild", "--force"]).expect(0);
    let status = world.status();
    let jobs = status["jobs"].as_array().expect("a list");
    assert!(
        jobs.iter()
            .any(|job| job["name"] == "odds" && job["added"] == true)
    );
    remove_database(&world);
    world.larder(&["rebuild"]).expect(0).says("add them again");
}

#[test]
fn an_archive_that_is_not_there_is_not_rebuilt() {
    let world = World::new(Booru::builder().posts(2));
    world.larder(&["rebuild"]).expect(78).says("larder run");
    assert!(!world.archive("").exists());
}

#[test]
fn a_torn_last_line_is_left_to_the_next_start() {
    let world = archived();
    let before = known(&world);
    remove_database(&world);
    let log = world.archive("records/current.jsonl");
    let whole = fs::read(&log).expect("the log");
    fs::write(&log, [&whole[..], b"{\"v\":1,\"type\":\"it"].concat()).expect("written");
    world.larder(&["rebuild"]).expect(0);
    assert_eq!(known(&world), before);
    world.run(1);
    assert!(fs::read(&log).expect("the log").starts_with(&whole));
    goes_on(&world);
}

#[test]
fn damaged_and_lost_records_are_named_and_the_rest_is_kept() {
    let world = archived();
    let lines = world.records().len();
    remove_database(&world);
    let log = world.archive("records/current.jsonl");
    let text = fs::read_to_string(&log).expect("the log");
    let mut kept: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(kept.len() > 4, "{}", kept.len());
    kept.remove(2);
    kept[1].insert(9, '\u{7}');
    fs::write(&log, kept.join("\n") + "\n").expect("written");
    let mut segments = files_below(&world.archive("records"));
    segments.retain(|path| path.extension().is_some_and(|end| end == "zst"));
    segments.sort_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    let lost = zstd::decode_all(&fs::read(&segments[0]).expect("there")[..]).expect("zstd");
    let lost = String::from_utf8(lost).expect("text").lines().count();
    fs::remove_file(&segments[0]).expect("there");
    let out = world.larder(&["rebuild"]).expect(1);
    assert!(
        out.text().contains("of the record log are missing"),
        "{}",
        out.text()
    );
    assert!(out.text().contains("is no record"), "{}", out.text());
    let status = world.status();
    assert_eq!(status["archive"]["records"], lines - lost - 2);
    // What no record names any more is still held, and found by its md5.
    world.booru.clear_log();
    world.run(1);
    let missing = world.booru.ids()[7];
    let truths = world.booru.truth();
    let md5 = &truths
        .iter()
        .find(|truth| truth.id == missing)
        .expect("a post")
        .md5;
    assert!(
        world
            .booru
            .files()
            .iter()
            .all(|file| file.md5() == Some(md5))
    );
    for truth in truths.iter().filter(|t| !t.deleted && t.id != missing) {
        assert_eq!(
            super::world::text(&world_post(&world, truth.id)["files"][0]["sha256"]),
            truth.sha256
        );
    }
}

/// The newest record of a post as `show` has it.
fn world_post(world: &World, id: u64) -> Value {
    let item = format!("127.0.0.1/post/{id}");
    let out = world.larder(&["show", "--json", &item]).expect(0);
    let record: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(text(&record["id"]), id.to_string());
    record
}

#[test]
fn objects_that_are_missing_or_cut_are_damage_after_a_rebuild() {
    let world = archived();
    let truths = world.booru.truth();
    let place = |name: &str| world.archive("objects").join(&name[..3]).join(name);
    fs::remove_file(place(&truths[1].sha256)).expect("an object");
    let cut = place(&truths[2].sha256);
    fs::set_permissions(&cut, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    fs::write(&cut, b"").expect("written");
    remove_database(&world);
    world.larder(&["rebuild"]).expect(1).says("verify --repair");
    assert_eq!(world.status()["archive"]["damaged"], 2);
    world.booru.clear_log();
    world.larder(&["verify", "--repair"]).expect(0);
    assert_eq!(world.booru.files().len(), 2);
    goes_on(&world);
}

#[test]
fn the_database_may_be_on_another_disk() {
    let world = World::new(Booru::builder().posts(4));
    world.write("state = \"state\"");
    world.run(0);
    let state = world.config().with_file_name("state");
    fs::remove_file(state.join("larder.db")).expect("a database");
    world.larder(&["rebuild"]).expect(0);
    world.booru.clear_log();
    world.run(0);
    assert!(world.booru.files().is_empty());
    world.holds_everything();
}

#[test]
fn an_interrupted_run_is_walked_again_and_nothing_is_fetched_twice() {
    let world = World::new(Booru::builder().posts(60));
    let mut running = world.spawn(&["run"]);
    wait_for("files", LONG, || {
        running.is_over() || world.booru.files().len() > 30
    });
    running.terminate();
    running.wait(LONG).expect(3);
    let held = world.objects().len();
    remove_database(&world);
    world.larder(&["rebuild"]).expect(0);
    world.booru.clear_log();
    world.run(0);
    assert_eq!(world.booru.files().len(), 60 - held);
    world.holds_everything();
}
