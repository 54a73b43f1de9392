//! The same deaths by other means, where they are to be had: strace, which kills and refuses at system calls, SQLite's own
//! among them, and ext4 on a loop device, whose shutdown is a power cut that nobody simulates.
//!
//! For the long form: each needs a tool or rights that not every machine has, and says so when it has nothing to say.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    harness::{Case, Verdict, WORKERS, ensure},
    world::{LONG, wait_for},
};

/// Posts of a run that is traced.
const POSTS: usize = 20;

fn number(variable: &str, default: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// Runs a program to its end; whether it could be run and liked it.
fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let command = command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Larder under strace, which does this at the `nth` such call of each thread.
fn traced(case: &Case, call: &str, what: &str, nth: usize) -> super::world::Out {
    let mut strace = Command::new("strace");
    let inject = format!("inject={call}:{what}:when={nth}");
    strace
        .args(["-f", "-qq", "-o"])
        .arg(case.world.beside("calls"));
    strace.args(["-e", &format!("trace={call}"), "-e", &inject]);
    strace.arg(env!("CARGO_BIN_EXE_larder"));
    let mut running = case.world.spawn_by(strace, &["-q", "run"], "");
    running.wait(4 * LONG)
}

/// Whether strace says that it did it.
fn was_injected(case: &Case) -> bool {
    let calls = fs::read_to_string(case.world.beside("calls")).unwrap_or_default();
    calls.contains("(INJECTED)") || calls.contains("killed by SIGKILL")
}

/// Goes on after a death or an error, and looks at what is left.
fn go_on(case: &Case) -> Verdict {
    case.claims_hold()?;
    case.finish()?;
    case.is_whole()?;
    let again = case.asked_again();
    ensure(again <= WORKERS, || {
        format!("{again} files were asked for again")
    })
}

const CALLS: [&str; 8] = [
    "fsync",
    "fdatasync",
    "syncfs",
    "renameat2",
    "unlink",
    "pwrite64",
    "writev",
    "ftruncate",
];

#[test]
#[ignore = "needs strace, and time"]
fn crash_long_killed_by_strace_at_each_system_call() {
    if !works("strace", &["-V"]) {
        println!("strace is not there: nothing was confirmed");
        return;
    }
    for call in CALLS {
        let mut killed = 0;
        for nth in 1.. {
            let case = Case::new(POSTS);
            let out = traced(&case, call, "signal=SIGKILL", nth);
            if !was_injected(&case) {
                break;
            }
            assert_eq!(out.code, None, "{call} {nth}: {}", out.text());
            assert_eq!(go_on(&case), Ok(()), "{call} {nth}");
            killed += 1;
        }
        println!("{call}: killed {killed} times");
    }
}

#[test]
#[ignore = "needs strace, and time"]
fn crash_long_refused_by_strace_at_each_system_call() {
    if !works("strace", &["-V"]) {
        println!("strace is not there: nothing was confirmed");
        return;
    }
    for (call, error) in CALLS
        .iter()
        .flat_map(|call| ["EIO", "ENOSPC", "EDQUOT", "EMFILE"].map(|error| (*call, error)))
    {
        let (mut refused, mut ended) = (0, 0);
        for nth in 1.. {
            let case = Case::new(POSTS);
            let out = traced(&case, call, &format!("error={error}"), nth);
            if !was_injected(&case) {
                break;
            }
            refused += 1;
            let code = out.code;
            assert!(
                matches!(code, Some(1 | 3)),
                "{call} {error} {nth}: {code:?} {}",
                out.text()
            );
            ended += usize::from(code == Some(3));
            assert_eq!(go_on(&case), Ok(()), "{call} {error} {nth}: {}", out.text());
        }
        println!("{call}: {error} {refused} times, {ended} runs ended for it");
    }
}

/// A disk of its own in a file.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Makes one; none where that is not allowed.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Self { folder };
        fs::create_dir(disk.mount_point()).expect("ours");
        let image = fs::File::create(disk.image()).expect("ours");
        image.set_len(512 << 20).expect("ours");
        let image = disk.image().display().to_string();
        (works("mkfs.ext4", &["-q", "-F", &image]) && disk.mount()).then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> bool {
        let (image, point) = (self.image(), self.mount_point());
        let args = [Path::new("-o"), Path::new("loop"), &image, &point];
        let mut mount = Command::new("mount");
        mount
            .args(args)
            .status()
            .is_ok_and(|status| status.success())
    }

    fn unmount(&self) -> bool {
        works("umount", &[&self.mount_point().display().to_string()])
    }

    /// EXT4_IOC_SHUTDOWN without a flush: nothing reaches the disk any more, as if the power had failed.
    fn cut(&self) -> bool {
        let program = "import fcntl, os, struct, sys\n\
                       fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        works(
            "python3",
            &["-c", program, &self.mount_point().display().to_string()],
        )
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn objects(case: &Case) -> BTreeSet<Vec<u8>> {
    if !case.world.archive("larder.db").exists() {
        return BTreeSet::new();
    }
    let db = case.database();
    let Ok(mut select) = db.prepare("SELECT sha256 FROM objects") else {
        return BTreeSet::new();
    };
    let rows = select.query_map([], |row| row.get(0)).expect("rows");
    rows.filter_map(Result::ok).collect()
}

#[test]
#[ignore = "needs the right to mount, ext4, and time"]
fn crash_long_power_cuts_on_ext4() {
    let (cuts, mut done, mut seed) = (number("LARDER_CUTS", 200), 0, 7);
    while done < cuts {
        let Some(disk) = Disk::new() else {
            println!("no ext4 of our own can be mounted: nothing was confirmed");
            return;
        };
        let case = Case::new(600);
        case.world.write("min_free = \"1 MiB\"");
        fs::create_dir(disk.mount_point().join("archive")).expect("ours");
        // Larder makes durable what it makes, not what was there before it.
        assert!(works("sync", &[]));
        symlink(
            disk.mount_point().join("archive"),
            case.world.beside("archive"),
        )
        .expect("ours");
        let mut rng = fastrand::Rng::with_seed(seed);
        seed += 1;
        let mut marks: Vec<_> = (0..20).map(|_| rng.usize(0..540)).collect();
        marks.sort_unstable();
        for mark in marks {
            // As in `Case::kill_after`: what is met by three deaths is given up.
            let mark = mark.max(case.world.booru.files_asked() + WORKERS + 4);
            let mut running = case.world.spawn(&["-q", "run"]);
            wait_for("files", 4 * LONG, || {
                running.is_over() || case.world.booru.files_asked() >= mark
            });
            std::thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
            // What is committed by now must be there afterwards.
            let before = objects(&case);
            if !disk.cut() {
                println!("the disk cannot be shut down: nothing was confirmed");
                return;
            }
            running.kill();
            assert!(disk.unmount() && disk.mount(), "the disk came back");
            assert_eq!(case.claims_hold(), Ok(()), "seed {seed}, at {mark} files");
            assert!(
                objects(&case).is_superset(&before),
                "seed {seed}, at {mark} files"
            );
            done += 1;
        }
        assert_eq!(case.finish(), Ok(()), "seed {seed}");
        let whole = case.is_whole();
        let status = case.world.status();
        assert_eq!(
            whole,
            Ok(()),
            "seed {seed}: {status} {:?}",
            case.world.failures()
        );
        println!("{done} power cuts");
    }
}

/// A small disk in memory; none where it cannot be mounted.
struct Small(tempfile::TempDir);

impl Small {
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display().to_string();
        works("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &path]).then_some(Self(folder))
    }

    /// A case whose archive is on it.
    fn case(&self, keys: &str) -> Case {
        let case = Case::new(POSTS);
        fs::create_dir(self.0.path().join("archive")).expect("ours");
        symlink(self.0.path().join("archive"), case.world.beside("archive")).expect("ours");
        case.world.write(keys);
        case
    }

    fn again(&self, options: &str) {
        let path = self.0.path().display().to_string();
        assert!(works(
            "mount",
            &["-o", &format!("remount,{options}"), &path]
        ));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        works("umount", &[&self.0.path().display().to_string()]);
    }
}

#[test]
#[ignore = "needs the right to mount"]
fn crash_long_small_disks() {
    let stories = [
        ("size=1m", "size=64m", "disk_full"),
        ("size=2m", "size=64m", "disk_full"),
        ("size=64m,nr_inodes=20", "nr_inodes=4000", "inodes"),
        ("size=64m,nr_inodes=35", "nr_inodes=4000", "inodes"),
    ];
    for (small, larger, reason) in stories {
        let Some(disk) = Small::new(small) else {
            println!("no small disk can be mounted: nothing was confirmed");
            return;
        };
        let case = disk.case("min_free = \"1 B\"");
        let out = case.run("").expect(3);
        let said = |words: &str| out.text().contains(words);
        let state = case.world.larder(&["status", "--json"]).text();
        assert!(
            said("No space left") || said("is full") || state.contains(reason),
            "{small}: {} {state}",
            out.text()
        );
        assert_eq!(case.claims_hold(), Ok(()), "{small}");
        disk.again(larger);
        assert_eq!(go_on(&case), Ok(()), "{small}");
        println!("{small}: {}", out.text());
    }
}
