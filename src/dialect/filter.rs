//! jq filters, compiled once and run many times.
//!
//! Promises purity: no clock, no environment, no I/O (`now`, `env`, `input`, `debug` are left out), at most
//! [`MAX_OUTPUTS`] outputs, and an end ([`watch`](super::watch)). The engine is jaq; nothing outside this room knows.
//!
//! The filters of a dialect share its `defs`, and see what was asked besides their input: `$params`, the parameters of
//! the endpoint as given, `$cursor`, the variables that name the page, and `$status`, the reply's. A job's `where` has none
//! of these. Filters of built-in dialects, which a test compiles, are compiled when they first run: one command needs few.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use jaq_core::{
    Compiler, Ctx, ValR, Vars,
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

/// What a dialect's filters may name besides their own variables.
const GLOBALS: &[&str] = &["$params", "$cursor", "$status"];

use super::{
    item::Item,
    request::{Variables, val_of},
    watch::{self, Reach, Watch, Watched},
};

/// A compiled filter; a clone is the same one.
#[derive(Clone)]
pub struct Filter(Arc<Compiled>);

struct Compiled {
    text: String,
    defs: Arc<str>,
    globals: &'static [&'static str],
    filter: OnceLock<Result<jaq_core::Filter<Watched>, String>>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.0.text)
    }
}

/// The values of `$params`, `$cursor` and `$status`, made once for all filters of a page.
pub(super) struct Globals(Vars<Val>);

impl Globals {
    /// What was asked: the endpoint's parameters, and the variables of the page; and the status of the reply, if there is one.
    pub(super) fn new(params: Val, cursor: &Variables, status: Option<u16>) -> Self {
        let cursor = Val::obj(
            cursor
                .iter()
                .map(|(k, v)| (Val::from(k.clone()), val_of(v)))
                .collect(),
        );
        let status = status.map_or(Val::Null, |status| val_of(&status.into()));
        Self(Vars::new([params, cursor, status]))
    }

    /// For a filter that names none of them.
    pub(super) fn none() -> Self {
        Self(Vars::new([]))
    }
}

/// The jq definitions of a dialect, which all its filters may use; compiles each text once.
pub(super) struct Prelude {
    defs: Arc<str>,
    /// Whether a test has compiled all of them, so that each can wait until it is needed.
    trusted: bool,
    known: RefCell<HashMap<String, Filter>>,
}

impl Prelude {
    /// Checks `defs`, such as `def list: .[]; def words: split(" ");`, unless they are `trusted`.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(super) fn new(defs: &str, trusted: bool) -> Result<Self, String> {
        if !trusted {
            compile(&format!("{defs}\n."), "", GLOBALS)?;
        }
        Ok(Self {
            defs: defs.into(),
            trusted,
            known: RefCell::default(),
        })
    }

    /// Compiles a filter of the dialect.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(super) fn filter(&self, text: &str) -> Result<Filter, String> {
        if let Some(known) = self.known.borrow().get(text) {
            return Ok(known.clone());
        }
        let filter = Filter::new(text, &self.defs, GLOBALS);
        if !self.trusted {
            filter.compiled()?;
        }
        let mut known = self.known.borrow_mut();
        known.insert(text.to_owned(), filter.clone());
        Ok(filter)
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
    fn new(text: &str, defs: &Arc<str>, globals: &'static [&'static str]) -> Self {
        Self(Arc::new(Compiled {
            text: text.to_owned(),
            defs: defs.clone(),
            globals,
            filter: OnceLock::new(),
        }))
    }

    fn compiled(&self) -> Result<&jaq_core::Filter<Watched>, String> {
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
    pub fn compile(text: &str) -> Result<Self, String> {
        let filter = Self::new(text, &Arc::from(""), &[]);
        filter.compiled()?;
        Ok(filter)
    }

    /// Every output for `input` of a filter that stands alone.
    ///
    /// # Errors
    /// The filter's own error, too many outputs, or the deadline.
    pub fn all(&self, input: Val) -> Result<Vec<Val>, String> {
        self.all_of(input, &Globals::none())
    }

    /// The first output for `input` of a filter that stands alone, if there is one.
    ///
    /// # Errors
    /// The filter's own error.
    pub fn first(&self, input: Val) -> Result<Option<Val>, String> {
        self.first_of(input, &Globals::none())
    }

    /// Every output of a dialect's filter.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(super) fn all_of(&self, input: Val, globals: &Globals) -> Result<Vec<Val>, String> {
        self.all_watched(input, globals, &Watch::start())
    }

    fn all_watched(
        &self,
        input: Val,
        globals: &Globals,
        watch: &Watch,
    ) -> Result<Vec<Val>, String> {
        let mut outputs = Vec::new();
        for output in run(self.compiled()?, input, globals, watch) {
            outputs.push(output.map_err(|error| shorten(&error.to_string()))?);
            if outputs.len() > MAX_OUTPUTS {
                return Err(format!("more than {MAX_OUTPUTS} outputs"));
            }
            if let Some(late) = watch.late() {
                return Err(late);
            }
        }
        Ok(outputs)
    }

    /// The first output of a dialect's filter, if there is one.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub(super) fn first_of(&self, input: Val, globals: &Globals) -> Result<Option<Val>, String> {
        let watch = Watch::start();
        let output = run(self.compiled()?, input, globals, &watch).next();
        output
            .transpose()
            .map_err(|error| shorten(&error.to_string()))
    }

    /// Whether the first output of a dialect's filter is neither null nor false; no output is neither.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub(super) fn holds(&self, input: Val, globals: &Globals) -> Result<bool, String> {
        let output = self.first_of(input, globals)?;
        Ok(!matches!(output, None | Some(Val::Null | Val::Bool(false))))
    }
}

