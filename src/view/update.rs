//! One update of a view: from what is there to what there should be.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{
    Counts, Error, Link, Options, Report, Step, Watch,
    folder::{Folder, Found, Make, Stamp},
    gather::{Gathered, gather, sidecar_of},
    manifest::{Content, Entry, Head, Made, Manifest},
    naming::{Ground, Want, add_folders, assign, join},
    origin::Origin,
    survey::{Standing, survey},
};
use crate::{
    archive::{Archive, Digest, Lines},
    store::Reader,
    text::one_line,
};

/// The number of the rules by which names and sidecars are made: with others, every view is made anew.
const RULES: u32 = 1;
/// What is in the way is named so often at most.
const NAMED: u64 = 5;

/// Makes the view at `at` of an archive, or brings it up to date. Without `options` an existing view stays as it was made.
///
/// # Errors
/// When the folder is no view of this archive, cannot be linked to as asked, or fails; when the archive cannot be read.
pub fn update(
    archive: &Archive,
    reader: &Reader,
    at: &Path,
    options: Option<Options>,
    watch: Watch<'_>,
) -> Result<Report, Error> {
    let path = resolve(archive, at)?;
    fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
    let folder = Folder::open(&path)?;
    folder.lock()?;
    let old = Manifest::load(&folder, &path)?;
    check(archive, &folder, &path, old.as_ref())?;
    let options = match (options, &old) {
        (Some(options), _) => options,
        (None, Some(old)) => options_of(&old.head, &path)?,
        (None, None) => Options::default(),
    };
    let mut head = Head::new(archive.id(), &options);
    let (mut entries, folders, before) = old.map_or_else(Default::default, |old| {
        (old.entries, old.folders, Some(old.head))
    });
    let report = Report {
        folder: at.to_owned(),
        options,
        ..Report::default()
    };
    let origin = Origin::of(archive, &path)?;
    let basis = basis(reader, &origin, &head)?;
    let standing = survey_all(&folder, &origin, &entries, watch)?;
    let whole = standing
        .iter()
        .all(|standing| matches!(standing, Standing::Good(_)));
    if let Some(before) = before
        && whole
        && before.basis.as_ref() == Some(&basis)
    {
        let mut report = report;
        for entry in &entries {
            counts(&mut report, entry.made).kept += 1;
        }
        report.unheld = before.unheld;
        return Ok(report);
    }
    let mut standing = standing.into_iter();
    // What is gone, or somebody else's, is forgotten but for its name.
    let names: HashMap<u128, String> = entries.iter().map(name_of).collect();
    let mut have: Vec<(Entry, Standing)> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        match standing.next() {
            Some(Standing::Gone) | None => {}
            Some(standing) => have.push((entry, standing)),
        }
    }
    let lines = archive.lines()?;
    let found = gather(&lines, reader, &report.options, watch)?;
    head.unheld = found.unheld;
    head.basis = Some(basis);
    let work = Work {
        folder,
        origin,
        lines,
        report,
        have: have
            .iter()
            .enumerate()
            .map(|(nth, (entry, _))| (entry.path.clone(), nth))
            .collect(),
    };
    work.go(head, folders, &names, have, found, watch)
}

/// The folder meant by `at`, whether it is there or not; refused inside of what is the archive's own.
fn resolve(archive: &Archive, at: &Path) -> Result<PathBuf, Error> {
    let mut path = std::path::absolute(at).map_err(Error::io("find", at))?;
    let mut missing = Vec::new();
    let real = loop {
        match fs::canonicalize(&path) {
            Ok(real) => break real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(name) = path.file_name().map(ToOwned::to_owned) else {
                    return Err(Error::io("find", at)(error));
                };
                missing.push(name);
                path.pop();
            }
            Err(error) => return Err(Error::io("find", at)(error)),
        }
    };
    let real: PathBuf = std::iter::once(real.into_os_string())
        .chain(missing.into_iter().rev())
        .collect();
    for own in ["objects", "records", "staging"] {
        let own = archive.root().join(own);
        if fs::canonicalize(&own).is_ok_and(|own| real.starts_with(own)) {
            return Err(Error::Refused(format!(
                "{} is inside of {}, which is the archive's own; choose another folder for the view",
                at.display(),
                own.display()
            )));
        }
    }
    Ok(real)
}

