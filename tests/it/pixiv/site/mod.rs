//! A mock pixiv for the integration tests: its web API on one port, its image host on another, with a world that tests
//! can change while it runs.
//!
//! Promises: strict where the real one is (login, Referer, no cookie on the image host, the size of a page, the token of a
//! POST), and as odd: ids as texts and as numbers, `[]` for an empty map, no message in searches, adverts among works, short
//! pages, masked works, walls, repeated pages, a 404 behind the last page of a ranking, throttling by account. What it does
//! not know it answers with 400, and every request is logged. Nothing of it is random.
#![allow(dead_code, reason = "each story uses only a part of the site")]

mod answers;
mod render;
mod wire;
mod world;

pub(super) use self::{
    wire::{Pixiv, Request},
    world::{Comment, Kind, SESSION, TOKEN, Work, World},
};