fn run<'a>(
    filter: &'a jaq_core::Filter<Watched>,
    input: Val,
    globals: &Globals,
    watch: &'a Watch,
) -> impl Iterator<Item = ValR<Val>> + use<'a> {
    let reach = Reach::new(&filter.lut, watch);
    let context = Ctx::<Watched>::new(reach, globals.0.clone());
    filter.id.run((context, input)).map(unwrap_valr)
}

/// Compiles `text` behind `defs`, where `globals` may be named.
fn compile(
    text: &str,
    defs: &str,
    globals: &[&'static str],
) -> Result<jaq_core::Filter<Watched>, String> {
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
    let arena = Arena::default();
    let file = |code| File { code, path: () };
    // Once for the errors, which only a loader tells, and once for the term, which it keeps to itself.
    Loader::new([])
        .load(&arena, file(text))
        .map_err(|errors| explain_load(text, errors))?;
    let body = load::parse(text, |parser| parser.term())
        .ok_or("not a jq filter: modules are not loaded")?;
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
        self.filter.holds(val_of(&json), &Globals::none())
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
    fn filters_of_a_dialect_share_its_definitions_and_see_what_was_asked() {
        let prelude = Prelude::new(
            "def twice: . * 2;\ndef of_page: twice + $cursor.page;",
            false,
        )
        .expect("good");
        let filter = prelude.filter("of_page, $params.tags").expect("compiles");
        let params = val_of(&serde_json::json!({"tags": "heath"}));
        let cursor = serde_json::json!({"page": 3});
        let globals = Globals::new(params, cursor.as_object().expect("an object"), None);
        let outputs = filter.all_of(Val::from(20_isize), &globals).expect("runs");
        let outputs: Vec<_> = outputs.iter().map(Val::to_string).collect();
        assert_eq!(outputs, ["43", "\"heath\""]);
        assert!(Filter::compile("twice").is_err() && Filter::compile("$params").is_err());
        assert!(Arc::ptr_eq(
            &prelude.filter(".a").expect("compiles").0,
            &prelude.filter(".a").expect("compiles").0
        ));
    }

    #[test]
    fn a_misspelt_variable_or_definition_is_named() {
        let prelude = Prelude::new("def list: .[];", false).expect("good");
        for (text, word) in [
            ("$param.id", "$param"),
            ("$typo", "$typo"),
            ("lists", "lists"),
        ] {
            let error = prelude.filter(text).expect_err(text);
            assert!(error.contains(&format!("`{word}`")), "{error}");
        }
        let error = |defs| Prelude::new(defs, false).err().expect("broken");
        assert!(error("def a: $typo;").contains("$typo"));
        assert!(error("def a: b;").contains("`b`"));
        assert!(error("def a: 1;\ndef b: ];").contains("line 2"));
    }

    #[test]
    fn a_broken_filter_says_where() {
        let error = Filter::compile(".a | ]").expect_err("broken");
        assert!(error.contains("`]`"), "{error}");
        let error = Filter::compile(".a | tonumbr").expect_err("unknown");
        assert!(error.contains("tonumbr"), "{error}");
    }

    #[test]
    fn what_is_trusted_is_compiled_when_it_first_runs() {
        for trusted in [true, false] {
            let prelude = Prelude::new("def twice: . * 2;", trusted).expect("good");
            let filter = prelude.filter("[(.a | twice), $params.id, $cursor.page, $status]");
            let cursor = serde_json::json!({"page": 3});
            let globals = Globals::new(
                val_of(&serde_json::json!({"id": 7})),
                cursor.as_object().expect("an object"),
                Some(404),
            );
            let input = val_of(&serde_json::json!({"a": 4}));
            let output = filter.expect("compiles").first_of(input, &globals);
            let output = output.expect("runs").expect("an output");
            assert_eq!(output.to_string(), "[8,7,3,404]");
            let broken = prelude.filter("nothing");
            assert_eq!(broken.is_ok(), trusted);
            let error = match broken {
                Err(error) => error,
                Ok(filter) => filter.first_of(Val::Null, &globals).expect_err("unknown"),
            };
            assert!(error.contains("`nothing`"), "{error}");
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
            let known = ["outputs", "done after", "too deep"];
            assert!(
                known.iter().any(|word| error.contains(word)),
                "{filter}: {error}"
            );
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
}
