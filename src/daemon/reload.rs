//! The configuration read again: a good one is in force at once, a bad one is reported and the old one stays.
//!
//! A run whose job may have changed is stopped and goes on from where it is, with the new settings.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{Daemon, Error};
use crate::{config::Config, http::Http, session::configuration, store, text::one_line};

/// Reasons to wait for a person that a change of the configuration may have done away with.
const MENDED: [&str; 2] = ["auth", "blocked"];

impl Daemon {
    /// Reads the configuration because these files have changed; `None`: because somebody says so.
    pub(super) async fn reload(
        &mut self,
        changed: Option<&BTreeSet<PathBuf>>,
    ) -> Result<(), Error> {
        self.systemd.reloading();
        if changed.is_none() {
            self.watch.read(&self.config.files());
        }
        let path = self.options.config.clone();
        let load = tokio::task::spawn_blocking(move || configuration(&path, Vec::new()));
        let loaded = match load.await {
            Ok(Ok(config)) => self.fits(config),
            Ok(Err(mistakes)) => Err(mistakes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")),
            Err(panic) => Err(panic.to_string()),
        };
        match loaded {
            Ok(config) => self.put_in_force(config, changed).await?,
            Err(why) => self.refuse(why).await?,
        }
        self.systemd.ready();
        Ok(())
    }

    /// What a running daemon cannot change.
    fn fits(&self, config: Config) -> Result<Config, String> {
        let (old, new) = (&self.config.archive, &config.archive);
        let same = old.path == new.path && old.state == new.state;
        if !same || old.id != new.id {
            return Err(format!(
                "{}: `[archive]` names another archive; restart the daemon to change to it",
                config.path.display()
            ));
        }
        Ok(config)
    }

    async fn refuse(&mut self, why: String) -> Result<(), Error> {
        tracing::error!(
            "The changed configuration is refused, the one before stays in force: {}",
            one_line(&why)
        );
        self.keep_refusal(Some(why)).await
    }

    /// The configuration as it is read is in force.
    pub(super) async fn accept(&mut self) -> Result<(), Error> {
        self.keep_refusal(None).await
    }

    async fn keep_refusal(&self, why: Option<String>) -> Result<(), Error> {
        let keep = move |group: &mut store::Group<'_>| group.refuse_config(why.as_deref());
        match self
            .session
            .store
            .write("note the configuration", keep)
            .await
        {
            Err(error) if error.trouble().is_some() => {
                tracing::warn!(%error, "Could not note what became of the configuration");
                Ok(())
            }
            kept => Ok(kept?),
        }
    }

    async fn put_in_force(
        &mut self,
        config: Config,
        changed: Option<&BTreeSet<PathBuf>>,
    ) -> Result<(), Error> {
        // The files of single jobs; any other may change everything.
        let own: BTreeSet<_> = [&*self.config, &config]
            .into_iter()
            .flat_map(|config| config.jobs.iter().map(|job| (job, &config.path)))
            .filter(|(job, path)| job.file != **path && !job.added)
            .map(|(job, _)| job.file.clone())
            .collect();
        let all = changed.is_none_or(|changed| !changed.is_subset(&own));
        let affected =
            |file: &PathBuf| all || changed.is_some_and(|changed| changed.contains(file));
        if all {
            match Http::new(&config.network) {
                Ok(http) => self.means.http = http,
                Err(error) => return self.refuse(error.message).await,
            }
            self.renew = true;
        }
        for (name, running) in &self.running {
            if affected(&running.job.file) || config.job(name).is_none() {
                running.stop.cancel();
            }
        }
        let mended = self.standings.values().filter(|standing| {
            let mended = standing
                .paused
                .as_deref()
                .is_some_and(|why| MENDED.contains(&why));
            let job = config.job(&standing.name);
            mended && job.is_some_and(|job| affected(&job.file))
        });
        let mended: Vec<_> = mended.map(|standing| standing.job).collect();
        let resume = move |group: &mut store::Group<'_>| {
            for job in &mended {
                group.resume(*job)?;
            }
            group.refuse_config(None)
        };
        self.session.store.write("let jobs go on", resume).await?;
        tracing::info!(
            jobs = config.jobs.len(),
            "The changed configuration is in force"
        );
        self.unfit.clear();
        self.later.clear();
        self.config = Arc::new(config);
        self.watch.also(&self.config.files());
        self.open_face().await;
        self.read = true;
        Ok(())
    }

    /// Takes in the jobs that `larder add` keeps, or drops those that were forgotten, with all else as it is.
    pub(super) async fn read_added_jobs(&mut self) -> Result<(), store::Error> {
        let path = self.options.config.clone();
        let load = tokio::task::spawn_blocking(move || configuration(&path, Vec::new()));
        match load.await {
            Ok(Ok(config)) => {
                self.config = Arc::new(config);
                self.in_force.send_replace(self.config.clone());
            }
            // Said when it changed; they are taken in with the next good one.
            _ => tracing::warn!("What was added waits until the configuration is mended"),
        }
        Ok(())
    }
}
