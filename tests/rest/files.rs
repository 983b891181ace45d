//! `/v1/files/`: sessions as lists of requests, the File object member by member, and one mutation at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{objects, support};
use objects::{draft, pattern};
use pillarbox::model::{Id, ObjectMeta, PipelineSettings, Scope};
use pillarbox::store::ChunkSpec;
use serde_json::{Value, json};
use support::{NOBODY, NOW, PIPELINE, Rig, TOKEN};

/// The members of a File in the order of the hosted API's sample.
const MEMBERS: [&str; 31] = [
    "storage",
    "title",
    "name",
    "type",
    "subtype",
    "job",
    "autograph",
    "container",
    "mime_type",
    "md5_checksum",
    "size",
    "size_on_disk",
    "application",
    "duration",
    "pipeline",
    "finished_at",
    "expires_at",
    "elements",
    "video_tracks",
    "audio_tracks",
    "subtitle_tracks",
    "description",
    "user_data",
    "parents",
    "uri",
    "version",
    "user",
    "created_at",
    "updated_at",
    "id",
    "href",
];
const BASE: &str = "http://127.0.0.1:7080/v1";

fn path_of(meta: &ObjectMeta) -> String {
    format!("/v1/files/{}", meta.id)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn every_member_of_a_file_shows_what_the_store_knows() {
    let rig = Rig::new().await;
    let mut intro = draft("clips/Intro.mp4", "123456789").expires(NOW.plus(seconds(3600)));
    intro.upload.application = Id::parse("1234567890abcdef12345678");
    intro.upload.created_at = NOW.minus(seconds(5));
    let meta = intro.store(&rig).await;
    let id = meta.id;
    let expected = json!({ "file": {
        "storage": "intern", "title": "Intro", "name": "Intro.mp4", "type": "file", "subtype": "video", "job": null,
        "autograph": null, "container": null, "mime_type": "video/mp4",
        "md5_checksum": "25f9e794323b453885f5181f1b624d0b", "size": 9, "size_on_disk": 9,
        "application": { "id": "1234567890abcdef12345678", "href": format!("{BASE}/applications/1234567890abcdef12345678") },
        "duration": null, "pipeline": { "id": PIPELINE, "href": format!("{BASE}/pipelines/{PIPELINE}") },
        "finished_at": NOW.millis(), "expires_at": NOW.millis() + 3_600_000, "elements": null, "video_tracks": null,
        "audio_tracks": null, "subtitle_tracks": null, "description": null, "user_data": null, "parents": null,
        "uri": format!("{BASE}/files/downloads/?file_id={id}"), "version": 1, "user": null,
        "created_at": NOW.millis() - 5_000, "updated_at": NOW.millis(), "id": id.to_string(),
        "href": format!("{BASE}/files/{id}"),
    }});
    let shown = rig
        .ask("GET", &format!("/v1/files/{id}?show_null=true"))
        .await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json(), expected);
    let order = shown.json()["file"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    assert_eq!(order, MEMBERS);
}

#[tokio::test]
async fn members_that_are_not_set_are_shown_only_on_demand_in_json_and_in_xml() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    let bare = rig.ask("GET", &path_of(&meta)).await.json();
    let absent = MEMBERS
        .iter()
        .filter(|name| bare["file"].get(name).is_none());
    let absent = absent.copied().collect::<Vec<_>>();
    assert_eq!(
        absent,
        [
            "job",
            "autograph",
            "container",
            "application",
            "duration",
            "expires_at",
            "elements",
            "video_tracks",
            "audio_tracks",
            "subtitle_tracks",
            "description",
            "user_data",
            "parents",
            "user",
        ]
    );
    let xml = rig
        .ask("GET", &format!("{}?format=xml", path_of(&meta)))
        .await;
    assert_eq!(xml.header("content-type"), "application/xml");
    let text = xml.text();
    assert!(
        text.contains("<file><storage>intern</storage><title>a</title><name>a.mp4</name>"),
        "{text}"
    );
    assert!(
        text.contains(&format!("<pipeline><id>{PIPELINE}</id><href>")),
        "{text}"
    );
    assert!(!text.contains("<job"), "{text}");
    let xml = rig
        .ask(
            "GET",
            &format!("{}?format=xml&show_null=true", path_of(&meta)),
        )
        .await;
    assert!(
        xml.text()
            .contains("<job nil=\"true\"/><autograph nil=\"true\"/>")
    );
    let list = rig.ask("GET", "/v1/files?format=xml").await.text();
    assert!(
        list.contains("<files total=\"1\" start=\"0\" limit=\"1000\"><file><storage>"),
        "{list}"
    );
}

