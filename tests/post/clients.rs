//! Other uploaders than Plupload on the form post: their chunk fields, their test requests, the answers that they understand,
//! and the forms that are ready for them. A valid form of each, as it was recorded from a browser, plus one change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::fmt::Write as _;

use crate::{form, support};
use form::{Form, content_type};
use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pillarbox::model::{Bucket, ETag, Md5, ObjectKey};
use pillarbox::store::ObjectName;
use serde_json::{Value, json};
use support::{Answer, PIPELINE, Rig};

/// A file of three chunks, the last one short; no two chunks are equal.
const SIZE: usize = 2500;
const CHUNK: usize = 1000;

fn file() -> Vec<u8> {
    (0..625_u32).flat_map(u32::to_le_bytes).take(SIZE).collect()
}

fn chunk(index: usize) -> Vec<u8> {
    file().chunks(CHUNK).nth(index).unwrap().to_vec()
}

/// An upload session and the fields of its form.
#[derive(Clone, Debug)]
struct Session {
    id: String,
    key: String,
    fields: Vec<(String, String)>,
}

impl Session {
    /// Starts one; `more` goes into the query.
    async fn start(rig: &Rig, name: &str, more: &str) -> Self {
        let uri = format!("/v1/files/uploads/?object_key={name}&pipeline_id={PIPELINE}&{more}");
        let answer = rig.ask("POST", &uri).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let upload = &answer.json()["upload"];
        Self {
            id: upload["id"].as_str().unwrap().to_owned(),
            key: format!("tmp/{PIPELINE}/{name}"),
            fields: params_of(upload),
        }
    }

    /// The same with a fresh form.
    async fn again(&self, rig: &Rig, more: &str) -> Self {
        let uri = format!("/v1/files/uploads/{}?form_post_params=true&{more}", self.id);
        let answer = rig.ask("GET", &uri).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self {
            fields: params_of(&answer.json()["upload"]),
            ..self.clone()
        }
    }

    /// Its form with `fields` before the session's own.
    fn form(&self, fields: &[(&str, String)], bytes: &[u8]) -> Form {
        let mut form = Form::new("uploads", "unused", bytes);
        let added = fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
        form.fields = added.chain(self.fields.clone()).collect();
        form.file_part.1 = Some("vidéo.mp4".to_owned());
        form
    }

    async fn state(&self, rig: &Rig) -> Value {
        let uri = format!("/v1/files/uploads/{}?show_null=true", self.id);
        rig.ask("GET", &uri).await.json()["upload"].clone()
    }

    /// The object's bytes, when there is one.
    async fn stored(&self, rig: &Rig) -> Option<Vec<u8>> {
        let key = ObjectKey::parse(&self.key).unwrap();
        let name = ObjectName::Key(Bucket::parse("uploads").unwrap(), key);
        let reader = rig.store.open(&name, rig.clock.now()).await.ok()?;
        let size = usize::try_from(reader.meta().size).unwrap();
        Some(reader.read_at(0, size).await.unwrap().to_vec())
    }

    async fn assert_whole(&self, rig: &Rig, what: &str) {
        assert_eq!(self.state(rig).await["status"], "COMPLETED", "{what}");
        assert!(
            self.stored(rig).await == Some(file()),
            "{what}: other bytes"
        );
    }
}

fn params_of(upload: &Value) -> Vec<(String, String)> {
    let params = upload["form_post_params"].as_object().unwrap();
    let pair = |(n, v): (&String, &Value)| (n.clone(), v.as_str().unwrap().to_owned());
    params.iter().map(pair).collect()
}

async fn post(rig: &Rig, form: &Form) -> Answer {
    post_to(rig, "/uploads/", form).await
}

async fn post_to(rig: &Rig, uri: &str, form: &Form) -> Answer {
    let headers = [("content-type", content_type())];
    let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
    rig.request("POST", uri, &headers, form.encode()).await
}

/// `name=value&...`, as `encodeURIComponent` writes it.
fn query(pairs: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = pairs
        .iter()
        .map(|(n, v)| format!("{}={}", encode(n), encode(v)));
    pairs.collect::<Vec<_>>().join("&")
}

/// One element of an S3 refusal.
/// Status, code and sentence of a refusal, in JSON or in XML.
fn verdict(answer: &Answer) -> (u16, String, String) {
    let status = answer.status.as_u16();
    if answer.header("content-type") != "application/json" {
        return (status, element(answer, "Code"), element(answer, "Message"));
    }
    let body = answer.json();
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (status, member("code"), member("error"))
}

fn element(answer: &Answer, name: &str) -> String {
    let text = answer.text();
    let tail = text.split_once(&format!("<{name}>")).map(|(_, tail)| tail);
    let value = tail
        .and_then(|tail| tail.split_once("</"))
        .map(|(value, _)| value);
    value.unwrap_or_default().to_owned()
}

/// The fields that an uploader adds to chunk `index` of a file of `total` bytes, in the order of the recordings.
type FieldsOf = fn(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)>;

fn count(size: usize, total: usize) -> usize {
    total.div_ceil(size)
}

fn current(index: usize, size: usize, total: usize) -> usize {
    size.min(total - index * size)
}

fn dropzone(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("dzuuid", "1e5960f6-09e4-4d53-97a3-2cb39ad878c0".to_owned()),
        ("dzchunkindex", index.to_string()),
        ("dztotalfilesize", total.to_string()),
        ("dzchunksize", size.to_string()),
        ("dztotalchunkcount", count(size, total).to_string()),
        ("dzchunkbyteoffset", (index * size).to_string()),
    ]
}

fn resumable(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("resumableChunkNumber", (index + 1).to_string()),
        ("resumableChunkSize", size.to_string()),
        (
            "resumableCurrentChunkSize",
            current(index, size, total).to_string(),
        ),
        ("resumableTotalSize", total.to_string()),
        ("resumableType", "video/mp4".to_owned()),
        ("resumableIdentifier", format!("{total}-vidomp4")),
        ("resumableFilename", "vidéo.mp4".to_owned()),
        ("resumableRelativePath", "vidéo.mp4".to_owned()),
        ("resumableTotalChunks", count(size, total).to_string()),
    ]
}

