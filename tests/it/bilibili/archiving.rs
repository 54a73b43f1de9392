//! Whole trees of replies, their emotes and pictures, and what a second run asks for.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Folder,
    site::{Bilibili, Request},
    world::World,
};

#[test]
fn a_subject_is_archived_whole_with_every_thread_and_each_emote_once() {
    let site = Bilibili::start();
    site.world().grow(60, 400);
    let pinned = *site.world().replies.keys().next().unwrap();
    site.world().pinned.push(pinned);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    // Ten thousand times the same emote would be one request too.
    let mut fetched = site.fetched();
    fetched.retain(|path, _| path.contains("emote"));
    assert!(fetched.values().all(|times| *times == 1), "{fetched:?}");
    let emotes = folder.records("emote");
    assert_eq!(emotes.len(), 4);
    assert!(
        emotes
            .values()
            .all(|emote| emote["files"][0]["sha256"].is_string()),
        "{emotes:?}"
    );
    // The key is asked for once.
    assert_eq!(site.asked("/x/web-interface/nav").len(), 1);
    let status = folder.status("replies");
    assert_eq!(status["wall"], serde_json::Value::Null, "{status}");
}

#[test]
fn a_second_run_asks_for_the_roots_and_for_threads_that_grew() {
    let site = Bilibili::start();
    site.world().grow(300, 2000);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    let (first, _) = site.counts();
    site.clear();
    let mut world = site.world();
    let roots: Vec<u64> = world
        .replies
        .iter()
        .filter(|(_, r)| r.root == 0)
        .map(|(id, _)| *id)
        .collect();
    for n in 0..30 {
        world.add(950_000_000_000 + n, 0, |_| {});
    }
    for n in 0..20 {
        world.add(960_000_000_000 + n, roots[7 + 10 * n as usize], |_| {});
    }
    drop(world);
    folder.shell.larder(&["run"]).ends(0);
    folder.holds_all();
    let (api, files) = site.counts();
    // 330 roots are 17 pages, with the key and the count 19; 20 threads grew, none of them longer than a page.
    println!("first run {first} requests, second {api}");
    assert_eq!(site.asked("/x/v2/reply/wbi/main").len(), 17);
    assert!((39..=45).contains(&api), "{api} after {first}");
    assert_eq!(files, 0);
    // And one with nothing new asks for the roots alone.
    site.clear();
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(site.counts(), (19, 0));
}

#[test]
fn what_is_deleted_is_gone_when_counts_fell_or_two_whole_walks_miss_it_and_never_by_one() {
    let site = Bilibili::start();
    site.world().grow(100, 700);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    folder.shell.larder(&["run"]).ends(0);
    let mut world = site.world();
    let name = |id: u64| format!("1:170001:{id}");
    let children: Vec<u64> = world
        .replies
        .iter()
        .filter(|(_, r)| r.root != 0)
        .map(|(id, _)| *id)
        .collect();
    // Six in threads whose count falls.
    let counted: Vec<u64> = children[50..].iter().step_by(60).take(6).copied().collect();
    for id in &counted {
        world.delete(*id);
    }
    drop(world);
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(folder.gone(), counted.iter().map(|id| name(*id)).collect());
    folder.holds_all();
    // Four whose threads and subject count them still: no walk is asked for, and a single one proves nothing.
    let mut world = site.world();
    let left: Vec<u64> = world
        .replies
        .iter()
        .filter(|(_, r)| r.root != 0)
        .map(|(id, _)| *id)
        .collect();
    let silent: Vec<u64> = left[100..].iter().step_by(70).take(4).copied().collect();
    for id in &silent {
        let root = world.replies[id].root;
        world.delete(*id);
        *world.counted_below.entry(root).or_default() += 1;
        world.counted += 1;
    }
    drop(world);
    folder.shell.larder(&["run"]).ends(0);
    folder.shell.larder(&["run", "--full"]).ends(0);
    assert_eq!(folder.gone().len(), 6, "one whole walk has missed them");
    let status = folder.status("replies");
    // The second walk of these threads comes by itself.
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(folder.gone().len(), 10, "{status}");
    folder.holds_all();
    let wall = folder.status("replies")["wall"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        wall.contains("the site counts 694, and 690 were shown"),
        "{wall}"
    );
    // A root takes along what answers it, once its absence is proven.
    let mut world = site.world();
    let root = *world.replies.iter().find(|(_, r)| r.root == 0).unwrap().0;
    let below = world.replies.values().filter(|r| r.root == root).count();
    world.delete(root);
    drop(world);
    folder.shell.larder(&["run"]).ends(0);
    assert_eq!(folder.gone().len(), 10 + 1 + below);
    folder.holds_all();
}

