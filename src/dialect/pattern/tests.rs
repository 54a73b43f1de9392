use proptest::prelude::*;

use super::*;

fn captured(pattern: &str, address: &str) -> Option<Vec<(String, String)>> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let pattern = Pattern::compile(pattern).expect(pattern);
    let (captured, _) = pattern.capture(path, query)?;
    let pair = |(name, values): (String, Vec<String>)| (name, values.join("|"));
    Some(captured.into_iter().map(pair).collect())
}

fn is(pattern: &str, address: &str, wanted: &[(&str, &str)]) {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(
        captured(pattern, address),
        Some(wanted),
        "{pattern} {address}"
    );
}

#[test]
fn a_capture_is_a_segment_or_the_part_between_literals() {
    is("/pool/show/{id}", "/pool/show/12", &[("id", "12")]);
    is("/pool/show/{id}", "//pool/show/12/", &[("id", "12")]);
    is(
        "/x/{a}-{b}.html",
        "/x/p-q-r.html",
        &[("a", "p"), ("b", "q-r")],
    );
    is("/av{id}", "/av170001", &[("id", "170001")]);
    is("/t/{tag}", "/t/a%2Fb%20c+d", &[("tag", "a/b c+d")]);
    for other in [
        "/pool/show",
        "/pool/show/1/2",
        "/pool/edit/1",
        "/Pool/show/1",
        "/",
    ] {
        assert_eq!(captured("/pool/show/{id}", other), None, "{other}");
    }
    assert_eq!(captured("/av{id}", "/av"), None);
}

#[test]
fn a_star_at_the_end_stands_for_the_rest_of_the_path() {
    for address in ["/post/show/1", "/post/show/1/", "/post/show/1/a/b"] {
        is("/post/show/{id}/*", address, &[("id", "1")]);
    }
    assert_eq!(captured("/post/show/{id}/*", "/post/show"), None);
}

#[test]
fn query_keys_come_in_any_order_and_others_are_ignored() {
    let pattern = "/post?tags={tags}&user={user}";
    is(
        pattern,
        "/post?page=2&user=me&tags=a+b%2Bc",
        &[("tags", "a b+c"), ("user", "me")],
    );
    is(pattern, "/post?tags=%61", &[("tags", "a")]);
    is(pattern, "/post?tags=&user", &[]);
    is(pattern, "/post", &[]);
    is("/s?id[]={id}", "/s?id%5B%5D=1&id[]=2", &[("id", "1|2")]);
}

#[test]
fn a_value_without_a_capture_must_be_there() {
    let pattern = "/index.php?page=post&tags=user:{user}";
    is(
        pattern,
        "/index.php?tags=user:me&page=post",
        &[("user", "me")],
    );
    assert_eq!(captured(pattern, "/index.php?tags=user:me"), None);
    assert_eq!(
        captured(pattern, "/index.php?page=posts&tags=user:me"),
        None
    );
    assert_eq!(captured(pattern, "/index.php?page=post&tags=me"), None);
}

#[test]
fn what_is_no_pattern_says_why() {
    for (text, why) in [
        ("post", "begin with `/`"),
        ("/a/{", "`{name}`"),
        ("/a/{}", "`{name}`"),
        ("/a/x}", "`{name}`"),
        ("/{a}{b}", "between them"),
        ("/a?b", "`b={name}`"),
        ("/a?b=", "without a value"),
        ("/{a}/{a}", "twice"),
        ("/a#{b}", "`#`"),
    ] {
        let error = Pattern::compile(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// `text` as an address may carry it: everything encoded, only what must be, and spaces as `+` in a query.
fn encodings(text: &str) -> [String; 3] {
    let all = text.bytes().map(|b| format!("%{b:02x}")).collect();
    let few = utf8_percent_encode(text, ENCODED).to_string();
    let plus = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    [all, few, plus]
}

proptest! {
    #[test]
    fn any_text_comes_back_whatever_encoding_it_had(text in "\\PC{1,20}", other in "[a-z:*_ ]{1,9}") {
        let pattern = Pattern::compile("/t/{a}?b={b}").expect("a pattern");
        for (n, path) in encodings(&text).iter().enumerate().take(2) {
            for query in encodings(&other) {
                let (found, _) = pattern.capture(&format!("/t/{path}"), &format!("x=1&b={query}")).expect("fits");
                prop_assert_eq!(&found["a"], std::slice::from_ref(&text), "encoding {}", n);
                prop_assert_eq!(&found["b"], std::slice::from_ref(&other));
            }
        }
    }

    #[test]
    fn the_address_of_what_was_captured_captures_it_again(a in "\\PC{1,12}", b in proptest::collection::vec("\\PC{1,12}", 0..3)) {
        let pattern = Pattern::compile("/t/{a}/*?b={b}&c=x").expect("a pattern");
        let mut captured = Captured::from([("a".to_owned(), vec![a])]);
        if !b.is_empty() {
            captured.insert("b".to_owned(), b);
        }
        let address = pattern.address(&captured);
        prop_assert!(address.is_ascii());
        let (path, query) = address.split_once('?').expect("a query");
        prop_assert_eq!(pattern.capture(path, query).map(|(found, _)| found), Some(captured));
    }

    #[test]
    fn no_address_panics(path in "\\PC*", query in "\\PC*") {
        for pattern in ["/{a}", "/x{a}y{b}/*?q={q}&r=s{t}"] {
            let _ = Pattern::compile(pattern).expect("a pattern").capture(&path, &query);
        }
    }

    #[test]
    fn no_pattern_panics(text in "/?[a{}?&=*/%#-]*") {
        let _ = Pattern::compile(&text);
    }
}
