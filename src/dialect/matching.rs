//! Which listing a web address means, with which parameters: the key `match` of a listing.
//!
//! The patterns of all listings are tried, and the most specific one whose captured texts are values of its parameters
//! wins: more literal text in the path, then in the query, then more of its keys there; then the listing's name and the
//! order written decide, so that an address always means the same. Addresses that differ in one capture only may become
//! one (`join`), where the site takes a list.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use jaq_json::Val;
use serde_json::Value as Json;

use super::{
    definition::Dialect,
    endpoint::Endpoint,
    filter::Filter,
    paging::Cursor,
    params::{Param, ParamKind, Values},
    pattern::{Captured, Pattern},
    prelude::Globals,
    request::{val_of, variables_of},
};
use crate::config::reader::{Node, suggest};

/// One way in which an address means a listing.
#[derive(Debug)]
pub(super) struct Match {
    pattern: Pattern,
    /// Turns the captured texts into parameters; without one their names are those of parameters.
    params: Option<Filter>,
    /// The capture of which one address may hold several.
    join: Option<String>,
}

impl Match {
    /// Reads a pattern, or a table of `url`, `params` and `join`, against the parameters of its listing.
    pub(super) fn read(
        node: &Node<'_>,
        declared: &BTreeMap<String, Param>,
        filter: impl Fn(&Node<'_>) -> Option<Filter>,
    ) -> Option<Self> {
        if !node.is_table() {
            let pattern = node.parsed(Pattern::compile)?;
            check_names(node, &pattern, declared);
            return Some(Self {
                pattern,
                params: None,
                join: None,
            });
        }
        let table = node.table()?;
        let url = table.need("url");
        let pattern = url.as_ref().and_then(|node| node.parsed(Pattern::compile));
        let (params, join) = (table.get("params"), table.get("join"));
        let filtered = params.is_some();
        let params = params.and_then(|node| filter(&node));
        table.finish();
        let (url, pattern) = (url?, pattern?);
        if !filtered {
            check_names(&url, &pattern, declared);
        }
        let join = join.and_then(|node| {
            let name = node.text()?;
            if !pattern.names().contains(&name) {
                node.unknown("capture", name, pattern.names());
            }
            let takes = |param: &Param| matches!(param.kind, ParamKind::Text | ParamKind::List);
            if !filtered && declared.get(name).is_some_and(|param| !takes(param)) {
                node.error("what is joined becomes a text or a list; turn it into parameters with `params`");
            }
            Some(name.to_owned())
        });
        Some(Self {
            pattern,
            params,
            join,
        })
    }

    /// The parameters that captured texts mean.
    fn values(&self, endpoint: &Endpoint, captured: &Captured) -> Result<Values, String> {
        let mut texts = captured.clone();
        if let Some(filter) = &self.params {
            let one = |name: &str| match captured.get(name) {
                Some(values) => Json::from(values.join(",")),
                None => Json::Null,
            };
            let names = self.pattern.names();
            let input = names.iter().map(|name| ((*name).to_owned(), one(name)));
            let globals = Globals::new(Val::Null, &Cursor::new(), None);
            let output = filter.first_of(val_of(&Json::Object(input.collect())), &globals)?;
            let output = output.ok_or("nothing can be asked for with what it holds")?;
            let made = variables_of(&output)?;
            texts = made
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), plain(value)?)))
                .collect();
        } else if let Some(name) = &self.join
            && let Some(values) = texts.get_mut(name)
            && endpoint
                .params
                .get(name)
                .is_some_and(|param| param.kind != ParamKind::List)
        {
            *values = vec![values.join(",")];
        }
        let mut values = Values::new();
        for (name, texts) in &texts {
            let param = endpoint.params.get(name).ok_or_else(|| {
                let hint = suggest(name, endpoint.params.keys().map(String::as_str));
                format!("unknown parameter `{name}`{hint}")
            })?;
            let value = param
                .parse(texts)
                .map_err(|why| format!("`{name}`: {why}"))?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }
}

/// What a filter gave for one parameter; `None` for null.
fn plain(value: &Json) -> Option<Vec<String>> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(vec![text.clone()]),
        Json::Array(list) => Some(list.iter().filter_map(plain).flatten().collect()),
        other => Some(vec![other.to_string()]),
    }
}

/// Without a filter, what is captured are parameters, and what is required must be captured.
fn check_names(node: &Node<'_>, pattern: &Pattern, declared: &BTreeMap<String, Param>) {
    for name in pattern.names() {
        if !declared.contains_key(name) {
            node.unknown("parameter", name, declared.keys().map(String::as_str));
        }
    }
    for (name, param) in declared {
        if param.required && !pattern.names().contains(&name.as_str()) {
            node.error(format!(
                "`{}` captures nothing for the parameter `{name}`, which is required",
                pattern.text()
            ));
        }
    }
}

/// What an address means.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The listing.
    pub listing: Arc<Endpoint>,
    /// The parameters that the address gives.
    pub given: Values,
    /// All parameters, defaults filled in.
    pub params: Values,
    /// Addresses that were joined into this one.
    pub count: usize,
    matched: usize,
    captured: Captured,
}

/// Why an address means no listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMatch {
    /// A listing whose pattern it fits, and what is wrong with its values.
    pub nearly: Option<(String, String)>,
}

