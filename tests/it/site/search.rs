//! Answers a [`Query`]: which posts, in which order.
//!
//! **Invariant** (rule 4.5 of the engine): deleted posts are left out unless the search speaks of `deleted:` or of `id:`.

use std::cmp::Ordering;

use super::{
    posts::Post,
    query::{Parent, Query, Range, Switch, day_number},
    world::{Pool, World},
};

/// Returns every match in the order asked for, newest id first by default; `draw` seeds `order:random`.
pub(super) fn search<'w>(world: &'w World, query: &Query, draw: u64) -> Vec<&'w Post> {
    let mut found: Vec<&Post> = match &query.pool {
        Some(wanted) => {
            let pools = world.pools.iter().filter(|pool| is_called(pool, wanted));
            let ids = pools.flat_map(|pool| &pool.posts);
            ids.filter_map(|id| world.find(*id)).collect()
        }
        None => world.posts.iter().rev().collect(),
    };
    found.retain(|post| matches(world, query, post));
    sort(&mut found, query, draw);
    found
}

fn matches(world: &World, query: &Query, post: &Post) -> bool {
    let numbers = [
        (&query.id, signed(post.id)),
        (&query.width, i64::from(post.width)),
        (&query.height, i64::from(post.height)),
        (&query.score, post.score),
        (&query.change, signed(post.change)),
        (&query.date, date(post)),
    ];
    let in_pool = |wanted: &String| {
        let mut pools = world.pools.iter().filter(|pool| is_called(pool, wanted));
        pools.any(|pool| pool.posts.contains(&post.id))
    };
    numbers
        .iter()
        .all(|(range, value)| fits(range.as_ref(), value))
        && fits(query.mpixels.as_ref(), &mpixels(post))
        && !query.impossible
        && status_fits(query, post)
        && holds(query.md5.as_ref(), |list| list.contains(&post.md5))
        && holds(query.ext.as_ref(), |list| list.contains(&post.ext))
        && holds(query.rating.as_ref(), |rating| {
            !is_rating(*rating) || post.rating == *rating
        })
        && holds(query.not_rating.as_ref(), |rating| post.rating != *rating)
        && holds(query.user.as_ref(), |name| {
            post.author.to_lowercase() == *name
        })
        && holds(query.source.as_ref(), |start| {
            post.source.to_lowercase().starts_with(start)
        })
        && holds(query.parent.as_ref(), |parent| match parent {
            Parent::Is(id) => post.parent_id == Some(*id) || post.id == *id,
            Parent::None => post.parent_id.is_none(),
        })
        && !query.not_pools.iter().any(in_pool)
        && query.all_of.iter().all(|tag| post.has_tag(tag))
        && (query.any_of.is_empty() || query.any_of.iter().any(|tag| post.has_tag(tag)))
        && !query.none_of.iter().any(|tag| post.has_tag(tag))
}

fn status_fits(query: &Query, post: &Post) -> bool {
    let deleted = match query.deleted {
        Some(Switch::Only) => post.is_deleted(),
        Some(_) => true,
        None => query.id.is_some() || !post.is_deleted(),
    };
    let switch = |switch: Option<Switch>, is: bool| match switch {
        Some(Switch::Only) => is,
        Some(Switch::Hide) => !is,
        Some(Switch::All) | None => true,
    };
    deleted
        && switch(query.holds, post.held)
        && switch(query.pending, post.status == "pending")
        && holds(query.shown.as_ref(), |shown| post.shown_in_index == *shown)
        && !(query.unlocked && post.rating_locked)
}

fn sort(posts: &mut [&Post], query: &Query, draw: u64) {
    let by = |posts: &mut [&Post], compare: fn(&Post, &Post) -> Ordering| {
        posts.sort_by(|a, b| compare(a, b));
    };
    match query.order.as_deref() {
        Some("id") => by(posts, |a, b| a.id.cmp(&b.id)),
        Some("id_desc") => by(posts, |a, b| b.id.cmp(&a.id)),
        Some("score") => by(posts, |a, b| b.score.cmp(&a.score)),
        Some("score_asc") => by(posts, |a, b| a.score.cmp(&b.score)),
        Some("mpixels") => by(posts, |a, b| mpixels(b).total_cmp(&mpixels(a))),
        Some("mpixels_asc") => by(posts, |a, b| mpixels(a).total_cmp(&mpixels(b))),
        Some("portrait") => by(posts, |a, b| shape(a).total_cmp(&shape(b))),
        Some("portrait_pool") if query.pool.is_some() => {
            by(posts, |a, b| shape(a).total_cmp(&shape(b)));
        }
        Some("landscape") => by(posts, |a, b| shape(b).total_cmp(&shape(a))),
        Some("change" | "change_asc") => by(posts, |a, b| a.change.cmp(&b.change)),
        Some("change_desc") => by(posts, |a, b| b.change.cmp(&a.change)),
        Some("random") => fastrand::Rng::with_seed(draw).shuffle(posts),
        // Unordered, in the database's own order.
        Some("vote" | "fav" | "portrait_pool") => by(posts, |a, b| a.id.cmp(&b.id)),
        // A pool keeps its own order; everything else was collected newest first.
        _ => {}
    }
}

/// Whether `pool:WANTED` means this pool: its number, a part of its name, or any pool (`*`).
fn is_called(pool: &Pool, wanted: &str) -> bool {
    match wanted.parse::<u64>() {
        Ok(id) => pool.id == id,
        Err(_) => wanted == "*" || pool.name.to_lowercase().contains(wanted),
    }
}

fn fits<T: PartialOrd>(range: Option<&Range<T>>, value: &T) -> bool {
    range.is_none_or(|range| range.has(value))
}

fn holds<T>(condition: Option<&T>, check: impl Fn(&T) -> bool) -> bool {
    condition.is_none_or(check)
}

fn is_rating(letter: char) -> bool {
    matches!(letter, 's' | 'q' | 'e')
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("the site's own numbers are small")
}

fn mpixels(post: &Post) -> f64 {
    f64::from(post.width) * f64::from(post.height) / 1_000_000.0
}

fn shape(post: &Post) -> f64 {
    f64::from(post.width) / f64::from(post.height.max(1))
}

fn date(post: &Post) -> i64 {
    let time = jiff::Timestamp::from_second(post.created_at).expect("a time of this century");
    day_number(time.to_zoned(jiff::tz::TimeZone::UTC).date())
}
