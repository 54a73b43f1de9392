//! What a file was promised to be, and whether its first bytes can be that.
//!
//! Asked only where no hash proves the content. Errs on the side of keeping: binary data of a kind that nobody knows passes.

use infer::MatcherType;

/// What a file was promised to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Promise {
    /// Anything but an HTML page, which is what comes instead of things.
    #[default]
    Thing,
    /// A page.
    Page,
    /// A picture, a video or sound.
    Media,
}

/// Endings of names of pictures, videos and sound. SVG is left out: it is text, and may be a page.
const MEDIA: &[&str] = &[
    "jpg", "jpeg", "png", "gif", "webp", "avif", "heic", "bmp", "tif", "tiff", "jxl", "mp4", "m4v",
    "webm", "mkv", "mov", "avi", "mp3", "m4a", "ogg", "opus", "flac", "wav",
];

const MEDIA_KINDS: &[MatcherType] = &[MatcherType::Audio, MatcherType::Image, MatcherType::Video];

impl Promise {
    /// Of the media type that the listing names, else of how the address or the name ends.
    pub fn of(media: Option<&str>, names: [Option<&str>; 2]) -> Self {
        if let Some(media) = media {
            let media = media.to_ascii_lowercase();
            let kind = media.split('/').next().unwrap_or_default();
            return match kind {
                _ if media.contains("html") => Self::Page,
                _ if media.contains("svg") => Self::Thing,
                "image" | "video" | "audio" => Self::Media,
                _ => Self::Thing,
            };
        }
        let ending = |name: &str| {
            let path = name.split(['?', '#']).next().unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            let (_, ending) = last.rsplit_once('.')?;
            Some(ending.to_ascii_lowercase())
        };
        match names.into_iter().flatten().find_map(ending).as_deref() {
            Some("html" | "htm" | "xhtml" | "shtml") => Self::Page,
            Some(ending) if MEDIA.contains(&ending) => Self::Media,
            _ => Self::Thing,
        }
    }

    /// Why the beginning of a file cannot be of what was promised.
    pub(super) fn objection(self, head: &[u8]) -> Option<String> {
        if is_html(head) {
            let came = "an HTML page came instead of the file".to_owned();
            return (self != Self::Page).then_some(came);
        }
        if self != Self::Media {
            return None;
        }
        match infer::get(head) {
            Some(kind) if MEDIA_KINDS.contains(&kind.matcher_type()) => None,
            Some(kind) => Some(format!(
                "a picture, video or sound was promised, {} came",
                kind.mime_type()
            )),
            None => is_text(head)
                .then(|| "a picture, video or sound was promised, text came".to_owned()),
        }
    }
}

/// Whether this begins as an HTML page does.
pub(super) fn is_html(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = head.trim_ascii_start();
    let begins =
        |word: &[u8]| start.len() >= word.len() && start[..word.len()].eq_ignore_ascii_case(word);
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<body")
}

/// Whether this is text from its first byte on; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let plain = |c: char| !c.is_control() || c.is_whitespace();
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_read_from_the_type_else_from_the_names() {
        use Promise::{Media, Page, Thing};
        let of = |media, url, name| Promise::of(media, [url, name]);
        assert_eq!(of(Some("image/PNG"), Some("/x.html"), None), Media);
        assert_eq!(of(Some("text/html"), Some("/x.png"), None), Page);
        assert_eq!(of(Some("image/svg+xml"), None, None), Thing);
        assert_eq!(
            of(None, Some("https://a.example/x.JPG?size=1.html"), None),
            Media
        );
        assert_eq!(of(None, Some("https://a.example/x"), Some("x.webm")), Media);
        assert_eq!(of(None, Some("https://a.example/a.b/x"), None), Thing);
        assert_eq!(of(None, Some("https://a.example/x.htm#y"), None), Page);
        assert_eq!(of(None, None, None), Thing);
    }

    #[test]
    fn pages_and_texts_are_not_taken_for_pictures() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let objects = |promise: Promise, head: &[u8]| promise.objection(head).is_some();
        for page in [
            &b"<!DOCTYPE HTML><p>"[..],
            b"\xef\xbb\xbf \n<html lang=en>",
            b"<Head>",
        ] {
            assert!(objects(Promise::Thing, page) && objects(Promise::Media, page));
            assert!(!objects(Promise::Page, page));
        }
        for text in [
            &b"{\"error\": \"no\"}"[..],
            b"Not found\n",
            "é".repeat(300).as_bytes(),
            &"é".repeat(300).as_bytes()[..511],
        ] {
            assert!(objects(Promise::Media, text));
            assert!(!objects(Promise::Thing, text));
        }
        assert!(objects(Promise::Media, b"PK\x03\x04\x14\0\0\0\x08\0"));
        for good in [
            &png[..],
            b"GIF89a\x01\0\x01\0",
            b"\xff\xf3\x90\xc4 a frame of a kind that nobody knows",
        ] {
            assert!(!objects(Promise::Media, good));
        }
    }
}
