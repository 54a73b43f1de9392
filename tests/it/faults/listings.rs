//! Listings that say less than there is, or move while they are walked.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use super::{forever, met};
use crate::{
    site::{Booru, Fault, What},
    world::{LONG, World, text, wait_for},
};

#[test]
fn fault_79_what_slides_to_a_page_that_was_passed_is_found_in_another_round() {
    let mut world = World::new(Booru::builder().posts(40));
    world.job("seed order:score", "");
    let stall = Fault::Stall(Duration::from_secs(2));
    world.booru.script(What::Page, vec![Fault::Ok, stall]);
    let mut running = world.spawn(&["run"]);
    wait_for("the second page", LONG, || world.booru.pages().len() > 1);
    // Its answer is made already: what is taken from the first page now pulls others from the third to the second.
    let mut first: Vec<_> = world
        .booru
        .truth()
        .into_iter()
        .map(|truth| truth.id)
        .collect();
    first.sort_by_key(|id| {
        let mut score = 0;
        world.booru.edit(*id, |post| score = post.score);
        std::cmp::Reverse((score, *id))
    });
    let gone: BTreeSet<_> = first[..3].iter().copied().collect();
    for id in &gone {
        world.booru.edit(*id, |post| post.retag("other"));
    }
    running.wait(LONG).expect(0);
    assert_eq!(met(&world.booru.pages()), ["Ok", "Stall"]);
    let kept: BTreeSet<_> = world.posts().into_keys().collect();
    let lost: Vec<_> = world
        .booru
        .ids()
        .into_iter()
        .filter(|id| !kept.contains(id) && !gone.contains(id))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    // A run that meets nothing new walks once.
    world.booru.clear_log();
    world.run(0);
    assert_eq!(world.booru.pages().len(), 4 + 2);
}

#[test]
fn fault_80_a_listing_that_is_suddenly_empty_is_not_taken_to_be_finished() {
    let world = World::new(Booru::builder().posts(40));
    world.run(0);
    world.holds_everything();
    let empty = || Fault::Body("application/json", b"[]".to_vec());
    world.booru.clear_log();
    world.booru.script(What::Page, vec![empty(); 6]);
    world.run(1).says("not walked to its end");
    assert_eq!(met(&world.booru.pages()), ["Body"; 6]);
    let failure = &world.failures()[0];
    assert_eq!(
        (&failure["class"], &failure["tries"]),
        (&json!("listing"), &json!(6))
    );
    assert!(
        text(&failure["message"]).contains("after 0 entries where the walk before met 40"),
        "{failure}"
    );
    assert_eq!(world.job_status()["state"], "failed");
    assert!(
        world.lines("post", "left").is_empty(),
        "nothing is said to have left"
    );
    world.run(0);
    world.holds_everything();
    assert!(world.failures().is_empty());
}

#[test]
fn fault_80_a_listing_that_stays_empty_is_believed_in_the_end() {
    let world = World::new(Booru::builder().posts(40));
    world.run(0);
    world.booru.script(
        What::Page,
        forever(Fault::Body("application/json", b"[]".to_vec())),
    );
    world.run(1);
    world.run(1);
    world.run(0);
    assert_eq!(world.job_status()["state"], "done");
    assert_eq!((world.posts().len(), world.objects().len()), (40, 40));
}

#[test]
fn fault_80_one_empty_page_in_the_middle_costs_a_request() {
    for tags in ["seed", "seed order:score"] {
        let mut world = World::new(Booru::builder().posts(40));
        world.job(tags, "");
        world.run(0);
        let posts = world.booru.ids().len();
        world.booru.clear_log();
        let empty = Fault::Body("application/json", b"[]".to_vec());
        world.booru.script(What::Page, vec![Fault::Ok, empty]);
        let new = world.booru.add(|post| post.score = -1000);
        world.run(0);
        assert_eq!(met(&world.booru.pages()), ["Ok", "Body"]);
        assert!(world.booru.pages().len() > 5, "the walk went on");
        assert!(
            world.posts().contains_key(&new) && world.posts().len() == posts + 1,
            "{tags}"
        );
    }
}
