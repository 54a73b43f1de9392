//! The site's memory of what it was asked: one [`Request`] per request, in order of arrival.
//!
//! Promises: a request is recorded when its last byte has been read, before it is answered; refused and faulty ones too.

use std::time::Instant;

/// One request as the site received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// When the request had been read.
    pub at: Instant,
    /// When the last byte of the answer was handed to the system; `None` while it is still being sent.
    pub ended: Option<Instant>,
    pub method: String,
    /// The path as sent, still percent-encoded.
    pub path: String,
    /// The query string's pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The query string as sent, without its question mark.
    pub raw_query: String,
    /// Header names are lower-cased.
    pub headers: Vec<(String, String)>,
    /// The pairs of a form body.
    pub form: Vec<(String, String)>,
    /// The status answered; 0 when the connection was reset instead.
    pub status: u16,
    /// Which connection it came on, counted from 0.
    pub connection: u64,
    /// Bytes handed to the system as its answer.
    pub sent: u64,
    /// The name of the fault that it met, such as `HalfBody`.
    pub fault: Option<String>,
}

impl Request {
    /// Returns the last value of a parameter, the form before the query string, as Rails does.
    pub fn param(&self, name: &str) -> Option<&str> {
        let pairs = self.query.iter().chain(&self.form);
        pairs
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns a header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a picture was asked for, rather than a page.
    pub fn is_file(&self) -> bool {
        let roots = [
            "/image/",
            "/jpeg/",
            "/sample/",
            "/data/",
            "/deleted-preview",
        ];
        roots.iter().any(|root| self.path.starts_with(root))
    }

    /// Returns the md5 in a picture's path; the rest of such a path is decoration.
    pub fn md5(&self) -> Option<&str> {
        self.path
            .split(['/', '.'])
            .find(|part| part.len() == 32 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}
