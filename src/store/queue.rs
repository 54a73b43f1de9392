//! The queue: claim, renew, release, fail. A claim is a lease; a result is taken only with the lease's token.

use std::sync::LazyLock;

use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Day, Error, Group, catalog, counts::RunCounts, damage::held, days::LAST_PLACE};
use crate::{
    archive::Digest,
    class::Class,
    clock::{Millis, rfc3339},
    dialect::{Position, Values},
};

/// A task that was under way in so many deaths of larder is tried alone: so an innocent bystander is told from the killer.
const SUSPECT: u32 = 2;
/// How soon suspects are looked for again: they wait for others, and for each other, to end.
const SUSPECTS_WAIT: Millis = 50;
/// No wait of a task is longer; one that is was made by a clock that was wrong.
const LONGEST_WAIT: Millis = 24 * 60 * 60_000;
/// How long a claim holds unless it is renewed.
pub(super) const LEASE: Millis = 60_000;

/// A claim on one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: i64,
    /// Its job.
    pub job: i64,
    /// Its run.
    pub run: i64,
    /// What proves the claim.
    pub token: i64,
}

/// A claimed task.
#[derive(Debug)]
pub struct Task {
    /// The claim.
    pub lease: Lease,
    /// Tries that counted and failed.
    pub tries: u32,
    /// What to do.
    pub work: Work,
}

/// What a task asks for.
#[derive(Debug)]
pub enum Work {
    /// One page of an endpoint.
    Page(PageTask),
    /// One file.
    File(FileTask),
}

/// A page to ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageTask {
    /// The endpoint.
    pub endpoint: String,
    /// Its parameters.
    pub params: Values,
    /// Where the walk stands.
    pub at: Position,
    /// How many follow-ups led here: 0 for the job's own listing.
    #[serde(default)]
    pub depth: u32,
    /// The site's name, where it is not the job's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Whether the item that it completes is not whole without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needed: bool,
    /// The day that this walk is of, where the job walks a range of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The item that this page completes.
    #[serde(skip)]
    pub item: Option<i64>,
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct FileTask {
    /// Its item's row.
    pub item: i64,
    /// The id of its item's site.
    pub site: String,
    /// Its role.
    pub role: String,
    /// Its place among the files of this role.
    pub index: u32,
    /// Where it is.
    pub url: String,
    /// The hash by which the site names the bytes, in lower-case hex: its length tells which.
    pub named: Option<String>,
    /// An object of this name that came meanwhile: no request is needed.
    pub held: Option<Digest>,
    /// What is held of it, and whether that has changed is what is asked.
    pub old: Option<Old>,
    /// The item's normal form while it is a draft, for what the listing promised about the file.
    pub draft: Option<String>,
}

/// Bytes that are held under an address, and what the site said of them.
#[derive(Debug, Clone)]
pub struct Old {
    /// As it was sent.
    pub etag: Option<String>,
    /// As it was sent.
    pub modified: Option<String>,
}

/// What to claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// From this host's tasks.
    pub host: String,
    /// Pages or files.
    pub pages: bool,
    /// Of these jobs.
    pub jobs: Vec<i64>,
    /// Of these only pages that complete an item: their walk may not go on.
    pub limited: Vec<i64>,
    /// This many at most.
    pub most: u32,
}

/// What a claim brought.
#[derive(Debug)]
pub struct Claimed {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// When the next one is due, where fewer were ready than asked for.
    pub next_due: Option<Millis>,
}

/// What became of a task that did not succeed.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Tried again after this many milliseconds. `counted` tries bring it nearer to being given up.
    Again {
        /// The wait.
        wait: Millis,
        /// Whether the try counts.
        counted: bool,
    },
    /// Given up.
    Failed,
    /// Back into the queue while the job waits for a person.
    JobWaits,
}

/// Why a task did not succeed, as `failures` shows it.
#[derive(Debug, Clone)]
pub struct Why {
    /// The class.
    pub class: Class,
    /// What happened, for people; no secrets.
    pub message: String,
    /// What was asked for, where the task does not know it; no secrets.
    pub url: Option<String>,
}

