//! Safe names: whatever a site says becomes one component of a path that every common file system takes.
//!
//! **Invariant:** a name is never empty, `.` or `..`, never begins with a dot, holds no separator, no control, bidirectional
//! or zero-width character, is no device name of Windows, and has [`LONGEST`] bytes at most. A safe name stays as it is.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Bytes of a component on the common file systems (255), less those of `.json`: a sidecar has a name of its own.
pub(super) const LONGEST: usize = 255 - 5;
/// Longer ends of a name are no extension.
const LONGEST_EXT: usize = 16;
/// Names of devices on Windows, with any extension: files called so cannot be opened there.
/// Source: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// `text` as a component of a path.
pub(super) fn safe(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        name.push(match c {
            '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
            c if c.is_control() => '_',
            c => c,
        });
    }
    // Letters with accents are spelt in two ways; some file systems take both for one name.
    let name = ComposingNormalizerBorrowed::new_nfc().normalize(&name);
    let name = name.trim_start();
    let dots = name.len() - name.trim_start_matches('.').len();
    let mut name = "_".repeat(dots) + &name[dots..];
    trim_end(&mut name);
    if let Some(stem) = device(&name) {
        name.insert(stem, '_');
    }
    if name.len() > LONGEST {
        name = shorten(&name, LONGEST, "");
    }
    if name.is_empty() {
        name.push('_');
    }
    name
}

/// The `nth` name of several that are called the same, such as `sunset (2).png`.
pub(super) fn numbered(name: &str, nth: u32) -> String {
    shorten(name, LONGEST, &format!(" ({nth})"))
}

/// Which number [`numbered`] gave to make `name` of `base`; 1 for the base itself.
pub(super) fn number_of(name: &str, base: &str) -> Option<u32> {
    if name == base {
        return Some(1);
    }
    let (stem, _) = split(name);
    let digits = stem.strip_suffix(')')?.rsplit_once(" (")?.1;
    let nth = digits.parse().ok().filter(|nth| *nth > 1)?;
    (numbered(base, nth) == name).then_some(nth)
}

