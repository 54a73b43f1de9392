//! What `status`, `failures` and `show` read, on a connection of their own that disturbs no writer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Error, RunCounts, Store,
    days::{self, LAST_PLACE},
    schema,
};
use crate::{archive::Digest, class::Class, clock::Millis};

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    pub(super) db: Connection,
    /// The schema that the last writer knew.
    schema: u32,
}

/// The whole archive in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects.
    pub objects: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Items.
    pub items: i64,
    /// Lines of the record log.
    pub records: i64,
    /// Objects known to be damaged.
    pub damaged: i64,
}

/// One job as the database knows it.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its name.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// Its listing.
    pub listing: String,
    /// Its parameters as canonical JSON.
    pub params: String,
    /// Why it waits for a person.
    pub paused: Option<String>,
    /// What the site said then.
    pub message: Option<String>,
    /// Its last run.
    pub last: Option<RunRow>,
    /// When its first waiting task is due, if nothing else is ready.
    pub due: Option<Millis>,
    /// Failures listed now.
    pub failures: i64,
    /// The class of a page that the last run gave up.
    pub walk_class: Option<String>,
    /// Sums over its life: runs, pages, items, files, bytes.
    pub life: [i64; 5],
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// How it ended.
    pub result: Option<String>,
    /// Entries of the listing, where the site says.
    pub total: Option<i64>,
    /// Why it saw less than the listing holds, in words.
    pub wall: Option<String>,
    /// What it did.
    pub counts: RunCounts,
}

/// One host.
#[derive(Debug, Clone)]
pub struct HostRow {
    /// `host:port`.
    pub host: String,
    /// Until when it is left alone.
    pub until: Option<Millis>,
    /// Why.
    pub reason: Option<String>,
    /// Requests so far.
    pub requests: i64,
    /// Replies that asked to slow down.
    pub throttled: i64,
    /// How many of them came in a row.
    pub streak: u32,
}

/// One failure.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The job.
    pub job: String,
    /// The site's name.
    pub site: String,
    /// `kind/id`, where it belongs to an item.
    pub item: Option<String>,
    /// Address, without secrets.
    pub url: Option<String>,
    /// The class.
    pub class: String,
    /// Tries.
    pub tries: i64,
    /// What happened.
    pub message: String,
    /// When first.
    pub first_at: Option<Millis>,
    /// When last.
    pub last_at: Option<Millis>,
    /// When it is tried again by itself.
    pub next_at: Option<Millis>,
}

/// What is doubtful since a larder died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Objects stored since then.
    pub since: Millis,
    /// Whether the database was too large to be checked at the start.
    pub database: bool,
}

/// Which failures.
#[derive(Debug, Clone, Default)]
pub struct FailureFilter {
    /// Of this job.
    pub job: Option<String>,
    /// Of this class.
    pub class: Option<Class>,
}

/// One item.
#[derive(Debug, Clone)]
pub struct ItemRow {
    /// Its revision; 0 while its files are under way.
    pub rev: u32,
    /// Where its newest record stands in the log.
    pub place: Option<u64>,
    /// Why it is gone upstream.
    pub gone: Option<String>,
    /// The normal form while it waits for files.
    pub draft: Option<String>,
}

/// Failures, newest last. Uses tasks_failed and tasks_retried, each alone: with an OR it would look at the whole queue.
pub(super) const FAILURES: &str = "SELECT j.name, j.site, i.kind || '/' || i.ident, coalesce(t.url, ''), t.class, t.tries, t.message,
            t.first_at, t.last_at, t.state, t.due
     FROM (SELECT id FROM tasks WHERE state = 'failed'
           UNION ALL SELECT id FROM tasks WHERE state = 'waiting' AND class IS NOT NULL) f
     JOIN tasks t ON t.id = f.id JOIN jobs j ON j.id = t.job LEFT JOIN items i ON i.id = t.item
     WHERE (?1 IS NULL OR j.name = ?1) AND (?2 IS NULL OR t.class = ?2)
     ORDER BY t.last_at, t.id";

