//! What the API answers to what.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    Request, Work, World, render,
    wire::Answer,
    world::{READER, TOKEN},
};

/// Works of a page of a search or a feed.
const PAGE: usize = 60;

/// An answer that is not the one that was hoped for.
type Refusal = Answer;

fn malformed(why: &str) -> Refusal {
    Answer::json(
        400,
        &json!({"error": true, "message": format!("不正なリクエストです。({why})"), "body": []}),
    )
}

fn not_found() -> Refusal {
    let message = "お探しのページが見つかりませんでした。";
    Answer::json(
        404,
        &json!({"error": true, "message": message, "body": null}),
    )
}

pub(super) fn answer(world: &mut World, request: &Request, img: &str) -> Answer {
    route(world, request, img).unwrap_or_else(|refusal| refusal)
}

fn route(world: &mut World, request: &Request, img: &str) -> Result<Answer, Refusal> {
    let ask = Ask {
        request,
        img,
        session: world.session.clone(),
    };
    if request.method == "POST" {
        return act(world, &ask);
    }
    if request.path == "/" {
        // The data of the page stand in an attribute.
        let page = format!(
            "<html><meta id=\"meta-global-data\" content='{{&quot;token&quot;:&quot;{TOKEN}&quot;}}'></html>"
        );
        return Ok(Answer::html(200, &page));
    }
    if !ask
        .request
        .header("referer")
        .starts_with("https://www.pixiv.net/")
    {
        return Err(malformed("no referer"));
    }
    // A cookie that does not hold is no better anywhere.
    if request
        .cookie("PHPSESSID")
        .is_some_and(|session| session != ask.session)
    {
        return Err(Answer::json(
            400,
            &render::failure("An unknown error occurred"),
        ));
    }
    if request.path == "/ranking.php" {
        return ranking(world, &ask);
    }
    let path = request.path.strip_prefix("/ajax/").ok_or_else(not_found)?;
    let words: Vec<_> = path.split('/').collect();
    let body = match words[..] {
        ["illust", "new"] => newest(world, &ask)?,
        ["illust", id, "recommend", "init"] => {
            recorded(&ask, "recommend", &["limit"], number(id).is_some(), true)?
        }
        ["illust", "recommend", "illusts"] => {
            recorded(&ask, "recommend_more", &["illust_ids[]"], true, true)?
        }
        ["illust", id] => work(world, &ask, id)?,
        ["illust", id, "pages"] => pages(world, &ask, id)?,
        ["illust", id, "ugoira_meta"] => ugoira(world, &ask, id)?,
        ["illusts", "comments", "roots"] => comments(world, &ask)?,
        ["illusts", "comments", "replies"] => replies(world, &ask)?,
        ["user", "extra"] => recorded(&ask, "user_extra", &[], true, true)?,
        ["user", id] => user(&ask, id)?,
        ["user", id, "profile", "all"] => all_works(world, &ask, id)?,
        ["user", id, "profile", "illusts"] => shown_works(world, &ask, id)?,
        ["user", id, "works", "latest"] => latest(world, &ask, id)?,
        ["user", id, "illusts", "bookmarks"] => bookmarks(world, &ask, id)?,
        ["user", id, "illustmanga", "tag"] => tagged(world, &ask, id)?,
        ["user", _, "following"] => following(world, &ask)?,
        ["user", _, "followers"] => recorded(&ask, "followers", &["offset", "limit"], true, true)?,
        ["follow_latest" | "mypixiv_latest", "illust"] => feed(world, &ask, world.feed_wall)?,
        ["watch_list", "manga"] => watch_list(world, &ask)?,
        ["series", id] => series(world, &ask, id)?,
        [
            "search",
            kind @ ("artworks" | "illustrations" | "manga"),
            word,
        ] => return search(world, &ask, kind, word),
        ["search", "top", _] => recorded(&ask, "search_top", &[], true, false)?,
        ["search", "tags", _] => recorded(&ask, "tag", &[], true, false)?,
        ["stories", "tag_stories"] => recorded(&ask, "tag_stories", &["tag"], true, false)?,
        ["commission", "page", "request"] => recorded(&ask, "requests", &[], true, false)?,
        [
            "commission",
            "page",
            "request",
            kind @ ("complete" | "creators" | "in_progress"),
            of,
        ] => {
            let known =
                ["illust", "manga", "ugoira"].contains(&of) || (kind, of) == ("in_progress", "all");
            let mut body = recorded(
                &ask,
                &format!("requests_{kind}"),
                &["p", "mode"],
                known,
                false,
            )?;
            body["page"]["pager"]["hasNextPage"] = false.into();
            body
        }
        ["top", "illust"] => recorded(&ask, "top", &["mode"], true, true)?,
        ["discovery", "artworks"] => recorded(&ask, "discovery", &["mode", "limit"], true, true)?,
        ["discovery", "users"] => recorded(&ask, "discovery_users", &["limit"], true, true)?,
        ["discovery", "artworks", "meta"] => {
            recorded(&ask, "discovery_meta", &["mode"], true, true)?
        }
        ["discovery", "users", "meta"] => recorded(&ask, "discovery_users_meta", &[], true, true)?,
        ["sketch", "live", "following"] => recorded(&ask, "sketch_live", &[], true, true)?,
        ["dashboard", "home"] => recorded(&ask, "dashboard", &[], true, true)?,
        ["dashboard", "settings"] => recorded(&ask, "dashboard_settings", &[], true, true)?,
        ["dashboard", "works", "illust", "request_strategy"] => {
            recorded(&ask, "request_strategy", &[], true, true)?
        }
        ["webpush"] => recorded(&ask, "webpush", &[], true, false)?,
        ["notification"] => recorded(&ask, "notification", &[], true, true)?,
        ["linked_service", "tumeng"] => recorded(&ask, "linked_service", &["page"], true, false)?,
        _ => return Err(not_found()),
    };
    Ok(Answer::json(200, &render::ok(&body)))
}

