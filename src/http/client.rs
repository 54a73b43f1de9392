//! The clients, and the loop that follows redirects by hand so that every hop is checked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use reqwest::{
    Client, Response, Version,
    header::{
        CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, HeaderName, LAST_MODIFIED, RETRY_AFTER,
        TRANSFER_ENCODING,
    },
};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

use super::{
    Accept, Outgoing, Reply,
    address::{Blocked, Guard, Reach},
    body::{Body, Download, Limit},
    echo,
    error::{Asked, Error, Phase, of_status},
    range::{Resume, Validator},
    resolve::{Names, Resolver},
    trip::Trip,
};
use crate::{class::Class, config::Network, pace::retry_after};

/// Redirects of one request.
const MOST_HOPS: usize = 10;
/// Bytes of all headers of a reply.
const MOST_HEADERS: usize = 64 * 1024;
/// Large pages in memory at once: two that are parsed, and one on its way.
const MOST_LARGE: usize = 3;
/// Idle connections are closed after this long.
const IDLE: Duration = Duration::from_secs(60);

/// What the connections of a request have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    proxy: Option<Url>,
    use_: Use,
    reach: Reach,
}

/// Pages are decoded and may share an HTTP/2 connection. Files come as they are, each on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Page,
    File,
}

/// Asks sites. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    network: Network,
    names: Names,
    guard: Guard,
    /// Made when first needed, one per kind: a few for each proxy.
    clients: Mutex<HashMap<Kind, Client>>,
    /// Permits for large pages, from their second MiB until they are read.
    large: Arc<Semaphore>,
}

/// What is known of a file before it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its size, as the listing says: not much more is read.
    pub bytes: Option<u64>,
    /// What is at hand of it.
    pub resume: Option<Resume>,
    /// The ETag and Last-Modified of a whole one that is held: only another one is wanted.
    pub unless: Option<(Option<String>, Option<String>)>,
}

/// Whether a media host and port may be asked.
pub type MediaHosts<'a> = &'a (dyn Fn(&str, u16) -> bool + Send + Sync);

impl Http {
    /// Opens no connection.
    ///
    /// # Errors
    /// When the proxy or the user agent cannot be used, or the system has no root certificates.
    pub fn new(network: &Network) -> Result<Self, Error> {
        Self::with_names(network, Names::System)
    }

