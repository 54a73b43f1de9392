//! The invented posts of the sample site: what is painted, how it is tagged, what repeats, what is gone.
//!
//! Made from constants alone, so that every start on every machine gives the same catalogue, byte for byte.

use std::{collections::HashMap, sync::OnceLock};

use bytes::Bytes;
use md5::{Digest, Md5};

use super::{
    dice::Dice,
    picture::Scene,
    talk::{self, Comment, Note},
};

const SEED: u64 = 0x1a2d_e200;
const POSTS: u64 = 320;
const FIRST_ID: u64 = 1001;
/// Every 13th post repeats the bytes of an earlier one: 24 of 320.
const REPEAT_EVERY: u64 = 13;
pub(super) const DELETED_ID: u64 = 1250;
pub(super) const MISSING_ID: u64 = 1137;
/// 2026-01-01, the time of the first post.
pub(super) const EPOCH: i64 = 1_767_225_600;

const MOODS: [&str; 14] = [
    "calm",
    "clouds",
    "fern",
    "fog",
    "frost",
    "heather",
    "horizon",
    "meadowsweet",
    "moss",
    "path",
    "reflection",
    "silence",
    "valley",
    "wind",
];
pub(super) const PEOPLE: [&str; 4] = ["alder", "hazel", "rowan", "willow"];
pub(super) const POOLS: [(&str, &str, [u64; 6]); 2] = [
    (
        "along_the_river",
        "A walk from the spring to the sea.",
        [1017, 1031, 1032, 1121, 1122, 1200],
    ),
    (
        "quiet_hills",
        "Six pictures for a quiet evening.",
        [1005, 1058, 1121, 1190, 1244, 1318],
    ),
];

pub(super) struct Post {
    pub(super) id: u64,
    pub(super) tags: Vec<&'static str>,
    pub(super) created: i64,
    pub(super) author: usize,
    pub(super) score: u32,
    pub(super) rating: char,
    pub(super) md5: String,
    pub(super) file_size: usize,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) deleted: bool,
    pub(super) parent: Option<u64>,
    pub(super) has_children: bool,
    pub(super) last_noted: i64,
    pub(super) last_commented: i64,
}

/// Everything the site shows. **Invariant:** `posts` ascend by id, without gaps from [`FIRST_ID`].
pub(super) struct Catalogue {
    pub(super) posts: Vec<Post>,
    /// Files that the server has, by MD5.
    pub(super) files: HashMap<String, Bytes>,
    pub(super) comments: Vec<Comment>,
    pub(super) notes: Vec<Note>,
}

impl Catalogue {
    /// The catalogue, made by the first caller; takes a moment, so not on an async thread.
    pub(super) fn get() -> &'static Self {
        static MADE: OnceLock<Catalogue> = OnceLock::new();
        MADE.get_or_init(Self::make)
    }

    /// Paints and tags everything.
    fn make() -> Self {
        let mut made = Self {
            posts: Vec::new(),
            files: HashMap::new(),
            comments: Vec::new(),
            notes: Vec::new(),
        };
        let mut dice = Dice::new(SEED);
        for index in 0..POSTS {
            if index % REPEAT_EVERY == REPEAT_EVERY - 1 {
                made.repeat(index, &mut dice);
            } else {
                made.paint(index, &mut dice);
            }
        }
        talk::add(&mut made, &mut dice);
        made
    }

    /// Adds a post with a picture of its own.
    fn paint(&mut self, index: u64, dice: &mut Dice) {
        let id = FIRST_ID + index;
        let scene = Scene::new(SEED ^ id);
        let bytes = Bytes::from(scene.png());
        let md5 = hex::encode(Md5::digest(&bytes));
        self.posts.push(Post {
            id,
            tags: tags(&scene, dice),
            created: posted(index, dice),
            author: author(dice),
            score: dice.pick(0..60),
            rating: if dice.chance(94) { 's' } else { 'q' },
            file_size: bytes.len(),
            width: scene.width,
            height: scene.height,
            md5: md5.clone(),
            deleted: id == DELETED_ID,
            parent: None,
            has_children: false,
            last_noted: 0,
            last_commented: 0,
        });
        if id != DELETED_ID && id != MISSING_ID {
            self.files.insert(md5, bytes);
        }
    }

    /// Adds a post with the bytes of an earlier one, whose child it is; its time and tags are its own.
    fn repeat(&mut self, index: u64, dice: &mut Dice) {
        let original = loop {
            let at = dice.pick(0..index as u32) as usize;
            let post = &self.posts[at];
            if post.parent.is_none() && !post.has_children && self.files.contains_key(&post.md5) {
                break at;
            }
        };
        let original = &mut self.posts[original];
        original.has_children = true;
        let scene = Scene::new(SEED ^ original.id);
        let post = Post {
            id: FIRST_ID + index,
            tags: tags(&scene, dice),
            created: posted(index, dice),
            author: author(dice),
            score: dice.pick(0..20),
            md5: original.md5.clone(),
            parent: Some(original.id),
            has_children: false,
            ..*original
        };
        self.posts.push(post);
    }

    pub(super) fn post_mut(&mut self, id: u64) -> &mut Post {
        &mut self.posts[(id - FIRST_ID) as usize]
    }
}

