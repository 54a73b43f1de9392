//! A reply turned into items: what the site said, entry by entry.
//!
//! A filter that fails on one entry fails that entry, which keeps its raw text; never the page.

use std::{borrow::Cow, time::Duration};

use jaq_json::Val;
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    endpoint::{Endpoint, follow_params, globals},
    filter::{Filter, FilterError},
    item::{Follow, Item},
    json,
    paging::{Cursor, Shown},
    params::Values,
    prelude::Globals,
    request::variables_of,
};
use crate::class::Class;

/// Entries of one page: every one of them is an item in memory until the page is stored.
const MOST_ENTRIES: usize = 30_000;

/// What a reply answers: a part of it may be told by the question alone.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The site's address, which the reply's own addresses are relative to.
    pub base: &'a Url,
    /// The endpoint's parameters.
    pub params: &'a Values,
    /// The variables that name the page.
    pub cursor: &'a Cursor,
    /// The reply's HTTP status.
    pub status: u16,
    /// Follow-ups that the job wants.
    pub with: &'a [String],
}

impl<'a> Asked<'a> {
    /// What a good reply answers.
    pub fn new(base: &'a Url, with: &'a [String], params: &'a Values, cursor: &'a Cursor) -> Self {
        Self {
            base,
            with,
            params,
            cursor,
            status: 200,
        }
    }

    fn globals(&self) -> Globals {
        globals(self.params, self.cursor, Some(self.status))
    }
}

/// What a page showed.
#[derive(Debug)]
pub struct Page {
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// What the walk needs to know.
    pub shown: Shown,
    /// Pages of other endpoints that belong to the same listing.
    pub follow: Vec<Follow>,
    /// What the site said instead of a page about something that it has no more.
    pub gone: Option<Gone>,
    /// Items that a job's `where` refused, which are not among the entries any more.
    pub filtered: u64,
}

impl Page {
    /// A page that shows nothing.
    pub fn empty() -> Self {
        Self {
            entries: Vec::new(),
            shown: Shown::default(),
            follow: Vec::new(),
            gone: None,
            filtered: 0,
        }
    }
}

/// What the site said of something that is there no more.
#[derive(Debug, Clone)]
pub struct Gone {
    /// In words.
    pub why: String,
    /// The reply, as JSON.
    pub raw: Option<String>,
}

/// One entry of a page.
#[derive(Debug)]
pub enum Entry {
    /// An item.
    Good(Box<Item>),
    /// What no filter could read, with its raw JSON.
    Bad {
        /// The entry as the site sent it.
        raw: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Why a reply is no page.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReplyError {
    /// What kind of failure.
    pub class: Class,
    /// What the site said, or what is wrong.
    pub message: String,
    /// How long the reply asks to wait.
    pub wait: Option<Duration>,
    /// Whether the key of the request's signature may be an old one.
    pub stale_key: bool,
}

impl ReplyError {
    fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            wait: None,
            stale_key: false,
        }
    }
}

impl Endpoint {
    /// The error that the reply itself reports, if it is JSON and reports one.
    pub fn reported(&self, body: &[u8], asked: &Asked<'_>) -> Option<ReplyError> {
        let value = json::read(&self.decoded(body).ok()?).ok()?;
        self.error_in(&value, &asked.globals())
    }

    /// What the filter `error` makes of a reply: nothing, null or false for none, else a text or
    /// `{class, message, wait, stale_key}`, with the wait in seconds.
    fn error_in(&self, value: &Val, globals: &Globals) -> Option<ReplyError> {
        error_of(self.reply.error.as_ref(), value, globals)
    }

