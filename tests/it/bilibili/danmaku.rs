//! Danmaku: all segments of a part, in protobuf or XML, their likes, and the XML that players read; and actions.

use super::{
    Folder, Value,
    site::{Bilibili, Request},
    world::{Danmaku, Fault, World},
};

/// Three segments, the middle one silent.
fn site() -> Bilibili {
    let site = Bilibili::start();
    let mut world = site.world();
    for index in [1, 2, 3] {
        let count = if index == 2 { 0 } else { 130 };
        let one = |n: u64| Danmaku {
            id: 1_318_231_376_180_646_000 + index * 1000 + n,
            progress: (index as u32 - 1) * 360_000 + n as u32 * 250,
            // Some are as long as a brace or an angle bracket is as a number.
            text: match n % 3 {
                0 => format!("a <b> & \"c\" {n}"),
                1 => "草".repeat(1 + n as usize % 30),
                _ => format!("{n}"),
            },
        };
        world.danmaku.insert(index, (0..count).map(one).collect());
    }
    drop(world);
    site
}

fn holds_all(folder: &Folder<'_>, site: &Bilibili) {
    let records = folder.records("danmaku");
    let world = site.world();
    let all: Vec<_> = world.danmaku.values().flatten().collect();
    assert_eq!(records.len(), all.len());
    for one in all {
        let record = &records[&format!("9001:{}", one.id)];
        assert_eq!(record["text"], one.text.as_str());
        assert_eq!(record["stats"]["progress"], one.progress);
        assert_eq!(record["author"]["id"], "a1b2c3d4");
        assert_eq!(record["created"], "2023-11-14T22:13:20Z");
    }
}

#[test]
fn all_segments_of_a_part_are_archived_past_a_silent_one_and_a_passing_304() {
    let site = site();
    let mut times = 1;
    site.world().hook = Some(Box::new(move |world: &mut World, request: &Request| {
        if request.get("segment_index") == Some("3") && times > 0 {
            times -= 1;
            world.faults.push_front(Fault::Status(304));
        }
    }));
    let folder = Folder::new(&site).job("parts", "aid = 170001", "with = [\"danmaku\"]");
    folder.shell.larder(&["run"]).ends(0);
    holds_all(&folder, &site);
    assert_eq!(folder.records("part").len(), 1);
    // Without their number the end is asked for twice.
    site.world().hook = None;
    site.world().danmaku.remove(&2);
    let third = site.world().danmaku.remove(&3).unwrap();
    site.world().danmaku.insert(2, third);
    site.clear();
    let folder = Folder::new(&site).job("danmaku", "cid = 9001, likes = true", "");
    folder.shell.larder(&["run"]).ends(0);
    holds_all(&folder, &site);
    let asked = site.asked("/x/v2/dm/web/seg.so");
    let asked: Vec<_> = asked
        .iter()
        .map(|request| request.get("segment_index").unwrap())
        .collect();
    assert_eq!(asked, ["1", "2", "3", "3"]);
    // 130 in batches of 50, twice.
    assert_eq!(site.asked("/x/v2/dm/thumbup/stats").len(), 6);
    let likes = folder.records("likes");
    assert_eq!(likes.len(), 260);
    assert_eq!(likes["9001:1318231376180647007"]["text"], "26");
}

#[test]
fn a_refusal_in_place_of_protobuf_is_waited_for() {
    let site = site();
    let refused = serde_json::json!({"code": -412, "message": "request was banned", "ttl": 1});
    site.world()
        .faults
        .extend([Fault::Json(200, refused.clone()), Fault::Json(200, refused)]);
    let folder = Folder::new(&site).job("danmaku", "cid = 9001, segments = 3", "");
    folder.shell.larder(&["run"]).ends(0);
    holds_all(&folder, &site);
}

#[test]
fn the_list_in_xml_brings_the_same_items_and_show_writes_it_for_players() {
    let site = site();
    let folder = Folder::new(&site).job("danmaku_xml", "cid = 9001", "");
    folder.shell.larder(&["run"]).ends(0);
    holds_all(&folder, &site);
    let xml = folder
        .shell
        .larder(&["show", "bilibili/part/9001", "--format", "xml"])
        .ends(0)
        .out;
    assert!(
        xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<i>"),
        "{xml}"
    );
    assert_eq!(xml.matches("<d p=").count(), 260);
    let first = "<d p=\"0.000,1,25,16777215,1700000000,0,a1b2c3d4,1318231376180647000\">a &lt;b&gt; &amp; &quot;c&quot; 0</d>";
    assert!(xml.contains(first), "{}", &xml[..400]);
    folder
        .shell
        .larder(&["show", "bilibili/part/5", "--format", "xml"])
        .ends(1);
    folder
        .shell
        .larder(&["show", "bilibili/reply/5", "--format", "xml"])
        .ends(2);
}

