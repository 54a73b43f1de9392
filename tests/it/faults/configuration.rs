//! A configuration that is broken or has changed, and a login that ends while its job is walked.

use std::fs;

use serde_json::json;

use crate::{
    site::{Booru, Fault, What},
    world::{JOB, World, files_below, text},
};

fn archived(posts: usize) -> World {
    let world = World::new(Booru::builder().posts(posts));
    world.run(0);
    world.booru.clear_log();
    world
}

/// The name and state of each job.
fn states(world: &World) -> Vec<(String, String)> {
    let status = world.status();
    let jobs = status["jobs"].as_array().expect("a list");
    jobs.iter()
        .map(|job| (text(&job["name"]), text(&job["state"])))
        .collect()
}

#[test]
fn fault_38_a_configuration_that_is_no_toml_is_refused_with_its_line() {
    let world = archived(3);
    let right = fs::read_to_string(world.config()).expect("a configuration");
    let line = right.lines().count() + 1;
    fs::write(world.config(), format!("{right}tags = [\n")).expect("written");
    for command in ["run", "status", "verify"] {
        let out = world.larder(&[command]).expect(78);
        assert!(
            out.text().contains(&format!("archive.toml:{line}:")),
            "{}",
            out.text()
        );
    }
    assert!(world.booru.log().is_empty());
    fs::write(world.config(), right).expect("written");
    world.run(0);
    world.holds_everything();
}

#[test]
fn fault_43_a_key_that_nobody_knows_is_an_error_and_not_silence() {
    for (archive, said) in [
        ("min_fee = \"1 GiB\"", "min_free"),
        ("min_free = \"plenty\"", "min_free"),
        ("min_free = true", "min_free"),
    ] {
        let world = archived(2);
        world.write(archive);
        let out = world.larder(&["run"]).expect(78);
        assert!(out.text().contains(said), "{archive}: {}", out.text());
        assert!(world.booru.log().is_empty(), "{archive}");
    }
}

#[test]
fn fault_39_a_job_with_another_name_takes_over_and_downloads_nothing() {
    let mut world = archived(12);
    let before = world.objects();
    world.no_jobs();
    world.also("renamed", "seed", "");
    world.run(0).says("12 unchanged");
    assert!(world.booru.files().is_empty(), "{:?}", world.booru.files());
    assert_eq!(states(&world), [("renamed".to_owned(), "done".to_owned())]);
    assert_eq!(world.objects(), before);
    // Beside the job that it was, another name is another job; what it lists is held already.
    world.also("twin", "seed", "");
    world.run(0);
    assert!(world.booru.files().is_empty(), "{:?}", world.booru.files());
    assert_eq!(world.objects(), before);
    world.holds_everything();
}

#[test]
fn fault_40_a_job_that_was_removed_keeps_its_queue_and_its_files() {
    let mut world = World::new(Booru::builder().posts(25));
    // The second page and what follows wait for a person: so something is left in the queue.
    let form = Fault::Status(401, vec![], "<html>log in</html>".to_owned());
    world.booru.script(What::Page, vec![Fault::Ok, form]);
    world.run(3);
    let (objects, posts) = (world.objects(), world.posts());
    assert!(!objects.is_empty());
    world.no_jobs();
    world.also("other", "nothing_has_this_tag", "");
    world.booru.clear_log();
    world.run(0);
    assert!(world.booru.files().is_empty());
    let all = (JOB.to_owned(), "orphaned".to_owned());
    assert!(states(&world).contains(&all), "{:?}", states(&world));
    assert_eq!((world.objects(), world.posts()), (objects, posts));
    world.larder(&["gc", "--apply"]).expect(0);
    // Put back, it goes on where it was.
    world.job("seed", "");
    world.booru.clear_log();
    world.run(0);
    assert!(world.booru.files().len() < 25);
    world.holds_everything();
}

#[test]
fn fault_41_a_login_that_ends_in_the_middle_of_a_walk_keeps_the_place() {
    let form = "<html><form action=\"/user/authenticate\"><input type=\"password\" name=\"p\"></form></html>";
    for over in [
        Fault::Status(401, vec![], "<html>log in</html>".to_owned()),
        Fault::Body("text/html", form.into()),
    ] {
        let world = World::new(Booru::builder().posts(35));
        world.booru.script(What::Page, vec![Fault::Ok, over]);
        world.run(3);
        let job = world.job_status();
        assert_eq!(
            (&job["state"], &job["reason"]),
            (&json!("paused"), &json!("auth")),
            "{job}"
        );
        assert_eq!(
            world.objects().len(),
            world.posts().len(),
            "what was listed is kept"
        );
        assert_eq!(world.booru.pages().len(), 2);
        let first = world.booru.pages()[0].raw_query.clone();
        world.booru.clear_log();
        world.run(0);
        let again = world.booru.pages();
        assert!(
            again.iter().all(|page| page.raw_query != first),
            "the first page was asked again"
        );
        world.holds_everything();
    }
}

#[test]
fn fault_98_larder_starts_no_program_but_that_of_a_notice() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // A notice's program is a list of arguments in the configuration; what a site said goes to it as data alone.
    let notices = source.join("daemon/notices.rs");
    let told = fs::read_to_string(&notices).expect("ours");
    assert!(
        !["\"sh\"", "\"-c\"", "/bin/"]
            .iter()
            .any(|word| told.contains(word))
    );
    for path in files_below(&source)
        .into_iter()
        .filter(|path| *path != notices)
    {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in [
            "process::Command",
            "Command::new(",
            "std::process::{",
            "execve",
            "libc::system",
        ] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}
