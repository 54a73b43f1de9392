//! Names of what is under way, so that two who want the same bytes ask for them once.

use std::{collections::BTreeSet, sync::Mutex};

use tokio::sync::Notify;

/// Names of what is under way.
#[derive(Debug, Default)]
pub struct UnderWay {
    names: Mutex<BTreeSet<String>>,
    done: Notify,
}

/// A name that is under way until this is dropped.
#[derive(Debug)]
pub struct Begun<'a> {
    set: &'a UnderWay,
    name: String,
}

impl UnderWay {
    /// Waits until nobody else has `name` under way. Also says whether there was anybody to wait for.
    pub async fn begin(&self, name: &str) -> (Begun<'_>, bool) {
        let mut waited = false;
        loop {
            // Registered before the names are looked at, so that no end is missed in between.
            let done = self.done.notified();
            if self.insert(name) {
                let name = name.to_owned();
                return (Begun { set: self, name }, waited);
            }
            waited = true;
            done.await;
        }
    }

    fn insert(&self, name: &str) -> bool {
        let mut names = self.names.lock().expect("nobody panics with it");
        names.insert(name.to_owned())
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Ok(mut names) = self.set.names.lock() {
            names.remove(&self.name);
        }
        self.set.done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_one_waits_for_the_first_and_is_told_so() {
        let set = UnderWay::default();
        let (first, waited) = set.begin("a").await;
        assert!(!waited);
        assert!(!set.begin("b").await.1);
        let second = set.begin("a");
        tokio::pin!(second);
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        drop(first);
        assert!(second.await.1);
    }
}
