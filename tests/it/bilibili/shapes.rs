//! Endpoints read by the built-in dialect, in the shapes that the site was recorded with; contents are invented.

use larder::{
    class::Class,
    dialect::{Asked, Catalog, Cursor, Entry, Page, ReplyError, Values},
};
use serde_json::{Value, json};

fn ask(endpoint: &str, reply: &Value, params: Value, at: Value) -> Result<Page, ReplyError> {
    let catalog = Catalog::built_in();
    let endpoint = &catalog.get("bilibili").unwrap().endpoints[endpoint];
    let params: Values = serde_json::from_value(params).unwrap();
    let params = endpoint.complete(&params).unwrap();
    let mut cursor = endpoint.paging(&params).start().cursor;
    cursor.extend(serde_json::from_value::<Cursor>(at).unwrap());
    let base = "https://api.bilibili.com/".parse().unwrap();
    endpoint.read(
        reply.to_string().as_bytes(),
        &Asked::new(&base, &[], &params, &cursor),
    )
}

fn good(data: Value) -> Value {
    json!({"code": 0, "message": "0", "ttl": 1, "data": data})
}

/// The items without what the site sent.
fn items(page: &Page) -> Vec<Value> {
    let item = |entry: &Entry| {
        let Entry::Good(item) = entry else {
            panic!("{entry:?}")
        };
        let mut item = serde_json::to_value(item).unwrap();
        item.as_object_mut().unwrap().remove("raw");
        item
    };
    page.entries.iter().map(item).collect()
}

/// A reply as older lists have it: numbers without twins, a floor, a picture.
fn older(rpid: u64, root: u64, parent: u64) -> Value {
    json!({
        "rpid": rpid, "oid": 2, "type": 1, "mid": 58426, "root": root, "parent": parent, "dialog": if root == 0 { 0 } else { rpid },
        "count": 3, "rcount": 2, "floor": 7, "state": 0, "ctime": 1_291_350_931, "like": 9, "member": null,
        "content": {"message": "first", "members": null, "jump_url": null, "pictures": [
            {"img_src": "https://i0.hdslb.example/bfs/new_dyn/a.jpg", "img_width": 640.0, "img_height": 480, "img_size": 1.5}]},
        "replies": [{"rpid": 1}],
    })
}

#[test]
fn a_dialogue_goes_on_by_floor_until_its_last() {
    let params = json!({"oid": 2, "root": 5, "dialog": 6});
    let data = |to: u64| {
        good(
            json!({"cursor": {"min_floor": 5, "max_floor": to, "size": 1}, "dialog": {"min_floor": 0, "max_floor": 243},
                    "replies": [older(9, 5, 6)]}),
        )
    };
    let page = ask("dialog", &data(99), params.clone(), json!({})).unwrap();
    assert_eq!(
        page.shown.next,
        json!({"min_floor": 100}).as_object().cloned()
    );
    let expected = json!({
        "kind": "reply", "id": "1:2:9", "url": "https://www.bilibili.com/video/av2#reply9", "author": {"id": "58426", "name": null},
        "created": "2010-12-03T04:35:31Z", "text": "first", "parent": {"kind": "reply", "id": "1:2:6"},
        "tags": ["root:5", "dialog:9"],
        "files": [{"role": "picture", "index": 0, "url": "https://i0.hdslb.example/bfs/new_dyn/a.jpg", "width": 640, "height": 480}],
        "stats": {"likes": 9, "replies": 2, "replies_ever": 3, "floor": 7}
    });
    let mut found = items(&page);
    found[0]["author"]["name"] = Value::Null;
    assert_eq!(found, [expected]);
    let page = ask("dialog", &data(243), params, json!({})).unwrap();
    assert_eq!(page.shown.next, None);
}

#[test]
fn numbers_beyond_what_floats_hold_survive() {
    let mut reply = older(237_740_291_920, 0, 0);
    reply["rpid"] = json!(9_007_199_254_740_993_u64);
    reply["rpid_str"] = json!("9007199254740993");
    let page = ask(
        "reply",
        &good(reply),
        json!({"oid": 2, "rpid": 1}),
        json!({}),
    )
    .unwrap();
    assert_eq!(items(&page)[0]["id"], "1:2:9007199254740993");
    let page = ask(
        "reply",
        &good(older(9_007_199_254_740_993, 0, 0)),
        json!({"oid": 2, "rpid": 1}),
        json!({}),
    );
    assert_eq!(items(&page.unwrap())[0]["id"], "1:2:9007199254740993");
}

