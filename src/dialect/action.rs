//! Actions: requests that change an account. They are no endpoints, so no job, follow-up or look-up can name one.

use std::collections::BTreeMap;

use jaq_json::Val;
use serde_json::{Value as Json, json};
use url::Url;

use super::{
    ask::{Ask, FILE},
    endpoint::{globals, variables},
    filter::Filter,
    json,
    paging::Cursor,
    params::{Param, ParamKind, Value, Values, complete},
    prelude::Globals,
    reply::{ReplyError, error_of},
    request::{Request, Template, Variables, val_of},
};
use crate::http::Method;

/// One action of a dialect.
#[derive(Debug)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// One line for `larder sites`.
    pub about: String,
    /// Its parameters.
    pub params: BTreeMap<String, Param>,
    /// What it costs, in words for who is asked.
    pub price: Option<String>,
    pub(super) ask: Ask,
    pub(super) error: Option<Filter>,
}

/// Where the secrets of an action come from that no setting holds, such as a token against forged requests.
#[derive(Debug)]
pub struct Session {
    pub(super) get: Option<Template>,
    /// By variable: a filter from `{cookies, text}`, what the site was shown and said, to the secret.
    pub(super) secrets: BTreeMap<String, Filter>,
}

impl Action {
    /// All parameters: `given`, and the defaults of those left out.
    ///
    /// # Errors
    /// The first that is missing.
    pub fn complete(&self, given: &Values) -> Result<Values, String> {
        complete(&self.params, given)
    }

    /// The request with `values`, and with `secrets` of the session; headers that hold one of those are named besides.
    ///
    /// # Errors
    /// A filter or template that failed on these values.
    pub fn request(
        &self,
        base: &Url,
        values: &Values,
        secrets: &BTreeMap<String, String>,
    ) -> Result<(Request, Vec<String>), String> {
        let mut variables: Variables = variables(values);
        for (name, param) in &self.params {
            if let (ParamKind::File, Some(Value::Text(path))) = (param.kind, values.get(name)) {
                variables.insert(name.clone(), format!("{FILE}{path}").into());
            }
        }
        let secret = secrets
            .iter()
            .map(|(k, v)| (k.clone(), Json::from(v.as_str())));
        variables.extend(secret);
        let request = self
            .ask
            .request(base, variables, &globals(values, &Cursor::new(), None))?;
        let request = request.ok_or("the dialect knows of nothing to send with these values")?;
        let holds =
            |line: &super::ask::Line| line.variables().iter().any(|v| secrets.contains_key(v));
        let named = self.ask.headers.iter().filter(|(_, line)| holds(line));
        Ok((request, named.map(|(name, _)| name.clone()).collect()))
    }

    /// Variables of the session that it needs.
    pub fn needs(&self, session: &Session) -> Vec<String> {
        let names = self.ask.variables().into_iter();
        names
            .filter(|name| session.secrets.contains_key(name))
            .collect()
    }

    /// What the site says against it, if it says anything.
    pub fn refused(&self, body: &[u8], status: u16) -> Option<ReplyError> {
        let globals = globals(&Values::new(), &Cursor::new(), Some(status));
        error_of(self.error.as_ref(), &json::read(body).ok()?, &globals)
    }
}

impl Session {
    /// The page that is asked for them, where one is.
    ///
    /// # Errors
    /// When the template does not make a URL.
    pub fn request(&self, base: &Url) -> Result<Option<Request>, String> {
        let Some(template) = &self.get else {
            return Ok(None);
        };
        Ok(Some(Request {
            method: Method::Get,
            url: template.expand(base, &Variables::new())?,
            headers: Vec::new(),
            body: None,
            sign: None,
        }))
    }

    /// The secret called `name`, of the cookies that the site was shown and the text of its page.
    ///
    /// # Errors
    /// When there is none; the text of the page is not in the message.
    pub fn secret(
        &self,
        name: &str,
        cookies: &BTreeMap<String, String>,
        text: Option<&str>,
    ) -> Result<String, String> {
        let missing =
            || format!("the site gives no `{name}`: is the login set, and does it still hold?");
        let filter = self.secrets.get(name).ok_or_else(missing)?;
        let input = val_of(&json!({"cookies": cookies, "text": text}));
        // A filter's own complaint would quote what it was given.
        let output = filter
            .first_of(input, &Globals::new(Val::Null, &Cursor::new(), None))
            .map_err(|_| missing())?;
        let output = output.ok_or_else(missing)?;
        match serde_json::from_str(&output.to_string()) {
            Ok(Json::String(secret)) if !secret.is_empty() => Ok(secret),
            _ => Err(missing()),
        }
    }
}
