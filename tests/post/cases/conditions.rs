//! What a condition means: exact and prefix, case, absence, lists of types, the bucket, the clock (reference 2.3, step 6 of 2.7).

use super::post::BUCKET;
use super::row::{Expected, Row, denied, extra, failed, refused, row, stored};
use super::runner::{OPEN, OTHER};

/// One more condition, one field, and it must not hold. The condition is echoed as it is written.
const FAIL: &[(&str, &str, &str, &str)] = &[
    (
        "another key under eq",
        r#"["eq","$key","in/b.bin"]"#,
        "",
        "",
    ),
    (
        "another prefix of the key",
        r#"["starts-with","$key","out/"]"#,
        "",
        "",
    ),
    (
        "a prefix longer than the key",
        r#"["starts-with","$key","in/a.bin.more"]"#,
        "",
        "",
    ),
    (
        "a prefix that stands in the middle",
        r#"["starts-with","$key","a.bin"]"#,
        "",
        "",
    ),
    (
        "a prefix in another case",
        r#"["starts-with","$key","IN/"]"#,
        "",
        "",
    ),
    (
        "the client's spacing is echoed",
        "[ \"eq\" ,\t\"$key\",\"k\"]",
        "",
        "",
    ),
    (
        "an operator is echoed in its own case",
        r#"["EQ","$KEY","k"]"#,
        "",
        "",
    ),
    (
        "another value",
        r#"["eq","$x-amz-meta-a","1"]"#,
        "x-amz-meta-a",
        "2",
    ),
    (
        "a value in another case",
        r#"["eq","$x-amz-meta-a","one"]"#,
        "x-amz-meta-a",
        "One",
    ),
    (
        "a value with a blank behind it",
        r#"["eq","$x-amz-meta-a","one"]"#,
        "x-amz-meta-a",
        "one ",
    ),
    (
        "a value with a line end behind it",
        r#"["eq","$x-amz-meta-a","one"]"#,
        "x-amz-meta-a",
        "one\r\n",
    ),
    (
        "an empty value under eq",
        r#"["eq","$x-amz-meta-a","one"]"#,
        "x-amz-meta-a",
        "",
    ),
    (
        "a value where none is wanted",
        r#"["eq","$x-amz-meta-a",""]"#,
        "x-amz-meta-a",
        "one",
    ),
    (
        "a dollar in the value is literal",
        r#"["eq","$x-amz-meta-a","$key"]"#,
        "x-amz-meta-a",
        "in/a.bin",
    ),
    (
        "letters that look alike",
        "[\"eq\",\"$x-amz-meta-a\",\"\u{e9}\"]",
        "x-amz-meta-a",
        "e\u{301}",
    ),
    (
        "a number is not its other spelling",
        r#"["eq","$x-amz-meta-a",42]"#,
        "x-amz-meta-a",
        "42.0",
    ),
    (
        "an absent field under eq",
        r#"["eq","$acl","private"]"#,
        "",
        "",
    ),
    (
        "an absent field under eq with nothing",
        r#"["eq","$acl",""]"#,
        "",
        "",
    ),
    (
        "an absent field under an empty prefix",
        r#"["starts-with", "$Content-Type", ""]"#,
        "",
        "",
    ),
    (
        "an absent field of no meaning",
        r#"["starts-with","$unheard-of",""]"#,
        "",
        "",
    ),
    (
        "the announced length is no field",
        r#"["starts-with","$Content-Length",""]"#,
        "",
        "",
    ),
    (
        "an ignored field counts as absent",
        r#"["starts-with","$x-ignore-a",""]"#,
        "x-ignore-a",
        "1",
    ),
    (
        "the file is no field",
        r#"["starts-with","$file",""]"#,
        "",
        "",
    ),
    (
        "a name without its dollar",
        r#"["eq", "key", "in/a.bin"]"#,
        "",
        "",
    ),
    (
        "a prefix for a name without its dollar",
        r#"["starts-with", "key", ""]"#,
        "",
        "",
    ),
    ("an empty name", r#"["eq","","in/a.bin"]"#, "", ""),
    (
        "a dollar alone for a name",
        r#"["eq","$","in/a.bin"]"#,
        "",
        "",
    ),
    ("two dollars", r#"["eq","$$key","in/a.bin"]"#, "", ""),
    (
        "a name with a blank",
        r#"["eq","$ key","in/a.bin"]"#,
        "",
        "",
    ),
    (
        "a prefix of names is not special",
        r#"["starts-with","$x-amz-meta-",""]"#,
        "x-amz-meta-a",
        "1",
    ),
    (
        "a star is not special",
        r#"["eq","$x-amz-meta-a","*"]"#,
        "x-amz-meta-a",
        "1",
    ),
    (
        "a bound that is text",
        r#"["content-length-range", "test", "10"]"#,
        "",
        "",
    ),
    (
        "a negative bound in quotes",
        r#"["content-length-range","-1","1000"]"#,
        "",
        "",
    ),
    (
        "an empty bound in quotes",
        r#"["content-length-range","0",""]"#,
        "",
        "",
    ),
    (
        "a bound with a blank in quotes",
        r#"["content-length-range"," 0","1000"]"#,
        "",
        "",
    ),
    (
        "a URL in another case",
        r#"["starts-with","$success_action_redirect","HTTP://a.example/"]"#,
        "success_action_redirect",
        "http://a.example/",
    ),
];

/// Lists of types, which only `Content-Type` has: prefix, value, whether it holds.
const TYPES: &[(&str, &str, bool)] = &[
    ("image/", "image/png", true),
    ("image/", "image/png,image/gif", true),
    ("image/", "image/png, image/gif", true),
    ("image/", "image/png,\timage/gif , image/x", true),
    ("", "image/png,text/html", true),
    ("image/", "text/html", false),
    ("image/", "Image/png", false),
    ("image/", "image/png,text/plain", false),
    ("image/", "text/plain,image/png", false),
    ("image/", "image/png,image/gif,text/html", false),
    ("image/", "image/png,", false),
    ("image/", ",image/png", false),
    ("image/", " image/png", false),
    ("image/", "image/png,,image/gif", false),
    ("image/png", "image/png,image/gif", false),
];

pub(crate) fn rows() -> Vec<Row> {
    [failing(), types(), several(), buckets(), clock()]
        .into_iter()
        .flatten()
        .collect()
}

fn failing() -> Vec<Row> {
    let mut rows = Vec::new();
    for (says, condition, name, value) in FAIL {
        rows.push(row(
            *says,
            move |p| {
                p.condition(condition);
                if !name.is_empty() {
                    p.set(name, value);
                }
            },
            failed(condition),
        ));
    }
    rows.push(row(
        "an object is echoed as a list",
        |p| {
            p.condition("{ \"Acl\" : \"say \\\"hi\\\"\" }")
                .set("acl", "private");
        },
        failed("[\"eq\", \"$Acl\", \"say \\\"hi\\\"\"]"),
    ));
    rows
}

fn types() -> Vec<Row> {
    let mut rows = Vec::new();
    for (prefix, value, holds) in TYPES {
        let condition = format!("[\"starts-with\",\"$Content-Type\",\"{prefix}\"]");
        let expected = match holds {
            true => stored().with("content-type", value),
            false => failed(&condition),
        };
        rows.push(row(
            format!("the type {value:?} under the prefix {prefix:?}"),
            move |p| {
                p.condition(&condition).set("Content-Type", value);
            },
            expected,
        ));
    }
    rows.push(row(
        "a list of types under eq is compared whole",
        |p| {
            p.cover("Content-Type", "image/png,text/html");
        },
        stored().with("content-type", "image/png,text/html"),
    ));
    rows.push(row(
        "a list under eq is not taken apart",
        |p| {
            p.cover("Content-Type", "image/png");
            p.set("Content-Type", "image/png,image/png");
        },
        failed("[\"eq\", \"$Content-Type\", \"image/png\"]"),
    ));
    rows.push(row(
        "other fields have no lists",
        |p| {
            p.condition("[\"starts-with\",\"$x-amz-meta-a\",\"image/\"]")
                .set("x-amz-meta-a", "image/png,text/html");
        },
        stored().with("x-amz-meta-a", "image/png,text/html"),
    ));
    rows
}

fn several() -> Vec<Row> {
    vec![
        row(
            "several conditions on one field hold together",
            |p| {
                p.condition("[\"starts-with\",\"$key\",\"i\"]")
                    .condition("[\"starts-with\",\"$key\",\"in/\"]");
            },
            stored(),
        ),
        row(
            "of several conditions on one field the last fails",
            |p| {
                p.condition("[\"starts-with\",\"$key\",\"i\"]")
                    .condition("[\"starts-with\",\"$key\",\"out\"]");
            },
            failed("[\"starts-with\",\"$key\",\"out\"]"),
        ),
        row(
            "a lax condition before a strict one does not weaken it",
            |p| {
                p.conditions
                    .insert(0, "[\"starts-with\",\"$key\",\"\"]".to_owned());
                p.set("key", "in/other.bin");
            },
            failed("[\"eq\", \"$key\", \"in/a.bin\"]"),
        ),
        row(
            "a lax condition behind a strict one does not weaken it",
            |p| {
                p.condition("[\"starts-with\",\"$key\",\"\"]")
                    .set("key", "in/other.bin");
            },
            failed("[\"eq\", \"$key\", \"in/a.bin\"]"),
        ),
        row(
            "of two that fail the first is named",
            |p| {
                p.condition("[\"eq\",\"$key\",\"one\"]")
                    .condition("[\"eq\",\"$key\",\"two\"]");
            },
            failed("[\"eq\",\"$key\",\"one\"]"),
        ),
        row(
            "a failed condition is named before an uncovered field",
            |p| {
                p.set("acl", "private")
                    .condition("[\"eq\",\"$key\",\"one\"]");
            },
            failed("[\"eq\",\"$key\",\"one\"]"),
        ),
        row(
            "a condition on an exempt field is judged all the same",
            |p| {
                p.condition("[\"eq\",\"$policy\",\"x\"]");
            },
            failed("[\"eq\",\"$policy\",\"x\"]"),
        ),
    ]
}

fn buckets() -> Vec<Row> {
    let elsewhere: Expected = failed("[\"eq\", \"$bucket\", \"uploads\"]");
    vec![
        row(
            "no condition on the bucket",
            |p| {
                p.uncondition("bucket");
            },
            extra("bucket"),
        ),
        row(
            "a form for one bucket posted to another",
            |p| {
                p.to("POST", &format!("/{OTHER}"));
            },
            elsewhere,
        ),
        row(
            "a form for one bucket posted to another by its host",
            |p| {
                p.host = format!("{OTHER}.localhost");
                p.to("POST", "/");
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a form for one bucket posted to a public one",
            |p| {
                p.to("POST", &format!("/{OPEN}"));
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a form for another bucket with that bucket in its field",
            |p| {
                p.to("POST", &format!("/{OTHER}")).set("bucket", BUCKET);
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a field that names another bucket than URL and policy",
            |p| {
                p.set("bucket", OTHER);
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a field that names another bucket, which the policy allows",
            |p| {
                p.uncondition("bucket").allow("bucket", OTHER);
            },
            refused("AccessDenied").about("Invalid according to Policy: Policy Condition failed: "),
        ),
        row(
            "a field that repeats the bucket",
            |p| {
                p.set("bucket", BUCKET);
            },
            stored(),
        ),
        row(
            "the bucket in another case",
            |p| {
                p.set("bucket", "Uploads");
            },
            failed("[\"eq\", \"$bucket\", \"uploads\"]"),
        ),
        row(
            "a bucket by its prefix",
            |p| {
                p.uncondition("bucket")
                    .condition("[\"starts-with\",\"$bucket\",\"up\"]");
            },
            stored(),
        ),
        row(
            "a bucket by the prefix of another",
            |p| {
                p.uncondition("bucket")
                    .condition("[\"starts-with\",\"$bucket\",\"other\"]");
            },
            failed("[\"starts-with\",\"$bucket\",\"other\"]"),
        ),
        row(
            "an unsigned form to a private bucket",
            |p| {
                p.unsigned();
            },
            denied(),
        ),
    ]
}

fn clock() -> Vec<Row> {
    let over = || refused("AccessDenied").saying("Invalid according to Policy: Policy expired.");
    let ends = |says: &str, expiration: &'static str, expected: Expected| {
        row(
            says,
            move |p| p.expiration = expiration.to_owned(),
            expected,
        )
    };
    vec![
        ends(
            "a policy that ended yesterday",
            "2026-11-21T13:20:00Z",
            over(),
        ),
        ends(
            "a policy that ends at this very moment",
            "2026-11-22T13:20:00.000Z",
            over(),
        ),
        ends(
            "a policy that ends a millisecond later",
            "2026-11-22T13:20:00.001Z",
            stored(),
        ),
        ends(
            "a policy that ended a millisecond ago",
            "2026-11-22T13:19:59.999Z",
            over(),
        ),
        ends(
            "a policy that ended by its offset",
            "2026-11-22T14:20:00+01:00",
            over(),
        ),
        ends("a policy of the year 1", "0001-01-01T00:00:00Z", over()),
        row(
            "a policy that ended, with a condition that fails too",
            |p| {
                p.expiration = "2026-11-21T13:20:00Z".to_owned();
                p.condition("[\"eq\",\"$key\",\"other\"]");
            },
            over(),
        ),
        row(
            "a policy that ended, with a field that nothing covers",
            |p| {
                p.expiration = "2026-11-21T13:20:00Z".to_owned();
                p.set("acl", "private");
            },
            over(),
        ),
        row(
            "a malformed policy that ended",
            |p| {
                p.expiration = "2026-11-21T13:20:00Z".to_owned();
                p.condition("{}");
            },
            super::row::bad_policy(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
            ),
        ),
    ]
}
