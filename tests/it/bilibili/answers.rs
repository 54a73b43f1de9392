//! How the mock site answers.

use std::io::Read as _;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::{
    site::{Answer, Request},
    world::{CSRF, Danmaku, Fault, PAGE, SESSION, World},
};

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn with(status: u16, value: &Value) -> Answer {
    Answer {
        status,
        headers: vec![JSON],
        body: value.to_string().into_bytes(),
    }
}

fn good(data: &Value) -> Answer {
    with(
        200,
        &json!({"code": 0, "message": "0", "ttl": 1, "data": data}),
    )
}

pub(super) fn refusal(code: i64, message: &str) -> Answer {
    with(200, &json!({"code": code, "message": message, "ttl": 1}))
}

/// A host of files: a picture, and no cookie.
pub(super) fn file(request: &Request) -> Answer {
    let refused = request.headers.contains_key("cookie") || request.header("referer").is_empty();
    let mut body = b"\x89PNG\r\n\x1a\n".to_vec();
    body.extend(request.path.bytes());
    Answer {
        status: if refused { 403 } else { 200 },
        headers: vec![("content-type", "image/png")],
        body,
    }
}

pub(super) fn answer(world: &mut World, request: &Request, files: &str) -> Answer {
    if request.header("user-agent").is_empty() {
        return refusal(-412, "request was banned");
    }
    if request.header("referer") != "https://www.bilibili.com/" {
        return refusal(-352, "-352");
    }
    if let Some(mut hook) = world.hook.take() {
        hook(world, request);
        world.hook.get_or_insert(hook);
    }
    let mut ends_early = false;
    if request.path != "/x/web-interface/nav" {
        match world.faults.pop_front() {
            None => {}
            Some(Fault::Json(status, value)) => return with(status, &value),
            Some(Fault::Status(status)) => {
                return Answer {
                    status,
                    headers: Vec::new(),
                    body: Vec::new(),
                };
            }
            Some(Fault::Shadow) => return shadow(request),
            Some(Fault::EndsEarly) => ends_early = true,
        }
    }
    let member = request.cookie("SESSDATA") == Some(SESSION);
    if request.method == "POST" {
        return post(world, request, member);
    }
    match request.path.as_str() {
        "/x/web-interface/nav" => nav(world, member),
        "/x/v2/reply/wbi/main" => main(world, request, files, member, ends_early),
        "/x/v2/reply/reply" => children(world, request, files),
        "/x/v2/reply" => by_page(world, request, files, member),
        "/x/v2/reply/count" => good(&json!({"count": world.count()})),
        "/x/v2/dm/web/seg.so" => segment(world, request),
        "/x/v1/dm/list.so" => list(world),
        "/x/v2/dm/thumbup/stats" => likes(request),
        "/x/player/pagelist" => good(&json!([
            {"cid": 9001, "page": 1, "part": "whole", "duration": 360 * world.danmaku.len()},
        ])),
        _ => refusal(-404, "啥都木有"),
    }
}

fn nav(world: &World, member: bool) -> Answer {
    let (img, sub) = world.keys();
    let url = |key: &str| format!("https://i0.hdslb.com/bfs/wbi/{key}.png");
    let (code, message) = if member {
        (0, "0")
    } else {
        (-101, "账号未登录")
    };
    with(
        200,
        &json!({"code": code, "message": message, "ttl": 1, "data": {
            "isLogin": member, "wbi_img": {"img_url": url(&img), "sub_url": url(&sub)},
        }}),
    )
}

