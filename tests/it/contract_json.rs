//! The JSON that scripts read: every key of the contract is there and has its type, whatever has happened so far.

use serde_json::{Value, json};

use super::{
    shell::Shell,
    site::{Booru, Fault, What},
};

fn count(value: &Value) {
    assert!(value.is_u64(), "{value}");
}

fn text(value: &Value) {
    assert!(value.is_string(), "{value}");
}

fn time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value}"));
    assert!(
        text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'),
        "{text}"
    );
}

fn or_null(check: fn(&Value)) -> impl Fn(&Value) {
    move |value| {
        if !value.is_null() {
            check(value);
        }
    }
}

/// Hands out keys that must exist, null or not.
#[track_caller]
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    let object = value.as_object().unwrap_or_else(|| panic!("{value}"));
    object
        .get(key)
        .unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

#[track_caller]
fn counts(value: &Value, keys: &[&str]) {
    for key in keys {
        count(at(value, key));
    }
}

fn status_fits(status: &Value) {
    let archive = at(status, "archive");
    text(at(archive, "path"));
    or_null(text)(at(archive, "id"));
    counts(archive, &["objects", "bytes", "items", "records"]);
    if let Some(holder) = at(status, "holder").as_object() {
        text(&holder["kind"]);
        count(&holder["pid"]);
        time(&holder["since"]);
    }
    for job in at(status, "jobs").as_array().expect("a list") {
        for key in ["name", "site", "listing"] {
            text(at(job, key));
        }
        assert_eq!(at(job, "added"), false);
        let known = "idle queued running waiting paused done failed orphaned";
        let state = at(job, "state").as_str().expect("a word");
        assert!(known.split(' ').any(|s| s == state), "{state}");
        let reasons = "auth blocked rate_limited disk_full inodes read_only storage db_busy limit window user listing loop config";
        if let Some(reason) = at(job, "reason").as_str() {
            assert!(reasons.split(' ').any(|r| r == reason), "{reason}");
        }
        or_null(time)(at(job, "until"));
        counts(at(job, "pages"), &["done", "waiting"]);
        let items = "seen new changed unchanged filtered gone failed";
        counts(at(job, "items"), &items.split(' ').collect::<Vec<_>>());
        let files = ["stored", "deduplicated", "known", "waiting", "failed"];
        counts(at(job, "files"), &files);
        count(at(job, "bytes"));
        for key in ["files_per_s", "bytes_per_s"] {
            assert!(at(at(job, "rate"), key).is_number());
        }
        or_null(count)(at(job, "eta_s"));
        let last = at(job, "last_run");
        if !last.is_null() {
            time(at(last, "started"));
            or_null(time)(at(last, "ended"));
            or_null(text)(at(last, "result"));
        }
        counts(
            at(job, "total"),
            &["runs", "pages", "items", "files", "bytes"],
        );
    }
    for host in at(status, "hosts").as_array().expect("a list") {
        text(at(host, "host"));
        let state = at(host, "state").as_str().expect("a word");
        assert!(["ok", "slowed", "waiting", "broken"].contains(&state));
        or_null(time)(at(host, "until"));
        counts(host, &["requests", "throttled"]);
    }
}

fn status(shell: &Shell) -> Value {
    let status = shell.larder(&["status", "--json"]).ends(0).json();
    status_fits(&status);
    status
}

