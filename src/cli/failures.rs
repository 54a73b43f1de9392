//! `larder failures` and `larder retry`.

use std::{io::Write, path::Path};

use serde_json::json;

use super::{
    ask::{Asked, ask},
    clock, exit, known_job, load, print, reader,
};
use crate::{
    class::Class,
    clock::rfc3339,
    http::redact,
    store::{Failure, FailureFilter, Request, Retried},
    text::{count, duration, one_line, shown},
};

#[derive(Debug, clap::Args)]
pub(super) struct Failures {
    /// Only of this job
    job: Option<String>,
    /// Only of this class, such as http_404
    #[arg(long, value_parser = class)]
    class: Option<Class>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// Only of this job
    job: Option<String>,
    /// Only of this class, such as http_404
    #[arg(long, value_parser = class)]
    class: Option<Class>,
}

fn class(word: &str) -> Result<Class, String> {
    word.parse::<Class>().map_err(|_| {
        let known = Class::ALL.iter().map(|class| class.word());
        format!(
            "unknown failure class{}",
            crate::config::reader::suggest(word, known)
        )
    })
}

impl Failures {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let reader = reader(&config)?;
        if let Some(name) = &self.job {
            known_job(&config, reader.as_ref(), name)?;
        }
        let filter = FailureFilter {
            job: self.job.clone(),
            class: self.class,
        };
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let (mut number, now) = (0, clock().now());
        let mut each = |failure: Failure| -> anyhow::Result<()> {
            if self.json {
                out.write_all(if number == 0 { b"[\n  " } else { b",\n  " })?;
                out.write_all(crate::text::json(&as_json(&failure).to_string()).as_bytes())?;
            } else {
                out.write_all(shown(&as_text(&failure, now)).as_bytes())?;
            }
            number += 1;
            Ok(())
        };
        if let Some(reader) = &reader {
            reader.failures(&filter, &mut each)?;
        }
        match (self.json, number) {
            (true, 0) => out.write_all(b"[]\n")?,
            (true, _) => out.write_all(b"\n]\n")?,
            (false, 0) => out.write_all(b"Nothing has failed.\n")?,
            (false, n) => writeln!(
                out,
                "{} failed; `larder retry` puts {} back into the queue",
                count(n),
                if n == 1 { "it" } else { "them" }
            )?,
        }
        out.flush()?;
        Ok(exit::OK)
    }
}

/// An address without what may be secret in it.
pub(super) fn address(url: &str) -> String {
    url.parse()
        .map_or_else(|_| one_line(url), |url| redact(&url))
}

fn as_json(failure: &Failure) -> serde_json::Value {
    json!({
        "job": failure.job, "site": failure.site, "item": failure.item, "url": failure.url.as_deref().map(address), "class": failure.class,
        "tries": failure.tries, "message": failure.message, "first_at": failure.first_at.map(rfc3339),
        "last_at": failure.last_at.map(rfc3339), "next_at": failure.next_at.map(rfc3339),
    })
}

fn as_text(failure: &Failure, now: i64) -> String {
    let item = failure
        .item
        .as_deref()
        .unwrap_or(if failure.class == Class::Dialect.word() {
            "an entry"
        } else {
            "a page"
        });
    let ago = failure
        .last_at
        .map_or_else(String::new, |at| format!(", {} ago", duration(now - at)));
    let tries = if failure.tries == 1 {
        "1 try".to_owned()
    } else {
        format!("{} tries", failure.tries)
    };
    let mut text = format!(
        "{}  {}  {}  ({tries}{ago})\n",
        failure.job,
        one_line(item),
        failure.class
    );
    text += &format!("  {}\n", one_line(&failure.message));
    let url = failure.url.as_deref().map(address);
    if let Some(url) = url.filter(|url| !failure.message.contains(url)) {
        text += &format!("  {url}\n");
    }
    match failure.next_at {
        Some(next) => text += &format!("  tried again in {}\n", duration((next - now).max(0))),
        None => {
            let advice = failure.class.parse().map_or("", Class::advice);
            text += &format!("  to do: {advice}\n");
        }
    }
    text
}

impl Retry {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let reader = reader(&config)?;
        if let Some(name) = &self.job {
            known_job(&config, reader.as_ref(), name)?;
        }
        if reader.is_none() {
            print("Nothing has failed: nothing was run yet.\n")?;
            return Ok(exit::OK);
        }
        drop(reader);
        let request = Request::Retry {
            job: self.job.clone(),
            class: self.class,
        };
        let retried = match ask(&config, "retry", vec![request])? {
            Asked::Done(answered) => answered.retried,
            Asked::Left(holder) => {
                print(format_args!("Asked larder {holder} to try again.\n"))?;
                return Ok(exit::OK);
            }
        };
        if retried == Retried::default() {
            print("Nothing to put back.\n")?;
            return Ok(exit::OK);
        }
        let s = if retried.ready == 1 { "" } else { "s" };
        print(format_args!(
            "{} task{s} put back: `larder run` takes them.\n",
            retried.ready
        ))?;
        if retried.need_walk > 0 {
            print(format_args!(
                "{} cannot be asked for again as they are; the next walk looks at them.\n",
                retried.need_walk
            ))?;
        }
        Ok(exit::OK)
    }
}