fn flow(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("flowChunkNumber", (index + 1).to_string()),
        ("flowChunkSize", size.to_string()),
        (
            "flowCurrentChunkSize",
            current(index, size, total).to_string(),
        ),
        ("flowTotalSize", total.to_string()),
        ("flowIdentifier", format!("{total}-vidomp4")),
        ("flowFilename", "vidéo.mp4".to_owned()),
        ("flowRelativePath", "vidéo.mp4".to_owned()),
        ("flowTotalChunks", count(size, total).to_string()),
    ]
}

fn fineuploader(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("qqpartindex", index.to_string()),
        ("qqpartbyteoffset", (index * size).to_string()),
        ("qqchunksize", current(index, size, total).to_string()),
        ("qqtotalparts", count(size, total).to_string()),
        ("qqtotalfilesize", total.to_string()),
        ("qqfilename", "vidéo.mp4".to_owned()),
        ("qquuid", "b6314dac-8053-45ba-a7e5-dfdc60efb38b".to_owned()),
    ]
}

fn plupload(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("name", "o_1k8110805bmfopqcvf1o64118r8.mp4".to_owned()),
        ("chunk", index.to_string()),
        ("chunks", count(size, total).to_string()),
    ]
}

fn plupload_offset(index: usize, size: usize, total: usize) -> Vec<(&'static str, String)> {
    vec![
        ("name", "vidéo.mp4".to_owned()),
        ("offset", (index * size).to_string()),
        ("total", total.to_string()),
    ]
}

/// Every uploader that chunks: its `client`, its fields.
const CLIENTS: [(&str, FieldsOf); 5] = [
    ("dropzone", dropzone),
    ("resumable", resumable),
    ("flow", flow),
    ("fineuploader", fineuploader),
    ("plupload", plupload),
];

#[tokio::test]
async fn the_chunks_of_every_uploader_become_one_file_in_any_order_and_repeated() {
    let rig = Rig::new().await;
    for (client, fields) in CLIENTS {
        for order in [
            &[0, 1, 2][..],
            &[2, 1, 0],
            &[1, 2, 0],
            &[0, 0, 1, 2, 0, 1, 2],
            &[2, 2, 0, 1, 1],
        ] {
            let what = order.iter().fold(client.to_owned(), |mut name, index| {
                write!(name, "-{index}").unwrap();
                name
            });
            let session = Session::start(&rig, &what, &format!("client={client}")).await;
            for index in order {
                let form = session.form(&fields(*index, CHUNK, SIZE), &chunk(*index));
                let answer = post(&rig, &form).await;
                assert!(answer.status.is_success(), "{what}: {}", answer.text());
                assert_ne!(answer.status, 204, "{what}");
            }
            session.assert_whole(&rig, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chunks_of_every_uploader_may_come_in_parallel() {
    let rig = Rig::new().await;
    for (client, fields) in CLIENTS {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        let forms = [0, 1, 2, 0, 1, 2].map(|i| session.form(&fields(i, CHUNK, SIZE), &chunk(i)));
        let answers = join_all(forms.iter().map(|form| post(&rig, form))).await;
        for answer in answers {
            assert!(answer.status.is_success(), "{client}: {}", answer.text());
        }
        session.assert_whole(&rig, client).await;
    }
}

#[tokio::test]
async fn pluploads_offsets_are_chunks_once_the_first_is_here() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "offset", "client=plupload").await;
    let form = |index: usize| session.form(&plupload_offset(index, CHUNK, SIZE), &chunk(index));
    let early = post(&rig, &form(1)).await;
    assert_eq!(early.status, 400);
    assert_eq!(element(&early, "ArgumentName"), "offset");
    assert!(element(&early, "Message").contains("once the chunk at offset 0 is here"));
    for index in [0, 0, 2, 1, 1, 0, 2] {
        let answer = post(&rig, &form(index)).await;
        assert_eq!(answer.status, 201, "{index}: {}", answer.text());
    }
    session.assert_whole(&rig, "offset").await;
    let small = Session::start(&rig, "small", "client=plupload").await;
    let fields = plupload_offset(0, CHUNK, 500);
    for _ in 0..2 {
        let answer = post(&rig, &small.form(&fields, &file()[..500])).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert_eq!(small.state(&rig).await["status"], "COMPLETED");
    assert_eq!(small.stored(&rig).await.as_deref(), Some(&file()[..500]));
}

#[tokio::test]
async fn the_last_chunk_of_resumable_and_flow_may_be_the_longest() {
    let rig = Rig::new().await;
    let long = |prefix: &str, index: usize| -> Vec<(String, String)> {
        let current = [CHUNK, SIZE - CHUNK][index];
        [
            ("ChunkNumber", index + 1),
            ("ChunkSize", CHUNK),
            ("CurrentChunkSize", current),
            ("TotalSize", SIZE),
            ("TotalChunks", 2),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value.to_string()))
        .to_vec()
    };
    for client in ["resumable", "flow"] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        for (index, bytes) in [(1, &file()[CHUNK..]), (0, &file()[..CHUNK])] {
            let fields = long(client, index);
            let fields: Vec<_> = fields
                .iter()
                .map(|(n, v)| (n.as_str(), v.clone()))
                .collect();
            let answer = post(&rig, &session.form(&fields, bytes)).await;
            assert_eq!(answer.status, 200, "{client}: {}", answer.text());
        }
        session.assert_whole(&rig, client).await;
    }
}

#[tokio::test]
async fn any_uploader_goes_on_where_another_stopped() {
    let rig = Rig::new().await;
    for (first, begins) in CLIENTS {
        for (second, ends) in CLIENTS {
            let what = format!("{first}-{second}");
            let session = Session::start(&rig, &what, &format!("client={first}")).await;
            let form = session.form(&begins(0, CHUNK, SIZE), &chunk(0));
            assert!(post(&rig, &form).await.status.is_success(), "{what}");
            let session = session.again(&rig, &format!("client={second}")).await;
            for index in [2, 0, 1] {
                let form = session.form(&ends(index, CHUNK, SIZE), &chunk(index));
                let answer = post(&rig, &form).await;
                assert!(answer.status.is_success(), "{what}: {}", answer.text());
            }
            session.assert_whole(&rig, &what).await;
        }
    }
}

#[tokio::test]
async fn who_goes_on_with_another_size_of_chunks_is_told_so() {
    let rig = Rig::new().await;
    for (client, fields) in &CLIENTS[..4] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        let begun = session.form(&[("chunk", "0".to_owned())], &chunk(0)[..500]);
        let mut begun = begun;
        begun.set("chunks", "3");
        assert!(post(&rig, &begun).await.status.is_success(), "{client}");
        let answer = post(&rig, &session.form(&fields(1, CHUNK, SIZE), &chunk(1))).await;
        assert_eq!(answer.status, 400, "{client}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("chunk 0, which has 500 bytes, not 1000"),
            "{error}"
        );
        assert_eq!(session.state(&rig).await["received_chunks"], json!([0]));
    }
}

