//! Fields and keys: names without case, values to the byte, repeats, limits (reference 1.2, 1.3, 1.5).

use super::row::{Row, bad_field, extra, missing, refused, row, stored};
use super::{Part, Post};

pub(crate) fn rows() -> Vec<Row> {
    [names_and_values(), repeats(), keys(), limits()]
        .into_iter()
        .flatten()
        .collect()
}

fn rename_all(p: &mut Post, name: fn(&str) -> String) {
    p.late(move |fields| {
        for field in fields {
            field.name = name(&field.name);
        }
    });
}

fn names_and_values() -> Vec<Row> {
    vec![
        row(
            "field names in upper case",
            |p| rename_all(p, str::to_uppercase),
            stored(),
        ),
        row(
            "field names in lower case",
            |p| rename_all(p, str::to_lowercase),
            stored(),
        ),
        row(
            "field names as s3-tests spells them",
            |p| {
                rename_all(p, |name| {
                    let turn = |(i, c): (usize, char)| {
                        if i % 2 == 0 {
                            c.to_ascii_lowercase()
                        } else {
                            c.to_ascii_uppercase()
                        }
                    };
                    name.chars().enumerate().map(turn).collect()
                });
            },
            stored(),
        ),
        row(
            "fields in the opposite order",
            |p| {
                p.late(|fields| fields.reverse());
            },
            stored(),
        ),
        row(
            "the key behind the signature, as minio-py sends it",
            |p| {
                p.late(|fields| fields.rotate_left(1));
            },
            stored(),
        ),
        row(
            "a name with a blank before it is another name",
            |p| {
                p.set(" key", "in/other");
            },
            extra(" key"),
        ),
        row(
            "a name with a letter that only looks like one is another name",
            |p| {
                p.late(|fields| fields[0].name = "\u{212a}ey".to_owned());
            },
            missing("key"),
        ),
        row(
            "an empty name is a name, and needs a condition",
            |p| {
                p.set("", "x");
            },
            extra(""),
        ),
        row(
            "a value keeps the blanks around it",
            |p| {
                p.key(" in/a.bin ");
            },
            stored().under(" in/a.bin "),
        ),
        row(
            "a value keeps its line ends",
            |p| {
                p.key("in/a\r\nb\n.bin");
            },
            stored().under("in/a\r\nb\n.bin"),
        ),
        row(
            "a value keeps a hyphen and a line end of its own",
            |p| {
                p.key("in/\r\n--a");
            },
            stored().under("in/\r\n--a"),
        ),
        row(
            "a value may be empty",
            |p| {
                p.cover("x-amz-meta-empty", "");
            },
            stored().with("x-amz-meta-empty", ""),
        ),
        row(
            "a value of letters beyond ASCII",
            |p| {
                p.cover("x-amz-meta-a", "Grüße 你好");
            },
            stored().with("x-amz-meta-a", "Grüße 你好"),
        ),
        row(
            "ignored fields need no condition",
            |p| {
                p.set("x-ignore-this", "1").set("X-Ignore-That", "2");
            },
            stored(),
        ),
        row(
            "ignored fields may come twice",
            |p| {
                p.set("x-ignore-a", "1").set("X-IGNORE-A", "2");
            },
            stored(),
        ),
        row(
            "a name that only begins like an ignored one",
            |p| {
                p.set("x-ignore", "1");
            },
            extra("x-ignore"),
        ),
    ]
}

fn again(name: &'static str) -> Row {
    row(
        format!("{name} must not come twice, not even with the same value"),
        move |p| {
            p.late(move |fields| {
                let first = fields.iter().find(|f| f.name.eq_ignore_ascii_case(name));
                let mut again = first.unwrap().clone();
                again.name = again.name.to_uppercase();
                fields.push(again);
            });
        },
        refused("InvalidArgument").element("ArgumentName", name),
    )
}

fn repeats() -> Vec<Row> {
    let mut rows = vec![again("key"), again("policy")];
    for name in ["awsaccesskeyid", "signature"] {
        rows.push(again(name).only(&[super::Version::V2]));
    }
    for name in [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
    ] {
        rows.push(again(name).only(&[super::Version::V4]));
    }
    for name in [
        "acl",
        "Content-Type",
        "success_action_status",
        "success_action_redirect",
        "bucket",
        "unheard-of",
        "x-amz-storage-class",
        "x-amz-checksum-crc32",
    ] {
        rows.push(row(
            format!("{name} must not come twice with other values"),
            move |p| {
                p.allow(name, "a");
                p.fields.push(Part::new(name, "b"));
            },
            refused("InvalidArgument").element("ArgumentName", name.to_lowercase()),
        ));
    }
    rows.extend([
        row(
            "a second key with another value, which of two servers might take",
            |p| {
                p.fields.push(Part::new("key", "in/other.bin"));
            },
            refused("InvalidArgument").element("ArgumentName", "key"),
        ),
        row(
            "metadata that comes twice is joined with a comma",
            |p| {
                p.allow("x-amz-meta-who", "Ninja");
                p.fields.push(Part::new("X-Amz-Meta-Who", "Stallman"));
            },
            stored().with("x-amz-meta-who", "Ninja,Stallman"),
        ),
        row(
            "metadata that comes three times is joined in order",
            |p| {
                p.allow("x-amz-meta-who", "c");
                p.fields.push(Part::new("x-amz-meta-who", "a"));
                p.fields.push(Part::new("x-amz-meta-who", "b"));
            },
            stored().with("x-amz-meta-who", "c,a,b"),
        ),
        row(
            "metadata is joined before its condition is judged",
            |p| {
                p.cover("x-amz-meta-who", "Ninja,Stallman");
                p.set("x-amz-meta-who", "Ninja");
                p.fields.push(Part::new("x-amz-meta-who", "Stallman"));
            },
            stored().with("x-amz-meta-who", "Ninja,Stallman"),
        ),
        row(
            "metadata that is joined must meet its condition as joined",
            |p| {
                p.cover("x-amz-meta-who", "Ninja");
                p.fields.push(Part::new("x-amz-meta-who", "Stallman"));
            },
            super::row::failed("[\"eq\", \"$x-amz-meta-who\", \"Ninja\"]"),
        ),
    ]);
    rows
}

