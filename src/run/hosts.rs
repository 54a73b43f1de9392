//! What hosts have asked for, over processes: a run and a repair leave it to the next one, and heed what was left to them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::{
    clock::Millis,
    pace::{HoldReason, Host, HostKey, Pace},
    store::{self, HostRow, Reader, Store},
};

/// Waits that an earlier process was asked for, and how often in a row.
#[derive(Debug, Default)]
pub(crate) struct Holds(BTreeMap<HostKey, (Option<Millis>, u32)>);

impl Holds {
    /// As the database of a state folder has them; none where it cannot be read.
    pub(crate) fn read(state: &Path) -> Self {
        let rows = Reader::open(state)
            .ok()
            .flatten()
            .and_then(|reader| reader.hosts().ok());
        let held = |row: HostRow| Some((row.host.parse().ok()?, (row.until, row.streak)));
        let rows = rows.unwrap_or_default().into_iter();
        Self(rows.filter_map(held).collect())
    }

    /// The hosts that still wait.
    pub(crate) fn waiting(&self, now: Millis) -> impl Iterator<Item = &HostKey> {
        let waits = move |until: &Option<Millis>| until.is_some_and(|until| until > now);
        let waiting = self.0.iter().filter(move |(_, (until, _))| waits(until));
        waiting.map(|(key, _)| key)
    }

    /// Lets a wait that has not ended hold a host that is not asked yet.
    pub(crate) fn restore(&self, host: &Host, now: Millis) {
        let Some((until, streak)) = self.0.get(host.key()) else {
            return;
        };
        if host.streak() == 0 {
            host.set_streak(*streak);
        }
        let left = until.map_or(0, |until| until - now);
        if let Some(left) = u64::try_from(left)
            .ok()
            .filter(|left| *left > 0 && host.held().is_none())
        {
            host.hold(Duration::from_millis(left), HoldReason::RetryAfter, None);
        }
    }
}

/// Keeps what hosts asked for, and what was counted of them since this was last done, so that it outlives this process and
/// `status` can show it.
///
/// # Errors
/// When the database refuses.
pub(crate) async fn keep(pace: &Pace, store: &Store) -> Result<(), store::Error> {
    let now = store.clock().now();
    let rows: Vec<_> = pace
        .hosts()
        .iter()
        .map(|host| {
            let hold = host.held();
            let until = hold.as_ref().map(|hold| {
                let left = hold
                    .until
                    .saturating_duration_since(tokio::time::Instant::now());
                now + i64::try_from(left.as_millis()).unwrap_or(i64::MAX)
            });
            let reason = hold.map_or_else(String::new, |hold| hold.reason.to_string());
            let counts = host.fresh_counts();
            (host.key().to_string(), until, reason, counts, host.streak())
        })
        .collect();
    store
        .write("keep the hosts' state", move |group| {
            for (host, until, reason, counts, streak) in rows {
                let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let (requests, throttled) = (number(counts.requests), number(counts.throttled));
                group.keep_host(&host, until, &reason, requests, throttled, streak)?;
            }
            Ok(())
        })
        .await
}
