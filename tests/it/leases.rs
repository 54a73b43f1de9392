//! Claims, clocks and deaths, told by the store alone: time is what the test says.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use larder::{
    archive::Archive,
    class::Class,
    clock::Clock,
    dialect::{Position, Step, Values},
    store::{
        Begun, Claim, JobSpec, Lease, PageCommit, PageOutcome, PageTask, Store, Task, Verdict,
        Walks, Why,
    },
};

const HOST: &str = "booru.example:443";
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A store with one job, whose first page is in the queue.
struct Queue {
    time: Arc<AtomicI64>,
    store: Store,
    begun: Begun,
    _folder: tempfile::TempDir,
}

fn first() -> PageTask {
    PageTask {
        endpoint: "posts".to_owned(),
        params: Values::default(),
        at: Position::default(),
        depth: 0,
        day: None,
        site: None,
        needed: false,
        item: None,
    }
}

fn spec() -> JobSpec {
    JobSpec {
        name: "all".to_owned(),
        site: "booru".to_owned(),
        listing: "posts".to_owned(),
        params: "{}".to_owned(),
        walk: "w".to_owned(),
        walks: Walks {
            firsts: vec![first()],
            days: None,
            dated: false,
            full: false,
        },
        whole: true,
        host: HOST.to_owned(),
        names: vec!["all".to_owned()],
    }
}

impl Queue {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = Arc::new(Archive::create(folder.path()).unwrap());
        let time = Arc::new(AtomicI64::new(1000 * DAY));
        let store = Store::open(folder.path(), archive, Clock::Fixed(time.clone())).unwrap();
        let begun = store.begin(spec()).await.unwrap();
        Self {
            time,
            store,
            begun,
            _folder: folder,
        }
    }

    fn pass(&self, time: i64) {
        self.time.fetch_add(time, Ordering::Relaxed);
    }

    /// Claims the page, if it is ready.
    async fn claim(&self) -> Option<Task> {
        let claim = Claim {
            host: HOST.to_owned(),
            pages: true,
            jobs: vec![self.begun.job],
            limited: vec![],
            most: 4,
        };
        let claimed = self
            .store
            .write("claim", move |group| group.claim(&claim))
            .await;
        claimed.unwrap().tasks.pop()
    }

    async fn renew(&self, tokens: Vec<i64>) {
        let renewed = self
            .store
            .write("renew", move |group| group.renew(&tokens))
            .await;
        renewed.unwrap();
    }

    /// The walk's end, as the holder of this lease saw it.
    async fn finish(&self, lease: Lease) -> PageOutcome {
        let page = PageCommit {
            census: None,
            lease,
            task: first(),
            site: "booru.example".to_owned(),
            host: HOST.to_owned(),
            roles: vec![],
            items: vec![],
            immutable: false,
            refused: std::collections::BTreeSet::new(),
            bad: vec![],
            filtered: 0,
            total: None,
            days: None,
            continued: vec![],
            full: false,
            gone: None,
            step: Step::End,
        };
        let outcome = self
            .store
            .write("finish", move |group| group.commit_page(page))
            .await;
        outcome.unwrap()
    }
}

#[tokio::test]
async fn fault_09_a_clock_that_jumps_forward_takes_no_claim_from_who_lives() {
    let queue = Queue::new().await;
    let task = queue.claim().await.unwrap();
    queue.pass(DAY);
    queue.renew(vec![task.lease.token]).await;
    assert!(queue.claim().await.is_none(), "it was claimed twice");
    assert_eq!(
        queue.finish(task.lease).await,
        PageOutcome::Stored { more: false }
    );
}

#[tokio::test]
async fn fault_09_a_clock_that_jumps_back_leaves_no_claim_for_a_day() {
    let queue = Queue::new().await;
    queue.claim().await.unwrap();
    queue.pass(-DAY);
    // Its worker is gone, and its end is now a day away.
    queue.renew(vec![]).await;
    assert!(queue.claim().await.is_some());
}

#[tokio::test]
async fn fault_09_a_wait_that_a_wrong_clock_has_made_is_pulled_back() {
    let queue = Queue::new().await;
    queue.pass(400 * DAY);
    let task = queue.claim().await.unwrap();
    let lease = task.lease;
    let why = Why {
        class: Class::Connect,
        message: "as a test says".to_owned(),
        url: None,
    };
    let again = Verdict::Again {
        wait: 1000,
        counted: true,
    };
    let failed = queue
        .store
        .write("fail", move |group| group.fail(&lease, &why, &again));
    failed.await.unwrap();
    queue.pass(-400 * DAY);
    assert!(
        queue.claim().await.is_none(),
        "looked at, and found to be wrong"
    );
    assert!(queue.claim().await.is_some(), "so it is due");
}

#[tokio::test]
async fn fault_10_the_result_of_a_claim_that_ran_out_is_discarded() {
    let queue = Queue::new().await;
    let stale = queue.claim().await.unwrap();
    // The machine sleeps for two hours; then somebody else is faster.
    queue.pass(120 * MINUTE);
    queue.renew(vec![]).await;
    let fresh = queue.claim().await.unwrap();
    assert_eq!(stale.lease.task, fresh.lease.task);
    assert_eq!(queue.finish(stale.lease).await, PageOutcome::Stale);
    assert_eq!(
        queue.finish(fresh.lease).await,
        PageOutcome::Stored { more: false }
    );
    assert_eq!(queue.finish(fresh.lease).await, PageOutcome::Stale);
}