struct Ask<'a> {
    request: &'a Request,
    img: &'a str,
    session: String,
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

impl Ask<'_> {
    /// Refuses keys that are not known, and those without which the site does not answer.
    fn keys(&self, needed: &[&str], known: &[&str]) -> Result<(), Refusal> {
        let given: Vec<_> = self
            .request
            .query
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        if let Some(key) = given
            .iter()
            .find(|key| !needed.contains(key) && !known.contains(key))
        {
            return Err(malformed(&format!("what is {key}?")));
        }
        match needed.iter().find(|key| !given.contains(key)) {
            Some(key) => Err(malformed(&format!("no {key}"))),
            None => Ok(()),
        }
    }

    fn number(&self, key: &str) -> Result<usize, Refusal> {
        let number = self.request.get(key).and_then(|text| text.parse().ok());
        number.ok_or_else(|| malformed(&format!("{key} is no number")))
    }

    fn logged_in(&self) -> bool {
        self.request.cookie("PHPSESSID") == Some(&self.session)
    }

    fn login(&self) -> Result<(), Refusal> {
        if self.logged_in() {
            return Ok(());
        }
        Err(Answer::json(401, &render::failure("ログインが必要です。")))
    }

    /// The offset and the limit of a page.
    fn part(&self, most: usize) -> Result<(usize, usize), Refusal> {
        let (offset, limit) = (self.number("offset")?, self.number("limit")?);
        if limit == 0 || limit > most {
            return Err(malformed("limit"));
        }
        Ok((offset, limit))
    }

    /// `p`, counted from 0.
    fn page(&self) -> Result<usize, Refusal> {
        self.number("p")?
            .checked_sub(1)
            .ok_or_else(|| malformed("p"))
    }

    fn thumbnail(&self, work: &Work) -> Value {
        render::thumbnail(work, self.img)
    }

    /// Thumbnails in another order than the numbers beside them, with an advert.
    fn beside(&self, works: &[&Work]) -> Value {
        let mut shown: Vec<_> = works
            .iter()
            .rev()
            .map(|work| self.thumbnail(work))
            .collect();
        shown.insert(shown.len() / 2, render::advert());
        json!({"illust": shown, "novel": [], "novelSeries": [], "novelDraft": []})
    }
}

