//! The work of an update: names for all that should stand, the difference to what stands, and the making of it.
//!
//! Before anything is touched the manifest names all that stands and all that will. Then what is not wanted goes, what is
//! missing is made, and what shows something else now is replaced in one step.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
};

use rustix::io::Errno;

use super::{
    Counts, Error, Link, Report, Step, Watch,
    folder::{Folder, Found, Make},
    gather::{Gathered, sidecar_of},
    manifest::{Content, Entry, Head, Made, Manifest},
    naming::{Ground, Want, add_folders, assign, join},
    origin::Origin,
    survey::Standing,
};
use crate::{archive::Lines, text::one_line};

/// What is in the way is named so often at most.
const NAMED: u64 = 5;

/// What an update works with once it knows that there is something to do.
pub(super) struct Work<'a> {
    pub folder: Folder,
    pub origin: Origin<'a>,
    pub lines: Lines,
    /// How files were called, by what they stand for.
    pub names: HashMap<u128, String>,
    /// Files that are the view's own, by path.
    pub have: HashMap<Box<str>, (Entry, Standing)>,
    /// Folders that the view has made.
    pub folders: BTreeSet<String>,
    pub report: Report,
}

/// A file that should stand.
struct Target {
    entry: Entry,
    /// The record of which its sidecar is made.
    source: (u64, u32),
    state: State,
}

/// What an update has to do about a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Stands,
    Missing,
    /// Something else of the view's own stands there.
    Changed,
}

impl Ground for Work<'_> {
    fn takes_folder(&self, path: &str) -> Result<bool, Error> {
        Ok(matches!(
            self.folder.look(path)?,
            None | Some(Found::Folder)
        ))
    }

    fn takes_file(&self, path: &str) -> Result<bool, Error> {
        Ok(self.have.contains_key(path) || self.folder.look(path)?.is_none())
    }
}

