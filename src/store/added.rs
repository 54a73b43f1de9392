//! Jobs that `larder add` keeps, and how any job is forgotten.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Error, Group, Reader, catalog};
use crate::clock::Millis;

/// A job that `larder add` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// The keys of a job file, as TOML.
    pub definition: String,
    /// What each of its web addresses stood for, in words of the caller's own, to know it again.
    pub addresses: Vec<String>,
    /// When it was added.
    pub at: Millis,
}

/// What forgetting a job did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The job's row, where it was ever run.
    pub job: Option<i64>,
    /// Tasks that were dropped this time, failures among them.
    pub tasks: usize,
    /// Whether there is more to drop: ask again.
    pub more: bool,
}

/// Tasks that one act forgets: what it says of their items is in memory until it commits.
const AT_ONCE: usize = 1000;

/// Keeps a job. One of its name is replaced.
pub(super) fn keep(db: &Connection, added: &Added) -> rusqlite::Result<()> {
    let addresses = serde_json::to_string(&added.addresses).expect("texts are JSON");
    db.prepare_cached(
        "INSERT OR REPLACE INTO added (name, definition, addresses, at) VALUES (?, ?, ?, ?)",
    )?
    .execute((&added.name, &added.definition, addresses, added.at))?;
    Ok(())
}

impl Group<'_> {
    /// Keeps a job. One of its name is replaced.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn keep_added(&mut self, added: &Added) -> Result<(), Error> {
        Ok(keep(self.db, added)?)
    }

    /// Drops a job: its definition if `larder add` keeps it, its runs, and what it still has in the queue. What it archived
    /// stays; an item of which a file or follow-up was still to come is recorded as far as it is known.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn forget(&mut self, name: &str) -> Result<Forgotten, Error> {
        self.db
            .prepare_cached("DELETE FROM added WHERE name = ?")?
            .execute([name])?;
        let job: Option<i64> = self
            .db
            .prepare_cached("SELECT id FROM jobs WHERE name = ?")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let Some(job) = job else {
            return Ok(Forgotten::default());
        };
        let (rows, tasks) = self.drop_tasks(job)?;
        let forgotten = Forgotten {
            job: Some(job),
            tasks,
            more: rows == AT_ONCE,
        };
        if !forgotten.more {
            for sql in [
                // The number of a run is given again, and an item must not seem to have been seen by that one.
                "UPDATE items SET run = 0 WHERE run IN (SELECT id FROM runs WHERE job = ?)",
                "DELETE FROM runs WHERE job = ?",
                "DELETE FROM jobs WHERE id = ?",
            ] {
                self.db.prepare_cached(sql)?.execute([job])?;
            }
        }
        Ok(forgotten)
    }

    /// Returns how many rows were dropped, and how many of them were not done.
    fn drop_tasks(&mut self, job: i64) -> Result<(usize, usize), Error> {
        struct Dropped {
            id: i64,
            run: i64,
            kind: String,
            key: String,
            state: String,
            item: Option<i64>,
            file: (Option<String>, Option<u32>),
        }
        // Uses the unique key of tasks.
        let mut select = self.db.prepare_cached(
            "SELECT id, run, kind, key, state, item, role, idx FROM tasks WHERE job = ? LIMIT ?",
        )?;
        let rows = select.query_map((job, AT_ONCE as i64), |row| {
            Ok(Dropped {
                id: row.get(0)?,
                run: row.get(1)?,
                kind: row.get(2)?,
                key: row.get(3)?,
                state: row.get(4)?,
                item: row.get(5)?,
                file: (row.get(6)?, row.get(7)?),
            })
        })?;
        let rows: Vec<Dropped> = rows.collect::<Result<_, _>>()?;
        for task in &rows {
            self.db
                .prepare_cached("DELETE FROM tasks WHERE id = ?")?
                .execute([task.id])?;
            let open = !matches!(task.state.as_str(), "done" | "failed");
            let Some(item) = task.item.filter(|_| open) else {
                continue;
            };
            let mut items = vec![item];
            if task.kind == "file" {
                if wanted_elsewhere(self.db, &task.key)? {
                    continue;
                }
                items.extend(self.leave_files(&task.key, item, &task.file)?);
            }
            for item in items {
                catalog::finish_if_complete(self, task.run, item)?;
            }
        }
        let tasks = rows.iter().filter(|task| task.state != "done").count();
        Ok((rows.len(), tasks))
    }

    /// Nobody asks for these bytes any more: the files that wait for them are missing, without a reason. Returns their items.
    fn leave_files(
        &self,
        key: &str,
        item: i64,
        file: &(Option<String>, Option<u32>),
    ) -> Result<Vec<i64>, Error> {
        let (role, index) = file;
        let left = "UPDATE files SET state = CASE WHEN object IS NULL THEN 'missing' ELSE 'held' END WHERE state = 'waiting'";
        self.db
            .prepare_cached(&format!("{left} AND item = ? AND role = ? AND idx = ?"))?
            .execute((item, role, index))?;
        let Ok(md5) = hex::decode(key) else {
            return Ok(Vec::new());
        };
        // Uses files_waiting.
        let sql = format!("{left} AND md5 = ? AND md5 IS NOT NULL RETURNING item");
        let mut same = self.db.prepare_cached(&sql)?;
        let items = same.query_map([md5], |row| row.get(0))?;
        Ok(items.collect::<Result<_, _>>()?)
    }
}

