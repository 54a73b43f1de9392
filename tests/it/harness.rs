//! What must hold of an archive after larder was broken off, whatever it was at.
//!
//! The truth comes from the site, never from larder. Every check gives its objection back instead of failing, so that a test
//! can also show that a larder without one of its rules is found out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

use super::{
    site::{Booru, BooruBuilder, Fault, Post, What},
    world::{Out, World, files_below, text, wait_for},
};

/// The first thing that is not as it must be.
pub(super) type Verdict = Result<(), String>;

/// A lane's connections, and files that are stored at once: what may be under way when larder dies.
pub(super) const WORKERS: usize = 4 + 16;

/// No run of these stories takes this long, unless it hangs.
const LONG: Duration = Duration::from_secs(180);

/// A site whose one post has a file that never comes.
pub(super) struct Case {
    pub(super) world: World,
    /// The post without its file.
    failing: u64,
}

/// A site with so many posts: one in ten shows bytes of another, one is deleted, one file is gone, one is large.
fn site(posts: usize) -> (BooruBuilder, u64) {
    let mut first: Option<Post> = None;
    let mut nth = 0;
    let site = Booru::builder().posts(posts).each(|post| {
        nth += 1;
        match &first {
            None => first = Some(post.clone()),
            Some(first) if nth % 10 == 0 => post.set_body(&first.ext, first.body().to_vec()),
            Some(_) if nth == 7 => post.delete(),
            Some(_) if nth == 8 => {
                // Too large to stay in memory until it is whole.
                let mut body = post.body().to_vec();
                body.resize(1_200_000, 0x5a);
                let ext = post.ext.clone();
                post.set_body(&ext, body);
            }
            Some(_) => {}
        }
    });
    let failing = site.ids()[4];
    (site, failing)
}

impl Case {
    pub(super) fn new(posts: usize) -> Self {
        let (site, failing) = site(posts);
        let world = World::in_memory(site);
        // So short that the record log is sealed in the middle of a run.
        world.write("segment = \"16 KiB\"");
        let gone = Fault::Status(410, vec![], String::new());
        let gone = vec![Fault::Forever(Box::new(gone))];
        world.booru.script(What::File(failing), gone);
        Self { world, failing }
    }

    /// A run with these faults in store. Its exit code is none when it was killed.
    pub(super) fn run(&self, faults: &str) -> Out {
        self.world.spawn_with(&["-q", "run"], faults).wait(LONG)
    }

    /// Kills larder when this many files were asked for in all, and this long after that; but not before all that was under
    /// way at the death before had its turn, since what is met by three deaths is taken for their cause, and is given up.
    /// Returns whether it was alive.
    pub(super) fn kill_after(&self, files: usize, pause: Duration) -> bool {
        let files = files.max(self.world.booru.files_asked() + WORKERS + 4);
        let mut running = self.world.spawn(&["-q", "run"]);
        wait_for("files", LONG, || {
            running.is_over() || self.world.booru.files_asked() >= files
        });
        thread::sleep(pause);
        running.kill().code.is_none()
    }

    /// Runs larder until it says that it is done, without anybody's help: that must not take more than this once.
    pub(super) fn finish(&self) -> Verdict {
        let out = self.world.spawn(&["-q", "run"]).wait(LONG);
        match out.code {
            // The one file that never comes.
            Some(1) => Ok(()),
            code => Err(format!("the next run ended with {code:?}: {}", out.text())),
        }
    }

    /// The lines that a trace has of these operations, in order.
    pub(super) fn trace(&self) -> Vec<String> {
        let text = fs::read_to_string(self.trace_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What makes a run write a trace.
    pub(super) fn tracing(&self) -> String {
        format!("trace={}", self.trace_path().display())
    }

    fn trace_path(&self) -> std::path::PathBuf {
        self.world.beside("trace")
    }

    /// What the database says, as it lies there.
    pub(super) fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let path = self.world.archive("larder.db");
        Connection::open_with_flags(path, flags).expect("the database")
    }

    /// What holds at any moment, right after a death too: what the database claims is there.
    pub(super) fn claims_hold(&self) -> Verdict {
        if !self.world.archive("larder.db").exists() {
            return Ok(());
        }
        let db = self.database();
        let sql = "SELECT user_version FROM pragma_user_version";
        let version = db.query_row(sql, [], |row| row.get::<_, u32>(0));
        // Until its first commit it has a rollback journal, which only a writer may play back: it claims nothing yet.
        let is_new = version
            .as_ref()
            .is_err_and(|error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly));
        if is_new || version.expect("a database") == 0 {
            return Ok(());
        }
        let said: String = one(&db, "PRAGMA quick_check");
        ensure(said == "ok", || format!("quick_check: {said}"))?;
        for (name, bytes) in objects_of(&db) {
            let path = self.world.archive("objects").join(&name[..3]).join(&name);
            let found = fs::read(&path).unwrap_or_default();
            ensure(found.len() as u64 == bytes, || {
                format!(
                    "{name} was stored with {bytes} bytes and has {}",
                    found.len()
                )
            })?;
            ensure(hex::encode(Sha256::digest(&found)) == name, || {
                format!("{name} has other bytes than were stored")
            })?;
        }
        let committed = db.query_row(
            "SELECT value FROM meta WHERE key = 'log_bytes'",
            [],
            |row| row.get::<_, String>(0),
        );
        let committed: u64 = committed.map_or(0, |text| text.parse().expect("a number"));
        let log = fs::metadata(self.world.archive("records/current.jsonl"));
        let length =
            sealed(&db, &self.world.archive("records"))? + log.map_or(0, |meta| meta.len());
        ensure(length >= committed, || {
            format!("{committed} bytes of records were stored, {length} are there")
        })
    }

