//! The pace at which each host is asked: rate, connections, holds.
//!
//! One registry for all sites and jobs, keyed by host and port, so that two sites on one host share its limits.
//! Promises that requests to a host are never closer together than its rate allows, that a hold stops everybody, and
//! that waiters are served in the order they came. Leaves to the caller when a reply counts as good or as throttling.

mod host;
mod limiter;
pub mod retry_after;

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use url::Url;

pub use host::{Connection, Hold, HoldReason, Host, HostCounts, QUIET};

use crate::config::Limits;

/// No hold is longer, whatever the server asks.
pub const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// `host:port` of one origin, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(String);

impl HostKey {
    /// The host that `url` is asked from; `None` when it names no host or no known port.
    pub fn from_url(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let port = url.port_or_known_default()?;
        Some(Self(format!("{}:{port}", host.to_ascii_lowercase())))
    }

    /// Host and port.
    pub fn parts(&self) -> (&str, u16) {
        let (host, port) = self.0.rsplit_once(':').unwrap_or((&self.0, ""));
        (host, port.parse().unwrap_or(0))
    }

    /// `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not `host:port`")]
pub struct NotAHost(String);

impl FromStr for HostKey {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let port = text
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let url = Url::parse(&format!("http://{text}/")).ok();
        let key = url
            .filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
        match (port, key.as_ref().and_then(Self::from_url)) {
            (Some(_), Some(key)) => Ok(key),
            _ => Err(NotAHost(text.to_owned())),
        }
    }
}

/// The registry of hosts. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    hosts: Arc<Mutex<BTreeMap<HostKey, Arc<Host>>>>,
}

impl Pace {
    /// A registry without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The host, made when first named. Called again with other limits, the lowest rate and the fewest connections win.
    pub fn host(&self, key: &HostKey, limits: Limits) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(key) {
            host.restrict(limits);
            return Arc::clone(host);
        }
        let host = Arc::new(Host::new(key.clone(), limits));
        hosts.insert(key.clone(), Arc::clone(&host));
        host
    }

    /// From now on the limits of each host are those that it is named with next: the configuration has changed.
    pub fn renew(&self) {
        for host in self.hosts() {
            host.renew();
        }
    }

    /// Every host named so far, by name.
    pub fn hosts(&self) -> Vec<Arc<Host>> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
