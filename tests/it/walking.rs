//! Walks over a Moebooru site: what is asked, what is kept, and what a later run makes of a changed site.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    site::{Booru, Fault, Post, Profile, What, client},
    world::{JOB, World, files_below, text},
};

fn ids(world: &World) -> BTreeSet<u64> {
    world.posts().into_keys().collect()
}

#[test]
fn a_keyset_walk_keeps_every_post_once_with_the_right_bytes() {
    for profile in [Profile::New, Profile::Old] {
        let world = World::new(Booru::builder().profile(profile).posts(40));
        world.run(0);
        world.holds_everything();
        assert_eq!(world.lines("post", "item").len(), 40);
        assert_eq!(world.booru.files().len(), 40);
        let tags = world.asked();
        assert!(
            tags.iter()
                .all(|tags| tags.split(' ').any(|term| term == "deleted:all")),
            "{tags:?}"
        );
        let bounds = world.bounds();
        assert_eq!((bounds.len(), bounds[0]), (5, 0), "{bounds:?}");
        assert!(
            bounds[1..].windows(2).all(|pair| pair[0] > pair[1]),
            "{bounds:?}"
        );
        world.booru.clear_log();
        let before = world.revisions();
        world.run(0);
        assert_eq!((world.revisions(), world.booru.files().len()), (before, 0));
        let job = world.job_status();
        assert_eq!(
            (&job["state"], &job["items"]["unchanged"]),
            (&json!("done"), &json!(40))
        );
    }
}

#[test]
fn an_end_after_a_short_page_is_asked_for_once_more() {
    let world = World::new(Booru::builder().posts(13));
    world.run(0);
    world.holds_everything();
    let bounds = world.bounds();
    assert_eq!(bounds.len(), 4, "{bounds:?}");
    assert_eq!(bounds[2], bounds[3]);
}

#[test]
fn bounds_of_the_user_are_folded_into_one_range() {
    for (tags, low, high) in [
        ("id:>120 id:<=160", 121, 160),
        ("seed id:<140", 0, 139),
        ("id:>=150 seed", 150, u64::MAX),
        ("ID:110..150 id:<145", 110, 144),
        ("id:..130", 0, 130),
        ("id:170..", 170, u64::MAX),
    ] {
        let mut world = World::new(Booru::builder().posts(40));
        world.job(tags, "");
        world.run(0);
        let mut wanted = world.booru.ids();
        wanted.retain(|id| (low..=high).contains(id));
        assert!(wanted.len() > 4, "{tags}: {wanted:?}");
        assert_eq!(ids(&world), wanted.into_iter().collect(), "{tags}");
        for (nth, asked) in world.asked().iter().enumerate() {
            let count = asked
                .split(' ')
                .filter(|term| term.to_lowercase().starts_with("id:"))
                .count();
            assert_eq!(count, 1, "request {nth}: {asked}");
        }
    }
}

#[test]
fn a_range_that_is_empty_keeps_nothing_and_ends() {
    let mut world = World::new(Booru::builder().posts(5));
    world.job("id:>103 id:<102", "");
    world.run(0);
    assert!(world.posts().is_empty() && world.booru.log().len() < 3);
}

#[test]
fn searches_with_an_order_of_their_own_go_by_page_and_end() {
    for (tags, wanted) in [
        ("order:score", 23),
        ("pool:1", 12),
        ("vote:3:me order:vote", 0),
        ("fav:me", 0),
        ("id:101,103,106", 2),
    ] {
        let site = Booru::builder().posts(23);
        let all = site.ids();
        let mut world = World::new(site.pool(1, "one", &all[..12]));
        world.job(tags, "");
        world.run(0);
        let expected = if wanted == 2 {
            world
                .booru
                .ids()
                .iter()
                .filter(|id| [101, 103, 106].contains(id))
                .count()
        } else {
            wanted
        };
        assert_eq!(world.posts().len(), expected, "{tags}");
        let pages = world.booru.pages();
        let numbers: Vec<u64> = pages
            .iter()
            .map(|page| {
                page.param("page")
                    .expect("page=")
                    .parse()
                    .expect("a number")
            })
            .collect();
        // What may have slid from page to page in the first round would be met in the second.
        let rounds: Vec<_> = numbers.chunk_by(|one, next| one <= next).collect();
        assert!(
            rounds.len() <= 2 && rounds.iter().all(|round| round.len() <= 5 && round[0] == 1),
            "{tags}: {numbers:?}"
        );
        assert!(
            world.asked().iter().all(|asked| !asked.contains("id:<")),
            "{tags}"
        );
    }
}

