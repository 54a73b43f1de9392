//! jq filters, compiled once and run many times.
//!
//! Promises purity: no clock, no environment, no I/O (`now`, `env`, `input`, `debug` are left out), at most
//! [`MAX_OUTPUTS`] outputs and a deadline checked between outputs. The engine is jaq; nothing outside this room knows.

use std::{
    fmt,
    time::{Duration, Instant},
};

use jaq_core::{
    Compiler, Ctx, Vars, data,
    load::{Arena, File, Loader, lex, parse},
    unwrap_valr,
};
use jaq_json::Val;

/// Outputs of one filter on one input: a page of this many entries is not a page.
pub(super) const MAX_OUTPUTS: usize = 400_000;
/// Bytes of a filter's text.
const MAX_TEXT: usize = 64 << 10;
/// Brackets in brackets of a filter's text.
const MAX_NESTING: usize = 100;
/// How long one filter may work on one page.
const DEADLINE: Duration = Duration::from_secs(20);

use super::{item::Item, request::val_of};

type Data = data::JustLut<Val>;

/// A compiled filter.
pub struct Filter {
    text: String,
    compiled: jaq_core::Filter<Data>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

/// jq names that reach outside the input; a dialect must not depend on them.
const IMPURE: [&str; 12] = [
    "now",
    "env",
    "halt",
    "halt_error",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "input",
    "inputs",
    "localtime",
    "strflocaltime",
];

impl Filter {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What the compiler expected, and near which piece of the text.
    pub fn compile(text: &str) -> Result<Self, String> {
        // The compiler recurses with the text: a text like this is no filter that a person wrote.
        let deepest = text.bytes().scan(0_usize, |depth, byte| {
            match byte {
                b'(' | b'[' | b'{' => *depth += 1,
                b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            Some(*depth)
        });
        if text.len() > MAX_TEXT || deepest.max() > Some(MAX_NESTING) {
            return Err(format!(
                "not a jq filter: longer than {MAX_TEXT} bytes, or nested deeper than {MAX_NESTING} brackets"
            ));
        }
        let pure = |name: &str| !IMPURE.contains(&name);
        let defs = jaq_core::defs()
            .chain(jaq_std::defs().filter(|def| pure(def.name)))
            .chain(jaq_json::defs());
        let funs = jaq_core::funs::<Data>()
            .chain(jaq_std::base_funs().filter(|(name, ..)| pure(name)))
            .chain(jaq_std::extra_funs().filter(|(name, ..)| pure(name)))
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(
                &arena,
                File {
                    code: text,
                    path: (),
                },
            )
            .map_err(|errors| explain_load(text, errors))?;
        let compiled = Compiler::default()
            .with_funs(funs)
            .compile(modules)
            .map_err(explain_compile)?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
        })
    }

    /// The keys of objects that its text writes, such as `before` in `{before: .}`: for help with spelling, no more.
    pub(super) fn keys_written(&self) -> impl Iterator<Item = String> {
        let pieces = self
            .text
            .match_indices(':')
            .map(|(at, _)| self.text[..at].trim_end());
        pieces.filter_map(|before| {
            let before = before.strip_suffix('"').unwrap_or(before);
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let key = &before[before.trim_end_matches(word).len()..];
            (!key.is_empty()).then(|| key.to_owned())
        })
    }

    /// Every output for `input`.
    ///
    /// # Errors
    /// The filter's own error, too many outputs, or the deadline.
    pub fn all(&self, input: Val) -> Result<Vec<Val>, String> {
        let context = Ctx::<Data>::new(&self.compiled.lut, Vars::new([]));
        let started = Instant::now();
        let mut outputs = Vec::new();
        for output in self.compiled.id.run((context, input)).map(unwrap_valr) {
            outputs.push(output.map_err(|error| shorten(&error.to_string()))?);
            if outputs.len() > MAX_OUTPUTS {
                return Err(format!("more than {MAX_OUTPUTS} outputs"));
            }
            if started.elapsed() > DEADLINE {
                return Err(format!("not done after {DEADLINE:?}"));
            }
        }
        Ok(outputs)
    }

    /// The first output for `input`, if there is one.
    ///
    /// # Errors
    /// The filter's own error.
    pub fn first(&self, input: Val) -> Result<Option<Val>, String> {
        let context = Ctx::<Data>::new(&self.compiled.lut, Vars::new([]));
        let output = self
            .compiled
            .id
            .run((context, input))
            .map(unwrap_valr)
            .next();
        output
            .transpose()
            .map_err(|error| shorten(&error.to_string()))
    }
}

/// A predicate over an item, written by the user.
#[derive(Debug)]
pub struct Predicate {
    filter: Filter,
}

