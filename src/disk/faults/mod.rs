//! Faults on purpose, for tests; in builds with debug assertions only.
//!
//! The environment variable `LARDER_FAULTS` holds, separated by `;`:
//!
//! - rules `ACTION@OPERATION`, such as `kill@rename`: before each such operation; `kill@rename:3`: before the third;
//!   `eio@sync:3+`: before the third and all that follow. `~TEXT` at the end: only of those whose path holds TEXT.
//! - `trace=FILE`: each operation is written there, a line each, before it is done; so is each rule that takes effect.
//! - `room=FILE`: free bytes, bytes, free files and files of any disk, read there anew each time.
//!
//! Actions: `kill` ends the process like SIGKILL. `cut` ends it like a power cut: what was not made durable is undone first
//! (`unsynced`). `panic` panics. `eio`, `enospc` and the like refuse the operation with this error. `omit` skips a sync
//! and reports success: a rule of larder's, removed. `wait50` waits 50 ms first.

mod unsynced;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Signal, getpid, kill_process},
};

use self::unsynced::Unsynced;
use super::{Op, Room};

/// What the variable asks for.
struct Plan {
    rules: Vec<Rule>,
    trace: Option<File>,
    room: Option<PathBuf>,
    /// Read by each operation, written by the power cut: it comes between operations, never inside.
    power: RwLock<()>,
    unsynced: Mutex<Unsynced>,
}

struct Rule {
    action: Action,
    operation: String,
    /// From the operation with this number, counted from 1.
    first: u64,
    /// And to the one with this number.
    last: u64,
    text: String,
    seen: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Kill,
    Cut,
    Panic,
    Refuse(Errno),
    Omit,
    Wait(Duration),
}

impl Op<'_> {
    /// Its name in rules and traces.
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Write(_) => "write",
            Self::Sync(_) => "sync",
            Self::MakeDir(_) => "mkdir",
            Self::Rename(..) => "rename",
            Self::Remove(_) => "unlink",
            Self::SyncDir(_) => "syncdir",
            Self::SyncAll(_) => "syncfs",
            Self::Commit => "commit",
            Self::Committed => "committed",
            Self::Work(_) => "work",
        }
    }

    /// What it is done to.
    fn on(&self) -> String {
        match self {
            Self::Create(path)
            | Self::Write(path)
            | Self::Sync(path)
            | Self::MakeDir(path)
            | Self::Rename(_, path)
            | Self::Remove(path)
            | Self::SyncDir(path)
            | Self::SyncAll(path) => path.display().to_string(),
            Self::Work(what) => (*what).to_owned(),
            Self::Commit | Self::Committed => String::new(),
        }
    }
}

/// Does an operation, or what the plan has in store for it.
pub(super) fn at(op: Op<'_>, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("LARDER_FAULTS").ok()?;
        Some(Plan::read(&text).unwrap_or_else(|error| panic!("LARDER_FAULTS: {error}")))
    });
    match plan {
        Some(plan) => plan.at(op, act),
        None => act(),
    }
}

/// The room that a disk is said to have.
pub(super) fn room(_folder: &Path) -> Option<Room> {
    let text = std::env::var("LARDER_FAULTS").ok()?;
    let path = text
        .split(';')
        .find_map(|part| part.strip_prefix("room="))?;
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Room {
        free: next()?,
        size: next()?,
        files: Some(next()?),
        most_files: next()?,
    })
}

impl Plan {
    fn read(text: &str) -> Result<Self, String> {
        let mut plan = Self {
            rules: Vec::new(),
            trace: None,
            room: None,
            power: RwLock::new(()),
            unsynced: Mutex::default(),
        };
        for part in text.split(';').filter(|part| !part.is_empty()) {
            if let Some(path) = part.strip_prefix("trace=") {
                let file = OpenOptions::new().create(true).append(true).open(path);
                plan.trace = Some(file.map_err(|error| format!("{path}: {error}"))?);
            } else if let Some(path) = part.strip_prefix("room=") {
                plan.room = Some(path.into());
            } else {
                plan.rules.push(Rule::read(part)?);
            }
        }
        Ok(plan)
    }

