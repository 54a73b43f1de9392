//! Paths of the configuration, and the files that its patterns name.
//!
//! Promises that every path is resolved against the file that names it, with `~/` as the home folder. Patterns know the
//! star only, and only in a file's name: enough for `jobs/*.toml`, and nothing else needs quoting.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{Source, reader::Node};

/// The files that a list of patterns names, read, by path and each once.
pub(super) fn sources(node: &Node<'_>) -> Vec<Source> {
    let patterns = node.list().unwrap_or_default();
    let mut paths: Vec<_> = patterns
        .iter()
        .filter_map(|node| node.parsed(|pattern| matching(pattern, &node.source.path)))
        .flatten()
        .collect();
    paths.sort();
    paths.dedup();
    let mut sources = Vec::new();
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => sources.push(Source::new(path, text)),
            Err(error) => node
                .diagnostics
                .file(path, format!("cannot be read: {error}")),
        }
    }
    sources
}

/// The patterns that `node` holds, located: for the question whether they would match a file that is not there yet.
pub(super) fn patterns(node: &Node<'_>) -> Vec<PathBuf> {
    let patterns = node.texts().unwrap_or_default();
    let located = patterns.iter().map(|text| located(text, &node.source.path));
    located.filter_map(Result::ok).collect()
}

/// Whether `pattern` matches `path`; both as they were located.
pub(super) fn covers(pattern: &Path, path: &Path) -> bool {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    // `./jobs` and `jobs` are one folder.
    let folder = |path: &Path| {
        path.parent()
            .map(|path| path.components().collect::<PathBuf>())
    };
    folder(pattern) == folder(path) && fits(&name(pattern), &name(path))
}

/// The files that `pattern` in the file `from` matches; `from` itself is none of them. A name without a star must exist.
fn matching(pattern: &str, from: &Path) -> Result<Vec<PathBuf>, String> {
    let path = located(pattern, from)?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.to_string_lossy().contains('*') {
        return Err(format!(
            "`{pattern}`: a star stands for part of a file's name, not of a folder's; name the folder"
        ));
    }
    if !name.contains('*') {
        if path.is_file() {
            return Ok(vec![path]);
        }
        let shown = path.display();
        return Err(format!(
            "`{pattern}`: there is no file {shown}; remove it, or write a pattern like `jobs/*.toml`"
        ));
    }
    let listed = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = match fs::read_dir(listed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries = entries
        .map_err(|error| format!("`{pattern}`: {} cannot be read: {error}", listed.display()))?;
    let itself = fs::canonicalize(from).ok();
    let names = entries.iter().map(fs::DirEntry::file_name);
    let paths = names
        .filter(|found| fits(&name, &found.to_string_lossy()))
        .map(|found| folder.join(found));
    Ok(paths
        .filter(|path| path.is_file() && fs::canonicalize(path).ok() != itself)
        .collect())
}

/// Whether `name` is `pattern` with something, or nothing, for each star. As in a shell, a star is no leading dot.
fn fits(pattern: &str, name: &str) -> bool {
    fn tail(pattern: &str, name: &str) -> bool {
        let Some((head, rest)) = pattern.split_once('*') else {
            return pattern == name;
        };
        let Some(name) = name.strip_prefix(head) else {
            return false;
        };
        let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        ends.any(|at| tail(rest, &name[at..]))
    }
    (pattern.starts_with('.') || !name.starts_with('.')) && tail(pattern, name)
}

/// Where `text`, written in the file `from`, points to.
fn located(text: &str, from: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("an empty path; write one like `archive`".to_owned());
    }
    if text != "~" && !text.starts_with("~/") {
        return Ok(from.parent().unwrap_or(Path::new("")).join(text));
    }
    match env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(Path::new(&home).join(text.trim_start_matches(['~', '/']))),
        None => Err(format!("`{text}`: $HOME is not set; write the whole path")),
    }
}

/// The path that `node` holds, absolute.
pub(super) fn path_of(node: &Node<'_>) -> Option<PathBuf> {
    node.parsed(|text| absolute(text, &node.source.path))
}

/// The absolute path of `text`, written in the file `from`.
pub(super) fn absolute(text: &str, from: &Path) -> Result<PathBuf, String> {
    let path = located(text, from)?;
    std::path::absolute(path).map_err(|error| format!("`{text}`: {error}; write the whole path"))
}

/// The files that a located pattern matches now.
pub(super) fn matched_by(pattern: &Path) -> Vec<PathBuf> {
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| pattern.with_file_name(entry.file_name()));
    paths.filter(|path| covers(pattern, path)).collect()
}

/// The path of a file that must be there.
pub(super) fn existing(node: &Node<'_>) -> Option<PathBuf> {
    let path = path_of(node)?;
    if !path.is_file() {
        node.error(format!(
            "there is no file {}; write the path of one, or remove the key",
            path.display()
        ));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_part_of_a_name() {
        for (pattern, name) in [
            ("*.toml", "a.toml"),
            ("*", "a"),
            ("a*b*c", "abc"),
            ("a*", "a"),
            ("*é*", "né"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.toml", "a.toml~"),
            ("*.toml", ".a.toml"),
            ("a*b", "ac"),
            ("a", "ab"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_match_files_beside_the_file_that_names_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("archive.toml");
        for name in ["archive.toml", "b.toml", "a.toml", "a.toml.bak"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        fs::create_dir(folder.path().join("folder.toml")).expect("a folder");
        let mut found = matching("*.toml", &from).expect("matches");
        found.sort();
        assert_eq!(
            found,
            ["a.toml", "b.toml"].map(|name| folder.path().join(name))
        );
        assert_eq!(matching("none/*.toml", &from), Ok(Vec::new()));
        assert!(
            matching("none.toml", &from)
                .expect_err("missing")
                .contains("`none.toml`: there is no file")
        );
        assert!(
            matching("*/a.toml", &from)
                .expect_err("a folder's star")
                .contains("name the folder")
        );
    }

    #[test]
    fn home_is_where_the_tilde_points() {
        let home = env::var_os("HOME").expect("set wherever tests run");
        let from = Path::new("/etc/archive.toml");
        assert_eq!(located("~/x", from), Ok(Path::new(&home).join("x")));
        assert_eq!(located("x", from), Ok(PathBuf::from("/etc/x")));
        assert_eq!(located("/x", from), Ok(PathBuf::from("/x")));
        assert!(located("", from).is_err());
    }
}
