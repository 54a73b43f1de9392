//! `larder find` searches the archive, and keeps its index up to date by itself.

use std::fs;

use serde_json::Value;

use super::{site::Booru, world::World};

/// The numbers of the posts that are found, in order.
fn found(world: &World, query: &str) -> Vec<u64> {
    let out = world.larder(&["find", "--json", "--", query]);
    let list: Vec<Value> = serde_json::from_str(&out.stdout).expect("JSON");
    let name = |hit: &Value| hit["item"].as_str().expect("a name").to_owned();
    list.iter()
        .map(|hit| {
            name(hit)
                .rsplit_once('/')
                .expect("an id")
                .1
                .parse()
                .expect("a number")
        })
        .collect()
}

#[test]
fn what_was_archived_is_found_by_words_tags_and_fields() {
    let world = World::new(Booru::builder().posts(12));
    let ids = world.booru.ids();
    world
        .booru
        .edit(ids[3], |post| post.retag("seed 夜の風景 long_hair"));
    world
        .booru
        .edit(ids[5], |post| post.retag("seed long_hair night*fall"));
    world.run(0);
    let (three, five) = (ids[3], ids[5]);
    assert_eq!(found(&world, "風景"), [three]);
    assert_eq!(found(&world, "景"), [three]);
    assert_eq!(found(&world, "夜の"), [three]);
    assert_eq!(found(&world, "景風"), [0; 0]);
    assert_eq!(found(&world, "hair -風景"), [five]);
    assert_eq!(found(&world, "-風景 \"long hair\""), [five]);
    assert_eq!(found(&world, "tag:night**"), [five]);
    assert_eq!(found(&world, "tag:long_hair").len(), 2);
    assert_eq!(found(&world, "tag:long"), [0; 0]);
    assert_eq!(found(&world, "tag:seed").len(), 12);
    assert_eq!(found(&world, &format!("id:{five} kind:post")), [five]);
    assert_eq!(found(&world, "site:elsewhere"), [0; 0]);
    let all = found(&world, "tag:seed after:2000");
    assert_eq!(all.len(), 12);
    assert_eq!(found(&world, "tag:seed before:2000"), [0; 0]);
    world
        .larder(&["find", "rating:s"])
        .expect(2)
        .says("`tag:rating:s`");
    world
        .larder(&["find", "unheardof"])
        .expect(1)
        .says("nothing was found");

    // What changes is found as it is now.
    world.booru.edit(three, |post| post.retag("seed plain"));
    world.booru.edit(five, super::site::Post::delete);
    world.run(0);
    assert_eq!(found(&world, "風景"), [0; 0]);
    assert_eq!(found(&world, "plain"), [three]);
    assert_eq!(found(&world, "is:gone"), [five]);

    // The index is nobody's only copy.
    let before = found(&world, "tag:seed");
    for broken in [&b""[..], b"no database"] {
        fs::write(world.archive("find.db"), broken).expect("ours");
        assert_eq!(found(&world, "tag:seed"), before);
    }
}

#[test]
fn a_sealed_log_is_searched_like_one_that_is_not() {
    let world = World::new(Booru::builder().posts(60));
    world.write("segment = \"8 KiB\"");
    world.run(0);
    assert_eq!(found(&world, "tag:seed").len(), 60);
    for _ in 0..30 {
        world.booru.add(|post| post.retag("seed later"));
    }
    world.run(0);
    assert!(
        fs::read_dir(world.archive("records"))
            .expect("a folder")
            .count()
            > 3
    );
    assert_eq!(found(&world, "later").len(), 30);
    assert_eq!(found(&world, "tag:seed").len(), 90);
}

#[test]
fn a_view_shows_what_a_question_finds_and_keeps_to_it() {
    let world = World::new(Booru::builder().posts(6));
    let ids = world.booru.ids();
    world.booru.edit(ids[2], |post| post.retag("seed dusk"));
    world.run(0);
    let view = world.archive("../pics");
    let at = view.to_str().expect("a name");
    let files = || {
        let files = fs::read_dir(view.join("127.0.0.1")).expect("a folder");
        files
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.path().extension().is_some())
            })
            .count()
    };
    world
        .larder(&[
            "view",
            at,
            "--find",
            "tag:dusk",
            "--name",
            "{site}/{id}.{ext}",
        ])
        .expect(0);
    assert_eq!(files(), 1);
    world.booru.edit(ids[4], |post| post.retag("seed dusk"));
    world.run(0);
    world.larder(&["view", at]).expect(0);
    assert_eq!(files(), 2);
    world
        .larder(&["view", at, "--find", "foo:x"])
        .expect(2)
        .says("--find: `foo` is no field");
}
