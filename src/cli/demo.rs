//! `larder demo`: the whole of larder in ten seconds, on a sample site inside this process.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

use super::{clock, exit, load, print, run};
use crate::{demo::SampleSite, session::Session};

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Where its archive and configuration go
    #[arg(long, default_value = "larder-demo", value_name = "DIR")]
    dir: PathBuf,
}

impl Demo {
    pub(super) fn run(&self, quiet: bool) -> anyhow::Result<u8> {
        let runtime = run::runtime()?;
        runtime.block_on(self.archive(quiet))
    }

    async fn archive(&self, quiet: bool) -> anyhow::Result<u8> {
        let site = SampleSite::start().await.context("start the sample site")?;
        let path = self.write_config(&site)?;
        let config = load(&path)?;
        let jobs: Vec<_> = config.jobs.clone();
        if !quiet {
            print(format_args!(
                "A sample site runs at {} inside this process; larder archives it like any other.\n\n",
                site.url()
            ))?;
        }
        let session = Session::open(&config, "demo", clock())?;
        let jobs = run::plan(&jobs, false)?;
        let finished = run::work(&config, jobs, session, None, quiet).await?;
        let (pages, files) = site.requests();
        site.stop().await;
        if finished.code == exit::STOPPED || finished.code == exit::INTERRUPTED {
            return Ok(finished.code);
        }
        if !quiet {
            let status = crate::status::Status::read(&config, None, &clock())?;
            print(format_args!("{}\n{status}\n", finished.summary))?;
            print(format_args!(
                "The site has served {pages} pages and {files} files. {}\n\n",
                moral(files)
            ))?;
            print(self.next_steps(&path))?;
        }
        // The one file that fails is part of the demonstration.
        Ok(exit::OK)
    }

    /// Writes the demo's configuration; only the port changes from one time to the next.
    fn write_config(&self, site: &SampleSite) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("make the folder {}", self.dir.display()))?;
        let path = self.dir.join("archive.toml");
        if path.exists() && !fs::read_to_string(&path).is_ok_and(|text| text.starts_with(HEAD)) {
            anyhow::bail!(
                "{} is not the demo's; choose another folder with --dir",
                path.display()
            );
        }
        let text = format!(
            r#"{HEAD}
[archive]
path = "."

[network]
allow = ["{authority}"]     # the sample site is on this machine; larder refuses private addresses otherwise

[sites.demo]
dialect = "moebooru"
url = "{url}"
id = "demo"
rate = "unlimited"           # nobody else is there; a real site keeps its polite default
connections = 4
media_rate = "unlimited"
media_connections = 4

[[jobs]]
name = "demo"
site = "demo"
listing = "posts"
params = {{ tags = "" }}
with = ["comments", "notes", "pools"]
"#,
            authority = site.authority(),
            url = site.url().as_str().trim_end_matches('/'),
        );
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Three commands that work as they are printed, whichever way this one was started.
    fn next_steps(&self, path: &std::path::Path) -> String {
        let larder = std::env::args()
            .next()
            .unwrap_or_else(|| "larder".to_owned());
        let (path, dir) = (path.display(), self.dir.display());
        format!(
            "Try next:\n\n    \
             # the one file that the site has lost\n    \
             {larder} -c {path} failures\n\n    \
             # what is known of a post, and where its picture lies\n    \
             {larder} -c {path} show demo/post/1001\n\n    \
             # all of it again: nothing is fetched twice\n    \
             {larder} demo --dir {dir}\n"
        )
    }
}

/// The first line of the demo's configuration.
const HEAD: &str = "# Written by `larder demo`, each time anew: its sample site only runs as long as that command.";

fn moral(files: u64) -> &'static str {
    if files == 0 {
        "Nothing was fetched again: it is all here."
    } else {
        "The same picture under another number was fetched once."
    }
}
