//! One page: request, classify, select, commit.
//!
//! Looks at a reply before it parses it: a status, a login form or a challenge decides before any filter does.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::Semaphore;
use url::Url;

use crate::{
    class::Class,
    clock::{Millis, is_over},
    config::{Job, Site},
    dialect::{
        By, Cursor, Endpoint, Entry, Login, Page, ParamKind, Position, Predicate, Request, Step,
        Values,
    },
    fetch::allowed,
    http::{self, Accept, Outgoing, Reply, redact, wall},
    pace::HostKey,
    run::{Context, Failure, days_key},
    store::{Lease, PageCommit, PageOutcome, PageTask},
    text::one_line,
};

/// What a page led to.
#[derive(Debug)]
pub struct Walked {
    /// What the store made of it.
    pub outcome: PageOutcome,
    /// Hosts that now have tasks.
    pub hosts: BTreeSet<HostKey>,
    /// Whether it is a page of the job's own listing, not of a follow-up.
    pub listing: bool,
    /// Items that were kept of it.
    pub items: usize,
    /// Whether the site was asked at all.
    pub asked: bool,
}

/// The endpoint of a page task.
///
/// # Errors
/// When the dialect has none of that name.
pub fn endpoint<'a>(site: &'a Site, task: &PageTask) -> Result<&'a Arc<Endpoint>, Failure> {
    let endpoints = &site.dialect.endpoints;
    let missing = || {
        Failure::new(
            Class::Dialect,
            format!(
                "the dialect {} has no endpoint `{}`",
                site.dialect.name, task.endpoint
            ),
        )
    };
    endpoints.get(&task.endpoint).ok_or_else(missing)
}

/// The first page of a walk of a job's listing with `params`.
pub fn first_page(job: &Job, params: Values) -> PageTask {
    PageTask {
        endpoint: job.listing.name.clone(),
        at: job.listing.paging(&params).start(),
        params,
        depth: 0,
        day: None,
        item: None,
    }
}

/// Whether a walk of this job that comes to its end has shown everything that its listing holds. Page numbers drift while
/// it walks, and the listing of a date is another one on the next day.
pub fn shows_all(job: &Job) -> bool {
    let paging = job.listing.paging(&job.params);
    let mut kinds = job.listing.params.values().map(|param| param.kind);
    let proves = match paging.by {
        By::Once | By::Keyset | By::Cursor => true,
        By::Offset => paging.overlap > 0,
        By::Page => false,
    };
    proves && kinds.all(|kind| kind != ParamKind::Date)
}

/// Entries to ask for: the dialect's size or the site's, and no more than a job wants at all.
pub fn limit(job: &Job, endpoint: &Endpoint, task: &PageTask) -> Option<u32> {
    let paging = endpoint.paging(&task.params);
    if task.at.limit.is_some() {
        // Page numbers mean nothing without the size that they were counted with.
        return task.at.limit;
    }
    let limit = paging.limit(job.site.page_size)?;
    let most = job
        .max_items
        .filter(|_| task.depth == 0 && paging.max.is_some());
    let most = most
        .and_then(|most| u32::try_from(most).ok())
        .unwrap_or(u32::MAX);
    Some(limit.min(most).max(1))
}

/// The request for a page with everything secret attached, or `None` when the dialect knows that nothing can be left.
///
/// # Errors
/// When a filter fails or a secret is unset.
pub fn outgoing(
    job: &Job,
    endpoint: &Endpoint,
    task: &PageTask,
    now: Millis,
) -> Result<Option<Outgoing>, Failure> {
    let site = &job.site;
    let request = endpoint
        .request(site, &task.params, &task.at, limit(job, endpoint, task))
        .map_err(|error| Failure::new(Class::Dialect, error))?;
    request
        .map(|request| with_secrets(site, request, now))
        .transpose()
}

