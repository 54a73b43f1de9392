//! Where requests go, and what goes with them: secrets, redirects, private addresses, media hosts.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    test_site::{Answer, Site, any, http, network, page},
    *,
};
use crate::{class::Class, config::Network};

#[tokio::test]
async fn fault_66_secrets_stay_at_their_origin() {
    let other = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let away = format!("http://127.0.0.1:{}/there?a=1&api_key=S3CRET#f", other.port);
    let site = Site::new(move |request| {
        let location = if request.starts_with("GET /here") {
            &away
        } else {
            "/here?b=2"
        };
        Answer::Close(
            format!("HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into(),
        )
    })
    .await;
    let secret = |name: &str| vec![(name.to_owned(), Secret::new("S3CRET"))];
    let out = Outgoing {
        secret_query: secret("api_key"),
        secret_headers: secret("X-Token"),
        cookies: [secret("sid"), vec![("b".into(), Secret::new("2"))]].concat(),
        headers: vec![
            ("Referer".into(), "https://r.example/p?q=S3CRET".into()),
            ("Authorization".into(), "S3CRET".into()),
        ],
        ..Outgoing::get(site.url("/start?tags=x"))
    };
    assert!(!format!("{out:?}").contains("S3CRET"));
    let http = http(&[&site, &other]);
    let reply = http.page(&out, Accept::Any).await.expect("a reply");
    assert_eq!(
        reply.url.as_str(),
        format!("http://127.0.0.1:{}/there?a=1", other.port)
    );
    let home = site.requests();
    assert!(
        home[0].starts_with("GET /start?tags=x&api_key=S3CRET HTTP"),
        "{}",
        home[0]
    );
    assert!(
        home[1].starts_with("GET /here?b=2&api_key=S3CRET HTTP"),
        "{}",
        home[1]
    );
    for request in &home {
        let request = request.to_lowercase();
        assert!(
            request.contains("\r\ncookie: sid=s3cret; b=2\r\n")
                && request.contains("\r\nx-token: s3cret\r\n"),
            "{request}"
        );
    }
    let away = &other.requests()[0];
    assert!(
        !away.contains("S3CRET") && !away.to_lowercase().contains("cookie"),
        "{away}"
    );
    assert!(
        away.to_lowercase()
            .contains("referer: https://r.example/p\r\n"),
        "{away}"
    );

    let unset = Outgoing {
        cookies: vec![(
            "sid".into(),
            Secret::Unset {
                variable: "SID".into(),
            },
        )],
        ..Outgoing::get(site.url("/"))
    };
    assert_eq!(
        http.page(&unset, Accept::Any)
            .await
            .expect_err("no value")
            .class,
        Class::Auth
    );
    let split = Outgoing {
        headers: vec![("X".into(), "a\r\nY: b".into())],
        ..Outgoing::get(site.url("/"))
    };
    assert_eq!(
        http.page(&split, Accept::Any)
            .await
            .expect_err("two lines")
            .class,
        Class::BadUrl
    );
    // More cookies, or larger ones, than a host may count on.
    let many = (0..51).map(|nth| (format!("c{nth}"), Secret::new("x")));
    for cookies in [
        many.collect(),
        vec![("sid".to_owned(), Secret::new("x".repeat(4096)))],
    ] {
        let out = Outgoing {
            cookies,
            ..Outgoing::get(site.url("/"))
        };
        let error = http.page(&out, Accept::Any).await.expect_err("a flood");
        assert_eq!(error.class, Class::BadUrl, "{error}");
    }
    assert_eq!(site.requests().len(), 2);
}

#[tokio::test]
async fn fault_65_redirects_end() {
    let looping =
        Site::fixed("HTTP/1.1 302 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(
        page(&looping).await.expect_err("a loop").class,
        Class::Redirect
    );
    assert_eq!(looping.requests().len(), 11);
    for location in ["", "Location: http://[\r\n"] {
        let lost = Site::fixed(format!(
            "HTTP/1.1 302 X\r\n{location}Content-Length: 0\r\n\r\n"
        ))
        .await;
        let error = page(&lost).await.expect_err("nowhere to go");
        assert_eq!(
            (error.class, error.status),
            (Class::Redirect, Some(302)),
            "{error}"
        );
    }
    let mut out = Outgoing::get(looping.url("/login"));
    out.method = Method::Post;
    out.body = Some(Payload::Form(vec![("a b".into(), "c&d".into())]));
    let reply = http(&[&looping])
        .page(&out, Accept::Any)
        .await
        .expect("not followed");
    assert_eq!(reply.status, 302);
    let request = looping.requests().pop().expect("a request");
    assert!(
        request.starts_with("POST /login ") && request.ends_with("\r\n\r\na+b=c%26d"),
        "{request}"
    );
}

/// A network in which these names have these addresses, one list for each time that they are asked for; and how often they
/// were. The last list stays.
fn names(entries: &[(&str, &[&[&str]])]) -> (Names, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let read = |list: &[&str]| -> Vec<IpAddr> {
        list.iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect()
    };
    let entries: BTreeMap<String, Vec<Vec<IpAddr>>> = entries
        .iter()
        .map(|(name, lists)| {
            (
                (*name).to_owned(),
                lists.iter().map(|list| read(list)).collect(),
            )
        })
        .collect();
    let (counted, times) = (asked.clone(), Mutex::new(BTreeMap::new()));
    let given = move |name: &str| {
        counted.fetch_add(1, Ordering::Relaxed);
        let lists = entries.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut times = times.lock().expect("no panic");
        let nth = times.entry(name.to_owned()).or_insert(0);
        let list = lists[lists.len().min(*nth + 1) - 1].clone();
        *nth += 1;
        Ok(list)
    };
    (Names::Given(Arc::new(given)), asked)
}

fn with_names(sites: &[&Site], names: &Names) -> Http {
    Http::with_names(&network(sites), names.clone()).expect("a client")
}

fn get(url: &str) -> Outgoing {
    Outgoing::get(url.parse().expect("a url"))
}

/// A site that redirects to whatever its query says.
async fn redirecting() -> Site {
    Site::new(|request| {
        let target = request.split_whitespace().nth(1).unwrap_or_default();
        let (_, to) = target.split_once('?').unwrap_or_default();
        let to = percent_encoding::percent_decode_str(to).decode_utf8_lossy();
        let head = format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        Answer::Close(head.into())
    })
    .await
}

/// The ways to be asked for this URL: as a page, as a file, and each by a redirect; all must be refused.
async fn is_blocked(http: &Http, site: &Site, url: &str) {
    let query = percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC);
    let asked = site.requests().len();
    let by_redirect = site.url(&format!("/?{query}"));
    for out in [get(url), Outgoing::get(by_redirect)] {
        for error in [
            http.page(&out, Accept::Any).await.expect_err(url),
            http.file(&out, &Known::default(), &any)
                .await
                .expect_err(url),
        ] {
            assert_eq!(error.class, Class::BlockedAddress, "{url}: {error}");
        }
    }
    assert_eq!(site.requests().len(), asked + 2, "{url}");
}