impl Predicate {
    /// Compiles `text`.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub fn compile(text: &str) -> Result<Self, String> {
        Filter::compile(text).map(|filter| Self { filter })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.filter.text
    }

    /// Whether the item is wanted: the first output is neither false nor null. No output refuses it. The filter sees the
    /// normal form: dates in UTC, addresses absolute, `raw` left out.
    ///
    /// # Errors
    /// The filter's own error; the caller keeps the item and reports it.
    pub fn wants(&self, item: &Item) -> Result<bool, String> {
        let bare = Item {
            raw: std::collections::BTreeMap::new(),
            ..item.clone()
        };
        let json = serde_json::to_value(&bare).map_err(|error| error.to_string())?;
        let output = self.filter.first(val_of(&json))?;
        Ok(!matches!(output, None | Some(Val::Null | Val::Bool(false))))
    }
}

/// Error texts quote values; a whole page is of no use to anybody.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 300;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}

/// Where in `text` the compiler stood, as words.
fn near(text: &str, piece: &str) -> String {
    let at = piece.as_ptr() as usize - text.as_ptr() as usize;
    let inside = text.as_bytes().as_ptr_range().contains(&piece.as_ptr());
    if piece.is_empty() || !inside {
        return "at the end of the filter".to_owned();
    }
    let line = text[..at].matches('\n').count() + 1;
    let piece: String = piece
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(40)
        .collect();
    if text.contains('\n') {
        format!("at `{piece}` (line {line} of the filter)")
    } else {
        format!("at `{piece}`")
    }
}

fn explain_load(text: &str, errors: Vec<(File<&str, ()>, jaq_core::load::Error<&str>)>) -> String {
    use jaq_core::load::Error;
    let mut all = Vec::new();
    for (_, error) in errors {
        match error {
            Error::Io(list) => all.extend(list.into_iter().map(|(_, e)| e)),
            Error::Lex(list) => all.extend(list.into_iter().map(
                |(expect, piece): (lex::Expect<&str>, &str)| {
                    format!("expected {} {}", expect.as_str(), near(text, piece))
                },
            )),
            Error::Parse(list) => all.extend(list.into_iter().map(
                |(expect, piece): (parse::Expect<&str>, &str)| {
                    format!("expected {} {}", expect.as_str(), near(text, piece))
                },
            )),
        }
    }
    format!("not a jq filter: {}", all.join("; "))
}

/// What the compiler could not find, by file.
type Undefined<'a> = Vec<(File<&'a str, ()>, Vec<jaq_core::compile::Error<&'a str>>)>;

fn explain_compile(errors: Undefined<'_>) -> String {
    let all: Vec<_> = errors
        .into_iter()
        .flat_map(|(_, list)| list)
        .map(|(piece, undefined)| format!("unknown {} `{piece}`", undefined.as_str()))
        .collect();
    format!("not a jq filter: {}", all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(filter: &str, input: &str) -> Result<Vec<String>, String> {
        let input = jaq_json::read::parse_single(input.as_bytes()).expect("valid JSON");
        let outputs = Filter::compile(filter)?.all(input)?;
        Ok(outputs.iter().map(Val::to_string).collect())
    }

    #[test]
    fn filters_keep_big_integers_and_key_order() {
        let out = run(".[]", r#"[{"b":12345678901234567890123,"a":0.10}]"#).expect("runs");
        assert_eq!(out, [r#"{"b":12345678901234567890123,"a":0.10}"#]);
    }

    #[test]
    fn filters_have_no_clock_and_no_environment() {
        for word in ["now", "env", "$ENV", "input", "halt"] {
            assert!(Filter::compile(word).is_err(), "{word}");
        }
    }

    #[test]
    fn a_broken_filter_says_where() {
        let error = Filter::compile(".a | ]").expect_err("broken");
        assert!(error.contains("`]`"), "{error}");
        let error = Filter::compile(".a | tonumbr").expect_err("unknown");
        assert!(error.contains("tonumbr"), "{error}");
    }

    #[test]
    fn the_keys_that_a_filter_writes_are_found() {
        let keys = |text| {
            Filter::compile(text)
                .expect(text)
                .keys_written()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(".id | {before: ., \"after\" : 1}"),
            ["before", "after"]
        );
        assert_eq!(keys(".a[1:2] | .b"), ["1"]);
        assert!(keys(".next").is_empty());
    }

    #[test]
    fn an_endless_filter_stops() {
        let error = run("repeat(1)", "null").expect_err("endless");
        assert!(
            error.contains("outputs") || error.contains("done"),
            "{error}"
        );
    }
}
