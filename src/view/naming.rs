//! Who is called what: every file gets a name of its own, and keeps it.
//!
//! Names that some file system takes for one (large and small letters) are one name here. Of several files that the template
//! calls the same, the one that the archive met first has the plain name, the others a number: ` (2)`. A name that a file had
//! before, with or without a number, it keeps as long as the template still leads to it, whoever comes or goes. What
//! stands in the folder and is not the view's keeps its name too.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    Error,
    name::{fold, number_of, numbered},
};
use crate::archive::Digest;

/// A file that the view wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    /// The item's row, and which of its files: files are named in this order.
    pub order: (i64, u32),
    /// For what it stands, whatever it is called.
    pub key: u128,
    /// As the template says; with its final names once it is named.
    pub folder: Box<str>,
    /// The same.
    pub file: Box<str>,
    /// `None` for an item without files, of which there is only a sidecar.
    pub object: Option<Digest>,
    /// The hash of its sidecar.
    pub sidecar: Option<[u8; 16]>,
    /// Where its record stands, and which of the record's files it is.
    pub source: (u64, u32),
}

/// What stands in the way of a name.
pub(super) trait Ground {
    /// Whether a folder may be at this path: it is one, or nothing is there.
    fn takes_folder(&self, path: &str) -> Result<bool, Error>;
    /// Whether a file may be at this path: nothing is there, or what the view made.
    fn takes_file(&self, path: &str) -> Result<bool, Error>;
}

/// Gives every file its final names. `before` are the paths that files had, by key.
pub(super) fn assign(
    wants: &mut [Want],
    before: &HashMap<u128, String>,
    ground: &impl Ground,
) -> Result<(), Error> {
    wants.sort_unstable_by_key(|want| want.order);
    let mut folders = BTreeSet::new();
    for path in before.values() {
        add_folders(path, &mut folders);
    }
    let mut tree = Tree::new(folders, ground)?;
    for want in wants.iter_mut() {
        want.folder = tree.folder(&want.folder, ground)?.into();
    }
    let mut taken = Taken::default();
    let mut named = vec![false; wants.len()];
    for (want, named) in wants.iter_mut().zip(&mut named) {
        let Some(path) = before.get(&want.key) else {
            continue;
        };
        let (folder, file) = super::folder::split(path);
        if folder == &*want.folder
            && number_of(file, &want.file).is_some()
            && taken.take(want, file, ground)?
        {
            want.file = file.into();
            *named = true;
        }
    }
    // Where the search for a free number of a name goes on.
    let mut next: HashMap<u128, u32> = HashMap::new();
    for (want, _) in wants.iter_mut().zip(named).filter(|(_, named)| !named) {
        let base = hash(&want.folder, &want.file);
        let mut nth = next.get(&base).copied().unwrap_or(1);
        loop {
            let file = if nth == 1 {
                want.file.to_string()
            } else {
                numbered(&want.file, nth)
            };
            nth += 1;
            if taken.take(want, &file, ground)? {
                want.file = file.into();
                break;
            }
        }
        next.insert(base, nth);
    }
    Ok(())
}

/// Folders by what the template calls them, folded: `Ann` and `ann` are one folder, called as the first of them.
struct Tree {
    known: HashMap<String, String>,
}

impl Tree {
    fn new(folders: BTreeSet<String>, ground: &impl Ground) -> Result<Self, Error> {
        let mut known = HashMap::from([(String::new(), String::new())]);
        for folder in folders {
            if ground.takes_folder(&folder)? {
                known.entry(fold(&folder)).or_insert(folder);
            }
        }
        Ok(Self { known })
    }

    /// The folder that is meant by `path`, below which a file may be made.
    fn folder(&mut self, path: &str, ground: &impl Ground) -> Result<String, Error> {
        let folded = fold(path);
        if let Some(known) = self.known.get(&folded) {
            return Ok(known.clone());
        }
        let (above, name) = super::folder::split(path);
        let above = self.folder(above, ground)?;
        let mut nth = 1;
        let folder = loop {
            let name = if nth == 1 {
                name.to_owned()
            } else {
                numbered(name, nth)
            };
            let folder = join(&above, &name);
            if ground.takes_folder(&folder)? {
                break folder;
            }
            nth += 1;
        };
        self.known.insert(folded, folder.clone());
        Ok(folder)
    }
}

/// Names that are given away.
#[derive(Default)]
struct Taken(HashSet<u128>);

impl Taken {
    /// Takes a name and that of its sidecar, if both are free.
    fn take(&mut self, want: &Want, file: &str, ground: &impl Ground) -> Result<bool, Error> {
        let own = want.object.map(|_| hash(&want.folder, file));
        let beside = want
            .sidecar
            .map(|_| hash(&want.folder, &format!("{file}.json")));
        let names = || own.into_iter().chain(beside);
        if names().any(|name| self.0.contains(&name)) {
            return Ok(false);
        }
        if own.is_some() && !ground.takes_file(&join(&want.folder, file))? {
            return Ok(false);
        }
        self.0.extend(names());
        Ok(true)
    }
}

/// Adds every folder that a path lies in.
pub(super) fn add_folders(path: &str, folders: &mut BTreeSet<String>) {
    let mut folder = super::folder::split(path).0;
    while !folder.is_empty() && !folders.contains(folder) {
        folders.insert(folder.to_owned());
        folder = super::folder::split(folder).0;
    }
}

/// A path below a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        return name.to_owned();
    }
    format!("{folder}/{name}")
}

