//! One look at a site: does it answer, let larder in, take the login, send files, and do the clocks agree?
//!
//! Two or three requests, at the site's own pace: the first page of a listing, the same with a wrong login where there is a
//! login to compare with, and the first bytes of one file. Each finding says what to do when it is not good. Nothing is
//! worked around: a challenge is a finding.

use std::time::SystemTime;

use tokio::time::Instant;
use url::Url;

use crate::{
    by_hand::{ByHand, accepted},
    class::Class,
    clock::Millis,
    config::{Login, Network, Proof, Secret, Site},
    dialect::{Asked, Endpoint, Entry, Values},
    fetch::allowed,
    http::{Outgoing, Reply, redact},
    run::Failure,
    text::{bytes, count, duration, one_line},
};

/// Entries that are asked for: enough that one of them has a file.
const ENTRIES: u32 = 20;
/// Clocks that differ by less are good enough for signatures and Retry-After.
const MOST_APART: Millis = 60_000;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// To be known; nothing has to be done.
    Note,
    /// Somebody must act.
    Bad,
    /// Could not be looked at.
    Skipped,
}

impl Health {
    /// The word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Bad => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: reach, agent, listing, login, cookies, clock, media.
    pub check: &'static str,
    /// How good it is.
    pub health: Health,
    /// What was found; one line without secrets.
    pub message: String,
    /// What to do; empty where nothing has to be done.
    pub advice: String,
}

impl Finding {
    fn new(check: &'static str, health: Health, message: impl Into<String>) -> Self {
        Self {
            check,
            health,
            message: one_line(&message.into()),
            advice: String::new(),
        }
    }

    fn bad(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            advice: advice.into(),
            ..Self::new(check, Health::Bad, message)
        }
    }
}

/// Looks at a site. `now` is the time before it begins; `wait` hears of waits.
///
/// The cookies of a file are looked at before anything is asked.
pub async fn examine(
    by_hand: &ByHand,
    site: &Site,
    network: &Network,
    now: impl Fn() -> Millis,
    wait: impl Fn(&str),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let skip = |checks: &[&'static str], why: &str, findings: &mut Vec<Finding>| {
        let skipped = checks
            .iter()
            .map(|check| Finding::new(check, Health::Skipped, why));
        findings.extend(skipped);
    };
    let Some(endpoint) = site.dialect.probe() else {
        skip(
            &["reach"],
            "its dialect has no listing that can be asked without parameters",
            &mut findings,
        );
        findings.extend(cookies(site, now()));
        return findings;
    };
    let begun = Instant::now();
    let reply = match first_page(by_hand, site, endpoint) {
        Ok(out) => by_hand.page(site, &out, &wait).await,
        Err(failure) => Err(failure),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(failure) => {
            // Some requests cannot even be made.
            let check = match failure.class {
                Class::Auth => "login",
                Class::Dialect => "listing",
                _ => "reach",
            };
            findings.push(failed(check, &failure));
            findings.extend(cookies(site, now()));
            let mut rest = vec!["reach", "agent", "clock", "listing", "login", "media"];
            rest.retain(|other| *other != check);
            skip(&rest, "the site was not heard", &mut findings);
            return findings;
        }
    };
    let took = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let address = redact(&site.url);
    let how = format!(
        "{address} answers with status {} after {}",
        reply.status,
        duration(took)
    );
    findings.push(Finding::new("reach", Health::Good, how));
    let seen = answers(site, endpoint, &reply);
    findings.push(agent(&seen, network));
    findings.extend(cookies(site, now()));
    findings.push(clock(reply.date, now()));
    match &seen {
        Err(failure) => {
            if failure.class == Class::Auth {
                findings.push(failed("login", failure));
            } else if failure.class != Class::Blocked {
                findings.push(failed("listing", failure));
            }
            skip(&["media"], "no listing was shown", &mut findings);
        }
        Ok(()) => {
            let (finding, file) = listing(site, endpoint, &reply);
            findings.push(finding);
            findings.push(login(by_hand, site, endpoint, &wait).await);
            findings.push(media(by_hand, site, file, &wait).await);
        }
    }
    findings
}

