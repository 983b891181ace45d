//! The fields that uploaders add to a form by themselves.
//!
//! Owns: which fields these are. In a form of one of our own sessions they need no condition: they say which chunk of the
//! session the form carries, describe the file to nobody who acts on it, or choose the shape of the answer.
//!
//! Never does: give them a meaning (`api/uploader_chunks.rs` does), or exempt them in anybody else's policy, where every field
//! is signed, as on Amazon S3.
//!
//! Invariant: no field that acts (key, acl, stored headers, success action, digests) has such a name.
//!
//! Sources: the sources of Dropzone 5.9 and 6.3, FineUploader 5.16, Resumable.js 1.1, Flow.js 2.14, Plupload 2.3, Uppy XHR
//! upload 6.0.

use super::form::PostForm;

/// The field that chooses the shape of the answer for one form of a session.
pub const ANSWER_FIELD: &str = "x-pillarbox-answer";

/// How the names begin that Dropzone, FineUploader, Resumable.js and Flow.js add.
const PREFIXES: [&str; 4] = ["dz", "qq", "resumable", "flow"];

/// Names that stand alone: Plupload's without chunk numbers, Uppy's about the file, and our own.
const NAMES: [&str; 5] = ["offset", "total", "type", "relativepath", ANSWER_FIELD];

/// Whether an uploader may add a field of this name, in lower case, to a form of one of our own sessions.
pub(super) fn is_uploader_field(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Those fields of a form: lower-case name and value, in the order of arrival.
pub(super) fn uploader_fields(form: &PostForm) -> Vec<(String, String)> {
    form.iter()
        .filter(|(name, _)| is_uploader_field(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_that_acts_is_an_uploaders() {
        for name in [
            "key",
            "acl",
            "bucket",
            "content-type",
            "content-md5",
            "expires",
            "tagging",
            "redirect",
            "success_action_redirect",
            "success_action_status",
            "x-amz-meta-qqfilename",
            "x-amz-checksum-crc32",
            "x-pillarbox-upload-598358fe6baa605b1e33754e",
            "file",
            "submit",
        ] {
            assert!(!is_uploader_field(name), "{name}");
        }
    }
}
