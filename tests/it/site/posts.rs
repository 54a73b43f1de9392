//! A post as the site keeps it, and how posts are invented.
//!
//! Promises: `md5` and `file_size` are true of the body after [`Post::set_body`]; a test that wants them to lie sets the
//! fields afterwards. Tags are kept sorted and unique by [`Post::retag`].

use md5::{Digest, Md5};

use super::pictures;

/// The day the first invented post was made.
pub(super) const EPOCH: i64 = 1_700_000_000;

/// One post. Keys of the JSON that can be worked out (addresses, previews, children) are not kept.
#[derive(Clone, Debug)]
pub struct Post {
    pub id: u64,
    /// Space-separated, as in the JSON.
    pub tags: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub creator_id: Option<u64>,
    pub approver_id: Option<u64>,
    pub author: String,
    pub change: u64,
    pub source: String,
    pub score: i64,
    pub md5: String,
    pub file_size: u64,
    pub ext: String,
    /// `s`, `q` or `e`.
    pub rating: char,
    pub rating_locked: bool,
    pub parent_id: Option<u64>,
    /// `active`, `pending`, `flagged` or `deleted`.
    pub status: String,
    /// The reason in `flag_detail`; prints one when set.
    pub flag_reason: Option<String>,
    pub width: u32,
    pub height: u32,
    pub held: bool,
    pub shown_in_index: bool,
    pub last_noted_at: i64,
    pub last_commented_at: i64,
    body: Vec<u8>,
}

impl Post {
    /// Invents the `nth` post of a site; `tags` are `seed`, `even`/`odd`, `mod7_N`, `artist_N`, `landscape`/`portrait`.
    pub(super) fn invented(nth: u64, id: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(0x1a2d_e200 + nth);
        let (width, height) = (rng.u32(16..64), rng.u32(16..64));
        let parity = if nth.is_multiple_of(2) { "even" } else { "odd" };
        let turn = if width > height {
            "landscape"
        } else {
            "portrait"
        };
        let created_at = EPOCH + 60 * i64::try_from(nth).expect("few posts");
        let mut post = Self {
            id,
            tags: String::new(),
            created_at,
            updated_at: created_at,
            creator_id: Some(1),
            approver_id: None,
            author: "uploader".to_owned(),
            change: 0,
            source: format!("https://source.example/works/{nth}"),
            score: rng.i64(0..50),
            md5: String::new(),
            file_size: 0,
            ext: String::new(),
            rating: rng.choice(['s', 's', 'q', 'e']).expect("not empty"),
            rating_locked: false,
            parent_id: None,
            status: "active".to_owned(),
            flag_reason: None,
            width,
            height,
            held: false,
            shown_in_index: true,
            last_noted_at: 0,
            last_commented_at: 0,
            body: Vec::new(),
        };
        post.retag(&format!(
            "seed {parity} mod7_{} artist_{} {turn}",
            nth % 7,
            nth % 3
        ));
        match nth % 3 {
            0 => post.set_body("jpg", pictures::jpeg(nth, rng.usize(600..9000))),
            _ => post.set_body("png", pictures::png(nth, width, height)),
        }
        post
    }

    /// Replaces the tags: sorted and unique, as the engine keeps them.
    pub fn retag(&mut self, tags: &str) {
        let mut list: Vec<String> = tags.split_whitespace().map(str::to_lowercase).collect();
        list.sort();
        list.dedup();
        self.tags = list.join(" ");
    }

    /// Replaces the picture; md5 and size follow.
    pub fn set_body(&mut self, ext: &str, body: Vec<u8>) {
        self.ext = ext.into();
        self.md5 = hex::encode(Md5::digest(&body));
        self.file_size = body.len() as u64;
        self.body = body;
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn delete(&mut self) {
        self.status = "deleted".into();
        self.flag_reason = Some("test deletion".to_owned());
    }

    pub fn restore(&mut self) {
        self.status = "active".into();
        self.flag_reason = None;
    }

    pub fn is_deleted(&self) -> bool {
        self.status == "deleted"
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.split(' ').any(|own| own == tag)
    }

    /// What bumps `change` when it differs; a new score does not.
    pub(super) fn tracked(&self) -> impl PartialEq + use<> {
        let Self {
            tags,
            rating,
            status,
            source,
            parent_id,
            md5,
            ..
        } = self.clone();
        (tags, rating, status, source, parent_id, md5)
    }
}
