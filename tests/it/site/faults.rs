//! Scripted misbehaviour: which requests ([`What`]) are answered how wrongly ([`Fault`]).
//!
//! Promises: a script's faults are spent one per matching request, in turn; then service is normal again. Where two
//! scripts match, the older one is spent first.

use std::{collections::VecDeque, time::Duration};

use super::{log::Request, wire::Answer};

/// Which requests a script is for.
#[derive(Clone, Debug)]
pub enum What {
    /// Every request.
    Any,
    /// Everything that is not a picture.
    Page,
    /// A picture of this post, in any size.
    File(u64),
    /// Any picture.
    AnyFile,
    /// Exactly this path.
    Path(&'static str),
    /// Pages whose `tags` hold this very term; with a `*` at the end, a term that starts so.
    PageWith(&'static str),
}

/// One wrong answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, these headers, this body (HTML unless a header says otherwise).
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// This status with this `Retry-After`, and an HTML body.
    RetryAfter(u16, String),
    /// The right head, half of the body, then the end of the connection.
    HalfBody,
    /// A `Content-Length` of half the body, but the whole body.
    ShortLength,
    /// A reset connection instead of an answer.
    Reset,
    /// The right head, so many bytes of the body, then the end of the connection.
    Cut(usize),
    /// The right head, so many bytes of the body, then a reset.
    ResetAfter(usize),
    /// The answer to the same question without a `Range`.
    NoRange,
    /// The inner fault with these headers in place of its own.
    With(Vec<(&'static str, String)>, Box<Fault>),
    /// These bytes and no others, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, then zeros until the client has enough.
    Endless(Vec<u8>),
    /// These bytes, then one `x` after each pause until the client has enough.
    Drip(Vec<u8>, Duration),
    /// The right answer, and behind it another one that nobody asked for.
    Twice,
    /// The right answer, then the end of the connection without a word.
    Close,
    /// The right head with a length of 0 and no body.
    Empty,
    /// A login page, status 200.
    Html,
    /// The login page called `image/png`, status 200.
    HtmlLabelledPng,
    /// The right head and length, but other bytes in the second half.
    WrongBytes,
    /// Status 200 with this content type and body.
    Body(&'static str, Vec<u8>),
    /// Silence for so long, then the right answer.
    Stall(Duration),
    /// The right answer, so many body bytes at a time, with this pause before each.
    Slow(usize, Duration),
    /// The right answer: a gap between faults.
    Ok,
    /// The inner fault, from here on always.
    Forever(Box<Fault>),
    /// The answer to the same question without `page` and without any `id:` or `change:` term.
    SamePage,
}

/// How the bytes of an answer travel.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Delivery {
    Whole,
    Half,
    Short,
    Reset,
    Cut(usize),
    ResetAfter(usize),
    Raw(Vec<u8>),
    Endless(Vec<u8>),
    Drip(Vec<u8>, Duration),
    Twice,
    Close,
    Stall(Duration),
    Slow(usize, Duration),
}

const LOGIN_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Login</title></head>\
    <body><form action=\"/user/authenticate\"><input name=\"user[name]\"></form></body></html>\n";

impl Fault {
    /// Turns the right answer into this wrong one.
    pub(super) fn spoil(&self, mut right: Answer) -> (Answer, Delivery) {
        let delivery = match self {
            Self::HalfBody => Delivery::Half,
            Self::ShortLength => Delivery::Short,
            Self::Reset => Delivery::Reset,
            Self::Stall(time) => Delivery::Stall(*time),
            Self::Slow(bytes, pause) => Delivery::Slow((*bytes).max(1), *pause),
            Self::Forever(inner) => return inner.spoil(right),
            Self::With(headers, inner) => {
                let (mut answer, delivery) = inner.spoil(right);
                for (name, value) in headers {
                    answer = answer.with(name, value);
                }
                return (answer, delivery);
            }
            Self::Cut(bytes) => Delivery::Cut(*bytes),
            Self::ResetAfter(bytes) => Delivery::ResetAfter(*bytes),
            Self::Raw(bytes) => Delivery::Raw(bytes.clone()),
            Self::Endless(head) => Delivery::Endless(head.clone()),
            Self::Drip(head, pause) => Delivery::Drip(head.clone(), *pause),
            Self::Twice => Delivery::Twice,
            Self::Close => Delivery::Close,
            _ => Delivery::Whole,
        };
        match self {
            Self::Status(status, headers, body) => {
                right = Answer::html(*status, body);
                for (name, value) in headers {
                    right = right.with(name, value);
                }
            }
            Self::RetryAfter(status, value) => {
                let body = "<html><body><h1>Please slow down</h1></body></html>\n";
                right = Answer::html(*status, body).with("Retry-After", value);
            }
            Self::Empty => right.body.clear(),
            Self::Html => right = Answer::html(200, LOGIN_PAGE),
            Self::HtmlLabelledPng => {
                right = Answer::html(200, LOGIN_PAGE).with("Content-Type", "image/png");
            }
            Self::WrongBytes => {
                let half = right.body.len() / 2;
                for byte in &mut right.body[half..] {
                    *byte ^= 1;
                }
            }
            Self::Body(kind, body) => right = Answer::new(200, kind, body.clone()),
            _ => {}
        }
        (right, delivery)
    }

    /// Whether the question is to be read without its range.
    pub(super) fn forgets_the_range(&self) -> bool {
        match self {
            Self::NoRange => true,
            Self::Forever(inner) | Self::With(_, inner) => inner.forgets_the_range(),
            _ => false,
        }
    }

    /// Its name, for the log.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Forever(inner) | Self::With(_, inner) => inner.name(),
            other => {
                let words = format!("{other:?}");
                words
                    .split(['(', ' '])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }
        }
    }

    /// Whether the question is to be read without its cursor.
    pub(super) fn forgets_the_cursor(&self) -> bool {
        match self {
            Self::SamePage => true,
            Self::Forever(inner) => inner.forgets_the_cursor(),
            _ => false,
        }
    }
}

/// The scripts of a site, oldest first.
#[derive(Default)]
pub(super) struct Scripts(Vec<(What, VecDeque<Fault>)>);

impl Scripts {
    pub(super) fn add(&mut self, what: What, faults: Vec<Fault>) {
        self.0.push((what, faults.into()));
    }

    /// Spends the fault that is due for this request, if any; `owner` is the post its picture belongs to.
    pub(super) fn next_for(&mut self, request: &Request, owner: Option<u64>) -> Option<Fault> {
        let due = |(what, faults): &&mut (What, VecDeque<Fault>)| {
            !faults.is_empty() && what.matches(request, owner)
        };
        let (_, faults) = self.0.iter_mut().find(due)?;
        match faults.front() {
            Some(Fault::Forever(_)) => faults.front().cloned(),
            _ => faults.pop_front(),
        }
    }
}

impl What {
    fn matches(&self, request: &Request, owner: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Page => !request.is_file(),
            Self::File(id) => request.is_file() && owner == Some(*id),
            Self::AnyFile => request.is_file(),
            Self::Path(path) => request.path == *path,
            Self::PageWith(wanted) => {
                let tags = request.param("tags").unwrap_or_default();
                let hit = |term: &str| match wanted.strip_suffix('*') {
                    Some(start) => term.starts_with(start),
                    None => term == *wanted,
                };
                !request.is_file() && tags.split_whitespace().any(hit)
            }
        }
    }
}