#[test]
fn hot_and_pinned_replies_are_of_the_first_page_by_number() {
    let data = |pn: u64| {
        good(
            json!({"page": {"num": pn, "size": 20, "count": 60, "acount": 76}, "replies": [older(10, 0, 0)],
                    "hots": [older(11, 0, 0)], "upper": {"mid": 2, "top": older(12, 0, 0)}, "top": null}),
        )
    };
    let ids = |page: &Page| {
        items(page)
            .iter()
            .map(|item| item["id"].clone())
            .collect::<Vec<_>>()
    };
    let first = ask(
        "replies_by_page",
        &data(1),
        json!({"oid": 2}),
        json!({"page": 1}),
    )
    .unwrap();
    assert_eq!(ids(&first), ["1:2:10", "1:2:11", "1:2:12"]);
    assert_eq!((first.shown.stands, first.shown.total), (Some(9), Some(76)));
    let next = ask(
        "replies_by_page",
        &data(2),
        json!({"oid": 2}),
        json!({"page": 2}),
    )
    .unwrap();
    assert_eq!(ids(&next), ["1:2:10"]);
    // Another page than was asked for is none.
    let error = ask(
        "replies_by_page",
        &data(2),
        json!({"oid": 2}),
        json!({"page": 3}),
    )
    .unwrap_err();
    assert_eq!(error.class, Class::Auth);
}

#[test]
fn single_answers_are_read() {
    let one = |endpoint: &str, reply: Value, params: Value| {
        items(&ask(endpoint, &reply, params, json!({})).unwrap()).remove(0)
    };
    let area = one(
        "count",
        good(json!({"count": 65521})),
        json!({"type": 12, "oid": 7}),
    );
    assert_eq!(
        (&area["id"], &area["stats"]),
        (&json!("12:7"), &json!({"replies": 65521}))
    );
    let state = good(json!({"coins": 2, "confirm": 1, "accept": true, "hasBuy": true}));
    assert_eq!(
        one("danmaku_advanced", state, json!({"cid": 9}))["id"],
        "dm/adv/state/9"
    );
    let nav = json!({"code": -101, "message": "x", "data": {"wbi_img": {"img_url": "https://a/b.png", "sub_url": "https://a/c.png"}}});
    assert_eq!(one("nav", nav, json!({}))["kind"], "page");
    assert!(
        ask(
            "nav",
            &json!({"code": -101, "message": "x", "data": null}),
            json!({}),
            json!({})
        )
        .is_err()
    );
    let likes = good(
        json!({"35600074482384899": {"likes": 1, "user_like": 1, "id_str": "35600074482384899"}}),
    );
    let likes = one(
        "danmaku_likes",
        likes,
        json!({"cid": 9, "ids": ["35600074482384899"]}),
    );
    assert_eq!(
        (&likes["id"], &likes["text"]),
        (&json!("9:35600074482384899"), &json!("1"))
    );
    let post = good(
        json!({"item": {"id_str": "987654321012345678", "basic": {"comment_type": 11, "comment_id_str": "3344"}}}),
    );
    let page = ask(
        "post",
        &post,
        json!({"id": 987_654_321_012_345_678_u64}),
        json!({}),
    )
    .unwrap();
    assert_eq!(items(&page)[0]["id"], "987654321012345678");
    let follow = serde_json::to_value(&page.follow).unwrap();
    assert_eq!(
        follow,
        json!([{"endpoint": "replies", "params": {"type": 11, "oid": "3344", "mode": 2}}])
    );
}

#[test]
fn codes_are_classified_as_what_they_are() {
    for (code, class) in [
        (-101, Class::Auth),
        (-102, Class::Blocked),
        (-352, Class::Blocked),
        (-400, Class::Http4xx),
        (-403, Class::Auth),
        (-404, Class::Http404),
        (-412, Class::RateLimited),
        (-500, Class::Http5xx),
        (-509, Class::RateLimited),
        (-702, Class::RateLimited),
        (-799, Class::RateLimited),
        (12009, Class::Http4xx),
        (77777, Class::Listing),
    ] {
        let reply = json!({"code": code, "message": "x", "ttl": 1});
        for (endpoint, params) in [
            ("replies", json!({"oid": 2})),
            ("children", json!({"oid": 2, "root": 3})),
            ("hot", json!({"oid": 2})),
            ("danmaku", json!({"cid": 2})),
        ] {
            let error = ask(endpoint, &reply, params, json!({})).unwrap_err();
            assert_eq!(error.class, class, "{endpoint} {code}");
            assert_eq!(error.stale_key, code == -352 || code == -403);
        }
    }
}
