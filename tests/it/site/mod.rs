//! A mock Moebooru site for the integration tests: the engine of yande.re ([`Profile::New`]) or the older build of
//! konachan ([`Profile::Old`]), on a port of its own, with a world that tests can change while it runs.
//!
//! Promises: listings, search grammar, key order and JSON types follow recordings of the real engine; every picture is
//! real enough that its md5 and size are true; every request is logged in order of arrival; a scripted [`Fault`]
//! happens on the wire exactly as named. Everything generated is deterministic: two sites built alike are alike.
//!
//! Leaves out: votes, and what writes would change.
#![allow(dead_code, reason = "each story uses only a part of the site")]
#![allow(
    unreachable_pub,
    reason = "`pub` marks the face that the stories may use"
)]

mod booru;
pub mod client;
mod extras;
mod faults;
mod log;
mod lore;
mod pages;
mod pictures;
mod popular;
mod posts;
mod query;
mod render;
mod search;
#[cfg(test)]
mod tests;
mod wire;
mod world;

#[allow(
    unused_imports,
    reason = "the site's whole public face, for the stories to pick from"
)]
pub use self::{
    booru::{Booru, BooruBuilder},
    faults::{Fault, What},
    log::Request,
    posts::Post,
    world::{Profile, Truth},
};
