//! pixiv: replies in recorded shapes, and stories with a mock of the whole site.

mod ab;
mod account;
mod addresses;
mod archiving;
mod drift;
mod follows;
mod keeping;
mod shapes;
mod site;
mod upkeep;

use std::collections::BTreeMap;

use serde_json::Value;

use self::site::Pixiv;
use super::shell::Shell;

/// The built-in dialect as a user would copy it, to change it.
const DIALECT: [&str; 7] = [
    include_str!("../../../src/dialect/pixiv/site.toml"),
    include_str!("../../../src/dialect/pixiv/works.toml"),
    include_str!("../../../src/dialect/pixiv/people.toml"),
    include_str!("../../../src/dialect/pixiv/feeds.toml"),
    include_str!("../../../src/dialect/pixiv/search.toml"),
    include_str!("../../../src/dialect/pixiv/requests.toml"),
    include_str!("../../../src/dialect/pixiv/account.toml"),
];

/// A folder with a configuration.
struct Folder<'a> {
    shell: Shell,
    site: &'a Pixiv,
    /// The cookie that is set.
    session: Option<&'static str>,
    /// Requests to the API at once.
    connections: u32,
    /// Lines before the first table.
    top: String,
    /// More of `[network]`.
    network: String,
    /// Hosts besides the mock's own.
    allow: Vec<String>,
    /// Jobs, and tables of other sites.
    jobs: String,
}

impl<'a> Folder<'a> {
    /// The reader's login, and no job.
    fn new(site: &'a Pixiv) -> Self {
        Self {
            shell: Shell::new(),
            site,
            session: Some(site::SESSION),
            connections: 2,
            top: String::new(),
            network: String::new(),
            allow: Vec::new(),
            jobs: String::new(),
        }
    }

    /// Replaces a piece of the dialect, which is then the user's own.
    fn dialect(mut self, piece: &str, by: &str) -> Self {
        let text = DIALECT.concat();
        assert!(text.contains(piece), "{piece}");
        self.shell.write("pixiv.toml", &text.replace(piece, by));
        "dialects = [\"pixiv.toml\"]".clone_into(&mut self.top);
        self
    }

    /// Adds a job called as its listing.
    fn job(mut self, listing: &str, params: &str, keys: &str) -> Self {
        self.jobs += &format!(
            "[[jobs]]\nname = \"{listing}\"\nsite = \"pixiv\"\nlisting = \"{listing}\"\nparams = {{ {params} }}\n{keys}\n"
        );
        self.write();
        self
    }

    fn write(&self) {
        let Self {
            connections,
            allow,
            site,
            top,
            network,
            jobs,
            ..
        } = self;
        let host = |url: &str| url.trim_start_matches("http://").to_owned();
        let (www, img) = (host(&site.url), host(&site.img));
        let cookie = self.session.map_or(String::new(), |session| {
            format!("cookies = {{ PHPSESSID = \"{session}\" }}")
        });
        let more: String = allow.iter().map(|host| format!(", \"{host}\"")).collect();
        let text = format!(
            r#"{top}
archive.path = "archive"
[network]
allow = ["{www}", "{img}"{more}]
tries = 2
backoff = "10ms"
{network}
[sites.pixiv]
url = "{url}"
media_hosts = ["127.0.0.1"]
rate = "unlimited"
media_rate = "unlimited"
connections = {connections}
media_connections = 4
{cookie}
{jobs}
"#,
            url = site.url
        );
        self.shell.write("archive.toml", &text);
    }

    /// The newest record of each item, by kind and id.
    fn records(&self) -> BTreeMap<String, Value> {
        let mut newest = BTreeMap::new();
        for record in self.all_records() {
            let id = format!("{}/{}", text(&record["kind"]), text(&record["id"]));
            newest.insert(id, record);
        }
        newest
    }

    /// Every record of an item, and of its end.
    fn all_records(&self) -> Vec<Value> {
        let mut log = std::fs::read_to_string(self.shell.path("archive/records/current.jsonl"))
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect::<Vec<_>>();
        log.retain(|record| record["type"] == "item" || record["type"] == "gone");
        log
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
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}
