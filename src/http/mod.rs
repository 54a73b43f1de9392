//! Requests to sites: the only way out of this program.
//!
//! Promises that no address of a private network is asked (see [`Guard`]), that secrets go to the origin of the request
//! only, whatever redirects say, that nothing is read without end, and that errors name what was tried without any
//! secret. Leaves to the caller when to ask ([`crate::pace`]) and whether to ask again ([`Class`](crate::class::Class)).

mod address;
mod body;
mod client;
mod echo;
mod error;
mod payload;
mod range;
mod redact;
mod resolve;
mod trip;
mod wall;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

pub use address::{Blocked, Guard, Reach, not_public};
pub use body::Download;
pub use client::{Http, Known, MediaHosts};
pub use error::{Error, of_status};
pub use payload::{Part, Payload};
pub use range::{Resume, Validator};
pub use redact::redact;
pub use resolve::{GivenNames, Names};
pub use wall::wall;

use crate::{config::Secret, dialect::Sign};

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The usual one.
    #[default]
    Get,
    /// With a body; redirects of it are not followed.
    Post,
}

impl Method {
    /// As it stands in a request.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What kind of page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// JSON.
    Json,
    /// HTML.
    Html,
    /// XML, feeds among it.
    Xml,
    /// Anything.
    #[default]
    Any,
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Self::Json => "application/json, */*;q=0.5",
            Self::Html => "text/html, application/xhtml+xml, */*;q=0.5",
            Self::Xml => "application/xml, text/xml, */*;q=0.5",
            Self::Any => "*/*",
        }
    }
}

/// One request.
///
/// `secret_query`, `secret_headers` and `cookies` are sent to the origin (scheme, host, port) of `url` only: a redirect to
/// another one drops them for good, together with the query of a Referer.
#[derive(Clone)]
pub struct Outgoing {
    /// What is asked for; may be shown and stored.
    pub url: Url,
    /// Appended to the query when it is sent.
    pub secret_query: Vec<(String, Secret)>,
    /// Sent on every hop.
    pub headers: Vec<(String, String)>,
    /// Sent to the first origin.
    pub secret_headers: Vec<(String, Secret)>,
    /// Sent to the first origin.
    pub cookies: Vec<(String, Secret)>,
    /// How.
    pub method: Method,
    /// What a POST carries.
    pub body: Option<Payload>,
    /// Instead of the proxy of `[network]`.
    pub proxy: Option<Url>,
    /// How the address is to be signed first, by [`Signer`](crate::run::Signer).
    pub sign: Option<Sign>,
}

impl Outgoing {
    /// A plain GET.
    pub fn get(url: Url) -> Self {
        Self {
            url,
            secret_query: Vec::new(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            cookies: Vec::new(),
            method: Method::Get,
            body: None,
            proxy: None,
            sign: None,
        }
    }
}

impl fmt::Debug for Outgoing {
    /// Shows no values: bodies carry passwords, and even plain headers may carry tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn names<T>(pairs: &[(String, T)]) -> Vec<&str> {
            pairs.iter().map(|(name, _)| name.as_str()).collect()
        }
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("url", &redact(&self.url))
            .field("secret_query", &names(&self.secret_query))
            .field("headers", &names(&self.headers))
            .field("secret_headers", &names(&self.secret_headers))
            .field("cookies", &names(&self.cookies))
            .field("body", &self.body.as_ref().map(Payload::names))
            .field("proxy", &self.proxy.as_ref().map(redact))
            .field("sign", &self.sign)
            .finish()
    }
}

/// A whole page, of whatever status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Such as `text/html`: lower case, without parameters.
    pub content_type: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// The server's clock.
    pub date: Option<std::time::SystemTime>,
    /// Decoded. Of a status of 400 and above, it may be cut short: such a reply is not worth an error of its own.
    pub body: Bytes,
    /// The URL that answered, without secrets.
    pub url: Url,
    /// Lets the next large page be read once this one is dropped.
    #[expect(dead_code, reason = "held, not looked at")]
    large: Option<Arc<OwnedSemaphorePermit>>,
}

#[cfg(test)]
impl Reply {
    /// A reply that nobody sent.
    pub(crate) fn for_tests(status: u16, kind: Option<&str>, body: &[u8], url: Url) -> Self {
        Self {
            status,
            content_type: kind.map(str::to_owned),
            retry_after: None,
            date: None,
            body: Bytes::copy_from_slice(body),
            url,
            large: None,
        }
    }
}

#[cfg(test)]
mod egress_tests;
#[cfg(test)]
mod test_site;
#[cfg(test)]
mod tests;