    /// The reply as JSON.
    ///
    /// # Errors
    /// When it is not what the endpoint's hook `decode` expects.
    pub fn decoded<'a>(&self, body: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        self.decode
            .map_or(Ok(Cow::Borrowed(body)), |decode| decode.decode(body))
    }

    /// What a status that stands for an empty page shows: nothing, and whether the question itself tells that more follows.
    pub fn nothing(&self, asked: &Asked<'_>) -> Page {
        let last = self.reply.last.as_ref().and_then(|filter| {
            let output = filter.first_of(Val::Null, &asked.globals()).ok()??;
            match output {
                // Only that it is not the last: a status alone does not prove that it is.
                Val::Bool(false) => Some(false),
                _ => None,
            }
        });
        let shown = Shown {
            last,
            ..Shown::default()
        };
        Page {
            shown,
            ..Page::empty()
        }
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the reply is no page of this endpoint: not JSON, out of bounds, or an error of the site's.
    pub fn read(&self, body: &[u8], asked: &Asked<'_>) -> Result<Page, ReplyError> {
        let listing = |message: String| ReplyError::new(Class::Listing, message);
        let body = &*self.decoded(body).map_err(listing)?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(listing("the reply is empty".to_owned()));
        }
        let value = json::read(body)
            .map_err(|error| listing(format!("{error}{}", looks_like_html(body))))?;
        let globals = asked.globals();
        if let Some(filter) = &self.reply.wall
            && filter.holds(value.clone(), &globals).unwrap_or(false)
        {
            let shown = Shown {
                wall: true,
                ..Shown::default()
            };
            return Ok(Page {
                shown,
                ..Page::empty()
            });
        }
        if let Some(error) = self.error_in(&value, &globals) {
            return Err(error);
        }
        let whole = std::str::from_utf8(body).is_ok();
        let filters = &self.reply;
        let entries = filters.each.all_of(value.clone(), &globals);
        let entries = entries
            .map_err(|error| failed(&error, format!("not a page of `{}`: {error}", self.name)))?;
        if entries.len() > MOST_ENTRIES {
            return Err(listing(format!("more than {MOST_ENTRIES} entries")));
        }
        let mut shown = Shown {
            count: entries.len(),
            ..Shown::default()
        };
        let told = |name: &str, filter: &Option<Filter>| {
            let Some(filter) = filter else {
                return Ok(None);
            };
            let output = filter.first_of(value.clone(), &globals);
            let output =
                output.map_err(|e| failed(&e, format!("the filter `{name}` failed: {e}")))?;
            Ok(output.filter(|value| !matches!(value, Val::Null)))
        };
        let variables = |output: Option<Val>| {
            let variables = output.map(|value| variables_of(&value)).transpose();
            variables.map_err(listing)
        };
        shown.total = told("total", &filters.total)?
            .and_then(|v| v.to_string().trim_matches('"').parse().ok());
        shown.last = told("last", &filters.last)?.map(|v| !matches!(v, Val::Bool(false)));
        shown.stands = told("stands", &filters.stands)?.and_then(|v| v.to_string().parse().ok());
        shown.slice = variables(told("slice", &filters.slice)?)?;
        if !entries.is_empty() {
            shown.next = variables(told("next", &filters.next)?)?;
            self.check_cursor(shown.next.as_ref())?;
        }
        let mut follow = Vec::new();
        if let Some(filter) = &filters.follow {
            let outputs = filter.all_of(value.clone(), &globals);
            let outputs =
                outputs.map_err(|e| failed(&e, format!("the filter `follow` failed: {e}")))?;
            for output in outputs {
                let read = serde_json::from_str(&output.to_string());
                follow.push(read.map_err(|e| listing(format!("the filter `follow`: {e}")))?);
            }
        }
        drop(value);
        let entries = entries
            .into_iter()
            .map(|entry| self.entry(entry, asked, &globals, whole));
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        shown.ids = entries
            .iter()
            .map(|entry| match entry {
                Entry::Good(item) => item.id.clone(),
                Entry::Bad { raw, .. } => hex::encode(Sha256::digest(raw)),
            })
            .collect();
        Ok(Page {
            entries,
            shown,
            follow,
            gone: None,
            filtered: 0,
        })
    }

    /// A cursor that the request does not carry would bring the same page for ever.
    fn check_cursor(&self, cursor: Option<&Cursor>) -> Result<(), ReplyError> {
        let asked = self.ask.variables();
        let lost = cursor
            .into_iter()
            .flat_map(Cursor::keys)
            .find(|key| self.ask.vars.is_none() && !asked.contains(*key));
        lost.map_or(Ok(()), |key| {
            let message =
                format!("the filter `next` gives `{key}`, but no variable of `get` is called so");
            Err(ReplyError::new(Class::Dialect, message))
        })
    }

    /// Reads one entry. A filter that does not end on one would not on the others: that fails the page.
    fn entry(
        &self,
        entry: Val,
        asked: &Asked<'_>,
        globals: &Globals,
        whole: bool,
    ) -> Result<Entry, ReplyError> {
        let raw = entry.to_string();
        match self.item(&entry, &raw, asked, globals, whole) {
            Ok(item) => Ok(Entry::Good(Box::new(item))),
            Err(error) if error.endless => {
                Err(failed(&error, format!("the filter `item` failed: {error}")))
            }
            Err(FilterError { message, .. }) => Ok(Entry::Bad { raw, message }),
        }
    }

    fn item(
        &self,
        entry: &Val,
        raw: &str,
        asked: &Asked<'_>,
        globals: &Globals,
        whole: bool,
    ) -> Result<Item, FilterError> {
        let output = self.reply.item.first_of(entry.clone(), globals)?;
        let output = output.ok_or_else(|| "the filter `item` gave nothing".to_owned())?;
        let mut item = Item::read(&output.to_string(), asked.base)?;
        if let Some(file) = item.files.iter().find(|f| !self.roles.contains(&f.role)) {
            return Err(format!(
                "a file has the role `{}`, which `roles` of the listing does not name",
                file.role
            )
            .into());
        }
        for name in asked.with {
            let Some(follow) = self.with.get(name) else {
                continue;
            };
            if let Some(when) = &follow.when
                && !when.holds(entry.clone(), globals)?
            {
                continue;
            }
            for output in follow.params.all_of(entry.clone(), globals)? {
                item.also.push(Follow {
                    endpoint: follow.endpoint.clone(),
                    params: follow_params(&output)?,
                    dialect: follow.dialect.clone(),
                });
            }
        }
        let keep = |text: String| {
            serde_json::value::RawValue::from_string(text).map_err(|e| e.to_string())
        };
        if !whole {
            // Text that is not UTF-8 was replaced above; what the site sent stays readable beside it.
            let mut bytes = Vec::new();
            jaq_json::write::write(&mut bytes, &jaq_json::write::Pp::default(), 0, entry)
                .map_err(|e| e.to_string())?;
            if std::str::from_utf8(&bytes).is_err() {
                item.raw.insert(
                    format!("{}.hex", self.name),
                    keep(format!("\"{}\"", hex::encode(&bytes)))?,
                );
            }
        }
        item.raw.insert(self.name.clone(), keep(raw.to_owned())?);
        Ok(item)
    }
}

