//! Clues to a bucket, a session or a chunk that does not fit what is stored, and to failures of the store.
//!
//! Owns: what the store's refusals mean to the page that sends chunks.
//! Never does: tell whether a bucket exists to who may not write into it; such a refusal never comes here.
//! Invariant: a fault of the server is called one.

use super::{Facts, when};
use crate::api::error::ErrorCode as Code;
use crate::api::route::Route;
use crate::model::MAX_OBJECT_BYTES;

pub(super) fn path_prefix(f: &Facts<'_>) -> Option<String> {
    let host = f.asked.host.as_deref().unwrap_or_default();
    let prefix = &f.asked.path_prefix;
    f.asked.bucket_in_host.then(|| {
        format!(
            "The host name '{host}' names the bucket here, and there is none of that name; post to the plain host name and to {prefix}/BUCKET/."
        )
    })
}

pub(super) fn bucket_name(f: &Facts<'_>) -> Option<String> {
    let Some(Route::Bucket(bucket)) = &f.asked.route else {
        return None;
    };
    crate::model::Bucket::parse(bucket).err().map(|why| {
        format!("'{bucket}' can be no bucket: its name {why}; the first part of the path is taken as the bucket.")
    })
}

pub(super) fn bucket_missing(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The form is signed rightly for a bucket that does not exist here: check the bucket's name, and that this is the right server.",
    )
}

pub(super) fn foreign_key(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("the key of this upload"),
        "The page changed the field 'key'; an upload session takes its own key, or that key with .N for chunk N (and Plupload's unique_names \
         must not touch it).",
    )
}

pub(super) fn session_gave_way(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal
            .message
            .contains("something newer was stored under its key"),
        "All chunks had arrived, but the server could not make the file of them at once (a full disk, a restart), nobody waited for it any more, \
         and another upload of the same key was finished first; start a new one to replace that.",
    )
}

pub(super) fn session_gone(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The upload session of this form is gone: it was aborted, swept because nothing came for days, or lost with a server that keeps \
         nothing (pillarbox dev); start a new one.",
    )
}

/// What the store and the chunk's own fields say when an upload does not go on as it began.
const CHANGED: [&str; 5] = [
    "the same for every chunk",
    "same number of chunks for every chunk",
    "must fit the size of chunk 0",
    "Every chunk of this upload but the last must have",
    "This upload ",
];

pub(super) fn chunk_numbers(f: &Facts<'_>) -> Option<String> {
    let message = &f.refusal.message;
    let sentence = if CHANGED.iter().any(|words| message.contains(words)) {
        "The number or the size of the chunks changed during the upload: chunk_size or the file changed, or two files share one session; start \
         one session for each file."
    } else if message.starts_with("chunk must be below chunks")
        || message.contains("must be below chunks (")
    {
        "Chunks are counted from 0, so the last one is chunks - 1; the page counts from 1, or sends chunk and chunks of different files."
    } else if message.starts_with("chunk must say which of") {
        "The form says how many chunks there are (chunks), and not which of them this is: the field 'chunk' is missing or empty; write the chunk's \
         number into it, counted from 0."
    } else if message.contains("must be a whole number") {
        "A chunk field holds no plain number: the page writes undefined, NaN or a fraction into it."
    } else if message.contains("must be at most") && message.contains(", for ") {
        "The chunk's number lies beyond the number of chunks that the form names beside it: the two are of different files, or the page changed \
         one of them."
    } else if message.starts_with("offset must be below total") {
        "The chunk begins at the end of the file or behind it: offset and total are of different files, or the page changed one of them."
    } else if message.ends_with(&format!("must be at most {MAX_OBJECT_BYTES}.")) {
        "A chunk field names a size or a place beyond the largest file that an upload may have."
    } else if message.contains("must be at most") || message.contains("must be below") {
        "The file is cut into more chunks than an upload may have; make the chunks larger."
    } else {
        return None;
    };
    Some(sentence.to_owned())
}

pub(super) fn chunk_bytes(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("in this chunk, and"),
        "The chunk has other bytes than its own fields say: it was cut on its way, or the fields are those of another chunk.",
    )
}

pub(super) fn two_uploaders(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("contradict each other"),
        "The form has the chunk fields of two uploaders: the session's own chunk and chunks beside the uploader's; ask for the form with \
         client=NAME, which leaves them out.",
    )
}

pub(super) fn query_differs(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("may stand in the query only"),
        "The query of the post says something that the form does not say: a parameter stands only there, or has another value in the form.",
    )
}

pub(super) fn verbatim_params(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("chunk 0 of 1"),
        "The session's own chunk and chunks overwrote the uploader's (multipart_params were passed whole): delete name, chunk and chunks from \
         them when chunk_size is set, and start a new upload.",
    )
}

pub(super) fn checksum_field(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("checksum"),
        "A checksum field is not what its name says: base64 of the raw bytes (a CRC big-endian), one of them only, and of the algorithm that \
         x-amz-checksum-algorithm names.",
    )
}

pub(super) fn has_chunk_fields(f: &Facts<'_>) -> bool {
    let form = f.seen.form();
    [
        "chunk",
        "dzchunkindex",
        "qqpartindex",
        "resumablechunknumber",
        "flowchunknumber",
        "offset",
    ]
    .iter()
    .any(|name| form.get(name).is_some())
}

pub(super) fn anonymous_chunks(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("said nothing of chunks") && !has_chunk_fields(f),
        "A second file, or a chunk without a number, came for an upload that the first completed: Dropzone 5 drops its chunk fields when params \
         is an object (use a function); for another file start another session.",
    )
}

pub(super) fn other_file_same_session(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("acknowledged with other bytes"),
        "The upload is complete, and this chunk has other bytes than the one that was acknowledged: two files share one session, or the file \
         changed on disk; start a new session.",
    )
}

pub(super) fn session_over(f: &Facts<'_>) -> Option<String> {
    Some(format!(
        "The upload session takes no more: {}",
        f.refusal.message
    ))
}

pub(super) fn ours(f: &Facts<'_>) -> Option<String> {
    let status = f.refusal.code.status();
    let sentence = match f.refusal.code {
        Code::SlowDown => {
            "Nothing is wrong with the form: the server has too much to do at once; send it again after a while."
        }
        Code::InsufficientStorage => "Nothing is wrong with the form: the server's disk is full.",
        Code::ServiceUnavailable => {
            "Nothing is wrong with the form: the server takes no uploads now; its operator finds the reason in the log."
        }
        _ if status.is_server_error() => {
            "The fault is the server's and not the form's; its operator finds the reason in the log, by the request id."
        }
        _ => return None,
    };
    Some(sentence.to_owned())
}

pub(super) fn value(f: &Facts<'_>) -> Option<String> {
    let name = f
        .refusal
        .extra("ArgumentName")
        .filter(|name| !name.is_empty())?;
    let message = &f.refusal.message;
    Some(format!(
        "The field '{name}' has a value that is refused: {message}"
    ))
}
