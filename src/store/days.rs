//! Days of a range: which were walked whole, and which are still to be walked by a run.
//!
//! **Invariant:** a day is remembered in the transaction that stored the last page of its walk, and only when it was
//! over everywhere when that walk began and nothing of it was unreadable: what nobody walks again must be complete.

use std::collections::BTreeSet;

use jiff::civil::Date;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{Claim, Error, Group, Lease, PageTask, Task, Walks, Work, catalog, wanted};
use crate::{archive::Digest, clock::Millis, dialect::Values};

/// The day of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Which.
    pub date: Date,
    /// Whether it was over everywhere when the walk began and nothing of it was unreadable: walked to its end, it need
    /// not be walked again.
    pub settled: bool,
}

impl PageTask {
    /// Whether this is where the walk of a day begins.
    pub fn begins_day(&self) -> Option<Date> {
        let day = self.day.filter(|_| self.at.number == 0)?;
        Some(day.date)
    }
}

/// A `due` up to this, which is three hours of 1970, is no time but a place: of the days that wait to be walked the
/// newest has the lowest. They wait until nothing of their job that has begun is left to ask, and go one by one.
pub(super) const LAST_PLACE: Millis = 10_000_000;

/// The place of a day that waits to be walked.
pub(super) fn place(day: Date) -> Millis {
    let left = day.until(Date::MAX).map_or(0, |span| span.get_days());
    Millis::from(left) + 1
}

/// The days that are remembered under `walk`.
pub(super) fn remembered(db: &Connection, walk: Digest) -> Result<BTreeSet<Date>, Error> {
    let mut select = db.prepare_cached("SELECT day FROM days WHERE walk = ?")?;
    let rows = select.query_map([walk], |row| row.get::<_, String>(0))?;
    let date = |text: String| {
        text.parse()
            .map_err(|_| Error::Damaged("days.day".to_owned()))
    };
    rows.map(|row| date(row?)).collect()
}

impl Group<'_> {
    /// Remembers a day whose walk has ended whole; forgets one of which a page was not `readable`.
    pub(super) fn remember_day(
        &self,
        walk: Digest,
        day: Day,
        ends: bool,
        readable: bool,
    ) -> Result<(), Error> {
        let sql = match (readable, ends && day.settled) {
            (false, _) => "DELETE FROM days WHERE walk = ? AND day = ?",
            (true, true) => "INSERT INTO days VALUES (?, ?) ON CONFLICT DO NOTHING",
            (true, false) => return Ok(()),
        };
        self.db
            .prepare_cached(sql)?
            .execute(params![walk, day.date.to_string()])?;
        Ok(())
    }

    /// Whether a job may begin the walk of another day: the pages of one walk do not wait for those of the next, and
    /// files are fetched meanwhile. `found` is what is being claimed of the job.
    pub(super) fn may_begin_day(
        &self,
        claim: &Claim,
        job: i64,
        found: &[Task],
    ) -> Result<bool, Error> {
        let walks = |task: &Task| matches!(&task.work, Work::Page(page) if page.item.is_none());
        if !claim.pages || claim.limited.contains(&job) || found.iter().any(walks) {
            return Ok(false);
        }
        // Uses tasks_open, then tasks_leased, which SQLite would not choose although a few rows are leased and thousands are
        // the job's. Jobs without a range of days end at the first.
        let waits = format!(
            "SELECT 1 FROM tasks WHERE host = ? AND kind = 'page' AND job = ? AND state IN ('ready', 'waiting') AND due BETWEEN 1 AND {LAST_PLACE}"
        );
        let walks = "SELECT 1 FROM tasks INDEXED BY tasks_leased WHERE state = 'leased' AND kind = 'page' AND job = ? AND item IS NULL";
        Ok(self.db.prepare_cached(&waits)?.exists((&claim.host, job))?
            && !self.db.prepare_cached(walks)?.exists([job])?)
    }

    /// Whether other pages of the job's listing are to be asked, now that the walk of one day has ended.
    pub(super) fn walks_on(&self, lease: &Lease, host: &str) -> Result<bool, Error> {
        // Uses tasks_open. A page that is being asked has no second beside it.
        let sql = "SELECT 1 FROM tasks WHERE host = ? AND kind = 'page' AND job = ? AND state IN ('ready', 'waiting') AND item IS NULL LIMIT 1";
        Ok(self.db.prepare_cached(sql)?.exists((host, lease.job))?)
    }

    /// Queues the walks that a run lacks: of a new one all but the days that are remembered, of one that is taken up
    /// those that it does not know yet. Returns how many days were left out as remembered.
    pub(super) fn queue_walks(
        &mut self,
        lease: &Lease,
        walks: &Walks,
        host: &str,
        taken_up: bool,
    ) -> Result<usize, Error> {
        if taken_up && !walks.dated {
            return Ok(0);
        }
        let whole = match walks.days {
            Some(walk) if !walks.full => remembered(self.db, walk)?,
            _ => BTreeSet::new(),
        };
        let known = if taken_up {
            self.walked(lease)?
        } else {
            BTreeSet::new()
        };
        let mut left_out = 0;
        for first in &walks.firsts {
            if first.day.is_some_and(|day| whole.contains(&day.date)) {
                left_out += 1;
            } else if !known.contains(&first.params) {
                catalog::queue_page(self, lease, first, host, None)?;
            }
        }
        Ok(left_out)
    }

    /// The parameters of the walks that a run has in the queue, or has done.
    fn walked(&self, lease: &Lease) -> Result<BTreeSet<Values>, Error> {
        let sql = "SELECT payload FROM tasks WHERE job = ? AND kind = 'page' AND run = ? AND item IS NULL";
        let mut select = self.db.prepare_cached(sql)?;
        let rows = select.query_map((lease.job, lease.run), |row| row.get::<_, String>(0))?;
        let params = |payload: String| {
            let page: Result<PageTask, _> = serde_json::from_str(&payload);
            page.map(|page| page.params)
                .map_err(|_| Error::Damaged("a page of the queue".to_owned()))
        };
        rows.map(|row| params(row?)).collect()
    }

    /// Puts back what a job with a range of days could not have of days that it may never walk again: files and
    /// follow-ups, as often as walks would ask for them.
    pub(super) fn ask_again(&mut self, lease: &Lease) -> Result<(), Error> {
        let again = wanted::asked_again();
        let files = format!(
            "UPDATE files SET state = 'waiting', class = NULL WHERE (item, role, idx) IN (
               SELECT item, role, idx FROM tasks WHERE job = ? AND kind = 'file' AND state = 'failed' AND host <> '' AND {again})"
        );
        self.db.prepare_cached(&files)?.execute([lease.job])?;
        let tasks = format!(
            "UPDATE tasks SET state = 'ready', run = ?2, due = 0, tries = 0
             WHERE job = ?1 AND kind = ?3 AND state = 'failed' AND host <> '' AND item IS NOT NULL AND {again}"
        );
        let mut update = self.db.prepare_cached(&tasks)?;
        let mut put_back = |kind| -> Result<i64, Error> {
            let count = update.execute((lease.job, lease.run, kind))?;
            Ok(i64::try_from(count).unwrap_or(i64::MAX))
        };
        let (pages, files) = (put_back("page")?, put_back("file")?);
        let run = self.changes.run(lease.run);
        run.pages_waiting += pages;
        run.files_waiting += files;
        Ok(())
    }
}
