//! Whole archives: what is bookmarked becomes works with all their files, and stays whatever the site does next.

use serde_json::Value;

use super::{
    Folder,
    site::{Kind, Pixiv},
    text,
};

fn files(record: &Value) -> Vec<&Value> {
    record["files"].as_array().unwrap().iter().collect()
}

/// Bookmarks of every sort, the newest first: 106 illustration, 105 for adults, 104 masked, 103 ugoira, 102 manga, 101.
fn bookmarked() -> Pixiv {
    let site = Pixiv::start();
    let mut world = site.world();
    world
        .bookmark(101, |_| {})
        .bookmark(102, |work| (work.kind, work.pages) = (Kind::Manga, 60))
        .bookmark(103, |work| work.kind = Kind::Ugoira)
        .bookmark(104, |work| work.masked = true)
        .bookmark(105, |work| work.adult = true)
        .bookmark(106, |work| work.pages = 2)
        .adults = false;
    drop(world);
    site
}

#[test]
fn bookmarks_of_every_sort_become_works_with_all_their_files() {
    let site = bookmarked();
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(1);
    let records = folder.records();

    let manga = &records["illust/102"];
    let pages = files(manga);
    assert_eq!(pages.len(), 60);
    for (n, page) in pages.iter().enumerate() {
        assert_eq!(page["index"], n, "{page}");
        // Never guessed: a page in three is a PNG.
        let end = if n % 3 == 1 { "png" } else { "jpg" };
        assert!(
            text(&page["url"]).ends_with(&format!("/102_p{n}.{end}")),
            "{page}"
        );
        assert!(page["sha256"].is_string(), "{page}");
    }
    let held: std::collections::BTreeSet<_> =
        pages.iter().map(|page| text(&page["sha256"])).collect();
    assert_eq!(held.len(), 60);

    let ugoira = &records["illust/103"];
    let [zip] = files(ugoira)[..] else {
        panic!("{ugoira}")
    };
    assert!(
        zip["role"] == "ugoira" && zip["sha256"].is_string(),
        "{zip}"
    );
    assert_eq!(
        ugoira["raw"]["ugoira_meta"]["frames"][2]["delay"], 82,
        "{ugoira}"
    );

    let masked = &records["illust/104"];
    assert_eq!(masked["type"], "gone", "{masked}");
    let hidden = &records["illust/105"];
    assert_eq!(files(hidden)[0]["missing"], "auth", "{hidden}");
    assert_eq!(hidden["title"], "夏の丘 105");
    let failures = folder.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(
        (&failures[0]["class"], &failures[0]["item"]),
        (&"auth".into(), &"illust/105".into())
    );

    // What goes where: the login to the API alone, the Referer to both.
    for request in site.log() {
        assert_eq!(
            request.headers.contains_key("cookie"),
            !request.media,
            "{request:?}"
        );
        assert!(
            request.headers["referer"].starts_with("https://www.pixiv.net/"),
            "{request:?}"
        );
        assert!(
            request.headers["user-agent"].starts_with("larder/"),
            "{request:?}"
        );
        assert_eq!(request.status, 200, "{request:?}");
    }
    // One image each, one look at each work and its pages: nothing is asked twice.
    assert_eq!(site.files().len(), 1 + 60 + 1 + 2);
    assert_eq!(site.asked("/ajax/illust/").len(), 5 + 4);
    folder.shell.larder(&["verify"]).ends(0);

    for (id, words) in [
        ("101", &["夏の丘 101", "artist 4711", "original"][..]),
        ("102", &["60 files", "_p59.jpg"]),
        ("103", &["ugoira", ".zip"]),
        ("104", &["gone", "masked"]),
        ("105", &["夏の丘 105", "login"]),
    ] {
        let shown = folder
            .shell
            .larder(&["show", &format!("pixiv/illust/{id}")])
            .ends(0)
            .out;
        for word in words {
            assert!(shown.contains(word), "{id}: no {word} in\n{shown}");
        }
    }
}
