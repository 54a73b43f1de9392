//! The store: queue, catalog and counters in one SQLite database, and the record log that goes with it.
//!
//! All SQL is in this room. One thread owns the write connection (`writer`); other connections only read. Every
//! public act is one transaction, durable when it returns: bytes first, then records, then rows.

mod added;
mod at_work;
mod catalog;
mod census;
mod counts;
mod damage;
mod days;
mod files;
mod find;
mod gc;
mod lost;
mod members;
mod pages;
mod queue;
mod reads;
mod rebuild;
mod requests;
mod runs;
mod schema;
mod segments;
mod standing;
mod start;
mod wanted;
mod why;
mod writer;

pub use added::{Added, Forgotten};
pub use at_work::Begun as AtWork;
pub use census::CensusPage;
pub use counts::RunCounts;
pub use damage::{Checked, Damaged, Notes};
pub use days::Day;
pub use files::FileStored;
pub use find::{Indexed, SearchIndex};
pub use gc::Unreferenced;
pub use members::Placed;
pub use pages::{MOST_STALE, PageCommit, PageOutcome, Seen};
pub use queue::{
    Claim, Claimed, FileTask, Lease, Old, PageTask, Task, Verdict, Why, Work, page_key,
};
pub use reads::{Doubt, Failure, FailureFilter, HostRow, ItemRow, JobRow, Reader, RunRow, Totals};
pub use rebuild::{Contents, Rebuilder};
pub use requests::{Answered, BY_HAND, BY_USER, Request, Retried, ask};
pub use runs::{Begun, JobSpec, Walks};
pub use standing::Standing;
pub use why::{HeldObject, Membership, QueuedTask, WantedFile};
pub use writer::{Group, Store};

use crate::disk::Trouble;

/// Makes the database of a state folder, empty.
#[cfg(test)]
fn schema_for_tests(state: &std::path::Path) {
    schema::open_writer(&Store::path_in(state)).expect("a database");
}

/// What can go wrong with the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// SQLite refused.
    #[error("larder.db: could not {what}: {source}{}", if self.is_damage() { "; `larder rebuild` makes it anew from the archive" } else { "" })]
    Database {
        /// What was tried.
        what: &'static str,
        /// SQLite's own words.
        source: std::sync::Arc<rusqlite::Error>,
    },
    /// The archive refused: a sync, or the record log.
    #[error(transparent)]
    Archive(std::sync::Arc<crate::archive::Error>),
    /// The database was made by a newer larder.
    #[error("the database {path} has schema {found}; this larder knows up to {known}: use the newer larder", path = path.display())]
    Newer {
        /// The database.
        path: std::path::PathBuf,
        /// Its schema.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A row does not read as what it should be.
    #[error("larder.db: {0} is damaged; `larder rebuild` makes it anew from the archive")]
    Damaged(String),
    /// Nothing can be written for now; nothing of the act was.
    #[error("{message}")]
    Trouble {
        /// Why.
        trouble: Trouble,
        /// What was tried, and what the system said.
        message: String,
    },
    /// The writer has stopped after an earlier error.
    #[error("the database writer has stopped: {0}")]
    Stopped(String),
}

impl Error {
    fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Database {
            what,
            source: std::sync::Arc::new(source),
        }
    }

    /// Whether the database itself is damaged.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Database { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(DatabaseCorrupt | NotADatabase)
                )
            }
            Self::Damaged(_) => true,
            _ => false,
        }
    }

    /// Why nothing can be written for now, where a later act may succeed.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Trouble { trouble, .. } => Some(*trouble),
            _ => None,
        }
    }

    /// The trouble behind an error of the writer after which it may go on. A failed sync or commit is none.
    fn trouble_of_write(&self) -> Option<Trouble> {
        match self {
            Self::Archive(error) => error
                .trouble()
                .or_else(|| error.is_write().then_some(Trouble::Storage)),
            Self::Database { source, .. } => {
                let full = source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
                full.then_some(Trouble::DiskFull)
            }
            _ => None,
        }
    }

    /// The failure of a commit, as SQLite would tell it.
    fn commit(error: &std::io::Error) -> Self {
        use rusqlite::ffi;
        let full = Trouble::of(error, std::path::Path::new("")) == Some(Trouble::DiskFull);
        let code = if full {
            ffi::SQLITE_FULL
        } else {
            ffi::SQLITE_IOERR_FSYNC
        };
        Self::database("commit")(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

impl From<crate::archive::Error> for Error {
    fn from(error: crate::archive::Error) -> Self {
        Self::Archive(std::sync::Arc::new(error))
    }
}

/// SQL inside an act: the act's own name is added by [`Store::write`].
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database {
            what: "write",
            source: std::sync::Arc::new(source),
        }
    }
}
