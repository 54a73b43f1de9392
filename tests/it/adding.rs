//! Web addresses become jobs with `larder add`, and jobs go with `larder forget`.

use std::{fs, io::Write as _, process::Stdio, time::Duration};

use serde_json::{Value, json};

use super::{
    shell::{Ran, Shell, head, until},
    site::{Booru, Fault, What},
};

/// How long the site keeps a page back: longer than a few commands take. No test waits for the end of it.
const WHILE: Duration = Duration::from_secs(25);

/// A folder with the site's configuration and no job, with `more` below it.
fn empty(site: &Booru, more: &str) -> Shell {
    let shell = Shell::new();
    shell.write("archive.toml", &format!("{}\n{more}\n", head(site)));
    shell
}

fn jobs(shell: &Shell) -> Vec<Value> {
    let status = shell.larder(&["status", "--json"]).ends(0).json();
    status["jobs"].as_array().unwrap().clone()
}

fn names(shell: &Shell) -> Vec<String> {
    let name = |job: &Value| job["name"].as_str().unwrap().to_owned();
    jobs(shell).iter().map(name).collect()
}

/// Runs larder with this standard input.
fn fed(shell: &Shell, args: &[&str], input: &str) -> Ran {
    let mut child = shell.command(args).stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn an_address_becomes_a_job_that_is_run_at_once_and_is_one_like_any_other() {
    let site = Booru::builder().posts(6).start();
    let shell = empty(&site, "");
    let url = format!("{}/post?tags=even+seed&page=2", site.url());
    let ran = shell.larder(&["add", &url]).ends(0);
    for words in [
        "Made the archive",
        "Added `mock-even-seed`: http://",
        "mock-even-seed: done",
        "3 new",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert_eq!(site.files().len(), 3);
    let [job] = &jobs(&shell)[..] else {
        panic!("one job")
    };
    assert_eq!(
        (&job["added"], &job["state"], &job["site"]),
        (&json!(true), &json!("done"), &json!("mock"))
    );
    assert_eq!(
        (&job["listing"], &job["total"]["items"]),
        (&json!("posts"), &json!(3))
    );
    let checked = shell.larder(&["check"]).ends(0).out;
    assert!(
        checked.contains("mock-even-seed  posts of mock  (added)"),
        "{checked}"
    );
    assert!(checked.contains("tags=even%20seed%20deleted"), "{checked}");
    // `run` takes it with and without its name, and so does whatever else takes a job.
    site.add(|post| post.tags.push_str(" even"));
    site.add(|post| post.tags.push_str(" even"));
    assert!(shell.larder(&["run"]).ends(0).out.contains("new"));
    assert!(
        shell
            .larder(&["run", "mock-even-seed"])
            .ends(0)
            .out
            .contains("unchanged")
    );
    for command in ["status", "failures", "retry"] {
        shell.larder(&[command, "mock-even-seed"]).ends(0);
        let ran = shell.larder(&[command, "mock-even-sed"]).ends(2);
        assert!(
            ran.err.contains("did you mean `mock-even-seed`?"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn an_address_is_one_job_however_it_is_pasted() {
    let site = Booru::builder().posts(2).start();
    let shell = empty(&site, "");
    let host = site.host();
    shell
        .larder(&["add", &format!("http://{host}/post?tags=seed+landscape")])
        .ends(0);
    let asked = site.log().len();
    for pasted in [
        format!("http://{host}/post?tags=seed%20landscape"),
        format!("http://{host}/post/?page=4&tags=seed+landscape&x=%00"),
        format!("http://{host}/post.json?limit=9&tags=%73eed+landscape"),
        format!("http://{host}//post/index?tags=seed+landscape#top"),
        format!("HTTP://{host}/post?tags=seed landscape"),
        format!("{host}/post?tags=seed+landscape"),
        format!(" <http://{host}/post?tags=seed+landscape>\n"),
    ] {
        let ran = shell.larder(&["add", &pasted]).ends(0);
        assert_eq!(
            ran.out,
            "`mock-seed-landscape` is that address already: `larder run mock-seed-landscape` runs it\n",
            "{pasted}"
        );
        assert_eq!(ran.err, "");
    }
    assert_eq!((site.log().len(), names(&shell).len()), (asked, 1));
    // A job that a file names is known by its address as well.
    let shell = Shell::with_job(&site, "");
    let ran = shell
        .larder(&["add", &format!("{host}/post?tags=seed")])
        .ends(0);
    assert!(
        ran.out.contains("`seeds` is that address already"),
        "{}",
        ran.out
    );
}

/// A dialect of one's own with addresses of every form.
const SMALL: &str = r#"
format = 1
name = "small"
[params.id]
type = "int"
required = true
[params.day]
type = "date"
required = true

[listing.pool]
get = "/pool/show.json{?id}"
params = ["id"]
match = "/pool/show/{id}"
paging = { by = "once" }
each = '.posts[]'
item = '{kind: "post", id}'

[listing.day]
get = "/post.json{?day}"
params = ["day"]
match = { url = "/post/popular_by_day?year={year}&month={month}&day={day}", params = 'def two: if length < 2 then "0" + . else . end; {day: (if .year then "\(.year)-\(.month | two)-\(.day | two)" else "yesterday" end)}' }
paging = { by = "once" }
each = '.[]'
item = '{kind: "post", id}'
"#;

#[test]
fn a_dialect_of_ones_own_says_which_addresses_it_has() {
    let site = Booru::builder().posts(3).pool(7, "seven", &[101]).start();
    let shell = Shell::new();
    shell.write("small.toml", SMALL);
    let text = head(&site).replace("\"moebooru\"", "\"small\"");
    shell.write(
        "archive.toml",
        &format!("dialects = [\"small.toml\"]\n{text}"),
    );
    let url = |rest: &str| format!("{}{rest}", site.url());
    let (pool, day) = (
        url("/pool/show/7?x=1"),
        url("/post/popular_by_day?day=5&month=11&year=2024"),
    );
    let ran = shell
        .larder(&["add", &pool, &day, &url("/post/popular_by_day/")])
        .ends(0);
    assert_eq!(
        names(&shell),
        ["mock-day", "mock-day-2024-11-5", "mock-pool-7"],
        "{}",
        ran.out
    );
    let mut asked: Vec<_> = site
        .pages()
        .iter()
        .map(|page| format!("{}?{}", page.path, page.raw_query))
        .collect();
    asked.sort();
    let [pool, day, yesterday] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (pool.as_str(), day.as_str()),
        ("/pool/show.json?id=7", "/post.json?day=2024-11-05")
    );
    // The word is kept in the job, and becomes the day of the run in what is asked.
    let asked_day = yesterday
        .strip_prefix("/post.json?day=")
        .unwrap_or_default();
    assert!(
        asked_day.parse::<jiff::civil::Date>().is_ok(),
        "{yesterday}"
    );
    let sites = shell.larder(&["sites", "mock"]).ends(0).out;
    assert!(sites.contains("address        /pool/show/{id}"), "{sites}");
    for (rest, why) in [
        (
            "/pool/show/x",
            "`pool` cannot walk it: `id`: `x` is not a whole number",
        ),
        (
            "/post/popular_by_day?day=31&month=2&year=2024",
            "`2024-02-31` is not a date",
        ),
        (
            "/pools",
            "those are `/post/popular_by_day?year={year}&month={month}&day={day}`, `/pool/show/{id}`",
        ),
    ] {
        let ran = shell.larder(&["add", &url(rest)]).ends(2);
        assert!(ran.err.contains(why), "{}", ran.err);
    }
    shell.write(
        "small.toml",
        &SMALL.replace("/pool/show/{id}", "/pool/show/{idd}"),
    );
    let ran = shell.larder(&["check"]).ends(78);
    assert!(
        ran.err.contains("small.toml:14:9: ")
            && ran
                .err
                .contains("unknown parameter `idd`; did you mean `id`?"),
        "{}",
        ran.err
    );
}

#[test]
fn what_is_not_recognised_says_what_is_known_and_leaves_nothing() {
    let site = Booru::builder().posts(2).start();
    let shell = empty(&site, "");
    let before = shell.files();
    for (address, words) in [
        (
            "https://example.org/post",
            &[
                "known: bilibili (https://api.bilibili.com), konachan.com",
                "sakugabooru.com",
                "[sites] table",
            ][..],
        ),
        (
            "https://yande.er/post?tags=x",
            &["did you mean `yande.re`?"],
        ),
        (
            "www.YANDE.re/static/more",
            &["yande.re", "`larder sites yande.re` lists"],
        ),
        (
            "https://yande.re/post?tags=order:random",
            &["`posts` cannot walk it", "never ends"],
        ),
        (
            "https://yande.re/post/show/abc",
            &["`posts` cannot walk it"],
        ),
        ("landscape", &["not a web address"]),
        ("ftp://yande.re/post", &["neither http nor https"]),
        ("", &["not a web address"]),
    ] {
        let ran = shell.larder(&["add", address]).ends(2);
        for word in words {
            assert!(ran.err.contains(word), "{address}: {word}: {}", ran.err);
        }
        assert_eq!(ran.out, "", "{address}");
    }
    let mine = format!(
        "known: bilibili (https://api.bilibili.com), konachan.com, konachan.net, lolibooru.moe, mock ({})",
        site.url()
    );
    assert!(
        shell
            .larder(&["add", "https://example.org"])
            .err
            .contains(&mine)
    );
    for none in [
        &["add"][..],
        &["add", "-f", "nowhere.txt"],
        &["add", "--name", "a b", "yande.re/post"],
        &["add", "--every", "6", "x"],
    ] {
        shell.larder(none).ends(2);
    }
    assert_eq!(shell.files(), before);
    assert!(site.log().is_empty());
}

#[test]
fn a_list_is_added_as_far_as_it_is_good_and_can_be_added_again() {
    let site = Booru::builder().posts(6).start();
    let shell = empty(&site, "");
    let host = site.host();
    let list = format!(
        "# mine\n\n{host}/post?tags=even  # half\nnowhere.example/x\n\nrubbish\nhttp://{host}/post?tags=odd\n"
    );
    shell.write("urls.txt", &list);
    let ran = shell.larder(&["add", "-f", "urls.txt"]).ends(2);
    for words in [
        "urls.txt:4: `https://nowhere.example/x` is of no site",
        "urls.txt:6: `rubbish` is not",
        "2 of 4 addresses were not recognised; the rest is added",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(
        ran.out.contains("mock-even: done") && ran.out.contains("mock-odd: done"),
        "{}",
        ran.out
    );
    assert_eq!(
        (names(&shell), site.files().len()),
        (vec!["mock-even".to_owned(), "mock-odd".to_owned()], 6)
    );
    // Mended and longer, from standard input, by name or because it is there.
    let asked = site.log().len();
    let mended = list
        .replace("rubbish", &format!("{host}/post?tags=landscape"))
        .replace("nowhere.example/x", "");
    for (args, new) in [(&["add", "-f", "-"][..], true), (&["add"], false)] {
        let ran = fed(&shell, args, &mended).ends(0);
        assert!(
            ran.out.contains("`mock-even` is that address already"),
            "{}",
            ran.out
        );
        assert_eq!(
            ran.out.contains("Added `mock-landscape`"),
            new,
            "{}",
            ran.out
        );
    }
    assert!(
        site.log()[asked..]
            .iter()
            .all(|page| page.param("tags").unwrap_or_default().contains("landscape"))
    );
    let ran = fed(&shell, &["add", "-f", "-"], "rubbish\n").ends(2);
    assert!(ran.err.contains("standard input:1: "), "{}", ran.err);
}

#[test]
fn many_posts_become_few_jobs_and_a_longer_list_adds_only_what_is_new() {
    let site = Booru::builder().posts(40).start();
    let shell = empty(&site, "");
    let ids = site.ids();
    let lines = |ids: &[u64]| {
        let line = |id: &u64| format!("http://{}/post/show/{id}/some-tags\n", site.host());
        ids.iter().map(line).collect::<String>()
    };
    // Some of them twice, and 180 that never were.
    let never: Vec<u64> = (1_000..1_180).collect();
    shell.write(
        "urls.txt",
        &(lines(&ids[..30]) + &lines(&ids[..5]) + &lines(&never)),
    );
    let ran = shell.larder(&["add", "-f", "urls.txt"]).ends(0);
    let first = format!("mock-posts-{}-and-199-more", ids[0]);
    assert_eq!(
        names(&shell),
        [first.clone(), "mock-posts-1170-and-9-more".to_owned()],
        "{}",
        ran.out
    );
    assert_eq!(site.files().len(), 30);
    assert!(site.pages().len() <= 8, "{}", site.pages().len());
    site.clear_log();
    shell.write("urls.txt", &lines(&ids[..31]));
    let ran = shell.larder(&["add", "-f", "urls.txt"]).ends(0);
    assert!(
        ran.out
            .contains(&format!("`{first}` is 30 of these addresses already")),
        "{}",
        ran.out
    );
    assert_eq!(names(&shell).len(), 3);
    let truth = site.truth();
    let files: Vec<_> = site
        .files()
        .iter()
        .map(|file| file.md5().unwrap().to_owned())
        .collect();
    assert_eq!(files, [truth[30].md5.clone()]);
    let show = shell
        .larder(&["show", &format!("mock/post/{}", ids[7])])
        .ends(0)
        .out;
    assert!(show.contains(&truth[7].sha256), "{show}");
}

#[test]
fn save_writes_a_file_that_is_read_and_never_written_over() {
    let site = Booru::builder().posts(4).start();
    let shell = empty(&site, "");
    let url = format!("{}/post?tags=seed+rating%3As", site.url());
    let ran = shell.larder(&["add", "--save", &url]).ends(2);
    assert!(
        ran.err
            .contains("write `include = [\"jobs/*.toml\"]` on its first line"),
        "{}",
        ran.err
    );
    assert!(!shell.path("archive").exists() && !shell.path("jobs").exists());
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write(
        "archive.toml",
        &format!("include = [\"jobs/*.toml\"]\n{text}"),
    );
    let ran = shell
        .larder(&["add", "--save", "--every", "6h", "--name", "safe", &url])
        .ends(0);
    assert!(
        ran.out.contains("Wrote jobs/safe.toml") && ran.out.contains("safe: done"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("note: `every`"), "{}", ran.out);
    assert_eq!(
        fs::read_to_string(shell.path("jobs/safe.toml")).unwrap(),
        format!(
            "# {}/post?tags=seed%20rating:s\nsite = \"mock\"\nlisting = \"posts\"\nparams = {{ tags = \"seed rating:s\" }}\nevery = \"6h\"\n",
            site.url()
        )
    );
    assert_eq!(
        fs::read_dir(shell.path("jobs")).unwrap().count(),
        1,
        "nothing else is left there"
    );
    let [job] = &jobs(&shell)[..] else {
        panic!("one job")
    };
    assert_eq!(
        (&job["name"], &job["added"]),
        (&json!("safe"), &json!(false))
    );
    let ran = shell.larder(&["add", "--save", &url]).ends(0);
    assert!(
        ran.out.contains("`safe` is that address already"),
        "{}",
        ran.out
    );
    let other = format!("{}/post?tags=odd", site.url());
    for args in [
        &["add", "--name", "safe", &other][..],
        &["add", "--save", "--name", "SAFE", &other],
    ] {
        let ran = shell.larder(args).ends(2);
        assert!(
            ran.err.contains("there is a job of that name"),
            "{}",
            ran.err
        );
    }
    // A file that is there without being a job that is known by its name.
    shell.write(
        "jobs/mock-odd.toml",
        "name = \"other\"\nsite = \"mock\"\nlisting = \"posts\"\nparams = { tags = \"even\" }\n",
    );
    let ran = shell.larder(&["add", "--save", &other]).ends(2);
    assert!(
        ran.err.contains("jobs/mock-odd.toml is there already"),
        "{}",
        ran.err
    );
    assert!(
        fs::read_to_string(shell.path("jobs/mock-odd.toml"))
            .unwrap()
            .contains("other")
    );
}

#[test]
fn names_are_made_so_that_no_two_jobs_share_one() {
    let site = Booru::builder().posts(3).start();
    let shell = empty(&site, "");
    let host = site.host();
    let of = |tags: &str| format!("{host}/post?tags={tags}");
    let long = "very_long_tag_".repeat(9);
    let urls = [
        of("a:b"),
        of("a-b"),
        of("A/B"),
        of("%E6%97%A5"),
        format!("{host}/post/show/7"),
        of(""),
        of(&long),
    ];
    let mut args = vec!["add"];
    args.extend(urls.iter().map(String::as_str));
    shell.larder(&args).ends(0);
    let mut found = names(&shell);
    let cut = format!("mock-{}", &long[..43]);
    found.sort();
    assert_eq!(
        found,
        [
            "mock-A-B-3",
            "mock-a-b",
            "mock-a-b-2",
            "mock-posts",
            "mock-posts-2",
            "mock-posts-7",
            &cut
        ]
    );
    let ran = shell
        .larder(&["add", "--name", "x", &of("p"), &of("q")])
        .ends(2);
    assert!(ran.err.contains("these addresses make 2"), "{}", ran.err);
}

#[test]
fn a_larder_at_work_is_asked_to_keep_and_to_forget() {
    let site = Booru::builder().posts(4).start();
    let shell = Shell::with_job(&site, "");
    site.script(What::Page, vec![Fault::Stall(WHILE)]);
    let run = shell.start(&["run"]);
    until("a run holds the archive", || {
        (!site.log().is_empty()).then_some(())
    });
    let url = |tags: &str| format!("{}/post?tags={tags}", site.url());
    let ran = shell.larder(&["add", &url("even")]).ends(0);
    assert!(
        ran.out.contains("Added `mock-even`")
            && ran
                .out
                .contains(&format!("larder run (pid {}, since ", run.pid())),
        "{}",
        ran.out
    );
    // It is there at once, whether the larder at work has seen it or not.
    assert_eq!(names(&shell), ["seeds", "mock-even"]);
    shell.larder(&["add", &url("odd")]).ends(0);
    let ran = shell.larder(&["forget", "mock-odd"]).ends(0);
    assert!(ran.out.starts_with("Asked larder run (pid "), "{}", ran.out);
    until("the larder at work has forgotten", || {
        (names(&shell) == ["seeds", "mock-even"]).then_some(())
    });
    assert_eq!(
        site.pages().len(),
        1,
        "everything above happened during the run"
    );
    let pid = rustix::process::Pid::from_raw(run.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    run.wait().ends(3);
    let state = |name: &str| {
        let job = jobs(&shell).into_iter().find(|job| job["name"] == name);
        job.unwrap()["state"].clone()
    };
    assert_eq!(
        (state("seeds"), state("mock-even")),
        (json!("queued"), json!("idle"))
    );
    site.clear_log();
    let ran = shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("mock-even: done"), "{}", ran.out);
    assert_eq!(site.files().len(), 4, "no file is fetched for two jobs");
}

#[test]
fn a_job_that_is_under_way_can_be_forgotten() {
    let site = Booru::builder().posts(4).start();
    let shell = Shell::with_job(&site, "");
    site.script(What::PageWith("even"), vec![Fault::Stall(WHILE)]);
    let url = format!("{}/post?tags=even", site.url());
    let add = shell.start(&["add", &url]);
    until("its page is asked for", || {
        (!site.log().is_empty()).then_some(())
    });
    shell.larder(&["forget", "mock-even"]).ends(0);
    let ran = add.wait().ends(0);
    assert!(ran.out.contains("mock-even: forgotten"), "{}", ran.out);
    assert_eq!(names(&shell), ["seeds"]);
    shell.larder(&["run"]).ends(0);
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        4
    );
}

#[test]
fn an_added_job_that_does_not_fit_any_more_stops_nothing_else() {
    let site = Booru::builder().posts(3).start();
    let shell = Shell::with_job(&site, "");
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    let other = format!(
        "{text}\n[sites.other]\ndialect = \"moebooru\"\nurl = \"{}/base\"\n",
        site.url()
    );
    shell.write("archive.toml", &other);
    shell.larder(&[
        "add",
        "--name",
        "lost",
        &format!("{}/base/post?tags=x", site.url()),
    ]);
    assert_eq!(jobs(&shell).len(), 2);
    shell.write("archive.toml", &text);
    let ran = shell.larder(&["run"]).ends(0);
    assert!(
        ran.err
            .contains("`lost` does not fit the configuration any more")
            && ran.out.contains("seeds: done"),
        "{}",
        ran.err
    );
    let ran = shell.larder(&["run", "lost"]).ends(78);
    assert!(
        ran.err
            .contains("larder.db/lost:2:8: jobs.lost.site: unknown site `other`"),
        "{}",
        ran.err
    );
    let ran = shell.larder(&["check"]).ends(78);
    assert!(
        ran.out.contains("unknown site `other`") && ran.out.contains("larder forget lost"),
        "{}",
        ran.out
    );
    let lost = jobs(&shell)
        .into_iter()
        .find(|job| job["name"] == "lost")
        .unwrap();
    assert_eq!(
        (&lost["state"], &lost["reason"], &lost["added"]),
        (&json!("failed"), &json!("config"), &json!(true))
    );
    let shown = shell.larder(&["status"]).ends(0).out;
    assert!(
        shown.contains("does not fit the configuration any more")
            && shown.contains("larder forget lost"),
        "{shown}"
    );
    shell.larder(&["forget", "lost"]).ends(0);
    assert_eq!(names(&shell), ["seeds"]);
    shell.larder(&["check"]).ends(0);
}

#[test]
fn a_secret_that_is_not_set_is_told_before_anything_is_kept() {
    let site = Booru::builder().posts(1).start();
    let shell = empty(
        &site,
        "headers = { Token = { env = \"LARDER_TEST_NEVER_SET\" } }",
    );
    let ran = shell
        .larder(&["add", &format!("{}/post", site.url())])
        .ends(78);
    assert!(
        ran.err
            .contains("`LARDER_TEST_NEVER_SET`, which is not set"),
        "{}",
        ran.err
    );
    assert!(!shell.path("archive").exists() && site.log().is_empty());
}

#[test]
fn forget_keeps_what_was_archived_and_drops_the_rest() {
    let site = Booru::builder().posts(4).start();
    let gone = *site.ids().last().unwrap();
    site.script(
        What::File(gone),
        vec![Fault::Status(410, vec![], String::new())],
    );
    let shell = Shell::with_job(&site, "");
    shell.larder(&["run"]).ends(1);
    let ran = shell.larder(&["forget", "seeds"]).ends(2);
    assert!(
        ran.err.contains("archive.toml: remove it there first")
            && ran.err.contains("enabled = false"),
        "{}",
        ran.err
    );
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write("archive.toml", &head(&site));
    let [job] = &jobs(&shell)[..] else {
        panic!("one job")
    };
    assert_eq!(job["state"], "orphaned");
    assert!(
        shell
            .larder(&["status"])
            .out
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("`larder forget seeds` drops it")
    );
    let log = fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    let ran = shell.larder(&["forget", "seeds"]).ends(0);
    assert_eq!(
        ran.out,
        "Forgot `seeds`, and 1 task with it; what it archived stays.\n"
    );
    assert_eq!(
        (jobs(&shell).len(), shell.larder(&["failures"]).out.as_str()),
        (0, "Nothing has failed.\n")
    );
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        3
    );
    assert_eq!(
        fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap(),
        log
    );
    for id in site.ids() {
        shell.larder(&["show", &format!("mock/post/{id}")]).ends(0);
    }
    shell.larder(&["forget", "seeds"]).ends(2);
    // It may come back, and nothing that it once saw makes its walk seem to go in circles.
    shell.write("archive.toml", &text);
    site.clear_log();
    let ran = shell.larder(&["run"]).ends(0);
    assert!(ran.out.contains("1 changed, 3 unchanged"), "{}", ran.out);
    assert_eq!(site.files().len(), 1);
}

#[test]
fn forgetting_an_unfinished_job_records_what_is_known_and_takes_nothing_from_others() {
    let site = Booru::builder().posts(8).start();
    // Every file is begun and none comes, before the larder that asked is killed.
    site.script(
        What::AnyFile,
        vec![Fault::Stall(Duration::from_secs(60)); 8],
    );
    let shell = empty(&site, "");
    let text = fs::read_to_string(shell.path("archive.toml")).unwrap();
    shell.write(
        "archive.toml",
        &text.replace("connections = 2", "connections = 20"),
    );
    let host = site.host();
    let add = shell.start(&[
        "add",
        &format!("{host}/post?tags=seed"),
        &format!("{host}/post?tags=even"),
    ]);
    let waits = |name: &str| {
        jobs(&shell)
            .iter()
            .find(|job| job["name"] == name)
            .map(|job| job["files"]["waiting"].clone())
    };
    until("both have walked", || {
        (waits("mock-seed") == Some(json!(8)) && waits("mock-even") == Some(json!(4))).then_some(())
    });
    // What was not asked for would stall the next run.
    until("every file is begun", || {
        (site.files().len() == 8).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(add.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(add);
    let ran = shell.larder(&["forget", "mock-seed"]).ends(0);
    assert!(
        ran.out
            .starts_with("Forgot `mock-seed`, and 8 tasks with it"),
        "{}",
        ran.out
    );
    let log = fs::read_to_string(shell.path("archive/records/current.jsonl")).unwrap();
    let items: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["type"] == "item")
        .collect();
    // The odd ones are nobody's any more; the even ones still wait for their files.
    assert_eq!(items.len(), 4, "{items:?}");
    assert!(items.iter().all(
        |item| item["files"][0]["sha256"].is_null() && item["tags"].to_string().contains("odd")
    ));
    site.clear_log();
    shell.larder(&["run"]).ends(0);
    assert_eq!(site.files().len(), 4);
    assert_eq!(
        shell.larder(&["verify", "--json"]).ends(0).json()["good"],
        4
    );
}
