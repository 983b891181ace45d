//! Forms that nobody signed: only where everybody may write, and never with half a proof (reference 2.6).

use super::row::{Row, bad_field, denied, failed, missing, refused, row, stored};
use super::runner::OPEN;
use super::{Part, Post, Version};

/// An unsigned form to the public bucket.
fn open(p: &mut Post) -> &mut Post {
    p.to("POST", &format!("/{OPEN}")).unsigned()
}

pub(crate) fn rows() -> Vec<Row> {
    [allowed(), denied_here()].into_iter().flatten().collect()
}

fn allowed() -> Vec<Row> {
    vec![
        row(
            "an unsigned form to a public bucket",
            |p| {
                open(p);
            },
            stored().answered(
                "location",
                format!("http://127.0.0.1:7080/{OPEN}/in%2Fa.bin"),
            ),
        ),
        row(
            "an unsigned form with an acl",
            |p| {
                open(p).set("acl", "public-read");
            },
            stored().acl("public-read"),
        ),
        row(
            "an unsigned form with a type and metadata",
            |p| {
                open(p)
                    .set("Content-Type", "text/plain")
                    .set("x-amz-meta-a", "1");
            },
            stored()
                .with("content-type", "text/plain")
                .with("x-amz-meta-a", "1"),
        ),
        row(
            "an unsigned form that wants 201",
            |p| {
                open(p).set("success_action_status", "201");
            },
            stored().status(201),
        ),
        row(
            "an unsigned form that wants a redirect",
            |p| {
                open(p).set("success_action_redirect", "http://a.example/");
            },
            stored().status(303),
        ),
        row(
            "an unsigned form with a field of no meaning",
            |p| {
                open(p).set("unheard-of", "1");
            },
            stored(),
        ),
        row(
            "an unsigned form that names its bucket",
            |p| {
                open(p).set("bucket", OPEN);
            },
            stored(),
        ),
        row(
            "an unsigned form with the variable of the file's name",
            |p| {
                open(p).set("key", "up/${filename}");
            },
            stored().under("up/a.bin"),
        ),
        row(
            "a signed form for the public bucket",
            |p| {
                p.uncondition("bucket")
                    .condition(&format!("{{\"bucket\":\"{OPEN}\"}}"));
                p.to("POST", &format!("/{OPEN}"));
            },
            stored(),
        ),
    ]
}

fn denied_here() -> Vec<Row> {
    let with = |name: &'static str, value: &'static str| {
        move |p: &mut Post| {
            open(p).late(move |fields| fields.push(Part::new(name, value)));
        }
    };
    vec![
        row(
            "an unsigned form without a key",
            |p| {
                open(p).leave_out("key");
            },
            missing("key"),
        ),
        row(
            "an unsigned form with an empty key",
            |p| {
                open(p).set("key", "");
            },
            bad_field("key", ""),
        ),
        row(
            "an unsigned form with an acl that is none",
            |p| {
                open(p).set("acl", "x");
            },
            bad_field("acl", "x"),
        ),
        row(
            "an unsigned form that names another bucket",
            |p| {
                open(p).set("bucket", "uploads");
            },
            failed(&format!("[\"eq\", \"$bucket\", \"{OPEN}\"]")),
        ),
        row(
            "a policy that nobody signed is no anonymous form, not even in a public bucket",
            |p| {
                let policy = p.policy();
                open(p).late(move |fields| fields.push(Part::new("policy", &policy)));
            },
            denied(),
        ),
        row(
            "an empty policy that nobody signed",
            with("policy", ""),
            denied(),
        ),
        row(
            "a signature without its key",
            with("signature", "AAAA"),
            missing("AWSAccessKeyId"),
        ),
        row(
            "a key id without a signature",
            with("AWSAccessKeyId", "S3POSTEXAMPLEKEY"),
            missing("Signature"),
        ),
        row(
            "a V4 signature without the rest",
            with("x-amz-signature", "00"),
            missing("X-Amz-Algorithm"),
        ),
        row(
            "a V2 proof without its policy",
            |p| {
                p.to("POST", &format!("/{OPEN}")).leave_out("policy");
            },
            missing("policy"),
        ),
        row(
            "an empty V2 signature without a policy",
            |p| {
                p.to("POST", &format!("/{OPEN}"))
                    .leave_out("policy")
                    .signature("");
            },
            missing("policy"),
        ),
        row(
            "a form that is signed wrongly is not taken as unsigned",
            |p| {
                p.to("POST", &format!("/{OPEN}"));
                p.secret = "wrong".to_owned();
            },
            refused("SignatureDoesNotMatch"),
        ),
        row(
            "a form that expired is not taken as unsigned",
            |p| {
                p.uncondition("bucket")
                    .condition(&format!("{{\"bucket\":\"{OPEN}\"}}"));
                p.to("POST", &format!("/{OPEN}")).expiration = "2020-01-01T00:00:00Z".to_owned();
            },
            refused("AccessDenied").saying("Invalid according to Policy: Policy expired."),
        ),
        row(
            "encryption with the client's key, unsigned",
            |p| {
                open(p).set("x-amz-server-side-encryption-customer-algorithm", "AES256");
            },
            refused("NotImplemented"),
        ),
        row(
            "an unsigned form in a private bucket, with V2's members only named alike",
            |p| {
                p.unsigned().set("x-signature", "1");
            },
            denied(),
        )
        .only(&[Version::V2, Version::V4]),
    ]
}
