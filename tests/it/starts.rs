//! What a start finds: archives that moved or are others, databases that are old, new or damaged, and what died before.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    harness::{Case, one},
    site::{Booru, Fault, What},
    world::{LONG, World, files_below, wait_for},
};

fn world(posts: usize) -> World {
    World::new(Booru::builder().posts(posts))
}

/// Closes what a larder left, as its next start would, and hands the file on.
fn settled(path: &Path) -> PathBuf {
    Connection::open(path)
        .and_then(|db| db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"))
        .expect("a database");
    path.to_owned()
}

#[cfg(debug_assertions)]
mod deaths {
    use super::*;

    /// The md5 of a post that has a file of its own.
    fn victim(case: &Case) -> (u64, String) {
        let post = &case.world.booru.truth()[10];
        (post.id, post.md5.clone())
    }

    #[test]
    fn fault_06_what_kills_larder_three_times_is_given_up_and_nothing_else_is() {
        let case = Case::new(20);
        let (id, md5) = victim(&case);
        let faults = format!("{};kill@work~{md5}", case.tracing());
        let mut deaths = 0;
        while case.run(&faults).code.is_none() {
            deaths += 1;
            assert!(deaths < 10, "it dies for ever");
            assert_eq!(case.claims_hold(), Ok(()));
        }
        assert_eq!(deaths, 3);
        let world = &case.world;
        assert_eq!(world.classes(), ["http_410", "poison"]);
        let poison = &world.posts()[&id]["files"][0];
        assert_eq!(poison["missing"], "poison");
        // Everything else is there: an innocent bystander of three deaths is none of a fourth.
        assert_eq!(files_below(&world.archive("objects")).len(), 15);
        // It is left alone, until somebody asks for it.
        world.booru.clear_log();
        world.run(1);
        assert!(
            world
                .booru
                .files()
                .iter()
                .all(|file| file.md5() != Some(&md5))
        );
        world.larder(&["retry", "--class", "poison"]).expect(0);
        world.run(1);
        assert_eq!(world.classes(), ["http_410"]);
        assert_eq!(files_below(&world.archive("objects")).len(), 16);
    }

    #[test]
    fn fault_06_a_page_that_kills_larder_is_left_alone_until_somebody_asks_for_it() {
        let case = Case::new(20);
        let faults = format!("{};kill@work~posts", case.tracing());
        let mut deaths = 0;
        while case.run(&faults).code.is_none() {
            deaths += 1;
            assert!(deaths < 10, "it dies for ever");
        }
        assert_eq!(deaths, 3);
        for _ in 0..2 {
            // Later runs say so, and do not die of it again.
            case.run(&faults).expect(1);
            assert_eq!(case.world.classes(), ["poison"]);
            assert_eq!(case.world.job_status()["state"], "failed");
        }
        case.world.larder(&["retry"]).expect(0);
        assert_eq!(case.finish(), Ok(()));
        assert_eq!(case.is_whole(), Ok(()));
    }

    #[test]
    fn fault_07_a_panic_is_survived_and_its_task_tried_again() {
        let case = Case::new(20);
        let (_, md5) = victim(&case);
        let faults = format!("{};panic@work:1~{md5}", case.tracing());
        let out = case.run(&faults).expect(1);
        assert!(out.text().contains("panicked"), "{}", out.text());
        assert_eq!(case.is_whole(), Ok(()));
    }

    #[test]
    fn fault_07_what_panics_three_times_is_given_up_and_the_run_goes_on() {
        let case = Case::new(20);
        let (_, md5) = victim(&case);
        let faults = format!("{};panic@work~{md5}", case.tracing());
        case.run(&faults).expect(1);
        let panics = case
            .trace()
            .iter()
            .filter(|line| line.starts_with('!'))
            .count();
        assert_eq!(panics, 3);
        assert_eq!(case.world.classes(), ["http_410", "poison"]);
        assert_eq!(files_below(&case.world.archive("objects")).len(), 15);
    }

    #[test]
    fn an_object_that_the_disk_lost_after_a_death_is_fetched_again() {
        let case = Case::new(20);
        let out = case.run("kill@committed:17");
        assert_eq!(out.code, None);
        // A disk that had said it was written.
        let mut objects = files_below(&case.world.archive("objects"));
        objects.sort();
        let victims = [objects[0].clone(), objects[1].clone()];
        fs::remove_file(&victims[0]).expect("ours");
        fs::set_permissions(
            &victims[1],
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .expect("ours");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&victims[1])
            .expect("ours");
        file.write_all_at(&[0xff; 8], 100).expect("ours");
        assert_eq!(case.finish(), Ok(()));
        assert_eq!(case.is_whole(), Ok(()));
        // What was damaged is set aside, never deleted.
        assert_eq!(files_below(&case.world.archive("damaged")).len(), 1);
    }
}

/// Runs once more and fails unless nothing was fetched.
#[track_caller]
fn fetches_nothing(world: &World) {
    world.booru.clear_log();
    world.run(0);
    assert_eq!(world.booru.files_asked(), 0);
    world.holds_everything();
}

#[test]
fn fault_21_a_state_folder_remembers_its_archive() {
    let world = world(3);
    world.write("state = \"state\"");
    world.run(0);
    fs::rename(world.archive(""), world.beside("unplugged")).expect("ours");
    fs::create_dir(world.archive("")).expect("ours");
    world.booru.clear_log();
    world.run(78).says("is its disk mounted?");
    assert!(files_below(&world.archive("")).is_empty() && world.booru.log().is_empty());
    fs::remove_dir(world.archive("")).expect("empty");
    fs::rename(world.beside("unplugged"), world.archive("")).expect("ours");
    fetches_nothing(&world);
}

#[test]
fn fault_21_the_first_run_makes_the_archive_and_says_its_id() {
    let world = world(1);
    let out = world.run(0);
    let identity = fs::read_to_string(world.archive("LARDER")).expect("an identity");
    let identity: serde_json::Value = serde_json::from_str(&identity).expect("JSON");
    let id = identity["id"].as_str().expect("a text");
    out.says(&format!("id = \"{id}\""));
}

#[test]
fn fault_22_an_archive_that_moved_is_the_same_archive() {
    for archive in ["", "state = \"state\""] {
        let world = world(3);
        world.write(archive);
        world.run(0);
        fs::rename(world.archive(""), world.beside("moved")).expect("ours");
        let config = fs::read_to_string(world.config()).expect("ours");
        let moved = config.replace("path = \"archive\"", "path = \"moved\"");
        fs::write(world.config(), moved).expect("ours");
        world.booru.clear_log();
        world.run(0);
        assert_eq!(world.booru.files_asked(), 0);
        world.larder(&["verify"]).expect(0);
    }
}

/// A world whose larder has died after a run, with one file yet to come.
fn after_a_death() -> World {
    let world = world(40);
    world.run(0);
    world.booru.add(|_| {});
    let stall = Fault::Stall(std::time::Duration::from_secs(20));
    world.booru.script(What::AnyFile, vec![stall]);
    let running = world.spawn(&["run"]);
    world.booru.clear_log();
    wait_for("a file", LONG, || world.booru.files_asked() > 0);
    running.kill();
    world
}

/// Damages a page of the database that nothing of a start reads.
fn damage(path: &Path) {
    let db = Connection::open(path).expect("a database");
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'objects_md5'";
    let page: u32 = one(&db, sql);
    drop(db);
    let file = fs::OpenOptions::new().write(true).open(path).expect("ours");
    file.write_all_at(&[0x5a; 300], u64::from(page - 1) * 4096)
        .expect("ours");
}

#[test]
fn fault_26_a_database_with_damaged_pages_is_not_written_to() {
    let world = after_a_death();
    let path = settled(&world.archive("larder.db"));
    damage(&path);
    let before = fs::read(&path).expect("ours");
    let log = fs::read(world.archive("records/current.jsonl")).expect("ours");
    world.booru.clear_log();
    for _ in 0..2 {
        world.run(78).says("is damaged");
        assert!(world.booru.log().is_empty());
        assert!(
            fs::read(&path).expect("ours") == before,
            "the database was written to"
        );
        assert!(fs::read(world.archive("records/current.jsonl")).expect("ours") == log);
    }
}

#[test]
fn fault_26_a_large_database_is_checked_beside_the_work() {
    for damaged in [false, true] {
        let world = after_a_death();
        let path = settled(&world.archive("larder.db"));
        let db = Connection::open(&path).expect("a database");
        db.execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (zeroblob(70000000))")
            .expect("large");
        drop(db);
        settled(&path);
        if damaged {
            damage(&path);
            // The check finds it, or a commit that comes upon it first.
            world.run(78).says("larder rebuild");
            continue;
        }
        world.run(0);
        world.holds_everything();
        let db = Connection::open(&path).expect("a database");
        let doubts: i64 = one(&db, "SELECT count(*) FROM meta WHERE key = 'recheck'");
        assert_eq!(doubts, 0, "it was not checked to its end");
    }
}

#[test]
fn fault_28_an_old_copy_of_the_database_loses_no_object() {
    let world = world(10);
    world.run(0);
    let copy = fs::read(settled(&world.archive("larder.db"))).expect("ours");
    for _ in 0..10 {
        world.booru.add(|_| {});
    }
    world.run(0);
    world.holds_everything();
    let objects = world.objects();
    for file in ["larder.db-wal", "larder.db-shm"] {
        fs::remove_file(world.archive(file)).ok();
    }
    fs::write(world.archive("larder.db"), copy).expect("ours");
    world.run(0);
    assert_eq!(world.objects(), objects);
    world.holds_everything();
    world.larder(&["verify"]).expect(0);
    // The lines that came after the copy are kept, whatever becomes of them.
    let kept = files_below(&world.archive(""));
    let kept = kept
        .iter()
        .any(|path| path.to_string_lossy().contains("uncommitted-"));
    assert!(kept);
}

#[test]
fn fault_28_a_write_ahead_log_that_is_gone_loses_no_object() {
    let world = world(30);
    let mut running = world.spawn(&["run"]);
    wait_for("files", LONG, || {
        running.is_over() || world.booru.files_asked() >= 20
    });
    running.kill();
    for file in ["larder.db-wal", "larder.db-shm"] {
        fs::remove_file(world.archive(file)).ok();
    }
    let objects = files_below(&world.archive("objects"));
    // Whether the rest is a database or nothing, nothing of the archive is removed, and it is said.
    let out = world.larder(&["run"]);
    assert!(matches!(out.code, Some(0 | 78)), "{}", out.text());
    assert!(objects.iter().all(|object| object.exists()));
}

#[test]
fn fault_36_a_database_of_a_newer_larder_is_refused_and_left_as_it_is() {
    let world = world(3);
    world.run(0);
    let path = world.archive("larder.db");
    let db = Connection::open(&path).expect("a database");
    db.pragma_update(None, "user_version", 9999).expect("set");
    drop(db);
    let before = fs::read(settled(&path)).expect("ours");
    world.booru.clear_log();
    for command in ["run", "status", "failures"] {
        world
            .larder(&[command])
            .expect(78)
            .says("use the newer larder");
    }
    assert!(fs::read(&path).expect("ours") == before && world.booru.log().is_empty());
}

/// Makes the database what the first larder would have made: its tables, with what they hold now.
fn make_old(path: &Path) {
    let old = path.with_extension("old");
    let db = Connection::open(&old).expect("a database");
    db.execute_batch(include_str!("../../src/store/schema/0001.sql"))
        .expect("the first schema");
    let now = settled(path).to_string_lossy().into_owned();
    db.execute("ATTACH ? AS now", [&now]).expect("attached");
    let tables: Vec<String> = db
        .prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .expect("tables");
    for table in tables {
        let columns: Vec<String> = db
            .prepare("SELECT name FROM pragma_table_info(?, 'main')")
            .and_then(|mut select| select.query_map([&table], |row| row.get(0))?.collect())
            .expect("columns");
        let columns = columns.join(", ");
        db.execute_batch(&format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}"
        ))
        .expect("copied");
    }
    db.pragma_update(None, "user_version", 1).expect("set");
    drop(db);
    for ending in ["-wal", "-shm"] {
        fs::remove_file(format!("{now}{ending}")).ok();
    }
    fs::rename(old, path).expect("ours");
}

