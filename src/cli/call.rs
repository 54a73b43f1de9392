//! `larder call`: one request by hand. An action is shown, and sent only with `--yes`.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    Unknown, Usage, eprint, exit, load, print,
    run::{refuse_unset_of, runtime},
};
use crate::{
    action::Prepared,
    by_hand::{ByHand, accepted},
    class::Class,
    config::{Config, Site, reader::suggest},
    dialect::{Action, Cursor, Endpoint, Param, ParamKind, Position, Value, Values, pretty},
    run::{Failure, on_day},
    text::{json, one_line},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
`larder sites SITE` lists the endpoints and their parameters. Besides these, KEY may be what tells one page from another: \
page, offset, limit, or a variable of the endpoint's cursor, such as before=1234567. A list is given by its KEY once for \
each value. The request waits for its turn, logs in and sends cookies like any other. The reply is printed as JSON; when \
the site refuses, the exit code is 1.

An action, which changes your account, is printed as it would be sent, with *** for secrets, and sent only with --yes.")]
pub(super) struct Call {
    /// A site of the configuration, or a built-in one
    site: String,
    /// One of its listings, look-ups or actions
    endpoint: String,
    /// Parameters and page variables
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
    /// Send an action
    #[arg(long)]
    yes: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The site called `name`, or a complaint with the nearest.
pub(super) fn site(config: &Config, name: &str) -> anyhow::Result<std::sync::Arc<Site>> {
    config.site(name).ok_or_else(|| {
        let known = config.sites.keys().map(String::as_str);
        let hint = suggest(name, known.chain(config.catalog.preset_names()));
        Usage(format!("there is no site `{name}`{hint}")).into()
    })
}

impl Call {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let site = site(&config, &self.site)?;
        let (endpoints, actions) = (&site.dialect.endpoints, &site.dialect.actions);
        if let Some(action) = actions.get(&self.endpoint) {
            return self.act(&config, &site, action);
        }
        let endpoint = endpoints.get(&self.endpoint).ok_or_else(|| {
            let known = endpoints.keys().chain(actions.keys());
            let hint = suggest(&self.endpoint, known.map(String::as_str));
            Usage(format!(
                "{} has no endpoint `{}`{hint}",
                site.name, self.endpoint
            ))
        })?;
        let (params, at, limit) = self.values(endpoint).map_err(Usage)?;
        refuse_unset_of(&config, [&*site])?;
        let by_hand = ByHand::new(&config, super::clock())?;
        let out = by_hand
            .request(&site, endpoint, &params, &at, limit)
            .map_err(|failure| Usage(format!("cannot ask: {}", failure.message)))?;
        let Some(out) = out else {
            return Err(
                Unknown("these parameters match nothing: nothing was asked".to_owned()).into(),
            );
        };
        let reply = runtime()?.block_on(by_hand.page(&site, &out, |wait| {
            eprint(&format!("larder: {wait}; waiting"));
        }));
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => return Ok(refused(&failure)),
        };
        if let Err(failure) = accepted(&site, endpoint, &params, &at.cursor, &reply) {
            return Ok(refused(&failure));
        }
        match endpoint.decoded(&reply.body) {
            Ok(body) => show(&body),
            Err(why) => Ok(refused(&Failure::new(
                Class::Listing,
                format!("the reply is {why}"),
            ))),
        }
    }

    /// Shows an action, and sends it when a person has said so.
    fn act(&self, config: &Config, site: &Arc<Site>, action: &Arc<Action>) -> anyhow::Result<u8> {
        let mut given = Values::new();
        for (key, texts) in self.texts() {
            let param = action.params.get(key).ok_or_else(|| {
                let hint = suggest(key, action.params.keys().map(String::as_str));
                Usage(format!("`{}` takes no `{key}`{hint}", action.name))
            })?;
            if param.kind == ParamKind::File {
                readable(key, &texts).map_err(Usage)?;
            }
            given.insert(key.to_owned(), parsed(param, key, &texts).map_err(Usage)?);
        }
        let values = action.complete(&given).map_err(Usage)?;
        refuse_unset_of(config, [&**site])?;
        let by_hand = ByHand::new(config, super::clock())?;
        let prepared = Prepared::new(site, action, values, by_hand.now())
            .map_err(|failure| Usage(format!("cannot ask: {}", failure.message)))?;
        let shown = prepared.shown(&config.network.user_agent);
        if !self.yes {
            print(format_args!("{}\n", shown.trim_end()))?;
            if let Some(price) = &action.price {
                eprint(&format!("larder: this costs {price}"));
            }
            eprint("larder: nothing was sent; --yes sends it");
            return Ok(exit::OK);
        }
        let reply = runtime()?.block_on(prepared.send(&by_hand, |wait| {
            eprint(&format!("larder: {wait}; waiting"));
        }));
        match reply {
            // Some sites say nothing more than that.
            Ok(reply) if pretty(&reply.body).is_err() => {
                eprint(&format!("larder: sent; the site answered {}", reply.status));
                Ok(exit::OK)
            }
            Ok(reply) => show(&reply.body),
            Err(failure) => Ok(refused(&failure)),
        }
    }

    /// What was given, by key.
    fn texts(&self) -> BTreeMap<&str, Vec<String>> {
        let mut texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, value) in &self.values {
            texts.entry(key).or_default().push(value.clone());
        }
        texts
    }

    /// The parameters, the page, and the number of its entries.
    fn values(&self, endpoint: &Endpoint) -> Result<(Values, Position, Option<u32>), String> {
        let (mut given, mut cursor, mut limit) = (Values::new(), Cursor::new(), None);
        let pages = endpoint.page_variables();
        for (key, texts) in self.texts() {
            let last = texts.last().map_or("", String::as_str);
            if let Some(param) = endpoint.params.get(key) {
                given.insert(key.to_owned(), parsed(param, key, &texts)?);
            } else if key == "limit" && pages.contains(key) {
                let number = last.parse().ok().filter(|n| *n > 0);
                limit =
                    Some(number.ok_or_else(|| {
                        format!("`limit`: `{last}` is not a whole number above 0")
                    })?);
            } else if pages.contains(key) {
                // As the site writes them: numbers as numbers.
                let value = last.parse::<i64>().map_or_else(|_| last.into(), Into::into);
                cursor.insert(key.to_owned(), value);
            } else {
                let known = endpoint.params.keys().chain(&pages).map(String::as_str);
                return Err(format!(
                    "`{}` takes no `{key}`{}",
                    endpoint.name,
                    suggest(key, known)
                ));
            }
        }
        let params = endpoint.complete(&given)?;
        let params = on_day(endpoint, &params, super::clock().today())?;
        let paging = endpoint.paging(&params);
        let limit = limit.or_else(|| paging.limit(None));
        let mut at = paging.start();
        if !cursor.is_empty() {
            at.cursor = cursor;
        }
        Ok((params, at, limit))
    }
}

