//! Whatever a site replies, it is a page with all its entries, or it is none: never an empty one that looks like the end.

use proptest::prelude::*;
use serde_json::Value;
use url::Url;

use super::{Asked, Catalog, Cursor, Entry, Page, ReplyError, Values};

fn read(body: &[u8]) -> Result<Page, ReplyError> {
    thread_local! {
        static CATALOG: Catalog = Catalog::built_in();
    }
    CATALOG.with(|catalog| {
        let posts = &catalog.get("moebooru").expect("built in").endpoints["posts"];
        let base = Url::parse("https://booru.example").expect("a url");
        let (params, cursor) = (Values::default(), Cursor::default());
        posts.read(body, &Asked::new(&base, &[], &params, &cursor))
    })
}

/// Any JSON, of a few levels.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A key that the filters look at, or any other.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "id|tags|file_url|md5|file_size|rating|parent_id|status|created_at|author|success|reason|score|width",
        "\\PC{0,6}",
    ]
}

proptest! {
    #[test]
    fn fuzz_any_bytes_are_a_page_only_where_they_are_a_list(bytes: Vec<u8>, text in "[\\[\\]{}\",:0-9a-z<>! ]{0,60}") {
        for body in [&bytes[..], text.as_bytes()] {
            if let Ok(page) = read(body) {
                let list = serde_json::from_slice::<Vec<Value>>(body);
                prop_assert_eq!(list.map(|list| list.len()).ok(), Some(page.entries.len()), "{:?}", body);
            }
        }
    }

    #[test]
    fn fuzz_any_json_is_a_page_with_all_its_entries_or_none(value in json()) {
        let body = value.to_string();
        match (read(body.as_bytes()), &value) {
            (Ok(page), Value::Array(list)) => {
                prop_assert_eq!((page.entries.len(), page.shown.count, page.shown.ids.len()), (list.len(), list.len(), list.len()));
                for (entry, sent) in page.entries.iter().zip(list) {
                    match entry {
                        Entry::Good(item) => prop_assert!(sent.is_object() && !item.id.is_empty()),
                        Entry::Bad { raw, message } => {
                            prop_assert!(!message.is_empty());
                            prop_assert!(serde_json::from_str::<Value>(raw).is_ok(), "{}", raw);
                        }
                    }
                }
            }
            (Ok(_), other) => prop_assert!(false, "{} is no list", other),
            (Err(error), _) => prop_assert!(!error.message.is_empty()),
        }
    }

    #[test]
    fn fuzz_a_list_that_is_cut_anywhere_is_no_page(entries in proptest::collection::vec(json(), 1..4), cut in 0_usize..200) {
        let body = Value::from(entries).to_string();
        let cut = cut % body.len();
        prop_assert!(read(&body.as_bytes()[..cut]).is_err());
    }
}
