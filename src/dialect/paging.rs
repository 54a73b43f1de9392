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
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &u32) -> bool {
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
    /// The walk cannot go on.
    Stuck(String),
}

/// Steps back over a shifting seam before the walk gives up on catching it.
const MOST_BACK: u32 = 5;

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
        let full = limit.is_none_or(|limit| shown.count >= limit as usize);
        let next = |cursor: Cursor| Position {
            cursor,
            number: at.number + 1,
            after_full: full,
            seam: self.seam(shown),
            stale: at.stale,
            pass: at.pass,
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
                let last = limit.zip(shown.total).is_some_and(|(limit, total)| {
                    u64::try_from(page - self.first + 1).unwrap_or(0) * u64::from(limit) >= total
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
        let beyond = shown.total.is_some_and(|total| {
            self.by == By::Offset
                && u64::try_from(number(&at.cursor, "offset", self.first))
                    .is_ok_and(|at| at >= total)
        });
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
            seen.extend(page);
            match paging.step(&at, &shown, limit) {
                Step::Next(next) => at = next,
                Step::End => return (seen, requests),
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
        let (seen, requests) = walk(
            &Paging {
                first: 1,
                ..paging(By::Page)
            },
            vec![3, 2, 1],
            |_, _| (),
        );
        assert_eq!((seen, requests), (vec![3, 2, 1], 4));
        let short = Paging {
            first: 1,
            short_ends: true,
            ..paging(By::Page)
        };
        assert_eq!(walk(&short, vec![3, 2, 1], |_, _| ()).1, 2);
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
