//! `run --dry-run`: walks a listing and reports, and leaves nothing behind.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Failure, judge};
use crate::{
    class::{Class, Remedy},
    clock::Clock,
    config::{Job, Network},
    dialect::{Entry, Step},
    http::{Accept, Http},
    pace::{Host, HostKey, Pace},
    store::{MOST_STALE, PageTask, Verdict, page_key},
    walk,
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
    let key = HostKey::from_url(&job.site.url)
        .ok_or_else(|| Failure::new(Class::BadUrl, format!("{} has no host", job.site.url)))?;
    let mut dry = Dry {
        job,
        network,
        http,
        host: pace.host(&key, job.site.api),
        clock,
        stop,
        readers: Semaphore::new(1),
        roles: job
            .files
            .clone()
            .unwrap_or_else(|| job.listing.roles.iter().take(1).cloned().collect()),
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
    host: Arc<Host>,
    clock: &'a Clock,
    stop: &'a CancellationToken,
    readers: Semaphore,
    roles: Vec<String>,
    report: DryReport,
    progress: P,
}

impl<P: FnMut(&DryReport)> Dry<'_, P> {
    async fn walk(&mut self, mut task: PageTask) -> Result<Ended, Failure> {
        let (job, stop) = (self.job, self.stop);
        let mut seen = BTreeSet::new();
        let mut tries = 0;
        let (mut again, mut stale) = (false, 0);
        while again || seen.insert(page_key(&task)) {
            again = false;
            let Some(out) = walk::outgoing(job, &job.listing, &task, self.clock.now())? else {
                return Ok(Ended::Whole);
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Enough),
                () = self.host.turn() => {}
            }
            let page = match self.http.page(&out, Accept::Json).await {
                Ok(reply) => walk::read(&self.readers, job, &job.listing, &task, reply)
                    .await
                    .and_then(|page| walk::believed(job, &job.listing, &task, page, None)),
                Err(error) => Err(error.into()),
            };
            let page = match page {
                Ok(page) => page,
                Err(failure) => match judge(&failure, tries, true, self.network, &self.host) {
                    Verdict::Again { wait, counted } => {
                        tries += u32::from(counted);
                        again = true;
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
            self.host.ok();
            tries = 0;
            self.report.pages += 1;
            self.report.filtered += page.filtered;
            for entry in &page.entries {
                count(&self.roles, entry, &mut self.report);
            }
            (self.progress)(&self.report);
            if job.max_pages.is_some_and(|most| self.report.pages >= most)
                || job.max_items.is_some_and(|most| self.report.items >= most)
            {
                return Ok(Ended::Enough);
            }
            let paging = job.listing.paging(&task.params);
            match paging.step(&task.at, &page.shown, walk::limit(job, &job.listing, &task)) {
                Step::End | Step::Unless(_) => return Ok(Ended::Whole),
                Step::Next(at) => {
                    let same = at.shown.is_some() && at.shown == task.at.shown;
                    stale = if same { stale + 1 } else { 0 };
                    if stale >= MOST_STALE {
                        break;
                    }
                    task.at = at;
                }
                Step::Stuck(why) => return Err(Failure::new(Class::Listing, why)),
            }
        }
        Err(Failure::new(
            Class::Loop,
            "the listing shows the same page again and again",
        ))
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
    for file in item
        .files
        .iter()
        .filter(|file| roles.contains(&file.role) && file.url.is_some())
    {
        report.files += 1;
        report.bytes += file.bytes.unwrap_or(0);
    }
}
