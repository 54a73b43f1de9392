//! Reads TOML into checked values and keeps every complaint, so that a user sees all mistakes of all files at once.
//!
//! Owns the words of a configuration error: file, line, the offending text, what was expected, the nearest right word.
//! A [`Table`] hands out each key once; [`Table::finish`] reports the keys that nobody asked for. Knows no key itself.
//! **Invariant:** no excerpt shows a secret. Readers of secrets hide their values; the values of unknown keys and what
//! is no TOML are hidden unread, since a secret may stand under a misspelt key.

use std::{cell::RefCell, collections::BTreeSet, fmt, ops::Range, path::PathBuf, sync::Arc};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

/// One TOML file: where it came from and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as the user would write it, for messages.
    pub path: PathBuf,
    /// The whole text.
    pub text: Arc<str>,
}

impl Source {
    /// Wraps `text` read from `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// One-based line and column of a byte offset.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..floor_boundary(&self.text, offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// The last character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One complaint about one place of one file.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    source: Source,
    span: Option<Range<usize>>,
    /// What is wrong and what to do, in one sentence without a full stop.
    pub message: String,
}

impl Diagnostic {
    /// The complaint's line, one-based, where it has a place.
    pub fn line(&self) -> Option<usize> {
        self.span
            .as_ref()
            .map(|span| self.source.position(span.start).0)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.source.path.display();
        let Some(span) = &self.span else {
            return write!(f, "{path}: {}", self.message);
        };
        let (line, column) = self.source.position(span.start);
        writeln!(f, "{path}:{line}:{column}: {}", self.message)?;
        let text = self
            .source
            .text
            .lines()
            .nth(line - 1)
            .unwrap_or("")
            .replace('\t', " ");
        let number = line.to_string();
        let (text, shift) = around(&text, column);
        let column = column - shift;
        let here = &self.source.text[floor_boundary(&self.source.text, span.start)
            ..floor_boundary(&self.source.text, span.end.max(span.start))];
        let width = here.lines().next().unwrap_or("").chars().count().max(1);
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        writeln!(f, "  {number} | {text}")?;
        write!(
            f,
            "  {} | {}{}",
            " ".repeat(number.len()),
            " ".repeat(column - 1),
            "^".repeat(width.min(room))
        )
    }
}

/// What is shown of a long line, so that a terminal does not wrap it: the part around a column. Also the columns by which
/// it is shifted to the left.
fn around(text: &str, column: usize) -> (String, usize) {
    const WIDEST: usize = 100;
    const BEFORE: usize = 30;
    let length = text.chars().count();
    if length <= WIDEST {
        return (text.to_owned(), 0);
    }
    let from = (column - 1).saturating_sub(BEFORE).min(length - WIDEST);
    let mut shown: String = text.chars().skip(from).take(WIDEST).collect();
    if from + WIDEST < length {
        shown.push('…');
    }
    if from > 0 {
        shown.insert(0, '…');
    }
    (shown, from.saturating_sub(usize::from(from > 0)))
}

/// What is wrong with a string, and with which piece of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// What is wrong and what to do.
    pub message: String,
    /// Bytes of the string, where one piece is to blame.
    pub at: Option<Range<usize>>,
}

impl Misplaced {
    /// Something that is wrong with the whole string.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at: None,
        }
    }
}

/// All complaints of one reading, in the order found.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: RefCell<Vec<Diagnostic>>,
    hidden: RefCell<Vec<(PathBuf, Range<usize>)>>,
}

impl Diagnostics {
    /// Adds a complaint about a place.
    pub fn at(&self, source: &Source, span: Range<usize>, message: impl Into<String>) {
        self.list.borrow_mut().push(Diagnostic {
            source: source.clone(),
            span: Some(span),
            message: message.into(),
        });
    }

    /// Adds a complaint about a whole file.
    pub fn file(&self, path: impl Into<PathBuf>, message: impl Into<String>) {
        self.list.borrow_mut().push(Diagnostic {
            source: Source::new(path, ""),
            span: None,
            message: message.into(),
        });
    }