/// The recorded reply of an endpoint that no story walks.
fn recorded(
    ask: &Ask<'_>,
    name: &str,
    keys: &[&str],
    known: bool,
    login: bool,
) -> Result<Value, Refusal> {
    if !known {
        return Err(not_found());
    }
    if login {
        ask.login()?;
    }
    ask.keys(&[], keys)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/pixiv/{name}.json"));
    let text = fs::read_to_string(path).unwrap();
    let mut reply: Value =
        serde_json::from_str(&text.replace("https://i.pximg.net", ask.img)).unwrap();
    Ok(reply["body"].take())
}

fn find<'a>(world: &'a World, id: &str) -> Result<&'a Work, Refusal> {
    let work = number(id).and_then(|id| world.works.get(&id));
    work.filter(|work| !work.masked).ok_or_else(not_found)
}

fn work(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &[])?;
    let work = find(world, id)?;
    Ok(render::whole(
        work,
        ask.img,
        !work.adult || ask.logged_in() && world.adults,
    ))
}

fn pages(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &[])?;
    let work = find(world, id)?;
    if world.ill.contains(&work.id) {
        return Err(Answer::html(502, "<html>502 Bad Gateway</html>"));
    }
    let shown = !work.adult || ask.logged_in() && world.adults;
    let page = |n| {
        let mut urls = render::urls(work, n, ask.img, shown);
        let urls = urls.as_object_mut().unwrap();
        let mini = urls.remove("mini").unwrap();
        urls.remove("thumb");
        urls.insert("thumb_mini".to_owned(), mini);
        json!({"urls": urls, "width": 1600 + n, "height": 900})
    };
    Ok((0..work.pages).map(page).collect())
}

fn ugoira(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &[])?;
    let work = find(world, id)?;
    if work.kind != super::Kind::Ugoira {
        return Err(malformed("not an ugoira"));
    }
    if work.adult {
        ask.login()?;
    }
    Ok(render::frames(work, ask.img))
}

fn comments(world: &World, ask: &Ask<'_>) -> Result<Value, Refusal> {
    ask.keys(&["illust_id", "offset", "limit"], &[])?;
    let work = find(world, ask.request.get("illust_id").unwrap_or_default())?;
    let (offset, limit) = ask.part(100)?;
    let page: Vec<_> = work
        .comments
        .iter()
        .rev()
        .skip(offset)
        .take(limit)
        .map(render::comment)
        .collect();
    let more = offset + page.len() < work.comments.len();
    Ok(json!({"comments": page, "hasNext": more}))
}

fn replies(world: &World, ask: &Ask<'_>) -> Result<Value, Refusal> {
    ask.keys(&["comment_id", "page"], &[])?;
    let (id, page) = (ask.number("comment_id")? as u64, ask.number("page")?);
    let mut all = world.works.values().flat_map(|work| &work.comments);
    let root = all.find(|comment| comment.id == id).ok_or_else(not_found)?;
    let page = page.checked_sub(1).ok_or_else(|| malformed("page"))?;
    let shown: Vec<_> = root
        .replies
        .iter()
        .skip(page * 2)
        .take(2)
        .map(|reply| render::reply(reply, id))
        .collect();
    Ok(json!({"comments": shown, "hasNext": root.replies.len() > page * 2 + 2}))
}

fn user(ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &["full"])?;
    number(id).ok_or_else(|| malformed("id"))?;
    let full = ask.request.get("full") == Some("1");
    let image = format!("{}/user-profile/{id}_170.jpg", ask.img);
    let mut user = json!({
        "userId": id, "name": format!("artist {id}"), "image": image, "imageBig": image, "premium": false,
        "isFollowed": false, "isMypixiv": false, "isBlocking": false, "background": null, "sketchLiveId": null,
        "partial": u8::from(full), "acceptRequest": false, "sketchLives": []
    });
    if full {
        user["comment"] = "paints hills".into();
        user["following"] = 3.into();
    }
    Ok(user)
}

