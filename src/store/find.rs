//! The search index: `find.db` beside the database, made of the record log and never needed.

use std::{fs, path::Path};

use rusqlite::{Connection, OptionalExtension, params, types::Value};

use super::Error;
use crate::{
    archive::keep_private,
    find::{
        Hit, Query,
        query::{Condition, Term},
        words::indexed,
    },
};

/// The number of the rules by which text is cut into words, and of the tables.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE meta (version INTEGER NOT NULL, archive TEXT NOT NULL, read_to INTEGER NOT NULL) STRICT;
CREATE TABLE docs (
  id      INTEGER PRIMARY KEY,
  site    TEXT NOT NULL,
  kind    TEXT NOT NULL,
  ident   TEXT NOT NULL,
  place   INTEGER NOT NULL,            -- of the newest record, in the record log
  made    TEXT NOT NULL,               -- RFC 3339: when the site says that it was made, else when it was seen
  missing INTEGER NOT NULL,            -- 1: a file is not held
  gone    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (site, kind, ident)
) STRICT;
CREATE TABLE tags (
  tag TEXT NOT NULL,
  doc INTEGER NOT NULL,
  PRIMARY KEY (tag, doc)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_of ON tags(doc);
-- The words alone: the texts are in the record log.
CREATE VIRTUAL TABLE words USING fts5(
  title, author, tags, text, content = '', contentless_delete = 1, tokenize = \"unicode61 remove_diacritics 2\"
);";

/// An item as it is searched.
#[derive(Debug)]
pub struct Indexed<'a> {
    /// The site's id.
    pub site: &'a str,
    /// Of the item.
    pub kind: &'a str,
    /// Of the item.
    pub id: &'a str,
    /// Where its record stands in the log.
    pub place: u64,
    /// When it was made, or seen.
    pub made: &'a str,
    /// Whether a file is not held.
    pub missing: bool,
    /// Searched.
    pub title: &'a str,
    /// Searched.
    pub text: &'a str,
    /// Id and name; searched.
    pub author: &'a str,
    /// Searched, and known whole.
    pub tags: &'a [String],
}

/// The index, open for reading and writing.
#[derive(Debug)]
pub struct SearchIndex {
    db: Connection,
}

