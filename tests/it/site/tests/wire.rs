//! Faults as the client meets them, the log, and the connection itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::super::{
    Booru, Fault, What,
    client::{self, Reply},
};

/// Asks for the first post's file under this fault.
fn file_under(fault: Fault) -> (Reply, Vec<u8>) {
    let site = Booru::builder().posts(2).start();
    let truth = site.truth().swap_remove(1);
    site.script(What::File(truth.id), vec![fault]);
    let path = truth.url.replace(&site.url(), "");
    let reply = client::get(&site, &path);
    assert_eq!(
        client::get(&site, &path).body,
        truth.bytes,
        "service is not normal again"
    );
    (reply, truth.bytes)
}

#[test]
fn half_a_body_is_fewer_bytes_than_announced() {
    let (reply, whole) = file_under(Fault::HalfBody);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.announced(), whole.len());
    assert_eq!(reply.body, whole[..whole.len() / 2]);
}

#[test]
fn a_short_length_is_smaller_than_the_body() {
    let (reply, whole) = file_under(Fault::ShortLength);
    assert_eq!(reply.announced(), whole.len() / 2);
    assert_eq!(reply.body, whole);
}

#[test]
fn empty_and_wrong_bytes_and_login_pages_look_like_success() {
    let (reply, _) = file_under(Fault::Empty);
    assert_eq!(
        (reply.status, reply.announced(), reply.body.len()),
        (200, 0, 0)
    );
    let (reply, whole) = file_under(Fault::WrongBytes);
    assert_eq!((reply.status, reply.body.len()), (200, whole.len()));
    assert_eq!(reply.body[..8], whole[..8]);
    assert_ne!(reply.body, whole);
    let (reply, _) = file_under(Fault::Html);
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let (reply, _) = file_under(Fault::HtmlLabelledPng);
    assert_eq!(reply.header("content-type"), Some("image/png"));
    assert!(reply.text().starts_with("<!DOCTYPE html>"));
    let (reply, _) = file_under(Fault::Body("image/gif", b"GIF89a".to_vec()));
    assert_eq!((reply.status, reply.text().as_str()), (200, "GIF89a"));
}

#[test]
fn statuses_and_headers_are_sent_as_scripted() {
    let headers = vec![("Content-Type", "application/json"), ("X-Why", "test")];
    let (reply, _) = file_under(Fault::Status(418, headers, "{}".to_owned()));
    assert_eq!((reply.status, reply.text().as_str()), (418, "{}"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-why"), Some("test"));
    let (reply, _) = file_under(Fault::RetryAfter(429, "7".to_owned()));
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("7"))
    );
}

#[test]
fn a_reset_is_a_reset_and_is_logged_without_a_status() {
    let site = Booru::builder().posts(1).start();
    site.script(What::Page, vec![Fault::Reset]);
    let error = client::send(&site, "GET /post.json HTTP/1.1\r\n", "").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(site.log()[0].status, 0);
    assert_eq!(client::search(&site, "").len(), 1);
}