/// Fails unless the copy that is kept of a database is what it was.
#[track_caller]
fn has_copy(world: &World, items: i64) {
    let copy = Connection::open(world.archive("larder.db.schema-1")).expect("a copy");
    assert_eq!(one::<String>(&copy, "PRAGMA quick_check"), "ok");
    assert_eq!(one::<u32>(&copy, "PRAGMA user_version"), 1);
    assert_eq!(one::<i64>(&copy, "SELECT count(*) FROM items"), items);
}

#[test]
fn fault_37_a_database_is_copied_before_its_schema_is_changed() {
    let world = world(5);
    world.run(0);
    make_old(&world.archive("larder.db"));
    fetches_nothing(&world);
    has_copy(&world, 5);
}

#[cfg(debug_assertions)]
#[test]
fn fault_37_an_upgrade_that_is_killed_at_any_step_is_made_by_the_next_start() {
    for faults in [
        "kill@sync~schema-1",
        "kill@rename~schema-1",
        "kill@syncdir:1",
        "kill@commit:1",
        "cut@commit:1",
    ] {
        let world = world(5);
        world.run(0);
        make_old(&world.archive("larder.db"));
        let out = world.spawn_with(&["run"], faults).wait(LONG);
        assert_eq!(out.code, None, "{faults}: {}", out.text());
        fetches_nothing(&world);
        has_copy(&world, 5);
    }
}
