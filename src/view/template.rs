//! Templates of names: `{site}/{created:%Y-%m}/{id}_{index}.{ext}`.
//!
//! `/` parts folders, `{field}` stands for what is known of the item or file, `{{` and `}}` for braces. A format may
//! follow: `{index:03}` is a number of three digits, `{title:.40}` forty characters at most, `{created:%Y-%m}` a date.
//! What is not known is `_`. Where a name would be too long, its texts give way; ids and extensions stay whole.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::{Timestamp, fmt::strtime};

use super::{
    fields::{Field, Format, Sort, Subject, value},
    name::{LONGEST, safe, start},
};
use crate::config::reader::suggest;

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Folders, then the name of the file.
    parts: Vec<Vec<Token>>,
}

/// What is wrong with a template.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name `{template}`: {message}")]
pub struct NotATemplate {
    template: String,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    Field(Field, Format),
}

impl Template {
    /// What is taken when nobody says anything: folders of a size that file managers bear, and names that stay.
    pub const DEFAULT: &str = "{site}/{created:%Y-%m}/{id}_{index}.{ext}";

    /// Every word that may stand in braces.
    pub fn fields() -> impl Iterator<Item = &'static str> {
        Field::ALL.iter().map(|(word, ..)| *word)
    }

    /// Whether names depend on the job.
    pub(super) fn names_jobs(&self) -> bool {
        let is_job = |token: &Token| matches!(token, Token::Field(Field::Job, _));
        self.parts.iter().flatten().any(is_job)
    }

    /// The folder and the name of a file, each component safe, as (`a/b`, `c.png`).
    pub(super) fn render(&self, subject: &Subject<'_>) -> (String, String) {
        let (file, folders) = self.parts.split_last().expect("a template has a part");
        let folders: Vec<_> = folders
            .iter()
            .map(|part| component(part, subject))
            .collect();
        (folders.join("/"), component(file, subject))
    }
}

