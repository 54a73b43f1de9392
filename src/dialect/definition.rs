//! A dialect's TOML file, checked and compiled.
//!
//! Every template and filter is compiled here, once; a complaint names the file, the line and the nearest right word.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;
use url::Url;

use super::{
    filter::Filter,
    hooks::Login,
    item::value_of,
    paging::{By, Paging, Position},
    params::{Param, Value, Values},
    request::{Request, Template, Variables, val_of, variables_of},
};
use crate::config::{
    HostPattern, Rate, Site,
    reader::{Diagnostics, Node, Source, Table},
    units,
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
    /// How a login travels, where the dialect knows one.
    pub login: Option<Login>,
    /// Listings and lookups by name.
    pub endpoints: BTreeMap<String, Arc<Endpoint>>,
    /// Sites built in, by name.
    pub presets: BTreeMap<String, Preset>,
    /// The path of an item's web page by kind, with `{id}` in it.
    pub kinds: BTreeMap<String, String>,
    /// Whether the dialect has one instance, whose records carry the dialect's name.
    pub single: bool,
}

/// A site that a dialect brings along.
#[derive(Debug, Clone, Default)]
pub struct Preset {
    /// Its address.
    pub url: Option<Url>,
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

/// Whether an endpoint is walked or asked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// Many pages; what jobs walk.
    Listing,
    /// One reply about one thing.
    Lookup,
}

/// One request that a dialect knows.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Listing or lookup.
    pub kind: EndpointKind,
    /// One line for `larder sites`.
    pub about: String,
    /// Its parameters.
    pub params: BTreeMap<String, Param>,
    /// Names that a job's `with` may use.
    pub follows: Vec<String>,
    /// Roles of the files that its items have; the first is taken when a job names none.
    pub roles: Vec<String>,
    /// Whether new members appear first.
    pub enters_top: bool,
    pub(super) template: Template,
    pub(super) vars: Option<Filter>,
    pub(super) check: Option<Filter>,
    pub(super) pagings: Vec<Paging>,
    pub(super) reply: ReplyFilters,
    pub(super) with: BTreeMap<String, With>,
}

/// The filters that read a reply.
#[derive(Debug)]
pub(super) struct ReplyFilters {
    pub each: Filter,
    pub item: Filter,
    pub next: Option<Filter>,
    pub total: Option<Filter>,
    pub error: Option<Filter>,
}

/// A follow-up that a job may ask for.
#[derive(Debug)]
pub(super) struct With {
    pub endpoint: String,
    pub params: Filter,
    pub when: Option<Filter>,
}

impl Endpoint {
    /// What the dialect itself objects to in `values`: (parameter, complaint).
    pub fn check(&self, values: &Values) -> Vec<(Option<String>, String)> {
        let Some(filter) = &self.check else {
            return Vec::new();
        };
        let input = val_of(&Json::Object(variables(values)));
        match filter.all(input) {
            Ok(outputs) => outputs
                .iter()
                .filter_map(|output| {
                    let json: Json = serde_json::from_str(&output.to_string()).ok()?;
                    let param = json.get("param").and_then(Json::as_str).map(str::to_owned);
                    Some((param, json.get("message")?.as_str()?.to_owned()))
                })
                .collect(),
            Err(error) => vec![(None, format!("the dialect's check failed: {error}"))],
        }
    }

    /// The way to walk with these parameters.
    pub fn paging(&self, values: &Values) -> &Paging {
        let input = val_of(&Json::Object(variables(values)));
        let holds = |paging: &&Paging| {
            match &paging.when {
            None => true,
            Some(filter) => filter
                .first(input.clone())
                .is_ok_and(|out| matches!(out, Some(v) if !matches!(v, jaq_json::Val::Null | jaq_json::Val::Bool(false)))),
        }
        };
        let last = self
            .pagings
            .last()
            .expect("a dialect is refused without a paging");
        self.pagings.iter().find(holds).unwrap_or(last)
    }

