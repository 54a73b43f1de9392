//! One request on its way through redirects: what is sent on each hop.
//!
//! **Invariant:** the URL kept here never holds a secret. Secrets are added when a hop's request is made, and taken out
//! of what a redirect echoes; once another origin was asked, they are not added again.

use reqwest::{
    Body, Request, Response,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName,
        HeaderValue, LOCATION, PROXY_AUTHORIZATION, REFERER,
    },
};
use url::{Url, form_urlencoded};

use super::{
    Method, Outgoing,
    error::{Asked, Error},
};
use crate::{class::Class, config::Secret};

/// Headers that belong to the connection.
const OURS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept-encoding",
    "te",
    "upgrade",
];

/// What every browser takes from one host, and servers count on (RFC 6265 section 6.1).
const MOST_COOKIES: usize = 50;
/// The same, in bytes.
const LARGEST_COOKIE: usize = 4096;

pub(super) struct Trip<'a> {
    out: &'a Outgoing,
    /// The hop that is due.
    pub(super) asked: Asked,
    /// Whether every hop so far was of the first origin.
    home: bool,
}

impl<'a> Trip<'a> {
    pub(super) fn new(out: &'a Outgoing) -> Self {
        let mut asked = Asked::new(out);
        asked.url.set_fragment(None);
        Self {
            out,
            asked,
            home: true,
        }
    }

    /// The request of this hop.
    pub(super) fn request(&self, accept: &'static str, identity: bool) -> Result<Request, Error> {
        let mut url = self.asked.url.clone();
        if self.home && !self.out.secret_query.is_empty() {
            let mut query = url.query_pairs_mut();
            for (name, secret) in &self.out.secret_query {
                query.append_pair(name, self.expose(name, secret)?);
            }
        }
        let method = match self.out.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers(accept, identity)?;
        if let Some(body) = &self.out.body {
            let (kind, bytes) = body.encode().map_err(|error| {
                let what = format_args!("a file of its body cannot be read: {error}");
                self.asked.error(Class::BadUrl, what)
            })?;
            let kind = self.value(&CONTENT_TYPE, &kind)?;
            request.headers_mut().insert(CONTENT_TYPE, kind);
            *request.body_mut() = Some(Body::from(bytes));
        }
        Ok(request)
    }

    fn headers(&self, accept: &'static str, identity: bool) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        for (name, value) in &self.out.headers {
            let name = self.name(name)?;
            let secret = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(&name);
            if secret && !self.home {
                continue;
            }
            let cut = value
                .find(['?', '#'])
                .filter(|_| name == REFERER && !self.home);
            let value = self.value(&name, &value[..cut.unwrap_or(value.len())])?;
            headers.insert(name, value);
        }
        if self.home {
            for (name, secret) in &self.out.secret_headers {
                let header = self.name(name)?;
                let mut value = self.value(&header, self.expose(name, secret)?)?;
                value.set_sensitive(true);
                headers.insert(header, value);
            }
            if !self.out.cookies.is_empty() {
                headers.insert(COOKIE, self.cookie()?);
            }
        }
        if identity {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(headers)
    }

    fn cookie(&self) -> Result<HeaderValue, Error> {
        let mut line = String::new();
        let count = self.out.cookies.len();
        if count > MOST_COOKIES {
            let what = format_args!("{count} cookies are set, at most {MOST_COOKIES} are sent");
            return Err(self.asked.error(Class::BadUrl, what));
        }
        for (name, secret) in &self.out.cookies {
            let value = self.expose(name, secret)?;
            if name.len() + value.len() > LARGEST_COOKIE {
                let what = format_args!("cookie `{name}` has more than {LARGEST_COOKIE} bytes");
                return Err(self.asked.error(Class::BadUrl, what));
            }
            if name.contains(['=', ';']) || value.contains(';') {
                return Err(self.asked.error(
                    Class::BadUrl,
                    format_args!("cookie `{name}` cannot be sent as it is"),
                ));
            }
            let separator = if line.is_empty() { "" } else { "; " };
            line.push_str(&format!("{separator}{name}={value}"));
        }
        let mut value = self.value(&COOKIE, &line)?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn name(&self, name: &str) -> Result<HeaderName, Error> {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        parsed
            .filter(|name| !OURS.contains(&name.as_str()))
            .ok_or_else(|| {
                let what = format_args!("header `{name}` cannot be set");
                self.asked.error(Class::BadUrl, what)
            })
    }

    fn value(&self, name: &HeaderName, value: &str) -> Result<HeaderValue, Error> {
        HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            self.asked.error(
                Class::BadUrl,
                format_args!("header `{name}` has a value that cannot be sent"),
            )
        })
    }

    fn expose<'s>(&self, name: &str, secret: &'s Secret) -> Result<&'s str, Error> {
        secret.expose().ok_or_else(|| {
            let what = match secret {
                Secret::Unset { variable } => {
                    format!("`{name}` needs the environment variable {variable}, which is not set")
                }
                Secret::Known(_) => format!("`{name}` has no value"),
            };
            self.asked.error(Class::Auth, what)
        })
    }

    /// Turns to where the response points. False when it is not a redirect to follow.
    pub(super) fn follow(&mut self, response: &Response) -> Result<bool, Error> {
        let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        if !redirect || self.out.method != Method::Get {
            return Ok(false);
        }
        let failed = |what| {
            let error = self.asked.error(Class::Redirect, what);
            Error {
                status: Some(response.status().as_u16()),
                ..error
            }
        };
        let Some(location) = response.headers().get(LOCATION) else {
            return Err(failed("a redirect without a Location"));
        };
        let next = std::str::from_utf8(location.as_bytes())
            .ok()
            .and_then(|text| self.asked.url.join(text).ok());
        let Some(mut next) = next else {
            return Err(failed("a redirect to something that is no URL"));
        };
        if self.asked.url.scheme() == "https" && next.scheme() == "http" {
            return Err(failed(
                "a redirect from https to http, which is not followed",
            ));
        }
        next.set_fragment(None);
        strip(&mut next, &self.out.secret_query);
        self.home &= self.out.url.origin() == next.origin();
        self.asked.url = next;
        Ok(true)
    }
}

/// Removes the secrets that a server echoed into a redirect.
fn strip(url: &mut Url, secrets: &[(String, Secret)]) {
    let Some(query) = url.query().filter(|_| !secrets.is_empty()) else {
        return;
    };
    let is_secret = |piece: &&str| {
        form_urlencoded::parse(piece.as_bytes()).any(|(key, value)| {
            secrets
                .iter()
                .any(|(name, secret)| *name == key && secret.expose() == Some(&*value))
        })
    };
    let kept: Vec<&str> = query.split('&').filter(|piece| !is_secret(piece)).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(&kept));
}
