//! What nothing refers to: marked first, removed a day later, and never on the word of a database that may not know.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use super::{
    site::{Booru, Post},
    world::{World, files_below},
};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn archived(posts: usize) -> World {
    let world = World::new(Booru::builder().posts(posts));
    world.run(0);
    world.booru.clear_log();
    world
}

fn place(world: &World, name: &str) -> PathBuf {
    world.archive("objects").join(&name[..3]).join(name)
}

/// Puts bytes under their name, as a crash between rename and commit leaves them; `old` files were written long ago.
fn orphan(world: &World, bytes: &[u8], old: bool) -> String {
    let name = hex::encode(Sha256::digest(bytes));
    let path = place(world, &name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, bytes).expect("written");
    if old {
        age(&path);
    }
    name
}

/// Makes a file two days old and more.
fn age(path: &PathBuf) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("our own file");
    let file = File::options().write(true).open(path).expect("there");
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(old).expect("set");
}

fn database(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.archive("larder.db")).expect("a database")
}

/// Lets the time pass that marked objects wait.
fn a_day_passes(world: &World, millis: i64) {
    let rows = database(world).execute("UPDATE tombstones SET since = since - ?", [millis]);
    rows.expect("a table");
}

fn marked(world: &World) -> BTreeSet<String> {
    let db = database(world);
    let mut select = db
        .prepare("SELECT sha256 FROM tombstones")
        .expect("a table");
    let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0));
    rows.expect("rows")
        .map(|row| hex::encode(row.expect("a row")))
        .collect()
}

#[track_caller]
fn collect(world: &World, removed: usize, marked: usize) {
    let words = format!(
        "{removed} object{} removed",
        if removed == 1 { "" } else { "s" }
    );
    world
        .larder(&["gc", "--apply"])
        .expect(0)
        .says(&words)
        .says(&format!("; {marked} marked"));
}

#[test]
fn nothing_of_a_whole_archive_is_superfluous() {
    let world = archived(5);
    world
        .larder(&["gc"])
        .expect(0)
        .says("Nothing is superfluous");
    collect(&world, 0, 0);
    world.holds_everything();
}

#[test]
fn what_a_crash_has_left_goes_a_day_after_it_was_found() {
    let world = archived(5);
    let name = orphan(&world, b"left by a crash", true);
    let out = world.larder(&["gc"]).expect(0);
    assert!(
        out.stdout.contains(&name) && out.stdout.contains("not marked yet"),
        "{}",
        out.stdout
    );
    assert!(
        marked(&world).is_empty(),
        "without --apply nothing is changed"
    );
    collect(&world, 0, 1);
    assert_eq!(marked(&world), [name.clone()].into());
    // A minute is missing to the day.
    a_day_passes(&world, DAY - 60_000);
    world.larder(&["gc"]).expect(0).says("may be removed from");
    collect(&world, 0, 0);
    assert!(place(&world, &name).exists());
    a_day_passes(&world, 61_000);
    world.larder(&["gc"]).expect(0).says("may be removed");
    collect(&world, 1, 0);
    assert!(!place(&world, &name).exists() && marked(&world).is_empty());
    world.holds_everything();
    world.larder(&["verify"]).expect(0);
}

#[test]
fn a_file_that_was_written_lately_stays_however_long_it_is_marked() {
    let world = archived(2);
    let name = orphan(&world, b"young", false);
    collect(&world, 0, 1);
    a_day_passes(&world, 5 * DAY);
    collect(&world, 0, 0);
    assert!(place(&world, &name).exists());
    age(&place(&world, &name));
    collect(&world, 1, 0);
}

#[test]
fn an_object_that_is_referred_to_again_is_not_removed() {
    let world = archived(3);
    let mut picture = Vec::new();
    let id = world.booru.add(|post| picture = post.body().to_vec());
    let name = orphan(&world, &picture, true);
    collect(&world, 0, 1);
    // A verify that takes it over makes no reference of it.
    world.larder(&["verify", "--repair"]).expect(0);
    collect(&world, 0, 0);
    assert_eq!(marked(&world), [name.clone()].into());
    a_day_passes(&world, 2 * DAY);
    world.run(0);
    assert!(world.booru.files().is_empty(), "post {id} needs no request");
    assert!(
        marked(&world).is_empty(),
        "the reference takes the mark away"
    );
    collect(&world, 0, 0);
    assert!(place(&world, &name).exists());
    world.holds_everything();
}

#[test]
fn what_any_revision_of_a_record_names_is_never_removed() {
    let world = archived(4);
    let old = world.booru.truth()[1].clone();
    world.booru.edit(old.id, |post| {
        let body = [post.body(), b"more"].concat();
        post.set_body("png", body);
    });
    world.booru.edit(world.booru.ids()[2], Post::delete);
    world.run(0);
    for path in files_below(&world.archive("objects")) {
        age(&path);
    }
    world
        .larder(&["gc"])
        .expect(0)
        .says("Nothing is superfluous");
    for _ in 0..2 {
        collect(&world, 0, 0);
        a_day_passes(&world, 2 * DAY);
    }
    assert_eq!(
        fs::read(place(&world, &old.sha256)).expect("kept"),
        old.bytes
    );
    assert_eq!(world.objects().len(), 5);
}

