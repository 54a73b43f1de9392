//! bilibili's danmaku, the comments that fly over a video: a segment in protobuf, or a whole part in XML, as one JSON form.
//!
//! Facts: the fields and their numbers are those of the web player's `DmSegMobileReply`; of the XML what players read.

use std::io::Read as _;

use prost::Message;
use serde::Serialize;

/// Bytes of a list in XML after it was inflated: the site caps them at 8,000 entries.
const MOST_XML: u64 = 32 << 20;

#[derive(Message)]
struct Segment {
    #[prost(message, repeated, tag = "1")]
    elems: Vec<Elem>,
}

#[derive(Clone, PartialEq, Message)]
struct Elem {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int32, tag = "2")]
    progress: i32,
    #[prost(int32, tag = "3")]
    mode: i32,
    #[prost(int32, tag = "4")]
    fontsize: i32,
    #[prost(uint32, tag = "5")]
    color: u32,
    #[prost(string, tag = "6")]
    mid_hash: String,
    /// As bytes: text that is no UTF-8 must not cost the rest of the segment.
    #[prost(bytes = "vec", tag = "7")]
    content: Vec<u8>,
    #[prost(int64, tag = "8")]
    ctime: i64,
    #[prost(int32, tag = "9")]
    weight: i32,
    #[prost(string, tag = "10")]
    action: String,
    #[prost(int32, tag = "11")]
    pool: i32,
    #[prost(string, tag = "12")]
    id_str: String,
    #[prost(int32, tag = "13")]
    attr: i32,
    #[prost(string, tag = "22")]
    animation: String,
}

/// One of them, whichever form it came in.
#[derive(Debug, Default, Serialize)]
struct Danmaku {
    id: String,
    progress: i64,
    mode: i32,
    fontsize: i32,
    color: u32,
    mid_hash: String,
    content: String,
    ctime: i64,
    pool: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attr: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    animation: String,
}

/// A segment as `{"elems": […]}`.
///
/// # Errors
/// When it is no segment.
pub(super) fn segment(body: &[u8]) -> Result<Vec<u8>, String> {
    let segment = Segment::decode(body)
        .map_err(|error| format!("not a segment of danmaku in protobuf: {error}"))?;
    let all = segment.elems.into_iter().map(|elem| Danmaku {
        // An unsigned number came once as a negative one.
        id: match elem.id_str.as_str() {
            "" => elem.id.cast_unsigned().to_string(),
            text => text.to_owned(),
        },
        progress: elem.progress.into(),
        mode: elem.mode,
        fontsize: elem.fontsize,
        color: elem.color,
        mid_hash: elem.mid_hash,
        content: String::from_utf8_lossy(&elem.content).into_owned(),
        ctime: elem.ctime,
        pool: elem.pool,
        weight: Some(elem.weight),
        action: elem.action,
        attr: Some(elem.attr),
        animation: elem.animation,
    });
    written(all)
}

/// A list in XML, which the site sends as raw deflate whatever was asked for, as `{"elems": […]}`.
///
/// # Errors
/// When it is no such list.
pub(super) fn list(body: &[u8]) -> Result<Vec<u8>, String> {
    let inflated;
    let body = if body.trim_ascii_start().starts_with(b"<") {
        body
    } else {
        inflated = inflate(body)?;
        &inflated
    };
    let text = String::from_utf8_lossy(body);
    if !text.contains("<i>") && !text.contains("<i ") {
        return Err("not a list of danmaku in XML".to_owned());
    }
    let mut all = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find("<d p=\"") {
        rest = &rest[at + "<d p=\"".len()..];
        let Some((attributes, behind)) = rest.split_once('"') else {
            return Err("the list ends within a danmaku: it was cut".to_owned());
        };
        let Some((_, behind)) = behind.split_once('>') else {
            return Err("the list ends within a danmaku: it was cut".to_owned());
        };
        let Some((content, behind)) = behind.split_once("</d>") else {
            return Err("the list ends within a danmaku: it was cut".to_owned());
        };
        all.push(of_xml(attributes, content)?);
        rest = behind;
    }
    if !rest.contains("</i>") {
        return Err("the list of danmaku has no end: it was cut".to_owned());
    }
    written(all.into_iter())
}