/// Wrong in many ways while it is walked, and killed `kills` times.
fn endure(roots: u64, all: u64, kills: usize, between: Duration) -> (usize, usize) {
    let site = Bilibili::start();
    site.world().grow(roots, all);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    let mut asked = 0_usize;
    site.world().hook = Some(Box::new(move |world: &mut World, request: &Request| {
        use super::world::Fault;
        if request.path.ends_with("/nav") {
            return;
        }
        asked += 1;
        let json = |code: i64| {
            Fault::Json(
                200,
                serde_json::json!({"code": code, "message": "request was banned", "ttl": 1}),
            )
        };
        match asked {
            // The keys of another day.
            40 => world.rotation += 1,
            60..=63 => world.faults.push_back(json(-412)),
            64 => world.faults.push_back(json(-799)),
            80 => world.faults.push_back(Fault::Json(
                412,
                serde_json::json!({"code": -412, "message": "banned", "ttl": 1}),
            )),
            100 => world.faults.push_back(Fault::Shadow),
            _ => {}
        }
        // New replies: a root at the top, and an answer in some thread.
        if asked.is_multiple_of(25) && asked < 700 {
            let n = asked as u64;
            world.add(970_000_000_000 + n, 0, |_| {});
            let root = *world.replies.iter().find(|(_, r)| r.root == 0).unwrap().0;
            world.add(980_000_000_000 + n, root, |_| {});
        }
    }));
    for _ in 0..kills {
        let mut child = folder.shell.command(&["run"]).spawn().unwrap();
        // Not before what was under way at the death before had its turn: what three deaths meet is given up as their cause.
        let (until, turns) = (Instant::now() + between, site.counts().0 + 20);
        let early = || Instant::now() < until || site.counts().0 < turns;
        while early() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL; it may have ended.
        child.kill().ok();
        child.wait().unwrap();
    }
    // What the shadow block paused goes on, and what came during the last walk is found by the next.
    let mut codes = Vec::new();
    for n in 0..4 {
        if n == 3 {
            site.world().hook = None;
        }
        codes.push(folder.shell.larder(&["run"]).code);
    }
    assert_eq!(codes[2..], [0, 0], "{codes:?}: {:?}", folder.failures());
    folder.holds_all();
    let fetched = site.fetched();
    let most = fetched.values().max().copied().unwrap_or(0);
    assert!(folder.gone().is_empty());
    assert!(folder.failures().is_empty());
    (site.counts().0, most)
}

#[test]
fn trees_are_whole_and_each_reply_once_after_rotations_bans_blocks_and_kills() {
    endure(120, 700, 6, Duration::from_millis(350));
}

/// The long form: 3,000 trees, 20,000 replies, 20 kills.
#[test]
#[ignore = "takes minutes"]
fn twenty_thousand_replies_are_whole_after_twenty_kills() {
    let begun = Instant::now();
    let (requests, most) = endure(3000, 20_000, 20, Duration::from_secs(4));
    println!(
        "{requests} requests, a file {most} times at most, {:?}",
        begun.elapsed()
    );
}

/// Kilobytes that a run took at most.
fn peak(replies: u64) -> u64 {
    let site = Bilibili::start();
    site.world().grow(replies * 3 / 20, replies);
    let folder = Folder::new(&site).job("replies", "oid = 170001", "");
    let mut child = folder.shell.command(&["run"]).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(kilobytes.unwrap_or(0));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    folder.holds_all();
    most
}

#[test]
#[ignore = "takes minutes"]
fn memory_does_not_grow_with_the_replies() {
    let (few, many) = (peak(2000), peak(20_000));
    println!("peak {few} kB at 2,000 replies, {many} kB at 20,000");
    assert!(many * 10 <= few * 11 && many < 100_000, "{few} and {many}");
}
