//! A dialect's TOML file, checked and compiled.
//!
//! Every template and filter is compiled here, once; a complaint names the file, the line and the nearest right word.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;

use super::{
    action::{Action, Session},
    endpoint::{Endpoint, EndpointKind},
    filter::Filter,
    hooks::Login,
    json,
    keys::Keys,
    paging::Cursor,
    params::Param,
    prelude::{Globals, Prelude},
    reading::{Reading, ask},
    reply::{ReplyError, error_of},
    rest::{Quiet, Throttle},
};
use crate::{
    clock::Millis,
    config::{
        HostPattern, Rate,
        reader::{Node, Table},
        units,
    },
};

/// How one kind of site software talks.
#[derive(Debug)]
pub struct Dialect {
    /// Its name.
    pub name: String,
    /// One line for `larder sites`.
    pub about: String,
    /// Limits of every site that names none.
    pub limits: PresetLimits,
    /// How its sites throttle.
    pub throttle: Throttle,
    /// When its sites are left alone.
    pub quiet: Vec<Quiet>,
    /// Which setting of a site logs in, such as `cookies.PHPSESSID`, where it is not `login`.
    pub credential: Option<String>,
    /// How a login travels, where the dialect knows one.
    pub login: Option<Login>,
    /// Listings and lookups by name.
    pub endpoints: BTreeMap<String, Arc<Endpoint>>,
    /// Requests that change an account, by name; no job can reach them.
    pub actions: BTreeMap<String, Arc<Action>>,
    /// Where the key of signatures is.
    pub keys: Option<Keys>,
    /// Headers without variables that every request has.
    pub plain_headers: Vec<(String, String)>,
    /// What the filter `error` of the dialect makes of a reply.
    pub(super) error: Option<Filter>,
    /// Where actions find secrets that no setting holds.
    pub session: Option<Session>,
    /// Sites built in, by name.
    pub presets: BTreeMap<String, Preset>,
    /// The paths of an item's web page by kind, with `{id}` in each; the first is the usual one.
    pub kinds: BTreeMap<String, Vec<String>>,
    /// Whether the site's web addresses may have a language before them, such as `/en` or `/zh-tw`.
    pub languages: bool,
    /// Hosts whose addresses mean its sites too, where an API has a host of its own.
    pub web: Vec<HostPattern>,
    /// Headers of requests for files, which go to media hosts: never a secret.
    pub media_headers: Vec<(String, String)>,
    /// The listing that shows best whether a site works.
    pub probe: Option<String>,
    /// Whether the dialect has one instance, whose records carry the dialect's name.
    pub single: bool,
}

/// A site that a dialect brings along.
#[derive(Debug, Clone, Default)]
pub struct Preset {
    /// Its address.
    pub url: Option<Url>,
    /// Addresses that serve the same, asked in turn while the others cannot be reached.
    pub mirrors: Vec<Url>,
    /// One line for `larder sites`.
    pub about: String,
    /// What hooks and filters need to know of it, such as the salt of a password.
    pub vars: BTreeMap<String, String>,
    /// Where its files are.
    pub media_hosts: Vec<HostPattern>,
    /// Its own limits.
    pub limits: PresetLimits,
}

/// Limits as far as a dialect or preset sets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PresetLimits {
    /// Requests per time for pages.
    pub rate: Option<Rate>,
    /// Pages at once.
    pub connections: Option<u32>,
    /// Requests per time for files.
    pub media_rate: Option<Rate>,
    /// Files at once.
    pub media_connections: Option<u32>,
}

impl Dialect {
    /// The error that a reply to no endpoint in particular reports.
    pub fn reported(&self, body: &[u8], status: u16) -> Option<ReplyError> {
        let globals = Globals::new(jaq_json::Val::Null, &Cursor::new(), Some(status));
        error_of(self.error.as_ref(), &json::read(body).ok()?, &globals)
    }

    /// Until when its sites are left alone, where `now` is a quiet time.
    pub fn quiet_until(&self, now: Millis) -> Option<Millis> {
        self.quiet.iter().filter_map(|quiet| quiet.until(now)).max()
    }
}

