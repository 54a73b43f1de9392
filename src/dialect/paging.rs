//! How a listing is walked: from one page to the next, and when the end is believed.
//!
//! **Invariant:** an end is believed only when the reply proves it; otherwise the same page is asked once more. A short
//! page is an end only where the dialect says so.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::filter::Filter;

/// Template variables that name a page, opaque to everything but the dialect.
pub type Cursor = Map<String, Value>;

/// The ways of walking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Page numbers in `page`.
    Page,
    /// Numbers of entries to skip in `offset`.
    Offset,
    /// A cursor that `next` reads from the reply; no cursor is the proven end.
    Cursor,
    /// A bound that `next` takes from the entries, such as the smallest id.
    Keyset,
    /// One reply is all there is.
    Once,
}

impl By {
    /// Every way, by its word in TOML.
    pub const ALL: [(&'static str, Self); 5] = [
        ("page", Self::Page),
        ("offset", Self::Offset),
        ("cursor", Self::Cursor),
        ("keyset", Self::Keyset),
        ("once", Self::Once),
    ];
}

/// One way to walk a listing.
#[derive(Debug)]
pub struct Paging {
    /// Which way.
    pub by: By,
    /// The first page number or offset.
    pub first: i64,
    /// Entries asked for, as variable `limit`; `None` where the site does not let one choose.
    pub size: Option<u32>,
    /// The largest size that a site's `page_size` may ask for.
    pub max: Option<u32>,
    /// Entries of the page before that are asked for again (offset only), to notice a shift.
    pub overlap: u32,
    /// Whether fewer entries than `size` prove the end.
    pub short_ends: bool,
    /// Whether the site shows its last page again and again beyond the last that it shows at all.
    pub repeats: bool,
    /// Whether the site counts entries that it does not show: pages may be short, and empty in the middle.
    pub hidden: bool,
    /// Rounds of one walk at most, where entries may slide from page to page unseen.
    pub rounds: u32,
    /// jq predicate over the parameters; the first paging whose predicate holds is taken.
    pub when: Option<Filter>,
}

/// Where a walk stands: everything that the request for a page depends on, and what the walk remembers of the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Template variables of this page.
    pub cursor: Cursor,
    /// Number of this page in its walk, from 0.
    pub number: u64,
    /// Whether the last page was as long as was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_full: bool,
    /// Whether this page is asked once more because its emptiness proved nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Pages in a row that held nothing new to this run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u32,
    /// Digest of the ids that the page before showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// Empty pages in a row that were passed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u32,
    /// Slices of the listing begun so far, each to go past the wall of the one before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slices: u32,
    /// Steps back in a row because the seam did not match.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub back: u32,
    /// Entries of a page, where page numbers count in them: a walk keeps the size that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Steps back so far: what is asked again after one is no loop.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pass: u32,
    /// Ids of the last entries of the page before, where the paging overlaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seam: Vec<String>,
    /// Entries that the pages before this one showed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub met: u64,
    /// The most entries that a page before this one said the listing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// How often the listing was walked from its beginning before, in this walk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
    /// How many of the total the entries of the pages before this one stand for.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stood: u64,
    /// Whether this round has met something that was not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub news: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// What a reply showed.
#[derive(Debug, Default)]
pub struct Shown {
    /// Entries, good and bad.
    pub count: usize,
    /// Output of `next`.
    pub next: Option<Cursor>,
    /// Output of `total`.
    pub total: Option<u64>,
    /// Output of `last`: whether the reply says that it is the last.
    pub last: Option<bool>,
    /// Output of `stands`: how many of the total its entries stand for.
    pub stands: Option<u64>,
    /// Whether the site says that it shows no more, though there is more.
    pub wall: bool,
    /// Output of `slice`: variables of a narrower listing that begins where this page ends.
    pub slice: Option<Cursor>,
    /// Ids of the entries, in order; of an unreadable one a digest.
    pub ids: Vec<String>,
}

/// What to do after a page.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Ask this page.
    Next(Position),
    /// The listing is finished.
    End,
    /// The site shows no more of it, though there is more.
    Wall,
    /// The listing is finished, unless this round of the walk has met something new: then it may have missed what slid
    /// from one page to another meanwhile, and this is where the next round begins.
    Unless(Position),
    /// The walk cannot go on.
    Stuck(String),
}

