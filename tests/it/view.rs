//! `larder view`: a tree of links that people can look at, made and kept up to date by the real binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    shell::Shell,
    site::{Booru, Post},
    world::{JOB, LONG, Out, World, files_below, text, wait_for},
};

const PLAIN: &str = "{id}.{ext}";

impl World {
    /// `larder view pics` with more words.
    #[track_caller]
    fn view(&self, code: i32, more: &[&str]) -> Out {
        self.view_at("pics", code, more)
    }

    #[track_caller]
    fn view_at(&self, name: &str, code: i32, more: &[&str]) -> Out {
        let path = self.beside(name);
        let args = ["view", path.to_str().expect("UTF-8")];
        self.larder(&[&args, more].concat()).expect(code)
    }

    /// What the view shows: the bytes of each file, by its path.
    fn shown(&self) -> BTreeMap<String, Vec<u8>> {
        shown(&self.beside("pics"))
    }
}

/// Bytes by path, without the view's manifest.
fn shown(view: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files_below(view).into_iter().map(|path| {
        let name = path.strip_prefix(view).expect("below it");
        (
            name.to_string_lossy().into_owned(),
            fs::read(&path).expect("readable"),
        )
    });
    files.filter(|(name, _)| name != ".larder-view").collect()
}

fn names(shown: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    shown.keys().map(String::as_str).collect()
}

/// What a view by id shows of every post of the site.
fn by_id(world: &World) -> BTreeMap<String, Vec<u8>> {
    let ext = |bytes: &[u8]| {
        if bytes.starts_with(b"\x89PNG") {
            "png"
        } else {
            "jpg"
        }
    };
    let truth = world.booru.truth().into_iter();
    truth
        .map(|post| (format!("{}.{}", post.id, ext(&post.bytes)), post.bytes))
        .collect()
}

