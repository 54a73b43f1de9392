//! A reply turned into items: what the site said, entry by entry.
//!
//! A filter that fails on one entry fails that entry, which keeps its raw text; never the page.

use std::time::Duration;

use jaq_json::Val;
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    endpoint::{Endpoint, follow_params, globals},
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

/// What a page showed.
#[derive(Debug)]
pub struct Page {
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// What the walk needs to know.
    pub shown: Shown,
    /// Items that a job's `where` refused, which are not among the entries any more.
    pub filtered: u64,
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
}

impl ReplyError {
    fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            wait: None,
        }
    }
}

/// What the entries of one page share.
struct Reading<'a> {
    base: &'a Url,
    with: &'a [String],
    globals: &'a Globals,
    /// Whether the reply is UTF-8.
    whole: bool,
}

impl Endpoint {
    /// The error that the reply itself reports, if it is JSON and reports one. `params` and `cursor` are what was asked.
    pub fn reported(&self, body: &[u8], params: &Values, cursor: &Cursor) -> Option<ReplyError> {
        let value = json::read(body).ok()?;
        self.error_in(&value, &globals(params, cursor))
    }

    /// What the filter `error` makes of a reply: nothing, null or false for none, else a text or
    /// `{class, message, wait}`, with the wait in seconds.
    fn error_in(&self, value: &Val, globals: &Globals) -> Option<ReplyError> {
        let filter = self.reply.error.as_ref()?;
        let output = match filter.first_of(value.clone(), globals) {
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
        Some(ReplyError {
            class: class.unwrap_or(Class::Listing),
            message,
            wait: wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// Reads a page. `with` names the follow-ups that the job wants, `params` and `cursor` are what was asked.
    ///
    /// # Errors
    /// When the reply is no page of this endpoint: not JSON, out of bounds, or an error of the site's.
    pub fn read(
        &self,
        body: &[u8],
        base: &Url,
        with: &[String],
        params: &Values,
        cursor: &Cursor,
    ) -> Result<Page, ReplyError> {
        let listing = |message: String| ReplyError::new(Class::Listing, message);
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(listing("the reply is empty".to_owned()));
        }
        let value = json::read(body)
            .map_err(|error| listing(format!("{error}{}", looks_like_html(body))))?;
        let globals = globals(params, cursor);
        if let Some(error) = self.error_in(&value, &globals) {
            return Err(error);
        }
        let reading = Reading {
            base,
            with,
            globals: &globals,
            whole: std::str::from_utf8(body).is_ok(),
        };
        let filters = &self.reply;
        let entries = filters
            .each
            .all_of(value.clone(), &globals)
            .map_err(|error| listing(format!("not a page of `{}`: {error}", self.name)))?;
        if entries.len() > MOST_ENTRIES {
            return Err(listing(format!("more than {MOST_ENTRIES} entries")));
        }
        let mut shown = Shown {
            count: entries.len(),
            ..Shown::default()
        };
        if let Some(total) = &filters.total {
            let output = total
                .first_of(value.clone(), &globals)
                .map_err(|e| listing(format!("the filter `total` failed: {e}")))?;
            shown.total = output.and_then(|v| v.to_string().trim_matches('"').parse().ok());
        }
        if let Some(next) = filters.next.as_ref().filter(|_| !entries.is_empty()) {
            let output = next
                .first_of(value, &globals)
                .map_err(|e| listing(format!("the filter `next` failed: {e}")))?;
            let cursor = output.filter(|v| !matches!(v, Val::Null));
            shown.next = cursor
                .map(|v| variables_of(&v))
                .transpose()
                .map_err(listing)?;
            self.check_cursor(shown.next.as_ref())?;
        } else {
            drop(value);
        }
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| self.entry(entry, &reading))
            .collect();
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
            filtered: 0,
        })
    }

    /// A cursor that the request does not carry would bring the same page for ever.
    fn check_cursor(&self, cursor: Option<&Cursor>) -> Result<(), ReplyError> {
        let asked = self.template.variables();
        let lost = cursor
            .into_iter()
            .flat_map(Cursor::keys)
            .find(|key| self.vars.is_none() && !asked.contains(*key));
        lost.map_or(Ok(()), |key| {
            let message =
                format!("the filter `next` gives `{key}`, but no variable of `get` is called so");
            Err(ReplyError::new(Class::Dialect, message))
        })
    }

    fn entry(&self, entry: Val, reading: &Reading<'_>) -> Entry {
        let raw = entry.to_string();
        match self.item(&entry, &raw, reading) {
            Ok(item) => Entry::Good(Box::new(item)),
            Err(message) => Entry::Bad { raw, message },
        }
    }

    fn item(&self, entry: &Val, raw: &str, reading: &Reading<'_>) -> Result<Item, String> {
        let globals = reading.globals;
        let output = self.reply.item.first_of(entry.clone(), globals)?;
        let output = output.ok_or("the filter `item` gave nothing")?;
        let mut item = Item::read(&output.to_string(), reading.base)?;
        if let Some(file) = item.files.iter().find(|f| !self.roles.contains(&f.role)) {
            return Err(format!(
                "a file has the role `{}`, which `roles` of the listing does not name",
                file.role
            ));
        }
        for name in reading.with {
            let Some(follow) = self.with.get(name) else {
                continue;
            };
            let wanted = follow
                .when
                .as_ref()
                .map(|when| when.first_of(entry.clone(), globals))
                .transpose()?;
            if matches!(wanted, Some(None | Some(Val::Null | Val::Bool(false)))) {
                continue;
            }
            for output in follow.params.all_of(entry.clone(), globals)? {
                item.follow.push(Follow {
                    endpoint: follow.endpoint.clone(),
                    params: follow_params(&output)?,
                });
            }
        }
        let keep = |text: String| {
            serde_json::value::RawValue::from_string(text).map_err(|e| e.to_string())
        };
        if !reading.whole {
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

fn looks_like_html(body: &[u8]) -> &'static str {
    let head = body.trim_ascii_start();
    if head.first() == Some(&b'<') {
        " (it is an HTML page)"
    } else {
        ""
    }
}
