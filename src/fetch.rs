//! One file: request, stream, verify, put, commit.
//!
//! Bytes decide nothing by themselves: length, hashes and magic bytes do. Hashing and writing run off the async threads.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    archive::{Archive, PutError, Staged, Wanted},
    class::Class,
    config::{Job, Site},
    dialect::Item,
    http::{Outgoing, redact},
    run::{Context, Failure},
    store::{FileStored, FileTask, Lease},
};

/// Bytes gathered before a blocking thread hashes and writes them: small files take one such trip.
const CHUNK: usize = 1 << 20;

/// Fetches one file and commits it; returns whether the site was asked. `asked` is called when the body is in, so that the
/// connection can serve the next.
///
/// # Errors
/// The failure to judge; nothing was stored.
pub async fn fetch(
    context: &Context,
    job: &Arc<Job>,
    lease: Lease,
    task: FileTask,
    asked: impl FnOnce(),
) -> Result<bool, Failure> {
    let mut held = task.held;
    let mut begun = None;
    if let (Some(md5), None) = (&task.md5, held) {
        let (mine, waited) = context.under_way.begin(md5).await;
        begun = Some(mine);
        if waited || context.several_jobs {
            let md5 = md5.clone();
            let look = context
                .store
                .write("look for an object", move |group| group.held(&md5))
                .await;
            held = look?;
        }
    }
    let requested = held.is_none();
    let stored = match held {
        Some(digest) => {
            asked();
            FileStored {
                digest,
                bytes: 0,
                media: None,
                md5: task.md5,
                etag: None,
                modified: None,
                downloaded: 0,
                put: false,
            }
        }
        None => download(context, job, &lease, task, asked).await?,
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
    Ok(requested)
}

/// Whether files may come from this host: the site's own, or one of its media hosts.
pub fn allowed(site: &Site, host: &str, port: u16) -> bool {
    let own = site.url.host_str() == Some(host) && site.url.port_or_known_default() == Some(port);
    own || site
        .media_hosts
        .iter()
        .any(|pattern| pattern.matches(host, port))
}

async fn download(
    context: &Context,
    job: &Arc<Job>,
    lease: &Lease,
    task: FileTask,
    asked: impl FnOnce(),
) -> Result<FileStored, Failure> {
    let url = task
        .url
        .parse()
        .map_err(|_| Failure::new(Class::BadUrl, format!("`{}` is not a URL", task.url)))?;
    let mut out = Outgoing::get(url);
    tracing::debug!(job.name = %job.name, "GET {}", redact(&out.url));
    out.proxy.clone_from(&job.site.proxy);
    let site = job.site.clone();
    let mut download = context
        .http
        .file(&out, &move |host, port| allowed(&site, host, port))
        .await?;
    let mut wanted = promised(&task);
    wanted.content_type.clone_from(&download.content_type);
    let mut staged = Staged::new(format!("{:x}.{:x}", lease.task, lease.token), &wanted);
    let (mut gathered, mut size) = (Vec::new(), 0);
    while let Some(chunk) = download.chunk().await? {
        size += chunk.len();
        gathered.push(chunk);
        if size >= CHUNK {
            size = 0;
            staged = write(&context.archive, staged, std::mem::take(&mut gathered)).await?;
        }
    }
    let _storing = context
        .storing
        .acquire()
        .await
        .map_err(|_| Failure::new(Class::Storage, "larder is stopping"))?;
    asked();
    let archive = context.archive.clone();
    let putting = tokio::task::spawn_blocking(move || {
        staged.write(&archive.objects, gathered)?;
        let downloaded = staged.bytes();
        archive
            .objects
            .put(staged, &wanted)
            .map(|put| (put, downloaded))
    });
    let (put, downloaded) = putting
        .await
        .map_err(|error| {
            Failure::new(
                Class::Poison,
                format!("larder panicked while it stored the file: {error}"),
            )
        })?
        .map_err(refused)?;
    Ok(FileStored {
        digest: put.digest,
        bytes: put.bytes,
        media: put.media,
        md5: put.md5,
        etag: download.etag.take(),
        modified: download.last_modified.take(),
        downloaded,
        put: put.fresh,
    })
}

async fn write(
    archive: &Arc<Archive>,
    mut staged: Staged,
    chunks: Vec<Bytes>,
) -> Result<Staged, Failure> {
    let archive = archive.clone();
    let writing = tokio::task::spawn_blocking(move || {
        staged.write(&archive.objects, chunks).map(|()| staged)
    });
    let written = writing.await.map_err(|error| {
        Failure::new(
            Class::Poison,
            format!("larder panicked while it stored the file: {error}"),
        )
    })?;
    written.map_err(|error| refused(error.into()))
}

fn refused(error: PutError) -> Failure {
    match error {
        PutError::Refused { class, message } => Failure::new(class, message),
        PutError::Storage(error) => error.into(),
    }
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
    let file = file.filter(|file| file.md5 == task.md5);
    Wanted {
        md5: task.md5.clone(),
        sha1: file.as_ref().and_then(|file| file.sha1.clone()),
        sha256: file.as_ref().and_then(|file| file.sha256.clone()),
        bytes: file.and_then(|file| file.bytes),
        content_type: None,
    }
}
