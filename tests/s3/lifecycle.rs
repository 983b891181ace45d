//! The S3 dialect, over HTTP: lifecycle rules, and what they let go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{sigv4, support};
use pillarbox::model::Timestamp;
use pillarbox::store::{ClockReading, SweepReport};
use sigv4::{Signed, code, element, elements};
use support::{Answer, NOW, PIPELINE, Rig};

const XMLNS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn ask(rig: &Rig, method: &str, path: &str) -> Answer {
    Signed::new(method, path).send(rig).await
}

async fn put(rig: &Rig, path: &str, body: &str) -> Answer {
    Signed::new("PUT", path).body(body).send(rig).await
}

async fn stored(rig: &Rig, path: &str) -> Answer {
    let answer = put(rig, path, "bytes").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), code(answer))
}

fn rules(rules: &str) -> String {
    format!("<LifecycleConfiguration {XMLNS}>{rules}</LifecycleConfiguration>")
}

fn rule(id: &str, filter: &str, action: &str) -> String {
    format!("<Rule><ID>{id}</ID>{filter}<Status>Enabled</Status>{action}</Rule>")
}

fn days(days: u32) -> String {
    format!("<Expiration><Days>{days}</Days></Expiration>")
}

fn prefix(prefix: &str) -> String {
    format!("<Filter><Prefix>{prefix}</Prefix></Filter>")
}

async fn set(rig: &Rig, bucket: &str, all: &[String]) {
    let answer = put(rig, &format!("/{bucket}?lifecycle"), &rules(&all.concat())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// One sweep at this moment; the clocks go evenly.
async fn sweep(rig: &Rig, wall: Timestamp) -> SweepReport {
    let past = u64::try_from(wall.millis() - NOW.millis()).unwrap();
    let monotonic = Duration::from_millis(past);
    rig.store
        .sweep(ClockReading { wall, monotonic }, 1000)
        .await
        .unwrap()
}

async fn keys(rig: &Rig, bucket: &str) -> Vec<String> {
    elements(&ask(rig, "GET", &format!("/{bucket}")).await, "Key")
}

/// 13:20 on the day of the tests; the first midnight is 10 h 40 min later.
fn midnight(after_days: u32) -> Timestamp {
    NOW.plus(Duration::from_secs(10 * 3600 + 40 * 60) + DAY * after_days)
}

#[tokio::test]
async fn rules_are_given_back_in_the_form_in_which_they_were_set() {
    let rig = Rig::new().await;
    let none = (404, "NoSuchLifecycleConfiguration".to_owned());
    assert_eq!(told(&ask(&rig, "GET", "/uploads?lifecycle").await), none);
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
    let sizes = "<ObjectSizeGreaterThan>1</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan>";
    let both = format!("{}{abort}", days(3));
    let all = [
        rule("old", "<Prefix>logs/</Prefix>", &both),
        rule("old, all", "<Prefix></Prefix>", &days(3)),
        rule("none", "<Filter></Filter>", abort),
        rule("prefix", &prefix("a/"), &days(30)),
        rule("tag", &format!("<Filter>{tag}</Filter>"), &days(1)),
        rule(
            "and",
            &format!("<Filter><And><Prefix>p</Prefix>{tag}{sizes}</And></Filter>"),
            "<Expiration><Date>2027-01-01T00:00:00.000Z</Date></Expiration>",
        ),
        rule("off", &prefix(""), &days(1)).replace("Enabled", "Disabled"),
    ];
    set(&rig, "uploads", &all).await;
    let expected = rules(&all.concat());
    let shown = ask(&rig, "GET", "/uploads?lifecycle").await.text();
    assert!(shown.ends_with(&expected), "{shown}");
    let rig = rig.restarted(|_| {}).await;
    let shown = ask(&rig, "GET", "/uploads?lifecycle").await.text();
    assert!(shown.ends_with(&expected), "{shown}");
    set(&rig, "uploads", &[rule("", &prefix("x"), &days(1))]).await;
    let shown = ask(&rig, "GET", "/uploads?lifecycle").await;
    assert_eq!(element(&shown, "ID").len(), 24, "{}", shown.text());
    for _ in 0..2 {
        assert_eq!(ask(&rig, "DELETE", "/uploads?lifecycle").await.status, 204);
        assert_eq!(told(&ask(&rig, "GET", "/uploads?lifecycle").await), none);
    }
}

#[tokio::test]
async fn an_object_goes_at_the_midnight_that_its_headers_named() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/logs/before").await;
    stored(&rig, "/uploads/kept").await;
    set(
        &rig,
        "uploads",
        &[rule("out with it", &prefix("logs/"), &days(2))],
    )
    .await;
    let stored_after = stored(&rig, "/uploads/logs/after").await;
    let goes = "expiry-date=\"Wed, 25 Nov 2026 00:00:00 GMT\", rule-id=\"out%20with%20it\"";
    assert_eq!(stored_after.header("x-amz-expiration"), goes);
    for (path, expected) in [
        ("/uploads/logs/before", goes),
        ("/uploads/logs/after", goes),
        ("/uploads/kept", ""),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = ask(&rig, method, path).await;
            assert_eq!(
                answer.header("x-amz-expiration"),
                expected,
                "{method} {path}"
            );
        }
    }
    let copy =
        Signed::new("PUT", "/uploads/logs/copy").header("x-amz-copy-source", "/uploads/kept");
    let made = copy.send(&rig).await;
    assert_eq!(
        (made.status.as_u16(), made.header("x-amz-expiration")),
        (200, goes)
    );
    let copied = ask(&rig, "HEAD", "/uploads/logs/copy").await;
    assert_eq!(copied.header("x-amz-expiration"), goes);
    let end = midnight(2);
    assert_eq!(sweep(&rig, NOW).await.objects, 0);
    assert_eq!(
        sweep(&rig, Timestamp::from_millis(end.millis() - 1))
            .await
            .objects,
        0
    );
    assert_eq!(keys(&rig, "uploads").await.len(), 4);
    assert_eq!(sweep(&rig, end).await.objects, 3);
    assert_eq!(keys(&rig, "uploads").await, ["kept"]);
    assert_eq!(
        told(&ask(&rig, "GET", "/uploads/logs/after").await),
        (404, "NoSuchKey".to_owned())
    );
}