impl Work<'_> {
    /// Makes the view show what was found, and nothing else.
    pub(super) fn go(
        mut self,
        found: Gathered,
        mut head: Head,
        watch: Watch<'_>,
    ) -> Result<Report, Error> {
        self.report.unheld = found.unheld;
        self.report.damaged = found.damaged;
        let targets = self.targets(found.wants)?;
        let obsolete = self.obsolete(&targets);
        let needed = self.note_folders(&targets)?;
        if !obsolete.is_empty() || targets.iter().any(|target| target.state != State::Stands) {
            let planned = targets.iter().map(|target| &target.entry);
            let planned: Vec<&Entry> = planned
                .chain(self.have.values().map(|(entry, _)| entry))
                .collect();
            let mut plan = head.clone();
            plan.basis = None;
            Manifest::save(&self.folder, plan, &self.folders, planned.into_iter())?;
        }
        let leaving = self.remove(obsolete)?;
        let standing = self.make_all(targets, &leaving, watch)?;
        self.remove_folders(&needed)?;
        if self.report.lost + self.report.in_the_way + self.report.damaged > 0 {
            // The next update tries again what this one could not make.
            head.basis = None;
        }
        Manifest::save(&self.folder, head, &self.folders, standing.iter())?;
        Ok(self.report)
    }

    /// All that should stand, in the order of its paths.
    fn targets(&self, mut wants: Vec<Want>) -> Result<Vec<Target>, Error> {
        assign(&mut wants, &self.names, self)?;
        let made = self.way_of_linking(&wants)?;
        let mut targets = Vec::with_capacity(wants.len());
        for want in wants {
            let path = join(&want.folder, &want.file);
            if let Some(hash) = want.sidecar {
                let path = format!("{path}.json");
                targets.push(self.target(
                    path,
                    want.key | 1,
                    Content::Json(hash),
                    Made::Sidecar,
                    want.source,
                ));
            }
            if let Some(digest) = want.object {
                targets.push(self.target(
                    path,
                    want.key,
                    Content::Object(digest),
                    made,
                    want.source,
                ));
            }
        }
        targets.sort_unstable_by(|one, other| one.entry.path.cmp(&other.entry.path));
        Ok(targets)
    }

    fn target(
        &self,
        path: String,
        key: u128,
        content: Content,
        made: Made,
        source: (u64, u32),
    ) -> Target {
        let mut entry = Entry {
            path: path.into(),
            key,
            content,
            made,
            stamp: None,
        };
        let state = match self.have.get(&entry.path) {
            None => State::Missing,
            Some((old, Standing::Good(stamp))) if (old.content, old.made) == (content, made) => {
                entry.stamp = *stamp;
                State::Stands
            }
            Some(_) => State::Changed,
        };
        Target {
            entry,
            source,
            state,
        }
    }

    /// Files of the view's own that it does not want any more, in the order of their paths.
    fn obsolete(&self, targets: &[Target]) -> Vec<Entry> {
        let wanted: HashSet<&str> = targets
            .iter()
            .map(|target| target.entry.path.as_ref())
            .collect();
        let entries = self.have.values().map(|(entry, _)| entry);
        let mut obsolete: Vec<_> = entries
            .filter(|entry| !wanted.contains(entry.path.as_ref()))
            .cloned()
            .collect();
        obsolete.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        obsolete
    }

    /// Notes the folders that will have to be made as the view's own. Returns all that it needs.
    fn note_folders(&mut self, targets: &[Target]) -> Result<BTreeSet<String>, Error> {
        let mut needed = BTreeSet::new();
        for target in targets {
            add_folders(&target.entry.path, &mut needed);
        }
        for folder in &needed {
            if !self.folders.contains(folder) && self.folder.look(folder)?.is_none() {
                self.folders.insert(folder.clone());
            }
        }
        Ok(needed)
    }

    /// Removes files. Returns what they stood for and what they held.
    fn remove(&mut self, obsolete: Vec<Entry>) -> Result<HashMap<u128, Content>, Error> {
        let mut leaving = HashMap::new();
        for entry in obsolete {
            self.folder.remove(&entry.path)?;
            counts(&mut self.report, entry.made).removed += 1;
            leaving.insert(entry.key, entry.content);
        }
        Ok(leaving)
    }

    /// Removes the folders that were the view's own and are empty now.
    fn remove_folders(&mut self, needed: &BTreeSet<String>) -> Result<(), Error> {
        let unneeded: Vec<_> = self.folders.difference(needed).cloned().collect();
        // What lies deeper comes later.
        for folder in unneeded.iter().rev() {
            let is_folder = self.folder.look(folder)? == Some(Found::Folder);
            if !is_folder || self.folder.remove_folder(folder)? {
                self.folders.remove(folder);
            }
        }
        Ok(())
    }

    /// Makes what does not stand yet. Returns all that stands then.
    fn make_all(
        &mut self,
        targets: Vec<Target>,
        leaving: &HashMap<u128, Content>,
        watch: Watch<'_>,
    ) -> Result<Vec<Entry>, Error> {
        let all = targets
            .iter()
            .filter(|target| target.state != State::Stands)
            .count() as u64;
        let mut done = 0;
        let mut standing = Vec::with_capacity(targets.len());
        for target in targets {
            if target.state == State::Stands {
                counts(&mut self.report, target.entry.made).kept += 1;
                standing.push(target.entry);
                continue;
            }
            standing.extend(self.make(target, leaving)?);
            done += 1;
            if done % 1024 == 0 {
                watch(Step::Make, done, all);
            }
        }
        Ok(standing)
    }

    /// Makes one file. Returns what stands there then, if it is the view's.
    fn make(
        &mut self,
        target: Target,
        leaving: &HashMap<u128, Content>,
    ) -> Result<Option<Entry>, Error> {
        let Target {
            mut entry,
            source,
            state,
        } = target;
        let replace = state == State::Changed;
        let mut result = self.place(&entry, source, replace)?;
        if result == Err(Errno::MLINK) && entry.made == Made::Hard {
            // The object has as many names as its file system allows.
            entry.made = Made::Symbolic;
            result = self.place(&entry, source, replace)?;
        }
        match result {
            Ok(()) => {
                if let Some(Found::File { stamp, .. }) = self.folder.look(&entry.path)? {
                    entry.stamp = Some(stamp);
                }
                let counts = counts(&mut self.report, entry.made);
                if replace {
                    counts.replaced += 1;
                } else if leaving.get(&entry.key) == Some(&entry.content) {
                    counts.renamed += 1;
                    counts.removed -= 1;
                } else {
                    counts.made += 1;
                }
                Ok(Some(entry))
            }
            Err(Errno::NOENT) => {
                self.report.lost += 1;
                Ok(self.have.remove(&entry.path).map(|(old, _)| old))
            }
            Err(Errno::EXIST) => {
                self.report.in_the_way += 1;
                if self.report.in_the_way <= NAMED {
                    tracing::warn!(
                        "Something else stands at {}, and was left alone",
                        one_line(&entry.path)
                    );
                }
                Ok(None)
            }
            Err(error) => Err(Error::io("make", self.report.folder.join(&*entry.path))(
                error.into(),
            )),
        }
    }

    fn place(
        &self,
        entry: &Entry,
        source: (u64, u32),
        replace: bool,
    ) -> Result<rustix::io::Result<()>, Error> {
        let digest = match entry.content {
            Content::Object(digest) => digest,
            Content::Json(_) => {
                let bytes = sidecar_of(&self.lines, source)?;
                return self.folder.make(&entry.path, &Make::Bytes(&bytes), replace);
            }
        };
        let object = self.origin.path(&digest);
        match entry.made {
            Made::Symbolic => {
                if self.origin.look(&digest)?.is_none() {
                    return Ok(Err(Errno::NOENT));
                }
                let target = self.origin.target(&entry.path, &digest);
                self.folder
                    .make(&entry.path, &Make::Symbolic(&target), replace)
            }
            Made::Reflink => self
                .folder
                .make(&entry.path, &Make::Reflink(&object), replace),
            Made::Hard | Made::Sidecar => {
                self.folder.make(&entry.path, &Make::Hard(&object), replace)
            }
        }
    }

    /// How files share bytes here: as asked if that is possible, tried out with one of the objects.
    fn way_of_linking(&self, wants: &[Want]) -> Result<Made, Error> {
        let asked = self.report.options.link;
        let made = match asked {
            Link::Symbolic => return Ok(Made::Symbolic),
            Link::Reflink => Made::Reflink,
            Link::Auto | Link::Hard => Made::Hard,
        };
        for digest in wants.iter().filter_map(|want| want.object) {
            let object = self.origin.path(&digest);
            let make = match made {
                Made::Reflink => Make::Reflink(&object),
                _ => Make::Hard(&object),
            };
            match self.folder.try_out(&make) {
                Ok(()) => return Ok(made),
                // Another object tells more: this one is lost, or has too many names.
                Err(Errno::NOENT | Errno::MLINK) => {}
                Err(error) if asked == Link::Auto && is_impossible(error) => {
                    return Ok(Made::Symbolic);
                }
                Err(error) if is_impossible(error) => return Err(self.impossible(made, error)),
                Err(error) => return Err(Error::io("link to", object)(error.into())),
            }
        }
        Ok(made)
    }

    fn impossible(&self, made: Made, error: Errno) -> Error {
        let (what, rule) = match made {
            Made::Reflink => (
                "copies that share their blocks",
                "Btrfs, XFS and bcachefs can, within one file system",
            ),
            _ => ("hard links", "they lead nowhere but within one file system"),
        };
        Error::Refused(format!(
            "{what} of {} cannot be made in {}: {}; {rule}. Without --link, larder takes what is possible",
            self.origin.absolute,
            self.report.folder.display(),
            io::Error::from(error)
        ))
    }
}

/// What a file system says when it has no such links, or not to that place.
fn is_impossible(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV
            | Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::NOTTY
    )
}

/// The counts of files made so.
pub(super) fn counts(report: &mut Report, made: Made) -> &mut Counts {
    match made {
        Made::Sidecar => &mut report.sidecars,
        _ => &mut report.files,
    }
}