/// Whether another job has the same file in the queue; its tasks have the same key. Uses the unique key of tasks.
fn wanted_elsewhere(db: &Connection, key: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (
                 SELECT 1 FROM jobs j JOIN tasks t ON t.job = j.id AND t.kind = 'file' AND t.key = ?
                 WHERE t.state IN ('ready', 'waiting', 'leased'))";
    Ok(db.prepare_cached(sql)?.query_row([key], |row| row.get(0))?)
}

impl Reader {
    /// The jobs that `larder add` keeps, by name; those that the larder at work was asked to keep count as kept.
    ///
    /// # Errors
    /// When SQLite refuses, or a row does not read as what it should be.
    pub fn added(&self) -> Result<Vec<Added>, Error> {
        // A database that no newer larder has written to yet has no such table.
        let has = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'added')";
        if !self.db().query_row(has, [], |row| row.get(0))? {
            return Ok(Vec::new());
        }
        let mut added = Vec::new();
        let mut select = self
            .db()
            .prepare("SELECT name, definition, addresses, at FROM added ORDER BY name")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let addresses: String = row.get(2)?;
            let addresses = serde_json::from_str(&addresses)
                .map_err(|_| Error::Damaged(format!("the added job `{name}`")))?;
            added.push(Added {
                name,
                definition: row.get(1)?,
                addresses,
                at: row.get(3)?,
            });
        }
        let mut select = self
            .db()
            .prepare("SELECT payload FROM requests WHERE verb = 'add' ORDER BY id")?;
        for payload in select.query_map([], |row| row.get::<_, Option<String>>(0))? {
            let asked = payload?.and_then(|payload| serde_json::from_str::<Added>(&payload).ok());
            if let Some(asked) = asked {
                added.retain(|one| one.name != asked.name);
                added.push(asked);
            }
        }
        added.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Request, Store, ask};

    fn added(name: &str) -> Added {
        Added {
            name: name.to_owned(),
            definition: "site = \"x\"".to_owned(),
            addresses: vec!["x posts {}".to_owned()],
            at: 7,
        }
    }

    #[test]
    fn a_database_of_the_first_schema_has_no_added_jobs() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Connection::open(Store::path_in(folder.path())).expect("a database");
        db.execute_batch(include_str!("schema/0001.sql"))
            .expect("its schema");
        db.pragma_update(None, "user_version", 1)
            .expect("its version");
        let reader = Reader::open(folder.path()).expect("opens").expect("there");
        assert_eq!(reader.added().expect("reads"), Vec::new());
    }

    #[test]
    fn what_is_asked_for_counts_as_kept_and_a_later_word_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        crate::store::schema_for_tests(folder.path());
        let later = Added {
            at: 9,
            ..added("b")
        };
        let asked = [
            Request::Add(added("b")),
            Request::Add(added("a")),
            Request::Add(later.clone()),
        ];
        ask(folder.path(), &asked, 1).expect("left");
        let reader = Reader::open(folder.path()).expect("opens").expect("there");
        assert_eq!(reader.added().expect("reads"), [added("a"), later]);
    }

    #[test]
    fn nothing_can_be_asked_where_no_database_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let error =
            ask(folder.path(), &[Request::Forget("a".to_owned())], 1).expect_err("no database");
        assert!(error.to_string().contains("leave a request"), "{error}");
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0
        );
    }
}
