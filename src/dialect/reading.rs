//! Reads the endpoints of a dialect's TOML file.

use std::collections::BTreeMap;

use super::{
    definition::{params, text},
    endpoint::{Endpoint, EndpointKind, ReplyFilters, With},
    filter::Filter,
    matching::Match,
    paging::{By, Paging},
    params::Param,
    prelude::Prelude,
    request::Template,
};
use crate::config::reader::{Misplaced, Node, Table, suggest};

/// What the endpoints of one file share.
pub(super) struct Reading<'a> {
    pub(super) shared: &'a BTreeMap<String, Param>,
    pub(super) error: Option<Filter>,
    /// `None` when the file's `defs` are broken: that was said, and what it breaks is not said again.
    pub(super) prelude: Option<&'a Prelude>,
}

impl Reading<'_> {
    pub(super) fn filter(&self, node: &Node<'_>) -> Option<Filter> {
        match self.prelude {
            Some(prelude) => node.parsed_inside(|text| prelude.filter(text)),
            None => Filter::compile(node.text()?).ok(),
        }
    }

    pub(super) fn endpoint(
        &self,
        name: &str,
        kind: EndpointKind,
        table: Table<'_>,
    ) -> Option<Endpoint> {
        let about = text(&table, "about");
        let params = self.params(&table);
        let repeated = repeated(&table);
        let get = table.need("get");
        let template = get
            .as_ref()
            .and_then(|node| node.parsed_inside(|path| Template::compile(path, repeated)));
        let optional = |key| table.get(key).and_then(|n: Node<'_>| self.filter(&n));
        let (vars, check) = (optional("vars"), optional("check"));
        let (next, total) = (optional("next"), optional("total"));
        let each = table.need("each").and_then(|n| self.filter(&n));
        let item = table.need("item").and_then(|n| self.filter(&n));
        let error = match table.get("error") {
            Some(node) => self.filter(&node),
            None => self.error.clone(),
        };
        let pagings = pagings(&table, kind, next.is_some(), self);
        if let (Some(get), Some(template), None) = (&get, &template, &vars) {
            // Without a `next` that must be there, nobody knows what it would give.
            if next.is_none() && !pagings.iter().any(Paging::needs_next) {
                check_variables(get, template, &params);
            }
            let filters = [&each, &item, &next, &total, &check].into_iter().flatten();
            let filters = filters.chain(pagings.iter().filter_map(|paging| paging.when.as_ref()));
            check_params(&table, template, &params, &filters.collect::<Vec<_>>());
        }
        let enters_top = table.get("enters").is_some_and(|node| {
            let word = node.text();
            if word.is_some_and(|w| w != "top") {
                node.unknown("word", word.unwrap_or(""), ["top"]);
            }
            word == Some("top")
        });
        let immutable = table.get("immutable").and_then(|node| node.bool());
        let missing = table.get("missing").and_then(|n| n.parsed(path_below));
        let matches = matches(&table, kind, &params);
        let roles = table
            .get("roles")
            .and_then(|n| n.texts())
            .unwrap_or_default();
        let with = withs(&table, self);
        table.finish();
        Some(Endpoint {
            name: name.to_owned(),
            kind,
            about,
            params,
            follows: with.keys().cloned().collect(),
            roles: roles.into_iter().map(str::to_owned).collect(),
            enters_top,
            immutable: immutable.unwrap_or(false),
            missing,
            matches,
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

/// The web addresses that mean a listing: one, or a list of them.
fn matches(table: &Table<'_>, kind: EndpointKind, params: &BTreeMap<String, Param>) -> Vec<Match> {
    let Some(node) = table.get("match") else {
        return Vec::new();
    };
    if kind != EndpointKind::Listing {
        node.error("only a listing can be added by its web address; leave `match` out");
    }
    let nodes = if node.is_list() {
        node.list().unwrap_or_default()
    } else {
        vec![node]
    };
    let read = |node| Match::read(node, params);
    nodes.iter().filter_map(read).collect()
}

/// A path below a site's address.
fn path_below(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` must begin with `/`"))
    }
}

/// Every variable of a request must be a parameter, or be given by the paging.
fn check_variables(get: &Node<'_>, template: &Template, params: &BTreeMap<String, Param>) {
    const OWN: [&str; 3] = ["limit", "page", "offset"];
    for variable in template.variables() {
        if !params.contains_key(variable) && !OWN.contains(&variable.as_str()) {
            let hint = suggest(variable, params.keys().map(String::as_str).chain(OWN));
            get.error_inside(Misplaced {
                message: format!("nothing gives the template's variable `{variable}`{hint}"),
                at: template.place_of(variable),
            });
        }
    }
}

/// A parameter that neither the request nor any filter knows is a slip of the pen.
fn check_params(
    table: &Table<'_>,
    template: &Template,
    params: &BTreeMap<String, Param>,
    filters: &[&Filter],
) {
    let unused = |name: &str| {
        !template.variables().contains(name) && !filters.iter().any(|f| f.text().contains(name))
    };
    for name in params.keys().filter(|name| unused(name)) {
        let variables = template.variables().iter().map(String::as_str);
        let message = format!(
            "nothing asks for the parameter `{name}`{}",
            suggest(name, variables)
        );
        let node = table.get("params").and_then(|node| {
            let mut entries = node
                .is_table()
                .then(|| node.table())??
                .entries()
                .into_iter();
            entries.find(|(key, _)| key == name).map(|(_, node)| node)
        });
        match node.or_else(|| table.get("params")) {
            Some(node) => node.error(message),
            None => table.error(message),
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

fn withs(table: &Table<'_>, reading: &Reading<'_>) -> BTreeMap<String, With> {
    let mut all = BTreeMap::new();
    for (name, node) in table
        .get("with")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries())
    {
        let Some(table) = node.table() else { continue };
        let endpoint = text(&table, "endpoint");
        let params = table.need("params").and_then(|n| reading.filter(&n));
        let when = table.get("when").and_then(|n| reading.filter(&n));
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

fn pagings(
    table: &Table<'_>,
    kind: EndpointKind,
    has_next: bool,
    reading: &Reading<'_>,
) -> Vec<Paging> {
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
    let pagings: Vec<_> = nodes
        .iter()
        .filter_map(|n| paging(n, has_next, reading))
        .collect();
    if pagings.is_empty() {
        vec![Paging::once()]
    } else {
        pagings
    }
}

fn paging(node: &Node<'_>, has_next: bool, reading: &Reading<'_>) -> Option<Paging> {
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
        when: table.get("when").and_then(|n| reading.filter(&n)),
    };
    if paging.needs_next() && !has_next {
        node.error("this paging needs the filter `next`");
    }
    if paging.overlap > 0 && by != Some(By::Offset) {
        node.error("`overlap` goes with `by = \"offset\"`");
    }
    if let (Some(size), Some(max)) = (paging.size, paging.max)
        && size > max
    {
        node.error("`size` must not be larger than `max`");
    }
    if paging.size.is_some_and(|size| size <= paging.overlap) {
        node.error("`overlap` must be smaller than `size`");
    }
    table.finish();
    by.map(|_| paging)
}
