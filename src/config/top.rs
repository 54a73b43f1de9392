//! The root of the configuration: reads its files in order, and owns `[archive]`.
//!
//! Promises that a mistake in one place hides none in another: only what is no TOML at all ends the reading of its file.

use std::{fs, io, path::Path};

use super::{
    Archive, Config, Diagnostic, Diagnostics, KeptJob, MinFree, Source,
    daemon::{daemon as daemon_keys, notify},
    jobs::Jobs,
    network::network,
    paths::{path_of, patterns, sources},
    reader::{Node, Table},
    sites::Sites,
    units::parse_size,
};
use crate::dialect::Catalog;

/// What somebody without a configuration needs to know.
const HELP: &str = "; name another file with `-c`, or write it, such as:

    archive.path = \"archive\"
    [[jobs]]
    name = \"landscapes\"
    site = \"yande.re\"
    listing = \"posts\"
    params = { tags = \"landscape rating:s\" }

The first line is enough for `larder add URL`. `larder demo` needs none.
";

/// Bytes of the smallest `segment`.
const LEAST_SEGMENT: u64 = 4 << 10;

/// Reads `path` and everything it includes; see [`Config::load`].
pub(super) fn load(
    path: &Path,
    kept: impl FnOnce(&Archive) -> Vec<KeptJob>,
) -> Result<Config, Vec<Diagnostic>> {
    match fs::read_to_string(path) {
        Ok(text) => read(Source::new(path, text), kept),
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::NotFound => HELP,
                _ => "",
            };
            let diagnostics = Diagnostics::default();
            diagnostics.file(path, format!("cannot be read: {error}{help}"));
            Err(diagnostics.into_vec())
        }
    }
}

/// A configuration of nothing but the archive that the file at `path` names, whatever else is wrong with it.
pub(super) fn bare(path: &Path) -> Option<Config> {
    let source = Source::new(path, fs::read_to_string(path).ok()?);
    let diagnostics = Diagnostics::default();
    let archive = Table::parse(&source, &diagnostics, |root| {
        root.get("archive")
            .and_then(|node| node.table())
            .and_then(archive)
    });
    Some(Config {
        path: path.to_owned(),
        archive: archive.flatten()?,
        network: network(None),
        sites: std::collections::BTreeMap::new(),
        jobs: Vec::new(),
        catalog: Catalog::built_in(),
        unfit: Vec::new(),
        listen: None,
        notices: Vec::new(),
        include: Vec::new(),
        dialects: Vec::new(),
    })
}

/// Reads a configuration whose text is at hand.
pub(super) fn read(
    source: Source,
    kept: impl FnOnce(&Archive) -> Vec<KeptJob>,
) -> Result<Config, Vec<Diagnostic>> {
    let diagnostics = Diagnostics::default();
    let config = Table::parse(&source, &diagnostics, |table| root(table, kept)).flatten();
    match config {
        Some(config) if diagnostics.is_empty() => Ok(config),
        _ => Err(diagnostics.into_vec()),
    }
}

fn root(root: Table<'_>, kept: impl FnOnce(&Archive) -> Vec<KeptJob>) -> Option<Config> {
    let diagnostics = root.diagnostics();
    let path = root.source().path.clone();
    let (include, dialects) = (root.get("include"), root.get("dialects"));
    let mut catalog = Catalog::built_in();
    for source in dialects.iter().flat_map(sources) {
        catalog.add(&source, diagnostics);
    }
    let archive = match root.get("archive") {
        Some(node) => node.table().and_then(archive),
        None => {
            root.error("`[archive]` is missing; write it with `path = \"archive\"`, the folder to keep things in");
            None
        }
    };
    let network = network(root.get("network").and_then(|node| node.table()));
    let mut sites = Sites::read(&catalog, root.get("sites").as_ref());
    let mut jobs = Jobs::default();
    for table in root.get("jobs").iter().flat_map(tables) {
        jobs.read(table, None, &mut sites);
    }
    let daemon = root.get("daemon").and_then(|node| node.table());
    let listen = daemon.and_then(daemon_keys);
    let notices = root.get("notify");
    let notices = notices.iter().flat_map(tables).filter_map(notify).collect();
    root.finish();
    for source in include.iter().flat_map(sources) {
        Table::parse(&source, diagnostics, |table| {
            jobs.read(table, Some(&source.path), &mut sites);
        });
    }
    let archive = archive?;
    let unfit = jobs.read_kept(kept(&archive), &mut sites);
    let sites = sites.into_map();
    Some(Config {
        path,
        archive,
        network,
        sites,
        jobs: jobs.into_vec(),
        catalog,
        unfit,
        listen,
        notices,
        include: include.iter().flat_map(patterns).collect(),
        dialects: dialects.iter().flat_map(patterns).collect(),
    })
}

