//! Faults at each operation of the disk in turn: larder is killed before it, the power fails before it, or it is refused.
//!
//! Each story goes over the whole of a run of 20 posts until a run meets no more of the operation. Only builds with debug
//! assertions have the layer that does it.

use super::{
    harness::{Case, Verdict, WORKERS, ensure, one},
    world::Out,
};

/// Posts of a story.
const POSTS: usize = 20;
/// No operation happens so often in a run of so many posts: a story that comes here does not end.
const MOST: usize = 400;

/// Begins with `faults`, looks at what is left, goes on without them, and looks again.
fn broken_off(faults: &str) -> (Out, Case, Verdict) {
    let case = Case::new(POSTS);
    let out = case.run(&format!("{};{faults}", case.tracing()));
    let verdict = case
        .claims_hold()
        .and_then(|()| case.finish())
        .and_then(|()| case.is_whole());
    (out, case, verdict)
}

/// Fails unless the trace says that the fault took effect.
#[track_caller]
fn took_effect(case: &Case, faults: &str) {
    let (_, rule) = faults.rsplit_once('@').expect("a rule");
    let operation = rule.split([':', '~']).next().expect("an operation");
    let met = case.trace();
    let met = met
        .iter()
        .any(|line| line.starts_with('!') && line.contains(operation));
    assert!(met, "{faults}: it was not met");
}

/// Lets larder die before each such operation in turn. Returns how often it did.
fn dies_at_each(action: &str, operation: &str) -> usize {
    for nth in 1..MOST {
        let faults = format!("{action}@{operation}:{nth}");
        let (out, case, verdict) = broken_off(&faults);
        assert_eq!(verdict, Ok(()), "{faults}");
        if out.code.is_some() {
            return nth - 1;
        }
        took_effect(&case, &faults);
        let again = case.asked_again();
        assert!(
            again <= WORKERS,
            "{faults}: {again} files were asked for again"
        );
    }
    panic!("{operation} has no end");
}

#[test]
fn fault_02_a_kill_before_each_sync_loses_nothing() {
    assert!(dies_at_each("kill", "sync") >= 20);
}

#[test]
fn fault_02_a_kill_before_each_rename_loses_nothing() {
    // One for each file, and one for the archive itself.
    assert!(dies_at_each("kill", "rename") >= 17);
}

#[test]
fn fault_02_a_kill_before_each_sync_of_names_loses_nothing() {
    let killed = dies_at_each("kill", "syncdir") + dies_at_each("kill", "syncfs");
    assert!(killed >= 3, "{killed}");
    dies_at_each("kill", "unlink");
    dies_at_each("kill", "mkdir");
}

#[test]
fn fault_02_a_kill_before_or_after_each_commit_loses_nothing() {
    assert!(dies_at_each("kill", "commit") >= 10);
    assert!(dies_at_each("kill", "committed") >= 10);
}

#[test]
fn fault_02_a_kill_before_writes_loses_nothing() {
    assert!(dies_at_each("kill", "write") >= 20);
}

#[test]
fn fault_04_a_power_cut_after_each_commit_leaves_what_was_committed() {
    assert!(dies_at_each("cut", "committed") >= 10);
}

#[test]
fn fault_04_a_power_cut_before_each_step_of_a_file_loses_nothing() {
    for operation in ["syncdir", "syncfs", "sync"] {
        dies_at_each("cut", operation);
    }
}

#[test]
fn fault_05_a_power_cut_over_a_download_that_is_all_there_keeps_none_of_it() {
    // The large file is in staging at its full length, and nothing of it was synced.
    let mut met = 0;
    for nth in 1..MOST {
        let faults = format!("cut@sync:{nth}~staging");
        let (out, case, verdict) = broken_off(&faults);
        assert_eq!(verdict, Ok(()), "{faults}");
        if out.code.is_some() {
            break;
        }
        took_effect(&case, &faults);
        let written = |line: &&String| line.starts_with("write\t") && line.contains("staging");
        met += usize::from(case.trace().iter().filter(written).count() > 1);
    }
    assert!(met > 0);
}

/// Refuses each such operation in turn, once. Returns how often it was, and how often a run had to end for it.
fn is_refused_each(
    error: &str,
    operation: &str,
    right: impl Fn(&Case, &Out) -> Verdict,
) -> (usize, usize) {
    let mut ended = 0;
    let (name, text) = operation.split_once('~').unwrap_or((operation, ""));
    for nth in 1..MOST {
        let faults = format!("{error}@{name}:{nth}~{text}");
        let case = Case::new(POSTS);
        let out = case.run(&format!("{};{faults}", case.tracing()));
        let met = case.trace().iter().any(|line| line.starts_with('!'));
        if !met {
            assert_eq!(case.is_whole(), Ok(()), "{faults}");
            return (nth - 1, ended);
        }
        let verdict = case.claims_hold().and_then(|()| right(&case, &out));
        assert_eq!(verdict, Ok(()), "{faults}: {}", out.text());
        if out.code != Some(1) {
            assert_eq!(out.code, Some(3), "{faults}: {}", out.text());
            ended += 1;
            assert_eq!(case.finish(), Ok(()), "{faults}");
        }
        assert_eq!(case.is_whole(), Ok(()), "{faults}");
        let again = case.asked_again();
        assert!(
            again <= WORKERS,
            "{faults}: {again} files were asked for again"
        );
    }
    panic!("{operation} has no end");
}

