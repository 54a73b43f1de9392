//! The configuration: archive.toml and jobs/*.toml as checked values.
//!
//! Owns every default and every rule about what may be written there. Promises that nothing downstream checks again:
//! each listing and parameter exists in its dialect, each duration has a unit, each path is resolved against the file
//! that names it. All mistakes of all files are reported at once. Reads files and environment variables, nothing else.

mod access;
mod address;
mod cookies;
mod daemon;
mod jobs;
mod network;
mod paths;
pub mod reader;
mod schedule;
mod secret;
mod sites;
mod top;
pub mod units;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use address::{AddressBook, NoPlace, Place};
pub use cookies::CookieFile;
pub use daemon::{Event, Listen, Notice, Way};
pub use jobs::{LONGEST_NAME, checked_name};
pub use reader::{Diagnostic, Diagnostics, Source};
pub use secret::Secret;
use url::Url;

use crate::dialect::{Catalog, Dialect, Endpoint, Values};

/// Everything a run needs to know.
#[derive(Debug)]
pub struct Config {
    /// The file that was read.
    pub path: PathBuf,
    /// Where things are kept.
    pub archive: Archive,
    /// How requests are made.
    pub network: Network,
    /// The sites that `[sites]` or a job names, by the name that the user gave.
    pub sites: BTreeMap<String, Arc<Site>>,
    /// The jobs, in the order written: first those of the file itself, then those of `include`, by path, then those that
    /// `larder add` keeps.
    pub jobs: Vec<Arc<Job>>,
    /// Every dialect known, the user's own among them.
    pub catalog: Catalog,
    /// Jobs that `larder add` keeps and that do not fit the configuration any more.
    pub unfit: Vec<UnfitJob>,
    /// Where the daemon answers.
    pub listen: Option<Listen>,
    /// Whom the daemon tells.
    pub notices: Vec<Notice>,
    /// The patterns of `include`.
    include: Vec<PathBuf>,
    /// The patterns of `dialects`.
    dialects: Vec<PathBuf>,
}

/// A job that is kept in the database and cannot be read.
#[derive(Debug)]
pub struct UnfitJob {
    /// Its name.
    pub name: String,
    /// What is wrong with it; never empty.
    pub complaints: Vec<Diagnostic>,
}

/// A job that is kept in the database: the keys of a job file, as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptJob {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: String,
}

/// `[archive]`.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The folder of `objects/`, `records/` and `staging/`; absolute.
    pub path: PathBuf,
    /// The folder of the database; absolute; `path` unless set.
    pub state: PathBuf,
    /// When set, an archive with another identity is refused.
    pub id: Option<String>,
    /// Claiming stops when less than this is free on the archive's disk.
    pub min_free: MinFree,
    /// The record log is compressed and sealed in pieces of this many bytes; default 64 MiB.
    pub segment: u64,
}

/// How much of the archive's disk must stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// The larger of 1 GiB and 2 % of the disk.
    Default,
    /// This many bytes.
    Bytes(u64),
}

/// `[network]`.
#[derive(Debug, Clone)]
pub struct Network {
    /// Sent as User-Agent; default `larder/VERSION`.
    pub user_agent: String,
    /// http, https, socks5 or socks5h proxy; the environment's proxies are never used.
    pub proxy: Option<Url>,
    /// Default 10 s.
    pub connect_timeout: Duration,
    /// From the request to the last header; default 30 s.
    pub header_timeout: Duration,
    /// Less than 1 KiB/s for this long is a stall; default 30 s.
    pub stall_timeout: Duration,
    /// Tries for a transient error; default 6, at least 1.
    pub tries: u32,
    /// First wait of the back-off, doubling to 5 min; default 1 s.
    pub backoff: Duration,
    /// Bytes of one file, decoded; default 4 GiB.
    pub max_file: u64,
    /// Bytes of one page, decoded; default 8 MiB.
    pub max_page: u64,
    /// Exact exceptions to the private-address rule, as `host:port` in lower case.
    pub allow: Vec<String>,
}

/// Requests per time on one host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// No limit.
    Unlimited,
    /// At least this long from one request to the next.
    Every(Duration),
}

/// What one host is asked to bear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests per time.
    pub rate: Rate,
    /// Requests at once; at least 1.
    pub connections: u32,
}

