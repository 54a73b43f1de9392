//! larder's integration tests: one binary, a module per story, a mock site per dialect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adding;
mod bilibili;
mod by_hand;
mod commands;
mod contract_json;
mod crash;
mod damage;
mod days;
mod dialects;
mod endings;
mod examples;
mod faults;
mod fetching;
mod filters;
mod gc;
mod listings;
mod members;
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
mod tour;
mod under_way;
mod view;
mod walking;
mod wiki;
mod world;
