//! What the filters of one dialect share: its definitions, and what was asked.
//!
//! Besides its input, a filter of a dialect sees `$params`, the parameters of the endpoint as given, and `$cursor`, the
//! variables that name the page. A job's `where` has neither, and no definitions.

use std::{cell::RefCell, collections::HashMap};

use jaq_core::{Vars, load};
use jaq_json::Val;

use super::{
    filter::{Filter, compile},
    request::{Variables, val_of},
};
use crate::config::reader::Misplaced;

/// What a dialect's filters may name besides their own variables.
const GLOBALS: [&str; 2] = ["$params", "$cursor"];

/// The values of `$params` and `$cursor`, made once for all filters of a page.
pub(super) struct Globals(Vars<Val>);

impl Globals {
    /// What was asked: the endpoint's parameters, and the variables of the page.
    pub(super) fn new(params: Val, cursor: &Variables) -> Self {
        let cursor = Val::obj(
            cursor
                .iter()
                .map(|(k, v)| (Val::from(k.clone()), val_of(v)))
                .collect(),
        );
        Self(Vars::new([params, cursor]))
    }

    /// For a filter that names neither.
    pub(super) fn none() -> Self {
        Self(Vars::new([]))
    }

    /// What a run of a filter begins with; a copy costs a reference.
    pub(super) fn vars(&self) -> Vars<Val> {
        self.0.clone()
    }
}

/// The jq definitions of a dialect, which all its filters may use; compiles each text once.
#[derive(Default)]
pub(super) struct Prelude {
    defs: String,
    known: RefCell<HashMap<String, Filter>>,
}

impl Prelude {
    /// Checks `defs`, such as `def list: .[]; def words: split(" ");`.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(super) fn new(defs: &str) -> Result<Self, Misplaced> {
        compile(&format!("{defs}\n."), "", &GLOBALS).map_err(|wrong| Misplaced {
            // Nobody wrote what stands behind the definitions here.
            at: wrong
                .at
                .map(|at| at.start.min(defs.len())..at.end.min(defs.len())),
            ..wrong
        })?;
        if load::parse(defs, |parser| parser.defs()).is_none() {
            return Err(Misplaced::whole(
                "only definitions go here, such as `def list: .[];`",
            ));
        }
        Ok(Self {
            defs: defs.to_owned(),
            ..Self::default()
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
        let filter = compile(text, &self.defs, &GLOBALS)?;
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
        let prelude =
            Prelude::new("def twice: . * 2;\ndef of_page: twice + $cursor.page;").expect("good");
        let filter = prelude.filter("of_page, $params.tags").expect("compiles");
        let params = val_of(&serde_json::json!({"tags": "heath"}));
        let cursor = serde_json::json!({"page": 3});
        let globals = Globals::new(params, cursor.as_object().expect("an object"));
        let outputs = filter.all_of(Val::from(20_isize), &globals).expect("runs");
        let outputs: Vec<_> = outputs.iter().map(Val::to_string).collect();
        assert_eq!(outputs, ["43", "\"heath\""]);
        assert!(Filter::compile("twice").is_err() && Filter::compile("$params").is_err());
        let again = prelude.filter("of_page, $params.tags").expect("compiles");
        assert!(again.is_same(&filter));
    }

    #[test]
    fn a_misspelt_variable_or_definition_is_named() {
        let prelude = Prelude::new("def list: .[];").expect("good");
        for (text, word) in [
            ("$param.id", "$param"),
            ("$typo", "$typo"),
            ("lists", "lists"),
        ] {
            let error = prelude.filter(text).expect_err(text).message;
            assert!(error.contains(&format!("`{word}`")), "{error}");
        }
        let error = |defs| Prelude::new(defs).err().expect("broken").message;
        assert!(error("def a: $typo;").contains("$typo"));
        assert!(error("def a: b;").contains("`b`"));
        assert!(error("def a: 1;\ndef b: ];").contains("line 2"));
        assert!(error("def a: 1; . |").contains("only definitions"));
    }
}
