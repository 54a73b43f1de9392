//! Reads how an endpoint is walked.

use super::{
    super::{
        endpoint::EndpointKind,
        paging::{By, MOST_ROUNDS, Paging},
    },
    Reading,
};
use crate::config::reader::{Node, Table};

impl Reading<'_> {
    pub(super) fn pagings(
        &self,
        table: &Table<'_>,
        kind: EndpointKind,
        has_next: bool,
    ) -> Vec<Paging> {
        let Some(node) = table.get("paging") else {
            if kind == EndpointKind::Listing {
                table.error(
                    "`paging` is missing; write `paging = { by = \"once\" }` for a listing of one page",
                );
            }
            return vec![Paging::once()];
        };
        let nodes = if node.is_list() {
            node.list().unwrap_or_default()
        } else {
            vec![node]
        };
        let pagings: Vec<_> = nodes
            .iter()
            .filter_map(|n| self.paging(n, has_next))
            .collect();
        if pagings.is_empty() {
            vec![Paging::once()]
        } else {
            pagings
        }
    }

    fn paging(&self, node: &Node<'_>, has_next: bool) -> Option<Paging> {
        let table = node.table()?;
        let by = table.need("by").and_then(|node| {
            let word = node.text()?;
            let found = By::ALL.iter().find(|(w, _)| *w == word);
            if found.is_none() {
                node.unknown("paging", word, By::ALL.iter().map(|(w, _)| *w));
            }
            found.map(|(_, by)| *by)
        });
        let count = |key| {
            let value = table.get(key).and_then(|n: Node<'_>| n.int_at_least(1));
            value.and_then(|n| u32::try_from(n).ok())
        };
        let flag = |key| {
            table
                .get(key)
                .and_then(|n: Node<'_>| n.bool())
                .unwrap_or(false)
        };
        let paging = Paging {
            by: by.unwrap_or(By::Once),
            first: table
                .get("first")
                .and_then(|n| n.int())
                .unwrap_or(i64::from(by == Some(By::Page))),
            size: count("size"),
            max: count("max"),
            overlap: count("overlap").unwrap_or(0),
            short_ends: table.get("end").is_some_and(|node| {
                let word = node.text();
                if word.is_some_and(|w| w != "short") {
                    node.unknown("word", word.unwrap_or(""), ["short"]);
                }
                word == Some("short")
            }),
            repeats: flag("repeats"),
            hidden: flag("hidden"),
            rounds: count("rounds").unwrap_or(MOST_ROUNDS),
            when: table.get("when").and_then(|n| self.filter(&n)),
        };
        if matches!(by, Some(By::Cursor | By::Keyset)) && !has_next {
            node.error("this paging needs the filter `next`");
        }
        if paging.overlap > 0 && by != Some(By::Offset) {
            node.error("`overlap` goes with `by = \"offset\"`");
        }
        if let (Some(size), Some(max)) = (paging.size, paging.max)
            && size > max
        {
            node.error("`size` must not be larger than `max`");
        }
        if paging.size.is_some_and(|size| size <= paging.overlap) {
            node.error("`overlap` must be smaller than `size`");
        }
        table.finish();
        by.map(|_| paging)
    }
}