impl Reader {
    /// Where the newest records of a kind are whose id begins with `prefix`, which ends in a colon.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn placed_below(&self, site: &str, kind: &str, prefix: &str) -> Result<Vec<u64>, Error> {
        // The character behind the colon ends the range, so that the unique index answers.
        let end = format!("{};", prefix.trim_end_matches(':'));
        let sql = "SELECT place FROM items
                   WHERE site = ? AND kind = ? AND ident >= ? AND ident < ? AND place IS NOT NULL ORDER BY place";
        let mut select = self.db.prepare(sql)?;
        let rows = select.query_map((site, kind, prefix, end), |row| row.get::<_, i64>(0))?;
        let places = rows.map(|place| Ok(place?.unsigned_abs()));
        places.collect()
    }

    /// Opens the database of a state folder; `None` when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(state: &Path) -> Result<Option<Self>, Error> {
        let path = Store::path_in(state);
        if !path.exists() {
            return Ok(None);
        }
        let opened = schema::open_reader(&path)?;
        Ok(opened.map(|(db, schema)| Self { db, schema }))
    }

    /// The folder that the database is in.
    pub(crate) fn state(&self) -> &Path {
        let path = self.db.path().map(Path::new).and_then(Path::parent);
        path.unwrap_or(Path::new("."))
    }

    /// Whether the database has this table: one that only an older larder wrote does not until the next run.
    pub(super) fn keeps(&self, table: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
        Ok(self.db.prepare_cached(sql)?.exists([table])?)
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// The archive in numbers.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn totals(&self) -> Result<Totals, Error> {
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Totals {
                objects: row.get(0)?,
                bytes: row.get(1)?,
                items: row.get(2)?,
                records: row.get(3)?,
                damaged: row.get(4)?,
            })
        };
        let damaged = if self.keeps("damage")? {
            "(SELECT count(*) FROM damage)"
        } else {
            "0"
        };
        let sql = format!("SELECT objects, bytes, items, records, {damaged} FROM totals");
        Ok(self.db.query_row(&sql, [], row)?)
    }

    /// Every job, by name.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn jobs(&self) -> Result<Vec<JobRow>, Error> {
        let mut select = self.db.prepare(
            "SELECT id, name, site, listing, paused, message, params FROM jobs ORDER BY name",
        )?;
        let rows = select.query_map([], |row| {
            let job = JobRow {
                name: row.get(1)?,
                site: row.get(2)?,
                listing: row.get(3)?,
                paused: row.get(4)?,
                message: row.get(5)?,
                params: row.get(6)?,
                last: None,
                due: None,
                failures: 0,
                walk_class: None,
                life: [0; 5],
            };
            Ok((row.get::<_, i64>(0)?, job))
        })?;
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|(id, job)| self.job_details(id, job))
            .collect()
    }

    fn job_details(&self, id: i64, mut job: JobRow) -> Result<JobRow, Error> {
        // Uses runs_of_job; a job has a run a night, so the sums are short.
        let sql = format!(
            "SELECT started, ended, result, total, {}, {} FROM runs WHERE job = ? ORDER BY id DESC LIMIT 1",
            if self.schema < 7 { "NULL" } else { "wall" },
            RunCounts::COLUMNS
        );
        job.last = self
            .db
            .query_row(&sql, [id], |row| {
                let counts = RunCounts::read(row, 5)?;
                Ok(RunRow {
                    started: row.get(0)?,
                    ended: row.get(1)?,
                    result: row.get(2)?,
                    total: row.get(3)?,
                    wall: row.get(4)?,
                    counts,
                })
            })
            .optional()?;
        let sql = "SELECT count(*), coalesce(sum(pages_done), 0), coalesce(sum(fresh), 0), coalesce(sum(stored), 0), coalesce(sum(bytes), 0)
                   FROM runs WHERE job = ?";
        job.life = self.db.query_row(sql, [id], |row| {
            Ok([
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ])
        })?;
        let sql = "SELECT count(*), max(class) FILTER (WHERE kind = 'page') FROM tasks WHERE job = ? AND state = 'failed'";
        (job.failures, job.walk_class) = self
            .db
            .query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Whether anything is ready, and else when the first waiting task is due. One look per host, with tasks_open.
        let sql = "SELECT min(due) FROM tasks WHERE job = ?1 AND state IN ('ready', 'waiting') AND due > ?2
                   AND NOT EXISTS (SELECT 1 FROM tasks WHERE job = ?1 AND state IN ('ready', 'leased') AND due <= ?2)";
        if job.last.as_ref().is_some_and(|last| {
            last.ended.is_none() && last.counts.pages_waiting + last.counts.files_waiting < 1000
        }) {
            job.due = self.db.query_row(sql, (id, LAST_PLACE), |row| row.get(0))?;
        }
        Ok(job)
    }

    /// Every host that was asked.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn hosts(&self) -> Result<Vec<HostRow>, Error> {
        let streak = if self.schema < 7 { "0" } else { "streak" };
        let sql = format!(
            "SELECT host, until, reason, requests, throttled, {streak} FROM hosts ORDER BY host"
        );
        let mut select = self.db.prepare(&sql)?;
        let rows = select.query_map([], |row| {
            Ok(HostRow {
                host: row.get(0)?,
                until: row.get(1)?,
                reason: row.get(2)?,
                requests: row.get(3)?,
                throttled: row.get(4)?,
                streak: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Failures, newest last, handed to `each` one by one: there may be many.
    ///
    /// # Errors
    /// When SQLite refuses, or `each` does.
    pub fn failures<E: From<Error>>(
        &self,
        filter: &FailureFilter,
        mut each: impl FnMut(Failure) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut select = self.db.prepare(FAILURES).map_err(Error::from)?;
        let class = filter.class.map(Class::word);
        let mut rows = select
            .query(params![filter.job, class])
            .map_err(Error::from)?;
        while let Some(row) = rows.next().map_err(Error::from)? {
            let read = || -> rusqlite::Result<Failure> {
                let state: String = row.get(9)?;
                let url: String = row.get(3)?;
                Ok(Failure {
                    job: row.get(0)?,
                    site: row.get(1)?,
                    item: row.get(2)?,
                    url: Some(url).filter(|url| !url.is_empty()),
                    class: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                    tries: row.get(5)?,
                    message: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
                    first_at: row.get(7)?,
                    last_at: row.get(8)?,
                    next_at: if state == "waiting" && row.get::<_, i64>(10)? > 0 {
                        row.get(10)?
                    } else {
                        None
                    },
                })
            };
            each(read().map_err(Error::from)?)?;
        }
        Ok(())
    }

    /// An item.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn item(&self, site: &str, kind: &str, id: &str) -> Result<Option<ItemRow>, Error> {
        let sql =
            "SELECT rev, place, gone, draft FROM items WHERE site = ? AND kind = ? AND ident = ?";
        let row = |row: &rusqlite::Row<'_>| {
            let place: Option<i64> = row.get(1)?;
            Ok(ItemRow {
                rev: row.get(0)?,
                place: place.and_then(|p| p.try_into().ok()),
                gone: row.get(2)?,
                draft: row.get(3)?,
            })
        };
        Ok(self.db.query_row(sql, (site, kind, id), row).optional()?)
    }

    /// The days that are remembered as whole under `walk`.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn days(&self, walk: Digest) -> Result<BTreeSet<Date>, Error> {
        // An archive that only older larders have written knows no days.
        let known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'days'";
        if !self.db.prepare(known)?.exists([])? {
            return Ok(BTreeSet::new());
        }
        days::remembered(&self.db, walk)
    }

    /// Every object with its size.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn objects(&self) -> Result<BTreeMap<Digest, u64>, Error> {
        let mut select = self.db.prepare("SELECT sha256, bytes FROM objects")?;
        let rows = select.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Bytes of the record log that are committed.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn log_bytes(&self) -> Result<u64, Error> {
        self.log_number("log_bytes")
    }

    /// A number of `meta` about the record log.
    pub(super) fn log_number(&self, key: &str) -> Result<u64, Error> {
        let sql = "SELECT value FROM meta WHERE key = ?";
        let text: Option<String> = self.db.query_row(sql, [key], |row| row.get(0)).optional()?;
        text.map_or(Ok(0), |text| {
            text.parse()
                .map_err(|_| Error::Damaged(format!("meta.{key}")))
        })
    }

    /// Objects whose digest begins with these hex digits, two at most.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn objects_like(&self, prefix: &str) -> Result<Vec<Digest>, Error> {
        let mut select = self
            .db
            .prepare("SELECT sha256 FROM objects WHERE hex(sha256) LIKE ? || '%' LIMIT 2")?;
        let rows = select.query_map([prefix], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is doubtful since a larder died, if anything is.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn doubt(&self) -> Result<Option<Doubt>, Error> {
        let since = super::writer::meta(&self.db, "recheck")?;
        Ok(since.and_then(|text| text.parse().ok()).map(|since| Doubt {
            since,
            database: self.db.path().is_some_and(super::start::is_large),
        }))
    }

    /// Objects stored since `since`, with their sizes.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn objects_since(&self, since: Millis) -> Result<Vec<(Digest, u64)>, Error> {
        let mut select = self
            .db
            .prepare("SELECT sha256, bytes FROM objects WHERE added >= ?")?;
        let rows = select.query_map([since], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What interrupts a read of this connection from another thread.
    pub fn interrupter(&self) -> rusqlite::InterruptHandle {
        self.db.get_interrupt_handle()
    }

    /// The tables of the database, to be checked one by one.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn tables(&self) -> Result<Vec<String>, Error> {
        let mut select = self
            .db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
        let rows = select.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Checks one table and its indexes.
    ///
    /// # Errors
    /// When it is damaged, or SQLite refuses.
    pub fn check_table(&self, table: &str) -> Result<(), Error> {
        super::start::quick_check(&self.db, Some(table))
    }

    /// Whether other processes have asked for anything.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn has_requests(&self) -> Result<bool, Error> {
        Ok(self
            .db
            .query_row("SELECT EXISTS (SELECT 1 FROM requests)", [], |row| {
                row.get(0)
            })?)
    }
}
