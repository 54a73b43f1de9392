//! The writer: one thread, one write connection, one transaction per group of acts.
//!
//! It takes what has gathered while its last commit ran (no timer, at most [`GROUP`]), runs each act in a savepoint,
//! then makes the group durable in this order: names of objects, record log, rows. Only then does anybody hear of
//! success. **Invariant:** no row is committed before the bytes and lines that it claims are on the disk.
//!
//! A full disk, one that refuses writes and a database that somebody else holds are waited out: such a group is undone as a
//! whole ([`Error::Trouble`]), and the next may succeed. After any other error of a sync or a commit nothing more is
//! written: the process must start again and recover.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Error, Lease,
    at_work::{self, AtWork},
    counts::{Changes, RunCounts},
    schema, segments,
    start::{self, Left},
};
use crate::{
    archive::{Archive, Objects, RecordLog},
    clock::{Clock, Millis},
    disk::{self, Ballast, Op, Trouble},
};

/// Acts of one transaction at most.
const GROUP: usize = 256;
/// How long closing waits for the last commit.
const CLOSING: Duration = Duration::from_secs(30);
/// How long the writer waits for another program's transaction at a time.
const BUSY: Duration = Duration::from_secs(1);
/// After this many such waits it says what it waits for.
const PATIENCE: u32 = 5;
/// Acts that may wait for the writer; more wait in their callers.
const QUEUE: usize = 1024;

/// What an act may use.
pub struct Group<'a> {
    pub(super) db: &'a Connection,
    pub(super) log: &'a mut RecordLog,
    pub(super) objects: &'a Objects,
    /// Folders of objects whose names this group makes durable.
    pub(super) shards: &'a mut BTreeSet<u16>,
    pub(super) changes: Changes,
    /// Hosts that the page being stored may not take files from.
    pub(super) refused: BTreeSet<String>,
    /// Whether files that are held and that nothing but their address names are asked about again.
    pub(super) rechecks: bool,
    /// Now.
    pub(super) now: Millis,
}

type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// Runs within a group; gives back how its caller is told, and the error of an act that failed. Where there is no group it
/// tells its caller why.
type Act = Box<dyn FnOnce(Result<&mut Group<'_>, &Error>) -> Option<Done> + Send>;

/// An act that has run.
struct Done {
    reply: Reply,
    error: Option<Error>,
}

/// The store, as the rest of larder holds it. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    acts: mpsc::Sender<Act>,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    clock: Clock,
    counts: Mutex<BTreeMap<i64, RunCounts>>,
    changed: Notify,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    at_work: Arc<AtWork>,
    /// Told what keeps the writer from writing, and when nothing does any more.
    teller: OnceLock<Teller>,
    /// Whether what cannot be written now is not waited for any more.
    hurry: AtomicBool,
}

type Teller = Box<dyn Fn(Option<Trouble>) + Send + Sync>;

impl Shared {
    fn say(&self, trouble: Option<Trouble>) {
        if let Some(teller) = self.teller.get() {
            teller(trouble);
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.shared.path.display())
    }
}

impl Store {
    /// Where the database of a state folder is.
    pub fn path_in(state: &Path) -> PathBuf {
        state.join("larder.db")
    }

    /// The archive's identity as the database of a state folder knows it.
    ///
    /// # Errors
    /// When the database is there and cannot be read.
    pub fn known_archive(state: &Path) -> Result<Option<String>, Error> {
        let path = Self::path_in(state);
        if !path.exists() {
            return Ok(None);
        }
        let Some((db, _)) = schema::open_reader(&path)? else {
            return Ok(None);
        };
        meta(&db, "archive").map_err(Error::database("read it"))
    }

