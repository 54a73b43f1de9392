//! Web addresses of pixiv, as a browser shows them: which listing each means.

use std::fs;

use larder::config::{AddressBook, Config};
use serde_json::{Value, json};

use super::{
    Folder,
    site::{Kind, Pixiv},
};

/// The listing and the parameters that an address gives, or why it means none.
fn meaning(book: &AddressBook, address: &str) -> Result<(String, Value), String> {
    let place = book.find(address).map_err(|no| no.to_string())?;
    assert_eq!(place.site.name, "pixiv", "{address}");
    let found = place.site.dialect.recognise(&place.path, &place.query);
    let found = found.map_err(|no| format!("{no:?}"))?;
    let given = serde_json::to_value(&found.given).unwrap();
    Ok((found.listing.name.clone(), given))
}

fn book() -> AddressBook {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.toml");
    fs::write(&path, "archive.path = \"a\"\n").unwrap();
    AddressBook::new(&Config::load(&path).unwrap())
}

#[test]
fn an_address_means_its_listing_with_and_without_a_language_before_it() {
    let book = book();
    let all_of_a_search = "order=date&mode=safe&s_mode=s_tag_full&scd=2024-01-01&ecd=2024-02-29&wlt=1000&wgt=3000&hlt=900&hgt=2000\
                           &ratio=0.5&tool=Photoshop&blt=100&bgt=999";
    let searched = json!({
        "order": "date", "mode": "safe", "s_mode": "s_tag_full", "scd": "2024-01-01", "ecd": "2024-02-29", "wlt": 1000, "wgt": 3000,
        "hlt": 900, "hgt": 2000, "ratio": "0.5", "tool": "Photoshop", "blt": 100, "bgt": 999
    });
    let with = |more: Value| {
        let mut all = searched.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::Object(all)
    };
    for (address, listing, given) in [
        ("/artworks/90000009", "illust", json!({"id": 90_000_009})),
        ("/artworks/90000009#2", "illust", json!({"id": 90_000_009})),
        ("/users/4711", "works", json!({"user": 4711})),
        ("/users/4711/artworks", "works", json!({"user": 4711})),
        (
            "/users/4711/illustrations",
            "works",
            json!({"user": 4711, "type": "illust"}),
        ),
        (
            "/users/4711/manga",
            "works",
            json!({"user": 4711, "type": "manga"}),
        ),
        (
            "/users/4711/artworks/%E6%B0%B4%E5%BD%A9",
            "works_by_tag",
            json!({"user": 4711, "tag": "水彩"}),
        ),
        (
            "/users/4710/bookmarks/artworks",
            "bookmarks",
            json!({"user": 4710}),
        ),
        (
            "/users/4710/bookmarks/artworks?rest=hide",
            "bookmarks",
            json!({"user": 4710, "rest": "hide"}),
        ),
        (
            "/users/4710/bookmarks/artworks/%E6%B0%B4%E5%BD%A9",
            "bookmarks",
            json!({"user": 4710, "tag": "水彩"}),
        ),
        (
            "/users/4710/bookmarks/artworks/heath%20mist?rest=hide&p=3",
            "bookmarks",
            json!({"user": 4710, "tag": "heath mist", "rest": "hide"}),
        ),
        ("/users/4710/following", "following", json!({"user": 4710})),
        (
            "/users/4710/following?rest=hide",
            "following",
            json!({"user": 4710, "rest": "hide"}),
        ),
        ("/bookmark_new_illust.php", "follow_latest", json!({})),
        (
            "/bookmark_new_illust.php?p=2&tag=friends",
            "follow_latest",
            json!({"tag": "friends"}),
        ),
        (
            "/bookmark_new_illust_r18.php",
            "follow_latest",
            json!({"mode": "r18"}),
        ),
        ("/mypixiv_new_illust.php", "mypixiv_latest", json!({})),
        ("/ranking.php", "ranking", json!({})),
        (
            "/ranking.php?mode=weekly&content=manga&date=20240203&p=2",
            "ranking",
            json!({"mode": "weekly", "content": "manga", "date": "2024-02-03"}),
        ),
        (
            "/ranking.php?mode=daily_r18",
            "ranking",
            json!({"mode": "daily_r18"}),
        ),
        (
            "/tags/%E9%A2%A8%E6%99%AF",
            "search_top",
            json!({"word": "風景"}),
        ),
        (
            "/tags/%E9%A2%A8%E6%99%AF/artworks",
            "search",
            json!({"word": "風景"}),
        ),
        (
            &format!("/tags/heath/artworks?{all_of_a_search}"),
            "search",
            with(json!({"word": "heath"})),
        ),
        (
            &format!("/tags/heath/illustrations?{all_of_a_search}&type=ugoira"),
            "search_illustrations",
            with(json!({"word": "heath", "type": "ugoira"})),
        ),
        (
            &format!("/tags/heath/manga?{all_of_a_search}&work_lang=ja"),
            "search_manga",
            with(json!({"word": "heath", "work_lang": "ja"})),
        ),
        (
            "/tags/a%2Fb%20-c/artworks?s_mode=s_tag&p=9",
            "search",
            json!({"word": "a/b -c", "s_mode": "s_tag"}),
        ),
        ("/user/4711/series/5151", "series", json!({"id": 5151})),
        (
            "/new_illust.php?type=manga",
            "new",
            json!({"type": "manga"}),
        ),
        ("/new_illust_r18.php", "new", json!({"r18": true})),
        (
            "/request/complete/manga",
            "requests_complete",
            json!({"work": "manga"}),
        ),
    ] {
        for before in [
            "https://www.pixiv.net",
            "pixiv.net",
            "https://www.pixiv.net/en",
            "https://www.pixiv.net/zh-tw",
        ] {
            let address = format!("{before}{address}");
            let found = meaning(&book, &address).unwrap_or_else(|why| panic!("{address}: {why}"));
            assert_eq!(found, (listing.to_owned(), given.clone()), "{address}");
        }
    }
    // Addresses of old, which still stand in many lists, know no language.
    for (address, listing, given) in [
        ("/i/7", "illust", json!({"id": 7})),
        (
            "/member_illust.php?mode=medium&illust_id=7",
            "illust",
            json!({"id": 7}),
        ),
        ("/member.php?id=4711", "works", json!({"user": 4711})),
        (
            "/member_illust.php?id=4711&type=all",
            "works",
            json!({"user": 4711}),
        ),
    ] {
        let found = meaning(&book, &format!("https://www.pixiv.net{address}"));
        assert_eq!(found, Ok((listing.to_owned(), given)), "{address}");
    }
}

