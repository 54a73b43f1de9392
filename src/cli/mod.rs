//! The command line: clap types, and one file per verb. Results go to standard output, logs and progress to standard
//! error. The library below never touches the terminal.

mod add;
mod ask;
mod call;
mod check;
mod daemon;
mod demo;
mod doctor;
mod failures;
mod find;
mod forget;
mod gc;
mod history;
mod log;
mod man;
mod objects;
mod pause;
mod progress;
mod rebuild;
mod run;
mod show;
mod sites;
mod status;
mod verify;
mod view;
mod why;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{
    archive,
    clock::Clock,
    config::{Config, Diagnostic, Job, KeptJob},
    session, store,
    text::{json, shown},
    upkeep, view as views,
};

/// Exit codes of the contract.
pub mod exit {
    /// All done.
    pub const OK: u8 = 0;
    /// Done, but some items failed; damage is left; not known.
    pub const SOME_FAILED: u8 = 1;
    /// Wrong usage, unknown job or site.
    pub const USAGE: u8 = 2;
    /// Stopped before the end: run again to go on.
    pub const STOPPED: u8 = 3;
    /// The archive is in use.
    pub const IN_USE: u8 = 75;
    /// The configuration, or the archive it names, is wrong.
    pub const CONFIG: u8 = 78;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// Keeps what you bookmarked before it disappears.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    max_term_width = 100,
    after_help = "Try it without an account or the internet: larder demo"
)]
pub struct Cli {
    /// The configuration
    #[arg(
        short,
        long,
        global = true,
        help_heading = "For every command",
        value_name = "FILE",
        env = "LARDER_CONFIG",
        default_value = "archive.toml"
    )]
    config: PathBuf,
    /// Say more; twice: everything
    #[arg(short, long, global = true, help_heading = "For every command", action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say only what somebody must act on
    #[arg(short, long, global = true, help_heading = "For every command")]
    quiet: bool,
    /// How logs are written
    #[arg(
        long,
        global = true,
        help_heading = "For every command",
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate configuration, jobs and dialects; print what each job would ask first; no network
    Check,
    /// Run jobs once, until their queue is empty or the time comes
    Run(run::Run),
    /// Stay: run jobs on their schedules and inside their windows until told to stop
    Daemon(daemon::Daemon),
    /// Where every job stands; works while another larder runs and when none does
    Status(status::Status),
    /// What failed and why
    Failures(failures::Failures),
    /// Put what failed back into the queue
    Retry(failures::Retry),
    /// Recognise web addresses and keep them as jobs
    Add(add::Add),
    /// Hold a job
    Pause(pause::Pause),
    /// Let a job go on
    Resume(pause::Resume),
    /// Drop a job, keeping what it archived
    Forget(forget::Forget),
    /// An item's record
    Show(show::Show),
    /// What happened to an item: its revisions, when it was gone or back, which jobs it joined and left
    History(history::Show),
    /// Search over titles, texts, authors, tags and dates
    Find(find::Find),
    /// Why an address was fetched or not, from stored facts
    Why(why::Why),
    /// An object's bytes
    Cat(objects::Object),
    /// Where an object lies
    Path(objects::Object),
    /// A tree of links with human names, made from the archive and kept up to date with it
    View(view::View),
    /// Re-hash the archive and report what is damaged; re-fetch it
    Verify(verify::Verify),
    /// Make the database anew from objects and records
    Rebuild(rebuild::Rebuild),
    /// Find what nothing refers to; remove it
    Gc(gc::Gc),
    /// Dialects and sites, their listings and parameters
    Sites(sites::Sites),
    /// One request by hand, JSON out
    Call(call::Call),
    /// One probe of a site's login, clock, user agent and media host
    Doctor(doctor::Doctor),
    /// Archive a small built-in sample site: the whole of larder in ten seconds, no account, no internet
    Demo(demo::Demo),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, for `man -l -`
    Man,
}

