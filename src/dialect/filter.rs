//! jq filters, compiled once and run many times.
//!
//! Promises purity: no clock, no environment, no I/O (`now`, `env`, `input`, `debug` are left out), at most
//! [`MAX_OUTPUTS`] outputs, and an end ([`watch`](super::watch)). The engine is jaq; nothing outside this room knows.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, LazyLock, OnceLock},
};

use jaq_core::{
    Compiler, Ctx,
    load::{self, Arena, File, Loader, lex, parse},
    unwrap_valr,
};
use jaq_json::Val;

/// Outputs of one filter on one input: a page of this many entries is not a page.
pub(super) const MAX_OUTPUTS: usize = 400_000;
/// Bytes of a filter's text.
const MAX_TEXT: usize = 64 << 10;
/// Brackets in brackets of a filter's text.
const MAX_NESTING: usize = 100;
/// What the user's text is called among the definitions.
const MAIN: &str = "larder_filter";

use super::{
    item::Item,
    prelude::Globals,
    request::val_of,
    watch::{self, Reach, Watch, Watched},
};
use crate::config::reader::Misplaced;

/// A compiled filter; a clone is the same one.
#[derive(Clone)]
pub struct Filter(Arc<Compiled>);

struct Compiled {
    text: String,
    defs: Arc<str>,
    globals: &'static [&'static str],
    filter: OnceLock<Result<jaq_core::Filter<Watched>, Misplaced>>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.0.text)
    }
}

/// Why a filter gave no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The filter's own words, or what it did wrong.
    pub message: String,
    /// Whether it was stopped because it does not end: it would not on any other input either.
    pub endless: bool,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<FilterError> for String {
    fn from(error: FilterError) -> Self {
        error.message
    }
}

impl From<String> for FilterError {
    fn from(message: String) -> Self {
        let endless = false;
        Self { message, endless }
    }
}

/// What jq itself brings, read once: it takes longer to read than most filters to compile.
static STANDARD: LazyLock<Vec<parse::Def<&'static str>>> = LazyLock::new(|| {
    watch::first_definitions()
        .into_iter()
        .chain(jaq_core::defs())
        .chain(jaq_std::defs().filter(|def| is_pure(def.name)))
        .chain(jaq_json::defs())
        .map(watch::watched)
        .collect()
});

