//! `[daemon]` and `[[notify]]`.
//!
//! Promises that the daemon listens to this computer only, and that a notice goes to one program or one address.

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

use super::{
    paths,
    reader::{Node, Table},
};

/// Where the daemon answers: this computer only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket; absolute.
    Unix(PathBuf),
}

/// What somebody may be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A run has ended.
    End,
    /// A login no longer works, or a site blocks this account or address.
    Auth,
    /// The archive cannot be written.
    Disk,
    /// Objects are damaged.
    Damage,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::End, Self::Auth, Self::Disk, Self::Damage];

    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Auth => "auth",
            Self::Disk => "disk",
            Self::Damage => "damage",
        }
    }
}

/// Whom to tell.
#[derive(Debug, Clone)]
pub struct Notice {
    /// About what.
    pub on: Vec<Event>,
    /// How.
    pub way: Way,
}

/// How somebody is told.
#[derive(Clone)]
pub enum Way {
    /// A program and its arguments; never empty.
    Command(Vec<String>),
    /// An address that gets a POST. It may hold a secret.
    Webhook(Url),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(argv) => f.debug_tuple("Command").field(argv).finish(),
            Self::Webhook(url) => write!(f, "Webhook({}, ***)", url.host_str().unwrap_or("")),
        }
    }
}

/// Reads `[daemon]`.
pub(super) fn daemon(table: Table<'_>) -> Option<Listen> {
    let listen = table.get("listen").and_then(|node| {
        node.parsed(|text| {
            let refusal = "write `127.0.0.1:PORT` (this computer only) or `unix:PATH`";
            let refused = || format!("`{text}` is nothing to listen on; {refusal}");
            match text.strip_prefix("unix:") {
                Some("") => Err(refused()),
                Some(path) => paths::absolute(path, &node.source.path).map(Listen::Unix),
                // Whoever reaches it sees everything, so it never listens to a network.
                None => match text.parse::<SocketAddr>() {
                    Ok(at) if at.ip().is_loopback() => Ok(Listen::Tcp(at)),
                    _ => Err(refused()),
                },
            }
        })
    });
    table.finish();
    listen
}

/// Reads one `[[notify]]`.
pub(super) fn notify(table: Table<'_>) -> Option<Notice> {
    let on = table.need("on");
    let words = on.as_ref().and_then(Node::list);
    if let (Some(on), Some([])) = (&on, words.as_deref()) {
        on.error("names no event; write one or more of `end`, `auth`, `disk`, `damage`");
    }
    let mut events = Vec::new();
    for node in words.iter().flatten() {
        let Some(word) = node.text() else { continue };
        match Event::ALL.into_iter().find(|event| event.word() == word) {
            Some(event) => events.push(event),
            None => node.unknown("event", word, Event::ALL.map(Event::word)),
        }
    }
    let (command, url) = (table.get("command"), table.get("url"));
    if let Some(url) = &url {
        // Such addresses often end in a token.
        url.hide();
    }
    let way = match (command, url) {
        (Some(node), None) => {
            let argv = node.texts();
            if argv
                .as_ref()
                .is_some_and(|argv| argv.first().is_none_or(|program| program.is_empty()))
            {
                node.error("names no program; write it like `[\"notify-send\", \"larder\"]`");
            }
            argv.map(|argv| Way::Command(argv.into_iter().map(str::to_owned).collect()))
        }
        (None, Some(node)) => node
            .parsed(|text| match Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
                _ => Err("not an http or https address; write it like `https://ntfy.sh/my-larder`"),
            })
            .map(Way::Webhook),
        _ => {
            table.error("write exactly one of `command` and `url`");
            None
        }
    };
    table.finish();
    Some(Notice {
        on: events,
        way: way?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostics, Source};

    /// The complaints about `text` as `[daemon]` or `[[notify]]`.
    fn complaints<T>(check: fn(Table<'_>) -> T, text: &str) -> Vec<String> {
        let (source, diagnostics) = (Source::new("archive.toml", text), Diagnostics::default());
        Table::parse(&source, &diagnostics, check);
        let complaints = diagnostics.into_vec();
        complaints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_daemon_listens_to_this_computer_only() {
        for at in ["127.0.0.1:8787", "[::1]:8787", "unix:larder.sock"] {
            let text = format!("listen = \"{at}\"");
            assert_eq!(complaints(daemon, &text), Vec::<String>::new());
        }
        for at in ["0.0.0.0:8787", "8787", "localhost", "unix:", ""] {
            let text = format!("listen = \"{at}\"");
            assert_eq!(complaints(daemon, &text).len(), 1, "{at}");
        }
    }

    #[test]
    fn notices_go_to_one_command_or_address() {
        for text in [
            "on = [\"end\"]\ncommand = [\"true\"]",
            "on = [\"auth\", \"disk\"]\nurl = \"https://ntfy.sh/x\"",
        ] {
            assert_eq!(complaints(notify, text), Vec::<String>::new());
        }
        for text in [
            "on = []\ncommand = [\"true\"]",
            "command = [\"true\"]",
            "on = [\"end\"]",
            "on = [\"end\"]\ncommand = []",
            "on = [\"end\"]\nurl = \"ntfy.sh/S3CRET\"",
            "on = [\"end\"]\nurl = \"https://ntfy.sh/S3CRET\"\ncommand = [\"true\"]",
        ] {
            let complaints = complaints(notify, text);
            assert!(
                complaints.len() == 1 && !complaints[0].contains("S3CRET"),
                "{complaints:?}"
            );
        }
    }
}