/// Mistakes of the configuration, all of them.
#[derive(Debug)]
struct ConfigErrors(Vec<Diagnostic>);

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}")?;
        }
        let (n, s) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        write!(f, "{n} mistake{s} in the configuration; nothing was done")
    }
}

impl std::error::Error for ConfigErrors {}

/// A wrong word on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Something that is not known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unknown(String);

/// Runs one command and returns its exit code.
pub fn main() -> u8 {
    log::catch_panics();
    keep_memory_private();
    let cli = Cli::parse();
    // What a daemon does is told nowhere else, whoever looks on.
    let tells = matches!(cli.command, Command::Daemon(_));
    log::start(
        cli.verbose,
        cli.quiet,
        tells,
        cli.log_format == LogFormat::Json,
    );
    match dispatch(cli) {
        Ok(code) => code,
        // A reader that has seen enough, such as `head`, is no error.
        Err(error) if is_closed_pipe(&error) => exit::OK,
        Err(error) => {
            // A mistake of the configuration begins with its file and line, for editors to jump to.
            let prefix = if error.is::<ConfigErrors>() {
                ""
            } else {
                "larder: "
            };
            eprint(&format!("{prefix}{}", words(&error)));
            code_of(&error)
        }
    }
}

/// Keeps the memory, which holds secrets, out of core dumps and away from other processes of the same user. Where the system
/// does not know how, larder works all the same.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let config = &cli.config;
    match cli.command {
        Command::Check => check::check(config),
        Command::Run(run) => run.run(config, cli.quiet),
        Command::Daemon(daemon) => daemon.run(config),
        Command::Status(status) => status.run(config),
        Command::Failures(failures) => failures.run(config),
        Command::Retry(retry) => retry.run(config),
        Command::Add(add) => add.run(config, cli.quiet),
        Command::Pause(pause) => pause.run(config),
        Command::Resume(resume) => resume.run(config),
        Command::Forget(forget) => forget.run(config),
        Command::Show(show) => show.run(config),
        Command::History(history) => history.run(config),
        Command::Find(find) => find.run(config, cli.quiet),
        Command::Why(why) => why.run(config),
        Command::Cat(object) => object.cat(config),
        Command::Path(object) => object.path(config),
        Command::View(view) => view.run(config, cli.quiet),
        Command::Verify(verify) => verify.run(config, cli.quiet),
        Command::Rebuild(rebuild) => rebuild.run(config),
        Command::Gc(gc) => gc.run(config),
        Command::Sites(sites) => sites.run(config),
        Command::Call(call) => call.run(config),
        Command::Doctor(doctor) => doctor.run(config),
        Command::Demo(demo) => demo.run(cli.quiet),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "larder", &mut script);
            io::stdout().lock().write_all(&script)?;
            Ok(exit::OK)
        }
        Command::Man => {
            let mut page = Vec::new();
            man::render(&mut page)?;
            io::stdout().lock().write_all(&page)?;
            Ok(exit::OK)
        }
    }
}

/// The whole chain, without what a link repeats of the one before it.
fn words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn code_of(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigErrors>() {
            return exit::CONFIG;
        }
        if cause.is::<Usage>() {
            return exit::USAGE;
        }
        if let Some(code) = archive_code(cause) {
            return code;
        }
    }
    exit::SOME_FAILED
}

