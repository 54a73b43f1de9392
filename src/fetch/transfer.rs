//! One file's way from the site into the archive, over as many requests as it takes.
//!
//! A download that breaks off goes on where it was, in the same try, as long as each request brings it further and a strong
//! validator says that it is still the same file. What came before a try fails, before larder stops, and each [`SAVE_EVERY`]
//! is saved as a [`Part`]. **Invariant:** bytes joined from several requests that are not what the site promised are
//! thrown away, and the file is downloaded in one piece from then on.

use std::sync::Arc;

use bytes::Bytes;

use super::allowed;
use crate::{
    archive::{self, Opened, Part, Put, PutError, Staged, Wanted},
    class::Class,
    config::Site,
    http::{Download, Error, Known, Outgoing, Resume, Validator, wall},
    pace::Host,
    run::{Context, Failure},
};

/// Bytes gathered before a blocking thread hashes and writes them: small files take one such trip.
const CHUNK: usize = 1 << 20;
/// A request that brings less brings the download no further, and less is not worth a part.
const WORTH: u64 = 64 << 10;
/// A kill costs no more than this of a large file. What is synced for it need not be synced at the end.
const SAVE_EVERY: u64 = 64 << 20;

/// One file to be brought.
pub(super) struct Transfer<'a> {
    pub(super) context: &'a Context,
    pub(super) host: &'a Host,
    pub(super) site: Arc<Site>,
    pub(super) out: Outgoing,
    pub(super) wanted: Wanted,
    /// The staging file's name.
    pub(super) name: String,
    /// The ETag and Last-Modified of what is held under its address.
    pub(super) unless: Option<(Option<String>, Option<String>)>,
    /// The right to save and go on; `None` when the file must come in one piece.
    pub(super) part: Option<Arc<Part>>,
}

/// How a transfer ended.
pub(super) enum Outcome {
    /// The file is in the archive.
    Brought(Brought),
    /// It is still the one that is held.
    Unchanged,
    /// Larder stops before the end.
    Cut,
}

/// A file in the archive.
pub(super) struct Brought {
    pub(super) put: Put,
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
    pub(super) modified: Option<String>,
    /// Whether nothing tells that it is whole.
    pub(super) unverified: bool,
}

/// What came so far.
struct Half {
    staged: Staged,
    validator: Validator,
    total: Option<u64>,
}

/// What one request led to.
enum Step {
    /// Everything is there.
    Whole(Whole),
    /// It broke off, but it got further.
    Half(Half),
    /// What was there is of no use.
    Anew,
    /// It is the one that is held.
    Unchanged,
    /// Larder stops; what came is saved.
    Cut,
}

struct Whole {
    staged: Staged,
    /// What was gathered last, not written yet.
    gathered: Vec<Bytes>,
    wanted: Wanted,
    etag: Option<String>,
    modified: Option<String>,
    /// Whether it came in several requests.
    joined: bool,
    /// Whether its reply told where it ends.
    framed: bool,
}

/// How the reading of a body ended.
enum Ended {
    Whole,
    Broken(Error),
    Cut,
}