/// A run that was ended says why: in the job's state, or where there is no job yet, in words.
fn says_why(case: &Case, out: &Out, reason: &str, words: &str) -> Verdict {
    if out.code != Some(3) {
        return Ok(());
    }
    let status = case.world.status();
    let said = status["jobs"][0]["reason"].as_str();
    ensure(said == Some(reason) || out.text().contains(words), || {
        format!("the reason is {said:?}: {status}")
    })
}

/// No try of any file was counted for it.
fn counts_no_try(case: &Case) -> Verdict {
    if !case.world.archive("larder.db").exists() {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM tasks WHERE tries > 0 AND class <> 'http_410'";
    let tried: i64 = one(&case.database(), sql);
    ensure(tried == 0, || format!("{tried} tasks have a try more"))
}

#[test]
fn fault_12_a_full_disk_at_each_write_is_nobodys_fault() {
    let (met, ended) = is_refused_each("enospc", "write", |case, out| {
        says_why(case, out, "disk_full", "No space left")?;
        counts_no_try(case)
    });
    assert!(met >= 20 && ended >= 15, "{met}, {ended}");
}

#[test]
fn fault_12_a_full_disk_at_each_file_that_is_made_is_nobodys_fault() {
    let (met, ended) = is_refused_each("enospc", "create", |case, out| {
        says_why(case, out, "disk_full", "No space left")?;
        counts_no_try(case)
    });
    assert!(met >= 17 && ended >= 15, "{met}, {ended}");
}

#[test]
fn fault_13_a_full_disk_at_each_commit_of_the_database_is_survived() {
    let (met, ended) = is_refused_each("enospc", "commit", |case, out| {
        says_why(case, out, "disk_full", "full")?;
        counts_no_try(case)
    });
    assert!(met >= 10 && ended >= 5, "{met}, {ended}");
}

#[test]
fn fault_15_a_spent_quota_at_each_rename_is_a_full_disk() {
    let (met, ended) = is_refused_each("edquot", "rename", |case, out| {
        says_why(case, out, "disk_full", "uota")?;
        counts_no_try(case)
    });
    assert!(met >= 17 && ended >= 15, "{met}, {ended}");
}

#[test]
fn fault_17_a_write_that_fails_is_tried_again() {
    let (met, ended) = is_refused_each("eio", "write", |_, _| Ok(()));
    // Only before there is an archive is there nobody to try again.
    assert!(met >= 20 && ended <= 1, "{met}, {ended}");
}

#[test]
fn fault_18_a_file_whose_sync_fails_is_downloaded_again() {
    let (met, _) = is_refused_each("eio", "sync", |case, _| {
        // Nobody syncs again what a failed sync has left: the file is removed, and what follows is another one.
        let trace = case.trace();
        let refused = trace
            .iter()
            .position(|line| line.starts_with('!'))
            .expect("met");
        let path = trace[refused].rsplit('\t').next().expect("a path");
        let mut after = trace[refused + 1..]
            .iter()
            .take_while(|line| **line != format!("unlink\t{path}"));
        let again = after.any(|line| *line == format!("sync\t{path}"));
        ensure(!again, || format!("{path} was synced again"))
    });
    assert!(met >= 20, "{met}");
}

#[test]
fn fault_18_a_group_whose_names_cannot_be_synced_is_not_committed() {
    let (met, ended) = is_refused_each("eio", "syncfs", |_, _| Ok(()));
    let (more, also) = is_refused_each("eio", "syncdir", |_, _| Ok(()));
    assert!(
        met + more >= 3 && ended + also >= 3,
        "{met}, {more}, {ended}, {also}"
    );
}

#[test]
fn fault_18_a_commit_that_fails_ends_the_run_and_loses_nothing() {
    let (met, ended) = is_refused_each("eio", "commit", |_, _| Ok(()));
    assert!(met >= 10 && ended >= 10, "{met}, {ended}");
}

#[test]
fn fault_19_no_descriptor_for_a_file_is_nobodys_fault() {
    let (met, ended) = is_refused_each("emfile", "create~staging", |case, _| counts_no_try(case));
    // One of them is the archive's own, before there is anything to go on with.
    assert!(met >= 17 && ended <= 1, "{met}, {ended}");
    // Folders are synced another way then.
    let (_, ended) = is_refused_each("emfile", "syncdir~objects/", |case, _| counts_no_try(case));
    assert_eq!(ended, 0);
}

/// Whether a power cut at some point finds out that larder has given up one of its rules.
fn is_found_out(rule: &str, operation: &str) -> bool {
    for nth in 1..MOST {
        let (out, case, verdict) = broken_off(&format!("{rule};cut@{operation}:{nth}"));
        if verdict.is_err() {
            return true;
        }
        if out.code.is_some() {
            return false;
        }
        took_effect(&case, &format!("cut@{operation}"));
    }
    false
}

#[test]
fn a_larder_that_does_not_sync_what_it_commits_is_found_out() {
    assert!(
        is_found_out("omit@syncdir~objects;omit@syncfs", "committed"),
        "names"
    );
    assert!(is_found_out("omit@sync~staging", "committed"), "bytes");
    assert!(
        is_found_out("omit@sync~current.jsonl", "committed"),
        "records"
    );
}