fn of(world: &World, user: u64) -> impl Iterator<Item = &Work> {
    world
        .works
        .values()
        .filter(move |work| work.user == user && !work.masked)
}

fn all_works(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &[])?;
    let user = number(id).ok_or_else(|| malformed("id"))?;
    let category = |name: &str| -> Value {
        let works = of(world, user).filter(|work| render::is(work.kind, name));
        render::map(
            works
                .map(|work| (work.id.to_string(), Value::Null))
                .collect(),
        )
    };
    Ok(json!({
        "illusts": category("illusts"), "manga": category("manga"), "novels": [], "mangaSeries": [], "novelSeries": [],
        "pickup": [], "bookmarkCount": {"public": {"illust": 0, "novel": 0}, "private": {"illust": 0, "novel": 0}}
    }))
}

fn shown_works(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&["work_category", "is_first_page", "ids[]"], &[])?;
    let ids = ask
        .request
        .query
        .iter()
        .filter(|(key, _)| key == "ids[]")
        .filter_map(|(_, id)| number(id));
    let ids: Vec<_> = ids.collect();
    if ids.len() > 50 {
        return Err(malformed("ids"));
    }
    let works = of(world, number(id).unwrap_or(0)).filter(|work| ids.contains(&work.id));
    let works: Map<_, _> = works
        .map(|work| (work.id.to_string(), ask.thumbnail(work)))
        .collect();
    Ok(json!({"works": render::map(works), "zoneConfig": {}, "extraData": {}}))
}

fn latest(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&[], &[])?;
    let user = number(id).ok_or_else(|| malformed("id"))?;
    let illusts: Map<_, _> = of(world, user)
        .map(|work| (work.id.to_string(), ask.thumbnail(work)))
        .collect();
    Ok(json!({"illusts": render::map(illusts), "manga": [], "novels": []}))
}

fn bookmarks(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.login()?;
    ask.keys(&["tag", "offset", "limit", "rest"], &[])?;
    let (offset, limit) = ask.part(100)?;
    let all = match (ask.request.get("rest"), ask.request.get("tag")) {
        (Some("hide"), _) if number(id) != Some(READER) => return Err(malformed("rest")),
        (Some("hide"), _) => world.private_bookmarks.clone(),
        (Some("show"), Some("")) => world.bookmarks.clone(),
        (Some("show"), Some(tag)) => world.tagged.get(tag).cloned().unwrap_or_default(),
        _ => return Err(malformed("rest")),
    };
    let page = all
        .iter()
        .skip(offset)
        .take(limit)
        .map(|id| &world.works[id]);
    let page: Vec<_> = page
        .filter(|work| !work.hidden)
        .map(|work| ask.thumbnail(work))
        .collect();
    Ok(
        json!({"works": page, "total": all.len(), "zoneConfig": {}, "extraData": {}, "bookmarkTags": []}),
    )
}

fn tagged(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&["tag", "offset", "limit"], &[])?;
    let (offset, limit) = ask.part(100)?;
    let tag = ask.request.get("tag").unwrap_or_default();
    let all: Vec<_> = of(world, number(id).unwrap_or(0))
        .filter(|work| work.tags.iter().any(|t| t == tag))
        .collect();
    let page: Vec<_> = all
        .iter()
        .rev()
        .skip(offset)
        .take(limit)
        .map(|work| ask.thumbnail(work))
        .collect();
    Ok(json!({"works": page, "total": all.len()}))
}

fn following(world: &World, ask: &Ask<'_>) -> Result<Value, Refusal> {
    ask.login()?;
    ask.keys(&["offset", "limit", "rest"], &["tag"])?;
    let (offset, limit) = ask.part(100)?;
    // Some are not shown, such as those who have left: the page is short.
    let shown = world
        .follows
        .iter()
        .skip(offset)
        .take(limit)
        .filter(|id| **id % 10 != 9);
    let user = |id: &u64| {
        json!({"userId": id.to_string(), "userName": format!("artist {id}"), "profileImageUrl": "", "userComment": "",
               "following": true, "followed": false, "isBlocking": false, "isMypixiv": false, "illusts": [], "novels": []})
    };
    let users: Vec<_> = shown.map(user).collect();
    Ok(
        json!({"users": users, "total": world.follows.len(), "followUserTags": [], "zoneConfig": {}}),
    )
}

