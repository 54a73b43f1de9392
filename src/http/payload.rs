//! What a POST carries: a form, JSON, or parts with files.

use std::{fmt, io, path::PathBuf};

use url::form_urlencoded;

/// The body of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// `application/json`, as text.
    Json(String),
    /// `multipart/form-data` (RFC 7578).
    Multipart(Vec<(String, Part)>),
}

/// One part of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// The bytes of a file, read when the request is sent; its name travels along.
    File(PathBuf),
}

impl Payload {
    /// The content type and the bytes.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn encode(&self) -> io::Result<(String, Vec<u8>)> {
        match self {
            Self::Form(pairs) => {
                let text = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(pairs)
                    .finish();
                Ok((self.kind().to_owned(), text.into_bytes()))
            }
            Self::Json(text) => Ok((self.kind().to_owned(), text.clone().into_bytes())),
            Self::Multipart(parts) => {
                // 128 random bits: no content holds them by chance.
                let boundary = format!("larder-{:032x}", fastrand::u128(..));
                let mut body = Vec::new();
                for (name, part) in parts {
                    body.extend(format!("--{boundary}\r\n").bytes());
                    let name = quoted(name);
                    match part {
                        Part::Text(text) => {
                            let head = format!(
                                "Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}"
                            );
                            body.extend(head.bytes());
                        }
                        Part::File(path) => {
                            let file = path.file_name().unwrap_or_default().to_string_lossy();
                            let head = format!(
                                "Content-Disposition: form-data; name=\"{name}\"; filename=\"{}\"\r\n\
                                 Content-Type: application/octet-stream\r\n\r\n",
                                quoted(&file)
                            );
                            body.extend(head.bytes());
                            body.extend(std::fs::read(path)?);
                        }
                    }
                    body.extend(b"\r\n");
                }
                body.extend(format!("--{boundary}--\r\n").bytes());
                Ok((format!("{}; boundary={boundary}", self.kind()), body))
            }
        }
    }

    /// Its content type, without the boundary of a multipart body.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Json(_) => "application/json",
            Self::Multipart(_) => "multipart/form-data",
        }
    }

    /// The names of its fields; none of JSON.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Form(pairs) => pairs.iter().map(|(name, _)| name.as_str()).collect(),
            Self::Json(_) => Vec::new(),
            Self::Multipart(parts) => parts.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }
}

impl fmt::Display for Payload {
    /// In one line, for people: nothing of it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(pairs) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                f.write_str(&form.extend_pairs(pairs).finish())
            }
            Self::Json(text) => f.write_str(text),
            Self::Multipart(parts) => {
                for (n, (name, part)) in parts.iter().enumerate() {
                    let space = if n == 0 { "" } else { "; " };
                    match part {
                        Part::Text(text) => write!(f, "{space}{name}={text}")?,
                        Part::File(path) => write!(f, "{space}{name}=<{}>", path.display())?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// A name within quotes, escaped as the HTML standard's multipart encoding says.
fn quoted(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_between_boundaries_and_files_bring_their_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a \"b\".png");
        std::fs::write(&path, b"\x89PNG\r\n").expect("written");
        let body = Payload::Multipart(vec![
            ("post[tags]".to_owned(), Part::Text("étude".to_owned())),
            ("post[file]".to_owned(), Part::File(path)),
        ]);
        let (kind, bytes) = body.encode().expect("readable");
        let boundary = kind.split_once("boundary=").expect("a boundary").1;
        let text = String::from_utf8_lossy(&bytes).replace(boundary, "B");
        let expected = "--B\r\nContent-Disposition: form-data; name=\"post[tags]\"\r\n\r\nétude\r\n\
                        --B\r\nContent-Disposition: form-data; name=\"post[file]\"; filename=\"a %22b%22.png\"\r\n\
                        Content-Type: application/octet-stream\r\n\r\n\u{fffd}PNG\r\n\r\n--B--\r\n";
        assert_eq!(text, expected);
        let missing = Part::File("/nowhere/at/all".into());
        let body = Payload::Multipart(vec![("f".to_owned(), missing)]);
        assert!(body.encode().is_err());
    }
}
