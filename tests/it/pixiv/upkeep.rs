//! Upkeep of what came from pixiv: a lost database is made anew from the records, damage is mended as politely as a run asks.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use super::{
    Folder,
    site::{Kind, Pixiv},
    text,
};

/// The newest revisions, without when they were seen.
fn known(folder: &Folder<'_>) -> Vec<String> {
    let ids = [101, 102, 103, 104, 105, 106, 107];
    let show = |id: &u64| {
        folder
            .shell
            .larder(&["show", &format!("pixiv/illust/{id}")])
            .ends(0)
            .out
    };
    ids.iter().map(show).collect()
}

#[test]
fn a_database_that_is_lost_is_made_anew_and_the_next_run_fetches_no_file() {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |_| {})
        .bookmark(102, |work| (work.kind, work.pages) = (Kind::Manga, 3))
        .bookmark(103, |work| work.kind = Kind::Ugoira)
        .bookmark(104, |work| work.masked = true)
        .bookmark(105, |work| work.adult = true)
        .bookmark(106, |_| {})
        .bookmark(107, |_| {})
        .adults = false;
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(1);
    // One is uploaded again, one is masked later.
    site.world().change(106, |work| work.version = 2);
    site.world().change(107, |work| work.masked = true);
    folder.shell.larder(&["run"]).ends(1);
    let (shown, records) = (known(&folder), folder.all_records());
    for file in ["larder.db", "larder.db-wal", "larder.db-shm"] {
        fs::remove_file(folder.shell.path("archive").join(file)).ok();
    }
    folder.shell.larder(&["rebuild"]).ends(0);
    assert_eq!(known(&folder), shown);
    site.clear();
    folder.shell.larder(&["run"]).ends(1);
    assert!(site.files().is_empty(), "{:?}", site.files());
    assert_eq!(folder.all_records(), records, "nothing has changed");
    assert_eq!(known(&folder), shown);
    // What the records do not say is asked for once more, and then it is known again.
    site.clear();
    folder.shell.larder(&["run"]).ends(1);
    let looks: Vec<_> = site
        .asked("/ajax/illust/")
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(looks, ["/ajax/illust/105"], "the one that lacks its file");
}

/// Where the first file of the work lies.
fn object(folder: &Folder<'_>, id: &str) -> PathBuf {
    let records = folder.records();
    let digest = text(&records[id]["files"][0]["sha256"]);
    folder
        .shell
        .path("archive/objects")
        .join(&digest[..3])
        .join(digest)
}

fn archived() -> Pixiv {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |work| work.pages = 2)
        .bookmark(102, |_| {});
    site
}

#[test]
fn a_damaged_picture_is_fetched_again_with_what_the_image_host_wants_to_see() {
    let site = archived();
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let lost = object(&folder, "illust/101");
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&lost, b"other bytes").unwrap();
    site.clear();
    folder.shell.larder(&["verify", "--repair"]).ends(0);
    let files = site.files();
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    assert_eq!(file.status, 200);
    assert!(!file.headers.contains_key("cookie"), "{file:?}");
    folder.shell.larder(&["verify"]).ends(0);
}

#[test]
fn a_run_mends_a_lost_picture_although_its_list_says_nothing_new() {
    let site = archived();
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let lost = object(&folder, "illust/102");
    fs::remove_file(&lost).unwrap();
    folder.shell.larder(&["verify"]).ends(1);
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    let files: Vec<_> = site.files().into_iter().map(|file| file.path).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(lost.exists());
    assert_eq!(
        site.asked("/ajax/illust/").len(),
        2,
        "the other work is known"
    );
    let verified: Value = folder.shell.larder(&["verify", "--json"]).ends(0).json();
    assert_eq!(verified["good"], 3, "{verified}");
}
