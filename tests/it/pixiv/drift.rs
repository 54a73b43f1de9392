//! Listings that change while they are walked, repeat themselves, stop early, or leave things out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Folder,
    site::{Kind, Pixiv, Request, World},
    text,
};

/// How often each file was asked for.
fn fetched(site: &Pixiv) -> BTreeMap<String, usize> {
    let mut fetched = BTreeMap::new();
    for request in site.files() {
        *fetched.entry(request.path).or_default() += 1;
    }
    fetched
}

fn works(folder: &Folder<'_>) -> BTreeSet<u64> {
    let records = folder.records().into_keys();
    records
        .filter_map(|id| id.strip_prefix("illust/")?.parse().ok())
        .collect()
}

#[test]
fn forty_bookmarks_come_and_forty_go_during_a_walk_and_none_that_stays_is_missed() {
    let site = Pixiv::start();
    let mut world = site.world();
    for id in 1..=1000 {
        world.bookmark(id, |_| {});
    }
    let mut step = 0;
    world.hook = Some(Box::new(move |world: &mut World, request: &Request| {
        if !request.path.ends_with("/illusts/bookmarks") || step >= 20 {
            return;
        }
        step += 1;
        for n in 0..2 {
            // One of those walked already, one of those to come; the first run of them just before the next page.
            let offset: usize = request.get("offset").unwrap().parse().unwrap();
            let at = if n == 0 {
                offset.saturating_sub(3)
            } else {
                offset + 200
            };
            let at = at.min(world.bookmarks.len() - 1);
            world.bookmarks.remove(at);
        }
        for n in 0..2 {
            world.bookmark(2000 + step * 2 + n, |_| {});
        }
    }));
    drop(world);
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let stayed: BTreeSet<u64> = site
        .world()
        .bookmarks
        .iter()
        .copied()
        .filter(|id| *id <= 1000)
        .collect();
    assert_eq!(stayed.len(), 960);
    let found = works(&folder);
    assert!(
        stayed.is_subset(&found),
        "{:?}",
        stayed.difference(&found).collect::<Vec<_>>()
    );
    let records = folder.all_records();
    assert_eq!(records.len(), found.len(), "one record of each");
    assert!(fetched(&site).values().all(|times| *times == 1));
    let looks = site.asked("/ajax/illust/").len();
    assert_eq!(looks, 2 * found.len(), "each was looked up once");
}

#[test]
fn short_and_empty_pages_of_bookmarks_are_no_end() {
    let site = Pixiv::start();
    for id in 1..=300 {
        // A long stretch is counted and not shown, and some here and there.
        site.world().bookmark(id, |work| {
            work.hidden = (60..210).contains(&id) || id % 7 == 0;
        });
    }
    let folder = Folder::new(&site).job("bookmarks", "user = 4710", "");
    folder.shell.larder(&["run"]).ends(0);
    let shown: BTreeSet<u64> = (1..=300)
        .filter(|id| !(60..210).contains(id) && id % 7 != 0)
        .collect();
    assert_eq!(works(&folder), shown);
}

#[test]
fn a_feed_ends_where_it_begins_to_repeat_itself_and_says_that_there_is_more() {
    let site = Pixiv::start();
    let mut world = site.world();
    for id in 1..=250 {
        world.work(id, |_| {});
        world.feed.insert(0, id);
    }
    world.feed_wall = 2;
    drop(world);
    let folder = Folder::new(&site).job("follow_latest", "", "");
    let ran = folder.shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("stops showing"), "{}", ran.out);
    assert_eq!(works(&folder), (131..=250).collect());
    let pages = site.asked("/ajax/follow_latest/");
    assert!(pages.len() <= 4, "{pages:?}");
    let status = folder.status("follow_latest");
    assert!(text(&status["wall"]).contains("before its end"), "{status}");
    // All of it is walked: nothing to report.
    site.world().feed_wall = 100;
    let ran = folder.shell.larder(&["run", "--full"]).ends(0);
    assert!(!ran.out.contains("stops showing"), "{}", ran.out);
    assert_eq!(works(&folder), (1..=250).collect());
    assert!(folder.status("follow_latest")["wall"].is_null());
}