/// Beyond its wall a feed shows its last page again.
fn feed(world: &World, ask: &Ask<'_>, wall: usize) -> Result<Value, Refusal> {
    ask.login()?;
    ask.keys(&["p"], &["mode", "tag"])?;
    let page = ask.page()?.min(wall - 1);
    let works: Vec<_> = world
        .feed
        .iter()
        .skip(page * PAGE)
        .take(PAGE)
        .map(|id| &world.works[id])
        .collect();
    let ids: Vec<_> = works.iter().map(|work| work.id).collect();
    let last = (page + 1) * PAGE >= world.feed.len();
    Ok(json!({
        "page": {"ids": ids, "isLastPage": last, "tags": []}, "tagTranslation": [], "thumbnails": ask.beside(&works),
        "illustSeries": [], "requests": [], "users": []
    }))
}

fn watch_list(world: &World, ask: &Ask<'_>) -> Result<Value, Refusal> {
    ask.login()?;
    ask.keys(&["p"], &[])?;
    let ids: Vec<_> = world.watched.iter().map(u64::to_string).collect();
    let series = world.watched.iter().map(|id| {
        let (artist, works) = &world.series[id];
        render::series(*id, *artist, works.len())
    });
    let series: Vec<_> = series.collect();
    Ok(json!({
        "page": {"total": ids.len().to_string(), "maxPage": 1, "watchedSeriesIds": ids}, "tagTranslation": [],
        "thumbnails": {"illust": []}, "illustSeries": series, "requests": [], "users": []
    }))
}

fn series(world: &World, ask: &Ask<'_>, id: &str) -> Result<Value, Refusal> {
    ask.keys(&["p"], &[])?;
    let id = number(id).ok_or_else(not_found)?;
    let (artist, works) = world.series.get(&id).ok_or_else(not_found)?;
    let page = works
        .iter()
        .enumerate()
        .rev()
        .skip(ask.page()? * 12)
        .take(12);
    let (page, shown): (Vec<_>, Vec<_>) = page
        .map(|(order, id)| {
            (
                json!({"workId": id.to_string(), "order": order + 1}),
                &world.works[id],
            )
        })
        .unzip();
    Ok(json!({
        "page": {"series": page, "isSetCover": false, "seriesId": id, "total": works.len()}, "tagTranslation": [],
        "thumbnails": ask.beside(&shown), "illustSeries": [render::series(id, *artist, works.len())], "requests": [],
        "users": []
    }))
}

fn newest(world: &World, ask: &Ask<'_>) -> Result<Value, Refusal> {
    ask.keys(&["lastId", "limit", "type", "r18"], &[])?;
    let (last, limit) = (ask.number("lastId")? as u64, ask.number("limit")?);
    if limit > 20 {
        return Err(malformed("limit"));
    }
    let before = |work: &&Work| last == 0 || work.id <= last;
    let works: Vec<_> = world
        .works
        .values()
        .rev()
        .filter(before)
        .take(limit)
        .collect();
    let mut shown: Vec<_> = works.iter().map(|work| ask.thumbnail(work)).collect();
    let last = works.last().map_or(0, |work| work.id - 1);
    if !shown.is_empty() {
        shown.insert(1.min(shown.len()), render::advert());
    }
    Ok(json!({"illusts": shown, "lastId": last.to_string()}))
}