#[tokio::test]
async fn a_rule_counts_for_what_was_there_before_it_also_after_a_restart_and_not_when_it_was_removed()
 {
    let rig = Rig::new().await;
    ask(&rig, "PUT", "/films").await;
    for path in ["/films/a", "/films/b", "/uploads/a"] {
        stored(&rig, path).await;
    }
    let end = midnight(1);
    // Today was walked already when the rule comes.
    assert_eq!(sweep(&rig, end).await.objects, 0);
    set(&rig, "films", &[rule("one", &prefix("a"), &days(1))]).await;
    assert_eq!(sweep(&rig, end).await.objects, 1);
    assert_eq!(keys(&rig, "films").await, ["b"]);
    set(&rig, "films", &[rule("one", &prefix(""), &days(1))]).await;
    assert_eq!(ask(&rig, "DELETE", "/films?lifecycle").await.status, 204);
    assert_eq!(sweep(&rig, end.plus(DAY)).await.objects, 0);
    assert_eq!(keys(&rig, "films").await, ["b"]);
    set(&rig, "films", &[rule("one", &prefix(""), &days(1))]).await;
    let rig = rig.restarted(|_| {}).await;
    assert_eq!(sweep(&rig, end.plus(DAY)).await.objects, 1);
    assert_eq!(keys(&rig, "films").await, Vec::<String>::new());
    assert_eq!(keys(&rig, "uploads").await, ["a"]);
}

