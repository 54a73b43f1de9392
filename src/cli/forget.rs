//! `larder forget`.

use std::path::Path;

use super::{
    Usage,
    ask::{Asked, ask},
    exit, known_job, load, print, reader,
};
use crate::{store::Request, text::count};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its definition goes if `larder add` keeps it, and so do its runs, its failures and what it still has in \
the queue. Records and objects stay; of items whose files were still to come, what is known is recorded. A job that the \
configuration names must be taken out of it first."
)]
pub(super) struct Forget {
    /// The job: one that was added, or that the configuration does not name any more
    job: String,
}

impl Forget {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let name = &self.job;
        if let Some(job) = config.job(name).filter(|job| !job.added) {
            // Dropped now, it would begin anew at the next run: that is not what the word promises.
            return Err(Usage(format!(
                "the job `{name}` is written in {}: remove it there first (or set `enabled = false`, to keep it from running); \
                 then `larder forget {name}` drops the rest",
                job.file.display()
            ))
            .into());
        }
        let unfit = config.unfit.iter().any(|unfit| unfit.name == *name);
        if !unfit {
            known_job(&config, reader(&config)?.as_ref(), name)?;
        }
        match ask(&config, "forget", vec![Request::Forget(name.clone())])? {
            Asked::Left(holder) => {
                print(format_args!("Asked larder {holder} to forget `{name}`.\n"))?;
            }
            Asked::Done(answered) => {
                let dropped = i64::try_from(answered.dropped).unwrap_or(i64::MAX);
                let queue = match dropped {
                    0 => String::new(),
                    1 => ", and 1 task with it".to_owned(),
                    n => format!(", and {} tasks with it", count(n)),
                };
                print(format_args!(
                    "Forgot `{name}`{queue}; what it archived stays.\n"
                ))?;
            }
        }
        Ok(exit::OK)
    }
}
