//! Fetching one damaged object from the addresses that are known for it, as politely as a run would.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Error,
    repair::{AT_ONCE, Back, Source, Tried, open},
};
use crate::{
    archive::{Archive, Digest, Put, PutError, Staged, Wanted},
    class::Class,
    config::{Config, Network, Site},
    fetch::allowed,
    http::{Http, Known, Outgoing, redact},
    pace::{HoldReason, Host, HostKey, Pace},
    run::{
        Failure,
        hosts::{self, Holds},
        judge,
    },
    store::{self, Store, Verdict},
};

/// Bytes gathered before they are written.
const CHUNK: usize = 1 << 20;
/// A host that asks to be left alone for longer is left alone: the next repair asks again.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// A host that has not been reached for about this long is not waited for: somebody may be sitting there.
const UNREACHED: Duration = Duration::from_secs(30);

/// What became of one object.
pub(super) enum Outcome {
    /// It is whole again.
    Back(Back),
    /// It is nobody's, and was set aside.
    Dropped,
    /// It is still damaged; what was tried.
    Left(Vec<Tried>),
}

/// Fetches objects anew.
pub(super) struct Medic {
    sites: Vec<Arc<Site>>,
    network: Network,
    archive: Arc<Archive>,
    store: Store,
    http: Http,
    pace: Pace,
    /// Objects stored at once.
    storing: Semaphore,
    /// For the names of staged files.
    nth: AtomicU64,
    stop: CancellationToken,
}

impl Medic {
    /// Asks nobody yet; waits that hosts have asked an earlier process for still hold.
    pub(super) fn new(
        config: &Config,
        archive: &Arc<Archive>,
        store: &Store,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let http = Http::new(&config.network).map_err(|error| Error::Http(error.message))?;
        let medic = Self {
            sites: config.sites.values().cloned().collect(),
            network: config.network.clone(),
            archive: archive.clone(),
            store: store.clone(),
            http,
            pace: Pace::new(),
            storing: Semaphore::new(AT_ONCE),
            nth: AtomicU64::new(0),
            stop: stop.clone(),
        };
        let state = store.path().parent().unwrap_or(store.path());
        medic.restore_holds(&Holds::read(state));
        Ok(medic)
    }

    /// Tries every address of an object in turn.
    pub(super) async fn mend(
        &self,
        digest: Digest,
        sources: Vec<Source>,
    ) -> Result<Outcome, Error> {
        if sources.is_empty() {
            return self.without_source(digest).await;
        }
        let mut tried = Vec::new();
        for source in sources {
            let shown = source
                .url
                .parse()
                .map_or_else(|_| source.url.clone(), |url| redact(&url));
            match self.fetch(&digest, &source).await {
                Ok(put) => {
                    tracing::debug!("Fetched the object {digest} anew from {shown}");
                    let back = Back {
                        object: digest,
                        bytes: put.bytes,
                        url: shown,
                    };
                    self.store
                        .write("note that an object is whole", move |group| {
                            group.mended(&digest, Some(&put))
                        })
                        .await?;
                    return Ok(Outcome::Back(back));
                }
                Err(None) => break,
                Err(Some(failure)) => {
                    let (url, class, message) =
                        (shown.clone(), failure.class, failure.message.clone());
                    self.store
                        .write("note a repair in vain", move |group| {
                            group.not_mended(&digest, &url, class, &message)
                        })
                        .await?;
                    tried.push(Tried {
                        url: shown,
                        class: failure.class,
                        message: failure.message,
                    });
                }
            }
        }
        Ok(Outcome::Left(tried))
    }

    /// An object that no item and no record names was set aside, which is all that can be done. One that the database
    /// knows stays damage.
    async fn without_source(&self, digest: Digest) -> Result<Outcome, Error> {
        if open(&self.store)?.knows(&digest)? {
            return Ok(Outcome::Left(Vec::new()));
        }
        self.store
            .write("forget an object", move |group| group.mended(&digest, None))
            .await?;
        Ok(Outcome::Dropped)
    }