impl Dialect {
    /// The listing that an address below the site's url means.
    ///
    /// # Errors
    /// When it is none of the patterns, or its values are none.
    pub fn recognise(&self, path: &str, query: &str) -> Result<Recognised, NoMatch> {
        let path = self.without_language(path);
        let mut found = Vec::new();
        for endpoint in self.endpoints.values() {
            for (at, one) in endpoint.matches.iter().enumerate() {
                if let Some((captured, fit)) = one.pattern.capture(path, query) {
                    found.push((Reverse(fit), endpoint, at, captured));
                }
            }
        }
        // Stable: endpoints come by name, their patterns as written.
        found.sort_by_key(|(fit, ..)| *fit);
        let (mut nearly, mut read) = (None, 0);
        for (Reverse(fit), endpoint, at, captured) in found {
            // What a better pattern reads and cannot use must not be ignored by a general one: that would be another listing.
            if fit.present < read {
                continue;
            }
            read = fit.present;
            match Recognised::new(endpoint, at, captured, 1) {
                Ok(recognised) => return Ok(recognised),
                Err(why) => drop(nearly.get_or_insert((endpoint.name.clone(), why))),
            }
        }
        Err(NoMatch { nearly })
    }

    /// A path without the language before it, where the site's may have one.
    fn without_language<'a>(&self, path: &'a str) -> &'a str {
        let inside = path.trim_start_matches('/');
        let (first, rest) = inside.split_once('/').unwrap_or((inside, ""));
        let (language, region) = first.split_once('-').unwrap_or((first, "xx"));
        let letters = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
        let known = language.len() == 2 && (2..=4).contains(&region.len());
        if self.languages && known && letters(language) && letters(region) {
            rest
        } else {
            path
        }
    }

    /// The patterns of all listings, such as `/post?tags={tags}`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.endpoints.values().flat_map(|e| e.addresses())
    }

    /// The kind and id of the item whose web page is at this address below the site's url.
    pub fn item_at(&self, path: &str, query: &str) -> Option<(&str, String)> {
        let path = self.without_language(path);
        let mut found = Vec::new();
        let patterns = self.kinds.iter();
        let patterns = patterns.flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
        for (kind, pattern) in patterns {
            // A page may have more behind it, such as the tags of a post.
            let (path_part, query_part) = pattern
                .split_once('?')
                .map_or((pattern.as_str(), None), |(p, q)| (p, Some(q)));
            let open = query_part.map_or_else(
                || format!("{path_part}/*"),
                |query| format!("{path_part}?{query}"),
            );
            let Ok(pattern) = Pattern::compile(&open) else {
                continue;
            };
            if let Some((captured, fit)) = pattern.capture(path, query)
                && let Some(id) = captured.get("id").and_then(|ids| ids.last())
            {
                found.push((fit, kind.as_str(), id.clone()));
            }
        }
        found.sort_by(|(one, kind, _), (other, other_kind, _)| {
            other.cmp(one).then(kind.cmp(other_kind))
        });
        found.into_iter().next().map(|(_, kind, id)| (kind, id))
    }
}

impl Endpoint {
    /// The web addresses that mean it.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.matches.iter().map(|one| one.pattern.text())
    }
}

impl Recognised {
    fn new(
        listing: &Arc<Endpoint>,
        matched: usize,
        captured: Captured,
        count: usize,
    ) -> Result<Self, String> {
        let given = listing.matches[matched].values(listing, &captured)?;
        let params = listing.complete(&given)?;
        if let Some((_, complaint)) = listing.check(&params).into_iter().next() {
            return Err(complaint);
        }
        Ok(Self {
            listing: listing.clone(),
            given,
            params,
            count,
            matched,
            captured,
        })
    }

    fn pattern(&self) -> &Match {
        &self.listing.matches[self.matched]
    }

    /// The address in the pattern's own spelling, below the site's url: one for all ways to write it.
    pub fn address(&self) -> String {
        self.pattern().pattern.address(&self.captured)
    }

    /// The captured texts, in the order of the pattern.
    pub fn texts(&self) -> Vec<&str> {
        let names = self.pattern().pattern.names();
        let values = names.iter().filter_map(|name| self.captured.get(*name));
        values.flatten().map(String::as_str).collect()
    }

    /// Addresses with the same key may be joined; `None` where the listing takes one at a time.
    pub fn joins(&self) -> Option<String> {
        let name = self.pattern().join.as_ref()?;
        self.captured.get(name)?;
        let mut rest = self.captured.clone();
        rest.remove(name);
        Some(format!("{}\n{}\n{rest:?}", self.listing.name, self.matched))
    }

    /// One for all of `list`, which have one key. What is there twice is taken once.
    ///
    /// # Errors
    /// When the site's listing does not take them together.
    pub fn joined(list: &[Self]) -> Result<Self, String> {
        let [first, ..] = list else {
            return Err("there is nothing to join".to_owned());
        };
        let Some(name) = &first.pattern().join else {
            return Ok(first.clone());
        };
        let mut values: Vec<String> = Vec::new();
        for value in list
            .iter()
            .filter_map(|one| one.captured.get(name))
            .flatten()
        {
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
        let mut captured = first.captured.clone();
        captured.insert(name.clone(), values);
        Self::new(&first.listing, first.matched, captured, list.len())
    }
}

#[cfg(test)]
mod tests;
