//! What other processes ask of the larder that holds the lock.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::{Added, Error, Group, RunCounts, Store, wanted};
use crate::{class::Class, clock::Millis};

/// Why a job waits that somebody holds.
pub const BY_USER: &str = "user";
/// The same for people.
pub const BY_HAND: &str = "held by hand";

/// What a retry did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Tasks that are ready again.
    pub ready: usize,
    /// Failures that only a new walk can mend: entries and files without an address.
    pub need_walk: usize,
}

/// What one process asks of the larder that holds the lock, or does itself when none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Put failed tasks back, of this job and class, or of all.
    Retry {
        /// The job's name.
        job: Option<String>,
        /// The class.
        class: Option<Class>,
    },
    /// Keep a job.
    Add(Added),
    /// Drop the job of this name.
    Forget(String),
    /// Hold the job of this name.
    Pause(String),
    /// Let the job of this name go on, whatever it waited for.
    Resume(String),
}

/// What was done of what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// What was put back.
    pub retried: Retried,
    /// Names of jobs that are kept now.
    pub added: Vec<String>,
    /// Rows of jobs that are dropped.
    pub forgotten: Vec<i64>,
    /// Tasks that went with them.
    pub dropped: usize,
    /// Rows of jobs that are held.
    pub paused: Vec<i64>,
    /// Names of jobs that were held and may go on, with why they waited.
    pub resumed: Vec<(String, String)>,
    /// Whether a part is left to do: ask again.
    pub more: bool,
}

/// Leaves requests in the database of `state`, all of them or none, for the larder that holds the lock.
///
/// # Errors
/// When the database cannot be written.
pub fn ask(state: &Path, requests: &[Request], at: Millis) -> Result<(), Error> {
    let what = Error::database("leave a request");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(Store::path_in(state), flags).map_err(&what)?;
    db.busy_timeout(std::time::Duration::from_secs(5))
        .map_err(&what)?;
    let leave = |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for request in requests {
            request.leave(&tx, at)?;
        }
        tx.commit()
    };
    leave(&mut db).map_err(&what)
}

impl Request {
    fn leave(&self, db: &Connection, at: Millis) -> rusqlite::Result<()> {
        match self {
            Self::Retry { job, class } => db.execute(
                "INSERT INTO requests (verb, job, class, at) VALUES ('retry', ?, ?, ?)",
                params![job, class.map(Class::word), at],
            ),
            Self::Add(added) => db.execute(
                "INSERT INTO requests (verb, job, payload, at) VALUES ('add', ?, ?, ?)",
                params![
                    added.name,
                    serde_json::to_string(added).expect("texts are JSON"),
                    at
                ],
            ),
            Self::Forget(name) => named(db, "forget", name, at),
            Self::Pause(name) => named(db, "pause", name, at),
            Self::Resume(name) => named(db, "resume", name, at),
        }?;
        Ok(())
    }

    /// A row as it was left; `None` for what a newer larder asks.
    fn read(
        verb: &str,
        job: Option<String>,
        class: Option<&str>,
        payload: Option<&str>,
    ) -> Option<Self> {
        match (verb, job) {
            ("retry", job) => Some(Self::Retry {
                job,
                class: class.and_then(|class| class.parse().ok()),
            }),
            ("add", _) => serde_json::from_str(payload?).ok().map(Self::Add),
            ("forget", Some(job)) => Some(Self::Forget(job)),
            ("pause", Some(job)) => Some(Self::Pause(job)),
            ("resume", Some(job)) => Some(Self::Resume(job)),
            _ => None,
        }
    }
}

/// Leaves a request that is about a job alone.
fn named(db: &Connection, verb: &str, name: &str, at: Millis) -> rusqlite::Result<usize> {
    db.execute(
        "INSERT INTO requests (verb, job, at) VALUES (?, ?, ?)",
        params![verb, name, at],
    )
}

impl Store {
    /// Does what other processes have asked for, in order. When `more` is left, the rest is for the next call.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn take_requests(&self) -> Result<Answered, Error> {
        /// For any group: a closure in its place would look redundant, the method alone is tied to one lifetime.
        fn take(group: &mut Group<'_>) -> Result<Answered, Error> {
            group.take_requests()
        }
        self.write("do what was asked", take).await
    }
}

