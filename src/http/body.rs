//! Bodies that are read to their end, but not without one: size, speed and announced length are checked on the way.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::Response;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use url::Url;

use super::{
    error::{Asked, Error, Phase},
    range::Validator,
};
use crate::class::Class;

/// Bytes per second; slower, over the stall timeout, is a stall.
const LEAST_SPEED: f64 = 1024.0;

/// A page with more bytes is large.
const LARGE: usize = 1 << 20;

/// How many bytes a body may have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// As many as this key of `[network]` allows.
    Key(&'static str, u64),
    /// As many as the listing says, and a hundredth more.
    Promised(u64),
}

impl Limit {
    /// Of a file: the key's, or what the listing promises where that is less.
    pub(super) fn of_file(max_file: u64, promised: Option<u64>) -> Self {
        match promised.filter(|bytes| *bytes > 0) {
            Some(bytes) if Self::Promised(bytes).most() < max_file => Self::Promised(bytes),
            _ => Self::Key("max_file", max_file),
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Key(_, most) => most,
            Self::Promised(bytes) => bytes.saturating_add(bytes / 100),
        }
    }
}

/// The rest of a response.
pub(super) struct Body {
    response: Response,
    pub(super) asked: Asked,
    stall: Duration,
    limit: Limit,
    /// Bytes of this answer, where it says.
    announced: Option<u64>,
    /// Bytes of the file that came with answers before this one.
    before: u64,
    seen: u64,
    /// The stall window: time spent waiting for bytes, and the bytes that came. A caller who is slow to ask for more
    /// (a slow disk, a bandwidth limit) does not count against the server.
    waited: Duration,
    arrived: u64,
}

impl Body {
    pub(super) fn new(response: Response, asked: Asked, stall: Duration, limit: Limit) -> Self {
        let announced = response.content_length();
        Self {
            response,
            asked,
            stall,
            limit,
            announced,
            before: 0,
            seen: 0,
            waited: Duration::ZERO,
            arrived: 0,
        }
    }

    /// The same body as the rest of a file of `total` bytes, of which `before` are at hand.
    pub(super) fn rest(self, before: u64, total: u64) -> Self {
        Self {
            before,
            announced: Some(total.saturating_sub(before)),
            ..self
        }
    }

    /// Whether the announced length is within the limit.
    pub(super) fn fits(&self) -> Result<(), Error> {
        let whole = self
            .announced
            .map(|bytes| bytes.saturating_add(self.before));
        match whole.filter(|bytes| *bytes > self.limit.most()) {
            Some(bytes) => Err(self.too_large(format_args!("{bytes} bytes are announced"))),
            None => Ok(()),
        }
    }

    /// Appends everything to `whole`; what came before an error stays there. A body that is large waits for one of
    /// `large` before it goes on, and the reply keeps the permit: many of them at once would fill the memory.
    pub(super) async fn read(
        &mut self,
        whole: &mut Vec<u8>,
        large: &Arc<Semaphore>,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        self.fits()?;
        let mut permit = None;
        while let Some(chunk) = self.chunk().await? {
            let needed = whole.len() + chunk.len();
            if needed > LARGE && permit.is_none() {
                // Nobody closes it. Waiting here is no stall of the server's.
                permit = large.clone().acquire_owned().await.ok();
            }
            if needed > whole.capacity() {
                // Doubling, as a vector does by itself, but never beyond what may come.
                let most = usize::try_from(self.limit.most()).unwrap_or(usize::MAX);
                let room = (whole.capacity() * 2).min(most).max(needed);
                whole.reserve_exact(room - whole.len());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(permit)
    }

    /// The next bytes, or `None` at the end. Dropping the future loses nothing.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let started = Instant::now();
            let left = self.stall.saturating_sub(self.waited);
            let next = timeout(left, self.response.chunk()).await;
            self.waited += started.elapsed();
            let ended = next.is_err() || self.waited >= self.stall;
            let chunk = match next {
                Err(_) => None,
                Ok(Ok(Some(chunk))) => Some(chunk),
                Ok(Ok(None)) => return self.end(),
                Ok(Err(error)) => return Err(self.asked.failed(Phase::Body, &error)),
            };
            let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            self.seen += length;
            self.arrived += length;
            if self.before + self.seen > self.limit.most() {
                return Err(self.too_large("the body goes on"));
            }
            if ended {
                self.look_at_speed()?;
            }
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    fn look_at_speed(&mut self) -> Result<(), Error> {
        let least = (self.stall.as_secs_f64() * LEAST_SPEED) as u64;
        if self.arrived < least.max(1) {
            let what = format!(
                "less than 1 KiB/s for {:?}, {} bytes in all",
                self.stall, self.seen
            );
            return Err(self.asked.error(Class::Timeout, what));
        }
        self.waited = Duration::ZERO;
        self.arrived = 0;
        Ok(())
    }

    fn end(&self) -> Result<Option<Bytes>, Error> {
        match self.announced.filter(|bytes| *bytes != self.seen) {
            Some(bytes) => {
                let what = format!("{} of {bytes} announced bytes came", self.seen);
                Err(self.asked.error(Class::Truncated, what))
            }
            None => Ok(None),
        }
    }

    fn too_large(&self, what: impl fmt::Display) -> Error {
        match self.limit {
            Limit::Key(name, most) => self.asked.error(
                Class::TooLarge,
                format_args!("{what}, `{name}` allows {most}"),
            ),
            Limit::Promised(bytes) => self.asked.error(
                Class::Checksum,
                format_args!("{what}, the listing says {bytes}"),
            ),
        }
    }
}

/// A file on its way.
pub struct Download {
    /// The HTTP status.
    pub status: u16,
    /// How many bytes of the file come before those that this brings: 0, or the offset that was asked for.
    pub start: u64,
    /// The announced length of the whole file.
    pub length: Option<u64>,
    /// Whether the reply says where it ends, by a length or by its framing; without, whatever cuts it looks like its end.
    pub framed: bool,
    /// What a later request may use to go on with this very file; `None` when it cannot.
    pub validator: Option<Validator>,
    /// Such as `image/png`: lower case, without parameters.
    pub content_type: Option<String>,
    /// As sent.
    pub etag: Option<String>,
    /// As sent.
    pub last_modified: Option<String>,
    /// The URL that answered, without secrets.
    pub url: Url,
    pub(super) body: Body,
}

impl Download {
    /// The next bytes, or `None` when all have come. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Class::Truncated`], [`Class::Timeout`], [`Class::TooLarge`] or what broke the connection.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("url", &super::redact(&self.url))
            .field("status", &self.status)
            .field("start", &self.start)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
