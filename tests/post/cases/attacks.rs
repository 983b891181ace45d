//! What went wrong elsewhere (reference, section 4), each against a form that is otherwise validly signed.

use super::Post;
use super::fields::encoded;
use super::row::{Row, failed, refused, row, stored};

/// Keys that would leave a folder, if a key ever became a path; here a key is only a name.
const TRAVERSALS: &[&str] = &[
    "../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "////a",
    "in/../../a",
    "..",
    ".",
    "./a",
    "in/./a",
    "in//a",
    "..\\..\\windows\\win.ini",
    "C:\\windows\\win.ini",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fetc/passwd",
    "..%c0%af..%c0%afetc/passwd",
    "in/a\0.bin",
    "\0",
    "in/a\u{202e}nib.exe",
    "~/.ssh/authorized_keys",
    "CON",
    "objects/ab/598358fe6baa605b1e33754e",
    "index/db",
    "LOCK",
    "catalog.json",
    ".minio.sys/config/config.json",
    "in/a;rm -rf .",
    "|id",
    "in/\u{fe56}..\u{2215}..\u{2215}a",
];

/// The same by the name of the file: what is after the last slash is all that counts.
const FILE_NAMES: &[(&str, &str)] = &[
    ("../x", "x"),
    ("..\\x", "x"),
    ("../../../../etc/passwd", "passwd"),
    ("..", ".."),
    ("%2e%2e%2fx", "%2e%2e%2fx"),
    ("..%2fx", "..%2fx"),
    ("x/..", ".."),
];

/// Names that servers keep for themselves.
const RESERVED: &[&str] = &[
    ".minio.sys",
    "minio",
    "admin",
    "v1",
    "..",
    "objects",
    "index",
    "_admin",
    "metrics",
    "livez",
    "openapi.json",
];

const MEDIA_TYPES: &[&str] = &[
    "multipart/form-data; boundary={B}",
    "multipart/form-datA; boundary={B}",
    "MULTIPART/FORM-DATA;boundary={B}",
    "multipart/form-data ; boundary={B}; x=y",
];

pub(crate) fn rows() -> Vec<Row> {
    [traversals(), reserved_names(), conditions(), readers()]
        .into_iter()
        .flatten()
        .collect()
}

fn traversals() -> Vec<Row> {
    let mut rows = Vec::new();
    for key in TRAVERSALS {
        rows.push(row(
            format!("the key {key:?} is only a name"),
            |p| {
                p.key(key);
            },
            stored().under(*key).answered(
                "location",
                format!("http://127.0.0.1:7080/uploads/{}", encoded(key)),
            ),
        ));
    }
    for (name, means) in FILE_NAMES {
        rows.push(row(
            format!("the file name {name:?} leads nowhere"),
            |p| {
                p.file_name(name).key("in/${filename}");
            },
            stored().under(format!("in/{means}")),
        ));
    }
    rows.push(row(
        "a NUL in the file's name",
        |p| {
            p.file_name("a\0b").key("in/${filename}");
        },
        super::row::malformed(),
    ));
    rows.push(row(
        "a traversal under a prefix that was signed stays under it",
        |p| {
            p.uncondition("in/a.bin")
                .condition("[\"starts-with\",\"$key\",\"in/\"]");
            p.set("key", "in/../../out");
        },
        stored().under("in/../../out"),
    ));
    rows.push(row(
        "a traversal that only means the prefix that was signed does not have it",
        |p| {
            p.uncondition("in/a.bin")
                .condition("[\"starts-with\",\"$key\",\"in/\"]");
            p.set("key", "out/../in/a");
        },
        failed("[\"starts-with\",\"$key\",\"in/\"]"),
    ));
    rows
}

/// One parsed media type decides, and a name that is not a bucket's is none however the form spells itself.
fn reserved_names() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in RESERVED {
        for media_type in MEDIA_TYPES {
            // `/v1` is REST's; what lies beyond the bucket's name is another test's.
            if *name == "v1" {
                continue;
            }
            let is_bucket_name =
                name.len() >= 3 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'.');
            let expected = match is_bucket_name && !name.starts_with('.') {
                true => failed("[\"eq\", \"$bucket\", \"uploads\"]"),
                false => refused("NoSuchBucket"),
            };
            rows.push(row(
                format!("the reserved name {name:?} and a form that is {media_type:?}"),
                move |p| {
                    p.to("POST", &format!("/{name}")).content_type(media_type);
                    p.header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
                },
                expected,
            ));
        }
    }
    rows
}

