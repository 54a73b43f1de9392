//! Rules taken away one at a time, to see which tests notice: the entries of `tests/mutations.toml`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

/// One rule, and how it is taken away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    rule: String,
    file: String,
    find: String,
    put: String,
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutations() -> BTreeMap<String, Mutation> {
    let text = fs::read_to_string(root().join("tests/mutations.toml")).expect("the list");
    toml::from_str(&text).expect("mutations")
}

#[test]
fn every_rule_that_can_be_taken_away_is_still_there() {
    let mutations = mutations();
    assert!(mutations.len() >= 10);
    for (name, mutation) in mutations {
        let text = fs::read_to_string(root().join(&mutation.file)).expect("its file");
        let times = text.matches(&mutation.find).count();
        assert_eq!(
            times, 1,
            "{name}: its piece is {times} times in {}",
            mutation.file
        );
        assert!(
            !mutation.tests.is_empty() && mutation.find != mutation.put,
            "{name}"
        );
    }
}

/// Copies what is built and tested.
fn copy(to: &Path) {
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "archive.example.toml",
        ".clippy.toml",
    ] {
        fs::copy(root().join(name), to.join(name)).expect("copied");
    }
    for name in ["src", "tests", "jobs"] {
        copy_folder(&root().join(name), &to.join(name));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if fs::read(&path).ok() != fs::read(&target).ok() {
            // What is as it was keeps its time, so that little is built anew.
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// Runs these tests of the copy; the names of those that failed, or what the compiler says.
fn failing(copy: &Path, tests: &[String]) -> Result<Vec<String>, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(copy).args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--lib",
        "--test",
        "it",
        "--",
    ]);
    let out = cargo.args(tests).output().expect("cargo");
    let said = String::from_utf8_lossy(&out.stdout);
    if !said.contains("test result") {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    let failed = said
        .lines()
        .filter_map(|line| line.strip_suffix(" ... FAILED"));
    let names = failed.map(|line| line.trim_start_matches("test ").to_owned());
    Ok(names.collect())
}

#[test]
#[ignore = "builds larder once for each rule"]
fn mutations_are_all_found_out() {
    let only = std::env::var("LARDER_MUTATION").ok();
    let folder: PathBuf = root().join("target/mutations");
    fs::create_dir_all(&folder).expect("made");
    let mut unseen = Vec::new();
    for (name, mutation) in mutations() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        copy(&folder);
        let path = folder.join(&mutation.file);
        let text = fs::read_to_string(&path).expect("copied");
        fs::write(&path, text.replacen(&mutation.find, &mutation.put, 1)).expect("ours");
        println!("{name}: without `{}`", mutation.rule);
        match failing(&folder, &mutation.tests) {
            Err(said) => {
                println!("{said}");
                unseen.push(format!("{name} (not built)"));
            }
            Ok(failed) if failed.is_empty() => unseen.push(name),
            Ok(failed) => failed.iter().for_each(|test| println!("  fails: {test}")),
        }
    }
    assert!(unseen.is_empty(), "nobody noticed: {unseen:?}");
}