    /// The request for the page at `at`, of `limit` entries where the site lets one choose, or `None` when the dialect's `vars` say that nothing can be left.
    ///
    /// # Errors
    /// A filter or template that failed on these values.
    pub fn request(
        &self,
        site: &Site,
        values: &Values,
        at: &Position,
        limit: Option<u32>,
    ) -> Result<Option<Request>, String> {
        let mut variables = variables(values);
        if let Some(limit) = limit {
            variables.insert("limit".to_owned(), limit.into());
        }
        variables.extend(at.cursor.clone());
        if let Some(filter) = &self.vars {
            let Some(output) = filter.first(val_of(&Json::Object(variables.clone())))? else {
                return Ok(None);
            };
            variables.extend(variables_of(&output)?);
        }
        self.template.expand(&site.url, &variables).map(Some)
    }
}

fn variables(values: &Values) -> Variables {
    let json = |value: &Value| serde_json::to_value(value).unwrap_or(Json::Null);
    values.iter().map(|(k, v)| (k.clone(), json(v))).collect()
}

/// Every dialect known.
#[derive(Debug, Clone)]
pub struct Catalog {
    dialects: BTreeMap<String, Arc<Dialect>>,
}

/// The dialects built in, as (path for messages, text).
const BUILT_IN: [(&str, &str); 1] = [("moebooru.toml", include_str!("moebooru.toml"))];

impl Catalog {
    /// The dialects built in.
    pub fn built_in() -> Self {
        let mut catalog = Self {
            dialects: BTreeMap::new(),
        };
        let diagnostics = Diagnostics::default();
        for (path, text) in BUILT_IN {
            catalog.add(&Source::new(path, text), &diagnostics);
        }
        let problems = diagnostics.into_vec();
        debug_assert!(
            problems.is_empty(),
            "a built-in dialect is wrong: {}",
            problems[0]
        );
        catalog
    }

    /// Adds a user's dialect; one with a built-in's name replaces it.
    pub fn add(&mut self, source: &Source, diagnostics: &Diagnostics) {
        let before = diagnostics.len();
        let dialect = Table::parse(source, diagnostics, read_dialect);
        if let Some(dialect) = dialect.filter(|_| diagnostics.len() == before) {
            self.dialects
                .insert(dialect.name.clone(), Arc::new(dialect));
        }
    }

    /// The dialect called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Dialect>> {
        self.dialects.get(name)
    }

    /// The names of all dialects.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.dialects.keys().map(String::as_str)
    }

    /// The preset of a site built in.
    pub fn preset(&self, site: &str) -> Option<(&Arc<Dialect>, &Preset)> {
        let mut all = self.dialects.values();
        all.find_map(|dialect| dialect.presets.get(site).map(|preset| (dialect, preset)))
    }

    /// The names of all sites built in.
    pub fn preset_names(&self) -> impl Iterator<Item = &str> {
        self.dialects
            .values()
            .flat_map(|dialect| dialect.presets.keys().map(String::as_str))
    }
}

fn read_dialect(table: Table<'_>) -> Dialect {
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
    let single = table.get("single").and_then(|n| n.bool()).unwrap_or(false);
    let limits = table.get("limits").and_then(|n| n.table()).map(|t| {
        let limits = read_limits(&t);
        t.finish();
        limits
    });
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
        match node.text() {
            Some(path) if path.starts_with('/') && path.matches("{id}").count() == 1 => {
                kinds.insert(kind.to_owned(), path.to_owned());
            }
            Some(path) => node.error(format!(
                "`{path}` must begin with `/` and hold `{{id}}` once"
            )),
            None => {}
        }
    }
    let error = table.get("error");
    let reading = Reading {
        shared: &shared,
        error: error.as_ref(),
    };
    if let Some(node) = &error {
        filter(node);
    }
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
        login,
        endpoints,
        presets,
        kinds,
        single,
    }
}

/// Every `with` must lead to an endpoint of the same dialect.
fn check_follows(table: &Table<'_>, endpoints: &BTreeMap<String, Arc<Endpoint>>) {
    for endpoint in endpoints.values() {
        for (name, with) in &endpoint.with {
            if !endpoints.contains_key(&with.endpoint) {
                let hint = crate::config::reader::suggest(
                    &with.endpoint,
                    endpoints.keys().map(String::as_str),
                );
                table.error(format!(
                    "`with.{name}` of `{}` leads to an unknown endpoint `{}`{hint}",
                    endpoint.name, with.endpoint
                ));
            }
        }
    }
}

