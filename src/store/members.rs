//! Members: which items belong to which jobs.
//!
//! An item joins a job when the job's own listing shows it, or when a follow-up brings it with files that the job wants;
//! comments and notes are found through what they belong to. **Invariant:** nothing is said to have left except after a
//! walk from the top that ended whole, and only what a listing showed before can be missed by one.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{Error, Group, Lease, Reader};
use crate::clock::rfc3339;

/// How a page came to show an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The job's own listing has it.
    Listed,
    /// A follow-up brought it.
    Followed,
}

/// The line that says that an item belongs to a job from now on, or does not any more.
#[derive(Serialize)]
struct MemberLine<'a> {
    v: u32,
    #[serde(rename = "type")]
    line: &'static str,
    seq: u64,
    seen: String,
    job: &'a str,
    site: &'a str,
    kind: &'a str,
    id: &'a str,
    /// Only a follow-up showed it: no walk can tell that it left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    followed: bool,
}

/// An item by its row and by its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub row: i64,
    pub site: &'a str,
    pub kind: &'a str,
    pub id: &'a str,
}

/// Notes that a page of the job showed an item. The line of one that joins is part of the same act.
pub(super) fn saw(
    group: &mut Group<'_>,
    lease: &Lease,
    item: Named<'_>,
    shown: Shown,
) -> Result<(), Error> {
    let sql = "SELECT run, left FROM members WHERE job = ? AND item = ?";
    let known: Option<(Option<i64>, Option<i64>)> = group
        .db
        .prepare_cached(sql)?
        .query_row((lease.job, item.row), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let listed = shown == Shown::Listed;
    let run = listed.then_some(lease.run);
    match known {
        // What has left was listed once; that it is found in another way does not bring it back into the listing.
        Some(_) if !listed => return Ok(()),
        Some((last, None)) if last == run => return Ok(()),
        Some((_, None)) => {
            let sql = "UPDATE members SET run = ?3 WHERE job = ?1 AND item = ?2";
            let mut update = group.db.prepare_cached(sql)?;
            update.execute((lease.job, item.row, run))?;
            return Ok(());
        }
        Some((_, Some(_))) | None => {}
    }
    group
        .db
        .prepare_cached(
            "INSERT INTO members (job, item, joined, run) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (job, item) DO UPDATE SET joined = excluded.joined, run = excluded.run, left = NULL",
        )?
        .execute(params![lease.job, item.row, group.now, run])?;
    let job = name_of(group, lease.job)?;
    append(group, "joined", &job, item, !listed);
    Ok(())
}

/// Says of every member that the whole walk of a run did not show that it has left.
///
/// A site that hides things for a while shows a listing that is cut short. So a walk that misses more than it shows is
/// believed only as far as the whole walk before it missed the same.
pub(super) fn leave(group: &mut Group<'_>, job: i64, run: i64) -> Result<(), Error> {
    let sql = "SELECT whole <> 0 AND items_failed = 0 AND wall IS NULL, coalesce(total - filtered, 0) FROM runs WHERE id = ?";
    let (whole, least): (bool, i64) = group
        .db
        .prepare_cached(sql)?
        .query_row([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !whole {
        return Ok(());
    }
    let sql = "SELECT count(*) FILTER (WHERE run = ?2), count(*) FILTER (WHERE run < ?2) FROM members WHERE job = ?1 AND left IS NULL";
    let (shown, missed): (i64, i64) = group
        .db
        .prepare_cached(sql)?
        .query_row((job, run), |row| Ok((row.get(0)?, row.get(1)?)))?;
    // The site itself says that there are more than it showed.
    if missed == 0 || shown < least {
        return Ok(());
    }
    let mut before = run;
    if missed > shown {
        let sql = "SELECT max(id) FROM runs WHERE job = ? AND id < ? AND whole AND result = 'done'";
        let last: Option<i64> = group
            .db
            .prepare_cached(sql)?
            .query_row((job, run), |row| row.get(0))?;
        before = last.unwrap_or(0);
    }
    let sql =
        "UPDATE members SET left = ?3 WHERE job = ?1 AND left IS NULL AND run < ?2 RETURNING item";
    let mut update = group.db.prepare_cached(sql)?;
    let rows = update.query_map((job, before, group.now), |row| row.get(0))?;
    let mut items: Vec<i64> = rows.collect::<Result<_, _>>()?;
    items.sort_unstable();
    let job = name_of(group, job)?;
    let mut select = group
        .db
        .prepare_cached("SELECT site, kind, ident FROM items WHERE id = ?")?;
    for row in items {
        let (site, kind, id): (String, String, String) =
            select.query_row([row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (site, kind, id) = (site.as_str(), kind.as_str(), id.as_str());
        append(
            group,
            "left",
            &job,
            Named {
                row,
                site,
                kind,
                id,
            },
            false,
        );
    }
    Ok(())
}

fn name_of(group: &Group<'_>, job: i64) -> Result<String, Error> {
    let sql = "SELECT name FROM jobs WHERE id = ?";
    Ok(group
        .db
        .prepare_cached(sql)?
        .query_row([job], |row| row.get(0))?)
}

fn append(group: &mut Group<'_>, line: &'static str, job: &str, item: Named<'_>, followed: bool) {
    let line = MemberLine {
        v: 1,
        line,
        seq: group.log.next_seq(),
        seen: rfc3339(group.now),
        job,
        site: item.site,
        kind: item.kind,
        id: item.id,
        followed,
    };
    group.log.append(&line);
    group.changes.records += 1;
}

/// Where the newest record of an item stands, and for which job it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Bytes before it in the record log.
    pub place: u64,
    /// The item's row: rows rise in the order in which items were first met.
    pub item: i64,
    /// The job's row, where jobs were asked for.
    pub job: Option<i64>,
}

impl Reader {
    /// Whether the database knows members: one that only an older larder wrote does not until the next run.
    fn knows_members(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'members')";
        Ok(self.db.query_row(sql, [], |row| row.get(0))?)
    }

    /// Every job by its row, with how many items have ever joined it.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn members(&self) -> Result<Vec<(i64, String, i64)>, Error> {
        let count = if self.knows_members()? {
            "SELECT count(*) FROM members WHERE job = jobs.id"
        } else {
            "SELECT 0"
        };
        let sql = format!("SELECT id, name, ({count}) FROM jobs ORDER BY id");
        let mut select = self.db.prepare(&sql)?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest records in the order of their places; only of items that have ever joined one of `jobs`, if there are
    /// any. With `by_job` an item comes once for each of its jobs, else once.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn placed(&self, jobs: &[i64], by_job: bool) -> Result<Vec<Placed>, Error> {
        let known = self.knows_members()?;
        let list: Vec<_> = jobs.iter().map(ToString::to_string).collect();
        let from = match (jobs.is_empty(), by_job) {
            (false, _) if !known => return Ok(Vec::new()),
            (true, true) if known => {
                "items i LEFT JOIN members m ON m.item = i.id WHERE".to_owned()
            }
            (true, _) => "items i LEFT JOIN (SELECT NULL AS job) m WHERE".to_owned(),
            (false, _) => format!(
                "members m JOIN items i ON i.id = m.item WHERE m.job IN ({}) AND",
                list.join(", ")
            ),
        };
        let job = if by_job { "m.job" } else { "NULL" };
        let sql = format!(
            "SELECT DISTINCT i.place, i.id, {job} FROM {from} i.place IS NOT NULL ORDER BY 1, 3"
        );
        let mut select = self.db.prepare(&sql)?;
        let rows = select.query_map([], |row| {
            Ok(Placed {
                place: row.get::<_, i64>(0)?.unsigned_abs(),
                item: row.get(1)?,
                job: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