/// A request with everything secret attached that its site wants to see.
///
/// # Errors
/// When a secret is unset.
pub fn with_secrets(site: &Site, request: Request, now: Millis) -> Result<Outgoing, Failure> {
    let mut out = Outgoing::get(request.url);
    if let (Some(login), Some(hook)) = (&site.login, site.dialect.login) {
        out.secret_query = Login::query(hook, login, &site.vars)
            .map_err(|error| Failure::new(Class::Auth, error))?;
    }
    out.secret_headers.clone_from(&site.headers);
    out.cookies = site.cookies_for(&out.url, now);
    out.proxy.clone_from(&site.proxy);
    Ok(out)
}

/// Fetches and stores one page. `earlier` is how many entries an earlier walk of the listing met. `asked` is called when the
/// reply is in, so that the connection can serve the next.
///
/// # Errors
/// The failure to judge; nothing was stored.
pub async fn walk(
    context: &Context,
    job: &Arc<Job>,
    earlier: Option<u64>,
    lease: Lease,
    mut task: PageTask,
    asked: impl FnOnce(),
) -> Result<Walked, Failure> {
    let site = &job.site;
    let endpoint = endpoint(site, &task)?.clone();
    let now = context.store.clock().now();
    if task.begins_day().is_some()
        && let Some(day) = &mut task.day
    {
        // Now, before it is asked for: a listing of a day that is not over may still grow behind the walk.
        day.settled = is_over(day.date, now);
    }
    let Some(out) = outgoing(job, &endpoint, &task, now)? else {
        asked();
        return commit(context, job, lease, task, None).await;
    };
    let url = redact(&out.url);
    tracing::debug!(job.name = %job.name, "GET {url}");
    let named = |failure: Failure| failure.about(&url);
    let reply = context.http.page(&out, Accept::Json).await;
    let reply = reply.map_err(|error| named(error.into()))?;
    asked();
    let page = read(&context.readers, job, &endpoint, &task, reply).await;
    let page = page.and_then(|page| believed(job, &endpoint, &task, page, earlier));
    commit(context, job, lease, task, Some(page.map_err(named)?)).await
}

