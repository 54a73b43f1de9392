//! A request as a dialect describes it: an RFC 6570 template filled with variables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use iri_string::{
    spec::UriSpec,
    template::{
        UriTemplateStr,
        context::{Context, Visitor},
    },
};
use jaq_json::Val;
use serde_json::{Map, Value};
use url::Url;

use super::hooks::Sign;
use crate::{
    config::reader::Misplaced,
    http::{Method, Payload},
};

/// What is asked, without secrets: those are added when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// Headers of the dialect.
    pub headers: Vec<(String, String)>,
    /// What a POST carries.
    pub body: Option<Payload>,
    /// How its address is signed before it is sent.
    pub sign: Option<Sign>,
}

impl fmt::Display for Request {
    /// The request in one line, with its body, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.word(), self.url)?;
        match &self.body {
            None => Ok(()),
            Some(body) => write!(f, " with {body}"),
        }
    }
}

/// What must be percent-encoded outside of expressions (RFC 6570 section 2.1); a brace or a percent sign may be a slip of
/// another kind.
const NO_LITERALS: [char; 10] = [' ', '"', '\'', '<', '>', '\\', '^', '`', '|', '\u{7f}'];

/// The characters of a template that are not in an expression, with their places.
fn literal(path: &str) -> impl Iterator<Item = (usize, char)> {
    let mut inside = false;
    path.char_indices().filter(move |(_, c)| {
        let was = inside;
        inside = *c == '{' || inside && *c != '}';
        !was && !inside
    })
}

/// A compiled request template.
#[derive(Debug)]
pub(super) struct Template {
    path: String,
    variables: BTreeSet<String>,
    /// Repeated parameters: query name to the variable that holds a list.
    repeated: BTreeMap<String, String>,
}

/// Variables of a template: names to JSON scalars; null means undefined.
pub(super) type Variables = Map<String, Value>;

pub(super) struct Scalars<'a>(pub(super) &'a Variables);

impl Context for Scalars<'_> {
    fn visit<V: Visitor>(&self, visitor: V) -> V::Result {
        match self.0.get(visitor.var_name().as_str()) {
            None | Some(Value::Null) => visitor.visit_undefined(),
            Some(Value::String(text)) => visitor.visit_string(text),
            Some(Value::Array(list)) => {
                let words: Vec<_> = list.iter().map(plain).collect();
                visitor.visit_string(words.join(" "))
            }
            Some(other) => visitor.visit_string(other),
        }
    }
}

/// A scalar as it stands in a URL.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Template {
    /// Checks `path` as a template that begins with a slash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(
        path: &str,
        repeated: BTreeMap<String, String>,
    ) -> Result<Self, Misplaced> {
        if !path.starts_with('/') {
            return Err(Misplaced::whole(format!(
                "`{path}` must begin with `/`; it is appended to the site's url"
            )));
        }
        let wrong = |c: char| NO_LITERALS.contains(&c) || c.is_ascii_control();
        if let Some((at, c)) = literal(path).find(|(_, c)| wrong(*c)) {
            let encoded = percent_encoding::percent_encode_byte(c as u8);
            return Err(Misplaced {
                message: format!("`{c}` cannot stand in a URI template; write `{encoded}`"),
                at: Some(at..at + 1),
            });
        }
        let template = UriTemplateStr::new(path).map_err(|error| {
            let words = error.to_string();
            // Its place is in its words only: `invalid expression (at 127-th byte)`.
            let digits = words
                .rsplit_once("(at ")
                .and_then(|(_, end)| end.split_once('-'));
            let at: Option<usize> = digits.and_then(|(digits, _)| digits.parse().ok());
            Misplaced {
                message: format!(
                    "not a URI template: {}",
                    words.trim_start_matches("invalid URI template: ")
                ),
                at: at.filter(|at| path.is_char_boundary(*at)).map(|at| at..at),
            }
        })?;
        let variables = template.variables().map(|name| name.as_str().to_owned());
        Ok(Self {
            variables: variables.chain(repeated.values().cloned()).collect(),
            path: path.to_owned(),
            repeated,
        })
    }

    /// Where the path asks for `variable`.
    pub(super) fn place_of(&self, variable: &str) -> Option<Range<usize>> {
        let stands = |at: usize| {
            let before = self.path[..at].chars().next_back();
            let after = self.path[at + variable.len()..].chars().next();
            before.is_some_and(|c| "{+#./;?&,".contains(c) && self.path[..at].contains('{'))
                && after.is_some_and(|c| ",}:*".contains(c))
        };
        let mut found = self.path.match_indices(variable).map(|(at, _)| at);
        let at = found.find(|at| stands(*at))?;
        Some(at..at + variable.len())
    }

    /// Every variable the template asks for.
    pub(super) fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// The address for `variables`, below `base`.
    ///
    /// # Errors
    /// When the result is not a URL.
    pub(super) fn expand(&self, base: &Url, variables: &Variables) -> Result<Url, String> {
        let template = UriTemplateStr::new(&self.path).map_err(|error| error.to_string())?;
        let path = template
            .expand::<UriSpec, _>(&Scalars(variables))
            .map_err(|error| error.to_string())?
            .to_string();
        let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let mut url =
            Url::parse(&text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        for (name, variable) in &self.repeated {
            if let Some(Value::Array(list)) = variables.get(variable) {
                let mut query = url.query_pairs_mut();
                for value in list {
                    query.append_pair(name, &plain(value));
                }
            }
        }
        Ok(url)
    }
}

