//! The catalog: items as they are seen, merge, and become records.
//!
//! **Invariant:** a record is written when an item's last file and follow-up is stored or has failed, never before; the
//! same meaning twice adds nothing. A gone item is a tombstone beside its records, never an overwrite of them.

use jiff::civil::Date;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{
    Error, Group, Lease, PageTask, Seen,
    days::place,
    members::{self, Named, Shown},
    page_key, wanted,
};
use crate::{
    archive::{Digest, FileState, Record, record_digest},
    clock::rfc3339,
    dialect::{FileRef, Item},
};

/// One item as a page showed it.
pub(super) struct Sight<'a> {
    pub site: &'a str,
    pub seen: Seen,
    /// Roles of files that the job wants.
    pub roles: &'a [String],
    /// What showed it.
    pub endpoint: &'a str,
    /// Whether it is looked up again whatever is known.
    pub full: bool,
    /// The item that this page completes.
    pub completes: Option<i64>,
    /// The day that the walk is of, where a job walks a range of them.
    pub day: Option<Date>,
    /// Whether the page is one of the job's own listing.
    pub listed: bool,
}

struct Row {
    id: i64,
    run: i64,
    day: Option<String>,
    rev: u32,
    gone: Option<String>,
    draft: Option<String>,
}

/// Stores what a page showed of one item. Returns whether its walk sees it for the first time: a run has one walk, or one
/// for each day of a range.
pub(super) fn sight(group: &mut Group<'_>, lease: &Lease, sight: Sight<'_>) -> Result<bool, Error> {
    let Sight {
        site,
        seen,
        roles,
        endpoint,
        full,
        completes,
        day,
        listed,
    } = sight;
    let Seen {
        mut item,
        needs,
        with,
        said,
    } = seen;
    let leads = Leads {
        needs: &needs,
        with: &with,
    };
    let said = said.map(|digest| (endpoint, digest));
    let day = day.map(|day| day.to_string());
    item.files.retain(|file| roles.contains(&file.role));
    let row = group
        .db
        .prepare_cached(
            "SELECT id, run, rev, gone, draft, day FROM items WHERE site = ? AND kind = ? AND ident = ?",
        )?
        .query_row((site, &item.kind, &item.id), |row| {
            Ok(Row {
                id: row.get(0)?,
                run: row.get(1)?,
                rev: row.get(2)?,
                gone: row.get(3)?,
                draft: row.get(4)?,
                day: row.get(5)?,
            })
        })
        .optional()?;
    let first = row.as_ref().is_none_or(|row| row.run != lease.run);
    // Once in a run is enough.
    group.rechecks &= first;
    let new = first || day.is_some() && row.as_ref().is_some_and(|row| row.day != day);
    if first {
        group.changes.run(lease.run).seen += 1;
    }
    let Some(row) = row else {
        let id = group
            .db
            .prepare_cached(
                "INSERT INTO items (site, kind, ident, run, day) VALUES (?, ?, ?, ?, ?) RETURNING id",
            )?
            .query_row((site, &item.kind, &item.id, lease.run, &day), |row| row.get(0))?;
        group.changes.items += 1;
        let row = Row {
            id,
            run: lease.run,
            rev: 0,
            gone: None,
            draft: None,
            day,
        };
        keep_said(group, row.id, said)?;
        note_member(group, lease, id, site, &item, listed)?;
        return gather(group, lease, &row, site, item, &leads, true).map(|()| true);
    };
    if new {
        group
            .db
            .prepare_cached("UPDATE items SET run = ?, day = ? WHERE id = ?")?
            .execute((lease.run, day, row.id))?;
    }
    note_member(group, lease, row.id, site, &item, listed)?;
    if let Some(why) = item.gone.as_deref().filter(|_| row.rev > 0) {
        // What was known of it before it went is better than what is left: only the tombstone is new.
        if row.gone.is_none() {
            bury(group, lease.run, row.id, site, &item, why)?;
        } else if first {
            group.changes.run(lease.run).unchanged += 1;
        }
        return Ok(new);
    }
    // What a listing still shows may be gone all the same: a look-up has the last word.
    if row.gone.is_some() && needs.is_empty() {
        let line = Event {
            v: 1,
            line: "back",
            seq: group.log.next_seq(),
            seen: rfc3339(group.now),
            site,
            kind: &item.kind,
            id: &item.id,
            why: None,
            raw: None,
        };
        group.log.append(&line);
        group.changes.records += 1;
        group
            .db
            .prepare_cached("UPDATE items SET gone = NULL WHERE id = ?")?
            .execute([row.id])?;
    }
    if let Some((endpoint, digest)) = &said
        && !full
        && is_known(group, &row, endpoint, digest)?
    {
        // What completes it would say what it said before; what is wanted along with it may have changed.
        for (page, host) in leads.with {
            queue_page(group, lease, page, host, Some(row.id))?;
        }
        if !listed {
            // Found once more on the way of a follow-up, with the files that it has.
            saw(group, lease, row.id, site, &item, Shown::Followed)?;
        }
        group.changes.run(lease.run).unchanged += i64::from(first);
        return Ok(new);
    }
    keep_said(group, row.id, said)?;
    // What an earlier run could not complete is seen anew: its draft must not bring back what the site has removed. A
    // stub does not say what was removed.
    let draft = row
        .draft
        .as_ref()
        .filter(|_| !first || item.stub || completes == Some(row.id));
    let Some(draft) = draft else {
        if completes == Some(row.id) {
            // It became a record meanwhile: what is left to say about it alone is no item.
            return Ok(new);
        }
        if item.stub && row.rev > 0 {
            return meet(group, lease, &row, &item, &leads, first).map(|()| new);
        }
        return gather(group, lease, &row, site, item, &leads, first).map(|()| new);
    };
    let mut known: Item =
        serde_json::from_str(draft).map_err(|_| Error::Damaged(format!("item {}", row.id)))?;
    let open = queue_needs(group, lease, row.id, &item, &leads)?;
    known.merge(item);
    if open || waits(group, row.id)? {
        keep_draft(group, row.id, &known)?;
        return Ok(new);
    }
    finish(group, lease.run, row.id, site, &known, first)?;
    Ok(new)
}

