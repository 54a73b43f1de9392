//! jq filters, compiled once and run many times.
//!
//! Promises purity: no clock, no environment, no I/O (`now`, `env`, `input`, `debug` are left out), at most
//! [`MAX_OUTPUTS`] outputs and a deadline checked between outputs. The engine is jaq; nothing outside this room knows.
//! Filters of built-in dialects, which tests compile, are compiled when they first run: most are never used by one command.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
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

/// Variables that every filter of a dialect may name besides its input.
const KNOWN: [&str; 3] = ["$params", "$cursor", "$status"];

/// What a filter may know besides its input.
#[derive(Debug, Clone)]
pub struct Known {
    /// `$params`: the endpoint's parameters, an object.
    pub params: Val,
    /// `$cursor`: the variables that name this page, such as `page` or `offset`, an object.
    pub at: Val,
    /// `$status`: the reply's HTTP status.
    pub status: Val,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            params: Val::Null,
            at: Val::Null,
            status: Val::Null,
        }
    }
}

/// A filter and the definitions that it may use.
pub struct Filter {
    text: String,
    defs: Arc<str>,
    compiled: OnceLock<Result<jaq_core::Filter<Data>, String>>,
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

/// What jq itself defines, without what reaches outside.
static STANDARD: LazyLock<Vec<parse::Def<&'static str>>> = LazyLock::new(|| {
    jaq_core::defs()
        .chain(jaq_std::defs().filter(|def| pure(def.name)))
        .chain(jaq_json::defs())
        .collect()
});

fn pure(name: &str) -> bool {
    !IMPURE.contains(&name)
}

impl Filter {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What the compiler expected, and near which piece of the text.
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::compile_with(text, &Arc::from(""))
    }

    /// Compiles `text`, which may use the definitions `defs`.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_with(text: &str, defs: &Arc<str>) -> Result<Self, String> {
        let filter = Self::trusted(text, defs);
        match filter.compiled() {
            Ok(_) => Ok(filter),
            Err(error) => Err(error),
        }
    }

    /// A filter that is known to compile; it does so when it first runs.
    pub fn trusted(text: &str, defs: &Arc<str>) -> Self {
        Self {
            text: text.to_owned(),
            defs: defs.clone(),
            compiled: OnceLock::new(),
        }
    }

    fn compiled(&self) -> Result<&jaq_core::Filter<Data>, String> {
        let compiled = self
            .compiled
            .get_or_init(|| compile(&self.text, &self.defs));
        compiled.as_ref().map_err(Clone::clone)
    }

    /// Every output for `input`.
    ///
    /// # Errors
    /// The filter's own error, too many outputs, or the deadline.
    pub fn all(&self, input: Val, known: &Known) -> Result<Vec<Val>, String> {
        let compiled = self.compiled()?;
        let context = context(compiled, known);
        let started = Instant::now();
        let mut outputs = Vec::new();
        for output in compiled.id.run((context, input)).map(unwrap_valr) {
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
    pub fn first(&self, input: Val, known: &Known) -> Result<Option<Val>, String> {
        let compiled = self.compiled()?;
        let output = compiled
            .id
            .run((context(compiled, known), input))
            .map(unwrap_valr)
            .next();
        output
            .transpose()
            .map_err(|error| shorten(&error.to_string()))
    }

    /// Whether the first output is neither null nor false; no output is neither.
    ///
    /// # Errors
    /// The filter's own error.
    pub fn holds(&self, input: Val, known: &Known) -> Result<bool, String> {
        let output = self.first(input, known)?;
        Ok(!matches!(output, None | Some(Val::Null | Val::Bool(false))))
    }
}

fn context<'a>(filter: &'a jaq_core::Filter<Data>, known: &Known) -> Ctx<'a, Data> {
    let values = [&known.params, &known.at, &known.status].map(Clone::clone);
    Ctx::new(&filter.lut, Vars::new(values))
}

fn compile(text: &str, defs: &str) -> Result<jaq_core::Filter<Data>, String> {
    // The compiler recurses with the text: a text like this is no filter that a person wrote.
    let deepest = text.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'(' | b'[' | b'{' => *depth += 1,
            b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    if text.len() + defs.len() > MAX_TEXT || deepest.max() > Some(MAX_NESTING) {
        return Err(format!(
            "not a jq filter: longer than {MAX_TEXT} bytes, or nested deeper than {MAX_NESTING} brackets"
        ));
    }
    let own = jaq_core::load::parse(defs, |parser| parser.defs());
    let own = own.ok_or("the definitions in `defs` are not jq")?;
    let funs = jaq_core::funs::<Data>()
        .chain(jaq_std::base_funs().filter(|(name, ..)| pure(name)))
        .chain(jaq_std::extra_funs().filter(|(name, ..)| pure(name)))
        .chain(jaq_json::funs());
    let arena = Arena::default();
    let main = File {
        code: text,
        path: (),
    };
    let modules = Loader::new(STANDARD.iter().cloned().chain(own))
        .load(&arena, main)
        .map_err(|errors| explain_load(text, errors))?;
    Compiler::default()
        .with_funs(funs)
        .with_global_vars(KNOWN)
        .compile(modules)
        .map_err(explain_compile)
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
        self.filter.holds(val_of(&json), &Known::default())
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
        let outputs = Filter::compile(filter)?.all(input, &Known::default())?;
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
    fn definitions_of_the_dialect_and_what_was_asked_are_known() {
        let defs = Arc::from("def twice: . * 2;");
        let filter = Filter::compile_with("[(.a | twice), $params.id, $status]", &defs);
        let known = Known {
            params: val_of(&serde_json::json!({"id": 7})),
            status: val_of(&404.into()),
            ..Known::default()
        };
        let input = val_of(&serde_json::json!({"a": 4}));
        let output = filter.expect("compiles").first(input, &known);
        let output = output.expect("runs").expect("an output");
        assert_eq!(output.to_string(), "[8,7,404]");
        let error = Filter::compile_with("twice", &Arc::from("def twice: ;"));
        assert!(error.is_err());
        let error = Filter::compile("$other").expect_err("unknown");
        assert!(error.contains("$other"), "{error}");
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