/// Seconds, mode, size, colour, time, pool, sender, number; a level may follow.
fn of_xml(attributes: &str, content: &str) -> Result<Danmaku, String> {
    let fields: Vec<_> = attributes.split(',').collect();
    let wrong = || format!("not the attributes of a danmaku: {attributes:?}");
    let [
        seconds,
        mode,
        fontsize,
        color,
        ctime,
        pool,
        mid_hash,
        id,
        ..,
    ] = fields[..]
    else {
        return Err(wrong());
    };
    let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
    Ok(Danmaku {
        id: id.to_owned(),
        progress: (seconds * 1000.0).round() as i64,
        mode: mode.parse().map_err(|_| wrong())?,
        fontsize: fontsize.parse().map_err(|_| wrong())?,
        color: color.parse().map_err(|_| wrong())?,
        mid_hash: mid_hash.to_owned(),
        content: unescaped(content),
        ctime: ctime.parse().map_err(|_| wrong())?,
        pool: pool.parse().map_err(|_| wrong())?,
        ..Danmaku::default()
    })
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = flate2::read::DeflateDecoder::new(body)
        .take(MOST_XML + 1)
        .read_to_end(&mut text);
    read.map_err(|error| format!("neither XML nor deflated: {error}"))?;
    if text.len() as u64 > MOST_XML {
        return Err(format!("more than {MOST_XML} bytes of XML"));
    }
    Ok(text)
}

/// Text without the references of XML; an unknown one stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain += &rest[..at];
        rest = &rest[at..];
        let reference = rest
            .split_once(';')
            .map(|(name, behind)| (&name[1..], behind));
        let known = reference.and_then(|(name, behind)| Some((character(name)?, behind)));
        match known {
            Some((character, behind)) => {
                plain.push(character);
                rest = behind;
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain + rest
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn written(all: impl Iterator<Item = Danmaku>) -> Result<Vec<u8>, String> {
    #[derive(Serialize)]
    struct Written {
        elems: Vec<Danmaku>,
    }
    let elems = all.collect();
    serde_json::to_vec(&Written { elems }).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn json_of(bytes: Result<Vec<u8>, String>) -> Value {
        serde_json::from_slice(&bytes.expect("decodes")).expect("JSON")
    }

    #[test]
    fn a_segment_keeps_large_numbers_and_text_that_is_no_utf_8() {
        let elem = |id: i64, id_str: &str, content: &[u8]| Elem {
            id,
            id_str: id_str.to_owned(),
            progress: 361_250,
            mode: 1,
            fontsize: 25,
            color: 16_777_215,
            mid_hash: "a1b2c3d4".to_owned(),
            content: content.to_vec(),
            ctime: 1_700_000_000,
            ..Elem::default()
        };
        let elems = vec![
            elem(
                1_318_231_376_180_646_144,
                "1318231376180646144",
                "草".as_bytes(),
            ),
            elem(35_600_074_482_384_899, "", b"a\xffb"),
        ];
        let body = Segment { elems }.encode_to_vec();
        let all = json_of(segment(&body));
        assert_eq!(all["elems"][0]["id"], "1318231376180646144");
        assert_eq!(all["elems"][0]["progress"], 361_250);
        assert_eq!(all["elems"][1]["id"], "35600074482384899");
        assert_eq!(all["elems"][1]["content"], "a\u{fffd}b");
        // One of 123 bytes begins as JSON would after an empty line.
        let mut one = elem(7, "7", b"");
        while one.encoded_len() < 123 {
            one.content.push(b'x');
        }
        let body_of_one = Segment { elems: vec![one] }.encode_to_vec();
        assert!(body_of_one.starts_with(b"\n{"));
        let read = crate::dialect::Decode::Danmaku.decode(&body_of_one);
        assert!(read.expect("decodes").starts_with(b"{\"elems\""));
        // No entry at all is no byte at all.
        assert_eq!(json_of(segment(b"")), json!({"elems": []}));
        assert!(segment(&body[..body.len() - 3]).is_err());
    }

    #[test]
    fn a_list_in_xml_is_read_deflated_or_plain() {
        let xml = concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><i><chatid>9</chatid>"#,
            r#"<d p="12.345,4,25,255,1700000000,0,a1b2c3d4,1318231376180646144,10">a &lt;b&gt; &amp;amp; &#x8349;&bad;</d></i>"#
        );
        let expected = json!({"elems": [{
            "id": "1318231376180646144", "progress": 12_345, "mode": 4, "fontsize": 25, "color": 255,
            "mid_hash": "a1b2c3d4", "content": "a <b> &amp; 草&bad;", "ctime": 1_700_000_000, "pool": 0
        }]});
        assert_eq!(json_of(list(xml.as_bytes())), expected);
        let mut deflated = Vec::new();
        flate2::read::DeflateEncoder::new(xml.as_bytes(), flate2::Compression::fast())
            .read_to_end(&mut deflated)
            .expect("in memory");
        assert_eq!(json_of(list(&deflated)), expected);
        let cut = list(&xml.as_bytes()[..xml.len() - 6]).expect_err("cut");
        assert!(cut.contains("cut"), "{cut}");
        assert!(list(b"<html>").is_err() && list(b"\x01\x02").is_err());
    }

    proptest! {
        #[test]
        fn fuzz_no_bytes_do_harm(body in proptest::collection::vec(any::<u8>(), 0..200), text in "(<i>|<d p=\"|,|1|\">|&|#x|;|</d>|</i>){0,20}") {
            drop(segment(&body));
            drop(list(&body));
            drop(list(text.as_bytes()));
        }
    }
}