    /// What holds at the end: everything that the site has is there once, and nothing else.
    pub(super) fn is_whole(&self) -> Verdict {
        self.claims_hold()?;
        let wanted = self.wanted();
        self.files_are(&wanted)?;
        let db = self.database();
        let known: BTreeSet<_> = objects_of(&db).into_keys().collect();
        ensure(known == wanted.keys().cloned().collect(), || {
            "the database knows other objects than the site has".to_owned()
        })?;
        for (what, sql) in [
            (
                "tasks are left",
                "SELECT count(*) FROM tasks WHERE state IN ('ready', 'waiting', 'leased')",
            ),
            (
                "items have no record",
                "SELECT count(*) FROM items WHERE rev = 0",
            ),
            (
                "files wait",
                "SELECT count(*) FROM files WHERE state = 'waiting'",
            ),
            (
                "runs have not ended",
                "SELECT count(*) FROM runs WHERE ended IS NULL",
            ),
        ] {
            let count: i64 = one(&db, sql);
            ensure(count == 0, || format!("{count} {what}"))?;
        }
        let left = files_below(&self.world.archive("staging"));
        ensure(left.is_empty(), || format!("left in staging: {left:?}"))?;
        self.records_are_whole()
    }

    /// The objects that the site has, with their bytes.
    fn wanted(&self) -> BTreeMap<String, Vec<u8>> {
        let truth = self.world.booru.truth();
        let held = truth
            .into_iter()
            .filter(|post| !post.deleted && post.id != self.failing);
        held.map(|post| (post.sha256, post.bytes)).collect()
    }

    fn files_are(&self, wanted: &BTreeMap<String, Vec<u8>>) -> Verdict {
        let mut found = BTreeSet::new();
        for path in files_below(&self.world.archive("objects")) {
            let name = name_of(&path);
            let truth = wanted
                .get(&name)
                .ok_or_else(|| format!("{name} is no object of the site"))?;
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            ensure(bytes == *truth, || format!("{name} has wrong bytes"))?;
            found.insert(name);
        }
        ensure(found.len() == wanted.len(), || {
            format!("{} objects of {} are there", found.len(), wanted.len())
        })
    }

    fn records_are_whole(&self) -> Verdict {
        let (mut items, mut gone) = (BTreeMap::new(), BTreeSet::<String>::new());
        for (nth, line) in (1..).zip(self.world.records()) {
            ensure(line["seq"] == nth, || {
                format!("line {nth} has number {}", line["seq"])
            })?;
            let id = text(&line["id"]);
            match line["type"].as_str() {
                Some("item") => {
                    let twice = items.insert(id.clone(), line);
                    ensure(twice.is_none(), || format!("post {id} has two records"))?;
                }
                Some("gone") => {
                    let new = gone.insert(id.clone());
                    ensure(new, || format!("post {id} is gone twice"))?;
                }
                _ => {}
            }
        }
        let truth = self.world.booru.truth();
        ensure(items.len() == truth.len(), || {
            format!("{} records of {} posts", items.len(), truth.len())
        })?;
        for post in truth {
            let id = post.id.to_string();
            let record = items
                .get(&id)
                .ok_or_else(|| format!("post {id} has no record"))?;
            let file = &record["files"][0];
            let right = if post.deleted {
                gone.remove(&id)
            } else if post.id == self.failing {
                file["sha256"].is_null() && file["missing"] == "http_410"
            } else {
                file["sha256"] == post.sha256.as_str()
            };
            ensure(right, || {
                format!("the record of post {id} is wrong: {record}")
            })?;
        }
        ensure(gone.is_empty(), || format!("gone, they say: {gone:?}"))
    }

    /// Files that were asked for more often than once; the one that never comes does not count.
    pub(super) fn asked_again(&self) -> usize {
        let truth = self.world.booru.truth();
        let failing = truth.iter().find(|post| post.id == self.failing);
        let failing = failing.map(|post| post.md5.clone());
        let asked = self.world.booru.files();
        let asked: Vec<_> = asked
            .iter()
            .filter(|request| request.md5() != failing.as_deref())
            .collect();
        asked.len() - self.wanted().len().min(asked.len())
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

pub(super) fn ensure(right: bool, objection: impl FnOnce() -> String) -> Verdict {
    if right { Ok(()) } else { Err(objection()) }
}

/// The one value that a query gives.
pub(super) fn one<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).expect("one value")
}

/// Bytes of lines in the sealed segments that the database knows: each must be there as it was sealed.
fn sealed(db: &Connection, folder: &Path) -> Result<u64, String> {
    let mut select = db
        .prepare("SELECT lower(hex(sha256)), bytes FROM segments ORDER BY base")
        .expect("a query");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    let mut length = 0;
    for row in rows.expect("rows") {
        let (name, bytes): (String, i64) = row.expect("a row");
        let found = fs::read(folder.join(format!("{name}.jsonl.zst"))).unwrap_or_default();
        ensure(hex::encode(Sha256::digest(&found)) == name, || {
            format!("the segment {name} is not as it was sealed")
        })?;
        let lines = zstd::decode_all(&found[..]).map_err(|error| error.to_string())?;
        ensure(lines.len() as u64 == bytes.unsigned_abs(), || {
            format!("the segment {name} has {} bytes of lines", lines.len())
        })?;
        length += bytes.unsigned_abs();
    }
    Ok(length)
}

/// The objects of the database, with their sizes.
fn objects_of(db: &Connection) -> BTreeMap<String, u64> {
    let mut select = db
        .prepare("SELECT lower(hex(sha256)), bytes FROM objects")
        .expect("a query");
    let rows = select
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
        .expect("rows");
    rows.map(|row| row.expect("a row"))
        .map(|(name, bytes): (String, i64)| (name, bytes.unsigned_abs()))
        .collect()
}
