//! Fields of names: what is known of an item or file, as text.

use std::borrow::Cow;

use jiff::{Timestamp, fmt::strtime};

use super::{
    media,
    record::{File, Record, stem},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    /// Digits at least.
    Width(usize),
    /// Characters at most.
    Most(usize),
    /// As `strftime` takes it.
    Date(String),
}

macro_rules! fields {
    ($($field:ident = $word:literal is $sort:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field { $($field,)* }

        impl Field {
            /// Every field, by its word.
            pub(super) const ALL: &[(&'static str, Self, Sort)] = &[$(($word, Self::$field, Sort::$sort),)*];
        }
    };
}

/// How a field may be formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    Number,
    Date,
}

fields! {
    Site = "site" is Text,
    Kind = "kind" is Text,
    Id = "id" is Text,
    Title = "title" is Text,
    AuthorId = "author.id" is Text,
    AuthorName = "author.name" is Text,
    Created = "created" is Date,
    Updated = "updated" is Date,
    Seen = "seen" is Date,
    Tags = "tags" is Text,
    Text = "text" is Text,
    ParentKind = "parent.kind" is Text,
    ParentId = "parent.id" is Text,
    Rev = "rev" is Number,
    Job = "job" is Text,
    Role = "role" is Text,
    Index = "index" is Number,
    Num = "num" is Number,
    Name = "name" is Text,
    Ext = "ext" is Text,
    Md5 = "md5" is Text,
    Sha256 = "sha256" is Text,
    Bytes = "bytes" is Number,
    Width = "width" is Number,
    Height = "height" is Number,
}

/// What a name is made of.
pub(super) struct Subject<'a> {
    pub record: &'a Record<'a>,
    /// `None` for an item without files.
    pub file: Option<&'a File<'a>>,
    pub job: Option<&'a str>,
}

impl Field {
    /// Texts of any length, which are cut before anything else is.
    pub(super) fn gives_way(self) -> bool {
        matches!(
            self,
            Self::Title | Self::Tags | Self::Text | Self::Name | Self::AuthorName
        )
    }
}

/// The value of a field; `None` where it is not known.
pub(super) fn value<'a>(
    field: Field,
    format: &Format,
    subject: &Subject<'a>,
) -> Option<Cow<'a, str>> {
    let (record, file) = (subject.record, subject.file);
    let author = record.author.as_ref();
    let number = |number: Option<u64>| number.map(|number| digits(number, format).into());
    let value = match field {
        Field::Site => text(Some(&record.site)),
        Field::Kind => text(Some(&record.kind)),
        Field::Id => text(Some(&record.id)),
        Field::Title => text(record.title.as_ref()),
        Field::AuthorId => text(author.and_then(|author| author.id.as_ref())),
        Field::AuthorName => text(author.and_then(|author| author.name.as_ref())),
        Field::Tags => Some(record.tags().join(" ").into()),
        Field::Text => text(record.text.as_ref()),
        Field::ParentKind => text(record.parent.as_ref().map(|parent| &parent.kind)),
        Field::ParentId => text(record.parent.as_ref().map(|parent| &parent.id)),
        Field::Job => subject.job.map(Cow::Borrowed),
        Field::Role => text(file.map(|file| &file.role)),
        Field::Md5 => text(file.and_then(|file| file.md5.as_ref())),
        Field::Sha256 => file
            .and_then(|file| file.sha256)
            .map(|digest| digest.to_string().into()),
        Field::Name => file
            .and_then(File::name)
            .map(|name| stem(&name).to_owned().into()),
        // A file without an extension ends where its name does.
        Field::Ext => Some(file.map_or_else(String::new, ext_of).into()),
        Field::Created => return date(record.created.as_deref(), format),
        Field::Updated => return date(record.updated.as_deref(), format),
        Field::Seen => return date(record.seen.as_deref(), format),
        Field::Rev => return number(Some(record.rev.into())),
        Field::Index => return number(Some(file.map_or(0, |file| file.index.into()))),
        Field::Num => return number(Some(file.map_or(0, |file| file.index.into()) + 1)),
        Field::Bytes => return number(file.and_then(|file| file.bytes)),
        Field::Width => return number(file.and_then(|file| file.width)),
        Field::Height => return number(file.and_then(|file| file.height)),
    };
    match format {
        Format::Most(most) => value.map(|value| match value.char_indices().nth(*most) {
            Some((end, _)) => value[..end].to_owned().into(),
            None => value,
        }),
        _ => value,
    }
}

/// The extension of a file, by its content.
pub(super) fn ext_of(file: &File<'_>) -> String {
    media::extension(file.media.as_deref(), file.name().as_deref())
}

fn digits(number: u64, format: &Format) -> String {
    match format {
        Format::Width(width) => format!("{number:0width$}"),
        _ => number.to_string(),
    }
}

fn date<'a>(time: Option<&str>, format: &Format) -> Option<Cow<'a, str>> {
    let Format::Date(format) = format else {
        return None;
    };
    let time: Timestamp = time?.parse().ok()?;
    strtime::format(format, time).ok().map(Cow::Owned)
}

fn text<'a>(text: Option<&'a Cow<'_, str>>) -> Option<Cow<'a, str>> {
    text.map(|text| Cow::Borrowed(text.as_ref()))
}