/// What is the same for two names that some file system takes for one.
pub(super) fn fold(name: &str) -> String {
    let upper = name.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

/// The start of `text` that has `most` bytes at most, cut between characters.
pub(super) fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// `name` with `mark` before its extension, its stem cut so that all of it has `most` bytes at most.
fn shorten(name: &str, most: usize, mark: &str) -> String {
    let (stem, ext) = split(name);
    let mut short = start(stem, most.saturating_sub(mark.len() + ext.len())).to_owned();
    trim_end(&mut short);
    short + mark + ext
}

/// Stem and extension, with its dot.
fn split(name: &str) -> (&str, &str) {
    let dot = name
        .rfind('.')
        .filter(|dot| *dot > 0 && (2..=LONGEST_EXT).contains(&(name.len() - dot)));
    name.split_at(dot.unwrap_or(name.len()))
}

/// Windows drops dots and spaces at the end.
fn trim_end(name: &mut String) {
    name.truncate(
        name.trim_end_matches(|c: char| c == '.' || c.is_whitespace())
            .len(),
    );
}

/// Where the stem of a device's name ends.
fn device(name: &str) -> Option<usize> {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let upper = stem.to_uppercase();
    let numbered = |port: &str| {
        let mut rest = upper.strip_prefix(port)?.chars();
        let digit = rest.next()?;
        (rest.next().is_none() && matches!(digit, '0'..='9' | '¹' | '²' | '³')).then_some(())
    };
    let is_device =
        DEVICES.contains(&upper.as_str()) || numbered("COM").is_some() || numbered("LPT").is_some();
    is_device.then_some(stem.len())
}

/// Characters that nobody sees and that make two names look alike, or turn the text around.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_made_safe_and_stay_readable() {
        for (text, name) in [
            ("plain name.png", "plain name.png"),
            ("日本語 №5.jpg", "日本語 №5.jpg"),
            ("", "_"),
            (".", "_"),
            ("..", "__"),
            ("../../etc/passwd", "___.._etc_passwd"),
            ("..\\x", "___x"),
            (".hidden", "_hidden"),
            ("a/b\\c:d*e?f\"g<h>i|j", "a_b_c_d_e_f_g_h_i_j"),
            ("  spaces and dots. . ", "spaces and dots"),
            ("tab\there\nand\0there\u{7f}\u{9b}", "tab_here_and_there__"),
            ("gnp.\u{202e}exe", "gnp.exe"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("\u{200e}.\u{200e}.", "__"),
            ("con", "con_"),
            ("CON.tar.gz", "CON_.tar.gz"),
            ("lpt1 .txt", "lpt1_ .txt"),
            ("COM¹", "COM¹_"),
            ("com10", "com10"),
            ("cone.png", "cone.png"),
            ("nul\u{200b}", "nul_"),
            // e and a combining accent become one letter.
            ("Cafe\u{301}", "Caf\u{e9}"),
        ] {
            assert_eq!(safe(text), name, "{text:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_keep_their_extension() {
        let name = safe(&format!("{}.png", "語".repeat(100)));
        assert_eq!(name, format!("{}.png", "語".repeat(82)));
        assert!(name.len() <= LONGEST);
        assert_eq!(safe(&"x".repeat(300)).len(), LONGEST);
        let second = numbered(&name, 2);
        assert!(second.ends_with("語 (2).png") && second.len() <= LONGEST);
        assert_eq!(number_of(&second, &name), Some(2));
        // A dot far from the end begins no extension.
        assert_eq!(safe(&format!("a.{}", "b".repeat(300))).len(), LONGEST);
    }

    #[test]
    fn a_number_is_known_again() {
        assert_eq!(numbered("a.png", 2), "a (2).png");
        assert_eq!(number_of("a (2).png", "a.png"), Some(2));
        assert_eq!(number_of("a.png", "a.png"), Some(1));
        for other in [
            "b (2).png",
            "a (1).png",
            "a (02).png",
            "a (2).jpg",
            "a (x).png",
        ] {
            assert_eq!(number_of(other, "a.png"), None, "{other}");
        }
        assert_eq!(number_of("a (3)", "a"), Some(3));
    }

    #[test]
    fn names_that_some_file_system_takes_for_one_fold_alike() {
        for (one, other) in [("Ab", "aB"), ("ÄÖ", "äö"), ("ΑΣ", "ας"), ("K", "\u{212a}")] {
            assert_eq!(fold(one), fold(other));
        }
        assert_ne!(fold("a"), fold("b"));
    }

    /// What the module promises of every name.
    fn is_safe(name: &str) -> bool {
        let stem = name.split('.').next().unwrap_or_default().trim_end();
        !name.is_empty()
            && name.len() <= LONGEST
            && !name.starts_with('.')
            && !name.starts_with(char::is_whitespace)
            && !name.ends_with(['.', ' '])
            && !name.contains(['/', '\\', '\0', '<', '>', ':', '"', '|', '?', '*'])
            && !name.chars().any(|c| c.is_control() || is_invisible(c))
            && !DEVICES.contains(&stem.to_uppercase().as_str())
            && std::path::Path::new(name)
                .components()
                .eq([std::path::Component::Normal(name.as_ref())])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_text_becomes_a_safe_name_that_stays_as_it_is(text in any::<String>(), nth in 2_u32..) {
            let name = safe(&text);
            prop_assert!(is_safe(&name), "{text:?} became {name:?}");
            prop_assert_eq!(safe(&name), name.clone(), "{:?}", text);
            let other = numbered(&name, nth);
            prop_assert!(is_safe(&other), "{name:?} became {other:?}");
            prop_assert_eq!(number_of(&other, &name), Some(nth));
        }

        #[test]
        fn nasty_text_does_too(text in "[./\\\\ \u{200e}\u{202e}\u{0}-\u{1f}a-cCONnuUlL1\u{300}\u{338}語]{0,300}") {
            let name = safe(&text);
            prop_assert!(is_safe(&name), "{text:?} became {name:?}");
            prop_assert_eq!(safe(&name), name.clone(), "{:?}", text);
        }
    }
}