#[test]
fn a_search_by_date_goes_past_its_wall_day_by_day() {
    let site = Pixiv::start();
    let mut world = site.world();
    // 50 a day for 20 days; three pages of 60 are shown of each search.
    for day in 1..=20 {
        for n in 0..50 {
            world.work(u64::from(day) * 100 + n, |work| work.day = day);
        }
    }
    world.search_wall = 3;
    drop(world);
    for order in ["date_d", "date"] {
        site.clear();
        let folder = Folder::new(&site).job(
            "search",
            &format!("word = \"heath\", order = \"{order}\""),
            "",
        );
        let ran = folder.shell.larder(&["run"]).ends(0);
        assert!(!ran.out.contains("stops showing"), "{}", ran.out);
        assert_eq!(works(&folder).len(), 1000, "{order}");
        let pages = site.asked("/ajax/search/").len();
        assert!(pages < 60, "{pages} pages");
    }
    // One by popularity cannot be sliced.
    let folder = Folder::new(&site).job("search", "word = \"heath\", order = \"popular_d\"", "");
    let ran = folder.shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("stops showing"), "{}", ran.out);
    assert_eq!(works(&folder).len(), 180);
    assert!(text(&folder.status("search")["wall"]).contains("before its end"));
}

#[test]
fn a_day_with_more_than_a_search_shows_is_reported() {
    let site = Pixiv::start();
    let mut world = site.world();
    for n in 0..400 {
        world.work(1000 + n, |work| work.day = 8);
    }
    for n in 0..10 {
        world.work(100 + n, |work| work.day = 7);
    }
    world.search_wall = 3;
    drop(world);
    let folder = Folder::new(&site).job("search", "word = \"heath\"", "");
    let ran = folder.shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("stops showing"), "{}", ran.out);
    assert_eq!(works(&folder).len(), 180);
}

#[test]
fn a_search_that_shows_nothing_after_thousands_is_asked_again_later() {
    let site = Pixiv::start();
    let mut world = site.world();
    for n in 0..1100 {
        world.work(1000 + n, |work| work.day = 8);
    }
    drop(world);
    let folder = Folder::new(&site)
        .dialect("waits = [\"200s\"", "waits = [\"50ms\", \"50ms\"")
        .job("search", "word = \"heath\"", "files = []");
    let mut zeros = 2;
    site.world().hook = Some(Box::new(move |world, request| {
        if request.get("p") == Some("10") && zeros > 0 {
            zeros -= 1;
            world.search_zeros = 1;
        }
    }));
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(works(&folder).len(), 1100);
    // The next run remembers what there was: nothing at all is no answer.
    site.world().hook = None;
    site.world().search_zeros = 1;
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    let first = site.asked("/ajax/search/");
    assert_eq!(
        (first[0].get("p"), first[1].get("p")),
        (Some("1"), Some("1"))
    );
}

#[test]
fn a_ranking_ends_with_its_last_page_or_behind_it() {
    for count in [120, 100] {
        let site = Pixiv::start();
        let mut world = site.world();
        for id in 1..=count {
            world.work(id, |_| {});
            world.ranked.push(id);
        }
        drop(world);
        let folder = Folder::new(&site).job("ranking", "mode = \"weekly\"", "files = []");
        folder.shell.larder(&["run"]).ends(0);
        assert_eq!(works(&folder).len() as u64, count);
    }
    // A day without one: the site has nothing there, not even an error of its own.
    let site = Pixiv::start();
    let folder = Folder::new(&site).job("ranking", "date = \"2007-01-01\"", "");
    folder.shell.larder(&["run"]).ends(0);
    assert!(works(&folder).is_empty() && folder.failures().is_empty());
}

#[test]
fn the_newest_works_are_walked_by_number_to_the_first() {
    let site = Pixiv::start();
    for id in 1..=70 {
        site.world().work(id * 3, |_| {});
    }
    let folder = Folder::new(&site).job("new", "", "files = []");
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(works(&folder).len(), 70);
    assert_eq!(
        site.asked("/ajax/illust/new").len(),
        6,
        "an empty page is asked twice"
    );
}

#[test]
fn all_works_of_an_artist_come_in_parts_of_48() {
    let site = Pixiv::start();
    for id in 1..=130 {
        site.world().work(id, |work| {
            if id % 2 == 0 {
                work.kind = Kind::Manga;
            }
        });
    }
    let folder = Folder::new(&site).job("works", "user = 4711", "");
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(works(&folder), (1..=130).collect());
    let parts = site.asked("/ajax/user/4711/profile/illusts");
    let mut sizes: Vec<_> = parts.iter().map(|part| part.query.len() - 2).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [34, 48, 48]);
    assert_eq!(fetched(&site).len(), 130);
    // Nothing new: one look at the numbers, one at each part, and none at any work.
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(site.log().len(), 4, "{:?}", site.log());
}