#[test]
fn a_damaged_one_is_set_aside_instead_of_removed() {
    let world = archived(2);
    let name = orphan(&world, b"whole", true);
    let path = place(&world, &name);
    fs::write(&path, b"other bytes").expect("written");
    age(&path);
    collect(&world, 0, 1);
    a_day_passes(&world, 2 * DAY);
    world
        .larder(&["gc", "--apply"])
        .expect(0)
        .says("0 objects removed")
        .says("1 object damaged and set aside");
    let [kept] = &files_below(&world.archive("damaged"))[..] else {
        panic!("one")
    };
    assert_eq!(fs::read(kept).expect("kept"), b"other bytes");
    assert!(!path.exists());
}

#[test]
fn a_death_at_any_step_of_a_removal_is_finished_by_the_next() {
    // Each is the state that a kill after this step leaves.
    for step in ["marked", "begun", "removed"] {
        let world = archived(3);
        let known = orphan(&world, b"with a row of its own", true);
        world.larder(&["verify", "--repair"]).expect(0);
        let unknown = orphan(&world, b"without a row", true);
        collect(&world, 0, 2);
        a_day_passes(&world, 2 * DAY);
        if step != "marked" {
            database(&world)
                .execute("UPDATE tombstones SET deleting = 1", [])
                .expect("a table");
        }
        if step == "removed" {
            fs::remove_file(place(&world, &known)).expect("there");
            fs::remove_file(place(&world, &unknown)).expect("there");
        }
        // No larder takes a removal that was cut short for damage, and a run goes on beside it.
        let out = world.larder(&["verify"]).expect(0);
        assert!(
            out.text().contains("nothing is damaged"),
            "{step}: {}",
            out.text()
        );
        world.run(0);
        assert_eq!(world.status()["archive"]["objects"], 4, "{step}");
        collect(&world, 2, 0);
        assert!(!place(&world, &known).exists() && !place(&world, &unknown).exists());
        assert!(marked(&world).is_empty());
        assert_eq!(world.status()["archive"]["objects"], 3, "{step}");
        world.holds_everything();
        world.larder(&["verify"]).expect(0);
    }
}

#[test]
fn bytes_that_are_wanted_while_their_removal_was_cut_short_are_had_again() {
    for gone in [false, true] {
        let world = archived(3);
        let mut picture = Vec::new();
        world.booru.add(|post| picture = post.body().to_vec());
        let name = orphan(&world, &picture, true);
        world.larder(&["verify", "--repair"]).expect(0);
        collect(&world, 0, 1);
        a_day_passes(&world, 2 * DAY);
        database(&world)
            .execute("UPDATE tombstones SET deleting = 1", [])
            .expect("a table");
        if gone {
            fs::remove_file(place(&world, &name)).expect("there");
        }
        world.run(0);
        assert_eq!(world.booru.files().len(), usize::from(gone));
        collect(&world, 0, 0);
        world.holds_everything();
        world.larder(&["verify"]).expect(0);
    }
}

#[test]
fn nothing_is_removed_after_a_rebuild_until_every_job_has_been_walked() {
    let world = archived(3);
    let name = orphan(&world, b"left by a crash", true);
    collect(&world, 0, 1);
    a_day_passes(&world, 2 * DAY);
    world.larder(&["rebuild", "--force"]).expect(0);
    world
        .larder(&["gc"])
        .expect(1)
        .says("rebuilt")
        .says("`all`");
    world.larder(&["gc", "--apply"]).expect(1).says("rebuilt");
    world.run(0);
    collect(&world, 0, 1);
    assert!(place(&world, &name).exists(), "its day begins anew");
    a_day_passes(&world, 2 * DAY);
    collect(&world, 1, 0);
}

#[test]
fn nothing_is_removed_while_the_records_cannot_be_read() {
    let world = archived(3);
    orphan(&world, b"left by a crash", true);
    collect(&world, 0, 1);
    a_day_passes(&world, 2 * DAY);
    let log = world.archive("records/current.jsonl");
    let whole = fs::read(&log).expect("the log");
    let mut damaged = whole.clone();
    damaged[30] = b'\n';
    fs::write(&log, &damaged).expect("written");
    world
        .larder(&["gc"])
        .expect(1)
        .says("cannot be read to its end");
    world
        .larder(&["gc", "--apply"])
        .expect(1)
        .says("cannot be read to its end");
    fs::write(&log, &whole).expect("written");
    collect(&world, 1, 0);
}

#[test]
fn nothing_is_removed_on_the_word_of_a_database_that_knows_nothing() {
    let world = archived(3);
    database(&world)
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM files; DELETE FROM items; UPDATE totals SET items = 0")
        .expect("tables");
    world.larder(&["gc"]).expect(1).says("knows of no item");
    world
        .larder(&["gc", "--apply"])
        .expect(1)
        .says("knows of no item");
    assert_eq!(world.objects().len(), 3);
}