fn is_pure(name: &str) -> bool {
    !IMPURE.contains(&name)
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
    /// A filter that is compiled when it first runs.
    pub(super) fn new(text: &str, defs: &Arc<str>, globals: &'static [&'static str]) -> Self {
        Self(Arc::new(Compiled {
            text: text.to_owned(),
            defs: defs.clone(),
            globals,
            filter: OnceLock::new(),
        }))
    }

    /// What the compiler makes of it.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub(super) fn compiled(&self) -> Result<&jaq_core::Filter<Watched>, Misplaced> {
        let Compiled {
            text,
            defs,
            globals,
            filter,
        } = &*self.0;
        let compiled = filter.get_or_init(|| compile(text, defs, globals));
        compiled.as_ref().map_err(Clone::clone)
    }

    /// Compiles `text`, which stands alone: without definitions of a dialect and without `$params`.
    ///
    /// # Errors
    /// What the compiler expected, and near which piece of the text.
    pub fn compile(text: &str) -> Result<Self, Misplaced> {
        let filter = Self::new(text, &Arc::from(""), &[]);
        filter.compiled()?;
        Ok(filter)
    }

    /// Whether this is the same filter, not only an equal one.
    #[cfg(test)]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The keys of objects that its text writes, such as `before` in `{before: .}`: for help with spelling, no more.
    pub(super) fn keys_written(&self) -> impl Iterator<Item = String> {
        let pieces = self
            .0
            .text
            .match_indices(':')
            .map(|(at, _)| self.0.text[..at].trim_end());
        pieces.filter_map(|before| {
            let before = before.strip_suffix('"').unwrap_or(before);
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let key = &before[before.trim_end_matches(word).len()..];
            (!key.is_empty()).then(|| key.to_owned())
        })
    }

    /// The text as written.
    pub(super) fn text(&self) -> &str {
        &self.0.text
    }

    /// Every output for `input` of a filter that stands alone.
    ///
    /// # Errors
    /// The filter's own error, too many outputs, or no end.
    pub fn all(&self, input: Val) -> Result<Vec<Val>, FilterError> {
        self.all_of(input, &Globals::none())
    }

    /// The first output for `input` of a filter that stands alone, if there is one.
    ///
    /// # Errors
    /// The filter's own error, or no end.
    pub fn first(&self, input: Val) -> Result<Option<Val>, FilterError> {
        self.first_of(input, &Globals::none())
    }

    /// Every output of a dialect's filter.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(super) fn all_of(&self, input: Val, globals: &Globals) -> Result<Vec<Val>, FilterError> {
        self.all_watched(input, globals, &Watch::start())
    }

    /// The compiled filter, for running it.
    fn ready(&self) -> Result<&jaq_core::Filter<Watched>, String> {
        self.compiled().map_err(|wrong| wrong.message)
    }

    fn all_watched(
        &self,
        input: Val,
        globals: &Globals,
        watch: &Watch,
    ) -> Result<Vec<Val>, FilterError> {
        let mut outputs = Vec::new();
        for output in run(self.ready()?, input, globals, watch) {
            outputs.push(output?);
            if outputs.len() > MAX_OUTPUTS {
                return Err(format!("more than {MAX_OUTPUTS} outputs").into());
            }
            watch.look()?;
        }
        Ok(outputs)
    }

    /// The first output of a dialect's filter, if there is one.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub(super) fn first_of(
        &self,
        input: Val,
        globals: &Globals,
    ) -> Result<Option<Val>, FilterError> {
        let watch = Watch::start();
        run(self.ready()?, input, globals, &watch)
            .next()
            .transpose()
    }

    /// Whether the first output of a dialect's filter is neither null nor false; no output is neither.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub(super) fn holds(&self, input: Val, globals: &Globals) -> Result<bool, FilterError> {
        let output = self.first_of(input, globals)?;
        Ok(!matches!(output, None | Some(Val::Null | Val::Bool(false))))
    }
}

fn run<'a>(
    filter: &'a jaq_core::Filter<Watched>,
    input: Val,
    globals: &Globals,
    watch: &'a Watch,
) -> impl Iterator<Item = Result<Val, FilterError>> + use<'a> {
    let reach = Reach::new(&filter.lut, watch);
    let context = Ctx::<Watched>::new(reach, globals.vars());
    let outputs = filter.id.run((context, input)).map(unwrap_valr);
    outputs.map(|output| {
        output.map_err(|error| {
            let words = error.to_string();
            // An error that is a text is shown as JSON.
            let text = words.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
            FilterError {
                message: shorten(text.unwrap_or(&words)),
                endless: watch.has_stopped(),
            }
        })
    })
}

