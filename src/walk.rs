//! One page: request, classify, select, commit.
//!
//! Looks at a reply before it parses it: a status, a login form or a challenge decides before any filter does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::Semaphore;
use url::Url;

use crate::{
    archive::{Digest, record_digest},
    class::Class,
    clock::{Millis, is_over},
    config::{Job, Site},
    dialect::{
        Asked, By, Endpoint, Entry, Follow, Gone, Login, NotFound, Page, ParamKind, Predicate,
        Request, Shown, Step, Values,
    },
    fetch::allowed,
    http::{self, Http, Outgoing, Reply, redact, wall},
    pace::{HostKey, Pace},
    run::{Context, Failure, Mirrors, Signer, days_key},
    store::{CensusPage, Lease, PageCommit, PageOutcome, PageTask, Seen},
    text::one_line,
};

/// Follow-ups that may lead to each other: a user, their works, a work, its comments, the replies to one, and one more.
const MOST_DEPTH: u32 = 6;
/// Bytes of a reply that are kept as evidence that something is gone.
const MOST_EVIDENCE: usize = 16 << 10;
/// Entries that no listing loses between two runs.
const MANY: u64 = 1000;

/// What a page led to.
#[derive(Debug)]
pub struct Walked {
    /// What the store made of it.
    pub outcome: PageOutcome,
    /// Hosts that now have tasks, with the site of each.
    pub hosts: BTreeMap<HostKey, Arc<Site>>,
    /// Whether it is a page of the job's own listing, not of a follow-up.
    pub listing: bool,
    /// Items that were kept of it.
    pub items: usize,
    /// Whether the site was asked at all.
    pub asked: bool,
}

/// The site of a page task, and its endpoint there.
///
/// # Errors
/// When the job's sites or their dialects do not know it.
pub fn endpoint<'a>(
    job: &'a Job,
    task: &PageTask,
) -> Result<(&'a Arc<Site>, &'a Arc<Endpoint>), Failure> {
    let missing = |what: String| Failure::new(Class::Dialect, what);
    let site = job.site_called(task.site.as_deref()).ok_or_else(|| {
        let name = task.site.as_deref().unwrap_or_default();
        missing(format!("the job does not lead to the site {name} any more"))
    })?;
    // Actions are not among the endpoints: no task can reach one, whatever names it.
    let endpoint = site.dialect.endpoints.get(&task.endpoint);
    let endpoint = endpoint.ok_or_else(|| {
        missing(format!(
            "the dialect {} has no endpoint `{}`",
            site.dialect.name, task.endpoint
        ))
    })?;
    Ok((site, endpoint))
}

/// The first page of a walk of a job's listing with `params`.
pub fn first_page(job: &Job, params: Values) -> PageTask {
    PageTask {
        endpoint: job.listing.name.clone(),
        at: job.listing.paging(&params).start(),
        params,
        depth: 0,
        site: None,
        needed: false,
        day: None,
        item: None,
    }
}

/// The first page that something met at `from` leads to, where the job's sites know it.
fn leads_to(job: &Job, from: &PageTask, follow: &Follow, depth: u32) -> Option<PageTask> {
    let site = match &follow.dialect {
        None => job.site_called(from.site.as_deref())?,
        Some(dialect) => job.sites().find(|site| site.dialect.name == *dialect)?,
    };
    let endpoint = site.dialect.endpoints.get(&follow.endpoint)?;
    Some(PageTask {
        endpoint: follow.endpoint.clone(),
        params: follow.params.clone(),
        at: endpoint.paging(&follow.params).start(),
        depth,
        day: None,
        site: (site.name != job.site.name).then(|| site.name.clone()),
        needed: false,
        item: None,
    })
}

