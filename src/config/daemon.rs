//! `[daemon]` and `[[notify]]`.
//!
//! Both are checked, so that a mistake shows at once, but kept nowhere yet.

use std::net::SocketAddr;

use url::Url;

use super::reader::{Node, Table};

/// What `[[notify]]` may be told about.
const EVENTS: [&str; 4] = ["end", "auth", "disk", "damage"];
/// Checks `[daemon]`.
pub(super) fn daemon(table: Table<'_>) {
    if let Some(node) = table.get("listen") {
        node.parsed(|text| {
            let good = match text.strip_prefix("unix:") {
                Some(path) => !path.is_empty(),
                // Whoever reaches it may command the daemon, so it never listens to a network.
                None => text
                    .parse()
                    .is_ok_and(|at: SocketAddr| at.ip().is_loopback()),
            };
            let refusal = "write `127.0.0.1:PORT` (this computer only) or `unix:PATH`";
            good.then_some(())
                .ok_or_else(|| format!("`{text}` is nothing to listen on; {refusal}"))
        });
    }
    table.finish();
}

/// Checks one `[[notify]]`.
pub(super) fn notify(table: Table<'_>) {
    let on = table.need("on");
    let words = on.as_ref().and_then(Node::list);
    if let (Some(on), Some([])) = (&on, words.as_deref()) {
        on.error("names no event; write one or more of `end`, `auth`, `disk`, `damage`");
    }
    for node in words.iter().flatten() {
        if let Some(word) = node.text().filter(|word| !EVENTS.contains(word)) {
            node.unknown("event", word, EVENTS);
        }
    }
    let (command, url) = (table.get("command"), table.get("url"));
    if let Some(url) = &url {
        // Such addresses often end in a token.
        url.hide();
    }
    match (command, url) {
        (Some(node), None) => {
            if node
                .texts()
                .is_some_and(|argv| argv.first().is_none_or(|program| program.is_empty()))
            {
                node.error("names no program; write it like `[\"notify-send\", \"larder\"]`");
            }
        }
        (None, Some(node)) => {
            node.parsed(|text| match Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
                _ => Err("not an http or https address; write it like `https://ntfy.sh/my-larder`"),
            });
        }
        _ => table.error("write exactly one of `command` and `url`"),
    }
    table.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostics, Source};

    /// The complaints about `text` as `[daemon]` or `[[notify]]`.
    fn complaints(check: fn(Table<'_>), text: &str) -> Vec<String> {
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
