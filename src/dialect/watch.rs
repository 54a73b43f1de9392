//! Watches filters while they work, so that none hangs larder or overflows its stack.
//!
//! Every loop of jq without an end, and every recursion without a bottom, goes through a definition that calls itself.
//! So each such definition, the user's and the standard library's, begins with a step that is counted: a filter that
//! takes too many, or too long, or nests too deep, ends with an error of its own. Definitions that do not call
//! themselves, such as `map`, cost nothing.
//!
//! Not watched: what is large without a loop, such as `"x" * 1e9`, and loops that make nothing but depth, such as
//! `def f: [.] | f` and `def f(g): f(g)`, which overflow the stack when what they made is dropped.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use jaq_core::{
    Cv, DataT, Error, Exn, Lut, Native,
    box_iter::box_once,
    data::HasLut,
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    native::Fun,
    path::{Part, Path},
};
use jaq_json::Val;

use super::filter::FilterError;

/// Steps of one filter on one input: a few for each value that a reply may have.
const MOST_STEPS: u32 = 2_000_000;
/// How long one filter may work on one input.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// Stack that recursion may use: half of what threads have, since values and errors need some on the way out.
const MOST_STACK: usize = 1 << 20;
/// Parts of a path that recursion may lead down; a reply has 128 levels at most.
const MOST_PATH: usize = 500;
/// The clock is asked once in so many steps.
const STEPS_PER_LOOK: u32 = 1024;

/// What a definition that calls itself does first. No filter can write this name.
const STEP: &str = "!step";
/// The native `range/3`, which goes on for ever when its step is 0.
const RANGE: &str = "!range";

/// Filters that are watched.
pub(super) struct Watched;

/// One filter at work on one input.
#[derive(Debug)]
pub(super) struct Watch {
    started: Instant,
    steps: Cell<u32>,
    most: u32,
    stopped: Cell<bool>,
    /// Where the stack stood at the start.
    base: usize,
}

/// What natives of a watched filter can reach.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    lut: &'a Lut<Watched>,
    watch: &'a Watch,
}

impl<'a> Reach<'a> {
    pub(super) fn new(lut: &'a Lut<Watched>, watch: &'a Watch) -> Self {
        Self { lut, watch }
    }
}

impl DataT for Watched {
    type V<'a> = Val;
    type Data<'a> = Reach<'a>;
}

impl<'a> HasLut<'a, Watched> for Reach<'a> {
    fn lut(&self) -> &'a Lut<Watched> {
        self.lut
    }
}

impl Watch {
    /// Begins to watch a filter that is about to run on this thread.
    pub(super) fn start() -> Self {
        Self::of(MOST_STEPS)
    }

    /// The same, for so many steps.
    pub(super) fn of(most: u32) -> Self {
        Self {
            started: Instant::now(),
            steps: Cell::new(0),
            most,
            stopped: Cell::new(false),
            base: stack_pointer(),
        }
    }

    /// Whether the filter was stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// When the filter has worked for too long.
    pub(super) fn look(&self) -> Result<(), FilterError> {
        if self.started.elapsed() <= DEADLINE {
            return Ok(());
        }
        Err(FilterError {
            message: format!("not done after {DEADLINE:?}"),
            endless: true,
        })
    }

    fn step(&self) -> Result<(), Error<Val>> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        let stopped = if steps > self.most {
            Some(format!("not done after {} steps: does it end?", self.most))
        } else if self.base.abs_diff(stack_pointer()) > MOST_STACK {
            Some(TOO_DEEP.to_owned())
        } else if steps.is_multiple_of(STEPS_PER_LOOK) {
            self.look().err().map(String::from)
        } else {
            None
        };
        stopped.map_or(Ok(()), |words| Err(self.stop(&words)))
    }

    fn stop(&self, words: &str) -> Error<Val> {
        self.stopped.set(true);
        Error::str(words)
    }
}

const TOO_DEEP: &str = "nested too deep: a definition calls itself and does not end";

/// About where the stack ends now.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The natives `funs` with those that watch.
pub(super) fn natives(
    funs: impl Iterator<Item = Fun<Watched>>,
) -> impl Iterator<Item = Fun<Watched>> {
    let step = Native::new(|(context, value): Cv<'_, Watched>| {
        let step = context.data().watch.step();
        box_once(step.map(|()| value).map_err(Exn::from))
    });
    let step = step.with_paths(|(context, value)| {
        let mut step = context.data().watch.step();
        if value.1.get(MOST_PATH).is_some() {
            step = Err(context.data().watch.stop(TOO_DEEP));
        }
        box_once(step.map(|()| value).map_err(Exn::from))
    });
    let step = step.with_update(
        |(context, value), update| match context.data().watch.step() {
            Ok(()) => update(value),
            Err(error) => box_once(Err(Exn::from(error))),
        },
    );
    let renamed = |(name, args, run): Fun<Watched>| match (name, args.len()) {
        ("range", 3) => (RANGE, args, run),
        _ => (name, args, run),
    };
    funs.map(renamed).chain([(STEP, Box::default(), step)])
}

