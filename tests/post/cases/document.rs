//! The policy's grammar, in Amazon's words where they are known (reference 2.1, 2.2, step 5 of 2.7).

use super::row::{Row, bad_policy, refused, row, stored};

/// Whole documents and what follows "Invalid Policy: ".
const DOCUMENTS: &[(&str, &str, &str)] = &[
    (
        "blanks for a policy",
        " \r\n ",
        "Expecting '{' but found End-of-Input",
    ),
    (
        "a policy that breaks off",
        r#"{"expiration":"#,
        "Invalid JSON.",
    ),
    (
        "a policy in single quotes",
        "{'expiration':'2030-01-01T00:00:00Z','conditions':[]}",
        "Invalid JSON.",
    ),
    ("a policy that is a list", "[]", "Invalid JSON."),
    ("a policy that is a string", r#""policy""#, "Invalid JSON."),
    ("a policy that is null", "null", "Invalid JSON."),
    (
        "a comma behind the last condition",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"uploads"},]}"#,
        "Invalid JSON.",
    ),
    (
        "a comma behind the last member",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],}"#,
        "Invalid JSON.",
    ),
    (
        "a comment behind the policy",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]} // x"#,
        "Invalid JSON.",
    ),
    (
        "a second document behind the first",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]}{}"#,
        "Invalid JSON.",
    ),
    (
        "half a surrogate pair",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$key","\ud800"]]}"#,
        "Invalid JSON.",
    ),
    (
        "an escape that is none",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$key","\x41"]]}"#,
        "Invalid JSON.",
    ),
    (
        "a line end inside a string",
        "{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[[\"eq\",\"$key\",\"a\nb\"]]}",
        "Invalid JSON.",
    ),
    ("an empty object", "{}", "Policy missing expiration."),
    (
        "no expiration",
        r#"{"conditions":[]}"#,
        "Policy missing expiration.",
    ),
    (
        "no conditions",
        r#"{"expiration":"2030-01-01T00:00:00Z"}"#,
        "Policy missing conditions.",
    ),
    (
        "EXPIRATION in capitals",
        r#"{"EXPIRATION":"2030-01-01T00:00:00Z","conditions":[]}"#,
        r#"Unexpected: "EXPIRATION""#,
    ),
    (
        "CONDITIONS in capitals",
        r#"{"expiration":"2030-01-01T00:00:00Z","CONDITIONS":[]}"#,
        r#"Unexpected: "CONDITIONS""#,
    ),
    (
        "a member more",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],"extra":1}"#,
        r#"Unexpected: "extra""#,
    ),
    (
        "an expiration with a blank for its T",
        r#"{"expiration":"2030-01-01 00:00:00","conditions":[]}"#,
        "Invalid 'expiration' value: '2030-01-01 00:00:00'",
    ),
    (
        "an expiration that is a day",
        r#"{"expiration":"2030-01-01","conditions":[]}"#,
        "Invalid 'expiration' value: '2030-01-01'",
    ),
    (
        "an expiration without a zone",
        r#"{"expiration":"2030-01-01T00:00:00","conditions":[]}"#,
        "Invalid 'expiration' value: '2030-01-01T00:00:00'",
    ),
    (
        "an expiration on no day",
        r#"{"expiration":"2030-02-30T00:00:00Z","conditions":[]}"#,
        "Invalid 'expiration' value: '2030-02-30T00:00:00Z'",
    ),
    (
        "an expiration that is a number",
        r#"{"expiration":1893456000,"conditions":[]}"#,
        "Invalid 'expiration' value: '1893456000'",
    ),
    (
        "an expiration that is null",
        r#"{"expiration":null,"conditions":[]}"#,
        "Invalid 'expiration' value: 'null'",
    ),
    (
        "an empty expiration",
        r#"{"expiration":"","conditions":[]}"#,
        "Invalid 'expiration' value: ''",
    ),
    (
        "conditions that are an object",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":{}}"#,
        "Invalid 'conditions' value: must be a List.",
    ),
    (
        "conditions that are a string",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":"eq"}"#,
        "Invalid 'conditions' value: must be a List.",
    ),
    (
        "conditions that are null",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":null}"#,
        "Invalid 'conditions' value: must be a List.",
    ),
];

const SIMPLE: &str =
    "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
const NOT_TEXT: &str = "Invalid Simple-Condition: value must be a string.";
const BOUNDS: &str = "Invalid content-length-range: bounds must be non-negative integers.";

