//! Every command once, as a person or a script calls it: what it prints, how it ends, what it leaves.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{
    shell::{Shell, head},
    site::{Booru, Fault, What},
};

fn small() -> Booru {
    Booru::builder()
        .posts(4)
        .comments(101, 2)
        .notes(101, 2)
        .start()
}

/// A site of four posts and an archive that holds them.
fn archived() -> (Booru, Shell) {
    let site = small();
    let shell = Shell::with_job(&site, "");
    shell.larder(&["run"]).ends(0);
    (site, shell)
}

#[test]
fn without_a_configuration_every_command_says_what_to_do() {
    let shell = Shell::new();
    for command in [
        &["check"][..],
        &["run"],
        &["status"],
        &["failures"],
        &["retry"],
        &["verify"],
        &["show", "a/b/1"],
        &["cat", "0123456789"],
    ] {
        let ran = shell.larder(command).ends(78);
        assert!(ran.err.contains("archive.toml"), "{command:?}: {}", ran.err);
        assert!(ran.err.contains("-c"), "{command:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
    assert!(shell.files().is_empty());
}

#[test]
fn wrong_words_end_with_2_and_name_the_nearest_right_one() {
    let site = small();
    let shell = Shell::with_job(&site, "");
    for (args, hint) in [
        (&["chek"][..], "check"),
        (&["run", "seed"], "`seeds`"),
        (&["status", "seedz"], "`seeds`"),
        (&["failures", "seedz"], "`seeds`"),
        (&["retry", "seedz"], "`seeds`"),
        (&["failures", "--class", "http_44"], "http_404"),
        (&["sites", "yande.er"], "`yande.re`"),
        (&["sites", "moeboru"], "`moebooru`"),
        (&["run", "--until", "25:99"], "07:30"),
        (&["cat", "xyz"], "hex digits"),
        (&["path", "0123"], "hex digits"),
        (&["show", "seeds"], "SITE/KIND/ID"),
    ] {
        let ran = shell.larder(args).ends(2);
        assert!(ran.err.contains(hint), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
    assert!(site.log().is_empty());
}

#[test]
fn the_configuration_is_named_by_flag_or_by_environment_and_the_flag_wins() {
    let site = small();
    let shell = Shell::with_job(&site, "");
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write("else/where.toml", &text.replace("\"seeds\"", "\"beans\""));
    let ran = shell.larder(&["-c", "else/where.toml", "check"]).ends(0);
    assert!(ran.out.contains("beans") && ran.out.contains("else/where.toml"));
    // Global options may stand behind the command too.
    let ran = shell.larder(&["check", "-c", "else/where.toml"]).ends(0);
    assert!(ran.out.contains("beans"));
    let by_env = |args: &[&str]| {
        let mut command = shell.command(args);
        command.env("LARDER_CONFIG", "else/where.toml");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(by_env(&["check"]).contains("beans"));
    assert!(by_env(&["-c", "archive.toml", "check"]).contains("seeds"));
    // Paths are relative to the file that names them.
    shell.larder(&["-c", "else/where.toml", "run"]).ends(0);
    assert!(shell.path("else/archive/LARDER").is_file());
    assert!(!shell.path("archive").exists());
}

#[test]
fn a_run_archives_and_a_second_one_fetches_no_file() {
    let site = small();
    let shell = Shell::with_job(&site, "with = [\"comments\", \"notes\"]");
    let ran = shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("Made the archive"), "{}", ran.out);
    assert!(ran.out.contains("8 new"), "{}", ran.out);
    assert_eq!(site.files().len(), 4);
    for truth in site.truth() {
        let path = format!("archive/objects/{}/{}", &truth.sha256[..3], truth.sha256);
        assert_eq!(fs::read(shell.path(&path)).unwrap(), truth.bytes);
    }
    let ran = shell.larder(&["run", "seeds"]).ends(0);
    assert!(ran.out.contains("8 unchanged"), "{}", ran.out);
    assert!(!ran.out.contains("Made the archive"));
    assert_eq!(site.files().len(), 4);
    let ran = shell.larder(&["-q", "run"]).ends(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
}

#[test]
fn a_dry_run_counts_and_leaves_no_file_at_all() {
    let site = small();
    let shell = Shell::with_job(&site, "where = '.tags | any(. == \"mod7_2\") | not'");
    let before = shell.files();
    let ran = shell.larder(&["run", "--dry-run"]).ends(0);
    for words in ["seeds: ", "3 items", "3 files", "1 refused by `where`"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert_eq!(shell.files(), before);
    assert!(!shell.path("archive").exists());
    assert!(site.files().is_empty());
}

#[test]
fn another_archive_than_the_one_named_is_refused_with_78() {
    let (site, shell) = archived();
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    let named = text.replace(
        "path = \"archive\"",
        "path = \"archive\"\nid = \"00000000\"",
    );
    shell.write("archive.toml", &named);
    site.clear_log();
    let before = shell.files();
    let ran = shell.larder(&["run"]).ends(78);
    assert!(ran.err.contains("00000000"), "{}", ran.err);
    // An empty mount point in the archive's place.
    shell.write("archive.toml", &named.replace("\"archive\"", "\"empty\""));
    shell.larder(&["run"]).ends(78);
    assert!(!shell.path("empty").exists());
    shell.write("archive.toml", &named);
    assert_eq!(shell.files(), before);
    assert!(site.log().is_empty());
}

#[test]
fn where_sees_the_item_as_show_prints_it() {
    let site = small();
    for predicate in [
        ".id == \"101\"",
        ".created | startswith(\"2023-11-14T22:13:20\")",
        ".url | endswith(\"/post/show/101\") and startswith(\"http\")",
    ] {
        let shell = Shell::with_job(&site, &format!("where = '{predicate}'"));
        let ran = shell.larder(&["run", "--dry-run"]).ends(0);
        assert!(ran.out.contains(" 1 item"), "{predicate}: {}", ran.out);
    }
}

#[test]
fn a_dry_run_says_why_it_failed_and_ends_with_1() {
    let site = small();
    site.script(
        What::Page,
        vec![Fault::Forever(Box::new(Fault::Status(
            404,
            vec![],
            "gone".to_owned(),
        )))],
    );
    let shell = Shell::with_job(&site, "");
    let ran = shell.larder(&["run", "--dry-run"]).ends(1);
    assert!(
        ran.err.contains("seeds") && ran.err.contains("http_404"),
        "{}",
        ran.err
    );
    assert!(!shell.path("archive").exists());
}

#[test]
fn a_job_that_is_not_enabled_runs_only_by_name() {
    let site = small();
    let shell = Shell::with_job(&site, "enabled = false");
    let ran = shell.larder(&["run"]).ends(2);
    assert!(
        ran.err.contains("is enabled; name one: `larder run seeds`"),
        "{}",
        ran.err
    );
    assert!(shell.larder(&["check"]).ends(0).out.contains("not enabled"));
    shell.larder(&["run", "seeds"]).ends(0);
    assert_eq!(site.files().len(), 4);
}

#[test]
fn show_takes_a_name_or_a_web_address() {
    let (site, shell) = archived();
    let truth = &site.truth()[0];
    let name = format!("mock/post/{}", truth.id);
    let text = shell.larder(&["show", &name]).ends(0).out;
    for words in [&name, &truth.sha256, "revision 1", "author   uploader"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let address = format!("{}/post/show/{}", site.url(), truth.id);
    assert_eq!(shell.larder(&["show", &address]).ends(0).out, text);
    // As a browser shows it: with the tags behind it, and a place on the page.
    let long = format!("{address}/seed-even#c1");
    assert_eq!(shell.larder(&["show", &long]).ends(0).out, text);

    let record = shell.larder(&["show", "--json", &name]).ends(0).json();
    assert_eq!(record["v"], 1);
    assert_eq!(record["type"], "item");
    assert_eq!(record["id"], truth.id.to_string());
    assert_eq!(record["files"][0]["sha256"], truth.sha256.as_str());
    assert_eq!(record["files"][0]["bytes"], truth.bytes.len());
    assert_eq!(record["raw"]["posts"]["md5"], truth.md5.as_str());

    for unknown in ["mock/post/9", "mock/pool/1", "nowhere/post/1"] {
        let ran = shell.larder(&["show", unknown]).ends(1);
        assert!(ran.err.contains(unknown), "{}", ran.err);
    }
    let elsewhere = shell.larder(&["show", "https://example.org/post/show/1"]);
    assert!(elsewhere.err.contains(&site.url()), "{}", elsewhere.err);
}

#[test]
fn cat_gives_the_bytes_and_path_the_place() {
    let (site, shell) = archived();
    for truth in site.truth() {
        for digest in [&truth.sha256[..], &truth.sha256[..8]] {
            assert_eq!(shell.larder(&["cat", digest]).ends(0).bytes, truth.bytes);
        }
        let upper = truth.sha256.to_uppercase();
        assert_eq!(shell.larder(&["cat", &upper]).ends(0).bytes, truth.bytes);
        let path = shell.larder(&["path", &truth.sha256[..12]]).ends(0).out;
        assert!(path.trim_end().ends_with(&truth.sha256));
        assert!(path.starts_with('/'));
        assert_eq!(fs::read(path.trim_end()).unwrap(), truth.bytes);
    }
    for command in ["cat", "path"] {
        for unknown in ["0123456789", &"0".repeat(64)] {
            let ran = shell.larder(&[command, unknown]).ends(1);
            assert!(ran.err.contains(unknown) && ran.out.is_empty());
        }
        for malformed in ["", "abc", "not-a-digest", &"0".repeat(65)] {
            shell.larder(&[command, malformed]).ends(2);
        }
    }
}

#[test]
fn verify_reports_every_sort_of_damage_and_changes_nothing() {
    let (site, shell) = archived();
    let ran = shell.larder(&["verify"]).ends(0);
    assert!(ran.out.contains("4 objects are whole"), "{}", ran.out);
    let json = shell.larder(&["verify", "--json"]).ends(0).json();
    assert_eq!(json["good"], 4);
    assert_eq!(json["damage"], serde_json::json!([]));

    let names: Vec<_> = site.truth().into_iter().map(|t| t.sha256).collect();
    let place = |name: &str| shell.path(&format!("archive/objects/{}/{name}", &name[..3]));
    let open = |name: &str| {
        fs::set_permissions(place(name), fs::Permissions::from_mode(0o644)).unwrap();
        fs::read(place(name)).unwrap()
    };
    let mut bytes = open(&names[0]);
    bytes[7] ^= 0x10;
    fs::write(place(&names[0]), &bytes).unwrap();
    let bytes = open(&names[1]);
    fs::write(place(&names[1]), &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(place(&names[2])).unwrap();
    shell.write("archive/objects/readme.txt", "not larder's");

    let before = shell.files();
    let ran = shell.larder(&["verify"]).ends(1);
    for (kind, what) in [
        ("corrupt", &names[0]),
        ("corrupt", &names[1]),
        ("missing", &names[2]),
        ("foreign", &"readme.txt".to_owned()),
    ] {
        let found = ran
            .out
            .lines()
            .any(|line| line.starts_with(kind) && line.contains(what.as_str()));
        assert!(found, "{kind} {what}: {}", ran.out);
    }
    assert!(ran.out.contains("4 damaged"), "{}", ran.out);
    let json = shell.larder(&["verify", "--json"]).ends(1).json();
    assert_eq!(json["good"], 1);
    assert_eq!(json["damage"].as_array().unwrap().len(), 4);
    assert_eq!(shell.files(), before);
}

#[test]
fn sites_tells_what_can_be_archived_even_without_a_configuration() {
    let shell = Shell::new();
    let all = shell.larder(&["sites"]).ends(0).out;
    for name in ["yande.re", "konachan.com", "sakugabooru.com", "moebooru"] {
        assert!(all.contains(name), "{name}: {all}");
    }
    let one = shell.larder(&["sites", "yande.re"]).ends(0).out;
    for words in ["posts", "tags", "text", "comments", "original", "post_id"] {
        assert!(one.contains(words), "{words}: {one}");
    }
    let ran = shell.larder(&["sites", "nosuch"]).ends(2);
    assert!(ran.err.contains("known: ") && ran.err.contains("`yande.re`"));
    // A site of one's own is listed too.
    let site = small();
    shell.write("archive.toml", &head(&site));
    assert!(shell.larder(&["sites"]).ends(0).out.contains(&site.url()));
    shell.larder(&["sites", "mock"]).ends(0);
}

#[test]
fn completions_know_the_commands() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish"] {
        let ran = shell.larder(&["completions", name]).ends(0);
        for command in ["check", "failures", "verify", "dry-run"] {
            assert!(ran.out.contains(command), "{name}: {command}");
        }
    }
    shell.larder(&["completions", "cmd"]).ends(2);
}

#[test]
fn results_go_to_standard_output_and_logs_to_standard_error() {
    let site = small();
    site.script(
        What::File(101),
        vec![Fault::Forever(Box::new(Fault::Status(
            404,
            vec![],
            String::new(),
        )))],
    );
    let shell = Shell::with_job(&site, "");
    let ran = shell.larder(&["--log-format", "json", "run"]).ends(1);
    assert!(ran.out.contains("1 failed") && !ran.out.contains("WARN"));
    let lines: Vec<serde_json::Value> = ran
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert!(
        lines.iter().any(|line| line["level"] == "WARN"),
        "{lines:?}"
    );
}