/// Pages of other endpoints that belong to the same listing as the page of `task`.
///
/// # Errors
/// When one leads to an endpoint that is not known.
pub fn continued(job: &Job, task: &PageTask, page: &Page) -> Result<Vec<PageTask>, Failure> {
    let next = |follow: &Follow| {
        let next = leads_to(job, task, follow, task.depth).ok_or_else(|| {
            Failure::new(
                Class::Dialect,
                format!(
                    "`{}` goes on with an unknown endpoint `{}`",
                    task.endpoint, follow.endpoint
                ),
            )
        })?;
        Ok(PageTask {
            needed: task.needed,
            item: task.item,
            ..next
        })
    };
    page.follow.iter().map(next).collect()
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
    let site = job.site_called(task.site.as_deref()).unwrap_or(&job.site);
    let limit = paging.limit(site.page_size)?;
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
pub fn outgoing(job: &Job, task: &PageTask, now: Millis) -> Result<Option<Outgoing>, Failure> {
    let (site, endpoint) = endpoint(job, task)?;
    let request = endpoint
        .request(site, &task.params, &task.at, limit(job, endpoint, task))
        .map_err(|error| Failure::new(Class::Dialect, error))?;
    let Some(request) = request else {
        return Ok(None);
    };
    with_secrets(site, request, now).map(Some)
}

/// A request with what the site must be shown besides: its login, headers and cookies.
///
/// # Errors
/// When a secret is unset.
pub fn with_secrets(site: &Site, request: Request, now: Millis) -> Result<Outgoing, Failure> {
    let mut out = Outgoing {
        method: request.method,
        headers: request.headers,
        body: request.body,
        sign: request.sign,
        ..Outgoing::get(request.url)
    };
    if let (Some(login), Some(hook)) = (&site.login, site.dialect.login) {
        out.secret_query = Login::query(hook, login, &site.vars)
            .map_err(|error| Failure::new(Class::Auth, error))?;
    }
    out.secret_headers.clone_from(&site.headers);
    out.cookies = site.cookies_for(&out.url, now);
    out.proxy.clone_from(&site.proxy);
    Ok(out)
}

/// Fetches and stores one page. `earlier` is how many entries an earlier walk of the listing met. `asked` is called when a
/// good reply is in, so that the connection can serve the next.
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
    let now = context.store.clock().now();
    if task.begins_day().is_some()
        && let Some(day) = &mut task.day
    {
        // Now, before it is asked for: a listing of a day that is not over may still grow behind the walk.
        day.settled = is_over(day.date, now);
    }
    let Some(out) = outgoing(job, &task, now)? else {
        asked();
        return commit(context, job, lease, task, None).await;
    };
    let url = redact(&out.url);
    tracing::debug!(job.name = %job.name, "{} {url}", out.method.word());
    let named = |failure: Failure| failure.about(&url);
    let (site, _) = endpoint(job, &task)?;
    let how = Asking {
        http: &context.http,
        mirrors: &context.mirrors,
        signer: &context.signer,
        pace: &context.pace,
        readers: &context.readers,
    };
    let clock = || context.store.clock().now();
    let page = ask(&how, job, &task, &out, clock, asked).await;
    let page = page.map_err(|failure| named(with_advice(site, failure)))?;
    let page = believed(job, &task, page, earlier).map_err(named)?;
    commit(context, job, lease, task, Some(page)).await
}

/// What asking for a page takes.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Requests.
    pub http: &'a Http,
    /// Which address of a site with several answers.
    pub mirrors: &'a Mirrors,
    /// What some sites must be shown to answer.
    pub signer: &'a Signer,
    /// Whose turn it is.
    pub pace: &'a Pace,
    /// Replies parsed at once.
    pub readers: &'a Semaphore,
}

/// Asks for a page and reads it. Where the site refuses a signature its key is renewed, once. `asked` is called when the
/// reply is in and good.
///
/// # Errors
/// The failure to judge.
pub async fn ask(
    how: &Asking<'_>,
    job: &Arc<Job>,
    task: &PageTask,
    out: &Outgoing,
    now: impl Fn() -> Millis,
    asked: impl FnOnce(),
) -> Result<Page, Failure> {
    let (site, _) = endpoint(job, task)?;
    let (mut asked, mut renewed) = (Some(asked), false);
    loop {
        let signed = how
            .signer
            .sign(how.http, how.pace, site, out, now())
            .await?;
        let reply = how.mirrors.page(how.http, site, &signed.out).await?;
        // After a refusal nobody asks before it is judged: it may be that all have to wait. A signed request may have to
        // be sent once more.
        if (200..300).contains(&reply.status)
            && out.sign.is_none()
            && let Some(asked) = asked.take()
        {
            asked();
        }
        let page = read(how.readers, job, task, reply).await;
        match page {
            Err(failure) if failure.stale_key && !renewed && how.signer.refused(site, &signed) => {
                renewed = true;
                tracing::debug!(job.name = %job.name, "The key of {} may be an old one: asking for another", site.name);
                if let Some(host) = HostKey::from_url(&site.url) {
                    how.pace.host(&host, site.api).turn().await;
                }
            }
            page => {
                if let (Ok(_), Some(asked)) = (&page, asked.take()) {
                    asked();
                }
                return page;
            }
        }
    }
}

/// Which setting to renew is part of what happened, where a login is at fault.
fn with_advice(site: &Site, failure: Failure) -> Failure {
    let Some(credential) = site.dialect.credential.as_deref() else {
        return failure;
    };
    if failure.class != Class::Auth {
        return failure;
    }
    Failure {
        message: format!(
            "{}; set or renew `{credential}` of [sites.{}]",
            failure.message,
            if site.name.contains('.') {
                format!("{:?}", site.name)
            } else {
                site.name.clone()
            }
        ),
        ..failure
    }
}

