//! The account: a login that does not hold, throttling, and what only a person may send.

use std::time::Duration;

use serde_json::json;

use super::{
    Folder,
    site::{Pixiv, SESSION, TOKEN},
};
use crate::{shell::until, site::Booru};

fn bookmarked(count: u64) -> Pixiv {
    let site = Pixiv::start();
    for id in 1..=count {
        site.world().bookmark(id, |_| {});
    }
    site
}

#[test]
fn a_login_that_expires_pauses_the_job_and_a_new_one_goes_on_where_it_was() {
    let (site, booru) = (bookmarked(200), Booru::builder().posts(5).start());
    // Another cookie is good from the third page on.
    site.world().hook = Some(Box::new(|world, request| {
        if request.path.ends_with("/bookmarks") && request.get("offset") == Some("84") {
            "4710_another".clone_into(&mut world.session);
        }
    }));
    let mut folder = Folder::new(&site);
    folder.allow = vec![booru.host().clone()];
    folder.network = format!(
        "\n[sites.booru]\ndialect = \"moebooru\"\nurl = \"{}\"\nrate = \"unlimited\"\nmedia_rate = \"unlimited\"\n",
        booru.url()
    );
    folder.jobs = "[[jobs]]\nname = \"posts\"\nsite = \"booru\"\nlisting = \"posts\"\nparams = { tags = \"seed\" }\n".to_owned();
    let mut folder = folder.job("bookmarks", "user = 4710", "");
    let ran = folder.shell.larder(&["run"]).ends(3);
    assert!(ran.out.contains("posts"), "{}", ran.out);
    assert_eq!(booru.files().len(), 5, "the other site goes on");
    let status = folder.status("bookmarks");
    assert_eq!(status["state"], "paused", "{status}");
    let said = folder.shell.larder(&["status"]).ends(0).out;
    assert!(
        said.contains("cookies.PHPSESSID") && said.contains("[sites.pixiv]"),
        "{said}"
    );
    let failures = folder.failures();
    assert!(
        failures.iter().all(|failure| failure["class"] == "auth"),
        "{failures:?}"
    );

    // Nothing is asked while nothing has changed but for a try; then it goes on with the page that failed.
    site.world().hook = None;
    site.clear();
    folder.session = Some("4710_another");
    folder.write();
    folder.shell.larder(&["run", "bookmarks"]).ends(0);
    let offsets: Vec<_> = site
        .asked("/ajax/user/4710/illusts/bookmarks")
        .iter()
        .map(|page| page.get("offset").unwrap().to_owned())
        .collect();
    assert_eq!(
        offsets.first().map(String::as_str),
        Some("84"),
        "{offsets:?}"
    );
    let records = folder.records();
    assert_eq!(
        records
            .keys()
            .filter(|id| id.starts_with("illust/"))
            .count(),
        200
    );
    assert!(folder.failures().is_empty(), "{:?}", folder.failures());
}

#[test]
fn without_a_login_members_pages_say_which_setting_to_set() {
    let site = bookmarked(1);
    let mut folder = Folder::new(&site);
    folder.session = None;
    let folder = folder.job("bookmarks", "user = 4710", "");
    let ran = folder.shell.larder(&["run"]).ends(3);
    assert!(ran.err.contains("cookies.PHPSESSID"), "{}", ran.err);
    assert_eq!(folder.status("bookmarks")["state"], "paused");
    assert_eq!(site.log().len(), 1, "{:?}", site.log());
}

#[test]
fn throttling_of_the_account_leaves_the_whole_site_alone_for_longer_and_longer() {
    let site = bookmarked(30);
    site.world().burst = Some((10, 3));
    let mut folder = Folder::new(&site);
    folder.connections = 1;
    let folder = folder
        .dialect(
            "waits = [\"200s\", \"200s\", \"400s\"",
            "waits = [\"1s\", \"2s\", \"3s\"",
        )
        .job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    assert!(folder.failures().is_empty(), "{:?}", folder.failures());
    assert_eq!(folder.records().len(), 30);
    let log = site.log();
    let refused: Vec<_> = log.iter().filter(|request| request.status == 429).collect();
    assert_eq!(refused.len(), 3);
    for (nth, request) in refused.iter().enumerate() {
        // What was under way when it came may still arrive, on either host.
        let wait = Duration::from_millis([1000, 2000, 3000][nth]);
        let next = log
            .iter()
            .filter(|other| other.at > request.at + wait / 4)
            .map(|other| other.at)
            .min();
        let waited = next.unwrap() - request.at;
        assert!(
            waited + Duration::from_millis(20) >= wait,
            "{nth}: {waited:?}"
        );
    }
}

