//! Reads actions, and where their secrets come from.

use std::collections::BTreeMap;

use super::{
    super::{
        action::{Action, Session},
        definition::text,
        request::Template,
    },
    Reading,
    ask::check_variables,
};
use crate::config::reader::Table;

impl Reading<'_> {
    /// `[action.NAME]`.
    pub(in super::super) fn action(
        &self,
        name: &str,
        table: Table<'_>,
        session: Option<&Session>,
    ) -> Option<Action> {
        let about = text(&table, "about");
        let params = self.params(&table);
        let ask = self.ask(&table);
        if let Some(ask) = &ask {
            let secrets = session.iter().flat_map(|session| session.secrets.keys());
            let secrets: Vec<_> = secrets.map(String::as_str).collect();
            check_variables(&table, ask, &params, &secrets);
        }
        let price = table
            .get("price")
            .and_then(|node| node.text())
            .map(str::to_owned);
        let error = match table.get("error") {
            Some(node) => self.filter(&node),
            None => self.error.clone(),
        };
        table.finish();
        Some(Action {
            name: name.to_owned(),
            about,
            params,
            price,
            ask: ask?,
            error,
        })
    }

    /// `[session]`.
    pub(in super::super) fn session(&self, table: Table<'_>) -> Session {
        let get = table.get("get");
        let get = get
            .and_then(|node| node.parsed_inside(|path| Template::compile(path, BTreeMap::new())));
        let secrets = table.need("secrets").and_then(|node| node.table());
        let secrets = secrets.iter().flat_map(Table::entries);
        let secret = |(name, node): (&str, _)| Some((name.to_owned(), self.filter(&node)?));
        let session = Session {
            get,
            secrets: secrets.filter_map(secret).collect(),
        };
        table.finish();
        session
    }
}
