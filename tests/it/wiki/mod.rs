//! A dialect of one's own: the one that the README builds step by step, against a wiki.
//!
//! The README is read here, so that what it prints is what is tested.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod site;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use site::{Trouble, Wiki, name};

use crate::shell::{Shell, until};

const README: &str = include_str!("../../../README.md");

/// The blocks of the README's page about dialects that begin with this line.
fn blocks(first: &str) -> Vec<String> {
    let page = README.split("### A dialect of your own").nth(1).unwrap();
    let page = page.split("\n## ").next().unwrap();
    let blocks = page.split("```toml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.starts_with(first)).collect()
}

/// The finished dialect.
fn dialect() -> String {
    blocks("format = 1")
        .pop()
        .expect("the README has a dialect")
}

/// The README's configuration, against `wiki`.
fn shell(wiki: &Wiki, keys: &str) -> Shell {
    let shell = Shell::new();
    shell.write("dialects/wiki.toml", &dialect());
    let config = blocks("dialects = ")
        .pop()
        .expect("the README has a configuration");
    let host = wiki.url.trim_start_matches("http://");
    assert!(config.contains("https://wiki.example.org"), "{config}");
    let config = config.replace("https://wiki.example.org", &wiki.url);
    let more = format!(
        "{keys}\n[network]\nallow = [\"{host}\"]\nbackoff = \"10ms\"\n[sites.wiki]\nrate = \"unlimited\"\nmedia_rate = \"unlimited\"\n"
    );
    let config = config.replace("[sites.wiki]\n", &more);
    shell.write("archive.toml", &config);
    shell
}

/// The newest record of each file by its name.
fn records(shell: &Shell) -> BTreeMap<String, Value> {
    let log = shell.path("archive/records/current.jsonl");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let items = lines.filter(|line| line["type"] == "item");
    items
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line))
        .collect()
}

/// Fails the test unless every file of the wiki has its record and its bytes.
#[track_caller]
fn holds_everything(shell: &Shell, wiki: &Wiki) {
    let records = records(shell);
    for name in wiki.names() {
        let record = records
            .get(&name)
            .unwrap_or_else(|| panic!("{name} has no record"));
        let bytes = wiki.bytes(&name);
        let digest = hex::encode(Sha256::digest(&bytes));
        assert_eq!(record["files"][0]["sha256"], digest, "{record}");
        let object = shell
            .path("archive/objects")
            .join(&digest[..3])
            .join(&digest);
        assert_eq!(std::fs::read(object).unwrap(), bytes, "{name}");
    }
    assert_eq!(records.len(), wiki.names().len());
}

#[test]
fn the_dialect_of_the_readme_is_short_and_archives_the_wiki_whole() {
    let lines = dialect();
    assert!(lines.lines().count() <= 25, "{lines}");
    let wiki = Wiki::start(230);
    let shell = shell(&wiki, "");
    let checked = shell.larder(&["check"]).ends(0);
    assert!(checked.out.contains("all good"), "{}", checked.out);
    let dry = shell.larder(&["run", "--dry-run"]).ends(0);
    assert!(
        dry.out.contains("3 pages, 230 items, 230 files"),
        "{}",
        dry.out
    );
    wiki.forget();
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
    assert_eq!((wiki.pages().len(), wiki.files().len()), (3, 230));
    let record = &records(&shell)[&name(1)];
    assert_eq!(record["title"], "File:Äpfel 001 (50%).png");
    assert_eq!(record["author"]["name"], "Gardener");
    assert_eq!(record["created"], "2024-01-31T12:00:01Z");
    // The second run asks for pages only.
    wiki.forget();
    shell.larder(&["run"]).ends(0);
    assert_eq!((wiki.pages().len(), wiki.files().len()), (3, 0));
    for name in [
        "wiki/file/Ash_000.png".to_owned(),
        record["url"].as_str().unwrap().to_owned(),
    ] {
        let shown = shell.larder(&["show", &name]).ends(0).out;
        assert!(shown.contains("revision 1"), "{shown}");
    }
}

#[test]
fn every_step_of_the_readme_is_a_dialect_that_check_accepts() {
    let steps = blocks("format = 1");
    assert!(steps.len() >= 2, "the page builds it in steps");
    let wiki = Wiki::start(30);
    for step in &steps {
        let shell = shell(&wiki, "");
        shell.write("dialects/wiki.toml", step);
        shell.larder(&["check"]).ends(0);
        let dry = shell.larder(&["run", "--dry-run"]).ends(0);
        assert!(dry.out.contains("30 items"), "{step}\n{}", dry.out);
    }
}

