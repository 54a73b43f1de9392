//! `[network]`: how requests are made, and addresses of proxies wherever they are written.
//!
//! Owns the defaults. Promises that no complaint shows the account within an address.

use std::time::Duration;

use url::{Host, Url};

use super::{
    Network,
    reader::{Node, Table},
    units::{parse_duration, parse_size},
};

/// Schemes of proxies.
const PROXIES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
/// More tries than this are a mistake: with back-off they take most of a day.
const MOST_TRIES: u64 = 100;

/// `[network]`, with the default of every key that is not there.
pub(super) fn network(table: Option<Table<'_>>) -> Network {
    let get = |key| table.as_ref().and_then(|table| table.get(key));
    let time = |key, default| {
        let time = get(key).and_then(|node| node.parsed(parse_duration));
        time.unwrap_or(Duration::from_secs(default))
    };
    let size = |key, default| {
        get(key)
            .and_then(|node| node.parsed(parse_size))
            .unwrap_or(default)
    };
    let allow = get("allow")
        .and_then(|node| node.list())
        .unwrap_or_default();
    let user_agent = get("user_agent").and_then(|node| node.parsed(checked_agent));
    let network = Network {
        user_agent: user_agent
            .unwrap_or_else(|| concat!("larder/", env!("CARGO_PKG_VERSION")).to_owned()),
        proxy: get("proxy").and_then(|node| proxy(&node)),
        connect_timeout: time("connect_timeout", 10),
        header_timeout: time("header_timeout", 30),
        stall_timeout: time("stall_timeout", 30),
        tries: get("tries").and_then(|node| tries(&node)).unwrap_or(6),
        backoff: time("backoff", 1),
        max_file: size("max_file", 4 << 30),
        max_page: size("max_page", 8 << 20),
        allow: allow
            .iter()
            .filter_map(|node| node.parsed(endpoint))
            .collect(),
    };
    if let Some(table) = table {
        table.finish();
    }
    network
}

fn tries(node: &Node<'_>) -> Option<u32> {
    let value = node.int_at_least(1)?;
    if value > MOST_TRIES {
        node.error(format!("`{value}` is too large; at most {MOST_TRIES}"));
    }
    u32::try_from(value).ok()
}

fn checked_agent(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(format!(
            "`{text}` cannot be a user agent; write visible ASCII, like `larder (me@example.org)`"
        ));
    }
    Ok(text.to_owned())
}

/// Normalises `host:port`: lower case, an IPv6 address in brackets.
fn endpoint(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let host = Host::parse(host).ok()?.to_string();
        (!host.is_empty() && !host.contains('*')).then_some((host, port))
    });
    match parts {
        Some((host, port)) => Ok(format!("{host}:{port}")),
        None => Err(format!(
            "`{text}` is not `host:port`; write it like `127.0.0.1:8801` or `[::1]:8801`"
        )),
    }
}

/// Hides an address that names an account, since it may hold a password.
pub(super) fn hide_account(node: &Node<'_>) {
    if node.is_text() && node.text().is_some_and(may_name_account) {
        node.hide();
    }
}

/// How a complaint calls an address: as it was written, unless it may hold a password.
pub(super) fn called(text: &str) -> String {
    if may_name_account(text) {
        "this".to_owned()
    } else {
        format!("`{text}`")
    }
}

/// Whether `user:password` may stand in the text, also where a slip of the keyboard took the `@` away.
fn may_name_account(text: &str) -> bool {
    let authority = text.split_once("//").map_or(text, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let after_colon = authority.split_once(':').map_or("", |(_, after)| after);
    text.contains('@')
        || (!authority.starts_with('[') && after_colon.contains(|c: char| !c.is_ascii_digit()))
}

/// The address of a proxy.
pub(super) fn proxy(node: &Node<'_>) -> Option<Url> {
    hide_account(node);
    node.parsed(|text| {
        let url = Url::parse(text).ok().filter(Url::has_host);
        url.filter(|url| PROXIES.contains(&url.scheme())).ok_or_else(|| {
            let shown = called(text);
            format!("{shown} is not a proxy; write it like `socks5h://127.0.0.1:1080` (http, https, socks5, socks5h)")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_exact_and_normalised() {
        assert_eq!(endpoint("LocalHost:8801"), Ok("localhost:8801".to_owned()));
        assert_eq!(endpoint("[::0001]:80"), Ok("[::1]:80".to_owned()));
        for text in [
            "localhost",
            "localhost:0",
            "localhost:99999",
            "::1:80",
            "*.lan:80",
            ":80",
            "http://a:80",
            "",
        ] {
            assert!(endpoint(text).expect_err(text).contains("`127.0.0.1:8801`"));
        }
    }

    #[test]
    fn user_agents_are_one_line_of_visible_ascii() {
        assert!(checked_agent("larder (me@example.org)").is_ok());
        for text in ["", " ", "a\nb", "häger"] {
            assert!(checked_agent(text).is_err(), "{text}");
        }
    }
}
