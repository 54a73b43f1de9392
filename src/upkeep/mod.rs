//! Upkeep of an archive: what a person, or a timer, has done to it now and then.
//!
//! [`verify`](verify::verify) looks for damage and changes nothing in the archive; [`repair`](repair::repair) fetches what
//! is damaged anew; [`rebuild`](rebuild::rebuild) makes the database again from objects and records alone; [`gc`] removes
//! what nothing refers to. All but `verify` need the lock, and each may be killed at any moment and called again.

pub mod gc;
mod medic;
pub mod rebuild;
pub mod repair;
pub mod verify;

use std::path::PathBuf;

use crate::{archive, store};

/// Why upkeep could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A rebuild that nobody needs.
    #[error(
        "{0} is whole: nothing was done. With `--force` it is made anew all the same; walk positions, run counts and \
         failures are forgotten"
    )]
    Healthy(PathBuf),
    /// A collection that does not know well enough what refers to what.
    #[error("nothing is removed: {0}")]
    Unsure(String),
    /// No request can be made at all.
    #[error("{0}")]
    Http(String),
    /// Work off the async threads has ended in a panic.
    #[error("part of the work panicked: {0}")]
    Panicked(String),
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Panicked(error.to_string())
    }
}
