//! `larder demo`: the first thing that a newcomer runs.

use std::{fs, os::unix::fs::PermissionsExt};

use sha2::{Digest, Sha256};

use super::shell::Shell;

#[test]
fn the_demo_archives_its_site_once_and_the_archive_is_sound() {
    let shell = Shell::new();
    let ran = shell.larder(&["demo", "--dir", "tour"]).ends(0);
    assert!(ran.out.contains("294 files"), "{}", ran.out);
    let again = shell.larder(&["demo", "--dir", "tour"]).ends(0).out;
    assert!(again.contains("and 0 files"), "{again}");

    assert!(shell.path("tour/LARDER").is_file());
    let (mut objects, mut posts) = (0, std::collections::BTreeSet::new());
    for (path, bytes) in shell.files() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let within = path.strip_prefix(shell.path("tour")).unwrap().to_owned();
        if within.starts_with("objects") {
            objects += 1;
            assert_eq!(hex::encode(Sha256::digest(&bytes)), name);
            assert_eq!(within.iter().nth(1).unwrap(), &name[..3]);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o444, "{name}");
        }
        if within == std::path::Path::new("records/current.jsonl") {
            for line in String::from_utf8(bytes).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                if line["type"] == "item" && line["kind"] == "post" {
                    posts.insert(line["id"].as_str().unwrap().to_owned());
                }
            }
        }
    }
    assert_eq!((objects, posts.len()), (294, 320));
    let c = ["-c", "tour/archive.toml"];
    shell.larder(&[c[0], c[1], "verify"]).ends(0);
    for n in [1001, 1121, 1137, 1250, 1320] {
        let name = format!("demo/post/{n}");
        let ran = shell.larder(&[c[0], c[1], "show", &name]).ends(0);
        assert!(ran.out.contains(&name));
    }
    // The commands that the demo proposes work as they are written.
    let words = "larder -c tour/archive.toml failures";
    assert!(again.contains(words), "{again}");
    let ran = shell.larder(&[c[0], c[1], "failures"]).ends(0);
    assert!(ran.out.contains("post/1137") && ran.out.contains("http_404"));
}

#[test]
fn the_demo_does_not_overwrite_a_configuration_that_is_not_its_own() {
    let shell = Shell::new();
    shell.write("mine/archive.toml", "[archive]\npath = \"x\"\n");
    let before = shell.files();
    let ran = shell.larder(&["demo", "--dir", "mine"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("--dir"), "{}", ran.err);
    assert_eq!(shell.files(), before);
}
