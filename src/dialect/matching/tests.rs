use std::sync::LazyLock;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use url::form_urlencoded;

use super::*;
use crate::{
    config::{Diagnostics, Source},
    dialect::{Catalog, Value},
};

const HEAD: &str = "format = 1\nname = \"x\"\n";
const REST: &str = "paging = { by = \"once\" }\neach = '.[]'\nitem = '.'\n";

/// A dialect of these listings, each with its rest added.
fn dialect(listings: &str) -> Result<Arc<Dialect>, Vec<(Option<usize>, String)>> {
    let text = format!("{HEAD}{}", listings.replace("REST\n", REST));
    let (mut catalog, diagnostics) = (Catalog::built_in(), Diagnostics::default());
    catalog.add(&Source::new("x.toml", text), &diagnostics);
    let complaints: Vec<_> = diagnostics
        .into_vec()
        .into_iter()
        .map(|d| (d.line(), d.message))
        .collect();
    if complaints.is_empty() {
        Ok(catalog.get("x").expect("added").clone())
    } else {
        Err(complaints)
    }
}

/// Compiled once: properties ask often.
static THINGS: LazyLock<Arc<Dialect>> = LazyLock::new(|| {
    let listings = r#"
[params.day]
type = "date"
[params.tags]
type = "text"
default = ""
[params.id]
type = "int"
required = true
[params.ids]
type = "list"
[params.order]
type = "text"
one_of = ["new", "old"]

[listing.all]
get = "/all{?tags,order}"
params = ["tags", "order"]
match = ["/t?tags={tags}", "/t?tags={tags}&order={order}", "/t/{tags}"]
REST
[listing.group]
get = "/group/{id}"
params = ["id"]
match = ["/t/group-{id}", "/group/{id}/*"]
REST
[listing.popular]
get = "/popular{?day}"
params = ["day"]
match = { url = "/popular?year={year}&month={month}&day={day}", params = 'def two: tostring | if length < 2 then "0\(.)" else . end; if .year then {day: "\(.year)-\(.month | two)-\(.day | two)"} else {day: "today"} end' }
REST
[listing.some]
get = "/some{?ids}"
params = ["ids"]
match = [{ url = "/one/{ids}", join = "ids" }, "/some?ids[]={ids}"]
REST
"#;
    dialect(listings).unwrap_or_else(|complaints| panic!("{complaints:?}"))
});

fn means(dialect: &Dialect, address: &str) -> Result<(String, String), Option<String>> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let found = dialect
        .recognise(path, query)
        .map_err(|no| no.nearly.map(|(_, why)| why))?;
    let params = serde_json::to_string(&found.params).expect("plain JSON");
    Ok((found.listing.name.clone(), params))
}

#[track_caller]
fn is(dialect: &Dialect, address: &str, listing: &str, params: &str) {
    assert_eq!(
        means(dialect, address),
        Ok((listing.to_owned(), params.to_owned())),
        "{address}"
    );
}

