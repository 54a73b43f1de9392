//! What other commands see and do while a run holds the archive.

use std::time::Duration;

use super::{
    shell::{Shell, until},
    site::{Booru, Fault, What},
};

/// How long the site keeps a page back: the time for a few commands.
const WHILE: Duration = Duration::from_secs(8);

#[test]
fn while_a_run_holds_the_archive_others_read_it_and_leave_requests() {
    let site = Booru::builder().posts(3).start();
    let [first, ..] = site.ids()[..] else {
        panic!("three posts")
    };
    // Wrong bytes, as often as a run tries.
    site.script(What::File(first), vec![Fault::WrongBytes; 2]);
    let shell = Shell::with_job(&site, "");
    shell.larder(&["run"]).ends(1);
    let failed = shell.larder(&["failures", "--json"]).ends(0).json();
    assert_eq!(failed[0]["class"], "checksum", "{failed}");
    assert_eq!(
        shell.larder(&["status", "--json"]).json()["holder"],
        serde_json::Value::Null
    );

    site.clear_log();
    site.script(What::Page, vec![Fault::Stall(WHILE)]);
    let run = shell.start(&["run"]);
    let pid = run.pid();
    let status = until("a run holds the archive", || {
        let status = shell.larder(&["status", "--json"]).ends(0).json();
        let running = status["jobs"][0]["state"] == "running";
        (running && !site.log().is_empty()).then_some(status)
    });
    assert_eq!(status["holder"]["kind"], "run");
    assert_eq!(status["holder"]["pid"], pid);
    let since = status["holder"]["since"].as_str().unwrap();
    assert!(since.parse::<jiff::Timestamp>().is_ok() && since.ends_with('Z'));
    let text = shell.larder(&["status"]).ends(0).out;
    assert!(text.contains(&format!("run (pid {pid}, since ")), "{text}");
    assert!(text.contains("running"), "{text}");

    let second = shell.larder(&["run"]).ends(75);
    assert!(second.err.contains(&pid.to_string()), "{}", second.err);
    let asked = shell
        .larder(&["retry", "seeds", "--class", "checksum"])
        .ends(0);
    assert!(asked.out.contains(&pid.to_string()), "{}", asked.out);
    shell.larder(&["failures"]).ends(0);
    shell.larder(&["verify"]).ends(0);
    shell
        .larder(&["show", &format!("mock/post/{}", site.ids()[1])])
        .ends(0);

    // The page was kept back all the while: everything above happened during the run.
    assert_eq!(site.pages().len(), 1);
    run.wait().ends(0);
    let status = shell.larder(&["status", "--json"]).ends(0).json();
    assert_eq!(status["holder"], serde_json::Value::Null);
    assert_eq!(status["jobs"][0]["state"], "done");
    assert_eq!(
        shell.larder(&["failures", "--json"]).json(),
        serde_json::json!([])
    );
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        3
    );
}

#[test]
fn retry_puts_a_failed_file_back_and_the_next_run_takes_it() {
    let site = Booru::builder().posts(3).start();
    let last = *site.ids().last().unwrap();
    let gone = Fault::Status(410, vec![], String::new());
    site.script(What::File(last), vec![gone]);
    let shell = Shell::with_job(&site, "");
    let ran = shell.larder(&["retry"]).ends(0);
    assert!(ran.out.contains("nothing was run yet"), "{}", ran.out);
    shell.larder(&["run"]).ends(1);
    let none = shell.larder(&["retry", "--class", "http_404"]).ends(0);
    assert!(none.out.starts_with("Nothing to put back"), "{}", none.out);
    let one = shell.larder(&["retry", "seeds"]).ends(0);
    assert!(one.out.starts_with("1 task put back"), "{}", one.out);
    // "a daemon takes it at once, else the next `run` does, without a new walk"
    site.clear_log();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.files().len(), 1);
    assert!(site.pages().is_empty(), "{:?}", site.pages());
    let text = shell.larder(&["failures"]).ends(0).out;
    assert_eq!(text, "Nothing has failed.\n");
}

#[test]
fn a_run_that_is_told_to_stop_ends_with_3_and_the_next_goes_on() {
    let site = Booru::builder().posts(6).start();
    site.script(What::AnyFile, vec![Fault::Stall(Duration::from_secs(2))]);
    let shell = Shell::with_job(&site, "");
    let run = shell.start(&["run"]);
    until("a file is asked for", || {
        (!site.files().is_empty()).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(run.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ran = run.wait().ends(3);
    assert!(ran.out.contains("larder run"), "{}", ran.out);
    let status = shell.larder(&["status", "--json"]).ends(0).json();
    assert_eq!(status["jobs"][0]["state"], "queued");
    assert!(shell.larder(&["status"]).out.contains("goes on with them"));
    shell.larder(&["run"]).ends(0);
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        6
    );
}

#[test]
fn a_site_that_wants_a_login_pauses_the_job_and_says_what_to_do() {
    let site = Booru::builder().posts(2).require_login(true).start();
    let shell = Shell::with_job(&site, "");
    let ran = shell.larder(&["run"]).ends(3);
    assert!(
        ran.out.contains("paused (auth)") && ran.out.contains("to do: "),
        "{}",
        ran.out
    );
    let job = &shell.larder(&["status", "--json"]).ends(0).json()["jobs"][0];
    assert_eq!(
        (job["state"].as_str(), job["reason"].as_str()),
        (Some("paused"), Some("auth"))
    );
    let text = shell.larder(&["status"]).ends(0).out;
    assert!(
        text.contains("paused (auth)") && text.contains("to do: "),
        "{text}"
    );
    for line in text.lines().skip(1) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
