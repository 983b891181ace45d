//! The likely cause of a refusal that comes before the policy or after it: the request, the multipart framing, the chunk, the store.
//!
//! Owns: the tables of clues, one for each row of the errors. The policy floor knows what is wrong with fields and policies; here is what
//! is wrong around them. A clue is a small function that knows one mistake; the first that applies speaks.
//! Never does: decide, or look at more than what was seen. Invariant: every refusal gets a sentence that says what to change, or that
//! nothing is wrong with the form.

use super::seen::{Asked, Case, Refusal, Seen};
use crate::api::error::ErrorCode as Code;
use crate::api::route::Route;
use crate::policy::only_fields_of_an_uploader;

/// What the clues look at.
struct Facts<'a> {
    asked: &'a Asked,
    seen: &'a Seen,
    refusal: &'a Refusal,
}

/// Knows one mistake.
type Clue = fn(&Facts<'_>) -> Option<String>;

/// The sentence, when the mistake was made.
fn when(made: bool, sentence: &str) -> Option<String> {
    made.then(|| sentence.to_owned())
}

/// The likely cause of a refusal.
pub(super) fn likely_cause(case: &Case, refusal: &Refusal) -> String {
    let facts = Facts {
        asked: &case.asked,
        seen: &case.seen,
        refusal,
    };
    clues(refusal.code)
        .iter()
        .chain(ANY)
        .find_map(|clue| clue(&facts))
        .unwrap_or_else(|| format!("The form breaks a rule: {}", refusal.message))
}

const fn clues(code: Code) -> &'static [Clue] {
    match code {
        Code::MethodNotAllowed => &[
            put_for_post,
            key_in_path,
            no_bucket,
            fields_in_query,
            other_operation,
        ],
        Code::PreconditionFailed => &[
            two_types,
            no_type,
            url_encoded,
            json_body,
            text_body,
            other_multipart,
            raw_file,
        ],
        Code::MalformedPOSTRequest => &[
            no_boundary,
            bad_boundary,
            boundary_differs,
            bare_line_feeds,
            truncated,
            too_many,
            head_of_part,
        ],
        Code::MaxPostPreDataLengthExceededError => {
            &[file_under_other_name, large_field, large_fields]
        }
        Code::InvalidArgument => &[file_under_other_name, no_file, chunk_numbers, empty_field],
        Code::AccessDenied => &[foreign_key],
        Code::NoSuchBucket => &[path_prefix, bucket_name, bucket_missing],
        Code::NoSuchUpload => &[session_gone],
        Code::InvalidRequest => &[verbatim_params, checksum_field],
        Code::OperationAborted => &[anonymous_chunks, other_file_same_session, session_over],
        Code::BadDigest => &[digest_of_whole, digest],
        Code::EntityTooLarge => &[announced],
        Code::IncompleteBody | Code::RequestTimeout => &[connection_broke],
        Code::MissingContentLength => &[no_length],
        Code::BadRequest => &[framing],
        Code::NotImplemented => &[not_here],
        _ => &[],
    }
}

/// What may be said whatever the row.
const ANY: &[Clue] = &[ours, value];

// The request.

fn put_for_post(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.method == "PUT",
        "The file was sent by PUT; an upload is a form here: POST multipart/form-data to /BUCKET/, with the session's fields and then the file.",
    )
}

fn key_in_path(f: &Facts<'_>) -> Option<String> {
    let Some(Route::Object { bucket, .. }) = &f.asked.route else {
        return None;
    };
    Some(format!(
        "The form was posted to a path below the bucket; post it to /{bucket}/ and name the object in the field 'key'."
    ))
}

fn no_bucket(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.route == Some(Route::Service),
        "The URL names no bucket; post the form to /BUCKET/, or to the bucket's own host name.",
    )
}

fn fields_in_query(f: &Facts<'_>) -> Option<String> {
    let is_raw = !f
        .asked
        .content_types
        .iter()
        .any(|kind| is_of(kind, "multipart/form-data"));
    when(
        f.asked.has_query && is_raw,
        "The fields are in the query and the file is the bare body, as Plupload sends it with multipart: false; send a form (multipart: true).",
    )
}

fn other_operation(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.has_query,
        "The URL has a query, and a form is posted to the bucket's URL without one; put its parameters into fields.",
    )
}

fn is_of(content_type: &str, essence: &str) -> bool {
    let sent = content_type.split(';').next().unwrap_or_default();
    sent.trim().eq_ignore_ascii_case(essence)
}

fn is_typed(f: &Facts<'_>, essence: &str) -> bool {
    f.asked
        .content_types
        .iter()
        .any(|kind| is_of(kind, essence))
}

fn two_types(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.content_types.len() > 1,
        "The request has more than one Content-Type header: one was set by hand beside the one that belongs to the form; leave yours out.",
    )
}