/// The request for a small first page.
fn first_page(by_hand: &ByHand, site: &Site, endpoint: &Endpoint) -> Result<Outgoing, Failure> {
    let refuse = |why: &str| Failure::new(Class::Dialect, why);
    let params = probed(endpoint)?;
    let paging = endpoint.paging(&params);
    let limit = paging.limit(site.page_size);
    let limit = limit.map(|limit| paging.max.map_or(limit, |_| limit.min(ENTRIES)));
    let out = by_hand.request(site, endpoint, &params, &paging.start(), limit)?;
    out.ok_or_else(|| refuse("the dialect says that its own listing matches nothing"))
}

/// The parameters of the probe: the defaults.
fn probed(endpoint: &Endpoint) -> Result<Values, Failure> {
    let params = endpoint.complete(&Values::new());
    params.map_err(|why| Failure::new(Class::Dialect, why))
}

/// Whether the reply to the probe is what was asked for.
fn answers(site: &Site, endpoint: &Endpoint, reply: &Reply) -> Result<(), Failure> {
    let params = probed(endpoint)?;
    let start = endpoint.paging(&params).start();
    accepted(site, endpoint, &params, &start.cursor, reply)
}

fn failed(check: &'static str, failure: &Failure) -> Finding {
    let message = format!("{} ({})", failure.message, failure.class);
    Finding::bad(check, message, failure.class.by_hand())
}

/// Whether programs are let in.
fn agent(seen: &Result<(), Failure>, network: &Network) -> Finding {
    let agent = &network.user_agent;
    match seen {
        Err(failure) if failure.class == Class::Blocked => Finding::bad(
            "agent",
            format!("{}; larder calls itself `{agent}`", failure.message),
            "open the site in a browser, wait, or ask its owners; an address to reach you in `user_agent` of [network] may help",
        ),
        _ => Finding::new("agent", Health::Good, format!("let in as `{agent}`")),
    }
}

fn cookies(site: &Site, now: Millis) -> Option<Finding> {
    let file = site.cookies_file.as_ref();
    let (held, expired) = file.map_or((0, 0), |file| file.counts(now));
    let sent = site.cookies_for(&site.url, now).len();
    if site.cookies.is_empty() && file.is_none() {
        return None;
    }
    let finding = if expired > 0 {
        let message = format!("{sent} are sent; {expired} of {held} in the file have expired");
        Finding::bad(
            "cookies",
            message,
            "log in with a browser and export its cookies anew",
        )
    } else if sent == 0 {
        let message = format!("none of {held} in the file is for {}", redact(&site.url));
        Finding::bad(
            "cookies",
            message,
            "export the cookies of this site, with a browser that is logged in there",
        )
    } else {
        Finding::new("cookies", Health::Good, format!("{sent} are sent"))
    };
    Some(finding)
}

/// Whether our clock agrees with the site's.
fn clock(date: Option<SystemTime>, now: Millis) -> Finding {
    let site = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
    let Some(site) = site.and_then(|since| Millis::try_from(since.as_millis()).ok()) else {
        return Finding::new(
            "clock",
            Health::Skipped,
            "the site does not say what time it is",
        );
    };
    let apart = now - site;
    if apart.abs() < MOST_APART {
        return Finding::new("clock", Health::Good, "agrees with the site's");
    }
    let way = if apart > 0 { "ahead of" } else { "behind" };
    let message = format!(
        "this machine's clock is {} {way} the site's",
        duration(apart.abs())
    );
    Finding::bad(
        "clock",
        message,
        "set the clock, or let the system keep it (NTP)",
    )
}