impl Default for Template {
    fn default() -> Self {
        Self::DEFAULT.parse().expect("the default is tested")
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = NotATemplate;

    fn from_str(text: &str) -> Result<Self, NotATemplate> {
        let wrong = |message| NotATemplate {
            template: text.to_owned(),
            message,
        };
        let parts = parse(text).map_err(wrong)?;
        for part in &parts {
            let literal = match &part[..] {
                [] => "",
                [Token::Text(text)] => text,
                _ => continue,
            };
            if literal.is_empty() {
                let message = "a name is relative, and no folder in it is nameless: it begins and ends without `/`";
                return Err(wrong(message.to_owned()));
            }
            if literal.chars().all(|c| c == '.') {
                return Err(wrong(format!("`{literal}` is no name of a folder or file")));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

fn parse(text: &str) -> Result<Vec<Vec<Token>>, String> {
    let (mut parts, mut part, mut literal) = (Vec::new(), Vec::new(), String::new());
    let mut rest = text;
    let end_literal = |literal: &mut String, part: &mut Vec<Token>| {
        if !literal.is_empty() {
            part.push(Token::Text(std::mem::take(literal)));
        }
    };
    while let Some(c) = rest.chars().next() {
        let doubled = rest[c.len_utf8()..].starts_with(c);
        match c {
            '{' | '}' if doubled => {
                literal.push(c);
                rest = &rest[2..];
                continue;
            }
            '{' => {
                let end = rest
                    .find('}')
                    .ok_or("a `{` has no `}`; a brace itself is written `{{`")?;
                end_literal(&mut literal, &mut part);
                part.push(field(&rest[1..end])?);
                rest = &rest[end + 1..];
                continue;
            }
            '}' => return Err("a `}` has no `{`; a brace itself is written `}}`".to_owned()),
            '/' => {
                end_literal(&mut literal, &mut part);
                parts.push(std::mem::take(&mut part));
            }
            c => literal.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    end_literal(&mut literal, &mut part);
    parts.push(part);
    Ok(parts)
}

/// What stands between braces.
fn field(inner: &str) -> Result<Token, String> {
    let (word, format) = inner
        .split_once(':')
        .map_or((inner, None), |(w, f)| (w, Some(f)));
    let Some((_, field, sort)) = Field::ALL.iter().find(|(known, ..)| *known == word) else {
        return Err(format!(
            "there is no field `{word}`{}",
            suggest(word, Template::fields())
        ));
    };
    let Some(format) = format else {
        let plain = if *sort == Sort::Date {
            Format::Date("%Y-%m-%d".to_owned())
        } else {
            Format::Plain
        };
        return Ok(Token::Field(*field, plain));
    };
    let number = |text: &str| text.parse().ok().filter(|n| (1..=LONGEST).contains(n));
    let format = match sort {
        Sort::Text => format.strip_prefix('.').and_then(number).map(Format::Most).ok_or_else(|| {
            format!("`{{{inner}}}`: a text takes how many characters it may have, such as `{{{word}:.40}}`")
        })?,
        Sort::Number => number(format.trim_start_matches('0')).map(Format::Width).ok_or_else(|| {
            format!("`{{{inner}}}`: a number takes how many digits it has at least, such as `{{{word}:03}}`")
        })?,
        Sort::Date => {
            if format.contains('/') {
                return Err(format!("`{{{inner}}}`: a folder ends outside of the braces: `{{{word}:%Y}}/{{{word}:%m}}`"));
            }
            if format.is_empty() || strtime::format(format, Timestamp::UNIX_EPOCH).is_err() {
                return Err(format!("`{{{inner}}}`: a date takes a format as of strftime, such as `{{{word}:%Y-%m-%d}}`"));
            }
            Format::Date(format.to_owned())
        }
    };
    Ok(Token::Field(*field, format))
}

/// One folder or file name.
fn component(part: &[Token], subject: &Subject<'_>) -> String {
    let mut texts: Vec<(Cow<'_, str>, bool)> = Vec::with_capacity(part.len());
    for token in part {
        texts.push(match token {
            Token::Text(text) => (text.as_str().into(), false),
            Token::Field(field, format) => {
                // An item without a file has no extension, not an unknown one.
                let known = |text: &Cow<'_, str>| *field == Field::Ext || !text.trim().is_empty();
                let value = value(*field, format, subject).filter(known);
                (value.unwrap_or("_".into()), field.gives_way())
            }
        });
    }
    let length: usize = texts.iter().map(|(text, _)| text.len()).sum();
    if length > LONGEST {
        let firm: usize = texts
            .iter()
            .filter(|(_, soft)| !soft)
            .map(|(text, _)| text.len())
            .sum();
        let soft = texts.iter().filter(|(_, soft)| *soft).count().max(1);
        let most = LONGEST.saturating_sub(firm) / soft;
        for (text, _) in texts
            .iter_mut()
            .filter(|(text, soft)| *soft && text.len() > most)
        {
            *text = whole_words(start(text, most)).to_owned().into();
        }
    }
    safe(
        &texts
            .iter()
            .map(|(text, _)| text.as_ref())
            .collect::<String>(),
    )
}

/// Without a last word that was cut, unless it is a long one.
fn whole_words(text: &str) -> &str {
    const LONG: usize = 24;
    let words = text.rsplit_once(' ').filter(|(_, cut)| cut.len() <= LONG);
    words.map_or(text, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::record::Record, *};

    const LINE: &str = r#"{"rev":3,"seen":"2026-05-06T07:08:09Z","site":"x.example","kind":"post","id":"12","title":"A/B: \"c\"",
        "author":{"id":"7","name":"../me"},"created":"2024-02-29T23:59:59Z","tags":["one","two"],"parent":{"kind":"pool","id":"5"},
        "files":[{"role":"original","index":4,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "bytes":1234,"type":"image/png","url":"https://x.example/image/abc.jpg","md5":"d41d8cd98f00b204e9800998ecf8427e","width":640}]}"#;

    fn name(template: &str) -> String {
        let record = Record::read(LINE.as_bytes()).expect("reads");
        let subject = Subject {
            record: &record,
            file: record.files.first(),
            job: Some("my job"),
        };
        let (folder, file) = template
            .parse::<Template>()
            .expect(template)
            .render(&subject);
        format!("{folder}|{file}")
    }

    #[test]
    fn fields_stand_for_what_is_known() {
        for (template, expected) in [
            (Template::DEFAULT, "x.example/2024-02|12_4.png"),
            (
                "{site}/{author.name}/{id}_{index}.{ext}",
                "x.example/___me|12_4.png",
            ),
            ("{title}", "|A_B_ _c_"),
            ("{{{id}}}", "|{12}"),
            (
                "{index:03}-{num:2}-{bytes:06}-{width}x{height}",
                "|004-05-001234-640x_",
            ),
            ("{title:.3}{sha256:.8}.{ext}", "|A_Be3b0c442.png"),
            (
                "{created}/{created:%Y %b %d}/{seen:%H-%M}",
                "2024-02-29/2024 Feb 29|07-08",
            ),
            ("{updated}/{text}.{ext}", "_|_.png"),
            (
                "{job}/{kind}/{role}/{parent.kind} {parent.id}/{author.id}",
                "my job/post/original/pool 5|7",
            ),
            ("{tags}.{rev}.{md5:.4}.{name}", "|one two.3.d41d.abc"),
        ] {
            assert_eq!(name(template), expected, "{template}");
        }
    }

    #[test]
    fn an_item_without_a_file_has_no_extension() {
        let record = Record::read(LINE.as_bytes()).expect("reads");
        let subject = Subject {
            record: &record,
            file: None,
            job: None,
        };
        let render = |template: &str| {
            template
                .parse::<Template>()
                .expect(template)
                .render(&subject)
        };
        assert_eq!(render(Template::DEFAULT).1, "12_0");
        assert_eq!(render("{job}/{md5}"), ("_".to_owned(), "_".to_owned()));
    }

    #[test]
    fn where_a_name_is_too_long_its_texts_give_way_and_its_ids_stay() {
        let line = LINE.replace("A/B: \\\"c\\\"", &"many words ".repeat(40));
        assert_ne!(line, LINE);
        let record = Record::read(line.as_bytes()).expect("reads");
        let subject = Subject {
            record: &record,
            file: record.files.first(),
            job: None,
        };
        let template: Template = "{title} {tags} {id}_{index}.{ext}"
            .parse()
            .expect("a template");
        let (_, name) = template.render(&subject);
        assert!(
            name.ends_with(" one two 12_4.png") || name.ends_with(" one 12_4.png"),
            "{name}"
        );
        assert!(
            name.starts_with("many words many") && name.len() <= LONGEST,
            "{name}"
        );
        assert!(!name.contains("wor "), "words stay whole: {name}");
    }

    #[test]
    fn what_is_no_template_is_refused_with_a_hint() {
        for (template, hint) in [
            ("{autor.name}/{id}", "did you mean `author.name`?"),
            ("{idx}", "did you mean `id`?"),
            ("{something}", "known: `author.id`"),
            ("{id", "has no `}`"),
            ("id}", "has no `{`"),
            ("/{id}", "relative"),
            ("{id}/", "relative"),
            ("a//{id}", "relative"),
            ("", "relative"),
            ("../{id}", "`..` is no name"),
            ("{id}/.", "`.` is no name"),
            ("{index:x}", "{index:03}"),
            ("{index:0}", "{index:03}"),
            ("{index:99999999999999999999}", "{index:03}"),
            ("{title:40}", "{title:.40}"),
            ("{created:}", "strftime"),
            ("{created:%@}", "strftime"),
            ("{created:%Y/%m}", "{created:%Y}/{created:%m}"),
        ] {
            let error = template
                .parse::<Template>()
                .expect_err(template)
                .to_string();
            assert!(error.contains(hint), "{template}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_template_is_refused_or_makes_safe_names(text in "[{}/.:%a-z0-9 é]{0,40}", title in any::<String>()) {
            if let Ok(template) = text.parse::<Template>() {
                let line = serde_json::json!({ "rev": 1, "site": title, "kind": "k", "id": title, "title": title });
                let line = line.to_string();
                let record = Record::read(line.as_bytes()).expect("reads");
                let (folder, file) = template.render(&Subject { record: &record, file: None, job: Some(&title) });
                let parts = folder.split('/').filter(|part| !part.is_empty()).chain([file.as_str()]);
                for part in parts {
                    prop_assert_eq!(safe(part), part);
                }
            }
        }
    }
}
