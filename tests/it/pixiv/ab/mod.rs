//! pixiv-ab: its eight operations, and what its hosts do.

mod site;

use std::collections::BTreeSet;

use larder::dialect::{Asked, Catalog, Cursor, Entry, Values};
use serde_json::{Value, json};

use self::site::Ab;
use super::{Folder, site::Pixiv};

const DIALECT: &str = include_str!("../../../../src/dialect/pixiv_ab.toml");

/// A job `ab` over a listing of pixiv-ab, whose first address is `url`; `change` makes a dialect of the user's own.
fn folder<'a>(
    pixiv: &'a Pixiv,
    sites: &[&Ab],
    url: &str,
    change: impl Fn(String) -> String,
    job: &str,
) -> Folder<'a> {
    let mut folder = Folder::new(pixiv);
    // No test waits for a Sunday, or for half a minute.
    let dialect = DIALECT
        .replace("day = \"sun\"\nfrom = \"22:00\"\nfor = \"2h\"", &never())
        .replace("waits = [\"30s\"", "waits = [\"50ms\"");
    let mirrors: Vec<_> = sites
        .iter()
        .map(|site| format!("\"{}/api/pixiv\"", site.url))
        .collect();
    let begin = dialect.find("mirrors = [").unwrap();
    let end = begin + dialect[begin..].find(']').unwrap() + 1;
    let dialect = format!(
        "{}mirrors = [{}]{}",
        &dialect[..begin],
        mirrors[1..].join(", "),
        &dialect[end..]
    );
    let dialect = dialect
        .replace("https://pixiv-ab.site/api/pixiv", url)
        .replace("i.pixiv.re", "127.0.0.1");
    folder.shell.write("ab.toml", &change(dialect));
    "dialects = [\"ab.toml\"]".clone_into(&mut folder.top);
    folder.allow = sites.iter().map(|site| site.host().to_owned()).collect();
    folder.allow.push(
        url.trim_start_matches("http://")
            .trim_end_matches("/api/pixiv")
            .to_owned(),
    );
    folder.jobs = format!(
        "[sites.pixiv-ab]\nrate = \"unlimited\"\nmedia_rate = \"unlimited\"\n[[jobs]]\nname = \"ab\"\nsite = \"pixiv-ab\"\n{job}\n"
    );
    folder.write();
    folder
}

/// A quiet time that is not now: half a day away.
fn never() -> String {
    format!("from = \"{}\"\nfor = \"1h\"", clock(12))
}