    /// The same, with names looked up elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_names(network: &Network, names: Names) -> Result<Self, Error> {
        // Fails when there is one already, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard::new(&network.allow);
        let inner = Inner {
            network: network.clone(),
            names,
            guard,
            clients: Mutex::default(),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
        };
        for use_ in [Use::Page, Use::File] {
            let proxy = network.proxy.clone();
            inner.client(Kind {
                proxy,
                use_,
                reach: Reach::Public,
            })?;
        }
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Reads a whole page, of whatever status.
    ///
    /// # Errors
    /// When there is no whole reply, or one larger than `max_page` after decoding.
    pub async fn page(&self, out: &Outgoing, accept: Accept) -> Result<Reply, Error> {
        let (response, asked) = self
            .inner
            .ask(out, Use::Page, accept.header(), None)
            .await?;
        let status = response.status().as_u16();
        let content_type = essence(&response);
        let retry_after = wait(&response);
        let date = text(&response, DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
        let network = &self.inner.network;
        let limit = Limit::Key("max_page", network.max_page);
        let mut body = Body::new(response, asked, network.stall_timeout, limit);
        let mut whole = Vec::new();
        let large = match body.read(&mut whole, &self.inner.large).await {
            Ok(large) => large,
            // Of a refusal, the status says more than what is wrong with its body.
            Err(error) if status < 400 => {
                return Err(Error {
                    status: Some(status),
                    retry_after,
                    ..error
                });
            }
            Err(_) => None,
        };
        echo::strip(&mut whole, out);
        Ok(Reply {
            status,
            content_type,
            retry_after,
            date,
            body: whole.into(),
            url: body.asked.url,
            large: large.map(Arc::new),
        })
    }

    /// Starts a download. `allowed` is asked about the first host and that of every redirect.
    ///
    /// # Errors
    /// Everything but status 200, or 206 where the rest was asked for and is what comes; a file larger than `max_file`, or
    /// than the listing says, when its length is announced. An error with status 206 or 416 about a rest says that nothing
    /// is wrong but the part at hand; one with 304 where a file is held, that it is still the same.
    pub async fn file(
        &self,
        out: &Outgoing,
        known: &Known,
        allowed: MediaHosts<'_>,
    ) -> Result<Download, Error> {
        let mut headers = out.headers.clone();
        headers.extend(known.resume.iter().flat_map(Resume::headers));
        if let Some((etag, modified)) = &known.unless {
            let header = |name: &str, value: &Option<String>| {
                value.clone().map(|value| (name.to_owned(), value))
            };
            headers.extend(header("If-None-Match", etag));
            headers.extend(header("If-Modified-Since", modified));
        }
        let conditional;
        let out = if headers.len() == out.headers.len() {
            out
        } else {
            conditional = Outgoing {
                headers,
                ..out.clone()
            };
            &conditional
        };
        let (response, asked) = self.inner.ask(out, Use::File, "*/*", Some(allowed)).await?;
        let status = response.status().as_u16();
        let with_status = |error| Error {
            status: Some(status),
            retry_after: wait(&response),
            ..error
        };
        let resume = known.resume.as_ref().filter(|_| status == 206);
        if status != 200 && resume.is_none() {
            let reason = response
                .status()
                .canonical_reason()
                .unwrap_or("a status without a name")
                .to_lowercase();
            let error = asked.error(
                of_status(status),
                format_args!("the server answered {status} ({reason})"),
            );
            return Err(with_status(error));
        }
        if let Some(encoding) = text(&response, CONTENT_ENCODING)
            .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            // Keeping it would archive other bytes than the file's, under a wrong type.
            let what =
                format_args!("sent as `{encoding}` although no content encoding was asked for");
            return Err(with_status(asked.error(Class::Decode, what)));
        }
        let etag = text(&response, ETAG);
        if let Some((known, _)) = &known.unless
            && etag.is_some()
            && etag == *known
        {
            // A server that does not know of conditions sends the same one again.
            let same = asked.error(Class::Protocol, "the same file came again");
            return Err(Error {
                status: Some(304),
                ..same
            });
        }
        let announced = response.content_length();
        let framed = announced.is_some()
            || response.version() >= Version::HTTP_2
            || response.headers().contains_key(TRANSFER_ENCODING);
        let rest = resume
            .map(|resume| resume.check(response.headers(), announced))
            .transpose()
            .map_err(|what| with_status(asked.error(Class::Protocol, what)))?;
        let start = resume.map_or(0, |resume| resume.offset);
        let content_type = essence(&response);
        let last_modified = text(&response, LAST_MODIFIED);
        let validator = Validator::of(response.headers());
        let url = asked.url.clone();
        let network = &self.inner.network;
        let limit = Limit::of_file(network.max_file, known.bytes);
        let mut body = Body::new(response, asked, network.stall_timeout, limit);
        if let Some(total) = rest {
            body = body.rest(start, total);
        }
        body.fits().map_err(|error| Error {
            status: Some(status),
            ..error
        })?;
        Ok(Download {
            status,
            start,
            length: rest.or(announced),
            framed,
            validator,
            content_type,
            etag,
            last_modified,
            url,
            body,
        })
    }
}

impl Inner {
    /// Sends the request and follows its redirects.
    async fn ask(
        &self,
        out: &Outgoing,
        use_: Use,
        accept: &'static str,
        allowed: Option<MediaHosts<'_>>,
    ) -> Result<(Response, Asked), Error> {
        let mut trip = Trip::new(out);
        let proxy = out.proxy.as_ref().or(self.network.proxy.as_ref());
        for _ in 0..=MOST_HOPS {
            let asked = &trip.asked;
            let reach = self.check(asked, proxy, allowed)?;
            let kind = Kind {
                proxy: proxy.cloned(),
                use_,
                reach,
            };
            let client = self.client(kind.clone())?;
            let request = trip.request(accept, use_ == Use::File)?;
            // Up to the last header, so that neither a slow handshake nor endless headers get past it.
            let limit = self.network.header_timeout;
            let response = match timeout(limit, client.execute(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(asked.failed(Phase::Head, &error)),
                Err(_) => {
                    return Err(asked.error(
                        Class::Timeout,
                        format_args!("no complete reply header in {limit:?}"),
                    ));
                }
            };
            let size: usize = response
                .headers()
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 4)
                .sum();
            if size > MOST_HEADERS {
                return Err(asked.error(Class::Protocol, format_args!("{size} bytes of headers")));
            }
            if response.status().as_u16() == 421 {
                self.forget(&kind);
            }
            if !trip.follow(&response)? {
                return Ok((response, trip.asked));
            }
        }
        let what = format_args!(
            "more than {MOST_HOPS} redirects, the last to {}",
            super::redact(&trip.asked.url)
        );
        Err(Asked::new(out).error(Class::Redirect, what))
    }