impl SearchIndex {
    /// Opens the index of a state folder; an empty one where there is none that fits the archive and its log, of which
    /// `committed` bytes are known.
    ///
    /// # Errors
    /// When it cannot be opened or made.
    pub fn open(state: &Path, archive: &str, committed: u64) -> Result<Self, Error> {
        let path = state.join("find.db");
        let fits = |index: &Self| -> rusqlite::Result<bool> {
            let sql = "SELECT version = ? AND archive = ? AND read_to <= ? FROM meta";
            let fits = index.db.query_row(
                sql,
                params![VERSION, archive, committed.cast_signed()],
                |row| row.get(0),
            );
            Ok(fits.optional()?.unwrap_or(false))
        };
        if path.exists()
            && let Ok(index) = Self::connect(&path)
            && fits(&index).unwrap_or(false)
        {
            return Ok(index);
        }
        for end in ["", "-wal", "-shm", "-journal"] {
            let file = state.join(format!("find.db{end}"));
            match fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(crate::archive::Error::io("remove", file)(error).into());
                }
                _ => {}
            }
        }
        let index = Self::connect(&path)?;
        index.db.execute_batch("BEGIN")?;
        index.db.execute_batch(SCHEMA)?;
        let sql = "INSERT INTO meta VALUES (?, ?, 0)";
        index.db.execute(sql, (VERSION, archive))?;
        index.db.execute_batch("COMMIT")?;
        Ok(index)
    }

    fn connect(path: &Path) -> Result<Self, Error> {
        keep_private(path)?;
        let what = Error::database("open the search index");
        let db = Connection::open(path).map_err(&what)?;
        db.busy_timeout(std::time::Duration::from_mins(1))
            .map_err(&what)?;
        // What a crash loses is read from the log again.
        db.pragma_update(None, "journal_mode", "WAL")
            .map_err(&what)?;
        db.pragma_update(None, "synchronous", "NORMAL")
            .map_err(&what)?;
        Ok(Self { db })
    }

    /// How far the log has been read.
    pub fn read_to(&self) -> u64 {
        let read = self
            .db
            .query_row("SELECT read_to FROM meta", [], |row| row.get(0));
        read.map_or(0, i64::cast_unsigned)
    }

    /// Begins a batch. Another larder that searches is waited for.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn begin(&self) -> Result<(), Error> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Ends a batch, with which the log has been read up to `read_to`.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn commit(&self, read_to: u64) -> Result<(), Error> {
        self.db.execute(
            "UPDATE meta SET read_to = max(read_to, ?)",
            [read_to.cast_signed()],
        )?;
        Ok(self.db.execute_batch("COMMIT")?)
    }

    /// Forgets what the batch has read.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn rollback(&self) -> Result<(), Error> {
        Ok(self.db.execute_batch("ROLLBACK")?)
    }

    /// Takes a record in, in place of an older one of its item.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn put(&self, item: &Indexed<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO docs (site, kind, ident, place, made, missing) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT DO UPDATE SET place = ?4, made = ?5, missing = ?6 RETURNING id";
        let doc: i64 = self.db.prepare_cached(sql)?.query_row(
            params![
                item.site,
                item.kind,
                item.id,
                item.place.cast_signed(),
                item.made,
                item.missing
            ],
            |row| row.get(0),
        )?;
        let run = |sql: &str| -> Result<(), Error> {
            self.db.prepare_cached(sql)?.execute([doc])?;
            Ok(())
        };
        run("DELETE FROM words WHERE rowid = ?")?;
        run("DELETE FROM tags WHERE doc = ?")?;
        let sql = "INSERT INTO words (rowid, title, author, tags, text) VALUES (?, ?, ?, ?, ?)";
        self.db.prepare_cached(sql)?.execute(params![
            doc,
            indexed(item.title),
            indexed(item.author),
            indexed(&item.tags.join(" ")),
            indexed(item.text)
        ])?;
        let mut insert = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO tags VALUES (?, ?)")?;
        for tag in item.tags {
            insert.execute((tag, doc))?;
        }
        Ok(())
    }

    /// Notes that the site has removed an item, or has it again.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_gone(&self, (site, kind, id): (&str, &str, &str), gone: bool) -> Result<(), Error> {
        let sql = "UPDATE docs SET gone = ?4 WHERE site = ?1 AND kind = ?2 AND ident = ?3";
        self.db
            .prepare_cached(sql)?
            .execute((site, kind, id, gone))?;
        Ok(())
    }

    /// The items that a question holds for, the newest made first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn find(&self, query: &Query) -> Result<Vec<Hit>, Error> {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for term in &query.terms {
            let (sql, value) = condition(term);
            conditions.push(sql);
            values.extend(value.map(Value::Text));
        }
        let sql = format!(
            "SELECT site, kind, ident, place FROM docs d WHERE {} ORDER BY made DESC, id DESC",
            conditions.join(" AND ")
        );
        let mut select = self.db.prepare(&sql)?;
        let rows = select.query_map(rusqlite::params_from_iter(values), |row| {
            Ok(Hit {
                site: row.get(0)?,
                kind: row.get(1)?,
                id: row.get(2)?,
                place: row.get::<_, i64>(3)?.cast_unsigned(),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A term as SQL, with the value of its `?`.
fn condition(Term { not, is }: &Term) -> (String, Option<String>) {
    let (sql, value) = match is {
        Condition::Match(words) => (
            "d.id IN (SELECT rowid FROM words WHERE words MATCH ?)".to_owned(),
            Some(words.clone()),
        ),
        Condition::Tag { name, open: false } => (
            "d.id IN (SELECT doc FROM tags WHERE tag = ?)".to_owned(),
            Some(name.clone()),
        ),
        Condition::Tag { name, open: true } => (
            "d.id IN (SELECT doc FROM tags WHERE tag GLOB ?)".to_owned(),
            Some(format!("{}*", escaped(name))),
        ),
        Condition::Is(column, value) => (format!("d.{column} = ?"), Some(value.clone())),
        Condition::After(day) => ("d.made >= ?".to_owned(), Some(day.clone())),
        Condition::Before(day) => ("d.made < ?".to_owned(), Some(day.clone())),
        Condition::Missing => ("d.missing".to_owned(), None),
        Condition::Gone => ("d.gone".to_owned(), None),
    };
    (if *not { format!("NOT ({sql})") } else { sql }, value)
}

/// GLOB's own characters as themselves.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |text, c| match c {
        '*' | '?' | '[' => text + &format!("[{c}]"),
        c => text + &c.to_string(),
    })
}
