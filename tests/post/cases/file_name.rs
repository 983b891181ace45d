//! `${filename}`: where it is replaced, by what, and that the conditions see the result (reference 1.4, D10).

use super::row::{Row, failed, malformed, refused, row, stored};

/// The file's name as it is sent, and what it stands for.
const NAMES: &[(&str, &str)] = &[
    ("a.txt", "a.txt"),
    ("C:\\Program Files\\x\\file.txt", "file.txt"),
    ("/home/x/file.txt", "file.txt"),
    ("dir/file.txt", "file.txt"),
    ("a/b\\c", "c"),
    ("a\\b/c", "c"),
    ("a b;c=d.mp4", "a b;c=d.mp4"),
    ("vidéo %22q%22.mp4", "vidéo %22q%22.mp4"),
    ("100%.txt", "100%.txt"),
    ("Ünï côde 你好.mp4", "Ünï côde 你好.mp4"),
    ("${filename}", "${filename}"),
    ("$&$1", "$&$1"),
    ("..", ".."),
    (".", "."),
    ("../../../etc/passwd", "passwd"),
    ("..\\..\\windows\\win.ini", "win.ini"),
    ("%2e%2e%2fpasswd", "%2e%2e%2fpasswd"),
    ("a/", ""),
    ("a\\\\", ""),
    ("", ""),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<_> = NAMES
        .iter()
        .map(|(sent, means)| {
            row(
                format!("${{filename}} of {sent:?} is {means:?}"),
                |p| {
                    p.file_name(sent).key("in/${filename}");
                },
                stored().under(format!("in/{means}")),
            )
        })
        .collect();
    rows.extend(in_keys());
    rows.extend(in_other_fields());
    rows
}

fn in_keys() -> Vec<Row> {
    vec![
        row(
            "a file without a name leaves the variable as it is",
            |p| {
                p.file.file_name = None;
                p.key("in/${filename}");
            },
            stored().under("in/${filename}"),
        ),
        row(
            "the variable may stand in the middle and more than once",
            |p| {
                p.key("${filename}/in/${filename}.bak");
            },
            stored().under("a.bin/in/a.bin.bak"),
        ),
        row(
            "a key that is nothing but the variable",
            |p| {
                p.key("${filename}");
            },
            stored().under("a.bin"),
        ),
        row(
            "a key that is nothing but an empty name",
            |p| {
                p.file_name("").key("${filename}");
            },
            refused("InvalidArgument").saying("User key must have a length greater than 0."),
        ),
        row(
            "the variable has a case",
            |p| {
                p.key("in/${Filename}");
            },
            stored().under("in/${Filename}"),
        ),
        row(
            "half a variable is none",
            |p| {
                p.key("in/${filename");
            },
            stored().under("in/${filename"),
        ),
        row(
            "a name in quotes within its quotes",
            |p| {
                p.file_name("a\\\"b.txt").key("in/${filename}");
            },
            stored().under("in/a\"b.txt"),
        ),
        row(
            "the conditions see the name",
            |p| {
                p.uncondition("in/a.bin")
                    .condition("[\"eq\",\"$key\",\"in/a.bin\"]");
                p.set("key", "in/${filename}");
            },
            stored().under("in/a.bin"),
        ),
        row(
            "and not the variable",
            |p| {
                p.uncondition("in/a.bin")
                    .condition("[\"eq\",\"$key\",\"in/${filename}\"]");
                p.set("key", "in/${filename}");
            },
            failed("[\"eq\",\"$key\",\"in/${filename}\"]"),
        ),
        row(
            "a name that leads out of the prefix that was signed",
            |p| {
                p.file_name("out.txt").key("${filename}");
                p.condition("[\"starts-with\",\"$key\",\"in/\"]");
            },
            failed("[\"starts-with\",\"$key\",\"in/\"]"),
        ),
        row(
            "a name that makes the key too long",
            |p| {
                p.file_name(&"n".repeat(1022)).key("in/${filename}");
            },
            refused("KeyTooLongError"),
        ),
        row(
            "a long name times many variables",
            |p| {
                p.file_name(&"n".repeat(4_000))
                    .key(&"${filename}".repeat(100));
            },
            refused("MaxPostPreDataLengthExceededError"),
        ),
    ]
}

fn in_other_fields() -> Vec<Row> {
    vec![
        row(
            "the variable is replaced in metadata",
            |p| {
                p.cover("x-amz-meta-name", "a.bin").set("x-amz-meta-name", "${filename}");
            },
            stored().with("x-amz-meta-name", "a.bin"),
        ),
        row(
            "the variable is replaced in a stored header",
            |p| {
                p.allow("Content-Disposition", "attachment; filename=\"${filename}\"");
            },
            stored().with("content-disposition", "attachment; filename=\"a.bin\""),
        ),
        row(
            "the variable is replaced in the redirect",
            |p| {
                p.allow("success_action_redirect", "http://a.example/done/${filename}");
            },
            stored().status(303).answered(
                "location",
                "http://a.example/done/a.bin?bucket=uploads&key=in%2Fa.bin&etag=%22cffa9c1b881d78504c21d7bef7a680e0%22",
            ),
        ),
        row(
            "a field that was allowed as the variable and not as the name",
            |p| {
                p.cover("x-amz-meta-name", "${filename}");
            },
            failed("[\"eq\", \"$x-amz-meta-name\", \"${filename}\"]"),
        ),
        row(
            "a name with a control character is no name, so that it reaches no header",
            |p| {
                p.file_name("a\u{1}b").allow("x-amz-meta-name", "${filename}");
            },
            malformed(),
        ),
        row(
            "the policy text is not touched",
            |p| {
                p.condition("[\"starts-with\",\"$key\",\"\"]");
                p.policy_text = Some(format!("{}${{filename}}", p.policy()));
            },
            refused("InvalidPolicyDocument").saying("Invalid Policy: invalid Base64 encoding."),
        ),
    ]
}
