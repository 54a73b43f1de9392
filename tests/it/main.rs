//! larder's integration tests: one binary, a module per story, a mock site per dialect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod actions;
mod adding;
mod bilibili;
mod by_hand;
mod commands;
mod confirmation;
mod contract_json;
mod crash;
mod crash_long;
mod daemon;
mod damage;
mod days;
mod dialects;
mod endings;
mod examples;
#[cfg(debug_assertions)]
mod failpoints;
mod faults;
mod fetching;
mod filters;
mod find;
mod gc;
mod harness;
mod history;
mod leases;
mod listings;
mod loopback;
mod members;
mod mutations;
mod operations;
mod pages;
mod pixiv;
mod rebuild;
mod rechecks;
mod recorded;
mod sealing;
mod shell;
mod site;
mod site_keys;
mod snapshots;
mod starts;
mod tour;
mod troubles;
mod under_way;
#[cfg(debug_assertions)]
mod upkeep_deaths;
mod view;
mod walking;
mod why;
mod wiki;
mod world;