#[tokio::test]
async fn the_type_is_what_was_stored_or_what_the_name_says_or_unknown() {
    let rig = Rig::new().await;
    for (key, stored, mime_type, subtype) in [
        ("a.mp4", None, "video/mp4", Some("video")),
        ("b.MP3", None, "audio/mpeg", Some("audio")),
        ("c.zip", None, "application/zip", Some("zip")),
        ("d.7z", None, "application/x-7z-compressed", Some("7z")),
        ("e.braw", None, "application/octet-stream", Some("braw")),
        ("f", None, "application/octet-stream", None),
        ("g.mp4", Some("image/png"), "image/png", Some("image")),
        (
            "h.mp4",
            Some("application/octet-stream"),
            "application/octet-stream",
            Some("mp4"),
        ),
        ("i.txt", Some("not a type"), "text/plain", Some("text")),
        ("j.mpd", None, "application/dash+xml", Some("dash")),
        ("k.<b>", None, "application/octet-stream", None),
    ] {
        let mut object = draft(key, "x");
        if let Some(stored) = stored {
            object = object.header("content-type", stored);
        }
        let meta = object.store(&rig).await;
        let file = rig.ask("GET", &path_of(&meta)).await.json();
        assert_eq!(file["file"]["mime_type"], mime_type, "{key}");
        assert_eq!(
            file["file"].get("subtype").and_then(Value::as_str),
            subtype,
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_file_that_came_in_chunks_has_no_md5() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", pattern(300))
        .store_in_chunks(&rig, 100)
        .await;
    let file = rig.ask("GET", &path_of(&meta)).await.json();
    assert!(file["file"].get("md5_checksum").is_none());
    assert_eq!(file["file"]["size"], 300);
}

#[tokio::test]
async fn an_upload_that_goes_on_is_no_file_and_deleting_it_aborts_it() {
    let rig = Rig::new().await;
    let open = draft("a.mp4", "").upload;
    rig.store.create_upload(open.clone()).await.unwrap();
    let spec = ChunkSpec::new(0, Some(2));
    let mut writer = rig.store.write_chunk(open.id, spec).await.unwrap();
    writer.write("half".into()).await.unwrap();
    writer.commit(Default::default(), NOW).await.unwrap();
    let path = format!("/v1/files/{}", open.id);
    for method in ["GET", "PUT"] {
        let answer = rig
            .send(method, &path, r#"{"file":{"expires_at":0}}"#)
            .await;
        assert_eq!(
            (answer.refusal().0, answer.refusal().1),
            (404, "0x0230002".to_owned()),
            "{method}"
        );
    }
    assert_eq!(rig.ask("GET", "/v1/files/").await.json()["total"], 0);
    assert_eq!(
        rig.ask("GET", &format!("/v1/files/downloads/?file_id={}", open.id))
            .await
            .status,
        404
    );
    assert_eq!(
        rig.ask("DELETE", &path).await.json(),
        json!({ "result": { "status": "SUCCESS" } })
    );
    assert!(rig.store.upload(open.id).await.is_err());
    assert_eq!(rig.ask("DELETE", &path).await.status, 404);
}

#[tokio::test]
async fn a_deleted_file_is_gone_everywhere_and_deleting_it_again_is_404() {
    let rig = Rig::new().await;
    let whole = draft("a.mp4", "x").store(&rig).await;
    let chunked = draft("b.mp4", "xy").store_in_chunks(&rig, 1).await;
    for (object, left) in [(whole, 1), (chunked, 0)] {
        let path = path_of(&object);
        let deleted = rig.ask("DELETE", &path).await;
        assert_eq!(deleted.text(), r#"{"result":{"status":"SUCCESS"}}"#);
        for method in ["GET", "DELETE"] {
            assert_eq!(rig.ask(method, &path).await.status, 404, "{method}");
        }
        assert_eq!(rig.ask("GET", "/v1/files").await.json()["total"], left);
    }
    let xml = draft("c.mp4", "x").store(&rig).await;
    let answer = rig
        .ask("DELETE", &format!("{}?format=xml", path_of(&xml)))
        .await;
    assert!(
        answer
            .text()
            .ends_with("<result><status>SUCCESS</status></result>")
    );
}

#[tokio::test]
async fn expired_is_gone_to_the_second_from_every_call() {
    let rig = Rig::new().await;
    let end = NOW.plus(seconds(100));
    let meta = draft("a.mp4", "x").expires(end).store(&rig).await;
    let path = path_of(&meta);
    let by_key = format!("/v1/files/downloads/?object_key=a.mp4&pipeline_id={PIPELINE}");
    let by_id = format!("/v1/files/downloads/?file_id={}", meta.id);
    let made = rig
        .ask(
            "GET",
            &format!("{by_id}&expiry_time={}", end.seconds() + 1000),
        )
        .await
        .json();
    let link = made["download"]["uri"]
        .as_str()
        .unwrap()
        .strip_prefix("http://127.0.0.1:7080")
        .unwrap()
        .to_owned();
    for (moment, status, total) in [
        (end.minus(seconds(1)), 200, 1),
        (end.minus(Duration::from_millis(1)), 200, 1),
        (end, 404, 0),
        (end.plus(Duration::from_millis(1)), 404, 0),
        (end.plus(seconds(1)), 404, 0),
    ] {
        rig.clock.set(moment);
        for uri in [&path, &by_key, &by_id, &link] {
            assert_eq!(
                rig.ask("GET", uri).await.status,
                status,
                "{uri} at {moment}"
            );
        }
        assert_eq!(rig.ask("HEAD", &link).await.status, status, "{moment}");
        assert_eq!(
            rig.ask("GET", "/v1/files/").await.json()["total"],
            total,
            "{moment}"
        );
    }
    let late = rig.send("PUT", &path, r#"{"file":{"expires_at":0}}"#).await;
    assert_eq!(late.refusal().1, "0x0230002");
    assert_eq!(rig.ask("DELETE", &path).await.status, 404);
}

#[tokio::test]
async fn the_expiry_is_changed_by_every_way_of_saying_it() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "x")
        .expires(NOW.plus(seconds(100)))
        .store(&rig)
        .await;
    let path = path_of(&meta);
    let later = NOW.seconds() + 5000;
    for (version, (query, body, expires_at)) in (2..).zip([
        (
            "",
            format!(r#"{{"file":{{"expires_at":{later}}}}}"#),
            json!(later * 1000),
        ),
        ("", r#"{"file":{"expires_at":0}}"#.to_owned(), Value::Null),
        (
            "",
            format!(r#"{{"expires_at":{}}}"#, later * 1000 + 7),
            json!(later * 1000 + 7),
        ),
        (
            "",
            r#"{"file":{"expires_at":null}}"#.to_owned(),
            Value::Null,
        ),
        ("", format!("expires_at={later}"), json!(later * 1000)),
        ("", "expires_at=0".to_owned(), Value::Null),
        (
            "&expires_at=1999999999",
            String::new(),
            json!(1_999_999_999_000_i64),
        ),
    ]) {
        rig.advance(seconds(1));
        let answer = rig
            .send(
                "PUT",
                &format!("{path}?show_null=true{query}"),
                body.clone(),
            )
            .await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let file = &answer.json()["file"];
        assert_eq!(file["expires_at"], expires_at, "{body}");
        assert_eq!(
            (&file["version"], &file["updated_at"]),
            (&json!(version), &json!(rig.clock.now().millis()))
        );
        assert_eq!(
            rig.ask("GET", &format!("{path}?show_null=true"))
                .await
                .json()["file"],
            *file
        );
    }
}

#[tokio::test]
async fn a_change_that_breaks_a_rule_changes_nothing_and_names_the_rule() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "x")
        .expires(NOW.plus(seconds(100)))
        .store(&rig)
        .await;
    let path = path_of(&meta);
    let before = rig.ask("GET", &path).await.json();
    let past = NOW.seconds();
    let long = "j".repeat(65);
    for (body, words) in [
        (String::new(), "must name what to change"),
        ("{}".into(), "must name what to change"),
        (r#"{"file":{}}"#.into(), "must name what to change"),
        (
            format!(r#"{{"file":{{"expires_at":{past}}}}}"#),
            "expires_at must be",
        ),
        (r#"{"file":{"expires_at":1}}"#.into(), "expires_at must be"),
        (r#"{"file":{"expires_at":-1}}"#.into(), "expires_at must be"),
        (
            r#"{"file":{"expires_at":1.5}}"#.into(),
            "expires_at must be",
        ),
        (
            r#"{"file":{"expires_at":"soon"}}"#.into(),
            "expires_at must be",
        ),
        (
            r#"{"file":{"expires_at":true}}"#.into(),
            "expires_at must be",
        ),
        (r#"{"file":{"expires_at":[]}}"#.into(), "expires_at must be"),
        (r#"{"file":{"expires_at":{}}}"#.into(), "expires_at must be"),
        (
            r#"{"file":{"expires_at":9223372036854775807}}"#.into(),
            "expires_at must be",
        ),
        (
            r#"{"file":{"expires_at":99999999999999999999}}"#.into(),
            "expires_at must be",
        ),
        (
            r#"{"file":{"name":"b.mp4"}}"#.into(),
            "name cannot be changed",
        ),
        (
            r#"{"file":{"expires_at":0,"size":3}}"#.into(),
            "size cannot be changed",
        ),
        (
            r#"{"file":{"expires_at":0},"name":"b"}"#.into(),
            "name cannot be changed",
        ),
        (
            r#"{"file":{"job":{"id":"j"}},"expires_at":0}"#.into(),
            "expires_at must stand within file",
        ),
        ("expires_at=0&size=3".into(), "size cannot be changed"),
        ("expires_at=0&job=j".into(), "a Job is job.id"),
        (
            "expires_at=0&expires_at=1999999999".into(),
            "expires_at is given twice",
        ),
        (
            r#"{"file":{"expires_at":0,"expires_at":1999999999}}"#.into(),
            "expires_at is there twice",
        ),
        (r#"{"file":7}"#.into(), "file must be an object"),
        (r#"{"file":[]}"#.into(), "file must be an object"),
        ("7".into(), "must be a JSON object"),
        (r#"{"file":{"job":null}}"#.into(), "job must be"),
        (r#"{"file":{"job":"j1"}}"#.into(), "job must be"),
        (r#"{"file":{"job":{}}}"#.into(), "job must be"),
        (r#"{"file":{"job":{"id":7}}}"#.into(), "job must be"),
        (
            r#"{"file":{"job":{"id":"j","status":"done"}}}"#.into(),
            "job must be",
        ),
        (
            r#"{"file":{"job":{"id":""}}}"#.into(),
            "job.id must be 1 to 64 bytes",
        ),
        (
            r#"{"file":{"job":{"id":"a\nb"}}}"#.into(),
            "job.id must be 1 to 64 bytes",
        ),
        (
            format!(r#"{{"file":{{"job":{{"id":"{long}"}}}}}}"#),
            "job.id must be 1 to 64 bytes",
        ),
        ("[1]".into(), "must be a JSON object"),
        ("{".into(), "not valid JSON"),
    ] {
        let answer = rig.send("PUT", &path, body.clone()).await;
        let (status, code, detail) = answer.refusal();
        assert_eq!((status, code.as_str()), (400, "0x0230001"), "{body}");
        assert!(detail.contains(words), "{body}: {detail}");
    }
    for (query, body, name) in [
        (
            "expires_at=1999999999",
            r#"{"file":{"expires_at":0}}"#,
            "expires_at",
        ),
        (
            "expires_at=1999999999",
            r#"{"expires_at":null}"#,
            "expires_at",
        ),
        ("job.id=a", r#"{"file":{"job":{"id":"b"}}}"#, "job.id"),
        ("job.id=a", "job.id=b", "job.id"),
    ] {
        let answer = rig.send("PUT", &format!("{path}?{query}"), body).await;
        let (status, _, detail) = answer.refusal();
        let wanted = format!("{name} is given twice, with different values.");
        assert_eq!((status, detail), (400, wanted), "{query} {body}");
    }
    assert_eq!(rig.ask("GET", &path).await.json(), before);
    let body = r#"{"file":{"expires_at":null,"job":{"id":"a"}}}"#;
    let uri = format!("{path}?expires_at=0&job.id=a&human=true");
    assert_eq!(rig.send("PUT", &uri, body).await.status, 200, "they agree");
}

#[tokio::test]
async fn a_jobs_use_lifts_the_expiry_for_good() {
    let rig = Rig::new().await;
    let end = NOW.plus(seconds(100));
    let meta = draft("a.mp4", "x").expires(end).store(&rig).await;
    let path = path_of(&meta);
    let used = rig
        .send("PUT", &path, r#"{"file":{"job":{"id":"job/7 ü"}}}"#)
        .await
        .json();
    assert_eq!(
        used["file"]["job"],
        json!({ "id": "job/7 ü", "href": format!("{BASE}/jobs/job%2F7%20%C3%BC") })
    );
    assert!(used["file"].get("expires_at").is_none());
    rig.clock.set(end.plus(seconds(3600)));
    assert_eq!(rig.ask("GET", &path).await.json(), used);
    let later = rig.clock.now().seconds() + 60;
    let refused = rig
        .send(
            "PUT",
            &path,
            format!(r#"{{"file":{{"expires_at":{later}}}}}"#),
        )
        .await;
    let (status, code, detail) = refused.refusal();
    assert_eq!((status, code.as_str()), (409, "0x0230001"));
    assert!(detail.contains("a Job uses this file"), "{detail}");
    let never = rig.send("PUT", &path, r#"{"file":{"expires_at":0}}"#).await;
    assert_eq!(never.status, 200, "{}", never.text());
    let both = format!(r#"{{"file":{{"job":{{"id":"job-8","href":"x"}},"expires_at":{later}}}}}"#);
    let both = rig.send("PUT", &path, both).await.json();
    assert_eq!(both["file"]["job"]["id"], "job-8");
    assert!(both["file"].get("expires_at").is_none());
    assert_eq!(rig.ask("DELETE", &path).await.status, 200);
}

#[tokio::test]
async fn lists_are_sorted_paged_and_filtered() {
    let rig = Rig::new().await;
    let other = "ffffffffffffffffffffffff";
    rig.add_pipeline(other, PipelineSettings::default()).await;
    let mut metas = Vec::new();
    for (n, (key, size, expires)) in [
        ("x/c.mp4", 3, Some(500)),
        ("y/a.mp4", 1, None),
        ("z/b.mp4", 2, Some(400)),
    ]
    .into_iter()
    .enumerate()
    {
        rig.advance(seconds(1));
        let mut object = draft(key, pattern(size));
        object.upload.created_at = rig.clock.now();
        object.upload.expires_at = expires.map(|after| NOW.plus(seconds(after)));
        if n == 2 {
            object.upload.pipeline.as_mut().unwrap().id = Id::parse(other).unwrap();
        }
        metas.push(object.store(&rig).await);
    }
    let job = r#"{"file":{"job":{"id":"j1"}}}"#;
    rig.advance(seconds(1));
    assert_eq!(rig.send("PUT", &path_of(&metas[1]), job).await.status, 200);
    let mut by_id = [("c", metas[0].id), ("a", metas[1].id), ("b", metas[2].id)];
    by_id.sort_by_key(|(_, id)| *id);
    let by_id = by_id.map(|(name, _)| name).concat();
    for (query, titles, total) in [
        ("", "cab", 3),
        ("?direction=1", "cab", 3),
        ("?direction=-1", "bac", 3),
        ("?sort=created_at", "cab", 3),
        ("?sort=finished_at&direction=-1", "bac", 3),
        ("?sort=updated_at", "cba", 3),
        ("?sort=name", "abc", 3),
        ("?sort=name&direction=-1", "cba", 3),
        ("?sort=size", "abc", 3),
        ("?sort=expires_at", "bca", 3),
        ("?sort=id", by_id.as_str(), 3),
        ("?sort=name&start=1", "bc", 3),
        ("?sort=name&limit=1", "a", 3),
        ("?sort=name&start=1&limit=1", "b", 3),
        ("?start=3", "", 3),
        ("?start=1000000", "", 3),
        ("?limit=0", "cab", 3),
        ("?type=file", "cab", 3),
        ("?type=folder", "", 0),
        ("?type=archive,folder", "", 0),
        ("?type=folder,file", "cab", 3),
        ("?type=", "cab", 3),
        (&format!("?pipeline.id={PIPELINE}"), "ca", 2),
        (&format!("?pipeline.id={other}"), "b", 1),
        (&format!("?pipeline.id={PIPELINE},{other}"), "cab", 3),
        (&format!("?pipeline.id={NOBODY}"), "", 0),
        ("?job.id=j1", "a", 1),
        ("?job.id=j1,j2", "a", 1),
        ("?job.id=j2", "", 0),
        (&format!("?job.id=j1&pipeline.id={other}"), "", 0),
        (
            "?expand_all=true&expand=pipeline,job&bin_data=true",
            "cab",
            3,
        ),
    ] {
        for slash in ["", "/"] {
            let answer = rig.ask("GET", &format!("/v1/files{slash}{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            let list = answer.json();
            let shown = list["files"].as_array().unwrap().iter();
            let shown = shown
                .map(|file| file["title"].as_str().unwrap())
                .collect::<String>();
            assert_eq!(
                (shown.as_str(), &list["total"]),
                (titles, &json!(total)),
                "{query}"
            );
        }
    }
    let first = &rig.ask("GET", "/v1/files/?show_null=true").await.json()["files"][0];
    assert_eq!(
        *first,
        rig.ask("GET", &format!("{}?show_null=true", path_of(&metas[0])))
            .await
            .json()["file"]
    );
}

/// A filter by one Job more than there may be, each named twice.
fn many_jobs() -> String {
    let jobs = (0..101).map(|number| format!("{number},{number},"));
    format!("job.id={}", jobs.collect::<String>())
}

#[tokio::test]
async fn a_question_that_breaks_a_rule_names_it_in_both_formats() {
    let rig = Rig::new().await;
    for (query, words) in [
        ("type=movie", "type must be"),
        ("type=file,movie", "type must be"),
        ("pipeline.id=1", "pipeline.id must be"),
        (&format!("pipeline.id={PIPELINE},x"), "pipeline.id must be"),
        (
            "sort=duration",
            "sort must be one of created_at, updated_at, finished_at, expires_at, size, name, id.",
        ),
        (&many_jobs(), "job.id must be a list of at most 100"),
        ("direction=2", "direction must be"),
        ("start=-1", "start must be"),
        ("limit=5001", "limit must be"),
        ("show_null=maybe", "show_null must be"),
        ("format=yaml", "format must be"),
        ("job.id=a&job.id=b", "job.id is given twice"),
        ("limit=1&limit=2", "limit is given twice"),
        ("sort=id&sort=name", "sort is given twice"),
        ("direction=1&direction=-1", "direction is given twice"),
    ] {
        for format in ["", "&format=xml"] {
            if query.starts_with("format=") && !format.is_empty() {
                continue;
            }
            let (status, code, detail) = rig
                .ask("GET", &format!("/v1/files/?{query}{format}"))
                .await
                .refusal();
            assert_eq!((status, code.as_str()), (400, "0x0230001"), "{query}");
            assert!(detail.contains(words), "{query}: {detail}");
        }
    }
}

#[tokio::test]
async fn an_id_that_names_nothing_is_404_in_both_formats_and_for_every_method() {
    let rig = Rig::new().await;
    for id in [NOBODY, "x", "..", "%00", "547f3eede4b025bcbff3865"] {
        for method in ["GET", "PUT", "DELETE"] {
            for format in ["", "?format=xml"] {
                let answer = rig
                    .send(
                        method,
                        &format!("/v1/files/{id}{format}"),
                        r#"{"file":{"expires_at":0}}"#,
                    )
                    .await;
                let (status, code, _) = answer.refusal();
                assert_eq!((status, code.as_str()), (404, "0x0230002"), "{method} {id}");
            }
        }
    }
    let other = rig.ask("POST", "/v1/files/").await;
    assert_eq!(
        (other.status.as_u16(), other.header("allow")),
        (405, "GET, HEAD, OPTIONS")
    );
}

#[tokio::test]
async fn every_call_needs_its_scope() {
    use Scope::{Mediahub, MediahubDownloadFiles, MediahubRead, MediahubSubmitJobs, MediahubWrite};
    let rig = Rig::new().await;
    let job = r#"{"file":{"job":{"id":"j"}}}"#;
    let both = r#"{"file":{"job":{"id":"j"},"expires_at":0}}"#;
    for (n, (scope, list, get, put_job, put_both, delete)) in [
        (Mediahub, 200, 200, 200, 200, 200),
        (MediahubRead, 200, 200, 403, 403, 403),
        (MediahubWrite, 403, 403, 200, 200, 200),
        (MediahubSubmitJobs, 403, 403, 200, 403, 403),
        (MediahubDownloadFiles, 403, 403, 403, 403, 403),
        (Scope::Me, 403, 403, 403, 403, 403),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token-{n}");
        rig.add_token(&token, &[scope], None).await;
        let path = path_of(&draft(&format!("{n}.mp4"), "x").store(&rig).await);
        for (method, uri, body, status) in [
            ("GET", "/v1/files/", "", list),
            ("GET", &path, "", get),
            ("PUT", &path, job, put_job),
            ("PUT", &path, both, put_both),
            ("DELETE", &path, "", delete),
        ] {
            let bearer = format!("Bearer {token}");
            let answer = rig
                .request(method, uri, &[("authorization", &bearer)], body)
                .await;
            assert_eq!(answer.status, status, "{scope:?} {method} {uri} {body}");
            if status == 403 {
                assert_eq!(answer.refusal().1, "0x0000003");
            }
        }
    }
    for headers in [
        &[][..],
        &[("authorization", "Bearer nobody")],
        &[("authorization", "Basic x")],
    ] {
        assert_eq!(
            rig.request("GET", "/v1/files/", headers, "")
                .await
                .refusal()
                .1,
            "0x0000003"
        );
    }
    assert_eq!(
        rig.request("GET", &format!("/v1/files/?access_token={TOKEN}"), &[], "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn hostile_names_are_shown_whole_in_json_and_in_well_formed_xml() {
    let rig = Rig::new().await;
    for (n, name) in [
        "<b>&\"'.mp4",
        "a\r\nb",
        "\u{0}\u{1}",
        "]]>",
        "é\u{202e}4pm.exe",
        "a\u{fffe}",
    ]
    .into_iter()
    .enumerate()
    {
        let meta = draft(&format!("{n}/{name}"), "x").store(&rig).await;
        let file = rig.ask("GET", &path_of(&meta)).await.json();
        assert_eq!(file["file"]["name"], *name, "{name:?}");
        let xml = rig
            .ask("GET", &format!("{}?format=xml", path_of(&meta)))
            .await
            .text();
        let mut reader = quick_xml::Reader::from_str(&xml);
        while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        assert!(
            !xml.contains(|c: char| c.is_control() && c != '\n'),
            "{xml:?}"
        );
    }
}

/// The text of the first element or member of this name.
fn member(text: &str, format: &str, name: &str) -> String {
    let (open, close) = match format {
        "xml" => (format!("<{name}>"), "</"),
        _ => (format!("\"{name}\":\""), "\""),
    };
    let (_, tail) = text
        .split_once(&open)
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    tail.split_once(close).unwrap().0.replace("&amp;", "&")
}

#[tokio::test]
async fn the_life_of_a_file_from_session_to_deletion_in_both_formats() {
    let rig = Rig::new().await;
    for format in ["json", "xml"] {
        let start = format!("/v1/files/uploads/?object_key={format}.mp4&pipeline_id={PIPELINE}");
        let started = rig.ask("POST", &start).await.json();
        let id = started["upload"]["id"].as_str().unwrap();
        let file = format!("/v1/files/{id}?format={format}");
        assert_eq!(
            rig.ask("GET", &file).await.status,
            404,
            "nothing arrived yet"
        );
        let spec = ChunkSpec::new(0, Some(1));
        let mut writer = rig
            .store
            .write_chunk(Id::parse(id).unwrap(), spec)
            .await
            .unwrap();
        writer.write(format.into()).await.unwrap();
        writer
            .commit(Default::default(), rig.clock.now())
            .await
            .unwrap();
        let shown = rig.ask("GET", &file).await.text();
        assert_eq!(member(&shown, format, "title"), format);
        assert!(
            shown.contains("expires_at"),
            "the default lifetime: {shown}"
        );
        let used = rig
            .send("PUT", &file, r#"{"file":{"job":{"id":"job-1"}}}"#)
            .await
            .text();
        assert!(
            used.contains("job-1") && !used.contains("expires_at"),
            "{used}"
        );
        let made = rig
            .ask(
                "GET",
                &format!("/v1/files/downloads/?file_id={id}&format={format}"),
            )
            .await;
        let uri = member(&made.text(), format, "uri");
        let link = uri.strip_prefix("http://127.0.0.1:7080").unwrap();
        assert_eq!(rig.request("GET", link, &[], "").await.text(), format);
        rig.advance(seconds(30 * 24 * 3600));
        assert_eq!(
            rig.ask("GET", &file).await.text(),
            used,
            "a used file does not expire"
        );
        let listed = rig
            .ask("GET", &format!("/v1/files/?job.id=job-1&format={format}"))
            .await
            .text();
        assert!(listed.contains(id), "{listed}");
        assert!(rig.ask("DELETE", &file).await.text().contains("SUCCESS"));
        assert_eq!(rig.ask("GET", &file).await.refusal().1, "0x0230002");
    }
}
