//! Addresses that a site names: what is inside is not asked for, whatever it is called.

use std::{
    fs,
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

use super::{forever, met};
use crate::{
    site::{Booru, Fault, What, client},
    world::{World, text},
};

/// Something inside that must not be asked: its port, and how many have connected.
fn canary() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, count)
}

#[test]
fn fault_88_a_listing_cannot_send_larder_to_this_machine() {
    let (port, asked) = canary();
    let forms = [
        format!("http://127.0.0.1:{port}/x.png"),
        format!("http://2130706433:{port}/x.png"),
        format!("http://0x7f.0.0.1:{port}/x.png"),
        format!("http://0177.1:{port}/x.png"),
        format!("http://[::ffff:127.0.0.1]:{port}/x.png"),
        format!("http://localhost:{port}/x.png"),
        format!("//127.0.0.1:{port}/x.png"),
        format!("http://me:you@127.0.0.1:{port}/x.png"),
        "file:///etc/passwd".to_owned(),
    ];
    let mut world = World::new(Booru::builder().posts(9));
    // As far as a careless user could go: the hosts may serve media, but they are not allowed as addresses.
    let hosts =
        ["127.0.0.1", "[::ffff:7f00:1]", "localhost"].map(|host| format!("\"{host}:{port}\""));
    world.keys(&format!("media_hosts = [{}]", hosts.join(", ")));
    let mut page = client::get(&world.booru, "/post.json?limit=10&tags=seed").json();
    for (post, form) in page.as_array_mut().expect("a list").iter_mut().zip(&forms) {
        post["file_url"] = json!(form);
    }
    let page = Fault::Body("application/json", page.to_string().into_bytes());
    world.booru.clear_log();
    world.booru.script(What::Page, vec![page]);
    world.run(1);
    assert_eq!(met(&world.booru.pages()), ["Body"]);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let failures = world.failures();
    assert_eq!(failures.len(), forms.len(), "{failures:?}");
    for failure in failures {
        let class = text(&failure["class"]);
        assert!(
            ["blocked_address", "bad_url"].contains(&class.as_str()),
            "{failure}"
        );
    }
    assert!(world.objects().is_empty());
}

#[test]
fn fault_90_a_file_that_redirects_inside_is_not_followed() {
    let (port, asked) = canary();
    let world = World::new(Booru::builder().posts(6));
    let ids = world.booru.ids();
    let hosts = [
        "127.0.0.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0",
    ];
    for (id, host) in ids.iter().zip(hosts) {
        let location = format!("http://{host}:{port}/x.png");
        let redirect = Fault::Status(302, vec![("Location", location.leak())], String::new());
        world.booru.script(What::File(*id), forever(redirect));
    }
    // A page may not be led there either.
    let location = format!("http://127.0.0.1:{port}/post.json");
    let redirect = Fault::Status(302, vec![("Location", location.leak())], String::new());
    world.booru.script(What::PageWith("id:<*"), vec![redirect]);
    world.run(1);
    assert_eq!(met(&world.booru.files()).len(), 5);
    assert_eq!(met(&world.booru.pages()).len(), 1);
    assert_eq!(world.classes(), ["blocked_address"; 6]);
    assert_eq!(
        (asked.load(Ordering::Relaxed), world.objects().len()),
        (0, 1)
    );
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let (port, asked) = canary();
    let world = World::new(Booru::builder().posts(3));
    let proxy = format!("http://127.0.0.1:{port}");
    let mut larder = Command::new(env!("CARGO_BIN_EXE_larder"));
    larder.arg("-c").arg(world.config()).arg("run");
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        larder.env(name, &proxy).env(name.to_uppercase(), &proxy);
    }
    larder.env_remove("no_proxy").env_remove("NO_PROXY");
    let out = larder.output().expect("larder was built");
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    world.holds_everything();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    // The one that is configured is.
    let config = fs::read_to_string(world.config()).expect("written");
    let config = config.replacen(
        "[network]\n",
        &format!("[network]\nproxy = \"{proxy}\"\ntries = 1\nheader_timeout = \"300ms\"\n"),
        1,
    );
    fs::write(world.config(), config).expect("ours");
    world.run(1);
    assert!(asked.load(Ordering::Relaxed) > 0);
}