#[test]
fn a_throttled_site_stays_alone_over_a_restart() {
    let site = bookmarked(30);
    site.world().burst = Some((5, 1));
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    let run = folder.shell.start(&["run"]);
    let held = until("the site is left alone", || {
        let status = folder.status("bookmarks");
        (status["state"] == "waiting").then_some(status)
    });
    let reason = held.to_string();
    assert!(reason.contains("throttling"), "{reason}");
    let pid = rustix::process::Pid::from_raw(run.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(run);
    site.clear();
    let again = folder.shell.start(&["run"]);
    until("the next run waits as well", || {
        let status = folder.shell.larder(&["status", "--json"]).ends(0).json();
        (status["holder"]["pid"] == again.pid() && status["jobs"][0]["state"] == "waiting")
            .then_some(())
    });
    // Nor does a request by hand get through.
    let called = folder
        .shell
        .larder(&["call", "pixiv", "user_extra"])
        .ends(1);
    assert!(called.err.contains("left alone"), "{}", called.err);
    drop(again);
    assert!(site.log().is_empty(), "{:?}", site.log());
}

#[test]
fn every_read_operation_can_be_asked_by_hand() {
    let site = bookmarked(3);
    site.world().works.get_mut(&1).unwrap().kind = super::site::Kind::Ugoira;
    site.world().series.insert(5151, (4711, vec![2, 3]));
    site.world().ranked = vec![1, 2];
    site.world().change(2, |work| {
        work.comments = vec![super::site::Comment {
            id: 7001,
            text: "x".to_owned(),
            replies: vec![(70011, "y".to_owned())],
        }];
    });
    let folder = Folder::new(&site).job("top", "", "");
    let catalog = larder::dialect::Catalog::built_in();
    for name in catalog.get("pixiv").unwrap().endpoints.keys() {
        let args: &[&str] = match name.as_str() {
            "illust" | "pages" | "recommend" => &["id=2"],
            "ugoira_meta" => &["id=1"],
            "series" => &["id=5151"],
            "comments" => &["illust_id=2"],
            "replies" => &["comment_id=7001"],
            "user" | "user_full" | "works" | "works_latest" | "bookmarks" | "following"
            | "followers" => &["user=4710"],
            "works_shown" => &["user=4711", "ids=1", "ids=2"],
            "works_by_tag" => &["user=4711", "tag=heath"],
            "recommend_more" => &["ids=2"],
            "search" | "search_illustrations" | "search_manga" | "search_top" => &["word=heath"],
            "tag" | "tag_stories" => &["tag=heath"],
            _ => &[],
        };
        let args: Vec<_> = ["call", "pixiv", name]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let reply = folder.shell.larder(&args).ends(0).json();
        assert!(
            reply["error"] == false || reply["contents"].is_array(),
            "{name}: {reply}"
        );
    }
}

#[test]
fn an_action_is_shown_without_its_secrets_and_sent_only_when_a_person_says_so() {
    let site = bookmarked(2);
    let folder = Folder::new(&site).job("top", "", "");
    let add = [
        "call",
        "pixiv",
        "bookmark_add",
        "illust_id=2",
        "restrict=1",
        "tags=heath",
        "tags=水彩",
    ];
    let shown = folder.shell.larder(&add).ends(0);
    insta::assert_snapshot!(shown.out.replace(&site.url, "SITE"));
    assert!(shown.err.contains("--yes"), "{}", shown.err);
    assert!(site.log().is_empty(), "not even the token was asked for");

    let sent = folder
        .shell
        .larder(&[&add[..], &["--yes"]].concat())
        .ends(0);
    assert_eq!(sent.json()["body"]["last_bookmark_id"], "17000000100");
    folder
        .shell
        .larder(&["call", "pixiv", "like", "illust_id=1", "--yes"])
        .ends(0);
    assert_eq!(
        site.world().done,
        [
            json!({"illust_id": "2", "restrict": 1, "comment": "", "tags": ["heath", "水彩"]}),
            json!({"illust_id": "1"}),
        ]
    );
    // Refused: no such work, and a login that does not hold.
    let refused = folder
        .shell
        .larder(&["call", "pixiv", "like", "illust_id=99", "--yes"])
        .ends(1);
    assert!(
        refused.err.contains("404") || refused.err.contains("http_404"),
        "{}",
        refused.err
    );
    "renewed".clone_into(&mut site.world().session);
    let refused = folder
        .shell
        .larder(&["call", "pixiv", "like", "illust_id=1", "--yes"])
        .ends(1);
    assert!(refused.err.contains("auth"), "{}", refused.err);
    for ran in [&shown, &sent, &refused] {
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.contains(SESSION) && !said.contains(TOKEN), "{said}");
    }
    for (words, complaint) in [
        (&["like"][..], "`illust_id`"),
        (&["like", "illust_id=1", "ilust=2"], "`ilust`"),
        (&["lik", "illust_id=1"], "`like`"),
        (&["bookmark_add", "illust_id=1", "restrict=2"], "restrict"),
    ] {
        let wrong = folder
            .shell
            .larder(&[&["call", "pixiv"], words].concat())
            .ends(2);
        assert!(wrong.err.contains(complaint), "{}", wrong.err);
    }
}

#[test]
fn no_job_and_no_follow_up_reaches_an_action() {
    let site = bookmarked(2);
    let folder = Folder::new(&site).job("like", "illust_id = \"1\"", "");
    let check = folder.shell.larder(&["check"]).ends(78);
    assert!(check.err.contains("action"), "{}", check.err);
    // A dialect whose filters lead to actions in every way there is.
    for (piece, by) in [
        ("endpoint = \"user_full\"", "endpoint = \"like\""),
        ("then = [\"comments\"]", "then = [\"like\"]"),
    ] {
        let folder = Folder::new(&site)
            .dialect(piece, by)
            .job("bookmarks", "user = 4710", "");
        let check = folder.shell.larder(&["check"]).ends(78);
        assert!(check.err.contains("like"), "{}", check.err);
    }
    for (piece, by) in [
        (
            "{endpoint: \"illust\", params: {id: (.id | tostring)}}",
            "{endpoint: \"like\", params: {illust_id: (.id | tostring)}}",
        ),
        (
            "{endpoint: \"works_shown\", params: {user: $params.user, ids: .}}",
            "{endpoint: \"like\", params: {illust_id: \"1\"}}",
        ),
    ] {
        let folder = Folder::new(&site)
            .dialect(piece, by)
            .job("bookmarks", "user = 4710", "")
            .job("works", "user = 4711", "");
        folder.shell.larder(&["run"]).ends(1);
        let failures = folder.failures();
        assert!(
            failures
                .iter()
                .any(|failure| failure.to_string().contains("like")),
            "{failures:?}"
        );
    }
    assert!(site.world().done.is_empty());
    assert!(site.log().iter().all(|request| request.method == "GET"));
}
