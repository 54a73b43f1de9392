//! Runs: how one begins or is taken up again, and how it ends.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{Error, Group, Lease, PageTask, RunCounts, Store, catalog, census, members, queue};
use crate::{archive::Digest, class::Class, clock::rfc3339};

/// A job as the store needs to know it.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Its name: its identity.
    pub name: String,
    /// The site's name in the configuration.
    pub site: String,
    /// Its listing.
    pub listing: String,
    /// Its parameters as canonical JSON.
    pub params: String,
    /// Digest of what decides what a walk finds.
    pub walk: String,
    /// What a run of it walks.
    pub walks: Walks,
    /// Whether a walk that comes to its end has shown all that the listing holds.
    pub whole: bool,
    /// `host:port` of the site's pages.
    pub host: String,
    /// The names of all jobs of the configuration, to tell a renamed job from a new one.
    pub names: Vec<String>,
}

/// What a run walks: one listing, or that of each day of a range.
#[derive(Debug, Clone)]
pub struct Walks {
    /// The first page of each walk, the newest day first.
    pub firsts: Vec<PageTask>,
    /// What whole days are remembered under; `None` for a job without a range of days.
    pub days: Option<Digest>,
    /// Whether the parameters depend on the day of the run: one that is taken up later may lack walks.
    pub dated: bool,
    /// Whether days are walked although they are remembered.
    pub full: bool,
}

/// A run that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The job's row.
    pub job: i64,
    /// The run's row.
    pub run: i64,
    /// Hosts that have tasks of this job.
    pub hosts: Vec<String>,
    /// Days that are not walked because they are remembered.
    pub days_known: usize,
    /// Entries that the last walk met, if it was the same one and came to its end.
    pub earlier: Option<u64>,
}

/// Runs that may stop at the same page of a listing before the next one walks from the top again: what is new there
/// must not wait for a page that never heals. A site that cannot be reached at all is waited for.
const HEALING_ROUNDS: i64 = 2;

struct Last {
    id: i64,
    ended: bool,
    walk: String,
    full: bool,
}

impl Store {
    /// Begins a run of a job, or takes up the one that was interrupted.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin(&self, spec: JobSpec) -> Result<Begun, Error> {
        let (begun, counts) = self
            .write("begin a run", move |group| group.begin(&spec))
            .await?;
        self.set_counts(begun.run, counts);
        Ok(begun)
    }
}

