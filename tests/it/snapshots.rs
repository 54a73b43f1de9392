//! What people read, whole: a change of wording or layout shows up here to be looked at.
//!
//! Numbers that differ from run to run are replaced by a word of the same width class before comparison.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::{
    shell::Shell,
    site::{Booru, Fault, What},
};

/// Replaces what differs from run to run: the folder, ports, times and spans.
fn steady(text: &str, shell: &Shell) -> String {
    let folder = shell.path("");
    let text = text.replace(folder.to_str().unwrap().trim_end_matches('/'), "DIR");
    let lines: Vec<_> = text.lines().map(steady_line).collect();
    lines.join("\n")
}

fn steady_line(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let tail =
            words[at].trim_start_matches(|c: char| c.is_ascii_digit() || "-:.TZ".contains(c));
        let cut = words[at].len() - tail.len();
        let (head, tail) = (words[at][..cut].to_owned(), tail.to_owned());
        let next = words.get(at + 1).map_or("", String::as_str);
        let unit = next.trim_end_matches([':', ',', ')']);
        if head.len() == 10 && head.matches('-').count() == 2 {
            words[at] = format!("DATE{tail}");
        } else if head.len() == 8 && head.matches(':').count() == 2 {
            words[at] = format!("TIME{tail}");
        } else if ["ms", "s", "min"].contains(&unit) && !head.is_empty() {
            let rest = next[unit.len()..].to_owned();
            "SPAN".clone_into(&mut words[at]);
            words[at + 1] = format!("-{rest}");
        } else if let Some((before, after)) = words[at].split_once("127.0.0.1:") {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            words[at] = format!("{before}HOST{rest}");
        }
    }
    words.join(" ")
}

