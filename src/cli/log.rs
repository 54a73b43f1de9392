//! Where log lines go: standard error, around the progress bars. Nothing in them acts on the terminal.

use std::{
    io::{self, IsTerminal, Write},
    panic,
    sync::OnceLock,
};

use indicatif::MultiProgress;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::text::{json, one_line, shown};

/// The bars that log lines must not tear.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// The bars of this process.
pub(super) fn bars() -> &'static MultiProgress {
    BARS.get_or_init(MultiProgress::new)
}

/// Starts logging. Only larder's own lines: a library's lines may hold whole addresses.
/// `tells`: what is done is of interest on a terminal too.
pub(super) fn start(verbose: u8, quiet: bool, tells: bool, json: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) if io::stderr().is_terminal() && !tells => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::new(format!("off,larder={level}"));
    let form = match (json, io::stderr().is_terminal()) {
        (true, _) => Form::Json,
        (false, true) => Form::Coloured,
        (false, false) => Form::Plain,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Around(form));
    // A second start, as in tests, keeps the first.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .try_init()
    };
}

/// What a log line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// With the colours that the subscriber writes itself.
    Coloured,
    Json,
}

struct Around(Form);

impl<'a> MakeWriter<'a> for Around {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.0, Vec::new())
    }
}

/// One log line; written at once, with the bars out of the way.
struct Line(Form, Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        write(&harmless(self.0, &String::from_utf8_lossy(&self.1)));
    }
}

/// Writes to standard error with the bars out of the way.
fn write(text: &str) {
    let write = || {
        // A closed standard error is nobody's concern.
        let _ = io::stderr().write_all(text.as_bytes());
    };
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// A line in which only the subscriber's own colours act on the terminal.
fn harmless(form: Form, line: &str) -> String {
    match form {
        Form::Plain => shown(line).into_owned(),
        Form::Json => json(line).into_owned(),
        Form::Coloured => {
            let mut safe = String::with_capacity(line.len());
            let mut rest = line;
            while let Some(at) = rest.find('\u{1b}') {
                safe += &shown(&rest[..at]);
                let colour = colour(&rest[at..]);
                safe += &rest[at..at + colour];
                if colour == 0 {
                    safe += "\\u{1b}";
                }
                rest = &rest[at + colour.max(1)..];
            }
            safe + &shown(rest)
        }
    }
}

/// How many bytes at the start of this are a change of colour (SGR, ECMA-48 section 8.3.117); 0 for anything else.
fn colour(text: &str) -> usize {
    let Some(codes) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let digits = codes
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b';');
    let end = digits.count();
    if codes[end..].starts_with('m') {
        end + "\u{1b}[m".len()
    } else {
        0
    }
}

/// Lets a panic say what happened in one harmless line. What was committed stands, whatever it is.
pub(super) fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        let text = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.payload().downcast_ref::<String>().cloned());
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        write(&format!(
            "larder: a mistake in larder itself{place}: {}; please report it\n",
            one_line(&text.unwrap_or_default())
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_96_only_the_subscribers_own_colours_pass() {
        let line = "\u{1b}[2mtime\u{1b}[0m \u{1b}[1;32mINFO\u{1b}[m a\u{1b}[2Jb\u{1b}]0;title\u{7}\u{202e}c\u{9b}1A\n";
        assert_eq!(
            harmless(Form::Coloured, line),
            "\u{1b}[2mtime\u{1b}[0m \u{1b}[1;32mINFO\u{1b}[m a\\u{1b}[2Jb\\u{1b}]0;title\\u{7}\\u{202e}c\\u{9b}1A\n"
        );
        assert!(!harmless(Form::Plain, line).contains('\u{1b}'));
        let json = serde_json::json!({ "message": "a\u{1b}[2Jb\u{202e}\u{9b}c" }).to_string();
        let safe = harmless(Form::Json, &json);
        assert!(safe.is_ascii() && !safe.contains('\u{1b}'), "{safe}");
        let read: serde_json::Value = serde_json::from_str(&safe).expect("still JSON");
        assert_eq!(read["message"], "a\u{1b}[2Jb\u{202e}\u{9b}c");
    }
}
