//! The likely cause of a refusal that comes before the policy or after it: the request, the multipart framing, the chunk, the store.
//!
//! Owns: the tables of clues, one for each row of the errors. The policy floor knows what is wrong with fields and policies; here is what
//! is wrong around them. A clue is a small function that knows one mistake; the first that applies speaks.
//! Never does: decide, or look at more than what was seen. Invariant: every refusal gets a sentence that says what to change, or that
//! nothing is wrong with the form.

mod framing;
mod request;
mod session;

use super::seen::{Asked, Case, Refusal, Seen};
use crate::api::error::ErrorCode as Code;

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
    if let Some(why) = case.seen.why() {
        return why.to_owned();
    }
    clues(refusal.code)
        .iter()
        .chain(ANY)
        .find_map(|clue| clue(&facts))
        .unwrap_or_else(|| format!("The form breaks a rule: {}", refusal.message))
}

const fn clues(code: Code) -> &'static [Clue] {
    match code {
        Code::MethodNotAllowed => &[
            request::key_in_path,
            request::no_bucket,
            request::fields_in_query,
            request::other_operation,
        ],
        Code::PreconditionFailed => &[
            request::two_types,
            request::fields_in_query,
            request::no_type,
            request::url_encoded,
            request::json_body,
            request::text_body,
            request::misspelt_type,
            request::other_multipart,
            request::raw_file,
        ],
        Code::MalformedPOSTRequest => framing::MALFORMED,
        Code::MaxPostPreDataLengthExceededError => &[
            framing::file_name_blown_up,
            framing::file_under_other_name,
            framing::large_field,
            framing::large_fields,
        ],
        Code::InvalidArgument => &[
            framing::file_under_other_name,
            framing::no_file,
            framing::two_files,
            session::chunk_numbers,
            session::chunk_bytes,
            session::two_uploaders,
            session::query_differs,
            framing::repeated_field,
            framing::not_text,
            framing::many_fields,
        ],
        Code::AccessDenied => &[request::put_for_post, session::foreign_key],
        Code::NoSuchBucket => &[
            session::path_prefix,
            session::bucket_name,
            session::bucket_missing,
        ],
        Code::NoSuchUpload => &[session::session_gave_way, session::session_gone],
        Code::InvalidRequest => &[session::verbatim_params, session::checksum_field],
        Code::OperationAborted => &[
            session::anonymous_chunks,
            session::other_file_same_session,
            session::session_over,
        ],
        Code::BadDigest => &[framing::digest_of_whole, framing::digest],
        Code::EntityTooLarge => &[framing::announced],
        Code::IncompleteBody | Code::RequestTimeout => &[framing::connection_broke],
        Code::MissingContentLength => &[framing::no_length],
        Code::BadRequest => &[framing::framing],
        Code::NotImplemented => &[framing::not_here],
        _ => &[],
    }
}

/// What may be said whatever the row.
const ANY: &[Clue] = &[session::ours, session::value];