    /// Shows stars for a place of a file in every excerpt, whenever it was or will be complained about.
    pub fn hide(&self, source: &Source, span: Range<usize>) {
        self.hidden.borrow_mut().push((source.path.clone(), span));
    }

    /// The number of complaints so far.
    pub fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// Whether nothing was complained about.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands out the complaints, by file as first complained about, and in each by place.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        let mut files: Vec<PathBuf> = Vec::new();
        for complaint in &list {
            if !files.contains(&complaint.source.path) {
                files.push(complaint.source.path.clone());
            }
        }
        list.sort_by_key(|complaint| {
            let file = files.iter().position(|path| *path == complaint.source.path);
            (file, complaint.span.as_ref().map(|span| span.start))
        });
        for (path, span) in self.hidden.into_inner() {
            for complaint in list
                .iter_mut()
                .filter(|complaint| complaint.source.path == path)
            {
                complaint.source.text = starred(&complaint.source.text, &span).into();
            }
        }
        list
    }
}

/// `text` with stars in `span`, as many bytes as before, so that places stay right; quotes and brackets are kept.
fn starred(text: &str, span: &Range<usize>) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let plain = c.is_whitespace() || "\"'{}[]=,".contains(c);
        if span.contains(&at) && !plain {
            shown.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The part of the line at `offset` that may hold a value: all but the key that it begins with, and all of it where no
/// key can be told from what follows.
fn value_of_line(text: &str, offset: usize) -> Range<usize> {
    let offset = floor_boundary(text, offset);
    let start = text[..offset].rfind('\n').map_or(0, |n| n + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |n| offset + n);
    let line = &text[start..end];
    let before = line.len()
        - line
            .trim_start_matches(|c: char| c == '[' || c.is_whitespace())
            .len();
    let key = line[before..]
        .find(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c))
        .map_or(line.len(), |n| before + n);
    let after = line[key..].chars().next();
    let ends = if line[..before].contains('[') {
        matches!(after, None | Some(']'))
    } else {
        matches!(after, Some(' ' | '\t' | '='))
    };
    start + if ends { key } else { 0 }..end
}

/// Words that a complaint lists at most.
const MOST_NAMED: usize = 30;

/// `; did you mean `x`?` for the nearest of `known`, or the list of them when none is near.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: BTreeSet<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), *k))
        .min()
        .filter(|(distance, k)| {
            *distance <= (word.chars().count().max(k.chars().count()) / 3).max(1)
        });
    match near {
        Some((_, k)) => format!("; did you mean `{k}`?"),
        None if known.is_empty() => String::new(),
        None => {
            let list = known.iter().take(MOST_NAMED).map(|k| format!("`{k}`"));
            let list = list.collect::<Vec<_>>().join(", ");
            match known.len().saturating_sub(MOST_NAMED) {
                0 => format!("; known: {list}"),
                more => format!("; known: {list} and {more} more"),
            }
        }
    }
}

/// One value and its place.
#[derive(Clone)]
pub struct Node<'a> {
    /// The file's complaints.
    pub diagnostics: &'a Diagnostics,
    /// The file.
    pub source: &'a Source,
    /// Where in the configuration, such as `[sites.yande]` `rate`, for messages.
    pub place: String,
    value: &'a DeValue<'a>,
    span: Range<usize>,
    key: Range<usize>,
}

impl<'a> Node<'a> {
    /// Complains about this value.
    pub fn error(&self, message: impl fmt::Display) {
        self.diagnostics.at(
            self.source,
            self.span.clone(),
            format!("{}: {message}", self.place),
        );
    }

