//! Requests by hand: `larder call` and `larder doctor`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    shell::{Shell, head},
    site::{Booru, Fault, What},
};

fn empty(site: &Booru, keys: &str) -> Shell {
    let shell = Shell::new();
    shell.write("archive.toml", &format!("{}{keys}\n", head(site)));
    shell
}

/// A configuration in which the site is yande.re, whose salt is known.
fn with_login(site: &Booru, password: &str) -> Shell {
    let login = format!("login = {{ user = \"reader\", password = \"{password}\" }}");
    let shell = empty(site, &login);
    let text = std::fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write(
        "archive.toml",
        &text.replace("[sites.mock]", "[sites.\"yande.re\"]"),
    );
    shell
}

/// The state of each check.
fn states(report: &Value) -> Vec<(String, String)> {
    let word = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| (word(check, "check"), word(check, "state")))
        .collect()
}

fn state(report: &Value, check: &str) -> String {
    let states = states(report);
    states
        .into_iter()
        .find(|(name, _)| name == check)
        .unwrap_or_else(|| panic!("{report}"))
        .1
}

#[test]
fn call_asks_once_and_prints_what_the_site_said() {
    let site = Booru::builder().posts(5).comments(101, 2).start();
    let shell = empty(&site, "");
    let ran = shell
        .larder(&["call", "mock", "posts", "tags=seed even"])
        .ends(0);
    assert_eq!(
        (ran.json().as_array().unwrap().len(), ran.err.as_str()),
        (3, "")
    );
    let ids = site.ids();
    for (pages, found) in [
        (&["limit=2"][..], &ids[3..]),
        (&["limit=2", "page=2"], &ids[1..3]),
        (&[&*format!("before={}", ids[2])], &ids[..2]),
    ] {
        let args = ["call", "mock", "posts"]
            .iter()
            .chain(pages)
            .copied()
            .collect::<Vec<_>>();
        let posts = shell.larder(&args).ends(0).json();
        let shown: Vec<_> = posts
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|post| post["id"].as_u64().unwrap())
            .collect();
        assert_eq!(shown, found, "{pages:?}");
    }
    let comments = shell
        .larder(&["call", "mock", "comments", "post_id=101"])
        .ends(0)
        .json();
    assert_eq!(comments.as_array().unwrap().len(), 2);
    assert_eq!(site.log().len(), 5);
    // Nothing was made for it.
    assert_eq!(shell.files().len(), 1);
}

#[test]
fn call_names_the_nearest_word_before_it_asks() {
    let site = Booru::builder().posts(1).start();
    let shell = empty(
        &site,
        "headers = { Token = { env = \"LARDER_TEST_NEVER_SET\" } }",
    );
    for (args, hint) in [
        (&["mok", "posts"][..], "did you mean `mock`?"),
        (&["mock", "post"], "did you mean `posts`?"),
        (&["mock", "posts", "tag=x"], "did you mean `tags`?"),
        (&["mock", "posts", "befor=3"], "did you mean `before`?"),
        (
            &["mock", "posts", "limit=many"],
            "`many` is not a whole number above 0",
        ),
        (
            &["mock", "comments", "post_id=x"],
            "`post_id`: `x` is not a whole number",
        ),
        (&["mock", "comments"], "`post_id` (int) is missing"),
        (&["mock", "posts", "tags"], "KEY=VALUE"),
    ] {
        let args: Vec<_> = ["call"].iter().chain(args).copied().collect();
        let ran = shell.larder(&args).ends(2);
        assert!(ran.err.contains(hint), "{args:?}: {}", ran.err);
    }
    let ran = shell.larder(&["call", "mock", "posts"]).ends(78);
    assert!(ran.err.contains("LARDER_TEST_NEVER_SET"), "{}", ran.err);
    assert!(site.log().is_empty());
}

