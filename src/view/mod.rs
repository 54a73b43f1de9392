//! The view: a tree of links with human names, made from the archive and kept up to date with it.
//!
//! A view is a folder of its own. Nothing in it is ever needed: it can be thrown away and made again. What larder made there
//! stands in its manifest; whatever else is there is never touched. A view is made while another larder writes the archive:
//! it reads what the database has committed. The way of an update:
//!
//! 1. `survey` looks at each file that the manifest names. If all stand, and nothing that decides how the view looks has
//!    changed since, that was all.
//! 2. `gather` reads the newest record of each item; `template` and `name` make a safe name for each of its files.
//! 3. `naming` gives each file a name of its own, the one that it had before if it can.
//! 4. `update` writes the manifest with all that will be made, removes what is not wanted any more, makes what is missing
//!    (`folder`, `origin`, `sidecar`), and writes the manifest as it is then. A kill in between costs nothing: the next
//!    update knows what was made.

mod fields;
mod folder;
mod gather;
mod manifest;
mod media;
mod name;
mod naming;
mod origin;
mod record;
mod sidecar;
mod survey;
mod template;
mod update;
mod work;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use template::{NotATemplate, Template};
pub use update::update;

use crate::{archive, store};

/// How files of the view share the bytes of objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// Hard links where the file system allows, else symbolic ones.
    #[default]
    Auto,
    /// Hard links: a second name of the same file.
    Hard,
    /// Symbolic links.
    Symbolic,
    /// Copies that share their blocks until somebody changes them, on file systems that can (Btrfs, XFS, bcachefs).
    Reflink,
}

/// What a view shows, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Items of these jobs; of all when empty.
    pub jobs: Vec<String>,
    /// Only items that this question finds.
    pub find: Option<String>,
    /// What files are called.
    pub name: Template,
    /// How they share the bytes.
    pub link: Link,
    /// Whether each has a JSON file beside it.
    pub sidecar: bool,
}

/// What an update did with files of one sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Made.
    pub made: u64,
    /// Left as they were.
    pub kept: u64,
    /// Called otherwise now.
    pub renamed: u64,
    /// Made again under the same name, because what they show has changed.
    pub replaced: u64,
    /// Removed.
    pub removed: u64,
}

impl Counts {
    /// Files that stand now.
    pub fn standing(&self) -> u64 {
        self.made + self.kept + self.renamed + self.replaced
    }
}

/// What an update did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// As what the view is made.
    pub options: Options,
    /// Links to objects.
    pub files: Counts,
    /// Sidecars.
    pub sidecars: Counts,
    /// Files that records name and the archive does not hold: they could not be had.
    pub unheld: u64,
    /// Objects that are gone from the disk: the archive is damaged.
    pub lost: u64,
    /// Files that were not made because something else stands there.
    pub in_the_way: u64,
    /// Records that do not read as such.
    pub damaged: u64,
}

/// What an update is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Looking at what is there.
    Look,
    /// Reading records.
    Read,
    /// Making links.
    Make,
}

/// Told how many of how many are done, now and then.
pub type Watch<'a> = &'a mut dyn FnMut(Step, u64, u64);

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("could not {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, such as `make`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The folder, or a way of linking, cannot be taken; nothing was touched.
    #[error("{0}")]
    Refused(String),
    /// Another larder works on this view.
    #[error("another larder is making the view {path} just now", path = .0.display())]
    Busy(PathBuf),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Its database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { what, path, source }
    }
}
