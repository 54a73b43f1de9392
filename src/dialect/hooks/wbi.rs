//! bilibili's signature of a query, `wbi`: an MD5 over the sorted query and a key that the site hands out and rotates.
//!
//! Facts: the table and the steps are what all public clients do; the vectors below come from their documentation.

use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// Where the characters of the mixed key stand in the two keys, one behind the other.
const MIXING: [usize; 32] = [
    46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35, 27, 43, 5, 49, 33, 9, 42, 19, 29,
    28, 14, 39, 12, 38, 41, 13,
];
/// Characters that the site drops from values before it checks them.
const DROPPED: [char; 5] = ['!', '\'', '(', ')', '*'];
/// What stays as it is (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Mixes the two keys of the site into the one that signs; `None` unless there are 64 characters to take from.
pub(super) fn mixed(keys: &str) -> Option<String> {
    let keys = keys.as_bytes();
    let usable = keys.len() == 64 && keys.iter().all(u8::is_ascii_alphanumeric);
    usable.then(|| MIXING.iter().map(|at| char::from(keys[*at])).collect())
}

/// The address with `wts` and `w_rid` in its query, signed with the mixed `key` at `seconds` since 1970.
pub(super) fn sign(url: &Url, key: &str, seconds: i64) -> Url {
    let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
    pairs.retain(|(name, _)| name != "wts" && name != "w_rid");
    pairs.push(("wts".to_owned(), seconds.to_string()));
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let encoded = pairs.iter().map(|(name, value)| {
        let value: String = value.chars().filter(|c| !DROPPED.contains(c)).collect();
        format!(
            "{}={}",
            utf8_percent_encode(name, ENCODED),
            utf8_percent_encode(&value, ENCODED)
        )
    });
    let query = encoded.collect::<Vec<_>>().join("&");
    let w_rid = hex::encode(Md5::digest(format!("{query}{key}")));
    let mut signed = url.clone();
    // What was signed is what is sent, to the letter.
    signed.set_query(Some(&format!("{query}&w_rid={w_rid}")));
    signed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const K1: &str = "7cd084941338484aae1ad9425b84077c4932caff0ff746eab6f01bf08b70ac45";
    const K2: &str = "653657f524a547ac981ded72ea1720576e4909c702f846728e64f6007736a338";

    fn url(pairs: &[(&str, &str)]) -> Url {
        let base = "https://api.example/x/v2/reply/wbi/main";
        Url::parse_with_params(base, pairs).expect("a url")
    }

    fn w_rid(pairs: &[(&str, &str)], seconds: i64) -> String {
        let key = mixed(K1).expect("64 characters");
        let signed = sign(&url(pairs), &key, seconds);
        let found = signed.query_pairs().find(|(name, _)| name == "w_rid");
        found.expect("signed").1.into_owned()
    }

    #[test]
    fn two_known_pairs_of_keys_are_mixed() {
        assert_eq!(
            mixed(K1).as_deref(),
            Some("ea1db124af3c7062474693fa704f4ff8")
        );
        assert_eq!(
            mixed(K2).as_deref(),
            Some("72136226c6a73669787ee4fd02a74c27")
        );
        assert_eq!(mixed("short"), None);
        assert_eq!(mixed(&"é".repeat(32)), None);
    }

    #[test]
    fn five_known_queries_are_signed() {
        type Known<'a> = (&'a [(&'a str, &'a str)], i64, &'a str);
        let known: [Known<'_>; 5] = [
            (
                &[("foo", "114"), ("bar", "514"), ("zab", "1919810")],
                1_702_204_169,
                "8f6f2b5b3d485fe1886cec6a0be8c5d4",
            ),
            (
                &[("foo", "114"), ("bar", "514"), ("baz", "1919810")],
                1_700_384_803,
                "4614cb98d60a43e50c3a3033fe3d116b",
            ),
            (
                &[
                    ("qn", "32"),
                    ("fnver", "0"),
                    ("fnval", "4048"),
                    ("fourk", "1"),
                    ("avid", "1755630705"),
                    ("cid", "1574294582"),
                ],
                1_717_922_933,
                "43571b838a1611fa121189083cfc1784",
            ),
            (
                &[("aid", "2")],
                1_744_823_207,
                "a3cd246bd42c066932752b24694eaf0d",
            ),
            (
                &[("foo", "114"), ("bar", "514"), ("hello", "世 界")],
                1_744_823_207,
                "93acf59d85f74453e40cea00056c3daf",
            ),
        ];
        for (pairs, seconds, expected) in known {
            assert_eq!(w_rid(pairs, seconds), expected, "{pairs:?}");
        }
    }

    /// As a site checks it: over what came, decoded and put in order again.
    fn accepts(url: &Url, key: &str) -> bool {
        let mut pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let at = pairs.iter().position(|(name, _)| name == "w_rid");
        let (_, claimed) = pairs.remove(at.expect("signed"));
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        let plain = |text: &str| -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        char::from(byte).to_string()
                    }
                    byte => format!("%{byte:02X}"),
                })
                .collect()
        };
        let query: Vec<_> = pairs
            .iter()
            .map(|(name, value)| {
                let value = value.replace(DROPPED, "");
                format!("{}={}", plain(name), plain(&value))
            })
            .collect();
        claimed == hex::encode(Md5::digest(format!("{}{key}", query.join("&"))))
    }

    proptest! {
        #[test]
        fn what_is_signed_is_what_is_sent(
            pairs in proptest::collection::vec(("[a-z_\\PC]{1,6}", "\\PC{0,12}|[!'()* +%&=]{0,8}"), 0..6),
            seconds in 0_i64..4_000_000_000,
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let key = mixed(K2).expect("64 characters");
            let signed = sign(&url(&pairs), &key, seconds);
            prop_assert!(accepts(&signed, &key), "{signed}");
            // What was signed already is signed anew, not twice.
            let again = sign(&signed, &key, seconds);
            prop_assert_eq!(again, signed);
        }
    }
}
