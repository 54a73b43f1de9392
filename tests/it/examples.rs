//! What larder ships to be copied loads: the example configuration and every example job.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{fs, path::Path};

use super::shell::Shell;

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("archive.example.toml");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_configuration_is_good_as_it_is() {
    let shell = Shell::new();
    shell.write("archive.toml", &example());
    let ran = shell.larder(&["check"]).ends(0);
    assert!(
        ran.out.contains("yande-landscape") && ran.out.contains("all good"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
}

#[test]
fn the_example_configuration_is_good_with_every_key_set() {
    let shell = Shell::new();
    let text = example();
    let all: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '-']) => rest,
            _ => line,
        })
        .collect();
    assert!(all.iter().filter(|line| line.contains(" = ")).count() > 45);
    shell.write("archive.toml", &all.join("\n"));
    shell.write(
        "jobs/one.toml",
        "site = \"konachan.com\"\nlisting = \"posts\"\n",
    );
    for (name, text) in [
        ("cookies.txt", "# Netscape HTTP Cookie File\n"),
        ("password.txt", "secret\n"),
    ] {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(shell.write(name, text), private).unwrap();
    }
    let ran = shell.larder(&["check"]).ends(0);
    assert!(ran.out.contains("2 jobs, all good"), "{}", ran.out);
    assert!(!ran.out.contains("secret"));
}

#[test]
fn every_example_job_loads() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    assert!(jobs.is_dir(), "{} is there", jobs.display());
    let files: Vec<_> = fs::read_dir(&jobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    assert!(!files.is_empty(), "an example is there");
    let shell = Shell::new();
    let glob = jobs.join("*.toml");
    let text = format!(
        "include = [{:?}]\n[archive]\npath = \"archive\"\n",
        glob.display().to_string()
    );
    shell.write("archive.toml", &text);
    let ran = shell.larder(&["check"]).ends(0);
    let s = if files.len() == 1 { "" } else { "s" };
    assert!(
        ran.out
            .contains(&format!("{} job{s}, all good", files.len())),
        "{}",
        ran.out
    );
    // Outside of this folder no secret is at hand: an example must load without.
    assert!(!ran.err.contains("mistake"), "{}", ran.err);
}

#[test]
fn every_listing_has_an_example_job() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let texts: Vec<_> = fs::read_dir(&jobs)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let catalog = larder::dialect::Catalog::built_in();
    for (dialect, site) in [
        ("moebooru", "yande.re"),
        ("pixiv", "pixiv"),
        ("pixiv-ab", "pixiv-ab"),
    ] {
        for (name, endpoint) in &catalog.get(dialect).unwrap().endpoints {
            // A job for one comment is told of in the one for all comments of a post; what goes on from another listing
            // is a part of that one's job.
            let lines = [
                format!("site = \"{site}\""),
                format!("listing = \"{name}\""),
            ];
            let all = |text: &&String| lines.iter().all(|line| text.contains(line.as_str()));
            let told = texts.iter().any(|text| all(&text));
            let part = ["works_shown", "recommend_more", "replies"].contains(&name.as_str());
            let wanted = endpoint.kind == larder::dialect::EndpointKind::Listing && !part;
            assert_eq!(told, wanted, "{lines:?}");
        }
    }
    assert!(
        texts
            .iter()
            .all(|text| text.starts_with('#') && text.contains("\nenabled = false\n")),
        "an example downloads nothing unasked"
    );
}
