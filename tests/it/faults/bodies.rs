//! Bodies that are not what they should be: cut, endless, wrong, compressed, late; and how a broken download goes on.

use std::time::Duration;

use super::{
    PART, asked_for, forever, hide_hashes, is_missing, jpeg, met, offsets, world_of_large,
};
use crate::{
    site::{Booru, Fault, What},
    world::{LONG, World, files_below, wait_for},
};

const CUT: usize = 256 << 10;

fn http(head: &str, body: &[u8]) -> Fault {
    let head = head.replace('\n', "\r\n");
    Fault::Raw([head.as_bytes(), b"\r\n\r\n", body].concat())
}

/// One post with a large picture, and its id.
fn large(bytes: usize) -> (World, u64) {
    let world = world_of_large(1, bytes);
    let id = world.booru.ids()[0];
    (world, id)
}

#[test]
fn fault_44_a_body_that_ends_early_is_asked_for_again_and_never_kept_as_it_is() {
    let world = World::new(Booru::builder().posts(2));
    let [once, always] = world.booru.ids()[..] else {
        panic!("two posts")
    };
    world.booru.script(What::File(once), vec![Fault::HalfBody]);
    world
        .booru
        .script(What::File(always), forever(Fault::HalfBody));
    world.run(1);
    assert_eq!(met(&asked_for(&world, once)), ["HalfBody"]);
    assert_eq!(met(&asked_for(&world, always)), ["HalfBody"; 6]);
    is_missing(&world, always, "truncated");
    assert_eq!(world.objects().len(), 1);
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn fault_45_bytes_beyond_the_announced_length_are_neither_kept_nor_read_as_the_next_reply() {
    let world = World::new(Booru::builder().posts(12));
    let id = world.booru.ids()[3];
    world
        .booru
        .script(What::File(id), forever(Fault::ShortLength));
    world.run(1);
    assert_eq!(met(&asked_for(&world, id)), ["ShortLength"; 3]);
    is_missing(&world, id, "checksum");
    assert_eq!(world.objects().len(), 11);
}

#[test]
fn fault_46_a_chunked_body_that_is_aborted_is_asked_for_again() {
    let world = World::new(Booru::builder().posts(2));
    let [once, always] = world.booru.ids()[..] else {
        panic!("two posts")
    };
    let aborted = http(
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked",
        b"500\r\nhello",
    );
    world.booru.script(What::File(once), vec![aborted.clone()]);
    world.booru.script(What::File(always), forever(aborted));
    world.run(1);
    assert_eq!(asked_for(&world, once).len(), 2);
    assert_eq!(met(&asked_for(&world, always)), ["Raw"; 6]);
    is_missing(&world, always, "truncated");
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn fault_47_a_reset_in_the_body_and_an_empty_reply_cost_no_file() {
    let (world, id) = large(3 * CUT);
    let faults = vec![
        Fault::Raw(Vec::new()),
        Fault::ResetAfter(CUT),
        Fault::Reset,
        Fault::ResetAfter(CUT),
    ];
    world.booru.script(What::File(id), faults);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Raw", "ResetAfter", "Reset", "ResetAfter"]);
    assert_eq!(offsets(&asked), [0, 0, CUT, CUT, 2 * CUT]);
}

#[test]
fn fault_48_what_is_not_http_is_called_so() {
    let world = World::new(Booru::builder().posts(3));
    let ids = world.booru.ids();
    let faults = [
        http("SSH-2.0-OpenSSH", b""),
        http(
            "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6",
            b"hello",
        ),
        http(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked",
            b"zz\r\nhello",
        ),
    ];
    for (id, fault) in ids.iter().zip(faults) {
        world.booru.script(What::File(*id), forever(fault));
    }
    world.run(1);
    for id in ids {
        assert_eq!(met(&asked_for(&world, id)), ["Raw"; 6]);
        is_missing(&world, id, "protocol");
    }
}

#[test]
fn fault_49_a_content_encoding_that_nobody_asked_for_or_can_undo_is_named() {
    let world = World::new(Booru::builder().posts(13));
    let id = world.booru.ids()[12];
    let gzip = || vec![("Content-Encoding", "gzip".to_owned())];
    let garbage = |inner| Fault::With(gzip(), Box::new(inner));
    world
        .booru
        .script(What::File(id), forever(garbage(Fault::Ok)));
    let page = Fault::Body(
        "application/json",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03garbage".to_vec(),
    );
    world
        .booru
        .script(What::PageWith("id:<*"), vec![garbage(page); 2]);
    world.run(1);
    assert_eq!(met(&asked_for(&world, id)), ["Ok"; 3]);
    assert_eq!(met(&world.booru.pages()), ["Body"; 2]);
    is_missing(&world, id, "decode");
    assert_eq!(world.objects().len(), 12);
}

#[test]
fn fault_50_a_body_is_read_no_further_than_the_listing_says() {
    let (world, id) = large(300 << 10);
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n";
    world
        .booru
        .script(What::File(id), forever(Fault::Endless(head.to_vec())));
    world.run(1);
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Endless"; 3]);
    // The rest is what the sockets of both sides take in.
    for request in asked {
        assert!(request.sent < 16 << 20, "{} bytes", request.sent);
    }
    is_missing(&world, id, "checksum");
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn fault_51_an_endless_body_and_a_huge_length_are_too_large() {
    let mut world = World::new(Booru::builder().posts(2));
    world.network("max_file = \"1 MiB\"");
    let [endless, huge] = world.booru.ids()[..] else {
        panic!("two posts")
    };
    hide_hashes(&world);
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    world
        .booru
        .script(What::File(endless), forever(Fault::Endless(head)));
    let length = http("HTTP/1.1 200 OK\nContent-Length: 9000000000000000000", b"x");
    world.booru.script(What::File(huge), forever(length));
    world.run(1);
    for (id, fault) in [(endless, "Endless"), (huge, "Raw")] {
        assert_eq!(met(&asked_for(&world, id)), [fault]);
        is_missing(&world, id, "too_large");
    }
    assert!(
        world
            .booru
            .log()
            .iter()
            .all(|request| request.sent < 16 << 20)
    );
}

#[test]
fn fault_52_headers_without_an_end_and_headers_too_large_are_given_up() {
    let mut world = World::new(Booru::builder().posts(8));
    world.network("header_timeout = \"300ms\"\ntries = 2");
    let ids = world.booru.ids();
    let start = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    let endless = Fault::Drip(start, Duration::from_millis(10));
    let many: String = (0..200).map(|n| format!("\nX-{n}: y")).collect();
    let large = format!("HTTP/1.1 200 OK\nX: {}", "y".repeat(70_000));
    let faults = [
        (endless, "timeout"),
        (http(&format!("HTTP/1.1 200 OK{many}"), b""), "protocol"),
        (http(&large, b""), "protocol"),
    ];
    for (id, (fault, _)) in ids.iter().zip(&faults) {
        world.booru.script(What::File(*id), forever(fault.clone()));
    }
    world.run(1);
    for (id, (_, class)) in ids.iter().zip(&faults) {
        assert_eq!(met(&asked_for(&world, *id)).len(), 2);
        is_missing(&world, *id, class);
    }
    assert_eq!(world.objects().len(), 5, "the others were not kept waiting");
}

#[test]
fn fault_53_a_body_that_crawls_is_given_up_and_holds_up_nobody() {
    let mut world = World::new(Booru::builder().posts(12));
    world.network("stall_timeout = \"300ms\"\ntries = 2");
    let id = world.booru.ids()[11];
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_vec();
    let crawl = Fault::Drip(head, Duration::from_millis(10));
    world.booru.script(What::File(id), forever(crawl));
    world.run(1);
    assert_eq!(met(&asked_for(&world, id)), ["Drip"; 2]);
    is_missing(&world, id, "timeout");
    assert_eq!(world.objects().len(), 11);
}

#[test]
fn fault_54_what_was_joined_and_does_not_match_is_downloaded_in_one_piece() {
    let (world, id) = large(3 * CUT);
    let faults = vec![Fault::Cut(CUT), Fault::WrongBytes];
    let faults = [faults, vec![Fault::WrongBytes; 2]].concat();
    world.booru.script(What::File(id), faults);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(
        met(&asked),
        ["Cut", "WrongBytes", "WrongBytes", "WrongBytes"]
    );
    assert_eq!(offsets(&asked), [0, CUT, 0, 0, 0]);

    let (world, id) = large(3 * CUT);
    let faults = [vec![Fault::Cut(CUT)], forever(Fault::WrongBytes)].concat();
    world.booru.script(What::File(id), faults);
    world.run(1);
    // Three whole downloads, and the joined one that proves nothing.
    assert_eq!(offsets(&asked_for(&world, id)), [0, CUT, 0, 0, 0]);
    is_missing(&world, id, "checksum");
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn fault_55_another_file_under_the_same_address_is_taken_whole() {
    let (world, id) = large(3 * CUT);
    hide_hashes(&world);
    let new = jpeg(99, 2 * CUT);
    let replaced = Fault::With(
        vec![("ETag", "\"new\"".to_owned())],
        Box::new(Fault::Body("image/jpeg", new.clone())),
    );
    world
        .booru
        .script(What::File(id), vec![Fault::Cut(CUT), replaced]);
    world.run(0);
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Cut", "Body"]);
    assert_eq!(offsets(&asked), [0, CUT]);
    assert!(
        asked[1]
            .header("if-range")
            .is_some_and(|etag| etag.starts_with('"'))
    );
    assert_eq!(world.objects().into_values().collect::<Vec<_>>(), [new]);
}

#[test]
fn fault_56_without_a_strong_validator_nothing_is_joined() {
    let (world, id) = large(3 * CUT);
    world.booru.etags("", true);
    world.booru.script(What::File(id), vec![Fault::Cut(CUT); 2]);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Cut"; 2]);
    assert_eq!(offsets(&asked), [0; 3]);
    assert!(
        asked
            .iter()
            .all(|request| request.header("if-range").is_none())
    );
}

#[test]
fn fault_57_a_rest_that_begins_or_ends_elsewhere_is_not_used() {
    let size = 3 * CUT;
    for range in [
        format!("bytes 0-{}/{size}", size - 1),
        format!("bytes {}-{}/{size}", CUT + 1, size - 1),
        format!("bytes {CUT}-{size}/{}", size + 1),
        format!("bytes {CUT}-{}/*", size - 1),
    ] {
        let (world, id) = large(size);
        let wrong = Fault::With(vec![("Content-Range", range)], Box::new(Fault::Ok));
        world
            .booru
            .script(What::File(id), vec![Fault::Cut(CUT), wrong]);
        world.run(0);
        world.holds_everything();
        let asked = asked_for(&world, id);
        assert_eq!(met(&asked), ["Cut", "Ok"]);
        assert_eq!(asked[1].status, 206);
        assert_eq!(offsets(&asked), [0, CUT, 0]);
    }
}

#[test]
fn fault_58_a_site_that_ignores_ranges_sends_the_file_anew() {
    let (world, id) = large(3 * CUT);
    // Without a hash, only the size of what is kept shows that nothing was joined.
    hide_hashes(&world);
    world
        .booru
        .script(What::File(id), vec![Fault::Cut(CUT), Fault::NoRange]);
    world.run(0);
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Cut", "NoRange"]);
    assert_eq!((asked[1].status, offsets(&asked)), (200, vec![0, CUT]));
    let kept: Vec<_> = world.objects().into_values().collect();
    assert_eq!(kept, [world.booru.truth()[0].bytes.clone()]);
}

#[test]
fn fault_59_a_refused_range_is_no_success() {
    let (world, id) = large(3 * CUT);
    let refused = Fault::Status(416, vec![("Content-Range", "bytes */1")], String::new());
    world
        .booru
        .script(What::File(id), vec![Fault::Cut(CUT), refused]);
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Cut", "Status"]);
    assert_eq!(offsets(&asked), [0, CUT, 0]);
}

#[test]
fn fault_60_a_site_that_dies_again_and_again_is_gone_on_with_and_counts_no_try() {
    let (mut world, id) = large(4 * CUT + 7);
    world.network("tries = 1");
    world.booru.script(What::File(id), forever(Fault::Cut(CUT)));
    world.run(0);
    world.holds_everything();
    let asked = asked_for(&world, id);
    assert_eq!(met(&asked), ["Cut"; 5]);
    assert_eq!(offsets(&asked), [0, CUT, 2 * CUT, 3 * CUT, 4 * CUT]);
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn fault_60_a_request_that_brings_hardly_anything_counts() {
    let (mut world, id) = large(4 * CUT);
    world.network("tries = 3");
    let faults = [vec![Fault::Cut(CUT)], forever(Fault::Cut(PART / 2))].concat();
    world.booru.script(What::File(id), faults);
    world.run(1);
    assert_eq!(asked_for(&world, id).len(), 4);
    is_missing(&world, id, "truncated");
    // What came is not lost: the next run goes on from there.
    world.booru.clear_log();
    world.larder(&["retry"]).expect(0);
    world.run(1);
    let offset = CUT + PART / 2;
    assert_eq!(
        offsets(&asked_for(&world, id))[0],
        offset + PART,
        "three halves, and the first one of this run"
    );
}

#[test]
fn fault_61_of_a_body_without_a_length_only_a_hash_tells_that_it_is_whole() {
    let (world, id) = large(CUT);
    let whole = world.booru.truth()[0].bytes.clone();
    let head = "HTTP/1.1 200 OK\nContent-Type: image/jpeg\nConnection: close";
    let faults = vec![http(head, &whole[..CUT / 2]), http(head, &whole)];
    world.booru.script(What::File(id), faults);
    world.run(0);
    world.holds_everything();
    assert_eq!(met(&asked_for(&world, id)), ["Raw"; 2]);
}

#[test]
fn fault_61_a_file_that_nothing_tells_the_length_of_is_marked() {
    let world = World::new(Booru::builder().posts(2));
    let [closed, chunked] = world.booru.ids()[..] else {
        panic!("two posts")
    };
    hide_hashes(&world);
    let bytes = jpeg(7, 3000);
    let close = http("HTTP/1.1 200 OK\nConnection: close", &bytes);
    world.booru.script(What::File(closed), vec![close]);
    let chunk = [&b"bb8\r\n"[..], &jpeg(8, 3000), b"\r\n0\r\n\r\n"].concat();
    let chunk = http("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", &chunk);
    world.booru.script(What::File(chunked), vec![chunk]);
    world.run(0);
    assert_eq!(met(&world.booru.files()), ["Raw"; 2]);
    let posts = world.posts();
    let marked = |id| posts[id]["files"][0]["unverified_length"] == true;
    assert!(marked(&closed) && !marked(&chunked), "{posts:?}");
    assert!(
        posts[&chunked]["files"][0]
            .get("unverified_length")
            .is_none()
    );
    world
        .larder(&["show", &format!("127.0.0.1/post/{closed}")])
        .expect(0)
        .says("it may have been cut");
}

#[test]
fn fault_62_a_page_in_place_of_a_picture_is_never_kept_and_a_login_form_is_named() {
    let form = r#"<!DOCTYPE html><form><input type="password" name="p"></form>"#;
    let challenge = "<html><title>Just a moment...</title></html>";
    let faults = [
        (Fault::Html, "unexpected_type"),
        (Fault::HtmlLabelledPng, "unexpected_type"),
        (Fault::Body("text/html", form.into()), "auth"),
        (Fault::Body("image/jpeg", form.into()), "auth"),
        (Fault::Body("text/html", challenge.into()), "blocked"),
        (
            Fault::Body("image/png", b"{\"error\": \"no such file\"}".to_vec()),
            "unexpected_type",
        ),
    ];
    for hashed in [true, false] {
        let world = World::new(Booru::builder().posts(9));
        if !hashed {
            hide_hashes(&world);
        }
        let ids = world.booru.ids();
        for (id, (fault, _)) in ids.iter().zip(&faults) {
            world.booru.script(What::File(*id), forever(fault.clone()));
        }
        world.run(1);
        for (id, (fault, class)) in ids.iter().zip(&faults) {
            let text = matches!(fault, Fault::Body("image/png", _));
            let class = if hashed && text { "checksum" } else { *class };
            assert_eq!(
                met(&asked_for(&world, *id)).len(),
                if class == "checksum" { 3 } else { 1 }
            );
            is_missing(&world, *id, class);
        }
        assert_eq!(world.objects().len(), 3);
    }
}

#[test]
fn fault_63_a_file_of_no_bytes_is_never_kept() {
    let world = World::new(Booru::builder().posts(3));
    let id = world.booru.ids()[1];
    hide_hashes(&world);
    world.booru.script(What::File(id), forever(Fault::Empty));
    world.run(1);
    assert_eq!(met(&asked_for(&world, id)), ["Empty"; 6]);
    is_missing(&world, id, "empty");
    assert_eq!(world.objects().len(), 2);
}

#[test]
fn fault_64_a_reply_that_nobody_asked_for_and_a_closed_connection_cost_nothing() {
    let world = World::new(Booru::builder().posts(12));
    world.booru.script(
        What::AnyFile,
        vec![Fault::Twice, Fault::Close, Fault::Twice, Fault::Close],
    );
    world.run(0);
    world.holds_everything();
    assert_eq!(
        met(&world.booru.files()),
        ["Twice", "Close", "Twice", "Close"]
    );
    assert_eq!(world.booru.files().len(), 12);
}

#[test]
fn fault_03_a_large_download_is_saved_at_a_stop_and_gone_on_with() {
    let size = 40 * CUT;
    let (world, id) = large(size);
    let slow = Fault::Slow(64 << 10, Duration::from_millis(100));
    world.booru.script(What::File(id), vec![slow]);
    let mut running = world.spawn(&["run"]);
    wait_for("the file", LONG, || !world.booru.files().is_empty());
    running.terminate();
    running.wait(LONG).expect(3);
    assert_eq!(files_below(&world.archive("staging")).len(), 2);
    world.run(0);
    world.holds_everything();
    let from = offsets(&asked_for(&world, id));
    assert!(from.len() == 2 && from[1] > PART, "{from:?}");
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[test]
fn fault_05_a_part_holds_only_bytes_that_were_synced() {
    let size = 3 * CUT;
    let (mut world, id) = large(size);
    world.network("tries = 1");
    let faults = vec![Fault::Cut(CUT), Fault::Status(404, vec![], String::new())];
    world.booru.script(What::File(id), faults);
    world.run(1);
    let mut parts = files_below(&world.archive("staging"));
    parts.retain(|path| path.extension().is_none_or(|end| end != "part"));
    // As after a power cut: the file has its full length, but what was not synced is zeros.
    let path = &parts[0];
    let mut bytes = std::fs::read(path).expect("the part");
    assert_eq!(bytes.len(), CUT);
    bytes.resize(size, 0);
    std::fs::remove_file(path).expect("ours");
    std::fs::write(path, bytes).expect("ours");
    world.larder(&["retry"]).expect(0);
    world.run(0);
    world.holds_everything();
    assert_eq!(offsets(&asked_for(&world, id)), [0, CUT, CUT]);
}

#[test]
fn fault_01_a_killed_larder_leaves_what_it_saved_of_a_large_file() {
    const MIB: usize = 1 << 20;
    let (world, id) = large(80 * MIB);
    // Slow enough at the end that the kill comes before it.
    let slow = Fault::Slow(2 * MIB, Duration::from_millis(50));
    world.booru.script(What::File(id), vec![slow]);
    let running = world.spawn(&["run"]);
    let saved = |end: &str| {
        let files = files_below(&world.archive("staging"));
        files
            .iter()
            .any(|path| path.extension().is_some_and(|e| e == end))
    };
    wait_for("a saved part", LONG, || saved("part"));
    running.kill();
    world.run(0);
    world.holds_everything();
    let from = offsets(&asked_for(&world, id));
    assert!(from.len() == 2 && from[1] >= 64 * MIB, "{from:?}");
    assert!(files_below(&world.archive("staging")).is_empty());
}

#[cfg(debug_assertions)]
#[test]
fn fault_34_the_same_bytes_twice_at_once_are_one_object() {
    let picture = jpeg(34, 5000);
    let site = Booru::builder().posts(4);
    let world = World::new(site.each(|post| post.set_body("jpg", picture.clone())));
    // Nothing tells before they are there that they are the same.
    hide_hashes(&world);
    let trace = world.beside("trace");
    let faults = format!("trace={};wait1500@rename~objects/", trace.display());
    world.spawn_with(&["run"], &faults).wait(LONG).expect(0);
    assert_eq!(world.booru.files().len(), 4);
    assert_eq!(world.objects().len(), 1);
    let sha256 = &world.booru.truth()[0].sha256;
    for record in world.posts().values() {
        assert_eq!(record["files"][0]["sha256"], sha256.as_str(), "{record}");
    }
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let renames = trace
        .lines()
        .filter(|line| line.starts_with("rename") && line.contains(sha256.as_str()));
    assert!(renames.count() >= 2, "they did not come at once: {trace}");
    assert!(files_below(&world.archive("staging")).is_empty());
    world.larder(&["verify"]).expect(0);
}
