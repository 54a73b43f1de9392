//! cookies.txt: the cookies that a browser has exported, in the Netscape format.
//!
//! Owns the format and its limits. Keeps only what belongs to the site's own host, so that nothing else can be sent, and
//! promises that no complaint shows a name or value. The format: seven fields with tabs between them, namely domain,
//! whether hosts below it are meant too, path, whether https is needed, when it expires (Unix seconds, 0 for never), name,
//! value. `#HttpOnly_` before the domain is a mark that larder has no use for; any other `#` begins a comment.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use url::{Host, Url};

use super::{Secret, Site, paths, reader::Node, secret::open_to_owner_only};
use crate::clock::Millis;

/// Cookies of one host: what browsers keep at least (RFC 6265, 6.1).
const MOST: usize = 50;
/// Bytes of a cookie's name and value together (the same).
const LONGEST: usize = 4096;
/// Bytes of a file: exports of whole browsers are smaller.
const LONGEST_FILE: u64 = 16 << 20;

/// The cookies of a file that belong to a site.
#[derive(Debug, Clone)]
pub struct CookieFile {
    /// Where it is.
    pub path: PathBuf,
    cookies: Vec<Cookie>,
}

/// One line of the file.
#[derive(Debug, Clone)]
struct Cookie {
    domain: String,
    /// Whether hosts below `domain` are meant too.
    below: bool,
    path: String,
    secure: bool,
    /// Unix seconds; `None` for never.
    expires: Option<i64>,
    name: String,
    value: Secret,
}

impl CookieFile {
    /// Reads the file that `node` names; each mistake is a complaint at its line of that file.
    pub(super) fn read(node: &Node<'_>, site: &Url) -> Option<Self> {
        let path = paths::existing(node)?;
        if !path.is_file() {
            return None;
        }
        let text = match text_of(&path) {
            Ok(text) => text,
            Err(why) => {
                node.error(why);
                return None;
            }
        };
        let host = site.host_str().unwrap_or_default();
        let mut cookies = Vec::new();
        for (line, cookie) in parse(&text) {
            let complain = |why: &str| {
                let place = format!("{}:{line}", path.display());
                node.diagnostics.file(place, why);
            };
            let cookie: Cookie = match cookie {
                Ok(cookie) => cookie,
                Err(why) => {
                    complain(why);
                    continue;
                }
            };
            if !cookie.is_of(host) {
                continue;
            }
            match cookie.trouble() {
                Some(why) => complain(why),
                None if cookies.len() == MOST => {
                    complain(
                        "is the 51st cookie of this site's host; at most 50 can be sent, remove the others",
                    );
                    break;
                }
                None => cookies.push(cookie),
            }
        }
        // Longer paths first, as browsers send them (RFC 6265, 5.4).
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        Some(Self { path, cookies })
    }

    /// Those that a request for `url` carries.
    fn sent<'a>(&'a self, url: &'a Url, now: Millis) -> impl Iterator<Item = &'a Cookie> {
        let host = url.host_str().unwrap_or_default();
        self.cookies.iter().filter(move |cookie| {
            cookie.is_of(host)
                && !cookie.has_expired(now)
                && covers(&cookie.path, url.path())
                && (!cookie.secure || url.scheme() == "https")
        })
    }

    /// Cookies of the site's host, and how many of them have expired.
    pub fn counts(&self, now: Millis) -> (usize, usize) {
        let expired = self.cookies.iter().filter(|cookie| cookie.has_expired(now));
        (self.cookies.len(), expired.count())
    }
}

impl Site {
    /// The cookies that a request for a page at `url` carries. One of `cookies` stands before one of the file.
    pub fn cookies_for(&self, url: &Url, now: Millis) -> Vec<(String, Secret)> {
        if url.origin() != self.url.origin() {
            return Vec::new();
        }
        let mut cookies = self.cookies.clone();
        for cookie in self
            .cookies_file
            .iter()
            .flat_map(|file| file.sent(url, now))
        {
            if !self.cookies.iter().any(|(name, _)| *name == cookie.name) {
                cookies.push((cookie.name.clone(), cookie.value.clone()));
            }
        }
        cookies
    }
}

