//! The survey: which of the files that a view has made are still there, and still its own.
//!
//! **Invariant:** a file counts as the view's own only if it is what the view made: the same inode, a link to the object, or
//! the very bytes. Whatever else stands at a path of the view is somebody's, and is left alone.

use std::io::Read;

use super::{
    Error,
    folder::{Folder, Found, Stamp},
    manifest::{Content, Entry, Made},
    origin::{Origin, leads_to},
};
use crate::archive::Digest;

/// How a file of the view stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it should be.
    Good(Option<Stamp>),
    /// The view's own, but to be made again: it does not share the object's bytes any more.
    Stale,
    /// Nothing is there, or something of somebody else's.
    Gone,
}

/// Looks at one file of the view.
pub(super) fn survey(
    folder: &Folder,
    origin: &Origin<'_>,
    entry: &Entry,
) -> Result<Standing, Error> {
    let found = folder.look(&entry.path)?;
    match (entry.content, found) {
        (Content::Object(digest), Some(Found::Link)) if entry.made == Made::Symbolic => {
            let target = folder.target(&entry.path)?.unwrap_or_default();
            if target == origin.target(&entry.path, &digest) {
                return Ok(Standing::Good(None));
            }
            Ok(if leads_to(&target, &digest) {
                Standing::Stale
            } else {
                Standing::Gone
            })
        }
        (Content::Object(digest), Some(Found::File { device, stamp }))
            if entry.made == Made::Hard =>
        {
            let same = entry.stamp == Some(stamp);
            match origin.look(&digest)? {
                Some(Found::File {
                    device: other,
                    stamp: object,
                }) => {
                    if (device, stamp.ino) == (other, object.ino) {
                        return Ok(Standing::Good(Some(stamp)));
                    }
                    // The object was repaired since, or the view copied to another disk.
                    let own = same
                        || (stamp.bytes == object.bytes && holds(folder, &entry.path, &digest)?);
                    Ok(if own { Standing::Stale } else { Standing::Gone })
                }
                // The object is lost, and this the last that is left of it.
                _ if same => Ok(Standing::Good(Some(stamp))),
                _ => Ok(Standing::Gone),
            }
        }
        (content, Some(Found::File { stamp, .. }))
            if matches!(entry.made, Made::Reflink | Made::Sidecar) =>
        {
            let own = entry.stamp == Some(stamp)
                || match content {
                    Content::Object(digest) => holds(folder, &entry.path, &digest)?,
                    Content::Json(hash) => digest(folder, &entry.path)?
                        .is_some_and(|found| found.as_bytes().starts_with(&hash)),
                };
            Ok(if own {
                Standing::Good(Some(stamp))
            } else {
                Standing::Gone
            })
        }
        _ => Ok(Standing::Gone),
    }
}

/// Whether a file of the view holds the bytes of an object, so that nothing is lost with it.
fn holds(folder: &Folder, path: &str, object: &Digest) -> Result<bool, Error> {
    Ok(digest(folder, path)?.as_ref() == Some(object))
}

fn digest(folder: &Folder, path: &str) -> Result<Option<Digest>, Error> {
    use sha2::Digest as _;
    let Some(mut file) = folder.read(path)? else {
        return Ok(None);
    };
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok(Some(Digest::new(hash.finalize().into())));
        }
        hash.update(&buffer[..read]);
    }
}
