//! Reads the endpoints of a dialect's TOML file.

mod action;
pub(super) mod ask;
mod paging;

use std::collections::BTreeMap;

use super::{
    ask::Line,
    definition::{params, text},
    endpoint::{Census, Endpoint, EndpointKind, NotFound, ReplyFilters, With},
    filter::Filter,
    hooks::Decode,
    matching::Match,
    paging::Paging,
    params::{Param, ParamKind},
    prelude::Prelude,
};
use crate::config::reader::{Node, Table};

/// What the endpoints of one file share.
pub(super) struct Reading<'a> {
    pub(super) shared: &'a BTreeMap<String, Param>,
    /// Headers of every request.
    pub(super) headers: &'a [(String, Line)],
    /// Follow-ups that several endpoints share.
    pub(super) with: Option<&'a Node<'a>>,
    pub(super) error: Option<Filter>,
    /// Whether the dialect says where the keys of signatures are.
    pub(super) keys: bool,
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
        for (name, _) in params.iter().filter(|(_, p)| p.kind == ParamKind::File) {
            table.error(format!("`{name}`: a file is sent by actions only"));
        }
        let ask = self.ask(&table);
        let optional = |key| table.get(key).and_then(|n: Node<'_>| self.filter(&n));
        let check = optional("check");
        let (next, total) = (optional("next"), optional("total"));
        let (last, slice, follow) = (optional("last"), optional("slice"), optional("follow"));
        let (wall, stands) = (optional("wall"), optional("stands"));
        let each = table.need("each").and_then(|n| self.filter(&n));
        let item = table.need("item").and_then(|n| self.filter(&n));
        let error = match table.get("error") {
            Some(node) => self.filter(&node),
            None => self.error.clone(),
        };
        let pagings = self.pagings(&table, kind, next.is_some());
        if let Some(ask) = &ask {
            // Without a `next` that must be there, nobody knows what it would give.
            if next.is_none() && !pagings.iter().any(Paging::needs_next) {
                ask::check_variables(&table, ask, &params, &["limit", "page", "offset"]);
            }
            let filters = [
                &each, &item, &next, &total, &check, &last, &slice, &follow, &error, &wall, &stands,
            ];
            let filters = filters.into_iter().flatten();
            let filters = filters.chain(pagings.iter().filter_map(|paging| paging.when.as_ref()));
            ask::check_params(&table, ask, &params, &filters.collect::<Vec<_>>());
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
        let matches = self.matches(&table, kind, &params);
        let roles = table
            .get("roles")
            .and_then(|n| n.texts())
            .unwrap_or_default();
        let files = table.get("files").map(|node| {
            for word in node.texts().unwrap_or_default() {
                if !roles.contains(&word) {
                    node.unknown("role", word, roles.iter().copied());
                }
            }
            node.texts().unwrap_or_default()
        });
        let files = files.unwrap_or_else(|| roles.iter().take(1).copied().collect());
        let not_found = table.get("not_found").and_then(|node| {
            let word = node.text()?;
            let found = NotFound::ALL.iter().find(|(w, _)| *w == word);
            if found.is_none() {
                node.unknown("word", word, NotFound::ALL.iter().map(|(w, _)| *w));
            }
            found.map(|(_, not_found)| *not_found)
        });
        let decode = table.get("decode").and_then(|node| {
            let word = node.text()?;
            let decode = Decode::from_word(word);
            if decode.is_none() {
                node.unknown("word", word, Decode::ALL.iter().map(|(word, _)| *word));
            }
            decode
        });
        let ends_with = table.get("ends_with").and_then(|node| node.list());
        let status = |node: &Node<'_>| {
            let status = node.int().and_then(|n| u16::try_from(n).ok());
            let status = status.filter(|status| (300..600).contains(status));
            if status.is_none() {
                node.error("is not a status that can stand for an empty page; write a number from 300 to 599");
            }
            status
        };
        let ends_with = ends_with.unwrap_or_default();
        let ends_with = ends_with.iter().filter_map(status).collect();
        let census = table.get("census").and_then(|node| {
            let table = node.table()?;
            let kind = text(&table, "kind");
            let by = table
                .need("by")
                .and_then(|node| node.texts())
                .unwrap_or_default();
            if let Some(unknown) = by.iter().find(|name| !params.contains_key(**name)) {
                table.error(format!(
                    "`by`: `{unknown}` is no parameter of this endpoint"
                ));
            }
            if kind.is_empty() || total.is_none() || stands.is_none() {
                table.error("a census needs its `kind`, and the filters `total` and `stands`");
            }
            table.finish();
            let by = by.into_iter().map(str::to_owned).collect();
            Some(Census { by, kind })
        });
        let zero_throttles = table.get("zero_throttles").and_then(|n| n.bool());
        let with = self.withs(&table);
        table.finish();
        Some(Endpoint {
            name: name.to_owned(),
            kind,
            about,
            params,
            follows: follows(&with),
            roles: roles.into_iter().map(str::to_owned).collect(),
            files: files.into_iter().map(str::to_owned).collect(),
            enters_top,
            immutable: immutable.unwrap_or(false),
            missing,
            matches,
            not_found,
            zero_throttles: zero_throttles.unwrap_or(false),
            decode,
            ends_with,
            census,
            ask: ask?,
            check,
            pagings,
            reply: ReplyFilters {
                each: each?,
                item: item?,
                next,
                total,
                last,
                slice,
                follow,
                error,
                wall,
                stands,
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

    /// The follow-ups named by `with = ["…"]`, or defined in `[….with.NAME]`.
    fn withs(&self, table: &Table<'_>) -> BTreeMap<String, With> {
        let Some(node) = table.get("with") else {
            return BTreeMap::new();
        };
        if !node.is_list() {
            let own = entries(&node).into_iter();
            return own
                .filter_map(|(name, node)| Some((name.to_owned(), self.with(name, &node)?)))
                .collect();
        }
        let shared = self.with.map(entries).unwrap_or_default();
        let named = |node: &Node<'_>| {
            let word = node.text()?;
            let Some((_, with)) = shared.iter().find(|(name, _)| *name == word) else {
                node.unknown("follow-up", word, shared.iter().map(|(name, _)| *name));
                return None;
            };
            Some((word.to_owned(), self.with(word, with)?))
        };
        let list = node.list().unwrap_or_default();
        list.iter().filter_map(named).collect()
    }

    /// The web addresses that mean a listing: one, or a list of them.
    fn matches(
        &self,
        table: &Table<'_>,
        kind: EndpointKind,
        params: &BTreeMap<String, Param>,
    ) -> Vec<Match> {
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
        let read = |node| Match::read(node, params, |node| self.filter(node));
        nodes.iter().filter_map(read).collect()
    }

    fn with(&self, name: &str, node: &Node<'_>) -> Option<With> {
        let table = node.table()?;
        let endpoint = text(&table, "endpoint");
        let params = table.need("params").and_then(|n| self.filter(&n));
        let when = table.get("when").and_then(|n| self.filter(&n));
        let dialect = table.get("dialect").and_then(|n| n.text());
        let then = table.get("then").and_then(|n| n.texts());
        table.finish();
        let endpoint = if endpoint.is_empty() {
            name.to_owned()
        } else {
            endpoint
        };
        let then = then.unwrap_or_default().into_iter().map(str::to_owned);
        Some(With {
            endpoint,
            dialect: dialect.map(str::to_owned),
            params: params?,
            when,
            then: then.collect(),
        })
    }
}

fn entries<'a>(node: &Node<'a>) -> Vec<(&'a str, Node<'a>)> {
    node.table().map_or(Vec::new(), |table| table.entries())
}

/// Names that a job's `with` may use: the endpoint's own, and those of what they lead to.
fn follows(with: &BTreeMap<String, With>) -> Vec<String> {
    let mut names: Vec<_> = with.keys().cloned().collect();
    for name in with.values().flat_map(|with| &with.then) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// A path below a site's address.
fn path_below(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` must begin with `/`"))
    }
}
