//! Dialects: how one kind of site software talks, as data.
//!
//! A dialect is a TOML file of RFC 6570 request templates and jq reply filters. This room compiles them once, turns a
//! job's parameters into requests and a reply into items in larder's normal form. Pure: no I/O, no clock.

mod action;
mod ask;
mod catalog;
mod dates;
mod definition;
mod endpoint;
mod filter;
mod hooks;
mod item;
mod json;
mod keys;
mod matching;
mod paging;
mod params;
mod pattern;
mod prelude;
mod reading;
mod reply;
mod request;
mod rest;
mod watch;

#[cfg(test)]
mod fuzz_tests;

pub use action::{Action, Session};

pub use catalog::Catalog;
pub use dates::{Dates, MOST_DAYS};
pub use definition::{Dialect, Preset, PresetLimits};
pub use endpoint::{Census, Endpoint, EndpointKind, NotFound};
pub use filter::{Filter, FilterError, Predicate};
pub use hooks::{Decode, Login, Sign};
pub use item::{Author, FileRef, Follow, Item, Parent};
pub use json::pretty;
pub use keys::Keys;
pub use matching::{NoMatch, Recognised};
pub use paging::{By, Cursor, Paging, Position, Shown, Step, is_short};
pub use params::{Param, ParamKind, Value, Values};
pub use reply::{Asked, Entry, Gone, Page, ReplyError};
pub use request::Request;
pub use rest::{Quiet, Throttle};
