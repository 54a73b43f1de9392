//! How an endpoint asks: its address, headers and body, filled with variables.

use std::collections::BTreeSet;

use iri_string::{spec::UriSpec, template::UriTemplateStr};
use jaq_json::Val;
use serde_json::{Map, Value};
use url::Url;

use super::{
    filter::Filter,
    hooks::Sign,
    prelude::Globals,
    request::{Request, Scalars, Template, Variables, plain, val_of, variables_of},
};
use crate::http::{Method, Part, Payload};

/// How an endpoint asks.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) template: Template,
    /// Headers of its own and of its dialect.
    pub(super) headers: Vec<(String, Line)>,
    pub(super) fields: Option<Fields>,
    /// Makes more variables of those that there are; no output: nothing can be left to ask for.
    pub(super) vars: Option<Filter>,
    /// How its address is signed before it is sent.
    pub(super) sign: Option<Sign>,
}

/// A header's value: text with RFC 6570 variables in it.
#[derive(Debug, Clone)]
pub(super) struct Line(String);

/// The fields of a body, by name.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) form: Form,
    pub(super) list: Vec<(String, Fill)>,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Urlencoded,
    Json,
    Multipart,
}

/// The value of a field: a variable, which keeps its type, or text as it stands.
#[derive(Debug)]
pub(super) enum Fill {
    Variable(String),
    Text(String),
}

impl Line {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        UriTemplateStr::new(text)
            .map_err(|error| format!("`{text}` is not a URI template: {error}"))?;
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("a header is one line".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as written.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The variables it asks for.
    pub(super) fn variables(&self) -> Vec<String> {
        let template = UriTemplateStr::new(&self.0);
        template
            .map(|t| t.variables().map(|name| name.as_str().to_owned()).collect())
            .unwrap_or_default()
    }

    /// The value, or `None` when a variable of it is not defined.
    fn fill(&self, variables: &Variables) -> Option<String> {
        let defined = |name: &String| variables.get(name).is_some_and(|value| !value.is_null());
        if !self.variables().iter().all(defined) {
            return None;
        }
        let template = UriTemplateStr::new(&self.0).ok()?;
        let context = Scalars(variables);
        let filled = template.expand::<UriSpec, _>(&context);
        filled.ok().map(|text| text.to_string())
    }
}

impl std::str::FromStr for Fill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match inner {
            Some(name) if is_name(name) => Ok(Self::Variable(name.to_owned())),
            _ if text.contains(['{', '}']) => Err(format!(
                "`{text}`: a field is one variable, such as `{{page}}`, or text; `vars` makes others of them"
            )),
            _ => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl Fields {
    /// The body for `variables`; what is undefined is left out.
    fn fill(&self, variables: &Variables) -> Payload {
        let fields = self.list.iter().filter_map(|(name, fill)| {
            let value = match fill {
                Fill::Text(text) => Value::String(text.clone()),
                Fill::Variable(variable) => variables.get(variable)?.clone(),
            };
            (!value.is_null()).then(|| (name.clone(), value))
        });
        // A list is a field for each of its values, as in a query.
        let each = |(name, value): (String, Value)| match value {
            Value::Array(list) => list.iter().map(|v| (name.clone(), plain(v))).collect(),
            other => vec![(name, plain(&other))],
        };
        match self.form {
            Form::Json => Payload::Json(Value::Object(fields.collect::<Map<_, _>>()).to_string()),
            Form::Urlencoded => Payload::Form(fields.flat_map(each).collect()),
            Form::Multipart => {
                let part = |(name, text): (String, String)| {
                    let part = match text.strip_prefix(FILE) {
                        Some(path) => Part::File(path.into()),
                        None => Part::Text(text),
                    };
                    (name, part)
                };
                Payload::Multipart(fields.flat_map(each).map(part).collect())
            }
        }
    }
}

/// Stands before the path in the value of a `file` parameter; no text of a person holds NUL.
pub(super) const FILE: &str = "\0file:";

impl Ask {
    /// Every variable it asks for.
    pub(super) fn variables(&self) -> BTreeSet<String> {
        let fields = self.fields.iter().flat_map(|fields| &fields.list);
        let mut names = self.template.variables().clone();
        names.extend(self.headers.iter().flat_map(|(_, line)| line.variables()));
        names.extend(fields.filter_map(|(_, fill)| match fill {
            Fill::Variable(name) => Some(name.clone()),
            Fill::Text(_) => None,
        }));
        names
    }

