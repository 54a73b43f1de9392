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
mod tests {
    use super::*;

    fn numbered(name: &str, value: i64) -> Cursor {
        with_number(&Cursor::new(), name, value)
    }

    fn paging(by: By) -> Paging {
        Paging {
            by,
            size: Some(2),
            ..Paging::once()
        }
    }

    /// Walks a listing of `all` ids under `paging`; `change` may alter it before each request. Returns ids and requests.
    fn walk(
        paging: &Paging,
        mut all: Vec<u32>,
        mut change: impl FnMut(usize, &mut Vec<u32>),
    ) -> (Vec<u32>, usize) {
        let (mut at, mut seen, mut requests) = (paging.start(), Vec::new(), 0);
        let mut news = false;
        let limit = paging.limit(None);
        loop {
            requests += 1;
            assert!(requests < 100, "the walk does not end");
            change(requests, &mut all);
            let size = limit.unwrap_or(2) as usize;
            let page: Vec<u32> = match paging.by {
                By::Page => {
                    let page = number(&at.cursor, "page", paging.first) - paging.first;
                    all.iter()
                        .copied()
                        .skip(page as usize * size)
                        .take(size)
                        .collect()
                }
                By::Offset => all
                    .iter()
                    .copied()
                    .skip(number(&at.cursor, "offset", 0) as usize)
                    .take(size)
                    .collect(),
                _ => {
                    let before = number(&at.cursor, "before", i64::MAX);
                    all.iter()
                        .copied()
                        .filter(|id| i64::from(*id) < before)
                        .take(size)
                        .collect()
                }
            };
            let shown = Shown {
                count: page.len(),
                next: page.last().map(|id| numbered("before", i64::from(*id))),
                ids: page.iter().map(u32::to_string).collect(),
                ..Shown::default()
            };
            news |= page.iter().any(|id| !seen.contains(id));
            seen.extend(page);
            match paging.step(&at, &shown, limit) {
                Step::Next(next) => at = next,
                Step::Unless(begin) if news => (at, news) = (begin, false),
                Step::End | Step::Unless(_) => return (seen, requests),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_keyset_walk_ends_at_once_after_a_full_page_and_asks_again_after_a_short_one() {
        let keyset = paging(By::Keyset);
        assert_eq!(
            walk(&keyset, vec![4, 3, 2, 1], |_, _| ()),
            (vec![4, 3, 2, 1], 3)
        );
        assert_eq!(walk(&keyset, vec![3, 2, 1], |_, _| ()), (vec![3, 2, 1], 4));
        assert_eq!(walk(&keyset, vec![], |_, _| ()), (vec![], 2));
    }

    #[test]
    fn a_keyset_walk_loses_nothing_while_entries_come_and_go() {
        let keyset = paging(By::Keyset);
        let (seen, _) = walk(&keyset, vec![9, 7, 5, 3, 1], |n, all| {
            all.insert(0, 10 + n as u32);
            all.retain(|id| *id != 9);
        });
        for id in [7, 5, 3, 1] {
            assert_eq!(
                seen.iter().filter(|s| **s == id).count(),
                1,
                "{id} in {seen:?}"
            );
        }
    }

    #[test]
    fn an_offset_walk_steps_back_when_entries_before_it_vanish() {
        let offset = Paging {
            overlap: 1,
            size: Some(3),
            ..paging(By::Offset)
        };
        let (seen, _) = walk(&offset, (1..=9).rev().collect(), |n, all| {
            if n == 2 {
                all.drain(..2);
            }
        });
        for id in 1..=7 {
            assert!(seen.contains(&id), "{id} in {seen:?}");
        }
    }

    #[test]
    fn a_page_walk_asks_once_more_before_it_believes_an_empty_page() {
        let pages = Paging {
            first: 1,
            ..paging(By::Page)
        };
        assert_eq!(walk(&pages, vec![1], |_, _| ()), (vec![1], 3));
        let short = Paging {
            short_ends: true,
            ..pages
        };
        assert_eq!(walk(&short, vec![1], |_, _| ()), (vec![1], 1));
    }

    #[test]
    fn fault_79_pages_are_walked_again_until_a_round_meets_nothing_new() {
        let pages = Paging {
            first: 1,
            ..paging(By::Page)
        };
        let offsets = paging(By::Offset);
        for drifting in [&pages, &offsets] {
            // Two rounds of three pages with entries and an empty one that is asked for twice.
            let all: Vec<u32> = (1..=5).rev().collect();
            let (seen, requests) = walk(drifting, all.clone(), |_, _| ());
            assert_eq!((seen, requests), ([&all[..], &all].concat(), 10));
            // Entries that go pull others over a seam that was passed; entries that come push some over it twice.
            let (seen, _) = walk(drifting, (1..=9).rev().collect(), |n, all| {
                if n == 3 {
                    all.drain(..2);
                }
                if n == 8 {
                    all.insert(0, 10);
                    all.retain(|id| *id != 6);
                }
            });
            for id in [1, 2, 3, 4, 5, 7, 10] {
                assert!(seen.contains(&id), "{id} in {seen:?}");
            }
            // A listing that never rests is left in the end.
            let (_, requests) = walk(drifting, (1..=4).rev().collect(), |n, all| {
                all.insert(0, 100 + n as u32);
                all.truncate(4);
            });
            assert!(requests < 30, "{requests}");
        }
        // Without a full page nothing can have slid, and an overlap shows it by itself.
        assert_eq!(walk(&pages, vec![1], |_, _| ()).1, 3);
        let overlapping = Paging {
            overlap: 1,
            size: Some(3),
            ..paging(By::Offset)
        };
        assert!(walk(&overlapping, vec![4, 3, 2, 1], |_, _| ()).1 < 6);
    }

    #[test]
    fn fault_80_an_empty_page_is_doubted_where_the_listing_or_an_earlier_walk_says_more() {
        let empty = |total| Shown {
            total,
            ..Shown::default()
        };
        let at = |met, total| Position {
            met,
            total,
            cursor: numbered("offset", met as i64),
            ..Position::default()
        };
        let doubts = |by, at: &Position, shown: &Shown, earlier| {
            paging(by).doubts(at, shown, Some(2), earlier).is_some()
        };
        for by in [By::Cursor, By::Keyset, By::Offset] {
            // It said so before, or says so now.
            assert!(doubts(by, &at(10, Some(100)), &empty(None), None));
            assert!(doubts(by, &at(10, Some(100)), &empty(Some(0)), None));
            assert!(doubts(by, &at(0, None), &empty(Some(7)), None));
            assert!(!doubts(by, &at(95, Some(100)), &empty(None), None));
            assert!(!doubts(by, &at(0, None), &empty(Some(0)), None));
            // An earlier walk met far more.
            assert!(doubts(by, &at(9, None), &empty(None), Some(20)));
            assert!(!doubts(by, &at(10, None), &empty(None), Some(20)));
            assert!(!doubts(by, &at(0, None), &empty(None), Some(19)));
        }
        // What lies behind the last entry is empty however many entries were hidden before it.
        let behind = Position {
            cursor: numbered("offset", 100),
            ..at(10, Some(100))
        };
        assert!(!doubts(By::Offset, &behind, &empty(Some(100)), None));
        let behind = Position {
            cursor: numbered("page", 50),
            ..at(10, Some(100))
        };
        assert!(!doubts(By::Page, &behind, &empty(None), None));
        // A page with entries is no end, and a listing of one reply has no other.
        let shown = Shown {
            count: 1,
            ..Shown::default()
        };
        assert!(!doubts(By::Keyset, &at(0, Some(9)), &shown, Some(50)));
        assert!(!doubts(By::Once, &at(0, Some(9)), &empty(None), Some(50)));
    }

    /// Walks days of entries, newest first, on a site that shows `wall` pages of two and then the last of them again.
    fn walk_with_wall(days: &[u32], wall: i64, slices: bool) -> (Vec<u32>, Step) {
        let search = Paging {
            first: 1,
            repeats: true,
            rounds: 1,
            ..paging(By::Page)
        };
        let (mut at, mut seen) = (search.start(), Vec::new());
        for _ in 0..200 {
            let until = number(&at.cursor, "until", i64::MAX);
            let within: Vec<u32> = days
                .iter()
                .copied()
                .filter(|id| i64::from(id / 10) <= until)
                .collect();
            let page = number(&at.cursor, "page", 1).min(wall);
            let from = (page as usize - 1) * 2;
            let page: Vec<u32> = within.iter().copied().skip(from).take(2).collect();
            let shown = Shown {
                count: page.len(),
                total: Some(within.len() as u64),
                ids: page.iter().map(u32::to_string).collect(),
                slice: page
                    .last()
                    .filter(|_| slices)
                    .map(|id| with_number(&Cursor::new(), "until", i64::from(id / 10))),
                ..Shown::default()
            };
            for id in page {
                if !seen.contains(&id) {
                    seen.push(id);
                }
            }
            match search.step(&at, &shown, Some(2)) {
                Step::Next(next) => at = next,
                end => return (seen, end),
            }
        }
        panic!("the walk does not end")
    }

    #[test]
    fn a_wall_is_told_from_the_end_and_slices_go_past_it() {
        // Entry 43 is of day 4.
        let days = [95, 94, 93, 82, 81, 70, 63, 62, 61, 50, 43, 42, 31];
        let (seen, end) = walk_with_wall(&days, 3, false);
        assert_eq!((seen, end), (days[..6].to_vec(), Step::Wall));
        let (seen, end) = walk_with_wall(&days, 3, true);
        assert_eq!((seen, end), (days.to_vec(), Step::End));
        // A day that is larger than the site shows cannot be sliced further.
        let day = [19, 18, 17, 16, 15, 14, 13, 12, 11, 3];
        let (seen, end) = walk_with_wall(&day, 3, true);
        assert_eq!((seen, end), (day[..6].to_vec(), Step::Wall));
        // What is shown again at the very end is the end.
        let (seen, end) = walk_with_wall(&days[..6], 3, true);
        assert_eq!((seen, end), (days[..6].to_vec(), Step::End));
    }

    #[test]
    fn the_reply_knows_best_whether_it_is_the_last() {
        let page = paging(By::Page);
        let shown = |count: usize, last| Shown {
            count,
            last: Some(last),
            ids: (0..count).map(|n| n.to_string()).collect(),
            ..Shown::default()
        };
        let at = page.start();
        assert_eq!(page.step(&at, &shown(2, true), Some(2)), Step::End);
        // Empty, but not the last: asked again, then passed over, but not for ever.
        let (mut at, mut requests) = (page.start(), 0);
        let why = loop {
            requests += 1;
            match page.step(&at, &shown(0, false), Some(2)) {
                Step::Next(next) => at = next,
                Step::Stuck(why) => break why,
                end => panic!("{end:?}"),
            }
        };
        assert_eq!(requests, 2 * (MOST_SKIPPED + 1));
        assert!(why.contains("empty pages"), "{why}");
    }

    #[test]
    fn a_stretch_of_hidden_entries_is_no_end_of_an_offset_walk() {
        let offset = Paging {
            size: Some(4),
            overlap: 1,
            hidden: true,
            ..paging(By::Offset)
        };
        // Entries 4 to 15 of 20 are hidden.
        let (mut at, mut seen) = (offset.start(), Vec::new());
        for _ in 0..60 {
            let from = number(&at.cursor, "offset", 0);
            let ids: Vec<_> = (from..(from + 4).min(20))
                .filter(|id| !(4..16).contains(id))
                .map(|id| id.to_string())
                .collect();
            let shown = Shown {
                count: ids.len(),
                total: Some(20),
                ids: ids.clone(),
                ..Shown::default()
            };
            seen.extend(
                ids.into_iter()
                    .filter(|id| !seen.contains(id))
                    .collect::<Vec<_>>(),
            );
            match offset.step(&at, &shown, Some(4)) {
                Step::Next(next) => at = next,
                end => {
                    assert_eq!(end, Step::End);
                    break;
                }
            }
        }
        assert_eq!(seen, ["0", "1", "2", "3", "16", "17", "18", "19"]);
    }

    #[test]
    fn page_size_is_capped_by_the_dialect() {
        let paging = Paging {
            size: Some(100),
            max: Some(1000),
            ..Paging::once()
        };
        assert_eq!(
            (
                paging.limit(None),
                paging.limit(Some(5000)),
                paging.limit(Some(7))
            ),
            (Some(100), Some(1000), Some(7))
        );
        let fixed = Paging {
            size: Some(25),
            ..Paging::once()
        };
        assert_eq!(fixed.limit(Some(7)), Some(25));
    }

    proptest::proptest! {
        #[test]
        fn a_keyset_walk_shows_every_entry_once(mut ids in proptest::collection::btree_set(1_u32..10_000, 0..60), size in 1_u32..9) {
            let all: Vec<u32> = std::mem::take(&mut ids).into_iter().rev().collect();
            let keyset = Paging { size: Some(size), ..paging(By::Keyset) };
            proptest::prop_assert_eq!(walk(&keyset, all.clone(), |_, _| ()).0, all);
        }
    }
}