/// The key of a page task: what makes two requests the same.
pub fn page_key(task: &PageTask) -> String {
    let at = (&task.at.cursor, task.at.again, task.at.pass);
    let text = match &task.site {
        None => serde_json::to_vec(&(&task.endpoint, &task.params, at)),
        Some(site) => serde_json::to_vec(&(&task.endpoint, &task.params, at, site)),
    };
    let text = text.expect("plain JSON values");
    hex::encode(&Digest::of(&text).as_bytes()[..16])
}

/// Hosts with open tasks of a job: from one host to the next by tasks_open. However many tasks there are, there are few hosts.
const HOSTS: &str = "WITH RECURSIVE next(host) AS (
       SELECT min(host) FROM tasks WHERE state IN ('ready', 'waiting')
       UNION ALL
       SELECT (SELECT min(t.host) FROM tasks t WHERE t.state IN ('ready', 'waiting') AND t.host > next.host)
       FROM next WHERE next.host IS NOT NULL)
     SELECT host FROM next
     WHERE host IS NOT NULL AND EXISTS (
       SELECT 1 FROM tasks t
       WHERE t.host = next.host AND t.kind IN ('page', 'file') AND t.job = ? AND t.state IN ('ready', 'waiting'))";
/// Lets a job's tasks at a host wait no longer; days keep their places. Uses tasks_open.
pub(super) static WAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE tasks SET due = 0
         WHERE host = ?1 AND kind IN ('page', 'file') AND job = ?2 AND due > {LAST_PLACE} AND state IN ('ready', 'waiting')"
    )
});

