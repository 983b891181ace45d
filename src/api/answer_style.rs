//! How the posts of a session are answered when its uploader is not one that understands Amazon S3.
//!
//! Owns: the shapes of success and refusal in the styles `json` and `text`, and the form field that chooses another style than
//! the session's for one post. JSON has what Uppy (`url`), FineUploader (`success`) and Dropzone (`error`) look for; text is the
//! upload's id, which FilePond takes for the file's.
//!
//! Never does: change what is stored. Success is always 200 here: Resumable.js and Flow.js do not know 204. Invariants: the
//! headers of Amazon's answer (`ETag`, `Location`, checksum) are there in every style; what is refused before the session is
//! known is S3 XML.
//!
//! Sources: the sources of Uppy XHR upload 6.0, FineUploader 5.16, Dropzone 6.3, FilePond 4.32.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::{ResponseBody, full};
use super::error::ApiError;
use super::post_answer::Posted;
use crate::model::{AnswerStyle, Id};
use crate::policy::{ANSWER_FIELD, ChunkFields};
use crate::store::ChunkSpec;

/// What of a session a post brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct PostedChunk {
    /// The session, and the File that it becomes.
    pub(super) upload: Id,
    /// The chunk.
    pub(super) spec: ChunkSpec,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Whether the object is whole.
    pub(super) complete: bool,
}

/// The style of one post: the session's, unless a field of the form asks for another.
///
/// # Errors
/// `InvalidArgument` for a style that does not exist.
pub(super) fn of(session: AnswerStyle, fields: &ChunkFields) -> Result<AnswerStyle, ApiError> {
    match fields.other(ANSWER_FIELD) {
        None => Ok(session),
        Some(word) => parse(ANSWER_FIELD, word),
    }
}

/// A style by its word, from the parameter or field `name`.
///
/// # Errors
/// `InvalidArgument` that names it and lists the words.
pub(super) fn parse(name: &str, word: &str) -> Result<AnswerStyle, ApiError> {
    AnswerStyle::parse(word).ok_or_else(|| ApiError::invalid(name, "must be s3, json or text."))
}

/// The answer to a post that brought a chunk, or to the question whether the chunk is here; `None` where Amazon's is meant.
pub(super) fn success(
    style: AnswerStyle,
    posted: &Posted<'_>,
    chunk: PostedChunk,
) -> Option<Response<ResponseBody>> {
    let (content_type, body) = match style {
        AnswerStyle::S3 => return None,
        AnswerStyle::Json => ("application/json", success_json(posted, chunk)),
        AnswerStyle::Text => ("text/plain; charset=utf-8", chunk.upload.to_string()),
    };
    let mut response = posted.created(StatusCode::OK, full(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Some(response)
}

fn success_json(posted: &Posted<'_>, chunk: PostedChunk) -> String {
    json!({
        "success": true,
        "id": chunk.upload.to_string(),
        "url": posted.location(),
        "bucket": posted.bucket.as_str(),
        "key": posted.key.as_str(),
        "etag": posted.etag.quoted(),
        "size": chunk.size,
        "chunk": chunk.spec.index,
        "chunks": chunk.spec.nb_chunks,
        "complete": chunk.complete,
    })
    .to_string()
}

/// Content type and body of a refusal; `None` where Amazon's is meant.
pub(super) fn refusal(error: &ApiError, request_id: &str) -> Option<(&'static str, String)> {
    let (message, code) = (&error.message, error.code.name());
    let cause = error.explanation().map(|explanation| &explanation.cause);
    match error.style {
        AnswerStyle::S3 => None,
        AnswerStyle::Json => {
            let mut body = json!({ "success": false, "error": message, "code": code, "request_id": request_id });
            if let Some(id) = error.extra("UploadId") {
                body["id"] = id.into();
            }
            if let Some(cause) = cause {
                body["likely_cause"] = cause.as_str().into();
            }
            Some(("application/json", body.to_string()))
        }
        AnswerStyle::Text => {
            let cause = cause.map(|cause| format!(" Most likely: {cause}"));
            let body = format!(
                "{message} ({code}, request {request_id}){}",
                cause.unwrap_or_default()
            );
            Some(("text/plain; charset=utf-8", body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::ErrorCode;

    #[test]
    fn a_refusal_has_the_shape_that_its_uploader_shows() {
        let error = || ApiError::invalid("dzchunkindex", "must be \"whole\".");
        assert_eq!(refusal(&error(), "R1"), None);
        let (content_type, body) = refusal(&error().in_style(AnswerStyle::Json), "R1").unwrap();
        assert_eq!(content_type, "application/json");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body,
            json!({ "success": false, "error": "dzchunkindex must be \"whole\".", "code": "InvalidArgument", "request_id": "R1" })
        );
        let id = Id::parse("0123456789abcdef01234567").unwrap();
        let gone = ApiError::new(ErrorCode::NoSuchUpload, "gone").of_upload(id);
        let (_, body) = refusal(&gone.in_style(AnswerStyle::Json), "R1").unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["id"], id.to_string());
        let text = refusal(&error().in_style(AnswerStyle::Text), "R1").unwrap();
        assert_eq!(
            text,
            (
                "text/plain; charset=utf-8",
                "dzchunkindex must be \"whole\". (InvalidArgument, request R1)".to_owned()
            )
        );
    }

    #[test]
    fn the_form_may_ask_for_another_style_and_for_no_unknown_one() {
        let asked = |word: &str| ChunkFields {
            others: vec![(ANSWER_FIELD.to_owned(), word.to_owned())],
            ..ChunkFields::default()
        };
        let plain = ChunkFields::default();
        assert_eq!(of(AnswerStyle::Text, &plain).unwrap(), AnswerStyle::Text);
        for style in AnswerStyle::ALL {
            let found = of(AnswerStyle::Text, &asked(style.as_str())).unwrap();
            assert_eq!(found, style);
        }
        let refused = of(AnswerStyle::S3, &asked("xml")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
        assert_eq!(
            refused.message,
            "x-pillarbox-answer must be s3, json or text."
        );
    }
}