/// Steps back over a shifting seam before the walk gives up on catching it.
const MOST_BACK: u32 = 5;
/// Rounds of one walk: a listing that changes all the time is never the same twice.
pub(super) const MOST_ROUNDS: u32 = 4;
/// Empty pages in a row within a listing that says it goes on: more are no listing.
const MOST_SKIPPED: u32 = 20;
/// Entries that a site may count without showing them, whatever the size of the listing.
const SLACK: u64 = 10;
/// An earlier walk that met fewer entries proves nothing.
const TELLING: u64 = 20;

impl Paging {
    /// A single reply.
    pub fn once() -> Self {
        Self {
            by: By::Once,
            first: 0,
            size: None,
            max: None,
            overlap: 0,
            short_ends: false,
            repeats: false,
            hidden: false,
            rounds: MOST_ROUNDS,
            when: None,
        }
    }

    /// Whether nothing but `next` says how a walk goes on.
    pub fn needs_next(&self) -> bool {
        matches!(self.by, By::Cursor | By::Keyset)
    }

    /// Where a walk begins.
    pub fn start(&self) -> Position {
        let mut cursor = Cursor::new();
        match self.by {
            By::Page => drop(cursor.insert("page".to_owned(), self.first.into())),
            By::Offset => drop(cursor.insert("offset".to_owned(), self.first.into())),
            By::Cursor | By::Keyset | By::Once => {}
        }
        Position {
            cursor,
            ..Position::default()
        }
    }

    /// Entries to ask for, with `page_size` of the site.
    pub fn limit(&self, page_size: Option<u32>) -> Option<u32> {
        match (self.max, page_size) {
            (Some(max), Some(size)) => Some(size.clamp(1, max)),
            _ => self.size,
        }
    }

    /// The step after the page at `at` showed `shown`, having asked for `limit` entries.
    pub fn step(&self, at: &Position, shown: &Shown, limit: Option<u32>) -> Step {
        // Without a full page before this one, nothing can have slid from one to the other.
        let seams = at.met >= limit.unwrap_or(1).into();
        if shown.wall {
            return Step::Wall;
        }
        match self.follow(at, shown, limit) {
            // The reply says that it is the last, and the site that there is far more.
            Step::End if !at.again && self.by != By::Once && lacks(at, shown).is_some() => {
                Step::Next(Position {
                    again: true,
                    number: at.number + 1,
                    ..at.clone()
                })
            }
            // Every page has shown as many as every page said that there are.
            Step::End if self.is_whole(at, shown) => Step::End,
            Step::End if self.drifts() && seams && at.round + 1 < self.rounds => {
                Step::Unless(Position {
                    number: at.number + 1,
                    pass: at.pass + 1,
                    round: at.round + 1,
                    limit: at.limit,
                    ..self.start()
                })
            }
            step => step,
        }
    }

    /// Whether entries that come or go move others from page to page, and no overlap shows it.
    fn drifts(&self) -> bool {
        matches!(self.by, By::Page | By::Offset) && self.overlap == 0
    }

    /// Why the emptiness of the page at `at` cannot be the end of the listing: it has said itself that there is more, or an
    /// earlier walk has met far more.
    pub fn doubts(
        &self,
        at: &Position,
        shown: &Shown,
        limit: Option<u32>,
        earlier: Option<u64>,
    ) -> Option<String> {
        if at.again
            && let Some((stood, total)) = lacks(at, shown).filter(|(a, b)| a * 2 < *b)
            && self.follow(at, shown, limit) == Step::End
        {
            return Some(format!(
                "the listing ends where it has shown {stood} of {total}: the site shows this reader no more"
            ));
        }
        if shown.count > 0 || self.by == By::Once || shown.wall {
            return None;
        }
        let met = self.place(at, limit).unwrap_or(at.met);
        // Sites count what they do not show: a tenth less is no contradiction.
        let promised = at.total.max(shown.total).filter(|_| !self.hidden);
        if let Some(total) = promised
            && shown.last != Some(true)
            && at.slices == 0
            && met.saturating_mul(10) < total.saturating_mul(9)
        {
            return Some(format!("an empty page came after {met} of {total} entries"));
        }
        let met = at.met;
        let earlier = earlier.filter(|earlier| *earlier >= TELLING && met < earlier / 2);
        earlier.filter(|_| at.round == 0).map(|earlier| {
            format!(
                "an empty page came after {met} entries where the walk before met {earlier}; if that is right, a later run \
                 takes it for the end"
            )
        })
    }

