//! The start: what an earlier larder has left, and how it ended.
//!
//! The lock proves that nobody else is at work, so every lease is taken back at once, whatever its time says. A larder that
//! died makes two things doubtful: the tasks it was at, one of which may have killed it, and what it wrote last.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{Error, Group, Lease, Verdict, Why, at_work::WasAt, writer::meta};
use crate::{class::Class, clock::Millis};

/// Deaths with a task under way after which it is given up.
const MOST_CRASHES: u32 = 3;
/// What was stored so shortly before the last sign of life of a larder that died is read again.
const DOUBTFUL: Millis = 10 * 60_000;
/// A database up to this size is checked before anything is written to it: a moment's work. A larger one is checked beside
/// the work, for it takes half a minute and more: the archive itself is no worse for what is written meanwhile.
const CHECKED_FIRST: u64 = 64 << 20;

/// In what state the database was left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// When a larder that died last gave a sign of life.
    died: Option<Millis>,
    /// Whether it had been told to stop by then: its end says nothing about its tasks.
    stopping: bool,
    /// Whether the machine was started again since: then the machine may be to blame.
    rebooted: bool,
}

impl Left {
    /// Reads how the last larder ended.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let boot = meta(db, "boot")?;
        Ok(Self {
            died: meta(db, "alive")?.and_then(|text| text.parse().ok()),
            stopping: meta(db, "stopping")?.is_some(),
            rebooted: boot.is_some() && boot != boot_id(),
        })
    }

    /// Checks a database that a larder has died over, if that takes no time.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn check(self, db: &Connection, path: &Path) -> Result<(), Error> {
        if self.died.is_none() || is_large(path) {
            return Ok(());
        }
        quick_check(db, None)
    }
}

/// Whether a database is too large to be checked before anything else.
pub(super) fn is_large(path: impl AsRef<Path>) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() > CHECKED_FIRST)
}

/// Lets SQLite check one table with its indexes, or everything.
///
/// # Errors
/// When it is damaged, or cannot be read.
pub(super) fn quick_check(db: &Connection, table: Option<&str>) -> Result<(), Error> {
    let sql = match table {
        None => "PRAGMA quick_check(1)".to_owned(),
        Some(table) => format!("PRAGMA quick_check(\"{table}\")"),
    };
    let said: String = db
        .query_row(&sql, [], |row| row.get(0))
        .map_err(Error::database("check it"))?;
    if said == "ok" {
        return Ok(());
    }
    let said = said.replace('\n', ", ");
    Err(Error::Damaged(format!("a page (SQLite says: {said})")))
}

/// What names the time since the machine was started, where the system tells.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

impl Group<'_> {
    /// Takes over what an earlier larder has left, which was at these tasks when it ended. Returns how many it had claimed.
    pub(super) fn take_over(&mut self, left: Left, was_at: &[WasAt]) -> Result<usize, Error> {
        if let Some(died) = left.died {
            // What an earlier check has not finished is still to be checked.
            self.set_meta_once("recheck", &(died - DOUBTFUL).to_string())?;
        }
        self.sign_of_life()?;
        self.delete_meta("stopping")?;
        match boot_id() {
            Some(boot) => self.set_meta("boot", &boot)?,
            None => self.delete_meta("boot")?,
        }
        if left.died.is_some() && !left.stopping && !left.rebooted {
            self.count_crashes(was_at)?;
        }
        let sql =
            "UPDATE tasks SET state = 'ready', token = NULL, lease = NULL WHERE state = 'leased'";
        Ok(self.db.prepare_cached(sql)?.execute([])?)
    }

    /// Counts a death for each task that was under way, and gives up those that were there each time.
    fn count_crashes(&mut self, was_at: &[WasAt]) -> Result<(), Error> {
        let sql =
            "UPDATE tasks SET crashes = crashes + 1 WHERE id = ? AND token = ? AND state = 'leased'
                   RETURNING job, run, crashes";
        let mut update = self.db.prepare_cached(sql)?;
        for (task, token) in was_at {
            let row = update.query_row((task, token), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, u32>(2)?))
            });
            let Some((job, run, crashes)) = row.optional()? else {
                continue;
            };
            if crashes >= MOST_CRASHES {
                let lease = Lease {
                    task: *task,
                    job,
                    run,
                    token: *token,
                };
                let message = format!("larder has died {crashes} times while it was at this");
                self.poison(&lease, message)?;
            }
        }
        Ok(())
    }

    /// A worker has panicked over a task: it is tried again as after a death, and given up at the third. Returns the host at
    /// which another address of the same bytes is asked instead, where there is one.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn crashed(&mut self, lease: &Lease, message: &str) -> Result<Option<String>, Error> {
        let sql =
            "UPDATE tasks SET crashes = crashes + 1 WHERE id = ? AND token = ? RETURNING crashes";
        let crashes: Option<u32> = self
            .db
            .prepare_cached(sql)?
            .query_row((lease.task, lease.token), |row| row.get(0))
            .optional()?;
        if crashes.is_some_and(|crashes| crashes >= MOST_CRASHES) {
            return self.poison(lease, message.to_owned());
        }
        let again = Verdict::Again {
            wait: 0,
            counted: true,
        };
        self.fail(lease, &poison(message.to_owned()), &again)
    }

    fn poison(&mut self, lease: &Lease, message: String) -> Result<Option<String>, Error> {
        tracing::error!(task.id = lease.task, "Gave up a task: {message}");
        self.fail(lease, &poison(message), &Verdict::Failed)
    }

    /// Says that somebody has told larder to stop: should it die before it has, no task is to blame.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn stopping(&mut self) -> Result<(), Error> {
        self.set_meta("stopping", "1")
    }

    /// Says that larder lives.
    pub(super) fn sign_of_life(&mut self) -> Result<(), Error> {
        self.set_meta("alive", &self.now.to_string())
    }

    /// Says that what was doubtful after a death has been checked.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn rechecked(&mut self) -> Result<(), Error> {
        self.delete_meta("recheck")
    }

    pub(super) fn set_meta(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let sql =
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.db.prepare_cached(sql)?.execute((key, value))?;
        Ok(())
    }

    fn set_meta_once(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING";
        self.db.prepare_cached(sql)?.execute((key, value))?;
        Ok(())
    }

    pub(super) fn delete_meta(&mut self, key: &str) -> Result<(), Error> {
        let sql = "DELETE FROM meta WHERE key = ?";
        self.db.prepare_cached(sql)?.execute([key])?;
        Ok(())
    }
}

fn poison(message: String) -> Why {
    Why {
        class: Class::Poison,
        message,
        url: None,
    }
}

/// Says that a larder has ended as it should.
pub(super) fn ended(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM meta WHERE key IN ('alive', 'stopping')", [])
        .map(|_| ())
}