/// The code of an error of the archive or its database, however it is wrapped: transparent errors are not in the chain.
fn archive_code(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let of_archive = |error: &archive::Error| match error {
        archive::Error::InUse { .. } => Some(exit::IN_USE),
        archive::Error::Identity(_) => Some(exit::CONFIG),
        archive::Error::Io { .. } => None,
    };
    let of_store = |error: &store::Error| match error {
        store::Error::Archive(error) => of_archive(error).or(Some(exit::STOPPED)),
        store::Error::Newer { .. } | store::Error::Damaged(_) => Some(exit::CONFIG),
        // What was committed is safe; the next run goes on.
        store::Error::Database { .. } if error.is_damage() => Some(exit::CONFIG),
        store::Error::Database { .. } | store::Error::Trouble { .. } | store::Error::Stopped(_) => {
            Some(exit::STOPPED)
        }
    };
    if let Some(error) = error.downcast_ref::<views::Error>() {
        return match error {
            views::Error::Refused(_) => Some(exit::USAGE),
            views::Error::Busy(_) => Some(exit::IN_USE),
            views::Error::Archive(error) => of_archive(error),
            views::Error::Store(error) => of_store(error),
            views::Error::Io { .. } => None,
        };
    }
    if let Some(error) = error.downcast_ref::<crate::daemon::Error>() {
        return match error {
            crate::daemon::Error::Session(session::Error::Archive(error)) => of_archive(error),
            crate::daemon::Error::Session(session::Error::Store(error))
            | crate::daemon::Error::Store(error) => of_store(error),
            crate::daemon::Error::Config(_) => Some(exit::CONFIG),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<session::Error>() {
        return match error {
            // The disk refused; nothing is lost by it, and the next run goes on.
            session::Error::Archive(error) => of_archive(error).or(Some(exit::STOPPED)),
            session::Error::Store(error) => of_store(error),
        };
    }
    if let Some(crate::status::Error::Store(error)) = error.downcast_ref() {
        return of_store(error);
    }
    if let Some(error) = error.downcast_ref::<upkeep::Error>() {
        return match error {
            upkeep::Error::Archive(error) => of_archive(error),
            upkeep::Error::Store(error) => of_store(error),
            _ => None,
        };
    }
    let archive = error.downcast_ref::<archive::Error>().and_then(of_archive);
    archive.or_else(|| error.downcast_ref::<store::Error>().and_then(of_store))
}

/// Reads the configuration, and the jobs that `larder add` keeps.
fn load(path: &std::path::Path) -> anyhow::Result<Config> {
    load_and(path, Vec::new())
}

/// The same with `more` jobs, as if they were kept already.
fn load_and(path: &std::path::Path, more: Vec<KeptJob>) -> anyhow::Result<Config> {
    session::configuration(path, more).map_err(|errors| ConfigErrors(errors).into())
}

/// The job called `name`.
fn job<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Arc<Job>> {
    if let Some(unfit) = config.unfit.iter().find(|unfit| unfit.name == name) {
        return Err(ConfigErrors(unfit.complaints.clone()).into());
    }
    config.job(name).ok_or_else(|| {
        let names = config.jobs.iter().map(|job| job.name.as_str());
        Usage(format!(
            "there is no job `{name}`{}",
            crate::config::reader::suggest(name, names)
        ))
        .into()
    })
}

/// Refuses the name of a job that neither the configuration nor the database knows.
fn known_job(
    config: &Config,
    reader: Option<&crate::store::Reader>,
    name: &str,
) -> anyhow::Result<()> {
    let stored = reader
        .map(crate::store::Reader::jobs)
        .transpose()?
        .unwrap_or_default();
    if stored.iter().any(|row| row.name == name) {
        return Ok(());
    }
    job(config, name).map(|_| ())
}

/// Opens the database for reading; `None` before the first run.
fn reader(config: &Config) -> anyhow::Result<Option<crate::store::Reader>> {
    crate::store::Reader::open(&config.archive.state).context("read the database")
}

/// Prints text that may hold what a site said: nothing in it acts on the terminal.
fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let text = text.to_string();
    write!(io::stdout().lock(), "{}", shown(&text))?;
    Ok(())
}

/// The same for errors.
fn eprint(line: &str) {
    // A closed standard error is nobody's concern.
    let _ = writeln!(io::stderr(), "{}", shown(line));
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| anyhow!(e))?;
    writeln!(io::stdout().lock(), "{}", json(&text))?;
    Ok(())
}

fn clock() -> Clock {
    Clock::System
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