    /// Complains that this value's own key is not one of `known`, naming the nearest.
    pub fn unknown_key<'b>(&self, what: &str, key: &str, known: impl IntoIterator<Item = &'b str>) {
        let message = format!(
            "{}: unknown {what} `{key}`{}",
            self.place,
            suggest(key, known)
        );
        self.diagnostics.at(self.source, self.key.clone(), message);
    }

    /// Complains that `word` is not one of `known`, naming the nearest.
    pub fn unknown<'b>(&self, what: &str, word: &str, known: impl IntoIterator<Item = &'b str>) {
        self.error(format!("unknown {what} `{word}`{}", suggest(word, known)));
    }

    /// Shows stars for this value in every excerpt, but for the names in `{ env = … }` and `{ file = … }`.
    pub fn hide(&self) {
        match self.value.as_table() {
            Some(table) => {
                for (key, value) in table {
                    if !matches!(key.get_ref().as_ref(), "env" | "file") {
                        self.at(value).hide();
                    }
                }
            }
            None => self.diagnostics.hide(self.source, self.span.clone()),
        }
    }

    /// Where this value is, as `FILE:LINE`.
    pub fn position(&self) -> String {
        let (line, _) = self.source.position(self.span.start);
        format!("{}:{line}", self.source.path.display())
    }

    /// A value inside this one, under the same name.
    fn at(&self, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            value: value.get_ref(),
            span: value.span(),
            ..self.clone()
        }
    }

    fn wrong_type(&self, wanted: &str) {
        let found = self.value.type_str();
        self.error(format!("expected {wanted}, found {found}"));
    }

    /// The raw value, for callers with a type of their own.
    pub fn value(&self) -> &'a DeValue<'a> {
        self.value
    }

    /// A string, or a complaint.
    pub fn text(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        match self.value {
            _ if text.is_some() => {}
            DeValue::Integer(_) | DeValue::Float(_) => {
                self.wrong_type(
                    "text (a number with a unit goes in quotes, such as \"50 MB\" or \"10s\")",
                );
            }
            _ => self.wrong_type("text"),
        }
        text
    }

    /// A string that `parse` accepts, or its complaint.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(error);
                None
            }
        }
    }

    /// A string that `parse` accepts, or its complaint at the piece of the string that it names.
    pub fn parsed_inside<T>(&self, parse: impl FnOnce(&str) -> Result<T, Misplaced>) -> Option<T> {
        let text = self.text()?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.error_inside(wrong);
                None
            }
        }
    }

    /// Complains about the piece of this string that is named.
    pub fn error_inside(&self, Misplaced { message, at }: Misplaced) {
        // Where the file has the string as it is: without escapes, after its quotes.
        let written = self.source.text.get(self.span.clone());
        let begin = written.zip(self.value.as_str());
        let begin = begin.and_then(|(written, text)| written.find(text));
        let span = match (begin, at) {
            (Some(begin), Some(at)) => {
                let begin = self.span.start + begin;
                begin + at.start..begin + at.end
            }
            _ => self.span.clone(),
        };
        let message = format!("{}: {message}", self.place);
        self.diagnostics.at(self.source, span, message);
    }

    /// Whether this value is text, without complaint.
    pub fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// Whether this value is a table, without complaint.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether this value is a list, without complaint.
    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// A boolean, or a complaint.
    pub fn bool(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong_type("true or false");
        }
        value
    }

    /// A whole number, or a complaint.
    pub fn int(&self) -> Option<i64> {
        let Some(number) = self.value.as_integer() else {
            self.wrong_type("a whole number");
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix());
        if value.is_err() {
            self.error(format!(
                "`{}` is too large for a whole number",
                number.as_str()
            ));
        }
        value.ok()
    }

    /// A whole number of at least `least`, or a complaint.
    pub fn int_at_least(&self, least: u64) -> Option<u64> {
        let value = self.int()?;
        match u64::try_from(value) {
            Ok(value) if value >= least => Some(value),
            _ => {
                self.error(format!("`{value}` is too small; at least {least}"));
                None
            }
        }
    }

    /// The entries of a list, or a complaint.
    pub fn list(&self) -> Option<Vec<Node<'a>>> {
        let Some(array) = self.value.as_array() else {
            self.wrong_type("a list");
            return None;
        };
        Some(array.iter().map(|value| self.at(value)).collect())
    }

    /// A list of strings, or a complaint for each that is none.
    pub fn texts(&self) -> Option<Vec<&'a str>> {
        Some(self.list()?.iter().filter_map(Node::text).collect())
    }

    /// A table, or a complaint.
    pub fn table(&self) -> Option<Table<'a>> {
        let Some(table) = self.value.as_table() else {
            self.wrong_type("a table");
            return None;
        };
        Some(Table {
            diagnostics: self.diagnostics,
            source: self.source,
            place: self.place.clone(),
            span: self.span.clone(),
            table,
            known: RefCell::default(),
        })
    }
}

