//! Every dialect known: those built in, and the user's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::definition::{Dialect, Preset, read_dialect};
use crate::config::reader::{Diagnostics, Source, Table};

/// Every dialect known.
#[derive(Debug, Clone)]
pub struct Catalog {
    dialects: BTreeMap<String, Arc<Dialect>>,
    refused: BTreeSet<String>,
}

/// The dialects built in, as (path for messages, text).
const BUILT_IN: [(&str, &str); 4] = [
    ("moebooru.toml", include_str!("moebooru.toml")),
    (
        "pixiv.toml",
        concat!(
            include_str!("pixiv/site.toml"),
            include_str!("pixiv/works.toml"),
            include_str!("pixiv/people.toml"),
            include_str!("pixiv/feeds.toml"),
            include_str!("pixiv/search.toml"),
            include_str!("pixiv/requests.toml"),
            include_str!("pixiv/account.toml"),
        ),
    ),
    (
        "bilibili.toml",
        concat!(
            include_str!("bilibili/site.toml"),
            include_str!("bilibili/replies.toml"),
            include_str!("bilibili/danmaku.toml"),
        ),
    ),
    ("pixiv_ab.toml", include_str!("pixiv_ab.toml")),
];

impl Catalog {
    /// The dialects built in.
    pub fn built_in() -> Self {
        let mut catalog = Self {
            dialects: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        let diagnostics = Diagnostics::default();
        for (path, text) in BUILT_IN {
            catalog.read(&Source::new(path, text), &diagnostics, true);
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
        self.read(source, diagnostics, false);
    }

    fn read(&mut self, source: &Source, diagnostics: &Diagnostics, trusted: bool) {
        let before = diagnostics.len();
        let dialect = Table::parse(source, diagnostics, |table| read_dialect(table, trusted));
        let Some(dialect) = dialect else { return };
        if diagnostics.len() == before {
            self.dialects
                .insert(dialect.name.clone(), Arc::new(dialect));
        } else {
            self.refused.insert(dialect.name);
        }
    }

    /// Whether a dialect called `name` was added and is wrong, which has been complained about.
    pub fn was_refused(&self, name: &str) -> bool {
        self.refused.contains(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_dialect_compiles() {
        let mut catalog = Catalog::built_in();
        assert_eq!(catalog.names().count(), BUILT_IN.len());
        assert!(catalog.preset("yande.re").is_some());
        // As a user's own they are compiled at once, with every complaint.
        let diagnostics = Diagnostics::default();
        for (path, text) in BUILT_IN {
            catalog.add(&Source::new(path, text), &diagnostics);
        }
        let complaints: Vec<_> = diagnostics
            .into_vec()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
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
    /// What is complained about in a dialect, as (line, message).
    fn complaints(text: &str) -> Vec<(Option<usize>, String)> {
        let (mut catalog, diagnostics) = (Catalog::built_in(), Diagnostics::default());
        catalog.add(&Source::new("x.toml", text), &diagnostics);
        let all = diagnostics.into_vec();
        assert_eq!(catalog.get("x").is_none(), !all.is_empty());
        all.iter().map(|d| (d.line(), d.message.clone())).collect()
    }

    #[test]
    fn a_misspelt_variable_of_a_filter_is_a_complaint_at_its_line() {
        let text = |word: &str| {
            format!(
                "format = 1\nname = \"x\"\n[listing.a]\nget = \"/a\"\npaging = {{ by = \"once\" }}\neach = '.'\nitem = '{{kind: \"a\", id: {word}}}'\n"
            )
        };
        assert_eq!(complaints(&text("$params.id")), []);
        assert_eq!(complaints(&text("$cursor.page")), []);
        let all = complaints(&text("$typo"));
        assert!(
            matches!(&all[..], [(Some(7), message)] if message.contains("`$typo`")),
            "{all:?}"
        );
    }

    #[test]
    fn broken_definitions_are_complained_about_once_and_good_ones_serve_every_filter() {
        let text = |defs: &str| {
            format!(
                "format = 1\nname = \"x\"\ndefs = '{defs}'\n[listing.a]\nget = \"/a\"\npaging = {{ by = \"once\" }}\neach = 'list'\nitem = 'one'\n"
            )
        };
        let good = "def list: .[]; def one: {kind: \"a\", id: $params.id};";
        assert_eq!(complaints(&text(good)), []);
        let all = complaints(&text("def list: .[; def one: 1;"));
        assert!(
            matches!(&all[..], [(Some(3), message)] if message.contains("not a jq filter")),
            "{all:?}"
        );
    }
}