#[test]
fn call_says_what_a_refusal_is_and_what_to_do() {
    let site = Booru::builder().posts(1).start();
    let shell = empty(&site, "");
    let status = |status, body: &str| {
        Fault::Status(
            status,
            vec![("Content-Type", "application/json")],
            body.to_owned(),
        )
    };
    for (fault, words) in [
        (
            Fault::RetryAfter(429, "30".to_owned()),
            &["(rate_limited)", "to do: wait"][..],
        ),
        (Fault::Html, &["an HTML page", "(listing)"]),
        (
            status(403, r#"{"success":false,"reason":"access denied"}"#),
            &["access denied", "(auth)"],
        ),
        (
            status(
                500,
                r#"{"success":false,"reason":"Error: You cannot search for more than 6 tags at a time"}"#,
            ),
            &["more than 6 tags", "(http_4xx)"],
        ),
        (
            Fault::Body("text/plain", b"so what".to_vec()),
            &["not JSON", "(listing)"],
        ),
        (Fault::Reset, &["(connect)", "in a browser"]),
    ] {
        site.script(What::Page, vec![fault.clone()]);
        let ran = shell.larder(&["call", "mock", "posts"]).ends(1);
        for word in words {
            assert!(ran.err.contains(word), "{fault:?}: {word}: {}", ran.err);
        }
        assert_eq!(ran.out, "");
    }
    assert_eq!(site.log().len(), 6, "nothing is asked twice");
    let ran = shell
        .larder(&["call", "mock", "posts", "tags=id:>9 id:<5"])
        .ends(1);
    assert!(ran.err.contains("match nothing"), "{}", ran.err);
}

#[test]
fn a_wait_that_a_run_was_asked_for_holds_for_requests_by_hand() {
    let site = Booru::builder().posts(1).start();
    site.script(What::Page, vec![Fault::RetryAfter(503, "3600".to_owned())]);
    let shell = Shell::with_job(&site, "");
    let run = shell.start(&["run"]);
    super::shell::until("the wait is known", || {
        let status = shell.larder(&["status", "--json"]).json();
        (status["hosts"][0]["state"] == "waiting").then_some(())
    });
    for args in [&["call", "mock", "posts"][..], &["doctor", "mock"]] {
        let ran = shell.larder(args).ends(1);
        let said = ran.out + &ran.err;
        assert!(
            said.contains("asked to wait: to be left alone until ")
                && said.contains("(rate_limited)"),
            "{said}"
        );
    }
    assert_eq!(site.log().len(), 1);
    let pid = rustix::process::Pid::from_raw(run.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    run.wait().ends(3);
}

#[test]
fn requests_by_hand_log_in_and_show_no_secret() {
    let site = Booru::builder().posts(1).require_login(true).start();
    let shell = with_login(&site, "your-password");
    let ran = shell.larder(&["-vv", "call", "yande.re", "posts"]).ends(0);
    let [page] = &site.pages()[..] else {
        panic!("one request")
    };
    let hash = page.param("password_hash").expect("logged in").to_owned();
    assert!(!(ran.out + &ran.err).contains(&hash));
    let wrong = with_login(&site, "S3CRET")
        .larder(&["call", "yande.re", "posts"])
        .ends(1);
    assert!(
        wrong.err.contains("(auth)") && !wrong.err.contains("S3CRET"),
        "{}",
        wrong.err
    );
}

#[test]
fn doctor_finds_a_site_well_with_three_requests() {
    let site = Booru::builder().posts(30).require_login(true).start();
    let shell = with_login(&site, "your-password");
    let report = shell
        .larder(&["doctor", "yande.re", "--json"])
        .ends(0)
        .json();
    let wanted = [
        "reach ok",
        "agent ok",
        "clock skipped",
        "listing ok",
        "login ok",
        "media ok",
    ];
    let found: Vec<_> = states(&report)
        .into_iter()
        .map(|(check, state)| format!("{check} {state}"))
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(report["requests"], 3);
    let log = site.log();
    assert_eq!((site.pages().len(), site.files().len()), (2, 1));
    assert_ne!(log[0].param("password_hash"), log[1].param("password_hash"));
    assert_eq!(log[0].param("limit"), Some("20"));
    let text = shell.larder(&["doctor", "yande.re"]).ends(0).out;
    assert!(
        text.contains("accepted; a wrong one is refused")
            && text.contains("3 requests; all is well"),
        "{text}"
    );
    assert!(!shell.path("archive").exists());
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let site = Booru::builder().posts(3).require_login(true).start();
    let ran = with_login(&site, "S3CRET")
        .larder(&["doctor", "yande.re"])
        .ends(1);
    assert!(
        ran.out.contains("login    failed   the site answered 403")
            && ran.out.contains("1 request; 1 thing to do"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("S3CRET"));

    let site = Booru::builder().posts(3).browsers_only(true).start();
    let report = empty(&site, "")
        .larder(&["doctor", "mock", "--json"])
        .ends(1)
        .json();
    assert_eq!(
        (
            state(&report, "reach"),
            state(&report, "agent"),
            state(&report, "media")
        ),
        ("ok".to_owned(), "failed".to_owned(), "skipped".to_owned())
    );
    assert!(
        report["checks"][1]["message"]
            .as_str()
            .unwrap()
            .contains("larder/"),
        "{report}"
    );
    assert_eq!(report["requests"], 1);

    let site = Booru::builder().posts(3).start();
    let shell = empty(&site, "");
    let right = super::site::client::get(&site, "/post.json?limit=3").json();
    let body = |value: &Value| Fault::Body("application/json", value.to_string().into_bytes());
    let mut elsewhere = right.clone();
    elsewhere[0]["file_url"] = json!("https://files.example.org/x.png");
    let mut broken = right.clone();
    broken[1] = json!({ "id": null });
    let early =
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let early: &'static str = early.leak();
    let dated = Fault::Status(
        200,
        vec![("Content-Type", "application/json"), ("Date", early)],
        right.to_string(),
    );
    for (fault, what, check, words) in [
        (
            body(&elsewhere),
            What::Page,
            "media",
            "`media_hosts = [\"files.example.org\"]`",
        ),
        (
            body(&broken),
            What::Page,
            "listing",
            "1 of 3 entries of `posts` cannot be read",
        ),
        (dated, What::Page, "clock", "ahead of the site's"),
        (
            Fault::RetryAfter(503, "5".to_owned()),
            What::Page,
            "listing",
            "(http_5xx)",
        ),
        (
            Fault::HtmlLabelledPng,
            What::AnyFile,
            "media",
            "an HTML page in place of a file",
        ),
        (
            Fault::Status(404, vec![], String::new()),
            What::AnyFile,
            "media",
            "(http_404)",
        ),
    ] {
        site.script(what, vec![fault.clone()]);
        let report = shell.larder(&["doctor", "mock", "--json"]).ends(1).json();
        assert_eq!(state(&report, check), "failed", "{fault:?}: {report}");
        assert!(
            report["checks"]
                .to_string()
                .replace("\\\"", "\"")
                .contains(words),
            "{words}: {report}"
        );
        let bad = states(&report)
            .into_iter()
            .filter(|(_, state)| state == "failed")
            .count();
        assert_eq!(bad, 1, "{report}");
    }
    // Of a listing that everybody is shown, nobody can tell whether the login counts.
    let open = Booru::builder().posts(1).start();
    let note = with_login(&open, "your-password");
    let denied = Fault::Body("application/json", b"[]".to_vec());
    open.script(What::Page, vec![Fault::Ok, denied]);
    let report = note
        .larder(&["doctor", "yande.re", "--json"])
        .ends(0)
        .json();
    assert_eq!(state(&report, "login"), "note", "{report}");

    let site = Booru::builder().start();
    let shell = empty(&site, "");
    drop(site);
    let ran = shell.larder(&["doctor", "mock"]).ends(1);
    assert!(
        ran.out.contains("reach    failed")
            && ran.out.contains("(connect)")
            && ran.out.contains("media    skipped"),
        "{}",
        ran.out
    );
    shell.larder(&["doctor", "mok"]).ends(2);
}
