//! A page's end: its items, what they need, the next page and the page itself, in one act.

use rusqlite::params;

use super::{
    CensusPage, Day, Error, Group, Lease, PageTask, Verdict, Why, catalog, census,
    counts::RunCounts,
};
use crate::{
    archive::Digest,
    class::Class,
    dialect::{Item, Position, Step},
    text::one_line,
};

/// What a page showed, ready to be stored.
#[derive(Debug)]
pub struct PageCommit {
    /// The claim.
    pub lease: Lease,
    /// The page.
    pub task: PageTask,
    /// The site's id.
    pub site: String,
    /// `host:port` of the site's pages.
    pub host: String,
    /// Roles of files that the job wants.
    pub roles: Vec<String>,
    /// Its items.
    pub items: Vec<Seen>,
    /// Pages of other endpoints that belong to the same listing, each with its host.
    pub continued: Vec<(PageTask, String)>,
    /// That the item which this page is about is gone upstream: why, and the reply as JSON.
    pub gone: Option<(String, Option<String>)>,
    /// Whether items are looked up again whatever is known of them.
    pub full: bool,
    /// Whether the address of a file always means the same bytes.
    pub immutable: bool,
    /// `host:port` of hosts that files may not come from.
    pub refused: std::collections::BTreeSet<String>,
    /// Entries that no filter could read, as (raw JSON, message).
    pub bad: Vec<(String, String)>,
    /// Items that `where` refused.
    pub filtered: u64,
    /// Entries of the whole listing, where the site says.
    pub total: Option<u64>,
    /// What days are remembered under, where the page is of the walk of one.
    pub days: Option<Digest>,
    /// Where whole walks tell what is gone: what this page adds to that.
    pub census: Option<CensusPage>,
    /// What comes next.
    pub step: Step,
}

/// An item of a page, with the pages that it leads to and the host of each.
#[derive(Debug)]
pub struct Seen {
    /// What the page says of it.
    pub item: Item,
    /// Without these it is not whole.
    pub needs: Vec<(PageTask, String)>,
    /// These are wanted along with it.
    pub with: Vec<(PageTask, String)>,
    /// Digest of what was said of it, which decides whether `needs` would tell anything new; none when it needs nothing.
    pub said: Option<Digest>,
}

/// What became of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// The claim was lost meanwhile; nothing was stored.
    Stale,
    /// Stored; whether another page follows.
    Stored {
        /// Another page of the same listing, or another day of it, is in the queue.
        more: bool,
    },
    /// Its items are stored, but the walk cannot go on.
    Failed(Class, String),
}

/// Pages in a row without anything new, after which a listing goes round in circles.
pub const MOST_STALE: u32 = 2;

