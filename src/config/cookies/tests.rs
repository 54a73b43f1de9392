use proptest::prelude::*;

use super::*;
use crate::config::{Diagnostics, Source, reader::Table};

const NOW: Millis = 1_700_000_000_000;

/// A file read for `site`, and the complaints.
fn read(text: &str, site: &str, mode: u32) -> (Option<CookieFile>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cookies.txt");
    fs::write(&path, text).expect("a file");
    chmod(&path, mode);
    let source = Source::new(folder.path().join("archive.toml"), "file = \"cookies.txt\"");
    let (diagnostics, url) = (Diagnostics::default(), Url::parse(site).expect("a url"));
    let file = Table::parse(&source, &diagnostics, |table| {
        CookieFile::read(&table.get("file").expect("there"), &url)
    });
    let shown = |complaint: &crate::config::Diagnostic| {
        let text = complaint.to_string();
        text.replace(&folder.path().display().to_string(), "DIR")
    };
    (
        file.flatten(),
        diagnostics.into_vec().iter().map(shown).collect(),
    )
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("one's own file");
}

#[cfg(not(unix))]
fn chmod(_: &Path, _: u32) {}

/// What a request for `url` carries, as `name=value`.
fn sent(text: &str, url: &str) -> Vec<String> {
    let url = Url::parse(url).expect("a url");
    let (file, complaints) = read(text, url.as_str(), 0o600);
    assert_eq!(complaints, Vec::<String>::new());
    let file = file.expect("read");
    let pair =
        |cookie: &Cookie| format!("{}={}", cookie.name, cookie.value.expose().expect("known"));
    file.sent(&url, NOW).map(pair).collect()
}

#[test]
fn cookies_go_by_their_domain_path_scheme_and_time() {
    let text = "# Netscape HTTP Cookie File\r\n\r\n\
        ex.org\tFALSE\t/\tFALSE\t0\thost\t1\r\n\
        .ex.org\tTRUE\t/\tFALSE\t1800000000\tbelow\t2\r\n\
        #HttpOnly_.ex.org\tTRUE\t/\tTRUE\t1800000000.5\tsecure\t3\r\n\
        ex.org\tFALSE\t/a\tFALSE\t-1\tpath\t4\r\n\
        ex.org\tFALSE\t/\tFALSE\t1600000000\told\t5\r\n\
        ex.org\tFALSE\t/\tFALSE\t0\tempty\n\
        other.org\tTRUE\t/\tFALSE\t0\tother\t6\n\
        org\tTRUE\t/\tFALSE\t0\tall\t7\n\
        #ex.org\tFALSE\t/\tFALSE\t0\tcomment\t8\n";
    assert_eq!(
        sent(text, "https://ex.org/a/x"),
        ["path=4", "host=1", "below=2", "secure=3", "empty="]
    );
    assert_eq!(
        sent(text, "http://ex.org/ab"),
        ["host=1", "below=2", "empty="]
    );
    assert_eq!(sent(text, "https://www.ex.org/"), ["below=2", "secure=3"]);
    assert_eq!(sent(text, "https://badex.org/"), Vec::<String>::new());
    assert_eq!(sent(text, "https://xorg/"), Vec::<String>::new());
    let (file, _) = read(text, "https://ex.org", 0o600);
    assert_eq!(file.expect("read").counts(NOW), (6, 1));
}

#[test]
fn an_address_of_numbers_has_nothing_below_it() {
    let text = "0.0.1\tTRUE\t/\tFALSE\t0\ta\t1\n127.0.0.1\tFALSE\t/\tFALSE\t0\tb\t2\n";
    assert_eq!(sent(text, "http://127.0.0.1:8801/x"), ["b=2"]);
}

