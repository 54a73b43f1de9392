//! bilibili: stories with a mock of the site.

mod answers;
mod archiving;
mod danmaku;
mod deceits;
mod shapes;
mod site;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use self::site::Bilibili;
use super::shell::Shell;

/// The built-in dialect as a user would copy it, to change it.
fn dialect() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect/bilibili");
    let part = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    ["site.toml", "replies.toml", "danmaku.toml"]
        .map(part)
        .concat()
}

/// A folder with a configuration.
struct Folder<'a> {
    shell: Shell,
    site: &'a Bilibili,
    /// The login, if there is one.
    cookies: String,
    jobs: String,
}

impl<'a> Folder<'a> {
    /// The reader's login, and no job. Waits that the site asks for are short.
    fn new(site: &'a Bilibili) -> Self {
        let folder = Self {
            shell: Shell::new(),
            site,
            cookies: format!(
                "cookies = {{ SESSDATA = \"{}\", bili_jct = \"{}\" }}",
                world::SESSION,
                world::CSRF
            ),
            jobs: String::new(),
        };
        let waits = r#"waits = ["60s", "2min", "4min", "8min", "16min", "32min", "1h"]"#;
        let text = dialect();
        assert!(text.contains(waits));
        let text = text.replace(waits, r#"waits = ["10ms"]"#);
        folder.shell.write("bilibili.toml", &text);
        folder
    }

    fn guest(mut self) -> Self {
        self.cookies.clear();
        self
    }

    /// Adds a job called as its listing.
    fn job(mut self, listing: &str, params: &str, keys: &str) -> Self {
        self.jobs += &format!(
            "[[jobs]]\nname = \"{listing}\"\nsite = \"bilibili\"\nlisting = \"{listing}\"\nparams = {{ {params} }}\n{keys}\n"
        );
        self.write();
        self
    }

    fn write(&self) {
        let Self {
            site,
            cookies,
            jobs,
            ..
        } = self;
        let host = |url: &str| url.trim_start_matches("http://").to_owned();
        let text = format!(
            r#"include = ["jobs/*.toml"]
archive.path = "archive"
dialects = ["bilibili.toml"]
[network]
allow = ["{api}", "{files}"]
tries = 3
backoff = "10ms"
[sites.bilibili]
url = "{url}"
media_hosts = ["127.0.0.1"]
rate = "unlimited"
media_rate = "unlimited"
media_connections = 4
{cookies}
{jobs}
"#,
            url = site.url,
            api = host(&site.url),
            files = host(&site.files),
        );
        self.shell.write("archive.toml", &text);
    }

    fn log(&self) -> Vec<Value> {
        let mut text = String::new();
        let records = self.shell.path("archive/records");
        for segment in std::fs::read_dir(&records).unwrap() {
            let path = segment.unwrap().path();
            if path.extension().is_some_and(|e| e == "zst") {
                let bytes = std::fs::read(&path).unwrap();
                text += &String::from_utf8(zstd::decode_all(&*bytes).unwrap()).unwrap();
            }
        }
        text += &std::fs::read_to_string(records.join("current.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Every record of a kind, by id; twice the same meaning is a mistake.
    fn records(&self, kind: &str) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for line in self.log() {
            if line["type"] == "item" && line["kind"] == kind {
                all.insert(text(&line["id"]), line);
            }
        }
        all
    }

    /// Ids of what is gone.
    fn gone(&self) -> BTreeSet<String> {
        let mut gone = BTreeSet::new();
        for line in self.log() {
            match line["type"].as_str() {
                Some("gone") => drop(gone.insert(text(&line["id"]))),
                Some("back") => drop(gone.remove(line["id"].as_str().unwrap())),
                _ => {}
            }
        }
        gone
    }

    fn failures(&self) -> Vec<Value> {
        let failures = self.shell.larder(&["failures", "--json"]).ends(0).json();
        failures.as_array().unwrap().clone()
    }

    fn status(&self, job: &str) -> Value {
        let status = self.shell.larder(&["status", "--json"]).ends(0).json();
        let jobs = status["jobs"].as_array().unwrap();
        jobs.iter().find(|one| one["name"] == job).unwrap().clone()
    }

    /// That the archive holds what the site has, each reply once, as it is.
    fn holds_all(&self) {
        let world = self.site.world();
        let lines = self.log();
        let records: Vec<_> = lines
            .iter()
            .filter(|line| line["type"] == "item" && line["kind"] == "reply")
            .collect();
        let ids: BTreeSet<_> = records.iter().map(|line| text(&line["id"])).collect();
        assert_eq!(ids.len(), records.len(), "a reply has two records");
        let name = |id: u64| format!("{}:{}:{id}", world.kind, world.oid);
        let gone = self.gone();
        let held: BTreeSet<_> = ids.difference(&gone).cloned().collect();
        let there: BTreeSet<_> = world.replies.keys().map(|id| name(*id)).collect();
        let missing: Vec<_> = there.difference(&held).take(5).collect();
        let extra: Vec<_> = held.difference(&there).take(5).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "missing {missing:?}, not there {extra:?}"
        );
        for record in records {
            let id: u64 = text(&record["id"])
                .rsplit(':')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let Some(one) = world.replies.get(&id) else {
                continue;
            };
            assert_eq!(record["text"], one.text.as_str());
            assert_eq!(record["author"]["id"], one.mid.to_string());
            assert_eq!(record["stats"]["likes"], one.likes);
            let parent = (one.parent > 0).then(|| name(one.parent));
            assert_eq!(record["parent"]["id"].as_str().map(str::to_owned), parent);
            let files = record["files"].as_array().map_or(0, Vec::len);
            assert_eq!(files, one.pictures.len(), "{record}");
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
