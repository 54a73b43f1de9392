//! How text is cut into words for the search index, the same for what is archived and for what is asked.
//!
//! SQLite cuts by spaces and punctuation, which Chinese and Japanese do not write. So each run of their characters becomes
//! overlapping pairs, and its last character by itself: `夜の風景` is `夜の の風 風景 景`. A word of two characters or more is
//! found as the row of its pairs, one of a single character as the beginning of a pair.

use icu_normalizer::ComposingNormalizerBorrowed;

/// `text` with spaces where words end, in one form for all widths: `ﾊﾝｶｸ` is `ハンカク`.
pub(crate) fn indexed(text: &str) -> String {
    cut(text, true)
}

/// An FTS5 expression that finds `text` as it stands; with `*` at its end, also words that go on after it. `None` where
/// nothing of it is a word.
pub(crate) fn matched(text: &str) -> Option<String> {
    let (text, open) = text
        .strip_suffix('*')
        .map_or((text, false), |text| (text, true));
    let words = cut(text, false);
    let words = words.trim();
    if !words.contains(char::is_alphanumeric) {
        return None;
    }
    // Within quotes nothing but the quote itself has a meaning.
    let mut expression = format!("\"{}\"", words.replace('"', "\"\""));
    let last = words.split(' ').next_back().unwrap_or_default();
    let single = last.chars().count() == 1 && last.chars().all(has_no_spaces);
    if open || single {
        expression.push('*');
    }
    Some(expression)
}

/// With `ends`, the last character of a run stands by itself too.
fn cut(text: &str, ends: bool) -> String {
    let text = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
    let mut out = String::with_capacity(text.len() * 2);
    let mut run: Vec<char> = Vec::new();
    for c in text.chars() {
        if has_no_spaces(c) {
            run.push(c);
        } else {
            pairs(&mut run, ends, &mut out);
            out.push(c);
        }
    }
    pairs(&mut run, ends, &mut out);
    out
}

fn pairs(run: &mut Vec<char>, ends: bool, out: &mut String) {
    let Some(last) = run.last().copied() else {
        return;
    };
    out.push(' ');
    for pair in run.windows(2) {
        out.extend(pair);
        out.push(' ');
    }
    if ends || run.len() == 1 {
        out.push(last);
        out.push(' ');
    }
    run.clear();
}

/// Han, Hiragana, Katakana, Hangul: blocks of Unicode 16, and the marks that lengthen and repeat.
fn has_no_spaces(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11ff | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3031..=0x3035 | 0x3038..=0x303c
        | 0x3041..=0x3096 | 0x3099..=0x309f | 0x30a1..=0x30fa | 0x30fc..=0x30ff | 0x3105..=0x312f | 0x3131..=0x318e
        | 0x31a0..=0x31bf | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff
        | 0xf900..=0xfaff | 0x20000..=0x323af)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_spaces_become_pairs() {
        assert_eq!(indexed("夜の風景 by moss"), " 夜の の風 風景 景  by moss");
        assert_eq!(indexed("ﾊﾝ"), " ハン ン ");
        assert_eq!(matched("風景").as_deref(), Some("\"風景\""));
        assert_eq!(matched("風").as_deref(), Some("\"風\"*"));
        assert_eq!(matched("hill*").as_deref(), Some("\"hill\"*"));
        assert_eq!(matched("say \"hi\"").as_deref(), Some("\"say \"\"hi\"\"\""));
        assert_eq!(matched("--").as_deref(), None);
    }
}