impl Group<'_> {
    fn begin(&mut self, spec: &JobSpec) -> Result<(Begun, RunCounts), Error> {
        let job = self.job(spec)?;
        let last = self
            .db
            .prepare_cached("SELECT id, ended IS NOT NULL, walk, full FROM runs WHERE job = ? ORDER BY id DESC LIMIT 1")?
            .query_row([job], |row| Ok(Last { id: row.get(0)?, ended: row.get(1)?, walk: row.get(2)?, full: row.get(3)? }))
            .optional()?;
        // A full run of a range goes on only with what another full one has left.
        let same = |last: &Last| {
            last.walk == spec.walk && (last.full || !spec.walks.full || spec.walks.days.is_none())
        };
        let (run, taken_up) = match last {
            Some(last) if same(&last) && self.take_up(job, &last, &spec.walks)? => (last.id, true),
            last => (self.fresh(job, spec, last.as_ref())?, false),
        };
        let lease = Lease {
            task: 0,
            job,
            run,
            token: 0,
        };
        let days_known = self.queue_walks(&lease, &spec.walks, &spec.host, taken_up)?;
        // The counters are read as they will be committed: changes of this act are applied first.
        std::mem::take(&mut self.changes).apply(self.db)?;
        let sql = format!("SELECT {} FROM runs WHERE id = ?", RunCounts::COLUMNS);
        let counts = self
            .db
            .query_row(&sql, [run], |row| RunCounts::read(row, 0))?;
        let hosts = self.hosts_of(&[job])?;
        let begun = Begun {
            job,
            run,
            hosts: hosts.into_iter().map(|(_, host)| host).collect(),
            days_known,
            earlier: self.earlier(job, run, &spec.walk)?,
        };
        Ok((begun, counts))
    }

    /// Entries that the walk before `run` met. Of one that did not come to its end nothing is known, so that a listing that
    /// has really shrunk is believed in the end.
    fn earlier(&self, job: i64, run: i64, walk: &str) -> Result<Option<u64>, Error> {
        // Uses runs_of_job.
        let sql = "SELECT CASE WHEN result = 'done' AND walk = ?3 THEN total END
                   FROM runs WHERE job = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1";
        let total: Option<Option<i64>> = self
            .db
            .prepare_cached(sql)?
            .query_row((job, run, walk), |row| row.get(0))
            .optional()?;
        Ok(total.flatten().and_then(|total| total.try_into().ok()))
    }

    /// The job's row: the one of its name, or that of a vanished job that walks the same.
    fn job(&mut self, spec: &JobSpec) -> Result<i64, Error> {
        let named = "SELECT id FROM jobs WHERE name = ?";
        let id: Option<i64> = self
            .db
            .prepare_cached(named)?
            .query_row([&spec.name], |row| row.get(0))
            .optional()?;
        let id = match id {
            Some(id) => Some(id),
            None => {
                let mut same = self.db.prepare_cached(
                    "SELECT id, name FROM jobs WHERE site = ? AND listing = ? AND params = ?",
                )?;
                let rows = same.query_map((&spec.site, &spec.listing, &spec.params), |row| {
                    Ok((row.get(0)?, row.get::<_, String>(1)?))
                })?;
                let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
                rows.into_iter()
                    .find(|(_, name)| !spec.names.contains(name))
                    .map(|(id, _)| id)
            }
        };
        if let Some(id) = id {
            self.db
                .prepare_cached(
                    "UPDATE jobs SET name = ?2, site = ?3, listing = ?4, params = ?5, walk = ?6, paused = NULL, message = NULL, until = NULL
                     WHERE id = ?1",
                )?
                .execute(params![id, spec.name, spec.site, spec.listing, spec.params, spec.walk])?;
            return Ok(id);
        }
        let sql = "INSERT INTO jobs (name, site, listing, params, walk) VALUES (?, ?, ?, ?, ?) RETURNING id";
        let row = (
            &spec.name,
            &spec.site,
            &spec.listing,
            &spec.params,
            &spec.walk,
        );
        Ok(self
            .db
            .prepare_cached(sql)?
            .query_row(row, |row| row.get(0))?)
    }

    /// Takes up the last run, if it left anything to do: an interrupted one, or one whose walk stopped at a page that
    /// may work now.
    fn take_up(&mut self, job: i64, last: &Last, walks: &Walks) -> Result<bool, Error> {
        if !last.ended {
            let hosts = self.hosts_of(&[job])?;
            // A wait of yesterday is over: nobody wants to wait for it again.
            let mut wake = self.db.prepare_cached(&queue::WAKE)?;
            for (_, host) in &hosts {
                wake.execute((host, job))?;
            }
            drop(wake);
            if !hosts.is_empty() {
                if walks.days.is_some() {
                    // One day that failed is no reason to wait for the end of all the others.
                    let sql = "UPDATE tasks SET state = 'ready', due = 0, tries = 0
                               WHERE job = ? AND run = ? AND kind = 'page' AND item IS NULL AND state = 'failed'";
                    let pages = self.db.prepare_cached(sql)?.execute((job, last.id))?;
                    self.reopen(last.id, pages);
                }
                return Ok(true);
            }
            // Nothing is left of it: it ended unseen.
            let sql = "SELECT pages_failed FROM runs WHERE id = ?";
            let failed: i64 = self
                .db
                .prepare_cached(sql)?
                .query_row([last.id], |row| row.get(0))?;
            self.finish_run(job, last.id, if failed > 0 { "failed" } else { "done" })?;
        }
        if walks.days.is_some() {
            // A new run walks what is not remembered: the days that failed, and those that are new.
            return Ok(false);
        }
        let heals: Vec<_> = Class::ALL
            .iter()
            .filter(|c| c.heals())
            .map(|c| format!("'{c}'"))
            .collect();
        let sql = format!(
            "UPDATE tasks SET state = 'ready', due = 0, tries = 0
             WHERE job = ? AND run = ? AND kind = 'page' AND item IS NULL AND state = 'failed' AND (rounds < {HEALING_ROUNDS} OR class IN ('connect', 'dns', 'timeout'))
               AND class IN ({})",
            heals.join(", ")
        );
        let pages = self.db.prepare_cached(&sql)?.execute((job, last.id))?;
        if pages == 0 {
            return Ok(false);
        }
        self.db
            .prepare_cached("UPDATE runs SET ended = NULL, result = NULL WHERE id = ?")?
            .execute([last.id])?;
        self.reopen(last.id, pages);
        Ok(true)
    }

    /// Counts pages of a run that it had given up as waiting again.
    fn reopen(&mut self, run: i64, pages: usize) {
        let pages = i64::try_from(pages).unwrap_or(i64::MAX);
        let change = RunCounts {
            pages_waiting: pages,
            pages_failed: -pages,
            ..RunCounts::default()
        };
        self.changes.run(run).add(&change);
    }

    /// A new run, still without a page. What an abandoned one left of its walk is forgotten; its files are still fetched.
    fn fresh(&mut self, job: i64, spec: &JobSpec, last: Option<&Last>) -> Result<i64, Error> {
        let open = "SELECT 1 FROM runs WHERE id = ? AND ended IS NULL";
        let mut open = self.db.prepare_cached(open)?;
        if let Some(last) = last
            && open.exists([last.id])?
        {
            let sql = "DELETE FROM tasks WHERE job = ? AND kind = 'page' AND state IN ('ready', 'waiting') RETURNING item, needed";
            let mut delete = self.db.prepare_cached(sql)?;
            let items: Vec<(Option<i64>, bool)> = delete
                .query_map([job], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (item, needed) in items {
                // What it waited for is not asked any more: it is as complete as it gets.
                match item {
                    Some(item) if needed => catalog::leave(self, last.id, item)?,
                    Some(item) => catalog::finish_if_complete(self, last.id, item)?,
                    None => {}
                }
            }
            self.finish_run(job, last.id, "stopped")?;
        }
        let sql = "INSERT INTO runs (job, walk, started, full, whole) VALUES (?, ?, ?, ?, ?) RETURNING id";
        let full = spec.walks.full;
        let run = self
            .db
            .prepare_cached(sql)?
            .query_row((job, &spec.walk, self.now, full, spec.whole), |row| {
                row.get(0)
            })?;
        let sql = "UPDATE tasks SET run = ?2 WHERE job = ?1 AND kind = 'file' AND state IN ('ready', 'waiting')";
        let files = self.db.prepare_cached(sql)?.execute((job, run))?;
        self.changes.run(run).files_waiting += i64::try_from(files).unwrap_or(i64::MAX);
        if spec.walks.days.is_some() {
            let lease = Lease {
                task: 0,
                job,
                run,
                token: 0,
            };
            self.ask_again(&lease)?;
        }
        Ok(run)
    }

    /// Ends a run that has nothing left to do.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn end_run(&mut self, job: i64, run: i64) -> Result<(), Error> {
        let sql = "SELECT pages_failed, pages_waiting + files_waiting FROM runs WHERE id = ? AND ended IS NULL";
        let row = self
            .db
            .prepare_cached(sql)?
            .query_row([run], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?;
        match row {
            // Somebody else put a task back meanwhile, or ended it.
            None => Ok(()),
            Some((_, waiting)) if waiting > 0 => Ok(()),
            Some((failed, _)) => {
                self.finish_run(job, run, if failed > 0 { "failed" } else { "done" })
            }
        }
    }

    /// Folds a run: what is done leaves the queue, the counts stay; failed rows stay until they succeed.
    fn finish_run(&mut self, job: i64, run: i64, result: &'static str) -> Result<(), Error> {
        self.db
            .prepare_cached("DELETE FROM tasks WHERE job = ? AND state = 'done'")?
            .execute([job])?;
        let sql = "SELECT 1 FROM runs WHERE id = ? AND wall IS NOT NULL";
        let walled = self.db.prepare_cached(sql)?.exists([run])?;
        if result == "done" && !walled {
            // Entries that a whole walk did not meet again are gone, or are read now; its own pages have been passed.
            self.db
                .prepare_cached(
                    "DELETE FROM tasks WHERE job = ? AND run <> ? AND (kind = 'entry' OR (kind = 'page' AND item IS NULL AND state = 'failed'))",
                )?
                .execute((job, run))?;
            members::leave(self, job, run)?;
        }
        if result == "done"
            && let Some(difference) = census::difference(self, job)?
        {
            let sql = "UPDATE runs SET wall = coalesce(wall || '; ', '') || ?2 WHERE id = ?1";
            self.db.prepare_cached(sql)?.execute((run, difference))?;
        }
        let sql = "UPDATE runs SET ended = ?2, result = ?3 WHERE id = ?1";
        self.db
            .prepare_cached(sql)?
            .execute((run, self.now, result))?;
        let sql = "SELECT j.name, j.site, r.started, r.pages_done, r.seen, r.stored FROM runs r JOIN jobs j ON j.id = r.job WHERE r.id = ?";
        let line = self.db.prepare_cached(sql)?.query_row([run], |row| {
            Ok(RunLine {
                v: 1,
                line: "run",
                seq: self.log.next_seq(),
                seen: rfc3339(self.now),
                job: row.get(0)?,
                site: row.get(1)?,
                started: rfc3339(row.get(2)?),
                result,
                pages: row.get(3)?,
                items: row.get(4)?,
                files: row.get(5)?,
            })
        })?;
        self.log.append(&line);
        self.changes.records += 1;
        Ok(())
    }

    /// Holds a job, with the reason that `status` shows.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn pause(&mut self, job: i64, reason: &str, message: &str) -> Result<(), Error> {
        self.db
            .prepare_cached(
                "UPDATE jobs SET paused = ?2, message = ?3 WHERE id = ?1 AND paused IS NOT 'user'",
            )?
            .execute((job, reason, message))?;
        Ok(())
    }

    /// Lets a job go on that was held.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn resume(&mut self, job: i64) -> Result<(), Error> {
        self.db
            .prepare_cached("UPDATE jobs SET paused = NULL, message = NULL WHERE id = ?")?
            .execute([job])?;
        Ok(())
    }

    /// Keeps what a host asked for, so that it outlives this process.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn keep_host(
        &mut self,
        host: &str,
        until: Option<i64>,
        reason: &str,
        requests: i64,
        throttled: i64,
        streak: u32,
    ) -> Result<(), Error> {
        self.db
            .prepare_cached(
                "INSERT INTO hosts (host, until, reason, requests, throttled, streak) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (host) DO UPDATE SET until = excluded.until, reason = excluded.reason, streak = excluded.streak,
                   requests = requests + excluded.requests, throttled = throttled + excluded.throttled",
            )?
            .execute(params![host, until, reason, requests, throttled, streak])?;
        Ok(())
    }
}

/// The line that says that a run took place.
#[derive(Serialize)]
struct RunLine {
    v: u32,
    #[serde(rename = "type")]
    line: &'static str,
    seq: u64,
    seen: String,
    job: String,
    site: String,
    started: String,
    result: &'static str,
    pages: i64,
    items: i64,
    files: i64,
}
