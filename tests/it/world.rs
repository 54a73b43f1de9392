//! A world for one story: a temporary folder with a configuration, a mock site, and the real `larder` to run in it.
//!
//! Promises: what is asserted is read from outside, as a user would: exit codes, output, and the archive's own files.
//! Every object that is looked at is hashed again. Nothing sleeps for luck: [`wait_for`] polls until a deadline.
#![allow(dead_code, reason = "each story uses only a part of the world")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::site::{Booru, BooruBuilder};

/// No command of these tests takes this long, unless it hangs.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// The only job, unless a test adds more.
pub(super) const JOB: &str = "all";

/// A folder with a configuration, and the site that it names.
pub(super) struct World {
    pub(super) booru: Booru,
    folder: TempDir,
    /// The name of the site's table.
    site: String,
    url: String,
    network: String,
    keys: String,
    jobs: String,
    runs: std::cell::Cell<u32>,
}

/// How a command ended.
pub(super) struct Out {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Out {
    /// Fails the test with everything that was said unless the exit code is this one.
    #[track_caller]
    pub(super) fn expect(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "\n{stdout}\n{stderr}");
        self
    }

    /// Everything that was said, with line breaks as spaces, so that a wrapped sentence is still one.
    pub(super) fn text(&self) -> String {
        let words = [self.stdout.as_str(), self.stderr.as_str()].join("\n");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Fails the test unless this was said.
    #[track_caller]
    pub(super) fn says(self, words: &str) -> Self {
        assert!(
            self.text().contains(words),
            "not `{words}`: {}",
            self.text()
        );
        self
    }
}

/// A larder at work; killed when dropped.
pub(super) struct Running {
    child: Child,
    said: [PathBuf; 2],
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the death.
    pub(super) fn kill(mut self) -> Out {
        self.child.kill().expect("our own child");
        self.wait(LONG)
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("our own child");
    }