/// Each row: an uploader, one change of its second chunk, what the refusal begins with.
const MUTATIONS: &[(&str, FieldsOf, (&str, &str), &str)] = &[
    (
        "dropzone",
        dropzone,
        ("dzchunkindex", "one"),
        "dzchunkindex must be a whole number",
    ),
    (
        "dropzone",
        dropzone,
        ("dzchunkindex", "0"),
        "dzchunkbyteoffset must be dzchunkindex times dzchunksize",
    ),
    (
        "dropzone",
        dropzone,
        ("dzchunkindex", "3"),
        "dzchunkindex must be at most 2",
    ),
    (
        "dropzone",
        dropzone,
        ("dzchunkindex", "-1"),
        "dzchunkindex must be a whole number",
    ),
    (
        "dropzone",
        dropzone,
        ("dzchunkbyteoffset", "999"),
        "dzchunkbyteoffset must be dzchunkindex times dzchunksize",
    ),
    (
        "dropzone",
        dropzone,
        ("dztotalchunkcount", "0"),
        "dztotalchunkcount must be at least 1",
    ),
    (
        "dropzone",
        dropzone,
        ("dztotalchunkcount", "10001"),
        "dztotalchunkcount must be at most 10000",
    ),
    (
        "dropzone",
        dropzone,
        ("chunk", "0"),
        "dzchunkindex and chunk contradict each other",
    ),
    (
        "dropzone",
        dropzone,
        ("resumableChunkNumber", "3"),
        "dzchunkindex and resumableChunkNumber contradict",
    ),
    (
        "resumable",
        resumable,
        ("resumableChunkNumber", "0"),
        "resumableChunkNumber must be at least 1",
    ),
    (
        "resumable",
        resumable,
        ("resumableTotalChunks", "4"),
        "resumableTotalSize must come in resumableTotalChunks chunks (4)",
    ),
    (
        "resumable",
        resumable,
        ("resumableCurrentChunkSize", "999"),
        "resumableCurrentChunkSize must be 1000 bytes",
    ),
    (
        "resumable",
        resumable,
        ("resumableTotalSize", "1e4"),
        "resumableTotalSize must be a whole number",
    ),
    (
        "flow",
        flow,
        ("flowChunkNumber", "4"),
        "flowChunkNumber must be at most 3",
    ),
    (
        "flow",
        flow,
        ("flowChunkSize", "0"),
        "flowChunkSize must be at least 1",
    ),
    (
        "flow",
        flow,
        ("flowTotalSize", "5000"),
        "flowTotalSize must come in",
    ),
    (
        "flow",
        flow,
        ("dzchunkindex", "0"),
        "dzchunkindex and flowChunkNumber contradict each other",
    ),
    (
        "fineuploader",
        fineuploader,
        ("qqpartindex", "2"),
        "qqtotalfilesize must come in qqtotalparts chunks",
    ),
    (
        "fineuploader",
        fineuploader,
        ("qqpartbyteoffset", "0"),
        "qqpartbyteoffset must be a multiple of qqpartindex",
    ),
    (
        "fineuploader",
        fineuploader,
        ("qqchunksize", "1001"),
        "qqchunksize must be 1000 bytes",
    ),
    (
        "fineuploader",
        fineuploader,
        ("chunks", "4"),
        "qqpartindex and chunk contradict each other",
    ),
    (
        "plupload",
        plupload,
        ("chunk", "x"),
        "chunk must be a whole number",
    ),
    (
        "plupload",
        plupload,
        ("qqpartindex", "0"),
        "qqpartindex and chunk contradict each other",
    ),
    (
        "plupload",
        plupload,
        ("offset", "1000"),
        "offset must come with total beside it",
    ),
    (
        "plupload",
        plupload,
        ("x-pillarbox-answer", "xml"),
        "x-pillarbox-answer must be s3, json or text",
    ),
];

#[tokio::test]
async fn one_wrong_field_is_refused_by_its_name_and_stores_nothing() {
    let rig = Rig::new().await;
    for (number, (client, fields, (name, value), begins)) in MUTATIONS.iter().enumerate() {
        let row = format!("{client}, {name}={value}");
        let session = Session::start(&rig, &format!("row{number}"), "answer=json").await;
        let mut session = session
            .again(&rig, &format!("client={client}&answer=json"))
            .await;
        session.fields.retain(|(n, _)| n != name);
        let mut form = session.form(&fields(1, CHUNK, SIZE), &chunk(1));
        form.set(name, value);
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status, 400, "{row}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["code"], "InvalidArgument", "{row}");
        assert!(
            body["error"].as_str().unwrap().starts_with(begins),
            "{row}: {body}"
        );
        assert_eq!(session.state(&rig).await["received_bytes"], 0, "{row}");
    }
}

#[tokio::test]
async fn a_chunk_of_another_size_than_its_fields_say_is_refused() {
    let rig = Rig::new().await;
    for (client, fields) in &CLIENTS[..4] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        let form = session.form(&fields(1, CHUNK, SIZE), &chunk(1)[..999]);
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status, 400, "{client}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(
            error.ends_with("wants 1000 bytes in this chunk, and 999 came."),
            "{error}"
        );
        assert_eq!(session.state(&rig).await["received_bytes"], 0, "{client}");
    }
}