    fn at(&self, op: Op<'_>, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.note(&format!("{}\t{}", op.name(), op.on()));
        for rule in &self.rules {
            if !rule.applies(&op) {
                continue;
            }
            self.note(&format!("! {:?}\t{}\t{}", rule.action, op.name(), op.on()));
            match rule.action {
                Action::Kill => die(),
                Action::Cut => {
                    let _all = self.power.write().unwrap_or_else(PoisonError::into_inner);
                    self.unsynced().undo();
                    die()
                }
                Action::Panic => panic!("as a test asked for"),
                Action::Refuse(errno) => return Err(errno.into()),
                Action::Omit => return Ok(()),
                Action::Wait(time) => std::thread::sleep(time),
            }
        }
        // While names are made durable none is made: whether it would be among them is left to nobody.
        let alone = matches!(op, Op::SyncDir(_) | Op::SyncAll(_));
        let _alone = alone.then(|| self.power.write().unwrap_or_else(PoisonError::into_inner));
        let _power = (!alone).then(|| self.power.read().unwrap_or_else(PoisonError::into_inner));
        self.unsynced().before(op);
        act()?;
        self.unsynced().after(op);
        Ok(())
    }

    fn unsynced(&self) -> std::sync::MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: &str) {
        if let Some(mut file) = self.trace.as_ref() {
            // In one piece, so that lines of several threads do not mix.
            file.write_all(format!("{line}\n").as_bytes())
                .expect("the test can be told");
        }
    }
}

impl Rule {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not ACTION@OPERATION[:N[+]][~TEXT]");
        let (action, rest) = text.split_once('@').ok_or_else(wrong)?;
        let (rest, within) = rest.split_once('~').unwrap_or((rest, ""));
        let (operation, count) = rest.split_once(':').unwrap_or((rest, "1+"));
        let (number, on) = match count.strip_suffix('+') {
            Some(number) => (number, true),
            None => (count, false),
        };
        let first = number.parse().map_err(|_| wrong())?;
        let action = Action::read(action).ok_or_else(wrong)?;
        if action == Action::Omit && !operation.starts_with("sync") {
            return Err(format!("`{text}`: only syncs can be omitted"));
        }
        Ok(Self {
            action,
            operation: operation.to_owned(),
            first,
            last: if on { u64::MAX } else { first },
            text: within.to_owned(),
            seen: AtomicU64::new(0),
        })
    }

    /// Whether it takes effect now; counts what it is about.
    fn applies(&self, op: &Op<'_>) -> bool {
        if self.operation != op.name() || !op.on().contains(&self.text) {
            return false;
        }
        let nth = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        (self.first..=self.last).contains(&nth)
    }
}

impl Action {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "kill" => Self::Kill,
            "cut" => Self::Cut,
            "panic" => Self::Panic,
            "omit" => Self::Omit,
            "eio" => Self::Refuse(Errno::IO),
            "enospc" => Self::Refuse(Errno::NOSPC),
            "edquot" => Self::Refuse(Errno::DQUOT),
            "emfile" => Self::Refuse(Errno::MFILE),
            "erofs" => Self::Refuse(Errno::ROFS),
            "efbig" => Self::Refuse(Errno::FBIG),
            word => Self::Wait(Duration::from_millis(
                word.strip_prefix("wait")?.parse().ok()?,
            )),
        })
    }
}

/// The end, without a last word.
fn die() -> ! {
    // It cannot fail for oneself, and does not return.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_what_they_are_about_and_nothing_else() {
        let rule = Rule::read("eio@sync:2~staging").expect("a rule");
        let (staged, log) = (Path::new("/a/staging/1"), Path::new("/a/records/x"));
        assert!(!rule.applies(&Op::Sync(staged)));
        assert!(!rule.applies(&Op::Sync(log)) && !rule.applies(&Op::Write(staged)));
        assert!(rule.applies(&Op::Sync(staged)) && !rule.applies(&Op::Sync(staged)));
        let always = Rule::read("kill@rename").expect("a rule");
        assert!((0..3).all(|_| always.applies(&Op::Rename(staged, log))));
        let later = Rule::read("wait5@commit:2+").expect("a rule");
        assert!(
            !later.applies(&Op::Commit) && later.applies(&Op::Commit) && later.applies(&Op::Commit)
        );
        for wrong in ["kill", "kill@x:y", "maim@sync", "omit@rename", "wait@sync"] {
            assert!(Rule::read(wrong).is_err(), "{wrong}");
        }
    }
}
