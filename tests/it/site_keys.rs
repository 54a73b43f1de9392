//! Keys of a site and of a job that decide what is sent and what is taken: cookies, proxies, roles of files, bytes.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;

use super::{
    shell::{Shell, head},
    site::Booru,
};

/// A folder with a job over all of the site, more keys of the site's table, and a cookies.txt.
fn with_cookies(site: &Booru, keys: &str, cookies: &str) -> Shell {
    let shell = Shell::with_job(site, "");
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    let text = text.replace(
        "[sites.mock]\n",
        &format!("[sites.mock]\ncookies_file = \"cookies.txt\"\n{keys}\n"),
    );
    shell.write("archive.toml", &text);
    shell.write("cookies.txt", cookies);
    chmod(&shell, 0o600);
    shell
}

fn chmod(shell: &Shell, mode: u32) {
    fs::set_permissions(shell.path("cookies.txt"), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn cookies_of_a_file_go_to_the_pages_of_their_site_and_nowhere_else() {
    let site = Booru::builder().posts(3).comments(101, 1).start();
    let line = |domain: &str, path: &str, secure: &str, at: u64, name: &str| {
        format!("{domain}\tFALSE\t{path}\t{secure}\t{at}\t{name}\tS3CRET-{name}\r\n")
    };
    let cookies = "# Netscape HTTP Cookie File\r\n".to_owned()
        + &line("127.0.0.1", "/", "FALSE", 0, "session")
        + &line("#HttpOnly_127.0.0.1", "/", "FALSE", 4_000_000_000, "kept")
        + &line("127.0.0.1", "/comment.json", "FALSE", 0, "comments")
        + &line("127.0.0.1", "/", "TRUE", 0, "secure")
        + &line("127.0.0.1", "/", "FALSE", 1_600_000_000, "old")
        + &line("example.org", "/", "FALSE", 0, "other")
        + &line("127.0.0.1", "/", "FALSE", 0, "own");
    let shell = with_cookies(&site, "cookies = { own = \"S3CRET-mine\" }", &cookies);
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write("archive.toml", &format!("{text}\nwith = [\"comments\"]\n"));
    let checked = shell.larder(&["check"]).ends(0).out;
    assert!(
        checked.contains("holds 1 expired cookie of 6 for 127.0.0.1")
            && !checked.contains("not acted on"),
        "{checked}"
    );
    let ran = shell.larder(&["-vv", "run"]).ends(0);
    for said in [&checked, &ran.out, &ran.err] {
        assert!(!said.contains("S3CRET"), "{said}");
    }
    for page in site.pages() {
        let mut sent: Vec<_> = page
            .header("cookie")
            .unwrap_or_default()
            .split("; ")
            .collect();
        sent.sort_unstable();
        let mut wanted = vec![
            "kept=S3CRET-kept",
            "own=S3CRET-mine",
            "session=S3CRET-session",
        ];
        if page.path == "/comment.json" {
            wanted.insert(0, "comments=S3CRET-comments");
        }
        assert_eq!(sent, wanted, "{}", page.path);
    }
    assert!(site.pages().iter().any(|page| page.path == "/comment.json"));
    assert_eq!(site.files().len(), 3);
    assert!(
        site.files()
            .iter()
            .all(|file| file.header("cookie").is_none())
    );
    let archived =
        String::from_utf8_lossy(&shell.files().into_values().flatten().collect::<Vec<_>>())
            .matches("S3CRET")
            .count();
    let written = cookies.matches("S3CRET").count() + 1;
    assert_eq!(
        archived, written,
        "in the two files that the user wrote, and in no other"
    );
}

#[test]
fn a_cookie_file_that_cannot_be_used_is_refused_by_line() {
    let site = Booru::builder().posts(1).start();
    let shell = with_cookies(
        &site,
        "",
        "# x\n127.0.0.1\tFALSE\t/\tFALSE\tsoon\tS3CRET\tS3CRET\nS3CRET\n",
    );
    let ran = shell.larder(&["run"]).ends(78);
    for words in [
        "cookies.txt:2: is not a cookie: its fifth field",
        "cookies.txt:3: is not a cookie: seven fields",
        "2 mistakes",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(!ran.err.contains("S3CRET"), "{}", ran.err);
    shell.write("cookies.txt", "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\n");
    chmod(&shell, 0o644);
    let ran = shell.larder(&["check"]).ends(78);
    assert!(
        ran.err.contains("open to other users; run `chmod 600 "),
        "{}",
        ran.err
    );
    chmod(&shell, 0o600);
    shell.larder(&["check"]).ends(0);
    shell.write("cookies.txt", "example.org\tFALSE\t/\tFALSE\t0\ta\tb\n");
    let ran = shell.larder(&["doctor", "mock"]).ends(1);
    assert!(
        ran.out
            .contains("cookies  failed   none of 0 in the file is for "),
        "{}",
        ran.out
    );
    let checked = shell.larder(&["check"]).ends(0).out;
    assert!(
        checked.contains("holds no cookie for 127.0.0.1"),
        "{checked}"
    );
    fs::remove_file(shell.path("cookies.txt")).unwrap();
    assert!(
        shell
            .larder(&["check"])
            .ends(78)
            .err
            .contains("there is no file")
    );
}

/// A proxy on loopback that forwards what it is asked and remembers the first line of each request.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    // It ends with the test binary.
    thread::spawn(move || {
        for client in listener.incoming() {
            let log = log.clone();
            thread::spawn(move || forward(client?, &log));
        }
        Ok::<_, std::io::Error>(())
    });
    (address, seen)
}

/// Answers one request of a connection, and closes it.
fn forward(mut client: TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let (line, headers) = request.split_once("\r\n").unwrap();
    log.lock().unwrap().push(line.to_owned());
    let target = line
        .split(' ')
        .nth(1)
        .unwrap()
        .trim_start_matches("http://");
    let (host, path) = target.split_once('/').unwrap();
    let mut server = TcpStream::connect(host)?;
    write!(
        server,
        "GET /{path} HTTP/1.1\r\nConnection: close\r\n{headers}"
    )?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)
}

#[test]
fn a_site_goes_through_its_own_proxy_and_another_one_does_not() {
    let (through, direct) = (
        Booru::builder().posts(3).start(),
        Booru::builder().posts(5).start(),
    );
    let (proxy, seen) = proxy();
    let shell = Shell::with_job(&through, "");
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    let other = head(&direct)
        .split_once("[sites.mock]")
        .unwrap()
        .1
        .replace("\"mock\"", "\"other\"");
    let text = text
        .replace(
            "[sites.mock]",
            &format!("[sites.mock]\nproxy = \"{proxy}\""),
        )
        .replace("allow = [", &format!("allow = [\"{}\", ", direct.host()));
    let job = "[[jobs]]\nname = \"direct\"\nsite = \"other\"\nlisting = \"posts\"\n";
    shell.write(
        "archive.toml",
        &format!("{text}\n[sites.other]\n{other}\n{job}"),
    );
    for job in ["seeds", "direct"] {
        shell.larder(&["run", job]).ends(0);
    }
    let lines = seen.lock().unwrap().clone();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with(&format!("GET {}/", through.url()))),
        "{lines:?}"
    );
    let asked = |site: &Booru| (site.pages().len(), site.files().len());
    assert_eq!((lines.len(), asked(&through).1), (through.log().len(), 3));
    assert_eq!(asked(&direct).1, 2);
    // Requests by hand go the same way.
    shell.larder(&["call", "mock", "posts"]).ends(0);
    shell.larder(&["doctor", "mock"]).ends(0);
    shell.larder(&["call", "other", "posts"]).ends(0);
    assert_eq!(seen.lock().unwrap().len(), lines.len() + 3);
    // And none goes elsewhere when the proxy does not answer.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write(
        "archive.toml",
        &text.replace(&proxy, &format!("http://{dead}")),
    );
    let before = through.log().len();
    let ran = shell.larder(&["call", "mock", "posts"]).ends(1);
    assert!(ran.err.contains("(connect)"), "{}", ran.err);
    assert_eq!(through.log().len(), before);
}

