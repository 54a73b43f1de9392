//! The files that an item wants: held, in the queue, or refused before anybody asks.
//!
//! **Invariant:** a file that waits has a task with a host that a lane can serve; one that no lane could serve has failed
//! at once.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, params};
use url::Url;

use super::{Error, Group, Lease, damage::held};
use crate::{
    class::Class,
    dialect::{FileRef, Item},
    text::one_line,
};

/// Runs that give a file up for a lasting reason before walks leave it alone.
const LASTING_ROUNDS: i64 = 2;

/// What is known of a file.
struct Known {
    state: String,
    url: Option<String>,
    /// The hash that names it.
    named: Option<Vec<u8>>,
    /// A validator of it is known.
    validated: bool,
    /// Its object is not on the disk as it should be.
    damaged: bool,
}

/// Makes sure that a file is held or in the queue. Returns whether the item must wait for it.
pub(super) fn want(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    item: &Item,
    file: &FileRef,
) -> Result<bool, Error> {
    // Most sites name their files by MD5; the column of that name has whichever hash it is.
    let md5 = file.named();
    let row: Option<Known> = group
        .db
        .prepare_cached(
            "SELECT state, url, md5, coalesce(etag, modified) IS NOT NULL, EXISTS (SELECT 1 FROM damage d WHERE d.sha256 = object)
             FROM files WHERE item = ? AND role = ? AND idx = ?",
        )?
        .query_row((id, &file.role, file.index), |row| {
            Ok(Known {
                state: row.get(0)?,
                url: row.get(1)?,
                named: row.get(2)?,
                validated: row.get(3)?,
                damaged: row.get(4)?,
            })
        })
        .optional()?;
    if let Some(known) = &row {
        // The hash names the bytes; without one, the address has to.
        let same = if md5.is_some() {
            known.named == md5
        } else {
            known.url == file.url
        };
        match (known.state.as_str(), same) {
            ("held", true) if known.damaged && refusal(group, item, file).is_none() => {
                return want_back(group, lease, id, file, md5.as_deref());
            }
            // A login that is missing now is no change of the file.
            ("held", _) if file.url.is_none() && md5.is_none() => {
                group.changes.run(lease.run).known += 1;
                return Ok(false);
            }
            ("held", true)
                if group.rechecks
                    && known.validated
                    && md5.is_none()
                    && item.gone.is_none()
                    && refusal(group, item, file).is_none() =>
            {
                let sql =
                    "UPDATE files SET state = 'waiting' WHERE item = ? AND role = ? AND idx = ?";
                let mut wait = group.db.prepare_cached(sql)?;
                wait.execute((id, &file.role, file.index))?;
                return adopt(group, lease, id, file, None);
            }
            ("held", true) => {
                group.changes.run(lease.run).known += 1;
                return Ok(false);
            }
            ("waiting", true) => {
                if known.url != file.url && file.url.is_some() {
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
        .map(|md5| held(group, md5))
        .transpose()?
        .flatten();
    if let Some(held) = &held {
        group.revive(held)?;
    }
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

/// Queues a file whose object is damaged. What is known of it stays, but for its validators: nothing is asked on the
/// condition of bytes that are not there. Should they not come back, its item has not changed.
fn want_back(
    group: &mut Group<'_>,
    lease: &Lease,
    id: i64,
    file: &FileRef,
    md5: Option<&[u8]>,
) -> Result<bool, Error> {
    group
        .db
        .prepare_cached(
            "UPDATE files SET state = 'waiting', url = ?4, etag = NULL, modified = NULL WHERE item = ?1 AND role = ?2 AND idx = ?3",
        )?
        .execute(params![id, file.role, file.index, file.url])?;
    adopt(group, lease, id, file, md5)
}

/// The key of a file task: bytes that a site names by a hash are fetched once, whoever wants them.
pub(super) fn file_key(id: i64, role: &str, index: u32, md5: Option<&[u8]>) -> String {
    md5.map_or_else(|| format!("{id}/{role}/{index}"), hex::encode)
}

/// Queues a file, or takes over the task that an earlier run left; made once, for it is asked for each file.
static ADOPT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO tasks (job, run, kind, key, host, state, item, role, idx, url)
         VALUES (?1, ?2, 'file', ?3, ?4, 'ready', ?5, ?6, ?7, ?8)
         ON CONFLICT (job, kind, key) DO UPDATE
         SET state = CASE WHEN tasks.state = 'failed' THEN 'ready' ELSE tasks.state END, run = excluded.run, due = 0,
             tries = 0, item = excluded.item, role = excluded.role, idx = excluded.idx, url = excluded.url, host = excluded.host
         WHERE tasks.run <> excluded.run AND tasks.state IN ('failed', 'ready', 'waiting')
           AND NOT (tasks.state = 'failed' AND NOT {} AND tasks.url IS excluded.url)
           AND NOT (tasks.state = 'failed' AND tasks.class = 'poison')",
        asked_again()
    )
});

/// SQL: whether a failed task is asked again by a later run, although nothing is new about it.
pub(super) fn asked_again() -> String {
    let lasting: Vec<_> = Class::ALL
        .iter()
        .filter(|class| !class.heals())
        .map(|class| format!("'{class}'"))
        .collect();
    format!(
        "NOT (tasks.rounds >= {LASTING_ROUNDS} AND tasks.class IN ({}) OR tasks.class = 'poison')",
        lasting.join(", ")
    )
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
    let key = file_key(id, &file.role, file.index, md5);
    let queued = group.db.prepare_cached(&ADOPT)?.execute(params![
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
    let sql = "UPDATE files SET state = CASE WHEN object IS NULL THEN 'missing' ELSE 'held' END, class = (SELECT class FROM tasks WHERE job = ?1 AND kind = 'file' AND key = ?2)
               WHERE item = ?3 AND role = ?4 AND idx = ?5";
    group
        .db
        .prepare_cached(sql)?
        .execute(params![lease.job, key, id, file.role, file.index])?;
    Ok(false)
}

/// A file that is not even asked for is a failure that people can see.
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
             ON CONFLICT (job, kind, key) DO UPDATE
             SET run = excluded.run, last_at = excluded.last_at, class = excluded.class, message = excluded.message, url = excluded.url
             WHERE tasks.run <> excluded.run AND tasks.state = 'failed'",
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
        let class = file.missing.as_deref().and_then(|word| word.parse().ok());
        let class = class.unwrap_or(Class::NoUrl);
        let why = match class {
            Class::NoUrl => "",
            Class::Auth => " without a login, or with this one",
            _ => ", and says that it will not",
        };
        let message = format!(
            "the site shows no address for the {} of {}/{}{why}",
            file.role, item.kind, item.id
        );
        return Some((class, one_line(&message)));
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
        .execute(params![url, host, lease.job, file_key(id, &file.role, file.index, md5), id, file.role, file.index])?;
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
