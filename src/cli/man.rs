//! `larder man`: one manual page for all commands, made of the same words as `--help`.

use std::io::{self, Write};

use clap::CommandFactory as _;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use super::Cli;

/// What exit codes mean, as in the README.
const EXIT: [(&str, &str); 7] = [
    ("0", "all done"),
    (
        "1",
        "done, but something failed, or what was asked for is not known",
    ),
    ("2", "wrong usage, or an unknown job or site"),
    ("3", "stopped before the end; run again to go on"),
    ("75", "the archive is in use by another larder"),
    (
        "78",
        "the configuration, or the archive that it names, is wrong",
    ),
    ("130", "interrupted"),
];

/// Writes the page.
pub(super) fn render(out: &mut dyn Write) -> io::Result<()> {
    let whole = Cli::command();
    let man = Man::new(whole.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    commands.to_writer(out)?;
    for command in whole
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let mut usage = command
            .clone()
            .bin_name(format!("larder {}", command.get_name()));
        let usage = usage.render_usage().to_string();
        let mut head = Roff::new();
        head.control("SS", [usage.trim_start_matches("Usage: ")]);
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        head.text([roman(format!("{about}."))]);
        head.to_writer(out)?;
        let mut options = Vec::new();
        Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut options)?;
        // It stands under the command's own heading.
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
        out.write_all(options.as_bytes())?;
    }
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT {
        end.control("TP", []);
        end.text([bold(code)]);
        end.text([roman(meaning)]);
    }
    end.to_writer(out)
}
