//! `run --dry-run`: walks a listing and reports, and leaves nothing behind.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Failure, Mirrors, judge};
use crate::{
    class::Class,
    config::{Job, Network},
    dialect::{Entry, Step},
    http::Http,
    pace::{HostKey, Pace},
    store::{MOST_STALE, Verdict, page_key},
    walk,
};

/// What a walk would bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DryReport {
    /// Pages asked for.
    pub pages: u64,
    /// Items shown.
    pub items: u64,
    /// Items that `where` would refuse.
    pub filtered: u64,
    /// Items that are gone upstream.
    pub gone: u64,
    /// Entries that no filter could read.
    pub unreadable: u64,
    /// Look-ups that would tell more of the items, their files among it.
    pub lookups: u64,
    /// Whether the site shows no more of the listing, though there is more.
    pub wall: bool,
    /// Files of the wanted roles.
    pub files: u64,
    /// Their bytes, as far as the site says.
    pub bytes: u64,
}

/// Walks `job` without a store.
///
/// # Errors
/// The failure at which the walk ended, after the tries that a real run would make.
pub async fn dry_run(
    job: &Arc<Job>,
    network: &Network,
    http: &Http,
    pace: &Pace,
    stop: &CancellationToken,
    mut progress: impl FnMut(&DryReport),
) -> Result<DryReport, Failure> {
    let (readers, mirrors) = (Semaphore::new(1), Mirrors::default());
    let (mut report, mut seen) = (DryReport::default(), BTreeSet::new());
    let mut open = VecDeque::from([walk::first_page(job)]);
    let (mut tries, mut stale, mut again) = (0, 0, false);
    while let Some(mut task) = open.pop_front() {
        let (site, endpoint) = walk::endpoint(job, &task)?;
        let key = HostKey::from_url(&site.url)
            .ok_or_else(|| Failure::new(Class::BadUrl, format!("{} has no host", site.url)))?;
        let host = pace.host(&key, site.api);
        if !again && !seen.insert(page_key(&task)) {
            return Err(Failure::new(Class::Loop, CIRCLE));
        }
        again = false;
        let Some(out) = walk::outgoing(job, &task)? else {
            continue;
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(report),
            () = host.turn() => {}
        }
        let page = match mirrors.page(http, site, &out).await {
            Ok(reply) => walk::read(&readers, job, &task, reply).await,
            Err(error) => Err(error.into()),
        };
        let page = match page {
            Ok(page) => page,
            Err(failure) => match judge(
                &failure,
                tries,
                true,
                network,
                &site.dialect.throttle,
                &host,
            ) {
                Verdict::Again { wait, counted } => {
                    tries += u32::from(counted);
                    again = true;
                    open.push_front(task);
                    tokio::time::sleep(std::time::Duration::from_millis(wait.unsigned_abs())).await;
                    continue;
                }
                Verdict::Failed | Verdict::JobWaits => return Err(failure),
            },
        };
        host.ok();
        tries = 0;
        report.pages += 1;
        report.filtered += page.filtered;
        let roles = job.files.as_ref().unwrap_or(&endpoint.files);
        for entry in &page.entries {
            count(roles, entry, &mut report);
        }
        progress(&report);
        if job.max_pages.is_some_and(|most| report.pages >= most)
            || job.max_items.is_some_and(|most| report.items >= most)
        {
            return Ok(report);
        }
        open.extend(walk::continued(job, &task, &page)?);
        let paging = endpoint.paging(&task.params);
        match paging.step(&task.at, &page.shown, walk::limit(job, endpoint, &task)) {
            Step::End => {}
            Step::Wall => report.wall = true,
            Step::Next(at) => {
                let same = at.shown.is_some() && at.shown == task.at.shown;
                stale = if same { stale + 1 } else { 0 };
                if stale >= MOST_STALE {
                    return Err(Failure::new(Class::Loop, CIRCLE));
                }
                task.at = at;
                open.push_front(task);
            }
            Step::Stuck(why) => return Err(Failure::new(Class::Listing, why)),
        }
    }
    Ok(report)
}

const CIRCLE: &str = "the listing shows the same page again and again";

fn count(roles: &[String], entry: &Entry, report: &mut DryReport) {
    let Entry::Good(item) = entry else {
        report.unreadable += 1;
        return;
    };
    report.items += 1;
    report.gone += u64::from(item.gone.is_some());
    report.lookups += (item.follow.len() + item.also.len()) as u64;
    for file in item
        .files
        .iter()
        .filter(|file| roles.contains(&file.role) && file.url.is_some())
    {
        report.files += 1;
        report.bytes += file.bytes.unwrap_or(0);
    }
}