/// Definitions that come before all others.
pub(super) fn first_definitions() -> [Def<&'static str>; 1] {
    let arguments = ["$from", "$to", "$by"];
    let range = Term::Call(RANGE, arguments.map(Term::Var).into());
    let step = Term::Call(STEP, Vec::new());
    let body = Term::BinOp(Box::new(range), BinaryOp::Pipe(None), Box::new(step));
    [Def {
        name: "range",
        args: arguments.into(),
        body,
    }]
}

/// Makes a definition count its steps if it calls itself, and so all that are defined inside it.
pub(super) fn watched(def: Def<&str>) -> Def<&str> {
    Rebuild::default().def(def)
}

/// `!step | term`.
fn stepping(term: Term<&str>) -> Term<&str> {
    let step = Term::Call(STEP, Vec::new());
    Term::BinOp(Box::new(step), BinaryOp::Pipe(None), Box::new(term))
}

/// Rebuilds a definition. One method for each kind of thing that holds terms.
#[derive(Default)]
struct Rebuild<'s> {
    /// The definitions around: name, number of arguments, and whether it is called inside itself.
    around: Vec<(&'s str, usize, bool)>,
}

impl<'s> Rebuild<'s> {
    fn def(&mut self, def: Def<&'s str>) -> Def<&'s str> {
        let Def { name, args, body } = def;
        self.around.push((name, args.len(), false));
        let body = self.term(body);
        let calls_itself = self.around.pop().is_some_and(|(.., calls)| calls);
        let body = if calls_itself { stepping(body) } else { body };
        Def { name, args, body }
    }

    fn call(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Term<&'s str> {
        let mut arguments = self.terms(arguments);
        let around = self.around.iter_mut();
        let itself = around.filter(|(n, count, _)| (*n, *count) == (name, arguments.len()));
        let mut calls_itself = false;
        for (.., calls) in itself {
            *calls = true;
            calls_itself = true;
        }
        if calls_itself {
            // An argument that hands on an argument is as deep as the calls are many when it is asked at last.
            arguments = arguments.into_iter().map(stepping).collect();
        }
        Term::Call(name, arguments)
    }

    fn term(&mut self, term: Term<&'s str>) -> Term<&'s str> {
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
            Term::Str(format, parts) => {
                let part = |part| match part {
                    StrPart::Term(term) => StrPart::Term(self.term(term)),
                    StrPart::Str(_) | StrPart::Char(_) => part,
                };
                Term::Str(format, parts.into_iter().map(part).collect())
            }
            Term::Arr(inner) => Term::Arr(inner.map(|term| self.boxed(term))),
            Term::Obj(entries) => {
                let entry = |(key, value): (_, Option<_>)| {
                    (self.term(key), value.map(|value| self.term(value)))
                };
                Term::Obj(entries.into_iter().map(entry).collect())
            }
            Term::Neg(inner) => Term::Neg(self.boxed(inner)),
            Term::BinOp(left, BinaryOp::Pipe(Some(pattern)), right) => {
                let pattern = BinaryOp::Pipe(Some(self.pattern(pattern)));
                Term::BinOp(self.boxed(left), pattern, self.boxed(right))
            }
            Term::BinOp(left, op, right) => Term::BinOp(self.boxed(left), op, self.boxed(right)),
            Term::Label(name, inner) => Term::Label(name, self.boxed(inner)),
            Term::Fold(name, stream, pattern, arguments) => Term::Fold(
                name,
                self.boxed(stream),
                self.pattern(pattern),
                self.terms(arguments),
            ),
            Term::TryCatch(tried, caught) => {
                Term::TryCatch(self.boxed(tried), caught.map(|term| self.boxed(term)))
            }
            Term::IfThenElse(branches, otherwise) => {
                let branch = |(condition, then)| (self.term(condition), self.term(then));
                let branches = branches.into_iter().map(branch).collect();
                Term::IfThenElse(branches, otherwise.map(|term| self.boxed(term)))
            }
            Term::Def(defs, inner) => {
                let defs = defs.into_iter().map(|def| self.def(def)).collect();
                Term::Def(defs, self.boxed(inner))
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            Term::Path(inner, Path(parts)) => {
                let inner = self.boxed(inner);
                let part = |(part, optional)| {
                    let part = match part {
                        Part::Index(at) => Part::Index(self.term(at)),
                        Part::Range(from, to) => {
                            let mut end = |term: Option<_>| term.map(|term| self.term(term));
                            Part::Range(end(from), end(to))
                        }
                    };
                    (part, optional)
                };
                Term::Path(inner, Path(parts.into_iter().map(part).collect()))
            }
        }
    }

    fn boxed(&mut self, mut term: Box<Term<&'s str>>) -> Box<Term<&'s str>> {
        *term = self.term(std::mem::take(&mut *term));
        term
    }

    fn terms(&mut self, terms: Vec<Term<&'s str>>) -> Vec<Term<&'s str>> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(_) => pattern,
            Pattern::Arr(parts) => {
                let parts = parts.into_iter().map(|part| self.pattern(part));
                Pattern::Arr(parts.collect())
            }
            Pattern::Obj(entries) => {
                let entry = |(key, part)| (self.term(key), self.pattern(part));
                Pattern::Obj(entries.into_iter().map(entry).collect())
            }
        }
    }
}