    /// Whether this hop may be asked, and how far it may reach.
    fn check(
        &self,
        asked: &Asked,
        proxy: Option<&Url>,
        allowed: Option<MediaHosts<'_>>,
    ) -> Result<Reach, Error> {
        let url = &asked.url;
        let reach = self
            .guard
            .check(url)
            .map_err(|blocked| asked.blocked(&blocked))?;
        // The proxy's name is exempt in the resolver, so a site must not use it to reach the proxy's own network.
        if reach == Reach::Public && proxy.is_some_and(|proxy| proxy.host() == url.host()) {
            return Err(asked.blocked(&Blocked::address(url, "the proxy itself")));
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        if allowed.is_some_and(|allowed| !allowed(host, port)) {
            let entry = url
                .port()
                .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            let what = format_args!(
                "{entry} is not a media host of this site; if it is right, write `media_hosts = [\"{entry}\"]` there"
            );
            return Err(asked.error(Class::BlockedAddress, what));
        }
        Ok(reach)
    }

    fn client(&self, kind: Kind) -> Result<Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = build(&self.network, &self.names, &kind)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    /// Lets the next request connect anew: the server at the end of a kept connection is the wrong one.
    fn forget(&self, kind: &Kind) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.remove(kind);
    }
}

/// **Invariant:** a client of [`Reach::Allowed`] filters no addresses; only hops that the guard found in `allow` use it.
/// Pooled connections belong to one host and port of one client, so they cannot be used for anything else.
fn build(network: &Network, names: &Names, kind: &Kind) -> Result<Client, Error> {
    let failed = |class, what: &str| {
        let message = what.to_owned();
        Error {
            class,
            message,
            status: None,
            retry_after: None,
            unreached: false,
        }
    };
    let proxy_host = kind
        .proxy
        .as_ref()
        .and_then(|proxy| proxy.host_str())
        .map(str::to_owned);
    let mut builder = Client::builder()
        .user_agent(&network.user_agent)
        // Of the environment; the one configured follows.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The queue decides what is asked again.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(network.connect_timeout)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .http1_max_headers(100)
        .http2_max_header_list_size(MOST_HEADERS as u32)
        .dns_resolver(Arc::new(Resolver {
            names: names.clone(),
            reach: kind.reach,
            proxy: proxy_host,
        }));
    if kind.use_ == Use::File {
        builder = builder.no_gzip().no_zstd().http1_only();
    }
    if let Some(proxy) = &kind.proxy {
        let shown = super::redact(proxy);
        let proxy = reqwest::Proxy::all(proxy.as_str()).map_err(|_| {
            failed(
                Class::BadUrl,
                &format!("`{shown}` cannot be used as a proxy"),
            )
        })?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| {
        use std::error::Error as _;
        let cause = error
            .source()
            .map_or_else(|| "no details".to_owned(), ToString::to_string);
        failed(
            Class::Tls,
            &format!("could not set up http: {}", crate::text::one_line(&cause)),
        )
    })
}

fn text(response: &Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// The content type without its parameters.
fn essence(response: &Response) -> Option<String> {
    let value = text(response, CONTENT_TYPE)?;
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    (!essence.is_empty()).then_some(essence)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in a header is compared with the system's clock, nothing else"
)]
fn wait(response: &Response) -> Option<Duration> {
    retry_after::parse(&text(response, RETRY_AFTER)?, SystemTime::now())
}