/// Meets an item whose record says more than this stub does: only files that it lacks and follow-ups are news.
fn meet(
    group: &mut Group<'_>,
    lease: &Lease,
    row: &Row,
    item: &Item,
    leads: &Leads<'_>,
    first: bool,
) -> Result<(), Error> {
    queue_needs(group, lease, row.id, item, leads)?;
    let waiting = "SELECT EXISTS (SELECT 1 FROM files WHERE item = ? AND state = 'waiting')";
    if group
        .db
        .prepare_cached(waiting)?
        .query_row([row.id], |waits| waits.get(0))?
    {
        // What was kept while a file was missing says more than the stub: the record to come is made of that.
        return match row.draft {
            Some(_) => Ok(()),
            None => keep_draft(group, row.id, item),
        };
    }
    group.changes.run(lease.run).unchanged += i64::from(first);
    Ok(())
}

/// Notes that the item belongs to the job: its listing shows it, or a follow-up brought it with files of its own.
fn note_member(
    group: &mut Group<'_>,
    lease: &Lease,
    row: i64,
    site: &str,
    item: &Item,
    listed: bool,
) -> Result<(), Error> {
    let shown = match listed {
        true => Shown::Listed,
        false if item.files.is_empty() => return Ok(()),
        false => Shown::Followed,
    };
    saw(group, lease, row, site, item, shown)
}

fn saw(
    group: &mut Group<'_>,
    lease: &Lease,
    row: i64,
    site: &str,
    item: &Item,
    shown: Shown,
) -> Result<(), Error> {
    let named = Named {
        row,
        site,
        kind: &item.kind,
        id: &item.id,
    };
    members::saw(group, lease, named, shown)
}

/// The pages that an item leads to, each with its host.
struct Leads<'a> {
    needs: &'a [(PageTask, String)],
    with: &'a [(PageTask, String)],
}

