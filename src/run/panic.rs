//! Panics of workers: each is caught, told, and counted as a death over its task would be.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

use super::{Active, Runner, site_of, store};

/// A panic over a task counts as a death over it would.
pub(super) async fn crashed(
    runner: &Arc<Runner>,
    active: &Active,
    lease: store::Lease,
    message: String,
) {
    tracing::error!(job.name = %active.job.name, task.id = lease.task, "{message}");
    let record = move |group: &mut store::Group<'_>| group.crashed(&lease, &message);
    match runner.context.store.write("record a panic", record).await {
        Err(error) => runner.stumble(error).await,
        Ok(moved) => {
            if let Some(key) = moved.and_then(|host| host.parse().ok()) {
                runner.open_lane(&key, site_of(&active.job, &key));
            }
            runner.wake_all();
        }
    }
}

/// What becomes of a future, or the words of its panic.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| {
        // A future that has panicked is not polled again, and what it shares with others is whole: locks that a panic has
        // poisoned would be noticed.
        let poll = AssertUnwindSafe(|| work.as_mut().poll(context));
        match catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                Poll::Ready(Err(words.unwrap_or_default()))
            }
        }
    })
    .await
}
