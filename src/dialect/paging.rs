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
    /// The listing is finished, unless this round of the walk has met something new: then it may have missed what slid
    /// from one page to another meanwhile, and this is where the next round begins.
    Unless(Position),
    /// The walk cannot go on.
    Stuck(String),
}

/// Steps back over a shifting seam before the walk gives up on catching it.
const MOST_BACK: u32 = 5;
/// Rounds of one walk: a listing that changes all the time is never the same twice.
const MOST_ROUNDS: u32 = 4;
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
        match self.follow(at, shown, limit) {
            Step::End if self.drifts() && seams && at.round + 1 < MOST_ROUNDS => {
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
        if shown.count > 0 || self.by == By::Once {
            return None;
        }
        let met = self.place(at, limit).unwrap_or(at.met);
        // Sites count what they do not show: a tenth less is no contradiction.
        if let Some(total) = at.total.max(shown.total)
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
        let next = |cursor: Cursor| Position {
            cursor,
            number: at.number + 1,
            after_full: full,
            seam: self.seam(shown),
            stale: at.stale,
            pass: at.pass,
            met: at.met + shown.count as u64,
            total: at.total.max(shown.total),
            round: at.round,
            news: at.news,
            limit: limit.filter(|_| self.by == By::Page),
            shown: (shown.count > 0).then(|| hex::encode(Sha256::digest(shown.ids.join("\n")))),
            ..Position::default()
        };
        if shown.count == 0 {
            return self.empty(at, shown);
        }
        if self.short_ends && !full {
            return Step::End;
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
                Step::Next(next(numbered("page", page + 1)))
            }
            By::Offset => self.offset(at, shown, next),
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

    fn offset(&self, at: &Position, shown: &Shown, next: impl Fn(Cursor) -> Position) -> Step {
        let offset = number(&at.cursor, "offset", self.first);
        let matches = at.seam.is_empty() || shown.ids.iter().any(|id| at.seam.contains(id));
        if !matches && at.back < MOST_BACK && offset > self.first {
            // Entries were removed before this page, so some slid into the pages already read: go back one page.
            let step = i64::try_from(shown.count).unwrap_or(1).max(1);
            let mut back = next(numbered("offset", (offset - step).max(self.first)));
            back.seam.clone_from(&at.seam);
            back.met = at.met;
            back.back = at.back + 1;
            back.pass = at.pass + 1;
            return Step::Next(back);
        }
        let count = i64::try_from(shown.count).unwrap_or(i64::MAX);
        let end = offset.saturating_add(count);
        if shown
            .total
            .is_some_and(|total| u64::try_from(end).is_ok_and(|end| end >= total))
        {
            return Step::End;
        }
        let advance = (count - i64::from(self.overlap)).max(1);
        Step::Next(next(numbered("offset", offset.saturating_add(advance))))
    }

    fn empty(&self, at: &Position, shown: &Shown) -> Step {
        let beyond = shown.total.zip(self.place(at, None));
        let beyond = beyond.is_some_and(|(total, place)| place >= total);
        let proven = match self.by {
            By::Once => true,
            By::Cursor => shown.next.is_none(),
            By::Keyset => at.after_full,
            By::Page | By::Offset => beyond,
        };
        if proven || at.again {
            return Step::End;
        }
        Step::Next(Position {
            again: true,
            number: at.number + 1,
            ..at.clone()
        })
    }

    fn seam(&self, shown: &Shown) -> Vec<String> {
        let overlap = self.overlap as usize;
        shown.ids[shown.ids.len().saturating_sub(overlap)..].to_vec()
    }
}

fn number(cursor: &Cursor, name: &str, first: i64) -> i64 {
    cursor.get(name).and_then(Value::as_i64).unwrap_or(first)
}

fn numbered(name: &str, value: i64) -> Cursor {
    Cursor::from_iter([(name.to_owned(), value.into())])
}

#[cfg(test)]
mod tests {
    use super::*;

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
                total: None,
                ids: page.iter().map(u32::to_string).collect(),
            };
            news |= page.iter().any(|id| !seen.contains(id));
            seen.extend(page);
            match paging.step(&at, &shown, limit) {
                Step::Next(next) => at = next,
                Step::Unless(begin) if news => (at, news) = (begin, false),
                Step::End | Step::Unless(_) => return (seen, requests),
                Step::Stuck(why) => panic!("{why}"),
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