/// Whether a signature holds: over what came, sorted and without five characters, not older or newer than ten minutes.
#[expect(clippy::disallowed_methods, reason = "the site has a clock of its own")]
pub(super) fn is_signed(world: &World, request: &Request) -> bool {
    const MIXING: [usize; 32] = [
        46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35, 27, 43, 5, 49, 33, 9, 42, 19,
        29, 28, 14, 39, 12, 38, 41, 13,
    ];
    let (img, sub) = world.keys();
    let raw: Vec<char> = img.chars().chain(sub.chars()).collect();
    let key: String = MIXING.iter().map(|at| raw[*at]).collect();
    let mut pairs: Vec<_> = request.query.iter().filter(|(k, _)| k != "w_rid").collect();
    pairs.sort();
    let plain = |text: &str| -> String {
        let escaped = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escaped).collect()
    };
    let query: Vec<_> = pairs
        .iter()
        .map(|(k, v)| {
            format!(
                "{}={}",
                plain(k),
                plain(&v.replace(['!', '\'', '(', ')', '*'], ""))
            )
        })
        .collect();
    let expected = hex::encode(Md5::digest(format!("{}{key}", query.join("&"))));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let fresh = request
        .number("wts")
        .is_some_and(|at| at.abs_diff(now) < 600);
    fresh && request.get("w_rid") == Some(&expected)
}

fn is_about(world: &World, request: &Request) -> bool {
    request.number("oid") == Some(world.oid) && request.number("type") == Some(world.kind)
}

/// Code 0, and everything zero.
fn shadow(request: &Request) -> Answer {
    if request.path.ends_with("/main") {
        return good(&json!({
            "cursor": {"is_begin": false, "prev": 0, "next": 0, "is_end": false, "mode": 0, "mode_text": "", "name": "",
                       "pagination_reply": null, "session_id": ""},
            "replies": null, "top": {"admin": null, "upper": null, "vote": null}, "top_replies": null, "upper": {"mid": 0},
        }));
    }
    good(&json!({
        "page": {"num": 0, "size": 0, "count": 0, "acount": 0}, "replies": null,
        "upper": {"mid": 0, "top": null, "vote": null}, "top": null, "mode": 0, "support_mode": null,
    }))
}

fn main(world: &World, request: &Request, files: &str, member: bool, ends_early: bool) -> Answer {
    if !is_signed(world, request) {
        return refusal(-403, "访问权限不足");
    }
    if !is_about(world, request) || request.number("mode") != Some(2) {
        return refusal(-400, "请求错误");
    }
    if world.closed {
        return refusal(12002, "评论区已关闭");
    }
    // JSON in a text in JSON, and nothing else.
    let outer: Value = serde_json::from_str(request.get("pagination_str").unwrap()).unwrap();
    let offset = outer["offset"].as_str().unwrap();
    let before = match offset {
        "" => u64::MAX,
        text => {
            let inner: Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                (&inner["type"], &inner["direction"]),
                (&json!(3), &json!(1))
            );
            inner["Data"]["cursor"].as_u64().unwrap()
        }
    };
    let begins = offset.is_empty();
    assert_eq!(begins, request.get("seek_rpid").is_some());
    let guest = world.guests && !member;
    if guest && !begins {
        return shadow(request);
    }
    let mut shown = world.roots_below(before);
    let more = shown
        .last()
        .is_some_and(|last| !world.roots_below(*last).is_empty());
    let mut ends = !more || ends_early;
    if guest {
        shown.truncate(3);
        ends = true;
    }
    let next = json!({"type": 3, "direction": 1, "Data": {"cursor": shown.last()}}).to_string();
    let paging = if ends {
        json!({})
    } else {
        json!({"next_offset": next, "session_id": ""})
    };
    let all: Vec<_> = shown.iter().map(|id| reply(world, *id, files)).collect();
    let replies = if all.is_empty() {
        Value::Null
    } else {
        json!(all)
    };
    let top: Vec<_> = world
        .pinned
        .iter()
        .filter(|id| world.replies.contains_key(id))
        .collect();
    let top: Vec<_> = top.into_iter().map(|id| reply(world, *id, files)).collect();
    good(&json!({
        "cursor": {"is_begin": begins, "prev": 0, "next": 0, "is_end": ends, "mode": 2, "mode_text": "",
                   "all_count": world.count(), "support_mode": [2], "name": "最新评论", "pagination_reply": paging,
                   "session_id": ""},
        "replies": replies,
        "top": {"admin": null, "upper": null, "vote": null},
        "top_replies": if begins { json!(top) } else { Value::Null },
        "upper": {"mid": 2},
    }))
}

