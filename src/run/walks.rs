//! What a run of a job walks: its listing once, or once for each day of a range.
//!
//! Here `today` and `yesterday` become days. The job itself keeps the words, so that a nightly job is the same job.

use jiff::civil::Date;

use crate::{
    archive::Digest,
    config::Job,
    dialect::{Endpoint, Value, Values},
    store::{Day, Walks},
    walk,
};

/// The walks of a run of `job` that begins on `today`; `full` ones pass over what is remembered.
///
/// # Errors
/// When a range is too long, in words for the user.
pub fn walks(job: &Job, today: Date, full: bool) -> Result<Walks, String> {
    let mut params = job.params.clone();
    let (mut range, mut dated) = (None, false);
    for (name, dates) in job.listing.dates(&job.params) {
        dated |= dates.moves() || dates.is_range();
        if dates.is_range() {
            range = Some((name, dates));
        } else if let Some(day) = dates.days(today)?.next() {
            params.insert(name, Value::Text(day.to_string()));
        }
    }
    let firsts = match &range {
        None => vec![walk::first_page(job, params)],
        Some((name, dates)) => {
            let first = |date: Date| {
                let mut params = params.clone();
                params.insert(name.clone(), Value::Text(date.to_string()));
                let mut page = walk::first_page(job, params);
                let settled = false;
                page.day = Some(Day { date, settled });
                page
            };
            dates.days(today)?.map(first).collect()
        }
    };
    Ok(Walks {
        firsts,
        days: range.is_some().then(|| days_key(job)),
        dated,
        full,
    })
}

/// What the days of a job's range are remembered under: all that decides the walk of a day, but neither end of the range.
pub fn days_key(job: &Job) -> Digest {
    let mut params = job.params.clone();
    for (name, dates) in job.listing.dates(&job.params) {
        if dates.is_range() {
            params.insert(name, Value::Text("..".to_owned()));
        }
    }
    walk_key(job, &params)
}

/// The digest of all that decides what a walk of `job` with `params` finds.
pub(super) fn walk_key(job: &Job, params: &Values) -> Digest {
    let params = serde_json::to_string(params).expect("parameters are plain JSON");
    let predicate = job.filter.as_ref().map(|filter| filter.text());
    let decides = (
        &job.site.id,
        &job.site.url,
        &job.listing.name,
        &params,
        predicate,
        &job.with,
        &job.files,
    );
    Digest::of(&serde_json::to_vec(&decides).expect("texts are plain JSON"))
}

/// Parameters of a single request: `today` and `yesterday` become days.
///
/// # Errors
/// When one of them is a range, which takes a request for each day.
pub fn on_day(endpoint: &Endpoint, params: &Values, today: Date) -> Result<Values, String> {
    let mut params = params.clone();
    for (name, dates) in endpoint.dates(&params) {
        if dates.is_range() {
            return Err(format!(
                "`{name}`: one request is about one day; write a single one"
            ));
        }
        if let Some(day) = dates.days(today)?.next() {
            params.insert(name, Value::Text(day.to_string()));
        }
    }
    Ok(params)
}