    /// Whether no entry can have slid from one page to another: a cursor stands where it stands, numbers move when what they
    /// count does.
    pub fn is_steady(&self, at: &Position, shown: &Shown) -> bool {
        !matches!(self.by, By::Page | By::Offset) || at.number == 0 || at.total == shown.total
    }

    /// Whether the walk has shown as many entries as the site says there are, which it has said all the time: then none can
    /// have slid from page to page unseen.
    fn is_whole(&self, at: &Position, shown: &Shown) -> bool {
        self.is_steady(at, shown)
            && shown.total.is_some()
            && shown.stands.map(|now| at.stood + now) == shown.total
    }

    /// Entries of the listing that lie before the page at `at`, where its number says so.
    fn place(&self, at: &Position, limit: Option<u32>) -> Option<u64> {
        match self.by {
            By::Offset => u64::try_from(number(&at.cursor, "offset", self.first)).ok(),
            By::Page => {
                let page = number(&at.cursor, "page", self.first) - self.first;
                Some(u64::try_from(page).ok()?.saturating_mul(limit?.into()))
            }
            By::Cursor | By::Keyset | By::Once => None,
        }
    }

    fn follow(&self, at: &Position, shown: &Shown, limit: Option<u32>) -> Step {
        let full = limit.is_none_or(|limit| shown.count >= limit as usize);
        let digest = (shown.count > 0).then(|| hex::encode(Sha256::digest(shown.ids.join("\n"))));
        let next = |cursor: Cursor| Position {
            cursor,
            number: at.number + 1,
            after_full: full,
            seam: self.seam(shown),
            stale: at.stale,
            pass: at.pass,
            met: at.met + shown.count as u64,
            stood: at.stood + shown.stands.unwrap_or(0),
            total: at.total.max(shown.total),
            round: at.round,
            news: at.news,
            limit: limit.filter(|_| self.by == By::Page),
            shown: digest.clone(),
            slices: at.slices,
            ..Position::default()
        };
        if shown.count == 0 {
            return self.empty(at, shown, limit);
        }
        if self.by != By::Once && (shown.last == Some(true) || self.short_ends && !full) {
            return Step::End;
        }
        if self.repeats && digest == at.shown {
            return self.wall(at, shown, limit, next);
        }
        match self.by {
            By::Once => Step::End,
            By::Page => {
                let page = number(&at.cursor, "page", self.first);
                let end = self.place(at, limit).zip(limit);
                let last = end.zip(shown.total).is_some_and(|((place, limit), total)| {
                    place.saturating_add(limit.into()) >= total
                });
                if last && !full {
                    return Step::End;
                }
                Step::Next(next(with_number(&at.cursor, "page", page + 1)))
            }
            By::Offset => self.offset(at, shown, limit, next),
            By::Cursor => shown
                .next
                .clone()
                .map_or(Step::End, |cursor| Step::Next(next(cursor))),
            By::Keyset => match &shown.next {
                Some(cursor) => Step::Next(next(cursor.clone())),
                None => Step::Stuck(
                    "the filter `next` gave no bound for a page that has entries".to_owned(),
                ),
            },
        }
    }

    fn offset(
        &self,
        at: &Position,
        shown: &Shown,
        limit: Option<u32>,
        next: impl Fn(Cursor) -> Position,
    ) -> Step {
        let offset = number(&at.cursor, "offset", self.first);
        let matches = at.seam.is_empty() || shown.ids.iter().any(|id| at.seam.contains(id));
        if !matches && at.back < MOST_BACK && offset > self.first {
            // Entries were removed before this page, so some slid into the pages already read: go back one page.
            let step = i64::try_from(shown.count).unwrap_or(1).max(1);
            let to = (offset - step).max(self.first);
            let mut back = next(with_number(&at.cursor, "offset", to));
            back.seam.clone_from(&at.seam);
            back.met = at.met;
            back.back = at.back + 1;
            back.pass = at.pass + 1;
            return Step::Next(back);
        }
        let shows = i64::try_from(shown.count).unwrap_or(i64::MAX);
        // Where entries are hidden they count all the same.
        let hides = limit
            .map(i64::from)
            .filter(|limit| self.hidden && *limit > shows);
        let count = hides.unwrap_or(shows);
        let end = offset.saturating_add(count);
        if shown
            .total
            .is_some_and(|total| u64::try_from(end).is_ok_and(|end| end >= total))
        {
            return Step::End;
        }
        // A site may allow fewer than were asked for: only what was shown is passed.
        let advance = (count - i64::from(self.overlap)).max((count + 1) / 2);
        let to = offset.saturating_add(advance);
        let mut next = next(with_number(&at.cursor, "offset", to));
        if hides.is_some() {
            // Where those that are shown stand is not known, so the next page need not show one of them.
            next.seam.clear();
        }
        Step::Next(next)
    }

