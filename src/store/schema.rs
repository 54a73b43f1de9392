//! The numbered schema files, applied in order by `user_version`, and how connections are opened.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Error;
use crate::disk;

const FILES: [&str; 9] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
];
/// `LARD`, so that `file` and people know whose database it is.
const APPLICATION_ID: i64 = 0x4c41_5244;
/// The WAL-reset corruption bug was fixed in this SQLite (sqlite.org, release 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Opens the writer's connection and brings the schema up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    debug_assert!(rusqlite::version_number() >= OLDEST_SQLITE);
    crate::archive::keep_private(path)?;
    let mut db = Connection::open(path).map_err(Error::database("open it"))?;
    pragmas(&db).map_err(Error::database("set it up"))?;
    migrate(&mut db, path)?;
    Ok(db)
}

fn pragmas(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "cache_size", -8192)?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let what = Error::database("read its schema");
    let found: u32 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(&what)?;
    let known = u32::try_from(FILES.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        keep_copy(db, path, found)?;
    }
    let what = Error::database("bring its schema up to date");
    // All or nothing: a larder that dies here leaves the database as it was.
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(&what)?;
    for sql in FILES.iter().skip(found as usize) {
        tx.execute_batch(sql).map_err(&what)?;
    }
    tx.pragma_update(None, "user_version", known)
        .map_err(&what)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(&what)?;
    tx.commit().map_err(&what)
}

/// Copies a database of an older schema, durably, before it is changed: `larder.db.schema-1`.
fn keep_copy(db: &Connection, path: &Path, found: u32) -> Result<(), Error> {
    let beside = |ending: &str| PathBuf::from(format!("{}.schema-{found}{ending}", path.display()));
    let (copy, temp) = (beside(""), beside(".new"));
    let named = |what: &'static str| crate::archive::Error::io(what, copy.clone());
    // Half a copy, of a larder that died at it.
    if temp.exists() {
        disk::remove(&temp).map_err(named("remove"))?;
    }
    // SQLite takes an empty file, with the mode that it has.
    crate::archive::keep_private(&temp)?;
    let target = temp.to_string_lossy();
    db.execute("VACUUM INTO ?", [&*target])
        .map_err(Error::database("copy it before its schema is changed"))?;
    std::fs::File::open(&temp)
        .and_then(|file| disk::sync(&file, &temp))
        .map_err(named("sync"))?;
    disk::rename(&temp, &copy).map_err(named("rename"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    disk::sync_dir(folder).map_err(named("sync"))?;
    tracing::info!("Kept a copy of the database as it was: {}", copy.display());
    Ok(())
}

/// Whether a database has the schema of this larder, so that its rows may be written.
pub(super) fn is_current(db: &Connection) -> rusqlite::Result<bool> {
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(found as usize == FILES.len())
}

/// Opens a connection that only reads, beside a writer or without one; `None` for a database that was only begun.
///
/// Also says which schema it has: nobody but a writer brings one up to date.
pub(super) fn open_reader(path: &Path) -> Result<Option<(Connection, u32)>, Error> {
    let what = Error::database("open it for reading");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(&what)?;
    db.busy_timeout(std::time::Duration::from_secs(5))
        .map_err(&what)?;
    let found: u32 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(&what)?;
    let known = u32::try_from(FILES.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok((found > 0).then_some((db, found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_an_older_larder_is_brought_up_to_date() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("larder.db");
        let old = Connection::open(&path).expect("made");
        old.execute_batch(FILES[0]).expect("the first schema");
        old.execute_batch(
            "PRAGMA user_version = 1;
             INSERT INTO jobs (id, name, site, listing, params, walk) VALUES (1, 'a', 'b', 'c', '{}', 'w');
             INSERT INTO runs (job, walk, started) VALUES (1, 'w', 0);
             INSERT INTO items (site, kind, ident, run) VALUES ('b', 'post', '1', 1)",
        )
        .expect("rows of that time");
        drop(old);
        let db = open_writer(&path).expect("opens");
        let row = "SELECT r.full, i.day, (SELECT count(*) FROM days) FROM runs r, items i";
        let row: (bool, Option<String>, i64) = db
            .query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .expect("what came later is there");
        assert_eq!(row, (false, None, 0));
    }
}
