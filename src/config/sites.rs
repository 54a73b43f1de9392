//! Sites: `[sites.NAME]` over what a dialect's preset knows, key by key.
//!
//! Owns the defaults of a site and the rules for its address, hosts, headers, cookies and login. Promises that a table
//! which no job uses is checked as well. A site with mistakes still stands, filled with defaults, so that its jobs are
//! checked in the same reading; the mistakes themselves keep the configuration from being handed out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use url::Url;

use super::{
    CookieFile, Diagnostics, HostPattern, Limits, Rate, Site, Source,
    access::{login, pairs},
    network,
    reader::{Node, Table, suggest},
    units,
};
use crate::dialect::{Catalog, Dialect, Preset, PresetLimits};

/// Keys of a site that hold tables.
const TABLES: [&str; 3] = ["cookies", "headers", "login"];

/// The sites named so far; `None` where even the dialect is unknown.
pub(super) struct Sites<'c> {
    catalog: &'c Catalog,
    known: BTreeMap<String, Option<Arc<Site>>>,
}

impl<'c> Sites<'c> {
    /// Reads `[sites]`.
    pub(super) fn read(catalog: &'c Catalog, node: Option<&Node<'_>>) -> Self {
        let mut known = BTreeMap::new();
        let table = node.and_then(Node::table);
        for (name, node) in table.iter().flat_map(Table::entries) {
            let site = node
                .table()
                .and_then(|table| read(catalog, name, &node, Some(table)));
            known.insert(name.to_owned(), site.map(Arc::new));
        }
        Self { catalog, known }
    }

    /// The site that a job's `site` names: of a table, or else built in.
    pub(super) fn find(&mut self, node: &Node<'_>) -> Option<Arc<Site>> {
        let name = node.text()?;
        if let Some(site) = self.known.get(name) {
            return site.clone();
        }
        if self.catalog.preset(name).is_none() {
            let tables = self.known.keys().map(String::as_str);
            node.unknown("site", name, tables.chain(self.catalog.preset_names()));
            return None;
        }
        let site = read(self.catalog, name, node, None).map(Arc::new);
        self.known.insert(name.to_owned(), site.clone());
        site
    }

    /// The one site of this dialect: a table of its name, the only table that speaks it, or the one built in.
    pub(super) fn speaking(&mut self, dialect: &str, node: &Node<'_>) -> Option<Arc<Site>> {
        if let Some(site) = self.known.get(dialect) {
            return site.clone();
        }
        let speaks = |site: &&Arc<Site>| site.dialect.name == dialect;
        let mut speaking = self.known.values().flatten().filter(speaks);
        let (first, second) = (speaking.next().cloned(), speaking.next());
        match (first, second) {
            (Some(first), Some(second)) => {
                node.error(format!(
                    "it leads to a site that speaks {dialect}, and there are several, such as [sites.\"{}\"] and \
                     [sites.\"{}\"]; call the one that is meant `{dialect}`",
                    first.name, second.name
                ));
                None
            }
            (Some(first), None) => Some(first),
            (None, _) if self.catalog.preset(dialect).is_some() => {
                let site = read(self.catalog, dialect, node, None).map(Arc::new);
                self.known.insert(dialect.to_owned(), site.clone());
                site
            }
            (None, _) => {
                node.error(format!(
                    "it leads to a site that speaks {dialect}, and there is none; write one under [sites]"
                ));
                None
            }
        }
    }

    /// The sites, by name.
    pub(super) fn into_map(self) -> BTreeMap<String, Arc<Site>> {
        let sites = self.known.into_iter();
        sites
            .filter_map(|(name, site)| Some((name, site?)))
            .collect()
    }
}

