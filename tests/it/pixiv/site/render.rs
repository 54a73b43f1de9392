//! The site's JSON, in the shapes that it was recorded with.

use serde_json::{Map, Value, json};

use super::world::{Comment, Kind, Work};

pub(super) fn ok(body: &Value) -> Value {
    json!({"error": false, "message": "", "body": body})
}

pub(super) fn failure(message: &str) -> Value {
    json!({"error": true, "message": message, "body": []})
}

/// PHP writes an empty map as a list.
pub(super) fn map(entries: Map<String, Value>) -> Value {
    if entries.is_empty() {
        json!([])
    } else {
        Value::Object(entries)
    }
}

pub(super) fn advert() -> Value {
    json!({"isAdContainer": true})
}

/// A work in a list: no address of its files.
pub(super) fn thumbnail(work: &Work, img: &str) -> Value {
    let Work { id, user, .. } = work;
    if work.masked {
        return json!({
            "id": id, "title": "-----", "illustType": 0, "xRestrict": 0, "restrict": 0, "sl": 0,
            "url": format!("{img}/common/images/limit_unknown_360.png"), "description": "", "tags": [], "userId": 0,
            "userName": "-----", "width": 100, "height": 100, "pageCount": 1, "isBookmarkable": false,
            "bookmarkData": {"id": "17", "private": false}, "alt": "-----", "isUnlisted": false, "isMasked": true
        });
    }
    let day = work.day;
    json!({
        "id": id.to_string(), "title": work.title, "illustType": work.kind as u8, "xRestrict": u8::from(work.adult),
        "restrict": 0, "sl": 2, "url": format!("{img}/c/250x250_80_a2/img-master/{}_square1200.jpg", place(work, 0)),
        "description": "", "tags": work.tags, "userId": user.to_string(), "userName": format!("artist {user}"),
        "width": 1600, "height": 900, "pageCount": work.pages, "isBookmarkable": true, "bookmarkData": null,
        "alt": work.title, "titleCaptionTranslation": {"workTitle": null, "workCaption": null},
        "createDate": format!("2023-11-{day:02}T22:15:07+09:00"),
        "updateDate": format!("2023-11-{day:02}T22:15:{:02}+09:00", 6 + work.version),
        "isUnlisted": false, "isMasked": false, "aiType": 1, "profileImageUrl": format!("{img}/user-profile/{user}_50.jpg")
    })
}

/// The place of a file on the image host: the time of the upload, the number and the page.
fn place(work: &Work, page: usize) -> String {
    format!(
        "img/2023/11/{:02}/22/15/{:02}/{}_p{page}",
        work.day,
        6 + work.version,
        work.id
    )
}

/// The path of a page's original; its extension is not that of the first page.
pub(super) fn original(work: &Work, page: usize) -> String {
    let end = if page % 3 == 1 { "png" } else { "jpg" };
    format!("/img-original/{}.{end}", place(work, page))
}

pub(super) fn zip(work: &Work) -> String {
    let place = place(work, 0);
    let place = place.trim_end_matches("_p0");
    format!("/img-zip-ugoira/{place}_ugoira1920x1080.zip")
}

pub(super) fn urls(work: &Work, page: usize, img: &str, shown: bool) -> Value {
    let url = |path: String| {
        if shown {
            json!(format!("{img}{path}"))
        } else {
            Value::Null
        }
    };
    let small = |size: &str| {
        url(format!(
            "/{size}/img-master/{}_master1200.jpg",
            place(work, page)
        ))
    };
    json!({
        "mini": small("c/48x48"), "thumb": small("c/250x250_80_a2"), "small": small("c/540x540_70"),
        "regular": url(format!("/img-master/{}_master1200.jpg", place(work, page))), "original": url(original(work, page))
    })
}