/// One site.
#[derive(Debug)]
pub struct Site {
    /// The name in the configuration.
    pub name: String,
    /// What records carry; default the host of `url`.
    pub id: String,
    /// How it talks.
    pub dialect: Arc<Dialect>,
    /// Its origin and base path, without a trailing slash in `as_str()` when the path is not empty.
    pub url: Url,
    /// Addresses of the preset that serve the same, asked in turn while the others cannot be reached; none where `url` was given.
    pub mirrors: Vec<Url>,
    /// Limits of the host of `url`.
    pub api: Limits,
    /// Limits of each media host.
    pub media: Limits,
    /// Hosts that media may come from besides the host of `url`.
    pub media_hosts: Vec<HostPattern>,
    /// Replaces the page size of listings that allow it.
    pub page_size: Option<u32>,
    /// Bytes per second for files.
    pub bandwidth: Option<u64>,
    /// Bytes per day for files.
    pub daily: Option<u64>,
    /// Replaces `[network] proxy`.
    pub proxy: Option<Url>,
    /// Cookies for the host of `url`.
    pub cookies: Vec<(String, Secret)>,
    /// Cookies of a Netscape cookies.txt: see [`Self::cookies_for`].
    pub cookies_file: Option<CookieFile>,
    /// Headers for the host of `url`.
    pub headers: Vec<(String, Secret)>,
    /// Credentials.
    pub login: Option<Login>,
    /// What the dialect's preset knows besides (such as the salt of a password), for its filters and hooks.
    pub vars: BTreeMap<String, String>,
}

impl Site {
    /// Environment variables of its secrets that are not set.
    pub fn unset(&self) -> Vec<&str> {
        fn missing(secret: &Secret) -> Option<&str> {
            match secret {
                Secret::Unset { variable } => Some(variable.as_str()),
                Secret::Known(_) => None,
            }
        }
        let login = self.login.as_ref().map(|login| match &login.proof {
            Proof::Password(secret) | Proof::ApiKey(secret) => secret,
        });
        let named = self.cookies.iter().chain(&self.headers);
        let named = named.map(|(_, secret)| secret);
        named.chain(login).filter_map(missing).collect()
    }
}

/// `login` of a site.
#[derive(Debug, Clone)]
pub struct Login {
    /// The account's name.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
}

/// The secret part of a login.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A password; its dialect says how it travels.
    Password(Secret),
    /// A key that the site gave out for programs.
    ApiKey(Secret),
}

/// A host that media may come from: `host`, `host:port`, or `*.host` for all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
    below: bool,
}

impl HostPattern {
    /// Whether `host` (lower case) and `port` match. `*.host` does not match `host` itself.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|p| p == port)
            && if self.below {
                host.strip_suffix(&self.host)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            } else {
                host == self.host
            }
    }
}

impl std::str::FromStr for HostPattern {
    type Err = String;

    /// Accepts `host`, `host:port`, `*.host`; refuses schemes, paths and a star over a public suffix or a bare label.
    fn from_str(text: &str) -> Result<Self, String> {
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.ends_with(']') => {
                let port = port
                    .parse()
                    .map_err(|_| format!("`{text}`: `{port}` is not a port"))?;
                (host, Some(port))
            }
            _ => (rest, None),
        };
        let named = url::Host::parse(host).ok().filter(|host| {
            let name = matches!(host, url::Host::Domain(_));
            (name || !below) && !host.to_string().contains('*')
        });
        let Some(host) = named.map(|host| host.to_string()) else {
            return Err(format!(
                "`{text}` is not a host; write `host`, `host:port` or `*.host`"
            ));
        };
        if below && !host.contains('.') {
            return Err(format!(
                "`{text}` covers every host below `.{host}`; name the site's own domain"
            ));
        }
        Ok(Self { host, port, below })
    }
}

/// One job.
#[derive(Debug)]
pub struct Job {
    /// Its identity.
    pub name: String,
    /// The file that defines it.
    pub file: PathBuf,
    /// Its site.
    pub site: Arc<Site>,
    /// Sites of other dialects that its follow-ups lead to.
    pub others: Vec<Arc<Site>>,
    /// The listing it walks.
    pub listing: Arc<Endpoint>,
    /// Its parameters, typed by the listing; defaults filled in.
    pub params: Values,
    /// Follow-ups to take along.
    pub with: Vec<String>,
    /// Roles of files to take; `None` for the listing's default.
    pub files: Option<Vec<String>>,
    /// jq predicate over the item, as text and compiled.
    pub filter: Option<Arc<crate::dialect::Predicate>>,
    /// When it is due, for the daemon.
    pub schedule: Schedule,
    /// Daily window of local time in which the daemon runs it, as (from, to).
    pub window: Option<(jiff::civil::Time, jiff::civil::Time)>,
    /// How often the daemon walks everything again.
    pub full_every: Option<Duration>,
    /// Pages of one run.
    pub max_pages: Option<u64>,
    /// Items of one run.
    pub max_items: Option<u64>,
    /// Bytes of one run.
    pub max_bytes: Option<u64>,
    /// Whether `run` without names and the daemon take it.
    pub enabled: bool,
    /// Whether `larder add` keeps it, not a file.
    pub added: bool,
}

