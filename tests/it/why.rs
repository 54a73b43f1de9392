//! `larder why` explains an address from stored facts alone.

use super::{
    site::{Booru, Fault, What},
    world::World,
};

#[test]
fn every_fate_of_a_file_is_explained_and_nothing_is_asked() {
    let mut world = World::new(Booru::builder().posts(4));
    world.job("seed", "max_items = 3");
    let truth = world.booru.truth();
    let (held, lost) = (&truth[3], &truth[2]);
    let gone = Fault::Status(404, vec![], "not here".to_owned());
    world
        .booru
        .script(What::File(lost.id), vec![Fault::Forever(Box::new(gone))]);
    world.larder(&["run"]);
    world.booru.clear_log();
    let why = |url: &str| world.larder(&["why", url]).expect(0).stdout;

    let said = why(&held.url);
    let digest = world
        .larder(&["show", &format!("127.0.0.1/post/{}", held.id)])
        .stdout;
    let object = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("held as "))
        .expect(&said);
    assert!(digest.contains(object), "{said}\n{digest}");
    assert!(said.contains("in the listing of all since"), "{said}");

    let said = why(&lost.url);
    assert!(
        said.contains("not held: http_404") && said.contains("given up by all; to do: "),
        "{said}"
    );
    // The item's own address, and its name, say the same.
    let page = format!("{}/post/show/{}", world.booru.url(), lost.id);
    for name in [page, format!("127.0.0.1/post/{}", lost.id)] {
        let said = why(&name);
        assert!(
            said.starts_with(&format!("127.0.0.1/post/{}\n", lost.id)),
            "{said}"
        );
        assert!(said.contains("not held: http_404"), "{said}");
    }

    // The fourth post was never shown: the limit came first.
    let never = format!("{}/post/show/{}", world.booru.url(), truth[0].id);
    let unknown = world.larder(&["why", &never]).expect(1);
    unknown
        .says("nothing is known of")
        .says("`larder add` archives it");
    assert!(world.booru.log().is_empty());
}
