//! Where each job stands for the daemon: when it began last, whether that run is over, and whether somebody must act.

use super::{Error, Group, Reader};
use crate::clock::Millis;

/// What decides when a job is run next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Its row.
    pub job: i64,
    /// Its name.
    pub name: String,
    /// Why it waits.
    pub paused: Option<String>,
    /// When its last run began.
    pub started: Option<Millis>,
    /// Whether that one has something left to do.
    pub unfinished: bool,
    /// Whether that one walks everything.
    pub full: bool,
    /// When a walk of everything began last; the first run is one.
    pub walked_all: Option<Millis>,
}

/// What the last reading of the configuration was refused for, in `meta`.
const REFUSED: &str = "refused_config";

impl Reader {
    /// Every job that was ever run or held.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn standings(&self) -> Result<Vec<Standing>, Error> {
        // Only a writer brings an older database up to date: before `days` came, no run was a full one of its own.
        let (full, last_full) = if self.keeps("days")? {
            (
                "coalesce(r.full, 0)",
                "(SELECT max(started) FROM runs WHERE job = j.id AND full = 1)",
            )
        } else {
            ("0", "NULL")
        };
        // Uses runs_of_job.
        let mut select = self.db.prepare(&format!(
            "SELECT j.id, j.name, j.paused, r.started, r.id IS NOT NULL AND r.ended IS NULL, {full},
                    coalesce({last_full}, (SELECT min(started) FROM runs WHERE job = j.id))
             FROM jobs j LEFT JOIN runs r ON r.id = (SELECT max(id) FROM runs WHERE job = j.id)"
        ))?;
        let rows = select.query_map([], |row| {
            Ok(Standing {
                job: row.get(0)?,
                name: row.get(1)?,
                paused: row.get(2)?,
                started: row.get(3)?,
                unfinished: row.get(4)?,
                full: row.get(5)?,
                walked_all: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many failures there are, by job and class. Uses tasks_failed.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn failed_by_class(&self) -> Result<Vec<(String, String, i64)>, Error> {
        let mut select = self.db.prepare(
            "SELECT j.name, coalesce(t.class, ''), count(*) FROM tasks t JOIN jobs j ON j.id = t.job
             WHERE t.state = 'failed' GROUP BY t.job, t.class ORDER BY j.name, t.class",
        )?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Objects known to be damaged.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn damaged(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM damage";
        Ok(self.db.query_row(sql, [], |row| row.get(0))?)
    }

    /// Why the daemon goes on with the configuration before the last change.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn refused_config(&self) -> Result<Option<String>, Error> {
        use rusqlite::OptionalExtension as _;
        let sql = "SELECT value FROM meta WHERE key = ?";
        Ok(self
            .db
            .query_row(sql, [REFUSED], |row| row.get(0))
            .optional()?)
    }
}

impl Group<'_> {
    /// Takes back every claim of a job that nobody works on: what a stop could not wait for. Uses tasks_leased.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn take_back(&mut self, job: i64) -> Result<(), Error> {
        let sql = "UPDATE tasks SET state = 'ready', token = NULL, lease = NULL WHERE state = 'leased' AND job = ?";
        self.db.prepare_cached(sql)?.execute([job])?;
        Ok(())
    }

    /// Keeps why a changed configuration is refused, for `status`; `None` when the one that is read is in force.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn refuse_config(&mut self, why: Option<&str>) -> Result<(), Error> {
        match why {
            Some(why) => self.set_meta(REFUSED, why),
            None => self.delete_meta(REFUSED),
        }
    }
}