/// Compiles `text` behind `defs`, where `globals` may be named.
pub(super) fn compile(
    text: &str,
    defs: &str,
    globals: &[&'static str],
) -> Result<jaq_core::Filter<Watched>, Misplaced> {
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
        return Err(Misplaced::whole(format!(
            "not a jq filter: longer than {MAX_TEXT} bytes, or nested deeper than {MAX_NESTING} brackets"
        )));
    }
    let arena = Arena::default();
    let file = |code| File { code, path: () };
    // Once for the errors, which only a loader tells, and once for the term, which it keeps to itself.
    Loader::new([])
        .load(&arena, file(text))
        .map_err(|errors| explain_load(text, errors))?;
    let body = load::parse(text, |parser| parser.term())
        .ok_or_else(|| Misplaced::whole("not a jq filter: modules are not loaded"))?;
    let main = parse::Def {
        name: MAIN,
        args: Vec::new(),
        body,
    };
    let own = load::parse(defs, |parser| parser.defs()).unwrap_or_default();
    let own = own.into_iter().chain([main]).map(watch::watched);
    let funs = jaq_core::funs()
        .chain(jaq_std::base_funs().filter(|(name, ..)| is_pure(name)))
        .chain(jaq_std::extra_funs().filter(|(name, ..)| is_pure(name)))
        .chain(jaq_json::funs());
    let modules = Loader::new(STANDARD.iter().cloned().map(shorter).chain(own))
        .load(&arena, file(MAIN))
        .map_err(|errors| explain_load(text, errors))?;
    Compiler::default()
        .with_funs(watch::natives(funs))
        .with_global_vars(globals.iter().copied())
        .compile(modules)
        .map_err(|errors| explain_compile(text, errors))
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
    pub fn compile(text: &str) -> Result<Self, Misplaced> {
        Filter::compile(text).map(|filter| Self { filter })
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.filter.0.text
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
        Ok(self.filter.holds(val_of(&json), &Globals::none())?)
    }
}

/// Lets a definition of the library stand beside one of the user's.
fn shorter<'s>(def: parse::Def<&'static str>) -> parse::Def<&'s str> {
    def
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

/// Where in `text` a piece of it stands.
fn place(text: &str, piece: &str) -> Option<Range<usize>> {
    let inside = text.as_bytes().as_ptr_range().contains(&piece.as_ptr());
    if piece.is_empty() || !inside {
        return None;
    }
    let at = piece.as_ptr() as usize - text.as_ptr() as usize;
    // Of a bracket that opens, the piece is all that it holds.
    let end = piece.find('\n').unwrap_or(piece.len());
    Some(at..at + end)
}

/// Where in `text` the compiler stood, as words.
fn near(text: &str, piece: &str) -> String {
    let Some(place) = place(text, piece) else {
        return "at the end of the filter".to_owned();
    };
    let line = text[..place.start].matches('\n').count() + 1;
    let piece: String = text[place].chars().take(40).collect();
    if text.contains('\n') {
        format!("at `{piece}` (line {line} of the filter)")
    } else {
        format!("at `{piece}`")
    }
}

fn explain_load(
    text: &str,
    errors: Vec<(File<&str, ()>, jaq_core::load::Error<&str>)>,
) -> Misplaced {
    use jaq_core::load::Error;
    let mut all = Vec::new();
    for (_, error) in errors {
        match error {
            Error::Io(list) => all.extend(list),
            Error::Lex(list) => all.extend(list.into_iter().map(
                |(expect, piece): (lex::Expect<&str>, &str)| {
                    let words = format!("expected {} {}", expect.as_str(), near(text, piece));
                    (piece, words)
                },
            )),
            Error::Parse(list) => all.extend(list.into_iter().map(
                |(expect, piece): (parse::Expect<&str>, &str)| {
                    let words = format!("expected {} {}", expect.as_str(), near(text, piece));
                    (piece, words)
                },
            )),
        }
    }
    explained(text, all)
}

/// What the compiler could not find, by file.
type Undefined<'a> = Vec<(File<&'a str, ()>, Vec<jaq_core::compile::Error<&'a str>>)>;

fn explain_compile(text: &str, errors: Undefined<'_>) -> Misplaced {
    let all = errors.into_iter().flat_map(|(_, list)| list);
    let words = |(piece, undefined): (_, jaq_core::compile::Undefined)| {
        (piece, format!("unknown {} `{piece}`", undefined.as_str()))
    };
    explained(text, all.map(words).collect())
}