/// The error that the filter `error` reads in a reply.
pub(super) fn error_of(
    filter: Option<&Filter>,
    value: &Val,
    globals: &Globals,
) -> Option<ReplyError> {
    let output = match filter?.first_of(value.clone(), globals) {
        Ok(output) => output.filter(|v| !matches!(v, Val::Null | Val::Bool(false)))?,
        Err(message) => {
            return Some(ReplyError::new(
                Class::Dialect,
                format!("the filter `error` failed: {message}"),
            ));
        }
    };
    let error: serde_json::Value = serde_json::from_str(&output.to_string()).ok()?;
    let word = |key| error.get(key).and_then(serde_json::Value::as_str);
    let message = error.as_str().or_else(|| word("message"));
    let mut message = format!(
        "the site says: {}",
        message.unwrap_or("an error without a text")
    );
    let class = word("class").map_or(Ok(Class::Listing), str::parse);
    if let Err(unknown) = &class {
        message += &format!(" (the filter `error` gives an {unknown})");
    }
    let wait = error.get("wait").and_then(serde_json::Value::as_f64);
    let stale_key = error.get("stale_key") == Some(&serde_json::Value::Bool(true));
    Some(ReplyError {
        stale_key,
        class: class.unwrap_or(Class::Listing),
        message,
        wait: wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    })
}

/// What a filter that failed on a whole page means: the page is not what it should be, or the dialect is not.
fn failed(error: &FilterError, words: String) -> ReplyError {
    let class = if error.endless {
        Class::Dialect
    } else {
        Class::Listing
    };
    ReplyError::new(class, words)
}

fn looks_like_html(body: &[u8]) -> &'static str {
    let head = body.trim_ascii_start();
    if head.first() == Some(&b'<') {
        " (it is an HTML page)"
    } else {
        ""
    }
}