    /// Opens the database of a state folder for writing; the caller holds the lock. Leases of dead larders are freed.
    ///
    /// # Errors
    /// When the database is newer, damaged, or not this archive's.
    pub fn open(state: &Path, archive: Arc<Archive>, clock: Clock) -> Result<Self, Error> {
        let path = Self::path_in(state);
        let db = schema::open_writer(&path)?;
        let what = Error::database("read it");
        let number = |key| -> Result<u64, Error> {
            let value: Option<String> = meta(&db, key).map_err(&what)?;
            value.map_or(Ok(0), |v| {
                v.parse().map_err(|_| Error::Damaged(format!("meta.{key}")))
            })
        };
        db.busy_timeout(BUSY).map_err(&what)?;
        let left = Left::read(&db).map_err(&what)?;
        left.check(&db, &path)?;
        let (bytes, seq) = (number("log_bytes")?, number("log_seq")?);
        let mut sealed = segments::all(&db)?;
        if let Some(segment) = archive.left_over(&sealed, bytes)? {
            segments::add(&db, &segment)?;
            sealed.push(segment);
        }
        archive.has_segments(&sealed)?;
        let log = RecordLog::open(&archive, state, sealed.last(), bytes, seq)?;
        let ballast = Ballast::take(state);
        let opened = AtWork::open(state);
        let (at_work, was_at) =
            opened.map_err(crate::archive::Error::io("write", state.join("at-work")))?;
        let (acts, inbox) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            path,
            clock: clock.clone(),
            counts: Mutex::default(),
            changed: Notify::new(),
            thread: Mutex::default(),
            at_work,
            teller: OnceLock::new(),
            hurry: AtomicBool::new(true),
        });
        let mut writer = Writer {
            db,
            log,
            archive: archive.clone(),
            ballast,
            clock,
            shared: shared.clone(),
            failed: None,
        };
        let id = archive.id().to_owned();
        let freed = writer.now("take over", move |group| {
            let sql = "INSERT INTO meta VALUES ('archive', ?) ON CONFLICT DO NOTHING";
            group.db.execute(sql, [id])?;
            group.take_over(left, &was_at)
        })?;
        if freed > 0 {
            tracing::info!(
                tasks = freed,
                "Took back tasks that an earlier larder had begun"
            );
        }
        // Runs read their counters when they begin.
        shared.counts.lock().expect("nobody panics with it").clear();
        shared.hurry.store(false, Ordering::Relaxed);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer.work(inbox));
        let thread = thread.map_err(|error| Error::Stopped(error.to_string()))?;
        *shared.thread.lock().expect("nobody panics with it") = Some(thread);
        Ok(Self { acts, shared })
    }

    /// Lets `teller` know what keeps the writer from writing, and when nothing does any more.
    pub fn tell(&self, teller: impl Fn(Option<Trouble>) + Send + Sync + 'static) {
        // Whoever opened the store is the one to tell.
        let _ = self.shared.teller.set(Box::new(teller));
    }

    /// Lets the teller know what keeps the archive from being written, and when nothing does any more.
    pub fn say(&self, trouble: Option<Trouble>) {
        self.shared.say(trouble);
    }

    /// From now on nothing is waited for: what cannot be written at once fails. For the end.
    pub fn hurry(&self) {
        self.shared.hurry.store(true, Ordering::Relaxed);
    }

    /// Runs `act` in the next transaction; returns when it is durable.
    ///
    /// # Errors
    /// The act's own error, which undoes the act alone, or that of the commit.
    pub async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut Group<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let act = run(what, act, move |result| {
            // Nobody listens any more when the caller was stopped; the act stands all the same.
            let _ = tell.send(result);
        });
        let stopped = || Error::Stopped("see the error before".to_owned());
        self.acts.send(act).await.map_err(|_| stopped())?;
        told.await.map_err(|_| stopped())?
    }

    /// The counters of a run that this process writes.
    pub fn counts(&self, run: i64) -> RunCounts {
        let counts = self.shared.counts.lock().expect("nobody panics with it");
        counts.get(&run).copied().unwrap_or_default()
    }

    /// Drops the counters of a run that is over: a daemon has many.
    pub fn drop_counts(&self, run: i64) {
        self.shared
            .counts
            .lock()
            .expect("nobody panics with it")
            .remove(&run);
    }

    /// Sets the counters of a run as the database has them.
    pub(super) fn set_counts(&self, run: i64, known: RunCounts) {
        self.shared
            .counts
            .lock()
            .expect("nobody panics with it")
            .insert(run, known);
    }

    /// Notes that larder is at the task of this lease, until what is returned is dropped.
    pub fn at_work(&self, lease: &Lease) -> at_work::Begun {
        self.shared.at_work.begin(lease)
    }

    /// Notified after each commit.
    pub fn changed(&self) -> &Notify {
        &self.shared.changed
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The time that this store works by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Waits for the writer to finish what it was given; the last clone must be this one.
    pub async fn close(self) {
        let Self { acts, shared } = self;
        drop(acts);
        let thread = shared.thread.lock().expect("nobody panics with it").take();
        if let Some(thread) = thread {
            // Joining blocks; a panic of the writer has been told to every caller already. Work that did not stop in time
            // holds the store: what it commits is complete, and the next start takes back the rest.
            let join = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(CLOSING, join).await;
        }
    }
}

