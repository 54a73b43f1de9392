//! What is known of one address or one item, for `larder why`: rows alone, nothing is asked of any site.
//!
//! Addresses have no index, since a person asks now and then: one look goes through all files, 0.3 s for a million.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Reader};
use crate::{archive::Digest, clock::Millis};

/// A file that an item wants.
#[derive(Debug, Clone)]
pub struct WantedFile {
    /// The item's row, for [`Reader::memberships`].
    pub item: i64,
    /// `SITE/KIND/ID`.
    pub name: String,
    /// What it is to the item.
    pub role: String,
    /// Its place among the files of this role.
    pub index: i64,
    /// `waiting`, `held` or `missing`.
    pub state: String,
    /// Where it is to be had.
    pub url: Option<String>,
    /// The object.
    pub object: Option<Digest>,
    /// Why it is missing.
    pub class: Option<String>,
    /// Why the item is gone upstream.
    pub gone: Option<String>,
}

/// An object that a file was found to be.
#[derive(Debug, Clone, Copy)]
pub struct HeldObject {
    /// Its size.
    pub bytes: i64,
    /// When it was stored.
    pub added: Millis,
    /// Whether it is known to be damaged.
    pub damaged: bool,
    /// Files of all items that are this object.
    pub files: i64,
}

/// A row of the queue.
#[derive(Debug, Clone)]
pub struct QueuedTask {
    /// The job.
    pub job: String,
    /// `page`, `file` or `entry`.
    pub kind: String,
    /// `ready`, `leased`, `waiting`, `done` or `failed`.
    pub state: String,
    /// Its host, as in [`Reader::hosts`].
    pub host: String,
    /// Tries so far.
    pub tries: i64,
    /// When it is tried next.
    pub due: Millis,
    /// How it failed last.
    pub class: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// When.
    pub last_at: Option<Millis>,
}

/// An item in a job.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The job.
    pub job: String,
    /// Since when.
    pub joined: Millis,
    /// When a whole walk did not show it any more.
    pub left: Option<Millis>,
    /// Only a follow-up showed it.
    pub followed: bool,
}

impl Reader {
    /// Every file that is to be had at this address.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn files_at(&self, url: &str) -> Result<Vec<WantedFile>, Error> {
        self.wanted_files("f.url = ?1", params![url])
    }

    /// Every file of an item.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn files_of(&self, site: &str, kind: &str, id: &str) -> Result<Vec<WantedFile>, Error> {
        let which = "i.site = ?1 AND i.kind = ?2 AND i.ident = ?3";
        self.wanted_files(which, params![site, kind, id])
    }

    fn wanted_files(
        &self,
        which: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<WantedFile>, Error> {
        let sql = format!(
            "SELECT i.id, i.site || '/' || i.kind || '/' || i.ident, f.role, f.idx, f.state, f.url, f.object, f.class, i.gone
             FROM files f JOIN items i ON i.id = f.item WHERE {which} ORDER BY i.id, f.role, f.idx"
        );
        let mut select = self.db.prepare(&sql)?;
        let rows = select.query_map(values, |row| {
            Ok(WantedFile {
                item: row.get(0)?,
                name: row.get(1)?,
                role: row.get(2)?,
                index: row.get(3)?,
                state: row.get(4)?,
                url: row.get(5)?,
                object: row.get(6)?,
                class: row.get(7)?,
                gone: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The row of an item, for [`Self::memberships`], and why it is gone upstream.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn item_row(
        &self,
        site: &str,
        kind: &str,
        id: &str,
    ) -> Result<Option<(i64, Option<String>)>, Error> {
        let sql = "SELECT id, gone FROM items WHERE site = ? AND kind = ? AND ident = ?";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.db.query_row(sql, (site, kind, id), row).optional()?)
    }

    /// The jobs that have or had an item.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn memberships(&self, item: i64) -> Result<Vec<Membership>, Error> {
        if !self.keeps("members")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT j.name, m.joined, m.left, m.run IS NULL FROM members m JOIN jobs j ON j.id = m.job
                   WHERE m.item = ? ORDER BY m.joined";
        let mut select = self.db.prepare(sql)?;
        let rows = select.query_map([item], |row| {
            Ok(Membership {
                job: row.get(0)?,
                joined: row.get(1)?,
                left: row.get(2)?,
                followed: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is kept of an object.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn held_object(&self, object: Digest) -> Result<Option<HeldObject>, Error> {
        let damaged = if self.keeps("damage")? {
            "EXISTS (SELECT 1 FROM damage d WHERE d.sha256 = o.sha256)"
        } else {
            "0"
        };
        let sql = format!(
            "SELECT o.bytes, o.added, {damaged}, (SELECT count(*) FROM files f WHERE f.object = o.sha256)
             FROM objects o WHERE o.sha256 = ?"
        );
        let row = |row: &Row<'_>| {
            Ok(HeldObject {
                bytes: row.get(0)?,
                added: row.get(1)?,
                damaged: row.get(2)?,
                files: row.get(3)?,
            })
        };
        Ok(self.db.query_row(&sql, [object], row).optional()?)
    }

    /// The tasks of the queue for this address.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn tasks_at(&self, url: &str) -> Result<Vec<QueuedTask>, Error> {
        let sql =
            "SELECT j.name, t.kind, t.state, t.host, t.tries, t.due, t.class, t.message, t.last_at
                   FROM tasks t JOIN jobs j ON j.id = t.job WHERE t.url = ? ORDER BY t.id";
        let mut select = self.db.prepare(sql)?;
        let rows = select.query_map([url], |row| {
            Ok(QueuedTask {
                job: row.get(0)?,
                kind: row.get(1)?,
                state: row.get(2)?,
                host: row.get(3)?,
                tries: row.get(4)?,
                due: row.get(5)?,
                class: row.get(6)?,
                message: row.get(7)?,
                last_at: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