fn page_of(all: &[u64], pn: u64) -> Vec<u64> {
    let skip = (pn as usize - 1) * PAGE;
    all.iter().skip(skip).take(PAGE).copied().collect()
}

fn children(world: &World, request: &Request, files: &str) -> Answer {
    let (Some(root), Some(pn)) = (request.number("root"), request.number("pn")) else {
        return refusal(-400, "请求错误");
    };
    if !is_about(world, request) || request.number("ps").is_none_or(|ps| ps > 49) {
        return refusal(-400, "请求错误");
    }
    if !world.replies.contains_key(&root) {
        return refusal(12022, "已经被删除了");
    }
    if world.wall.is_some_and(|wall| pn > wall) {
        return refusal(-400, "max offset exceeded");
    }
    let shown = page_of(&world.children(root), pn);
    let all: Vec<_> = shown.iter().map(|id| reply(world, *id, files)).collect();
    let replies = if all.is_empty() && root % 2 == 0 {
        Value::Null
    } else {
        json!(all)
    };
    good(&json!({
        "page": {"count": world.count_below(root), "num": pn, "size": request.number("ps")},
        "replies": replies, "root": reply(world, root, files), "upper": {"mid": 2},
    }))
}

fn by_page(world: &World, request: &Request, files: &str, member: bool) -> Answer {
    let pn = request.number("pn").unwrap_or(1);
    if !is_about(world, request) || request.number("ps").is_none_or(|ps| ps > 20) {
        return refusal(-400, "请求错误");
    }
    if world.guests && !member && pn > 1 {
        return shadow(request);
    }
    if world.wall.is_some_and(|wall| pn > wall) {
        return refusal(-400, "请求错误");
    }
    let mut all = Vec::new();
    let mut before = u64::MAX;
    loop {
        let some = world.roots_below(before);
        let Some(last) = some.last() else { break };
        before = *last;
        all.extend(some);
    }
    let shown: Vec<_> = page_of(&all, pn);
    let shown: Vec<_> = shown.iter().map(|id| reply(world, *id, files)).collect();
    good(&json!({
        "page": {"num": pn, "size": 20, "count": world.roots(), "acount": world.count()},
        "replies": if shown.is_empty() { Value::Null } else { json!(shown) },
        "hots": null, "upper": {"mid": 2, "top": null}, "top": null,
    }))
}

fn reply(world: &World, id: u64, files: &str) -> Value {
    let one = &world.replies[&id];
    let text = |number: u64| number.to_string();
    let mut content = json!({"message": one.text, "members": [], "jump_url": {}, "max_line": 6});
    if !one.emotes.is_empty() {
        let emote = |name: &&str| {
            let number: u32 = name.bytes().map(u32::from).sum();
            let url = format!("{files}/bfs/emote/{number}.png");
            (
                (*name).to_owned(),
                json!({"id": number, "package_id": 1, "text": name, "url": url, "meta": {"size": 1}}),
            )
        };
        content["emote"] = Value::Object(one.emotes.iter().map(emote).collect());
    }
    if !one.pictures.is_empty() {
        let picture = |n: &u32| json!({"img_src": format!("{files}/bfs/new_dyn/{n}.png"), "img_width": 640, "img_height": 480, "img_size": 12.5});
        content["pictures"] = one.pictures.iter().map(picture).collect();
    }
    let below = world.count_below(id);
    json!({
        "rpid": id, "oid": world.oid, "type": world.kind, "mid": one.mid, "root": one.root, "parent": one.parent,
        "dialog": one.dialog, "count": below, "rcount": below, "state": 0, "attr": 0, "ctime": 1_700_000_000 + id % 1_000_000,
        "rpid_str": text(id), "root_str": text(one.root), "parent_str": text(one.parent), "like": one.likes, "action": 0,
        "member": {"mid": text(one.mid), "uname": format!("reader {}", one.mid), "level_info": {"current_level": 5}},
        "content": content,
        "replies": if one.root == 0 && below > 0 { json!([]) } else { Value::Null },
        "reply_control": {"time_desc": "3天前发布"}, "invisible": false,
    })
}

