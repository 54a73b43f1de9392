//! The popular posts of a day, a week, a month or the last while.
//!
//! Promises: 40 posts at most, best score first, deleted ones left out; days are UTC, weeks begin on Monday; a date that
//! is none is an empty 400, and no date at all is today.

use jiff::{ToSpan, civil::Date, tz::TimeZone};

use super::{log::Request, posts::Post, render, wire::Answer, world::World};

/// The most posts of one listing.
const MOST: usize = 40;

pub(super) fn posts(world: &World, request: &Request, verb: &str) -> Answer {
    let today = jiff::Timestamp::from_second(world.now()).expect("a time of this century");
    let today = today.to_zoned(TimeZone::UTC).date();
    let day = match asked(request, verb != "popular_by_month") {
        Ok(day) => day.unwrap_or(today),
        Err(()) => return Answer::empty(400, "text/html"),
    };
    let (from, to) = match verb {
        "popular_by_day" => (day, day + 1.day()),
        "popular_by_week" => {
            let monday = day - i64::from(day.weekday().to_monday_zero_offset()).days();
            (monday, monday + 7.days())
        }
        "popular_by_month" => (day.first_of_month(), day.last_of_month() + 1.day()),
        "popular_recent" => {
            let days = match request.param("period") {
                Some("1w") => 7,
                Some("1m") => 30,
                Some("1y") => 365,
                _ => 1,
            };
            let span = days * 86_400;
            return print(world, world.now() - span, world.now());
        }
        _ => return Answer::empty(404, "application/json"),
    };
    let second = |date: Date| {
        let midnight = date
            .to_zoned(TimeZone::UTC)
            .expect("UTC has every midnight");
        midnight.timestamp().as_second()
    };
    print(world, second(from), second(to))
}

/// The day that is asked for; of a month, its first.
fn asked(request: &Request, with_day: bool) -> Result<Option<Date>, ()> {
    let part = |name: &str| {
        request
            .param(name)
            .map(|text| text.parse::<i8>().map_err(drop))
    };
    let year = request
        .param("year")
        .map(|text| text.parse::<i16>().map_err(drop));
    let day = if with_day { part("day") } else { Some(Ok(1)) };
    let (Some(year), Some(month), Some(day)) = (year, part("month"), day) else {
        return Ok(None);
    };
    Date::new(year?, month?, day?).map(Some).map_err(drop)
}

fn print(world: &World, from: i64, to: i64) -> Answer {
    let fits = |post: &&Post| !post.is_deleted() && (from..=to).contains(&post.created_at);
    let mut found: Vec<&Post> = world.posts.iter().filter(fits).collect();
    found.sort_by_key(|post| std::cmp::Reverse(post.score));
    found.truncate(MOST);
    Answer::json(
        200,
        &found.iter().map(|post| render::post(world, post)).collect(),
    )
}