#[tokio::test]
async fn fault_87_only_http_is_asked() {
    let site = redirecting().await;
    let http = http(&[&site]);
    for url in [
        "file:///etc/passwd",
        "ftp://ex.example/",
        "gopher://ex.example:70/_x",
        "data:text/html,x",
        "javascript:alert(1)",
        "unix:/run/x.sock",
        "ws://ex.example/",
        "blob:https://ex.example/x",
    ] {
        is_blocked(&http, &site, url).await;
    }
}

#[tokio::test]
async fn fault_89_names_of_private_addresses_are_not_asked() {
    let canary = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let (names, asked) = names(&[
        ("loopback.test", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("six.test", &[&["::1"]]),
        ("both.test", &[&["::1", "127.0.0.1", "169.254.169.254"]]),
        ("nat64.test", &[&["64:ff9b::7f00:1"]]),
        ("6to4.test", &[&["2002:7f00:1::1"]]),
        ("teredo.test", &[&["2001:0:7f00:1::"]]),
        ("compatible.test", &[&["::127.0.0.1"]]),
        ("xn--l-9fa.test", &[&["127.0.0.1"]]),
    ]);
    let http = with_names(&[], &names);
    let all = [
        "loopback.test",
        "mapped.test",
        "six.test",
        "both.test",
        "nat64.test",
        "6to4.test",
        "teredo.test",
        "compatible.test",
        "LOOPBACK.test",
        "\u{e9}l.test",
    ];
    for name in all {
        let url = format!("http://{name}:{}/", canary.port);
        let error = http.page(&get(&url), Accept::Any).await.expect_err(name);
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
        assert!(error.message.contains("`allow = ["), "{error}");
        let error = http
            .file(&get(&url), &Known::default(), &any)
            .await
            .expect_err(name);
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
    }
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2 * all.len(),
        "each name was looked up"
    );
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn fault_89_a_name_that_changes_its_address_is_checked_where_it_is_used() {
    use reqwest::dns::Resolve;
    use resolve::{LookupError, Resolver};
    // Public when it is looked at, private when it is asked: each look-up is checked, and what passes is what is used.
    let lists: &[&[&str]] = &[&["1.1.1.1"], &["127.0.0.1"], &["1.1.1.1", "127.0.0.1"]];
    let (given, _) = names(&[("rebind.test", lists)]);
    let resolver = Resolver {
        names: given,
        reach: Reach::Public,
        proxy: None,
    };
    let look_up = || resolver.resolve("rebind.test".parse().expect("a name"));
    let found: Vec<_> = look_up().await.expect("public").collect();
    assert_eq!(found.len(), 1);
    let error = look_up().await.err().expect("refused");
    assert!(
        matches!(error.downcast_ref(), Some(LookupError::Refused { .. })),
        "{error}"
    );
    let found: Vec<_> = look_up()
        .await
        .expect("one is public")
        .map(|at| at.ip())
        .collect();
    assert_eq!(found, ["1.1.1.1".parse::<IpAddr>().expect("an address")]);

    // A request looks its name up once: there is no second answer that could differ from the one that was checked.
    let site = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let (given, asked) = names(&[("ours.test", &[&["127.0.0.1"]])]);
    let allowed = Network {
        allow: vec![format!("ours.test:{}", site.port)],
        ..network(&[])
    };
    let http = Http::with_names(&allowed, given).expect("a client");
    let url = format!("http://ours.test:{}/", site.port);
    for nth in 1..=3 {
        http.page(&get(&url), Accept::Any).await.expect("a reply");
        assert_eq!(asked.load(Ordering::Relaxed), nth);
    }
}

#[tokio::test]
async fn fault_88_no_form_of_a_private_address_is_asked_directly_or_by_redirect() {
    let canary = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let site = redirecting().await;
    let (names, asked) = names(&[]);
    let http = with_names(&[&site], &names);
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "\u{ff11}27.0.0.1",
        "\u{2460}27.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "0",
        "0.0.0.0",
        "[::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "%6c%6fcalhost",
        "\u{24db}ocalhost",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "u:S3CRET@127.0.0.1",
        "u:S3CRET@ex.example",
    ] {
        is_blocked(&http, &site, &format!("http://{host}:{}/x", canary.port)).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "none of them is a name");
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn fault_90_a_redirect_to_a_name_of_a_private_address_is_not_followed() {
    let canary = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let site = redirecting().await;
    let (names, asked) = names(&[
        ("private.test", &[&["127.0.0.1"]]),
        ("six.test", &[&["::1"]]),
    ]);
    let http = with_names(&[&site], &names);
    for name in ["private.test", "six.test", "PRIVATE.test"] {
        is_blocked(&http, &site, &format!("http://{name}:{}/x", canary.port)).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 12, "each hop was looked up");
    // Nor is it by way of the site itself under another port, unless that is allowed too.
    is_blocked(&http, &site, &format!("http://127.0.0.1:{}/x", canary.port)).await;
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn fault_91_a_url_is_what_the_parser_says_and_carries_no_second_line_or_account() {
    let canary = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let site = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let http = http(&[&site]);
    let (port, canary_port) = (site.port, canary.port);
    // Backslashes are slashes: what looks like the host behind them is a path.
    for (text, path) in [
        (
            format!("http:\\\\127.0.0.1:{port}\\@127.0.0.1:{canary_port}/"),
            format!("/@127.0.0.1:{canary_port}/"),
        ),
        (
            format!("http://127.0.0.1:{port}/a\r\nHost: evil\r\n\r\nGET /b"),
            "/aHost:%20evilGET%20/b".to_owned(),
        ),
        (
            format!("http://127.0.0.1:{port}/\0%0d%0aX: y"),
            "/%00%0d%0aX:%20y".to_owned(),
        ),
        (
            format!("http://127.0.0.1:{port}/#@127.0.0.1:{canary_port}/"),
            "/".to_owned(),
        ),
        (
            format!("http://127.0.0.1:{port}?@127.0.0.1:{canary_port}/"),
            format!("/?@127.0.0.1:{canary_port}/"),
        ),
    ] {
        http.page(&get(&text), Accept::Any).await.expect(&text);
        let request = site.requests().pop().expect("a request");
        assert!(
            request.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{text}: {request}"
        );
        assert_eq!(request.matches("\r\n\r\n").count(), 1, "{request}");
    }
    for text in [
        format!("http://127.0.0.1:{port}@127.0.0.1:{canary_port}/"),
        format!("http://127.0.0.1:{port}%40x:y@127.0.0.1:{canary_port}/"),
        format!("http://x@127.0.0.1:{port}/"),
    ] {
        let error = http.page(&get(&text), Accept::Any).await.expect_err(&text);
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
    }
    assert_eq!(site.requests().len(), 5);
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn fault_74_a_host_with_a_family_that_does_not_work_is_reached_by_the_other() {
    let site = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let addresses: &[&[&str]] = &[&["::1", "127.0.0.1"]];
    let (names, _) = names(&[("two.test", addresses), ("refused.test", addresses)]);
    let allowed = Network {
        allow: vec![format!("two.test:{}", site.port)],
        ..network(&[])
    };
    let http = Http::with_names(&allowed, names).expect("a client");
    let url = format!("http://two.test:{}/", site.port);
    let reply = http.page(&get(&url), Accept::Any).await.expect("by IPv4");
    assert_eq!(reply.status, 200);
    // Both families pass the same filter.
    let url = format!("http://refused.test:{}/", site.port);
    let error = http
        .page(&get(&url), Accept::Any)
        .await
        .expect_err("refused");
    assert_eq!(error.class, Class::BlockedAddress, "{error}");
    assert_eq!(site.requests().len(), 1);
}

#[tokio::test]
async fn fault_73_a_host_that_cannot_be_reached_is_told_from_one_that_answers() {
    let (names, asked) = names(&[]);
    let http = with_names(&[], &names);
    let error = http
        .page(&get("http://nowhere.test/"), Accept::Any)
        .await
        .expect_err("no such name");
    assert_eq!(
        (error.class, error.unreached),
        (Class::Dns, true),
        "{error}"
    );
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "it is for the queue to try again"
    );
    let reset = Site::new(|_| Answer::Close(Vec::new())).await;
    let error = page(&reset).await.expect_err("an empty reply");
    assert_eq!(
        (error.class, error.unreached),
        (Class::Connect, false),
        "{error}"
    );
}

/// A TLS server with a certificate of its own making. Returns its port, and how many handshakes came to an end.
fn self_signed() -> (u16, Arc<AtomicUsize>) {
    let der = |path: &str| {
        std::fs::read(format!(
            "{}/tests/data/tls/{path}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .expect("a file of ours")
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(
            vec![der("self-signed.der").into()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(der("self-signed.key.der").into()),
        )
        .expect("they belong together");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (config, done) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let counted = done.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut tls = rustls::ServerConnection::new(config.clone()).expect("a configuration");
            // Ends with an error when the client does not trust the certificate.
            if tls.complete_io(&mut stream).is_ok() && !tls.is_handshaking() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (port, done)
}

#[tokio::test]
async fn fault_75_a_bad_certificate_is_not_got_around() {
    let (port, _) = self_signed();
    let allowed = Network {
        allow: vec![format!("127.0.0.1:{port}")],
        ..network(&[])
    };
    let http = Http::new(&allowed).expect("a client");
    let url = format!("https://127.0.0.1:{port}/");
    for error in [
        http.page(&get(&url), Accept::Any)
            .await
            .expect_err("not trusted"),
        http.file(&get(&url), &Known::default(), &any)
            .await
            .expect_err("not trusted"),
    ] {
        assert_eq!(error.class, Class::Tls, "{error}");
        assert_eq!(error.class.next_try(1, 6, Duration::from_secs(1)), None);
    }
    // TLS asked of a port that speaks plainly is no reason to speak plainly either.
    let plain = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut url = plain.url("/");
    url.set_scheme("https").expect("a scheme");
    let error = super::test_site::http(&[&plain])
        .page(&Outgoing::get(url), Accept::Any)
        .await
        .expect_err("no tls");
    assert_eq!(error.class, Class::Tls, "{error}");
    assert!(
        plain
            .requests()
            .iter()
            .all(|request| !request.starts_with("GET"))
    );
}

#[tokio::test]
async fn fault_90_media_come_from_media_hosts_only() {
    let other = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let away = format!(
        "HTTP/1.1 301 X\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
        other.port
    );
    let site = Site::fixed(away).await;
    let http = http(&[&site, &other]);
    let port = site.port;
    let out = Outgoing::get(site.url("/"));
    let error = http
        .file(&out, &Known::default(), &move |_, asked| asked == port)
        .await
        .expect_err("another host");
    assert_eq!(error.class, Class::BlockedAddress);
    assert!(
        error
            .message
            .contains(&format!("`media_hosts = [\"127.0.0.1:{}\"]`", other.port)),
        "{error}"
    );
    assert!(
        http.file(&out, &Known::default(), &|_, _| false)
            .await
            .is_err()
    );
    assert_eq!((site.requests().len(), other.requests().len()), (1, 0));
    assert!(http.file(&out, &Known::default(), &any).await.is_ok());
}