#[test]
fn a_line_that_is_no_cookie_is_named_without_its_contents() {
    for (line, why) in [
        ("ex.org FALSE / FALSE 0 S3CRET S3CRET", "seven fields"),
        (
            "ex.org\tFALSE\t/\tFALSE\t0\tS3CRET\tS3CRET\tS3CRET",
            "seven fields",
        ),
        (
            "ex.org\tS3CRET\t/\tFALSE\t0\tS3CRET\tS3CRET",
            "TRUE or FALSE",
        ),
        (
            "ex.org\tFALSE\t/\tFALSE\tS3CRET\tS3CRET\tS3CRET",
            "seconds since 1970",
        ),
        (
            "ex.org\tFALSE\t/\tFALSE\tinf\tS3CRET\tS3CRET",
            "seconds since 1970",
        ),
        ("\tFALSE\t/\tFALSE\t0\tS3CRET\tS3CRET", "no domain"),
        (
            "ex.org\tFALSE\tS3CRET\tFALSE\t0\tS3CRET\tS3CRET",
            "begin with `/`",
        ),
        ("ex.org\tFALSE\t/\tFALSE\t0\t\tS3CRET", "no name"),
        (
            "ex.org\tFALSE\t/\tFALSE\t0\tS3CRET\tS3CRET;x",
            "cannot be sent",
        ),
        (
            "ex.org\tFALSE\t/\tFALSE\t0\tS3=CRET\tS3CRET",
            "cannot be sent",
        ),
        (
            &format!(
                "ex.org\tFALSE\t/\tFALSE\t0\tS3CRET\t{}",
                "S3CRET".repeat(700)
            ),
            "4096 bytes",
        ),
    ] {
        let (_, complaints) = read(&format!("# x\n\n{line}\n"), "https://ex.org", 0o600);
        let [complaint] = complaints.as_slice() else {
            panic!("{line}: {complaints:?}")
        };
        assert!(
            complaint.starts_with("DIR/cookies.txt:3: ") && complaint.contains(why),
            "{complaint}"
        );
        assert!(!complaint.contains("S3"), "{complaint}");
    }
    // What belongs to others may be as it likes.
    let long = format!("other.org\tFALSE\t/\tFALSE\t0\ta;b\t{}\n", "x".repeat(9999));
    assert_eq!(sent(&long, "https://ex.org"), Vec::<String>::new());
}

#[test]
fn more_cookies_than_a_browser_keeps_are_refused() {
    let line = |n: usize| format!("ex.org\tFALSE\t/\tFALSE\t0\tn{n}\tv\n");
    let fifty: String = (0..50).map(line).collect();
    assert_eq!(sent(&fifty, "https://ex.org/").len(), 50);
    let (_, complaints) = read(&(fifty + &line(50)), "https://ex.org", 0o600);
    assert!(
        complaints[0].starts_with("DIR/cookies.txt:51: is the 51st"),
        "{complaints:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_or_that_is_no_cookies_txt_is_refused() {
    let (_, complaints) = read("", "https://ex.org", 0o640);
    assert!(
        complaints[0].contains("archive.toml:1:8: ") && complaints[0].contains("chmod 600"),
        "{complaints:?}"
    );
    let (_, complaints) = read("[{\"name\": \"S3CRET\"}]", "https://ex.org", 0o600);
    assert!(
        complaints[0].contains("Netscape") && !complaints[0].contains("S3CRET"),
        "{complaints:?}"
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[\\PC\t\n\r#]*") {
        for (line, cookie) in parse(&text) {
            prop_assert!(line > 0);
            if let Ok(cookie) = cookie {
                let _ = (cookie.trouble(), cookie.is_of("ex.org"), cookie.has_expired(NOW));
            }
        }
    }

    #[test]
    fn what_was_written_reads_back(
        domain in "[a-z]{1,5}\\.[a-z]{2,3}", dot: bool, below: bool, secure: bool, path in "/[a-z/]{0,6}", at in 0_i64..4_000_000_000,
        name in "[!#-+a-zA-Z0-9_.-]{1,9}", value in "[ -:<-~]{0,20}", only: bool, crlf: bool,
    ) {
        let flag = |on: bool| if on { "TRUE" } else { "FALSE" };
        let (mark, dot, end) = (if only { "#HttpOnly_" } else { "" }, if dot { "." } else { "" }, if crlf { "\r\n" } else { "\n" });
        let text = format!("# x{end}{mark}{dot}{domain}\t{}\t{path}\t{}\t{at}\t{name}\t{value}{end}", flag(below), flag(secure));
        let mut cookies = parse(&text);
        prop_assert_eq!(cookies.len(), 1);
        let (line, cookie) = cookies.remove(0);
        let cookie = cookie.expect("a cookie");
        prop_assert_eq!((line, cookie.domain, cookie.below, cookie.path, cookie.secure), (2, domain, below, path, secure));
        prop_assert_eq!((cookie.expires, &cookie.name), ((at > 0).then_some(at), &name));
        prop_assert_eq!(cookie.value.expose(), Some(value.as_str()));
    }
}
