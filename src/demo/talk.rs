//! Comments and notes of the sample site: who says what about which post.

use super::{
    catalogue::{Catalogue, author},
    dice::Dice,
};

/// Posts with comments, and how many.
const COMMENTED: [(u64, u64); 6] = [
    (1004, 1),
    (1058, 3),
    (1121, 2),
    (1190, 1),
    (1244, 2),
    (1311, 3),
];
/// Posts with notes, and how many; a second one is a removed note.
const NOTED: [(u64, u64); 3] = [(1031, 1), (1121, 2), (1275, 1)];
const REMARKS: [&str; 6] = [
    "The light is lovely here.",
    "I walked there last spring, and the birches were still small.",
    "Schöne Hügel! 美しい丘。",
    "Which river is this?",
    "A fine one for the wall.",
    "The far hills look like waves.",
];

pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) post: u64,
    pub(super) created: i64,
    pub(super) author: usize,
    pub(super) body: &'static str,
}

pub(super) struct Note {
    pub(super) id: u64,
    pub(super) post: u64,
    pub(super) created: i64,
    pub(super) active: bool,
    pub(super) body: &'static str,
}

/// Adds comments and notes to a catalogue, and their times to its posts.
pub(super) fn add(to: &mut Catalogue, dice: &mut Dice) {
    for (post, count) in COMMENTED {
        for number in 0..count {
            let (id, body) = (
                to.comments.len() as u64 + 1,
                REMARKS[dice.pick(0..REMARKS.len() as u32) as usize],
            );
            let target = to.post_mut(post);
            let created = target.created + 5400 * (number.cast_signed() + 1);
            target.last_commented = created;
            let author = author(dice);
            to.comments.push(Comment {
                id,
                post,
                created,
                author,
                body,
            });
        }
    }
    for (post, count) in NOTED {
        for number in 0..count {
            let id = to.notes.len() as u64 + 1;
            let target = to.post_mut(post);
            let created = target.created + 9000 * (number.cast_signed() + 1);
            target.last_noted = created;
            let (active, body) = if number == 0 {
                (true, "The <b>far</b> hill.")
            } else {
                (false, "A removed note.")
            };
            to.notes.push(Note {
                id,
                post,
                created,
                active,
                body,
            });
        }
    }
}