fn read_preset(table: Table<'_>) -> Preset {
    let url = table.get("url").and_then(|n| n.parsed(Url::parse));
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

fn text(table: &Table<'_>, key: &'static str) -> String {
    table
        .get(key)
        .and_then(|n| n.text())
        .unwrap_or_default()
        .to_owned()
}

fn params(table: &Table<'_>) -> BTreeMap<String, Param> {
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

fn filter(node: &Node<'_>) -> Option<Filter> {
    node.parsed(Filter::compile)
}

/// What the endpoints of one file share.
struct Reading<'a> {
    shared: &'a BTreeMap<String, Param>,
    error: Option<&'a Node<'a>>,
}

impl Reading<'_> {
    fn endpoint(&self, name: &str, kind: EndpointKind, table: Table<'_>) -> Option<Endpoint> {
        let about = text(&table, "about");
        let params = self.params(&table);
        let repeated = repeated(&table);
        let template = table
            .need("get")
            .and_then(|node| node.parsed(|path| Template::compile(path, repeated)));
        let optional = |key| table.get(key).and_then(|n: Node<'_>| filter(&n));
        let (vars, check) = (optional("vars"), optional("check"));
        let (next, total) = (optional("next"), optional("total"));
        let each = table.need("each").and_then(|n| filter(&n));
        let item = table.need("item").and_then(|n| filter(&n));
        let error = table.get("error").as_ref().or(self.error).and_then(filter);
        let pagings = pagings(&table, kind, next.is_some());
        if let (Some(template), false) = (&template, vars.is_some()) {
            let own = ["limit", "page", "offset"];
            for variable in template.variables() {
                if !params.contains_key(&variable)
                    && !own.contains(&variable.as_str())
                    && next.is_none()
                {
                    let known = params.keys().map(String::as_str).chain(own);
                    let hint = crate::config::reader::suggest(&variable, known);
                    table.error(format!(
                        "nothing gives the template's variable `{variable}`{hint}"
                    ));
                }
            }
        }
        let enters_top = table.get("enters").is_some_and(|node| {
            let word = node.text();
            if word.is_some_and(|w| w != "top") {
                node.unknown("word", word.unwrap_or(""), ["top"]);
            }
            word == Some("top")
        });
        // Web addresses are recognised by `larder add`; they are only checked to be texts here.
        table.get("match").and_then(|n| n.texts());
        let roles = table
            .get("roles")
            .and_then(|n| n.texts())
            .unwrap_or_default();
        let with = withs(&table);
        table.finish();
        Some(Endpoint {
            name: name.to_owned(),
            kind,
            about,
            params,
            follows: with.keys().cloned().collect(),
            roles: roles.into_iter().map(str::to_owned).collect(),
            enters_top,
            template: template?,
            vars,
            check,
            pagings,
            reply: ReplyFilters {
                each: each?,
                item: item?,
                next,
                total,
                error,
            },
            with,
        })
    }

    /// The parameters named by `params = ["…"]`, or defined in `[….params.NAME]`.
    fn params(&self, table: &Table<'_>) -> BTreeMap<String, Param> {
        match table.get("params") {
            Some(node) if node.is_list() => {
                let names = node.list().unwrap_or_default();
                let find = |node: &Node<'_>| {
                    let name = node.text()?;
                    let param = self.shared.get(name);
                    if param.is_none() {
                        node.unknown("parameter", name, self.shared.keys().map(String::as_str));
                    }
                    Some((name.to_owned(), param?.clone()))
                };
                names.iter().filter_map(find).collect()
            }
            _ => params(table),
        }
    }
}

fn repeated(table: &Table<'_>) -> BTreeMap<String, String> {
    let entries = table
        .get("query")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries());
    let pair = |(name, node): (&str, Node<'_>)| Some((name.to_owned(), node.text()?.to_owned()));
    entries.into_iter().filter_map(pair).collect()
}

fn withs(table: &Table<'_>) -> BTreeMap<String, With> {
    let mut all = BTreeMap::new();
    for (name, node) in table
        .get("with")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        let Some(table) = node.table() else { continue };
        let endpoint = text(&table, "endpoint");
        let params = table.need("params").and_then(|n| filter(&n));
        let when = table.get("when").and_then(|n| filter(&n));
        table.finish();
        if let Some(params) = params {
            let endpoint = if endpoint.is_empty() {
                name.to_owned()
            } else {
                endpoint
            };
            all.insert(
                name.to_owned(),
                With {
                    endpoint,
                    params,
                    when,
                },
            );
        }
    }
    all
}

