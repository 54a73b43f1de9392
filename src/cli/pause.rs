//! `larder pause` and `larder resume`.

use std::path::Path;

use super::{
    ask::{Asked, ask},
    exit, known_job, load, print, reader,
};
use crate::store::{BY_USER, Request};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is asked for it until `larder resume`, whoever runs: what is under way is finished first. It stays held \
over restarts."
)]
pub(super) struct Pause {
    /// The job
    job: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Whatever it waited for: a hold by hand, a login that was mended, a block that is over. A daemon goes on with it at \
once, if it is due; else the next `larder run` does."
)]
pub(super) struct Resume {
    /// The job
    job: String,
}

impl Pause {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let (config, name) = (load(path)?, &self.job);
        known_job(&config, reader(&config)?.as_ref(), name)?;
        match ask(&config, "pause", vec![Request::Pause(name.clone())])? {
            Asked::Left(holder) => {
                print(format_args!("Asked larder {holder} to hold `{name}`.\n"))?;
            }
            Asked::Done(_) => {
                print(format_args!(
                    "Holding `{name}` until `larder resume {name}`.\n"
                ))?;
            }
        }
        Ok(exit::OK)
    }
}

impl Resume {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let (config, name) = (load(path)?, &self.job);
        known_job(&config, reader(&config)?.as_ref(), name)?;
        match ask(&config, "resume", vec![Request::Resume(name.clone())])? {
            Asked::Left(holder) => {
                print(format_args!(
                    "Asked larder {holder} to go on with `{name}`.\n"
                ))?;
            }
            Asked::Done(answered) => match answered.resumed.first() {
                None => print(format_args!("`{name}` was not held.\n"))?,
                Some((_, why)) => {
                    let by = if why == BY_USER { "by hand" } else { why };
                    print(format_args!(
                        "`{name}` was held ({by}); the next `larder run` or daemon goes on with it.\n"
                    ))?;
                }
            },
        }
        Ok(exit::OK)
    }
}
