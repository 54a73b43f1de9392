//! Every row of `tests/faults.md` has tests that exist, or says why it has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::world::files_below;

const ROWS: u32 = 98;

/// The rows of the table: number, and what its last column says.
fn rows() -> BTreeMap<u32, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.md");
    let text = fs::read_to_string(path).expect("the table");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Ok(row), [_, fault, tests]) = (cells[0].parse::<u32>(), &cells[..]) else {
            assert_eq!(cells[0], "row", "not a row of three columns: {line}");
            continue;
        };
        assert!(!fault.is_empty(), "{line}");
        let twice = rows.insert(row, (*tests).to_owned());
        assert!(twice.is_none(), "row {row} is there twice");
    }
    rows
}

/// The names of all functions that are tests.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        for path in files_below(&root.join(folder)) {
            let text = fs::read_to_string(path).unwrap_or_default();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                    names.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
                    is_test = false;
                }
            }
        }
    }
    names
}

#[test]
fn every_row_of_the_fault_matrix_names_tests_that_exist_or_a_reason() {
    let (rows, tests) = (rows(), tests());
    let numbers: Vec<_> = rows.keys().copied().collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
    for (row, said) in rows {
        if said == "pending"
            || said
                .strip_prefix("reason: ")
                .is_some_and(|why| why.len() > 10)
        {
            continue;
        }
        for name in said.split(',').map(|name| name.trim().trim_matches('`')) {
            assert!(
                name.starts_with(&format!("fault_{row:02}_")),
                "row {row}: {name}"
            );
            assert!(tests.contains(name), "row {row}: there is no test {name}");
        }
    }
}

#[test]
fn every_test_of_a_fault_stands_in_the_matrix() {
    let rows = rows();
    for name in tests() {
        let Some(row) = name
            .strip_prefix("fault_")
            .and_then(|rest| rest.get(..2)?.parse().ok())
        else {
            continue;
        };
        assert!(rows[&row].contains(&name), "{name} is not in row {row}");
    }
}

#[test]
fn no_row_of_the_fault_matrix_is_pending() {
    let pending: Vec<_> = rows()
        .into_iter()
        .filter(|(_, said)| said == "pending")
        .collect();
    assert!(pending.is_empty(), "{pending:?}");
}
