//! Damage to objects: found, set aside, fetched again; and what is never done about it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    site::{Booru, Fault, Post, Truth, What, client},
    world::{LONG, World, files_below, wait_for},
};

/// A site of so many posts, archived.
fn archived(posts: usize) -> World {
    let world = World::new(Booru::builder().posts(posts));
    world.run(0);
    world.booru.clear_log();
    world
}

fn place(world: &World, truth: &Truth) -> PathBuf {
    object(world, &truth.sha256)
}

fn object(world: &World, name: &str) -> PathBuf {
    world.archive("objects").join(&name[..3]).join(name)
}

/// Makes an object writable, as only somebody else than larder does.
fn open(path: &Path) -> Vec<u8> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("our own file");
    fs::read(path).expect("an object")
}

/// Flips one bit of an object; fails unless its bytes do not match its name any more.
fn flip(path: &Path, nth: usize) {
    let mut bytes = open(path);
    let at = nth % bytes.len();
    bytes[at] ^= 1 << (nth % 8);
    fs::write(path, &bytes).expect("written");
    assert_ne!(
        hex::encode(Sha256::digest(&bytes)),
        path.file_name().expect("a name").to_string_lossy()
    );
}

fn truncate(path: &Path, length: u64) {
    open(path);
    let file = File::options().write(true).open(path).expect("an object");
    file.set_len(length).expect("cut");
}

/// `verify --json` with these arguments, which must end with this code.
#[track_caller]
fn verify(world: &World, more: &[&str], code: i32) -> Value {
    let args = [&["verify", "--json"], more].concat();
    let out = world.larder(&args).expect(code);
    serde_json::from_str(&out.stdout).expect("JSON")
}

