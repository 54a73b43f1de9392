//! Where the objects are, as seen from the view, and how links lead to them.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd},
    path::{Component, Path, PathBuf},
};

use super::{
    Error,
    folder::{Found, look},
};
use crate::archive::{Archive, Digest};

/// The objects of the archive.
pub(super) struct Origin<'a> {
    archive: &'a Archive,
    folder: fs::File,
    /// Their folder, from the root of the file system.
    pub absolute: String,
    /// Their folder as seen from the view, where the two belong together.
    relative: Option<String>,
}

impl<'a> Origin<'a> {
    /// `view` is the folder of the view, resolved.
    pub(super) fn of(archive: &'a Archive, view: &Path) -> Result<Self, Error> {
        let path = archive.objects.folder();
        let real = fs::canonicalize(path).map_err(Error::io("find", path))?;
        let folder = fs::File::open(&real).map_err(Error::io("open", &real))?;
        Ok(Self {
            archive,
            folder,
            relative: relative(&real, view)
                .and_then(|path| path.into_os_string().into_string().ok()),
            absolute: real.to_string_lossy().into_owned(),
        })
    }

    /// Where an object is.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.archive.objects.path(digest)
    }

    /// What stands under an object's name.
    pub(super) fn look(&self, digest: &Digest) -> Result<Option<Found>, Error> {
        look(self.fd(), &below(digest))
            .map_err(|error| Error::io("look at", self.path(digest))(error.into()))
    }

    /// What a symbolic link at `path` says.
    pub(super) fn target(&self, path: &str, digest: &Digest) -> String {
        let object = below(digest);
        match &self.relative {
            Some(relative) => {
                let up = "../".repeat(path.matches('/').count());
                format!("{up}{relative}/{object}")
            }
            None => format!("{}/{object}", self.absolute),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// Whether a symbolic link with this target leads to an object of this name, wherever the archive was then.
pub(super) fn leads_to(target: &str, digest: &Digest) -> bool {
    let before = target.strip_suffix(&below(digest));
    before.is_some_and(|before| before.ends_with("objects/"))
}

fn below(digest: &Digest) -> String {
    let name = digest.to_string();
    format!("{}/{name}", &name[..3])
}

/// The way from `view` to `objects` when one of the archive and the view lies in the folder that the other lies in: those are
/// moved and mounted together. A way across the file system breaks sooner than an absolute one.
fn relative(objects: &Path, view: &Path) -> Option<PathBuf> {
    let archive = objects.parent()?;
    let near = |one: &Path, other: &Path| {
        one.parent()
            .filter(|folder| folder.parent().is_some())
            .is_some_and(|folder| other.starts_with(folder))
    };
    if !near(archive, view) && !near(view, archive) {
        return None;
    }
    let shared = objects
        .components()
        .zip(view.components())
        .take_while(|(one, other)| one == other)
        .count();
    let up = view.components().skip(shared).map(|_| Component::ParentDir);
    Some(up.chain(objects.components().skip(shared)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_where_archive_and_view_move_together() {
        let way = |objects: &str, view: &str| {
            let way = relative(Path::new(objects), Path::new(view));
            way.map(|way| way.to_string_lossy().into_owned())
        };
        for (objects, view, expected) in [
            (
                "/home/me/archive/objects",
                "/home/me/pics",
                Some("../archive/objects"),
            ),
            (
                "/home/me/archive/objects",
                "/home/me/archive/view",
                Some("../objects"),
            ),
            (
                "/home/me/archive/objects",
                "/home/me/pics/boorus",
                Some("../../archive/objects"),
            ),
            (
                "/home/me/larder/archive/objects",
                "/home/me/pics",
                Some("../larder/archive/objects"),
            ),
            ("/mnt/disk/archive/objects", "/home/me/pics", None),
            ("/archive/objects", "/pics", None),
        ] {
            assert_eq!(way(objects, view).as_deref(), expected, "{objects} {view}");
        }
    }

    #[test]
    fn a_link_of_ours_is_known_wherever_the_archive_was() {
        let digest = Digest::of(b"");
        let name = digest.to_string();
        assert!(leads_to(
            &format!("/old/archive/objects/e3b/{name}"),
            &digest
        ));
        assert!(leads_to(&format!("../objects/e3b/{name}"), &digest));
        assert!(!leads_to(&format!("/elsewhere/e3b/{name}"), &digest));
        assert!(!leads_to("/old/archive/objects/e3b/x", &digest));
    }
}