/// Whether a whole item was last looked up when this endpoint said the same of it.
fn is_known(group: &Group<'_>, row: &Row, endpoint: &str, digest: &Digest) -> Result<bool, Error> {
    if row.rev == 0 || row.draft.is_some() || row.gone.is_some() {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM said WHERE item = ?1 AND endpoint = ?2 AND digest = ?3
               AND NOT EXISTS (SELECT 1 FROM files WHERE item = ?1
                                 AND (state <> 'held' OR EXISTS (SELECT 1 FROM damage d WHERE d.sha256 = object)))";
    let mut select = group.db.prepare_cached(sql)?;
    Ok(select.exists(params![row.id, endpoint, digest])?)
}

/// Remembers what was said of an item when its look-ups were queued.
fn keep_said(group: &Group<'_>, id: i64, said: Option<(&str, Digest)>) -> Result<(), Error> {
    if let Some((endpoint, digest)) = said {
        let sql = "INSERT INTO said VALUES (?1, ?2, ?3)
                   ON CONFLICT (item, endpoint) DO UPDATE SET digest = excluded.digest";
        let mut insert = group.db.prepare_cached(sql)?;
        insert.execute(params![id, endpoint, digest])?;
    }
    Ok(())
}

/// Queues what an item still needs; without a need it becomes a record at once.
fn gather(
    group: &mut Group<'_>,
    lease: &Lease,
    row: &Row,
    site: &str,
    item: Item,
    leads: &Leads<'_>,
    first: bool,
) -> Result<(), Error> {
    if queue_needs(group, lease, row.id, &item, leads)? {
        return keep_draft(group, row.id, &item);
    }
    finish(group, lease.run, row.id, site, &item, first)
}

/// Queues the files and pages that an item needs. Returns whether it must wait for any.
fn queue_needs(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    item: &Item,
    leads: &Leads<'_>,
) -> Result<bool, Error> {
    let mut open = false;
    for file in &item.files {
        open |= wanted::want(group, lease, id, item, file)?;
    }
    for (page, host) in leads.needs.iter().chain(leads.with) {
        open |= queue_page(group, lease, page, host, Some(id))?;
    }
    Ok(open)
}

/// Keeps what is known of an item until its last file and follow-up.
fn keep_draft(group: &Group<'_>, id: i64, item: &Item) -> Result<(), Error> {
    let draft = serde_json::to_string(item).map_err(|e| Error::Damaged(e.to_string()))?;
    let sql = "UPDATE items SET draft = ? WHERE id = ?";
    group.db.prepare_cached(sql)?.execute((draft, id))?;
    Ok(())
}

/// Whether a file or follow-up of the item is still under way.
fn waits(group: &Group<'_>, id: i64) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM files WHERE item = ?1 AND state = 'waiting')
                   OR EXISTS (SELECT 1 FROM tasks WHERE item = ?1 AND kind = 'page' AND state IN ('ready', 'waiting', 'leased'))";
    Ok(group
        .db
        .prepare_cached(sql)?
        .query_row([id], |row| row.get(0))?)
}

/// Puts a page into the queue. Returns whether the item must wait for it.
pub(super) fn queue_page(
    group: &mut Group<'_>,
    lease: &Lease,
    page: &PageTask,
    host: &str,
    item: Option<i64>,
) -> Result<bool, Error> {
    let payload = serde_json::to_string(page).map_err(|e| Error::Damaged(e.to_string()))?;
    // A page that an earlier run gave up gets another chance; one of this run is there already.
    let queued = group
        .db
        .prepare_cached(
            "INSERT INTO tasks (job, run, kind, key, host, state, item, payload, due, needed)
             VALUES (?1, ?2, 'page', ?3, ?4, 'ready', ?5, ?6, ?7, ?8)
             ON CONFLICT (job, kind, key) DO UPDATE
             SET state = 'ready', run = excluded.run, due = excluded.due, tries = 0, item = excluded.item,
                 payload = excluded.payload, needed = excluded.needed, host = excluded.host
             WHERE tasks.run <> excluded.run AND tasks.state IN ('failed', 'done') AND tasks.class IS NOT 'poison'",
        )?
        .execute(params![
            lease.job,
            lease.run,
            page_key(page),
            host,
            item,
            payload,
            page.begins_day().map_or(0, place),
            page.needed
        ])?;
    if queued > 0 {
        group.changes.run(lease.run).pages_waiting += 1;
        return Ok(true);
    }
    // What larder dies of is not asked for again by itself: it is a failure of this run too.
    let sql = "UPDATE tasks SET run = ?2 WHERE job = ?1 AND kind = 'page' AND key = ?3 AND run <> ?2 AND state = 'failed' AND class = 'poison'";
    let poison = group
        .db
        .prepare_cached(sql)?
        .execute((lease.job, lease.run, page_key(page)))?;
    group.changes.run(lease.run).pages_failed += i64::try_from(poison).unwrap_or(i64::MAX);
    Ok(false)
}

/// Writes the record of an item whose last file or follow-up has come to its end.
pub(super) fn finish_if_complete(group: &mut Group<'_>, run: i64, id: i64) -> Result<(), Error> {
    if waits(group, id)? {
        return Ok(());
    }
    let (site, rev, draft): (String, u32, Option<String>) = group
        .db
        .prepare_cached("SELECT site, rev, draft FROM items WHERE id = ?")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // Without a draft the item was complete before; another reference to the same bytes has nothing to add.
    let Some(draft) = draft else { return Ok(()) };
    if rev > 0 && lacks(group, id)? {
        // A record with less in it than the one before would say that the site has removed the rest.
        return Ok(());
    }
    let item: Item =
        serde_json::from_str(&draft).map_err(|_| Error::Damaged(format!("item {id}")))?;
    finish(group, run, id, &site, &item, true)
}

/// Whether a page without which the item is not whole was given up.
fn lacks(group: &Group<'_>, id: i64) -> Result<bool, Error> {
    // Uses tasks_failed_item.
    let sql =
        "SELECT 1 FROM tasks WHERE item = ? AND state = 'failed' AND kind = 'page' AND needed";
    Ok(group.db.prepare_cached(sql)?.exists([id])?)
}

/// What is known of an item is all there will be for now: pages that it needs have left the queue unasked.
pub(super) fn leave(group: &mut Group<'_>, run: i64, id: i64) -> Result<(), Error> {
    let sql = "DELETE FROM said WHERE item = ?";
    group.db.prepare_cached(sql)?.execute([id])?;
    let sql = "SELECT rev FROM items WHERE id = ?";
    let rev: u32 = group
        .db
        .prepare_cached(sql)?
        .query_row([id], |row| row.get(0))?;
    if rev == 0 {
        finish_if_complete(group, run, id)?;
    }
    Ok(())
}

/// A look-up says that the item is there no more: what is known of it stays, with the reply as evidence beside it.
pub(super) fn not_there(
    group: &mut Group<'_>,
    run: i64,
    id: i64,
    endpoint: &str,
    why: &str,
    raw: Option<&str>,
) -> Result<(), Error> {
    let sql = "SELECT site, kind, ident, rev, gone, draft FROM items WHERE id = ?";
    let (site, kind, ident, rev, gone, draft) =
        group.db.prepare_cached(sql)?.query_row([id], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, u32>(3)?,
                row.get::<_, Option<String>>(4)?,
                row.get::<_, Option<String>>(5)?,
            ))
        })?;
    let damaged = |_| Error::Damaged(format!("item {id}"));
    let known = draft.as_deref().map(serde_json::from_str::<Item>);
    let mut item = match known.transpose().map_err(damaged)? {
        Some(item) => item,
        None => Item::bare(&kind, &ident),
    };
    item.gone = Some(why.to_owned());
    if let Some(raw) =
        raw.and_then(|raw| serde_json::value::RawValue::from_string(raw.to_owned()).ok())
    {
        item.raw.insert(endpoint.to_owned(), raw);
    }
    if rev == 0 {
        // Its first record says all that was seen of it, and that it went.
        return keep_draft(group, id, &item);
    }
    group
        .db
        .prepare_cached("UPDATE items SET draft = NULL WHERE id = ?")?
        .execute([id])?;
    if gone.is_none() {
        bury(group, run, id, &site, &item, why)?;
    }
    Ok(())
}

