//! `larder add`: web addresses become jobs.

mod input;
mod plan;
mod save;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    input::Input,
    plan::{Known, Planned},
};
use super::{
    Usage,
    ask::answer,
    check, clock, eprint, exit, load, load_and, print, reader,
    run::{self, announce, refuse_unset, runtime, work},
};
use crate::{
    archive::{self, Lock},
    config::{AddressBook, Config, Job, KeptJob, checked_name, units},
    session::{self, Session},
    store::{self, Added, Request},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each address becomes a job, which `larder run` takes from then on; addresses of single posts become one job for up to \
200 of them. They are kept in the database, and `larder forget` drops them; with --save they are files instead, to edit \
and to back up. When no larder is at work they run at once; else it is asked to keep them.

An address that a job stands for already is only named, so a growing list can be added again and again. What is not \
recognised is reported with its line, the rest is added all the same, and the exit code is 2.")]
pub(super) struct Add {
    /// Web addresses, as a browser shows them
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Read addresses from a file, one a line; `-` is standard input; `#` begins a comment
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to call the job; default: after the site and what is looked for
    #[arg(long, value_name = "NAME", value_parser = checked_name)]
    name: Option<String>,
    /// Run it again this long after the last start, such as 6h
    #[arg(long, value_name = "TIME", value_parser = time)]
    every: Option<String>,
    /// Write jobs/NAME.toml beside the configuration instead
    #[arg(long)]
    save: bool,
}

fn time(text: &str) -> Result<String, String> {
    units::parse_duration(text).map(|_| text.to_owned())
}

impl Add {
    pub(super) fn run(&self, path: &Path, quiet: bool) -> anyhow::Result<u8> {
        let config = load(path)?;
        let inputs = input::gather(&self.urls, self.file.as_deref())?;
        if inputs.is_empty() {
            return Err(Usage(
                "no web address was given; write one, or `-f FILE` with one a line".to_owned(),
            )
            .into());
        }
        let reader = reader(&config)?;
        let kept = reader
            .as_ref()
            .map_or(Ok(Vec::new()), store::Reader::added)?;
        let rows = reader
            .as_ref()
            .map_or(Ok(Vec::new()), store::Reader::jobs)?;
        drop(reader);
        let book = AddressBook::new(&config);
        let (found, bad) = recognise(&book, &inputs);
        for line in &bad {
            eprint(&format!("larder: {line}"));
        }
        let mut known = Known::new(&config, &kept, &rows);
        let plan = plan::plan(
            found,
            &mut known,
            self.name.as_deref(),
            self.every.as_deref(),
        )?;
        let wrong = !bad.is_empty();
        if wrong && !quiet && inputs.len() > 1 {
            let (n, of) = (bad.len(), inputs.len());
            let left = if n == of {
                "nothing was added"
            } else {
                "the rest is added"
            };
            eprint(&format!(
                "larder: {n} of {of} addresses were not recognised; {left}"
            ));
        }
        if !quiet {
            print(plan.already())?;
        }
        let code = if plan.new.is_empty() {
            exit::OK
        } else {
            self.keep(path, &plan.new, quiet)?
        };
        // What stopped before its end is to be run again: that must not be hidden.
        Ok(if wrong && matches!(code, exit::OK | exit::SOME_FAILED) {
            exit::USAGE
        } else {
            code
        })
    }

    /// Where jobs become files, if they do.
    fn folder(&self, config: &Config) -> Option<PathBuf> {
        self.save.then(|| save::folder(config))
    }

    /// Keeps the jobs and runs them, or asks the larder at work to.
    fn keep(&self, path: &Path, new: &[Planned], quiet: bool) -> anyhow::Result<u8> {
        let kept = |planned: &Planned| KeptJob {
            name: planned.name.clone(),
            definition: planned.definition.clone(),
        };
        // Checked like any other job before anything of them is kept.
        let config = load_and(path, new.iter().map(kept).collect())?;
        let jobs: Vec<Arc<Job>> = new
            .iter()
            .map(|planned| super::job(&config, &planned.name).cloned())
            .collect::<anyhow::Result<_>>()?;
        if self.save {
            save::refuse(&config, new)?;
        }
        if Lock::holder(&config.archive.state).is_none() {
            refuse_unset(&config, &jobs)?;
        }
        let session = match Session::open(&config, "add", clock()) {
            Ok(session) => session,
            Err(session::Error::Archive(archive::Error::InUse { holder, .. })) => {
                let what = if self.save {
                    save::write(&config, new)?;
                    "The next run takes"
                } else {
                    store::ask(&config.archive.state, &requests(new), clock().now())?;
                    "It keeps what was added, and the next run takes"
                };
                if !quiet {
                    let folder = self.folder(&config);
                    print(plan::added(new, folder.as_deref()))?;
                    let it = if new.len() == 1 { "it" } else { "them" };
                    print(format_args!("larder {holder} is at work. {what} {it}.\n"))?;
                }
                return Ok(exit::OK);
            }
            Err(error) => return Err(error.into()),
        };
        if !quiet {
            announce(&config, &session)?;
        }
        runtime()?.block_on(self.keep_and_run(&config, &jobs, new, session, quiet))
    }

    async fn keep_and_run(
        &self,
        config: &Config,
        jobs: &[Arc<Job>],
        new: &[Planned],
        session: Session,
        quiet: bool,
    ) -> anyhow::Result<u8> {
        if self.save {
            save::write(config, new)?;
        } else {
            answer(&session, requests(new)).await?;
        }
        if !quiet {
            let folder = self.folder(config);
            print(plan::added(new, folder.as_deref()))?;
            if let Some(note) = check::schedule_note(jobs) {
                print(format_args!("note: {note}\n"))?;
            }
        }
        let finished = work(config, run::plan(jobs, false)?, session, None, quiet).await?;
        if !quiet {
            print(&finished.summary)?;
        }
        Ok(finished.code)
    }
}

fn requests(new: &[Planned]) -> Vec<Request> {
    let added = |planned: &Planned| Added {
        name: planned.name.clone(),
        definition: planned.definition.clone(),
        addresses: planned.keys.clone(),
        at: clock().now(),
    };
    new.iter()
        .map(|planned| Request::Add(added(planned)))
        .collect()
}

/// What each address means, and a line for each that means nothing.
fn recognise(book: &AddressBook, inputs: &[Input]) -> (Vec<plan::Found>, Vec<String>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for input in inputs {
        match plan::Found::new(book, &input.text) {
            Ok(one) => found.push(one),
            Err(why) => bad.push(format!("{}{why}", input.place)),
        }
    }
    (found, bad)
}