/// Classifies a reply and reads it off the async threads, two at once at most.
///
/// # Errors
/// The failure to judge.
pub async fn read(
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

async fn commit(
    context: &Context,
    job: &Arc<Job>,
    lease: Lease,
    task: PageTask,
    page: Option<Page>,
) -> Result<Walked, Failure> {
    let (site, endpoint) = endpoint(job, &task)?;
    let host = host_of(site)?;
    let mut hosts = BTreeMap::from([(host.clone(), site.clone())]);
    let (listing, asked) = (task.depth == 0, page.is_some());
    let (continued, gone) = match &page {
        Some(page) => (continued(job, &task, page)?, page.gone.clone()),
        None => (Vec::new(), None),
    };
    let mut commit = PageCommit {
        lease,
        site: site.id.clone(),
        host: host.as_str().to_owned(),
        roles: job.files.clone().unwrap_or_else(|| endpoint.files.clone()),
        items: Vec::new(),
        continued: queued(job, continued, &mut hosts)?,
        gone: gone.map(|gone| (gone.why, gone.raw)),
        full: context.full,
        immutable: endpoint.immutable,
        refused: BTreeSet::new(),
        bad: Vec::new(),
        filtered: page.as_ref().map_or(0, |page| page.filtered),
        total: page
            .as_ref()
            .and_then(|page| page.shown.total)
            .filter(|_| task.at.slices == 0),
        days: task.day.map(|_| days_key(job)),
        census: page.as_ref().and_then(|page| census(endpoint, &task, page)),
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
            select(job, site, &mut commit, entry, &mut hosts)?;
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

/// What a page adds to what whole walks tell of the listing.
fn census(endpoint: &Endpoint, task: &PageTask, page: &Page) -> Option<CensusPage> {
    let census = endpoint.census.as_ref()?;
    let by: Vec<_> = census.by.iter().map(|name| task.params.get(name)).collect();
    let key = serde_json::to_vec(&(&task.site, &task.endpoint, by)).expect("plain JSON values");
    Some(CensusPage {
        key: Digest::of(&key),
        kind: census.kind.clone(),
        total: page.shown.total,
        stood: task.at.stood + page.shown.stands.unwrap_or(0),
        steady: endpoint
            .paging(&task.params)
            .is_steady(&task.at, &page.shown),
    })
}

fn host_of(site: &Site) -> Result<HostKey, Failure> {
    HostKey::from_url(&site.url)
        .ok_or_else(|| Failure::new(Class::BadUrl, format!("{} has no host", site.url)))
}

/// Pages with the host of each.
fn queued(
    job: &Job,
    pages: Vec<PageTask>,
    hosts: &mut BTreeMap<HostKey, Arc<Site>>,
) -> Result<Vec<(PageTask, String)>, Failure> {
    let mut queued = Vec::new();
    for page in pages {
        let (site, _) = endpoint(job, &page)?;
        let host = host_of(site)?;
        queued.push((page, host.to_string()));
        hosts.insert(host, site.clone());
    }
    Ok(queued)
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
fn select(
    job: &Job,
    site: &Arc<Site>,
    commit: &mut PageCommit,
    entry: Entry,
    hosts: &mut BTreeMap<HostKey, Arc<Site>>,
) -> Result<(), Failure> {
    let item = match entry {
        Entry::Good(item) => item,
        Entry::Bad { raw, message } => {
            commit.bad.push((raw, message));
            return Ok(());
        }
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
        if allowed(site, url.host_str().unwrap_or_default(), port) {
            hosts.entry(key).or_insert_with(|| site.clone());
        } else {
            commit.refused.insert(key.to_string());
        }
    }
    let task = &commit.task;
    let lead = |follow: &Vec<Follow>, needed: bool| {
        let page = |follow: &Follow| {
            let page = leads_to(job, task, follow, task.depth + 1)
                .filter(|page| page.depth <= MOST_DEPTH)
                .ok_or_else(|| follow.endpoint.clone())?;
            Ok(PageTask { needed, ..page })
        };
        follow.iter().map(page).collect::<Result<Vec<_>, String>>()
    };
    let (needs, with) = match (lead(&item.follow, true), lead(&item.also, false)) {
        (Ok(needs), Ok(with)) => (needs, with),
        (Err(unknown), _) | (_, Err(unknown)) => {
            let raw = item.raw.values().next().map_or("", |raw| raw.get());
            let message = format!("it leads to `{unknown}`, which is no endpoint, or too deep");
            commit.bad.push((raw.to_owned(), message));
            return Ok(());
        }
    };
    // What was said of it, what is wanted and what that leads to: when all that is as it was, so is what it leads to.
    let said = (!needs.is_empty()).then(|| {
        let item_said = record_digest(&site.id, &item, &[]);
        let text = serde_json::to_vec(&(item_said.to_string(), &commit.roles, &item.follow));
        Digest::of(&text.expect("plain JSON values"))
    });
    let seen = Seen {
        item: *item,
        needs: queued(job, needs, hosts)?,
        with: queued(job, with, hosts)?,
        said,
    };
    commit.items.push(seen);
    Ok(())
}

#[cfg(test)]
mod tests;
