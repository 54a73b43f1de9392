//! Whole trees of replies, their emotes and pictures.

use super::{Folder, site::Bilibili};

#[test]
fn a_subject_is_archived_whole_with_every_thread_and_each_emote_once() {
    let site = Bilibili::start();
    site.world().grow(60, 400);
    let pinned = *site.world().replies.keys().next().unwrap();
    site.world().pinned.push(pinned);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    // Ten thousand times the same emote would be one request too.
    assert!(
        site.fetched().values().all(|times| *times == 1),
        "{:?}",
        site.fetched()
    );
    let emotes = folder.records("emote");
    assert_eq!(emotes.len(), 4);
    assert!(
        emotes
            .values()
            .all(|emote| emote["files"][0]["sha256"].is_string()),
        "{emotes:?}"
    );
    // The key is asked for once.
    assert_eq!(site.asked("/x/web-interface/nav").len(), 1);
    let status = folder.status("replies");
    assert_eq!(status["wall"], serde_json::Value::Null, "{status}");
}