fn parsed(param: &Param, key: &str, texts: &[String]) -> Result<Value, String> {
    param.parse(texts).map_err(|why| format!("`{key}`: {why}"))
}

/// A file that is to be sent must be there before anything is.
fn readable(key: &str, paths: &[String]) -> Result<(), String> {
    let refused = |path: &String| {
        let why = match std::fs::File::open(path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_file() => return None,
            Ok(_) => "it is no file".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!("`{key}`: cannot read `{}`: {why}", one_line(path)))
    };
    paths.iter().find_map(refused).map_or(Ok(()), Err)
}

/// Prints a reply.
fn show(body: &[u8]) -> anyhow::Result<u8> {
    match pretty(body) {
        Ok(text) => print(format_args!("{}\n", json(&text)))?,
        Err(why) => {
            let why = format!("the reply is {why}");
            return Ok(refused(&Failure::new(Class::Listing, why)));
        }
    }
    Ok(exit::OK)
}

/// Says why the site did not answer, and what to do.
fn refused(failure: &Failure) -> u8 {
    eprint(&format!("larder: {} ({})", failure.message, failure.class));
    let advice = failure.class.by_hand();
    if !advice.is_empty() {
        eprint(&format!("  to do: {advice}"));
    }
    exit::SOME_FAILED
}
