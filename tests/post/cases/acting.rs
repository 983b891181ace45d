//! Fields that do something: each is done, or refused with its reason, and never pretended (reference 1.5, step 7 and 8 of 2.7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::post::FILE;
use super::row::{Row, bad_field, refused, row, stored};

pub(crate) fn rows() -> Vec<Row> {
    [
        acls(),
        headers(),
        metadata(),
        md5(),
        checksums(),
        classes(),
        promises(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn acls() -> Vec<Row> {
    let mut rows = Vec::new();
    for acl in [
        "private",
        "public-read",
        "public-read-write",
        "aws-exec-read",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    ] {
        rows.push(row(
            format!("the canned acl {acl}"),
            move |p| {
                p.cover("acl", acl);
            },
            stored().acl(acl),
        ));
    }
    for acl in [
        "everyone",
        "",
        "Private",
        "public",
        "private,public-read",
        "log-delivery-write",
    ] {
        rows.push(row(
            format!("the acl {acl:?} is none"),
            move |p| {
                p.cover("acl", acl);
            },
            bad_field("acl", acl),
        ));
    }
    rows
}

fn headers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value) in [
        ("Content-Type", "video/mp4"),
        ("Content-Type", ""),
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "max-age=3600, public"),
        ("Content-Disposition", "attachment; filename=\"ü.mp4\""),
        ("Content-Encoding", "gzip"),
        ("Content-Language", "de, en"),
        ("Expires", "Wed, 01 Jan 2031 00:00:00 GMT"),
        ("Expires", "never"),
    ] {
        rows.push(row(
            format!("{name} {value:?} is stored with the object"),
            move |p| {
                p.cover(name, value);
            },
            stored().with(&name.to_lowercase(), value),
        ));
    }
    for (says, value) in [
        ("a line end", "a\r\nSet-Cookie: b=c"),
        ("a line feed", "a\nb"),
        ("a NUL", "a\0b"),
        ("an escape", "a\u{1b}[2J"),
        ("a delete", "a\u{7f}b"),
    ] {
        for name in ["content-disposition", "content-type", "x-amz-meta-a"] {
            rows.push(row(
                format!("{name} with {says} in it"),
                move |p| {
                    p.cover(name, value);
                },
                refused("InvalidArgument").element("ArgumentName", name),
            ));
        }
    }
    rows.push(row(
        "fields that are no headers are not stored",
        |p| {
            p.cover("submit", "Upload")
                .cover("name", "a.bin")
                .cover("filename", "");
        },
        stored(),
    ));
    rows
}

fn metadata() -> Vec<Row> {
    let kept = |says: &str, name: &'static str, value: &'static str| {
        row(
            says,
            move |p| {
                p.allow(name, value);
            },
            stored().with(&name.to_lowercase(), value),
        )
    };
    vec![
        kept("metadata is stored", "x-amz-meta-uuid", "14365123651274"),
        kept(
            "metadata has a name in lower case",
            "X-Amz-Meta-TEST-2",
            "Value",
        ),
        kept(
            "metadata may be beyond ASCII",
            "x-amz-meta-who",
            "Grüße, 世界",
        ),
        kept("metadata keeps a tab", "x-amz-meta-a", "a\tb"),
        kept("metadata keeps its blanks", "x-amz-meta-a", "  a  "),
        kept(
            "metadata may have any sign of a token in its name",
            "x-amz-meta-a!#$%&'*+-.^_`|~",
            "1",
        ),
        row(
            "a blank in a name of metadata",
            |p| {
                p.allow("x-amz-meta-a b", "1");
            },
            refused("InvalidArgument").element("ArgumentName", "x-amz-meta-a b"),
        ),
        row(
            "a colon in a name of metadata",
            |p| {
                p.allow("x-amz-meta-a:b", "1");
            },
            refused("InvalidArgument").element("ArgumentName", "x-amz-meta-a:b"),
        ),
        row(
            "a letter beyond ASCII in a name of metadata",
            |p| {
                p.allow("x-amz-meta-\u{fc}", "1");
            },
            refused("InvalidArgument").element("ArgumentName", "x-amz-meta-\u{fc}"),
        ),
    ]
}