/// A time in the two hours that belong to a post.
fn posted(index: u64, dice: &mut Dice) -> i64 {
    EPOCH + index.cast_signed() * 7200 + i64::from(dice.pick(0..3600))
}

/// A place in [`PEOPLE`].
pub(super) fn author(dice: &mut Dice) -> usize {
    dice.pick(0..PEOPLE.len() as u32) as usize
}

/// What the picture shows, and one to three moods; sorted, as the engine lists them.
fn tags(scene: &Scene, dice: &mut Dice) -> Vec<&'static str> {
    let mut tags = scene.tags();
    for _ in 0..dice.pick(1..4) {
        tags.push(MOODS[dice.pick(0..MOODS.len() as u32) as usize]);
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io};

    use super::*;

    /// MD5 of the MD5s of all posts, a line each. If it changes, so does every demo archive: the pictures or the `png`
    /// crate's output changed.
    const CATALOGUE_MD5: &str = "e60b4ad9f61dcd35eb17e096bdf36eea";

    #[test]
    fn catalogue_is_the_same_everywhere() {
        let again = Catalogue::make();
        let list = |made: &Catalogue| {
            made.posts
                .iter()
                .map(|post| post.md5.clone())
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(list(&again), list(Catalogue::get()));
        assert_eq!(hex::encode(Md5::digest(list(&again))), CATALOGUE_MD5);
    }

    #[test]
    fn counts_are_as_promised() {
        let made = Catalogue::get();
        assert_eq!(made.posts.len(), 320);
        assert!(
            made.posts
                .iter()
                .zip(FIRST_ID..)
                .all(|(post, id)| post.id == id)
        );
        let unique: HashSet<_> = made.posts.iter().map(|post| &post.md5).collect();
        assert_eq!(made.posts.len() - unique.len(), 24, "repeats");
        assert_eq!(
            made.posts
                .iter()
                .filter(|post| post.parent.is_some())
                .count(),
            24,
            "repeats"
        );
        assert_eq!(made.posts.iter().filter(|post| post.deleted).count(), 1);
        let missing = made
            .posts
            .iter()
            .filter(|post| !post.deleted && !made.files.contains_key(&post.md5));
        assert_eq!(
            missing.map(|post| post.id).collect::<Vec<_>>(),
            [MISSING_ID]
        );
        assert_eq!(
            made.posts
                .iter()
                .filter(|post| post.last_commented > 0)
                .count(),
            6
        );
        assert_eq!(
            made.posts.iter().filter(|post| post.last_noted > 0).count(),
            3
        );
        assert!(
            made.posts.iter().filter(|post| post.rating == 's').count() > 280,
            "mostly s"
        );
    }

    #[test]
    fn every_picture_decodes() {
        for post in &Catalogue::get().posts {
            let Some(bytes) = Catalogue::get().files.get(&post.md5) else {
                continue;
            };
            assert_eq!(bytes.len(), post.file_size);
            let mut reader = png::Decoder::new(io::Cursor::new(bytes))
                .read_info()
                .unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let frame = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((frame.width, frame.height), (post.width, post.height));
        }
    }
}