/// An act whose caller hears of its result by `tell`, once the group is durable.
fn run<T: Send + 'static>(
    what: &'static str,
    act: impl FnOnce(&mut Group<'_>) -> Result<T, Error> + Send + 'static,
    tell: impl FnOnce(Result<T, Error>) + Send + 'static,
) -> Act {
    Box::new(move |group| {
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                tell(Err(error.clone()));
                return None;
            }
        };
        let result = savepoint(group, what, act);
        let error = result.as_ref().err().cloned();
        let reply = Box::new(move |committed: Result<(), Error>| tell(committed.and(result)));
        Some(Done { reply, error })
    })
}

fn savepoint<T>(
    group: &mut Group<'_>,
    what: &'static str,
    act: impl FnOnce(&mut Group<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let name_it = |error: Error| match error {
        Error::Database { source, .. } => Error::Database { what, source },
        other => other,
    };
    group
        .db
        .prepare_cached("SAVEPOINT act")
        .and_then(|mut s| s.execute([]))
        .map_err(Error::database(what))?;
    let mark = group.log.mark();
    match act(group) {
        Ok(value) => {
            group
                .db
                .prepare_cached("RELEASE act")
                .and_then(|mut s| s.execute([]))
                .map_err(Error::database(what))?;
            Ok(value)
        }
        Err(error) => {
            group.log.back_to(mark);
            group.changes = Changes::default();
            if group.db.is_autocommit() {
                // SQLite has undone everything already; there is no savepoint to go back to.
                return Err(name_it(error));
            }
            group
                .db
                .execute_batch("ROLLBACK TO act; RELEASE act")
                .map_err(Error::database(what))?;
            Err(name_it(error))
        }
    }
}

struct Writer {
    db: Connection,
    log: RecordLog,
    archive: Arc<Archive>,
    ballast: Ballast,
    clock: Clock,
    shared: Arc<Shared>,
    /// The error after which nothing is written any more.
    failed: Option<Error>,
}

impl Writer {
    fn work(mut self, mut inbox: mpsc::Receiver<Act>) {
        let mut acts = Vec::with_capacity(GROUP);
        while inbox.blocking_recv_many(&mut acts, GROUP) > 0 {
            self.group(acts.drain(..));
        }
        if self.failed.is_none()
            && let Err(error) = start::ended(&self.db)
        {
            tracing::debug!(%error, "Could not note the end");
        }
        // The last one out empties the WAL, so that a copy of the file alone is whole.
        if let Err(error) = self
            .db
            .execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::debug!(%error, "Could not checkpoint the database at the end");
        }
    }

    /// Runs one act in a group of its own, on this thread.
    fn now<T: Send + 'static>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut Group<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = std::sync::mpsc::channel();
        let act = run(what, act, move |result| {
            let _ = tell.send(result);
        });
        self.group(std::iter::once(act));
        let stopped = || match &self.failed {
            Some(error) => error.clone(),
            None => Error::Stopped("see the error before".to_owned()),
        };
        told.recv().map_err(|_| stopped())?
    }

    fn group(&mut self, acts: impl Iterator<Item = Act>) {
        let mut changes = Changes::default();
        let mut shards = BTreeSet::new();
        let mut replies: Vec<Reply> = Vec::new();
        let mut begun = match &self.failed {
            Some(error) => Err(Error::Stopped(error.to_string())),
            None => self.begin(),
        };
        let mark = self.log.mark();
        for act in acts {
            if let Err(error) = &begun {
                // Without a transaction no act may run.
                act(Err(error));
                continue;
            }
            let mut group = Group {
                db: &self.db,
                log: &mut self.log,
                objects: &self.archive.objects,
                shards: &mut shards,
                changes: Changes::default(),
                refused: BTreeSet::new(),
                rechecks: false,
                now: self.clock.now(),
            };
            let done = act(Ok(&mut group));
            changes.merge(group.changes);
            let Some(Done { reply, error }) = done else {
                continue;
            };
            replies.push(reply);
            if self.db.is_autocommit() {
                // SQLite has rolled the whole transaction back by itself (a full disk, an I/O error): whatever ran on
                // would commit row by row, before its bytes and lines are durable.
                let undone = || Error::Stopped("SQLite has undone the transaction".to_owned());
                begun = Err(error.unwrap_or_else(undone));
            }
        }
        let committed = begun
            .and_then(|()| self.commit(&shards, &changes))
            .map_err(|error| self.undo(mark, error));
        if committed.is_ok() {
            let mut counts = self.shared.counts.lock().expect("nobody panics with it");
            for (run, change) in &changes.runs {
                counts.entry(*run).or_default().add(change);
            }
        }
        for reply in replies {
            reply(committed.clone());
        }
        self.shared.changed.notify_waiters();
        if self.failed.is_none()
            && self.log.is_full()
            && let Err(error) = self.seal()
        {
            tracing::error!(%error, "Could not go on after sealing the record log; nothing more is written until larder is started again");
            self.failed = Some(error);
        }
    }

    /// Begins the group's transaction, however long another program is at its own.
    fn begin(&self) -> Result<(), Error> {
        let mut waits = 0;
        loop {
            let begun = self.db.execute_batch("BEGIN IMMEDIATE");
            let busy = matches!(&begun, Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
            if !busy {
                if waits >= PATIENCE {
                    self.shared.say(None);
                }
                return begun.map_err(Error::database("begin a transaction"));
            }
            waits += 1;
            if waits == PATIENCE {
                tracing::warn!("Another program holds larder.db; waiting until it lets go");
                self.shared.say(Some(Trouble::DbBusy));
            }
            if waits >= PATIENCE && self.shared.hurry.load(Ordering::Relaxed) {
                return begun.map_err(Error::database("begin a transaction"));
            }
        }
    }

    /// Seals the record log, between two groups: half a second for each 64 MiB of records.
    fn seal(&mut self) -> Result<(), Error> {
        let segment = match self.log.seal(&self.archive) {
            Ok(segment) => segment,
            Err(error) => {
                tracing::warn!(%error, "Could not seal the record log; it grows on, and is sealed later");
                return Ok(());
            }
        };
        segments::add(&self.db, &segment)?;
        self.log.begin_after(&self.archive, &segment)?;
        tracing::info!(
            bytes = segment.bytes,
            "Sealed {} of the record log",
            segment.file_name()
        );
        Ok(())
    }

    /// Names of objects, record log, rows: in this order.
    fn commit(&mut self, shards: &BTreeSet<u16>, changes: &Changes) -> Result<(), Error> {
        changes.apply(&self.db).map_err(Error::database("count"))?;
        self.archive.objects.sync(shards)?;
        if self.log.is_dirty() {
            let (bytes, seq) = self.log.end();
            let what = Error::database("count");
            let mut set = self
                .db
                .prepare_cached("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
                .map_err(&what)?;
            for (key, value) in [("log_bytes", bytes), ("log_seq", seq)] {
                set.execute((key, value.to_string())).map_err(&what)?;
            }
            drop(set);
            self.sync_log()?;
        }
        disk::pass(Op::Commit).map_err(|error| Error::commit(&error))?;
        self.db
            .execute_batch("COMMIT")
            .map_err(Error::database("commit"))?;
        // Committed is committed: what a test does here can only be an end.
        let _ = disk::pass(Op::Committed);
        Ok(())
    }

    /// Makes the lines of the group durable; on a full disk, with the ballast's room.
    fn sync_log(&mut self) -> Result<(), Error> {
        match self.log.sync() {
            Err(error) if error.trouble() == Some(Trouble::DiskFull) && self.ballast.release() => {
                Ok(self.log.sync()?)
            }
            synced => Ok(synced?),
        }
    }

    /// Undoes a group. Returns the error that its callers hear: a trouble when the next group may succeed.
    fn undo(&mut self, mark: crate::archive::Mark, error: Error) -> Error {
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.log.back_to(mark);
        let trouble = error.trouble_of_write().filter(|_| self.db.is_autocommit());
        if let (Some(trouble), None) = (trouble, &self.failed) {
            self.log.trim();
            if trouble == Trouble::DiskFull && self.ballast.release() {
                tracing::warn!("The disk of the database is full; threw off the ballast");
            }
            tracing::warn!(%error, "Could not commit; what was under way is done again");
            return Error::Trouble {
                trouble,
                message: error.to_string(),
            };
        }
        if self.failed.is_none() {
            tracing::error!(%error, "Could not commit; nothing more is written until larder is started again");
            self.failed = Some(error.clone());
        }
        error
    }
}

pub(super) fn meta(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    use rusqlite::OptionalExtension;
    db.query_row("SELECT value FROM meta WHERE key = ?", [key], |row| {
        row.get(0)
    })
    .optional()
}