#[tokio::test]
async fn tags_sizes_dates_and_jobs_decide_what_goes() {
    let rig = Rig::new().await;
    for (path, tags, bytes) in [
        ("/uploads/small", "k=v", "b"),
        ("/uploads/tagged", "k=v&more=1", "bytes"),
        ("/uploads/otherwise", "k=w", "bytes"),
        ("/uploads/plain", "", "bytes"),
    ] {
        let request = Signed::new("PUT", path).header("x-amz-tagging", tags);
        assert_eq!(request.body(bytes).send(&rig).await.status, 200, "{path}");
    }
    let filter = "<Filter><And><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan></And></Filter>";
    let date = "<Expiration><Date>2026-11-24T00:00:00Z</Date></Expiration>";
    set(&rig, "uploads", &[rule("date", filter, date)]).await;
    assert_eq!(sweep(&rig, midnight(0)).await.objects, 0);
    assert_eq!(sweep(&rig, midnight(1)).await.objects, 1);
    assert_eq!(keys(&rig, "uploads").await, ["otherwise", "plain", "small"]);
    // A day later it has the tag, too; the date is over.
    let tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    assert_eq!(
        put(&rig, "/uploads/plain?tagging", tagging).await.status,
        200
    );
    assert_eq!(sweep(&rig, midnight(2)).await.objects, 1);
    assert_eq!(keys(&rig, "uploads").await, ["otherwise", "small"]);
    let id = rig.ask("GET", "/v1/files/?sort=name").await.json()["files"][0]["id"].clone();
    let uri = format!("/v1/files/{}", id.as_str().unwrap());
    let used = rig
        .send(
            "PUT",
            &uri,
            r#"{"file":{"job":{"id":"53a1ac4914eaa8ffa4fce38c"}}}"#,
        )
        .await;
    assert_eq!(used.status, 200, "{}", used.text());
    set(&rig, "uploads", &[rule("all", &prefix(""), &days(1))]).await;
    assert_eq!(sweep(&rig, midnight(3)).await.objects, 1);
    assert_eq!(keys(&rig, "uploads").await, ["otherwise"]);
    assert_eq!(
        ask(&rig, "HEAD", "/uploads/otherwise")
            .await
            .header("x-amz-expiration"),
        ""
    );
}

#[tokio::test]
async fn an_upload_that_is_not_finished_goes_after_its_days() {
    let rig = Rig::new().await;
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let below = format!("<Filter><Prefix>tmp/{PIPELINE}/a</Prefix></Filter>");
    set(&rig, "uploads", &[rule("abort", &below, abort)]).await;
    let (gone, kept, done) = (
        rig.start("a1").await,
        rig.start("b").await,
        rig.start("a2").await,
    );
    rig.put_chunk(&gone, 0, Some(2), "aaaa").await;
    rig.put_chunk(&kept, 0, Some(2), "aaaa").await;
    rig.put_chunk(&done, 0, Some(1), "aaaa").await;
    assert_eq!(sweep(&rig, midnight(0)).await.sessions, 0);
    assert_eq!(sweep(&rig, midnight(1)).await.sessions, 1);
    let inspect = async |id: &str| {
        rig.ask("GET", &format!("/v1/files/uploads/{id}"))
            .await
            .status
    };
    assert_eq!(inspect(&gone).await, 404);
    assert_eq!(inspect(&kept).await, 200);
    assert_eq!(keys(&rig, "uploads").await, [format!("tmp/{PIPELINE}/a2")]);
}

