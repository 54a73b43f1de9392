//! larder's integration tests: one binary, a module per story, a mock site per dialect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands;
mod confirmation;
mod contract_json;
mod crash;
mod crash_long;
mod dialects;
mod endings;
mod examples;
#[cfg(debug_assertions)]
mod failpoints;
mod fault_table;
mod fetching;
mod filters;
mod harness;
mod leases;
mod mutations;
mod pages;
mod recorded;
mod shell;
mod site;
mod snapshots;
mod starts;
mod tour;
mod troubles;
mod under_way;
mod walking;
mod world;
