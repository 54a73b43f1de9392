//! Opening an archive to write: lock, identity, leftovers, database, in this order.

use std::sync::Arc;

use crate::{
    archive::{self, Archive, Lock},
    clock::Clock,
    config::{self, Config, Diagnostic, KeptJob},
    disk::{self, Trouble},
    store::{self, Store},
};

/// Reads the configuration at `path`, and the jobs that `larder add` keeps, with `more` as if they were kept already.
///
/// # Errors
/// Every mistake of every file.
pub fn configuration(
    path: &std::path::Path,
    more: Vec<KeptJob>,
) -> Result<Config, Vec<Diagnostic>> {
    let kept = |archive: &config::Archive| {
        let added = store::Reader::open(&archive.state)
            .and_then(|reader| reader.map_or(Ok(Vec::new()), |reader| reader.added()));
        // Whoever needs the database says what is wrong with it; many commands do not.
        let added = added.unwrap_or_else(|error| {
            tracing::debug!(%error, "Could not read the added jobs");
            Vec::new()
        });
        let kept = added.into_iter().map(|added| KeptJob {
            name: added.name,
            definition: added.definition,
        });
        kept.chain(more).collect()
    };
    Config::load_with(path, kept)
}

/// An archive that this process writes.
#[derive(Debug)]
pub struct Session {
    /// Objects and records.
    pub archive: Arc<Archive>,
    /// Queue and catalog.
    pub store: Store,
    /// Whether the archive was made just now.
    pub created: bool,
    lock: Arc<Lock>,
}

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Session {
    /// Opens the archive of `config` for the command `kind`; makes it where there is none and none was ever known.
    ///
    /// # Errors
    /// When another larder holds it, when it is not the archive meant, or when it cannot be written.
    pub fn open(config: &Config, kind: &str, clock: Clock) -> Result<Self, Error> {
        let (root, state) = (&config.archive.path, &config.archive.state);
        let known = Store::known_archive(state)?;
        let mut expected = Vec::new();
        if let Some(id) = &config.archive.id {
            expected.push((id.as_str(), "`[archive] id`"));
        }
        if let Some(id) = &known {
            expected.push((id.as_str(), "the database"));
        }
        if !Archive::exists(root) && !expected.is_empty() {
            // Refused before anything is made in what may be an empty mount point.
            Archive::open(root, &expected)?;
        }
        disk::make_dirs(root).map_err(archive::Error::io("make", root))?;
        let lock = Arc::new(Lock::take(state, root, kind, &clock)?);
        let created = !Archive::exists(root);
        let archive = if created {
            Archive::create(root)?
        } else {
            Archive::open(root, &expected)?
        };
        if known.is_none() && archive.holds_anything() {
            return Err(archive::Error::Identity(format!(
                "the archive {} holds records, but its database {} is gone; `larder rebuild` makes it anew from the archive, \
                 or set `[archive] state` to the folder that has it",
                root.display(),
                Store::path_in(state).display()
            ))
            .into());
        }
        let left = archive.sweep_staging(clock.now())?;
        if left > 0 {
            tracing::info!(
                files = left,
                "Removed downloads that an earlier larder had begun"
            );
        }
        let archive = Arc::new(archive.sealing_at(config.archive.segment));
        let store = Store::open(state, archive.clone(), clock)?;
        let told = lock.clone();
        store.tell(move |trouble| told.say(trouble.map(Trouble::word)));
        Ok(Self {
            archive,
            store,
            created,
            lock,
        })
    }

    /// Ends the session: everything given to the store is on the disk.
    pub async fn close(self) {
        let Self {
            archive,
            store,
            lock,
            ..
        } = self;
        store.close().await;
        drop(archive);
        drop(lock);
    }
}
