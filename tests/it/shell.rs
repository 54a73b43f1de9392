//! A folder and the real binary in it: the smallest harness for tests of commands.
//!
//! Promises: nothing of the caller's environment reaches the binary but the path; a child that is still alive when its
//! test ends is killed.
#![allow(dead_code, reason = "each story uses only a part of the harness")]
#![allow(
    unreachable_pub,
    reason = "`pub` marks the face that the stories may use"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::site::Booru;

/// A temporary folder that holds `archive.toml` and, after a run, `archive`.
pub struct Shell {
    folder: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub bytes: Vec<u8>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self::of(output)
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed by a signal"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Asserts the exit code and hands on.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// A command under way.
pub struct Running(Option<Child>);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("under way").id()
    }

    pub fn wait(mut self) -> Ran {
        let child = self.0.take().expect("under way");
        Ran::of(child.wait_with_output().expect("the child ends"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Shell {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A folder with one job, `seeds`, over all of `site`; `more` goes below it.
    pub fn with_job(site: &Booru, more: &str) -> Self {
        let shell = Self::new();
        let text = format!(
            "{}\n[[jobs]]\nname = \"seeds\"\nsite = \"mock\"\nlisting = \"posts\"\nparams = {{ tags = \"seed\" }}\n{more}\n",
            head(site)
        );
        shell.write("archive.toml", &text);
        shell
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    /// The binary, ready to run in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("LARDER_CONFIG")
            .env_remove("RUST_BACKTRACE")
            .env("TZ", "UTC")
            .env("COLUMNS", "80")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn larder(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("the binary starts"))
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running(Some(self.command(args).spawn().expect("the binary starts")))
    }

    /// Every file below the folder with its bytes, without SQLite's side files.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        gather(self.folder.path(), &mut files);
        files
    }
}

fn gather(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let side = path.extension().is_some_and(|end| {
            end.eq_ignore_ascii_case("db-wal") || end.eq_ignore_ascii_case("db-shm")
        });
        if path.is_dir() {
            gather(&path, files);
        } else if !side {
            files.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
}

/// The configuration of an archive of `site`, without a job.
pub fn head(site: &Booru) -> String {
    format!(
        r#"[archive]
path = "archive"

[network]
allow = ["{host}"]
tries = 2
backoff = "10ms"

[sites.mock]
dialect = "moebooru"
url = "{url}"
id = "mock"
rate = "unlimited"
connections = 2
media_rate = "unlimited"
media_connections = 2
"#,
        host = site.host(),
        url = site.url()
    )
}

/// Asks again and again until there is an answer, for three minutes at most: the machine may be busy.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