/// Refuses a folder that is no view of this archive.
fn check(
    archive: &Archive,
    folder: &Folder,
    path: &Path,
    old: Option<&Manifest>,
) -> Result<(), Error> {
    match old {
        Some(old) if old.head.archive != archive.id() => Err(Error::Refused(format!(
            "{} is the view of another archive ({}); choose another folder",
            path.display(),
            one_line(&old.head.archive)
        ))),
        None if folder.holds_anything()? => Err(Error::Refused(format!(
            "{} is not empty, and no view of larder's; choose another folder, or empty this one",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn options_of(head: &Head, path: &Path) -> Result<Options, Error> {
    let name = head.name.parse().map_err(|error| {
        Error::Refused(format!(
            "{}: its files cannot be named as before: {error}; give another --name",
            path.display()
        ))
    })?;
    Ok(Options {
        jobs: head.jobs.clone(),
        name,
        link: head.link,
        sidecar: head.sidecar,
    })
}

/// All that decides how a view looks, but for the files in its folder. Members, revisions and tombstones are lines of the
/// record log, so its length stands for them; jobs may be renamed or forgotten without one.
fn basis(reader: &Reader, origin: &Origin<'_>, head: &Head) -> Result<String, Error> {
    let text = serde_json::to_vec(&(
        RULES,
        head,
        &origin.absolute,
        reader.log_bytes()?,
        reader.members()?,
    ));
    Ok(Digest::of(&text.expect("texts and numbers are JSON")).to_string())
}

fn survey_all(
    folder: &Folder,
    origin: &Origin<'_>,
    entries: &[Entry],
    watch: Watch<'_>,
) -> Result<Vec<Standing>, Error> {
    let mut standing = Vec::with_capacity(entries.len());
    for entry in entries {
        standing.push(survey(folder, origin, entry)?);
        if standing.len().is_multiple_of(4096) {
            watch(Step::Look, standing.len() as u64, entries.len() as u64);
        }
    }
    Ok(standing)
}

/// For what an entry stands, and what that is called.
fn name_of(entry: &Entry) -> (u128, String) {
    let path = match entry.made {
        Made::Sidecar => entry.path.strip_suffix(".json").unwrap_or(&entry.path),
        _ => &entry.path,
    };
    (entry.key & !1, path.to_owned())
}

fn counts(report: &mut Report, made: Made) -> &mut Counts {
    match made {
        Made::Sidecar => &mut report.sidecars,
        _ => &mut report.files,
    }
}

/// A file that should stand, and from which record its sidecar is made.
struct Target {
    entry: Entry,
    source: (u64, u32),
}

/// What an update works with once it knows that there is something to do.
struct Work<'a> {
    folder: Folder,
    origin: Origin<'a>,
    lines: Lines,
    report: Report,
    /// Files that are the view's own, by path.
    have: HashMap<Box<str>, usize>,
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
    fn go(
        mut self,
        mut head: Head,
        folders: BTreeSet<String>,
        names: &HashMap<u128, String>,
        have: Vec<(Entry, Standing)>,
        found: Gathered,
        watch: Watch<'_>,
    ) -> Result<Report, Error> {
        let mut wants = found.wants;
        self.report.unheld = found.unheld;
        self.report.damaged = found.damaged;
        assign(&mut wants, names, &self)?;
        let made = self.way_of_linking(&wants)?;
        let mut targets = Vec::with_capacity(wants.len());
        for want in wants {
            targets_of(want, made, &mut targets);
        }
        targets.sort_unstable_by(|one, other| one.entry.path.cmp(&other.entry.path));
        let mut needed = BTreeSet::new();
        for target in &targets {
            add_folders(&target.entry.path, &mut needed);
        }
        let mut own = folders;
        for folder in &needed {
            if !own.contains(folder) && self.folder.look(folder)?.is_none() {
                own.insert(folder.clone());
            }
        }

        let wanted: HashSet<&str> = targets
            .iter()
            .map(|target| target.entry.path.as_ref())
            .collect();
        let obsolete: Vec<usize> = (0..have.len())
            .filter(|nth| !wanted.contains(have[*nth].0.path.as_ref()))
            .collect();
        let todo: Vec<bool> = targets
            .iter()
            .map(|target| !self.stands(target, &have))
            .collect();
        for (target, todo) in targets.iter_mut().zip(&todo) {
            if !todo {
                target.entry.stamp = self
                    .have
                    .get(&target.entry.path)
                    .and_then(|nth| stamp_of(&have[*nth]));
            }
        }
        if !obsolete.is_empty() || todo.contains(&true) {
            let planned = targets.iter().map(|target| &target.entry);
            let planned: Vec<&Entry> = planned.chain(have.iter().map(|(entry, _)| entry)).collect();
            let mut plan = head.clone();
            plan.basis = None;
            Manifest::save(&self.folder, plan, &own, planned.into_iter())?;
        }

        let mut leaving = HashMap::new();
        for nth in obsolete {
            let entry = &have[nth].0;
            self.folder.remove(&entry.path)?;
            counts(&mut self.report, entry.made).removed += 1;
            leaving.insert(entry.key, entry.content);
        }
        let all = todo.iter().filter(|todo| **todo).count() as u64;
        let mut done = 0;
        let mut standing: Vec<Entry> = Vec::with_capacity(targets.len());
        for (target, todo) in targets.into_iter().zip(todo) {
            if !todo {
                counts(&mut self.report, target.entry.made).kept += 1;
                standing.push(target.entry);
                continue;
            }
            let old = self.have.get(&target.entry.path).map(|nth| &have[*nth].0);
            standing.extend(self.make(target, old, &leaving)?);
            done += 1;
            if done % 1024 == 0 {
                watch(Step::Make, done, all);
            }
        }
        for folder in own
            .clone()
            .iter()
            .rev()
            .filter(|folder| !needed.contains(*folder))
        {
            let is_folder = self.folder.look(folder)? == Some(Found::Folder);
            if !is_folder || self.folder.remove_folder(folder)? {
                own.remove(folder);
            }
        }
        if self.report.lost + self.report.in_the_way + self.report.damaged > 0 {
            // The next update tries again what this one could not make.
            head.basis = None;
        }
        Manifest::save(&self.folder, head, &own, standing.iter())?;
        Ok(self.report)
    }

    /// Whether a file stands already as it should.
    fn stands(&self, target: &Target, have: &[(Entry, Standing)]) -> bool {
        let Some((entry, standing)) = self.have.get(&target.entry.path).map(|nth| &have[*nth])
        else {
            return false;
        };
        matches!(standing, Standing::Good(_))
            && entry.content == target.entry.content
            && entry.made == target.entry.made
    }

    /// Makes one file. Returns what stands there then, if it is the view's.
    fn make(
        &mut self,
        target: Target,
        old: Option<&Entry>,
        leaving: &HashMap<u128, Content>,
    ) -> Result<Option<Entry>, Error> {
        let mut entry = target.entry;
        let mut result = self.place(&entry, target.source, old.is_some())?;
        if result == Err(Errno::MLINK) && entry.made == Made::Hard {
            // The object has as many names as its file system allows.
            entry.made = Made::Symbolic;
            result = self.place(&entry, target.source, old.is_some())?;
        }
        match result {
            Ok(()) => {
                entry.stamp = match self.folder.look(&entry.path)? {
                    Some(Found::File { stamp, .. }) => Some(stamp),
                    _ => None,
                };
                let renamed = old.is_none() && leaving.get(&entry.key) == Some(&entry.content);
                let counts = counts(&mut self.report, entry.made);
                if renamed {
                    counts.renamed += 1;
                    counts.removed -= 1;
                } else if old.is_some() {
                    counts.replaced += 1;
                } else {
                    counts.made += 1;
                }
                Ok(Some(entry))
            }
            Err(Errno::NOENT) => {
                self.report.lost += 1;
                Ok(old.cloned())
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
        match (entry.content, entry.made) {
            (Content::Json(_), _) => {
                let bytes = sidecar_of(&self.lines, source)?;
                self.folder.make(&entry.path, &Make::Bytes(&bytes), replace)
            }
            (Content::Object(digest), Made::Symbolic) => {
                if self.origin.look(&digest)?.is_none() {
                    return Ok(Err(Errno::NOENT));
                }
                let target = self.origin.target(&entry.path, &digest);
                self.folder
                    .make(&entry.path, &Make::Symbolic(&target), replace)
            }
            (Content::Object(digest), Made::Reflink) => self.folder.make(
                &entry.path,
                &Make::Reflink(&self.origin.path(&digest)),
                replace,
            ),
            (Content::Object(digest), _) => self.folder.make(
                &entry.path,
                &Make::Hard(&self.origin.path(&digest)),
                replace,
            ),
        }
    }

    /// How files share bytes here: as asked if that is possible, tried out with one of the objects.
    fn way_of_linking(&self, wants: &[Want]) -> Result<Made, Error> {
        let made = match self.report.options.link {
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
                Err(
                    Errno::XDEV
                    | Errno::PERM
                    | Errno::OPNOTSUPP
                    | Errno::NOSYS
                    | Errno::INVAL
                    | Errno::NOTTY
                    | Errno::ACCESS,
                ) if self.report.options.link == Link::Auto => {
                    return Ok(Made::Symbolic);
                }
                Err(error) => {
                    let (what, instead) = match made {
                        Made::Reflink => (
                            "copies that share their blocks",
                            "Btrfs, XFS and bcachefs can, within one file system",
                        ),
                        _ => (
                            "hard links",
                            "they are only possible within one file system",
                        ),
                    };
                    return Err(Error::Refused(format!(
                        "{what} of {} cannot be made in {}: {}; {instead}. Without --link, larder takes what is possible",
                        self.origin.absolute,
                        self.report.folder.display(),
                        io::Error::from(error)
                    )));
                }
            }
        }
        Ok(made)
    }
}

fn targets_of(want: Want, made: Made, targets: &mut Vec<Target>) {
    let path = join(&want.folder, &want.file);
    let mut push = |path: String, key, content, made| {
        let entry = Entry {
            path: path.into(),
            key,
            content,
            made,
            stamp: None,
        };
        let source = want.source;
        targets.push(Target { entry, source });
    };
    if let Some(hash) = want.sidecar {
        push(
            format!("{path}.json"),
            want.key | 1,
            Content::Json(hash),
            Made::Sidecar,
        );
    }
    if let Some(digest) = want.object {
        push(path, want.key, Content::Object(digest), made);
    }
}

fn stamp_of((entry, standing): &(Entry, Standing)) -> Option<Stamp> {
    match standing {
        Standing::Good(stamp) => *stamp,
        _ => entry.stamp,
    }
}