    /// Whether its log or progress has these words so far.
    pub(super) fn has_said(&self, words: &str) -> bool {
        fs::read(&self.said[1]).is_ok_and(|said| String::from_utf8_lossy(&said).contains(words))
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    #[track_caller]
    pub(super) fn wait(&mut self, deadline: Duration) -> Out {
        wait_for("the end of larder", deadline, || self.is_over());
        let status = self.child.wait().expect("our own child");
        let [stdout, stderr] = self.said.clone().map(|path| {
            let bytes = fs::read(path).expect("written by larder");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let code = status.code();
        Out {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is over already unless the test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Polls until `condition` holds.
#[track_caller]
pub(super) fn wait_for(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

impl World {
    /// A site with a job over the posts tagged `seed`, which are all that were invented.
    pub(super) fn new(booru: BooruBuilder) -> Self {
        Self::in_folder(booru, tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same in memory, where the system has a disk there: for stories of many runs.
    pub(super) fn in_memory(booru: BooruBuilder) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
        Self::in_folder(booru, folder.expect("a temporary folder"))
    }

    fn in_folder(booru: BooruBuilder, folder: TempDir) -> Self {
        let booru = booru.start();
        let mut world = Self {
            url: booru.url(),
            booru,
            folder,
            site: "booru".to_owned(),
            network: String::new(),
            keys: String::new(),
            jobs: String::new(),
            runs: std::cell::Cell::new(0),
        };
        world.job("seed", "");
        world
    }

    /// Replaces the job: its search words, and more keys of its table.
    pub(super) fn job(&mut self, tags: &str, keys: &str) {
        self.jobs.clear();
        self.also(JOB, tags, keys);
    }

    /// Adds a job over posts.
    pub(super) fn also(&mut self, name: &str, tags: &str, keys: &str) {
        self.listing(name, "posts", &format!("tags = \"{tags}\""), keys);
    }

    /// Adds a job over any listing.
    pub(super) fn listing(&mut self, name: &str, listing: &str, params: &str, keys: &str) {
        let job = format!(
            "[[jobs]]\nname = \"{name}\"\nsite = \"{}\"\nlisting = \"{listing}\"\nparams = {{ {params} }}\n{keys}\n",
            self.site
        );
        self.jobs.push_str(&job);
        self.write("");
    }

    /// Takes all jobs out.
    pub(super) fn no_jobs(&mut self) {
        self.jobs.clear();
        self.write("");
    }

    /// Adds keys to `[network]`.
    pub(super) fn network(&mut self, keys: &str) {
        keys.clone_into(&mut self.network);
        self.write("");
    }

    /// Adds keys to the site's table.
    pub(super) fn keys(&mut self, keys: &str) {
        keys.clone_into(&mut self.keys);
        self.write("");
    }

    /// Calls the site so, such as a built-in one whose salt is known. The job must be given afterwards.
    pub(super) fn site(&mut self, name: &str) {
        name.clone_into(&mut self.site);
    }

    /// Says that the site is elsewhere.
    pub(super) fn url(&mut self, url: &str) {
        url.clone_into(&mut self.url);
        self.write("");
    }

    /// Writes the configuration, with keys of `[archive]`.
    pub(super) fn write(&self, archive: &str) {
        let Self {
            site,
            url,
            network,
            keys,
            jobs,
            ..
        } = self;
        let (own, host) = (self.booru.host(), url.trim_start_matches("http://"));
        let allow = if own == *host {
            format!("\"{own}\"")
        } else {
            format!("\"{own}\", \"{host}\"")
        };
        let text = format!(
            "[archive]\npath = \"archive\"\n{archive}\n[network]\nallow = [{allow}]\nbackoff = \"10ms\"\n{network}\n\
             [sites.\"{site}\"]\ndialect = \"moebooru\"\nurl = \"{url}\"\nrate = \"unlimited\"\nmedia_rate = \"unlimited\"\n\
             connections = 4\nmedia_connections = 4\npage_size = 10\n{keys}\n{jobs}"
        );
        fs::write(self.config(), text).expect("a folder of ours");
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("archive.toml")
    }

    /// Makes the database what the first version of larder would have left.
    pub(super) fn put_back_to_the_first_schema(&self) {
        put_back_to_the_first_schema(&self.archive("larder.db"));
    }

    /// A path below the archive.
    pub(super) fn archive(&self, below: &str) -> PathBuf {
        self.folder.path().join("archive").join(below)
    }

    /// A path beside the archive.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn spawn(&self, args: &[&str]) -> Running {
        self.spawn_with(args, "")
    }

    /// Starts larder with faults in store for it; only builds with debug assertions heed them.
    pub(super) fn spawn_with(&self, args: &[&str], faults: &str) -> Running {
        self.spawn_by(Command::new(env!("CARGO_BIN_EXE_larder")), args, faults)
    }

    /// Starts larder by another command, whose last arguments are larder's.
    pub(super) fn spawn_by(&self, mut command: Command, args: &[&str], faults: &str) -> Running {
        let nth = self.runs.get();
        self.runs.set(nth + 1);
        let said = ["out", "err"].map(|name| self.folder.path().join(format!("{nth}.{name}")));
        let [stdout, stderr] = said
            .each_ref()
            .map(|path| File::create(path).expect("a folder of ours"));
        if !faults.is_empty() {
            command.env("LARDER_FAULTS", faults);
        }
        let child = command
            .arg("-c")
            .arg(self.config())
            .args(args.iter().map(OsStr::new))
            .env_remove("LARDER_CONFIG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("larder was built");
        Running { child, said }
    }

    /// Runs larder to its end.
    #[track_caller]
    pub(super) fn larder(&self, args: &[&str]) -> Out {
        self.spawn(args).wait(LONG)
    }

    /// `larder run`, which must end with this code.
    #[track_caller]
    pub(super) fn run(&self, code: i32) -> Out {
        self.larder(&["run"]).expect(code)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let out = self.larder(args).expect(0);
        serde_json::from_str(&out.stdout).expect("JSON")
    }

    pub(super) fn status(&self) -> Value {
        self.json(&["status", "--json"])
    }

    /// The status of the job [`JOB`].
    pub(super) fn job_status(&self) -> Value {
        let status = self.status();
        let jobs = status["jobs"].as_array().expect("a list").clone();
        jobs.into_iter()
            .find(|job| job["name"] == JOB)
            .expect("the job")
    }

    pub(super) fn failures(&self) -> Vec<Value> {
        self.json(&["failures", "--json"])
            .as_array()
            .expect("a list")
            .clone()
    }

    /// The classes of all failures, sorted.
    pub(super) fn classes(&self) -> Vec<String> {
        let mut classes: Vec<_> = self
            .failures()
            .iter()
            .map(|failure| text(&failure["class"]))
            .collect();
        classes.sort();
        classes
    }

    /// Every line of the record log, sealed or not, in the order of their numbers; none before the first run. A line that is
    /// in a segment and still in `current.jsonl` too is told once.
    pub(super) fn records(&self) -> Vec<Value> {
        let mut lines = BTreeMap::new();
        for path in files_below(&self.archive("records")) {
            let mut log = fs::read(&path).expect("readable");
            if path.extension().is_some_and(|end| end == "zst") {
                log = zstd::decode_all(&log[..]).expect("zstd");
            }
            for line in String::from_utf8(log).expect("text").lines() {
                let line: Value = serde_json::from_str(line).expect("a whole line");
                lines.insert(line["seq"].as_u64().expect("a number"), line);
            }
        }
        lines.into_values().collect()
    }

    /// The lines of this type about posts, as (id, line).
    pub(super) fn lines(&self, kind: &str, line: &str) -> Vec<(u64, Value)> {
        let mut found = self.records();
        found.retain(|record| record["type"] == line && record["kind"] == kind);
        found
            .into_iter()
            .map(|record| (text(&record["id"]).parse().expect("a number"), record))
            .collect()
    }

    /// The newest record of each post.
    pub(super) fn posts(&self) -> BTreeMap<u64, Value> {
        self.lines("post", "item").into_iter().collect()
    }

    /// What an archive is compared by: (site, kind, id, rev, digest) of every record.
    pub(super) fn revisions(&self) -> BTreeSet<[String; 5]> {
        let items = self
            .records()
            .into_iter()
            .filter(|line| line["type"] == "item");
        items
            .map(|r| ["site", "kind", "id", "rev", "digest"].map(|key| text(&r[key])))
            .collect()
    }

    /// Every object by its name, which is checked.
    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut objects = BTreeMap::new();
        for path in files_below(&self.archive("objects")) {
            let bytes = fs::read(&path).expect("an object");
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            assert_eq!(
                hex::encode(Sha256::digest(&bytes)),
                name,
                "wrong bytes in {}",
                path.display()
            );
            assert_eq!(
                path.parent(),
                Some(&*self.archive("objects").join(&name[..3]))
            );
            objects.insert(name, bytes);
        }
        objects
    }

    /// Fails the test unless every post of the site has its record and its bytes, and nothing else is held.
    #[track_caller]
    pub(super) fn holds_everything(&self) {
        let (posts, objects) = (self.posts(), self.objects());
        let mut wanted = BTreeSet::new();
        for truth in self.booru.truth() {
            let Some(record) = posts.get(&truth.id) else {
                panic!("post {} has no record", truth.id)
            };
            let mut tags: Vec<_> = truth.tags.split(' ').collect();
            let rating = record["raw"]["posts"]["rating"]
                .as_str()
                .map(|r| format!("rating:{r}"));
            tags.extend(rating.as_deref());
            assert_eq!(
                record["tags"],
                serde_json::json!(tags),
                "tags of post {}",
                truth.id
            );
            if truth.deleted {
                continue;
            }
            assert_eq!(
                record["files"][0]["sha256"], truth.sha256,
                "post {}: {record}",
                truth.id
            );
            assert_eq!(
                objects.get(&truth.sha256),
                Some(&truth.bytes),
                "bytes of post {}",
                truth.id
            );
            wanted.insert(truth.sha256);
        }
        assert_eq!(
            posts.len(),
            self.booru.truth().len(),
            "records of posts that never were"
        );
        assert_eq!(objects.into_keys().collect::<BTreeSet<_>>(), wanted);
    }

    /// The `tags` of every request for a page of posts.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut pages = self.booru.pages();
        pages.retain(|page| page.path == "/post.json");
        pages
            .iter()
            .map(|page| page.param("tags").unwrap_or_default().to_owned())
            .collect()
    }

    /// The bounds `id:<N` of these requests; 0 for one without.
    pub(super) fn bounds(&self) -> Vec<u64> {
        let bound = |tags: &String| {
            let terms: Vec<_> = tags
                .split(' ')
                .filter_map(|term| term.strip_prefix("id:"))
                .collect();
            assert!(terms.len() < 2, "two bounds: {tags}");
            terms.first().map_or(0, |term| {
                term.trim_start_matches('<').parse().expect("id:<N")
            })
        };
        self.asked().iter().map(bound).collect()
    }
}

/// Text as it is; anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Every file below a folder.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Makes the database what the first version would have left: its tables, with what of the rows they can hold.
fn put_back_to_the_first_schema(path: &Path) {
    let first = path.with_extension("first");
    let db = rusqlite::Connection::open(&first).unwrap();
    db.execute_batch(include_str!("../../src/store/schema/0001.sql"))
        .unwrap();
    db.execute("ATTACH ? AS later", [path.to_str().unwrap()])
        .unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut select = db.prepare(sql).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    db.pragma_update(None, "foreign_keys", "OFF").unwrap();
    for table in names("SELECT name FROM main.sqlite_schema WHERE type = 'table'") {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}')")).join(", ");
        db.execute_batch(&format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM later.{table}"
        ))
        .unwrap();
    }
    db.execute_batch("DETACH later; PRAGMA user_version = 1")
        .unwrap();
    drop(db);
    fs::rename(first, path).unwrap();
}
