//! How long a view of many items takes: `cargo bench --bench view -- 100000`.
//!
//! Makes an archive of so many posts through the library (no site, no network), says what storing them cost, then runs the
//! real `larder view` on it: for the first time, again, after a link was removed, after new and changed posts, with
//! sidecars. `$TMPDIR` chooses the disk.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and prints what it measured"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use larder::{
    archive::Digest,
    clock::Clock,
    config::Config,
    dialect::{Item, Position, Step},
    session::Session,
    store::{Claim, FileStored, JobSpec, Lease, PageCommit, PageTask, Seen, Walks, Work},
    text::bytes,
};
use md5::Digest as _;

const CONFIG: &str = r#"
[archive]
path = "archive"
[sites.bench]
dialect = "moebooru"
url = "https://bench.example"
[[jobs]]
name = "bench"
site = "bench"
listing = "posts"
"#;
const HOST: &str = "bench.example:443";
/// Posts of a page, and the file tasks that are claimed at once.
const PAGE: u64 = 100;

#[tokio::main]
async fn main() {
    let count = std::env::args().find_map(|arg| arg.parse().ok());
    let count: u64 = count.unwrap_or(100_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.toml");
    fs::write(&path, CONFIG).unwrap();
    let config = Config::load(&path).unwrap();
    fill(&config, 0..count, 0).await;
    let size = |name: &str| bytes(fs::metadata(folder.path().join(name)).unwrap().len() as i64);
    println!(
        "record log {}, database {}",
        size("archive/records/current.jsonl"),
        size("archive/larder.db")
    );

    let view = |what: &str, args: &[&str]| view(folder.path(), what, args);
    view("first time", &["view"]);
    view("again", &["view"]);
    view("again", &["view"]);
    let gone = fs::read_dir(folder.path().join("view/bench.example/2024-01")).unwrap();
    fs::remove_file(gone.flatten().next().unwrap().path()).unwrap();
    view("a link was removed", &["view"]);
    fill(&config, count..count + 100, 0).await;
    fill(&config, 0..100, 1).await;
    view("100 new, 100 changed", &["view"]);
    view("by job", &["view", "bench"]);
    view(
        "another name",
        &["view", "--name", "{author.name}/{tags:.60} {id}.{ext}"],
    );
    view("symbolic", &["links", "--link", "symbolic"]);
    view("again", &["links"]);
    view("with sidecars", &["sidecars", "--sidecar"]);
    view("again", &["sidecars"]);
}

/// Runs `larder view` and prints how long it took, how much of that it computed, and how much memory it had.
fn view(folder: &Path, what: &str, args: &[&str]) {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("view")
        .args(args)
        .current_dir(folder)
        .env_remove("LARDER_CONFIG")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let about = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let (mut peak, mut ticks) = (0, 0);
    let ended = loop {
        let status = about("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        peak = peak.max(now.unwrap_or(0));
        // Time in the program and in the kernel, in hundredths of a second (proc(5)).
        let stat = about("stat");
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        ticks = ticks.max(
            fields
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<u64>().ok())
                .sum(),
        );
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = start.elapsed();
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(ended.success(), "{out}");
    let changes = out.lines().next().and_then(|line| line.rsplit(": ").next());
    println!(
        "{what:<22} {:>6.2} s ({:.2} s of CPU), at most {}: {}",
        took.as_secs_f64(),
        ticks as f64 / 100.0,
        bytes(peak * 1024),
        changes.unwrap_or_default()
    );
}

/// A post as the engine sends it.
fn post(n: u64, revision: u64) -> (Item, Vec<u8>) {
    let body = [b"\x89PNG\r\n\x1a\n".as_slice(), &n.to_le_bytes()].concat();
    let md5 = hex::encode(md5::Md5::digest(&body));
    let id = 1_000_000 + n;
    let tags: Vec<_> = (0..24)
        .map(|tag| format!("tag_{}", (n * 7 + tag * 13) % 5000))
        .collect();
    let raw = serde_json::json!({
        "id": id, "tags": tags.join(" "), "created_at": 1_704_067_200 + n * 600, "updated_at": 1_704_067_200 + n * 600,
        "creator_id": n % 900, "approver_id": null, "author": format!("author {}", n % 900), "change": n * 3,
        "source": format!("https://source.example/works/{n}"), "score": n % 50, "md5": md5, "file_size": body.len(),
        "file_ext": "png", "file_url": format!("https://files.bench.example/image/{md5}/bench {id}.png"),
        "is_shown_in_index": true, "preview_url": format!("https://assets.bench.example/data/preview/{md5}.jpg"),
        "preview_width": 150, "preview_height": 107, "actual_preview_width": 300, "actual_preview_height": 214,
        "sample_url": format!("https://files.bench.example/sample/{md5}/bench {id} sample.jpg"), "sample_width": 1500,
        "sample_height": 1071, "sample_file_size": 500_000, "jpeg_url": format!("https://files.bench.example/jpeg/{md5}.jpg"),
        "jpeg_width": 3500, "jpeg_height": 2500, "jpeg_file_size": 0, "rating": "s", "is_rating_locked": false,
        "has_children": false, "parent_id": null, "status": "active", "is_pending": false, "width": 3500, "height": 2500,
        "is_held": false, "frames_pending_string": "", "frames_pending": [], "frames_string": "", "frames": [],
        "is_note_locked": false, "last_noted_at": 0, "last_commented_at": 0,
    });
    let text = format!("{} {revision}", raw["source"].as_str().unwrap());
    let item = serde_json::json!({
        "kind": "post", "id": id, "url": format!("/post/show/{id}"), "author": { "id": n % 900, "name": raw["author"] },
        "created": raw["created_at"], "updated": raw["updated_at"], "text": text, "tags": tags,
        "files": [{ "role": "original", "url": raw["file_url"], "md5": md5, "bytes": body.len(), "width": 3500, "height": 2500 }],
        "stats": { "score": raw["score"] },
    });
    let base = "https://bench.example".parse().unwrap();
    let mut item = Item::read(&item.to_string(), &base).unwrap();
    let raw = serde_json::value::RawValue::from_string(raw.to_string()).unwrap();
    item.raw.insert("posts".to_owned(), raw);
    (item, body)
}

/// Archives posts as a run would, and prints what their pages and files cost.
async fn fill(config: &Config, posts: std::ops::Range<u64>, revision: u64) {
    let session = Session::open(config, "bench", Clock::System).unwrap();
    let store = &session.store;
    let first = PageTask {
        endpoint: "posts".to_owned(),
        params: std::collections::BTreeMap::default(),
        at: Position::default(),
        depth: 0,
        site: None,
        needed: false,
        day: None,
        item: None,
    };
    let spec = JobSpec {
        name: "bench".to_owned(),
        site: "bench".to_owned(),
        listing: "posts".to_owned(),
        params: "{}".to_owned(),
        walk: "walk".to_owned(),
        walks: Walks {
            firsts: vec![first],
            days: None,
            dated: false,
            full: false,
        },
        whole: false,
        host: HOST.to_owned(),
        names: vec!["bench".to_owned()],
    };
    let begun = store.begin(spec).await.unwrap();
    let (mut pages, mut files) = (Duration::ZERO, Duration::ZERO);
    let claim = |host: &str, pages: bool| Claim {
        host: host.to_owned(),
        pages,
        jobs: vec![begun.job],
        limited: Vec::new(),
        most: PAGE as u32,
    };
    let total = posts.end - posts.start;
    let mut at = posts.start;
    let mut page_times = Vec::new();
    while at < posts.end {
        let end = (at + PAGE).min(posts.end);
        let of_page: Vec<_> = (at..end).map(|n| post(n, revision)).collect();
        for (_, body) in &of_page {
            let path = session.archive.objects.path(&Digest::of(body));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                fs::write(&path, body).unwrap();
            }
        }
        let start = Instant::now();
        let asked = claim(HOST, true);
        let claimed = store
            .write("claim", move |group| group.claim(&asked))
            .await
            .unwrap();
        let task = claimed.tasks.into_iter().next().unwrap();
        let Work::Page(page) = task.work else {
            panic!("a page was asked for")
        };
        let next = Position {
            cursor: [("before".to_owned(), end.into())].into_iter().collect(),
            number: end,
            ..Position::default()
        };
        let commit = PageCommit {
            census: None,
            lease: task.lease,
            task: page,
            site: "bench.example".to_owned(),
            host: HOST.to_owned(),
            roles: vec!["original".to_owned()],
            items: of_page
                .iter()
                .map(|(item, _)| Seen {
                    item: item.clone(),
                    needs: Vec::new(),
                    with: Vec::new(),
                    said: None,
                })
                .collect(),
            continued: Vec::new(),
            gone: None,
            full: false,
            immutable: true,
            refused: BTreeSet::new(),
            bad: Vec::new(),
            filtered: 0,
            total: None,
            days: None,
            step: if end == posts.end {
                Step::End
            } else {
                Step::Next(next)
            },
        };
        store
            .write("store a page", move |group| group.commit_page(commit))
            .await
            .unwrap();
        page_times.push(start.elapsed());
        pages += start.elapsed();
        let start = Instant::now();
        let asked = claim("files.bench.example:443", false);
        let claimed = store
            .write("claim", move |group| group.claim(&asked))
            .await
            .unwrap();
        let mut storing = tokio::task::JoinSet::new();
        for task in claimed.tasks {
            let Work::File(file) = task.work else {
                panic!("files were asked for")
            };
            let md5 = file.named.unwrap();
            let (_, body) = of_page
                .iter()
                .find(|(item, _)| item.files[0].md5.as_ref() == Some(&md5))
                .unwrap();
            let stored = FileStored {
                digest: Digest::of(body),
                bytes: body.len() as u64,
                media: Some("image/png".to_owned()),
                named: Some(md5),
                etag: None,
                modified: None,
                unverified: false,
                downloaded: body.len() as u64,
                put: false,
            };
            let (store, lease): (_, Lease) = (store.clone(), task.lease);
            storing.spawn(async move {
                store
                    .write("store a file", move |group| {
                        group.file_stored(&lease, &stored)
                    })
                    .await
            });
        }
        while let Some(stored) = storing.join_next().await {
            stored.unwrap().unwrap();
        }
        files += start.elapsed();
        at = end;
    }
    let (job, run) = (begun.job, begun.run);
    store
        .write("end a run", move |group| group.end_run(job, run))
        .await
        .unwrap();
    page_times.sort();
    println!(
        "stored {total} posts: pages {:.2} s ({:.0} us a post, median page {:.2} ms), files {:.2} s",
        pages.as_secs_f64(),
        pages.as_secs_f64() * 1e6 / total as f64,
        page_times[page_times.len() / 2].as_secs_f64() * 1e3,
        files.as_secs_f64(),
    );
    session.close().await;
}
