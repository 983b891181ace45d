//! The request around the form: its line, its headers, its boundary, its end (reference 1.1, 1.3 and step 1 of 2.7).

use super::row::{Expected, Row, denied, malformed, refused, row, stored};

/// Recorded.
fn no_form() -> Expected {
    refused("PreconditionFailed")
        .saying("At least one of the pre-conditions you specified did not hold")
        .element(
            "Condition",
            "Bucket POST must be of the enclosure-type multipart/form-data",
        )
}

fn not_allowed() -> Expected {
    refused("MethodNotAllowed").saying("The specified method is not allowed against this resource.")
}

const IS_A_FORM: &[&str] = &[
    "multipart/form-data; boundary={B}",
    "Multipart/Form-Data; boundary={B}",
    "MULTIPART/FORM-DATA; BOUNDARY={B}",
    "multipart/form-datA; boundary={B}",
    "multipart/form-data;boundary={B}",
    "multipart/form-data ; boundary={B}",
    "multipart/form-data;\tboundary={B}",
    "multipart/form-data; boundary=\"{B}\"",
    "multipart/form-data; charset=utf-8; boundary={B}",
    "multipart/form-data; boundary={B}; charset=utf-8",
    "multipart/form-data; boundary={B};",
];

const IS_NO_FORM: &[&str] = &[
    "text/plain",
    "",
    "multipart/form-datax; boundary={B}",
    "xmultipart/form-data; boundary={B}",
    "multipart/form-data-evil; boundary={B}",
    "multipart/mixed; boundary={B}",
    "multipart/form data; boundary={B}",
    "multipart; boundary={B}",
    "application/x-www-form-urlencoded",
    "application/json; type=multipart/form-data; boundary={B}",
    "text/plain, multipart/form-data; boundary={B}",
    "multipart/form-data, text/plain; boundary={B}",
    "multipart/form-dat\u{e4}; boundary={B}",
];

