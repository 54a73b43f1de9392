//! The counters of a run. They change in the transactions that change what they count, so `status` counts nothing.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a run has done so far. As a change, numbers may be negative.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct RunCounts { $($(#[$doc])* pub $name: i64,)* }

        impl RunCounts {
            /// The columns, in the order of [`Self::read`].
            pub(super) const COLUMNS: &str = concat!($(stringify!($name), ", ",)* "1");
            const UPDATE: &str = concat!("UPDATE runs SET ", $(stringify!($name), " = ", stringify!($name), " + ?, ",)* "id = id WHERE id = ?");

            /// Reads the columns from `row`, beginning at `first`.
            pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
                let mut at = first;
                let mut next = || { at += 1; at - 1 };
                Ok(Self { $($name: row.get(next())?,)* })
            }

            /// Adds a change.
            pub fn add(&mut self, change: &Self) { $(self.$name += change.$name;)* }

            fn apply(&self, db: &Connection, run: i64) -> rusqlite::Result<()> {
                db.prepare_cached(Self::UPDATE)?.execute(rusqlite::params![$(self.$name,)* run])?;
                Ok(())
            }
        }
    };
}

counters! {
    /// Pages stored.
    pages_done,
    /// Pages in the queue.
    pages_waiting,
    /// Pages given up.
    pages_failed,
    /// Items seen.
    seen,
    /// Items that had no record before.
    fresh,
    /// Items with a new revision.
    changed,
    /// Items as they were.
    unchanged,
    /// Items that `where` refused.
    filtered,
    /// Items found gone upstream.
    gone,
    /// Entries that no filter could read.
    items_failed,
    /// Files whose bytes were new.
    stored,
    /// Files whose bytes were held already.
    deduplicated,
    /// Files held since an earlier run.
    known,
    /// Files in the queue.
    files_waiting,
    /// Files given up.
    files_failed,
    /// Bytes downloaded.
    bytes,
}

impl RunCounts {
    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.pages_waiting <= 0 && self.files_waiting <= 0
    }
}

/// Changes gathered while a group is written, applied once before its commit.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) runs: BTreeMap<i64, RunCounts>,
    pub(super) objects: i64,
    pub(super) bytes: i64,
    pub(super) items: i64,
    pub(super) records: i64,
}

impl Changes {
    /// The change of `run`.
    pub(super) fn run(&mut self, run: i64) -> &mut RunCounts {
        self.runs.entry(run).or_default()
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (run, change) in other.runs {
            self.run(run).add(&change);
        }
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.items += other.items;
        self.records += other.records;
    }

    pub(super) fn apply(&self, db: &Connection) -> rusqlite::Result<()> {
        for (run, change) in &self.runs {
            change.apply(db, *run)?;
        }
        if (self.objects, self.bytes, self.items, self.records) != (0, 0, 0, 0) {
            db.prepare_cached(
                "UPDATE totals SET objects = objects + ?, bytes = bytes + ?, items = items + ?, records = records + ?",
            )?
            .execute((self.objects, self.bytes, self.items, self.records))?;
        }
        Ok(())
    }
}