/// One condition more, and what follows "Invalid Policy: ".
const CONDITIONS: &[(&str, &str, &str)] = &[
    (
        "a condition that is a string",
        r#""test""#,
        "Invalid condition test: must be a List or Object.",
    ),
    (
        "a condition that is a number",
        "7",
        "Invalid condition 7: must be a List or Object.",
    ),
    (
        "a condition that is null",
        "null",
        "Invalid condition null: must be a List or Object.",
    ),
    ("a condition that is an empty object", "{}", SIMPLE),
    (
        "a condition of two members",
        r#"{"acl":"private","key":"in/a.bin"}"#,
        SIMPLE,
    ),
    (
        "a condition of one member twice",
        r#"{"key":"in/a.bin","key":"in/a.bin"}"#,
        SIMPLE,
    ),
    ("an object with a number", r#"{"acl":1}"#, NOT_TEXT),
    ("an object with a truth", r#"{"acl":true}"#, NOT_TEXT),
    ("an object with null", r#"{"acl":null}"#, NOT_TEXT),
    ("an object with a list", r#"{"acl":["private"]}"#, NOT_TEXT),
    (
        "an object with an object",
        r#"{"acl":{"eq":"private"}}"#,
        NOT_TEXT,
    ),
    (
        "an empty list",
        "[]",
        "Invalid Condition: missing operation identifier.",
    ),
    (
        "a list whose operator is a list",
        r#"[["eq"],"$key","x"]"#,
        "Invalid Condition: missing operation identifier.",
    ),
    (
        "a list whose operator is a number",
        r#"[1,"$key","x"]"#,
        "Invalid Condition: missing operation identifier.",
    ),
    (
        "an operator that nobody knows",
        r#"["ends-with","$key","bin"]"#,
        "Invalid Condition: unknown operation 'ends-with'.",
    ),
    (
        "an operator that is empty",
        r#"["","$key","bin"]"#,
        "Invalid Condition: unknown operation ''.",
    ),
    (
        "an operator with a blank",
        r#"["eq ","$key","bin"]"#,
        "Invalid Condition: unknown operation 'eq '.",
    ),
    (
        "eq with one argument",
        r#"["eq","$key"]"#,
        "Invalid eq: wrong number of arguments.",
    ),
    (
        "eq with three arguments",
        r#"["eq","$key","in/a.bin","x"]"#,
        "Invalid eq: wrong number of arguments.",
    ),
    (
        "starts-with with no argument",
        r#"["starts-with"]"#,
        "Invalid starts-with: wrong number of arguments.",
    ),
    (
        "starts-with with three arguments",
        r#"["starts-with","$key","i","n"]"#,
        "Invalid starts-with: wrong number of arguments.",
    ),
    (
        "a range with no bound",
        r#"["content-length-range"]"#,
        "Invalid content-length-range: wrong number of arguments.",
    ),
    (
        "a range with one bound",
        r#"["content-length-range",1]"#,
        "Invalid content-length-range: wrong number of arguments.",
    ),
    (
        "a range with three bounds",
        r#"["content-length-range",1,2,3]"#,
        "Invalid content-length-range: wrong number of arguments.",
    ),
    (
        "a range from below nothing",
        r#"["content-length-range",-1,0]"#,
        BOUNDS,
    ),
    (
        "a range in halves",
        r#"["content-length-range",0.5,9]"#,
        BOUNDS,
    ),
    (
        "a range in powers of ten",
        r#"["content-length-range",0,1e9]"#,
        BOUNDS,
    ),
    (
        "a range beyond 64 bits",
        r#"["content-length-range",0,18446744073709551616]"#,
        BOUNDS,
    ),
    (
        "a range up to a truth",
        r#"["content-length-range",0,true]"#,
        BOUNDS,
    ),
    (
        "a range up to null",
        r#"["content-length-range",0,null]"#,
        BOUNDS,
    ),
    (
        "eq with a list for a value",
        r#"["eq","$key",["in/a.bin"]]"#,
        "Invalid eq: value must be a string.",
    ),
    (
        "eq with null for a value",
        r#"["eq","$key",null]"#,
        "Invalid eq: value must be a string.",
    ),
    (
        "eq with a number for a name",
        r#"["eq",1,"x"]"#,
        "Invalid eq: field name must be a string.",
    ),
    (
        "starts-with with an object for a name",
        r#"["starts-with",{"a":"b"},"x"]"#,
        "Invalid starts-with: field name must be a string.",
    ),
];

/// Two documents in one: JSON readers do not agree on which member of two counts.
const TWICE: &[(&str, &str, &str)] = &[
    (
        "conditions twice, the strict first",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"nowhere"}],"conditions":[{"bucket":"uploads"},["starts-with","$key",""]]}"#,
        "conditions",
    ),
    (
        "conditions twice, the strict last",
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"uploads"},["starts-with","$key",""]],"conditions":[{"bucket":"nowhere"}]}"#,
        "conditions",
    ),
    (
        "expiration twice, the past first",
        r#"{"expiration":"2000-01-01T00:00:00Z","expiration":"2030-01-01T00:00:00Z","conditions":[]}"#,
        "expiration",
    ),
    (
        "expiration twice, the past last",
        r#"{"expiration":"2030-01-01T00:00:00Z","expiration":"2000-01-01T00:00:00Z","conditions":[]}"#,
        "expiration",
    ),
    (
        "expiration twice, once in escapes",
        r#"{"expiration":"2000-01-01T00:00:00Z","\u0065xpiratio\u006e":"2030-01-01T00:00:00Z","conditions":[]}"#,
        "expiration",
    ),
];

