//! The search grammar, over the wire.

use serde_json::json;

use super::super::{Booru, Profile, client};

/// A site with the posts 10, 20 .. 90; 50 is deleted; scores are a tenth of the ids.
fn tens() -> Booru {
    let mut builder = Booru::builder();
    for id in (1..10_u32).map(|n| n * 10) {
        builder = builder.post(|post| {
            post.id = u64::from(id);
            post.score = i64::from(id / 10);
            post.rating = ['s', 'q', 'e'][id as usize / 10 % 3];
            post.author = if id < 50 { "Early" } else { "late" }.to_owned();
            (post.width, post.height) = (100 + id, 100);
            post.retag(if id % 20 == 0 { "all even" } else { "all odd" });
            if id == 50 {
                post.delete();
            }
        });
    }
    builder.start()
}

#[track_caller]
fn check(site: &Booru, table: &[(&str, &[u64])]) {
    for (tags, expected) in table {
        assert_eq!(client::ids(site, tags), *expected, "for `{tags}`");
    }
}

#[test]
fn every_range_form_of_id_is_understood() {
    check(
        &tens(),
        &[
            ("id:30", &[30]),
            ("id:<30", &[20, 10]),
            ("id:<=30", &[30, 20, 10]),
            ("id:>70", &[90, 80]),
            ("id:>=70", &[90, 80, 70]),
            ("id:20..40", &[40, 30, 20]),
            ("id:..20", &[20, 10]),
            ("id:80..", &[90, 80]),
            ("id:20,40,41", &[40, 20]),
            ("id:nonsense", &[]),
            ("id:30x", &[30]),
        ],
    );
}

#[test]
fn an_id_term_lets_deleted_posts_through_and_nothing_else_does() {
    check(
        &tens(),
        &[
            ("", &[90, 80, 70, 60, 40, 30, 20, 10]),
            ("id:40..60", &[60, 50, 40]),
            ("score:4..6", &[60, 40]),
            ("change:>0 odd", &[90, 70, 30, 10]),
            ("odd deleted:all", &[90, 70, 50, 30, 10]),
            ("deleted:true", &[50]),
            ("deleted:true id:<50", &[]),
        ],
    );
}

#[test]
fn words_are_all_needed_or_excluded_or_alternatives() {
    check(
        &tens(),
        &[
            ("all even", &[80, 60, 40, 20]),
            ("ALL  -even id:<40", &[30, 10]),
            ("~even ~odd score:<3", &[20, 10]),
            ("~even", &[80, 60, 40, 20]),
            ("ev*", &[80, 60, 40, 20]),
            ("*d* score:<4", &[30, 10]),
            ("zz*", &[]),
            ("even odd", &[]),
            ("-id:20 score:2", &[20]),
        ],
    );
}

#[test]
fn metatags_filter() {
    let site = tens();
    let truth = site.truth();
    let md5 = format!("md5:{},{}", truth[0].md5, truth[4].md5);
    check(
        &site,
        &[
            ("rating:s", &[90, 60, 30]),
            ("e", &[80, 20]),
            ("-rating:s score:<5", &[40, 20, 10]),
            ("rating:explicit", &[80, 20]),
            ("user:early", &[40, 30, 20, 10]),
            ("width:>=180", &[90, 80]),
            ("parent:none score:1", &[10]),
            ("date:2023-11-14", &[90, 80, 70, 60, 40, 30, 20, 10]),
            ("date:2023-99-99", &[]),
            ("ext:png,jpg score:1", &[10]),
            ("source:https://source score:1", &[10]),
            ("fav:someone", &[]),
            (&md5, &[10]),
            (&format!("{md5} deleted:all"), &[50, 10]),
        ],
    );
}

#[test]
fn orders_are_kept() {
    check(
        &tens(),
        &[
            ("order:id score:<4", &[10, 20, 30]),
            ("order:id_desc score:<4", &[30, 20, 10]),
            ("order:score score:<4", &[30, 20, 10]),
            ("order:score_asc score:<4", &[10, 20, 30]),
            ("order:portrait score:<4", &[10, 20, 30]),
            ("order:landscape score:<4", &[30, 20, 10]),
            ("order:change score:<4", &[10, 20, 30]),
            ("order:change_desc score:<4", &[30, 20, 10]),
            ("id:>20 order:id limit:2", &[30, 40]),
        ],
    );
}

#[test]
fn the_last_of_a_repeated_metatag_wins() {
    check(
        &tens(),
        &[
            ("id:<90 id:<30", &[20, 10]),
            ("id:<30 id:>70", &[90, 80]),
            ("rating:s rating:e", &[80, 20]),
            ("order:id order:id_desc score:<3", &[20, 10]),
        ],
    );
}

#[test]
fn a_seventh_tag_is_refused_with_a_reason() {
    let site = tens();
    let reply = client::get(&site, "/post.json?tags=a+b+c+d+e1+f+g");
    assert_eq!(reply.status, 500);
    let reason = "Error: You cannot search for more than 6 tags at a time";
    assert_eq!(reply.json(), json!({"success": false, "reason": reason}));
    let fine = "/post.json?tags=a+b+c+d+e1+f+-g+id:%3C5+order:id+rating:s";
    assert_eq!(client::get(&site, fine).status, 200);

    let old = Booru::builder().profile(Profile::Old).start();
    let reply = client::get(&old, "/post.json?tags=-a+-b+-c+-d+-e1+-f+-g");
    assert_eq!(
        reply.json()["reason"],
        "You can only search up to six tags at once"
    );
}

#[test]
fn numbers_beyond_the_database_are_refused() {
    let site = tens();
    let reply = client::get(&site, "/post.json?tags=id:%3C99999999999999999999");
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["success"], false);
    let reply = client::get(&site, "/post.json?tags=id:%3C2147483648");
    assert_eq!((reply.status, reply.text().as_str()), (400, ""));
    assert_eq!(
        client::get(&site, "/post.json?tags=id:%3C2147483647").status,
        200
    );
}

#[test]
fn a_raw_less_than_is_refused_by_the_front_server() {
    let reply = client::get(&tens(), "/post.json?tags=id:<50");
    assert_eq!((reply.status, reply.text().as_str()), (400, ""));
}
