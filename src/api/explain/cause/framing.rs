//! Clues to a body that cannot be read as a form, to one that holds too much before its file, and to bytes that are not the right ones.
//!
//! Owns: what broken framing, a misnamed file and a differing digest tell of the program that wrote the body.
//! Never does: parse; the guard's words say where reading stopped, and what was seen until then says more.
//! Invariant: a clue that speaks of the boundary applies only when no part was found.

use super::{Clue, Facts, when};
use crate::api::error::ErrorCode as Code;
use crate::policy::only_fields_of_an_uploader;

/// For a body that is not well-formed.
pub(super) const MALFORMED: &[Clue] = &[
    no_boundary,
    bad_boundary,
    encoded_body,
    boundary_differs,
    folded_line,
    bare_line_feeds,
    truncated,
    too_many,
    head_in_other_encoding,
    head_of_part,
    unreadable_head,
];

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
    let began = f.seen.unfinished_part().is_some() || !f.seen.unread_parts().is_empty();
    f.seen.file().is_none() && !began
}

fn encoded_body(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.is_encoded && nothing_was_read(f),
        "The request has a Content-Encoding (gzip?), and a form's body is taken as it comes: send it uncompressed, and without that header.",
    )
}

fn boundary_differs(f: &Facts<'_>) -> Option<String> {
    let is_cut = f.refusal.message.contains("before the closing delimiter");
    when(
        is_cut && nothing_was_read(f) && f.asked.content_length != Some(0),
        "No part of the form was found: the boundary in the Content-Type header is not the one in the body (the header was set by hand, or \
         copied from another request), or the body is empty.",
    )
}

fn folded_line(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("must not be folded"),
        "A part's header has a line that goes on in the next one, which begins with a blank, or a bare line feed or a null byte in it; write \
         each header on one line, with CR LF at its end.",
    )
}

fn bare_line_feeds(f: &Facts<'_>) -> Option<String> {
    let faults = ["followed by CR LF", "at the start of a line"];
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

fn head_in_other_encoding(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("headers must be UTF-8"),
        "A part's header holds bytes that are no UTF-8: the file's name, or a field's, is in another encoding such as Latin-1; write it in UTF-8.",
    )
}

fn unreadable_head(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("cannot be read"),
        "A part's header has more lines than a part may have (32), a control character in one of them, or a line that is no header: without a \
         colon, or with a blank in or behind its name.",
    )
}

fn head_of_part(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("Content-Disposition") || f.refusal.message.contains("part's"),
        "A part's header is not as browsers write it: every part has one line Content-Disposition: form-data; name=\"...\", the file's with \
         filename=\"...\" as well.",
    )
}

pub(super) fn file_under_other_name(f: &Facts<'_>) -> Option<String> {
    let named = f.seen.other_files().first()?;
    let is_about_it =
        f.refusal.code != Code::InvalidArgument || f.refusal.extra("ArgumentName") == Some("file");
    (is_about_it && !f.seen.is_complete()).then(|| {
        format!(
            "The file's part is called '{named}' and must be called 'file' (file_data_name, paramName, fieldName or fileParameterName of the uploader)."
        )
    })
}

pub(super) fn large_field(f: &Facts<'_>) -> Option<String> {
    let name = f.seen.unfinished_part()?;
    Some(format!(
        "The fields passed 20,480 bytes in all in the field '{name}' or right behind it; a file must be in the part called 'file', and long data does not belong into fields."
    ))
}

pub(super) fn large_fields(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The fields before the file have more than 20,480 bytes in all; leave out what the upload does not need.",
    )
}

pub(super) fn no_file(f: &Facts<'_>) -> Option<String> {
    let extra = |element| f.refusal.extra(element);
    let is_missing = extra("ArgumentName") == Some("file") && extra("ArgumentValue") == Some("0");
    is_missing.then(|| match only_fields_of_an_uploader(f.seen.form()) {
        Some(sentence) => sentence.to_owned(),
        None => "The form ends without a part called 'file': no file was chosen, or it was appended under another name or as text.".to_owned(),
    })
}

pub(super) fn two_files(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.extra("ArgumentValue") == Some("2"),
        "Two parts of the form are called 'file', and a session takes one file a post: the page appends the file twice, or its uploader \
         sends something of its own under that name.",
    )
}

pub(super) fn repeated_field(f: &Facts<'_>) -> Option<String> {
    let name = f.refusal.extra("ArgumentName")?;
    f.refusal.message.contains("more than once").then(|| {
        format!(
            "The field '{name}' is there twice: page and uploader both add it, or FormData.append ran twice where set was meant."
        )
    })
}

pub(super) fn not_text(f: &Facts<'_>) -> Option<String> {
    let name = f.refusal.extra("ArgumentName")?;
    f.refusal.message.contains("UTF-8").then(|| {
        format!("The field '{name}' holds bytes that are no UTF-8: it is a file's content in a field, or a text in another encoding.")
    })
}

pub(super) fn many_fields(f: &Facts<'_>) -> Option<String> {
    when(
        f.refusal.message.contains("more than 100 fields"),
        "The form has more fields than a form may; put what the upload does not need elsewhere.",
    )
}

pub(super) fn file_name_blown_up(f: &Facts<'_>) -> Option<String> {
    when(
        f.seen.file().is_some(),
        "The fields are too large: with the file's name in place of every ${filename} they pass what a form may hold.",
    )
}

pub(super) fn digest_of_whole(f: &Facts<'_>) -> Option<String> {
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

pub(super) fn digest(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The bytes that came are not those that the digest was computed from: the file changed in between, was encoded on its way, or the digest \
         is of something else.",
    )
}

pub(super) fn announced(f: &Facts<'_>) -> Option<String> {
    let length = f.asked.content_length?;
    Some(format!(
        "The request announces {length} bytes, which is more than one form post may bring; use a multipart upload, or an upload session."
    ))
}

pub(super) fn connection_broke(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The body stopped coming before its end: the page was left, the network broke or stood still, or a proxy in between gave up. Send it again.",
    )
}

pub(super) fn no_length(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The request has neither a body nor a Content-Length: no form was sent.",
    )
}

pub(super) fn framing(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The request's own framing is refused before the form is looked at; the message says which header is meant.",
    )
}

pub(super) fn not_here(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The form asks for what this server does not do, and it does not pretend; leave the field out of form and policy.",
    )
}
