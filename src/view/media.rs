//! Extensions by content: the media type that was told by the first bytes when the object was stored.

/// Media types and their extensions. Programs are left out: a name must not make one of what was downloaded.
const KNOWN: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("image/avif", "avif"),
    ("image/heif", "heif"),
    ("image/heic", "heic"),
    ("image/jxl", "jxl"),
    ("image/jp2", "jp2"),
    ("image/bmp", "bmp"),
    ("image/tiff", "tif"),
    ("image/svg+xml", "svg"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/x-icon", "ico"),
    ("image/vnd.adobe.photoshop", "psd"),
    ("image/openraster", "ora"),
    ("image/vnd.djvu", "djvu"),
    ("image/x-canon-cr2", "cr2"),
    ("image/vnd.ms-photo", "jxr"),
    ("video/mp4", "mp4"),
    ("video/x-m4v", "m4v"),
    ("video/webm", "webm"),
    ("video/x-matroska", "mkv"),
    ("video/quicktime", "mov"),
    ("video/x-msvideo", "avi"),
    ("video/x-ms-wmv", "wmv"),
    ("video/mpeg", "mpg"),
    ("video/x-flv", "flv"),
    ("video/ogg", "ogv"),
    ("audio/mpeg", "mp3"),
    ("audio/m4a", "m4a"),
    ("audio/mp4", "m4a"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "opus"),
    ("audio/x-flac", "flac"),
    ("audio/flac", "flac"),
    ("audio/x-wav", "wav"),
    ("audio/wav", "wav"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("audio/x-aiff", "aiff"),
    ("audio/midi", "mid"),
    ("application/pdf", "pdf"),
    ("application/epub+zip", "epub"),
    ("application/x-mobipocket-ebook", "mobi"),
    ("application/rtf", "rtf"),
    ("application/postscript", "ps"),
    ("application/zip", "zip"),
    ("application/gzip", "gz"),
    ("application/x-bzip2", "bz2"),
    ("application/x-xz", "xz"),
    ("application/zstd", "zst"),
    ("application/x-7z-compressed", "7z"),
    ("application/vnd.rar", "rar"),
    ("application/x-tar", "tar"),
    ("application/x-shockwave-flash", "swf"),
    ("application/json", "json"),
    ("application/xml", "xml"),
    ("text/xml", "xml"),
    ("text/plain", "txt"),
    ("text/html", "html"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/vtt", "vtt"),
    ("application/x-subrip", "srt"),
    ("application/font-woff", "woff"),
    ("application/font-sfnt", "ttf"),
];

/// Extensions that some desktop runs when it opens them: a site's own name never gets one of these.
const RUNS: &[&str] = &[
    "app", "apk", "appimage", "bat", "chm", "class", "cmd", "com", "cpl", "deb", "desktop", "dll",
    "dmg", "exe", "hta", "inf", "jar", "js", "jse", "lnk", "msc", "msi", "msp", "pif", "pkg", "pl",
    "ps1", "py", "rb", "reg", "rpm", "run", "scf", "scr", "sh", "url", "vb", "vbe", "vbs", "wsf",
    "wsh", "xpi",
];

/// The extension of bytes of this media type, which may have parameters; of an unknown one that of the site's name, where
/// it is harmless; else `bin`.
pub(super) fn extension(media: Option<&str>, name: Option<&str>) -> String {
    let essence = media
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let known = KNOWN
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(essence));
    if let Some((_, ext)) = known {
        return (*ext).to_owned();
    }
    let own = name
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, ext)| ext);
    own.map(str::to_ascii_lowercase)
        .filter(|ext| {
            (1..=8).contains(&ext.len()) && ext.bytes().all(|b| b.is_ascii_alphanumeric())
        })
        .filter(|ext| !RUNS.contains(&ext.as_str()))
        .unwrap_or_else(|| "bin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_the_sites_name_only_where_it_is_unknown() {
        for (media, name, ext) in [
            (Some("image/png"), Some("x.jpg"), "png"),
            (Some("Image/JPEG; q=1"), None, "jpg"),
            (Some("text/plain; charset=utf-8"), Some("a.desktop"), "txt"),
            (Some("application/octet-stream"), Some("a.CLIP"), "clip"),
            (None, Some("archive.tar.gz"), "gz"),
            (None, Some("evil.desktop"), "bin"),
            (Some("application/x-executable"), Some("setup.exe"), "bin"),
            (None, Some("a./../x"), "bin"),
            (None, Some("no extension"), "bin"),
            (None, None, "bin"),
        ] {
            assert_eq!(extension(media, name), ext, "{media:?} {name:?}");
        }
    }

    #[test]
    fn what_the_archive_tells_by_the_first_bytes_of_pictures_is_known() {
        for ext in [
            "png", "jpg", "gif", "webp", "mp4", "webm", "zip", "pdf", "mp3", "flac",
        ] {
            assert!(KNOWN.iter().any(|(_, known)| *known == ext), "{ext}");
        }
        assert!(KNOWN.iter().all(|(_, ext)| !RUNS.contains(ext)));
    }
}
