//! `larder view`: a tree of links with human names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Usage, exit, known_job, load, print, progress, reader};
use crate::{
    archive::{self, Archive},
    config::Config,
    store::{Reader, Store},
    text::count,
    view::{Counts, Link, Options, Report, Step, Template, update},
};

#[derive(Debug, clap::Args)]
#[command(after_long_help = ABOUT)]
pub(super) struct View {
    /// The folder of the view; made if it is not there
    dir: PathBuf,
    /// Only items of these jobs
    jobs: Vec<String>,
    /// Only items that `larder find QUERY` finds
    #[arg(long, value_name = "QUERY")]
    find: Option<String>,
    /// What files are called
    #[arg(long, value_name = "TEMPLATE", long_help = NAME_HELP)]
    name: Option<String>,
    /// How files share the archive's bytes; without it, hard links where they are possible, else symbolic ones
    #[arg(long, value_enum, value_name = "HOW")]
    link: Option<How>,
    /// Write what is known of each file beside it, as NAME.EXT.json
    #[arg(
        long,
        long_help = "Write what is known of each file beside it, as NAME.EXT.json, in the shape of gallery-dl's \
                     --write-metadata; of an item without files, NAME.json"
    )]
    sidecar: bool,
}

const NAME_HELP: &str = "What files are called, such as '{site}/{author.name}/{id}_{index}.{ext}'; `/` parts folders. \
    Files of one name get a number: `sunset (2).png`";

const ABOUT: &str = "\
Fields of a name:
  of the item  {site} {kind} {id} {title} {author.id} {author.name} {created} {updated} {seen}
               {tags} {text} {parent.kind} {parent.id} {rev} {job}
  of the file  {role} {index} {num} {name} {ext} {sha256} {md5} {bytes} {width} {height}

  {index} counts from 0, {num} from 1; {name} is the site's own, without extension.
  {ext} is told by content. With {job}, a file has a link for each of its jobs.
  {index:03}       three digits at least
  {title:.40}      forty characters at most
  {created:%Y-%m}  a date in UTC, as strftime writes it
  What is not known is `_`.

What is in DIR and not the view's is never touched, and nothing in DIR is ever needed: remove it, and `larder view` makes \
it anew. Without jobs and options, a view is updated as it was made; a new one shows everything. What a site has removed, \
or a listing does not show any more, stays.

Hard and symbolic links are the archive's own files, which are read-only: copy one to change it. Whoever makes a hard \
link writable and edits it damages the archive (`larder verify` finds that). Copies of --link reflink share their bytes \
only until they are changed.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// A second name of the same file, within one file system
    Hard,
    /// A pointer to the archive's file
    Symbolic,
    /// A copy that shares its blocks until it is changed (Btrfs, XFS, bcachefs)
    Reflink,
}

impl View {
    pub(super) fn run(&self, path: &Path, quiet: bool) -> anyhow::Result<u8> {
        let config = load(path)?;
        let options = self.options()?;
        let archive = Archive::open(&config.archive.path, &[])?;
        let reader = reader(&config)?.ok_or_else(|| without_database(&config, &archive))?;
        for job in &self.jobs {
            known_job(&config, Some(&reader), job)?;
        }
        let bar = progress::files_bar();
        let mut watch = |step, done, all| {
            bar.set_message(match step {
                Step::Look => "looking",
                Step::Read => "reading records",
                Step::Make => "making links",
            });
            bar.set_length(all);
            bar.set_position(done);
        };
        let report = update(&archive, &reader, &self.dir, options, &mut watch);
        bar.finish_and_clear();
        let report = report?;
        if !quiet {
            print(summary(&report))?;
            print(remarks(&report, &reader)?)?;
        }
        let failed = report.lost + report.in_the_way + report.damaged;
        Ok(if failed == 0 {
            exit::OK
        } else {
            exit::SOME_FAILED
        })
    }

    /// What was asked for; `None` where an existing view stays as it is.
    fn options(&self) -> anyhow::Result<Option<Options>> {
        let Self {
            jobs,
            find,
            name,
            link,
            sidecar,
            ..
        } = self;
        if jobs.is_empty() && find.is_none() && name.is_none() && link.is_none() && !sidecar {
            return Ok(None);
        }
        let name = name.as_deref().map(str::parse::<Template>).transpose();
        let mut jobs = jobs.clone();
        jobs.sort();
        jobs.dedup();
        Ok(Some(Options {
            jobs,
            find: find.clone(),
            name: name
                .map_err(|error| Usage(error.to_string()))?
                .unwrap_or_default(),
            link: match link {
                None => Link::Auto,
                Some(How::Hard) => Link::Hard,
                Some(How::Symbolic) => Link::Symbolic,
                Some(How::Reflink) => Link::Reflink,
            },
            sidecar: *sidecar,
        }))
    }
}

fn without_database(config: &Config, archive: &Archive) -> archive::Error {
    let (root, database) = (
        archive.root().display(),
        Store::path_in(&config.archive.state),
    );
    archive::Error::Identity(format!(
        "the archive {root} has no database at {}: without it nobody knows which records are the newest; put it back from a \
         backup, or set `[archive] state` to the folder that has it",
        database.display()
    ))
}

/// `view/: 294 files as {site}/{id}.{ext}: 290 made, 4 kept`.
fn summary(report: &Report) -> String {
    let mut text = format!(
        "{}: {} as {}: {}\n",
        report.folder.display(),
        files(report.files.standing()),
        report.options.name,
        changes(&report.files)
    );
    if report.options.sidecar || report.sidecars != Counts::default() {
        let sidecars = report.sidecars.standing();
        text += &format!(
            "  and {} sidecar{}: {}\n",
            number(sidecars),
            plural(sidecars),
            changes(&report.sidecars)
        );
    }
    text
}

fn changes(counts: &Counts) -> String {
    let Counts {
        made,
        kept,
        renamed,
        replaced,
        removed,
    } = *counts;
    let all = [
        (made, "made"),
        (kept, "kept"),
        (renamed, "renamed"),
        (replaced, "replaced"),
        (removed, "removed"),
    ];
    let words: Vec<_> = all
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{} {word}", number(n)))
        .collect();
    if words.is_empty() {
        "nothing to do".to_owned()
    } else {
        words.join(", ")
    }
}

/// What a person should know besides.
fn remarks(report: &Report, reader: &Reader) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut remark = |n: u64, words: &str| {
        if n > 0 {
            text += &format!("  {} {words}\n", files(n));
        }
    };
    remark(report.unheld, "without a link: the site did not give them");
    remark(
        report.lost,
        "skipped: the archive has lost their bytes; see `larder verify`",
    );
    remark(
        report.in_the_way,
        "skipped: something that is not the view's stands in their place",
    );
    if report.damaged > 0 {
        text += &format!(
            "  {} damaged record{} left out\n",
            number(report.damaged),
            plural(report.damaged)
        );
    }
    let known = reader.members().context("read the jobs")?;
    for job in &report.options.jobs {
        match known.iter().find(|(_, name, _)| name == job) {
            None => text += &format!("  the job `{job}` has not run yet\n"),
            Some((.., 0)) => {
                text += &format!(
                    "  the job `{job}` has no items yet; one that ran with larder 0.1 has to run once more, because that did \
                     not note which items are a job's own\n"
                );
            }
            Some(_) => {}
        }
    }
    Ok(text)
}

fn files(n: u64) -> String {
    format!("{} file{}", number(n), plural(n))
}

fn number(n: u64) -> String {
    count(i64::try_from(n).unwrap_or(i64::MAX))
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}