#[track_caller]
fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn help_of_the_whole() {
    let shell = Shell::new();
    let text = shell.larder(&["--help"]).ends(0).out;
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn help_of_run() {
    let shell = Shell::new();
    let text = shell.larder(&["run", "--help"]).ends(0).out;
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn sites_of_a_built_in_one() {
    let shell = Shell::new();
    let text = shell.larder(&["sites", "yande.re"]).ends(0).out;
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn help_of_what_takes_addresses_and_sites() {
    let shell = Shell::new();
    for command in ["add", "forget", "call", "doctor"] {
        let text = shell.larder(&[command, "--help"]).ends(0).out;
        fits(&text);
        insta::assert_snapshot!(format!("help_of_{command}"), text);
    }
}

#[test]
fn add_doctor_and_forget_as_they_are_read() {
    let site = Booru::builder().posts(4).start();
    let shell = Shell::new();
    shell.write("archive.toml", &super::shell::head(&site));
    let mut said = String::new();
    let url = |rest: &str| format!("{}{rest}", site.url());
    for args in [
        &[
            "add",
            &url("/post?tags=even+seed"),
            "nowhere.example/x",
            &url("/help/about"),
        ][..],
        &[
            "add",
            "--every",
            "6h",
            &url("/post/show/101"),
            &url("/post/show/104/some-tags"),
        ],
        &["add", &url("/post.json?tags=seed+even")],
        &["add", &url("/post.json?tags=even%20seed")],
        &["status"],
        &["check"],
        &["forget", "mock-even-seed"],
        &["doctor", "mock"],
        &["call", "mock", "posts", "tags=id:1"],
        &["call", "mock", "posts", "tag=x"],
    ] {
        let ran = shell.larder(args);
        let (args, code) = (args.join(" "), ran.code);
        let out = ran
            .out
            .lines()
            .filter(|line| !line.contains("id = "))
            .collect::<Vec<_>>()
            .join("\n");
        said += &format!("$ larder {args}\n{out}\n{}[{code}]\n\n", ran.err);
    }
    insta::assert_snapshot!(steady(&said, &shell));
}

/// A configuration with a mistake of every common sort.
const MISTAKES: &str = r#"[archive]
path = "archive"
minfree = "1 GiB"

[network]
header_timeout = "30 parsecs"

[[jobs]]
name = "hills"
site = "yande.er"
listing = "posts"

[[jobs]]
name = "rivers"
site = "yande.re"
listing = "post"

[[jobs]]
name = "lakes"
site = "yande.re"
listing = "posts"
params = { tag = "lake" }

[[jobs]]
name = "talk"
site = "yande.re"
listing = "comments"

[[jobs]]
name = "woods"
site = "yande.re"
listing = "posts"
params = { tags = "woods limit:20" }
with = ["coments"]
where = ".tags | any(. == \"oak\""
max_bytes = 50
every = "6"
"#;

#[test]
fn check_names_every_mistake_with_its_place_and_the_nearest_word() {
    let shell = Shell::new();
    shell.write("archive.toml", MISTAKES);
    let ran = shell.larder(&["check"]).ends(78);
    assert_eq!(ran.out, "");
    for (place, text, hint) in [
        (":3:1:", "minfree", "`min_free`"),
        (":6:18:", "30 parsecs", "`min`"),
        (":10:8:", "yande.er", "`yande.re`"),
        (":16:11:", "post", "`posts`"),
        (":22:", "tag", "`tags`"),
        (":24:1:", "talk", "`post_id`"),
        (":33:", "limit:20", "`max_items`"),
        (":34:9:", "coments", "`comments`"),
        (":35:9:", "where", "jq"),
        (":36:13:", "max_bytes", "expected text"),
        (":37:9:", "`6`", "unit"),
    ] {
        let found = ran.err.lines().any(|line| {
            line.contains(&format!("archive.toml{place}"))
                && line.contains(text)
                && line.contains(hint)
        });
        assert!(found, "{place} {text} {hint}:\n{}", ran.err);
    }
    insta::assert_snapshot!(steady(&ran.err, &shell));
}

#[test]
fn check_of_a_good_configuration() {
    let shell = Shell::new();
    shell.write(
        "archive.toml",
        r#"[archive]
path = "archive"

[sites."konachan.com"]
headers = { Authorization = { env = "LARDER_TEST_TOKEN" } }
bandwidth = "2 MB/s"

[[jobs]]
name = "hills"
site = "yande.re"
listing = "posts"
params = { tags = "hills id:100..5000" }
with = ["comments", "pools"]
every = "6h"

[[jobs]]
name = "lakes"
site = "konachan.com"
listing = "posts"
params = { tags = "lake order:score" }
cron = "0 3 * * *"
enabled = false

[[jobs]]
name = "nothing"
site = "yande.re"
listing = "posts"
params = { tags = "id:>9 id:<5" }
"#,
    );
    let ran = shell.larder(&["check"]).ends(0);
    assert_eq!(ran.err, "");
    insta::assert_snapshot!(steady(&ran.out, &shell));
}

#[test]
fn check_of_broken_toml() {
    let shell = Shell::new();
    shell.write(
        "archive.toml",
        "[archive]\npath = \"archive\"\n\n[[jobs]\nname = \"hills\"\n",
    );
    let ran = shell.larder(&["check"]).ends(78);
    insta::assert_snapshot!(steady(&ran.err, &shell));
    shell.write("archive.toml", "[archive]\npath = archive\n");
    let ran = shell.larder(&["check"]).ends(78);
    insta::assert_snapshot!(steady(&ran.err, &shell));
}

#[test]
fn a_configuration_that_is_not_there() {
    let shell = Shell::new();
    let ran = shell.larder(&["run"]).ends(78);
    insta::assert_snapshot!(steady(&ran.err, &shell));
}

/// Two jobs run, one never; one file is lost, one listing wants a login.
fn busy_shell() -> (Booru, Booru, Shell) {
    let site = Booru::builder()
        .posts(6)
        .comments(101, 2)
        .post(super::site::Post::delete)
        .start();
    let closed = Booru::builder().posts(1).require_login(true).start();
    site.script(
        What::File(101),
        vec![Fault::Status(404, vec![], String::new())],
    );
    let other = super::shell::head(&closed)
        .split_once("[sites.mock]")
        .unwrap()
        .1
        .to_owned();
    let more = format!(
        r#"with = ["comments"]

[[jobs]]
name = "a-name-that-is-longer-than-the-column"
site = "mock"
listing = "posts"
params = {{ tags = "even" }}
enabled = false

[[jobs]]
name = "behind-a-login"
site = "closed"
listing = "posts"

[sites.closed]
{}"#,
        other.replace("\"mock\"", "\"closed\"")
    );
    let shell = Shell::with_job(&site, &more);
    let text = std::fs::read_to_string(shell.path("archive.toml")).unwrap();
    let both = format!("allow = [\"{}\", ", closed.host());
    shell.write("archive.toml", &text.replace("allow = [", &both));
    (site, closed, shell)
}

#[test]
fn status_before_and_after_a_run() {
    let (_site, _closed, shell) = busy_shell();
    let text = steady(&shell.larder(&["status"]).ends(0).out, &shell);
    fits(&text);
    insta::assert_snapshot!("status_fresh", text);
    let summary = shell.larder(&["run"]).ends(3).out;
    // The archive's id is another one each time.
    let summary: Vec<_> = summary
        .lines()
        .filter(|line| !line.contains("id = "))
        .collect();
    insta::assert_snapshot!("run_summary", steady(&summary.join("\n"), &shell));
    let text = steady(&shell.larder(&["status"]).ends(0).out, &shell);
    fits(&text);
    insta::assert_snapshot!("status_after", text);
    let text = steady(&shell.larder(&["failures"]).ends(0).out, &shell);
    insta::assert_snapshot!("failures", text);
}