#[tokio::test]
async fn another_number_of_chunks_than_before_is_refused_in_the_uploaders_words() {
    let rig = Rig::new().await;
    for (client, fields, field) in [
        ("dropzone", dropzone as FieldsOf, "dztotalchunkcount"),
        ("flow", flow, "flowTotalChunks"),
    ] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        for (total, status) in [(SIZE, 200), (SIZE + CHUNK, 400)] {
            let form = session.form(&fields(1, CHUNK, total), &chunk(1));
            let answer = post(&rig, &form).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{client}: {}",
                answer.text()
            );
            if status == 400 {
                let error = answer.json()["error"].as_str().unwrap().to_owned();
                assert!(
                    error.starts_with(field) && error.contains("3 is known"),
                    "{error}"
                );
            }
        }
    }
}

// ---- files in one piece ----

#[tokio::test]
async fn files_in_one_piece_complete_with_what_their_uploaders_add() {
    let rig = Rig::new().await;
    let text = str::to_owned;
    for (client, fields) in [
        (
            "uppy",
            vec![
                ("type", text("video/mp4")),
                ("relativePath", text("null")),
                ("name", text("vidéo.mp4")),
            ],
        ),
        ("dropzone", vec![]),
        ("filepond", vec![]),
        ("plupload", vec![("name", text("vidéo.mp4"))]),
        (
            "fineuploader",
            vec![
                ("qquuid", text("u")),
                ("qqfilename", text("vidéo.mp4")),
                ("qqtotalfilesize", SIZE.to_string()),
            ],
        ),
    ] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        for _ in 0..2 {
            let answer = post(&rig, &session.form(&fields, &file())).await;
            assert!(answer.status.is_success(), "{client}: {}", answer.text());
        }
        session.assert_whole(&rig, client).await;
    }
}

#[tokio::test]
async fn a_file_in_one_piece_of_another_size_than_fineuploader_says_is_refused() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "fine", "client=fineuploader").await;
    let form = session.form(&[("qqtotalfilesize", "2501".to_owned())], &file());
    let answer = post(&rig, &form).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json()["error"],
        "qqtotalfilesize wants 2501 bytes in this chunk, and 2500 came."
    );
    assert_eq!(session.state(&rig).await["status"], "UPLOADING");
}

#[tokio::test]
async fn metadata_under_the_files_name_is_not_taken_for_the_file() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "pond", "client=filepond").await;
    let mut form = session.form(&[], b"{}");
    form.trailing
        .push(("file".to_owned(), "the file".to_owned()));
    let answer = post(&rig, &form).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("exactly one file"),
        "{}",
        answer.text()
    );
    assert_eq!(session.state(&rig).await["received_bytes"], 0);
    form.trailing[0].0 = "submit".to_owned();
    assert_eq!(
        post(&rig, &form).await.status,
        200,
        "other parts after the file are ignored"
    );
}

#[tokio::test]
async fn a_file_under_the_uploaders_own_name_is_told_the_right_one() {
    let rig = Rig::new().await;
    for (client, name) in [("fineuploader", "qqfile"), ("filepond", "filepond")] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        let mut form = session.form(&[], &[0xff; SIZE]);
        form.file_part.0 = name.to_owned();
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status, 400, "{client}");
        let message = element(&answer, "Message");
        assert!(
            message.ends_with("must be named &apos;file&apos;."),
            "{message}"
        );
    }
}

#[tokio::test]
async fn chunks_without_a_word_of_chunks_are_explained() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "anonymous", "client=dropzone").await;
    assert_eq!(post(&rig, &session.form(&[], &chunk(0))).await.status, 200);
    let answer = post(&rig, &session.form(&[], &chunk(1))).await;
    assert_eq!(answer.status, 409);
    let body = answer.json();
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("Dropzone drops them when params is an object"),
        "{body}"
    );
}

// ---- answers ----

#[tokio::test]
async fn a_json_answer_has_what_uppy_dropzone_and_fineuploader_look_for() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "film%20a.mp4", "answer=json").await;
    let key = format!("tmp/{PIPELINE}/film a.mp4");
    let url = format!(
        "http://{}/uploads/tmp%2F{PIPELINE}%2Ffilm%20a.mp4",
        support::HOST
    );
    for index in 0..3 {
        let session = session.again(&rig, "client=dropzone").await;
        let form = session.form(&dropzone(index, CHUNK, SIZE), &chunk(index));
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        let etag = ETag::of_whole(Md5::of(&chunk(index))).quoted();
        assert_eq!(
            answer.json(),
            json!({
                "success": true, "id": session.id, "url": url, "bucket": "uploads", "key": key, "etag": etag,
                "size": chunk(index).len(), "chunk": index, "chunks": 3, "complete": index == 2,
            })
        );
        assert_eq!(answer.header("location"), url);
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
    }
}

#[tokio::test]
async fn a_text_answer_is_the_id_and_nothing_else() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "pond", "client=filepond").await;
    let answer = post(&rig, &session.form(&[], &file())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.text(), session.id);
    let uri = format!("/v1/files/{}", session.id);
    assert_eq!(rig.ask("GET", &uri).await.status, 200);
}

#[tokio::test]
async fn a_session_that_names_no_style_is_answered_as_amazon_answers() {
    let rig = Rig::new().await;
    for more in [
        "",
        "answer=s3",
        "client=plupload",
        "client=dropzone&answer=s3",
    ] {
        let session = Session::start(&rig, "plain", more).await;
        let answer = post(&rig, &session.form(&[], &file())).await;
        assert_eq!(answer.status, 201, "{more}");
        assert_eq!(answer.header("content-type"), "application/xml", "{more}");
        assert_eq!(element(&answer, "Key"), session.key, "{more}");
    }
}