impl Transfer<'_> {
    /// Brings the file. `asked` is called when no more is asked of the host.
    ///
    /// # Errors
    /// The failure to judge; nothing was stored.
    pub(super) async fn run(mut self, asked: impl FnOnce()) -> Result<Outcome, Failure> {
        let mut asked = Some(asked);
        let mut half = self.open().await?;
        loop {
            match self.request(half.take()).await? {
                Step::Whole(whole) => {
                    let joined = whole.joined;
                    // Before the connection is free for the next file: a slow disk must hold the downloads up, or what is
                    // not written yet fills the memory.
                    let storing = self.context.storing.acquire().await;
                    let storing =
                        storing.map_err(|_| Failure::new(Class::Storage, "larder is stopping"))?;
                    if !joined && let Some(asked) = asked.take() {
                        asked();
                    }
                    let put = self.put(whole).await;
                    drop(storing);
                    match put {
                        Err(failure) if joined && is_refusal(failure.class) => {
                            tracing::info!(
                                "Downloading in one piece what was joined wrongly: {}",
                                failure.message
                            );
                            if let Some(part) = self.part.take() {
                                part.distrust();
                            }
                        }
                        brought => return brought.map(Outcome::Brought),
                    }
                }
                Step::Half(more) => half = Some(more),
                Step::Anew => {}
                Step::Unchanged => return Ok(Outcome::Unchanged),
                Step::Cut => return Ok(Outcome::Cut),
            }
            if !self.turn().await {
                return Ok(Outcome::Cut);
            }
        }
    }

    /// What an earlier try or an earlier larder saved.
    async fn open(&self) -> Result<Option<Half>, Failure> {
        let Some(part) = self.part.clone().filter(|part| part.exists()) else {
            return Ok(None);
        };
        let wanted = self.wanted.clone();
        let opened: Option<Opened<Validator>> = blocking(move || part.open(&wanted)).await?;
        Ok(opened.map(|opened| Half {
            staged: opened.staged,
            validator: opened.validator,
            total: opened.total,
        }))
    }

    /// Waits a little, then for the host's turn; false when larder stops meanwhile.
    async fn turn(&self) -> bool {
        let pause = self.context.network.backoff.mul_f64(fastrand::f64());
        // Dropped at a stop: what came is saved, and no request is under way.
        tokio::select! {
            () = self.context.cut.cancelled() => false,
            () = async {
                tokio::time::sleep(pause).await;
                self.host.turn().await;
            } => true,
        }
    }

    /// Makes one request and reads its body.
    async fn request(&self, half: Option<Half>) -> Result<Step, Failure> {
        let known = Known {
            bytes: self.wanted.bytes,
            resume: half.as_ref().map(|half| Resume {
                offset: half.staged.bytes(),
                validator: half.validator.clone(),
                total: half.total,
            }),
            unless: self.unless.clone().filter(|_| half.is_none()),
        };
        let site = self.site.clone();
        let may = move |host: &str, port| allowed(&site, host, port);
        let asked = self.context.http.file(&self.out, &known, &may).await;
        let (mut download, half) = match (asked, half) {
            (Ok(download), half) => (download, half),
            (Err(error), Some(half)) if matches!(error.status, Some(206 | 416)) => {
                tracing::debug!("Beginning anew: {error}");
                self.drop_half(half);
                return Ok(Step::Anew);
            }
            (Err(error), None) if self.unless.is_some() && error.status == Some(304) => {
                return Ok(Step::Unchanged);
            }
            // What is saved stays for the next try.
            (Err(error), _) => return Err(error.into()),
        };
        let mut wanted = self.wanted.clone();
        wanted.content_type.clone_from(&download.content_type);
        let mut validator = download.validator.clone();
        let staged = match half {
            Some(half) if download.start > 0 => {
                // A 206 need not repeat the validator that it was asked by.
                validator = Some(half.validator);
                half.staged
            }
            other => {
                // The whole file comes, or another one.
                if let Some(half) = other {
                    self.drop_half(half);
                }
                Staged::new(self.name.clone(), &wanted)
            }
        };
        let before = staged.bytes();
        let validator = validator.filter(|_| self.part.is_some());
        let (mut staged, gathered, ended) =
            self.read(&mut download, staged, validator.as_ref()).await?;
        let size: usize = gathered.iter().map(Bytes::len).sum();
        let came = staged.bytes() + size as u64;
        match ended {
            Ended::Whole => Ok(Step::Whole(Whole {
                staged,
                gathered,
                wanted,
                etag: download.etag.take(),
                modified: download.last_modified.take(),
                joined: before > 0,
                framed: download.framed,
            })),
            Ended::Cut | Ended::Broken(_)
                if may_go_on(&ended) && came >= WORTH && validator.is_some() =>
            {
                let validator = validator.expect("checked above");
                staged = self
                    .write(staged, gathered, Some((&validator, download.length)))
                    .await?;
                match ended {
                    Ended::Broken(error) if came - before < WORTH => Err(error.into()),
                    Ended::Broken(error) => {
                        tracing::debug!(bytes = came, "Going on where it broke off: {error}");
                        Ok(Step::Half(Half {
                            staged,
                            validator,
                            total: download.length,
                        }))
                    }
                    _ => Ok(Step::Cut),
                }
            }
            Ended::Broken(error) => {
                if let Some(part) = &self.part {
                    part.forget();
                }
                staged.discard();
                Err(error.into())
            }
            Ended::Cut => Ok(Step::Cut),
        }
    }

    /// Reads a body to its end, writing what has gathered.
    async fn read(
        &self,
        download: &mut Download,
        mut staged: Staged,
        validator: Option<&Validator>,
    ) -> Result<(Staged, Vec<Bytes>, Ended), Failure> {
        let (mut gathered, mut size) = (Vec::new(), 0);
        let mut saved = staged.bytes();
        let ended = loop {
            // Dropping the future of a chunk loses nothing.
            let chunk = tokio::select! {
                chunk = download.chunk() => chunk,
                () = self.context.cut.cancelled(), if validator.is_some() => break Ended::Cut,
            };
            match chunk {
                Ok(Some(chunk)) => {
                    size += chunk.len();
                    gathered.push(chunk);
                }
                Ok(None) => break Ended::Whole,
                Err(error) => break Ended::Broken(error),
            }
            if size >= CHUNK {
                size = 0;
                let due = staged.bytes() + CHUNK as u64 - saved >= SAVE_EVERY;
                let save = validator.filter(|_| due).map(|v| (v, download.length));
                staged = self
                    .write(staged, std::mem::take(&mut gathered), save)
                    .await?;
                if save.is_some() {
                    saved = staged.bytes();
                }
            }
        };
        Ok((staged, gathered, ended))
    }

    /// Writes chunks, and saves what is there where a validator and a total are given.
    async fn write(
        &self,
        mut staged: Staged,
        chunks: Vec<Bytes>,
        save: Option<(&Validator, Option<u64>)>,
    ) -> Result<Staged, Failure> {
        let (archive, part) = (self.context.archive.clone(), self.part.clone());
        let save = save.map(|(validator, total)| (validator.clone(), total));
        let written = blocking(move || {
            staged.write(&archive.objects, chunks)?;
            if let (Some(part), Some((validator, total))) = (part, save) {
                part.save(&mut staged, &validator, total)?;
            }
            Ok::<_, archive::Error>(staged)
        });
        written.await?.map_err(refused)
    }

    async fn put(&self, whole: Whole) -> Result<Brought, Failure> {
        let Whole {
            mut staged,
            gathered,
            wanted,
            etag,
            modified,
            framed,
            ..
        } = whole;
        let hashes = [&wanted.md5, &wanted.sha1, &wanted.sha256];
        let told = framed || wanted.bytes.is_some() || hashes.into_iter().any(Option::is_some);
        let (archive, part) = (self.context.archive.clone(), self.part.clone());
        let page = html(&gathered);
        let putting = blocking(move || {
            staged.write(&archive.objects, gathered)?;
            let bytes = staged.bytes();
            let saved = staged.is_saved();
            let put = archive.objects.put(staged, &wanted);
            if let Some(part) = part.filter(|_| saved) {
                part.forget();
            }
            put.map(|put| (put, bytes))
        });
        let (put, bytes) = putting.await?.map_err(|error| {
            let failure = refused(error);
            let page = page.filter(|_| failure.class == Class::UnexpectedType);
            match page.and_then(|page| wall(&page)) {
                Some((class, what)) => {
                    Failure::new(class, format!("{what} came instead of the file"))
                }
                None => failure,
            }
        })?;
        Ok(Brought {
            put,
            bytes,
            etag,
            modified,
            unverified: !told,
        })
    }

    fn drop_half(&self, half: Half) {
        half.staged.discard();
        if let Some(part) = &self.part {
            part.forget();
        }
    }
}

/// The beginning of what came, where it may be an HTML page.
fn html(chunks: &[Bytes]) -> Option<Vec<u8>> {
    const LOOK_AT: usize = 64 << 10;
    let first = chunks.first()?.trim_ascii_start();
    first.starts_with(b"<").then(|| {
        let mut start = Vec::new();
        for chunk in chunks {
            let room = LOOK_AT.saturating_sub(start.len()).min(chunk.len());
            start.extend_from_slice(&chunk[..room]);
        }
        start
    })
}

/// Whether what came before this is good.
fn may_go_on(ended: &Ended) -> bool {
    match ended {
        Ended::Broken(error) => matches!(
            error.class,
            Class::Truncated | Class::Connect | Class::Timeout
        ),
        Ended::Whole | Ended::Cut => true,
    }
}

/// Whether it may be the joining that made the bytes wrong.
fn is_refusal(class: Class) -> bool {
    matches!(class, Class::Checksum | Class::UnexpectedType)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::new(
            Class::Poison,
            format!("larder panicked while it stored the file: {error}"),
        )
    })
}

fn refused(error: impl Into<PutError>) -> Failure {
    match error.into() {
        PutError::Refused { class, message } => Failure::new(class, message),
        PutError::Storage(error) => error.into(),
    }
}