    /// The request for `variables` below `base`, or `None` when `vars` say that nothing can be left.
    ///
    /// # Errors
    /// A filter or template that failed on these values.
    pub(super) fn request(
        &self,
        base: &Url,
        mut variables: Variables,
        globals: &Globals,
    ) -> Result<Option<Request>, String> {
        if let Some(filter) = &self.vars {
            let input: Val = val_of(&Value::Object(variables.clone()));
            let Some(output) = filter.first_of(input, globals)? else {
                return Ok(None);
            };
            variables.extend(variables_of(&output)?);
        }
        let headers = self.headers.iter().filter_map(|(name, line)| {
            let value = line.fill(&variables)?;
            Some((name.clone(), value))
        });
        Ok(Some(Request {
            method: self.method,
            url: self.template.expand(base, &variables)?,
            headers: headers.collect(),
            body: self.fields.as_ref().map(|fields| fields.fill(&variables)),
            sign: self.sign,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn body(form: Form, fields: &[(&str, &str)], variables: Value) -> Payload {
        let Value::Object(variables) = variables else {
            unreachable!("tests pass objects")
        };
        let list = fields
            .iter()
            .map(|(name, fill)| ((*name).to_owned(), fill.parse().expect("a field")));
        let ask = Ask {
            method: Method::Post,
            template: Template::compile("/x", BTreeMap::new()).expect("a template"),
            headers: vec![
                (
                    "referer".to_owned(),
                    Line::compile("https://a.example/{id}").expect("valid"),
                ),
                ("token".to_owned(), Line::compile("{token}").expect("valid")),
            ],
            fields: Some(Fields {
                form,
                list: list.collect(),
            }),
            vars: None,
            sign: None,
        };
        let base = Url::parse("https://booru.example/").expect("valid");
        let request = ask
            .request(&base, variables, &Globals::none())
            .expect("fills")
            .expect("something");
        // A header whose variable is not defined is left out.
        assert_eq!(
            request.headers,
            [("referer".to_owned(), "https://a.example/7".to_owned())]
        );
        request.body.expect("a body")
    }

    #[test]
    fn json_keeps_types_and_leaves_out_what_is_undefined() {
        let fields = [
            ("illust_id", "{id}"),
            ("tags", "{tags}"),
            ("r18", "{r18}"),
            ("comment", ""),
            ("none", "{none}"),
        ];
        let given = json!({"id": 7, "tags": ["a", "b c"], "r18": true, "none": null});
        let wanted = r#"{"illust_id":7,"tags":["a","b c"],"r18":true,"comment":""}"#;
        assert_eq!(
            body(Form::Json, &fields, given),
            Payload::Json(wanted.to_owned())
        );
    }

    #[test]
    fn forms_repeat_lists_and_parts_hold_files() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let given = json!({"id": 7, "tags": ["a", "b"], "file": format!("{FILE}/tmp/x.png")});
        let fields = [("Id", "{id}"), ("tags[]", "{tags}")];
        let form = vec![pair("Id", "7"), pair("tags[]", "a"), pair("tags[]", "b")];
        assert_eq!(
            body(Form::Urlencoded, &fields, given.clone()),
            Payload::Form(form)
        );
        let parts = vec![("f".to_owned(), Part::File("/tmp/x.png".into()))];
        assert_eq!(
            body(Form::Multipart, &[("f", "{file}")], given),
            Payload::Multipart(parts)
        );
    }

    #[test]
    fn a_field_is_one_variable_or_text() {
        assert!("{a}-{b}".parse::<Fill>().is_err());
        assert!("{".parse::<Fill>().is_err());
        assert!(matches!("plain".parse(), Ok(Fill::Text(_))));
    }
}