/// One table; remembers which keys were asked for.
pub struct Table<'a> {
    diagnostics: &'a Diagnostics,
    source: &'a Source,
    place: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Table<'a> {
    /// Parses the text of `source` and hands its root table to `read`; syntax errors become complaints, all of them.
    pub fn parse<T>(
        source: &Source,
        diagnostics: &Diagnostics,
        read: impl FnOnce(Table<'_>) -> T,
    ) -> Option<T> {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            diagnostics.hide(source, value_of_line(&source.text, span.start));
            diagnostics.at(
                source,
                span,
                format!("not TOML: {}", error.message().replace('\n', ", ")),
            );
        }
        if !errors.is_empty() {
            return None;
        }
        Some(read(Table {
            diagnostics,
            source,
            place: String::new(),
            span: 0..0,
            table: root.get_ref(),
            known: RefCell::default(),
        }))
    }

    /// The place of this table in messages.
    #[must_use]
    pub fn named(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// The file.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// The file's complaints.
    pub fn diagnostics(&self) -> &'a Diagnostics {
        self.diagnostics
    }

    /// Where this table begins, as `FILE:LINE`.
    pub fn position(&self) -> String {
        let (line, _) = self.source.position(self.span.start);
        format!("{}:{line}", self.source.path.display())
    }

    /// Complains about this table as a whole.
    pub fn error(&self, message: impl fmt::Display) {
        let message = if self.place.is_empty() {
            message.to_string()
        } else {
            format!("{}: {message}", self.place)
        };
        self.diagnostics.at(self.source, self.span.clone(), message);
    }

    /// The value of `key`, and that `key` is allowed here.
    pub fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.known.borrow_mut().insert(key);
        let (key, value) = self.table.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(self.node(key, value))
    }

    /// The value of `key`, or a complaint that it is missing.
    pub fn need(&self, key: &'static str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.error(format!("`{key}` is missing"));
        }
        node
    }

    /// Every entry, for tables whose keys are names that the user chose. Places read `PLACE.key`.
    pub fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let mut all: Vec<_> = self
            .table
            .iter()
            .map(|(k, v)| (k.get_ref().as_ref(), k.span().start, self.node(k, v)))
            .collect();
        all.sort_by_key(|(_, start, _)| *start);
        all.into_iter().map(|(k, _, node)| (k, node)).collect()
    }

    fn node(&self, key: &Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        let name = key.get_ref();
        let place = if self.place.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.place)
        };
        Node {
            diagnostics: self.diagnostics,
            source: self.source,
            place,
            value: value.get_ref(),
            span: value.span(),
            key: key.span(),
        }
    }

    /// Complains about every key that was not asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, value) in self.table {
            let word: &str = key.get_ref();
            if known.contains(word) {
                continue;
            }
            self.node(key, value).hide();
            let place = if self.place.is_empty() {
                String::new()
            } else {
                format!(" in {}", self.place)
            };
            let hint = suggest(word, known.iter().copied());
            self.diagnostics.at(
                self.source,
                key.span(),
                format!("unknown key `{word}`{place}{hint}"),
            );
        }
    }
}