/// A filter's output as template variables.
///
/// # Errors
/// When it is not an object.
pub(super) fn variables_of(value: &Val) -> Result<Variables, String> {
    match serde_json::from_slice(value.to_string().as_bytes()) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(format!("expected an object of variables, found {value}")),
    }
}

/// Plain JSON as a filter's input.
pub(super) fn val_of(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(*value),
        Value::Number(number) => jaq_json::read::parse_single_num(number.to_string().as_bytes())
            .map_or(Val::Null, Val::Num),
        Value::String(text) => Val::from(text.clone()),
        Value::Array(list) => list.iter().map(val_of).collect(),
        Value::Object(map) => Val::obj(
            map.iter()
                .map(|(k, v)| (Val::from(k.clone()), val_of(v)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, variables: Value) -> String {
        let Value::Object(variables) = variables else {
            unreachable!("tests pass objects")
        };
        let base = Url::parse("https://booru.example/base/").expect("valid");
        let repeated = BTreeMap::from([("ids[]".to_owned(), "ids".to_owned())]);
        let template = Template::compile(path, repeated).expect("valid");
        template
            .expand(&base, &variables)
            .expect("expands")
            .to_string()
    }

    #[test]
    fn undefined_is_left_out_and_empty_stays() {
        let url = ask(
            "/post.json{?tags,limit,page}",
            serde_json::json!({"tags": "", "page": 2, "limit": null}),
        );
        assert_eq!(url, "https://booru.example/base/post.json?tags=&page=2");
    }

    #[test]
    fn cursors_are_percent_encoded() {
        let url = ask(
            "/post.json{?tags}",
            serde_json::json!({"tags": "a+b id:<12"}),
        );
        assert_eq!(
            url,
            "https://booru.example/base/post.json?tags=a%2Bb%20id%3A%3C12"
        );
    }

    #[test]
    fn lists_repeat_their_parameter() {
        let url = ask("/x", serde_json::json!({"ids": [1, "b c"]}));
        assert_eq!(
            url,
            "https://booru.example/base/x?ids%5B%5D=1&ids%5B%5D=b+c"
        );
    }

    #[test]
    fn a_path_that_is_no_template_is_refused() {
        assert!(Template::compile("/x{?", BTreeMap::new()).is_err());
        assert!(Template::compile("x", BTreeMap::new()).is_err());
        let error = Template::compile("/x?a=b|c{&d}", BTreeMap::new()).expect_err("a bar");
        assert!(error.message.contains("write `%7C`"), "{error:?}");
        assert_eq!(error.at, Some(6..7));
    }

    #[test]
    fn a_variable_is_found_where_the_template_has_it() {
        let path = "/x?continue=y{&aicontinue,continue}{page}";
        let template = Template::compile(path, BTreeMap::new()).expect("valid");
        let found = |name| template.place_of(name).map(|at| (at.start, &path[at]));
        assert_eq!(found("continue"), Some((26, "continue")));
        assert_eq!(found("page"), Some((36, "page")));
        assert_eq!(found("pag"), None);
    }
}
