//! One update of a view: from what is there to what there should be.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Error, Options, Report, Step, Watch,
    folder::Folder,
    gather::gather,
    manifest::{Entry, Head, Made, Manifest},
    origin::Origin,
    survey::{Standing, survey},
    work::{Work, counts},
};
use crate::{
    archive::{Archive, Digest},
    store::Reader,
    text::one_line,
};

/// The number of the rules by which names and sidecars are made: with others, every view is made anew.
const RULES: u32 = 1;

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
    let is_new = !path.exists();
    fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
    let report = Report {
        folder: at.to_owned(),
        ..Report::default()
    };
    let done = update_in(archive, reader, &path, options, report, watch);
    if is_new && done.is_err() {
        // Only an empty folder can be removed so.
        let _ = fs::remove_dir(&path);
    }
    done
}

fn update_in(
    archive: &Archive,
    reader: &Reader,
    path: &Path,
    options: Option<Options>,
    mut report: Report,
    watch: Watch<'_>,
) -> Result<Report, Error> {
    let folder = Folder::open(path)?;
    folder.lock()?;
    let old = Manifest::load(&folder, path)?;
    check(archive, &folder, path, old.as_ref())?;
    let options = match (options, &old) {
        (Some(options), _) => options,
        (None, Some(old)) => options_of(&old.head, path)?,
        (None, None) => Options::default(),
    };
    let mut head = Head::new(archive.id(), &options);
    report.options = options;
    let origin = Origin::of(archive, path)?;
    let basis = basis(reader, &origin, &head)?;
    let (entries, folders, before) = match old {
        Some(old) => (old.entries, old.folders, Some(old.head)),
        None => Default::default(),
    };
    let standing = survey_all(&folder, &origin, &entries, watch)?;
    let is_good = |standing: &Standing| matches!(standing, Standing::Good(_));
    if let Some(before) = before
        && before.basis.as_ref() == Some(&basis)
        && standing.iter().all(is_good)
    {
        for entry in &entries {
            counts(&mut report, entry.made).kept += 1;
        }
        report.unheld = before.unheld;
        return Ok(report);
    }
    let (found, lines) = gather(archive, reader, &report.options, watch)?;
    head.unheld = found.unheld;
    head.basis = Some(basis);
    // What is gone, or somebody else's, is forgotten but for its name.
    let names: HashMap<u128, String> = entries.iter().map(name_of).collect();
    let have = entries.into_iter().zip(standing);
    let have = have.filter(|(_, standing)| *standing != Standing::Gone);
    let work = Work {
        folder,
        origin,
        lines,
        names,
        have: have
            .map(|(entry, standing)| (entry.path.clone(), (entry, standing)))
            .collect(),
        folders,
        report,
    };
    work.go(found, head, watch)
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
    for own in ["objects", "records", "staging", "damaged"] {
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
        find: head.find.clone(),
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
