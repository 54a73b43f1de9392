//! Picture bodies, made from a seed: real PNG files, and bytes that open and close as a JPEG does.
//!
//! Promises: the same seed and size give the same bytes, different seeds different ones.

/// Makes a PNG of noise; it decodes.
pub(super) fn png(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let mut noise = vec![0; (width * height * 3) as usize];
    fastrand::Rng::with_seed(seed).fill(&mut noise);
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a head fits in memory");
    writer.write_image_data(&noise).expect("the size is right");
    writer.finish().expect("nothing can fail in memory");
    out
}

/// Makes `length` bytes (at least 32) with a JFIF head and an end marker; they do not decode.
pub(super) fn jpeg(seed: u64, length: usize) -> Vec<u8> {
    let head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";
    let mut out = vec![0; length.max(32)];
    fastrand::Rng::with_seed(seed).fill(&mut out);
    out[..head.len()].copy_from_slice(head);
    let end = out.len() - 2;
    out[end..].copy_from_slice(b"\xff\xd9");
    out
}

/// Makes the smaller version of a picture, known by the original's md5 and by its kind (`jpeg`, `sample`, `preview`).
pub(super) fn smaller(md5: &str, kind: &str) -> Vec<u8> {
    let seed = u64::from_str_radix(&md5[..15], 16).unwrap_or_default();
    let length = smaller_size(kind);
    jpeg(seed.wrapping_add(length as u64), length)
}

/// Returns how long [`smaller`] makes a picture.
pub(super) fn smaller_size(kind: &str) -> usize {
    match kind {
        "jpeg" => 1500,
        "sample" => 900,
        _ => 300,
    }
}

/// Returns the content type that the site's front server gives a file name ending.
pub(super) fn content_type(ext: &str) -> &'static str {
    match ext {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webm" => "video/webm",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}