/// Appends the record of a complete item, if it means anything new. `count` says whether an unchanged one counts: what a
/// run meets twice is counted once.
fn finish(
    group: &mut Group<'_>,
    run: i64,
    id: i64,
    site: &str,
    item: &Item,
    count: bool,
) -> Result<(), Error> {
    let files = file_states(group, id, item)?;
    // Uses tasks_failed_item. What came another way, or under an address of its own at last, has not failed any more.
    group
        .db
        .prepare_cached(
            "DELETE FROM tasks WHERE item = ? AND state = 'failed' AND kind = 'file' AND EXISTS (
               SELECT 1 FROM files f
               WHERE f.item = tasks.item AND f.role = tasks.role AND f.idx = tasks.idx AND f.state = 'held' AND f.class IS NULL)",
        )?
        .execute([id])?;
    let digest = record_digest(site, item, &files);
    let sql = "SELECT rev, digest FROM items WHERE id = ?";
    let (rev, known): (u32, Option<Digest>) = group
        .db
        .prepare_cached(sql)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // While a file or a page is missing its draft stays, so that a later success finds all that was known.
    let whole = files.iter().all(|file| file.sha256.is_some()) && !lacks(group, id)?;
    let keep = !whole && item.gone.is_none();
    let draft = keep.then(|| serde_json::to_string(item)).transpose();
    let draft = draft.map_err(|e| Error::Damaged(e.to_string()))?;
    group
        .db
        .prepare_cached("UPDATE items SET draft = ?2 WHERE id = ?1 AND draft IS NOT ?2")?
        .execute((id, draft))?;
    if known == Some(digest) {
        group.changes.run(run).unchanged += i64::from(count);
        return Ok(());
    }
    let seq = group.log.next_seq();
    let record = Record::new(site, item, &files, digest, rev + 1, seq, rfc3339(group.now));
    let line = group.log.append(&record);
    group.changes.records += 1;
    let place = i64::try_from(line.offset).unwrap_or(i64::MAX);
    group
        .db
        .prepare_cached("UPDATE items SET rev = rev + 1, digest = ?2, place = ?3 WHERE id = ?1")?
        .execute(params![id, digest, place])?;
    if rev == 0 {
        group.changes.run(run).fresh += 1;
    } else {
        group.changes.run(run).changed += 1;
    }
    if let Some(why) = &item.gone {
        bury(group, run, id, site, item, why)?;
    }
    Ok(())
}