#[test]
fn a_limit_or_a_random_order_is_refused_before_anything_is_asked() {
    for tags in ["seed limit:5", "order:random", "id:abc"] {
        let mut world = World::new(Booru::builder().posts(3));
        world.job(tags, "");
        let term = tags.split(' ').next_back().expect("a word");
        world.larder(&["check"]).expect(78).says(term);
        world.run(78).says(term);
        assert!(world.booru.log().is_empty());
    }
}

#[test]
fn a_post_that_the_site_deleted_is_a_tombstone() {
    let mut site = Booru::builder().posts(12);
    let id = site.ids()[5];
    site = site.alter(id, Post::delete);
    let world = World::new(site);
    world.run(0);
    world.holds_everything();
    let record = &world.posts()[&id];
    assert_eq!(
        (&record["rev"], &record["files"][0]["sha256"]),
        (&json!(1), &Value::Null)
    );
    let gone = world.lines("post", "gone");
    assert_eq!(gone.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    assert!(world.failures().is_empty());
    let lines = world
        .records()
        .iter()
        .filter(|line| line["type"] != "run")
        .count();
    world.run(0);
    assert_eq!(
        world
            .records()
            .iter()
            .filter(|line| line["type"] != "run")
            .count(),
        lines
    );
}

#[test]
fn what_was_kept_stays_when_its_post_goes_and_when_it_comes_back() {
    let world = World::new(Booru::builder().posts(12));
    let id = world.booru.ids()[3];
    world.run(0);
    let (records, objects) = (world.revisions(), world.objects());
    for (delete, types) in [
        (true, vec!["gone"]),
        (true, vec!["gone"]),
        (false, vec!["gone", "back"]),
    ] {
        world.booru.edit(id, |post| {
            if delete {
                post.delete();
            } else {
                post.restore();
            }
        });
        world.booru.clear_log();
        world.run(0);
        assert_eq!(world.objects(), objects);
        assert_eq!(world.booru.files().len(), 0);
        let mut lines = world.records();
        lines.retain(|line| ["gone", "back"].iter().any(|word| line["type"] == *word));
        assert!(lines.iter().all(|line| text(&line["id"]) == id.to_string()));
        assert_eq!(
            lines
                .iter()
                .map(|line| text(&line["type"]))
                .collect::<Vec<_>>(),
            types
        );
    }
    assert!(world.revisions().is_superset(&records));
    assert_eq!(
        world.posts()[&id]["files"][0]["sha256"],
        world.booru.truth()[3].sha256
    );
}

#[test]
fn a_post_first_met_as_deleted_gets_its_bytes_when_it_returns() {
    let mut site = Booru::builder().posts(3);
    let id = site.ids()[1];
    site = site.alter(id, Post::delete);
    let world = World::new(site);
    world.run(0);
    world.booru.edit(id, Post::restore);
    world.run(0);
    world.holds_everything();
    assert_eq!(world.lines("post", "back").len(), 1);
}

#[test]
fn new_tags_are_a_new_revision_and_ask_for_no_file() {
    let world = World::new(Booru::builder().posts(12));
    let (id, other) = (world.booru.ids()[4], world.booru.ids()[7]);
    world.run(0);
    let url = world.booru.truth()[4].url.clone();
    world.booru.edit(id, |post| post.retag("seed retagged"));
    world.booru.edit(other, |post| post.score += 100);
    assert_ne!(
        world.booru.truth()[4].url,
        url,
        "the address does not tell the tags"
    );
    world.booru.clear_log();
    world.run(0);
    world.holds_everything();
    assert_eq!(world.booru.files().len(), 0);
    let revisions = world.lines("post", "item");
    assert_eq!(revisions.len(), 13);
    let newest = &revisions[12];
    assert_eq!((newest.0, &newest.1["rev"]), (id, &json!(2)));
}

#[test]
fn a_new_picture_is_fetched_and_the_old_one_stays() {
    let world = World::new(Booru::builder().posts(4));
    let id = world.booru.ids()[2];
    world.run(0);
    let old = world.booru.truth()[2].sha256.clone();
    world.booru.edit(id, |post| {
        let body = [post.body(), b"more"].concat();
        post.set_body("png", body);
    });
    world.run(0);
    let (post, objects) = (world.posts()[&id].clone(), world.objects());
    assert_eq!(
        (&post["rev"], &post["files"][0]["sha256"]),
        (&json!(2), &json!(world.booru.truth()[2].sha256))
    );
    assert!(objects.contains_key(&old) && objects.len() == 5);
}

#[test]
fn comments_notes_and_pools_become_items_of_their_own() {
    for profile in [Profile::New, Profile::Old] {
        let site = Booru::builder().profile(profile).posts(12);
        let all = site.ids();
        let (one, two) = (all[2], all[9]);
        let site =
            site.comments(one, 60)
                .comments(two, 1)
                .notes(two, 3)
                .pool(7, "a pool", &[one, two]);
        let mut world = World::new(site);
        world.job("seed", r#"with = ["comments", "notes", "pools"]"#);
        world.run(0);
        world.holds_everything();
        let parents = |kind| -> Vec<String> {
            let lines = world.lines(kind, "item");
            lines
                .iter()
                .map(|(_, line)| {
                    format!(
                        "{}/{}",
                        text(&line["parent"]["kind"]),
                        text(&line["parent"]["id"])
                    )
                })
                .collect()
        };
        let comments = parents("comment");
        assert_eq!(
            comments
                .iter()
                .filter(|parent| **parent == format!("post/{one}"))
                .count(),
            60
        );
        assert_eq!(
            comments
                .iter()
                .filter(|parent| **parent == format!("post/{two}"))
                .count(),
            1
        );
        assert_eq!(parents("note"), vec![format!("post/{two}"); 3]);
        assert_eq!(
            world.lines("note", "gone").len(),
            1,
            "one note was removed from its picture"
        );
        let pools = world.lines("pool", "item");
        assert_eq!(
            pools
                .iter()
                .map(|(id, pool)| (*id, text(&pool["title"])))
                .collect::<Vec<_>>(),
            [(7, "a_pool".to_owned())]
        );
        let asked = |path| {
            world
                .booru
                .pages()
                .iter()
                .filter(|page| page.path == path)
                .count()
        };
        // The old build does not say when a post was last commented. Three pages are walked twice, for pages drift.
        assert_eq!(asked("/comment.json") > 2 * 3 + 1, profile == Profile::Old);
        let before = world.revisions();
        world.run(0);
        assert_eq!(world.revisions(), before);
        world.booru.comment(two, 1);
        world.run(0);
        assert_eq!(world.lines("comment", "item").len(), 62);
    }
}

#[test]
fn fault_85_entries_of_the_wrong_type_fail_alone() {
    let world = World::new(Booru::builder().posts(20));
    let all = world.booru.ids();
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    page[3] = json!("a post, honestly");
    page[6]["id"] = json!({"$oid": 7});
    page[8]["tags"] = json!(5);
    let page = Fault::Body(
        "application/json; charset=utf-8",
        page.to_string().into_bytes(),
    );
    world.booru.script(What::Page, vec![page]);
    world.run(1);
    let kept = ids(&world);
    let lost: Vec<_> = all
        .iter()
        .rev()
        .enumerate()
        .filter(|(_, id)| !kept.contains(id))
        .map(|(nth, _)| nth)
        .collect();
    assert_eq!(lost, [3, 6, 8]);
    assert_eq!(world.classes(), ["dialect"; 3]);
    world.run(0);
    world.holds_everything();
    assert!(world.failures().is_empty());
}

#[test]
fn what_where_refuses_keeps_neither_record_nor_file() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", r#"where = 'any(.tags[]; . == "even")'"#);
    world.run(0);
    let even: BTreeSet<_> = world
        .booru
        .truth()
        .into_iter()
        .filter(|t| t.tags.contains("even"))
        .map(|t| t.id)
        .collect();
    assert_eq!(ids(&world), even);
    assert_eq!((world.objects().len(), world.booru.files().len()), (10, 10));
    assert_eq!(world.job_status()["items"]["filtered"], 10);
}

#[test]
fn fault_78_limits_pause_a_job_and_the_next_run_goes_on() {
    for limit in ["max_pages = 2", "max_items = 15"] {
        let mut world = World::new(Booru::builder().posts(60));
        world.job("seed", limit);
        world.run(3).says("limit");
        let job = world.job_status();
        assert_eq!(
            (&job["state"], &job["reason"]),
            (&json!("paused"), &json!("limit")),
            "{limit}"
        );
        assert!(
            job["items"]["seen"].as_u64() >= Some(15) && job["items"]["seen"].as_u64() < Some(40),
            "{job}"
        );
        let mut runs = 1;
        while world.larder(&["run"]).code == Some(3) {
            runs += 1;
            assert!(runs < 8, "{limit}: it never ends");
        }
        world.holds_everything();
        let bounds = world.bounds();
        assert_eq!(bounds.len(), 7, "{limit}: {bounds:?}");
        assert_eq!(world.booru.files().len(), 60, "{limit}");
        assert_eq!(world.job_status()["state"], "done");
    }
}

#[test]
fn a_limit_that_the_whole_walk_stays_within_pauses_nothing() {
    let mut world = World::new(Booru::builder().posts(20));
    world.job("seed", "max_pages = 3");
    world.run(0);
    world.holds_everything();
}

#[test]
fn a_post_that_comes_while_a_run_is_under_way_is_found_at_the_latest_by_the_next() {
    let world = World::new(Booru::builder().posts(30));
    let stall = Fault::Stall(std::time::Duration::from_millis(200));
    world.booru.script(What::PageWith("id:<*"), vec![stall]);
    let mut running = world.spawn(&["run"]);
    super::world::wait_for("the second page", super::world::LONG, || {
        world.booru.pages().len() > 1
    });
    let new = world.booru.add(|_| {});
    running.wait(super::world::LONG).expect(0);
    assert_eq!(
        world.posts().len(),
        if ids(&world).contains(&new) { 31 } else { 30 }
    );
    world.run(0);
    world.holds_everything();
}

const PASSWORD: &str = "S3CRET-ü pass&word=%41";

fn login(world: &mut World, site: &str, password: &str) {
    world.site(site);
    world.keys(&format!(
        "login = {{ user = \"Reader\", password = \"{password}\" }}"
    ));
    world.job("seed", "");
}

#[test]
fn a_login_sends_the_salted_hash_and_keeps_it_nowhere() {
    for (profile, name) in [(Profile::New, "yande.re"), (Profile::Old, "konachan.com")] {
        let site = Booru::builder()
            .profile(profile)
            .posts(12)
            .account("reader", PASSWORD)
            .require_login(true);
        let mut world = World::new(site);
        login(&mut world, name, PASSWORD);
        // A fault on the way, since errors like to show addresses.
        world.booru.script(
            What::Page,
            vec![
                Fault::Reset,
                Fault::Status(500, vec![], "oops".to_owned()),
                Fault::HalfBody,
            ],
        );
        let mut said = world.larder(&["-vv", "run"]).expect(0).text();
        world.holds_everything();
        let hash = world.booru.pages()[0]
            .param("password_hash")
            .expect("a hash")
            .to_owned();
        assert_eq!(
            (hash.len(), world.booru.pages()[0].param("login")),
            (40, Some("Reader"))
        );
        for args in [
            &["-vv", "check"][..],
            &["status"],
            &["status", "--json"],
            &["failures", "--json"],
            &["-vv", "run", "--dry-run"],
        ] {
            said += &world.larder(args).expect(0).text();
        }
        assert!(
            world
                .booru
                .files()
                .iter()
                .all(|file| file.param("password_hash").is_none())
        );
        for secret in [hash.as_str(), "S3CRET"] {
            assert!(!said.contains(secret), "{said}");
            for path in files_below(&world.archive("")) {
                let bytes = std::fs::read(&path).expect("a file");
                let found = bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes());
                assert!(!found, "in {}", path.display());
            }
        }
    }
}