/// The time of the day at `+08:00`, so many hours from now.
fn clock(hours: i64) -> String {
    let minutes = larder::clock::Clock::System.now() / 60_000 + (8 + hours) * 60;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

fn ids(folder: &Folder<'_>, site: &str) -> BTreeSet<u64> {
    let records = folder.all_records().into_iter();
    let records = records.filter(|record| record["site"] == site && record["kind"] == "illust");
    records
        .map(|record| record["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

fn as_it_is(dialect: String) -> String {
    dialect
}

#[test]
fn each_operation_reads_a_picture_into_the_whole_normal_form() {
    let picture = json!({
        "title": "夏の丘", "tags": ["水彩", "R-18"], "artist": "青鷺", "id": 90_000_009, "uid": 4711,
        "url": "https://i.pixiv.re/img-master/img/2023/11/14/22/15/07/90000009_p0_master1200.jpg"
    });
    let wanted = json!({
        "kind": "illust", "id": "90000009", "url": "https://www.pixiv.net/artworks/90000009", "title": "夏の丘",
        "author": {"id": "4711", "name": "青鷺"}, "created": "2023-11-14T13:15:07Z", "tags": ["水彩", "R-18"],
        "files": [{
            "role": "rendition", "index": 0, "name": "90000009_p0_master1200.jpg",
            "url": "https://i.pixiv.re/img-master/img/2023/11/14/22/15/07/90000009_p0_master1200.jpg"
        }]
    });
    let dialect = Catalog::built_in().get("pixiv-ab").unwrap().clone();
    let single = ["tagged", "random", "picture"];
    assert_eq!(dialect.endpoints.len(), 8);
    for (name, endpoint) in &dialect.endpoints {
        let (good, bad) = if single.contains(&name.as_str()) {
            (picture.clone(), json!([picture]))
        } else {
            (json!([picture]), picture.clone())
        };
        let base = "https://pixiv-ab.site/api/pixiv".parse().unwrap();
        let (params, cursor) = (Values::new(), Cursor::new());
        let with = ["original".to_owned()];
        let asked = Asked::new(&base, &with, &params, &cursor);
        let page = endpoint.read(good.to_string().as_bytes(), &asked).unwrap();
        let [Entry::Good(item)] = &page.entries[..] else {
            panic!("{name}: {page:?}")
        };
        let mut json = serde_json::to_value(item).unwrap();
        json.as_object_mut().unwrap().remove("raw");
        assert_eq!(json, wanted, "{name}");
        let also: Vec<_> = item
            .also
            .iter()
            .map(|also| serde_json::to_value(also).unwrap())
            .collect();
        if single.contains(&name.as_str()) {
            assert!(also.is_empty());
        } else {
            assert_eq!(
                also,
                [json!({"endpoint": "illust", "params": {"id": "90000009"}, "dialect": "pixiv"})]
            );
        }
        let raw: Value = serde_json::from_str(item.raw[name].get()).unwrap();
        assert_eq!(raw, picture);
        assert!(
            endpoint.read(bad.to_string().as_bytes(), &asked).is_err(),
            "{name}"
        );
    }
    // Without a date in the address nothing is made up.
    let odd = json!([{"title": "x", "tags": [], "artist": "y", "id": 1, "uid": 2, "url": "https://i.pixiv.re/x.jpg"}]);
    let base = "https://pixiv-ab.site/api/pixiv".parse().unwrap();
    let (params, cursor) = (Values::new(), Cursor::new());
    let asked = Asked::new(&base, &[], &params, &cursor);
    let page = dialect.endpoints["search"]
        .read(odd.to_string().as_bytes(), &asked)
        .unwrap();
    let [Entry::Good(item)] = &page.entries[..] else {
        panic!("{page:?}")
    };
    assert!(item.created.is_none());
}

#[test]
fn every_operation_can_be_asked_by_hand() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(50));
    let folder = folder(&pixiv, &[&ab], &ab.base(), as_it_is, "listing = \"search\"");
    for (args, entries) in [
        (
            &[
                "search",
                "tags=heath 水彩",
                "date=2023-11-14",
                "artist=青鷺",
                "user=4711",
            ][..],
            20,
        ),
        (&["search", "page=3"], 10),
        (&["search_json", "tags=heath", "user=4711", "page=2"], 20),
        (&["of_user", "user=4711"], 50),
        (&["of_user", "user=4711", "set=r18"], 50),
        (&["of_name", "name=青 鷺/x"], 50),
        (&["of_day", "date=2023-11-14"], 50),
    ] {
        let reply = folder
            .shell
            .larder(&[&["call", "pixiv-ab"], args].concat())
            .ends(0)
            .json();
        assert_eq!(reply.as_array().map(Vec::len), Some(entries), "{args:?}");
    }
    for args in [
        &["tagged", "tags=heath 水彩"][..],
        &["random"],
        &["picture", "id=7"],
    ] {
        let reply = folder
            .shell
            .larder(&[&["call", "pixiv-ab"], args].concat())
            .ends(0)
            .json();
        assert!(reply["id"].is_number(), "{args:?}: {reply}");
    }
    let bodies: Vec<_> = ab
        .log()
        .into_iter()
        .map(|request| request.body)
        .filter(|body| !body.is_empty())
        .collect();
    assert_eq!(
        bodies,
        [
            "Tags=heath+%E6%B0%B4%E5%BD%A9&Date=2023-11-14&Artist=%E9%9D%92%E9%B7%BA&UserId=4711&Page=1&R18=false",
            "Page=3&R18=false",
            "{\"tags\":\"heath\",\"uid\":4711,\"page\":2,\"r18\":false}",
        ]
    );
}

#[test]
fn a_search_is_walked_to_its_short_page_or_to_the_404_behind_it() {
    for (count, listing) in [
        (50, "search"),
        (40, "search"),
        (0, "search"),
        (41, "search_json"),
        (40, "search_json"),
    ] {
        let (pixiv, ab) = (Pixiv::start(), Ab::start(count));
        let folder = folder(
            &pixiv,
            &[&ab],
            &ab.base(),
            as_it_is,
            &format!("listing = \"{listing}\""),
        );
        folder.shell.larder(&["run"]).ends(0);
        assert_eq!(ids(&folder, "pixiv-ab"), (1..=count).collect(), "{listing}");
        assert!(folder.failures().is_empty());
        let record = folder.records();
        assert!(
            record
                .values()
                .all(|record| record["files"][0]["role"] == "rendition")
        );
    }
}

#[test]
fn the_original_is_taken_from_pixiv_with_that_sites_own_login() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(25));
    for id in 1..=25 {
        pixiv
            .world()
            .work(id, |work| work.pages = if id == 3 { 4 } else { 1 });
    }
    let job = "listing = \"search\"\nwith = [\"original\"]";
    let folder = folder(&pixiv, &[&ab], &ab.base(), as_it_is, job);
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(ids(&folder, "pixiv-ab"), (1..=25).collect());
    assert_eq!(ids(&folder, "pixiv"), (1..=25).collect());
    assert_eq!(pixiv.files().len(), 28);
    let renditions = ab
        .log()
        .into_iter()
        .filter(|request| request.path.starts_with("/img-master/"));
    assert_eq!(renditions.count(), 25);
    assert!(
        ab.log()
            .iter()
            .all(|request| !request.headers.contains_key("cookie")),
        "that is pixiv's"
    );
    assert!(
        pixiv
            .asked("/ajax/")
            .iter()
            .all(|request| request.headers.contains_key("cookie"))
    );
    let shown = folder
        .shell
        .larder(&["show", "pixiv-ab/illust/3"])
        .ends(0)
        .out;
    assert!(shown.contains("rendition"), "{shown}");
    let shown = folder.shell.larder(&["show", "pixiv/illust/3"]).ends(0).out;
    assert!(shown.contains("original"), "{shown}");
}

