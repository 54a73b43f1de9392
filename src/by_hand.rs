//! One request by hand: the limits, login and cookies of a walk, without a queue.
//!
//! Needs no archive and no lock. A wait that a host asked an earlier larder for still holds; what a host asks for now is
//! not kept, because only the holder of the lock may write.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    class::Class,
    clock::{Clock, Millis},
    config::{Config, Site},
    dialect::{Asked, Cursor, Endpoint, Position, Values},
    http::{self, Accept, Http, Known, Outgoing, Reply},
    pace::{HostKey, Pace},
    run::{Failure, Mirrors, Signed, Signer},
    store::Reader,
    text::{duration, local_time},
    walk,
};

/// A wait that is shorter is waited for; a longer one is told.
const PATIENCE: Millis = 30_000;

/// Asks sites one request at a time.
#[derive(Debug)]
pub struct ByHand {
    http: Http,
    pace: Pace,
    mirrors: Mirrors,
    signer: Signer,
    clock: Clock,
    /// Until when hosts asked to be left alone, and why.
    holds: Vec<(HostKey, Millis, String)>,
    asked: std::cell::Cell<u32>,
}

impl ByHand {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, http::Error> {
        // Without a database, or with one that cannot be read, no wait is known.
        let rows = Reader::open(&config.archive.state)
            .ok()
            .flatten()
            .and_then(|reader| reader.hosts().ok())
            .unwrap_or_default();
        let now = clock.now();
        let held = |row: crate::store::HostRow| {
            let until = row.until.filter(|until| *until > now)?;
            let reason = row.reason.unwrap_or_else(|| "asked to wait".to_owned());
            Some((row.host.parse().ok()?, until, reason))
        };
        Ok(Self {
            http: Http::new(&config.network)?,
            pace: Pace::new(),
            mirrors: Mirrors::default(),
            signer: Signer::default(),
            clock,
            holds: rows.into_iter().filter_map(held).collect(),
            asked: std::cell::Cell::new(0),
        })
    }