#[tokio::test]
async fn the_answers_about_an_upload_in_parts_say_when_it_goes_and_when_its_object_goes() {
    let rig = Rig::new().await;
    let abort = |days: u32| {
        format!(
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
        )
    };
    let all = [
        rule("late", &prefix("logs/"), &abort(9)),
        rule(
            "too old",
            &prefix("logs/"),
            &format!("{}{}", days(2), abort(1)),
        ),
        rule("\u{fc}ber", &prefix("umlauts/"), &abort(1)),
        rule("when all are gone", &prefix("last/"), &abort(30)),
    ];
    set(&rig, "uploads", &all).await;
    let told = |answer: &Answer| {
        let header = |name| answer.header(name).to_owned();
        (header("x-amz-abort-date"), header("x-amz-abort-rule-id"))
    };
    for (path, rule) in [
        ("/uploads/logs/a", "too old"),
        ("/uploads/umlauts/a", "%C3%BCber"),
        ("/uploads/kept", ""),
        ("/uploads/last/a", ""),
    ] {
        let date = match rule {
            "" => "",
            _ => "Tue, 24 Nov 2026 00:00:00 GMT",
        };
        let goes = (date.to_owned(), rule.to_owned());
        let begun = ask(&rig, "POST", &format!("{path}?uploads")).await;
        assert_eq!(told(&begun), goes, "{path}");
        let id = element(&begun, "UploadId");
        let named = format!("{path}?uploadId={id}");
        assert_eq!(told(&ask(&rig, "GET", &named).await), goes, "{path}");
        let part = put(&rig, &format!("{named}&partNumber=1"), "bytes").await;
        let list = format!(
            "<CompleteMultipartUpload {XMLNS}><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag")
        );
        let done = Signed::new("POST", &named).body(list).send(&rig).await;
        let object_goes = match rule {
            "too old" => "expiry-date=\"Wed, 25 Nov 2026 00:00:00 GMT\", rule-id=\"too%20old\"",
            _ => "",
        };
        assert_eq!(done.status, 200, "{}", done.text());
        assert_eq!(done.header("x-amz-expiration"), object_goes, "{path}");
    }
    let onto_itself = Signed::new("PUT", "/uploads/logs/a")
        .header("x-amz-copy-source", "/uploads/logs/a")
        .header("x-amz-metadata-directive", "REPLACE");
    let changed = onto_itself.send(&rig).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert!(changed.header("x-amz-expiration").contains("too%20old"));
}

#[tokio::test]
async fn a_walk_that_is_cut_into_many_sweeps_removes_all_that_is_due_and_nothing_else() {
    let rig = Rig::new().await;
    for bucket in ["films", "more"] {
        ask(&rig, "PUT", &format!("/{bucket}")).await;
        set(&rig, bucket, &[rule("one", &prefix("x"), &days(1))]).await;
        for n in 0..5 {
            stored(&rig, &format!("/{bucket}/x{n}")).await;
        }
        stored(&rig, &format!("/{bucket}/y")).await;
    }
    stored(&rig, "/uploads/x").await;
    let clock = ClockReading {
        wall: midnight(1),
        monotonic: Duration::from_secs(1),
    };
    rig.store
        .sweep(
            ClockReading {
                wall: midnight(1),
                monotonic: Duration::ZERO,
            },
            0,
        )
        .await
        .unwrap();
    let (mut removed, mut calls) = (0, 0);
    loop {
        let report = rig.store.sweep(clock, 3).await.unwrap();
        assert!(report.objects <= 3);
        (removed, calls) = (removed + report.objects, calls + 1);
        if !report.more {
            break;
        }
        assert!(calls < 20, "it does not end");
    }
    assert_eq!(removed, 10);
    assert!(calls >= 4, "{calls}");
    for (bucket, left) in [("films", "y"), ("more", "y"), ("uploads", "x")] {
        assert_eq!(keys(&rig, bucket).await, [left], "{bucket}");
    }
}

