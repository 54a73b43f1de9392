//! What the site knows: posts, comments, notes, pools, tags and the one account; what people write is in [`Lore`].
//!
//! Promises: posts are sorted by id; change numbers and times only grow; a tag keeps its id once it was seen.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    lore::{Lore, NoteVersion},
    posts::{EPOCH, Post},
    render,
};

/// Which build of the engine the site plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// yande.re: 44 keys a post, as recorded; file names start with `yande.re`.
    New,
    /// konachan: 36 keys a post, as recorded; file names start with `Konachan.com -`.
    Old,
}

/// What a perfect archive of the site would hold of one post.
#[derive(Clone, Debug)]
pub struct Truth {
    pub id: u64,
    pub md5: String,
    pub sha256: String,
    pub bytes: Vec<u8>,
    /// Where the file is now; for a deleted post, where it was.
    pub url: String,
    pub deleted: bool,
    pub tags: String,
}

#[derive(Clone, Debug)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) post_id: u64,
    pub(super) created_at: i64,
    pub(super) body: String,
}

#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) post_id: u64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) active: bool,
    pub(super) body: String,
    pub(super) version: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) created_at: i64,
    pub(super) posts: Vec<u64>,
}

/// The site's contents and the rules it applies.
pub(super) struct World {
    pub(super) profile: Profile,
    /// `http://127.0.0.1:PORT`.
    pub(super) base: String,
    pub(super) posts: Vec<Post>,
    pub(super) comments: Vec<Comment>,
    pub(super) notes: Vec<Note>,
    pub(super) pools: Vec<Pool>,
    pub(super) lore: Lore,
    /// In order of first sight: a tag's id is its place plus one.
    pub(super) tags: Vec<String>,
    pub(super) tag_types: BTreeMap<String, u8>,
    pub(super) salt: Option<String>,
    pub(super) account: (String, String),
    pub(super) require_login: bool,
    pub(super) browsers_only: bool,
    pub(super) burst: Option<usize>,
    /// What every ETag ends in.
    pub(super) etag_end: String,
    pub(super) weak_etags: bool,
    invented: u64,
    changes: u64,
    clock: i64,
}

impl World {
    pub(super) fn new() -> Self {
        let typed = |(name, kind): (&str, u8)| (name.to_owned(), kind);
        let artists = [("artist_0", 1), ("artist_1", 1), ("artist_2", 1)];
        Self {
            profile: Profile::New,
            base: String::new(),
            posts: Vec::new(),
            comments: Vec::new(),
            notes: Vec::new(),
            pools: Vec::new(),
            lore: Lore::new(),
            tags: Vec::new(),
            tag_types: artists.map(typed).into(),
            salt: None,
            account: ("reader".to_owned(), "your-password".to_owned()),
            require_login: false,
            browsers_only: false,
            burst: None,
            etag_end: String::new(),
            weak_etags: false,
            invented: 0,
            changes: 0,
            clock: EPOCH + 1_000_000,
        }
    }

    /// Adds an invented post at the top, one to three ids above the last, and lets `alter` change it.
    pub(super) fn add(&mut self, alter: impl FnOnce(&mut Post)) -> u64 {
        let nth = self.invented;
        self.invented += 1;
        let top = self.posts.last().map_or(100, |post| post.id);
        let mut post = Post::invented(nth, top + 1 + (nth * 7) % 3);
        self.changes += 2;
        post.change = self.changes;
        alter(&mut post);
        let (id, tags) = (post.id, post.tags.clone());
        let place = self.posts.partition_point(|other| other.id < id);
        assert!(
            self.posts.get(place).is_none_or(|other| other.id != id),
            "post {id} exists: alter it instead"
        );
        self.posts.insert(place, post);
        self.learn(&tags);
        id
    }