/// A site built in, as a job gets it that names it without a table.
pub(super) fn built_in(catalog: &Catalog, name: &str) -> Option<Site> {
    catalog.preset(name)?;
    let text = format!("site = {}", toml::Value::from(name));
    let (source, diagnostics) = (Source::new("built in", text), Diagnostics::default());
    let site = |table: Table<'_>| read(catalog, name, &table.get("site")?, None);
    let site = Table::parse(&source, &diagnostics, site).flatten();
    site.filter(|_| diagnostics.is_empty())
}

/// One site of its table and its preset; `origin` is where complaints about the whole go.
fn read(
    catalog: &Catalog,
    name: &str,
    origin: &Node<'_>,
    table: Option<Table<'_>>,
) -> Option<Site> {
    let found = catalog.preset(name);
    let preset = found.map(|(_, preset)| preset);
    if let Some(table) = &table
        && found.is_none()
        && let [(rest, node)] = table.entries().as_slice()
        && node.is_table()
        && !TABLES.contains(rest)
    {
        node.hide();
        node.error(format!(
            "a dot in a site's name needs quotes; write `[sites.\"{name}.{rest}\"]`"
        ));
        return None;
    }
    let get = |key| table.as_ref().and_then(|table| table.get(key));
    let dialect = match get("dialect") {
        Some(node) => named(catalog, &node),
        None => found.map(|(dialect, _)| dialect).or_else(|| {
            let hint = suggest(name, catalog.preset_names());
            origin.error(format!(
                "`dialect` is missing, and no site of this name is built in{hint}"
            ));
            None
        }),
    };
    let own_url = get("url");
    let mirrors = preset.filter(|_| own_url.is_none());
    let mirrors = mirrors.map_or(Vec::new(), |preset| preset.mirrors.clone());
    let url = address(own_url.as_ref(), preset, origin);
    let id = get("id").and_then(|node| node.parsed(checked_id));
    let id = id.unwrap_or_else(|| match dialect {
        Some(dialect) if dialect.single => dialect.name.clone(),
        _ => url.host_str().unwrap_or(name).to_owned(),
    });
    let own = PresetLimits {
        rate: get("rate").and_then(|node| node.parsed(units::parse_rate)),
        connections: get("connections").and_then(|node| small(&node)),
        media_rate: get("media_rate").and_then(|node| node.parsed(units::parse_rate)),
        media_connections: get("media_connections").and_then(|node| small(&node)),
    };
    let (api, media) = limits([
        Some(&own),
        preset.map(|preset| &preset.limits),
        dialect.map(|dialect| &dialect.limits),
    ]);
    let media_hosts = match get("media_hosts") {
        Some(node) => hosts(&node),
        None => preset
            .map(|preset| preset.media_hosts.clone())
            .unwrap_or_default(),
    };
    let page_size = get("page_size").and_then(|node| small(&node));
    let bandwidth = get("bandwidth").and_then(|node| node.parsed(units::parse_bandwidth));
    let daily = get("daily").and_then(|node| node.parsed(units::parse_size));
    let proxy = get("proxy").and_then(|node| network::proxy(&node));
    let cookies = get("cookies").map(|node| pairs(&node, "cookie", &[';']));
    let cookies_file = get("cookies_file").and_then(|node| CookieFile::read(&node, &url));
    let headers = get("headers").map(|node| pairs(&node, "header", &[]));
    let login = get("login").and_then(|node| login(&node));
    if let Some(table) = table {
        table.finish();
    }
    Some(Site {
        name: name.to_owned(),
        id,
        dialect: dialect?.clone(),
        url,
        mirrors: mirrors.into_iter().map(trimmed).collect(),
        api,
        media,
        media_hosts,
        page_size,
        bandwidth,
        daily,
        proxy,
        cookies: cookies.unwrap_or_default(),
        cookies_file,
        headers: headers.unwrap_or_default(),
        login,
        vars: preset.map(|preset| preset.vars.clone()).unwrap_or_default(),
    })
}

fn named<'c>(catalog: &'c Catalog, node: &Node<'_>) -> Option<&'c Arc<Dialect>> {
    let word = node.text()?;
    let dialect = catalog.get(word);
    if dialect.is_none() && !catalog.was_refused(word) {
        node.unknown("dialect", word, catalog.names());
    }
    dialect
}