#[test]
fn a_walk_that_was_killed_goes_on_where_it_was() {
    let wiki = Wiki::start(450);
    let shell = shell(&wiki, "");
    let names = wiki.names();
    wiki.stall(Some(&names[300]));
    let run = shell.start(&["run"]);
    until("the fourth page is asked for", || {
        (wiki.pages().len() == 4).then_some(())
    });
    drop(run);
    wiki.stall(None);
    wiki.forget();
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
    let pages: Vec<_> = wiki.pages().into_iter().map(|(_, uri)| uri).collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert!(
        pages
            .iter()
            .all(|uri| uri.contains("&aicontinue=") && uri.contains("&continue=-%7C%7C")),
        "{pages:?}"
    );
}

#[test]
fn a_wiki_that_lags_is_left_alone_as_long_as_it_says_although_the_reply_is_a_200() {
    let wiki = Wiki::start(10);
    wiki.trouble(&[Trouble::Lag(2), Trouble::Error("ratelimited")]);
    let shell = shell(&wiki, "");
    let ran = shell.larder(&["run"]).ends(0);
    assert!(ran.err.contains("rate_limited"), "{}", ran.err);
    holds_everything(&shell, &wiki);
    let pages = wiki.pages();
    let [first, second, third] = &pages[..] else {
        panic!("{pages:?}")
    };
    let waited = |a: &(Instant, String), b: &(Instant, String)| b.0.duration_since(a.0);
    assert!(waited(first, second) >= Duration::from_secs(2), "{pages:?}");
    assert!(
        waited(second, third) >= Duration::from_millis(5),
        "{pages:?}"
    );
    assert_eq!(shell.larder(&["failures", "--json"]).json(), json!([]));
}

#[test]
fn a_wiki_that_wants_a_login_pauses_the_job_and_says_why() {
    let wiki = Wiki::start(10);
    let shell = shell(&wiki, "");
    for code in ["readapidenied", "badtoken", "assertuserfailed"] {
        wiki.trouble(&[Trouble::Error(code)]);
        let ran = shell.larder(&["run"]).ends(3);
        assert!(ran.out.contains("paused (auth)"), "{}", ran.out);
        assert!(ran.out.contains("You need read permission"), "{}", ran.out);
    }
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
}

#[test]
fn bytes_that_the_listings_sha1_does_not_name_are_not_kept_and_a_new_version_is_fetched() {
    let wiki = Wiki::start(10);
    let shell = shell(&wiki, "");
    wiki.damage(&name(3));
    shell.larder(&["run"]).ends(1);
    let failures = shell.larder(&["failures", "--json"]).json();
    assert_eq!(
        (&failures[0]["class"], &failures[0]["item"]),
        (&json!("checksum"), &json!(format!("file/{}", name(3))))
    );
    wiki.mend();
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
    // Under the same name and address, with another hash.
    wiki.upload(&name(5), 2);
    wiki.forget();
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
    assert_eq!(wiki.files().len(), 1);
    assert_eq!(records(&shell)[&name(5)]["rev"], 2);
}

#[test]
fn a_file_that_has_two_names_is_fetched_once() {
    let wiki = Wiki::start(0);
    wiki.upload("One.png", 1);
    let shell = shell(&wiki, "");
    shell.larder(&["run"]).ends(0);
    wiki.copy("One.png", "Two.png");
    wiki.forget();
    shell.larder(&["run"]).ends(0);
    holds_everything(&shell, &wiki);
    assert_eq!(wiki.files(), [""; 0]);
}

#[test]
fn a_filter_that_does_not_end_fails_its_page_and_not_larder() {
    let wiki = Wiki::start(20);
    for (good, bad) in [
        ("'.query.allimages[]'", "'def f: [f]; f'"),
        ("id: .name", "id: (def f: 1 + f; f)"),
        ("'.continue'", "'def f: {a: f}; f'"),
    ] {
        let (shell, text) = (shell(&wiki, ""), dialect());
        assert!(text.contains(good), "{good} is not in\n{text}");
        shell.write("dialects/wiki.toml", &text.replacen(good, bad, 1));
        shell.larder(&["run"]).ends(1);
        let failures = shell.larder(&["failures", "--json"]).ends(0).json();
        assert_eq!(failures[0]["class"], "dialect", "{failures}");
        let message = failures[0]["message"].as_str().unwrap();
        assert!(
            message.contains("calls itself and does not end"),
            "{message}"
        );
        // It is asked once: another try would take as long.
        assert_eq!(
            (failures.as_array().unwrap().len(), wiki.pages().len()),
            (1, 1)
        );
        wiki.forget();
    }
}

