//! `larder why`: why an address was fetched or not, from stored facts; nothing is asked of any site.

use std::{collections::BTreeMap, path::Path};

use super::{Unknown, clock, exit, failures::address, load, print, reader, show::identify};
use crate::{
    class::Class,
    config::Config,
    store::{HostRow, Membership, QueuedTask, Reader, WantedFile},
    text::{bytes, count, duration, local_time, one_line},
};

#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// The address of a file, of a page that was asked for, or of an item; SITE/KIND/ID too
    #[arg(value_name = "URL")]
    url: String,
}

impl Why {
    pub(super) fn run(&self, path: &Path) -> anyhow::Result<u8> {
        let config = load(path)?;
        let asked = self.url.trim();
        let facts = match reader(&config)? {
            Some(reader) => Known {
                now: clock().now(),
                hosts: hosts(&reader)?,
                reader,
            }
            .of(&config, asked)?,
            None => String::new(),
        };
        if facts.is_empty() {
            let hint = match identify(&config, asked) {
                Ok(_) => "; `larder add` archives it",
                Err(_) => "",
            };
            return Err(Unknown(format!(
                "nothing is known of {}: no page that was walked has shown it{hint}",
                address(asked)
            ))
            .into());
        }
        print(facts)?;
        Ok(exit::OK)
    }
}

fn hosts(reader: &Reader) -> anyhow::Result<BTreeMap<String, HostRow>> {
    let hosts = reader.hosts()?;
    Ok(hosts
        .into_iter()
        .map(|row| (row.host.clone(), row))
        .collect())
}

struct Known {
    reader: Reader,
    hosts: BTreeMap<String, HostRow>,
    now: i64,
}

impl Known {
    /// Everything that is known of what was asked for; nothing when nothing is.
    fn of(&self, config: &Config, asked: &str) -> anyhow::Result<String> {
        let mut text = String::new();
        // As files and tasks have it: written in the standard's way.
        let url = url::Url::parse(asked).map_or_else(|_| asked.to_owned(), String::from);
        let tasks = self.reader.tasks_at(&url)?;
        let files = self.reader.files_at(&url)?;
        for file in &files {
            text += &self.file(file, true, &tasks)?;
        }
        let of_file = |task: &&QueuedTask| task.kind == "file" && !files.is_empty();
        for task in tasks.iter().filter(|task| !of_file(task)) {
            let what = match task.kind.as_str() {
                "page" => "a page",
                "file" => "a file",
                _ => "an entry of a page",
            };
            text += &format!("{what} of the job {}\n{}", task.job, self.task(task));
        }
        if let Ok((site, kind, id)) = identify(config, asked)
            && let Some((row, gone)) = self.reader.item_row(&site, &kind, &id)?
        {
            text += &format!("{}\n", one_line(&format!("{site}/{kind}/{id}")));
            text += &self.item(row, gone.as_deref())?;
            for file in self.reader.files_of(&site, &kind, &id)? {
                let tasks = file.url.as_deref().map(|url| self.reader.tasks_at(url));
                text += &self.file(&file, false, &tasks.transpose()?.unwrap_or_default())?;
            }
        }
        Ok(text)
    }

    fn item(&self, row: i64, gone: Option<&str>) -> anyhow::Result<String> {
        let mut text = String::new();
        for Membership {
            job,
            joined,
            left,
            followed,
        } in self.reader.memberships(row)?
        {
            let how = if followed {
                "found by a follow-up of"
            } else {
                "in the listing of"
            };
            text += &format!("  {how} {job} since {}", local_time(joined));
            text += &left.map_or_else(String::new, |left| {
                format!(
                    ", until a whole walk did not show it any more at {}",
                    local_time(left)
                )
            });
            text += "\n";
        }
        if let Some(gone) = gone {
            text += &format!(
                "  gone upstream: {}; what was archived stays\n",
                one_line(gone)
            );
        }
        Ok(text)
    }

    /// What is known of a file; of its item too where nothing was said of that yet.
    fn file(&self, file: &WantedFile, alone: bool, tasks: &[QueuedTask]) -> anyhow::Result<String> {
        let mut text = format!(
            "{} {} of {}\n",
            one_line(&file.role),
            file.index,
            one_line(&file.name)
        );
        if let Some(url) = &file.url {
            text += &format!("  at {}\n", address(url));
        }
        if alone {
            text += &self.item(file.item, file.gone.as_deref())?;
        }
        match (file.state.as_str(), file.object) {
            ("held", Some(object)) => {
                text += &format!("  held as {object}\n");
                let Some(held) = self.reader.held_object(object)? else {
                    return Ok(text);
                };
                text += &format!(
                    "  {}, stored {}\n",
                    bytes(held.bytes),
                    local_time(held.added)
                );
                if held.files > 1 {
                    text += &format!(
                        "  the same bytes are {} files of the archive, and are kept once\n",
                        count(held.files)
                    );
                }
                if held.damaged {
                    text += "  the object is damaged: `larder verify --repair` fetches it anew\n";
                }
            }
            ("missing", _) => {
                let class = file.class.as_deref().unwrap_or("unknown");
                text += &format!("  not held: {class}\n");
                if tasks.is_empty() && file.gone.is_none() {
                    text += &format!("  to do: {}\n", class.parse().map_or("", Class::advice));
                }
            }
            _ => text += "  not held yet: it is in the queue\n",
        }
        for task in tasks {
            text += &self.task(task);
        }
        Ok(text)
    }

    /// Where a task stands, and what is next.
    fn task(&self, task: &QueuedTask) -> String {
        let ago = |at| duration(self.now - at);
        let mut text = String::new();
        if let Some(class) = &task.class {
            let tries = if task.tries == 1 {
                "1 try".to_owned()
            } else {
                format!("{} tries", task.tries)
            };
            let when = task
                .last_at
                .map_or_else(String::new, |at| format!(", {} ago", ago(at)));
            let message = one_line(task.message.as_deref().unwrap_or_default());
            text += &format!("  {class} ({tries}{when}): {message}\n");
        }
        let job = &task.job;
        match task.state.as_str() {
            "failed" => {
                let advice = task.class.as_deref().and_then(|class| class.parse().ok());
                text += &format!(
                    "  given up by {job}; to do: {}\n",
                    advice.map_or("", Class::advice)
                );
            }
            "leased" => text += &format!("  {job} is at it right now\n"),
            "done" => text += &format!("  {job} has read it\n"),
            _ => {
                let next = match task.due - self.now {
                    left if left > 0 && task.class.is_some() => {
                        format!("is tried again in {}", duration(left))
                    }
                    _ => "waits for its turn".to_owned(),
                };
                text += &format!("  it {next} in the queue of {job}\n");
                let held = self.hosts.get(&task.host).and_then(|host| {
                    let until = host.until.filter(|until| *until > self.now)?;
                    let reason = host.reason.as_deref().unwrap_or("asked to wait");
                    Some(format!(
                        "  its host {} {}: left alone for another {}\n",
                        host.host,
                        reason,
                        duration(until - self.now)
                    ))
                });
                text += &held.unwrap_or_default();
            }
        }
        text
    }
}
