//! What `larder find` is asked, read: words and fields that all must hold.

use std::{fmt, str::FromStr};

use super::words::matched;
use crate::text::one_line;

/// A question to the archive: every term holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub(crate) terms: Vec<Term>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// Written with a `-` before it: what it holds for is left out.
    pub not: bool,
    pub is: Condition,
}

/// What a term asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// An FTS5 expression.
    Match(String),
    /// A tag, whole, or its beginning.
    Tag { name: String, open: bool },
    /// A column of the index and its value.
    Is(&'static str, String),
    /// Made (or, where the site does not say, seen) on this day or later; as RFC 3339 begins.
    After(String),
    /// Made before this day.
    Before(String),
    /// Some file is not held.
    Missing,
    /// The site has removed it.
    Gone,
}

/// The fields there are.
const FIELDS: [&str; 10] = [
    "tag", "author", "title", "text", "site", "kind", "id", "after", "before", "is",
];

/// What is wrong with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAQuery(String);

impl fmt::Display for NotAQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAQuery {}

impl FromStr for Query {
    type Err = NotAQuery;

    fn from_str(text: &str) -> Result<Self, NotAQuery> {
        let mut terms = Vec::new();
        for piece in pieces(text)? {
            let (not, rest) = match piece.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => (true, rest),
                _ => (false, piece.as_str()),
            };
            let is = match rest.split_once(':') {
                Some((field, value)) if FIELDS.contains(&field) => {
                    condition(field, unquoted(value))?
                }
                Some((field, value)) if !rest.starts_with('"') && !value.is_empty() => {
                    return Err(NotAQuery(format!(
                        "`{}` is no field; write `tag:{}` for a tag that is called so, or one of: {}",
                        one_line(field),
                        one_line(rest),
                        FIELDS.join(", ")
                    )));
                }
                _ => Condition::Match(words(unquoted(rest))?),
            };
            terms.push(Term { not, is });
        }
        if terms.is_empty() {
            return Err(NotAQuery(
                "nothing is asked for; write words, or fields such as `tag:landscape after:2024-01-01`"
                    .to_owned(),
            ));
        }
        Ok(Self { terms })
    }
}

fn condition(field: &str, value: &str) -> Result<Condition, NotAQuery> {
    if value.is_empty() {
        return Err(NotAQuery(format!("`{field}:` has no value")));
    }
    let column = |name: &'static str| Condition::Is(name, value.to_owned());
    let within = |name: &str| {
        // The braces keep the filter to this one phrase.
        words(value).map(|words| Condition::Match(format!("{{{name}}} : {words}")))
    };
    Ok(match field {
        "tag" => {
            let (name, open) = value
                .strip_suffix('*')
                .map_or((value, false), |name| (name, true));
            let name = name.to_owned();
            Condition::Tag { name, open }
        }
        "author" | "title" | "text" => within(field)?,
        "site" => column("site"),
        "kind" => column("kind"),
        "id" => column("ident"),
        "after" => Condition::After(day(value)?),
        "before" => Condition::Before(day(value)?),
        _ => match value {
            "missing" => Condition::Missing,
            "gone" => Condition::Gone,
            _ => {
                return Err(NotAQuery(format!(
                    "`is:{}` is not known; there are `is:missing` and `is:gone`",
                    one_line(value)
                )));
            }
        },
    })
}

fn words(text: &str) -> Result<String, NotAQuery> {
    matched(text).ok_or_else(|| NotAQuery(format!("there is no word in `{}`", one_line(text))))
}

/// `2024`, `2024-05` or `2024-05-31`.
fn day(text: &str) -> Result<String, NotAQuery> {
    let padded = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let date: Result<jiff::civil::Date, _> = padded.parse();
    date.map(|date| date.to_string()).map_err(|_| {
        NotAQuery(format!(
            "`{}` is not a day; write it like 2024-05-31, 2024-05 or 2024",
            one_line(text)
        ))
    })
}

/// Parts at spaces, but not at those within quotes.
fn pieces(text: &str) -> Result<Vec<String>, NotAQuery> {
    let (mut pieces, mut piece, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_whitespace() && !quoted {
            pieces.extend(Some(std::mem::take(&mut piece)).filter(|piece| !piece.is_empty()));
        } else {
            piece.push(c);
        }
    }
    if quoted {
        return Err(NotAQuery("a quote is not closed".to_owned()));
    }
    pieces.extend(Some(piece).filter(|piece| !piece.is_empty()));
    Ok(pieces)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<Term> {
        text.parse::<Query>().expect(text).terms
    }

    #[test]
    fn words_fields_quotes_and_negations_are_told_apart() {
        let term = |is| Term { not: false, is };
        assert_eq!(
            terms("hill tag:rating:s -tag:night* author:\"two words\" after:2024-05 id:7"),
            [
                term(Condition::Match("\"hill\"".to_owned())),
                term(Condition::Tag {
                    name: "rating:s".to_owned(),
                    open: false
                }),
                Term {
                    not: true,
                    is: Condition::Tag {
                        name: "night".to_owned(),
                        open: true
                    }
                },
                term(Condition::Match("{author} : \"two words\"".to_owned())),
                term(Condition::After("2024-05-01".to_owned())),
                term(Condition::Is("ident", "7".to_owned())),
            ]
        );
        assert_eq!(terms("\"a: b\"").len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "nothing is asked for"),
            ("rating:s", "`tag:rating:s`"),
            ("after:soon", "2024-05-31"),
            ("is:nice", "`is:missing`"),
            ("tag:", "has no value"),
            ("\"open", "not closed"),
            ("!!", "no word"),
        ] {
            let error = text.parse::<Query>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