/// The kinds of damage, with how many there are of each.
fn kinds(report: &Value) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for damage in report["damage"].as_array().expect("a list") {
        let kind = damage["kind"].as_str().expect("a word").to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn aside(world: &World) -> Vec<PathBuf> {
    files_below(&world.archive("damaged"))
}

/// Gives a post the picture of another.
fn picture_of(world: &World, id: u64) -> impl Fn(&mut Post) + use<> {
    let mut found = None;
    world.booru.edit(id, |post| {
        found = Some((post.ext.clone(), post.body().to_vec()));
    });
    let (ext, body) = found.expect("edited");
    move |post| post.set_body(&ext, body.clone())
}

#[test]
fn fault_29_a_flipped_bit_is_set_aside_and_the_object_fetched_again() {
    let world = archived(6);
    let truth = &world.booru.truth()[2];
    let path = place(&world, truth);
    flip(&path, 4711);
    let flipped = fs::read(&path).expect("there");

    let found = verify(&world, &[], 1);
    assert_eq!(kinds(&found), [("corrupt".to_owned(), 1)].into());
    assert_eq!(found["damage"][0]["object"], truth.sha256);
    assert_eq!(found["good"], 5);
    assert_eq!(
        fs::read(&path).expect("there"),
        flipped,
        "verify changes nothing"
    );
    assert_eq!(world.status()["archive"]["damaged"], 1);
    assert!(world.booru.log().is_empty());

    let mended = verify(&world, &["--repair"], 0);
    assert_eq!(mended["repaired"][0]["object"], truth.sha256);
    assert_eq!(mended["repaired"][0]["url"], truth.url);
    assert_eq!(
        (&mended["good"], &mended["damage"]),
        (&json!(6), &json!([]))
    );
    assert_eq!(world.booru.log().len(), 1);
    assert_eq!(world.booru.files()[0].md5(), Some(&*truth.md5));
    let [kept] = &aside(&world)[..] else {
        panic!("{:?}", aside(&world))
    };
    assert_eq!(fs::read(kept).expect("kept"), flipped);
    assert_eq!(world.status()["archive"]["damaged"], 0);
    world.holds_everything();
    world
        .larder(&["verify"])
        .expect(0)
        .says("nothing is damaged");
    world.booru.clear_log();
    world.run(0);
    assert!(world.booru.files().is_empty());
}

#[test]
fn fault_29_nothing_is_deduplicated_onto_an_object_that_is_known_to_be_damaged() {
    let world = archived(4);
    let truth = &world.booru.truth()[1];
    flip(&place(&world, truth), 99);
    verify(&world, &[], 1);
    world.booru.add(picture_of(&world, truth.id));
    world.booru.clear_log();
    world.run(0);
    assert_eq!(
        world.booru.files().len(),
        1,
        "asked for once, for both posts"
    );
    world.holds_everything();
    assert_eq!(aside(&world).len(), 1);
    verify(&world, &[], 0);
}

#[test]
fn fault_29_bytes_that_came_are_compared_with_the_object_that_is_there() {
    let world = archived(4);
    let truth = &world.booru.truth()[1];
    flip(&place(&world, truth), 99);
    // Nobody knows of the damage, and nobody knows that the bytes of the new post are the same before they have come.
    let id = world.booru.add(picture_of(&world, truth.id));
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    let posts = page.as_array_mut().expect("posts");
    let new = posts.iter_mut().find(|post| post["id"] == id);
    new.expect("the new post")["md5"] = Value::Null;
    let page = Fault::Body("application/json", page.to_string().into_bytes());
    world.booru.script(What::Page, vec![page]);
    world.run(0);
    world.holds_everything();
    assert_eq!(aside(&world).len(), 1);
    verify(&world, &[], 0);
}

#[test]
fn fault_29_a_walk_that_meets_damage_fetches_the_object_again() {
    let world = archived(4);
    let truth = &world.booru.truth()[1];
    flip(&place(&world, truth), 5);
    verify(&world, &[], 1);
    let records = world.revisions();
    world.run(0);
    assert_eq!(world.booru.files().len(), 1);
    assert_eq!(world.revisions(), records, "the item has not changed");
    world.holds_everything();
    verify(&world, &[], 0);
}

#[test]
fn fault_29_a_damaged_object_that_cannot_be_had_changes_no_record() {
    let world = archived(4);
    let truth = &world.booru.truth()[1];
    flip(&place(&world, truth), 5);
    verify(&world, &[], 1);
    let gone = Fault::Status(404, vec![], "<html>not here</html>".to_owned());
    world
        .booru
        .script(What::File(truth.id), vec![Fault::Forever(Box::new(gone))]);
    let records = world.revisions();
    for _ in 0..4 {
        world.run(1);
        assert_eq!(world.classes(), ["http_404"]);
        assert_eq!(world.revisions(), records);
    }
    assert_eq!(kinds(&verify(&world, &[], 1)).len(), 1);
}

#[test]
fn fault_30_an_object_that_is_gone_is_missed_and_fetched_again() {
    let world = archived(5);
    let truth = &world.booru.truth()[3];
    fs::remove_file(place(&world, truth)).expect("an object");
    let found = verify(&world, &[], 1);
    assert_eq!(kinds(&found), [("missing".to_owned(), 1)].into());
    assert_eq!(found["damage"][0]["object"], truth.sha256);
    world
        .larder(&["cat", &truth.sha256])
        .expect(1)
        .says("larder verify --repair");
    let mended = verify(&world, &["--repair"], 0);
    assert_eq!(mended["repaired"][0]["object"], truth.sha256);
    assert_eq!(world.booru.files().len(), 1);
    assert!(aside(&world).is_empty());
    world.holds_everything();
}

#[test]
fn fault_30_an_object_that_is_gone_is_missed_when_it_is_wanted_again() {
    let world = archived(5);
    let truth = &world.booru.truth()[3];
    fs::remove_file(place(&world, truth)).expect("an object");
    world.booru.add(picture_of(&world, truth.id));
    world.run(0).says(&truth.sha256[..16]);
    assert_eq!(world.booru.files().len(), 1);
    world.holds_everything();
    verify(&world, &[], 0);
}

#[test]
fn fault_31_an_object_cut_to_nothing_is_found_and_fetched_again() {
    let world = archived(5);
    let truths = world.booru.truth();
    truncate(&place(&world, &truths[0]), 0);
    truncate(&place(&world, &truths[1]), 100);
    let found = verify(&world, &[], 1);
    assert_eq!(kinds(&found), [("corrupt".to_owned(), 2)].into());
    verify(&world, &["--repair"], 0);
    assert_eq!(world.booru.files().len(), 2);
    assert_eq!(aside(&world).len(), 2);
    world.holds_everything();
    // Without a verify, its size is looked at when it is wanted again.
    truncate(&place(&world, &truths[2]), 0);
    world.booru.add(picture_of(&world, truths[2].id));
    world.booru.clear_log();
    world.run(0);
    assert_eq!(world.booru.files().len(), 1);
    world.holds_everything();
}

#[test]
fn fault_32_files_of_others_are_reported_and_left_where_they_are() {
    let world = archived(4);
    let truth = &world.booru.truth()[0];
    let shard = truth.sha256[..3].to_owned();
    let strange = [
        "objects/readme.txt".to_owned(),
        format!("objects/{shard}/notes"),
        // Called like an object, in the folder of another one.
        format!("objects/{shard}/{}", "f".repeat(64)),
        "records/old.jsonl".to_owned(),
    ];
    for name in &strange {
        fs::write(world.archive(name), "not larder's").expect("written");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = File::options().write(true).open(world.archive(name));
        file.expect("there").set_modified(old).expect("set");
    }
    let link = world.archive(&format!("objects/{shard}/link"));
    symlink("/etc/hostname", &link).expect("a link");
    for more in [&[][..], &["--repair"]] {
        let found = verify(&world, more, 1);
        assert_eq!(kinds(&found), [("foreign".to_owned(), 5)].into());
        assert_eq!(found["good"], 4);
    }
    world.larder(&["gc", "--apply"]).expect(0);
    world.run(0);
    for name in &strange {
        assert_eq!(
            fs::read_to_string(world.archive(name)).expect("left"),
            "not larder's"
        );
    }
    assert!(link.is_symlink() && aside(&world).is_empty());
}

#[test]
fn fault_33_a_link_in_the_place_of_a_folder_leads_nowhere() {
    let world = archived(5);
    let outside = tempfile::tempdir().expect("a folder");
    let id = world.booru.add(|_| {});
    let truths = world.booru.truth();
    let truth = truths.iter().find(|truth| truth.id == id).expect("added");
    let shard = world.archive("objects").join(&truth.sha256[..3]);
    symlink(outside.path(), &shard).expect("a link");
    world.run(1);
    assert_eq!(world.classes(), ["storage"]);
    assert!(files_below(outside.path()).is_empty());
    let found = verify(&world, &[], 1);
    assert_eq!(kinds(&found), [("foreign".to_owned(), 1)].into());
    fs::remove_file(&shard).expect("the link");
    world.larder(&["retry"]).expect(0);
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_33_an_archive_whose_folders_are_links_is_refused() {
    for name in ["staging", "objects", "records"] {
        let world = archived(2);
        let outside = tempfile::tempdir().expect("a folder");
        let folder = world.archive(name);
        fs::rename(&folder, world.archive("elsewhere")).expect("moved");
        symlink(outside.path(), &folder).expect("a link");
        world.booru.add(|_| {});
        world.run(78).says("a link could lead anywhere");
        assert!(files_below(outside.path()).is_empty(), "{name}");
        assert!(world.booru.log().is_empty());
    }
}

/// When each folder of objects was last checked.
fn checks(world: &World) -> BTreeMap<u16, i64> {
    let db = rusqlite::Connection::open(world.archive("larder.db")).expect("a database");
    let mut select = db.prepare("SELECT shard, at FROM checks").expect("a table");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

#[test]
fn fault_35_a_verify_that_is_killed_goes_on_with_what_was_checked_longest_ago() {
    let world = archived(40);
    let mut running = world.spawn(&["verify", "--rate", "40 KB/s"]);
    wait_for("some folders to be checked", LONG, || {
        running.is_over() || checks(&world).len() > 500
    });
    assert!(running.kill().code.is_none(), "it was killed");
    let first = checks(&world);
    assert!(first.len() < 4096, "the kill came too late");
    // One that has no time checks one folder all the same: one that was not checked yet.
    verify(&world, &["--max-time", "1ms"], 0);
    let second = checks(&world);
    let new: Vec<_> = second.keys().filter(|k| !first.contains_key(k)).collect();
    assert!(!new.is_empty());
    assert!(first.iter().all(|(shard, at)| second[shard] == *at));
    // Damage in a folder that is due late is still found by one that has the time, and stays known to those without.
    let shard = *first.keys().next().expect("some");
    let due_last = world.booru.truth();
    let truth = due_last
        .iter()
        .filter(|t| second.contains_key(&u16::from_str_radix(&t.sha256[..3], 16).expect("hex")))
        .max_by_key(|t| &t.sha256)
        .expect("an object that was checked");
    flip(&place(&world, truth), 1);
    let found = verify(&world, &[], 1);
    assert_eq!(found["damage"][0]["object"], truth.sha256);
    assert_eq!(checks(&world).len(), 4096);
    let again = verify(&world, &["--max-time", "1ms"], 1);
    assert_eq!(again["damage"][0]["object"], truth.sha256, "{shard}");
    assert!(again["left"].as_u64().expect("a number") > 4000);
    verify(&world, &["--repair", "--max-time", "1ms"], 0);
    world.holds_everything();
}

#[test]
fn a_verify_disturbs_no_run_and_no_run_disturbs_a_verify() {
    let world = World::new(Booru::builder().posts(80));
    world.write("segment = \"4 KiB\"");
    let mut running = world.spawn(&["run"]);
    wait_for("files", LONG, || world.booru.files().len() > 5);
    let mut looks = 0;
    while !running.is_over() {
        verify(&world, &[], 0);
        looks += 1;
    }
    running.wait(LONG).expect(0);
    assert!(looks > 0);
    world.holds_everything();
}

#[test]
fn a_repair_needs_the_archive_for_itself() {
    let world = World::new(Booru::builder().posts(2));
    let wait = Fault::Stall(std::time::Duration::from_secs(60));
    world.booru.script(What::Page, vec![wait]);
    let running = world.spawn(&["run"]);
    wait_for("the first page", LONG, || !world.booru.log().is_empty());
    for command in [
        &["verify", "--repair"][..],
        &["gc", "--apply"],
        &["rebuild"],
    ] {
        world
            .larder(command)
            .expect(75)
            .says(&format!("pid {}", running.pid()));
    }
    running.kill();
}

#[test]
fn what_is_gone_upstream_stays_damage_with_the_address_that_was_tried() {
    let world = archived(3);
    let truth = &world.booru.truth()[1];
    fs::remove_file(place(&world, truth)).expect("an object");
    let gone = Fault::Status(404, vec![], "<html>not here</html>".to_owned());
    world.booru.script(What::File(truth.id), vec![gone]);
    let left = verify(&world, &["--repair"], 1);
    let tried = &left["damage"][0]["tried"][0];
    assert_eq!(
        (&tried["url"], &tried["class"]),
        (&json!(truth.url), &json!("http_404"))
    );
    assert_eq!(world.booru.files().len(), 1);
    // Still known, still tried: it may come back.
    assert_eq!(world.status()["archive"]["damaged"], 1);
    assert!(
        world
            .larder(&["status"])
            .text()
            .contains("1 object is damaged")
    );
    verify(&world, &[], 1);
    verify(&world, &["--repair"], 0);
    world.holds_everything();
}

#[test]
fn other_bytes_than_those_of_the_object_are_archived_nowhere() {
    let world = archived(3);
    let truth = &world.booru.truth()[1];
    flip(&place(&world, truth), 77);
    let wrong = Fault::Forever(Box::new(Fault::WrongBytes));
    world.booru.script(What::File(truth.id), vec![wrong]);
    let left = verify(&world, &["--repair"], 1);
    assert_eq!(left["damage"][0]["tried"][0]["class"], "checksum");
    let words = left["damage"][0]["tried"][0]["message"].to_string();
    assert!(words.contains("changed upstream"), "{words}");
    assert_eq!(world.objects().len(), 2, "every name matches its bytes");
    assert_eq!(aside(&world).len(), 1);
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn an_object_of_an_older_revision_is_asked_for_where_it_was() {
    let world = archived(3);
    let old = world.booru.truth()[1].clone();
    world.booru.edit(old.id, |post| {
        let body = [post.body(), b"more"].concat();
        post.set_body("png", body);
    });
    world.run(0);
    world.booru.clear_log();
    fs::remove_file(place(&world, &old)).expect("an object");
    let left = verify(&world, &["--repair"], 1);
    assert_eq!(left["damage"][0]["tried"][0]["url"], old.url);
    assert_eq!(world.booru.files()[0].md5(), Some(&*old.md5));
    // As long as any post shows the old picture at that address, it is had.
    let (ext, body) = (
        if old.url.ends_with("png") {
            "png"
        } else {
            "jpg"
        },
        old.bytes.clone(),
    );
    world
        .booru
        .edit(old.id, |post| post.set_body(ext, body.clone()));
    verify(&world, &["--repair"], 0);
    assert_eq!(fs::read(place(&world, &old)).expect("back"), old.bytes);
}

#[test]
fn a_site_that_is_not_configured_any_more_is_named() {
    let world = archived(2);
    let truth = &world.booru.truth()[1];
    fs::remove_file(place(&world, truth)).expect("an object");
    let whole = fs::read_to_string(world.config()).expect("a configuration");
    let start = whole.find("[sites").expect("the site");
    fs::write(world.config(), &whole[..start]).expect("written");
    let left = verify(&world, &["--repair"], 1);
    let tried = &left["damage"][0]["tried"][0];
    assert_eq!(tried["url"], truth.url);
    assert!(
        tried["message"]
            .to_string()
            .contains("not configured any more")
    );
    assert!(world.booru.log().is_empty());
    // The site alone is enough: no job is needed.
    let end = whole.find("[[jobs]]").expect("the job");
    fs::write(world.config(), &whole[..end]).expect("written");
    verify(&world, &["--repair"], 0);
}

#[test]
fn a_site_that_is_not_there_is_not_waited_for() {
    let mut world = archived(3);
    for truth in &world.booru.truth()[1..] {
        fs::remove_file(place(&world, truth)).expect("an object");
    }
    drop(std::mem::replace(
        &mut world.booru,
        Booru::builder().start(),
    ));
    // The first hold lasts a day: whoever waits for it does not come back.
    let config = fs::read_to_string(world.config()).expect("a configuration");
    let config = config.replace(r#"backoff = "10ms""#, r#"backoff = "1d""#);
    fs::write(world.config(), config).expect("written");
    let left = verify(&world, &["--repair"], 1);
    for damage in left["damage"].as_array().expect("a list") {
        assert_eq!(damage["tried"][0]["class"], "connect", "{damage}");
    }
}

#[test]
fn a_repair_that_is_killed_goes_on_where_it_was() {
    let world = archived(30);
    let truths = world.booru.truth();
    for (nth, truth) in truths.iter().enumerate() {
        flip(&place(&world, truth), nth * 31);
    }
    let slow = Fault::Forever(Box::new(Fault::Stall(std::time::Duration::from_millis(25))));
    world.booru.script(What::AnyFile, vec![slow]);
    let mut killed = 0;
    for seen in [1, 8, 16] {
        let mut running = world.spawn(&["verify", "--repair"]);
        wait_for("files", LONG, || {
            running.is_over() || world.booru.files().len() >= seen
        });
        killed += usize::from(running.kill().code.is_none());
    }
    assert!(killed > 1, "the kills came too late");
    let mended = verify(&world, &["--repair"], 0);
    assert_eq!(mended["good"], 30);
    world.holds_everything();
    assert!(world.booru.files().len() <= 30 + killed * 16);
    assert!(files_below(&world.archive("staging")).is_empty());
    assert!(aside(&world).len() >= 30);
}

/// Damages of the long form are counted by `LARDER_DAMAGES`; every change has a few.
#[test]
fn every_one_of_many_random_damages_is_found_and_mended() {
    let count = std::env::var("LARDER_DAMAGES").map_or(60, |n| n.parse().expect("a number"));
    let world = World::new(Booru::builder().posts(count + 20));
    world.run(0);
    world.booru.clear_log();
    let mut rng = fastrand::Rng::with_seed(0x5eed);
    let mut truths = world.booru.truth();
    rng.shuffle(&mut truths);
    let (mut missing, mut corrupt) = (0, 0);
    for truth in &truths[..count] {
        let path = place(&world, truth);
        match rng.u8(0..10) {
            0..5 => flip(&path, rng.usize(..1 << 20)),
            5 => truncate(&path, 0),
            6 => truncate(&path, rng.u64(1..truth.bytes.len() as u64)),
            7 => {
                let mut longer = open(&path);
                longer.push(0);
                fs::write(&path, longer).expect("written");
            }
            _ => {
                fs::remove_file(&path).expect("an object");
                missing += 1;
                continue;
            }
        }
        corrupt += 1;
    }
    let found = verify(&world, &[], 1);
    let all = [
        ("missing".to_owned(), missing),
        ("corrupt".to_owned(), corrupt),
    ];
    assert_eq!(kinds(&found), all.into());
    assert_eq!(found["good"], 20);
    let mended = verify(&world, &["--repair"], 0);
    assert_eq!(mended["repaired"].as_array().map(Vec::len), Some(count));
    assert_eq!(world.booru.files().len(), count);
    assert_eq!(aside(&world).len(), corrupt);
    world.holds_everything();
    assert_eq!(verify(&world, &[], 0)["good"], count + 20);
}
