//! Faults of sites and networks, one test each: `fault_NN_…` is about row NN of the table of faults.
//!
//! Each test proves by the site's log that its fault was met, and states what must come of it: which bytes are kept, what
//! was asked again and how, and how the failure is called where there is one.

mod bodies;
mod configuration;
mod control;
mod egress;
mod listings;
mod memory;
mod secrets;
mod table;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    site::{Booru, Fault, Post, Request, What, client},
    world::{World, text},
};

/// Bytes after which a broken download is gone on with instead of begun anew.
const PART: usize = 64 << 10;

fn forever(fault: Fault) -> Vec<Fault> {
    vec![Fault::Forever(Box::new(fault))]
}

/// Bytes that look like a JPEG, so many.
fn jpeg(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes[..11].copy_from_slice(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00");
    bytes
}

/// A site of posts whose pictures have so many bytes.
fn world_of_large(posts: usize, bytes: usize) -> World {
    let mut nth = 0;
    World::new(Booru::builder().posts(posts).each(|post: &mut Post| {
        nth += 1;
        post.set_body("jpg", jpeg(nth, bytes));
    }))
}

/// The requests for the picture of a post.
fn asked_for(world: &World, id: u64) -> Vec<Request> {
    let truth = world.booru.truth();
    let truth = truth.iter().find(|truth| truth.id == id).expect("the post");
    let mut files = world.booru.files();
    files.retain(|file| file.md5() == Some(&truth.md5));
    files
}

/// What each request said about where to begin; 0 for the whole file.
fn offsets(requests: &[Request]) -> Vec<usize> {
    let offset = |request: &Request| {
        let range = request.header("range")?;
        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        Some(from.parse().expect("a number"))
    };
    requests
        .iter()
        .map(|request| offset(request).unwrap_or(0))
        .collect()
}

/// The faults that requests met, by name.
fn met(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .filter_map(|request| request.fault.as_deref())
        .collect()
}

/// The first page of the site's listing, each post changed so.
fn page(world: &World, mut change: impl FnMut(&mut Value)) -> Fault {
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    page.as_array_mut()
        .expect("a list")
        .iter_mut()
        .for_each(&mut change);
    world.booru.clear_log();
    Fault::Body("application/json", page.to_string().into_bytes())
}

/// Lets the listing (of one page) tell neither hash nor size of any picture, once.
fn hide_hashes(world: &World) {
    let page = page(world, |post| {
        post["md5"] = Value::Null;
        post["file_size"] = Value::Null;
    });
    world.booru.script(What::Page, vec![page]);
}

/// The class of each failure, by item.
fn classes(world: &World) -> BTreeMap<String, String> {
    let failures = world.failures();
    failures
        .iter()
        .map(|failure| (text(&failure["item"]), text(&failure["class"])))
        .collect()
}

/// Fails unless the picture of this post is missing for this reason, everywhere that says so.
#[track_caller]
fn is_missing(world: &World, id: u64, class: &str) {
    assert_eq!(
        classes(world)
            .get(&format!("post/{id}"))
            .map(String::as_str),
        Some(class),
        "{:?}",
        world.failures()
    );
    let file = &world.posts()[&id]["files"][0];
    assert_eq!(
        (&file["sha256"], &file["missing"]),
        (&Value::Null, &json!(class))
    );
}
