//! What whole walks tell is gone, where the site itself says nothing of it.
//!
//! **Invariant:** one walk proves nothing. An item is gone when a whole walk of its listing did not show it and the site
//! counts fewer than before, there or in the job's own listing; or when two whole walks of different runs did not.

use rusqlite::params;

use super::{Error, Group, Lease, catalog};
use crate::{
    archive::Digest,
    dialect::{Item, is_short},
};

/// A page of a listing whose whole walk tells what is gone.
#[derive(Debug)]
pub struct CensusPage {
    /// Tells the listing from others of the job.
    pub key: Digest,
    /// The kind of items that are counted.
    pub kind: String,
    /// Entries, as this page says.
    pub total: Option<u64>,
    /// How many of these the walk has shown with this page.
    pub stood: u64,
    /// Whether nothing can have slid from page to page unseen.
    pub steady: bool,
}

/// Where the listing of a page stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread(i64);

/// Begins to count a page: keeps what the site says that there is.
pub(super) fn begin(
    group: &mut Group<'_>,
    lease: &Lease,
    page: &CensusPage,
    own: bool,
    of: Option<i64>,
) -> Result<Thread, Error> {
    let total = page.total.and_then(|total| i64::try_from(total).ok());
    let sql = "INSERT INTO threads (job, key, own, total, of) VALUES (?1, ?2, ?3, ?4, ?6)
               ON CONFLICT (job, key) DO UPDATE
               SET total = coalesce(excluded.total, total), of = coalesce(excluded.of, of),
                   fell = CASE WHEN excluded.total < total THEN ?5 ELSE fell END
               RETURNING id";
    let mut insert = group.db.prepare_cached(sql)?;
    let values = params![lease.job, page.key, own, total, lease.run, of];
    let id = insert.query_row(values, |row| row.get(0))?;
    Ok(Thread(id))
}

/// Notes that the listing shows an item.
pub(super) fn saw(
    group: &mut Group<'_>,
    run: i64,
    thread: Thread,
    site: &str,
    kind: &str,
    id: &str,
) -> Result<(), Error> {
    // `WHERE TRUE`: otherwise SQLite would read the conflict as a join.
    let sql = "INSERT INTO census (thread, item, run)
               SELECT ?1, id, ?2 FROM items WHERE site = ?3 AND kind = ?4 AND ident = ?5 AND TRUE
               ON CONFLICT (thread, item) DO UPDATE SET run = excluded.run, missed = 0, last = NULL";
    let mut insert = group.db.prepare_cached(sql)?;
    insert.execute(params![thread.0, run, site, kind, id])?;
    Ok(())
}

/// Ends a walk: what it did not show is missed, or gone. `of` is the item that the listing belongs to.
pub(super) fn end(
    group: &mut Group<'_>,
    lease: &Lease,
    thread: Thread,
    page: &CensusPage,
    of: Option<i64>,
) -> Result<(), Error> {
    let Some(total) = page.total else {
        return Ok(());
    };
    // Where the site shows this reader only a part, or the pages moved, what was not shown may well be there.
    if is_short(page.stood, total) || !page.steady {
        return Ok(());
    }
    let fell: bool = group
        .db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM threads WHERE job = ?1 AND fell = ?2 AND (id = ?3 OR own))")?
        .query_row((lease.job, lease.run, thread.0), |row| row.get(0))?;
    let sql = "SELECT c.item, c.missed, i.site, i.kind, i.ident FROM census c JOIN items i ON i.id = c.item
               WHERE c.thread = ?1 AND c.run <> ?2 AND i.run <> ?2 AND c.last IS NOT ?2 AND i.gone IS NULL
               ORDER BY c.item";
    let missed = {
        let mut select = group.db.prepare_cached(sql)?;
        let rows = select.query_map((thread.0, lease.run), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, String>(4)?,
            ))
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    if missed.is_empty() {
        return Ok(());
    }
    for (item, before, site, kind, ident) in missed {
        group
            .db
            .prepare_cached(
                "UPDATE census SET missed = missed + 1, last = ?3 WHERE thread = ?1 AND item = ?2",
            )?
            .execute((thread.0, item, lease.run))?;
        let why = match (fell, before > 0) {
            (true, _) => {
                "not shown any more by a whole walk, and the site counts fewer than before"
            }
            (false, true) => "not shown any more by two whole walks",
            (false, false) => continue,
        };
        let bare = Item::bare(&kind, &ident);
        catalog::missing(group, lease.run, item, &site, &bare, why)?;
        bury_below(group, lease, item)?;
    }
    if let Some(of) = of {
        // What it belongs to says nothing new, perhaps, and is looked at again all the same.
        group
            .db
            .prepare_cached("DELETE FROM said WHERE item = ?")?
            .execute([of])?;
    }
    Ok(())
}

/// What answers something that is gone went with it: no listing shows it any more.
fn bury_below(group: &mut Group<'_>, lease: &Lease, of: i64) -> Result<(), Error> {
    let sql = "SELECT i.id, i.site, i.kind, i.ident FROM threads t JOIN census c ON c.thread = t.id JOIN items i ON i.id = c.item
               WHERE t.job = ?1 AND t.of = ?2 AND i.gone IS NULL AND i.run <> ?3 ORDER BY i.id";
    let below = {
        let mut select = group.db.prepare_cached(sql)?;
        let rows = select.query_map((lease.job, of, lease.run), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for (item, site, kind, ident) in below {
        let bare = Item::bare(&kind, &ident);
        let why = "what it answers is gone, and nothing shows it any more";
        catalog::missing(group, lease.run, item, &site, &bare, why)?;
    }
    Ok(())
}

/// What the site counts and what the archive holds, where they differ: in words, with the likely reason.
pub(super) fn difference(group: &Group<'_>, job: i64) -> Result<Option<String>, Error> {
    let sql =
        "SELECT DISTINCT total FROM threads WHERE job = ? AND own AND total IS NOT NULL ORDER BY 1";
    let totals = {
        let mut select = group.db.prepare_cached(sql)?;
        let rows = select.query_map([job], |row| row.get(0))?;
        rows.collect::<Result<Vec<i64>, _>>()?
    };
    let Some(total) = totals.last() else {
        return Ok(None);
    };
    // Nothing is in two of these listings at once.
    let sql = "SELECT count(*) FROM threads t JOIN census c ON c.thread = t.id JOIN items i ON i.id = c.item
               WHERE t.job = ? AND i.gone IS NULL";
    let held: i64 = group
        .db
        .prepare_cached(sql)?
        .query_row([job], |row| row.get(0))?;
    let counts: Vec<_> = totals.iter().map(i64::to_string).collect();
    let counts = counts.join(" in one place and ");
    Ok(match held.cmp(total) {
        std::cmp::Ordering::Equal if totals.len() == 1 => None,
        std::cmp::Ordering::Equal => Some(format!(
            "the site counts {counts}, and {held} were shown: one of its counts is behind"
        )),
        std::cmp::Ordering::Less => Some(format!(
            "the site counts {counts}, and {held} were shown: it may still count what was deleted, or hide some from this reader"
        )),
        std::cmp::Ordering::Greater => Some(format!(
            "the site counts {counts}, and {held} are archived: some may be deleted, which no walk has proven yet"
        )),
    })
}
