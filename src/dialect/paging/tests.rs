//! How walks go on, overlap, doubt what they are shown, and end.

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
