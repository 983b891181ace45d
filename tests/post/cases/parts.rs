//! The heads of the parts: which of them is the file, what its name is, and what can be read in two ways (reference 1.3, D1, D2).

use super::row::{Row, bad_field, denied, extra, malformed, missing, refused, row, stored};
use super::{Expected, Part};

/// Heads of the field `key` that mean what they say, or are not known to mean anything else.
const GOOD_HEADS: &[(&str, &str)] = &[
    (
        "a name without quotes",
        "Content-Disposition: form-data; name=key",
    ),
    (
        "header names without case",
        "CONTENT-DISPOSITION: form-data; name=\"key\"",
    ),
    (
        "no blank behind the semicolon",
        "Content-Disposition: form-data;name=\"key\"",
    ),
    (
        "a type of its own",
        "Content-Disposition: form-data; name=\"key\"\r\nContent-Type: text/plain",
    ),
    (
        "a charset of its own, which is not believed",
        "Content-Disposition: form-data; name=\"key\"\r\nContent-Type: text/plain; charset=utf-16",
    ),
    (
        "a transfer encoding, which forms do not have",
        "Content-Disposition: form-data; name=\"key\"\r\nContent-Transfer-Encoding: 8bit",
    ),
    (
        "other header lines",
        "X-One: 1\r\nContent-Disposition: form-data; name=\"key\"\r\nX-Two: 2",
    ),
    (
        "the file name of a file",
        "Content-Disposition: form-data; name=\"key\"; filename=\"file\"",
    ),
    (
        "a file name in two spellings",
        "Content-Disposition: form-data; name=\"key\"; filename=\"a\"; filename*=UTF-8''b",
    ),
];

/// Heads that are refused whole: some are broken, and some our own reader and the parser behind it would read as two names.
const BAD_HEADS: &[(&str, &[u8])] = &[
    (
        "a disposition in capitals",
        b"Content-Disposition: Form-Data; Name=\"key\"",
    ),
    (
        "a name inside the file name before it",
        b"Content-Disposition: form-data; filename=\"; name=other; \"; name=\"key\"",
    ),
    ("no header line", b""),
    ("no disposition", b"Content-Type: text/plain"),
    ("another disposition", b"Content-Disposition: attachment; name=\"key\""),
    ("a disposition that only begins right", b"Content-Disposition: form-data-x; name=\"key\""),
    ("a disposition without a name", b"Content-Disposition: form-data"),
    ("a disposition with only a file name", b"Content-Disposition: form-data; filename=\"key\""),
    ("a name inside a file name", b"Content-Disposition: form-data; filename=\"x; name=key\""),
    ("two names", b"Content-Disposition: form-data; name=\"key\"; name=\"acl\""),
    ("one name twice", b"Content-Disposition: form-data; name=\"key\"; name=\"key\""),
    ("two names in two cases", b"Content-Disposition: form-data; name=\"key\"; NAME=\"acl\""),
    ("two file names", b"Content-Disposition: form-data; name=\"key\"; filename=\"a\"; filename=\"b\""),
    (
        "two dispositions",
        b"Content-Disposition: form-data; name=\"key\"\r\nContent-Disposition: form-data; name=\"acl\"",
    ),
    ("a name without its closing quote", b"Content-Disposition: form-data; name=\"key"),
    ("text behind a name", b"Content-Disposition: form-data; name=\"key\" x"),
    ("a parameter without a value", b"Content-Disposition: form-data; name"),
    ("a value without a parameter", b"Content-Disposition: form-data; =\"key\""),
    ("a folded line", b"Content-Disposition: form-data;\r\n name=\"key\""),
    ("a line feed in a name", b"Content-Disposition: form-data; name=\"ke\ny\""),
    ("a NUL in a name", b"Content-Disposition: form-data; name=\"ke\0y\""),
    ("a name that is no UTF-8", b"Content-Disposition: form-data; name=\"ke\xff\""),
];

fn no_file() -> Expected {
    refused("InvalidArgument")
        .saying("POST requires exactly one file upload per request.")
        .element("ArgumentName", "file")
        .element("ArgumentValue", "0")
}

pub(crate) fn rows() -> Vec<Row> {
    [heads(), the_file(), behind_the_file()]
        .into_iter()
        .flatten()
        .collect()
}

