//! One file: request, stream, verify, put, commit.
//!
//! Bytes decide nothing by themselves: length, hashes and magic bytes do. Hashing and writing run off the async threads.

mod transfer;

use std::sync::Arc;

use crate::{
    archive::{Part, Promise, Wanted},
    class::Class,
    config::{Job, Site},
    dialect::Item,
    http::{Outgoing, redact},
    pace::Host,
    run::{Context, Failure},
    store::{FileStored, FileTask, Group, Lease},
};
use transfer::{Brought, Outcome, Transfer};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It is stored, with a request.
    Asked,
    /// It is stored; its bytes were held already.
    Held,
    /// It was asked whether it has changed: it has not.
    Unchanged,
    /// Larder stops before it is there; the task is to be put back.
    Cut,
}

/// Fetches one file and commits it. `asked` is called when the body is in, so that the connection can serve the next.
///
/// # Errors
/// The failure to judge; nothing was stored.
pub async fn fetch(
    context: &Context,
    host: &Host,
    job: &Arc<Job>,
    lease: Lease,
    task: FileTask,
    asked: impl FnOnce(),
) -> Result<Fetched, Failure> {
    let mut held = task.held;
    let mut begun = None;
    if let (Some(named), None) = (&task.named, held) {
        let (mine, waited) = context.under_way.begin(named).await;
        begun = Some(mine);
        if waited || context.several_jobs {
            let named = named.clone();
            let look = context
                .store
                .write("look for an object", move |group| group.held(&named))
                .await;
            held = look?;
        }
    }
    let fetched = if held.is_none() {
        Fetched::Asked
    } else {
        Fetched::Held
    };
    let stored = match held {
        Some(digest) => {
            asked();
            FileStored {
                digest,
                bytes: 0,
                media: None,
                named: task.named,
                etag: None,
                modified: None,
                unverified: false,
                downloaded: 0,
                put: false,
            }
        }
        None => match download(context, host, job, &lease, task, asked).await? {
            Downloaded::Stored(stored) => stored,
            Downloaded::Unchanged => {
                let keep = move |group: &mut Group<'_>| group.file_unchanged(&lease);
                let kept = context.store.write("keep a file", keep).await;
                kept.map_err(|error| Failure::new(Class::Storage, error.to_string()))?;
                return Ok(Fetched::Unchanged);
            }
            Downloaded::Cut => return Ok(Fetched::Cut),
        },
    };
    let commit = context
        .store
        .write("store a file", move |group| {
            group.file_stored(&lease, &stored)
        })
        .await;
    let stands = commit?;
    drop(begun);
    if !stands {
        tracing::debug!(
            task.id = lease.task,
            "The lease was lost; the result is dropped"
        );
    }
    Ok(fetched)
}

/// Whether files may come from this host: the site's own, or one of its media hosts.
pub fn allowed(site: &Site, host: &str, port: u16) -> bool {
    site.takes_files_from(host, port)
}

/// What became of a request for a file.
enum Downloaded {
    Stored(FileStored),
    Unchanged,
    Cut,
}

async fn download(
    context: &Context,
    host: &Host,
    job: &Arc<Job>,
    lease: &Lease,
    task: FileTask,
    asked: impl FnOnce(),
) -> Result<Downloaded, Failure> {
    let url = task
        .url
        .parse()
        .map_err(|_| Failure::new(Class::BadUrl, format!("`{}` is not a URL", task.url)))?;
    let site = job.site_with_id(&task.site).clone();
    let mut out = Outgoing::get(url);
    out.headers.clone_from(&site.dialect.media_headers);
    tracing::debug!(job.name = %job.name, "GET {}", redact(&out.url));
    out.proxy.clone_from(&site.proxy);
    // An address may change while its bytes stay: the hash names them better.
    let bytes = task.named.as_deref().unwrap_or(&task.url);
    let transfer = Transfer {
        context,
        host,
        site,
        out,
        wanted: promised(&task),
        name: format!("{:x}.{:x}", lease.task, lease.token),
        unless: task
            .old
            .as_ref()
            .map(|old| (old.etag.clone(), old.modified.clone())),
        part: Part::take(&context.archive, bytes).map(Arc::new),
    };
    let brought = match transfer.run(asked).await? {
        Outcome::Brought(brought) => brought,
        Outcome::Unchanged => return Ok(Downloaded::Unchanged),
        Outcome::Cut => return Ok(Downloaded::Cut),
    };
    let Brought {
        put,
        bytes,
        etag,
        modified,
        unverified,
    } = brought;
    Ok(Downloaded::Stored(FileStored {
        digest: put.digest,
        bytes: put.bytes,
        media: put.media,
        named: task.named,
        etag,
        modified,
        unverified,
        downloaded: bytes,
        put: put.fresh,
    }))
}

/// What the listing said about the file.
fn promised(task: &FileTask) -> Wanted {
    let draft: Option<Item> = task
        .draft
        .as_deref()
        .and_then(|draft| serde_json::from_str(draft).ok());
    let file = draft.and_then(|item| {
        item.files
            .into_iter()
            .find(|f| f.role == task.role && f.index == task.index)
    });
    let file = file.filter(|file| file.named().map(hex::encode) == task.named);
    // By its length: what names the bytes is checked, whatever has become of the draft.
    let named = |digits| task.named.clone().filter(|hash| hash.len() == digits);
    Wanted {
        md5: named(32),
        sha1: named(40).or_else(|| file.as_ref()?.sha1.clone()),
        sha256: named(64).or_else(|| file.as_ref()?.sha256.clone()),
        bytes: file.as_ref().and_then(|file| file.bytes),
        content_type: None,
        promise: Promise::of(
            file.as_ref().and_then(|file| file.media.as_deref()),
            [
                Some(&task.url),
                file.as_ref().and_then(|file| file.name.as_deref()),
            ],
        ),
    }
}