fn last_sent(site: &Bilibili) -> Request {
    site.world().sent.last().unwrap().clone()
}

#[test]
fn actions_are_sent_by_hand_with_the_token_of_the_cookie_and_the_purchase_names_its_price() {
    let site = site();
    let folder = Folder::new(&site).job("danmaku_xml", "cid = 9001", "");
    let buy = ["call", "bilibili", "danmaku_advanced_buy", "cid=9001"];
    let shown = folder.shell.larder(&buy).ends(0);
    assert!(shown.err.contains("this costs 2 coins"), "{}", shown.err);
    assert!(!shown.out.contains(super::world::CSRF), "{}", shown.out);
    assert!(site.world().sent.is_empty());
    folder
        .shell
        .larder(&[&buy[..], &["--yes"]].concat())
        .ends(0);
    assert_eq!(last_sent(&site).path, "/x/dm/adv/buy");
    let actions: [(&[&str], &str, &str); 4] = [
        (
            &[
                "danmaku_send",
                "cid=9001",
                "aid=170001",
                "msg=(hello) *world*!",
            ],
            "/x/v2/dm/post",
            "msg=%28hello%29+*world*%21",
        ),
        (
            &["danmaku_recall", "cid=9001", "dmid=7"],
            "/x/dm/recall",
            "dmid=7",
        ),
        (
            &["danmaku_like", "cid=9001", "dmid=7"],
            "/x/v2/dm/thumbup/add",
            "op=1",
        ),
        (
            &[
                "danmaku_report",
                "cid=9001",
                "dmid=7",
                "reason=11",
                "content=why",
            ],
            "/x/dm/report/add",
            "content=why",
        ),
    ];
    for (what, path, field) in actions {
        let args = [&["call", "bilibili"], what, &["--yes"]].concat();
        folder.shell.larder(&args).ends(0);
        let sent = last_sent(&site);
        assert_eq!((sent.path.as_str(), sent.method.as_str()), (path, "POST"));
        assert!(sent.body.contains(field), "{}", sent.body);
    }
    // Without the login the site refuses.
    let guest = Folder::new(&site)
        .guest()
        .job("danmaku_xml", "cid = 9001", "");
    guest
        .shell
        .larder(&[
            "call",
            "bilibili",
            "danmaku_like",
            "cid=1",
            "dmid=7",
            "--yes",
        ])
        .ends(1);
}

#[test]
fn web_addresses_become_jobs_and_bv_numbers_av_numbers() {
    let site = Bilibili::start();
    let folder = Folder::new(&site).job("danmaku_xml", "cid = 9001", "");
    let known = [
        (
            "https://www.bilibili.com/video/BV17x411w7KC/?spm_id_from=333",
            "replies",
            Some((1, 170_001_u64)),
        ),
        (
            "https://www.bilibili.com/video/BV1xx411c7mD",
            "replies",
            Some((1, 2)),
        ),
        (
            "https://www.bilibili.com/video/BV1GJ411x7h7?p=1",
            "replies",
            Some((1, 80_433_022)),
        ),
        (
            "https://m.bilibili.com/video/BV1L9Uoa9EUx",
            "replies",
            Some((1, 111_298_867_365_120)),
        ),
        (
            "https://www.bilibili.com/video/av80433022",
            "replies",
            Some((1, 80_433_022)),
        ),
        (
            "https://www.bilibili.com/read/cv1234567",
            "replies",
            Some((12, 1_234_567)),
        ),
        ("https://t.bilibili.com/987654321012345678", "post", None),
        (
            "https://www.bilibili.com/opus/987654321012345678",
            "post",
            None,
        ),
    ];
    for (n, (address, listing, subject)) in known.into_iter().enumerate() {
        let name = format!("added{n}");
        let ran = folder
            .shell
            .larder(&["add", address, "--save", "--name", &name]);
        let text = std::fs::read_to_string(folder.shell.path(&format!("jobs/{name}.toml")))
            .unwrap_or_else(|_| panic!("{address}: {}{}", ran.out, ran.err));
        let job: Value =
            serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        assert_eq!(job["listing"], listing, "{text}");
        match subject {
            Some((kind, oid)) => {
                assert_eq!(job["params"]["oid"], oid, "{address}: {text}");
                assert_eq!(job["params"]["type"], kind, "{address}: {text}");
            }
            None => assert_eq!(job["params"]["id"], 987_654_321_012_345_678_u64, "{text}"),
        }
        std::fs::remove_file(folder.shell.path(&format!("jobs/{name}.toml"))).unwrap();
    }
}
