//! After a larder that died: what it wrote last is read again, beside the work.
//!
//! Its order of writing makes this a formality. It is done all the same, for disks that say they have written what they
//! have not. What is damaged is set aside and queued anew; a database that is damaged ends the run. Until the check is
//! done no job counts as done, and a check that a stop cut short is made by the next run.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{Runner, store};
use crate::{
    archive::{Archive, Digest},
    store::{Doubt, Reader},
};

/// Objects that are read between two looks at what became of them.
const AT_ONCE: usize = 64;

/// Checks what is doubtful, then lets the jobs end.
pub(super) async fn work(runner: Arc<Runner>) {
    let turn = tokio::select! {
        // The check is left to the next run.
        () = runner.stop.cancelled() => None,
        turn = runner.recheck.lock() => Some(turn),
    };
    if turn.is_some()
        && let Err(error) = check(&runner).await
    {
        runner.stumble(error).await;
    }
    drop(turn);
    runner.rechecking.store(false, Ordering::Relaxed);
    runner.ended.notify_one();
}

async fn check(runner: &Arc<Runner>) -> Result<(), store::Error> {
    let state: Option<PathBuf> = runner.context.store.path().parent().map(Into::into);
    let Some(state) = state else { return Ok(()) };
    let found = read(&state, |reader| {
        let Some(doubt) = reader.doubt()? else {
            return Ok(None);
        };
        Ok(Some((doubt, reader.objects_since(doubt.since)?)))
    });
    let Some((doubt, objects)) = found.await? else {
        return Ok(());
    };
    tracing::info!(
        objects = objects.len(),
        "A larder has died: reading again what it stored last"
    );
    if !check_objects(runner, objects).await? || !check_database(runner, &state, doubt).await? {
        // The next run makes the check anew.
        return Ok(());
    }
    let done = |group: &mut store::Group<'_>| group.rechecked();
    runner.context.store.write("note a check", done).await
}

/// Reads objects again. Returns whether it came to the end.
async fn check_objects(
    runner: &Arc<Runner>,
    objects: Vec<(Digest, u64)>,
) -> Result<bool, store::Error> {
    for some in objects.chunks(AT_ONCE) {
        let (archive, some) = (runner.context.archive.clone(), some.to_vec());
        let stop = runner.stop.clone();
        let look = tokio::task::spawn_blocking(move || {
            let mut lost = Vec::new();
            for (digest, bytes) in some {
                if stop.is_cancelled() {
                    return (lost, false);
                }
                let whole = match archive.objects.is_whole(&digest) {
                    Ok(whole) => whole && archive.objects.has(&digest, bytes),
                    Err(error) => {
                        tracing::warn!(%error, "Could not read an object again");
                        return (lost, false);
                    }
                };
                if !whole {
                    set_aside(&archive, &digest);
                    lost.push(digest);
                }
            }
            (lost, true)
        });
        let (lost, ended) = look
            .await
            .map_err(|error| store::Error::Stopped(error.to_string()))?;
        let any = !lost.is_empty();
        for digest in lost {
            let queue = move |group: &mut store::Group<'_>| group.lost(&digest);
            let files = runner.context.store.write("queue a lost object", queue);
            let files = files.await?;
            tracing::error!(
                files,
                "The object {digest} is not on the disk as it was stored; it is fetched again"
            );
        }
        if any {
            runner.wake_hosts().await?;
        }
        if !ended {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves a damaged object out of the way.
fn set_aside(archive: &Archive, digest: &Digest) {
    if let Err(error) = archive.objects.set_aside(digest) {
        tracing::warn!(%error, "Could not set a damaged object aside");
    }
}

/// Lets SQLite check a database that was too large for that at the start. Returns whether it came to the end.
async fn check_database(runner: &Runner, state: &Path, doubt: Doubt) -> Result<bool, store::Error> {
    if !doubt.database {
        return Ok(true);
    }
    for table in read(state, Reader::tables).await? {
        let (tell, told) = tokio::sync::oneshot::channel();
        let check = read(state, move |reader| {
            // Nobody to interrupt it: then it runs to its end.
            let _ = tell.send(reader.interrupter());
            reader.check_table(&table)
        });
        tokio::pin!(check);
        // A check that a stop cuts short is made anew by the next run. It must have begun, or nobody would tell.
        tokio::select! {
            biased;
            checked = &mut check => checked?,
            () = runner.stop.cancelled() => {
                if let Ok(reader) = told.await {
                    reader.interrupt();
                }
                let _ = check.await;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Reads something off the async threads.
async fn read<T: Send + Default + 'static>(
    state: &Path,
    what: impl FnOnce(&Reader) -> Result<T, store::Error> + Send + 'static,
) -> Result<T, store::Error> {
    let state = state.to_owned();
    let read = move || match Reader::open(&state)? {
        Some(reader) => what(&reader),
        None => Ok(T::default()),
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| store::Error::Stopped(error.to_string()))?
}
