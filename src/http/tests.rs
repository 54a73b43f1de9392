//! What replies become: pages, files, errors and their classes.

use tokio::{net::TcpListener, time::Instant};

use super::{
    test_site::{Answer, Site, any, file, http, network, page},
    *,
};
use crate::{class::Class, config::Network};

/// 100,000 zeros.
const BOMB: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 49, 1, 0, 0, 0, 194, 160, 245, 79, 109, 13, 15, 160,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    128, 87, 3, 125, 149, 17, 212, 160, 134, 1, 0,
];

async fn file_error(reply: impl Into<Vec<u8>>) -> Error {
    let site = Site::fixed(reply).await;
    file(&http(&[&site]), site.url("/x?key=S3CRET"))
        .await
        .expect_err("an error")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    reply.extend_from_slice(body);
    reply
}

#[tokio::test]
async fn a_page_is_read_whole_whatever_its_status() {
    let site = Site::fixed(
        "HTTP/1.1 429 Slow Down\r\nContent-Type: Text/HTML; charset=x\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nhi",
    )
    .await;
    let reply = page(&site).await.expect("a reply");
    assert_eq!(
        (reply.status, &reply.body[..], reply.content_type.as_deref()),
        (429, &b"hi"[..], Some("text/html"))
    );
    assert_eq!(reply.retry_after, Some(Duration::from_secs(7)));
    let request = &site.requests()[0].to_lowercase();
    assert!(request.contains("user-agent: larder/test\r\n"), "{request}");
    assert!(
        request.contains("accept: application/json") && request.contains("accept-encoding: "),
        "{request}"
    );
}