#[tokio::test]
async fn a_refusal_has_the_style_of_its_session_once_that_is_known() {
    let rig = Rig::new().await;
    let wrong = [("chunk", "7".to_owned())];
    for (style, content_type) in [
        ("s3", "application/xml"),
        ("json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
    ] {
        let mut session = Session::start(&rig, style, &format!("answer={style}")).await;
        session.fields.retain(|(name, _)| name != "chunk");
        let mut form = session.form(&wrong, &file());
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status, 400, "{style}");
        assert_eq!(answer.header("content-type"), content_type);
        let (sentence, id) = (
            "chunk must be below chunks (1).",
            answer.header("x-request-id"),
        );
        match style {
            "s3" => assert_eq!(element(&answer, "Message"), sentence),
            "json" => {
                let mut body = answer.json();
                let cause = body.as_object_mut().unwrap().remove("likely_cause");
                assert!(cause.is_some(), "dev says the likely cause in the answer");
                let expected = json!({ "success": false, "error": sentence, "code": "InvalidArgument", "request_id": id });
                assert_eq!(body, expected);
            }
            _ => {
                let expected = format!("{sentence} (InvalidArgument, request {id}) Most likely: ");
                assert!(answer.text().starts_with(&expected), "{}", answer.text());
            }
        }
        form.set("signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let unknown = post(&rig, &form).await;
        assert_eq!(unknown.header("content-type"), "application/xml", "{style}");
        assert_eq!(
            element(&unknown, "Code"),
            "SignatureDoesNotMatch",
            "{style}"
        );
    }
}

#[tokio::test]
async fn what_the_policy_of_a_session_does_not_allow_is_refused_in_its_style() {
    let rig = Rig::new().await;
    let mutations = [
        ("flavour", "vanilla", "Extra input fields: flavour"),
        ("filepond", "{}", "Extra input fields: filepond"),
        ("acl", "public-read", "Policy Condition failed"),
        ("key", "elsewhere", "Policy Condition failed"),
    ];
    for (more, content_type) in [
        ("", "application/xml"),
        ("client=uppy", "application/json"),
        ("client=filepond", "text/plain; charset=utf-8"),
        ("client=filepond&answer=s3", "application/xml"),
    ] {
        let session = Session::start(&rig, "styled", more).await;
        for (field, value, words) in mutations {
            let mut form = session.form(&[], &file());
            form.set(field, value);
            let answer = post(&rig, &form).await;
            let shown = answer.header("content-type");
            assert_eq!(
                (answer.status.as_u16(), shown),
                (403, content_type),
                "{more}"
            );
            assert!(answer.text().contains(words), "{}", answer.text());
            assert!(answer.headers.contains_key("x-pillarbox-explain"));
            // The same form of somebody who cannot sign it learns nothing of the session.
            form.set("signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            let answer = post(&rig, &form).await;
            assert_eq!(answer.header("content-type"), "application/xml", "{more}");
        }
        if content_type == "application/json" {
            let mut form = session.form(&[], &file());
            form.set("flavour", "vanilla");
            let body = post(&rig, &form).await.json();
            let seen = (&body["success"], &body["code"]);
            assert_eq!(seen, (&json!(false), &json!("AccessDenied")));
            form.set("x-pillarbox-answer", "text");
            let answer = post(&rig, &form).await;
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        }
        rig.ask("DELETE", &format!("/v1/files/uploads/{}", session.id))
            .await;
        let gone = post(&rig, &session.form(&[("flavour", "x".to_owned())], &file())).await;
        assert_eq!(element(&gone, "Code"), "AccessDenied", "{}", gone.text());
    }
}

#[tokio::test]
async fn a_body_that_is_cut_or_corrupt_is_refused_in_the_style_too() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "cut", "client=uppy").await;
    // So large that the session is known before the end that fails to come.
    let mut body = session.form(&[], &vec![7; 2 << 20]).encode();
    body.truncate(body.len() - 10);
    let content_type = content_type();
    let headers = [("content-type", content_type.as_str())];
    let answer = rig.request("POST", "/uploads/", &headers, body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["code"], "MalformedPOSTRequest");
    let mut form = session.form(&[], &file());
    form.set("x-amz-checksum-crc32", "AAAAAA==");
    let answer = post(&rig, &form).await;
    assert_eq!(answer.json()["code"], "BadDigest");
    assert_eq!(session.state(&rig).await["received_bytes"], 0);
}

// ---- forms that are ready ----

#[tokio::test]
async fn a_form_for_an_uploader_leaves_out_what_the_uploader_says_itself() {
    let rig = Rig::new().await;
    let ready = [
        "success_action_status",
        "policy",
        "signature",
        "AWSAccessKeyId",
        "key",
        "acl",
    ];
    for (client, style) in [
        ("plupload", "s3"),
        ("dropzone", "json"),
        ("resumable", "json"),
        ("flow", "json"),
        ("fineuploader", "json"),
        ("filepond", "text"),
        ("uppy", "json"),
    ] {
        let uri = format!("/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}");
        let bodies = [
            rig.ask("POST", &format!("{uri}&client={client}")).await,
            rig.send(
                "POST",
                &uri,
                format!("{{\"upload\":{{\"client\":\"{client}\"}}}}"),
            )
            .await,
        ];
        for answer in bodies {
            let upload = &answer.json()["upload"];
            let names: Vec<_> = params_of(upload)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names, ready, "{client}");
            assert_eq!(upload["file_field"], "file", "{client}");
            let id = upload["id"].as_str().unwrap();
            let uri = format!("/v1/files/uploads/{id}");
            let shown = rig.ask("GET", &uri).await.json();
            assert_eq!(shown["upload"]["answer"], style, "{client}");
        }
    }
}

