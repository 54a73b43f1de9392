//! `run --dry-run`: walks a listing and reports, and leaves nothing behind.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Failure, Mirrors, Signer, judge};
use crate::{
    class::{Class, Remedy},
    clock::Clock,
    config::{Job, Network},
    dialect::{Entry, Step},
    http::Http,
    pace::{HostKey, Pace},
    store::{MOST_STALE, PageTask, Verdict, page_key},
    walk::{self, Asking},
};

/// What a walk would bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// What is wrong with the first of these.
    pub unreadable_why: Option<String>,
    /// Files of the wanted roles.
    pub files: u64,
    /// Their bytes, as far as the site says.
    pub bytes: u64,
}

/// Walks `job` from each of `firsts` without a store. Returns what there is, and the failure at which each walk ended that
/// could not be whole, after the tries that a real run would make.
///
/// # Errors
/// When the site's address has no host.
#[expect(clippy::too_many_arguments, reason = "what a run finds in its context")]
pub async fn dry_run(
    job: &Arc<Job>,
    firsts: Vec<PageTask>,
    network: &Network,
    http: &Http,
    pace: &Pace,
    clock: &Clock,
    stop: &CancellationToken,
    progress: impl FnMut(&DryReport),
) -> Result<(DryReport, Vec<Failure>), Failure> {
    let mut dry = Dry {
        job,
        network,
        http,
        pace,
        mirrors: Mirrors::default(),
        signer: Signer::default(),
        clock,
        stop,
        readers: Semaphore::new(1),
        report: DryReport::default(),
        progress,
    };
    let mut failures = Vec::new();
    for first in firsts {
        match dry.walk(first).await {
            Ok(Ended::Whole) => {}
            Ok(Ended::Enough) => break,
            Err(failure) => {
                let person = failure.class.remedy() == Remedy::Person;
                failures.push(failure);
                if person {
                    break;
                }
            }
        }
    }
    Ok((dry.report, failures))
}

/// How a walk without a store ended.
enum Ended {
    /// At its end.
    Whole,
    /// At a limit of the job, or because it was told to.
    Enough,
}

struct Dry<'a, P> {
    job: &'a Arc<Job>,
    network: &'a Network,
    http: &'a Http,
    pace: &'a Pace,
    mirrors: Mirrors,
    signer: Signer,
    clock: &'a Clock,
    stop: &'a CancellationToken,
    readers: Semaphore,
    report: DryReport,
    progress: P,
}

impl<P: FnMut(&DryReport)> Dry<'_, P> {
    /// Walks a listing and what continues it elsewhere.
    async fn walk(&mut self, first: PageTask) -> Result<Ended, Failure> {
        const CIRCLE: &str = "the listing shows the same page again and again";
        let (job, stop) = (self.job, self.stop);
        let (mut open, mut seen) = (VecDeque::from([first]), BTreeSet::new());
        let (mut tries, mut stale, mut again) = (0, 0, false);
        while let Some(mut task) = open.pop_front() {
            let (site, endpoint) = walk::endpoint(job, &task)?;
            let key = HostKey::from_url(&site.url)
                .ok_or_else(|| Failure::new(Class::BadUrl, format!("{} has no host", site.url)))?;
            let host = self.pace.host(&key, site.api);
            if !again && !seen.insert(page_key(&task)) {
                return Err(Failure::new(Class::Loop, CIRCLE));
            }
            again = false;
            let Some(out) = walk::outgoing(job, &task, self.clock.now())? else {
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Enough),
                () = host.turn() => {}
            }
            let how = Asking {
                http: self.http,
                mirrors: &self.mirrors,
                signer: &self.signer,
                pace: self.pace,
                readers: &self.readers,
            };
            let now = self.clock.now();
            let page = walk::ask(&how, job, &task, &out, || now, || ()).await;
            let page = page.and_then(|page| walk::believed(job, &task, page, None));
            let throttle = &site.dialect.throttle;
            let page = match page {
                Ok(page) => page,
                Err(failure) => match judge(&failure, tries, true, self.network, throttle, &host) {
                    Verdict::Again { wait, counted } => {
                        tries += u32::from(counted);
                        again = true;
                        open.push_front(task);
                        let wait = std::time::Duration::from_millis(wait.unsigned_abs());
                        tokio::select! {
                            () = stop.cancelled() => return Ok(Ended::Enough),
                            () = tokio::time::sleep(wait) => {}
                        }
                        continue;
                    }
                    Verdict::Failed | Verdict::JobWaits => return Err(failure),
                },
            };
            host.ok();
            tries = 0;
            self.report.pages += 1;
            self.report.filtered += page.filtered;
            let roles = job.files.as_ref().unwrap_or(&endpoint.files);
            for entry in &page.entries {
                count(roles, entry, &mut self.report);
            }
            (self.progress)(&self.report);
            if job.max_pages.is_some_and(|most| self.report.pages >= most)
                || job.max_items.is_some_and(|most| self.report.items >= most)
            {
                return Ok(Ended::Enough);
            }
            open.extend(walk::continued(job, &task, &page)?);
            let paging = endpoint.paging(&task.params);
            match paging.step(&task.at, &page.shown, walk::limit(job, endpoint, &task)) {
                Step::End | Step::Unless(_) => {}
                Step::Wall => self.report.wall = true,
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
        Ok(Ended::Whole)
    }
}

fn count(roles: &[String], entry: &Entry, report: &mut DryReport) {
    let item = match entry {
        Entry::Good(item) => item,
        Entry::Bad { message, .. } => {
            report.unreadable += 1;
            report.unreadable_why.get_or_insert_with(|| message.clone());
            return;
        }
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