/// Servers that proved the signature and forgot the rest.
fn conditions() -> Vec<Row> {
    vec![
        row(
            "a valid signature under an expiration that is past",
            |p| p.expiration = "2026-11-22T13:19:59Z".to_owned(),
            refused("AccessDenied").saying("Invalid according to Policy: Policy expired."),
        ),
        row(
            "a valid signature and a key outside its prefix",
            |p| {
                p.uncondition("in/a.bin")
                    .condition("[\"starts-with\",\"$key\",\"in/\"]");
                p.set("key", "other/a.bin");
            },
            failed("[\"starts-with\",\"$key\",\"in/\"]"),
        ),
        row(
            "a valid signature and another type",
            |p| {
                p.condition("[\"starts-with\",\"$Content-Type\",\"image/\"]")
                    .set("Content-Type", "text/html");
            },
            failed("[\"starts-with\",\"$Content-Type\",\"image/\"]"),
        ),
        row(
            "a valid signature and a byte too much",
            |p| {
                p.condition("[\"content-length-range\",0,20]");
            },
            refused("EntityTooLarge").element("ProposedSize", "21"),
        ),
        row(
            "a valid signature and the client's own key for encryption, which nobody allowed",
            |p| {
                p.set("x-amz-server-side-encryption-customer-algorithm", "AES256")
                    .set(
                        "x-amz-server-side-encryption-customer-key",
                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                    )
                    .set(
                        "x-amz-server-side-encryption-customer-key-MD5",
                        "cLwhlD1IGZ4yLMYTNzkpZA==",
                    );
            },
            super::row::extra("x-amz-server-side-encryption-customer-algorithm"),
        ),
        row(
            "a form for bucket A with the field of A posted to B (CVE-2023-43040)",
            |p| {
                p.to("POST", "/other-bucket").set("bucket", "uploads");
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a dollar in a condition's value is not looked up",
            |p| {
                p.condition("[\"eq\",\"$x-amz-meta-a\",\"$key\"]")
                    .set("x-amz-meta-a", "in/a.bin");
            },
            failed("[\"eq\",\"$x-amz-meta-a\",\"$key\"]"),
        ),
        row(
            "a list of types of which one does not fit (supabase#1431)",
            |p| {
                p.condition("[\"starts-with\",\"$Content-Type\",\"image/\"]")
                    .set("Content-Type", "image/png,text/plain");
            },
            failed("[\"starts-with\",\"$Content-Type\",\"image/\"]"),
        ),
        row(
            "a key that joins its bucket without a slash",
            |p| {
                p.key("a");
            },
            stored()
                .under("a")
                .answered("location", "http://127.0.0.1:7080/uploads/a"),
        ),
    ]
}

/// A proxy or a library before us may read the form in another way; what can be read in two ways is refused.
fn readers() -> Vec<Row> {
    let twice = |p: &mut Post, name: &'static str, value: &'static str| {
        p.late(move |fields| fields.push(super::Part::new(name, value)));
    };
    vec![
        row(
            "a second key that a lax reader would store",
            move |p| twice(p, "KEY", "in/evil.bin"),
            refused("InvalidArgument").element("ArgumentName", "key"),
        ),
        row(
            "a second policy that a lax reader would judge",
            move |p| twice(p, "Policy", "e30="),
            refused("InvalidArgument").element("ArgumentName", "policy"),
        ),
        row(
            "a field's name hidden in the file name of another",
            |p| {
                p.set("x-ignore-a", "public-read");
                p.head("x-ignore-a", "Content-Disposition: form-data; name=\"x-ignore-a\"; filename=\"\\\"; name=\\\"acl\"");
            },
            stored(),
        ),
        row(
            "a whole form inside the file is only bytes",
            |p| {
                p.file("--inner\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nevil\r\n--inner--\r\n");
            },
            stored(),
        ),
        row(
            "a nested multipart inside a field is only its value",
            |p| {
                p.allow("x-amz-meta-a", "--inner");
                p.head("x-amz-meta-a", "Content-Disposition: form-data; name=\"x-amz-meta-a\"\r\nContent-Type: multipart/mixed; boundary=inner");
            },
            stored().with("x-amz-meta-a", "--inner"),
        ),
        row(
            "headers of the request set no field",
            |p| {
                p.header("x-amz-acl", "public-read")
                    .header("x-amz-meta-a", "1")
                    .header("x-amz-storage-class", "GLACIER");
            },
            stored(),
        ),
        row(
            "a header that overrides the method overrides nothing",
            |p| {
                p.header("x-http-method-override", "DELETE");
            },
            stored(),
        ),
        row(
            "a body that says it is packed is not unpacked",
            |p| {
                p.header("content-encoding", "identity");
            },
            stored(),
        ),
    ]
}