#[tokio::test]
async fn rules_that_are_none_or_not_true_here_are_refused_and_change_nothing() {
    let rig = Rig::new().await;
    let good = rule("good", &prefix("a"), &days(1));
    set(&rig, "uploads", std::slice::from_ref(&good)).await;
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        rules(&good.replace(from, to))
    };
    let tags = "<Filter><And><Tag><Key>k</Key><Value>1</Value></Tag><Tag><Key>k</Key><Value>2</Value></Tag></And></Filter>";
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let transition = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
    let versions = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    let marker = "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>";
    let tag_filter = "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>";
    for (what, body, expected) in [
        ("none", rules(""), (400, "MalformedXML")),
        ("root", good.clone(), (400, "MalformedXML")),
        ("no document", "rules".to_owned(), (400, "MalformedXML")),
        ("status", with("Enabled", "On"), (400, "MalformedXML")),
        (
            "no status",
            with("<Status>Enabled</Status>", ""),
            (400, "MalformedXML"),
        ),
        ("no filter", with(&prefix("a"), ""), (400, "MalformedXML")),
        (
            "two filters",
            with(&prefix("a"), &prefix("a").repeat(2)),
            (400, "MalformedXML"),
        ),
        (
            "both forms",
            with(&prefix("a"), &format!("{}<Prefix/>", prefix("a"))),
            (400, "MalformedXML"),
        ),
        ("no action", with(&days(1), ""), (400, "InvalidRequest")),
        (
            "no days",
            with(&days(1), "<Expiration/>"),
            (400, "MalformedXML"),
        ),
        (
            "zero days",
            with("<Days>1", "<Days>0"),
            (400, "InvalidArgument"),
        ),
        (
            "negative days",
            with("<Days>1", "<Days>-1"),
            (400, "InvalidArgument"),
        ),
        (
            "half a day",
            with("<Days>1", "<Days>0.5"),
            (400, "MalformedXML"),
        ),
        (
            "all days",
            with("<Days>1", "<Days>9999999999"),
            (400, "InvalidArgument"),
        ),
        (
            "a date at noon",
            with("<Days>1</Days>", "<Date>2027-01-01T12:00:00Z</Date>"),
            (400, "InvalidArgument"),
        ),
        (
            "no date",
            with("<Days>1</Days>", "<Date>soon</Date>"),
            (400, "MalformedXML"),
        ),
        (
            "days and date",
            with("<Days>1</Days>", "<Days>1</Days><Date>2027-01-01</Date>"),
            (400, "MalformedXML"),
        ),
        (
            "the same twice",
            rules(&good.repeat(2)),
            (400, "InvalidArgument"),
        ),
        (
            "a long name",
            with("good", &"n".repeat(256)),
            (400, "InvalidArgument"),
        ),
        (
            "a tag twice",
            with(&prefix("a"), tags),
            (400, "InvalidRequest"),
        ),
        (
            "tags of uploads",
            rules(&rule("u", tag_filter, abort)),
            (400, "InvalidRequest"),
        ),
        (
            "a transition",
            with(&days(1), transition),
            (501, "NotImplemented"),
        ),
        (
            "versions",
            with(&days(1), versions),
            (501, "NotImplemented"),
        ),
        (
            "a marker",
            with("<Days>1</Days>", marker),
            (501, "NotImplemented"),
        ),
        (
            "another action",
            with(&days(1), "<Move/>"),
            (400, "MalformedXML"),
        ),
        (
            "a large document",
            with("good", &"n".repeat(300_000)),
            (400, "EntityTooLarge"),
        ),
    ] {
        let answer = put(&rig, "/uploads?lifecycle", &body).await;
        assert_eq!(
            told(&answer),
            (expected.0, expected.1.to_owned()),
            "{what}: {}",
            answer.text()
        );
        let shown = ask(&rig, "GET", "/uploads?lifecycle").await;
        assert_eq!(elements(&shown, "ID"), ["good"], "{what}");
    }
    let twice = put(&rig, "/uploads?lifecycle", &with(&prefix("a"), tags)).await;
    let message = "Duplicate Tag Keys are not allowed.";
    assert_eq!(element(&twice, "Message"), message);
    let noon = "2027-01-01T12:00:00Z";
    let at_noon = with("<Days>1</Days>", &format!("<Date>{noon}</Date>"));
    let at_noon = put(&rig, "/uploads?lifecycle", &at_noon).await;
    assert_eq!(element(&at_noon, "ArgumentName"), "Date");
    assert_eq!(element(&at_noon, "ArgumentValue"), noon);
    let named = put(&rig, "/uploads?lifecycle", &with(&days(1), transition)).await;
    assert!(element(&named, "Message").contains("Transition"));
    let many = |count: usize| {
        let all = (0..count).map(|n| rule(&n.to_string(), "<Prefix/>", &days(1)));
        rules(&all.collect::<String>())
    };
    assert_eq!(
        code(&put(&rig, "/uploads?lifecycle", &many(1001)).await),
        "MalformedXML"
    );
    assert_eq!(
        put(&rig, "/uploads?lifecycle", &many(1000)).await.status,
        200
    );
    let shown = ask(&rig, "GET", "/uploads?lifecycle").await;
    assert_eq!(elements(&shown, "ID").len(), 1000);
    assert_eq!(
        code(&put(&rig, "/nowhere?lifecycle", &rules(&good)).await),
        "NoSuchBucket"
    );
}