/// Base64 texts that are none of a policy.
const TEXTS: &[(&str, &str, &str)] = &[
    ("no policy text", "", "Expecting '{' but found End-of-Input"),
    ("text that is no base64", "%%%", "invalid Base64 encoding."),
    ("base64 for URLs", "e30_-_8=", "invalid Base64 encoding."),
    (
        "base64 with padding in its middle",
        "e30=e30=",
        "invalid Base64 encoding.",
    ),
    ("base64 of one character", "e", "invalid Base64 encoding."),
    ("base64 of what is no UTF-8", "/////w==", "Invalid JSON."),
    ("base64 of UTF-16", "ewB9AA==", "Invalid JSON."),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (says, json, detail) in DOCUMENTS {
        rows.push(row(
            *says,
            |p| {
                p.document(json);
            },
            bad_policy(detail),
        ));
    }
    for (says, json, detail) in CONDITIONS {
        rows.push(row(
            *says,
            |p| {
                p.condition(json);
            },
            bad_policy(detail),
        ));
    }
    for (says, json, member) in TWICE {
        let detail = format!("Duplicate: \"{member}\"");
        rows.push(row(
            *says,
            |p| {
                p.document(json);
            },
            bad_policy(&detail),
        ));
    }
    for (says, text, detail) in TEXTS {
        rows.push(row(
            *says,
            |p| p.policy_text = Some((*text).to_owned()),
            bad_policy(detail),
        ));
    }
    rows.push(row(
        "the JSON is sent and not its base64",
        |p| {
            p.policy_text =
                Some(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]}"#.to_owned())
        },
        bad_policy("invalid Base64 encoding."),
    ));
    rows.push(row(
        "lists in lists, 4,000 deep",
        |p| {
            p.condition(&format!(
                "[\"eq\",\"$key\",{}{}]",
                "[".repeat(4_000),
                "]".repeat(4_000)
            ));
        },
        refused("InvalidPolicyDocument"),
    ));
    rows.extend(good());
    rows
}

fn good() -> Vec<Row> {
    let ends = |says: &str, expiration: &'static str| {
        row(
            says,
            move |p| p.expiration = expiration.to_owned(),
            stored(),
        )
    };
    let holds = |says: &str, condition: &'static str| {
        row(
            says,
            move |p| {
                p.condition(condition);
            },
            stored(),
        )
    };
    vec![
        ends("an expiration without a fraction", "2026-11-23T00:00:00Z"),
        ends("an expiration in tenths", "2026-11-23T00:00:00.5Z"),
        ends(
            "an expiration in nanoseconds",
            "2026-11-23T00:00:00.123456789Z",
        ),
        ends(
            "an expiration with the offset of UTC",
            "2026-11-23T00:00:00+00:00",
        ),
        ends(
            "an expiration with another offset",
            "2026-11-22T16:20:00+02:00",
        ),
        ends("an expiration in the year 9999", "9999-12-31T23:59:59Z"),
        holds("operators in any case", r#"["StArTs-WiTh","$key","in/"]"#),
        holds("eq in capitals", r#"["EQ","$key","in/a.bin"]"#),
        holds("a range in capitals", r#"["CONTENT-LENGTH-RANGE",0,1000]"#),
        holds("a name in any case", r#"["eq","$kEy","in/a.bin"]"#),
        holds("an object's name in any case", r#"{"bUcKeT":"uploads"}"#),
        holds("a name in escapes", r#"["eq","$\u006bey","in/a.bin"]"#),
        holds(
            "Amazon's escape of the dollar",
            r#"["eq","\$key","in/a.bin"]"#,
        ),
        holds(
            "a condition that says the same again",
            r#"{"key":"in/a.bin"}"#,
        ),
        holds(
            "a bound in quotes",
            r#"["content-length-range","0","1000"]"#,
        ),
        row(
            "a policy with blanks and line ends, its members the other way round",
            |p| {
                let conditions = p.conditions.join(" ,\r\n\t ");
                let json = format!(
                    " {{ \"conditions\" : [ {conditions} ] ,\r\n \"expiration\" : \"2030-01-01T00:00:00Z\" }} \r\n"
                );
                p.document(&json);
            },
            stored(),
        ),
        row(
            "no conditions parse, and then the bucket is not covered",
            |p| p.conditions.clear(),
            refused("AccessDenied").about("Invalid according to Policy: Extra input fields: "),
        ),
        row(
            "metadata that an SDK wrote as a number",
            |p| {
                p.condition("[\"eq\",\"$x-amz-meta-n\",42]")
                    .set("x-amz-meta-n", "42");
            },
            stored().with("x-amz-meta-n", "42"),
        ),
        row(
            "an escaped backslash before a dollar is a backslash",
            |p| {
                p.uncondition("in/a.bin")
                    .condition(r#"["starts-with","$key","\\$foo"]"#);
                p.set("key", "\\$foo.txt");
            },
            stored().under("\\$foo.txt"),
        ),
        row(
            "Amazon's escape of the vertical tab",
            |p| {
                p.condition(r#"["eq","$unheard-of","\v"]"#)
                    .set("unheard-of", "\u{b}");
            },
            stored(),
        ),
    ]
}
