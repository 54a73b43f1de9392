//! Secrets and what sites write: neither gets where it does not belong.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{asked_for, forever, met};
use crate::{
    site::{Booru, Fault, What, client},
    world::{LONG, World, files_below, text, wait_for},
};

/// What is planted, and what is made of it: this word is in every one.
const MARK: &str = "S3CRET";
const PASSWORD: &str = "S3CRET-ü pass&word=%41";
const COOKIE: &str = "S3CRET-cookie-0123456789";
const HEADER: &str = "Bearer S3CRET-header-0123456789";
const FILE: &str = "S3CRET-file-0123456789";
const PROXY: &str = "S3CRET-proxy";
const QUERY: &str = "S3CRET-query";

/// The hash that the site is sent in place of the password.
fn hash(salt: &str) -> String {
    use sha1::{Digest, Sha1};
    hex::encode(Sha1::digest(format!("{salt}--{PASSWORD}--")))
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

#[test]
fn fault_95_no_secret_reaches_a_file_a_log_or_the_terminal() {
    let site = Booru::builder().posts(12).account("reader", PASSWORD);
    let mut world = World::new(site.require_login(true));
    let folder = world.config().parent().expect("a folder").to_owned();
    let (secrets, token) = (folder.join("secrets"), folder.join("secrets/token"));
    fs::create_dir(&secrets).expect("ours");
    fs::write(&token, FILE).expect("ours");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("ours");
    world.site("yande.re");
    world.keys(&format!(
        "login = {{ user = \"Reader\", password = {{ env = \"LARDER_PASSWORD\" }} }}\n\
         cookies = {{ sid = \"{COOKIE}\", from_file = {{ file = \"secrets/token\" }} }}\n\
         headers = {{ Authorization = \"{HEADER}\" }}"
    ));
    world.job("seed", "with = [\"comments\"]");
    let salt = "choujin-steiner";
    let hash = hash(salt);
    let [first, second, ..] = world.booru.ids()[..] else {
        panic!("posts")
    };
    // The site says back what it was sent, in its posts, its errors and its redirects.
    let echo = format!("https://echo.example/?password_hash={hash}&c={COOKIE}&h={HEADER}&f={FILE}");
    world.booru.edit(first, |post| post.source = echo.clone());
    let error = json!({"success": false, "reason": format!("no: {echo}")}).to_string();
    let location = format!("/post.json?login=Reader&password_hash={hash}&x={QUERY}");
    world.booru.script(
        What::PageWith("id:<*"),
        vec![
            Fault::Status(500, vec![("Content-Type", "application/json")], error),
            Fault::Status(302, vec![("Location", location.leak())], String::new()),
            Fault::Status(503, vec![], format!("<html>{echo}</html>")),
        ],
    );
    world.booru.script(
        What::File(second),
        forever(Fault::Status(404, vec![], echo.clone())),
    );
    // A key of the environment, and a proxy for another site that nobody is at.
    let mut config = fs::read_to_string(world.config()).expect("written");
    config += &format!(
        "[sites.other]\ndialect = \"moebooru\"\nurl = \"http://127.0.0.1:9\"\nproxy = \"http://me:{PROXY}@127.0.0.1:9\"\n\
         login = {{ user = \"me\", api_key = {{ env = \"LARDER_KEY\" }} }}\n\
         [[jobs]]\nname = \"other\"\nsite = \"other\"\nlisting = \"posts\"\nparams = {{ tags = \"{QUERY}\" }}\n"
    );
    config = config.replacen("allow = [", "tries = 3\nallow = [\"127.0.0.1:9\", ", 1);
    let config = config.replace(&format!("tags = \"{QUERY}\""), "tags = \"x\"");
    fs::write(world.config(), config).expect("ours");

    let item = format!("yande.re/post/{first}");
    let item = item.as_str();
    let mut said = Vec::new();
    for args in [
        &["check"][..],
        &["run", "--dry-run", "all"],
        &["run"],
        &["run"],
        &["status"],
        &["status", "--json"],
        &["failures"],
        &["failures", "--json"],
        &["retry"],
        &["show", item],
        &["show", item, "--json"],
        &["verify"],
        &["sites"],
        &["sites", "yande.re"],
        &["run", "nobody"],
    ] {
        for more in [&["-vv"][..], &["-vv", "--log-format", "json"]] {
            let out = Command::new(env!("CARGO_BIN_EXE_larder"))
                .arg("-c")
                .arg(world.config())
                .args(args)
                .args(more)
                .env("LARDER_PASSWORD", PASSWORD)
                .env("LARDER_KEY", "S3CRET-key-0123456789")
                .env("RUST_BACKTRACE", "full")
                .env("RUST_LOG", "trace")
                .current_dir(&folder)
                .output()
                .expect("larder was built");
            said.push((format!("{args:?}"), [out.stdout, out.stderr].concat()));
        }
    }
    // Everything was met: the secrets at their own host, the echoes, and the failures that tell of them.
    let log = world.booru.log();
    assert!(log.iter().any(|r| r.param("password_hash") == Some(&hash)));
    let cookies = format!("sid={COOKIE}; from_file={FILE}");
    assert!(log.iter().any(|r| r.header("cookie") == Some(&cookies)));
    assert!(
        log.iter()
            .any(|r| r.header("authorization") == Some(HEADER))
    );
    assert!(
        world
            .booru
            .files()
            .iter()
            .all(|r| r.header("cookie").is_none())
    );
    assert_eq!(met(&world.booru.pages()), ["Status"; 3]);
    assert!(!asked_for(&world, second).is_empty());
    for (command, bytes) in &said {
        for word in [MARK, &hash] {
            assert!(
                !holds(bytes, word),
                "{command} said {word}: {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
    let ours = [world.config(), token];
    for path in files_below(&folder)
        .into_iter()
        .filter(|path| !ours.contains(path))
    {
        let bytes = fs::read(&path).expect("readable");
        for word in [MARK, &hash] {
            assert!(!holds(&bytes, word), "{word} in {}", path.display());
        }
    }
    assert!(
        said.iter().any(|(_, bytes)| holds(bytes, "***")),
        "something was hidden"
    );
}

#[test]
fn fault_42_a_secret_that_others_may_read_is_refused_before_anything_is_asked() {
    let mut world = World::new(Booru::builder().posts(3));
    let token = world.config().parent().expect("a folder").join("token");
    fs::write(&token, FILE).expect("ours");
    world.keys("cookies = { sid = { file = \"token\" } }");
    for (mode, code) in [
        (0o644, 78),
        (0o640, 78),
        (0o602, 78),
        (0o600, 0),
        (0o400, 0),
    ] {
        fs::set_permissions(&token, fs::Permissions::from_mode(mode)).expect("ours");
        let out = world.larder(&["run"]).expect(code);
        let text = out.text();
        assert_eq!(text.contains("chmod 600"), code == 78, "{mode:o}: {text}");
        assert!(!text.contains(MARK), "{text}");
        assert_eq!(world.booru.log().is_empty(), code == 78, "{mode:o}");
    }
    assert!(
        world
            .booru
            .pages()
            .iter()
            .all(|r| r.header("cookie").is_some())
    );
}

#[test]
fn fault_95_state_is_for_its_owner_only_and_objects_are_for_everybody() {
    let world = World::new(Booru::builder().posts(3));
    fs::create_dir(world.archive("")).expect("ours");
    // As an earlier version made it.
    fs::write(world.archive("larder.lock"), "").expect("ours");
    fs::set_permissions(
        world.archive("larder.lock"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("ours");
    world.booru.script(
        What::AnyFile,
        vec![Fault::Stall(std::time::Duration::from_secs(1))],
    );
    let mut running = world.spawn(&["run"]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    wait_for("the database", LONG, || {
        world.archive("larder.db-wal").exists()
    });
    for name in ["larder.db", "larder.db-wal", "larder.db-shm", "larder.lock"] {
        assert_eq!(mode(&world.archive(name)), 0o600, "{name}");
    }
    running.wait(LONG).expect(0);
    for path in files_below(&world.archive("objects")) {
        assert_eq!(mode(&path), 0o444);
    }
}

#[test]
fn fault_95_a_crash_leaves_no_memory_behind() {
    let mut world = World::new(Booru::builder().posts(1));
    world.keys(&format!("cookies = {{ sid = \"{COOKIE}\" }}"));
    world.booru.script(What::Page, forever(Fault::Stall(LONG)));
    let folder = world.config().parent().expect("a folder").to_owned();
    // Where the system writes core files elsewhere, there is nothing to see here; it does not for a process like this one.
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "ulimit -c unlimited 2>/dev/null; exec \"$0\" -c archive.toml run",
        ])
        .arg(env!("CARGO_BIN_EXE_larder"))
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = shell.spawn().expect("a shell");
    wait_for("a request", LONG, || !world.booru.log().is_empty());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("our own child");
    assert_eq!(child.wait().expect("our own child").code(), None);
    for path in files_below(&folder) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        assert!(!name.starts_with("core"), "{name}");
    }
}

#[test]
fn fault_96_nothing_that_a_site_writes_acts_on_the_terminal() {
    let mut world = World::new(Booru::builder().posts(4));
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{9b}31m\r\nfake line \u{e0041}";
    let ids = world.booru.ids();
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    for post in page.as_array_mut().expect("a list") {
        for key in ["author", "source", "tags"] {
            post[key] = json!(format!("{evil} {key}"));
        }
    }
    page[0]["id"] = json!(evil);
    page[1]["file_url"] = json!(format!("http://{}/{evil}", world.booru.host()));
    page[2] = json!({ "id": { evil: evil } });
    let reason = json!({ "success": false, "reason": evil }).to_string();
    let page = Fault::Body("application/json", page.to_string().into_bytes());
    world.booru.clear_log();
    let error = Fault::Status(500, vec![("Content-Type", "application/json")], reason);
    world.booru.script(
        What::PageWith("id:<*"),
        forever(Fault::Body("application/json", b"[]".to_vec())),
    );
    world
        .booru
        .script(What::Page, [vec![error], forever(page)].concat());
    world.job(
        "seed",
        "where = 'if .id == \"1\" then false else (.author.name | error) end'",
    );
    let item = format!("127.0.0.1/post/{}", ids[0]);
    let item = item.as_str();
    let mut said = String::new();
    for args in [
        &["run", "-vv"][..],
        &["run", "--log-format", "json", "-vv"],
        &["status"],
        &["status", "--json"],
        &["failures"],
        &["failures", "--json"],
        &["show", item],
        &["show", item, "--json"],
        &["show", &format!("127.0.0.1/post/{evil}")],
        &["run", &evil.replace("\r\n", "")],
    ] {
        let out = world.larder(args);
        let text = [out.stdout, out.stderr].concat();
        let acting: BTreeSet<char> = text
            .chars()
            .filter(|c| *c != '\n' && (c.is_control() || evil.contains(*c) && !c.is_ascii()))
            .collect();
        assert!(acting.is_empty(), "{args:?}: {acting:?} in {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("fake line")),
            "{args:?}: {text}"
        );
        said += &text;
    }
    assert!(
        said.contains("\\u{202e}") && said.contains("\\u202e"),
        "it was said, escaped: {said}"
    );
    assert_eq!(met(&world.booru.pages())[..2], ["Status", "Body"]);
    // What the site wrote is kept as it was.
    let records = world.records();
    assert!(
        records
            .iter()
            .any(|line| text(&line["author"]["name"]).contains(evil))
    );
}

#[test]
fn fault_86_whatever_things_are_called_paths_are_hex_names() {
    let names = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..",
        "a\0b",
        "CON",
        "x.desktop",
        "~/.ssh/authorized_keys",
        "$(touch owned)",
        "-rf",
        "\u{202e}gpj.exe",
    ];
    let world = World::new(Booru::builder().posts(9));
    let long = "x".repeat(300);
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    let bytes = world.booru.truth();
    for (nth, post) in page.as_array_mut().expect("a list").iter_mut().enumerate() {
        let name = names.get(nth).copied().unwrap_or(&long);
        for key in ["id", "tags", "author", "source", "creator_id", "rating"] {
            post[key] = json!(name);
        }
        let url = text(&post["file_url"]);
        let (start, _) = url.rsplit_once('/').expect("a path");
        post["file_url"] = json!(format!("{start}/{}", name.replace('\0', "%00")));
    }
    world.booru.clear_log();
    let kind = "application/json; name=\"../../x\"";
    let page = Fault::Body("application/json", page.to_string().into_bytes());
    world.booru.script(What::Page, vec![page]);
    let headers = vec![
        ("Content-Type", kind.to_owned()),
        (
            "Content-Disposition",
            "attachment; filename=\"../../../owned\"".to_owned(),
        ),
    ];
    world.booru.script(
        What::AnyFile,
        forever(Fault::With(headers, Box::new(Fault::Ok))),
    );
    world.larder(&["run"]);
    assert!(met(&world.booru.files()).len() > 4);
    assert!(world.objects().len() > 4);
    for object in world.objects().values() {
        assert!(bytes.iter().any(|truth| truth.bytes == *object));
    }
    let folder = world.config().parent().expect("a folder").to_owned();
    let wanted = |path: &Path| {
        let below = path
            .strip_prefix(&folder)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let own = [
            "archive.toml",
            "archive/LARDER",
            "archive/at-work",
            "archive/ballast",
            "archive/records/current.jsonl",
        ];
        let name = below.rsplit('/').next().unwrap_or_default().to_owned();
        own.contains(&below.as_str())
            || below.starts_with("archive/larder.")
            || below.starts_with("archive/objects/") && name.len() == 64
            || name.ends_with(".out")
            || name.ends_with(".err")
    };
    let foreign: Vec<_> = files_below(&folder)
        .into_iter()
        .filter(|path| !wanted(path))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let outside = folder.parent().expect("a folder above").join("owned");
    assert!(!outside.exists() && !Path::new("owned").exists());
}

#[test]
fn fault_97_a_flood_of_cookies_is_neither_kept_nor_sent_back() {
    let world = World::new(Booru::builder().posts(12));
    let flood = |count: usize, size: usize| {
        let mut head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n".to_owned();
        for nth in 0..count {
            head += &format!("Set-Cookie: c{nth}={}\r\n", "x".repeat(size));
        }
        let page = client::get(&world.booru, "/post.json?limit=10&tags=seed+deleted:all").body;
        let head = format!("{head}Content-Length: {}\r\n\r\n", page.len());
        Fault::Raw([head.into_bytes(), page].concat())
    };
    // One that fits, one of too many, one too large, and the site as it is.
    let floods = vec![flood(80, 40), flood(2000, 10), flood(50, 4096)];
    world.booru.clear_log();
    world.booru.script(What::Page, floods);
    world.run(0);
    world.holds_everything();
    assert_eq!(met(&world.booru.pages()), ["Raw"; 3]);
    assert!(
        world
            .booru
            .log()
            .iter()
            .all(|r| r.header("cookie").is_none())
    );
}