fn no_type(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.content_types.is_empty(),
        "The request has no Content-Type; a form is sent as multipart/form-data (a FormData object in a browser, -F with curl).",
    )
}

fn url_encoded(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "application/x-www-form-urlencoded"),
        "The form was sent url-encoded, which cannot carry a file: give an HTML form enctype=\"multipart/form-data\", use -F instead of -d with \
         curl, files= with python-requests.",
    )
}

fn json_body(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "application/json"),
        "The body is JSON, as axios and fetch send a plain object; put the fields and then the file into a FormData object.",
    )
}

fn text_body(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "text/plain"),
        "The body is plain text, as fetch sends a string and an HTML form with enctype=\"text/plain\"; send a FormData object or multipart/form-data.",
    )
}

fn other_multipart(f: &Facts<'_>) -> Option<String> {
    let is_multipart = |kind: &String| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/")
    };
    when(
        f.asked.content_types.iter().any(is_multipart),
        "The body is multipart of another kind; a form is multipart/form-data.",
    )
}

fn raw_file(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The body is the bare file, as for a PUT; send a form: the session's fields and then the file, as multipart/form-data.",
    )
}

// The framing.

fn no_boundary(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("must have a boundary"),
        "The Content-Type header was set by hand, without its boundary: with FormData leave the header out, and fetch, axios or \
         XMLHttpRequest write it themselves.",
    )
}

fn bad_boundary(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("only one boundary")
            || f.refusal.message.contains("RFC 2046 allows"),
        "The boundary in the Content-Type header is none: 1 to 70 letters, digits and a few marks, named once; let the library choose it.",
    )
}

fn nothing_was_read(f: &Facts<'_>) -> bool {
    !f.seen.is_complete() && f.seen.unfinished_part().is_none()
}

fn boundary_differs(f: &Facts<'_>) -> Option<String> {
    let is_cut = f.refusal.message.contains("before the closing delimiter");
    when(
        is_cut && nothing_was_read(f) && f.asked.content_length != Some(0),
        "No part of the form was found: the boundary in the Content-Type header is not the one in the body (the header was set by hand, or \
         copied from another request), or the body is empty.",
    )
}

fn bare_line_feeds(f: &Facts<'_>) -> Option<String> {
    let faults = [
        "followed by CR LF",
        "must end with CR LF",
        "at the start of a line",
    ];
    when(
        faults.iter().any(|fault| f.refusal.message.contains(fault)),
        "The line ends of the form are bare line feeds or something else than CR LF, as in a body that was written by hand; multipart wants \
         CR LF around every delimiter and header line.",
    )
}

fn truncated(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("before the closing delimiter"),
        "The form was cut: its last delimiter (--BOUNDARY--) never came, because the sender stopped, wrote a Content-Length that is too small, \
         or forgot the two hyphens at the end.",
    )
}

fn too_many(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("too many"),
        "The form has more parts, or comes in more pieces, than a form may; send fewer fields, and let the library write the body.",
    )
}

fn head_of_part(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("Content-Disposition") || f.refusal.message.contains("part's"),
        "A part's header is not as browsers write it: every part has one line Content-Disposition: form-data; name=\"...\", the file's with \
         filename=\"...\" as well.",
    )
}

fn file_under_other_name(f: &Facts<'_>) -> Option<String> {
    let named = f.seen.other_files().first()?;
    let is_about_it =
        f.refusal.code != Code::InvalidArgument || f.refusal.extra("ArgumentName") == Some("file");
    (is_about_it && !f.seen.is_complete()).then(|| {
        format!(
            "The file's part is called '{named}' and must be called 'file' (file_data_name, paramName, fieldName or fileParameterName of the uploader)."
        )
    })
}

fn large_field(f: &Facts<'_>) -> Option<String> {
    let name = f.seen.unfinished_part()?;
    Some(format!(
        "The field '{name}' is where the fields passed 20,480 bytes in all; a file must be in the part called 'file', and long data does not belong into fields."
    ))
}

fn large_fields(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The fields before the file have more than 20,480 bytes in all; leave out what the upload does not need.",
    )
}

fn no_file(f: &Facts<'_>) -> Option<String> {
    let is_missing = f.refusal.extra("ArgumentName") == Some("file");
    is_missing.then(|| match only_fields_of_an_uploader(f.seen.form()) {
        Some(sentence) => sentence.to_owned(),
        None => "The form ends without a part called 'file': no file was chosen, or it was appended under another name or as text.".to_owned(),
    })
}

fn empty_field(f: &Facts<'_>) -> Option<String> {
    let name = f.refusal.extra("ArgumentName")?;
    let value = f.refusal.extra("ArgumentValue").unwrap_or_default();
    when(
        value.is_empty() && !name.is_empty() && f.refusal.message.contains("more than"),
        "The form has more fields than a form may; put what the upload does not need elsewhere.",
    )
}