pub(super) fn read_dialect(table: Table<'_>, trusted: bool) -> Dialect {
    if let Some(node) = table.need("format")
        && node.int().is_some_and(|format| format != 1)
    {
        node.error("this larder reads format 1");
    }
    let name = table
        .need("name")
        .and_then(|n| n.text())
        .unwrap_or_default()
        .to_owned();
    let about = text(&table, "about");
    let languages = table.get("languages").and_then(|n| n.bool()) == Some(true);
    let single = table.get("single").and_then(|n| n.bool()).unwrap_or(false);
    let limits = table.get("limits").and_then(|n| n.table()).map(|t| {
        let limits = read_limits(&t);
        t.finish();
        limits
    });
    let throttle = table.get("throttle").and_then(|node| node.table());
    let quiet = table.get("quiet").and_then(|node| node.list());
    let quiet = quiet.unwrap_or_default();
    let quiet = quiet
        .iter()
        .filter_map(|node| node.table().and_then(Quiet::read));
    let quiet = quiet.collect();
    let credential = table.get("credential").and_then(|node| node.text());
    let login = table.get("login").and_then(|node| {
        let word = node.text()?;
        let login = Login::from_word(word);
        if login.is_none() {
            node.unknown("login", word, Login::WORDS);
        }
        login
    });
    let shared = params(&table);
    let mut kinds = BTreeMap::new();
    for (kind, node) in table
        .get("kinds")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        let several = node.is_list().then(|| node.list().unwrap_or_default());
        for node in several.unwrap_or_else(|| vec![node]) {
            match node.text() {
                Some(path) if path.starts_with('/') && path.matches("{id}").count() == 1 => {
                    let paths: &mut Vec<_> = kinds.entry(kind.to_owned()).or_default();
                    paths.push(path.to_owned());
                }
                Some(path) => node.error(format!(
                    "`{path}` must begin with `/` and hold `{{id}}` once"
                )),
                None => {}
            }
        }
    }
    let prelude = match table.get("defs") {
        Some(node) => node.parsed_inside(|text| Prelude::new(text, trusted)),
        None => Prelude::new("", trusted).ok(),
    };
    let headers = ask::headers(table.get("headers").as_ref());
    let web = table.get("web").and_then(|node| node.list());
    let web = web.unwrap_or_default();
    let web = web
        .iter()
        .filter_map(|node| node.parsed(str::parse))
        .collect();
    let media_headers = ask::plain_headers(table.get("media_headers").as_ref());
    let with = table.get("with");
    let mut reading = Reading {
        shared: &shared,
        headers: &headers,
        with: with.as_ref(),
        error: None,
        keys: table.get("keys").is_some(),
        prelude: prelude.as_ref(),
    };
    reading.error = table.get("error").and_then(|node| reading.filter(&node));
    let keys = table.get("keys").and_then(|node| node.table());
    let keys = keys.and_then(|table| Keys::read(table, |node| reading.filter(node)));
    let error = reading.error.clone();
    let plain = headers
        .iter()
        .filter(|(_, line)| line.variables().is_empty());
    let plain_headers = plain.map(|(name, line)| (name.clone(), line.text().to_owned()));
    let plain_headers = plain_headers.collect();
    let mut endpoints = BTreeMap::new();
    for (key, kind) in [
        ("listing", EndpointKind::Listing),
        ("lookup", EndpointKind::Lookup),
    ] {
        for (name, node) in table
            .get(key)
            .and_then(|n| n.table())
            .map_or(Vec::new(), |t| t.entries())
        {
            if let Some(endpoint) = node.table().and_then(|t| reading.endpoint(name, kind, t)) {
                endpoints.insert(name.to_owned(), Arc::new(endpoint));
            }
        }
    }
    check_follows(&table, &endpoints);
    let session = table.get("session").and_then(|node| node.table());
    let session = session.map(|table| reading.session(table));
    let mut actions = BTreeMap::new();
    for (name, node) in table
        .get("action")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        if endpoints.contains_key(name) {
            node.error(format!("`{name}` is a listing or look-up already"));
        }
        let action = node
            .table()
            .and_then(|table| reading.action(name, table, session.as_ref()));
        if let Some(action) = action {
            actions.insert(name.to_owned(), Arc::new(action));
        }
    }
    let probe = table.get("probe").and_then(|node| {
        let name = node.text()?;
        let listings = endpoints.values().filter(|e| e.can_probe());
        if !listings.clone().any(|endpoint| endpoint.name == name) {
            node.unknown(
                "listing without required parameters",
                name,
                listings.map(|e| e.name.as_str()),
            );
        }
        Some(name.to_owned())
    });
    let mut presets = BTreeMap::new();
    for (name, node) in table
        .get("sites")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        if let Some(preset) = node.table().map(read_preset) {
            presets.insert(name.to_owned(), preset);
        }
    }
    table.finish();
    Dialect {
        name,
        about,
        limits: limits.unwrap_or_default(),
        throttle: throttle.map(Throttle::read).unwrap_or_default(),
        quiet,
        credential: credential.map(str::to_owned),
        login,
        endpoints,
        actions,
        keys,
        plain_headers,
        error,
        session,
        presets,
        kinds,
        web,
        media_headers,
        probe,
        single,
        languages,
    }
}

