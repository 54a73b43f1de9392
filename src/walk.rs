//! One page: request, classify, select, commit.
//!
//! Looks at a reply before it parses it: a status, a login form or a challenge decides before any filter does.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::Semaphore;
use url::Url;

use crate::{
    class::Class,
    config::{Job, Site},
    dialect::{Endpoint, Entry, Login, Page, Position, Predicate, Step},
    fetch::allowed,
    http::{self, Accept, Outgoing, Reply, redact},
    pace::HostKey,
    run::{Context, Failure},
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

/// The first page of a job's walk.
pub fn first_page(job: &Job) -> PageTask {
    PageTask {
        endpoint: job.listing.name.clone(),
        params: job.params.clone(),
        at: job.listing.paging(&job.params).start(),
        depth: 0,
        item: None,
    }
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
) -> Result<Option<Outgoing>, Failure> {
    let site = &job.site;
    let request = endpoint
        .request(site, &task.params, &task.at, limit(job, endpoint, task))
        .map_err(|error| Failure::new(Class::Dialect, error))?;
    let Some(request) = request else {
        return Ok(None);
    };
    let mut out = Outgoing::get(request.url);
    if let (Some(login), Some(hook)) = (&site.login, site.dialect.login) {
        out.secret_query = Login::query(hook, login, &site.vars)
            .map_err(|error| Failure::new(Class::Auth, error))?;
    }
    out.secret_headers.clone_from(&site.headers);
    out.cookies.clone_from(&site.cookies);
    out.proxy.clone_from(&site.proxy);
    Ok(Some(out))
}

/// Fetches and stores one page. `asked` is called when the reply is in, so that the connection can serve the next.
///
/// # Errors
/// The failure to judge; nothing was stored.
pub async fn walk(
    context: &Context,
    job: &Arc<Job>,
    lease: Lease,
    task: PageTask,
    asked: impl FnOnce(),
) -> Result<Walked, Failure> {
    let site = &job.site;
    let endpoint = endpoint(site, &task)?.clone();
    let Some(out) = outgoing(job, &endpoint, &task)? else {
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
    let (job, endpoint, depth) = (job.clone(), endpoint.clone(), task.depth);
    let parsing = tokio::task::spawn_blocking(move || {
        classify(&endpoint, &reply)?;
        if std::str::from_utf8(&reply.body).is_err() {
            tracing::warn!(
                job.name = %job.name,
                "A page of `{}` is not UTF-8: its text is mended, the bytes are kept as hex", job.name
            );
        }
        let with: &[String] = if depth == 0 { &job.with } else { &[] };
        let page = endpoint.read(&reply.body, &job.site.url, with);
        let mut page = page.map_err(|error| Failure {
            status: Some(reply.status),
            ..Failure::new(error.class, error.message)
        })?;
        if depth == 0
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

/// What the reply is before anybody reads it as a page.
fn classify(endpoint: &Endpoint, reply: &Reply) -> Result<(), Failure> {
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
        let (class, what) = html_kind(&reply.body).unwrap_or((Class::Listing, "an HTML page"));
        return Err(failure(
            class,
            format!("{what} came instead of the listing"),
            class == Class::Listing,
        ));
    }
    let reported = if html {
        None
    } else {
        endpoint.reported(&reply.body)
    };
    let class = match (&reported, reply.status) {
        (_, 429) => Class::RateLimited,
        (Some(error), _) if error.class != Class::Listing => error.class,
        // Refused without a word of the site's own: something in front of it does not want us.
        (None, 403) => html_kind(&reply.body).map_or(Class::Blocked, |(class, _)| class),
        (_, status) => http::of_status(status),
    };
    let words = reported.map_or_else(String::new, |error| format!(": {}", error.message));
    let slow_down = matches!(reply.status, 429 | 503 | 509 | 529);
    Err(failure(
        class,
        format!("the site answered {}{words}", reply.status),
        slow_down,
    ))
}

/// A page that only a person can pass.
fn html_kind(body: &[u8]) -> Option<(Class, &'static str)> {
    const LOOK_AT: usize = 64 << 10;
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOK_AT)]).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&[
        "cf-chl",
        "challenge-platform",
        "just a moment",
        "captcha",
        "ddos-guard",
    ]) {
        Some((Class::Blocked, "a challenge for browsers"))
    } else if has(&["type=\"password\"", "type='password'", "type=password"]) {
        Some((Class::Auth, "a login form"))
    } else {
        None
    }
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
        refused: BTreeSet::new(),
        bad: Vec::new(),
        filtered: page.as_ref().map_or(0, |page| page.filtered),
        total: page.as_ref().and_then(|page| page.shown.total),
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
            depth: commit.task.depth + 1,
            item: None,
        })
    });
    let follow = follow.collect();
    commit.items.push((*item, follow));
}