#[test]
fn the_most_specific_pattern_wins() {
    let things = &*THINGS;
    is(things, "/t?tags=a", "all", r#"{"tags":"a"}"#);
    is(
        things,
        "/t?order=old&tags=a",
        "all",
        r#"{"order":"old","tags":"a"}"#,
    );
    is(things, "/t", "all", r#"{"tags":""}"#);
    is(things, "/t/blue", "all", r#"{"tags":"blue"}"#);
    is(things, "/t/group-7", "group", r#"{"id":7}"#);
    // Its number is none, so the general pattern has it.
    is(things, "/t/group-x", "all", r#"{"tags":"group-x"}"#);
    is(things, "/group/7/of-friends?page=2", "group", r#"{"id":7}"#);
}

#[test]
fn a_filter_turns_what_was_captured_into_parameters() {
    let things = &*THINGS;
    is(
        things,
        "/popular?day=3&month=12&year=2024",
        "popular",
        r#"{"day":"2024-12-03"}"#,
    );
    is(things, "/popular/", "popular", r#"{"day":"today"}"#);
    let why = means(things, "/popular?day=31&month=2&year=2024").expect_err("no such day");
    assert!(why.is_some_and(|why| why.contains("`2024-02-31` is not a date")));
}

#[test]
fn a_list_takes_every_value_of_its_key() {
    let things = &*THINGS;
    is(
        things,
        "/some?ids[]=1&x=9&ids%5B%5D=2",
        "some",
        r#"{"ids":["1","2"]}"#,
    );
    let found = |address| things.recognise(address, "").expect(address);
    let joined =
        Recognised::joined(&[found("/one/3"), found("/one/1"), found("/one/3")]).expect("joins");
    assert_eq!(
        joined.params["ids"],
        Value::List(vec!["3".to_owned(), "1".to_owned()])
    );
    assert_eq!((joined.count, found("/t/x").joins()), (3, None));
}

#[test]
fn values_that_are_none_are_explained() {
    let things = &*THINGS;
    for (address, why) in [
        ("/group/x", "`x` is not a whole number"),
        ("/t?order=odd", "did you mean `old`"),
    ] {
        let said = means(things, address).expect_err(address).expect("nearly");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(means(things, "/nowhere"), Err(None));
}

#[test]
fn moebooru_knows_its_posts_and_searches() {
    let moebooru = Catalog::built_in()
        .get("moebooru")
        .expect("built in")
        .clone();
    is(
        &moebooru,
        "/post?tags=landscape+rating%3As&page=2",
        "posts",
        r#"{"tags":"landscape rating:s"}"#,
    );
    is(
        &moebooru,
        "/post.json?limit=5&tags=a",
        "posts",
        r#"{"tags":"a"}"#,
    );
    is(
        &moebooru,
        "/post/show/123/some-tags",
        "posts",
        r#"{"tags":"id:123"}"#,
    );
    let why = means(&moebooru, "/post?tags=order:random").expect_err("never ends");
    assert!(why.is_some_and(|why| why.contains("order:random")));
    let many: Vec<_> = (1..=3)
        .map(|id| {
            moebooru
                .recognise(&format!("/post/show/{id}"), "")
                .expect("a post")
        })
        .collect();
    let joined = Recognised::joined(&many).expect("joins");
    assert_eq!(joined.params["tags"], Value::Text("id:1,2,3".to_owned()));
    assert_eq!(
        moebooru.item_at("/post/show/9/x/y", ""),
        Some(("post", "9".to_owned()))
    );
    assert_eq!(moebooru.item_at("/post/edit/9", ""), None);
}

#[test]
fn a_wrong_match_is_refused_at_its_line() {
    let listings = r#"
[params.tags]
type = "text"
[params.id]
type = "int"
required = true
[listing.all]
get = "/all{?tags}"
params = ["tags"]
match = ["/t?tags={tag}", "t", { url = "/x/{y}", params = '.y | ]' }, { url = "/z/{tags}", join = "tagz" }]
REST
[listing.one]
get = "/one{?id}"
params = ["id"]
match = ["/one", { url = "/one/{id}", join = "id" }]
REST
[lookup.two]
get = "/two{?id}"
params = ["id"]
match = "/two/{id}"
each = '.'
item = '.'
"#;
    let complaints = dialect(listings).expect_err("wrong");
    let has = |line, word: &str| {
        complaints
            .iter()
            .any(|(l, m)| *l == Some(line) && m.contains(word))
    };
    for (line, word) in [
        (12, "unknown parameter `tag`; did you mean `tags`?"),
        (12, "must begin with `/`"),
        (12, "not a jq filter"),
        (12, "unknown capture `tagz`; did you mean `tags`?"),
        (19, "`id`, which is required"),
        (19, "turn it into parameters with `params`"),
        (26, "only a listing"),
    ] {
        assert!(has(line, word), "{line} {word}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), 7, "{complaints:#?}");
}

proptest! {
    #[test]
    fn an_address_built_from_parameters_means_them_in_every_encoding(
        tags in "\\PC{1,16}", order in proptest::sample::select(vec!["new", "old"]), swapped: bool,
    ) {
        let things = &*THINGS;
        let all = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let plus = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        for encoded in [all(&tags), plus(&tags)] {
            let (one, other) = (format!("tags={encoded}"), format!("order={order}"));
            let query = if swapped { format!("{other}&page=3&{one}") } else { format!("{one}&{other}&utf8=x") };
            let found = things.recognise("/t/", &query).expect("recognised");
            prop_assert_eq!(&found.params["tags"], &Value::Text(tags.clone()));
            prop_assert_eq!(&found.params["order"], &Value::Text(order.to_owned()));
            // And its own address means the same.
            let address = found.address();
            let (path, query) = address.split_once('?').expect("a query");
            prop_assert_eq!(&things.recognise(path, query).expect("its own").params, &found.params);
        }
    }
}
