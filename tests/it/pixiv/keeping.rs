//! What is archived stays: whatever is uploaded again, hidden, deleted, or cannot be had just now.

use super::{
    Folder,
    site::{Kind, Pixiv},
    text,
};

#[test]
fn a_work_that_is_uploaded_again_is_a_new_revision_and_keeps_both_files() {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |_| {})
        .bookmark(103, |work| work.kind = Kind::Ugoira);
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let before = folder.records();
    // The old addresses answer 404 from now on.
    for id in [101, 103] {
        site.world().change(id, |work| work.version = 2);
    }
    folder.shell.larder(&["run"]).ends(0);
    let after = folder.records();
    for id in ["illust/101", "illust/103"] {
        let (old, new) = (&before[id], &after[id]);
        assert_ne!(old["updated"], new["updated"]);
        assert_ne!(old["files"][0]["sha256"], new["files"][0]["sha256"]);
        for record in [old, new] {
            let held = text(&record["files"][0]["sha256"]);
            let bytes = folder.shell.larder(&["cat", &held]).ends(0).bytes;
            assert!(String::from_utf8_lossy(&bytes).contains("bytes of "));
        }
    }
    let shown = folder
        .shell
        .larder(&["show", "pixiv/illust/101"])
        .ends(0)
        .out;
    assert!(shown.contains("revision") && shown.contains('2'), "{shown}");
}

#[test]
fn what_is_as_it_was_is_not_looked_up_again_unless_a_run_is_full() {
    let site = Pixiv::start();
    for id in 1..=20 {
        site.world().bookmark(id, |_| {});
    }
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(site.log().len(), 1, "{:?}", site.log());
    site.world().change(7, |work| work.version = 2);
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(site.asked("/ajax/illust/").len(), 2);
    assert_eq!(site.files().len(), 1);
    site.clear();
    folder.shell.larder(&["run", "--full"]).ends(0);
    assert_eq!(
        (site.asked("/ajax/illust/").len(), site.files().len()),
        (40, 0)
    );
}

#[test]
fn a_work_that_is_masked_later_is_gone_and_keeps_its_record_and_its_files() {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |work| work.pages = 3)
        .bookmark(102, |_| {});
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    site.world().change(101, |work| work.masked = true);
    folder.shell.larder(&["run"]).ends(0);
    let records = folder.all_records();
    let of: Vec<_> = records
        .iter()
        .filter(|record| record["id"] == "101")
        .collect();
    let kinds: Vec<_> = of.iter().map(|record| text(&record["type"])).collect();
    assert_eq!(kinds, ["item", "gone"]);
    let shown = folder
        .shell
        .larder(&["show", "pixiv/illust/101"])
        .ends(0)
        .out;
    assert!(
        shown.contains("夏の丘 101") && shown.contains("gone"),
        "{shown}"
    );
    assert_eq!(
        folder.shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        4
    );
    // Back again: it is whole already.
    site.world().change(101, |work| work.masked = false);
    folder.shell.larder(&["run"]).ends(0);
    let shown = folder
        .shell
        .larder(&["show", "pixiv/illust/101"])
        .ends(0)
        .out;
    assert!(!shown.contains("masked"), "{shown}");
}

#[test]
fn a_work_that_is_gone_when_it_is_looked_up_is_a_tombstone_and_no_failure() {
    let site = Pixiv::start();
    site.world().bookmark(101, |_| {}).bookmark(102, |_| {});
    // It goes between the list and the look at it.
    site.world().hook = Some(Box::new(|world, request| {
        if request.path == "/ajax/illust/101" {
            world.change(101, |work| work.masked = true);
        }
    }));
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    assert!(folder.failures().is_empty(), "{:?}", folder.failures());
    let records = folder.records();
    assert_eq!(records["illust/101"]["type"], "gone");
    assert!(records["illust/102"]["files"][0]["sha256"].is_string());
}

#[test]
fn pages_that_cannot_be_had_just_now_make_no_poorer_record() {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |work| work.pages = 3)
        .bookmark(102, |_| {});
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let good = folder.records()["illust/101"].clone();
    site.world().ill.insert(101);
    site.world().change(101, |work| work.version = 2);
    folder.shell.larder(&["run"]).ends(1);
    assert_eq!(folder.records()["illust/101"], good);
    let failures = folder.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0]["class"], "http_5xx");
    // Nothing has changed in the list since: what failed is asked again all the same.
    site.world().ill.clear();
    folder.shell.larder(&["run"]).ends(0);
    let record = folder.records()["illust/101"].clone();
    assert_eq!(record["files"].as_array().unwrap().len(), 3);
    assert_ne!(record["files"], good["files"]);
    assert!(folder.failures().is_empty(), "{:?}", folder.failures());
}

#[test]
fn a_work_for_adults_is_had_once_the_account_shows_it() {
    let site = Pixiv::start();
    site.world()
        .bookmark(105, |work| (work.adult, work.pages) = (true, 4))
        .adults = false;
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(1);
    assert!(site.files().is_empty(), "nothing is guessed");
    let failures = folder.failures();
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(
        failures.iter().all(|failure| failure["class"] == "auth"),
        "{failures:?}"
    );
    site.world().adults = true;
    folder.shell.larder(&["run"]).ends(0);
    assert!(folder.failures().is_empty(), "{:?}", folder.failures());
    assert_eq!(site.files().len(), 4);
}