#[tokio::test]
async fn a_later_form_for_another_uploader_asks_for_its_own_style() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "switch", "client=plupload").await;
    for (more, added) in [
        ("client=plupload", None),
        ("client=uppy", Some("json")),
        ("client=filepond", Some("text")),
        ("client=uppy&answer=s3", None),
        ("answer=text", Some("text")),
        ("", None),
    ] {
        let again = session.again(&rig, more).await;
        let found = again
            .fields
            .iter()
            .find(|(name, _)| name == "x-pillarbox-answer");
        assert_eq!(found.map(|(_, value)| value.as_str()), added, "{more}");
        let ten = again.fields.len() == 10 + usize::from(added.is_some());
        assert_eq!(ten, !more.contains("client"), "{more}");
    }
    let uppy = session.again(&rig, "client=uppy").await;
    let answer = post(&rig, &uppy.form(&[], &file())).await;
    assert_eq!(answer.json()["id"], session.id.as_str());
    assert_eq!(
        session.state(&rig).await["answer"],
        "s3",
        "the session keeps its own"
    );
}

#[tokio::test]
async fn unknown_uploaders_and_styles_are_refused_with_the_list() {
    let rig = Rig::new().await;
    let start = format!("/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}");
    let id = rig.start("b").await;
    let inspect = format!("/v1/files/uploads/{id}?form_post_params=true");
    let clients =
        "client must be one of plupload, dropzone, resumable, flow, fineuploader, filepond, uppy.";
    let styles = "answer must be s3, json or text.";
    for (method, uri) in [("POST", &start), ("GET", &inspect)] {
        for (more, detail) in [
            ("client=tus", clients),
            ("client=", clients),
            ("client=Dropzone", clients),
            ("answer=xml", styles),
            ("answer=", styles),
            ("client=uppy&answer=html", styles),
        ] {
            let answer = rig.ask(method, &format!("{uri}&{more}")).await;
            let (status, code, found) = answer.refusal();
            assert_eq!(
                (status, code.as_str(), found.as_str()),
                (400, "0x0230001", detail),
                "{method} {more}"
            );
        }
    }
    let answer = rig
        .ask("GET", &format!("/v1/files/uploads/{id}?client=uppy"))
        .await;
    assert!(
        answer
            .refusal()
            .2
            .starts_with("form_post_params must be true")
    );
}

#[tokio::test]
async fn the_form_passed_whole_to_an_uploader_that_numbers_its_chunks_is_refused_at_the_first() {
    let rig = Rig::new().await;
    for (client, fields) in &CLIENTS[..4] {
        let session = Session::start(&rig, client, "answer=json").await;
        let answer = post(&rig, &session.form(&fields(0, CHUNK, SIZE), &chunk(0))).await;
        assert_eq!(answer.status, 400, "{client}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains(" and chunks contradict each other: it is chunk 0 of 3 by "),
            "{error}"
        );
        assert!(error.contains("client=NAME"), "{error}");
        assert_eq!(session.state(&rig).await["received_bytes"], 0, "{client}");
    }
}

#[tokio::test]
async fn a_policy_that_we_did_not_issue_gains_nothing() {
    let rig = Rig::new().await;
    for (_, fields) in CLIENTS {
        let mut form = Form::new("uploads", "in/a.bin", &chunk(1));
        for (name, value) in fields(1, CHUNK, SIZE) {
            form.set(name, &value);
        }
        form.sign();
        let answer = post(&rig, &form).await;
        assert_eq!(
            (answer.status.as_u16(), element(&answer, "Code")),
            (403, "AccessDenied".to_owned())
        );
        assert!(element(&answer, "Message").contains("Extra input fields: "));
        let mut form = Form::new("uploads", "in/a.bin", &chunk(1));
        for (name, value) in fields(1, CHUNK, SIZE) {
            form.covered(name, &value);
        }
        form.covered("x-pillarbox-answer", "json").sign();
        let answer = post(&rig, &form).await;
        assert_eq!(
            answer.status, 204,
            "who signs the fields stores an object of its own"
        );
        assert_eq!(answer.header("content-type"), "");
    }
}

// ---- the query ----

fn asked(session: &Session, fields: &[(&str, String)]) -> Vec<(String, String)> {
    let added = fields.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
    session.fields.clone().into_iter().chain(added).collect()
}

async fn test_request(rig: &Rig, pairs: &[(String, String)]) -> Answer {
    let headers = [("origin", "https://page.example")];
    rig.request("GET", &format!("/uploads/?{}", query(pairs)), &headers, "")
        .await
}

#[tokio::test]
async fn a_test_request_says_which_chunks_are_here_before_and_after_completion() {
    let rig = Rig::new().await;
    for (client, fields) in [("resumable", resumable as FieldsOf), ("flow", flow)] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        for (sent, here) in [
            (None, [204, 204, 204]),
            (Some(1), [204, 200, 204]),
            (Some(0), [200, 200, 204]),
            (Some(2), [200; 3]),
        ] {
            if let Some(index) = sent {
                let form = session.form(&fields(index, CHUNK, SIZE), &chunk(index));
                assert_eq!(post(&rig, &form).await.status, 200);
            }
            for (index, status) in here.into_iter().enumerate() {
                let answer =
                    test_request(&rig, &asked(&session, &fields(index, CHUNK, SIZE))).await;
                assert_eq!(
                    answer.status.as_u16(),
                    status,
                    "{client} {index}: {}",
                    answer.text()
                );
                assert_eq!(answer.header("cache-control"), "no-store");
                assert_eq!(answer.header("access-control-allow-origin"), "*");
                assert_eq!(answer.body.is_empty(), status == 204);
                if status == 200 {
                    assert_eq!(answer.json()["chunk"], index);
                    assert_eq!(answer.json()["complete"], sent == Some(2));
                }
            }
        }
        session.assert_whole(&rig, client).await;
    }
}