fn heads() -> Vec<Row> {
    let mut rows = Vec::new();
    for (says, head) in GOOD_HEADS {
        rows.push(row(
            format!("a field may have {says}"),
            move |p| {
                p.head("key", head);
            },
            stored(),
        ));
    }
    for (says, head) in BAD_HEADS {
        rows.push(row(
            format!("a field must not have {says}"),
            move |p| {
                p.head("key", head);
            },
            malformed(),
        ));
        rows.push(row(
            format!("nor may the file have {says}"),
            move |p| {
                p.file.head = Some([head, b"\r\n".as_slice()].concat());
            },
            malformed(),
        ));
    }
    rows
}

fn the_file() -> Vec<Row> {
    vec![
        row(
            "no part is the file",
            |p| p.file.name = "data".to_owned(),
            no_file(),
        ),
        row(
            "a part with a file name and another name is no file",
            |p| p.file.name = "upload".to_owned(),
            no_file(),
        ),
        row(
            "a name that only begins like the file's is no file",
            |p| p.file.name = "file[]".to_owned(),
            no_file(),
        ),
        row(
            "the file's name has no case",
            |p| p.file.name = "FiLe".to_owned(),
            stored(),
        ),
        row(
            "the file needs no file name",
            |p| p.file.file_name = None,
            stored(),
        ),
        row(
            "the file's own type is not stored",
            |p| p.file.more = "Content-Type: text/html\r\n".to_owned(),
            stored(),
        ),
        row(
            "the file's own type meets no condition",
            |p| {
                p.file.more = "Content-Type: image/png\r\n".to_owned();
                p.condition("[\"starts-with\",\"$Content-Type\",\"image/\"]");
            },
            super::row::failed("[\"starts-with\",\"$Content-Type\",\"image/\"]"),
        ),
        row(
            "a file without a header but its disposition",
            |p| p.file.head = Some(b"Content-Disposition: form-data; name=\"file\"\r\n".to_vec()),
            stored(),
        ),
        row(
            "a file that says it is encoded is stored as it came",
            |p| p.file.more = "Content-Transfer-Encoding: base64\r\n".to_owned(),
            stored(),
        ),
        row(
            "the file comes first, and every field behind it is ignored",
            |p| {
                p.late(|fields| {
                    let file = Part::new("file", "x");
                    fields.insert(0, file);
                });
            },
            missing("key"),
        ),
        row(
            "two files before the fields are done: the first ends the fields",
            |p| {
                p.late(|fields| fields.insert(1, Part::new("file", "x")));
            },
            denied(),
        ),
    ]
}

fn behind_the_file() -> Vec<Row> {
    vec![
        row(
            "a field behind the file is ignored and needs no condition",
            |p| {
                p.behind("acl", "public-read");
            },
            stored(),
        ),
        row(
            "the submit button behind the file is ignored",
            |p| {
                p.behind("submit", "Upload");
            },
            stored(),
        ),
        row(
            "the submit button before the file needs a condition",
            |p| {
                p.set("submit", "Upload");
            },
            extra("submit"),
        ),
        row(
            "a second file behind the first never becomes its bytes",
            |p| {
                p.behind("file", "other bytes");
            },
            stored(),
        ),
        row(
            "a second key behind the file changes nothing",
            |p| {
                p.behind("key", "in/other.bin");
            },
            stored(),
        ),
        row(
            "a redirect behind the file is not followed",
            |p| {
                p.behind("success_action_redirect", "http://evil.example/");
            },
            stored(),
        ),
        row(
            "a field behind the file may be no UTF-8",
            |p| {
                p.behind("junk", b"\xff\xfe");
            },
            stored(),
        ),
        row(
            "a part behind the file must still be one",
            |p| {
                p.after.push(Part {
                    head: Some(b"Content-Type: text/plain\r\n".to_vec()),
                    ..Part::new("x", "x")
                });
            },
            malformed(),
        ),
        row(
            "too much behind the file is no form",
            |p| {
                p.behind("junk", "x".repeat(20_480));
            },
            malformed(),
        ),
        row(
            "a key behind the file is no key",
            |p| move_behind(p, "key"),
            missing("key"),
        ),
        row(
            "a policy behind the file is no policy",
            |p| move_behind(p, "policy"),
            missing("policy"),
        ),
        row(
            "a signature behind the file is no signature",
            |p| move_behind(p, super::post::signature_field(p.version)),
            refused("InvalidArgument")
                .about("ignature'.  If it is specified, please check the order of the fields."),
        ),
        row(
            "a field that is no UTF-8",
            |p| {
                p.allow("x-amz-meta-a", b"\xff");
            },
            bad_field("x-amz-meta-a", ""),
        ),
    ]
}

/// The field is sent, but behind the file.
fn move_behind(p: &mut super::Post, name: &'static str) {
    let sent = p.send().field(name);
    p.leave_out(name).behind(name, sent);
}
