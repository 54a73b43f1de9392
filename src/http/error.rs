//! What can go wrong with a request, as a class and one line for people.

use std::{error::Error as StdError, fmt, io, time::Duration};

use url::Url;

use super::{Method, Outgoing, address::Blocked, redact::redact, resolve::LookupError};
use crate::{class::Class, text::one_line};

/// A request that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure.
    pub class: Class,
    /// What was tried, where, and what happened; one line without secrets.
    pub message: String,
    /// The status, when there was a reply.
    pub status: Option<u16>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether no connection to the host came about: then nothing on it can be had.
    pub unreached: bool,
}

/// The class of a status that is not a success.
pub fn of_status(status: u16) -> Class {
    match status {
        401 => Class::Auth,
        403 => Class::Http403,
        404 => Class::Http404,
        408 => Class::Timeout,
        410 => Class::Http410,
        // Misdirected: another connection may reach the right server (RFC 9110 section 15.5.20).
        421 => Class::Connect,
        425 | 429 => Class::RateLimited,
        400..=499 => Class::Http4xx,
        500..=599 => Class::Http5xx,
        204 | 205 => Class::Empty,
        301..=303 | 307 | 308 => Class::Redirect,
        _ => Class::Protocol,
    }
}

/// What a request was for, to be named in its errors.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Without secrets in its query.
    pub(super) url: Url,
}

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Head,
    Body,
}

impl Asked {
    pub(super) fn new(out: &Outgoing) -> Self {
        Self {
            method: out.method,
            url: out.url.clone(),
        }
    }

    /// An error about this request.
    pub(super) fn error(&self, class: Class, what: impl fmt::Display) -> Error {
        let message = format!(
            "{} {}: {}",
            self.method.word(),
            redact(&self.url),
            one_line(&what.to_string())
        );
        Error {
            class,
            message,
            status: None,
            retry_after: None,
            unreached: false,
        }
    }

    /// An error that keeps every request from the host.
    fn unreached(&self, class: Class, what: impl fmt::Display) -> Error {
        Error {
            unreached: true,
            ..self.error(class, what)
        }
    }

    pub(super) fn blocked(&self, blocked: &Blocked) -> Error {
        self.error(Class::BlockedAddress, blocked)
    }

    /// Finds out what reqwest's error is about. Its own text is never shown: it holds the URL with its secrets.
    pub(super) fn failed(&self, phase: Phase, error: &reqwest::Error) -> Error {
        let no_descriptor = causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(crate::disk::is_crowded);
        if no_descriptor {
            return self.error(Class::Storage, "this machine has no descriptor left for it");
        }
        if let Some(lookup) = causes(error).find_map(|cause| cause.downcast_ref::<LookupError>()) {
            return match lookup {
                LookupError::Refused { .. } => {
                    self.blocked(&Blocked::address(&self.url, lookup.to_string()))
                }
                LookupError::Failed(_) | LookupError::Nothing => {
                    let why = lookup.to_string();
                    // What std puts before the reason of every failed lookup.
                    let why = why.trim_start_matches("failed to lookup address information: ");
                    let name = self.url.host_str().unwrap_or_default();
                    self.unreached(
                        Class::Dns,
                        format_args!("could not find the address of {name} ({why})"),
                    )
                }
            };
        }
        if error.is_dns() {
            return self.unreached(
                Class::Dns,
                format_args!("could not find the address of {}", self.host()),
            );
        }
        if error.is_builder() {
            return self.error(Class::BadUrl, "not a URL that can be asked");
        }
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls.filter(|_| phase == Phase::Head) {
            return self.error(
                Class::Tls,
                format_args!("no secure connection to {} ({tls})", self.host()),
            );
        }
        if error.is_timeout() {
            if error.is_connect() {
                return self.unreached(Class::Timeout, "connecting took too long");
            }
            return self.error(Class::Timeout, "took too long");
        }
        let io = causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .last()
            .map(io::Error::kind);
        let leaf = leaf(error);
        if error.is_connect() {
            let what = format!("could not connect to {} ({leaf})", self.host());
            // This machine's own ports are used up: that says nothing about the host.
            return if io == Some(io::ErrorKind::AddrNotAvailable) {
                self.error(Class::Connect, what)
            } else {
                self.unreached(Class::Connect, what)
            };
        }
        // hyper keeps its kinds to itself, so its words must do. It says this when the connection ends between bytes.
        let said = |words: &[&str]| {
            causes(error).any(|cause| {
                let text = cause.to_string();
                cause.downcast_ref::<reqwest::Error>().is_none()
                    && words.iter().any(|word| text.contains(word))
            })
        };
        if said(&[
            "connection closed before message completed",
            "channel closed",
            "operation was canceled",
        ]) {
            return match phase {
                Phase::Head => self.error(
                    Class::Connect,
                    "the connection was closed before a reply came",
                ),
                Phase::Body => {
                    self.error(Class::Truncated, "the connection was closed before the end")
                }
            };
        }
        if phase == Phase::Head {
            return match io {
                Some(kind) if is_broken(kind) => self.error(
                    Class::Connect,
                    format_args!("the connection broke before a reply came ({leaf})"),
                ),
                _ => self.error(
                    Class::Protocol,
                    format_args!("the reply is not proper HTTP ({leaf})"),
                ),
            };
        }
        // "Body" is what hyper says of errors below it; without them it is a content encoding that fails.
        let below = said(&[
            "error reading a body",
            "http2 error",
            "stream error",
            "connection error",
        ]);
        match io {
            Some(io::ErrorKind::UnexpectedEof) if below => {
                self.error(Class::Truncated, "the connection was closed before the end")
            }
            Some(kind) if is_broken(kind) && kind != io::ErrorKind::UnexpectedEof => self.error(
                Class::Connect,
                format_args!("the connection broke before the end ({leaf})"),
            ),
            _ if below => self.error(
                Class::Protocol,
                format_args!("the body is not proper HTTP ({leaf})"),
            ),
            _ => self.error(
                Class::Decode,
                format_args!("its content encoding could not be undone ({leaf})"),
            ),
        }
    }

    fn host(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }
}

fn is_broken(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::BrokenPipe
            | K::NotConnected
            | K::UnexpectedEof
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
    )
}

/// The errors below `error`, outermost first, those wrapped in `io::Error` among them (its `source` skips them).
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(below(error), |error| below(*error))
}

fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The innermost cause, in few words. reqwest's own errors are passed over, bare or wrapped: they may show the URL.
fn leaf(error: &reqwest::Error) -> String {
    let shows_url = |cause: &(dyn StdError + 'static)| cause.is::<reqwest::Error>();
    let last = causes(error)
        .filter(|cause| !shows_url(*cause) && !below(*cause).is_some_and(shows_url))
        .last();
    match last {
        None => "no details".to_owned(),
        Some(cause) => match cause.downcast_ref::<io::Error>() {
            // The system's own text repeats the number: "Connection refused (os error 111)".
            Some(io) if is_broken(io.kind()) => io.kind().to_string(),
            _ => cause.to_string(),
        },
    }
}
