//! What the runs of one process have in common: whose turn it is on each host, and how much is done at once.
//!
//! `larder run` has one run of all its jobs; the daemon has one for each job, side by side.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use super::{Mirrors, Signer, UnderWay};
use crate::{http::Http, pace::Pace};

/// Replies parsed at once.
const READERS: usize = 2;
/// Files stored at once: enough syncs side by side that a disk works at its best.
const STORING: usize = 16;

/// What the runs of one process share.
#[derive(Debug, Clone)]
pub struct Means {
    /// Requests.
    pub http: Http,
    /// Whose turn it is.
    pub pace: Pace,
    pub(super) mirrors: Arc<Mirrors>,
    pub(super) signer: Arc<Signer>,
    pub(super) readers: Arc<Semaphore>,
    pub(super) storing: Arc<Semaphore>,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) recheck: Arc<Mutex<()>>,
    /// Whether the run itself does what other processes ask for.
    pub(super) attends: bool,
}

impl Means {
    /// For the only run of this process, which does what other processes ask for.
    pub fn of_one(http: Http) -> Self {
        Self {
            http,
            pace: Pace::new(),
            mirrors: Arc::default(),
            signer: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            storing: Arc::new(Semaphore::new(STORING)),
            under_way: Arc::default(),
            recheck: Arc::default(),
            attends: true,
        }
    }

    /// For runs side by side; what other processes ask for is left to their owner.
    pub fn of_many(http: Http) -> Self {
        Self {
            attends: false,
            ..Self::of_one(http)
        }
    }
}
