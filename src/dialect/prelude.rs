//! What the filters of one dialect share: its definitions, and what was asked.
//!
//! Besides its input, a filter of a dialect sees `$params`, the parameters of the endpoint as given, `$cursor`, the
//! variables that name the page, and `$status`, the reply's. A job's `where` has none of these, and no definitions. Filters
//! of built-in dialects, which a test compiles, are compiled when they first run: one command needs few of them.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use jaq_core::{Vars, load};
use jaq_json::Val;

use super::{
    filter::{Filter, compile},
    request::{Variables, val_of},
};
use crate::config::reader::Misplaced;

/// What a dialect's filters may name besides their own variables.
const GLOBALS: &[&str] = &["$params", "$cursor", "$status"];

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

    /// What a run of a filter begins with; a copy costs a reference.
    pub(super) fn vars(&self) -> Vars<Val> {
        self.0.clone()
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
    pub(super) fn new(defs: &str, trusted: bool) -> Result<Self, Misplaced> {
        if !trusted {
            compile(&format!("{defs}\n."), "", GLOBALS).map_err(|wrong| Misplaced {
                // Nobody wrote what stands behind the definitions here.
                at: wrong
                    .at
                    .map(|at| at.start.min(defs.len())..at.end.min(defs.len())),
                ..wrong
            })?;
        }
        if load::parse(defs, |parser| parser.defs()).is_none() {
            return Err(Misplaced::whole(
                "only definitions go here, such as `def list: .[];`",
            ));
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
    pub(super) fn filter(&self, text: &str) -> Result<Filter, Misplaced> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let again = prelude.filter("of_page, $params.tags").expect("compiles");
        assert!(again.is_same(&filter));
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
                Err(error) => error.message,
                Ok(filter) => {
                    filter
                        .first_of(Val::Null, &globals)
                        .expect_err("unknown")
                        .message
                }
            };
            assert!(error.contains("`nothing`"), "{error}");
        }
    }

    #[test]
    fn a_misspelt_variable_or_definition_is_named() {
        let prelude = Prelude::new("def list: .[];", false).expect("good");
        for (text, word) in [
            ("$param.id", "$param"),
            ("$typo", "$typo"),
            ("lists", "lists"),
        ] {
            let error = prelude.filter(text).expect_err(text).message;
            assert!(error.contains(&format!("`{word}`")), "{error}");
        }
        let error = |defs| Prelude::new(defs, false).err().expect("broken").message;
        assert!(error("def a: $typo;").contains("$typo"));
        assert!(error("def a: b;").contains("`b`"));
        assert!(error("def a: 1;\ndef b: ];").contains("line 2"));
        assert!(error("def a: 1; . |").contains("only definitions"));
    }
}
