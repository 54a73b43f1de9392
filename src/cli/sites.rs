//! `larder sites`: what larder can talk to.

use std::{fmt::Write, path::Path};

use super::{Usage, exit, print};
use crate::{
    config::{Config, reader::suggest},
    dialect::{Catalog, Dialect, EndpointKind, Param},
};

#[derive(Debug, clap::Args)]
pub(super) struct Sites {
    /// A site or dialect, to see its listings and parameters
    site: Option<String>,
}

impl Sites {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        // Without a configuration the built-in ones are worth seeing all the same.
        let config = if path.exists() {
            Some(super::load(path)?)
        } else {
            None
        };
        let catalog = config
            .as_ref()
            .map_or_else(Catalog::built_in, |config| config.catalog.clone());
        let mut text = String::new();
        match &self.site {
            None => list(&mut text, &catalog, config.as_ref()),
            Some(name) => {
                let own = config
                    .as_ref()
                    .and_then(|config| config.sites.get(name))
                    .map(|site| site.dialect.clone());
                let preset = || catalog.preset(name).map(|(dialect, _)| dialect.clone());
                let Some(dialect) = own.or_else(preset).or_else(|| catalog.get(name).cloned())
                else {
                    let own = config
                        .iter()
                        .flat_map(|config| config.sites.keys().map(String::as_str));
                    let known = own.chain(catalog.preset_names()).chain(catalog.names());
                    return Err(Usage(format!(
                        "there is no site `{name}`{}",
                        suggest(name, known)
                    ))
                    .into());
                };
                describe(&mut text, name, &dialect);
            }
        }
        print(text)?;
        Ok(exit::OK)
    }
}

fn list(text: &mut String, catalog: &Catalog, config: Option<&Config>) {
    let presets = catalog.names().filter_map(|name| catalog.get(name));
    let presets = presets.flat_map(|dialect| &dialect.presets);
    let shown = presets.map(|(name, preset)| {
        let url = preset.url.as_ref().map_or(0, |url| url.as_str().len());
        (name.len(), url)
    });
    let own = config.iter().flat_map(|config| config.sites.values());
    let own = own.map(|site| (site.name.len(), site.url.as_str().len()));
    let (names, urls) = shown
        .chain(own)
        .fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)));
    for dialect in catalog.names().filter_map(|name| catalog.get(name)) {
        let _ = writeln!(text, "{}  {}", dialect.name, dialect.about);
        for (name, preset) in &dialect.presets {
            let url = preset
                .url
                .as_ref()
                .map_or("", |url| url.as_str().trim_end_matches('/'));
            let _ = writeln!(text, "  {name:<names$}  {url:<urls$}  {}", preset.about);
        }
        let own = config.iter().flat_map(|config| config.sites.values());
        for site in own.filter(|site| {
            site.dialect.name == dialect.name && !dialect.presets.contains_key(&site.name)
        }) {
            let _ = writeln!(
                text,
                "  {:<names$}  {:<urls$}  yours",
                site.name,
                site.url.as_str().trim_end_matches('/')
            );
        }
    }
    let _ = writeln!(
        text,
        "\n`larder sites SITE` shows what can be archived there."
    );
}

/// Columns of the names at least and at most, and of a line.
const NAMES: (usize, usize) = (19, 26);
const WIDTH: usize = 80;

fn describe(text: &mut String, name: &str, dialect: &Dialect) {
    let _ = writeln!(text, "{name} speaks {}: {}", dialect.name, dialect.about);
    if let Some(credential) = &dialect.credential {
        let table = if name.contains('.') {
            format!("{name:?}")
        } else {
            name.to_owned()
        };
        let _ = writeln!(text, "A login is set as `{credential}` in [sites.{table}].");
    }
    let endpoints = dialect.endpoints.keys().chain(dialect.actions.keys());
    let longest = endpoints.map(|name| name.len() + 3).max();
    let names = longest.unwrap_or_default().clamp(NAMES.0, NAMES.1);
    let entry = |text: &mut String, indent, name: &str, about: &str| {
        let column = Column { indent, names };
        entry(text, &column, name, about);
    };
    for (kind, title) in [
        (
            EndpointKind::Listing,
            "Listings, for `listing` of a job, with the keys of its `params`",
        ),
        (EndpointKind::Lookup, "Look-ups, which jobs cannot walk"),
    ] {
        let mut endpoints = dialect
            .endpoints
            .values()
            .filter(|endpoint| endpoint.kind == kind)
            .peekable();
        if endpoints.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "\n{title}:");
        for endpoint in endpoints {
            text.push('\n');
            entry(text, 2, &endpoint.name, &endpoint.about);
            for (name, param) in &endpoint.params {
                entry(text, 4, name, &parameter(param));
            }
            let addresses: Vec<_> = endpoint.addresses().collect();
            if !addresses.is_empty() {
                entry(text, 4, "address", &addresses.join(" "));
            }
            for (name, words) in [("with", &endpoint.follows), ("files", &endpoint.roles)] {
                if !words.is_empty() {
                    entry(text, 4, name, &words.join(", "));
                }
            }
        }
    }
    if dialect.actions.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nActions, which change your account: only `larder call` sends them, never a job:"
    );
    for action in dialect.actions.values() {
        text.push('\n');
        entry(text, 2, &action.name, &action.about);
        for (name, param) in &action.params {
            entry(text, 4, name, &parameter(param));
        }
    }
}

/// What may be given for a parameter, and what it does.
fn parameter(param: &Param) -> String {
    let mut words = param.kind.word().to_owned();
    match &param.default {
        _ if param.required => words += ", required",
        Some(default) if default.to_string().is_empty() => {}
        Some(default) => drop(write!(words, ", default {default}")),
        None => {}
    }
    if !param.one_of.is_empty() {
        let all: Vec<_> = param.one_of.iter().map(ToString::to_string).collect();
        let _ = write!(words, ", one of {}", all.join("|"));
    }
    if !param.about.is_empty() {
        let _ = write!(words, ": {}", param.about);
    }
    words
}

/// Where names and what is said of them stand.
struct Column {
    indent: usize,
    names: usize,
}

/// A name and what is to be said of it, in lines of [`WIDTH`] columns with the names apart.
fn entry(text: &mut String, column: &Column, name: &str, about: &str) {
    let &Column { indent, names } = column;
    let mut line = format!("{:indent$}{name}", "");
    for word in about.split_whitespace() {
        for (nth, piece) in pieces(word, WIDTH - names).into_iter().enumerate() {
            let at = line.chars().count();
            if at < names {
                line.extend(std::iter::repeat_n(' ', names - at));
            } else if nth > 0 || at > names && at + 1 + piece.chars().count() > WIDTH {
                let _ = writeln!(text, "{line}");
                line = " ".repeat(names);
            } else {
                line.push(' ');
            }
            line += piece;
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// A word in pieces of no more than `most` columns: a list of words or a query is cut between its parts.
fn pieces(word: &str, most: usize) -> Vec<&str> {
    let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
    for part in word.split_inclusive(['|', '&']) {
        if end > start && word[start..end + part.len()].chars().count() > most {
            pieces.push(&word[start..end]);
            start = end;
        }
        end += part.len();
    }
    pieces.push(&word[start..]);
    pieces
}
