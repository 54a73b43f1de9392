//! Properties of the built-in filters: bounds fold into their intersection, and nothing that a site sends is a panic.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::{Arc, LazyLock};

use larder::{
    config::{Config, Site},
    dialect::{Asked, Catalog, Cursor, Endpoint, Value, Values},
};
use proptest::{collection, option, prelude::*, sample};
use serde_json::json;

/// yande.re as a configuration makes it, and its posts.
static POSTS: LazyLock<(Arc<Site>, Arc<Endpoint>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.toml");
    let text = "[archive]\npath = \"a\"\n[[jobs]]\nname = \"all\"\nsite = \"yande.re\"\nlisting = \"posts\"\n";
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    let job = config.job("all").unwrap();
    (job.site.clone(), job.listing.clone())
});

/// Compiling the filters takes longer than running them.
static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);

/// The tags that are sent for `tags` behind the cursor; `None` when nothing can be left.
fn sent(tags: &str, before: Option<i64>) -> Option<Vec<String>> {
    let (site, posts) = &*POSTS;
    let values = Values::from([("tags".to_owned(), Value::Text(tags.to_owned()))]);
    let mut at = posts.paging(&values).start();
    if let Some(before) = before {
        at.cursor.insert("before".to_owned(), before.into());
    }
    let request = posts.request(site, &values, &at, Some(100)).unwrap()?;
    let tags = request.url.query_pairs().find(|(key, _)| key == "tags");
    let tags = tags.map(|(_, tags)| tags.into_owned()).unwrap_or_default();
    Some(tags.split(' ').map(str::to_owned).collect())
}

/// Inclusive bounds of one term, as the engine reads it.
fn bounds(term: &str) -> (i64, i64) {
    let x = &term[3..];
    let n = |text: &str| text.parse::<i64>().unwrap();
    match x {
        _ if x.starts_with("<=") => (i64::MIN, n(&x[2..])),
        _ if x.starts_with(">=") => (n(&x[2..]), i64::MAX),
        _ if x.starts_with('<') => (i64::MIN, n(&x[1..]) - 1),
        _ if x.starts_with('>') => (n(&x[1..]) + 1, i64::MAX),
        _ => match x.split_once("..") {
            Some(("", b)) => (i64::MIN, n(b)),
            Some((a, "")) => (n(a), i64::MAX),
            Some((a, b)) => (n(a), n(b)),
            None => (n(x), n(x)),
        },
    }
}

fn term() -> impl Strategy<Value = String> {
    // Ids are small, or far beyond what a double can tell apart.
    let id = || prop_oneof![0..60_i64, (1_i64 << 53)..(1_i64 << 62)];
    let form = sample::select(vec!["=", "<", "<=", ">", ">=", "A..B", "A..", "..B"]);
    let name = sample::select(vec!["id:", "ID:"]);
    (name, form, id(), id()).prop_map(|(name, form, a, b)| match form {
        "=" => format!("{name}{a}"),
        "A..B" => format!("{name}{a}..{b}"),
        "A.." => format!("{name}{a}.."),
        "..B" => format!("{name}..{b}"),
        sign => format!("{name}{sign}{a}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bounds_and_cursor_fold_into_their_intersection(terms in collection::vec(term(), 0..4), before in option::of(1..70_i64)) {
        let all: Vec<_> = terms.iter().map(|term| bounds(term)).collect();
        let low = all.iter().map(|(low, _)| *low).max().unwrap_or(i64::MIN);
        let high = all.iter().map(|(_, high)| *high).chain(before.map(|n| n - 1)).min().unwrap_or(i64::MAX);
        let tags = format!("heath {} mist", terms.join(" "));
        let Some(sent) = sent(&tags, before) else {
            // Ids begin with 1.
            prop_assert!(high < low.max(1), "{tags} before {before:?} was taken for empty");
            return Ok(());
        };
        prop_assert!(low <= high, "{tags} before {before:?} is empty, but {sent:?} was sent");
        let (ids, rest): (Vec<_>, Vec<_>) = sent.into_iter().partition(|word| word.starts_with("id:"));
        prop_assert_eq!(rest, ["heath", "mist", "deleted:all"]);
        prop_assert!(ids.len() <= 1, "the engine lets the last of several win: {:?}", ids);
        let folded = ids.first().map_or((i64::MIN, i64::MAX), |id| bounds(id));
        prop_assert_eq!(folded, (low, high), "{} before {:?}: {:?}", tags, before, ids);
    }

    #[test]
    fn whatever_json_a_site_sends_is_read_or_refused_without_a_panic(body in page()) {
        let base: url::Url = "https://booru.example/".parse().unwrap();
        let with = ["comments", "notes", "pools", "favorites", "posts", "history", "replies"].map(str::to_owned);
        let body = serde_json::to_vec(&body).unwrap();
        for endpoint in CATALOG.get("moebooru").unwrap().endpoints.values() {
            if let Ok(page) = endpoint.read(&body, &Asked::new(&base, &with, &Values::new(), &Cursor::new())) {
                prop_assert_eq!(page.shown.count, page.entries.len());
            }
            let _ = endpoint.reported(&body, &Asked::new(&base, &[], &Values::new(), &Cursor::new()));
        }
    }
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(|n| json!(n)),
        any::<String>().prop_map(Into::into),
        Just(json!("2024-01-31T00:00:00.000+09:00")),
        Just(json!("d41d8cd98f00b204e9800998ecf8427e")),
        Just(json!("//images.booru.example/a b.png")),
    ]
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            collection::btree_map("[a-z_]{0,8}", inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

/// A page that resembles a real one, or anything at all.
fn page() -> impl Strategy<Value = serde_json::Value> {
    let keys = "id tags created_at updated_at creator_id author source score md5 file_size file_url rating parent_id \
        status width height last_noted_at last_commented_at post_id creator body is_active name user_id description pool_id \
        success reason posts pools pool_posts title version updater_id locked urls alias_id type count post_count \
        post_ids pool_id page favorited_users pages";
    let keys: Vec<_> = keys.split_whitespace().collect();
    let entry = || {
        collection::btree_map(sample::select(keys.clone()), any_json(), 0..12)
            .prop_map(|map| json!(map))
    };
    prop_oneof![
        4 => collection::vec(entry(), 0..4).prop_map(Into::into),
        1 => entry(),
        1 => any_json(),
    ]
}