#[test]
fn status_keeps_the_contract_before_during_and_after_the_life_of_a_job() {
    let site = Booru::builder()
        .posts(5)
        .post(super::site::Post::delete)
        .comments(101, 1)
        .start();
    let files: Vec<_> = site.truth().into_iter().filter(|t| !t.deleted).collect();
    let bytes: usize = files.iter().map(|truth| truth.bytes.len()).sum();
    let shell = Shell::with_job(&site, "with = [\"comments\"]");

    let fresh = status(&shell);
    assert_eq!(fresh["jobs"][0]["state"], "idle");
    assert_eq!(fresh["jobs"][0]["last_run"], Value::Null);
    assert_eq!(fresh["archive"]["id"], Value::Null);
    assert_eq!(fresh["hosts"], json!([]));
    assert!(!shell.path("archive").exists(), "status makes nothing");

    shell.larder(&["run"]).ends(0);
    let ran = status(&shell);
    let job = &ran["jobs"][0];
    assert_eq!(job["state"], "done");
    assert_eq!(job["reason"], Value::Null);
    assert_eq!(job["last_run"]["result"], "done");
    assert_eq!(job["items"]["new"], 7);
    assert_eq!(job["items"]["gone"], 1);
    assert_eq!(job["files"]["stored"], 5);
    assert_eq!(job["bytes"], bytes);
    assert_eq!(job["pages"]["waiting"], 0);
    assert_eq!(job["total"]["runs"], 1);
    assert_eq!(job["total"]["files"], 5);
    assert_eq!(job["total"]["bytes"], bytes);
    assert_eq!(ran["archive"]["objects"], 5);
    assert_eq!(ran["archive"]["bytes"], bytes);
    assert_eq!(ran["archive"]["items"], 7);
    let id = ran["archive"]["id"].as_str().unwrap();
    assert!(
        std::fs::read_to_string(shell.path("archive/LARDER"))
            .unwrap()
            .contains(id)
    );
    assert_eq!(ran["hosts"][0]["host"], site.host());
    assert_eq!(ran["hosts"][0]["requests"], site.log().len());

    // A run adds to its life; what is above counts the last run only.
    shell.larder(&["run"]).ends(0);
    let twice = status(&shell);
    let job = &twice["jobs"][0];
    assert_eq!(job["total"]["runs"], 2);
    assert_eq!(job["total"]["files"], 5);
    assert_eq!(job["total"]["items"], 7);
    assert_eq!(job["items"]["new"], 0);
    assert_eq!(job["items"]["unchanged"], 7);
    assert_eq!(job["files"]["known"], 5);
    assert_eq!(job["bytes"], 0);

    // A job that has left the configuration is still told of.
    let text = std::fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write(
        "archive.toml",
        &text
            .replace("tags = \"seed\"", "tags = \"odd\"")
            .replace("\"seeds\"", "\"odds\""),
    );
    let orphaned = status(&shell);
    let states: Vec<_> = orphaned["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["name"].clone(), job["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [
            (json!("odds"), json!("idle")),
            (json!("seeds"), json!("orphaned"))
        ]
    );
    let one = shell.larder(&["status", "--json", "seeds"]).ends(0).json();
    assert_eq!(one["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn failures_keep_the_contract_and_can_be_picked_by_class() {
    let site = Booru::builder().posts(5).start();
    let shell = Shell::with_job(&site, "");
    assert_eq!(
        shell.larder(&["failures", "--json"]).ends(0).json(),
        json!([])
    );
    let [a, b, c, ..] = &site.truth()[..] else {
        panic!("five posts")
    };
    let always = |fault| vec![Fault::Forever(Box::new(fault))];
    site.script(
        What::File(a.id),
        always(Fault::Status(404, vec![], String::new())),
    );
    site.script(What::File(b.id), always(Fault::WrongBytes));
    site.script(What::File(c.id), always(Fault::HalfBody));
    shell.larder(&["run"]).ends(1);
    let all = shell.larder(&["failures", "--json"]).ends(0).json();
    let all = all.as_array().unwrap();
    for failure in all {
        assert_eq!(at(failure, "job"), "seeds");
        assert_eq!(at(failure, "site"), "mock");
        for key in ["item", "url", "message"] {
            text(at(failure, key));
        }
        count(at(failure, "tries"));
        time(at(failure, "first_at"));
        time(at(failure, "last_at"));
        or_null(time)(at(failure, "next_at"));
    }
    let class_of = |truth: &super::site::Truth| {
        let item = format!("post/{}", truth.id);
        let found = all.iter().find(|failure| failure["item"] == item);
        let found = found.unwrap_or_else(|| panic!("{item}: {all:?}"));
        assert_eq!(found["url"], truth.url);
        (
            found["class"].as_str().unwrap(),
            found["tries"].as_u64().unwrap(),
        )
    };
    assert_eq!(all.len(), 3);
    assert_eq!(class_of(a), ("http_404", 1));
    assert_eq!(class_of(b), ("checksum", 2));
    assert_eq!(class_of(c), ("truncated", 2));
    let some = shell
        .larder(&["failures", "seeds", "--class", "checksum", "--json"])
        .ends(0)
        .json();
    assert_eq!(some.as_array().unwrap().len(), 1);
    assert_eq!(some[0]["class"], "checksum");
    let status = status(&shell);
    assert_eq!(status["jobs"][0]["files"]["failed"], 3);
    assert_eq!(status["jobs"][0]["files"]["stored"], 2);
    assert_eq!(status["jobs"][0]["state"], "done");
    let words = shell.larder(&["failures"]).ends(0).out;
    assert!(words.contains("3 failed"), "{words}");
}

#[test]
fn a_listing_that_fails_is_a_failure_too_and_the_job_says_so() {
    let site = Booru::builder().posts(2).start();
    site.script(What::Page, vec![Fault::Forever(Box::new(Fault::Html))]);
    let shell = Shell::with_job(&site, "");
    shell.larder(&["run"]).ends(1);
    let job = &status(&shell)["jobs"][0];
    assert_eq!(
        (job["state"].as_str(), job["reason"].as_str()),
        (Some("failed"), Some("listing"))
    );
    let failures = shell.larder(&["failures", "--json"]).ends(0).json();
    assert_eq!(failures.as_array().unwrap().len(), 1);
    assert_eq!(failures[0]["class"], "listing");
    assert_eq!(failures[0]["item"], Value::Null);
}