impl Group<'_> {
    /// Claims tasks, oldest first, pages before files in the order that callers ask.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn claim(&mut self, claim: &Claim) -> Result<Claimed, Error> {
        let token = fastrand::i64(1..);
        let mut tasks = Vec::new();
        let mut next_due = None;
        // Each job in turn, beginning with another one each time: a long queue of one is no wait for the others.
        let first = usize::try_from(token).unwrap_or(0) % claim.jobs.len().max(1);
        for job in claim.jobs.iter().cycle().skip(first).take(claim.jobs.len()) {
            let most = claim.most as usize - tasks.len();
            if most == 0 {
                break;
            }
            let mut found = self.claim_of(claim, *job, most, token, false, &mut tasks)?;
            if found < most && self.may_begin_day(claim, *job, &tasks[tasks.len() - found..])? {
                found += self.claim_of(claim, *job, 1, token, true, &mut tasks)?;
            }
            if found < most {
                let due = self.next_due(claim, *job)?;
                next_due = [next_due, due].into_iter().flatten().min();
            }
        }
        if tasks.is_empty() {
            let due = self.claim_suspect(claim, token, &mut tasks)?;
            next_due = [next_due, due].into_iter().flatten().min();
        }
        let mut update = self.db.prepare_cached(
            "UPDATE tasks SET state = 'leased', token = ?2, lease = ?3 WHERE id = ?1",
        )?;
        for task in &tasks {
            update.execute((task.lease.task, token, self.now + LEASE))?;
        }
        Ok(Claimed { tasks, next_due })
    }

    /// Finds tasks of one job, oldest first, or days that wait to be walked, newest first.
    fn claim_of(
        &self,
        claim: &Claim,
        job: i64,
        most: usize,
        token: i64,
        days: bool,
        tasks: &mut Vec<Task>,
    ) -> Result<usize, Error> {
        let between = if days { "BETWEEN" } else { "NOT BETWEEN" };
        let which = format!("t.crashes < {SUSPECT} AND t.due {between} 1 AND {LAST_PLACE}");
        self.find(claim, job, &which, most, token, tasks)
    }

    /// Finds one task that larder may have died of, when nothing else is left or under way. Returns when to look for more of them.
    fn claim_suspect(
        &self,
        claim: &Claim,
        token: i64,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Millis>, Error> {
        let kind = if claim.pages { "page" } else { "file" };
        // Uses tasks_suspect, which is empty but for a short time after deaths.
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM tasks WHERE crashes >= {SUSPECT} AND job = ? AND host = ? AND kind = '{kind}'
             AND state IN ('ready', 'waiting') AND due <= ?)"
        );
        for job in &claim.jobs {
            let mut there = self.db.prepare_cached(&sql)?;
            if !there.query_row((job, &claim.host, self.now), |row| row.get(0))? {
                continue;
            }
            let others = format!(
                "SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 'leased')
                     OR EXISTS (SELECT 1 FROM tasks WHERE host = ?1 AND kind IN ('page', 'file') AND job = ?2 AND due <= ?3
                                AND due NOT BETWEEN 1 AND {LAST_PLACE}
                                AND state IN ('ready', 'waiting') AND crashes < {SUSPECT})"
            );
            let mut others = self.db.prepare_cached(&others)?;
            if !others.query_row((&claim.host, job, self.now), |row| row.get(0))? {
                let which = format!("t.crashes >= {SUSPECT}");
                self.find(claim, *job, &which, 1, token, tasks)?;
            }
            return Ok(Some(self.now + SUSPECTS_WAIT));
        }
        Ok(None)
    }

    /// Finds tasks of one job that are ready, oldest first. Uses tasks_open; the left joins find a file's row and what is
    /// known of it.
    fn find(
        &self,
        claim: &Claim,
        job: i64,
        which: &str,
        most: usize,
        token: i64,
        tasks: &mut Vec<Task>,
    ) -> Result<usize, Error> {
        let kind = if claim.pages { "page" } else { "file" };
        let limited = if claim.pages && claim.limited.contains(&job) {
            "AND t.item IS NOT NULL"
        } else {
            ""
        };
        let sql = format!(
            "SELECT t.id, t.job, t.run, t.tries, t.payload, t.item, t.role, t.idx, f.url, f.md5, i.draft,
                    f.object IS NOT NULL, f.etag, f.modified, i.site
             FROM tasks t
             LEFT JOIN files f ON f.item = t.item AND f.role = t.role AND f.idx = t.idx
             LEFT JOIN items i ON i.id = t.item AND t.kind = 'file'
             WHERE t.host = ?1 AND t.kind = '{kind}' AND t.job = ?4 AND t.state IN ('ready', 'waiting') AND t.due <= ?2 AND {which} {limited}
             ORDER BY t.due, t.id
             LIMIT ?3"
        );
        let mut select = self.db.prepare_cached(&sql)?;
        let mut rows = select.query(params![claim.host, self.now, most as i64, job])?;
        let before = tasks.len();
        while let Some(row) = rows.next()? {
            let lease = Lease {
                task: row.get(0)?,
                job: row.get(1)?,
                run: row.get(2)?,
                token,
            };
            let work = if claim.pages {
                let payload: String = row.get(4)?;
                let mut page: PageTask = serde_json::from_str(&payload)
                    .map_err(|_| Error::Damaged(format!("task {}", lease.task)))?;
                page.item = row.get(5)?;
                Work::Page(page)
            } else {
                let md5: Option<Vec<u8>> = row.get(9)?;
                Work::File(FileTask {
                    item: row.get(5)?,
                    site: row.get::<_, Option<String>>(14)?.unwrap_or_default(),
                    role: row.get(6)?,
                    index: row.get(7)?,
                    url: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
                    held: md5
                        .as_deref()
                        .map(|md5| held(self, md5))
                        .transpose()?
                        .flatten(),
                    named: md5.map(hex::encode),
                    old: row
                        .get::<_, Option<bool>>(11)?
                        .filter(|held| *held)
                        .map(|_| {
                            Ok::<_, rusqlite::Error>(Old {
                                etag: row.get(12)?,
                                modified: row.get(13)?,
                            })
                        })
                        .transpose()?,
                    draft: row.get(10)?,
                })
            };
            tasks.push(Task {
                lease,
                tries: row.get(3)?,
                work,
            });
        }
        Ok(tasks.len() - before)
    }

    /// When the next waiting task of one job is due.
    fn next_due(&self, claim: &Claim, job: i64) -> Result<Option<Millis>, Error> {
        let kind = if claim.pages { "page" } else { "file" };
        let sql = format!(
            "SELECT min(due) FROM tasks
             WHERE host = ?1 AND kind = '{kind}' AND job = ?3 AND state IN ('ready', 'waiting') AND due > ?2"
        );
        let mut select = self.db.prepare_cached(&sql)?;
        let row = (&claim.host, self.now, job);
        let due: Option<Millis> = select.query_row(row, |row| row.get(0))?;
        let Some(due) = due.filter(|due| *due > self.now + 2 * LONGEST_WAIT) else {
            return Ok(due);
        };
        // Nothing waits for so long: the clock was wrong when this was written, or is now.
        let sql = format!(
            "UPDATE tasks SET due = ?1
             WHERE host = ?2 AND kind = '{kind}' AND job = ?3 AND state IN ('ready', 'waiting') AND due > ?4"
        );
        tracing::warn!("Tasks waited until {}: the clock has jumped", rfc3339(due));
        self.db.prepare_cached(&sql)?.execute((
            self.now,
            &claim.host,
            job,
            self.now + LONGEST_WAIT,
        ))?;
        Ok(Some(self.now))
    }

    /// Renews claims, and takes back those of workers that do not answer any more.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn renew(&mut self, tokens: &[i64]) -> Result<(), Error> {
        let mut renew = self
            .db
            .prepare_cached("UPDATE tasks SET lease = ?2 WHERE state = 'leased' AND token = ?1")?;
        for token in tokens {
            renew.execute((token, self.now + LEASE))?;
        }
        // One that ends later than any claim can was made before the clock jumped back.
        self.db
            .prepare_cached("UPDATE tasks SET state = 'ready', token = NULL, lease = NULL WHERE state = 'leased' AND (lease < ?1 OR lease > ?1 + ?2)")?
            .execute((self.now, LEASE))?;
        self.sign_of_life()
    }

    /// Puts claimed tasks back untouched.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn release(&mut self, leases: &[Lease]) -> Result<(), Error> {
        let sql = "UPDATE tasks SET state = 'ready', token = NULL, lease = NULL WHERE id = ? AND token = ?";
        let mut update = self.db.prepare_cached(sql)?;
        for lease in leases {
            update.execute((lease.task, lease.token))?;
        }
        Ok(())
    }

    /// The object that a site names by this hash (lower-case hex), if one is held.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn held(&self, named: &str) -> Result<Option<Digest>, Error> {
        hex::decode(named).map_or(Ok(None), |named| held(self, &named))
    }

    /// Whether pages that complete items are in the queue of a job, or any of its pages is claimed.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn works_on_pages(&self, job: i64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tasks WHERE kind = 'page' AND item IS NOT NULL AND job = ?1 AND state IN ('ready', 'waiting'))
                       OR EXISTS (SELECT 1 FROM tasks WHERE state = 'leased' AND kind = 'page' AND job = ?1)";
        Ok(self
            .db
            .prepare_cached(sql)?
            .query_row([job], |row| row.get(0))?)
    }

    /// Hosts with open tasks of these jobs, as (job, host).
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn hosts_of(&self, jobs: &[i64]) -> Result<Vec<(i64, String)>, Error> {
        let mut select = self.db.prepare_cached(HOSTS)?;
        let mut hosts = Vec::new();
        for job in jobs {
            for host in select.query_map([job], |row| row.get(0))? {
                hosts.push((*job, host?));
            }
        }
        Ok(hosts)
    }

    /// Whether the claim still holds.
    pub(super) fn holds(&self, lease: &Lease) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM tasks WHERE id = ? AND state = 'leased' AND token = ?";
        Ok(self
            .db
            .prepare_cached(sql)?
            .exists((lease.task, lease.token))?)
    }

    /// Records that a task did not succeed. Returns the host at which another address of the same
    /// bytes is asked instead, where there is one.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn fail(
        &mut self,
        lease: &Lease,
        why: &Why,
        verdict: &Verdict,
    ) -> Result<Option<String>, Error> {
        if !self.holds(lease)? {
            return Ok(None);
        }
        let state = match verdict {
            Verdict::Again { .. } => "waiting",
            Verdict::Failed => "failed",
            Verdict::JobWaits => "ready",
        };
        let (wait, counted) = match verdict {
            Verdict::Again { wait, counted } => (*wait, *counted),
            Verdict::Failed => (0, true),
            Verdict::JobWaits => (0, false),
        };
        let due = if wait > 0 { self.now + wait } else { 0 };
        self.db
            .prepare_cached(
                "UPDATE tasks
                 SET state = ?2, due = ?3, token = NULL, lease = NULL, tries = tries + ?4, rounds = rounds + ?5,
                     class = ?6, message = ?7, first_at = coalesce(first_at, ?8), last_at = ?8, url = coalesce(?9, url)
                 WHERE id = ?1",
            )?
            .execute(params![
                lease.task,
                state,
                due,
                i64::from(counted),
                i64::from(state == "failed"),
                why.class.word(),
                why.message,
                self.now,
                why.url
            ])?;
        match verdict {
            Verdict::JobWaits => {
                self.db
                    .prepare_cached("UPDATE jobs SET paused = ?2, message = ?3 WHERE id = ?1 AND paused IS NOT 'user'")?
                    .execute((lease.job, why.class.word(), &why.message))?;
            }
            Verdict::Failed => return self.give_up(lease, why.class),
            Verdict::Again { .. } => {}
        }
        Ok(None)
    }

    /// What giving a task up means for what it belongs to.
    fn give_up(&mut self, lease: &Lease, class: Class) -> Result<Option<String>, Error> {
        let sql = "SELECT kind, item, role, idx FROM tasks WHERE id = ?";
        let row = |row: &rusqlite::Row<'_>| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<i64>>(1)?,
                row.get::<_, Option<String>>(2)?,
                row.get::<_, Option<u32>>(3)?,
            ))
        };
        let (kind, item, role, index) =
            self.db.prepare_cached(sql)?.query_row([lease.task], row)?;
        if kind == "page" {
            let change = RunCounts {
                pages_waiting: -1,
                pages_failed: 1,
                ..RunCounts::default()
            };
            self.changes.run(lease.run).add(&change);
            if let Some(item) = item {
                catalog::finish_if_complete(self, lease.run, item)?;
            }
            return Ok(None);
        }
        let (Some(item), Some(role), Some(index)) = (item, role, index) else {
            return Err(Error::Damaged(format!("task {}", lease.task)));
        };
        super::files::give_up_file(self, lease, (item, &role, index), class)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{reads, schema},
        *,
    };

    #[test]
    fn a_start_looks_at_no_more_of_the_queue_than_it_must() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let db = schema::open_writer(&folder.path().join("larder.db")).expect("a database");
        for (sql, index) in [
            (HOSTS, "tasks_open"),
            (&**WAKE, "tasks_open"),
            (reads::FAILURES, "tasks_retried"),
            (reads::FAILURES, "tasks_failed"),
        ] {
            let mut explain = db
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .expect("a statement");
            for nth in 1..=explain.parameter_count() {
                explain.raw_bind_parameter(nth, 1).expect("bound");
            }
            let (mut rows, mut plan) = (explain.raw_query(), String::new());
            while let Some(row) = rows.next().expect("a row") {
                plan += &format!("{}\n", row.get::<_, String>(3).expect("a text"));
            }
            assert!(plan.contains(index), "{sql}\n{plan}");
            let whole = |line: &&str| {
                line.contains("SCAN") && line.contains("tasks") && !line.contains("INDEX")
            };
            assert_eq!(plan.lines().find(whole), None, "{sql}");
        }
    }
}
