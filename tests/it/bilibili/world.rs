//! What the mock site holds: one subject with its replies, the danmaku of a part, and what it does wrong next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::site::Request;

/// The reader's login.
pub(crate) const SESSION: &str = "ab12%2C1800000000";
/// The token of a POST.
pub(crate) const CSRF: &str = "0123456789abcdef0123456789abcdef";
/// Replies on a page, whatever was asked for.
pub(crate) const PAGE: usize = 20;

/// One reply; its number says how new it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub root: u64,
    pub parent: u64,
    pub dialog: u64,
    pub mid: u64,
    pub text: String,
    pub likes: u64,
    /// Numbers of pictures.
    pub pictures: Vec<u32>,
    /// Names of emotes.
    pub emotes: Vec<&'static str>,
}

/// One danmaku.
#[derive(Clone, Debug)]
pub(crate) struct Danmaku {
    pub id: u64,
    pub progress: u32,
    pub text: String,
}

/// Does something at each request, and says that it wants to be asked again.
pub(crate) type Hook = Box<dyn FnMut(&mut World, &Request) + Send>;

/// What stands there instead of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This JSON, with this status.
    Json(u16, Value),
    /// Everything zero.
    Shadow,
    /// The cursor says that it is the last page.
    EndsEarly,
    /// No byte, with this status.
    Status(u16),
}

pub(crate) struct World {
    pub kind: u64,
    pub oid: u64,
    pub replies: BTreeMap<u64, Reply>,
    roots: BTreeSet<u64>,
    children: BTreeMap<u64, BTreeSet<u64>>,
    /// Roots that are shown beside the first page only.
    pub pinned: Vec<u64>,
    /// Replies that are counted and not there.
    pub counted: u64,
    /// Children that a root counts and that are not there.
    pub counted_below: BTreeMap<u64, u64>,
    /// Which pair of keys signs; the others are refused.
    pub rotation: u64,
    /// Whether a reader without a login is a guest.
    pub guests: bool,
    pub closed: bool,
    /// The last page by number that is shown.
    pub wall: Option<u64>,
    pub faults: VecDeque<Fault>,
    pub hook: Option<Hook>,
    /// By segment, from 1.
    pub danmaku: BTreeMap<u64, Vec<Danmaku>>,
    /// What was sent by POST.
    pub sent: Vec<Request>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            kind: 1,
            oid: 170_001,
            replies: BTreeMap::new(),
            roots: BTreeSet::new(),
            children: BTreeMap::new(),
            pinned: Vec::new(),
            counted: 0,
            counted_below: BTreeMap::new(),
            rotation: 1,
            guests: true,
            closed: false,
            wall: None,
            faults: VecDeque::new(),
            hook: None,
            danmaku: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    /// Adds a reply, to the subject or to a root.
    pub(crate) fn add(&mut self, id: u64, root: u64, change: impl FnOnce(&mut Reply)) {
        let mut reply = Reply {
            root,
            parent: root,
            dialog: if root == 0 { 0 } else { id },
            mid: 1000 + id % 977,
            text: format!("words of {id}"),
            likes: id % 7,
            ..Reply::default()
        };
        change(&mut reply);
        if root == 0 {
            self.roots.insert(id);
        } else {
            self.children.entry(root).or_default().insert(id);
        }
        self.replies.insert(id, reply);
    }

    /// Deletes a reply; a root takes its children along.
    pub(crate) fn delete(&mut self, id: u64) {
        let Some(reply) = self.replies.remove(&id) else {
            return;
        };
        if reply.root == 0 {
            self.roots.remove(&id);
            for child in self.children.remove(&id).unwrap_or_default() {
                self.replies.remove(&child);
            }
        } else if let Some(children) = self.children.get_mut(&reply.root) {
            children.remove(&id);
        }
    }

    /// Trees of replies: `roots` of them, `all` replies together. Numbers are beyond 32 bits, as the site's are.
    pub(crate) fn grow(&mut self, roots: u64, all: u64) {
        const BASE: u64 = 237_740_000_000;
        for n in 0..roots {
            self.add(BASE + n * 1000, 0, |reply| {
                if n % 5 == 0 {
                    reply.emotes = vec!["[doge]", ["[ok]", "[cat]", "[tea]"][(n % 3) as usize]];
                }
                if n % 50 == 0 {
                    reply.pictures = vec![(n % 200) as u32, 1000];
                }
            });
        }
        // A few threads are long, most are short.
        let mut next = 0;
        for n in 0..all - roots {
            let tree = if n % 10 == 0 {
                n % 7
            } else {
                next += 1;
                next % roots
            };
            let root = BASE + (tree % roots) * 1000;
            let id = root + 1 + self.children.get(&root).map_or(0, |c| c.len() as u64);
            // Long threads outgrow the numbers between two roots.
            let id = if id >= root + 1000 {
                900_000_000_000 + n
            } else {
                id
            };
            self.add(id, root, |reply| {
                if n % 4 == 0 {
                    reply.emotes = vec!["[doge]"];
                }
            });
        }
    }

    pub(super) fn roots_below(&self, before: u64) -> Vec<u64> {
        let shown = self.roots.range(..before).rev();
        let shown = shown.filter(|id| !self.pinned.contains(id));
        shown.take(PAGE).copied().collect()
    }

    pub(super) fn roots(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn children(&self, root: u64) -> Vec<u64> {
        let children = self.children.get(&root);
        children.map_or(Vec::new(), |c| c.iter().copied().collect())
    }

    pub(super) fn count_below(&self, root: u64) -> u64 {
        let there = self.children.get(&root).map_or(0, BTreeSet::len) as u64;
        there + self.counted_below.get(&root).copied().unwrap_or(0)
    }

    /// How many there are, as the site says.
    pub(crate) fn count(&self) -> u64 {
        self.replies.len() as u64 + self.counted
    }

    /// The two halves of the key that signs now.
    pub(super) fn keys(&self) -> (String, String) {
        let half = |salt: u64| {
            format!(
                "{:016x}{:016x}",
                self.rotation * 7919 + salt,
                salt * 104_729
            )
        };
        (half(3), half(5))
    }
}