#[test]
fn a_wrong_password_pauses_the_job_until_it_is_mended() {
    let site = Booru::builder()
        .posts(12)
        .account("reader", PASSWORD)
        .require_login(true);
    let mut world = World::new(site);
    login(&mut world, "yande.re", "S3CRET-wrong");
    world.run(3).says("auth").says("access denied");
    assert_eq!(
        world.booru.log().len(),
        1,
        "a wrong login is not tried again and again"
    );
    let job = world.job_status();
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&json!("paused"), &json!("auth"))
    );
    world
        .larder(&["status"])
        .expect(0)
        .says("to do: renew the login");
    world.run(3);
    login(&mut world, "yande.re", PASSWORD);
    world.run(0);
    world.holds_everything();
    assert_eq!(world.job_status()["state"], "done");
    assert!(world.failures().is_empty(), "{JOB} has failures");
}
#[test]
fn two_jobs_that_meet_the_same_posts_ask_for_each_file_once() {
    let mut world = World::new(Booru::builder().posts(30));
    world.also("evens", "even", "");
    world.run(0);
    world.holds_everything();
    assert_eq!(
        (world.booru.files().len(), world.lines("post", "item").len()),
        (30, 30)
    );
}

#[test]
fn every_post_of_a_pool_is_known_to_be_in_it() {
    let site = Booru::builder().posts(12);
    let all = site.ids();
    let mut world = World::new(site.pool(7, "a pool", &[all[9], all[2], all[5]]));
    world.job("seed", r#"with = ["pools"]"#);
    world.run(0);
    // The only place that tells the pools of a post is the reply about that post: it must be in the archive.
    let kept: Vec<_> = world
        .records()
        .iter()
        .map(|line| text(&line["raw"]))
        .collect();
    for id in [all[9], all[2], all[5]] {
        let member = format!("\"post_id\":{id}");
        assert!(
            kept.iter().any(|raw| raw.contains(&member)),
            "nothing says that post {id} is in the pool"
        );
    }
}