/// What the first page shows, and the first file on it.
fn listing(site: &Site, endpoint: &Endpoint, reply: &Reply) -> (Finding, Option<Url>) {
    let name = &endpoint.name;
    let page = probed(endpoint).and_then(|params| {
        let start = endpoint.paging(&params).start();
        let page = endpoint.read(
            &reply.body,
            &Asked::new(&site.url, &[], &params, &start.cursor),
        );
        page.map_err(|error| Failure::new(error.class, error.message))
    });
    let page = match page {
        Ok(page) => page,
        Err(failure) => return (failed("listing", &failure), None),
    };
    let number = |n: usize| count(i64::try_from(n).unwrap_or(i64::MAX));
    let (mut bad, mut file) = (0, None);
    for entry in &page.entries {
        match entry {
            Entry::Good(item) => {
                let urls = item
                    .files
                    .iter()
                    .filter_map(|file| file.url.as_ref()?.parse().ok());
                file = file.or_else(|| urls.into_iter().next());
            }
            Entry::Bad { .. } => bad += 1,
        }
    }
    let all = page.entries.len();
    let finding = match (all, bad) {
        (0, _) => Finding::new("listing", Health::Note, format!("`{name}` is empty")),
        (_, 0) => Finding::new(
            "listing",
            Health::Good,
            format!("`{name}` shows {} entries", number(all)),
        ),
        _ => Finding::bad(
            "listing",
            format!(
                "{} of {} entries of `{name}` cannot be read",
                number(bad),
                number(all)
            ),
            "the dialect must be mended; `larder failures` shows such entries after a run",
        ),
    };
    (finding, file)
}

/// Whether the login is accepted: it is, when the same page is refused to a wrong one.
async fn login(by_hand: &ByHand, site: &Site, endpoint: &Endpoint, wait: impl Fn(&str)) -> Finding {
    let Some(login) = site.login.as_ref() else {
        return Finding::new("login", Health::Skipped, "none is configured");
    };
    let Some(hook) = site.dialect.login else {
        let dialect = &site.dialect.name;
        return Finding::bad(
            "login",
            format!("the dialect {dialect} knows no login"),
            "use `cookies` or `headers` of the site instead",
        );
    };
    let wrong = Secret::new("larder-doctor-not-the-password");
    let wrong = Login {
        user: login.user.clone(),
        proof: match &login.proof {
            Proof::Password(_) => Proof::Password(wrong),
            Proof::ApiKey(_) => Proof::ApiKey(wrong),
        },
    };
    let out = first_page(by_hand, site, endpoint).and_then(|mut out| {
        out.secret_query = hook
            .query(&wrong, &site.vars)
            .map_err(|why| Failure::new(Class::Auth, why))?;
        Ok(out)
    });
    let reply = match out {
        Ok(out) => by_hand.page(site, &out, wait).await,
        Err(failure) => Err(failure),
    };
    match reply.and_then(|reply| answers(site, endpoint, &reply)) {
        Ok(()) => Finding::new(
            "login",
            Health::Note,
            format!(
                "cannot be told: `{}` is shown with a wrong login too",
                endpoint.name
            ),
        ),
        // A refusal without a word is one of whoever stands in front: it let the right login through.
        Err(failure) if matches!(failure.class, Class::Auth | Class::Blocked | Class::Http403) => {
            Finding::new("login", Health::Good, "accepted; a wrong one is refused")
        }
        Err(failure) => Finding::new(
            "login",
            Health::Skipped,
            format!(
                "could not be compared with a wrong one: {}",
                failure.message
            ),
        ),
    }
}

/// Whether files come from where the listing says.
async fn media(by_hand: &ByHand, site: &Site, file: Option<Url>, wait: impl Fn(&str)) -> Finding {
    let Some(url) = file else {
        return Finding::new("media", Health::Skipped, "no file is on that page");
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    if !allowed(site, &host, url.port_or_known_default().unwrap_or(0)) {
        let message = format!("files are on {host}, which is no media host of the site");
        return Finding::bad(
            "media",
            message,
            format!("if it is right, write `media_hosts = [\"{host}\"]` there"),
        );
    }
    match by_hand.file(site, url, wait).await {
        Err(failure) => failed("media", &failure),
        Ok((_, _, first)) if first.is_empty() => Finding::bad(
            "media",
            format!("{host} sends nothing"),
            "look at the file in a browser",
        ),
        Ok((media, length, first)) => {
            let media = media.unwrap_or_else(|| "no media type".to_owned());
            if media == "text/html" || first.trim_ascii_start().starts_with(b"<!") {
                let message = format!("{host} sends an HTML page in place of a file");
                return Finding::bad(
                    "media",
                    message,
                    "look at the file in a browser; perhaps it needs a login",
                );
            }
            let length = length.map_or_else(String::new, |length| {
                format!(", {}", bytes(i64::try_from(length).unwrap_or(i64::MAX)))
            });
            Finding::new(
                "media",
                Health::Good,
                format!("{host} sends files: {media}{length}"),
            )
        }
    }
}