// The bucket and the session.

fn path_prefix(f: &Facts<'_>) -> Option<String> {
    let host = f.asked.host.as_deref().unwrap_or_default();
    f.asked.bucket_in_host.then(|| {
        format!("The host name '{host}' names the bucket here, and there is none of that name; post to the plain host name and to /BUCKET/.")
    })
}

fn bucket_name(f: &Facts<'_>) -> Option<String> {
    let Some(Route::Bucket(bucket)) = &f.asked.route else {
        return None;
    };
    crate::model::Bucket::parse(bucket).err().map(|why| {
        format!("'{bucket}' can be no bucket: its name {why}; the first part of the path is taken as the bucket.")
    })
}

fn bucket_missing(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The form is signed rightly for a bucket that does not exist here: check the bucket's name, and that this is the right server.",
    )
}

fn foreign_key(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("the key of this upload"),
        "The page changed the field 'key'; an upload session takes its own key, or that key with .N for chunk N (and Plupload's unique_names \
         must not touch it).",
    )
}

fn session_gone(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The upload session of this form is gone: it was aborted, swept because nothing came for days, or lost with a server that keeps \
         nothing (pillarbox dev); start a new one.",
    )
}

// The chunk.

fn chunk_numbers(f: &Facts<'_>) -> Option<String> {
    let message = &f.refusal.message;
    let sentence = if message.contains("the same for every chunk") {
        "The number of chunks changed during the upload: chunk_size or the file changed, or two files share one session; start one session for each file."
    } else if message.starts_with("chunk must be below chunks")
        || message.contains("must be below chunks (")
    {
        "Chunks are counted from 0, so the last one is chunks - 1; the page counts from 1, or sends chunk and chunks of different files."
    } else if message.contains("must be a whole number") {
        "A chunk field holds no plain number: the page writes undefined, NaN or a fraction into it."
    } else if message.contains("must be at most") || message.contains("must be below") {
        "The file is cut into more chunks than an upload may have; make the chunks larger."
    } else {
        return None;
    };
    Some(sentence.to_owned())
}

fn verbatim_params(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("chunk 0 of 1"),
        "The session's own chunk and chunks overwrote the uploader's (multipart_params were passed whole): delete name, chunk and chunks from \
         them when chunk_size is set, and start a new upload.",
    )
}

fn checksum_field(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("checksum"),
        "A checksum field is not what its name says: base64 of the raw bytes (a CRC big-endian), one of them only, and of the algorithm that \
         x-amz-checksum-algorithm names.",
    )
}

fn has_chunk_fields(f: &Facts<'_>) -> bool {
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

fn anonymous_chunks(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("finished with 1 chunk(s)") && !has_chunk_fields(f),
        "A second file, or a chunk without a number, came for an upload that the first completed: Dropzone 5 drops its chunk fields when params \
         is an object (use a function); for another file start another session.",
    )
}

fn other_file_same_session(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("acknowledged with other bytes"),
        "The upload is complete, and this chunk has other bytes than the one that was acknowledged: two files share one session, or the file \
         changed on disk; start a new session.",
    )
}

fn session_over(f: &Facts<'_>) -> Option<String> {
    Some(format!(
        "The upload session takes no more: {}",
        f.refusal.message
    ))
}

// The bytes.

fn digest_of_whole(f: &Facts<'_>) -> Option<String> {
    let chunks = f
        .seen
        .form()
        .get("chunks")
        .and_then(|chunks| chunks.parse::<u32>().ok());
    when(
        chunks.is_some_and(|chunks| chunks > 1),
        "The digest is not that of these bytes: in a chunked upload it must be the chunk's, and not the whole file's.",
    )
}

fn digest(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The bytes that came are not those that the digest was computed from: the file changed in between, was encoded on its way, or the digest \
         is of something else.",
    )
}

fn announced(f: &Facts<'_>) -> Option<String> {
    let length = f.asked.content_length?;
    Some(format!(
        "The request announces {length} bytes, which is more than one form post may bring; send the file in chunks."
    ))
}

fn connection_broke(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The body stopped coming before its end: the page was left, the network broke or stood still, or a proxy in between gave up. Send it again.",
    )
}

fn no_length(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The request has neither a body nor a Content-Length: no form was sent.",
    )
}

fn framing(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The request's own framing is refused before the form is looked at; the message says which header is meant.",
    )
}

fn not_here(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The form asks for what this server does not do, and it does not pretend; leave the field out of form and policy.",
    )
}

// Anything.

fn ours(f: &Facts<'_>) -> Option<String> {
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

fn value(f: &Facts<'_>) -> Option<String> {
    let name = f
        .refusal
        .extra("ArgumentName")
        .filter(|name| !name.is_empty())?;
    let message = &f.refusal.message;
    Some(format!(
        "The field '{name}' has a value that is refused: {message}"
    ))
}
