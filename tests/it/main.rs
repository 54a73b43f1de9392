//! larder's integration tests: one binary, a module per story, a mock site per dialect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands;
mod contract_json;
mod crash;
mod damage;
mod dialects;
mod endings;
mod examples;
mod fetching;
mod filters;
mod gc;
mod pages;
mod rebuild;
mod recorded;
mod sealing;
mod shell;
mod site;
mod snapshots;
mod tour;
mod under_way;
mod walking;
mod world;