#[test]
fn what_cannot_be_walked_is_refused_rather_than_taken_for_something_else() {
    let book = book();
    for address in [
        "/",
        "/en/",
        "/artworks/",
        "/artworks/heath",
        "/english/artworks/7",
        "/users/heath",
        "/users/4711/bookmarks/artworks?rest=all",
        "/ranking.php?mode=yearly",
        "/ranking.php?date=2024",
        "/tags/heath/artworks?order=random",
        "/tags/heath/artworks?wlt=wide",
        "/tags/heath/novels",
        "/novel/show.php?id=7",
        "/stacc/heath",
    ] {
        let address = format!("https://www.pixiv.net{address}");
        assert!(
            meaning(&book, &address).is_err(),
            "{address}: {:?}",
            meaning(&book, &address)
        );
    }
}

#[test]
fn an_address_that_is_added_is_archived_at_once() {
    let site = Pixiv::start();
    site.world()
        .work(90, |work| (work.kind, work.pages) = (Kind::Manga, 3))
        .work(91, |_| {});
    let folder = Folder::new(&site).job("top", "", "enabled = false");
    let ran = folder
        .shell
        .larder(&["add", &format!("{}/en/artworks/90", site.url)])
        .ends(0);
    assert!(ran.out.contains("Added"), "{}", ran.out);
    assert_eq!(site.files().len(), 3);
    let url = format!("{}/users/4711", site.url);
    folder.shell.larder(&["add", &url]).ends(0);
    assert_eq!(site.files().len(), 4, "what is held is not fetched again");
    // An item is shown by its address, in whatever language.
    for language in ["", "/en"] {
        let url = format!("{}{language}/artworks/90", site.url);
        let shown = folder.shell.larder(&["show", &url]).ends(0).out;
        assert!(shown.starts_with("pixiv/illust/90 "), "{shown}");
    }
}