fn md5() -> Vec<Row> {
    let right = "z/qcG4gdeFBMIde+96aA4A==";
    let invalid = |says: &str, value: &'static str| {
        row(
            says,
            move |p| {
                p.cover("Content-MD5", value);
            },
            refused("InvalidDigest")
                .saying("The Content-MD5 you specified was invalid.")
                .element("Content-MD5", value),
        )
    };
    vec![
        row(
            "the right MD5",
            move |p| {
                p.cover("Content-MD5", right);
            },
            stored(),
        ),
        row(
            "the MD5 of another file",
            |p| {
                p.cover("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==");
            },
            refused("BadDigest"),
        ),
        row(
            "the right MD5 of an empty file",
            |p| {
                p.cover("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==").file("");
            },
            stored(),
        ),
        invalid("an MD5 that is no base64", "not base64"),
        invalid("an MD5 in hex", "cffa9c1b881d78504c21d7bef7a680e0"),
        invalid("an MD5 of 15 bytes", "z/qcG4gdeFBMIde+96aA"),
        invalid("an empty MD5", ""),
    ]
}

/// Field, checksum of [`FILE`].
fn right_checksums() -> [(&'static str, Vec<u8>); 5] {
    let crc = |algorithm, bytes: usize| {
        let whole = crc_fast::checksum(algorithm, FILE).to_be_bytes();
        whole[whole.len() - bytes..].to_vec()
    };
    let sha = |algorithm| ring::digest::digest(algorithm, FILE).as_ref().to_vec();
    [
        (
            "x-amz-checksum-crc32",
            crc(crc_fast::CrcAlgorithm::Crc32IsoHdlc, 4),
        ),
        (
            "x-amz-checksum-crc32c",
            crc(crc_fast::CrcAlgorithm::Crc32Iscsi, 4),
        ),
        (
            "x-amz-checksum-crc64nvme",
            crc(crc_fast::CrcAlgorithm::Crc64Nvme, 8),
        ),
        (
            "x-amz-checksum-sha1",
            sha(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY),
        ),
        ("x-amz-checksum-sha256", sha(&ring::digest::SHA256)),
    ]
}

fn checksums() -> Vec<Row> {
    let mut rows = Vec::new();
    for (field, right) in right_checksums() {
        let name = field.trim_start_matches("x-amz-checksum-");
        let mut wrong = right.clone();
        wrong[0] ^= 1;
        let (right_text, wrong_text) = (STANDARD.encode(&right), STANDARD.encode(&wrong));
        let short = STANDARD.encode(&right[1..]);
        let with = move |value: &str| {
            let value = value.to_owned();
            move |p: &mut super::Post| {
                p.cover(field, &value);
            }
        };
        let kept = stored().summed(field, &right_text);
        let kept_too = stored().summed(field, &right_text);
        let invalid =
            || refused("InvalidRequest").saying(format!("Value for {field} header is invalid."));
        rows.push(row(format!("the right {name}"), with(&right_text), kept));
        rows.push(row(
            format!("the right {name} and its algorithm by name"),
            move |p| {
                with(&right_text)(p);
                p.cover("x-amz-checksum-algorithm", &name.to_uppercase());
            },
            kept_too,
        ));
        rows.push(row(
            format!("a wrong {name}"),
            with(&wrong_text),
            refused("BadDigest"),
        ));
        rows.push(row(
            format!("a {name} that is a byte short"),
            with(&short),
            invalid(),
        ));
        rows.push(row(
            format!("a {name} that is no base64"),
            with("%%"),
            invalid(),
        ));
    }
    rows.extend(odd_checksums());
    rows
}

fn odd_checksums() -> Vec<Row> {
    vec![
        row(
            "two checksums of two kinds",
            |p| {
                p.cover("x-amz-checksum-crc32", "AAAAAA==").cover("x-amz-checksum-crc32c", "AAAAAA==");
            },
            refused("InvalidRequest")
                .saying("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."),
        ),
        row(
            "a checksum of a kind that nobody knows",
            |p| {
                p.cover("x-amz-checksum-crc16", "AAA=");
            },
            refused("InvalidRequest").about("Checksum algorithm provided is unsupported."),
        ),
        row(
            "an algorithm that nobody knows",
            |p| {
                p.cover("x-amz-checksum-algorithm", "MD4");
            },
            refused("InvalidRequest").about("Checksum algorithm provided is unsupported."),
        ),
        row(
            "a checksum of another algorithm than is named",
            |p| {
                p.cover("x-amz-checksum-algorithm", "SHA1").cover("x-amz-checksum-crc32", "AAAAAA==");
            },
            refused("InvalidRequest").saying("Value for x-amz-checksum-algorithm header is invalid."),
        ),
        row(
            "an algorithm without a checksum",
            |p| {
                p.cover("x-amz-checksum-algorithm", "CRC32");
            },
            refused("InvalidRequest").about("x-amz-checksum-algorithm specified"),
        ),
        row(
            "a right checksum beside a wrong MD5",
            |p| {
                p.cover("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==");
                p.cover("x-amz-checksum-sha1", &STANDARD.encode(&right_checksums()[3].1));
            },
            refused("BadDigest"),
        ),
        row(
            "a wrong checksum that was signed for is still wrong",
            |p| {
                p.cover("x-amz-checksum-crc32", "AAAAAA==");
            },
            refused("BadDigest"),
        ),
        row(
            "a wrong checksum without a condition is still wrong",
            |p| {
                p.set("x-amz-checksum-crc32", "AAAAAA==");
            },
            refused("BadDigest"),
        ),
    ]
}

fn classes() -> Vec<Row> {
    let mut rows = vec![
        row(
            "the storage class STANDARD is none to tell of",
            |p| {
                p.cover("x-amz-storage-class", "STANDARD");
            },
            stored(),
        ),
        row(
            "another storage class is kept",
            |p| {
                p.cover("x-amz-storage-class", "STANDARD_IA");
            },
            stored().with("x-amz-storage-class", "STANDARD_IA"),
        ),
    ];
    for class in ["COLD", "", "standard"] {
        rows.push(row(
            format!("the storage class {class:?} is none"),
            move |p| {
                p.cover("x-amz-storage-class", class);
            },
            refused("InvalidStorageClass")
                .saying("The storage class you specified is not valid")
                .element("StorageClassRequested", class),
        ));
    }
    for target in ["/elsewhere", "http://a.example/", "https://a.example/?b#c"] {
        rows.push(row(
            format!("the website redirect {target}"),
            move |p| {
                p.cover("x-amz-website-redirect-location", target);
            },
            stored().with("x-amz-website-redirect-location", target),
        ));
    }
    for target in [
        "elsewhere",
        "ftp://a.example/",
        "javascript:alert(1)",
        "",
        " /a",
    ] {
        rows.push(row(
            format!("the website redirect {target:?} is none"),
            move |p| {
                p.cover("x-amz-website-redirect-location", target);
            },
            refused("InvalidRedirectLocation"),
        ));
    }
    rows.push(row(
        "a website redirect with a line end",
        |p| {
            p.cover("x-amz-website-redirect-location", "/a\r\nSet-Cookie: b");
        },
        refused("InvalidArgument"),
    ));
    rows
}

/// What we do not do is refused, and nothing is pretended.
fn promises() -> Vec<Row> {
    let encryption = "x-amz-server-side-encryption";
    let mut rows = vec![
        row(
            "plain AES256 is accepted and never claimed",
            move |p| {
                p.cover(encryption, "AES256");
            },
            stored().answered(encryption, ""),
        ),
        row(
            "an encryption that nobody has",
            move |p| {
                p.cover(encryption, "ROT13");
            },
            bad_field(encryption, "ROT13")
                .saying("The encryption method specified is not supported"),
        ),
    ];
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-server-side-encryption-context", "e30="),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "AAAA"),
        ("x-amz-server-side-encryption-customer-key-MD5", "AAAA"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2031-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ] {
        rows.push(row(
            format!("{name} {value} is refused and not pretended"),
            move |p| {
                p.cover(name, value);
            },
            refused("NotImplemented").about("implies functionality that is not implemented"),
        ));
    }
    rows
}
