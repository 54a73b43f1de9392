//! What a page of a walk is asked for with: its endpoint, how many entries, the request with all that is secret.

use std::sync::Arc;

use crate::{
    class::Class,
    clock::Millis,
    config::{Job, Site},
    dialect::{By, Endpoint, Follow, Login, Page, ParamKind, Request, Values},
    http::Outgoing,
    run::Failure,
    store::PageTask,
};

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
pub(super) fn leads_to(
    job: &Job,
    from: &PageTask,
    follow: &Follow,
    depth: u32,
) -> Option<PageTask> {
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
