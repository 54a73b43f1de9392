//! `larder daemon`.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    ConfigErrors, clock, exit, load, print,
    run::{Signals, runtime},
};
use crate::daemon::{self, Options};

/// How often the daemon looks whether anything is to be done.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Jobs with `every` or `cron` run when they are due and their `window` is open; a start that was missed is made \
up for once. A run that was interrupted goes on. Changed files of the configuration are read at once, or at SIGHUP; where \
there is a mistake, the configuration before stays and `larder status` says so. SIGTERM and SIGINT end it within ten seconds."
)]
pub(super) struct Daemon {
    /// Print a hardened unit for systemd instead
    #[arg(long)]
    print_unit: bool,
}

impl Daemon {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        if self.print_unit {
            let config = load(path)?;
            let program = std::env::current_exe().context("find larder's own path")?;
            let path = std::path::absolute(path).context("find the configuration")?;
            print(daemon::unit::unit(&config, &program, &path))?;
            return Ok(exit::OK);
        }
        let options = Options {
            config: path.to_owned(),
            look: LOOK,
        };
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let stop = CancellationToken::new();
            let _signals = Signals::listen(&stop)?;
            let hangup = Arc::new(Notify::new());
            listen_for_hangup(hangup.clone())?;
            anyhow::Ok(daemon::run(options, clock(), hangup, stop).await)
        })?;
        match result {
            Ok(()) => Ok(exit::OK),
            Err(daemon::Error::Config(mistakes)) => Err(ConfigErrors(mistakes).into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn listen_for_hangup(hangup: Arc<Notify>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = signal(SignalKind::hangup()).context("listen for signals")?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            hangup.notify_one();
        }
    });
    Ok(())
}
