//! An endpoint: one request that a dialect knows, and how its pages follow each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{
    filter::Filter,
    item::value_of,
    matching::Match,
    paging::{By, Cursor, Paging, Position},
    params::{Param, Value, Values},
    prelude::Globals,
    request::{Request, Template, Variables, val_of, variables_of},
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
    /// Roles of the files that its items have; the first is taken when a job names none.
    pub roles: Vec<String>,
    /// Whether new members appear first.
    pub enters_top: bool,
    /// Whether the address of a file always means the same bytes.
    pub immutable: bool,
    /// Where the site leads whoever asks for what is not there: a path below its address.
    pub missing: Option<String>,
    pub(super) matches: Vec<Match>,
    pub(super) template: Template,
    pub(super) vars: Option<Filter>,
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
    pub error: Option<Filter>,
}

/// A follow-up that a job may ask for.
#[derive(Debug)]
pub(super) struct With {
    pub endpoint: String,
    pub params: Filter,
    pub when: Option<Filter>,
}

impl Endpoint {
    /// What the dialect itself objects to in `values`: (parameter, complaint).
    pub fn check(&self, values: &Values) -> Vec<(Option<String>, String)> {
        let Some(filter) = &self.check else {
            return Vec::new();
        };
        let input = val_of(&Json::Object(variables(values)));
        match filter.all_of(input.clone(), &Globals::new(input, &Variables::new())) {
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
        let mut values = given.clone();
        for (name, param) in &self.params {
            match &param.default {
                _ if values.contains_key(name) => {}
                Some(value) => drop(values.insert(name.clone(), value.clone())),
                None if param.required => {
                    let kind = param.kind.word();
                    return Err(format!("the parameter `{name}` ({kind}) is missing"));
                }
                None => {}
            }
        }
        Ok(values)
    }

    /// The way to walk with these parameters.
    pub fn paging(&self, values: &Values) -> &Paging {
        if let [only] = self.pagings.as_slice() {
            return only;
        }
        let input = val_of(&Json::Object(variables(values)));
        let globals = Globals::new(input.clone(), &Variables::new());
        let holds = |paging: &&Paging| {
            match &paging.when {
            None => true,
            Some(filter) => filter
                .first_of(input.clone(), &globals)
                .is_ok_and(|out| matches!(out, Some(v) if !matches!(v, jaq_json::Val::Null | jaq_json::Val::Bool(false)))),
        }
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
        if let Some(filter) = &self.vars {
            let globals = globals(values, &at.cursor);
            let input = val_of(&Json::Object(variables.clone()));
            let Some(output) = filter.first_of(input, &globals)? else {
                return Ok(None);
            };
            variables.extend(variables_of(&output)?);
        }
        self.template.expand(&site.url, &variables).map(Some)
    }
}

fn variables(values: &Values) -> Variables {
    let json = |value: &Value| serde_json::to_value(value).unwrap_or(Json::Null);
    values.iter().map(|(k, v)| (k.clone(), json(v))).collect()
}

/// What the filters of a page see of the request for it.
pub(super) fn globals(values: &Values, cursor: &Cursor) -> Globals {
    Globals::new(val_of(&Json::Object(variables(values))), cursor)
}

/// The parameters that a follow-up's filter gives.
pub(super) fn follow_params(output: &jaq_json::Val) -> Result<Values, String> {
    let map = variables_of(output)?;
    Ok(map
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), value_of(v)?)))
        .collect())
}