#[test]
fn the_demo_is_a_folder_of_pictures() {
    let shell = Shell::new();
    shell.larder(&["-q", "demo", "--dir", "demo"]).ends(0);
    let ran = shell
        .larder(&["-c", "demo/archive.toml", "view", "pics"])
        .ends(0);
    assert!(
        ran.out
            .contains("pics: 318 files as {site}/{created:%Y-%m}/{id}_{index}.{ext}: 318 made"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("2 files without a link"), "{}", ran.out);
    assert_eq!(ran.err, "");
    let pictures = files_below(&shell.path("pics/demo/2026-01"));
    assert_eq!(pictures.len(), 318);
    for path in &pictures {
        assert_eq!(path.extension().unwrap(), "png");
        let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        assert!(reader.next_frame(&mut pixels).unwrap().width > 0);
        let meta = fs::metadata(path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o444);
        assert!(meta.nlink() > 1, "a hard link");
    }
    // A file manager finds the post by its number.
    let ran = shell
        .larder(&[
            "-c",
            "demo/archive.toml",
            "show",
            "--json",
            "demo/post/1058",
        ])
        .ends(0);
    let digest = text(&ran.json()["files"][0]["sha256"]);
    let object =
        fs::metadata(shell.path(&format!("demo/objects/{}/{digest}", &digest[..3]))).unwrap();
    let link = fs::metadata(shell.path("pics/demo/2026-01/1058_0.png")).unwrap();
    assert_eq!((link.dev(), link.ino()), (object.dev(), object.ino()));
    let ran = shell
        .larder(&["-c", "demo/archive.toml", "view", "pics"])
        .ends(0);
    assert!(ran.out.contains("318 kept\n"), "{}", ran.out);
    shell.larder(&["-c", "demo/archive.toml", "verify"]).ends(0);
}

#[test]
fn a_view_follows_its_archive() {
    let world = World::new(Booru::builder().posts(12));
    world.run(0);
    world
        .view(0, &["--name", PLAIN])
        .says("12 files as {id}.{ext}: 12 made");
    assert_eq!(world.shown(), by_id(&world));
    let ids = world.booru.ids();
    let before = fs::metadata(world.beside("pics").join(names(&world.shown())[0]))
        .unwrap()
        .ino();
    // New ones come, a picture is another one now, and one is deleted by the site: that one stays.
    world.booru.add(|post| post.retag("seed new"));
    let other = super::site::Booru::builder()
        .posts(40)
        .start()
        .truth()
        .pop()
        .unwrap()
        .bytes;
    world
        .booru
        .edit(ids[4], |post| post.set_body("png", other.clone()));
    world.booru.edit(ids[7], Post::delete);
    world.run(0);
    let expected = by_id(&world);
    assert_eq!(expected.len(), 13);
    // Nothing but the folder is said: the view stays as it was made.
    let said = world.view(0, &[]).text();
    assert!(said.contains("13 files as {id}.{ext}: "), "{said}");
    assert_eq!(world.shown(), expected);
    assert_eq!(
        fs::metadata(world.beside("pics").join(names(&expected)[0]))
            .unwrap()
            .ino(),
        before
    );
    world.view(0, &[]).says("13 kept");
    // Another template gives every file another name; folders that nobody needs any more are gone.
    world.view(0, &["--name", "{kind}/{id}"]).says("13 renamed");
    assert_eq!(world.shown().len(), 13);
    world.view(0, &["--name", PLAIN]).says("13 renamed");
    assert_eq!(world.shown(), expected);
    assert!(!world.beside("pics/post").exists());
    // It can be thrown away.
    fs::remove_dir_all(world.beside("pics")).unwrap();
    world.view(0, &["--name", PLAIN]).says("13 made");
    assert_eq!(world.shown(), expected);
}

#[test]
fn a_new_revision_gives_a_file_its_new_name() {
    let world = World::new(Booru::builder().posts(3));
    let id = world.booru.ids()[1];
    world.booru.edit(id, |post| post.retag("seed sunset"));
    world.run(0);
    world.view(0, &["--name", "{tags}/{id}"]);
    let old = world
        .shown()
        .into_keys()
        .find(|name| name.contains("sunset"))
        .expect("it");
    world.booru.edit(id, |post| post.retag("seed sunrise"));
    world.run(0);
    world.view(0, &[]).says("1 renamed").says("2 kept");
    let new: Vec<_> = world
        .shown()
        .into_keys()
        .filter(|name| name.contains("sun"))
        .collect();
    assert_eq!(new, [old.replace("sunset", "sunrise")]);
    assert_eq!(
        fs::read_dir(world.beside("pics")).unwrap().count(),
        4,
        "three folders and the manifest"
    );
}

#[test]
fn a_view_of_jobs_shows_what_their_listings_have_shown() {
    let mut world = World::new(Booru::builder().posts(10));
    world.also("even", "even", "");
    world.also("late", "odd", "");
    world.larder(&["run", JOB, "even"]).expect(0);
    let of = |tag: &str| -> BTreeSet<String> {
        let posts = world
            .booru
            .truth()
            .into_iter()
            .filter(|post| post.tags.split(' ').any(|own| own == tag));
        posts.map(|post| post.id.to_string()).collect()
    };
    let ids =
        |shown: BTreeMap<String, Vec<u8>>| -> BTreeSet<String> { shown.into_keys().collect() };
    world.view(0, &["even", "--name", "{id}"]).says("5 made");
    let even = of("even");
    assert_eq!(ids(world.shown()), even);
    // More jobs make more of it, fewer make less; a job that has not run yet is said to be so.
    world
        .view(0, &["even", "late", "--name", "{id}"])
        .says("the job `late` has not run yet");
    world.larder(&["run", "late"]).expect(0);
    world.view(0, &[]).says("5 made").says("5 kept");
    world.view(0, &["late", "--name", "{id}"]).says("5 removed");
    assert_eq!(ids(world.shown()), of("odd"));
    // A folder for each job; an item of two jobs is in both.
    world.view(0, &["--name", "{job}/{id}"]).says("20 files");
    assert_eq!(ids(shown(&world.beside("pics/even"))), even);
    assert_eq!(shown(&world.beside("pics").join(JOB)).len(), 10);
    // What has left a listing was kept for a reason: it stays.
    let one: u64 = even.first().unwrap().parse().unwrap();
    world.booru.edit(one, |post| post.retag("seed"));
    world.run(0);
    assert!(
        world
            .records()
            .iter()
            .any(|line| line["type"] == "left" && line["job"] == "even")
    );
    world.view(0, &["even", "--name", "{id}"]);
    assert_eq!(ids(world.shown()), even);
}

#[test]
fn a_database_that_knows_no_members_yet_shows_everything_and_says_what_to_do() {
    let world = World::new(Booru::builder().posts(4));
    world.run(0);
    world.put_back_to_the_first_schema();
    world.view(0, &["--name", "{job}/{id}"]).says("4 made");
    world
        .view(0, &[JOB])
        .says("has no items yet")
        .says("has to run once more");
    world.run(0);
    world.view(0, &[JOB]).says("4 files");
}

#[test]
fn what_is_not_the_views_is_never_touched() {
    let world = World::new(Booru::builder().posts(5));
    world.run(0);
    world.view(0, &["--name", "{kind}/{id}.{ext}"]);
    let pics = world.beside("pics");
    let own = shown(&pics);
    let first = names(&own)[0].to_owned();
    // A file of one's own among the links, one in the place of a link, and one where a link will be.
    fs::write(pics.join("post/notes.txt"), "mine").unwrap();
    fs::remove_file(pics.join(&first)).unwrap();
    fs::write(pics.join(&first), "my own edit").unwrap();
    let new = world.booru.add(|post| post.retag("seed"));
    let blocked = format!("post/{new}.png");
    for ext in ["png", "jpg"] {
        fs::write(pics.join(format!("post/{new}.{ext}")), "my own copy").unwrap();
    }
    world.run(0);
    world.view(0, &[]);
    let after = shown(&pics);
    assert_eq!(after["post/notes.txt"], b"mine");
    assert_eq!(after[&first], b"my own edit");
    assert_eq!(after[&blocked], b"my own copy");
    let numbered: Vec<_> = after.keys().filter(|name| name.contains(" (2)")).collect();
    assert_eq!(numbered.len(), 2, "{numbered:?}");
    // They outlive every change of the view, which cleans up after itself alone.
    world.view(0, &["--name", "elsewhere/{id}.{ext}"]);
    let mut mine = shown(&pics);
    mine.retain(|name, _| !name.starts_with("elsewhere/"));
    assert_eq!(mine.len(), 4, "{:?}", names(&mine));
    assert_eq!(mine[&first], b"my own edit");
    assert_eq!(shown(&pics.join("elsewhere")).len(), 6);
}

#[test]
fn a_link_that_somebody_removed_comes_back() {
    let world = World::new(Booru::builder().posts(6));
    world.run(0);
    world.view(0, &["--name", "{kind}/{id}.{ext}"]);
    let before = world.shown();
    fs::remove_file(world.beside("pics").join(names(&before)[2])).unwrap();
    world.view(0, &[]).says("1 made").says("5 kept");
    fs::remove_dir_all(world.beside("pics/post")).unwrap();
    world.view(0, &[]).says("6 made");
    assert_eq!(world.shown(), before);
}

#[test]
fn folders_that_are_no_view_are_refused_and_left_as_they_are() {
    let world = World::new(Booru::builder().posts(2));
    world.run(0);
    world
        .view_at("archive/objects", 2, &[])
        .says("the archive's own");
    for own in ["objects", "objects/new", "records/x/y", "staging/x"] {
        world
            .view_at(&format!("archive/{own}"), 2, &[])
            .says("the archive's own");
    }
    // Nor by another way to the same place.
    symlink(world.archive("objects"), world.beside("way")).unwrap();
    world.view_at("way/x", 2, &[]).says("the archive's own");
    world.view_at("archive", 2, &[]).says("not empty");
    fs::create_dir(world.beside("mine")).unwrap();
    fs::write(world.beside("mine/.hidden"), "mine").unwrap();
    world
        .view_at("mine", 2, &[])
        .says("not empty")
        .says("another folder");
    fs::write(world.beside("file"), "mine").unwrap();
    world.view_at("file", 1, &[]).says("could not");
    assert_eq!(names(&shown(&world.beside("mine"))), [".hidden"]);
    assert!(!world.archive("objects/new").exists() && !world.archive("staging/x").exists());
    world.larder(&["verify"]).expect(0);
    // A view of another archive is none of this one's business.
    let other = World::new(Booru::builder().posts(1));
    other.run(0);
    other.view(0, &[]);
    let theirs = other.beside("pics");
    world
        .larder(&["view", theirs.to_str().unwrap()])
        .expect(2)
        .says("the view of another archive");
    assert_eq!(shown(&theirs).len(), 1);
}

#[test]
fn wrong_words_are_refused_before_anything_is_made() {
    let world = World::new(Booru::builder().posts(1));
    world.run(0);
    world
        .view(2, &["--name", "{autor.name}/{id}"])
        .says("did you mean `author.name`?");
    world.view(2, &["--name", "../{id}"]).says("`..`");
    world.view(2, &["--name", "/{id}"]).says("relative");
    world.view(2, &["al"]).says("did you mean `all`?");
    world.view(2, &["--link", "soft"]).says("symbolic");
    assert!(!world.beside("pics").exists());
}

#[test]
fn before_the_first_run_there_is_nothing_to_look_at() {
    let world = World::new(Booru::builder().posts(1));
    world.view(78, &[]).says("`larder run` makes it");
    assert!(!world.beside("pics").exists());
}

#[test]
fn files_of_one_name_get_numbers_and_keep_them() {
    let mut world = World::new(Booru::builder().posts(6));
    world.job("even", "");
    world.run(0);
    world.view(0, &["--name", "{author.name}.{ext}"]);
    let before = world.shown();
    assert_eq!(before.len(), 3);
    assert!(
        before.contains_key("uploader.png") && before.keys().any(|name| name.contains(" (2)."))
    );
    world.job("seed", "");
    world.run(0);
    world.view(0, &[]).says("3 made").says("3 kept");
    let after = world.shown();
    assert_eq!(after.len(), 6);
    assert!(
        before.iter().all(|(name, bytes)| after[name] == *bytes),
        "{:?}",
        names(&after)
    );
}

#[test]
fn whatever_a_site_says_stays_below_the_folder() {
    let booru = Booru::builder().posts(8);
    let ids = booru.ids();
    let world = World::new(booru);
    let nasty = [
        "../../../outside",
        "..",
        ".",
        "/etc/passwd",
        "con",
        "a\u{202e}b\u{0}\n/..",
        "",
        "x",
    ];
    for (id, author) in ids.iter().zip(nasty) {
        world
            .booru
            .edit(*id, |post| post.author = author.to_owned());
    }
    let long = "長".repeat(400);
    world.booru.edit(ids[7], |post| post.author = long);
    world.run(0);
    let before: BTreeSet<_> = fs::read_dir(world.beside("."))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    world
        .view(0, &["--name", "{author.name}/{author.name}.{ext}"])
        .says("8 made");
    let mut after: BTreeSet<_> = fs::read_dir(world.beside("."))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    after.retain(|name| {
        !before.contains(name) && name != "pics" && !name.to_string_lossy().ends_with(".out")
    });
    after.retain(|name| !name.to_string_lossy().ends_with(".err"));
    assert!(after.is_empty(), "{after:?}");
    let shown = world.shown();
    assert_eq!(shown.len(), 8, "{:?}", names(&shown));
    for name in shown.keys().flat_map(|path| path.split('/')) {
        assert!(!name.starts_with('.') && name.len() <= 255, "{name:?}");
        assert!(
            !name.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{name:?}"
        );
    }
}

#[test]
fn folders_that_became_links_are_not_followed() {
    let world = World::new(Booru::builder().posts(4));
    world.run(0);
    world.view(0, &["--name", "{kind}/{id}.{ext}"]);
    let (pics, elsewhere) = (world.beside("pics"), world.beside("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    // Files of somebody's, called as the links are.
    for name in world.shown().keys() {
        fs::write(
            elsewhere.join(name.strip_prefix("post/").unwrap()),
            "theirs",
        )
        .unwrap();
    }
    let theirs = shown(&elsewhere);
    fs::remove_dir_all(pics.join("post")).unwrap();
    symlink(&elsewhere, pics.join("post")).unwrap();
    world.view(0, &[]);
    assert_eq!(shown(&elsewhere), theirs);
    assert_eq!(shown(&pics.join("post (2)")).len(), 4);
    world.view(0, &["--name", "{id}"]);
    assert_eq!(shown(&elsewhere), theirs);
    assert!(
        fs::symlink_metadata(pics.join("post"))
            .unwrap()
            .is_symlink(),
        "somebody's link stays"
    );
    assert!(!pics.join("post (2)").exists());
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_not_believed() {
    let world = World::new(Booru::builder().posts(2));
    world.run(0);
    world.view(0, &["--name", PLAIN]);
    let victim = world.beside("victim.png");
    let manifest = world.beside("pics/.larder-view");
    let good = fs::read_to_string(&manifest).unwrap();
    let own = names(&world.shown())[0].to_owned();
    fs::hard_link(world.beside("pics").join(&own), &victim).unwrap();
    let absolute = victim.to_str().unwrap();
    for path in [
        "../victim.png",
        absolute,
        "a/../../victim.png",
        ".larder-view",
        "",
        "./victim.png",
    ] {
        fs::write(
            &manifest,
            good.replace(
                &format!("\"path\":\"{own}\""),
                &format!("\"path\":\"{path}\""),
            ),
        )
        .unwrap();
        world
            .view(2, &["--name", "{kind}/{id}"])
            .says("damaged")
            .says("remove the folder");
        assert!(victim.exists());
    }
    for text in [
        "",
        "x",
        "{}",
        &good[..good.len() / 2],
        &good.replace("\"v\":1", "\"v\":9"),
    ] {
        fs::write(&manifest, text).unwrap();
        world.view(2, &[]);
    }
    assert_eq!(world.shown().len(), 2);
    // It may be made anew, as it says.
    fs::remove_dir_all(world.beside("pics")).unwrap();
    world.view(0, &[]);
}

#[test]
fn a_view_that_was_killed_anywhere_is_completed_and_leaves_nothing_behind() {
    let world = World::new(Booru::builder().posts(60));
    world.run(0);
    let path = world.beside("pics");
    let path = path.to_str().unwrap();
    for nth in 0..16 {
        let name = format!("{nth}/{}/{{id}}.{{ext}}", ["a", "b", "c/d"][nth % 3]);
        let mut args = vec!["view", path, "--name", &name];
        match nth % 4 {
            0 => args.push("--sidecar"),
            1 => args.extend(["--link", "symbolic"]),
            _ => {}
        }
        let mut larder = world.spawn(&args);
        let new = world.beside("pics").join(nth.to_string());
        wait_for("some links", LONG, || {
            files_below(&new).len() >= nth * 4 || larder.is_over()
        });
        larder.kill();
    }
    world.view(0, &["--name", PLAIN]);
    assert_eq!(world.shown(), by_id(&world));
    assert_eq!(fs::read_dir(world.beside("pics")).unwrap().count(), 61);
}

#[test]
fn a_view_needs_no_lock_of_the_archive_and_two_at_once_exclude_each_other() {
    let world = World::new(Booru::builder().posts(3));
    world.run(0);
    let lock = fs::File::options()
        .write(true)
        .open(world.archive("larder.lock"))
        .unwrap();
    lock.lock().unwrap();
    world.view(0, &["--name", PLAIN]);
    let folder = fs::File::open(world.beside("pics")).unwrap();
    folder.lock().unwrap();
    world
        .view(75, &["--name", "{id}"])
        .says("another larder is making the view");
    assert_eq!(world.shown(), by_id(&world));
    drop(folder);
    world.view(0, &[]).says("3 kept");
}

#[test]
fn an_object_that_is_lost_is_skipped_and_linked_once_it_is_back() {
    let world = World::new(Booru::builder().posts(4));
    world.run(0);
    let lost = files_below(&world.archive("objects")).remove(0);
    let kept = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    world
        .view(1, &["--name", PLAIN])
        .says("3 made")
        .says("1 file skipped")
        .says("larder verify");
    world
        .view_at("links", 1, &["--link", "symbolic"])
        .says("3 made");
    fs::write(&lost, kept).unwrap();
    world.view(0, &[]).says("1 made").says("3 kept");
    world.view_at("links", 0, &[]).says("1 made");
    // Put in its place again, it is another file than the one that the view links to.
    let kept = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    world.view(0, &[]).says("4 kept");
    fs::write(&lost, kept).unwrap();
    world.view(0, &[]).says("1 replaced").says("3 kept");
    let ino = fs::metadata(&lost).unwrap().ino();
    let links = files_below(&world.beside("pics"));
    assert!(
        links
            .iter()
            .any(|link| fs::metadata(link).unwrap().ino() == ino)
    );
    assert_eq!(world.shown(), by_id(&world));
}

#[test]
fn symbolic_links_lead_to_the_objects_also_after_a_move() {
    let world = World::new(Booru::builder().posts(3));
    world.run(0);
    world.view(0, &["--name", "{kind}/{id}.{ext}", "--link", "symbolic"]);
    let expected = world.shown();
    assert_eq!(expected.len(), 3);
    let one = fs::read_link(world.beside("pics").join(names(&expected)[0])).unwrap();
    assert!(
        one.starts_with("../../archive/objects"),
        "{}",
        one.display()
    );
    // The folder of both is moved.
    let moved = tempfile::tempdir().unwrap();
    fs::create_dir(moved.path().join("both")).unwrap();
    for name in ["archive", "pics"] {
        fs::rename(world.beside(name), moved.path().join("both").join(name)).unwrap();
    }
    assert_eq!(shown(&moved.path().join("both/pics")), expected);
    // The view alone is moved back: its links lead nowhere until the archive is back too.
    fs::rename(moved.path().join("both/pics"), world.beside("pics")).unwrap();
    fs::rename(moved.path().join("both/archive"), world.beside("archive")).unwrap();
    world.view(0, &[]).says("3 kept");
    fs::rename(world.beside("pics"), world.beside("archive/pics")).unwrap();
    world.view_at("archive/pics", 0, &[]).says("3 replaced");
    assert_eq!(shown(&world.beside("archive/pics")), expected);
    // Links of another kind take their place.
    world
        .view_at("archive/pics", 0, &["--name", "{kind}/{id}.{ext}"])
        .says("3 replaced");
    assert!(
        files_below(&world.beside("archive/pics"))
            .iter()
            .all(|path| !path.is_symlink())
    );
}

#[test]
fn a_view_that_was_copied_is_known_again() {
    let world = World::new(Booru::builder().posts(3));
    world.run(0);
    world.view(0, &["--name", PLAIN, "--sidecar"]);
    fs::create_dir(world.beside("copy")).unwrap();
    for path in files_below(&world.beside("pics")) {
        fs::copy(&path, world.beside("copy").join(path.file_name().unwrap())).unwrap();
    }
    let expected = world.shown();
    // The copies hold the bytes that the archive holds: nothing is lost when they become links.
    world.view_at("copy", 0, &[]).says("3 replaced");
    assert_eq!(shown(&world.beside("copy")), expected);
}

#[test]
fn sidecars_say_what_is_known_and_are_written_only_when_it_changes() {
    let booru = Booru::builder().posts(3);
    let ids = booru.ids();
    let mut world = World::new(booru.comments(ids[0], 1));
    world.job("seed", "with = [\"comments\"]");
    world.run(0);
    world
        .view(0, &["--name", "{kind}/{id}.{ext}", "--sidecar"])
        .says("3 files")
        .says("and 4 sidecars: 4 made");
    let sidecar = |id: u64| -> (PathBuf, Value) {
        let mut paths = files_below(&world.beside("pics/post"));
        paths.retain(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(&format!("{id}.")) && name.ends_with(".json")
        });
        let path = paths.pop().expect("a sidecar");
        let json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (path, json)
    };
    let (path, json) = sidecar(ids[1]);
    let truth = world
        .booru
        .truth()
        .into_iter()
        .find(|truth| truth.id == ids[1])
        .unwrap();
    for (key, value) in [
        ("id", Value::from(ids[1])),
        ("md5", truth.md5.into()),
        ("tags", truth.tags.into()),
        ("sha256", truth.sha256.into()),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    for key in [
        "category",
        "subcategory",
        "filename",
        "extension",
        "date",
        "file_url",
        "width",
        "height",
    ] {
        assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    assert!(
        path.with_extension("").exists(),
        "it is called as its file, and .json"
    );
    let comment = files_below(&world.beside("pics/comment")).remove(0);
    let comment: Value = serde_json::from_slice(&fs::read(comment).unwrap()).unwrap();
    assert_eq!(comment["subcategory"], "comment");

    // One changes, one is somebody's own now.
    let (edited, _) = sidecar(ids[2]);
    fs::write(&edited, "my own words").unwrap();
    world.booru.edit(ids[1], |post| post.retag("seed other"));
    let unchanged = sidecar(ids[0]).0;
    let before = fs::metadata(&unchanged).unwrap().ino();
    world.run(0);
    world
        .view(1, &[])
        .says("2 kept, 1 replaced")
        .says("stands in their place");
    assert_eq!(sidecar(ids[1]).1["tags"], "other seed");
    assert_eq!(fs::metadata(&unchanged).unwrap().ino(), before);
    assert_eq!(fs::read(&edited).unwrap(), b"my own words");
    fs::remove_file(&edited).unwrap();
    world.view(0, &[]).says("1 made");
    // Without the option they go.
    world
        .view(0, &["--name", "{kind}/{id}.{ext}"])
        .says("and 0 sidecars: 4 removed")
        .says("3 kept");
    assert!(world.shown().keys().all(|name| !name.ends_with(".json")));
}

#[test]
fn copies_that_share_blocks_are_made_or_refused_in_plain_words() {
    let world = World::new(Booru::builder().posts(2));
    world.run(0);
    let path = world.beside("pics");
    let out = world.larder(&[
        "view",
        path.to_str().unwrap(),
        "--link",
        "reflink",
        "--name",
        PLAIN,
    ]);
    if out.code == Some(0) {
        // A file system that can: the copies are files of their own, and may be changed.
        assert_eq!(world.shown(), by_id(&world));
        let one = files_below(&path)
            .into_iter()
            .find(|path| path.extension().is_some())
            .unwrap();
        assert_eq!(fs::metadata(&one).unwrap().nlink(), 1);
        world.view(0, &[]).says("2 kept");
    } else {
        out.expect(2)
            .says("copies that share their blocks")
            .says("Btrfs");
        assert!(!path.exists(), "nothing is left of the attempt");
        world.view(0, &["--name", PLAIN]).says("2 made");
    }
}

#[test]
fn quiet_is_quiet() {
    let world = World::new(Booru::builder().posts(2));
    world.run(0);
    let out = world
        .larder(&["-q", "view", world.beside("pics").to_str().unwrap()])
        .expect(0);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
    assert_eq!(world.shown().len(), 2);
}
