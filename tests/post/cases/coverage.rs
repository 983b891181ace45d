//! Every field, of any name, needs a condition; and every condition, on any name, is really compared (reference 1.5, 2.3, and the
//! holes of MinIO, SeaweedFS and s3s in section 4).

use super::Version;
use super::post::{FILE, SECRET};
use super::row::{Row, extra, failed, row, stored};

/// Names with a meaning, and a value that is fine where the field is allowed, so that nothing but the coverage can refuse it; then
/// names without a meaning, and names that only look like one.
const NAMES: &[(&str, &str)] = &[
    ("acl", "public-read"),
    ("Content-Type", "text/html"),
    ("Cache-Control", "no-store"),
    ("Content-Disposition", "inline"),
    ("Content-Encoding", "gzip"),
    ("Content-Language", "de"),
    ("Content-MD5", "z/qcG4gdeFBMIde+96aA4A=="),
    ("Content-Length", "21"),
    ("Expires", "Wed, 01 Jan 2031 00:00:00 GMT"),
    ("success_action_status", "201"),
    ("success_action_redirect", "http://a.example/"),
    ("redirect", "http://a.example/"),
    ("tagging", "<Tagging><TagSet/></Tagging>"),
    ("x-amz-meta-a", "1"),
    ("x-amz-meta-", "1"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-website-redirect-location", "/other"),
    ("x-amz-server-side-encryption", "AES256"),
    ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
    ("x-amz-server-side-encryption-context", "e30="),
    ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    (
        "x-amz-server-side-encryption-customer-key",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ),
    (
        "x-amz-server-side-encryption-customer-key-MD5",
        "cLwhlD1IGZ4yLMYTNzkpZA==",
    ),
    ("x-amz-object-lock-mode", "GOVERNANCE"),
    (
        "x-amz-object-lock-retain-until-date",
        "2031-01-01T00:00:00Z",
    ),
    ("x-amz-object-lock-legal-hold", "ON"),
    ("x-amz-grant-read", "id=everybody"),
    ("x-amz-copy-source", "/uploads/other"),
    ("x-amz-tagging", "a=b"),
    ("x-amz-request-payer", "requester"),
    ("x-amz-checksum", "x"),
    ("x-pillarbox-upload-598358fe6baa605b1e33754e", ""),
    ("name", "a.bin"),
    ("filename", "a.bin"),
    ("Filename", "a.bin"),
    ("chunk", "0"),
    ("chunks", "1"),
    ("dzchunkindex", "0"),
    ("qqpartindex", "0"),
    ("flowChunkNumber", "1"),
    ("resumableChunkNumber", "1"),
    ("submit", "Upload"),
    ("keys", "in/a.bin"),
    ("ke", "in/a.bin"),
    ("$key", "in/a.bin"),
    ("unheard-of", "1"),
    ("content-length-range", "0"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value) in NAMES {
        rows.push(row(
            format!("{name} without a condition"),
            move |p| {
                p.set(name, value);
            },
            extra(&name.to_lowercase()),
        ));
        rows.push(row(
            format!("{name} against a condition on it"),
            move |p| {
                p.condition(&format!("[\"eq\",\"${name}\",\"another value\"]"));
                p.set(name, value);
            },
            failed(&format!("[\"eq\",\"${name}\",\"another value\"]")),
        ));
        rows.push(row(
            format!("{name} is wanted and not sent"),
            move |p| {
                p.condition(&format!("[\"starts-with\",\"${name}\",\"\"]"));
            },
            failed(&format!("[\"starts-with\",\"${name}\",\"\"]")),
        ));
    }
    rows.extend(members());
    rows.extend(exempt());
    rows
}

/// The members of a V4 signature are fields like others; those of V2 are not.
fn members() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in ["x-amz-algorithm", "x-amz-credential", "x-amz-date"] {
        rows.push(
            row(
                format!("{name} is a field like others"),
                move |p| {
                    p.uncondition(name);
                },
                extra(name),
            )
            .only(&[Version::V4]),
        );
        rows.push(
            row(
                format!("a condition on {name} is compared"),
                move |p| {
                    p.condition(&format!("[\"eq\",\"${name}\",\"x\"]"));
                },
                failed(&format!("[\"eq\",\"${name}\",\"x\"]")),
            )
            .only(&[Version::V4]),
        );
    }
    rows.push(row(
        "no condition on the key",
        |p| {
            p.uncondition("in/a.bin");
        },
        extra("key"),
    ));
    rows.push(row(
        "a length range covers no field of its name",
        |p| {
            p.condition("[\"content-length-range\",0,1000]")
                .set("content-length-range", "1");
        },
        extra("content-length-range")
            .saying("Invalid according to Policy: Extra input fields: content-length-range"),
    ));
    rows.push(row(
        "of two uncovered fields the first that was sent is named",
        |p| {
            p.set("b-field", "1").set("a-field", "1");
        },
        extra("b-field"),
    ));
    rows.push(row(
        "a condition on one name covers no other",
        |p| {
            p.allow("x-amz-meta-a", "1").set("x-amz-meta-b", "1");
        },
        extra("x-amz-meta-b"),
    ));
    rows.push(row(
        "a condition in the name's own case covers it in any",
        |p| {
            p.condition("[\"eq\",\"$X-AMZ-META-A\",\"1\"]")
                .set("x-amz-meta-a", "1");
        },
        stored().with("x-amz-meta-a", "1"),
    ));
    rows
}

fn exempt() -> Vec<Row> {
    vec![
        row(
            "a checksum needs no condition, for it only narrows what is taken",
            |p| {
                p.set("x-amz-checksum-crc32", crc32(&p.file.value));
            },
            stored().summed("x-amz-checksum-crc32", &crc32(FILE)),
        ),
        row(
            "the checksum's algorithm needs none either",
            |p| {
                p.set("x-amz-checksum-crc32", crc32(&p.file.value))
                    .set("x-amz-checksum-algorithm", "CRC32");
            },
            stored().summed("x-amz-checksum-crc32", &crc32(FILE)),
        ),
        row(
            "a secret in a field is a field like others",
            |p| {
                p.set("secret", SECRET);
            },
            extra("secret"),
        ),
    ]
}

fn crc32(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes);
    base64::engine::general_purpose::STANDARD.encode(hasher.finalize().to_be_bytes())
}