/// No envelope. Behind its last page is nothing, not even an error of its own.
fn ranking(world: &World, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    ask.keys(&["format", "p", "mode"], &["date", "content"])?;
    if ask.request.get("format") != Some("json") || ask.request.get("content") == Some("all") {
        return Err(malformed("format or content"));
    }
    let page = ask.page()?;
    let works = world.ranked.iter().enumerate().skip(page * 50).take(50);
    let contents = works.map(|(n, id)| render::ranked(&world.works[id], n + 1, ask.img));
    let contents: Vec<_> = contents.collect();
    if contents.is_empty() {
        return Err(Answer::json(
            404,
            &json!({"error": "ランキングがありません"}),
        ));
    }
    let next = if world.ranked.len() > (page + 1) * 50 {
        json!(page + 2)
    } else {
        json!(false)
    };
    Ok(Answer::json(
        200,
        &json!({
            "contents": contents, "mode": ask.request.get("mode"), "content": "all", "page": page + 1,
            "prev": if page == 0 { json!(false) } else { json!(page) }, "next": next, "date": "20231115",
            "prev_date": "20231114", "next_date": false, "rank_total": world.ranked.len()
        }),
    ))
}

/// Newest first, 60 a page. No message. Behind the wall its last page comes again.
fn search(world: &mut World, ask: &Ask<'_>, kind: &str, word: &str) -> Result<Answer, Refusal> {
    let known = [
        "order",
        "mode",
        "s_mode",
        "wlt",
        "wgt",
        "hlt",
        "hgt",
        "ratio",
        "tool",
        "scd",
        "ecd",
        "blt",
        "bgt",
        "work_lang",
    ];
    ask.keys(&["word", "p", "type"], &known)?;
    if ask.request.get("word") != Some(word) {
        return Err(malformed("word"));
    }
    if ask.request.get("mode") == Some("r18") {
        ask.login()?;
    }
    let day = |key: &str| {
        ask.request
            .get(key)
            .and_then(|day| day.strip_prefix("2023-11-")?.parse::<u32>().ok())
    };
    let (from, until) = (day("scd").unwrap_or(0), day("ecd").unwrap_or(99));
    let mut found: Vec<_> = world
        .works
        .values()
        .filter(|work| {
            work.tags.iter().any(|tag| tag == word) && (from..=until).contains(&work.day)
        })
        .collect();
    found.sort_by_key(|work| std::cmp::Reverse((work.day, work.id)));
    if ask.request.get("order") == Some("date") {
        found.reverse();
    }
    let throttled = world.search_zeros > 0;
    let page = ask.page()?.min(world.search_wall - 1);
    let mut data: Vec<_> = found
        .iter()
        .skip(page * PAGE)
        .take(PAGE)
        .map(|work| ask.thumbnail(work))
        .collect();
    let mut total = found.len();
    if throttled {
        (data, total) = (Vec::new(), 0);
    } else if data.len() > 3 {
        data.insert(3, render::advert());
    }
    let key = match kind {
        "artworks" => "illustManga",
        "illustrations" => "illust",
        _ => "manga",
    };
    world.search_zeros -= usize::from(throttled);
    Ok(Answer::json(
        200,
        &json!({"error": false, "body": {
            key: {"data": data, "total": total, "bookmarkRanges": []}, "popular": [], "relatedTags": [],
            "tagTranslation": [], "zoneConfig": {}, "extraData": {}
        }}),
    ))
}

/// A POST wants JSON, the token and a login.
fn act(world: &mut World, ask: &Ask<'_>) -> Result<Answer, Refusal> {
    if ask.request.header("content-type") != "application/json"
        || ask.request.header("x-csrf-token") != TOKEN
    {
        return Err(malformed("token"));
    }
    ask.login()?;
    let sent: Value = serde_json::from_str(&ask.request.body).map_err(|_| malformed("body"))?;
    let mut keys: Vec<_> = sent
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    keys.sort_unstable();
    let reply = match (ask.request.path.as_str(), &keys[..]) {
        ("/ajax/illusts/bookmarks/add", ["comment", "illust_id", "restrict", "tags"]) => {
            json!({"last_bookmark_id": "17000000100", "stacc_status_id": null})
        }
        ("/ajax/illusts/like", ["illust_id"]) => json!({"is_liked": false}),
        _ => return Err(malformed("body")),
    };
    if sent["illust_id"]
        .as_str()
        .is_none_or(|id| find(world, id).is_err())
    {
        return Err(not_found());
    }
    world.done.push(sent);
    Ok(Answer::json(200, &render::ok(&reply)))
}
