//! The field `tagging`: an XML document, and nothing that an XML reader was ever tricked with (reference 1.5; Ceph CVE-2020-12059,
//! MinIO #21656).

use super::row::{Expected, Row, extra, failed, refused, row, stored};

fn set(tags: &str) -> String {
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

fn tag(key: &str, value: &str) -> String {
    format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
}

/// With a condition that takes any value.
fn with(says: &str, xml: impl Into<String>, expected: Expected) -> Row {
    let xml = xml.into();
    row(
        says,
        move |p| {
            p.allow("tagging", &xml);
        },
        expected,
    )
}

fn malformed() -> Expected {
    refused("MalformedXML").about("The XML you provided was not well-formed")
}

/// What is no tagging document. `{T}` stands for a tag that is fine.
const MALFORMED: &[(&str, &str)] = &[
    // Recorded.
    ("text", "not-xml"),
    ("no text", ""),
    ("blanks", "  \r\n "),
    ("the form of the header", "a=b&c=d"),
    ("JSON", "{\"Tagging\":{}}"),
    (
        "a document that breaks off",
        "<Tagging><TagSet>{T}</TagSet>",
    ),
    (
        "a tag that breaks off",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b",
    ),
    (
        "elements that end in the wrong order",
        "<Tagging><TagSet>{T}</Tagging></TagSet>",
    ),
    (
        "names that end in another case",
        "<Tagging><TagSet>{T}</tagset></Tagging>",
    ),
    (
        "two roots",
        "<Tagging><TagSet>{T}</TagSet></Tagging><Tagging/>",
    ),
    (
        "text behind the root",
        "<Tagging><TagSet>{T}</TagSet></Tagging>x",
    ),
    (
        "text before the root",
        "x<Tagging><TagSet>{T}</TagSet></Tagging>",
    ),
    (
        "text between the tags",
        "<Tagging><TagSet>{T}x</TagSet></Tagging>",
    ),
    (
        "a declaration in the middle",
        "<Tagging><?xml version=\"1.0\"?><TagSet>{T}</TagSet></Tagging>",
    ),
    (
        "a tag without a key",
        "<Tagging><TagSet><Tag><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "a tag without a value",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
    ),
    (
        "a tag without either",
        "<Tagging><TagSet><Tag/></TagSet></Tagging>",
    ),
    (
        "a tag with two keys",
        "<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value>c</Value></Tag></TagSet></Tagging>",
    ),
    (
        "a tag with something else in it",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value><Else/></Tag></TagSet></Tagging>",
    ),
    (
        "an element in a key",
        "<Tagging><TagSet><Tag><Key>a<b/></Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    ("tags without their set", "<Tagging>{T}</Tagging>"),
    (
        "two sets",
        "<Tagging><TagSet>{T}</TagSet><TagSet/></Tagging>",
    ),
    (
        "one attribute twice",
        "<Tagging a=\"1\" a=\"2\"><TagSet>{T}</TagSet></Tagging>",
    ),
    (
        "an attribute without quotes",
        "<Tagging a=1><TagSet>{T}</TagSet></Tagging>",
    ),
    (
        "a document type",
        "<!DOCTYPE Tagging><Tagging><TagSet>{T}</TagSet></Tagging>",
    ),
    (
        "an entity of its own",
        "<!DOCTYPE Tagging [<!ENTITY a \"b\">]><Tagging><TagSet><Tag><Key>&a;</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "an entity that reads a file",
        "<!DOCTYPE Tagging [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><Tagging><TagSet><Tag><Key>&a;</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "entities that grow",
        "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><Tagging><TagSet><Tag><Key>&c;</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "an entity that nobody defined",
        "<Tagging><TagSet><Tag><Key>&a;</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "an ampersand alone",
        "<Tagging><TagSet><Tag><Key>a&</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
    (
        "a character by a number that is none",
        "<Tagging><TagSet><Tag><Key>&#x110000;</Key><Value>b</Value></Tag></TagSet></Tagging>",
    ),
];

/// Keys and values that break the rules of tags, and the element that shows which.
const INVALID: &[(&str, &str, &str, &str)] = &[
    (
        "an empty key",
        "",
        "v",
        "The TagKey you have provided is invalid",
    ),
    (
        "a key that is kept for the system",
        "aws:a",
        "v",
        "Your TagKey cannot be prefixed with aws:",
    ),
    (
        "a key with a sign that tags do not have",
        "a&lt;b",
        "v",
        "The TagKey you have provided is invalid",
    ),
    (
        "a value with a sign that tags do not have",
        "k",
        "a&amp;b",
        "The TagValue you have provided is invalid",
    ),
    (
        "a value with a line end",
        "k",
        "a&#10;b",
        "The TagValue you have provided is invalid",
    ),
    (
        "a value with a picture",
        "k",
        "a\u{1f600}",
        "The TagValue you have provided is invalid",
    ),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = good();
    for (says, xml) in MALFORMED {
        let xml = xml.replace("{T}", &tag("a", "b"));
        rows.push(with(&format!("{says} is no tagging"), xml, malformed()));
    }
    for (says, key, value, message) in INVALID {
        let expected = refused("InvalidTag").saying(*message);
        rows.push(with(
            &format!("{says} in a tag"),
            set(&tag(key, value)),
            expected,
        ));
    }
    rows.extend(limits());
    rows.extend(allowed());
    rows
}

fn good() -> Vec<Row> {
    let ten: String = (0..10)
        .map(|n| tag(&format!("k{n}"), &n.to_string()))
        .collect();
    let tagged = (0..10).fold(stored(), |expected, n| {
        expected.tagged(&format!("k{n}"), &n.to_string())
    });
    vec![
        with("one tag", set(&tag("a", "b")), stored().tagged("a", "b")),
        with("no tags", set(""), stored()),
        with(
            "a set that is written short",
            "<Tagging><TagSet/></Tagging>",
            stored(),
        ),
        with("ten tags", set(&ten), tagged),
        with(
            "a tag without a text for its value",
            set(&tag("a", "")),
            stored().tagged("a", ""),
        ),
        with(
            "a tag of all that tags may have",
            set(&tag("Schlüssel 1+-=._:/@", "Wert 2+-=._:/@")),
            stored().tagged("Schlüssel 1+-=._:/@", "Wert 2+-=._:/@"),
        ),
        with(
            "a document with a declaration, a namespace, blanks and a comment",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  \
             <!-- tags -->\n  <TagSet>\n    <Tag>\n      <Value>b</Value>\n      <Key>a</Key>\n    </Tag>\n  </TagSet>\n</Tagging>\n",
            stored().tagged("a", "b"),
        ),
        with(
            "characters by their numbers",
            set(&tag("&#97;", "&#x62;")),
            stored().tagged("a", "b"),
        ),
        // Recorded.
        with(
            "a document of another root has no tags",
            "<InvalidXmlTagging><Tag><Key>a</Key></Tag></InvalidXmlTagging>",
            stored(),
        ),
    ]
}

fn limits() -> Vec<Row> {
    let (key, value) = ("k".repeat(128), "v".repeat(256));
    let eleven: String = (0..11).map(|n| tag(&format!("k{n}"), "v")).collect();
    let invalid = |message: &str| refused("InvalidTag").saying(message);
    vec![
        with(
            "a key and a value of full length",
            set(&tag(&key, &value)),
            stored().tagged(&key, &value),
        ),
        with(
            "a key of 129 characters",
            set(&tag(&"k".repeat(129), "v")),
            invalid("The TagKey you have provided is invalid"),
        ),
        with(
            "a value of 257 characters",
            set(&tag("k", &"v".repeat(257))),
            invalid("The TagValue you have provided is invalid"),
        ),
        with(
            "one key twice",
            set(&(tag("k", "1") + &tag("k", "2"))),
            invalid("Cannot provide multiple Tags with the same key").element("TagKey", "k"),
        ),
        with(
            "eleven tags",
            set(&eleven),
            refused("BadRequest").saying("Object tags cannot be greater than 10"),
        ),
        with(
            "elements in elements, 1,000 deep",
            "<a>".repeat(1000) + &"</a>".repeat(1000),
            malformed(),
        ),
        with(
            "a document of 10 KB that goes on and on",
            "<Tagging>".repeat(1000),
            malformed(),
        ),
    ]
}

fn allowed() -> Vec<Row> {
    let one = set(&tag("a", "b"));
    let condition = serde_json::json!(["eq", "$tagging", one]).to_string();
    vec![
        row(
            "tags that are the ones that were signed",
            {
                let (one, condition) = (one.clone(), condition.clone());
                move |p| {
                    p.condition(&condition).set("tagging", &one);
                }
            },
            stored().tagged("a", "b"),
        ),
        row(
            "tags that are not the ones that were signed",
            {
                let condition = condition.clone();
                move |p| {
                    p.condition(&condition).set("tagging", set(&tag("a", "c")));
                }
            },
            failed(&condition),
        ),
        row(
            "tags that say the same in another spelling",
            {
                let condition = condition.clone();
                move |p| {
                    p.condition(&condition)
                        .set("tagging", set(&tag("&#97;", "b")));
                }
            },
            failed(&condition),
        ),
        row(
            "tags that nobody signed, malformed or not: the condition counts first",
            |p| {
                p.set("tagging", "not-xml");
            },
            extra("tagging"),
        ),
        row(
            "the header's field is not the form's",
            |p| {
                p.allow("x-amz-tagging", "a=b");
            },
            stored(),
        ),
    ]
}