    /// Fetches an object from one address, as often as a run would try. `None` when it is told to stop.
    async fn fetch(&self, digest: &Digest, source: &Source) -> Result<Put, Option<Failure>> {
        let failure = |class, message: String| Some(Failure::new(class, message));
        let url: Url = source
            .url
            .parse()
            .map_err(|_| failure(Class::BadUrl, format!("`{}` is not a URL", source.url)))?;
        let key = HostKey::from_url(&url)
            .ok_or_else(|| failure(Class::BadUrl, format!("{url} has no host")))?;
        let site = self.site(source, &url)?;
        let host = self.pace.host(&key, site.media);
        if HostKey::from_url(&site.url) == Some(key) {
            self.pace.host(host.key(), site.api);
        }
        let throttle = &site.dialect.throttle;
        let mut tries = 0;
        loop {
            if let Some(failed) = too_long(&host) {
                return Err(Some(failed));
            }
            // Nothing is lost when these are dropped at a stop: a download that is not whole leaves no trace.
            let got = tokio::select! {
                () = self.stop.cancelled() => return Err(None),
                got = self.once(&host, &site, &url, digest) => got,
            };
            let failed = match got {
                Ok(put) => {
                    host.ok();
                    return Ok(put);
                }
                Err(failed) => failed,
            };
            match judge(&failed, tries, false, &self.network, throttle, &host) {
                Verdict::Again { wait, counted } => {
                    tries += u32::from(counted);
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(None),
                        () = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())) => {}
                    }
                }
                Verdict::Failed | Verdict::JobWaits => return Err(Some(failed)),
            }
        }
    }

    /// The site of a source, or that of its sites which allows the address.
    fn site(&self, source: &Source, url: &Url) -> Result<Arc<Site>, Option<Failure>> {
        let port = url.port_or_known_default().unwrap_or(0);
        let host = url.host_str().unwrap_or_default();
        let mut named = self.sites.iter().filter(|site| site.id == source.site);
        let first = named.clone().next();
        let site = named.find(|site| allowed(site, host, port)).or(first);
        site.cloned().ok_or_else(|| {
            let message = format!(
                "the site {0} is not configured any more; add [sites.\"{0}\"], or a job of it, to ask there",
                source.site
            );
            Some(Failure::new(Class::BlockedAddress, message))
        })
    }

    /// One request, from the wait for its turn to the object under its name.
    async fn once(
        &self,
        host: &Host,
        site: &Arc<Site>,
        url: &Url,
        digest: &Digest,
    ) -> Result<Put, Failure> {
        let connection = host.connection().await;
        host.turn().await;
        let mut out = Outgoing::get(url.clone());
        out.headers.clone_from(&site.dialect.media_headers);
        out.proxy.clone_from(&site.proxy);
        let rules = site.clone();
        let mut download = self
            .http
            .file(&out, &Known::default(), &move |host, port| {
                allowed(&rules, host, port)
            })
            .await?;
        let wanted = Wanted {
            sha256: Some(digest.to_string()),
            content_type: download.content_type.clone(),
            ..Wanted::default()
        };
        let nth = self.nth.fetch_add(1, Ordering::Relaxed);
        let mut staged = Staged::new(format!("repair.{nth:x}"), &wanted);
        let (mut gathered, mut size) = (Vec::new(), 0);
        while let Some(chunk) = download.chunk().await? {
            size += chunk.len();
            gathered.push(chunk);
            if size >= CHUNK {
                size = 0;
                staged = self.write(staged, std::mem::take(&mut gathered)).await?;
            }
        }
        drop(connection);
        let _storing = self.storing.acquire().await;
        let archive = self.archive.clone();
        let putting = tokio::task::spawn_blocking(move || {
            staged.write(&archive.objects, gathered)?;
            archive.objects.put(staged, &wanted)
        });
        match putting.await {
            Ok(Ok(put)) => Ok(put),
            Ok(Err(error)) => Err(refused(error)),
            Err(panicked) => Err(storage(&panicked)),
        }
    }

    async fn write(&self, mut staged: Staged, chunks: Vec<Bytes>) -> Result<Staged, Failure> {
        let archive = self.archive.clone();
        let writing = tokio::task::spawn_blocking(move || {
            staged.write(&archive.objects, chunks).map(|()| staged)
        });
        match writing.await {
            Ok(Ok(staged)) => Ok(staged),
            Ok(Err(error)) => Err(storage(&error)),
            Err(panicked) => Err(storage(&panicked)),
        }
    }

    fn restore_holds(&self, holds: &Holds) {
        let now = self.store.clock().now();
        for key in holds.waiting(now) {
            let (name, port) = key.parts();
            for site in self.sites.iter().filter(|site| allowed(site, name, port)) {
                holds.restore(&self.pace.host(key, site.media), now);
            }
        }
    }

    /// Keeps what hosts asked for, as a run does.
    pub(super) async fn keep_hosts(&self) -> Result<(), store::Error> {
        hosts::keep(&self.pace, &self.store).await
    }
}

/// Why a host is not waited for, when it is not.
fn too_long(host: &Host) -> Option<Failure> {
    let hold = host.held()?;
    let left = hold
        .until
        .saturating_duration_since(tokio::time::Instant::now());
    let (patience, class) = match hold.reason {
        HoldReason::Failing => (UNREACHED, Class::Connect),
        _ => (PATIENCE, Class::RateLimited),
    };
    (left > patience).then(|| {
        let message = format!(
            "{} {}: it is not asked for another {left:.0?}",
            host.key(),
            hold.reason
        );
        Failure::new(class, message)
    })
}

fn storage(error: &dyn std::error::Error) -> Failure {
    Failure::new(Class::Storage, error.to_string())
}

fn refused(error: PutError) -> Failure {
    match error {
        // Nothing but the hash was promised.
        PutError::Refused {
            class: Class::Checksum,
            ..
        } => Failure::new(
            Class::Checksum,
            "other bytes came than those that were archived: the file was changed upstream",
        ),
        PutError::Refused { class, message } => Failure::new(class, message),
        PutError::Storage(error) => storage(&error),
    }
}