const BAD_BOUNDARIES: &[(&str, &str)] = &[
    ("no boundary", "multipart/form-data"),
    (
        "no boundary but other parameters",
        "multipart/form-data; charset=utf-8",
    ),
    ("an empty boundary", "multipart/form-data; boundary="),
    (
        "an empty boundary in quotes",
        "multipart/form-data; boundary=\"\"",
    ),
    (
        "two boundaries",
        "multipart/form-data; boundary={B}; boundary=B",
    ),
    (
        "one boundary twice",
        "multipart/form-data; boundary={B}; boundary={B}",
    ),
    (
        "a boundary of 71 characters",
        "multipart/form-data; boundary=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    ),
    (
        "a boundary with a character of no boundary",
        "multipart/form-data; boundary=a*b",
    ),
    (
        "a boundary that ends in a blank",
        "multipart/form-data; boundary=\"b \"",
    ),
    (
        "a boundary of another form",
        "multipart/form-data; boundary=----another",
    ),
    (
        "a boundary that is only the beginning",
        "multipart/form-data; boundary=----form",
    ),
];

pub(crate) fn rows() -> Vec<Row> {
    [
        media_types(),
        boundaries(),
        requests(),
        around_the_parts(),
        ends(),
        pieces(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn media_types() -> Vec<Row> {
    let mut rows = Vec::new();
    for spelling in IS_A_FORM {
        rows.push(row(
            format!("a form may call itself {spelling:?}"),
            |p| {
                p.content_type(spelling);
            },
            stored(),
        ));
    }
    for spelling in IS_NO_FORM {
        rows.push(row(
            format!("{spelling:?} is no form"),
            |p| {
                p.content_type(spelling);
            },
            no_form(),
        ));
    }
    rows.push(row(
        "no content type is no form",
        |p| p.content_types.clear(),
        no_form(),
    ));
    rows.push(row(
        "two content types are none, although both are forms",
        |p| p.content_types.push(p.content_types[0].clone()),
        no_form(),
    ));
    rows.push(row(
        "of two content types not even the first counts",
        |p| p.content_types.push("text/plain".to_owned()),
        no_form(),
    ));
    rows
}

fn boundaries() -> Vec<Row> {
    let mut rows: Vec<_> = BAD_BOUNDARIES
        .iter()
        .map(|(says, content_type)| {
            row(
                *says,
                |p| {
                    p.content_type(content_type);
                },
                malformed(),
            )
        })
        .collect();
    for (says, boundary) in [
        ("a boundary of one character", "b".to_owned()),
        ("a boundary of 70 characters", "b".repeat(70)),
        ("a boundary of hyphens alone", "-".repeat(70)),
        (
            "a boundary as WebKit makes it",
            "----WebKitFormBoundarymYuHCjCTlmXMSuBy".to_owned(),
        ),
        (
            "a boundary as Ruby makes it",
            "8XbaeVoBdA6r69hjuzJfeckHJeQsH8_ekPwxnQqtKBELBdqe1KStcw".to_owned(),
        ),
        (
            "a boundary with all that RFC 2046 allows",
            "'()+_,-./:=?0aZ".to_owned(),
        ),
    ] {
        rows.push(row(
            says,
            move |p| {
                p.content_type("multipart/form-data; boundary=\"{B}\"");
                p.boundary.clone_from(&boundary);
            },
            stored(),
        ));
    }
    rows
}

fn requests() -> Vec<Row> {
    vec![
        row("the plain valid form is accepted", |_| {}, stored()),
        row(
            "the bucket's URL may end in a slash",
            |p| p.target.push('/'),
            stored(),
        ),
        row(
            "the bucket may stand in the host",
            |p| {
                p.host = "uploads.localhost:7080".to_owned();
                p.to("POST", "/");
            },
            stored().answered("location", "http://localhost:7080/uploads/in%2Fa.bin"),
        ),
        row(
            "a form to the service itself is for no bucket",
            |p| {
                p.to("POST", "/");
            },
            not_allowed(),
        ),
        row(
            "a form to the URL of its object is refused",
            |p| {
                p.to("POST", "/uploads/in/a.bin");
            },
            not_allowed(),
        ),
        row(
            "a form to the URL of another object is refused",
            |p| {
                p.to("POST", "/uploads/other");
            },
            not_allowed(),
        ),
        row(
            "a form to a key below the bucket's host is refused",
            |p| {
                p.host = "uploads.localhost:7080".to_owned();
                p.to("POST", "/in/a.bin");
            },
            not_allowed(),
        ),
        row(
            "the query delete wins over the form",
            |p| {
                p.to("POST", "/uploads?delete");
            },
            not_allowed(),
        ),
        row(
            "the query uploads wins over the form",
            |p| {
                p.to("POST", "/uploads/?uploads=");
            },
            not_allowed(),
        ),
        row(
            "a signature in the query is not accepted on a form",
            |p| {
                p.to(
                    "POST",
                    "/uploads?X-Amz-Signature=00&X-Amz-Algorithm=AWS4-HMAC-SHA256",
                );
            },
            not_allowed(),
        ),
        row(
            "PUT of a form is no form post, and nobody signed it",
            |p| {
                p.to("PUT", "/uploads");
            },
            denied(),
        ),
        row(
            "PATCH of a form is no form post, and nobody signed it",
            |p| {
                p.to("PATCH", "/uploads");
            },
            denied(),
        ),
        row(
            "a method in lower case is another method",
            |p| {
                p.to("post", "/uploads");
            },
            denied(),
        ),
        row(
            "a bucket that is not there, by somebody who may sign",
            |p| {
                p.uncondition("bucket")
                    .condition("[\"starts-with\",\"$bucket\",\"\"]");
                p.to("POST", "/no-such-bucket");
            },
            refused("NoSuchBucket").element("BucketName", "no-such-bucket"),
        ),
        row(
            "a bucket that is not there, by nobody",
            |p| {
                p.unsigned().to("POST", "/no-such-bucket");
            },
            denied(),
        ),
        row(
            "a name that no bucket can have",
            |p| {
                p.to("POST", "/Not_A_Bucket");
            },
            refused("NoSuchBucket"),
        ),
        row(
            "neither a length nor a body",
            |p| {
                p.announced = Some(String::new());
                p.bytes(|_| Vec::new());
            },
            refused("MissingContentLength")
                .saying("You must provide the Content-Length HTTP header."),
        ),
        row(
            "a length and no body",
            |p| {
                p.bytes(|_| Vec::new());
            },
            malformed(),
        ),
        row(
            "the header Authorization plays no part in a form that is signed",
            |p| {
                p.header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=x, Signature=x",
                );
            },
            stored(),
        ),
        row(
            "a bearer token lets no unsigned form in",
            |p| {
                p.header("authorization", "Bearer dev-token").unsigned();
            },
            denied(),
        ),
    ]
}

fn around_the_parts() -> Vec<Row> {
    let preamble = |body: Vec<u8>| [b"what a mail reader shows\r\n".as_slice(), &body].concat();
    let epilogue = |body: Vec<u8>| [body.as_slice(), b"the end\r\n--"].concat();
    vec![
        row(
            "a preamble before the first delimiter is legal",
            move |p| {
                p.bytes(preamble);
            },
            stored(),
        ),
        row(
            "a first delimiter in the middle of a line is none",
            |p| {
                p.bytes(|body| [b"x".as_slice(), &body].concat());
            },
            malformed(),
        ),
        row(
            "an epilogue behind the last delimiter is legal",
            move |p| {
                p.bytes(epilogue);
            },
            stored(),
        ),
        row(
            "the last line end may be missing",
            |p| {
                p.cut(2);
            },
            stored(),
        ),
        row(
            "bare line feeds are no line ends",
            |p| {
                p.bytes(|body| {
                    let text = String::from_utf8(body).unwrap();
                    text.replace("\r\n", "\n").into_bytes()
                });
            },
            malformed(),
        ),
        row(
            "blanks behind a delimiter are no line end",
            |p| {
                p.bytes(|body| {
                    let text = String::from_utf8(body).unwrap();
                    text.replacen("YWxk\r\n", "YWxk \r\n", 1).into_bytes()
                });
            },
            malformed(),
        ),
        row(
            "a form of its closing delimiter alone",
            |p| {
                p.bytes(|body| {
                    body[body.len() - "------formBoundary7MA4YWxk--\r\n".len()..].to_vec()
                });
            },
            refused("InvalidArgument")
                .saying("POST requires exactly one file upload per request.")
                .element("ArgumentName", "file")
                .element("ArgumentValue", "0"),
        ),
        row(
            "junk that is no form at all",
            |p| {
                p.bytes(|_| b"junk".to_vec());
            },
            malformed(),
        ),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        row(
            "the closing delimiter lacks its second hyphen",
            |p| {
                p.cut(3);
            },
            malformed(),
        ),
        row(
            "the closing delimiter lacks both hyphens",
            |p| {
                p.cut(4);
            },
            malformed(),
        ),
        row(
            "the body ends in the closing delimiter's boundary",
            |p| {
                p.cut(9);
            },
            malformed(),
        ),
        row(
            "the body ends with the file's last byte",
            |p| {
                p.cut("\r\n------formBoundary7MA4YWxk--\r\n".len());
            },
            malformed(),
        ),
        row(
            "the body ends in the middle of the file",
            |p| {
                p.cut("file\r\n------formBoundary7MA4YWxk--\r\n".len());
            },
            malformed(),
        ),
        row(
            "another part follows the file and has no end",
            |p| {
                p.behind("submit", "Upload").cut(9);
            },
            malformed(),
        ),
        row(
            "after the file another part's head has no end",
            |p| {
                p.bytes(|body| {
                    let mut body = body[..body.len() - 4].to_vec();
                    body.extend_from_slice(b"\r\nContent-Disposition: form-data; na");
                    body
                });
            },
            malformed(),
        ),
        row(
            "the file is made of almost-delimiters and stays as it is",
            |p| {
                p.file("\r\n--\r\n------formBoundary7MA4YWx\r\n-\r------formBoundary7MA4YWxk--");
            },
            stored(),
        ),
        row(
            "a closing delimiter in the file ends it there",
            |p| {
                p.file("begin\r\n------formBoundary7MA4YWxk--\r\nend");
            },
            stored().holding("begin"),
        ),
        row(
            "an empty file is a file",
            |p| {
                p.file("");
            },
            stored(),
        ),
        row(
            "a file that ends in line ends keeps them",
            |p| {
                p.file("a\r\n\r\n");
            },
            stored(),
        ),
        row(
            "a file of every byte is stored as it is",
            |p| {
                let bytes: Vec<u8> = (0..=255).collect();
                p.file(bytes);
            },
            stored(),
        ),
    ]
}

fn pieces() -> Vec<Row> {
    let mut rows = Vec::new();
    for bytes in [1, 2, 7, 64, 1460] {
        rows.push(row(
            format!("the form may come in pieces of {bytes} bytes"),
            move |p| {
                p.pieces(bytes);
            },
            stored(),
        ));
        rows.push(row(
            format!("a form that is cut stores nothing in pieces of {bytes} bytes"),
            move |p| {
                p.pieces(bytes).cut(9);
            },
            malformed(),
        ));
    }
    rows
}
