//! An endpoint: one request that a dialect knows, and how its pages follow each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{
    ask::Ask,
    filter::Filter,
    hooks::Decode,
    item::value_of,
    matching::Match,
    paging::{By, Cursor, Paging, Position},
    params::{Param, Value, Values, complete},
    prelude::Globals,
    request::{Request, Variables, val_of, variables_of},
};
use crate::config::Site;

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
    /// Roles of the files that its items have.
    pub roles: Vec<String>,
    /// Roles that are taken when a job names none.
    pub files: Vec<String>,
    /// Whether new members appear first.
    pub enters_top: bool,
    /// What a 404 means; a failure unless the dialect says otherwise.
    pub not_found: Option<NotFound>,
    /// Whether a total of 0 after a larger one is how the site throttles.
    pub zero_throttles: bool,
    /// Whether the address of a file always means the same bytes.
    pub immutable: bool,
    /// Where the site leads whoever asks for what is not there: a path below its address.
    pub missing: Option<String>,
    /// How replies become JSON, where they are not.
    pub decode: Option<Decode>,
    /// Statuses that stand for an empty page.
    pub ends_with: Vec<u16>,
    /// Whether whole walks of it tell what is gone.
    pub census: Option<Census>,
    pub(super) matches: Vec<Match>,
    pub(super) ask: Ask,
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
    pub last: Option<Filter>,
    pub slice: Option<Filter>,
    /// Pages of other endpoints that belong to the same listing.
    pub follow: Option<Filter>,
    pub error: Option<Filter>,
    /// Whether the reply says that the site shows no more of the listing.
    pub wall: Option<Filter>,
    /// How many of `total` the entries of a page stand for, such as a comment for itself and its replies.
    pub stands: Option<Filter>,
}

/// A listing whose whole walk tells what is gone: what it does not show any more.
#[derive(Debug)]
pub struct Census {
    /// The parameters that tell one such listing from another.
    pub by: Vec<String>,
    /// The kind of items that are counted.
    pub kind: String,
}

/// A follow-up that a job may ask for.
#[derive(Debug)]
pub(super) struct With {
    pub endpoint: String,
    /// Of another dialect, at its own site.
    pub dialect: Option<String>,
    pub params: Filter,
    pub when: Option<Filter>,
    /// Follow-ups that may be asked for along with it, of what it brings.
    pub then: Vec<String>,
}

/// What it means that there is no such thing: a 404 or 410.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// An empty page.
    Empty,
    /// The item that the page is about is gone upstream.
    Gone,
}

impl NotFound {
    /// The words in TOML.
    pub(super) const ALL: [(&'static str, Self); 2] =
        [("empty", Self::Empty), ("gone", Self::Gone)];
}

impl Endpoint {
    /// Follow-ups that a job may ask for of what the listing leads to, besides its own.
    pub fn deeper(&self) -> impl Iterator<Item = &str> {
        self.with
            .values()
            .flat_map(|with| with.then.iter().map(String::as_str))
    }

    /// The other dialect that a follow-up leads to, and the endpoint there.
    pub fn leads_away(&self, with: &str) -> Option<(&str, &str)> {
        let with = self.with.get(with)?;
        Some((with.dialect.as_deref()?, &with.endpoint))
    }

    /// What the dialect itself objects to in `values`: (parameter, complaint).
    pub fn check(&self, values: &Values) -> Vec<(Option<String>, String)> {
        let Some(filter) = &self.check else {
            return Vec::new();
        };
        let input = val_of(&Json::Object(variables(values)));
        let globals = Globals::new(input.clone(), &Variables::new(), None);
        match filter.all_of(input, &globals) {
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

    /// Whether it is a listing that can be asked without parameters.
    pub(super) fn can_probe(&self) -> bool {
        self.kind == EndpointKind::Listing && !self.params.values().any(|param| param.required)
    }

    /// Names of the variables by which its pages are told apart: what its paging gives, and the keys that its filter
    /// `next` writes.
    pub fn page_variables(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for paging in &self.pagings {
            match paging.by {
                By::Page => drop(names.insert("page".to_owned())),
                By::Offset => drop(names.insert("offset".to_owned())),
                By::Cursor | By::Keyset | By::Once => {}
            }
            if paging.size.is_some() {
                names.insert("limit".to_owned());
            }
        }
        names.extend(self.reply.next.iter().flat_map(Filter::keys_written));
        names
    }

    /// All parameters: `given`, and the defaults of those left out.
    ///
    /// # Errors
    /// The first that is missing.
    pub fn complete(&self, given: &Values) -> Result<Values, String> {
        complete(&self.params, given)
    }

    /// The way to walk with these parameters.
    pub fn paging(&self, values: &Values) -> &Paging {
        if let [only] = self.pagings.as_slice() {
            return only;
        }
        let input = val_of(&Json::Object(variables(values)));
        let globals = Globals::new(input.clone(), &Variables::new(), None);
        let holds = |paging: &&Paging| {
            let when = paging.when.as_ref();
            when.is_none_or(|filter| filter.holds(input.clone(), &globals).unwrap_or(false))
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
        let globals = globals(values, &at.cursor, None);
        self.ask.request(&site.url, variables, &globals)
    }
}

pub(super) fn variables(values: &Values) -> Variables {
    let json = |value: &Value| serde_json::to_value(value).unwrap_or(Json::Null);
    values.iter().map(|(k, v)| (k.clone(), json(v))).collect()
}

/// What the filters of a page see of the request for it, and the status of its reply.
pub(super) fn globals(values: &Values, cursor: &Cursor, status: Option<u16>) -> Globals {
    Globals::new(val_of(&Json::Object(variables(values))), cursor, status)
}

/// The parameters that a follow-up's filter gives.
pub(super) fn follow_params(output: &jaq_json::Val) -> Result<Values, String> {
    let map = variables_of(output)?;
    Ok(map
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), value_of(v)?)))
        .collect())
}
