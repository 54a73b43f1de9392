//! `larder history` says what became of an item, in words.

use serde_json::{Value, json};

use super::{site::Booru, world::World};

fn json_of(world: &World, command: &[&str]) -> Value {
    serde_json::from_str(&world.larder(command).expect(0).stdout).expect("JSON")
}

#[test]
fn each_revision_says_what_it_changed() {
    let world = World::new(Booru::builder().posts(3));
    world.run(0);
    let (id, other) = (world.booru.ids()[1], world.booru.ids()[2]);
    let item = format!("127.0.0.1/post/{id}");
    world.booru.edit(id, |post| {
        post.retag("seed fern");
        post.set_body("png", vec![7; 400]);
    });
    world.run(0);
    world.booru.edit(id, super::site::Post::delete);
    world.run(0);
    world.booru.edit(id, super::site::Post::restore);
    world.run(0);

    let said = world.larder(&["history", &item]).expect(0).stdout;
    let kinds = ["joined", "revision 1", "revision 2", "gone", "back"];
    let places: Vec<_> = kinds.iter().map(|kind| said.find(kind)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{said}"
    );
    assert!(said.contains("+fern"), "{said}");
    assert!(
        said.contains("file original 0 ") && said.contains(" → "),
        "{said}"
    );

    let told = json_of(&world, &["history", &item, "--json"]);
    let second = &told["events"][2];
    assert_eq!(
        (&second["type"], &second["rev"]),
        (&json!("item"), &json!(2)),
        "{told}"
    );
    let files = second["changes"].as_array().expect("changes");
    let file = files
        .iter()
        .find(|change| change["what"] == "file")
        .expect("a file");
    let shown = json_of(&world, &["show", &item, "--json"]);
    let digest = &shown["files"][0]["sha256"];
    assert_eq!(file["to"]["sha256"], *digest);

    // What happened to others is not told.
    let quiet = world
        .larder(&["history", &format!("127.0.0.1/post/{other}")])
        .expect(0)
        .stdout;
    assert!(
        !quiet.contains("revision 2") && !quiet.contains("gone"),
        "{quiet}"
    );
    world
        .larder(&["history", "127.0.0.1/post/1"])
        .expect(1)
        .says("is not in the archive");
}

#[test]
fn the_manual_page_has_every_command() {
    let world = World::new(Booru::builder().posts(1));
    let page = world.larder(&["man"]).expect(0).stdout;
    let help = world.larder(&["--help"]).expect(0).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?
                .split_whitespace()
                .next()
                .filter(|_| !line.starts_with("   "))
        })
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    for name in commands {
        assert!(page.contains(&format!("\"larder {name}")), "{name}");
    }
}