    /// After a page that shows what the one before showed: the end, the wall, or a slice that begins there.
    fn wall(
        &self,
        at: &Position,
        shown: &Shown,
        limit: Option<u32>,
        next: impl Fn(Cursor) -> Position,
    ) -> Step {
        let place = self.place(at, limit).zip(shown.total);
        if place.is_some_and(|(place, total)| place >= total) {
            return Step::End;
        }
        let narrower = |slice: &&Cursor| slice.iter().any(|(k, v)| at.cursor.get(k) != Some(v));
        match shown.slice.as_ref().filter(narrower) {
            None => Step::Wall,
            Some(slice) => {
                let mut cursor = self.start().cursor;
                cursor.extend(slice.clone());
                Step::Next(Position {
                    slices: at.slices + 1,
                    shown: None,
                    seam: Vec::new(),
                    // A slice has fewer, but what there was before stays known.
                    total: at.total,
                    ..next(cursor)
                })
            }
        }
    }

    fn empty(&self, at: &Position, shown: &Shown, limit: Option<u32>) -> Step {
        let beyond = shown.total.zip(self.place(at, None));
        let beyond = beyond.map(|(total, place)| place >= total);
        let proven = shown.last == Some(true)
            || match self.by {
                By::Once => true,
                By::Cursor => shown.next.is_none(),
                By::Keyset => at.after_full,
                By::Page | By::Offset => beyond == Some(true),
            };
        if proven {
            return Step::End;
        }
        let again = Position {
            again: true,
            number: at.number + 1,
            ..at.clone()
        };
        if !at.again {
            return Step::Next(again);
        }
        // Empty twice. Where the reply says that more follows, a stretch of hidden entries is passed over.
        let goes_on = shown.last == Some(false) || self.hidden && beyond == Some(false);
        let step = match self.by {
            By::Page => Some(("page", 1)),
            By::Offset => limit.map(|limit| ("offset", i64::from(limit))),
            _ => None,
        };
        match step.filter(|_| goes_on) {
            None => Step::End,
            Some(_) if at.skipped >= MOST_SKIPPED => Step::Stuck(format!(
                "{MOST_SKIPPED} empty pages in a row, and the site says that more follows"
            )),
            Some((name, by)) => {
                let to = number(&at.cursor, name, self.first).saturating_add(by);
                Step::Next(Position {
                    cursor: with_number(&at.cursor, name, to),
                    skipped: at.skipped + 1,
                    again: false,
                    seam: Vec::new(),
                    ..again
                })
            }
        }
    }

    fn seam(&self, shown: &Shown) -> Vec<String> {
        let overlap = self.overlap as usize;
        shown.ids[shown.ids.len().saturating_sub(overlap)..].to_vec()
    }
}

/// How many of how many the walk has been shown with this page, where that is far less than the site says.
fn lacks(at: &Position, shown: &Shown) -> Option<(u64, u64)> {
    let total = at.total.max(shown.total)?;
    let stood = at.stood + shown.stands?;
    is_short(stood, total).then_some((stood, total))
}

/// Whether `shown` entries are far from being `total`: sites count what they do not show, so some may always be missing.
pub fn is_short(shown: u64, total: u64) -> bool {
    total.saturating_sub(shown) > (total / 10).max(SLACK)
}

fn number(cursor: &Cursor, name: &str, first: i64) -> i64 {
    cursor.get(name).and_then(Value::as_i64).unwrap_or(first)
}

/// `cursor` with another number; what else names the page, such as a slice, stays.
fn with_number(cursor: &Cursor, name: &str, value: i64) -> Cursor {
    let mut cursor = cursor.clone();
    cursor.insert(name.to_owned(), value.into());
    cursor
}

#[cfg(test)]
mod tests;