/// Nothing shows the item any more: what is known of it stays, with a tombstone beside it.
pub(super) fn missing(
    group: &mut Group<'_>,
    run: i64,
    id: i64,
    site: &str,
    item: &Item,
    why: &str,
) -> Result<(), Error> {
    finish_if_complete(group, run, id)?;
    bury(group, run, id, site, item, why)
}

fn file_states(group: &Group<'_>, id: i64, item: &Item) -> Result<Vec<FileState>, Error> {
    let mut select = group.db.prepare_cached(
        "SELECT f.object, o.bytes, o.media, f.class, f.etag, f.modified, f.unverified
         FROM files f LEFT JOIN objects o ON o.sha256 = f.object
         WHERE f.item = ? AND f.role = ? AND f.idx = ?",
    )?;
    let state = |file: &FileRef| {
        select.query_row((id, &file.role, file.index), |row| {
            Ok(FileState {
                role: file.role.clone(),
                index: file.index,
                sha256: row.get(0)?,
                bytes: row
                    .get::<_, Option<i64>>(1)?
                    .and_then(|n| n.try_into().ok())
                    .or(file.bytes),
                media: row
                    .get::<_, Option<String>>(2)?
                    .or_else(|| file.media.clone()),
                url: file.url.clone(),
                name: file.name.clone(),
                md5: file.md5.clone(),
                etag: row.get(4)?,
                last_modified: row.get(5)?,
                width: file.width,
                height: file.height,
                unverified_length: row.get(6)?,
                missing: row.get(3)?,
            })
        })
    };
    Ok(item.files.iter().map(state).collect::<Result<_, _>>()?)
}

/// A line about an item that is no record.
#[derive(Serialize)]
struct Event<'a> {
    v: u32,
    #[serde(rename = "type")]
    line: &'static str,
    seq: u64,
    seen: String,
    site: &'a str,
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>>,
}

/// Marks an item as gone upstream, with the reply that says so; its failures are nobody's business any more.
fn bury(
    group: &mut Group<'_>,
    run: i64,
    id: i64,
    site: &str,
    item: &Item,
    why: &str,
) -> Result<(), Error> {
    let line = Event {
        v: 1,
        line: "gone",
        seq: group.log.next_seq(),
        seen: rfc3339(group.now),
        site,
        kind: &item.kind,
        id: &item.id,
        why: Some(why),
        raw: Some(&item.raw),
    };
    group.log.append(&line);
    group.changes.records += 1;
    group.changes.run(run).gone += 1;
    group
        .db
        .prepare_cached("UPDATE items SET gone = ?2 WHERE id = ?1")?
        .execute((id, why))?;
    group
        .db
        .prepare_cached("DELETE FROM tasks WHERE item = ? AND kind = 'file' AND state = 'failed'")?
        .execute([id])?;
    Ok(())
}