fn pagings(table: &Table<'_>, kind: EndpointKind, has_next: bool) -> Vec<Paging> {
    let Some(node) = table.get("paging") else {
        if kind == EndpointKind::Listing {
            table.error(
                "`paging` is missing; write `paging = { by = \"once\" }` for a listing of one page",
            );
        }
        return vec![Paging::once()];
    };
    let nodes = if node.is_list() {
        node.list().unwrap_or_default()
    } else {
        vec![node]
    };
    let pagings: Vec<_> = nodes.iter().filter_map(|n| paging(n, has_next)).collect();
    if pagings.is_empty() {
        vec![Paging::once()]
    } else {
        pagings
    }
}

fn paging(node: &Node<'_>, has_next: bool) -> Option<Paging> {
    let table = node.table()?;
    let by = table.need("by").and_then(|node| {
        let word = node.text()?;
        let found = By::ALL.iter().find(|(w, _)| *w == word);
        if found.is_none() {
            node.unknown("paging", word, By::ALL.iter().map(|(w, _)| *w));
        }
        found.map(|(_, by)| *by)
    });
    let count = |key| {
        let value = table.get(key).and_then(|n: Node<'_>| n.int_at_least(1));
        value.and_then(|n| u32::try_from(n).ok())
    };
    let paging = Paging {
        by: by.unwrap_or(By::Once),
        first: table
            .get("first")
            .and_then(|n| n.int())
            .unwrap_or(i64::from(by == Some(By::Page))),
        size: count("size"),
        max: count("max"),
        overlap: count("overlap").unwrap_or(0),
        short_ends: table.get("end").is_some_and(|node| {
            let word = node.text();
            if word.is_some_and(|w| w != "short") {
                node.unknown("word", word.unwrap_or(""), ["short"]);
            }
            word == Some("short")
        }),
        when: table.get("when").and_then(|n| filter(&n)),
    };
    if matches!(by, Some(By::Cursor | By::Keyset)) && !has_next {
        node.error("this paging needs the filter `next`");
    }
    if paging.overlap > 0 && by != Some(By::Offset) {
        node.error("`overlap` goes with `by = \"offset\"`");
    }
    if paging.size.is_some_and(|size| size <= paging.overlap) {
        node.error("`overlap` must be smaller than `size`");
    }
    table.finish();
    by.map(|_| paging)
}

/// The parameters that a follow-up's filter gives.
pub(super) fn follow_params(output: &jaq_json::Val) -> Result<Values, String> {
    let map = variables_of(output)?;
    Ok(map
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), value_of(v)?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_dialect_compiles() {
        let catalog = Catalog::built_in();
        assert_eq!(catalog.names().count(), BUILT_IN.len());
        assert!(catalog.preset("yande.re").is_some());
    }

    #[test]
    fn a_wrong_dialect_is_refused_with_every_line_named() {
        let text = "format = 1\nname = \"x\"\n[listing.a]\nget = \"/a{?q}\"\npagin = 1\npaging = { by = \"pages\" }\neach = '.['\nitem = '.'\n";
        let (mut catalog, diagnostics) = (Catalog::built_in(), Diagnostics::default());
        catalog.add(&Source::new("x.toml", text), &diagnostics);
        assert!(catalog.get("x").is_none());
        let all: Vec<_> = diagnostics
            .into_vec()
            .iter()
            .map(|d| (d.line(), d.message.clone()))
            .collect();
        let has = |line, word: &str| {
            all.iter()
                .any(|(l, m)| *l == Some(line) && m.contains(word))
        };
        assert!(
            has(5, "unknown key `pagin`") && has(5, "did you mean `paging`"),
            "{all:?}"
        );
        assert!(has(6, "did you mean `page`"), "{all:?}");
        assert!(has(7, "not a jq filter"), "{all:?}");
        assert!(
            all.iter().any(|(_, m)| m.contains("variable `q`")),
            "{all:?}"
        );
    }
}
