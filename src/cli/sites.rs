//! `larder sites`: what larder can talk to.

use std::{collections::BTreeMap, fmt::Write, path::Path};

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
    for dialect in catalog.names().filter_map(|name| catalog.get(name)) {
        let _ = writeln!(text, "{}  {}", dialect.name, dialect.about);
        for (name, preset) in &dialect.presets {
            let url = preset
                .url
                .as_ref()
                .map_or("", |url| url.as_str().trim_end_matches('/'));
            let _ = writeln!(text, "  {name:<18} {url:<30} {}", preset.about);
        }
        let own = config.iter().flat_map(|config| config.sites.values());
        for site in own.filter(|site| {
            site.dialect.name == dialect.name && !dialect.presets.contains_key(&site.name)
        }) {
            let _ = writeln!(
                text,
                "  {:<18} {:<30} yours",
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

fn describe(text: &mut String, name: &str, dialect: &Dialect) {
    let _ = writeln!(text, "{name} speaks {}: {}", dialect.name, dialect.about);
    for (kind, title) in [
        (EndpointKind::Listing, "Listings"),
        (EndpointKind::Lookup, "Lookups"),
    ] {
        let endpoints: Vec<_> = dialect
            .endpoints
            .values()
            .filter(|e| e.kind == kind)
            .collect();
        if endpoints.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for endpoint in endpoints {
            let _ = writeln!(text, "  {:<16} {}", endpoint.name, endpoint.about);
            parameters(text, &endpoint.params);
            if !endpoint.follows.is_empty() {
                let _ = writeln!(text, "    {:<14} {}", "with", endpoint.follows.join(", "));
            }
            if !endpoint.roles.is_empty() {
                let _ = writeln!(text, "    {:<14} {}", "files", endpoint.roles.join(", "));
            }
        }
    }
    if !dialect.actions.is_empty() {
        let _ = writeln!(
            text,
            "\nActions: they change your account, so only `larder call` sends them, never a job"
        );
        for action in dialect.actions.values() {
            let _ = writeln!(text, "  {:<16} {}", action.name, action.about);
            parameters(text, &action.params);
        }
    }
}

fn parameters(text: &mut String, params: &BTreeMap<String, Param>) {
    for (name, param) in params {
        let mut note = match (&param.default, param.required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("default {:?}", default.to_string()),
            (None, false) => "optional".to_owned(),
        };
        if !param.one_of.is_empty() {
            let words: Vec<_> = param.one_of.iter().map(ToString::to_string).collect();
            note += &format!("; one of {}", words.join(", "));
        }
        let _ = writeln!(
            text,
            "    {name:<14} {}, {note}: {}",
            param.kind.word(),
            param.about
        );
    }
}