impl Job {
    /// Its site and those that its follow-ups lead to.
    pub fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        std::iter::once(&self.site).chain(&self.others)
    }

    /// The site of this name, or the job's own where none is given.
    pub fn site_called(&self, name: Option<&str>) -> Option<&Arc<Site>> {
        let Some(name) = name else {
            return Some(&self.site);
        };
        self.sites().find(|site| site.name == name)
    }

    /// The site whose records carry `id`, or the job's own.
    pub fn site_with_id(&self, id: &str) -> &Arc<Site> {
        self.sites()
            .find(|site| site.id == id)
            .unwrap_or(&self.site)
    }

    /// The site whose pages or files come from `host` and `port`, or the job's own.
    pub fn site_at(&self, host: &str, port: u16) -> &Arc<Site> {
        let pages = self.sites().find(|site| site.is_at(host, port));
        let files = || self.sites().find(|site| site.takes_files_from(host, port));
        pages.or_else(files).unwrap_or(&self.site)
    }
}

impl Site {
    /// Whether its pages come from here.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.url.host_str() == Some(host) && self.url.port_or_known_default() == Some(port)
    }

    /// Whether files may come from here: the site's own host, or one of its media hosts.
    pub fn takes_files_from(&self, host: &str, port: u16) -> bool {
        self.is_at(host, port)
            || self
                .media_hosts
                .iter()
                .any(|pattern| pattern.matches(host, port))
    }
}

/// When the daemon runs a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Only by hand.
    Manual,
    /// Again this long after the last start.
    Every(Duration),
    /// A cron expression of local time, checked.
    Cron(String),
}

impl Config {
    /// Reads `path` and everything it includes.
    ///
    /// # Errors
    /// Every mistake found, in the order of the files; never an empty list.
    pub fn load(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        top::load(path, |_| Vec::new())
    }

    /// Nothing but the archive that the file names, where its rest is wrong: for what must be said all the same.
    pub fn bare(path: &Path) -> Option<Self> {
        top::bare(path)
    }

    /// Reads `path`, everything it includes, and the jobs that `kept` finds beside the archive. One of a name that a file
    /// gives to a job is passed over; one that does not fit is among [`Self::unfit`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        path: &Path,
        kept: impl FnOnce(&Archive) -> Vec<KeptJob>,
    ) -> Result<Self, Vec<Diagnostic>> {
        top::load(path, kept)
    }

    /// The site called `name`: one of the configuration, or built in.
    pub fn site(&self, name: &str) -> Option<Arc<Site>> {
        let own = self.sites.get(name).cloned();
        own.or_else(|| sites::built_in(&self.catalog, name).map(Arc::new))
    }

    /// Every file that this configuration is made of and that is there now: its own, those of its patterns, cookies.
    pub fn files(&self) -> Vec<PathBuf> {
        let patterns = self.include.iter().chain(&self.dialects);
        let mut files: Vec<_> = patterns
            .flat_map(|pattern| paths::matched_by(pattern))
            .collect();
        let cookies = self.sites.values().filter_map(|s| s.cookies_file.as_ref());
        files.extend(cookies.map(|file| file.path.clone()));
        files.push(self.path.clone());
        files.sort();
        files.dedup();
        files
    }

    /// Whether `include` would read a file at `path`, which lies beside the configuration.
    pub fn includes(&self, path: &Path) -> bool {
        self.include
            .iter()
            .any(|pattern| paths::covers(pattern, path))
    }

    /// The job called `name`.
    pub fn job(&self, name: &str) -> Option<&Arc<Job>> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_match_what_they_say() {
        let matches = |pattern: &str, host: &str, port| {
            pattern
                .parse::<HostPattern>()
                .expect(pattern)
                .matches(host, port)
        };
        assert!(matches("Example.org", "example.org", 443));
        assert!(
            matches("example.org:8080", "example.org", 8080)
                && !matches("example.org:8080", "example.org", 443)
        );
        assert!(
            matches("*.example.org", "a.b.example.org", 443)
                && !matches("*.example.org", "example.org", 443)
        );
        assert!(!matches("*.example.org", "badexample.org", 443));
        assert!(matches("[::1]", "[::1]", 443) && matches("[::1]:80", "[::1]", 80));
        for text in [
            "",
            "*",
            "*.org",
            "*.*.org",
            "*.127.0.0.1",
            "https://a.org",
            "a.org/x",
            "a.org#x",
            ":x@a.org",
            "a.org:x",
            "::1",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
