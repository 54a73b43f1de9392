//! What the site knows, and how it misbehaves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Request;

/// The reader whose bookmarks and feeds these are.
pub(crate) const READER: u64 = 4710;
/// The cookie of the reader, and the token that goes with it.
pub(crate) const SESSION: &str = "4710_TheSecretOfTheReader";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Illust = 0,
    Manga = 1,
    Ugoira = 2,
}

#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub id: u64,
    pub user: u64,
    pub kind: Kind,
    pub pages: usize,
    pub title: String,
    pub tags: Vec<String>,
    /// Day of its upload in November 2023.
    pub day: u32,
    /// Counts up with every new upload: its addresses change.
    pub version: u32,
    /// For adults: no addresses without a login.
    pub adult: bool,
    /// Deleted, or hidden: a list still counts it, and says nothing else.
    pub masked: bool,
    /// A list counts it, and does not show it.
    pub hidden: bool,
    pub comments: Vec<Comment>,
}

impl Work {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            user: 4711,
            kind: Kind::Illust,
            pages: 1,
            title: format!("夏の丘 {id}"),
            tags: vec!["水彩".to_owned(), "heath".to_owned()],
            day: 14,
            version: 1,
            adult: false,
            masked: false,
            hidden: false,
            comments: Vec::new(),
        }
    }

    /// The bytes of a page, or of the zip of frames.
    pub(crate) fn bytes(&self, page: usize) -> Vec<u8> {
        let Self { id, version, .. } = self;
        let text = format!("bytes of {id} p{page}, upload {version}");
        let (head, tail): (&[u8], &[u8]) = match (self.kind, page % 3) {
            (Kind::Ugoira, _) => (
                b"PK\x03\x04\n",
                b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
            (_, 1) => (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
            _ => (b"\xff\xd8\xff\xe0", b"\xff\xd9"),
        };
        [head, text.as_bytes(), tail].concat()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Comment {
    pub id: u64,
    pub text: String,
    pub replies: Vec<(u64, String)>,
}

/// Called before a request of the API is answered.
pub(crate) type Hook = Box<dyn FnMut(&mut World, &Request) + Send>;

#[derive(Default)]
pub(crate) struct World {
    pub works: BTreeMap<u64, Work>,
    /// Newest first.
    pub bookmarks: Vec<u64>,
    /// Of the reader's bookmarks with a tag of the reader's.
    pub tagged: BTreeMap<String, Vec<u64>>,
    pub private_bookmarks: Vec<u64>,
    pub follows: Vec<u64>,
    /// Series that the reader watches.
    pub watched: Vec<u64>,
    /// Series: the artist, and the works in order.
    pub series: BTreeMap<u64, (u64, Vec<u64>)>,
    pub feed: Vec<u64>,
    pub ranked: Vec<u64>,
    /// Whether the reader's settings show works for adults.
    pub adults: bool,
    /// The cookie that is good now.
    pub session: String,
    /// Statuses with which the next requests of the API are answered, and their `Retry-After`.
    pub refuse: VecDeque<u16>,
    /// Requests of the API after which all are answered with 429, for this many more.
    pub burst: Option<(usize, usize)>,
    /// Pages of 60 that a search shows; its last comes again behind it.
    pub search_wall: usize,
    /// Replies of searches that throttling makes empty.
    pub search_zeros: usize,
    /// Pages of 60 that the feed shows.
    pub feed_wall: usize,
    /// Works whose pages cannot be had just now.
    pub ill: BTreeSet<u64>,
    pub hook: Option<Hook>,
    /// What the actions did.
    pub done: Vec<serde_json::Value>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            adults: true,
            session: SESSION.to_owned(),
            search_wall: 1000,
            feed_wall: 100,
            ..Self::default()
        }
    }

    /// Adds a work as `change` makes it.
    pub(crate) fn work(&mut self, id: u64, change: impl FnOnce(&mut Work)) -> &mut Self {
        let mut work = Work::new(id);
        change(&mut work);
        self.works.insert(id, work);
        self
    }

    /// Adds a work and bookmarks it.
    pub(crate) fn bookmark(&mut self, id: u64, change: impl FnOnce(&mut Work)) -> &mut Self {
        self.work(id, change);
        self.bookmarks.insert(0, id);
        self
    }

    pub(crate) fn change(&mut self, id: u64, change: impl FnOnce(&mut Work)) {
        change(self.works.get_mut(&id).expect("a work of this site"));
    }
}