/// The tables of an array of tables.
fn tables<'a>(node: &Node<'a>) -> Vec<Table<'a>> {
    if node.is_table() {
        node.error(format!(
            "each is a table of its own; write `[[{}]]` with two brackets",
            node.place
        ));
        return Vec::new();
    }
    node.list()
        .iter()
        .flatten()
        .filter_map(Node::table)
        .collect()
}

fn archive(table: Table<'_>) -> Option<Archive> {
    let path = match table.get("path") {
        Some(node) => path_of(&node),
        None => {
            table.error(
                "`path` is missing; write the folder to keep things in, like `path = \"archive\"`",
            );
            None
        }
    };
    let state = table.get("state").and_then(|node| path_of(&node));
    let id = table.get("id").and_then(|node| {
        let id = node.text()?;
        if id.is_empty() {
            node.error(
                "is empty; write the id of the archive (see its file LARDER), or remove the key",
            );
        }
        Some(id.to_owned())
    });
    let min_free = table
        .get("min_free")
        .and_then(|node| node.parsed(parse_size));
    let segment = table.get("segment").and_then(|node| {
        let bytes = node.parsed(parse_size)?;
        if bytes < LEAST_SEGMENT {
            node.error("is too little to compress; write 4 KiB or more");
        }
        Some(bytes)
    });
    table.finish();
    let path = path?;
    Some(Archive {
        state: state.unwrap_or_else(|| path.clone()),
        path,
        id,
        min_free: min_free.map_or(MinFree::Default, MinFree::Bytes),
        segment: segment.unwrap_or(crate::archive::SEAL_AT),
    })
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, time::Duration};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        config::{Rate, Schedule},
        dialect::Value,
    };

    const EXAMPLE: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/archive.example.toml"));

    /// A folder with these files, each readable for its owner only.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
            fs::write(&path, text).expect("a file");
            chmod(&path, 0o600);
        }
        folder
    }

    #[cfg(unix)]
    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("one's own file");
    }

    #[cfg(not(unix))]
    fn chmod(_: &Path, _: u32) {}

    fn load_in(folder: &TempDir) -> Result<Config, Vec<Diagnostic>> {
        load(&folder.path().join("archive.toml"), |_| Vec::new())
    }

    /// All complaints as printed.
    fn complaints(folder: &TempDir) -> (Vec<Diagnostic>, String) {
        let list = load_in(folder).expect_err("mistakes");
        let mut text = String::new();
        for complaint in &list {
            writeln!(text, "{complaint}").expect("a string");
        }
        (list, text)
    }

    /// The example with every commented key made active.
    fn uncommented() -> String {
        let key = |c: char| c.is_ascii_lowercase() || "_[\"".contains(c);
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(key) => rest,
            _ => line,
        };
        EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_full_configuration_loads_into_the_right_values() {
        let folder = folder(&[
            (
                "archive.toml",
                r#"
                include = ["jobs/*.toml"]
                [archive]
                path = "kept"
                state = "/var/lib/larder"
                min_free = "5 GB"
                [network]
                tries = 3
                stall_timeout = "1min"
                allow = ["LOCALHOST:8801", "[::1]:80"]
                [sites."yande.re"]
                rate = "unlimited"
                login = { user = "me", password = { file = "secret" } }
                [[jobs]]
                name = "z"
                site = "konachan.com"
                listing = "posts"
                params = { tags = "a b" }
                window = "23:00-07:30"
                full_every = "30d"
                max_pages = 9
                "#,
            ),
            (
                "jobs/b.toml",
                "site = \"yande.re\"\nlisting = \"posts\"\ncron = \"0 3 * * *\"\nenabled = false",
            ),
            (
                "jobs/a.toml",
                "name = \"first\"\nsite = \"yande.re\"\nlisting = \"posts\"\nevery = \"6h\"\nwhere = \"true\"",
            ),
            ("secret", "S3CRET\n"),
        ]);
        let config = load_in(&folder).expect("no mistakes");
        assert_eq!(config.archive.path, folder.path().join("kept"));
        assert_eq!(config.archive.state, Path::new("/var/lib/larder"));
        assert_eq!(config.archive.min_free, MinFree::Bytes(5_000_000_000));
        let network = &config.network;
        assert_eq!(
            (network.tries, network.stall_timeout),
            (3, Duration::from_secs(60))
        );
        assert_eq!(
            (network.max_page, network.backoff),
            (8 << 20, Duration::from_secs(1))
        );
        assert_eq!(network.allow, ["localhost:8801", "[::1]:80"]);
        assert!(network.user_agent.starts_with("larder/"));
        assert_eq!(
            config.sites.keys().collect::<Vec<_>>(),
            ["konachan.com", "yande.re"]
        );
        assert_eq!(config.sites["yande.re"].api.rate, Rate::Unlimited);
        assert!(!format!("{config:?}").contains("S3CRET"));
        let names: Vec<_> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["z", "first", "b"]);
        let [z, first, b] = config.jobs.as_slice() else {
            panic!("three jobs")
        };
        assert_eq!(z.params["tags"], Value::Text("a b".to_owned()));
        assert_eq!(
            (z.max_pages, z.enabled, z.window.is_some()),
            (Some(9), true, true)
        );
        assert_eq!(
            first.schedule,
            Schedule::Every(Duration::from_secs(6 * 3600))
        );
        assert!(first.filter.is_some());
        assert_eq!(
            (&b.schedule, b.enabled),
            (&Schedule::Cron("0 3 * * *".to_owned()), false)
        );
    }

    #[test]
    fn all_mistakes_of_all_files_are_reported_at_their_lines() {
        let text = r#"include = ["jobs/*.toml"]
archiv = 1
[archive]
[network]
tries = 0
max_file = "4"
allow = ["localhost"]
[sites.mine]
dialect = "moebooro"
url = "ftp://example.org"
rate = "1"
cookies_file = "nowhere.txt"
[[jobs]]
name = "a b"
site = "yandere"
listing = "posts"
[[jobs]]
name = "one"
site = "yande.re"
listing = "post"
every = "6"
window = "23-7"
[[jobs]]
name = "two"
site = "yande.re"
listing = "posts"
params = { tagz = "x" }
every = "6h"
cron = "0 3 * * *"
max_pages = 0
[daemon]
listen = "0.0.0.0:80"
[[notify]]
on = ["ends"]
command = []
"#;
        let folder = folder(&[
            ("archive.toml", text),
            ("jobs/one.toml", "site = \"yande.re\"\nlisting = 7"),
        ]);
        let (list, text) = complaints(&folder);
        let place = |end: &str, line| {
            let end = format!("/{end}:{line}:");
            list.iter()
                .any(|complaint| complaint.to_string().contains(&end))
        };
        let lines = [
            2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 20, 21, 22, 27, 29, 30, 32, 34, 35,
        ];
        for line in lines {
            assert!(place("archive.toml", line), "line {line}\n{text}");
        }
        assert!(place("one.toml", 1) && place("one.toml", 2), "{text}");
        assert_eq!(list.len(), lines.len() + 2, "{text}");
        for message in [
            "unknown key `archiv`; did you mean `archive`?",
            "unknown dialect `moebooro`; did you mean `moebooru`?",
            "unknown site `yandere`; did you mean `yande.re`?",
            "two jobs are called `one`; the other is at ",
            "unknown parameter `tagz`; did you mean `tags`?",
            "unknown event `ends`; did you mean `end`?",
        ] {
            assert!(text.contains(message), "{message}\n{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_file_that_others_can_read_is_refused() {
        let site = "[archive]\npath = \"a\"\n[sites.\"yande.re\"]\ncookies = { PHPSESSID = { file = \"secret\" } }";
        let folder = folder(&[("archive.toml", site), ("secret", "S3CRET\n")]);
        assert_eq!(
            load_in(&folder).expect("mode 0600").sites["yande.re"].cookies[0]
                .1
                .expose(),
            Some("S3CRET")
        );
        chmod(&folder.path().join("secret"), 0o644);
        let (list, text) = complaints(&folder);
        assert_eq!((list.len(), list[0].line()), (1, Some(4)));
        assert!(
            text.contains("chmod 600 ") && !text.contains("S3CRET"),
            "{text}"
        );
    }

    #[test]
    fn a_kept_job_is_checked_like_a_file_and_its_mistakes_are_its_own() {
        let folder = folder(&[
            (
                "archive.toml",
                "include = [\"./jobs/*.toml\"]\narchive.path = \"a\"",
            ),
            ("jobs/one.toml", "site = \"yande.re\"\nlisting = \"posts\""),
        ]);
        let path = folder.path().join("archive.toml");
        let kept = |name: &str, definition: &str| KeptJob {
            name: name.to_owned(),
            definition: definition.to_owned(),
        };
        let config = Config::load_with(&path, |archive| {
            assert_eq!(archive.state, folder.path().join("a"));
            vec![
                kept("one", "site = \"konachan.com\"\nlisting = \"posts\""),
                kept(
                    "two.x",
                    "# from\nsite = \"konachan.com\"\nlisting = \"posts\"\nparams = { tags = \"a\" }",
                ),
                kept("three", "site = \"konachan.com\"\nlisting = \"pots\""),
            ]
        });
        let config = config.expect("no mistakes of the files");
        let jobs: Vec<_> = config
            .jobs
            .iter()
            .map(|job| (job.name.as_str(), job.added))
            .collect();
        assert_eq!(jobs, [("one", false), ("two.x", true)]);
        assert_eq!(
            config.jobs[0].site.name, "yande.re",
            "a file's job goes first"
        );
        let [unfit] = config.unfit.as_slice() else {
            panic!("one does not fit")
        };
        assert_eq!(unfit.name, "three");
        let complaint = unfit.complaints[0].to_string();
        assert!(
            complaint.contains("larder.db/three:2:11: ")
                && complaint.contains("did you mean `posts`?"),
            "{complaint}"
        );
        let covered = |name: &str| config.includes(&folder.path().join(name));
        assert!(covered("jobs/new.toml") && !covered("jobs/new.txt") && !covered("new.toml"));
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let folder = folder(&[]);
        assert!(complaints(&folder).1.contains("[[jobs]]"));
    }

    #[test]
    fn the_example_loads_as_it_is_and_with_every_key() {
        let bare = folder(&[("archive.toml", EXAMPLE)]);
        let config = load_in(&bare).unwrap_or_else(|_| panic!("{}", complaints(&bare).1));
        assert_eq!(config.archive.path, bare.path().join("archive"));
        assert_eq!(config.jobs.len(), 1);
        let all = folder(&[
            ("archive.toml", &uncommented()),
            ("cookies.txt", ""),
            ("password.txt", "x"),
        ]);
        let full = load_in(&all).unwrap_or_else(|_| panic!("{}", complaints(&all).1));
        assert_eq!(
            full.network.user_agent, config.network.user_agent,
            "the example shows the defaults"
        );
        assert_eq!(full.network.max_file, config.network.max_file);
        assert!(full.sites["yande.re"].login.is_some() && full.jobs[0].window.is_some());
    }
}