#[tokio::test]
async fn a_test_request_for_another_size_or_number_of_chunks_is_not_here() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "other", "client=flow").await;
    let form = session.form(&flow(0, CHUNK, SIZE), &chunk(0));
    assert_eq!(post(&rig, &form).await.status, 200);
    for (index, size, total, status) in [
        (0, CHUNK, SIZE, 200),
        (0, CHUNK, SIZE + CHUNK, 204),
        (0, 900, SIZE, 204),
    ] {
        let answer = test_request(&rig, &asked(&session, &flow(index, size, total))).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{size} {total}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_test_request_is_judged_as_its_form_would_be() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "judged", "client=resumable").await;
    let good = asked(&session, &resumable(0, CHUNK, SIZE));
    let with = |name: &str, value: &str| {
        let kept = good.iter().filter(|(n, _)| n != name).cloned();
        let changed = Some((name.to_owned(), value.to_owned())).filter(|_| value != "nothing");
        kept.chain(changed).collect::<Vec<_>>()
    };
    for (name, value, status, code) in [
        (
            "signature",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            403,
            "SignatureDoesNotMatch",
        ),
        ("signature", "nothing", 400, "InvalidArgument"),
        ("AWSAccessKeyId", "nobody", 403, "InvalidAccessKeyId"),
        ("policy", "nothing", 400, "InvalidArgument"),
        ("policy", "e30=", 403, "SignatureDoesNotMatch"),
        ("key", "tmp/other", 403, "AccessDenied"),
        ("key", "nothing", 400, "InvalidArgument"),
        ("acl", "public-read", 403, "AccessDenied"),
        ("submit", "1", 403, "AccessDenied"),
    ] {
        let changed = with(name, value);
        let answer = test_request(&rig, &changed).await;
        let found = verdict(&answer);
        assert_eq!(
            (found.0, found.1.as_str()),
            (status, code),
            "{name}={value}"
        );
        let mut form = session.form(&[], &chunk(0));
        form.fields = changed;
        assert_eq!(verdict(&post(&rig, &form).await), found);
    }
    let answer = test_request(&rig, &with("resumableChunkNumber", "9")).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["error"]
            .as_str()
            .unwrap()
            .starts_with("resumableChunkNumber must be at most 3")
    );
    let twice: Vec<_> = good.iter().chain(&good[..1]).cloned().collect();
    assert_eq!(test_request(&rig, &twice).await.status, 400);
    assert_eq!(
        rig.request("HEAD", &format!("/uploads?{}", query(&good)), &[], "")
            .await
            .status,
        204
    );
    assert_eq!(
        session.state(&rig).await["received_bytes"],
        0,
        "nothing is stored"
    );
    rig.ask("DELETE", &format!("/v1/files/uploads/{}", session.id))
        .await;
    assert_eq!(test_request(&rig, &good).await.status, 204, "never 404");
    let answer = post(&rig, &session.form(&resumable(0, CHUNK, SIZE), &chunk(0))).await;
    assert_eq!(element(&answer, "Code"), "NoSuchUpload");
}

#[tokio::test]
async fn a_test_request_finds_nothing_of_a_file_that_is_gone() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "gone", "client=resumable").await;
    let fields = |index: usize| resumable(index, CHUNK, SIZE);
    for index in 0..count(CHUNK, SIZE) {
        let answer = post(&rig, &session.form(&fields(index), &chunk(index))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let first = asked(&session, &fields(0));
    assert_eq!(test_request(&rig, &first).await.status, 200);
    rig.ask("DELETE", &format!("/v1/files/{}", session.id))
        .await;
    assert_eq!(test_request(&rig, &first).await.status, 204);
    let answer = post(&rig, &session.form(&fields(0), &chunk(0))).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[tokio::test]
async fn any_other_get_of_a_bucket_needs_the_signature_of_a_request() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "get", "client=resumable").await;
    let mut foreign = Form::new("uploads", "in/a.bin", b"");
    foreign.covered("resumableChunkNumber", "1").sign();
    let denied = (403, "AccessDenied");
    for (query, told) in [
        (String::new(), denied),
        ("?list-type=2".to_owned(), denied),
        (format!("?{}", query(&session.fields)), denied),
        ("?dzchunkindex=1".to_owned(), denied),
        // It asks for a chunk, but of no session of ours.
        (
            format!("?{}", query(&foreign.fields)),
            (405, "MethodNotAllowed"),
        ),
    ] {
        let answer = rig
            .request("GET", &format!("/uploads/{query}"), &[], "")
            .await;
        let code = element(&answer, "Code");
        assert_eq!((answer.status.as_u16(), code.as_str()), told, "{query}");
    }
}

#[tokio::test]
async fn the_query_of_a_post_may_only_repeat_its_form() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "repeat", "client=resumable").await;
    let fields = resumable(0, CHUNK, SIZE);
    let form = session.form(&fields, &chunk(0));
    let pairs = asked(&session, &fields);
    let uri = |pairs: &[(String, String)]| format!("/uploads/?{}", query(pairs));
    let answer = post_to(&rig, &uri(&pairs), &form).await;
    assert_eq!(
        answer.status,
        200,
        "as Resumable.js sends it: {}",
        answer.text()
    );
    for (name, value) in [
        ("resumableChunkNumber", "2"),
        ("delete", ""),
        ("key", "tmp/other"),
        ("uploadId", "1"),
    ] {
        let kept = pairs.iter().filter(|(n, _)| n != name).cloned();
        let changed: Vec<_> = kept.chain([(name.to_owned(), value.to_owned())]).collect();
        let answer = post_to(&rig, &uri(&changed), &form).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let error = answer.json()["error"]
            .as_str()
            .unwrap()
            .to_ascii_lowercase();
        assert!(
            error.starts_with(&name.to_ascii_lowercase()),
            "{name}: {error}"
        );
    }
    let missing = session.form(&fields[1..], &chunk(0));
    assert_eq!(
        post_to(&rig, &uri(&pairs), &missing).await.status,
        400,
        "the query adds no field"
    );
    for other in ["?delete", "?uploads=", "?key=a", "?&", "?chunk=0"] {
        let answer = post_to(&rig, &format!("/uploads/{other}"), &form).await;
        assert_eq!(answer.status, 405, "{other}");
    }
    let mut foreign = Form::new("uploads", "in/a.bin", &chunk(0));
    foreign.covered("resumableChunkNumber", "1").sign();
    let answer = post_to(&rig, "/uploads/?resumableChunkNumber=1", &foreign).await;
    assert_eq!(answer.status, 405, "a policy that we did not issue");
}

// ---- one file, one size of chunks ----

