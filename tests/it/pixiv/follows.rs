//! What a listing leads to: artists to works, series to works, works to comments and replies.

use super::{
    Folder,
    site::{Comment, Pixiv},
};

fn commented() -> Vec<Comment> {
    let comment = |id: u64| Comment {
        id,
        text: format!("comment {id}"),
        replies: (1..=if id == 7001 { 5 } else { 0 })
            .map(|n| (id * 10 + n, format!("reply {n}")))
            .collect(),
    };
    (7001..=7120).map(comment).collect()
}

#[test]
fn comments_and_their_replies_are_items_of_their_own() {
    let site = Pixiv::start();
    site.world()
        .bookmark(101, |work| work.comments = commented())
        .bookmark(102, |_| {});
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "with = [\"comments\"]");
    folder.shell.larder(&["run"]).ends(0);
    let records = folder.records();
    let comments: Vec<_> = records
        .values()
        .filter(|record| record["kind"] == "comment")
        .collect();
    assert_eq!(comments.len(), 125);
    assert_eq!(records["comment/7001"]["parent"]["id"], "101");
    assert_eq!(records["comment/70013"]["parent"]["id"], "7001");
    assert_eq!(records["comment/70013"]["text"], "reply 3");
    assert_eq!(
        records["comment/7002"]["created"], "2023-11-14T23:09:00Z",
        "Japan's time"
    );
    assert_eq!(
        site.asked("/ajax/illusts/comments/replies").len(),
        3,
        "for one comment alone"
    );
}

#[test]
fn who_is_followed_leads_to_all_their_works_and_those_to_their_comments() {
    let site = Pixiv::start();
    let mut world = site.world();
    world.follows = (4701..=4760).collect();
    for artist in 4701..=4760 {
        world.work(artist * 10, |work| {
            work.user = artist;
            if artist == 4705 {
                work.comments = commented();
            }
        });
    }
    drop(world);
    let folder = Folder::new(&site).job(
        "following",
        "user = 4710",
        "with = [\"works\", \"comments\"]",
    );
    folder.shell.larder(&["run"]).ends(0);
    let records = folder.records();
    let count = |kind: &str| {
        records
            .values()
            .filter(|record| record["kind"] == kind)
            .count()
    };
    // Six have left, and are only counted.
    assert_eq!(
        (count("user"), count("illust"), count("comment")),
        (54, 54, 125)
    );
    assert_eq!(site.files().len(), 54);
    let status = folder.status("following");
    assert_eq!(status["state"], "done", "{status}");
}

#[test]
fn series_that_are_watched_lead_to_their_works_in_order() {
    let site = Pixiv::start();
    let mut world = site.world();
    let works: Vec<_> = (1..=30).collect();
    for id in &works {
        world.work(*id, |_| {});
    }
    world.series.insert(5151, (4711, works));
    world.watched = vec![5151];
    drop(world);
    let folder = Folder::new(&site).job("watch_list", "", "with = [\"works\"]");
    folder.shell.larder(&["run"]).ends(0);
    let records = folder.records();
    assert_eq!(
        records
            .values()
            .filter(|record| record["kind"] == "illust")
            .count(),
        30
    );
    assert_eq!(records["series/5151"]["title"], "series 5151");
    assert_eq!(site.files().len(), 30);
}

#[test]
fn without_being_asked_nothing_more_is_looked_at() {
    let site = Pixiv::start();
    site.world().follows = vec![4711];
    site.world().work(1, |work| work.comments = commented());
    let folder = Folder::new(&site).job("following", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let paths: Vec<_> = site.log().into_iter().map(|request| request.path).collect();
    assert!(
        paths.iter().all(|path| path == "/ajax/user/4710/following"),
        "{paths:?}"
    );
}