    /// Requests made so far.
    pub fn asked(&self) -> u32 {
        self.asked.get()
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The request for one page, with everything secret that the site wants to see; `None` when the dialect knows that these
    /// parameters match nothing.
    ///
    /// # Errors
    /// When it cannot be made of these values, or a secret is unset.
    pub fn request(
        &self,
        site: &Site,
        endpoint: &Endpoint,
        params: &Values,
        at: &Position,
        limit: Option<u32>,
    ) -> Result<Option<Outgoing>, Failure> {
        let request = endpoint
            .request(site, params, at, limit)
            .map_err(|error| Failure::new(Class::Dialect, error))?;
        request
            .map(|request| walk::with_secrets(site, request, self.clock.now()))
            .transpose()
    }

    /// Asks for a page, whatever its status; `wait` hears of a wait before it begins.
    ///
    /// # Errors
    /// When there is no whole reply, or its host is to be left alone for longer than a person waits.
    pub async fn page(
        &self,
        site: &Site,
        out: &Outgoing,
        wait: impl FnOnce(&str),
    ) -> Result<Reply, Failure> {
        let key = self.turn(&out.url, site.api, wait).await?;
        let signed = self.signed(site, out).await?;
        let reply = self.mirrors.page(&self.http, site, &signed.out).await?;
        self.heed(site, key, &reply);
        Ok(reply)
    }

    /// The request with its signature, where it takes one. The key is a new one: nothing was asked before.
    async fn signed(&self, site: &Site, out: &Outgoing) -> Result<Signed, Failure> {
        let now = self.clock.now();
        self.signer
            .sign(&self.http, &self.pace, site, out, now)
            .await
    }

    /// Sends a request to the site itself, and never elsewhere in its stead; `wait` hears of a wait before it begins.
    ///
    /// # Errors
    /// When there is no whole reply, or its host is to be left alone for longer than a person waits.
    pub async fn send(
        &self,
        site: &Site,
        out: &Outgoing,
        accept: Accept,
        wait: impl FnOnce(&str),
    ) -> Result<Reply, Failure> {
        let key = self.turn(&out.url, site.api, wait).await?;
        let signed = self.signed(site, out).await?;
        let reply = self.http.page(&signed.out, accept).await?;
        self.heed(site, key, &reply);
        Ok(reply)
    }

    /// Keeps what a reply says of when to ask again.
    fn heed(&self, site: &Site, key: Option<HostKey>, reply: &Reply) {
        if let (Some(wait), Some(key)) = (reply.retry_after, key) {
            self.pace.host(&key, site.api).hold(
                wait,
                crate::pace::HoldReason::RetryAfter,
                Some(reply.status),
            );
        }
    }

    /// Begins to download a file of the site and reads its first bytes. Returns its media type, length and those bytes.
    ///
    /// # Errors
    /// When it cannot be had from there.
    pub async fn file(
        &self,
        site: &Site,
        url: url::Url,
        wait: impl FnOnce(&str),
    ) -> Result<(Option<String>, Option<u64>, bytes::Bytes), Failure> {
        self.turn(&url, site.media, wait).await?;
        let mut out = Outgoing::get(url);
        out.headers.clone_from(&site.dialect.media_headers);
        out.proxy.clone_from(&site.proxy);
        let allowed = |host: &str, port| crate::fetch::allowed(site, host, port);
        let mut download = self.http.file(&out, &Known::default(), &allowed).await?;
        let first = download.chunk().await?.unwrap_or_default();
        Ok((download.content_type.clone(), download.length, first))
    }

    /// Waits for the host's turn.
    async fn turn(
        &self,
        url: &url::Url,
        limits: crate::config::Limits,
        wait: impl FnOnce(&str),
    ) -> Result<Option<HostKey>, Failure> {
        let key = HostKey::from_url(url);
        let now = self.clock.now();
        let held = self
            .holds
            .iter()
            .find(|(host, ..)| Some(host) == key.as_ref());
        if let Some((host, until, reason)) = held.filter(|(_, until, _)| *until > now) {
            let left = until - now;
            let words = format!(
                "{host} {reason}: to be left alone until {} ({})",
                local_time(*until),
                duration(left)
            );
            if left > PATIENCE {
                return Err(Failure::new(Class::RateLimited, words));
            }
            wait(&words);
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(left.unsigned_abs()))
                .await;
        }
        if let Some(key) = &key {
            let host = self.pace.host(key, limits);
            if let Some(hold) = host.held() {
                let left = hold.until.saturating_duration_since(Instant::now());
                let left = Millis::try_from(left.as_millis()).unwrap_or(Millis::MAX);
                if left > PATIENCE {
                    let words = format!(
                        "{key} {}: to be left alone for {}",
                        hold.reason,
                        duration(left)
                    );
                    return Err(Failure::new(Class::RateLimited, words));
                }
            }
            host.turn().await;
        }
        self.asked.set(self.asked.get() + 1);
        Ok(key)
    }
}

/// A reply that is what was asked for, by its status, its type and its own word.
///
/// # Errors
/// The site's refusal, as a walk would judge it.
pub fn accepted(
    site: &Site,
    endpoint: &Endpoint,
    params: &Values,
    cursor: &Cursor,
    reply: &Reply,
) -> Result<(), Failure> {
    let asked = Asked {
        status: reply.status,
        ..Asked::new(&site.url, &[], params, cursor)
    };
    if endpoint.ends_with.contains(&reply.status) {
        return Ok(());
    }
    walk::classify(site, endpoint, &asked, reply)?;
    match endpoint.reported(&reply.body, &asked) {
        None => Ok(()),
        Some(error) => Err(Failure {
            status: Some(reply.status),
            ..Failure::new(error.class, error.message)
        }),
    }
}