#[test]
fn files_picks_by_role() {
    let site = Booru::builder().posts(3).start();
    let shell = Shell::with_job(&site, "files = []");
    shell.larder(&["run"]).ends(0);
    assert!(site.files().is_empty());
    let record = shell
        .larder(&["show", "--json", &format!("mock/post/{}", site.ids()[0])])
        .ends(0)
        .json();
    assert_eq!(record["files"], json!([]));
    let ran = Shell::with_job(&site, "files = [\"sample\"]")
        .larder(&["check"])
        .ends(78);
    assert!(
        ran.err.contains("unknown role of files `sample`"),
        "{}",
        ran.err
    );

    // A dialect with two roles: the first is taken unless a job names others.
    let dialect = r#"
format = 1
name = "two"
[listing.posts]
get = "/post.json{?limit,page}"
paging = { by = "page", first = 1, size = 100 }
roles = ["original", "preview"]
each = '.[]'
item = '{kind: "post", id, files: [{role: "original", url: .file_url, md5}, {role: "preview", url: .preview_url}]}'
"#;
    for (keys, roles) in [
        ("", &["original"][..]),
        ("files = [\"preview\"]", &["preview"]),
        (
            "files = [\"preview\", \"original\"]",
            &["original", "preview"],
        ),
    ] {
        let shell = Shell::with_job(&site, keys);
        shell.write("two.toml", dialect);
        let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
        let text = text
            .replace("\"moebooru\"", "\"two\"")
            .replace("params = { tags = \"seed\" }\n", "");
        shell.write(
            "archive.toml",
            &format!("dialects = [\"two.toml\"]\n{text}"),
        );
        shell.larder(&["run"]).ends(0);
        let record = shell
            .larder(&["show", "--json", &format!("mock/post/{}", site.ids()[0])])
            .ends(0)
            .json();
        let mut found: Vec<_> = record["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["role"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, roles, "{keys}");
    }
}

#[test]
fn max_bytes_pauses_a_job_and_each_run_goes_on_from_there() {
    let site = Booru::builder().posts(40).start();
    let all: usize = site.truth().iter().map(|truth| truth.bytes.len()).sum();
    let limit = all / 8;
    let shell = Shell::with_job(&site, &format!("max_bytes = \"{limit} B\""));
    let ran = shell.larder(&["run"]).ends(3);
    assert!(
        ran.out.contains("paused (limit)") && ran.out.contains("`max_bytes`"),
        "{}",
        ran.out
    );
    let job = shell.larder(&["status", "--json"]).ends(0).json()["jobs"][0].clone();
    let bytes = usize::try_from(job["bytes"].as_u64().unwrap()).unwrap();
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&json!("paused"), &json!("limit"))
    );
    assert!(
        bytes >= limit && bytes < all,
        "{bytes} of {all}, limit {limit}"
    );
    let mut runs = 1;
    while shell.larder(&["run"]).code == 3 {
        runs += 1;
        assert!(runs < 40, "it never ends");
    }
    assert_eq!(site.files().len(), 40, "no file is fetched twice");
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        40
    );
}
