//! `larder status`.

use std::{io::Write, path::Path, time::Duration};

use super::{clock, exit, known_job, load, print, print_json, reader};

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
        let config = load(path)?;
        let only = self.job.as_deref();
        if let Some(name) = only {
            known_job(&config, reader(&config)?.as_ref(), name)?;
        }
        let clock = clock();
        loop {
            let status = crate::status::Status::read(&config, only, &clock)?;
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
