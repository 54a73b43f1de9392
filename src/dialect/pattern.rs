//! A pattern of web addresses: a path and a query with `{name}` where text is captured.
//!
//! A capture in the path takes one segment, or the part of it between literals, and never nothing. A capture in the query
//! takes a value; query keys may come in any order, others are ignored, and an empty value is as good as none. A query
//! value without a capture must be there as written. A path that ends in `/*` may go on. Everything is compared decoded.

use std::{cmp::Reverse, collections::BTreeMap};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded;

/// What a pattern captured: each name's values, in order. A name of the query that was not there is missing.
pub(super) type Captured = BTreeMap<String, Vec<String>>;

/// How well a pattern fits; the greater, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    /// Bytes of its path that are no capture.
    path: usize,
    /// Whether the path ends with it.
    ends: bool,
    /// Captures of the path.
    captures: Reverse<usize>,
    /// Bytes of its query that are no capture.
    query: usize,
    /// Its query keys that were there.
    pub(super) present: usize,
    /// Its query keys that were not.
    absent: Reverse<usize>,
}

/// What may not stand in an address as it is, in a segment of the path or a value of the query.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Capture(String),
}

impl Piece {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Capture(name) => Some(name),
            Self::Literal(_) => None,
        }
    }
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    path: Vec<Vec<Piece>>,
    /// Whether more segments may follow.
    open: bool,
    query: Vec<(String, Vec<Piece>)>,
}

impl Pattern {
    /// Compiles `text`, such as `/post?tags={tags}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "`{text}` must begin with `/`; it is what follows the site's url"
            ));
        }
        if text.contains('#') {
            return Err(format!("`{text}`: what follows `#` is never compared"));
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let (path, open) = match path.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let path = segments.map(pieces).collect::<Result<_, _>>()?;
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!(
                    "`{pair}` must be `{pair}={{name}}` or have a value"
                ));
            };
            pairs.push((decoded(key), pieces(value)?));
        }
        let pattern = Self {
            text: text.to_owned(),
            path,
            open,
            query: pairs,
        };
        let mut names = pattern.names();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        if names.len() < all {
            return Err(format!("`{text}` captures one name twice"));
        }
        Ok(pattern)
    }

    /// The text as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The names that it captures, in the order written.
    pub(super) fn names(&self) -> Vec<&str> {
        let values = self.query.iter().map(|(_, pieces)| pieces);
        let pieces = self.path.iter().chain(values).flatten();
        pieces.filter_map(Piece::name).collect()
    }

    /// What an address holds, and how well it fits; `None` when it is none of this pattern.
    pub(super) fn capture(&self, path: &str, query: &str) -> Option<(Captured, Fit)> {
        let segments: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
        let ends = segments.len() == self.path.len();
        if segments.len() < self.path.len() || !(ends || self.open) {
            return None;
        }
        let mut captured = Captured::new();
        for (pieces, segment) in self.path.iter().zip(segments) {
            take(pieces, &decoded(segment), &mut captured)?;
        }
        let in_path = captured.len();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let (mut literal, mut present, mut absent) = (0, 0, 0);
        for (key, pieces) in &self.query {
            let values = pairs.iter().filter(|(k, v)| k == key && !v.is_empty());
            let mut found = false;
            for (_, value) in values {
                match pieces.as_slice() {
                    // What is asked for need not be the last of its key.
                    [Piece::Literal(text)] => found |= *value == text.as_str(),
                    pieces => {
                        take(pieces, value, &mut captured)?;
                        found = true;
                    }
                }
            }
            match (found, literals(pieces), captures(pieces)) {
                (true, bytes, _) => {
                    literal += bytes;
                    present += 1;
                }
                (false, _, 0) => return None,
                (false, ..) => absent += 1,
            }
        }
        let bytes = self.path.iter().map(|pieces| literals(pieces)).sum();
        let fit = Fit {
            path: bytes,
            ends,
            captures: Reverse(in_path),
            query: literal,
            present,
            absent: Reverse(absent),
        };
        Some((captured, fit))
    }

    /// The path and query that capture `captured`; what `/*` stands for is left out.
    pub(super) fn address(&self, captured: &Captured) -> String {
        let values = |name: &str| captured.get(name).map_or(&[][..], Vec::as_slice);
        let written = |pieces: &[Piece], nth: usize| -> String {
            let text = |piece: &Piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Capture(name) => values(name).get(nth).cloned().unwrap_or_default(),
            };
            let text: String = pieces.iter().map(text).collect();
            utf8_percent_encode(&text, ENCODED).to_string()
        };
        let mut address: String = self
            .path
            .iter()
            .map(|pieces| format!("/{}", written(pieces, 0)))
            .collect();
        if address.is_empty() {
            address.push('/');
        }
        let mut separator = '?';
        for (key, pieces) in &self.query {
            let count = pieces.iter().find_map(Piece::name);
            let count = count.map(|name| values(name).len());
            for nth in 0..count.unwrap_or(1) {
                let key = utf8_percent_encode(key, ENCODED);
                address += &format!("{separator}{key}={}", written(pieces, nth));
                separator = '&';
            }
        }
        address
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn literals(pieces: &[Piece]) -> usize {
    let bytes = |piece: &Piece| match piece {
        Piece::Literal(text) => text.len(),
        Piece::Capture(_) => 0,
    };
    pieces.iter().map(bytes).sum()
}

fn captures(pieces: &[Piece]) -> usize {
    pieces.iter().filter_map(Piece::name).count()
}

/// Splits a segment or value at its captures.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((literal, after)) = rest.split_once('{') else {
            pieces.push(Piece::Literal(decoded(rest)));
            break;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(decoded(literal)));
        } else if matches!(pieces.last(), Some(Piece::Capture(_))) {
            return Err(format!(
                "`{text}`: two captures need something between them"
            ));
        }
        let (name, after) = after
            .split_once('}')
            .filter(|(name, _)| !name.is_empty() && !name.contains('{'))
            .ok_or_else(|| format!("`{text}`: write a capture as `{{name}}`"))?;
        pieces.push(Piece::Capture(name.to_owned()));
        rest = after;
    }
    if text.contains('}') && !text.contains('{') {
        return Err(format!("`{text}`: write a capture as `{{name}}`"));
    }
    if pieces.is_empty() {
        return Err("a query key without a value matches nothing".to_owned());
    }
    Ok(pieces)
}

/// Takes `text` apart: each capture is as short as what follows it allows.
fn take(pieces: &[Piece], text: &str, captured: &mut Captured) -> Option<()> {
    match pieces {
        [] => text.is_empty().then_some(()),
        [Piece::Literal(literal), rest @ ..] => {
            take(rest, text.strip_prefix(literal.as_str())?, captured)
        }
        [Piece::Capture(name)] => {
            if text.is_empty() {
                return None;
            }
            captured
                .entry(name.clone())
                .or_default()
                .push(text.to_owned());
            Some(())
        }
        [Piece::Capture(name), rest @ ..] => {
            let Some(Piece::Literal(next)) = rest.first() else {
                // Two captures in a row are refused when the pattern is compiled.
                return None;
            };
            for (at, _) in text.match_indices(next.as_str()).filter(|(at, _)| *at > 0) {
                let mut with = captured.clone();
                with.entry(name.clone())
                    .or_default()
                    .push(text[..at].to_owned());
                if take(rest, &text[at..], &mut with).is_some() {
                    *captured = with;
                    return Some(());
                }
            }
            None
        }
    }
}

#[cfg(test)]
mod tests;