#[tokio::test]
async fn a_file_comes_with_its_headers_and_undecoded() {
    let site = Site::fixed(
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nETag: \"e\"\r\nLast-Modified: y\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let (download, whole) = file(&http(&[&site]), site.url("/x")).await.expect("a file");
    assert_eq!(
        (download.status, download.length, &whole[..]),
        (200, Some(5), &b"hello"[..])
    );
    assert_eq!(
        (download.etag.as_deref(), download.last_modified.as_deref()),
        (Some("\"e\""), Some("y"))
    );
    assert!(
        site.requests()[0]
            .to_lowercase()
            .contains("accept-encoding: identity\r\n")
    );
    let encoded = Site::fixed(gzip(BOMB)).await;
    let error = file(&http(&[&encoded]), encoded.url("/x"))
        .await
        .expect_err("not as asked");
    assert_eq!(error.class, Class::Decode);
}

#[tokio::test]
async fn other_statuses_are_errors_for_files() {
    for (status, class) in [
        (404, Class::Http404),
        (429, Class::RateLimited),
        (503, Class::Http5xx),
        (206, Class::Protocol),
        (401, Class::Auth),
    ] {
        let error = file_error(format!(
            "HTTP/1.1 {status} X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        assert_eq!((error.class, error.status), (class, Some(status)));
        assert_eq!(error.retry_after, Some(Duration::from_secs(9)));
    }
    let error = file_error("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n").await;
    assert!(
        error
            .message
            .ends_with("/x?key=***: the server answered 404 (not found)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cut_body_is_truncated() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
    ] {
        let error = file_error(cut).await;
        assert_eq!(error.class, Class::Truncated, "{error}");
        let error = page(&Site::fixed(cut).await).await.expect_err("cut");
        assert_eq!(
            (error.class, error.status),
            (Class::Truncated, Some(200)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn broken_connections_and_broken_http_are_told_apart() {
    let reset =
        Site::new(|_| Answer::Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello".into()))
            .await;
    let error = file(&http(&[&reset]), reset.url("/x"))
        .await
        .expect_err("reset");
    assert_eq!(error.class, Class::Connect, "{error}");
    assert_eq!(file_error("").await.class, Class::Connect);
    for junk in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    ] {
        let error = file_error(junk).await;
        assert_eq!(error.class, Class::Protocol, "{error}");
    }
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X: {}\r\n", "y".repeat(70_000));
    for headers in [many, large] {
        let error = file_error(format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n"
        ))
        .await;
        assert_eq!(error.class, Class::Protocol, "{error}");
    }
}

#[tokio::test]
async fn errors_say_what_was_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let http = Http::new(&Network {
        allow: vec![format!("127.0.0.1:{port}")],
        ..network(&[])
    })
    .expect("a client");
    let mut out =
        Outgoing::get(Url::parse(&format!("http://127.0.0.1:{port}/a?page=2")).expect("a url"));
    out.secret_query = vec![("api_key".into(), Secret::new("S3CRET"))];
    let error = http
        .page(&out, Accept::Any)
        .await
        .expect_err("nobody listens");
    assert_eq!(error.class, Class::Connect);
    assert_eq!(
        error.message,
        format!(
            "GET http://127.0.0.1:{port}/a?page=2: could not connect to 127.0.0.1:{port} (connection refused)"
        )
    );
    let plain = Site::fixed("HTTP/1.1 400 X\r\n\r\n").await;
    let mut url = plain.url("/");
    url.set_scheme("https").expect("a scheme");
    let error = super::test_site::http(&[&plain])
        .page(&Outgoing::get(url), Accept::Any)
        .await
        .expect_err("no tls");
    assert_eq!(error.class, Class::Tls, "{error}");
    let http = super::test_site::http(&[]);
    let error = http
        .page(
            &Outgoing::get("http://no-such.invalid/".parse().expect("a url")),
            Accept::Any,
        )
        .await;
    let error = error.expect_err("no such name");
    assert_eq!(error.class, Class::Dns, "{error}");
}

#[tokio::test]
async fn nothing_larger_than_its_limit_is_read() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n";
    for class in [
        file_error(announced).await.class,
        page(&Site::fixed(announced).await)
            .await
            .expect_err("large")
            .class,
    ] {
        assert_eq!(class, Class::TooLarge);
    }
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2 << 20));
    assert_eq!(file_error(endless.clone()).await.class, Class::TooLarge);
    let error = page(&Site::fixed(endless).await)
        .await
        .expect_err("endless");
    assert!(
        error.class == Class::TooLarge && error.message.ends_with("`max_page` allows 65536"),
        "{error}"
    );
    let error = page(&Site::fixed(gzip(BOMB)).await)
        .await
        .expect_err("a bomb");
    assert_eq!(error.class, Class::TooLarge, "{error}");
}

#[tokio::test]
async fn bad_encodings_are_named() {
    let garbage = [&BOMB[..10], &[0xff; 40]].concat();
    for bad in [&garbage, &BOMB[..60]] {
        let error = page(&Site::fixed(gzip(bad)).await).await.expect_err("bad");
        assert_eq!(error.class, Class::Decode, "{error}");
    }
    // The same body, but announced longer than it is.
    let mut cut = gzip(BOMB);
    cut.truncate(cut.len() - 100);
    let error = page(&Site::fixed(cut).await).await.expect_err("cut");
    assert_eq!(error.class, Class::Truncated, "{error}");
}

#[tokio::test]
async fn slow_servers_time_out() {
    let quick = |site: &Site| {
        let short = Duration::from_millis(300);
        let network = Network {
            stall_timeout: short,
            header_timeout: short,
            ..network(&[site])
        };
        Http::new(&network).expect("a client")
    };
    let head = || b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhello".to_vec();
    let silent = Site::new(move |_| Answer::Hold(head())).await;
    let dripping = Site::new(move |_| Answer::Drip(head())).await;
    let headless = Site::new(|_| Answer::Drip(b"HTTP/1.1 200 OK\r\nX: ".into())).await;
    for site in [&silent, &dripping, &headless] {
        let started = Instant::now();
        let http = quick(site);
        let error = file(&http, site.url("/")).await.expect_err("too slow");
        assert_eq!(error.class, Class::Timeout, "{error}");
        let error = http
            .page(&Outgoing::get(site.url("/")), Accept::Any)
            .await
            .expect_err("too slow");
        assert_eq!(error.class, Class::Timeout, "{error}");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_slow_reader_is_no_stall() {
    let body = "x".repeat(600_000);
    let site = Site::fixed(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let network = Network {
        stall_timeout: Duration::from_millis(200),
        ..network(&[&site])
    };
    let http = Http::new(&network).expect("a client");
    let mut download = http
        .file(&Outgoing::get(site.url("/")), &Known::default(), &any)
        .await
        .expect("a file");
    let mut seen = 0;
    while let Some(chunk) = download.chunk().await.expect("no stall") {
        if seen < 400_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen += chunk.len();
    }
    assert_eq!(seen, body.len());
}

#[tokio::test]
async fn a_refusal_counts_whatever_its_body() {
    for body in [
        "Content-Length: 9999999\r\n\r\n",
        "Content-Length: 9\r\n\r\nhi",
    ] {
        let reply =
            page(&Site::fixed(format!("HTTP/1.1 503 X\r\nRetry-After: 5\r\n{body}")).await).await;
        let reply = reply.expect("a reply");
        assert_eq!(
            (reply.status, reply.retry_after),
            (503, Some(Duration::from_secs(5)))
        );
    }
}

#[tokio::test]
async fn requests_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let site = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let (http, out) = (http(&[&site]), Outgoing::get(site.url("/")));
    assert!(is_send(http.page(&out, Accept::Any)).await.is_ok());
    let mut download = is_send(http.file(&out, &Known::default(), &any))
        .await
        .expect("a file");
    assert!(is_send(download.chunk()).await.is_ok());
}