/// A field of protobuf: a number.
fn number(field: u64, value: u64, to: &mut Vec<u8>) {
    varint(field << 3, to);
    varint(value, to);
}

/// A field of protobuf: bytes.
fn bytes(field: u64, value: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(value.len() as u64, to);
    to.extend(value);
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 127 {
        to.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    to.push(value as u8);
}

fn segment(world: &World, request: &Request) -> Answer {
    let index = request.number("segment_index").unwrap_or(0);
    let Some(all) = world.danmaku.get(&index) else {
        return Answer {
            status: 304,
            headers: Vec::new(),
            body: Vec::new(),
        };
    };
    let mut body = Vec::new();
    for one in all {
        let mut elem = Vec::new();
        number(1, one.id, &mut elem);
        number(2, one.progress.into(), &mut elem);
        number(3, 1, &mut elem);
        number(4, 25, &mut elem);
        number(5, 0x00ff_ffff, &mut elem);
        bytes(6, b"a1b2c3d4", &mut elem);
        bytes(7, one.text.as_bytes(), &mut elem);
        number(8, 1_700_000_000, &mut elem);
        bytes(12, one.id.to_string().as_bytes(), &mut elem);
        bytes(1, &elem, &mut body);
    }
    Answer {
        status: 200,
        headers: vec![("content-type", "application/octet-stream")],
        body,
    }
}

fn list(world: &World) -> Answer {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let one = |one: &Danmaku| {
        let seconds = f64::from(one.progress) / 1000.0;
        format!(
            "<d p=\"{seconds:.5},1,25,16777215,1700000000,0,a1b2c3d4,{},10\">{}</d>",
            one.id,
            escaped(&one.text)
        )
    };
    let all: String = world.danmaku.values().flatten().map(one).collect();
    let xml =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><i><chatid>9001</chatid>{all}</i>");
    let mut body = Vec::new();
    flate2::read::DeflateEncoder::new(xml.as_bytes(), flate2::Compression::fast())
        .read_to_end(&mut body)
        .unwrap();
    Answer {
        status: 200,
        headers: vec![
            ("content-type", "text/xml"),
            ("content-encoding", "deflate"),
        ],
        body,
    }
}

fn likes(request: &Request) -> Answer {
    let ids: Vec<_> = request.get("ids").unwrap().split(',').collect();
    if ids.len() > 50 {
        return refusal(-400, "请求错误");
    }
    let one = |id: &str| {
        let likes = id.len() + usize::from(id.as_bytes()[id.len() - 1] - b'0');
        (
            id.to_owned(),
            json!({"likes": likes, "user_like": 0, "id_str": id}),
        )
    };
    good(&Value::Object(ids.into_iter().map(one).collect()))
}

fn post(world: &mut World, request: &Request, member: bool) -> Answer {
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect();
    if !member {
        return refusal(-101, "账号未登录");
    }
    if !fields.contains(&("csrf".to_owned(), CSRF.to_owned())) {
        return refusal(-111, "csrf 校验失败");
    }
    if request.path == "/x/v2/dm/post" && !is_signed(world, request) {
        return refusal(-403, "访问权限不足");
    }
    world.sent.push(request.clone());
    match request.path.as_str() {
        "/x/v2/dm/post" => good(
            &json!({"dmid": 32_161_968_826_613_767_u64, "dmid_str": "32161968826613767", "visible": true}),
        ),
        "/x/dm/recall" => refusal(0, "撤回成功你还有3次撤回机会"),
        "/x/dm/adv/buy" => refusal(0, "已成功购买"),
        "/x/v2/dm/thumbup/add" | "/x/dm/report/add" => refusal(0, "0"),
        _ => refusal(-404, "啥都木有"),
    }
}