/// The address of the table, else of the preset; a placeholder after a complaint.
fn address(own: Option<&Node<'_>>, preset: Option<&Preset>, origin: &Node<'_>) -> Url {
    let url = match own {
        Some(node) => {
            network::hide_account(node);
            node.parsed(base)
        }
        None => {
            let url = preset.and_then(|preset| preset.url.clone());
            if url.is_none() {
                origin.error("`url` is missing; write the site's address, like `url = \"https://example.org\"`");
            }
            url.map(trimmed)
        }
    };
    url.unwrap_or_else(|| Url::parse("https://unknown.invalid/").expect("a constant that parses"))
}

/// The limits of API and media hosts: of the first of `layers` that knows each, else larder's own.
fn limits(layers: [Option<&PresetLimits>; 3]) -> (Limits, Limits) {
    let rate =
        |pick: fn(&PresetLimits) -> Option<Rate>| layers.iter().copied().flatten().find_map(pick);
    let count =
        |pick: fn(&PresetLimits) -> Option<u32>| layers.iter().copied().flatten().find_map(pick);
    let api = Limits {
        rate: rate(|l| l.rate).unwrap_or(Rate::Every(Duration::from_secs(1))),
        connections: count(|l| l.connections).unwrap_or(1),
    };
    let media = Limits {
        rate: rate(|l| l.media_rate).unwrap_or(Rate::Every(Duration::from_millis(500))),
        connections: count(|l| l.media_connections).unwrap_or(2),
    };
    (api, media)
}

/// A whole number from 1 that fits where larder counts connections and page sizes.
fn small(node: &Node<'_>) -> Option<u32> {
    let value = node.int_at_least(1)?;
    let small = u32::try_from(value).ok();
    if small.is_none() {
        node.error(format!("`{value}` is too large; at most {}", u32::MAX));
    }
    small
}

/// Checks a site's address. Its text is quoted only where it cannot hold a password.
fn base(text: &str) -> Result<Url, String> {
    const EXAMPLE: &str = "write it like `https://example.org`";
    let shown = network::called(text);
    let url = Url::parse(text)
        .map_err(|error| format!("{shown} is not an address: {error}; {EXAMPLE}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address carries no user or password; write them into `login`".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{shown} is neither http nor https; {EXAMPLE}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{shown} has a query or fragment; leave out what follows `?` or `#`"
        ));
    }
    Ok(trimmed(url))
}

/// `url` without the slash at the end of its path.
fn trimmed(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url
}

/// An id is the first part of `SITE/KIND/ID`.
fn checked_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "`{text}` cannot be an id; write a word without `/` and spaces, like `example.org`"
        ));
    }
    Ok(text.to_owned())
}