impl Group<'_> {
    /// Stores a page. A crash is before it or after it, never inside.
    ///
    /// # Errors
    /// When a row cannot be read or written: then nothing of the page is stored.
    pub fn commit_page(&mut self, page: PageCommit) -> Result<PageOutcome, Error> {
        let PageCommit {
            lease,
            task,
            site,
            host,
            roles,
            items,
            continued,
            gone,
            full,
            immutable,
            refused,
            bad,
            filtered,
            total,
            days,
            census,
            step,
        } = page;
        if !self.holds(&lease)? {
            return Ok(PageOutcome::Stale);
        }
        self.refused = refused;
        let (mut shown, mut new) = (0, 0);
        let known = self.changes.items;
        let thread = census.as_ref();
        let thread =
            thread.map(|page| census::begin(self, &lease, page, task.depth == 0, task.item));
        let thread = thread.transpose()?;
        for seen in items {
            self.rechecks = !immutable;
            let sight = catalog::Sight {
                site: &site,
                seen,
                roles: &roles,
                endpoint: &task.endpoint,
                full,
                completes: task.item,
                day: task.day.map(|day| day.date),
                listed: task.depth == 0,
            };
            shown += 1;
            let counted = census.as_ref().zip(thread);
            let counted = counted.filter(|(page, _)| page.kind == sight.seen.item.kind);
            let counted = counted.map(|(_, thread)| (thread, sight.seen.item.id.clone()));
            new += usize::from(catalog::sight(self, &lease, sight)?);
            if let (Some((thread, id)), Some(page)) = (counted, &census) {
                census::saw(self, lease.run, thread, &site, &page.kind, &id)?;
            }
        }
        for (raw, message) in &bad {
            let start: String = raw.chars().take(120).collect();
            let message = one_line(&format!(
                "{message}, in an entry of `{}`: {start}",
                task.endpoint
            ));
            self.keep_bad(&lease, &task.endpoint, raw, &message)?;
        }
        self.changes.run(lease.run).filtered += i64::try_from(filtered).unwrap_or(i64::MAX);
        // Of many days that are walked, none has the total of all.
        if task.depth == 0
            && task.day.is_none()
            && let Some(total) = total
        {
            let total = i64::try_from(total).unwrap_or(i64::MAX);
            self.db
                .prepare_cached("UPDATE runs SET total = ? WHERE id = ?")?
                .execute((total, lease.run))?;
        }
        // The first round tells what the archive did not know, the next ones what this walk had not met.
        let unmet = if task.at.round == 0 {
            self.changes.items > known
        } else {
            new > 0
        };
        let news = task.at.news || unmet;
        let step = match step {
            // A day that is over stands still, and one that is not is walked again by the next run anyway.
            Step::Unless(begin) if news && task.day.is_none() => Step::Next(begin),
            Step::Unless(_) => Step::End,
            Step::Next(at) if at.round == task.at.round => Step::Next(Position { news, ..at }),
            step => step,
        };
        let showed = filtered + u64::try_from(shown + bad.len()).unwrap_or(u64::MAX);
        if task.depth == 0 && task.day.is_none() && step == Step::End {
            self.keep_total(lease.run, task.at.met.saturating_add(showed))?;
        }
        if let (Some(page), Some(thread), Step::End, true) =
            (&census, thread, &step, bad.is_empty())
        {
            census::end(self, &lease, thread, page, task.item)?;
        }
        let day = task.day.zip(days).map(|(day, walk)| {
            // An entry that no filter could read is tried again by the next walk: there must be one.
            let settled = day.settled && bad.is_empty();
            (Day { settled, ..day }, walk)
        });
        if let Some((day, walk)) = day {
            let ends = matches!(step, Step::End);
            self.remember_day(walk, day, ends, bad.is_empty())?;
        }
        if let (Some((why, raw)), Some(item)) = (&gone, task.item) {
            catalog::not_there(self, lease.run, item, &task.endpoint, why, raw.as_deref())?;
        }
        let mut more = false;
        for (page, host) in &continued {
            more |= catalog::queue_page(self, &lease, page, host, page.item)?;
        }
        if matches!(step, Step::Wall) {
            self.note_wall(&lease, &task)?;
        }
        let outcome = match step {
            Step::End | Step::Unless(_) | Step::Wall => PageOutcome::Stored {
                more: more || day.is_some() && self.walks_on(&lease, &host)?,
            },
            Step::Stuck(why) => PageOutcome::Failed(Class::Listing, why),
            Step::Next(mut at) => {
                let same = showed > 0 && at.shown.is_some() && at.shown == task.at.shown;
                // A slice begins with what the one before ended with.
                let sliced = at.slices > task.at.slices;
                // And a page that is asked once more shows what it showed.
                let again = at.again || task.at.again;
                let repeats = ((shown > 0 && new == 0) || same) && !sliced && !again;
                at.stale = if repeats { task.at.stale + 1 } else { 0 };
                // New entries at the top push known ones onto later pages: as many stale pages as that are no circle.
                // And in a later round all is known, which is what it is for.
                let circle = at.stale >= MOST_STALE
                    && (same || at.round == 0 && u64::from(at.stale) * 2 > at.number);
                let next = PageTask {
                    at,
                    day: day.map(|(day, _)| day),
                    ..task.clone()
                };
                if circle || !catalog::queue_page(self, &lease, &next, &host, task.item)? {
                    PageOutcome::Failed(
                        Class::Loop,
                        "the listing shows the same entries again and again".to_owned(),
                    )
                } else {
                    PageOutcome::Stored { more: true }
                }
            }
        };
        if let PageOutcome::Failed(class, why) = &outcome {
            let why = Why {
                class: *class,
                message: why.clone(),
                url: None,
            };
            self.fail(&lease, &why, &Verdict::Failed)?;
            return Ok(outcome);
        }
        self.db
            .prepare_cached(
                "UPDATE tasks SET state = 'done', token = NULL, lease = NULL, crashes = 0 WHERE id = ?",
            )?
            .execute([lease.task])?;
        self.changes.run(lease.run).add(&RunCounts {
            pages_done: 1,
            pages_waiting: -1,
            ..RunCounts::default()
        });
        if let Some(item) = task.item {
            catalog::finish_if_complete(self, lease.run, item)?;
        }
        Ok(outcome)
    }

    /// Keeps that the site shows no more of a job's listing, though there is more.
    fn note_wall(&mut self, lease: &Lease, task: &PageTask) -> Result<(), Error> {
        let wall = match task.depth {
            0 => "the site stops showing this listing before its end".to_owned(),
            _ => format!(
                "the site stops showing some `{}` before their end",
                task.endpoint
            ),
        };
        let sql = "UPDATE runs SET wall = coalesce(wall, ?2) WHERE id = ?1";
        self.db.prepare_cached(sql)?.execute((lease.run, wall))?;
        Ok(())
    }

    /// Keeps how many entries a whole walk has met, for the next one to compare with; where the site says, it knows better.
    fn keep_total(&mut self, run: i64, met: u64) -> Result<(), Error> {
        let met = i64::try_from(met).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("UPDATE runs SET total = coalesce(total, ?1) WHERE id = ?2")?
            .execute((met, run))?;
        Ok(())
    }

    /// Keeps an entry that no filter could read, with what the site sent.
    fn keep_bad(
        &mut self,
        lease: &Lease,
        endpoint: &str,
        raw: &str,
        message: &str,
    ) -> Result<(), Error> {
        let key = hex::encode(&Digest::of(raw.as_bytes()).as_bytes()[..16]);
        let new = self
            .db
            .prepare_cached(
                "INSERT INTO tasks (job, run, kind, key, host, state, payload, class, message, first_at, last_at, tries)
                 VALUES (?1, ?2, 'entry', ?3, ?4, 'failed', ?5, ?6, ?7, ?8, ?8, 1)
                 ON CONFLICT (job, kind, key) DO UPDATE SET run = excluded.run, last_at = excluded.last_at, message = excluded.message
                 WHERE tasks.run <> excluded.run",
            )?
            .execute(params![lease.job, lease.run, key, endpoint, raw, Class::Dialect.word(), message, self.now])?;
        if new > 0 {
            self.changes.run(lease.run).items_failed += 1;
        }
        Ok(())
    }
}
