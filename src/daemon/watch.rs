//! Whether files of the configuration have changed: by time, size and number, so that an editor's rename counts too.

use std::{
    collections::BTreeMap, collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::PathBuf,
};

/// What a file looks like from outside; `None` for one that is not there.
type Print = Option<(i64, i64, u64, u64)>;

/// The files of a configuration as they were when it was read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: BTreeMap<PathBuf, Print>,
    /// What was seen at the last look, where it differs: half a file must not be read.
    seen: Option<BTreeMap<PathBuf, Print>>,
}

impl Watch {
    /// Takes these files as they are now; what changes from now on is told, so they are read after this.
    pub(super) fn read(&mut self, files: &[PathBuf]) {
        self.read = prints(files);
        self.seen = None;
    }

    /// Looks at these files too, as they are now.
    pub(super) fn also(&mut self, files: &[PathBuf]) {
        for (path, print) in prints(files) {
            self.read.entry(path).or_insert(print);
        }
    }

    /// The files that have changed since they were read, once they look the same at two looks in a row.
    pub(super) fn look(&mut self, files: &[PathBuf]) -> Option<BTreeSet<PathBuf>> {
        // Those that have gone are in `read` only.
        let mut all: BTreeSet<_> = files.iter().cloned().collect();
        all.extend(self.read.keys().cloned());
        let all: Vec<_> = all.into_iter().collect();
        let mut now = prints(&all);
        now.retain(|path, print| print.is_some() || self.read.contains_key(path));
        if now == self.read {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            return None;
        }
        self.seen = None;
        let before = std::mem::replace(&mut self.read, now);
        let differs = |path: &&PathBuf| before.get(*path) != self.read.get(*path);
        let changed = before.keys().chain(self.read.keys()).filter(differs);
        Some(changed.cloned().collect())
    }
}

fn prints(files: &[PathBuf]) -> BTreeMap<PathBuf, Print> {
    let print = |path: &PathBuf| {
        let meta = fs::metadata(path).ok();
        let print = meta.map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()));
        (path.clone(), print)
    };
    files.iter().map(print).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_when_it_has_settled_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let (one, two) = (path("one"), path("two"));
        fs::write(&one, "a").expect("a file");
        let mut watch = Watch::default();
        watch.read(std::slice::from_ref(&one));
        assert_eq!(watch.look(std::slice::from_ref(&one)), None);
        fs::write(&one, "ab").expect("a file");
        assert_eq!(
            watch.look(std::slice::from_ref(&one)),
            None,
            "it may be half of it"
        );
        fs::write(&one, "abc").expect("a file");
        assert_eq!(watch.look(std::slice::from_ref(&one)), None, "so it was");
        let changed = watch
            .look(std::slice::from_ref(&one))
            .expect("it has settled");
        assert_eq!(changed, BTreeSet::from([one.clone()]));
        assert_eq!(watch.look(std::slice::from_ref(&one)), None, "told already");
        fs::write(&two, "x").expect("a file");
        let both = [one.clone(), two.clone()];
        assert_eq!(watch.look(&both), None);
        assert_eq!(watch.look(&both), Some(BTreeSet::from([two.clone()])));
        fs::remove_file(&two).expect("a file");
        assert_eq!(watch.look(std::slice::from_ref(&one)), None);
        assert_eq!(watch.look(&[one]), Some(BTreeSet::from([two])));
    }
}