/// What the form of chunk `index` of a file of `total` bytes in chunks of `size` comes to.
async fn send(rig: &Rig, session: &Session, fields: FieldsOf, at: (usize, usize, usize)) -> Answer {
    let (index, size, total) = at;
    let bytes: Vec<u8> = file().into_iter().cycle().take(total).collect();
    let bytes = bytes.chunks(size).nth(index).unwrap().to_vec();
    post(rig, &session.form(&fields(index, size, total), &bytes)).await
}

#[tokio::test]
async fn who_resumes_with_another_size_of_chunks_is_refused_whichever_chunk_is_missing() {
    let rig = Rig::new().await;
    for (client, fields, named) in [
        ("dropzone", dropzone as FieldsOf, "dzchunksize"),
        ("resumable", resumable, "resumableChunkSize"),
        ("flow", flow, "flowChunkSize"),
        ("fineuploader", fineuploader, "qqpartbyteoffset"),
    ] {
        for (row, here, other) in [
            ("first", &[1, 2][..], 0),
            ("middle", &[0, 2], 1),
            ("last", &[1], 2),
            ("second", &[2], 1),
        ] {
            let name = format!("{client}-{row}");
            let session = Session::start(&rig, &name, &format!("client={client}")).await;
            for index in here {
                let sent = send(&rig, &session, fields, (*index, CHUNK, SIZE)).await;
                assert_eq!(sent.status, 200, "{name}: {}", sent.text());
            }
            let refused = send(&rig, &session, fields, (other, 900, SIZE)).await;
            assert_eq!(refused.status, 400, "{name}: {}", refused.text());
            let body = refused.json();
            assert_eq!(body["code"], "InvalidArgument", "{name}");
            let words = body["error"].as_str().unwrap();
            assert!(words.contains(named), "{name}: {words}");
            for index in 0..3 {
                let sent = send(&rig, &session, fields, (index, CHUNK, SIZE)).await;
                assert_eq!(sent.status, 200, "{name}: {}", sent.text());
            }
            session.assert_whole(&rig, &name).await;
        }
    }
}

#[tokio::test]
async fn chunks_of_another_file_are_refused_whichever_chunk_is_missing() {
    let rig = Rig::new().await;
    for (client, fields, named) in [
        ("dropzone", dropzone as FieldsOf, "dztotalfilesize"),
        ("resumable", resumable, "resumableTotalSize"),
        ("flow", flow, "flowTotalSize"),
        ("fineuploader", fineuploader, "qqtotalfilesize"),
        ("plupload", plupload_offset, "total"),
    ] {
        for (row, here, missing) in [("last", [0, 1], 2), ("first", [1, 2], 0)] {
            if client == "plupload" && row == "first" {
                continue;
            }
            let name = format!("{client}-{row}-file");
            let session = Session::start(&rig, &name, &format!("client={client}")).await;
            for index in here {
                let sent = send(&rig, &session, fields, (index, CHUNK, SIZE)).await;
                assert!(sent.status.is_success(), "{name}: {}", sent.text());
            }
            let refused = send(&rig, &session, fields, (missing, CHUNK, SIZE + 200)).await;
            assert_eq!(refused.status, 400, "{name}: {}", refused.text());
            assert!(
                refused
                    .text()
                    .contains(&format!("{named} must be the same")),
                "{name}: {}",
                refused.text()
            );
            assert!(session.stored(&rig).await.is_none(), "{name}");
            let sent = send(&rig, &session, fields, (missing, CHUNK, SIZE)).await;
            assert!(sent.status.is_success(), "{name}: {}", sent.text());
            session.assert_whole(&rig, &name).await;
        }
    }
}

#[tokio::test]
async fn two_uploaders_that_say_other_sizes_in_one_form_are_refused_by_the_names_of_both() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "both", "client=flow").await;
    let mut form = session.form(&flow(0, CHUNK, SIZE), &chunk(0));
    for (name, value) in resumable(0, CHUNK, SIZE + 1) {
        form.set(name, &value);
    }
    let answer = post(&rig, &form).await;
    assert_eq!(answer.status, 400);
    let words = answer.json()["error"].as_str().unwrap().to_owned();
    let wanted = "resumableTotalSize and flowTotalSize contradict each other";
    assert!(words.starts_with(wanted), "{words}");
}

#[tokio::test]
async fn a_chunk_that_is_too_long_is_refused_before_it_has_all_come() {
    let rig = Rig::new().await;
    let session = Session::start(&rig, "long", "client=flow").await;
    let form = session.form(&flow(0, CHUNK, SIZE), &vec![7; 3_000_000]);
    let answer = post(&rig, &form).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let words = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(
        words.ends_with("wants 1000 bytes in this chunk, and more came."),
        "{words}"
    );
    assert_eq!(session.state(&rig).await["received_bytes"], 0);
}

#[tokio::test]
async fn a_test_request_for_another_file_is_not_here_before_and_after_completion() {
    let rig = Rig::new().await;
    for (client, fields) in [("resumable", resumable as FieldsOf), ("flow", flow)] {
        let session = Session::start(&rig, client, &format!("client={client}")).await;
        for sent in 0..3 {
            let sent = send(&rig, &session, fields, (sent, CHUNK, SIZE)).await;
            assert_eq!(sent.status, 200, "{}", sent.text());
            for (total, status) in [(SIZE, 200), (SIZE + 200, 204)] {
                let pairs = asked(&session, &fields(0, CHUNK, total));
                let answer = test_request(&rig, &pairs).await;
                assert_eq!(answer.status, status, "{client} {total}");
            }
        }
    }
    let session = Session::start(&rig, "plain", "client=plupload").await;
    for index in 0..3 {
        let sent = send(&rig, &session, plupload, (index, CHUNK, SIZE)).await;
        assert!(sent.status.is_success(), "{}", sent.text());
    }
    let session = session.again(&rig, "client=flow").await;
    for (index, size, total, status) in [
        (0, CHUNK, SIZE, 200),
        (0, CHUNK, SIZE + 200, 204),
        (1, 900, SIZE, 204),
    ] {
        let answer = test_request(&rig, &asked(&session, &flow(index, size, total))).await;
        assert_eq!(answer.status, status, "{index} {size} {total}");
    }
}
