//! Typed parameters of an endpoint.

use std::collections::BTreeMap;

use super::dates::Dates;
use crate::config::reader::{Node, Table, suggest};

/// A parameter's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// true or false.
    Bool,
    /// `2024-01-31`, `today`, `yesterday`, or a range `A..B`.
    Date,
    /// A list of texts.
    List,
    /// The path of a file to send; of actions only.
    File,
}

impl ParamKind {
    /// Every kind, by its word in TOML.
    pub const ALL: [(&'static str, Self); 6] = [
        ("text", Self::Text),
        ("int", Self::Int),
        ("bool", Self::Bool),
        ("date", Self::Date),
        ("list", Self::List),
        ("file", Self::File),
    ];

    /// The word in TOML.
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(word, _)| word)
    }
}

/// A checked value. Serialises as the plain JSON value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, and dates as written.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// Values by parameter name.
pub type Values = BTreeMap<String, Value>;

/// One parameter of an endpoint.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its type.
    pub kind: ParamKind,
    /// Whether a job must give it.
    pub required: bool,
    /// What is taken when a job does not give it.
    pub default: Option<Value>,
    /// The only values allowed; empty for any.
    pub one_of: Vec<Value>,
    /// One line for `larder sites`.
    pub about: String,
}

/// All parameters: `given`, and the defaults of those left out.
///
/// # Errors
/// The first that is missing.
pub(super) fn complete(params: &BTreeMap<String, Param>, given: &Values) -> Result<Values, String> {
    let mut values = given.clone();
    for (name, param) in params {
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

impl Param {
    /// Reads `[params.NAME]` of a dialect.
    pub(super) fn read(table: Table<'_>) -> Option<Self> {
        let kind = table.need("type").and_then(|node| {
            let word = node.text()?;
            let kind = ParamKind::ALL.iter().find(|(w, _)| *w == word);
            if kind.is_none() {
                node.unknown("type", word, ParamKind::ALL.iter().map(|(w, _)| *w));
            }
            kind.map(|(_, kind)| *kind)
        });
        let required = table
            .get("required")
            .and_then(|n| n.bool())
            .unwrap_or(false);
        let about = table
            .get("about")
            .and_then(|n| n.text())
            .unwrap_or("")
            .to_owned();
        let (default, one_of) = (table.get("default"), table.get("one_of"));
        let mut param = Self {
            kind: kind.unwrap_or(ParamKind::Text),
            required,
            default: None,
            one_of: Vec::new(),
            about,
        };
        if kind.is_some() {
            let nodes = one_of.and_then(|n| n.list()).unwrap_or_default();
            param.one_of = nodes.iter().filter_map(|n| param.value(n)).collect();
            param.default = default.and_then(|n| param.value(&n));
        }
        table.finish();
        kind.map(|_| param)
    }

    /// Checks a value that a user gave, with complaints at its place.
    pub fn value(&self, node: &Node<'_>) -> Option<Value> {
        let value = match self.kind {
            ParamKind::Text | ParamKind::File => Value::Text(node.text()?.to_owned()),
            ParamKind::Int => Value::Int(node.int()?),
            ParamKind::Bool => Value::Bool(node.bool()?),
            ParamKind::Date => {
                node.parsed(str::parse::<Dates>)?;
                Value::Text(node.text()?.to_owned())
            }
            ParamKind::List => Value::List(node.texts()?.into_iter().map(str::to_owned).collect()),
        };
        match self.allowed(value) {
            Ok(value) => Some(value),
            Err(why) => {
                node.error(why);
                None
            }
        }
    }

    /// Reads texts of a web address or a command line. A list takes all of them, anything else the last.
    ///
    /// # Errors
    /// When it is no value of this parameter.
    pub fn parse(&self, texts: &[String]) -> Result<Value, String> {
        let text = texts.last().map_or("", String::as_str);
        let value = match self.kind {
            ParamKind::Text | ParamKind::File => Value::Text(text.to_owned()),
            ParamKind::Int => {
                let number = text.parse();
                Value::Int(number.map_err(|_| format!("`{text}` is not a whole number"))?)
            }
            ParamKind::Bool => match text {
                "true" | "1" | "yes" | "on" => Value::Bool(true),
                "false" | "0" | "no" | "off" => Value::Bool(false),
                _ => return Err(format!("`{text}` is neither true nor false")),
            },
            ParamKind::Date => {
                text.parse::<Dates>()?;
                Value::Text(text.to_owned())
            }
            ParamKind::List => Value::List(texts.to_vec()),
        };
        self.allowed(value)
    }

    fn allowed(&self, value: Value) -> Result<Value, String> {
        if self.one_of.is_empty() || self.one_of.contains(&value) {
            return Ok(value);
        }
        let known: Vec<String> = self.one_of.iter().map(Value::to_string).collect();
        let hint = suggest(&value.to_string(), known.iter().map(String::as_str));
        Err(format!("unknown value `{value}`{hint}"))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => f.write_str(&values.join(" ")),
        }
    }
}