/// What is the same for two files only if they are called the same.
fn hash(folder: &str, file: &str) -> u128 {
    let digest = Digest::of(fold(&join(folder, file)).as_bytes());
    u128::from_be_bytes(
        *digest
            .as_bytes()
            .first_chunk()
            .expect("32 bytes begin with 16"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A folder that holds these files already.
    struct Held<'a>(&'a [&'a str]);

    impl Ground for Held<'_> {
        fn takes_folder(&self, path: &str) -> Result<bool, Error> {
            Ok(!self.0.contains(&path))
        }

        fn takes_file(&self, path: &str) -> Result<bool, Error> {
            Ok(!self.0.contains(&path))
        }
    }

    fn want(nth: u32, folder: &str, file: &str) -> Want {
        Want {
            order: (i64::from(nth), 0),
            key: u128::from(nth),
            folder: folder.into(),
            file: file.into(),
            object: Some(Digest::of(b"")),
            sidecar: None,
            source: (0, 0),
        }
    }

    fn named(mut wants: Vec<Want>, before: &[(u32, &str)], held: &[&str]) -> Vec<String> {
        let before = before
            .iter()
            .map(|(nth, path)| (u128::from(*nth), (*path).to_owned()));
        assign(&mut wants, &before.collect(), &Held(held)).expect("nothing fails here");
        wants
            .iter()
            .map(|want| join(&want.folder, &want.file))
            .collect()
    }

    #[test]
    fn the_first_has_the_plain_name_and_the_others_a_number() {
        let wants = vec![
            want(3, "a", "x.png"),
            want(1, "a", "x.png"),
            want(2, "a", "X.PNG"),
            want(4, "b", "x.png"),
        ];
        assert_eq!(
            named(wants, &[], &[]),
            ["a/x.png", "a/X (2).PNG", "a/x (3).png", "b/x.png"]
        );
    }

    #[test]
    fn a_name_is_kept_when_others_come_and_go() {
        // The first of three is called otherwise now, and a new one has come.
        let wants = vec![
            want(1, "a", "y.png"),
            want(2, "a", "x.png"),
            want(3, "a", "x.png"),
            want(4, "a", "x.png"),
        ];
        let before = [(1, "a/x.png"), (2, "a/x (2).png"), (3, "a/x (3).png")];
        assert_eq!(
            named(wants, &before, &[]),
            ["a/y.png", "a/x (2).png", "a/x (3).png", "a/x.png"]
        );
    }

    #[test]
    fn what_stands_there_already_keeps_its_name() {
        let wants = vec![want(1, "a", "x.png"), want(2, "b/c", "x.png")];
        let held = ["a/x.png", "a/x (2).png", "b"];
        assert_eq!(
            named(wants.clone(), &[], &held),
            ["a/x (3).png", "b (2)/c/x.png"]
        );
        // Even when the name was the file's own before.
        assert_eq!(named(wants, &[(1, "a/x.png")], &held)[0], "a/x (3).png");
    }

    #[test]
    fn folders_that_differ_in_case_alone_are_one_and_called_as_before() {
        let wants = || {
            vec![
                want(1, "Ann/A", "1"),
                want(2, "ann/a", "2"),
                want(3, "ANN", "3"),
            ]
        };
        assert_eq!(named(wants(), &[], &[]), ["Ann/A/1", "Ann/A/2", "Ann/3"]);
        assert_eq!(
            named(wants(), &[(2, "ann/a/2")], &[]),
            ["ann/a/1", "ann/a/2", "ann/3"]
        );
    }

    #[test]
    fn a_sidecar_has_a_name_of_its_own() {
        let mut wants = vec![want(1, "", "x"), want(2, "", "x.json"), want(3, "", "x")];
        for want in &mut wants {
            want.sidecar = Some([0; 16]);
        }
        wants[2].object = None;
        assert_eq!(named(wants, &[], &[]), ["x", "x (2).json", "x (3)"]);
    }

    #[test]
    fn a_hundred_thousand_files_of_one_name_are_named_in_no_time() {
        let wants = (0..100_000).map(|nth| want(nth, "", "x.png")).collect();
        assert_eq!(
            named(wants, &[], &[]).last().expect("many"),
            "x (100000).png"
        );
    }

    proptest! {
        #[test]
        fn names_are_unique_and_stay_when_nothing_changes(
            files in prop::collection::vec(("[aAbß]{0,2}", "[xX]( \\([0-9]\\))?(\\.png)?"), 1..40),
            held in prop::collection::vec("[aAb]/[xX](\\.png)?", 0..4),
        ) {
            let held: Vec<_> = held.iter().map(String::as_str).collect();
            let wants: Vec<_> = (0..).zip(&files).map(|(nth, (folder, file))| want(nth, folder, file)).collect();
            let names = named(wants.clone(), &[], &held);
            let unique: HashSet<_> = names.iter().map(|name| fold(name)).collect();
            prop_assert_eq!(unique.len(), names.len(), "{:?}", names);
            prop_assert!(names.iter().all(|name| !held.contains(&name.as_str())));
            let before: Vec<_> = (0..).zip(names.iter().map(String::as_str)).collect();
            prop_assert_eq!(&named(wants.clone(), &before, &held), &names);
            // Whoever goes, the others keep their names.
            let half: Vec<_> = wants.into_iter().step_by(2).collect();
            let kept: Vec<_> = names.iter().step_by(2).cloned().collect();
            prop_assert_eq!(named(half, &before, &held), kept);
        }
    }
}
