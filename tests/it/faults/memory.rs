//! How much memory hostile replies cost.

use std::{fs, io::Write};

use super::{forever, hide_hashes, met};
use crate::{
    site::{Booru, Fault, What},
    world::{LONG, World, wait_for},
};

/// As the table of faults asks for.
const MOST: u64 = 200_000_000;

/// The most memory that a process has held so far, in bytes; `None` once it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

/// JSON of so many bytes and nearly as many values as are read at all: entries of objects, as sites send them.
fn large_page(bytes: usize) -> Vec<u8> {
    let mut page = b"[".to_vec();
    let entry = |nth: usize| {
        format!(
            "{{\"id\":{nth},\"post_id\":1,\"creator_id\":{nth},\"creator\":\"somebody\",\"created_at\":\"2026-01-01T00:00:00.000Z\",\
             \"body\":\"a remark of some length, number {nth}, that people make\",\"x\":[1,2,3,4],\"y\":{{\"z\":null}}}}"
        )
    };
    let mut nth = 0;
    while page.len() + 300 < bytes && nth < 8_000 {
        write!(page, "{}{}", if nth == 0 { "" } else { "," }, entry(nth)).expect("memory");
        nth += 1;
    }
    page.push(b']');
    page.resize(bytes, b' ');
    page
}

fn gzip_bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&zeros).expect("memory");
    }
    encoder.finish().expect("memory")
}

#[test]
fn fault_08_hostile_replies_to_sixteen_workers_at_once_cost_little_memory() {
    let mut world = World::new(Booru::builder().posts(10));
    world.network("max_file = \"16 MiB\"\ntries = 1");
    let config = fs::read_to_string(world.config()).expect("written");
    let config = config.replace("connections = 4", "connections = 16");
    fs::write(
        world.config(),
        config.replacen(
            "\n[[jobs]]",
            "\n[[jobs]]\nwith = [\"comments\", \"notes\"]",
            1,
        ),
    )
    .expect("ours");
    for id in world.booru.ids() {
        world.booru.edit(id, |post| {
            (post.last_commented_at, post.last_noted_at) = (1, 1);
        });
    }
    hide_hashes(&world);
    let json = || vec![("Content-Type", "application/json".to_owned())];
    let bomb = [json(), vec![("Content-Encoding", "gzip".to_owned())]].concat();
    let bomb = Fault::With(
        bomb,
        Box::new(Fault::Body("application/json", gzip_bomb(256 << 20))),
    );
    let header = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(4 << 20));
    let under = Fault::Body("application/json", large_page((8 << 20) - 1));
    let over =
        Fault::Endless(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[".to_vec());
    let others = [bomb, Fault::Raw(header.into_bytes()), over];
    let pages = [vec![under], others.into_iter().cycle().take(9).collect()].concat();
    world
        .booru
        .script(What::Path("/comment.json"), pages.clone());
    world.booru.script(What::Path("/note.json"), pages);
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    world
        .booru
        .script(What::AnyFile, forever(Fault::Endless(endless)));
    let mut running = world.spawn(&["run"]);
    let mut most = 0;
    wait_for("the end", 4 * LONG, || {
        most = most.max(peak(running.pid()).unwrap_or(0));
        running.is_over()
    });
    let out = running.wait(LONG).expect(1);
    let pages = world.booru.pages();
    // The hashless listing, two large pages and six bombs are bodies.
    for (fault, times) in [("Body", 9), ("Raw", 6), ("Endless", 6)] {
        let met = met(&pages)
            .into_iter()
            .filter(|name| *name == fault)
            .count();
        assert_eq!(met, times, "{fault}: {}", out.text());
    }
    assert_eq!(met(&world.booru.files()).len(), 10);
    let classes = world.classes();
    for class in ["too_large", "protocol"] {
        assert!(classes.iter().any(|word| word == class), "{classes:?}");
    }
    assert!(most > 10_000_000 && most < MOST, "{most} bytes");
}
