//! `larder add --save`: jobs as files beside the configuration, never over one that is there.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{super::Usage, plan::Planned};
use crate::config::Config;

/// Where the files of jobs go.
pub(super) fn folder(config: &Config) -> PathBuf {
    config.path.parent().unwrap_or(Path::new("")).join("jobs")
}

fn path(config: &Config, planned: &Planned) -> PathBuf {
    folder(config).join(format!("{}.toml", planned.name))
}

/// Refuses what would not be read, or is there already, before anything is written.
pub(super) fn refuse(config: &Config, new: &[Planned]) -> anyhow::Result<()> {
    for planned in new {
        let path = path(config, planned);
        if !config.includes(&path) {
            return Err(Usage(format!(
                "{} does not include {}; write `include = [\"jobs/*.toml\"]` on its first line, or leave `--save` out",
                config.path.display(),
                path.display()
            ))
            .into());
        }
        if path.exists() {
            return Err(there_already(&path));
        }
    }
    Ok(())
}

fn there_already(path: &Path) -> anyhow::Error {
    Usage(format!(
        "{} is there already; choose another `--name`",
        path.display()
    ))
    .into()
}

/// Writes the files, each whole or not at all.
pub(super) fn write(config: &Config, new: &[Planned]) -> anyhow::Result<()> {
    let folder = folder(config);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for planned in new {
        let path = path(config, planned);
        // A name with a dot in front is none that `include` reads.
        let draft = folder.join(format!(".{}.toml.new", planned.name));
        let written = fs::File::create(&draft).and_then(|mut file| {
            file.write_all(planned.definition.as_bytes())?;
            file.sync_all()?;
            // A link is never made over a file that is there. Where there are no links, a moment is left to chance.
            match fs::hard_link(&draft, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
                    fs::copy(&draft, &path).map(drop)
                }
                linked => linked,
            }
        });
        let removed = fs::remove_file(&draft);
        match written {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(there_already(&path));
            }
            written => written
                .and(removed)
                .with_context(|| format!("write {}", path.display()))?,
        }
    }
    let sync = fs::File::open(&folder).and_then(|folder| folder.sync_all());
    sync.with_context(|| format!("sync {}", folder.display()))
}