impl Cookie {
    fn is_of(&self, host: &str) -> bool {
        let named = matches!(Host::parse(host), Ok(Host::Domain(_)));
        host == self.domain
            || (self.below
                && named
                && self.domain.contains('.')
                && host
                    .strip_suffix(&self.domain)
                    .is_some_and(|rest| rest.ends_with('.')))
    }

    fn has_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|at| at <= now.div_euclid(1000))
    }

    /// Why it could not be sent.
    fn trouble(&self) -> Option<&'static str> {
        let value = self.value.expose().unwrap_or_default();
        if self.name.is_empty() {
            Some("has no name")
        } else if self.name.len() + value.len() > LONGEST {
            Some("is longer than 4096 bytes, more than a cookie can be")
        } else if self
            .name
            .contains(|c: char| c.is_control() || "=; ".contains(c))
            || value.contains(|c: char| c.is_control() || c == ';')
        {
            Some("has characters that cannot be sent in a cookie")
        } else {
            None
        }
    }
}

/// Whether a cookie's path covers that of a request (RFC 6265, 5.1.4).
fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie.ends_with('/'))
}

fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("`{shown}` cannot be read: {error}");
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !open_to_owner_only(&metadata) {
        return Err(format!(
            "`{shown}` is open to other users; run `chmod 600 {shown}`"
        ));
    }
    if metadata.len() > LONGEST_FILE {
        return Err(format!("`{shown}` is larger than any export of cookies"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("`{shown}` is not UTF-8; export it anew"))?;
    if text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with(['[', '{'])
    {
        return Err(format!(
            "`{shown}` is JSON; export the cookies in the Netscape format, as a cookies.txt"
        ));
    }
    Ok(text)
}

/// The cookies of a text with the lines that they stand on, or what is wrong with a line.
fn parse(text: &str) -> Vec<(usize, Result<Cookie, &'static str>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cookies = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = match line.strip_prefix("#HttpOnly_") {
            Some(line) => line,
            None if line.starts_with('#') || line.trim().is_empty() => continue,
            None => line,
        };
        cookies.push((n + 1, cookie(line)));
    }
    cookies
}

fn cookie(line: &str) -> Result<Cookie, &'static str> {
    let fields: Vec<_> = line.split('\t').collect();
    // Some exports leave out an empty value with its tab.
    let (fields, value) = match fields.as_slice() {
        [fields @ .., value] if fields.len() == 6 => (fields, *value),
        fields if fields.len() == 6 => (fields, ""),
        _ => {
            return Err(
                "is not a cookie: seven fields with tabs between them are (domain, TRUE or FALSE, path, TRUE or FALSE, expiry, \
                 name, value); export the file anew",
            );
        }
    };
    let [domain, below, path, secure, expires, name] = fields else {
        unreachable!("six fields were counted")
    };
    let flag = |text: &str| match text.to_ascii_uppercase().as_str() {
        "TRUE" => Ok(true),
        "FALSE" => Ok(false),
        _ => Err("is not a cookie: its second and fourth field must be TRUE or FALSE"),
    };
    let (below, secure) = (flag(below)?, flag(secure)?);
    let expires = expires
        .trim()
        .parse()
        .ok()
        .filter(|at: &f64| at.is_finite())
        .ok_or("is not a cookie: its fifth field must be the time at which it expires, in seconds since 1970")?;
    let domain = domain.trim().trim_start_matches('.').to_ascii_lowercase();
    if domain.is_empty() {
        return Err("is not a cookie: it has no domain");
    }
    if !path.starts_with('/') {
        return Err("is not a cookie: its path must begin with `/`");
    }
    Ok(Cookie {
        domain,
        below,
        path: (*path).to_owned(),
        secure,
        // Until the browser closes, which it has: the site decides.
        expires: (expires > 0.0).then_some(expires as i64),
        name: (*name).to_owned(),
        value: Secret::new(value),
    })
}

#[cfg(test)]
mod tests;
