//! `larder status`.

use std::{io::Write, path::Path, time::Duration};

use super::{ConfigErrors, clock, exit, known_job, load, print, print_json, reader};
use crate::{archive::Lock, clock::Clock, config::Config, status as all};

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Only this job
    job: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Draw it again every second, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

impl Status {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let only = self.job.as_deref();
        let clock = clock();
        let mut known = false;
        loop {
            // Read each time: a daemon may have taken in a change.
            let status = match load(path) {
                Ok(config) => {
                    if let (Some(name), false) = (only, known) {
                        known_job(&config, reader(&config)?.as_ref(), name)?;
                        known = true;
                    }
                    all::Status::read(&config, only, &clock)?
                }
                Err(error) => daemon_alone(path, &error, only, &clock)?.ok_or(error)?,
            };
            if self.json {
                print_json(&status.to_json())?;
            } else if self.watch {
                // Home, then clear what is below: no flicker.
                write!(std::io::stdout().lock(), "\u{1b}[H\u{1b}[J")?;
                print(&status)?;
            } else {
                print(&status)?;
            }
            if !self.watch {
                return Ok(exit::OK);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// What a daemon at work does, while the configuration that it began with is no longer there.
fn daemon_alone(
    path: &Path,
    error: &anyhow::Error,
    only: Option<&str>,
    clock: &Clock,
) -> anyhow::Result<Option<all::Status>> {
    let (Some(mistakes), Some(bare)) = (error.downcast_ref::<ConfigErrors>(), Config::bare(path))
    else {
        return Ok(None);
    };
    let holder = Lock::holder(&bare.archive.state);
    if holder.is_none_or(|holder| holder.kind != "daemon") {
        return Ok(None);
    }
    let mistakes: Vec<_> = mistakes.0.iter().map(ToString::to_string).collect();
    let status = all::Status::read_without_config(&bare, mistakes.join("\n"), only, clock)?;
    Ok(Some(status))
}