#[test]
fn stalls_and_slow_bodies_take_their_time() {
    let started = Instant::now();
    let (reply, whole) = file_under(Fault::Stall(Duration::from_millis(120)));
    assert_eq!(reply.body, whole);
    assert!(started.elapsed() >= Duration::from_millis(120));

    let started = Instant::now();
    let (reply, whole) = file_under(Fault::Slow(
        whole.len().div_ceil(4),
        Duration::from_millis(30),
    ));
    assert_eq!(reply.body, whole);
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[test]
fn faults_come_in_turn_and_forever_stays() {
    let site = Booru::builder().posts(1).start();
    let busy = |status| Fault::Status(status, vec![], String::new());
    let forever = Fault::Forever(Box::new(busy(502)));
    site.script(
        What::Path("/post.json"),
        vec![busy(500), Fault::Ok, forever],
    );
    let statuses: Vec<u16> = (0..5)
        .map(|_| client::get(&site, "/post.json").status)
        .collect();
    assert_eq!(statuses, [500, 200, 502, 502, 502]);
    assert_eq!(client::get(&site, "/comment.json").status, 200);
    let logged: Vec<u16> = site.log().iter().map(|request| request.status).collect();
    assert_eq!(logged, [500, 200, 502, 502, 502, 200]);
}

#[test]
fn a_script_can_name_one_term_or_its_beginning() {
    let site = Booru::builder().posts(1).start();
    let busy = || vec![Fault::Status(503, vec![], String::new())];
    site.script(What::PageWith("id:<40"), busy());
    assert_eq!(
        client::get(&site, "/post.json?tags=seed+id:%3C400").status,
        200
    );
    assert_eq!(
        client::get(&site, "/post.json?tags=seed+id:%3C40").status,
        503
    );
    site.script(What::PageWith("id:<*"), busy());
    assert_eq!(client::get(&site, "/post.json?tags=seed").status, 200);
    assert_eq!(
        client::get(&site, "/post.json?tags=seed+id:%3C9").status,
        503
    );
}

#[test]
fn the_same_page_comes_again_whatever_the_cursor() {
    let site = Booru::builder().posts(9).start();
    let first = client::get(&site, "/post.json?limit=3&tags=seed").json();
    site.script(What::Page, vec![Fault::SamePage, Fault::SamePage]);
    assert_eq!(
        client::get(&site, "/post.json?limit=3&tags=seed+id:%3C103").json(),
        first
    );
    assert_eq!(
        client::get(&site, "/post.json?limit=3&tags=seed&page=2").json(),
        first
    );
    assert_ne!(
        client::get(&site, "/post.json?limit=3&tags=seed&page=2").json(),
        first
    );
}

#[test]
fn a_burst_is_answered_503_until_it_is_over() {
    let site = Booru::builder().posts(1).burst(3).start();
    let statuses: Vec<u16> = (0..4)
        .map(|_| client::get(&site, "/post.json").status)
        .collect();
    let log = site.log();
    // On a machine so slow that four requests take longer, none of them is a burst.
    if log[3].at.duration_since(log[0].at) < Duration::from_millis(100) {
        assert_eq!(statuses, [200, 200, 200, 503]);
    }
    std::thread::sleep(Duration::from_millis(110));
    assert_eq!(client::get(&site, "/post.json").status, 200);
}

#[test]
fn the_log_records_what_was_asked_in_order() {
    let site = Booru::builder().posts(1).start();
    client::get(&site, "/post.json?tags=a+id:%3C5&limit=2");
    let path = site.truth()[0].url.replace(&site.url(), "");
    client::get(&site, &path);
    let log = site.log();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].method, "GET");
    assert_eq!(log[0].path, "/post.json");
    assert_eq!(log[0].raw_query, "tags=a+id:%3C5&limit=2");
    assert_eq!(log[0].param("tags"), Some("a id:<5"));
    assert_eq!(log[0].query[1], ("limit".to_owned(), "2".to_owned()));
    assert_eq!(log[0].header("user-agent"), Some("larder-tests"));
    assert_eq!(log[0].status, 200);
    assert!(log[0].at <= log[1].at);
    assert_eq!((site.pages().len(), site.files().len()), (1, 1));
    assert_eq!(site.files()[0].path, path);
    site.clear_log();
    assert!(site.log().is_empty());
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let site = Booru::builder().start();
    let mut stream = TcpStream::connect(site.host()).expect("a connection");
    let both = "GET /post.json HTTP/1.1\r\nHost: x\r\n\r\nGET /comment.json HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(both.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("two answers");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2);
    let paths: Vec<_> = site.log().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/post.json", "/comment.json"]);
}

#[test]
fn a_known_etag_is_answered_304() {
    let site = Booru::builder().posts(1).start();
    let path = site.truth()[0].url.replace(&site.url(), "");
    let reply = client::get(&site, &path);
    let etag = reply.header("etag").expect("an etag");
    assert!(
        reply
            .header("last-modified")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    let head = format!("GET {path} HTTP/1.1\r\nIf-None-Match: {etag}\r\n");
    let again = client::send(&site, &head, "").expect("an answer");
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn a_dropped_site_is_gone() {
    let site = Booru::builder().start();
    let host = site.host();
    site.script(What::Any, vec![Fault::Stall(Duration::from_mins(1))]);
    let mut stream = TcpStream::connect(&host).expect("a connection");
    stream
        .write_all(b"GET /post.json HTTP/1.1\r\n\r\n")
        .expect("sent");
    drop(site);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
    assert!(TcpStream::connect(&host).is_err());
}

#[tokio::test]
async fn a_site_can_be_used_inside_an_async_test() {
    let site = Booru::builder().posts(1).start();
    let host = site.host();
    let stream = tokio::net::TcpStream::connect(host).await;
    assert!(stream.is_ok());
}
