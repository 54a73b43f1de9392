//! The fault matrix: one story a row of `tests/faults.md`, each with proof that the fault was injected.

mod table;
