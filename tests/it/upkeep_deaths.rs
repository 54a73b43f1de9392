//! Deaths of the commands that mend and tidy: a repair, a rebuild, a collection, each broken off before every operation of the
//! disk in turn. Whatever it was at, the same command again makes it good. Only builds with debug assertions can do this.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use super::{
    site::Booru,
    world::{LONG, Out, World, files_below},
};

/// No operation happens so often in one of these commands: a story that comes here does not end.
const MOST: usize = 60;
/// The operations at which a command can die.
const OPERATIONS: [&str; 8] = [
    "create", "write", "sync", "rename", "unlink", "syncdir", "syncfs", "commit",
];

fn archived(posts: usize) -> World {
    let world = World::in_memory(Booru::builder().posts(posts));
    world.write("segment = \"4 KiB\"");
    world.run(0);
    assert!(files_below(&world.archive("records")).len() > 1, "sealed");
    world
}

/// Lets a command die before each operation in turn, and shows what it left to `then`, with whether it died. Returns how
/// often it did.
fn dies_at_each(
    world: &World,
    action: &str,
    args: &[&str],
    before: impl Fn(),
    then: impl Fn(&str),
) -> usize {
    let mut deaths = 0;
    for operation in OPERATIONS {
        if action == "cut" && !matches!(operation, "rename" | "syncdir" | "commit") {
            // Between these a power cut is a kill that takes more away.
            continue;
        }
        for nth in 1.. {
            assert!(nth < MOST, "{operation} has no end");
            before();
            let faults = format!("{action}@{operation}:{nth}");
            let out = world.spawn_with(args, &faults).wait(4 * LONG);
            then(&faults);
            if out.code.is_some() {
                out.expect(0);
                break;
            }
            deaths += 1;
        }
    }
    deaths
}

/// Runs larder to its end, which is far off where the machine is busy.
#[track_caller]
fn larder(world: &World, args: &[&str]) -> Out {
    world.spawn(args).wait(4 * LONG)
}

fn place(world: &World, name: &str) -> PathBuf {
    world.archive("objects").join(&name[..3]).join(name)
}

fn make_writable(path: &PathBuf) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("our own file");
}

#[test]
fn fault_02_a_repair_that_dies_at_any_step_is_made_again() {
    for action in ["kill", "cut"] {
        let world = archived(6);
        let damage = || {
            // What earlier deaths have set aside would take its numbers, one rename each.
            fs::remove_dir_all(world.archive("damaged")).ok();
            let truths = world.booru.truth();
            let path = place(&world, &truths[1].sha256);
            make_writable(&path);
            fs::write(&path, b"something else").expect("written");
            fs::remove_file(place(&world, &truths[2].sha256)).expect("there");
        };
        let deaths = dies_at_each(&world, action, &["verify", "--repair"], damage, |faults| {
            let out = larder(&world, &["verify", "--repair"]);
            assert_eq!(out.code, Some(0), "{faults}: {}", out.text());
            larder(&world, &["verify"]).expect(0);
            world.holds_everything();
        });
        assert!(deaths >= 4, "{action}: {deaths}");
    }
}

#[test]
fn fault_02_a_rebuild_that_dies_at_any_step_is_made_again() {
    for action in ["kill", "cut"] {
        let world = archived(12);
        let (revisions, objects) = (world.revisions(), world.objects());
        let args = ["rebuild", "--force"];
        let deaths = dies_at_each(
            &world,
            action,
            &args,
            || (),
            |faults| {
                let path = world.archive("larder.db");
                if !path.exists() {
                    // Between the two names: nobody takes this for a new archive.
                    world.run(78).says("larder rebuild");
                    larder(&world, &["rebuild"]).expect(0);
                }
                world.booru.clear_log();
                let out = larder(&world, &["run"]);
                assert_eq!(out.code, Some(0), "{faults}: {}", out.text());
                assert!(world.booru.files().is_empty(), "{faults}");
            },
        );
        assert!(deaths >= 2, "{action}: {deaths}");
        assert_eq!((world.revisions(), world.objects()), (revisions, objects));
        larder(&world, &["verify"]).expect(0);
    }
}

#[test]
fn fault_02_a_collection_that_dies_at_any_step_is_made_again() {
    for action in ["kill", "cut"] {
        let world = archived(6);
        let names = ["left", "by", "crashes"].map(|bytes| hex::encode(Sha256::digest(bytes)));
        let litter = || {
            for (bytes, name) in ["left", "by", "crashes"].into_iter().zip(&names) {
                let path = place(&world, name);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(&path, bytes).expect("written");
                make_writable(&path);
                let file = File::options().write(true).open(&path).expect("there");
                let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                file.set_modified(old).expect("set");
            }
            larder(&world, &["gc", "--apply"]).expect(0);
            let db = rusqlite::Connection::open(world.archive("larder.db")).expect("a database");
            let rows = db.execute("UPDATE tombstones SET since = 0", []);
            assert_eq!(rows, Ok(3));
        };
        let deaths = dies_at_each(&world, action, &["gc", "--apply"], litter, |faults| {
            let out = larder(&world, &["gc", "--apply"]);
            assert_eq!(out.code, Some(0), "{faults}: {}", out.text());
            let left = names.iter().filter(|name| place(&world, name).exists());
            assert_eq!(left.count(), 0, "{faults}");
            world.holds_everything();
        });
        assert!(deaths >= 4, "{action}: {deaths}");
        larder(&world, &["verify"]).expect(0);
    }
}
