//! `larder cat`, `larder path` and `larder verify`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use super::{Unknown, Usage, exit, load, print, print_json, reader};
use crate::{
    archive::{Archive, Damage, Digest, Segment, verify},
    config::Config,
    text::{bytes, count},
};

#[derive(Debug, clap::Args)]
pub(super) struct Object {
    /// SHA-256 in hex, or the first eight digits or more
    digest: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// As JSON
    #[arg(long)]
    json: bool,
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
            return Err(unknown().into());
        }
        let path = fs::canonicalize(&path).unwrap_or(path);
        Ok((digest, path))
    }
}

impl Verify {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let archive = Archive::open(&config.archive.path, &[])?;
        let known: BTreeMap<_, _> = reader(&config)?
            .map(|r| r.objects())
            .transpose()?
            .unwrap_or_default();
        let bar = super::progress::bytes_bar(known.values().sum());
        let result = verify(&archive, known, |n| bar.inc(n))?;
        bar.finish_and_clear();
        let mut damage: Vec<_> = result.damage.iter().map(describe).collect();
        let log = archive.log_path();
        let sealed = reader(&config)?
            .map(|reader| reader.segments())
            .transpose()?;
        let sealed = sealed.unwrap_or_default().last().map_or(0, Segment::end);
        let length = sealed + fs::metadata(&log).map_or(0, |meta| meta.len());
        match reader(&config)?
            .map(|reader| reader.log_bytes())
            .transpose()?
        {
            Some(committed) if length < committed => {
                damage.push(("short", log.display().to_string()));
            }
            None if archive.holds_anything() => damage.push(("missing", "larder.db".to_owned())),
            _ => {}
        }
        if self.json {
            let damage: Vec<_> = damage
                .iter()
                .map(|(kind, what)| json!({ "kind": kind, "object": what }))
                .collect();
            print_json(
                &json!({ "good": result.good, "bytes": result.bytes, "unreferenced": result.unreferenced, "damage": damage }),
            )?;
        } else {
            for (kind, what) in &damage {
                print(format_args!("{kind}  {what}\n"))?;
            }
            let size = bytes(i64::try_from(result.bytes).unwrap_or(i64::MAX));
            print(format_args!(
                "{} objects are whole, {size}",
                count(i64::try_from(result.good).unwrap_or(i64::MAX))
            ))?;
            if result.unreferenced > 0 {
                print(format_args!(
                    "; {} of them are not in the database",
                    result.unreferenced
                ))?;
            }
            print(format_args!("; {} damaged\n", damage.len()))?;
        }
        Ok(if damage.is_empty() {
            exit::OK
        } else {
            exit::SOME_FAILED
        })
    }
}

fn describe(damage: &Damage) -> (&'static str, String) {
    match damage {
        Damage::Missing(digest) => ("missing", digest.to_string()),
        Damage::Corrupt(_, path) => ("corrupt", path.display().to_string()),
        Damage::Foreign(path) => ("foreign", path.display().to_string()),
    }
}