fn keys() -> Vec<Row> {
    let too_long = |bytes: usize| {
        refused("KeyTooLongError")
            .saying("Your key is too long")
            .element("Size", bytes.to_string())
            .element("MaxSizeAllowed", "1024")
    };
    let mut rows = vec![
        row(
            "no key",
            |p| {
                p.leave_out("key");
            },
            missing("key"),
        ),
        row(
            "an empty key",
            |p| {
                p.key("");
            },
            bad_field("key", "").saying("User key must have a length greater than 0."),
        ),
        row(
            "a key of 1,025 bytes",
            |p| {
                p.key(&"k".repeat(1025));
            },
            too_long(1025),
        ),
        row(
            "a key of 513 letters of two bytes",
            |p| {
                p.key(&"ü".repeat(513));
            },
            too_long(1026),
        ),
    ];
    for (says, key) in [
        ("a key of 1,024 bytes", "k".repeat(1024)),
        ("a key of 512 letters of two bytes", "ü".repeat(512)),
        ("a key of one byte", "k".to_owned()),
        ("a key that ends in a slash", "in/folder/".to_owned()),
        (
            "a key of quotes and angles",
            "in/\"<a>&'b'\".bin".to_owned(),
        ),
        ("a key of a question mark and a hash", "in/a?b#c".to_owned()),
        ("a key of percent signs", "in/%41%2F%zz".to_owned()),
        ("a key of plus signs and blanks", "in/a+b c".to_owned()),
        ("a key beyond ASCII", "in/Üñï 你好 \u{1f600}.bin".to_owned()),
        ("a key that is a URL", "http://evil.example/a".to_owned()),
        (
            "a key with a dollar that is no variable",
            "in/$key{filename}".to_owned(),
        ),
    ] {
        let location = format!("http://127.0.0.1:7080/uploads/{}", encoded(&key));
        rows.push(row(
            says,
            {
                let key = key.clone();
                move |p| {
                    p.key(&key);
                }
            },
            stored().under(key).answered("location", location),
        ));
    }
    rows
}

/// As one segment of a path (RFC 3986, section 2.3).
pub(crate) fn encoded(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn limits() -> Vec<Row> {
    let too_much = || {
        refused("MaxPostPreDataLengthExceededError")
            .saying("Your POST request fields preceding the upload file were too large.")
            .element("MaxPostPreDataLengthBytes", "20480")
    };
    vec![
        row(
            "exactly 20,480 bytes before the file's content",
            |p| fill(p, 20_480),
            stored(),
        ),
        row(
            "one byte more before the file's content",
            |p| fill(p, 20_481),
            too_much(),
        ),
        row(
            "one byte more, in small pieces",
            |p| {
                fill(p, 20_481);
                p.pieces(100);
            },
            too_much(),
        ),
        row(
            "a field of 30 KB, which RGW takes",
            |p| {
                p.set("x-ignore-a", "a".repeat(30_000));
            },
            too_much(),
        ),
        row(
            "a head of 17 KiB",
            |p| {
                let head = format!(
                    "Content-Disposition: form-data; name=\"{}\"",
                    "n".repeat(17 * 1024)
                );
                p.late(move |fields| fields[0].head = Some(format!("{head}\r\n").into_bytes()));
            },
            too_much(),
        ),
        row(
            "a policy of 15 KiB is a policy",
            |p| {
                let filler = format!("[\"starts-with\",\"$key\",\"\"{}]", " ".repeat(10_000));
                p.condition(&filler);
            },
            stored(),
        ),
        row(
            "90 fields",
            |p| {
                for i in 0..90 {
                    p.set(&format!("x-ignore-{i}"), "");
                }
            },
            stored(),
        ),
        row(
            "more than 100 fields",
            |p| {
                for i in 0..101 {
                    p.set(&format!("x-ignore-{i}"), "");
                }
            },
            refused("InvalidArgument").saying("A form must not have more than 100 fields."),
        ),
        row(
            "2,048 bytes of metadata",
            |p| {
                p.allow("x-amz-meta-a", "v".repeat(2048 - "x-amz-meta-a".len()));
            },
            stored().with("x-amz-meta-a", &"v".repeat(2048 - "x-amz-meta-a".len())),
        ),
        row(
            "one byte more of metadata",
            |p| {
                p.allow("x-amz-meta-a", "v".repeat(2049 - "x-amz-meta-a".len()));
            },
            refused("MetadataTooLarge")
                .saying("Your metadata headers exceed the maximum allowed metadata size")
                .element("MaxSizeAllowed", "2048"),
        ),
        row(
            "too much metadata in many fields",
            |p| {
                for i in 0..20 {
                    p.allow(&format!("x-amz-meta-{i}"), "v".repeat(100));
                }
            },
            refused("MetadataTooLarge"),
        ),
    ]
}

/// Makes what stands before the file's content exactly so long.
fn fill(p: &mut Post, bytes: usize) {
    p.set("x-ignore-fill", "");
    let file = p.file.value.clone();
    let body = p.send().body;
    let before = body.windows(file.len()).position(|w| w == file).unwrap();
    p.set("x-ignore-fill", "f".repeat(bytes - before));
}
