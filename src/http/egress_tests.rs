//! Where requests go, and what goes with them: secrets, redirects, private addresses, media hosts.

use super::{
    test_site::{Answer, Site, any, http, page},
    *,
};
use crate::class::Class;

#[tokio::test]
async fn secrets_stay_at_their_origin() {
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
    assert_eq!(site.requests().len(), 2);
}

#[tokio::test]
async fn redirects_end() {
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

#[tokio::test]
async fn private_addresses_are_not_asked() {
    let canary = Site::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let port = canary.port;
    let site = Site::fixed(format!(
        "HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    let http = http(&[&site]);
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://u:S3CRET@127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        site.url("/").to_string(),
    ] {
        let out = Outgoing::get(url.parse().expect("a url"));
        let error = http.page(&out, Accept::Any).await.expect_err(&url);
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
        assert!(!error.message.contains("S3CRET"), "{error}");
        let error = http
            .file(&out, &Known::default(), &any)
            .await
            .expect_err(&url);
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
    }
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn names_of_private_addresses_are_not_asked() {
    use reqwest::dns::Resolve;
    use resolve::{LookupError, Resolver};
    let name = || "localhost".parse().expect("a name");
    let resolver = |reach, proxy| Resolver { reach, proxy };
    let error = resolver(Reach::Public, None)
        .resolve(name())
        .await
        .err()
        .expect("refused");
    assert!(
        matches!(error.downcast_ref(), Some(LookupError::Refused { .. })),
        "{error}"
    );
    assert!(resolver(Reach::Allowed, None).resolve(name()).await.is_ok());
    assert!(
        resolver(Reach::Public, Some("localhost".into()))
            .resolve(name())
            .await
            .is_ok()
    );

    // The whole way, by a name that the check of the URL does not know.
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let url = Url::parse(&format!("http://{}:9/", own.trim()));
    if let Ok(url) = url
        && tokio::net::lookup_host((own.trim(), 9))
            .await
            .is_ok_and(|mut all| all.all(|at| not_public(at.ip()).is_some()))
    {
        let error = http(&[])
            .page(&Outgoing::get(url), Accept::Any)
            .await
            .expect_err("refused");
        assert_eq!(error.class, Class::BlockedAddress, "{error}");
        assert!(
            error
                .message
                .contains(&format!("`allow = [\"{}:9\"]`", own.trim())),
            "{error}"
        );
    }
}

#[tokio::test]
async fn media_come_from_media_hosts_only() {
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
