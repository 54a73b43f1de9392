//! Where log lines go: standard error, around the progress bars.

use std::{
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};

use indicatif::MultiProgress;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// The bars that log lines must not tear.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// The bars of this process.
pub(super) fn bars() -> &'static MultiProgress {
    BARS.get_or_init(MultiProgress::new)
}

/// Starts logging. Only larder's own lines: a library's lines may hold whole addresses.
pub(super) fn start(verbose: u8, quiet: bool, json: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) if io::stderr().is_terminal() => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::new(format!("off,larder={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Around);
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

struct Around;

impl<'a> MakeWriter<'a> for Around {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// One log line; written at once, with the bars out of the way.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let write = || {
            // A closed standard error is nobody's concern.
            let _ = io::stderr().write_all(&self.0);
        };
        match BARS.get() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}