/// A work by itself.
pub(super) fn whole(work: &Work, img: &str, shown: bool) -> Value {
    let Work { id, user, .. } = work;
    let tag = |tag: &String| json!({"tag": tag, "locked": true, "deletable": false});
    let tags: Vec<_> = work.tags.iter().map(tag).collect();
    let day = work.day;
    json!({
        "illustId": id.to_string(), "illustTitle": work.title, "illustComment": "a <b>hill</b>", "id": id.to_string(),
        "title": work.title, "description": "a <b>hill</b>", "illustType": work.kind as u8,
        "createDate": format!("2023-11-{day:02}T13:15:07+00:00"),
        "uploadDate": format!("2023-11-{day:02}T13:15:{:02}+00:00", 6 + work.version), "restrict": 0,
        "xRestrict": u8::from(work.adult), "sl": 2, "urls": urls(work, 0, img, shown),
        "tags": {"authorId": user.to_string(), "isLocked": false, "tags": tags, "writable": false},
        "storableTags": ["AbCdEfGhIj"], "userId": user.to_string(), "userName": format!("artist {user}"),
        "userAccount": "heron", "userIllusts": {id.to_string(): null}, "width": 1600, "height": 900,
        "pageCount": work.pages, "bookmarkCount": 11, "likeCount": 7, "commentCount": work.comments.len(),
        "responseCount": 0, "viewCount": 99, "seriesNavData": null, "isUnlisted": false, "request": null,
        "zoneConfig": {"header": {"url": "https://adverts.example/"}}, "extraData": {"meta": {"title": "x"}},
        "noLoginData": null, "aiType": 1
    })
}

pub(super) fn frames(work: &Work, img: &str) -> Value {
    let frames: Vec<_> = (0..3)
        .map(|n| json!({"file": format!("{n:06}.jpg"), "delay": 80 + n}))
        .collect();
    let zip = zip(work);
    json!({
        "src": format!("{img}{}", zip.replace("1920x1080", "600x600")), "originalSrc": format!("{img}{zip}"),
        "mime_type": "image/jpeg", "frames": frames
    })
}

pub(super) fn comment(comment: &Comment) -> Value {
    json!({
        "userId": "4720", "userName": "wren", "isDeletedUser": false, "img": "", "id": comment.id.to_string(),
        "comment": comment.text, "stampId": null, "stampLink": null, "commentDate": "2023-11-15 08:09",
        "commentRootId": null, "commentParentId": null, "commentUserId": "4720", "replyToUserId": null,
        "replyToUserName": null, "editable": false, "hasReplies": !comment.replies.is_empty()
    })
}

pub(super) fn reply((id, text): &(u64, String), root: u64) -> Value {
    json!({
        "id": id.to_string(), "userId": "4721", "userName": "heron", "isDeletedUser": false, "comment": text,
        "stampId": null, "commentDate": "2023-11-15 08:10", "commentRootId": root.to_string(),
        "commentParentId": root.to_string(), "editable": false
    })
}

pub(super) fn ranked(work: &Work, rank: usize, img: &str) -> Value {
    json!({
        "title": work.title, "date": "2023年11月14日 22:15", "tags": work.tags,
        "url": format!("{img}/c/240x480/img-master/{}_master1200.jpg", place(work, 0)),
        "illust_type": (work.kind as u8).to_string(), "illust_book_style": "0",
        "illust_page_count": work.pages.to_string(), "user_name": format!("artist {}", work.user), "profile_img": "",
        "illust_series": false, "illust_id": work.id, "width": 1600, "height": 900, "user_id": work.user, "rank": rank,
        "yes_rank": 0, "rating_count": 1, "view_count": 1, "illust_upload_timestamp": 1_699_967_707, "attr": ""
    })
}

pub(super) fn series(id: u64, artist: u64, works: usize) -> Value {
    json!({
        "id": id.to_string(), "userId": artist.to_string(), "title": format!("series {id}"), "description": "parts",
        "caption": "parts", "total": works, "createDate": "2023-01-02T03:04:05+09:00",
        "updateDate": "2023-11-14T08:00:00+09:00"
    })
}

pub(super) fn is(kind: Kind, category: &str) -> bool {
    match category {
        "illusts" => kind != Kind::Manga,
        _ => kind == Kind::Manga,
    }
}
