//! The smallest client that sees what is on the wire: one connection per request, nothing repaired.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use url::form_urlencoded;

use super::booru::Booru;

/// An answer, byte for byte.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Header names are lower-cased.
    pub headers: Vec<(String, String)>,
    /// Everything after the head, whatever length was announced.
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the announced length.
    pub fn announced(&self) -> usize {
        let length = self.header("content-length").expect("a length");
        length.parse().expect("a number")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Asks for a path with its query string, sent as it is.
pub fn get(site: &Booru, target: &str) -> Reply {
    send(
        site,
        &format!("GET {target} HTTP/1.1\r\nUser-Agent: larder-tests\r\n"),
        "",
    )
    .expect("an answer")
}

/// Sends form pairs.
pub fn post(site: &Booru, target: &str, form: &[(&str, &str)]) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let head = format!(
        "POST {target} HTTP/1.1\r\nContent-Length: {}\r\n",
        body.len()
    );
    send(site, &head, &body).expect("an answer")
}

/// Sends a head (without its last empty line) and a body, and reads until the site closes.
pub fn send(site: &Booru, head: &str, body: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(site.host())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let host = site.host();
    write!(
        stream,
        "{head}Host: {host}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

/// Returns one page of a search, 1000 posts long.
pub fn search(site: &Booru, tags: &str) -> Vec<Value> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("tags", tags)
        .finish();
    match get(site, &format!("/post.json?limit=1000&{query}")).json() {
        Value::Array(posts) => posts,
        other => panic!("not a listing: {other}"),
    }
}

/// Returns the ids of [`search`].
pub fn ids(site: &Booru, tags: &str) -> Vec<u64> {
    let posts = search(site, tags);
    posts
        .iter()
        .map(|post| post["id"].as_u64().expect("an id"))
        .collect()
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(": "));
    Reply {
        status: status.and_then(|text| text.parse().ok()).expect("a status"),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}
