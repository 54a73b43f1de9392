//! larder keeps what you bookmarked before it disappears.
//!
//! Data flows one way: config → dialect → store → walk → fetch → archive → status. The life of one file:
//!
//! 1. [`config`] reads archive.toml into checked values; a run puts its job's first page into the queue of [`store`].
//! 2. A lane of [`run`] claims the page, waits for its host's turn ([`pace`]) and asks for it ([`http`]).
//! 3. [`walk`] classifies the reply; the [`dialect`]'s filters make items, files and the next cursor of it; one
//!    transaction stores them all and finishes the page.
//! 4. [`fetch`] streams each file into staging, hashing on the way, checks it and puts it into the [`archive`] under
//!    its SHA-256; the writer syncs folders and the record log, then commits.
//! 5. When an item's last file is stored or has failed, its record is in the log; [`status`] reads the same tables.

pub mod action;
pub mod archive;
pub mod by_hand;
pub mod class;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod dialect;
pub mod disk;
pub mod doctor;
pub mod fetch;
pub mod find;
pub mod history;
pub mod http;
pub mod pace;
pub mod run;
pub mod session;
pub mod status;
pub mod store;
pub mod text;
pub mod upkeep;
pub mod view;
pub mod walk;
