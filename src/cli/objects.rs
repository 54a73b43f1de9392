//! `larder cat` and `larder path`.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Unknown, Usage, exit, load, print, reader};
use crate::{
    archive::{Archive, Digest},
    config::Config,
};

#[derive(Debug, clap::Args)]
pub(super) struct Object {
    /// SHA-256 in hex, or the first eight digits or more
    digest: String,
}

/// Fewer digits of a digest are a typing mistake.
const SHORTEST: usize = 8;

impl Object {
    pub(super) fn cat(&self, path: &Path) -> anyhow::Result<u8> {
        let (_, path) = self.find(&load(path)?)?;
        let mut file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let mut head = Vec::new();
        (&mut file).take(1024).read_to_end(&mut head)?;
        let mut out = io::stdout().lock();
        if out.is_terminal() && head.contains(&0) {
            let message = format!(
                "the object is not text; write it to a file: larder cat {} > FILE",
                self.digest
            );
            return Err(Usage(message).into());
        }
        out.write_all(&head)?;
        io::copy(&mut file, &mut out)?;
        out.flush()?;
        Ok(exit::OK)
    }

    pub(super) fn path(&self, path: &Path) -> anyhow::Result<u8> {
        let (_, path) = self.find(&load(path)?)?;
        print(format_args!("{}\n", path.display()))?;
        Ok(exit::OK)
    }

    fn find(&self, config: &Config) -> anyhow::Result<(Digest, PathBuf)> {
        let text = self.digest.to_ascii_lowercase();
        if text.len() < SHORTEST || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(Usage(format!(
                "`{}` is not a digest; give {SHORTEST} to 64 hex digits",
                self.digest
            ))
            .into());
        }
        let archive = Archive::open(&config.archive.path, &[])?;
        let unknown = || Unknown(format!("no object is called {text}"));
        let digest = match text.parse::<Digest>() {
            Ok(digest) => digest,
            Err(_) => match reader(config)?
                .map(|r| r.objects_like(&text))
                .transpose()?
                .unwrap_or_default()[..]
            {
                [] => return Err(unknown().into()),
                [digest] => digest,
                _ => {
                    return Err(Unknown(format!(
                        "several objects begin with {text}; give more digits"
                    ))
                    .into());
                }
            },
        };
        let path = archive.objects.path(&digest);
        // A link in place of an object is not an object.
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            let known = reader(config)?.map(|r| r.knows(&digest)).transpose()?;
            return Err(match known {
                Some(true) => Unknown(format!(
                    "the bytes of {digest} are gone from the disk; `larder verify --repair` fetches them anew"
                )),
                _ => unknown(),
            }
            .into());
        }
        let path = fs::canonicalize(&path).unwrap_or(path);
        Ok((digest, path))
    }
}