impl Dialect {
    /// The listing that shows best whether a site works: the one named by `probe`, else one with files, which can be asked
    /// without parameters.
    pub fn probe(&self) -> Option<&Arc<Endpoint>> {
        let named = self
            .probe
            .as_ref()
            .and_then(|name| self.endpoints.get(name));
        let mut others: Vec<_> = self.endpoints.values().filter(|e| e.can_probe()).collect();
        others.sort_by_key(|endpoint| endpoint.roles.is_empty());
        named.or_else(|| others.first().copied())
    }
}

/// Every `with` must lead to an endpoint of the same dialect.
fn check_follows(table: &Table<'_>, endpoints: &BTreeMap<String, Arc<Endpoint>>) {
    let tables = ["listing", "lookup"]
        .into_iter()
        .filter_map(|key| table.get(key)?.table());
    let known = || endpoints.values().flat_map(|endpoint| endpoint.with.keys());
    for (name, node) in tables.flat_map(|table| table.entries()) {
        let Some(endpoint) = endpoints.get(name) else {
            continue;
        };
        // Shared ones are named in a list, and complained about there.
        let places = node.table().and_then(|table| table.get("with"));
        let places = places.as_ref().map_or(Vec::new(), |node| {
            if node.is_list() {
                let names = node.list().unwrap_or_default().into_iter();
                names
                    .filter_map(|n| Some((n.text()?.to_owned(), n)))
                    .collect()
            } else {
                let entries = node.table().map_or(Vec::new(), |t| t.entries());
                entries
                    .into_iter()
                    .map(|(name, n)| (name.to_owned(), n))
                    .collect()
            }
        });
        for (name, node) in &places {
            let Some(with) = endpoint.with.get(name) else {
                continue;
            };
            if with.dialect.is_none() && !endpoints.contains_key(&with.endpoint) {
                node.unknown(
                    "endpoint",
                    &with.endpoint,
                    endpoints.keys().map(String::as_str),
                );
            }
            for then in with
                .then
                .iter()
                .filter(|then| !known().any(|name| name == *then))
            {
                node.unknown("follow-up", then, known().map(String::as_str));
            }
        }
    }
}

fn read_preset(table: Table<'_>) -> Preset {
    let url = table.get("url").and_then(|n| n.parsed(Url::parse));
    let mirrors = table.get("mirrors").and_then(|n| n.list());
    let mirrors = mirrors.unwrap_or_default();
    let mirrors = mirrors.iter().filter_map(|node| node.parsed(Url::parse));
    let about = text(&table, "about");
    let mut vars = BTreeMap::new();
    for (key, node) in table
        .get("vars")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        if let Some(value) = node.text() {
            vars.insert(key.to_owned(), value.to_owned());
        }
    }
    let nodes = table
        .get("media_hosts")
        .and_then(|n| n.list())
        .unwrap_or_default();
    let media_hosts = nodes.iter().filter_map(|n| n.parsed(str::parse)).collect();
    let limits = read_limits(&table);
    table.finish();
    Preset {
        url,
        mirrors: mirrors.collect(),
        about,
        vars,
        media_hosts,
        limits,
    }
}

fn read_limits(table: &Table<'_>) -> PresetLimits {
    let rate = |key| {
        table
            .get(key)
            .and_then(|n: Node<'_>| n.parsed(units::parse_rate))
    };
    let count = |key| {
        let value = table.get(key).and_then(|n: Node<'_>| n.int_at_least(1));
        value.and_then(|n| u32::try_from(n).ok())
    };
    PresetLimits {
        rate: rate("rate"),
        connections: count("connections"),
        media_rate: rate("media_rate"),
        media_connections: count("media_connections"),
    }
}

pub(super) fn text(table: &Table<'_>, key: &'static str) -> String {
    table
        .get(key)
        .and_then(|n| n.text())
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn params(table: &Table<'_>) -> BTreeMap<String, Param> {
    let mut params = BTreeMap::new();
    for (name, node) in table
        .get("params")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        if let Some(param) = node.table().and_then(Param::read) {
            params.insert(name.to_owned(), param);
        }
    }
    params
}
