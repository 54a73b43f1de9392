//! What a reply is taken for: a page, or the failure that a status, a login form or a challenge stands for.
//!
//! It is looked at before it is parsed, and what contradicts what is known of the listing is not believed.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{endpoint, limit};
use crate::{
    class::Class,
    config::{Job, Site},
    dialect::{Asked, Endpoint, Entry, Gone, NotFound, Page, Predicate, Shown},
    http::{self, Reply, wall},
    run::Failure,
    store::PageTask,
    text::one_line,
};

/// Bytes of a reply that are kept as evidence that something is gone.
const MOST_EVIDENCE: usize = 16 << 10;
/// Entries that no listing loses between two runs.
const MANY: u64 = 1000;

/// Classifies a reply and reads it off the async threads, two at once at most.
///
/// # Errors
/// The failure to judge.
pub(super) async fn read(
    readers: &Semaphore,
    job: &Arc<Job>,
    task: &PageTask,
    reply: Reply,
) -> Result<Page, Failure> {
    let _reader = readers
        .acquire()
        .await
        .map_err(|_| Failure::new(Class::Dialect, "larder is stopping"))?;
    let (job, task) = (job.clone(), task.clone());
    let parsing = tokio::task::spawn_blocking(move || {
        let (site, endpoint) = endpoint(&job, &task)?;
        let with: Vec<_> = job
            .with
            .iter()
            .filter(|name| task.depth == 0 || job.listing.deeper().any(|deeper| deeper == *name))
            .cloned()
            .collect();
        let asked = Asked {
            base: &site.url,
            params: &task.params,
            cursor: &task.at.cursor,
            status: reply.status,
            with: &with,
        };
        let page = page(&job, site, endpoint, &asked, &reply);
        let mut page = match page {
            Err(mut failure) => {
                failure.slow_down |= site.dialect.throttle.statuses.contains(&reply.status);
                not_there(endpoint, &task, &reply, failure)?
            }
            Ok(page) => page,
        };
        if task.depth == 0
            && let Some(predicate) = &job.filter
        {
            let before = page.entries.len();
            page.entries
                .retain(|entry| is_wanted(&job, predicate, entry));
            page.filtered = (before - page.entries.len()) as u64;
        }
        Ok(page)
    });
    parsing.await.unwrap_or_else(|error| {
        Err(Failure::new(
            Class::Poison,
            format!("larder panicked while it read the page: {error}"),
        ))
    })
}

fn page(
    job: &Job,
    site: &Site,
    endpoint: &Endpoint,
    asked: &Asked<'_>,
    reply: &Reply,
) -> Result<Page, Failure> {
    if endpoint.ends_with.contains(&reply.status) {
        return Ok(endpoint.nothing(asked));
    }
    classify(site, endpoint, asked, reply)?;
    if endpoint.decode.is_none() && std::str::from_utf8(&reply.body).is_err() {
        tracing::warn!(
            job.name = %job.name,
            "A page of `{}` is not UTF-8: its text is mended, the bytes are kept as hex", job.name
        );
    }
    let page = endpoint.read(&reply.body, asked);
    page.map_err(|error| Failure {
        status: Some(reply.status),
        retry_after: error.wait.or(reply.retry_after),
        stale_key: error.stale_key,
        ..Failure::new(error.class, error.message)
    })
}

/// What a dialect makes of a 404: an empty page, or the end of the item that the page is about. Otherwise it is a failure.
fn not_there(
    endpoint: &Endpoint,
    task: &PageTask,
    reply: &Reply,
    failure: Failure,
) -> Result<Page, Failure> {
    let meant = endpoint
        .not_found
        .filter(|_| matches!(failure.class, Class::Http404 | Class::Http410));
    let nothing = Page::empty();
    match meant {
        Some(NotFound::Empty) => Ok(nothing),
        // A page of HTML may be a proxy's, which knows nothing of items.
        Some(NotFound::Gone) if task.item.is_some() && !is_html(endpoint, reply) => {
            let raw = std::str::from_utf8(&reply.body).ok();
            let raw = raw.filter(|raw| {
                raw.len() < MOST_EVIDENCE
                    && serde_json::from_str::<serde::de::IgnoredAny>(raw).is_ok()
            });
            let gone = Gone {
                why: failure.message,
                raw: raw.map(str::to_owned),
            };
            Ok(Page {
                gone: Some(gone),
                ..nothing
            })
        }
        _ => Err(failure),
    }
}

