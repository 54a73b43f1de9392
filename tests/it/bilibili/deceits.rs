//! Refusals that look like answers, and ends that are none: each is waited for, paused at or reported, and none of them ends a
//! walk as done.

use serde_json::json;

use super::{
    Folder,
    site::{Bilibili, Request},
    world::{Fault, World},
};

fn code(code: i64) -> Fault {
    Fault::Json(
        200,
        json!({"code": code, "message": code.to_string(), "ttl": 1, "data": null}),
    )
}

fn challenge() -> Fault {
    let data = json!({"v_voucher": "voucher_11111111-2222"});
    Fault::Json(
        200,
        json!({"code": 0, "message": "0", "ttl": 1, "data": data}),
    )
}

fn site() -> Bilibili {
    let site = Bilibili::start();
    site.world().grow(60, 300);
    site
}

/// Puts `fault` before every request for roots from the second page on, `times` of them.
fn on_later_pages(site: &Bilibili, fault: Fault, mut times: usize) {
    site.world().hook = Some(Box::new(move |world: &mut World, request: &Request| {
        let begins = request.get("pagination_str") == Some(r#"{"offset":""}"#);
        if request.path.ends_with("/main") && !begins && times > 0 {
            times -= 1;
            world.faults.push_front(fault.clone());
        }
    }));
}

#[test]
fn throttling_in_good_replies_is_waited_for() {
    for fault in [
        code(-412),
        code(-799),
        code(-509),
        code(-702),
        code(-503),
        Fault::Json(
            412,
            json!({"code": -412, "message": "request was banned", "ttl": 1}),
        ),
        Fault::Status(412),
    ] {
        let site = site();
        on_later_pages(&site, fault.clone(), 2);
        let folder = Folder::new(&site).job("replies", "oid = 170001", "");
        folder.shell.larder(&["run"]).ends(0);
        folder.holds_all();
        assert!(folder.failures().is_empty(), "{fault:?}");
    }
}

#[test]
fn an_old_key_is_renewed_once_and_a_challenge_waits_for_a_person() {
    for (fault, reason) in [
        (code(-352), "blocked"),
        (challenge(), "blocked"),
        (code(-403), "auth"),
    ] {
        // Once: a new key, and it goes on.
        let site = site();
        on_later_pages(&site, fault.clone(), 1);
        let folder = Folder::new(&site).job("replies", "oid = 170001", "");
        folder.shell.larder(&["run"]).ends(0);
        folder.holds_all();
        assert_eq!(site.asked("/x/web-interface/nav").len(), 2, "{fault:?}");
        // Again and again: asked twice and no more, and nothing is tried to get past it.
        let site = self::site();
        on_later_pages(&site, fault.clone(), 100);
        let folder = Folder::new(&site).job("replies", "oid = 170001", "");
        folder.shell.larder(&["run"]).ends(3);
        assert_eq!(folder.status("replies")["reason"], reason, "{fault:?}");
        assert!(site.asked("/x/v2/reply/wbi/main").len() <= 3, "{fault:?}");
        // A person has seen to it.
        site.world().hook = None;
        folder.shell.larder(&["run"]).ends(0);
        folder.holds_all();
    }
}

#[test]
fn keys_that_rotate_during_a_walk_are_asked_for_again() {
    let site = site();
    let mut asked = 0;
    site.world().hook = Some(Box::new(move |world: &mut World, request: &Request| {
        asked += usize::from(request.path.ends_with("/main"));
        if asked == 2 {
            asked = 3;
            world.rotation = 2;
        }
    }));
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    assert_eq!(site.asked("/x/web-interface/nav").len(), 2);
}

#[test]
fn a_page_of_zeros_pauses_the_job_and_is_no_end() {
    let site = site();
    on_later_pages(&site, Fault::Shadow, 1);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(3);
    let status = folder.status("replies");
    assert_eq!(status["reason"], "auth", "{status}");
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    // In a thread too.
    let site = self::site();
    let mut times = 1;
    site.world().hook = Some(Box::new(move |world: &mut World, request: &Request| {
        if request.path == "/x/v2/reply/reply" && times > 0 {
            times -= 1;
            world.faults.push_front(Fault::Shadow);
        }
    }));
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(3);
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
}

#[test]
fn a_guest_is_told_that_the_login_is_missing() {
    let site = site();
    let folder = Folder::new(&site)
        .guest()
        .job("replies", "oid = 170001", "");
    let ran = folder.shell.larder(&["run"]).ends(3);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(
        said.contains("not logged in") && said.contains("cookies.SESSDATA"),
        "{said}"
    );
    assert!(
        folder.records("reply").is_empty(),
        "no page of a guest is a page"
    );
}

#[test]
fn an_end_that_comes_too_early_is_asked_once_more_and_then_reported() {
    let site = site();
    on_later_pages(&site, Fault::EndsEarly, 1);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    // For ever, when far less than half was shown.
    let site = Bilibili::start();
    site.world().grow(100, 600);
    on_later_pages(&site, Fault::EndsEarly, 100);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(1);
    let failures = folder.failures();
    assert_eq!(failures[0]["class"], "listing", "{failures:?}");
    let message = failures[0]["message"].as_str().unwrap();
    assert!(message.contains("of 600"), "{message}");
}

#[test]
fn walls_are_no_ends() {
    let site = site();
    site.world().wall = Some(1);
    let root = *site.world().replies.keys().next().unwrap();
    for n in 0..30 {
        site.world().add(950_000_000_000 + n, root, |_| {});
    }
    let folder = Folder::new(&site).job("replies", "oid = 170001", "").job(
        "replies_by_page",
        "oid = 170001",
        "",
    );
    folder.shell.larder(&["run"]).ends(0);
    let wall = |job: &str| {
        folder.status(job)["wall"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let threads = wall("replies");
    assert!(
        threads.contains("stops showing some `children`") && threads.contains("the site counts"),
        "{threads}"
    );
    assert!(wall("replies_by_page").contains("before its end"));
    // The same number on the first page is a mistake.
    let folder = Folder::new(&site).job("replies_by_page", "oid = 5", "");
    folder.shell.larder(&["run"]).ends(1);
    assert_eq!(folder.failures()[0]["class"], "http_4xx");
}

#[test]
fn counts_that_differ_are_reported_with_the_likely_reason() {
    let site = site();
    site.world().counted = 4;
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    let ran = folder.shell.larder(&["run"]).ends(0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(
        said.contains(
            "the site counts 304, and 300 were shown: it may still count what was deleted"
        ),
        "{said}"
    );
}

#[test]
fn closed_comments_are_recorded_as_closed_and_an_area_without_any_is_empty() {
    let site = Bilibili::start();
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    assert!(folder.records("reply").is_empty());
    site.world().grow(5, 20);
    folder.shell.larder(&["run"]).ends(0);
    site.world().closed = true;
    for _ in 0..3 {
        folder.shell.larder(&["run"]).ends(0);
    }
    let area = &folder.records("area")["1:170001"];
    assert_eq!(area["type"], "item", "{area}");
    assert_eq!(
        folder.gone().into_iter().collect::<Vec<_>>(),
        ["1:170001"],
        "the replies may be there all the same"
    );
}