/// Classifies a reply and reads it off the async threads, two at once at most.
///
/// # Errors
/// The failure to judge.
pub async fn read(
    readers: &Semaphore,
    job: &Arc<Job>,
    endpoint: &Arc<Endpoint>,
    task: &PageTask,
    reply: Reply,
) -> Result<Page, Failure> {
    let _reader = readers
        .acquire()
        .await
        .map_err(|_| Failure::new(Class::Dialect, "larder is stopping"))?;
    let (job, endpoint, task) = (job.clone(), endpoint.clone(), task.clone());
    let parsing = tokio::task::spawn_blocking(move || {
        classify(&job.site, &endpoint, &task.params, &task.at.cursor, &reply)?;
        if std::str::from_utf8(&reply.body).is_err() {
            tracing::warn!(
                job.name = %job.name,
                "A page of `{}` is not UTF-8: its text is mended, the bytes are kept as hex", job.name
            );
        }
        let with: &[String] = if task.depth == 0 { &job.with } else { &[] };
        let (params, cursor) = (&task.params, &task.at.cursor);
        let page = endpoint.read(&reply.body, &job.site.url, with, params, cursor);
        let mut page = page.map_err(|error| Failure {
            status: Some(reply.status),
            retry_after: error.wait.or(reply.retry_after),
            ..Failure::new(error.class, error.message)
        })?;
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

/// The page, unless it is empty where it cannot be.
///
/// # Errors
/// What contradicts it.
pub fn believed(
    job: &Job,
    endpoint: &Endpoint,
    task: &PageTask,
    page: Page,
    earlier: Option<u64>,
) -> Result<Page, Failure> {
    let earlier = earlier.filter(|_| task.depth == 0 && task.day.is_none());
    let limit = limit(job, endpoint, task);
    let paging = endpoint.paging(&task.params);
    match paging.doubts(&task.at, &page.shown, limit, earlier) {
        Some(why) => Err(Failure::new(Class::Listing, why)),
        None => Ok(page),
    }
}

/// What the reply is before anybody reads it as a page.
///
/// # Errors
/// The failure to judge.
pub fn classify(
    site: &Site,
    endpoint: &Endpoint,
    params: &Values,
    cursor: &Cursor,
    reply: &Reply,
) -> Result<(), Failure> {
    let html = reply.content_type.as_deref() == Some("text/html")
        || reply.body.trim_ascii_start().starts_with(b"<");
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
        endpoint.reported(&reply.body, params, cursor)
    };
    let class = match (&reported, reply.status) {
        (_, 429) => Class::RateLimited,
        (Some(error), _) if error.class != Class::Listing => error.class,
        // Refused without a word of the site's own: something in front of it does not want us.
        (None, 403) => wall(&reply.body).map_or(Class::Blocked, |(class, _)| class),
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
    let wait = reported.and_then(|error| error.wait);
    Err(Failure {
        retry_after: wait.or(failure.retry_after),
        ..failure
    })
}

async fn commit(
    context: &Context,
    job: &Arc<Job>,
    lease: Lease,
    task: PageTask,
    page: Option<Page>,
) -> Result<Walked, Failure> {
    let site = &job.site;
    let host = HostKey::from_url(&site.url)
        .ok_or_else(|| Failure::new(Class::BadUrl, format!("{} has no host", site.url)))?;
    let endpoint = endpoint(site, &task)?;
    let mut hosts = BTreeSet::from([host.clone()]);
    let (listing, asked) = (task.depth == 0, page.is_some());
    let mut commit = PageCommit {
        lease,
        site: site.id.clone(),
        host: host.as_str().to_owned(),
        roles: job
            .files
            .clone()
            .unwrap_or_else(|| endpoint.roles.iter().take(1).cloned().collect()),
        items: Vec::new(),
        immutable: endpoint.immutable,
        refused: BTreeSet::new(),
        bad: Vec::new(),
        filtered: page.as_ref().map_or(0, |page| page.filtered),
        total: page.as_ref().and_then(|page| page.shown.total),
        days: task.day.map(|_| days_key(job)),
        step: Step::End,
        task,
    };
    if let Some(page) = page {
        let limit = limit(job, endpoint, &commit.task);
        commit.step =
            endpoint
                .paging(&commit.task.params)
                .step(&commit.task.at, &page.shown, limit);
        for entry in page.entries {
            select(job, &mut commit, entry, &mut hosts);
        }
    }
    let items = commit.items.len();
    let outcome = context
        .store
        .write("store a page", move |group| group.commit_page(commit))
        .await;
    let outcome = outcome?;
    Ok(Walked {
        outcome,
        hosts,
        listing,
        items,
        asked,
    })
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

/// Sorts one entry: an item with what it needs, or unreadable.
fn select(job: &Job, commit: &mut PageCommit, entry: Entry, hosts: &mut BTreeSet<HostKey>) {
    let item = match entry {
        Entry::Good(item) => item,
        Entry::Bad { raw, message } => return commit.bad.push((raw, message)),
    };
    for url in item
        .files
        .iter()
        .filter(|file| commit.roles.contains(&file.role))
        .filter_map(|file| file.url.as_ref())
    {
        let Ok(url) = url.parse::<Url>() else {
            continue;
        };
        let Some(key) = HostKey::from_url(&url) else {
            continue;
        };
        let port = url.port_or_known_default().unwrap_or(0);
        if allowed(&job.site, url.host_str().unwrap_or_default(), port) {
            hosts.insert(key);
        } else {
            commit.refused.insert(key.to_string());
        }
    }
    let follow = item.follow.iter().filter_map(|follow| {
        let endpoint = job.site.dialect.endpoints.get(&follow.endpoint)?;
        let at = endpoint.paging(&follow.params).start();
        let at = Position { number: 0, ..at };
        Some(PageTask {
            endpoint: follow.endpoint.clone(),
            params: follow.params.clone(),
            at,
            day: None,
            depth: commit.task.depth + 1,
            item: None,
        })
    });
    let follow = follow.collect();
    commit.items.push((*item, follow));
}

#[cfg(test)]
mod tests;