/// The page, unless it is empty where it cannot be.
///
/// # Errors
/// What contradicts it.
pub fn believed(
    job: &Job,
    task: &PageTask,
    page: Page,
    earlier: Option<u64>,
) -> Result<Page, Failure> {
    let (_, endpoint) = endpoint(job, task)?;
    let earlier = earlier.filter(|_| task.depth == 0 && task.day.is_none());
    if let Some(before) = throttled_at(endpoint, task, &page.shown, earlier) {
        let message =
            format!("the site shows 0 entries where it had {before}: that is how it throttles");
        return Err(Failure::new(Class::RateLimited, message));
    }
    let limit = limit(job, endpoint, task);
    let paging = endpoint.paging(&task.params);
    match paging.doubts(&task.at, &page.shown, limit, earlier) {
        Some(why) => Err(Failure::new(Class::Listing, why)),
        None => Ok(page),
    }
}

/// The entries that there were before a total of 0 came, where that is how the site throttles.
fn throttled_at(
    endpoint: &Endpoint,
    task: &PageTask,
    shown: &Shown,
    earlier: Option<u64>,
) -> Option<u64> {
    if !endpoint.zero_throttles || shown.total != Some(0) || shown.count > 0 {
        return None;
    }
    // A small listing may well have become empty since the last run.
    let before = task.at.total.or(earlier.filter(|total| *total >= MANY));
    before.filter(|before| *before > 0)
}

/// What the reply is before anybody reads it as a page.
///
/// # Errors
/// The failure to judge.
pub fn classify(
    site: &Site,
    endpoint: &Endpoint,
    asked: &Asked<'_>,
    reply: &Reply,
) -> Result<(), Failure> {
    let html = is_html(endpoint, reply);
    let failure = |class, message: String, slow_down| Failure {
        status: Some(reply.status),
        retry_after: reply.retry_after,
        slow_down,
        ..Failure::new(class, message)
    };
    if (200..300).contains(&reply.status) {
        if !html {
            return Ok(());
        }
        let path = reply.url.path();
        let path = path.strip_prefix(site.url.path().trim_end_matches('/'));
        if path.is_some() && path == endpoint.missing.as_deref() {
            let message = "the site leads to a page for people instead: it is not there (any more)";
            return Err(failure(Class::Http404, message.to_owned(), false));
        }
        let (class, what) = wall(&reply.body).unwrap_or((Class::Listing, "an HTML page"));
        return Err(failure(
            class,
            format!("{what} came instead of the listing"),
            class == Class::Listing,
        ));
    }
    let reported = if html {
        None
    } else {
        endpoint.reported(&reply.body, asked)
    };
    let class = match (&reported, reply.status) {
        (_, 429) => Class::RateLimited,
        (Some(error), _) if error.class != Class::Listing => error.class,
        // Refused without a word of the site's own: something in front of it does not want us.
        (None, 403) => wall(&reply.body).map_or(Class::Blocked, |(class, _)| class),
        // Where the site throttles with a status of its own, as bilibili does with 412.
        (_, 400..500) if site.dialect.throttle.statuses.contains(&reply.status) => {
            Class::RateLimited
        }
        (_, status) => http::of_status(status),
    };
    let words = reported
        .as_ref()
        .map_or_else(String::new, |error| format!(": {}", error.message));
    let slow_down = class == Class::RateLimited || matches!(reply.status, 503 | 509 | 529);
    let failure = failure(
        class,
        format!("the site answered {}{words}", reply.status),
        slow_down,
    );
    let stale_key = reported.as_ref().is_some_and(|error| error.stale_key);
    let wait = reported.and_then(|error| error.wait);
    Err(Failure {
        retry_after: wait.or(failure.retry_after),
        stale_key,
        ..failure
    })
}

fn is_html(endpoint: &Endpoint, reply: &Reply) -> bool {
    // What is decoded may well begin as a page does.
    reply.content_type.as_deref() == Some("text/html")
        || endpoint.decode.is_none() && reply.body.trim_ascii_start().starts_with(b"<")
}

/// Asks a job's `where`. An error in it keeps the item and is reported.
fn is_wanted(job: &Job, predicate: &Predicate, entry: &Entry) -> bool {
    let Entry::Good(item) = entry else {
        return true;
    };
    predicate.wants(item).unwrap_or_else(|error| {
        let error = one_line(&error);
        tracing::warn!(job.name = %job.name, item.kind = %one_line(&item.kind), item.id = %one_line(&item.id), error, "`where` failed; the item is kept");
        true
    })
}

#[cfg(test)]
mod tests;
