//! One page: request, classify, select, commit.
//!
//! What is asked for is `task`'s to say, what a reply is taken for `reply`'s; here a page is asked for and stored.

mod reply;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::Semaphore;
use url::Url;

use reply::read;
pub use reply::{believed, classify};
use task::leads_to;
pub use task::{continued, endpoint, first_page, limit, outgoing, shows_all, with_secrets};

use crate::{
    archive::{Digest, record_digest},
    class::Class,
    clock::{Millis, is_over},
    config::{Job, Site},
    dialect::{Endpoint, Entry, Follow, Page, Step},
    fetch::allowed,
    http::{Http, Outgoing, redact},
    pace::{HostKey, Pace},
    run::{Context, Failure, Mirrors, Signer, days_key},
    store::{CensusPage, Lease, PageCommit, PageOutcome, PageTask, Seen},
};

/// Follow-ups that may lead to each other: a user, their works, a work, its comments, the replies to one, and one more.
const MOST_DEPTH: u32 = 6;

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
