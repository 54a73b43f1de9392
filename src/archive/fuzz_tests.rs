//! Whatever a crash leaves behind what was committed, the log comes back to it and loses none of it.

use std::fs;

use proptest::prelude::*;

use super::{Archive, RecordLog};

proptest! {
    #[test]
    fn fuzz_the_log_recovers_what_was_committed_from_any_end(
        lines in proptest::collection::vec("\\PC{0,20}", 0..6),
        torn in proptest::collection::vec(any::<u8>(), 0..40),
        missing in 0_u64..30,
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::create(folder.path()).expect("an archive");
        let mut log = RecordLog::open(&archive, folder.path(), None, 0, 0).expect("opens");
        for line in &lines {
            log.append(line);
        }
        log.sync().expect("syncs");
        let (length, seq) = log.end();
        drop(log);
        // A log without a line has no file yet.
        let committed = fs::read(archive.log_path()).unwrap_or_default();
        prop_assert_eq!(committed.len() as u64, length);

        fs::write(archive.log_path(), [&committed[..], &torn].concat()).expect("ours");
        let mut log = RecordLog::open(&archive, folder.path(), None, length, seq).expect("recovers");
        prop_assert_eq!(fs::read(archive.log_path()).expect("there"), &committed[..]);
        prop_assert_eq!(log.next_seq(), seq + 1);
        log.append(&"next");
        log.sync().expect("syncs");
        let whole = fs::read(archive.log_path()).expect("there");
        prop_assert_eq!(&whole[..], &[&committed[..], b"\"next\"\n"].concat()[..]);
        // What was cut is kept beside the database, to be looked at.
        let aside = fs::read_dir(folder.path()).expect("ours").flatten();
        let aside: Vec<_> = aside
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("uncommitted-"))
            .map(|entry| fs::read(entry.path()).expect("there"))
            .collect();
        prop_assert_eq!(aside, if torn.is_empty() { vec![] } else { vec![torn] });

        // A log that is shorter than what was committed is refused, and not touched.
        let (length, seq) = log.end();
        drop(log);
        let short = whole.len().saturating_sub(missing as usize);
        fs::write(archive.log_path(), &whole[..short]).expect("ours");
        let opened = RecordLog::open(&archive, folder.path(), None, length, seq);
        prop_assert_eq!(opened.is_err(), missing > 0);
        prop_assert_eq!(fs::read(archive.log_path()).expect("there"), &whole[..short]);
    }
}