#[test]
fn another_host_serves_the_same_while_one_cannot_be_reached() {
    let (pixiv, ab, other) = (Pixiv::start(), Ab::start(45), Ab::start(45));
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{gone}/api/pixiv");
    let folder = folder(
        &pixiv,
        &[&ab, &other],
        &url,
        as_it_is,
        "listing = \"search\"",
    );
    folder.shell.larder(&["run"]).ends(0);
    // One namespace, whichever host was asked.
    assert_eq!(ids(&folder, "pixiv-ab"), (1..=45).collect());
    let asked = |site: &Ab| {
        site.log()
            .iter()
            .filter(|request| request.path.starts_with("/api/"))
            .count()
    };
    assert!(asked(&other) > 0, "the first mirror");
}

#[test]
fn a_500_is_overload_and_waited_for() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(45));
    ab.overload(1);
    let folder = folder(&pixiv, &[&ab], &ab.base(), as_it_is, "listing = \"search\"");
    let ran = folder.shell.larder(&["run"]).ends(0);
    assert_eq!(ids(&folder, "pixiv-ab").len(), 45);
    assert!(ran.err.contains("500"), "{}", ran.err);
    let status = folder.shell.larder(&["status", "--json"]).ends(0).json();
    assert!(
        status["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|host| host["throttled"] == 1),
        "{status}"
    );
}

#[test]
fn nothing_is_asked_while_it_is_quiet_there() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(5));
    pixiv.world().bookmark(1, |_| {});
    // It began an hour ago and lasts for one more: on a Sunday, any day of the week.
    let quiet = |dialect: String| {
        dialect.replace(&never(), &format!("from = \"{}\"\nfor = \"2h\"", clock(23)))
    };
    let folder = folder(&pixiv, &[&ab], &ab.base(), quiet, "listing = \"search\"").job(
        "bookmarks",
        "user = 4710",
        "",
    );
    let run = folder.shell.start(&["run"]);
    let status = crate::shell::until("the job waits", || {
        let (waits, other) = (folder.status("ab"), folder.status("bookmarks"));
        (waits["state"] == "waiting" && other["state"] == "done").then_some(waits)
    });
    assert_eq!(status["reason"], "window", "{status}");
    assert!(ab.log().is_empty());
    drop(run);
}

#[test]
fn the_last_of_four_hosts_is_enough_and_is_remembered() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(45));
    let gone = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/api/pixiv", listener.local_addr().unwrap())
    };
    let (first, second, third) = (gone(), gone(), gone());
    let mirrors = format!("mirrors = [\"{second}\", \"{third}\", ");
    let change = |dialect: String| dialect.replace("mirrors = [", &mirrors);
    let mut folder = folder(&pixiv, &[&ab, &ab], &first, change, "listing = \"search\"");
    for url in [second.clone(), third.clone()] {
        let host = url.trim_start_matches("http://");
        folder
            .allow
            .push(host.trim_end_matches("/api/pixiv").to_owned());
    }
    folder.write();
    let ran = folder.shell.larder(&["run", "-v"]).ends(0);
    assert_eq!(ids(&folder, "pixiv-ab"), (1..=45).collect());
    let tried = ran.err.matches("Asking the next address").count();
    assert_eq!(tried, 3, "once each, for the first page: {}", ran.err);
    // Built in are as many, all for the same.
    let dialect = Catalog::built_in().get("pixiv-ab").unwrap().clone();
    assert_eq!(dialect.presets["pixiv-ab"].mirrors.len(), 3);
}

#[test]
fn sundays_two_hours_are_known_at_the_time_of_that_place() {
    let dialect = Catalog::built_in().get("pixiv-ab").unwrap().clone();
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    // 22:00 at +08:00 on a Sunday.
    let end = Some(at("2026-11-22T16:00:00Z"));
    for (now, until) in [
        ("2026-11-22T13:59:59Z", None),
        ("2026-11-22T14:00:00Z", end),
        ("2026-11-22T15:59:59Z", end),
        ("2026-11-22T16:00:00Z", None),
        ("2026-11-23T14:30:00Z", None),
    ] {
        assert_eq!(dialect.quiet_until(at(now)), until, "{now}");
    }
}

#[test]
fn days_are_walked_one_by_one_and_a_day_without_pictures_is_none() {
    let (pixiv, ab) = (Pixiv::start(), Ab::start(0));
    let job = "listing = \"of_day\"\nparams = { date = \"2023-11-14..2023-11-16\" }";
    let folder = folder(&pixiv, &[&ab], &ab.base(), as_it_is, job);
    folder.shell.larder(&["run"]).ends(0);
    let paths: Vec<_> = ab.log().into_iter().map(|request| request.path).collect();
    for day in 14..=16 {
        let path = format!("/api/pixiv/daily/date/2023-11-{day}");
        assert!(paths.contains(&path), "{paths:?}");
    }
    assert!(folder.failures().is_empty());
}