/// All that is wrong, at the place of the first.
fn explained(text: &str, all: Vec<(&str, String)>) -> Misplaced {
    let end = (!text.is_empty()).then_some(text.len()..text.len());
    let at = all
        .first()
        .and_then(|(piece, _)| place(text, piece))
        .or(end);
    let words: Vec<_> = all.into_iter().map(|(_, words)| words).collect();
    Misplaced {
        message: format!("not a jq filter: {}", words.join("; ")),
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(filter: &str, input: &str) -> Result<Vec<String>, String> {
        let input = jaq_json::read::parse_single(input.as_bytes()).expect("valid JSON");
        let outputs = Filter::compile(filter)
            .map_err(|wrong| wrong.message)?
            .all(input)?;
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
        for (filter, words, at) in [
            (".a | ]", "`]`", 5..6),
            (".a | tonumbr", "tonumbr", 5..12),
            ("[.a", "closing bracket", 3..3),
            (".a |\n  {b c}", "line 2", 10..11),
        ] {
            let wrong = Filter::compile(filter).expect_err(filter);
            assert!(wrong.message.contains(words), "{filter}: {wrong:?}");
            assert_eq!(wrong.at, Some(at), "{filter}: {wrong:?}");
        }
    }

    #[test]
    fn a_filter_without_an_end_is_stopped() {
        for filter in [
            "repeat(1)",
            "[repeat(1)]",
            "last(repeat(1))",
            "def f: f; f",
            "def f: .+1 | f; f",
            "def f: def g: f; g; f",
            "def f(g): g | f(g); f(.)",
            "def f: [f]; f",
            "def f: {a: f}; f",
            "def f: 1 + f; f",
            "def f: f + 1; f",
            "def f: (f | .), 1; [f]",
            "def f: try f catch f; f",
            "\"\\(def f: \"\\(f)\"; f)\"",
            "reduce (def f: f; f) as $x (0; 1)",
            "if (def f: [f] | true; f) then 1 else 2 end",
            "path(def f: .a | f; f)",
            "(def f: . | f; f) |= 1",
            "[range(0; 1; 0)]",
            "last(range(1e15))",
            "def f(g): def h(k): f(k); g | h(g); f(.)",
            "def f($x; g): f($x + 1; g | g); f(1; .)",
            "def f(g): f(g | .); f(.)",
            "def f: reduce f as $x (0; 1); f",
            "def f: f as [$x] | 1; f",
            "def f: label $out | f | break $out; f",
            "def f: .[f]; f",
            "def f: -f; f",
            "until(false; .)",
            "[while(true; 1)]",
            "[recurse(.)]",
            "larder_filter",
        ] {
            let few = Watch::of(5_000);
            let compiled = Filter::compile(filter).expect(filter);
            let error = compiled
                .all_watched(Val::Null, &Globals::none(), &few)
                .err();
            let error = error.unwrap_or_else(|| panic!("`{filter}` had an end"));
            assert!(error.endless, "{filter}: {error}");
        }
    }

    #[test]
    fn a_filter_that_takes_many_steps_to_its_end_is_let_be() {
        for (filter, output) in [
            ("[limit(50000; repeat(1))] | length", "50000"),
            ("[range(50000)] | length", "50000"),
            ("last(range(0; 50000))", "49999"),
            ("[0 | while(. < 20000; . + 1)] | length", "20000"),
            ("0 | until(. == 20000; . + 1)", "20000"),
            ("def f: if . > 0 then . - 1 | f else . end; 20000 | f", "0"),
            (
                "def f: if . > 0 then [. - 1 | f] else . end; 30 | f | tojson | length",
                "61",
            ),
            ("def f(g): g; f(f(f(1)))", "1"),
            ("[range(3; 0; -1)]", "[3,2,1]"),
            ("[range(0, 1; 3, 4)]", "[0,1,2,0,1,2,3,1,2,1,2,3]"),
            ("[.[]?, (.. | numbers)] | length", "0"),
        ] {
            assert_eq!(
                run(filter, "null").as_deref(),
                Ok(&[output.to_owned()][..]),
                "{filter}"
            );
        }
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
}
