//! Reads the endpoints of a dialect's TOML file.

pub(super) mod ask;
mod paging;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ask::Line,
    definition::{params, text},
    endpoint::{Endpoint, EndpointKind, ReplyFilters, With},
    filter::Filter,
    params::Param,
};
use crate::config::reader::{Node, Table};

/// How the filters of one file are compiled.
pub(super) struct Filters {
    /// Definitions that stand before each of them.
    pub(super) defs: Arc<str>,
    /// Whether tests have compiled them all, so that each can wait until it is needed.
    pub(super) trusted: bool,
}

impl Filters {
    /// Reads the definitions of `node`, if there are any.
    pub(super) fn read(node: Option<&Node<'_>>, trusted: bool) -> Self {
        let mut filters = Self {
            defs: Arc::from(""),
            trusted,
        };
        if let Some(node) = node
            && let Some(text) = node.text()
        {
            // An input of their own, so that they are a program whose mistakes have a place.
            if trusted
                || node
                    .parsed(|text| Filter::compile(&format!("{text}\n.")))
                    .is_some()
            {
                filters.defs = text.into();
            }
        }
        filters
    }

    pub(super) fn filter(&self, node: &Node<'_>) -> Option<Filter> {
        if self.trusted {
            return Some(Filter::trusted(node.text()?, &self.defs));
        }
        node.parsed(|text| Filter::compile_with(text, &self.defs))
    }
}

/// What the endpoints of one file share.
pub(super) struct Reading<'a> {
    pub(super) filters: &'a Filters,
    pub(super) shared: &'a BTreeMap<String, Param>,
    /// Headers of every request.
    pub(super) headers: &'a [(String, Line)],
    pub(super) error: Option<&'a Node<'a>>,
}

impl Reading<'_> {
    pub(super) fn endpoint(
        &self,
        name: &str,
        kind: EndpointKind,
        table: Table<'_>,
    ) -> Option<Endpoint> {
        let about = text(&table, "about");
        let params = self.params(&table);
        let ask = self.ask(&table);
        let filter = |node: &Node<'_>| self.filters.filter(node);
        let optional = |key| table.get(key).and_then(|n: Node<'_>| filter(&n));
        let check = optional("check");
        let (next, total) = (optional("next"), optional("total"));
        let each = table.need("each").and_then(|n| filter(&n));
        let item = table.need("item").and_then(|n| filter(&n));
        let error = table.get("error").as_ref().or(self.error).and_then(filter);
        let pagings = self.pagings(&table, kind, next.is_some());
        if let Some(ask) = &ask
            && next.is_none()
        {
            ask::check_variables(&table, ask, &params, &["limit", "page", "offset"]);
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
        let with = self.withs(&table);
        table.finish();
        Some(Endpoint {
            name: name.to_owned(),
            kind,
            about,
            params,
            follows: with.keys().cloned().collect(),
            roles: roles.into_iter().map(str::to_owned).collect(),
            enters_top,
            ask: ask?,
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

    fn withs(&self, table: &Table<'_>) -> BTreeMap<String, With> {
        let mut all = BTreeMap::new();
        for (name, node) in table
            .get("with")
            .and_then(|n| n.table())
            .map_or(Vec::new(), |t| t.entries())
        {
            let Some(table) = node.table() else { continue };
            let endpoint = text(&table, "endpoint");
            let params = table.need("params").and_then(|n| self.filters.filter(&n));
            let when = table.get("when").and_then(|n| self.filters.filter(&n));
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
}
