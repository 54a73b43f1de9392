//! Reads how an endpoint asks.

use std::collections::BTreeMap;

use super::{
    super::{
        ask::{Ask, Fields, Form, Line},
        filter::Filter,
        hooks::Sign,
        params::Param,
        request::Template,
    },
    Reading,
};
use crate::{
    config::reader::{Misplaced, Node, Table, suggest},
    http::Method,
};

/// Headers that a dialect leaves alone: those of the connection, and those that carry secrets.
const NOT_OURS: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
];

impl Reading<'_> {
    /// Reads `get` or `post`, with what goes along.
    pub(super) fn ask(&self, table: &Table<'_>) -> Option<Ask> {
        let (get, post) = (table.get("get"), table.get("post"));
        let (method, node) = match (get, post) {
            (Some(node), None) => (Method::Get, node),
            (None, Some(node)) => (Method::Post, node),
            _ => {
                table.error("write one of `get` and `post`: the path that is asked");
                return None;
            }
        };
        let repeated = repeated(table);
        let template = node.parsed_inside(|path| Template::compile(path, repeated));
        let mut headers = headers(table.get("headers").as_ref());
        for (name, line) in self.headers {
            if !headers.iter().any(|(own, _)| own == name) {
                headers.push((name.clone(), line.clone()));
            }
        }
        let fields = fields(table);
        if fields.is_some() && method == Method::Get {
            table.error("a body goes with `post`");
        }
        Some(Ask {
            method,
            template: template?,
            headers,
            fields,
            vars: table.get("vars").and_then(|node| self.filter(&node)),
            sign: self.sign(table),
        })
    }

    /// `sign`, which needs the dialect to say where the keys are.
    fn sign(&self, table: &Table<'_>) -> Option<Sign> {
        let node = table.get("sign")?;
        let word = node.text()?;
        let sign = Sign::from_word(word);
        match sign {
            None => node.unknown("signature", word, Sign::WORDS),
            Some(_) if !self.keys => {
                node.error("`[keys]` is missing: nothing says where the key of a signature is");
            }
            Some(_) => {}
        }
        sign
    }
}

/// Complains about variables that nothing gives: neither a parameter nor one of `own`.
pub(super) fn check_variables(
    table: &Table<'_>,
    ask: &Ask,
    params: &BTreeMap<String, Param>,
    own: &[&str],
) {
    // What `vars` makes is known when it has run.
    if ask.vars.is_some() {
        return;
    }
    let path = table.get("get").or_else(|| table.get("post"));
    for variable in ask.variables() {
        if params.contains_key(&variable) || own.contains(&variable.as_str()) {
            continue;
        }
        let known = params.keys().map(String::as_str);
        let hint = suggest(&variable, known.chain(own.iter().copied()));
        let message = format!("nothing gives the template's variable `{variable}`{hint}");
        match (&path, ask.template.place_of(&variable)) {
            (Some(path), at @ Some(_)) => path.error_inside(Misplaced { message, at }),
            // It is a header's, or a field's.
            _ => table.error(message),
        }
    }
}

/// A parameter that neither the request nor any filter knows is a slip of the pen.
pub(super) fn check_params(
    table: &Table<'_>,
    ask: &Ask,
    params: &BTreeMap<String, Param>,
    filters: &[&Filter],
) {
    // What `vars` reads is known when it has run.
    if ask.vars.is_some() {
        return;
    }
    let variables = ask.variables();
    let unused = |name: &String| {
        !variables.contains(name) && !filters.iter().any(|f| f.text().contains(name.as_str()))
    };
    for name in params.keys().filter(|name| unused(name)) {
        let message = format!(
            "nothing asks for the parameter `{name}`{}",
            suggest(name, variables.iter().map(String::as_str))
        );
        let node = table.get("params").and_then(|node| {
            let mut entries = node
                .is_table()
                .then(|| node.table())??
                .entries()
                .into_iter();
            entries.find(|(key, _)| key == name).map(|(_, node)| node)
        });
        match node.or_else(|| table.get("params")) {
            Some(node) => node.error(message),
            None => table.error(message),
        }
    }
}

fn repeated(table: &Table<'_>) -> BTreeMap<String, String> {
    let entries = table
        .get("query")
        .and_then(|n| n.table())
        .map_or(Vec::new(), |t| t.entries());
    let pair = |(name, node): (&str, Node<'_>)| Some((name.to_owned(), node.text()?.to_owned()));
    entries.into_iter().filter_map(pair).collect()
}

/// Headers by name; their values are templates.
pub(in super::super) fn headers(node: Option<&Node<'_>>) -> Vec<(String, Line)> {
    let entries = node
        .and_then(Node::table)
        .map_or(Vec::new(), |table| table.entries());
    let header = |(name, node): (&str, Node<'_>)| {
        let name = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            node.error(format!("`{name}` is not the name of a header"));
        }
        if NOT_OURS.contains(&name.as_str()) {
            node.error(format!(
                "`{name}` is not set by a dialect; secrets belong to the site's own table"
            ));
        }
        Some((name, node.parsed(Line::compile)?))
    };
    entries.into_iter().filter_map(header).collect()
}

/// Headers without variables.
pub(in super::super) fn plain_headers(node: Option<&Node<'_>>) -> Vec<(String, String)> {
    let lines = headers(node).into_iter();
    let plain = |(name, line): (String, Line)| {
        if let (Some(node), false) = (node, line.variables().is_empty()) {
            node.error(format!("`{name}` has a variable, which nothing gives here"));
        }
        (name, line.text().to_owned())
    };
    lines.map(plain).collect()
}

/// The body's fields: of `form`, `json` or `multipart`.
fn fields(table: &Table<'_>) -> Option<Fields> {
    let kinds = [
        ("form", Form::Urlencoded),
        ("json", Form::Json),
        ("multipart", Form::Multipart),
    ];
    let mut found = None;
    for (key, form) in kinds {
        let Some(node) = table.get(key) else { continue };
        if found.is_some() {
            node.error("a request has one body: `form`, `json` or `multipart`");
        }
        let entries = node.table().map_or(Vec::new(), |table| table.entries());
        let field =
            |(name, node): (&str, Node<'_>)| Some((name.to_owned(), node.parsed(str::parse)?));
        found = Some(Fields {
            form,
            list: entries.into_iter().filter_map(field).collect(),
        });
    }
    found
}
