//! Media types of files: what they are taken for, and which of them a browser may show.
//!
//! Owns: the guess from a name's ending when the uploader said nothing, the `subtype` of the File resource, and the list
//! of types that are passive: a browser that shows them runs nothing.
//!
//! Never does: look into the bytes; what is served is always sent with `nosniff`.
//!
//! Invariant: what is not known to be passive is active. Source of the types: the IANA media type registry.

use crate::model::ObjectMeta;

/// What a file is taken for when nothing is known of it (RFC 9110, section 8.3).
pub const UNKNOWN: &str = "application/octet-stream";
/// Longest ending that becomes a `subtype`, in bytes.
const MAX_SUBTYPE_BYTES: usize = 16;

/// Endings, lower-case, and their types.
const BY_ENDING: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("divx", "video/x-msvideo"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("m2ts", "video/mp2t"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("m4v", "video/mp4"),
    ("mkv", "video/matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("mts", "video/mp2t"),
    ("mxf", "application/mxf"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("rar", "application/vnd.rar"),
    ("srt", "application/x-subrip"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ts", "video/mp2t"),
    ("txt", "text/plain"),
    ("vtt", "text/vtt"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("wmv", "video/x-ms-wmv"),
    ("xhtml", "application/xhtml+xml"),
    ("xml", "application/xml"),
    ("xz", "application/x-xz"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// The type of an object: what was stored with it, else what its name's ending says, else [`UNKNOWN`].
pub fn of(meta: &ObjectMeta) -> &str {
    match meta.headers.get("content-type").map(str::trim) {
        Some(stored) if is_media_type(stored) => stored,
        _ => by_ending(meta.key.file_name()).unwrap_or(UNKNOWN),
    }
}

/// What sort of file it is, in one word: `video`, `audio`, `image`, `text`, or the name of the format (`zip`, `pdf`), or
/// the name's ending. `None` when nothing tells.
pub fn subtype(meta: &ObjectMeta) -> Option<String> {
    let (main, sub) = essence(of(meta));
    match main.as_str() {
        "application" if sub != "octet-stream" => {
            let name = sub.strip_prefix("x-").unwrap_or(&sub);
            let name = name.split('+').next().unwrap_or(name);
            Some(name.trim_end_matches("-compressed").to_owned())
        }
        "application" => {
            let ending = ending(meta.key.file_name())?;
            let is_word = ending.bytes().all(|b| b.is_ascii_alphanumeric());
            (is_word && ending.len() <= MAX_SUBTYPE_BYTES).then_some(ending)
        }
        _ => Some(main),
    }
}

/// Whether a browser can show this type without running anything of it. Markup, scripts, SVG, PDF and whatever is not
/// known are active.
pub fn is_passive(media_type: &str) -> bool {
    // Browsers read a list of types, and the last one counts (Fetch, "extract a MIME type").
    if media_type.contains(',') {
        return false;
    }
    let (main, sub) = essence(media_type);
    match main.as_str() {
        _ if sub.is_empty() => false,
        "video" | "audio" => true,
        "image" => !sub.contains("svg") && !sub.contains("xml"),
        "text" => sub == "plain" || sub == "vtt",
        _ => sub == "vnd.apple.mpegurl",
    }
}

/// `main` and `sub` of a type, lower-case, without its parameters.
fn essence(media_type: &str) -> (String, String) {
    let bare = media_type.split(';').next().unwrap_or_default();
    let (main, sub) = bare.split_once('/').unwrap_or((bare, ""));
    (
        main.trim().to_ascii_lowercase(),
        sub.trim().to_ascii_lowercase(),
    )
}

/// `type/subtype`, with parameters or not, in visible ASCII (RFC 9110, section 8.3.1).
fn is_media_type(text: &str) -> bool {
    let is_token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    let (main, sub) = essence(text);
    is_token(&main) && is_token(&sub) && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

fn by_ending(name: &str) -> Option<&'static str> {
    let ending = ending(name)?;
    let found = BY_ENDING.binary_search_by(|(known, _)| (*known).cmp(&ending));
    found
        .ok()
        .and_then(|index| BY_ENDING.get(index))
        .map(|(_, media_type)| *media_type)
}

fn ending(name: &str) -> Option<String> {
    let (stem, ending) = name.rsplit_once('.')?;
    (!stem.is_empty() && !ending.is_empty()).then(|| ending.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_row_is_found() {
        for (ending, media_type) in BY_ENDING {
            assert_eq!(by_ending(&format!("a.{ending}")), Some(*media_type));
            assert_eq!(
                by_ending(&format!("A.{}", ending.to_uppercase())),
                Some(*media_type)
            );
        }
        for name in ["mp4", ".mp4", "a.", "a.unknown", "", "a.mp4.part"] {
            assert_eq!(by_ending(name), None, "{name}");
        }
    }

    #[test]
    fn what_can_run_is_active_however_it_is_written() {
        for active in [
            "text/html",
            "image/png;,text/html",
            "image/png;,image/svg+xml",
            "TEXT/HTML; charset=utf-8",
            "image/svg+xml",
            "Image/SVG+XML",
            "application/xml",
            "text/xml",
            "application/xhtml+xml",
            "text/javascript",
            "application/javascript",
            "application/ecmascript",
            "text/css",
            "application/pdf",
            "application/x-shockwave-flash",
            "application/wasm",
            "text/xsl",
            "application/rdf+xml",
            "application/mathml+xml",
            "multipart/x-mixed-replace; boundary=a",
            "message/rfc822",
            "application/json",
            "application/hta",
            "text/vbscript",
            "text/x-component",
            "application/java-archive",
            "text/cache-manifest",
            "application/octet-stream",
            "",
            "video",
            "text",
        ] {
            assert!(!is_passive(active), "{active}");
        }
        for passive in [
            "video/mp4",
            "audio/mpeg",
            "image/png",
            "text/plain; charset=utf-8",
            "VIDEO/WEBM",
        ] {
            assert!(is_passive(passive), "{passive}");
        }
    }

    #[test]
    fn a_stored_type_that_is_no_type_is_not_believed() {
        for bad in [
            "",
            "video",
            "video/",
            "/mp4",
            "a b/c",
            "video/mp4\r\nX: y",
            "vidéo/mp4",
        ] {
            assert!(!is_media_type(bad), "{bad}");
        }
        assert!(is_media_type("text/plain; charset=\"utf-8\""));
    }
}
