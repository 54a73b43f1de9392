//! Files without a hash: whether they have changed is asked, not assumed, and costs no download.

use serde_json::{Value, json};

use super::{
    shell::{Shell, head},
    site::{Booru, Fault, Request, What},
};

const DIALECT: &str = r#"
format = 1
name = "plain"

[listing.posts]
get = "/post.json{?limit,page}"
paging = { by = "page", size = 10 }
each = '.[]'
item = '{kind: "post", id, files: [{role: "original", url: .file_url}]}'
roles = ["original"]
"#;

fn shell(site: &Booru, keys: &str) -> Shell {
    let shell = Shell::new();
    shell.write("plain.toml", &format!("{DIALECT}{keys}\n"));
    let config = head(site).replace("\"moebooru\"", "\"plain\"");
    let job = "[[jobs]]\nname = \"all\"\nsite = \"mock\"\nlisting = \"posts\"\n";
    shell.write(
        "archive.toml",
        &format!("dialects = [\"plain.toml\"]\n{config}{job}"),
    );
    shell
}

fn records(shell: &Shell) -> Vec<Value> {
    let log = std::fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == "item")
        .collect()
}

fn conditional(files: &[Request]) -> usize {
    let asks = |request: &&Request| request.header("if-none-match").is_some();
    files.iter().filter(asks).count()
}

/// Other bytes under the same address.
fn replace(site: &Booru, id: u64, bytes: &[u8]) {
    site.edit(id, |post| {
        let (md5, ext) = (post.md5.clone(), post.ext.clone());
        post.set_body(&ext, bytes.to_vec());
        post.md5 = md5;
    });
}

#[test]
fn a_file_that_has_changed_under_its_address_is_a_new_revision_and_others_cost_no_download() {
    let site = Booru::builder().posts(3).start();
    let shell = shell(&site, "");
    shell.larder(&["run"]).ends(0);
    assert_eq!((site.files().len(), conditional(&site.files())), (3, 0));
    assert_eq!(records(&shell).len(), 3);

    site.clear_log();
    shell.larder(&["run"]).ends(0);
    let files = site.files();
    assert_eq!((files.len(), conditional(&files)), (3, 3));
    assert!(files.iter().all(|request| request.status == 304));
    assert_eq!(records(&shell).len(), 3, "nothing new is known");
    let job = shell.larder(&["status", "--json"]).json()["jobs"][0].clone();
    assert_eq!(
        (
            &job["files"]["known"],
            &job["items"]["unchanged"],
            &job["state"]
        ),
        (&json!(3), &json!(3), &json!("done"))
    );

    let id = site.ids()[1];
    replace(&site, id, b"\xff\xd8\xff\xe0another picture");
    site.clear_log();
    shell.larder(&["run"]).ends(0);
    let mut statuses: Vec<_> = site.files().iter().map(|request| request.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 304, 304]);
    let records = records(&shell);
    assert_eq!(records.len(), 4);
    assert_eq!(
        (&records[3]["id"], &records[3]["rev"]),
        (&json!(id.to_string()), &json!(2))
    );
    let before = records
        .iter()
        .find(|line| line["id"].as_str() == Some(id.to_string().as_str()))
        .unwrap();
    assert_ne!(
        before["files"][0]["sha256"],
        records[3]["files"][0]["sha256"]
    );
    // What was there before is kept.
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        4
    );
}

#[test]
fn addresses_that_a_dialect_calls_immutable_are_not_asked_again() {
    let site = Booru::builder().posts(3).start();
    let shell = shell(&site, "immutable = true");
    for _ in 0..2 {
        shell.larder(&["run"]).ends(0);
    }
    assert_eq!(site.files().len(), 3);
}

#[test]
fn a_held_file_that_the_site_no_longer_hands_out_is_no_failure() {
    let site = Booru::builder().posts(3).start();
    let shell = shell(&site, "");
    shell.larder(&["run"]).ends(0);
    let gone = |status| Fault::Status(status, vec![], String::new());
    for fault in [gone(404), gone(403), gone(500), Fault::Empty, Fault::Html] {
        site.clear_log();
        site.script(What::File(site.ids()[0]), vec![fault.clone(); 3]);
        shell.larder(&["run"]).ends(0);
        let met = site
            .files()
            .iter()
            .filter(|request| request.fault.is_some())
            .count();
        assert!(met > 0, "{fault:?}");
        (met..3).for_each(|_| drop(super::site::client::get(&site, &site.files()[0].path)));
        assert_eq!(
            shell.larder(&["failures", "--json"]).json(),
            json!([]),
            "{fault:?}"
        );
        assert_eq!(records(&shell).len(), 3, "{fault:?}");
    }
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        3
    );
}

#[test]
fn a_site_that_knows_of_no_conditions_is_asked_for_no_file_twice() {
    let site = Booru::builder().posts(2).start();
    let shell = shell(&site, "");
    shell.larder(&["run"]).ends(0);
    let [same, other] = site.ids()[..] else {
        panic!("two posts")
    };
    // The whole file again, under the ETag that is known, and under one that is new each time.
    let body = |id| {
        let truth = site.truth();
        let truth = truth.iter().find(|truth| truth.id == id).unwrap();
        Fault::Body("image/jpeg", truth.bytes.clone())
    };
    let known = site.files().iter().find_map(|request| {
        let truth = site.truth();
        let truth = truth.iter().find(|truth| truth.id == same).unwrap();
        (request.md5() == Some(&truth.md5)).then_some(truth.bytes.len())
    });
    let etag = format!("\"{:x}-{:x}\"", 1_700_000_000, known.unwrap());
    site.script(
        What::File(same),
        vec![Fault::With(vec![("ETag", etag)], Box::new(body(same)))],
    );
    let new = vec![("ETag", "\"of this server\"".to_owned())];
    site.script(
        What::File(other),
        vec![Fault::With(new, Box::new(body(other)))],
    );
    site.clear_log();
    shell.larder(&["run"]).ends(0);
    assert_eq!(
        site.files()
            .iter()
            .filter(|request| request.fault.is_some())
            .count(),
        2
    );
    assert_eq!(records(&shell).len(), 2);
    // The second one's validators have proved to tell nothing.
    site.clear_log();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.files().len(), 1);
}

#[test]
fn a_stop_in_the_middle_of_asking_loses_nothing_that_is_held() {
    let site = Booru::builder().posts(3).start();
    let shell = shell(&site, "");
    shell.larder(&["run"]).ends(0);
    site.clear_log();
    site.script(
        What::AnyFile,
        vec![Fault::Stall(std::time::Duration::from_secs(3)); 3],
    );
    let running = shell.start(&["run"]);
    super::shell::until("a file is asked about", || {
        (!site.files().is_empty()).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(running.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(running);
    let asked = site.files().len();
    (asked..3).for_each(|_| drop(super::site::client::get(&site, &site.files()[0].path)));
    shell.larder(&["run"]).ends(0);
    assert_eq!(records(&shell).len(), 3);
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        3
    );
    let job = shell.larder(&["status", "--json"]).json()["jobs"][0].clone();
    assert_eq!(
        (&job["state"], &job["files"]["failed"]),
        (&json!("done"), &json!(0))
    );
}