    /// Changes a post; new tags, rating, status, source, parent or picture move it to the end of the change feed.
    pub(super) fn edit(&mut self, id: u64, change: impl FnOnce(&mut Post)) {
        let now = self.tick();
        let next = self.changes + 1;
        let post = self.posts.iter_mut().find(|post| post.id == id);
        let post = post.unwrap_or_else(|| panic!("there is no post {id}"));
        let before = post.tracked();
        change(post);
        assert_eq!(post.id, id, "a post keeps its id");
        let tags = post.tags.clone();
        if before != post.tracked() {
            post.change = next;
            post.updated_at = now;
            self.changes = next;
        }
        self.learn(&tags);
    }

    /// Shows every post to `change`, as if it had always been so.
    pub(super) fn each(&mut self, change: impl FnMut(&mut Post)) {
        self.posts.iter_mut().for_each(change);
        let tags: Vec<String> = self.posts.iter().map(|post| post.tags.clone()).collect();
        for tags in &tags {
            self.learn(tags);
        }
    }

    pub(super) fn comment(&mut self, post_id: u64, count: usize) {
        for _ in 0..count {
            let id = self.comments.len() as u64 + 1;
            let created_at = self.tick();
            self.edit(post_id, |post| post.last_commented_at = created_at);
            let body = format!("Remark {id} about post {post_id}, with ümlauts and 日本語.");
            self.comments.push(Comment {
                id,
                post_id,
                created_at,
                body,
            });
        }
    }

    /// Adds notes to a post; the last of two or more is a removed one.
    pub(super) fn note(&mut self, post_id: u64, count: usize) {
        for nth in 0..count {
            let id = self.notes.len() as u64 + 1;
            let created_at = self.tick();
            self.edit(post_id, |post| post.last_noted_at = created_at);
            let active = count < 2 || nth + 1 < count;
            let body = format!("Note {id}, <b>bold</b>.");
            self.notes.push(Note {
                id,
                post_id,
                created_at,
                updated_at: created_at,
                active,
                body,
                version: 0,
            });
            self.keep_version(id);
        }
    }

    /// Writes a note anew: its next version.
    pub(super) fn rewrite_note(&mut self, id: u64, body: &str) {
        let now = self.tick();
        let note = self.notes.iter_mut().find(|note| note.id == id);
        let note = note.unwrap_or_else(|| panic!("there is no note {id}"));
        (note.updated_at, note.body) = (now, body.to_owned());
        let post = note.post_id;
        self.edit(post, |post| post.last_noted_at = now);
        self.keep_version(id);
    }

    fn keep_version(&mut self, id: u64) {
        let note = self.notes.iter_mut().find(|note| note.id == id);
        let note = note.expect("made or found by the caller");
        note.version += 1;
        self.lore.note_versions.push(NoteVersion::of(note));
    }

    pub(super) fn pool(&mut self, id: u64, name: &str, posts: &[u64]) {
        let created_at = self.tick();
        let (name, posts) = (name.replace(' ', "_"), posts.to_vec());
        self.pools.retain(|pool| pool.id != id);
        self.pools.push(Pool {
            id,
            name,
            created_at,
            posts,
        });
    }

    pub(super) fn find(&self, id: u64) -> Option<&Post> {
        self.posts.iter().find(|post| post.id == id)
    }

    pub(super) fn truth(&self) -> Vec<Truth> {
        let truth = |post: &Post| Truth {
            id: post.id,
            md5: post.md5.clone(),
            sha256: hex::encode(Sha256::digest(post.body())),
            bytes: post.body().to_vec(),
            url: render::file_url(self, post),
            deleted: post.is_deleted(),
            tags: post.tags.clone(),
        };
        self.posts.iter().map(truth).collect()
    }

    /// The time of the next event.
    pub(super) fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// The time on the site's clock.
    pub(super) fn now(&self) -> i64 {
        self.clock
    }

    fn learn(&mut self, tags: &str) {
        for tag in tags.split_whitespace() {
            if !self.tags.iter().any(|known| known == tag) {
                self.tags.push(tag.to_owned());
            }
        }
    }
}
