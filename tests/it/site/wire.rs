//! HTTP/1.1 by hand, because faults need every byte under control.
//!
//! Promises: requests of one connection are answered in turn (keep-alive); what a [`Delivery`] names is what leaves the
//! socket. Understands GET, HEAD and POST with a `Content-Length`; nothing else.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use url::form_urlencoded;

use super::{booru::Shared, faults::Delivery, log::Request};

impl Delivery {
    /// Whether the connection ends with it.
    fn ends(&self) -> bool {
        matches!(
            self,
            Self::Half | Self::Short | Self::Cut(_) | Self::Raw(_) | Self::Close
        )
    }
}

/// The longest head that is read.
const MAX_HEAD: usize = 64 * 1024;

/// An answer before it is sent; the length is added on the wire.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, kind: &str, body: Vec<u8>) -> Self {
        let headers = Vec::new();
        let answer = Self {
            status,
            headers,
            body,
        };
        if kind.is_empty() {
            answer
        } else {
            answer.with("Content-Type", kind)
        }
    }

    pub(super) fn empty(status: u16, kind: &str) -> Self {
        Self::new(status, kind, Vec::new())
    }

    pub(super) fn html(status: u16, text: &str) -> Self {
        Self::new(status, "text/html; charset=utf-8", text.into())
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        let kind = "application/json; charset=utf-8";
        Self::new(status, kind, value.to_string().into_bytes())
    }

    /// Sets a header in place of one of the same name.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn head(&self, length: usize, close: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} Mock\r\n", self.status);
        for (name, value) in &self.headers {
            out.extend([name, ": ", value, "\r\n"]);
        }
        // RFC 9110 section 8.6: a 304 must not promise the length of its own, empty body.
        if self.status != 304 {
            out.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
        }
        if close {
            out.push_str("Connection: close\r\n");
        }
        (out + "\r\n").into_bytes()
    }
}

/// Accepts connections until the runtime that runs this is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let shared = Arc::clone(&shared);
        // Errors here are the client's leaving, which is none of the site's business.
        tokio::spawn(async move { converse(stream, connection, &shared).await.ok() });
    }
}

async fn converse(mut stream: TcpStream, connection: u64, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut buffer).await? {
        request.connection = connection;
        let close = request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let bodiless = request.method == "HEAD";
        let (place, answer, delivery) = shared.receive(request);
        if delivery == Delivery::Reset {
            stream.set_zero_linger()?;
            return Ok(());
        }
        let mut out = Counted {
            stream: &mut stream,
            sent: 0,
        };
        let delivered = deliver(&mut out, &answer, &delivery, close, bodiless).await;
        shared.finished(place, Instant::now(), out.sent);
        delivered?;
        if matches!(delivery, Delivery::ResetAfter(_)) {
            // What was sent must arrive first: a reset throws away what waits.
            sleep(Duration::from_millis(100)).await;
            stream.set_zero_linger()?;
            return Ok(());
        }
        if close || delivery.ends() {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// Counts what is sent.
struct Counted<'a> {
    stream: &'a mut TcpStream,
    sent: u64,
}

impl Counted<'_> {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.sent += bytes.len() as u64;
        Ok(())
    }
}

async fn deliver(
    stream: &mut Counted<'_>,
    answer: &Answer,
    delivery: &Delivery,
    close: bool,
    bodiless: bool,
) -> io::Result<()> {
    match delivery {
        Delivery::Stall(time) => sleep(*time).await,
        Delivery::Raw(bytes) => return stream.write_all(bytes).await,
        Delivery::Endless(head) => {
            stream.write_all(head).await?;
            loop {
                stream.write_all(&[0; 16 << 10]).await?;
            }
        }
        Delivery::Drip(head, pause) => {
            stream.write_all(head).await?;
            loop {
                sleep(*pause).await;
                stream.write_all(b"x").await?;
            }
        }
        _ => {}
    }
    let (body, half) = (&answer.body, answer.body.len() / 2);
    let length = if *delivery == Delivery::Short {
        half
    } else {
        body.len()
    };
    stream.write_all(&answer.head(length, close)).await?;
    if bodiless {
        return Ok(());
    }
    match delivery {
        Delivery::Half => stream.write_all(&body[..half]).await,
        Delivery::Cut(bytes) | Delivery::ResetAfter(bytes) => {
            stream.write_all(&body[..body.len().min(*bytes)]).await
        }
        Delivery::Twice => {
            stream.write_all(body).await?;
            stream.write_all(&answer.head(length, close)).await?;
            stream.write_all(body).await
        }
        Delivery::Slow(bytes, pause) => {
            for chunk in body.chunks(*bytes) {
                sleep(*pause).await;
                stream.write_all(chunk).await?;
            }
            Ok(())
        }
        _ => stream.write_all(body).await,
    }
}

/// Reads one request; `None` when the client closed instead. `buffer` keeps what came after it.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > MAX_HEAD {
            return Err(io::Error::other("the head is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let rest = buffer.split_off(end + 4);
    let head = String::from_utf8_lossy(&std::mem::replace(buffer, rest)).into_owned();
    let mut request = parse(&head);
    let length = request
        .header("content-length")
        .and_then(|text| text.parse().ok());
    let length: usize = length.unwrap_or_default();
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let rest = buffer.split_off(length);
    let body = std::mem::replace(buffer, rest);
    request.form = form_urlencoded::parse(&body).into_owned().collect();
    request.at = Instant::now();
    Ok(Some(request))
}

fn parse(head: &str) -> Request {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().splitn(2, ' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default();
    let target = target
        .rsplit_once(" HTTP/")
        .map_or(target, |(target, _)| target);
    let (path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Request {
        at: Instant::now(),
        ended: None,
        method,
        path: path.to_owned(),
        query: form_urlencoded::parse(raw_query.as_bytes())
            .into_owned()
            .collect(),
        raw_query: raw_query.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect(),
        form: Vec::new(),
        status: 0,
        connection: 0,
        sent: 0,
        fault: None,
    }
}