#[test]
#[ignore = "serves the wiki of the README at 127.0.0.1:8866, to follow that page by hand, until it is killed"]
fn serves_the_wiki() {
    let _wiki = Wiki::at("127.0.0.1:8866", 230);
    loop {
        std::thread::park();
    }
}

/// A slip in the dialect: what is written instead of what, and what is said about it.
struct Slip {
    good: &'static str,
    bad: &'static str,
    says: &'static str,
    /// What the line has that is pointed at, when it is another one.
    at: Option<&'static str>,
}

const fn slip(good: &'static str, bad: &'static str, says: &'static str) -> Slip {
    let at = None;
    Slip {
        good,
        bad,
        says,
        at,
    }
}

/// What is mistyped, one at a time.
const SLIPS: [Slip; 14] = [
    slip("format = 1", "format = 2", "format 1"),
    slip("paging = {", "pageing = {", "`paging`"),
    slip("by = \"cursor\"", "by = \"curser\"", "`cursor`"),
    slip("timestamp%7C", "timestamp|", "write `%7C`"),
    slip("{limit}", "{limt}{&x", "not a URI template"),
    slip(
        "select(. != null)",
        "selct(. != null)",
        "unknown filter `selct`",
    ),
    slip(".query.allimages[]", ".query.allimages[", "closing bracket"),
    Slip {
        at: Some("paging ="),
        ..slip("next = '.continue'", "", "`next`")
    },
    slip("sha1,", "sha1:,", "at `,`"),
    slip("roles = [\"original\"]", "roles = \"original\"", "a list"),
    slip("size = 100", "size = \"100\"", "a whole number"),
    Slip {
        at: Some("aiprefix = {"),
        ..slip("{&aiprefix,", "{&aiprefx,", "did you mean `aiprefx`")
    },
    slip("type = \"text\"", "type = \"string\"", "`text`"),
    slip("/wiki/File:{id}", "/wiki/File:{name}", "{id}"),
];

#[test]
fn check_points_at_the_line_of_each_slip_in_a_dialect() {
    let wiki = Wiki::start(0);
    let mut all = String::new();
    for slip in SLIPS {
        let (shell, good) = (shell(&wiki, ""), dialect());
        assert!(good.contains(slip.good), "{} is not in\n{good}", slip.good);
        let line = good
            .lines()
            .position(|line| line.contains(slip.at.unwrap_or(slip.good)))
            .unwrap()
            + 1;
        shell.write("dialects/wiki.toml", &good.replacen(slip.good, slip.bad, 1));
        let err = shell.larder(&["check"]).ends(78).err;
        let folder = shell.path("").display().to_string();
        let err = err.replace(folder.trim_end_matches('/'), "DIR");
        let said = err
            .lines()
            .any(|said| said.contains(&format!("wiki.toml:{line}:")) && said.contains(slip.says));
        assert!(said, "line {line}, {}:\n{err}", slip.says);
        assert!(!err.contains("unknown dialect"), "{err}");
        all += &format!("## `{}` instead of `{}`\n{err}\n", slip.bad, slip.good);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_dry_run_says_what_is_wrong_with_entries_and_cursors() {
    let wiki = Wiki::start(120);
    for (good, bad, says) in [
        ("id: .name", "id: .nme", "`id` is null"),
        (
            "role: \"original\"",
            "role: \"file\"",
            "the role `file`, which `roles`",
        ),
        (
            "{&aiprefix,aicontinue",
            "{&aiprefix,aicontinu",
            "`next` gives `aicontinue`",
        ),
        (
            ".query.allimages[]",
            ".query.images[]",
            "not a page of `files`",
        ),
        (
            "list=allimages",
            "list=allimage",
            "Unrecognized value for parameter",
        ),
        (
            "class: ({",
            "class: \"oops\", x: ({",
            "unknown failure class `oops`",
        ),
    ] {
        let (shell, text) = (shell(&wiki, ""), dialect());
        assert!(text.contains(good), "{good} is not in\n{text}");
        shell.write("dialects/wiki.toml", &text.replacen(good, bad, 1));
        if says.contains("oops") {
            wiki.trouble(&vec![Trouble::Error("internal_api_error"); 6]);
        }
        let ran = shell.larder(&["run", "--dry-run"]);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(says), "{bad}: {said}");
        assert!(!Path::new(&shell.path("archive")).exists());
    }
}
