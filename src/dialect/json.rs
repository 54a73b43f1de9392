//! Reading a reply's JSON within bounds.
//!
//! jaq's reader recurses and grows twenty-fold on many small values, so depth, bytes and values are counted in one
//! pass over the bytes before it sees them. The bounds are of the threat model: a page is data from a stranger.

use jaq_json::{Val, read};

/// Nesting of arrays and objects.
pub(super) const MAX_DEPTH: usize = 128;
/// Values of one page.
pub(super) const MAX_VALUES: usize = 400_000;

/// Reads one JSON value.
///
/// # Errors
/// A bound that was crossed, or where the text stops being JSON.
pub(super) fn read(body: &[u8]) -> Result<Val, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    bound(body)?;
    read::parse_single(body).map_err(|error| format!("not JSON: {error}"))
}

/// A reply laid out for people, with its numbers as the site wrote them.
///
/// # Errors
/// As [`read`].
pub fn pretty(body: &[u8]) -> Result<String, String> {
    let value = read(body)?;
    let layout = jaq_json::write::Pp {
        indent: Some("  ".to_owned()),
        sep_space: true,
        ..jaq_json::write::Pp::default()
    };
    let mut text = Vec::new();
    jaq_json::write::write(&mut text, &layout, 0, &value).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// One pass that knows strings, brackets and separators only.
fn bound(body: &[u8]) -> Result<(), String> {
    let (mut depth, mut values) = (0_usize, 1_usize);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("nested deeper than {MAX_DEPTH} levels"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' => values += 1,
            // The reader takes `#` for a comment; JSON has none, and a comment could hide brackets from this pass.
            b'#' => return Err("not JSON: `#` outside a string".to_owned()),
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
    }
    Ok(())
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_million_brackets_are_refused_before_the_reader_sees_them() {
        let deep = "[".repeat(2_000_000);
        assert!(read(deep.as_bytes()).expect_err("deep").contains("deeper"));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = format!(r#"["{}", "\"["]"#, "[".repeat(500));
        assert!(read(text.as_bytes()).is_ok());
    }

    #[test]
    fn too_many_values_are_refused() {
        let text = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert!(read(text.as_bytes()).expect_err("many").contains("values"));
    }

    #[test]
    fn a_reply_is_laid_out_with_its_own_numbers() {
        let text = pretty(b"{\"b\":12345678901234567890123,\"a\":[0.10,null]}").expect("JSON");
        assert_eq!(
            text,
            "{\n  \"b\": 12345678901234567890123,\n  \"a\": [\n    0.10,\n    null\n  ]\n}"
        );
    }

    #[test]
    fn what_is_not_json_says_so() {
        for text in ["", "<html>", "[1,", "{\"a\" 1}", "[] []", "# x"] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(error.starts_with("not JSON"), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_read_all_the_same() {
        assert!(read(b"[\"\xff\xfe\"]").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