impl Group<'_> {
    fn take_requests(&mut self) -> Result<Answered, Error> {
        let mut select = self
            .db
            .prepare_cached("SELECT id, verb, job, class, payload FROM requests ORDER BY id")?;
        let rows = select.query_map([], |row| {
            let (class, payload): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
            let verb: String = row.get(1)?;
            let request = Request::read(&verb, row.get(2)?, class.as_deref(), payload.as_deref());
            Ok((row.get(0)?, request))
        })?;
        let rows: Vec<(i64, Option<Request>)> = rows.collect::<Result<_, _>>()?;
        let mut answered = Answered::default();
        for (id, request) in &rows {
            if let Some(request) = request {
                self.answer(request, &mut answered)?;
            }
            if answered.more {
                break;
            }
            self.db
                .prepare_cached("DELETE FROM requests WHERE id = ?")?
                .execute([id])?;
        }
        Ok(answered)
    }

    /// Does what is asked, or a part of it: then `more` is set, and the same is to be asked again.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn answer(&mut self, request: &Request, answered: &mut Answered) -> Result<(), Error> {
        match request {
            Request::Retry { job, class } => {
                let class = class.map(Class::word);
                let retried = self.retry(job.as_deref(), class)?;
                answered.retried.ready += retried.ready;
                answered.retried.need_walk += retried.need_walk;
                tracing::debug!(
                    tasks = retried.ready,
                    job = job.as_deref(),
                    class,
                    "Put failed tasks back"
                );
            }
            Request::Add(added) => {
                self.keep_added(added)?;
                answered.added.push(added.name.clone());
            }
            Request::Forget(name) => {
                let forgotten = self.forget(name)?;
                answered.more = forgotten.more;
                answered.dropped += forgotten.tasks;
                answered.forgotten.extend(forgotten.job);
            }
            Request::Pause(name) => answered.paused.push(self.pause_by_hand(name)?),
            Request::Resume(name) => {
                let why = self.resume_by_hand(name)?;
                answered.resumed.extend(why.map(|why| (name.clone(), why)));
            }
        }
        Ok(())
    }

    /// Holds a job until somebody lets it go on, whether it was ever run or not. Returns its row.
    fn pause_by_hand(&self, name: &str) -> Result<i64, Error> {
        // What a new row lacks is written when the job is begun.
        let sql = "INSERT INTO jobs (name, site, listing, params, walk, paused, message) VALUES (?, '', '', '', '', ?, ?)
                   ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, message = excluded.message
                   RETURNING id";
        let mut hold = self.db.prepare_cached(sql)?;
        Ok(hold.query_row((name, BY_USER, BY_HAND), |row| row.get(0))?)
    }

    /// Lets a job go on. Returns why it waited, if it did.
    fn resume_by_hand(&self, name: &str) -> Result<Option<String>, Error> {
        let why = "SELECT id, paused FROM jobs WHERE name = ? AND paused IS NOT NULL";
        let row: Option<(i64, String)> = self
            .db
            .prepare_cached(why)?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((job, why)) = row else {
            return Ok(None);
        };
        self.db
            .prepare_cached("UPDATE jobs SET paused = NULL, message = NULL WHERE id = ?")?
            .execute([job])?;
        Ok(Some(why))
    }

    /// Puts failed tasks back into the queue, with no tries counted.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn retry(&mut self, job: Option<&str>, class: Option<&str>) -> Result<Retried, Error> {
        let mut retried = Retried::default();
        let mut select = self.db.prepare_cached(
            "SELECT t.id, t.run, t.kind, t.item, t.role, t.idx, t.url, (SELECT max(id) FROM runs WHERE job = t.job)
             FROM tasks t JOIN jobs j ON j.id = t.job
             WHERE t.state = 'failed' AND (?1 IS NULL OR j.name = ?1) AND (?2 IS NULL OR t.class = ?2)",
        )?;
        let mut rows = select.query((job, class))?;
        let mut reopened = std::collections::BTreeSet::new();
        while let Some(row) = rows.next()? {
            let (id, kind, run): (i64, String, i64) = (row.get(0)?, row.get(2)?, row.get(7)?);
            let url: Option<String> = row.get(6)?;
            // A refused file has no host yet; a page keeps its own.
            let host = url
                .as_deref()
                .map(wanted::host_of)
                .filter(|host| !host.is_empty() && kind == "file");
            // Only the run that counted the failure gives it back.
            let counted = -i64::from(row.get::<_, i64>(1)? == run);
            let change = match kind.as_str() {
                "page" => RunCounts {
                    pages_waiting: 1,
                    pages_failed: counted,
                    ..RunCounts::default()
                },
                "file" if host.is_some() => {
                    let file: (Option<i64>, Option<String>, Option<u32>) =
                        (row.get(3)?, row.get(4)?, row.get(5)?);
                    let sql = "UPDATE files SET state = 'waiting', class = NULL WHERE item = ? AND role = ? AND idx = ?";
                    self.db.prepare_cached(sql)?.execute(file)?;
                    RunCounts {
                        files_waiting: 1,
                        files_failed: counted,
                        ..RunCounts::default()
                    }
                }
                _ => {
                    retried.need_walk += 1;
                    continue;
                }
            };
            let sql = "UPDATE tasks SET state = 'ready', run = ?2, due = 0, tries = 0, rounds = 0, crashes = 0, host = coalesce(?3, host) WHERE id = ?1";
            self.db.prepare_cached(sql)?.execute((id, run, host))?;
            self.changes.run(run).add(&change);
            reopened.insert(run);
            retried.ready += 1;
        }
        for run in reopened {
            self.db
                .prepare_cached("UPDATE runs SET ended = NULL, result = NULL WHERE id = ?")?
                .execute([run])?;
        }
        Ok(retried)
    }
}