fn hosts(node: &Node<'_>) -> Vec<HostPattern> {
    let list = node.list().unwrap_or_default();
    list.iter()
        .filter_map(|node| node.parsed(str::parse))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sites of `text`, and every complaint as printed.
    fn sites(text: &str) -> (BTreeMap<String, Arc<Site>>, String) {
        let catalog = Catalog::built_in();
        let (source, diagnostics) = (Source::new("archive.toml", text), Diagnostics::default());
        let read = |root: Table<'_>| Sites::read(&catalog, root.get("sites").as_ref()).into_map();
        let sites = Table::parse(&source, &diagnostics, read).unwrap_or_default();
        let complaints = diagnostics.into_vec();
        let complaints: Vec<_> = complaints.iter().map(ToString::to_string).collect();
        (sites, complaints.join("\n"))
    }

    #[test]
    fn a_table_overrides_its_preset_key_by_key() {
        let (bare, complaints) = sites("[sites.\"yande.re\"]\n");
        assert_eq!(complaints, "");
        let (own, complaints) = sites(
            "[sites.\"yande.re\"]\nrate = \"10/min\"\nurl = \"http://127.0.0.1:8801/base/\"\n",
        );
        assert_eq!(complaints, "");
        let (bare, own) = (&bare["yande.re"], &own["yande.re"]);
        assert_eq!(bare.id, "yande.re");
        assert_eq!(own.url.as_str(), "http://127.0.0.1:8801/base");
        assert_eq!(own.api.rate, Rate::Every(Duration::from_secs(6)));
        assert_eq!(
            (own.media_hosts.clone(), own.media),
            (bare.media_hosts.clone(), bare.media)
        );
        assert_eq!(
            (&own.vars, &own.dialect.name),
            (&bare.vars, &bare.dialect.name)
        );
    }

    #[test]
    fn a_site_of_ones_own_has_polite_defaults() {
        let (layers, media) = limits([None, None, None]);
        assert_eq!(
            layers,
            Limits {
                rate: Rate::Every(Duration::from_secs(1)),
                connections: 1
            }
        );
        assert_eq!(
            media,
            Limits {
                rate: Rate::Every(Duration::from_millis(500)),
                connections: 2
            }
        );
        let (_, complaints) = sites("[sites.mine]\nurl = \"https://example.org\"\n");
        assert!(complaints.contains("`dialect` is missing"), "{complaints}");
    }

    #[test]
    fn an_unset_variable_is_no_mistake_yet() {
        let (sites, complaints) = sites(
            "[sites.\"yande.re\"]\ncookies = { PHPSESSID = { env = \"LARDER_TEST_NEVER_SET\" } }\n",
        );
        assert_eq!(complaints, "");
        assert_eq!(
            sites["yande.re"].id, "yande.re",
            "one instance: the dialect's name"
        );
        assert_eq!(
            format!("{:?}", sites["yande.re"].cookies),
            "[(\"PHPSESSID\", unset $LARDER_TEST_NEVER_SET)]"
        );
    }

    #[test]
    fn no_complaint_shows_a_secret() {
        for text in [
            "[sites.\"yande.re\"]\ncookie = { PHPSESSID = \"S3CRET\" }",
            "[sites.\"yande.re\"]\npasword = \"S3CRET\"",
            "[sites.\"yande.re\"]\nlogin = { user = \"me\", password = \"S3CRET\", api_key = \"S3CRET\" }",
            "[sites.\"yande.re\"]\nlogin = { password = \"S3CRET\" }",
            "[sites.\"yande.re\"]\nlogin = { user = \"me\", pasword = \"S3CRET\" }",
            "[sites.\"yande.re\"]\nlogin = { user = \"me\", password = S3CRET }",
            "[sites.\"yande.re\"]\nlogin = { user = \"me\", password = \"S3CRET }",
            "[sites.\"yande.re\"]\nheaders = { \"not a token\" = \"S3CRET\" }",
            "[sites.\"yande.re\"]\nheaders = { Token = { text = \"S3CRET\" } }",
            "[sites.\"yande.re\"]\nheaders = { Token = [\"S3CRET\"] }",
            "[sites.\"yande.re\"]\nheaders = { Token = \"S3CRET\\n\" }",
            "[sites.\"yande.re\"]\nurl = \"https://me:S3CRET@example.org\"",
            "[sites.\"yande.re\"]\nproxy = \"ftp://me:S3CRET@example.org\"",
            "[sites.yande.re]\npassword = \"S3CRET\"\nx = 1",
        ] {
            let (_, complaints) = sites(text);
            assert!(
                !complaints.is_empty() && !complaints.contains("S3CRET"),
                "{text}\n{complaints}"
            );
        }
    }

    #[test]
    fn a_dot_in_a_name_without_quotes_is_explained() {
        let (_, complaints) = sites("[sites.yande.re]\nrate = \"1/s\"\n");
        assert!(
            complaints.contains("write `[sites.\"yande.re\"]`"),
            "{complaints}"
        );
    }
}
