//! The catalog: items as they are seen, merge, and become records.
//!
//! **Invariant:** a record is written when an item's last file and follow-up is stored or has failed, never before; the
//! same meaning twice adds nothing. A gone item is a tombstone beside its records, never an overwrite of them.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use url::Url;

use super::{Error, Group, Lease, PageTask, page_key, queue::held};
use crate::{
    archive::{Digest, FileState, Record, record_digest},
    class::Class,
    clock::rfc3339,
    dialect::{FileRef, Item},
    text::one_line,
};

/// Runs that give a file up for a lasting reason before walks leave it alone.
const LASTING_ROUNDS: i64 = 2;

/// One item as a page showed it.
pub(super) struct Sight<'a> {
    pub site: &'a str,
    pub item: Item,
    /// Roles of files that the job wants.
    pub roles: &'a [String],
    /// Page tasks that complete the item, with their host.
    pub follow: &'a [(PageTask, String)],
    /// The item that this page completes.
    pub completes: Option<i64>,
}

struct Row {
    id: i64,
    run: i64,
    rev: u32,
    gone: Option<String>,
    draft: Option<String>,
}

/// Stores what a page showed of one item. Returns whether this run sees it for the first time.
pub(super) fn sight(group: &mut Group<'_>, lease: &Lease, sight: Sight<'_>) -> Result<bool, Error> {
    let Sight {
        site,
        mut item,
        roles,
        follow,
        completes,
    } = sight;
    item.files.retain(|file| roles.contains(&file.role));
    let row = group
        .db
        .prepare_cached(
            "SELECT id, run, rev, gone, draft FROM items WHERE site = ? AND kind = ? AND ident = ?",
        )?
        .query_row((site, &item.kind, &item.id), |row| {
            Ok(Row {
                id: row.get(0)?,
                run: row.get(1)?,
                rev: row.get(2)?,
                gone: row.get(3)?,
                draft: row.get(4)?,
            })
        })
        .optional()?;
    let first = row.as_ref().is_none_or(|row| row.run != lease.run);
    if first {
        group.changes.run(lease.run).seen += 1;
    }
    let Some(row) = row else {
        let id = group
            .db
            .prepare_cached(
                "INSERT INTO items (site, kind, ident, run) VALUES (?, ?, ?, ?) RETURNING id",
            )?
            .query_row((site, &item.kind, &item.id, lease.run), |row| row.get(0))?;
        group.changes.items += 1;
        let row = Row {
            id,
            run: lease.run,
            rev: 0,
            gone: None,
            draft: None,
        };
        return gather(group, lease, &row, site, item, follow, true).map(|()| true);
    };
    if first {
        group
            .db
            .prepare_cached("UPDATE items SET run = ? WHERE id = ?")?
            .execute((lease.run, row.id))?;
    }
    if let Some(why) = item.gone.as_deref().filter(|_| row.rev > 0) {
        // What was known of it before it went is better than what is left: only the tombstone is new.
        if row.gone.is_none() {
            bury(group, lease.run, row.id, site, &item, why)?;
        } else if first {
            group.changes.run(lease.run).unchanged += 1;
        }
        return Ok(first);
    }
    if row.gone.is_some() {
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
    // What an earlier run could not complete is seen anew: its draft must not bring back what the site has removed.
    let draft = row
        .draft
        .as_ref()
        .filter(|_| !first || completes == Some(row.id));
    let Some(draft) = draft else {
        if completes == Some(row.id) {
            // It became a record meanwhile: what is left to say about it alone is no item.
            return Ok(first);
        }
        return gather(group, lease, &row, site, item, follow, first).map(|()| first);
    };
    let mut known: Item =
        serde_json::from_str(draft).map_err(|_| Error::Damaged(format!("item {}", row.id)))?;
    let open = queue_needs(group, lease, row.id, &item, follow)?;
    known.merge(item);
    if open || waits(group, row.id)? {
        keep_draft(group, row.id, &known)?;
        return Ok(first);
    }
    finish(group, lease.run, row.id, site, &known, first)?;
    Ok(first)
}

/// Queues what an item still needs; without a need it becomes a record at once.
fn gather(
    group: &mut Group<'_>,
    lease: &Lease,
    row: &Row,
    site: &str,
    item: Item,
    follow: &[(PageTask, String)],
    first: bool,
) -> Result<(), Error> {
    if queue_needs(group, lease, row.id, &item, follow)? {
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
    follow: &[(PageTask, String)],
) -> Result<bool, Error> {
    let mut open = false;
    for file in &item.files {
        open |= want(group, lease, id, item, file)?;
    }
    for (page, host) in follow {
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
            "INSERT INTO tasks (job, run, kind, key, host, state, item, payload) VALUES (?1, ?2, 'page', ?3, ?4, 'ready', ?5, ?6)
             ON CONFLICT (job, kind, key) DO UPDATE
             SET state = 'ready', run = excluded.run, due = 0, tries = 0, item = excluded.item, payload = excluded.payload
             WHERE tasks.run <> excluded.run AND tasks.state IN ('failed', 'done')",
        )?
        .execute(params![lease.job, lease.run, page_key(page), host, item, payload])?;
    if queued > 0 {
        group.changes.run(lease.run).pages_waiting += 1;
    }
    Ok(queued > 0)
}

/// Makes sure that a file is held or in the queue. Returns whether the item must wait for it.
fn want(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    item: &Item,
    file: &FileRef,
) -> Result<bool, Error> {
    let md5 = file.md5.as_ref().and_then(|md5| hex::decode(md5).ok());
    let row: Option<(String, Option<String>, Option<Vec<u8>>)> = group
        .db
        .prepare_cached(
            "SELECT state, url, md5 FROM files WHERE item = ? AND role = ? AND idx = ?",
        )?
        .query_row((id, &file.role, file.index), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    if let Some((state, url, known)) = &row {
        // The md5 names the bytes; without one, the address has to.
        let same = if md5.is_some() {
            *known == md5
        } else {
            *url == file.url
        };
        match (state.as_str(), same) {
            ("held", true) => {
                group.changes.run(lease.run).known += 1;
                return Ok(false);
            }
            ("waiting", true) => {
                if *url != file.url && file.url.is_some() {
                    move_file(group, lease, id, file, md5.as_deref())?;
                }
                // An earlier run may have left it; then this run takes it over.
                return adopt(group, lease, id, file, md5.as_deref());
            }
            _ => {}
        }
    }
    let held = md5
        .as_deref()
        .map(|md5| held(group.db, md5))
        .transpose()?
        .flatten();
    let gone = item.gone.is_some();
    let refusal = refusal(group, item, file);
    let state = match &refusal {
        _ if held.is_some() => "held",
        None if !gone => "waiting",
        _ => "missing",
    };
    let class = refusal
        .as_ref()
        .filter(|_| state == "missing")
        .map(|(class, _)| class.word());
    let class = class.or((state == "missing").then_some(Class::NoUrl.word()));
    group
        .db
        .prepare_cached(
            "INSERT INTO files (item, role, idx, state, url, md5, object, class) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (item, role, idx) DO UPDATE
             SET state = excluded.state, url = excluded.url, md5 = excluded.md5, object = excluded.object, class = excluded.class,
                 etag = NULL, modified = NULL",
        )?
        .execute(params![id, file.role, file.index, state, file.url, md5, held, class])?;
    match state {
        "held" => {
            group.changes.run(lease.run).deduplicated += 1;
            Ok(false)
        }
        "missing" if gone => Ok(false),
        "missing" => {
            let (class, message) = refusal.unwrap_or((Class::NoUrl, String::new()));
            refuse_file(group, lease, id, file, class, &message).map(|()| false)
        }
        _ => adopt(group, lease, id, file, md5.as_deref()),
    }
}

/// The key of a file task: bytes that a site names by md5 are fetched once, whoever wants them.
fn file_key(id: i64, file: &FileRef, md5: Option<&[u8]>) -> String {
    md5.map_or_else(|| format!("{id}/{}/{}", file.role, file.index), hex::encode)
}

/// Queues a file that waits. Returns whether it is in the queue; a lasting failure is not asked for ever.
fn adopt(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    file: &FileRef,
    md5: Option<&[u8]>,
) -> Result<bool, Error> {
    let url = file.url.as_deref().unwrap_or_default();
    let lasting: Vec<_> = Class::ALL
        .iter()
        .filter(|c| !c.heals())
        .map(|c| format!("'{c}'"))
        .collect();
    let sql = format!(
        "INSERT INTO tasks (job, run, kind, key, host, state, item, role, idx, url)
         VALUES (?1, ?2, 'file', ?3, ?4, 'ready', ?5, ?6, ?7, ?8)
         ON CONFLICT (job, kind, key) DO UPDATE
         SET state = CASE WHEN tasks.state = 'failed' THEN 'ready' ELSE tasks.state END, run = excluded.run, due = 0,
             tries = 0, item = excluded.item, role = excluded.role, idx = excluded.idx, url = excluded.url, host = excluded.host
         WHERE tasks.run <> excluded.run AND tasks.state IN ('failed', 'ready', 'waiting')
           AND NOT (tasks.state = 'failed' AND tasks.rounds >= {LASTING_ROUNDS} AND tasks.class IN ({}) AND tasks.url IS excluded.url)",
        lasting.join(", ")
    );
    let key = file_key(id, file, md5);
    let queued = group.db.prepare_cached(&sql)?.execute(params![
        lease.job,
        lease.run,
        key,
        host_of(url),
        id,
        file.role,
        file.index,
        url
    ])?;
    if queued > 0 {
        group.changes.run(lease.run).files_waiting += 1;
        return Ok(true);
    }
    let state: String = group
        .db
        .prepare_cached("SELECT state FROM tasks WHERE job = ? AND kind = 'file' AND key = ?")?
        .query_row((lease.job, &key), |row| row.get(0))?;
    if state != "failed" {
        return Ok(true);
    }
    let sql = "UPDATE files SET state = 'missing', class = (SELECT class FROM tasks WHERE job = ?1 AND kind = 'file' AND key = ?2)
               WHERE item = ?3 AND role = ?4 AND idx = ?5";
    group
        .db
        .prepare_cached(sql)?
        .execute(params![lease.job, key, id, file.role, file.index])?;
    Ok(false)
}

/// A file for which the site shows no address is a failure that people can see.
fn refuse_file(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    file: &FileRef,
    class: Class,
    message: &str,
) -> Result<(), Error> {
    let new = group
        .db
        .prepare_cached(
            "INSERT INTO tasks (job, run, kind, key, host, state, item, role, idx, class, message, first_at, last_at, tries, rounds, url)
             VALUES (?1, ?2, 'file', ?3, '', 'failed', ?4, ?5, ?6, ?7, ?8, ?9, ?9, 1, 1, ?10)
             ON CONFLICT (job, kind, key) DO UPDATE SET run = excluded.run, last_at = excluded.last_at WHERE tasks.run <> excluded.run",
        )?
        .execute(params![
            lease.job,
            lease.run,
            format!("{id}/{}/{}", file.role, file.index),
            id,
            file.role,
            file.index,
            class.word(),
            message,
            group.now,
            file.url.as_ref().filter(|_| class == Class::BlockedAddress)
        ])?;
    if new > 0 {
        group.changes.run(lease.run).files_failed += 1;
    }
    Ok(())
}

/// Why a file is not even asked for.
fn refusal(group: &Group<'_>, item: &Item, file: &FileRef) -> Option<(Class, String)> {
    let Some(url) = &file.url else {
        let message = format!(
            "the site shows no address for the {} of {}/{}",
            file.role, item.kind, item.id
        );
        return Some((Class::NoUrl, one_line(&message)));
    };
    let host = host_of(url);
    if host.is_empty() {
        return Some((
            Class::BadUrl,
            one_line(&format!("`{url}` is not an http or https address")),
        ));
    }
    if group.refused.contains(&host) {
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, port)| {
            if matches!(port, "80" | "443") {
                name
            } else {
                &host
            }
        });
        let message = format!(
            "{name} is not a media host of this site; if it is right, write `media_hosts = [\"{name}\"]` there"
        );
        return Some((Class::BlockedAddress, one_line(&message)));
    }
    None
}

/// A file that waits is now at another address: that one is asked, unless the old one is being asked right now.
fn move_file(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    file: &FileRef,
    md5: Option<&[u8]>,
) -> Result<(), Error> {
    let url = file.url.as_deref().unwrap_or_default();
    let host = host_of(url);
    if host.is_empty() || group.refused.contains(&host) {
        return Ok(());
    }
    group
        .db
        .prepare_cached("UPDATE files SET url = ? WHERE item = ? AND role = ? AND idx = ?")?
        .execute((url, id, &file.role, file.index))?;
    group
        .db
        .prepare_cached(
            "UPDATE tasks SET url = ?1, host = ?2
             WHERE job = ?3 AND kind = 'file' AND key = ?4 AND item = ?5 AND role = ?6 AND idx = ?7 AND state IN ('ready', 'waiting')",
        )?
        .execute(params![url, host, lease.job, file_key(id, file, md5), id, file.role, file.index])?;
    Ok(())
}

/// `host:port` of an http or https address, as the queue groups its tasks; empty for any other.
pub(super) fn host_of(url: &str) -> String {
    let key = Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .and_then(|url| crate::pace::HostKey::from_url(&url));
    key.map(|key| key.as_str().to_owned()).unwrap_or_default()
}

/// Writes the record of an item whose last file or follow-up has come to its end.
pub(super) fn finish_if_complete(group: &mut Group<'_>, run: i64, id: i64) -> Result<(), Error> {
    if waits(group, id)? {
        return Ok(());
    }
    let sql = "SELECT site, draft FROM items WHERE id = ?";
    let (site, draft): (String, Option<String>) = group
        .db
        .prepare_cached(sql)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // Without a draft the item was complete before; another reference to the same bytes has nothing to add.
    let Some(draft) = draft else { return Ok(()) };
    let item: Item =
        serde_json::from_str(&draft).map_err(|_| Error::Damaged(format!("item {id}")))?;
    finish(group, run, id, &site, &item, true)
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
    // While a file is missing its draft stays, so that a later success finds all that was known.
    let keep = files.iter().any(|file| file.sha256.is_none()) && item.gone.is_none();
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

fn file_states(group: &Group<'_>, id: i64, item: &Item) -> Result<Vec<FileState>, Error> {
    let mut select = group.db.prepare_cached(
        "SELECT f.object, o.bytes, o.media, f.class, f.etag, f.modified
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
