//! What other processes ask of the larder that holds the lock.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{Error, Group, RunCounts, Store, wanted};
use crate::class::Class;

/// What a retry did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Tasks that are ready again.
    pub ready: usize,
    /// Failures that only a new walk can mend: entries and files without an address.
    pub need_walk: usize,
}

/// Leaves a request to retry in the database of `state`, for the larder that holds the lock.
///
/// # Errors
/// When the database cannot be written.
pub fn retry(state: &Path, job: Option<&str>, class: Option<Class>, at: i64) -> Result<(), Error> {
    let what = Error::database("leave a request");
    let db = Connection::open(Store::path_in(state)).map_err(&what)?;
    db.busy_timeout(std::time::Duration::from_secs(5))
        .map_err(&what)?;
    let row = params![job, class.map(Class::word), at];
    db.execute(
        "INSERT INTO requests (verb, job, class, at) VALUES ('retry', ?, ?, ?)",
        row,
    )
    .map_err(&what)?;
    Ok(())
}

impl Group<'_> {
    /// Does what other processes have asked for. Returns how many requests there were.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn take_requests(&mut self) -> Result<usize, Error> {
        let mut select = self
            .db
            .prepare_cached("SELECT id, verb, job, class FROM requests ORDER BY id")?;
        let rows = select.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let rows: Vec<(i64, String, Option<String>, Option<String>)> =
            rows.collect::<Result<_, _>>()?;
        for (id, verb, job, class) in &rows {
            if verb == "retry" {
                let retried = self.retry(job.as_deref(), class.as_deref())?;
                tracing::info!(
                    tasks = retried.ready,
                    job = job.as_deref(),
                    class = class.as_deref(),
                    "Put failed tasks back, as asked"
                );
            }
            self.db
                .prepare_cached("DELETE FROM requests WHERE id = ?")?
                .execute([id])?;
        }
        Ok(rows.len())
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
