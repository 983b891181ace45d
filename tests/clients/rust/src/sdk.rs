//! Amazon's own SDK.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CommonPrefix, CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective, Object,
    ObjectIdentifier,
};
use serde_json::{Value, json};

use crate::{Job, Refused, Told, no_word, ours};

impl<E: ProvideErrorMetadata + std::fmt::Debug> From<SdkError<E>> for Refused {
    fn from(error: SdkError<E>) -> Self {
        let text = format!("{error:?}");
        let Some(answer) = error.raw_response() else {
            return Self("its own refusal".to_owned(), text);
        };
        let code = error.code().unwrap_or_default();
        let told = format!("{} {code}", answer.status().as_u16());
        Self(told.trim_end().to_owned(), text)
    }
}

fn client(job: &Job) -> Client {
    let credentials = Credentials::new(
        job.text("access_key"),
        job.text("secret"),
        None,
        None,
        "job",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(job.text("endpoint"))
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .force_path_style(true);
    Client::from_conf(config.build())
}

pub async fn play(job: &Job) -> Told {
    let (s3, bucket, key) = (client(job), job.text("bucket"), job.text("key"));
    match job.text("op") {
        "make_bucket" => {
            s3.create_bucket().bucket(bucket).send().await?;
            s3.head_bucket().bucket(bucket).send().await?;
        }
        "remove_bucket" => {
            s3.delete_bucket().bucket(bucket).send().await?;
        }
        "buckets" => {
            let told = s3.list_buckets().send().await?;
            let names = told.buckets().iter().filter_map(|one| one.name());
            return Ok(json!({ "buckets": names.collect::<Vec<_>>() }));
        }
        "put" => put(job, &s3).await?,
        "put_parts" => put_parts(job, &s3).await?,
        "get" => {
            let told = s3.get_object().bucket(bucket).key(key).send().await?;
            return save(job, told.body).await;
        }
        "range" => {
            let range = format!("bytes={}-{}", job.0["first"], job.0["last"]);
            let asked = s3.get_object().bucket(bucket).key(key).range(range);
            return save(job, asked.send().await?.body).await;
        }
        "head" => return head(job, &s3).await,
        "list" if job.number("version") == Some(1) => return list_v1(job, &s3).await,
        "list" => return list_v2(job, &s3).await,
        "remove" => {
            s3.delete_object().bucket(bucket).key(key).send().await?;
        }
        "remove_many" => remove_many(job, &s3).await?,
        "copy" if job.number("part").is_some() => copy_parts(job, &s3).await?,
        "copy" => copy(job, &s3).await?,
        "presign" => return presign(job, &s3).await,
        other => return Err(no_word(other)),
    }
    Ok(json!({}))
}

async fn save(job: &Job, body: ByteStream) -> Told {
    let bytes = body.collect().await.map_err(ours)?;
    job.write(&bytes.into_bytes()).await
}

/// A file goes with its checksum in a trailer, what is in memory with one in a header.
async fn put(job: &Job, s3: &Client) -> Result<(), Refused> {
    let body = match job.flag("stream") {
        true => ByteStream::from_path(job.text("file"))
            .await
            .map_err(ours)?,
        false => job.read().await?.into(),
    };
    let given = |name| Some(job.text(name).to_owned()).filter(|text| !text.is_empty());
    s3.put_object()
        .bucket(job.text("bucket"))
        .key(job.text("key"))
        .set_content_type(given("type"))
        .set_cache_control(given("cache"))
        .set_metadata(job.meta().map(Iterator::collect))
        .body(body)
        .send()
        .await?;
    Ok(())
}

async fn put_parts(job: &Job, s3: &Client) -> Result<(), Refused> {
    let (bucket, key) = (job.text("bucket"), job.text("key"));
    let upload = s3
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .send()
        .await?;
    let id = upload.upload_id().unwrap_or_default();
    let bytes = job.read().await?;
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(bytes.chunks(job.number("part").unwrap_or(8 << 20))) {
        let asked = s3
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .part_number(number);
        let told = asked.body(part.to_vec().into()).send().await?;
        let part = CompletedPart::builder().part_number(number);
        let sum = told.checksum_crc32().map(str::to_owned);
        parts.push(part.set_e_tag(told.e_tag).set_checksum_crc32(sum).build());
    }
    complete(job, s3, id, parts).await
}

async fn copy_parts(job: &Job, s3: &Client) -> Result<(), Refused> {
    let (bucket, key) = (job.text("bucket"), job.text("key"));
    let upload = s3
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .send()
        .await?;
    let id = upload.upload_id().unwrap_or_default();
    let (size, part) = (
        job.number("size").unwrap_or_default(),
        job.number("part").unwrap_or(1),
    );
    let mut parts = Vec::new();
    for (number, at) in (1..).zip((0..size).step_by(part)) {
        let range = format!("bytes={at}-{}", (at + part).min(size) - 1);
        let asked = s3
            .upload_part_copy()
            .bucket(bucket)
            .key(key)
            .upload_id(id)
            .part_number(number);
        let told = asked
            .copy_source(source(job))
            .copy_source_range(range)
            .send()
            .await?;
        let etag = told
            .copy_part_result()
            .and_then(|part| part.e_tag())
            .map(str::to_owned);
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(etag)
                .build(),
        );
    }
    complete(job, s3, id, parts).await
}

async fn complete(
    job: &Job,
    s3: &Client,
    id: &str,
    parts: Vec<CompletedPart>,
) -> Result<(), Refused> {
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    let asked = s3
        .complete_multipart_upload()
        .bucket(job.text("bucket"))
        .key(job.text("key"));
    asked.upload_id(id).multipart_upload(parts).send().await?;
    Ok(())
}

async fn head(job: &Job, s3: &Client) -> Told {
    let asked = s3
        .head_object()
        .bucket(job.text("bucket"))
        .key(job.text("key"));
    let told = asked.send().await?;
    Ok(json!({
        "size": told.content_length(),
        "etag": told.e_tag().map(|tag| tag.trim_matches('"')),
        "type": told.content_type(),
        "cache": told.cache_control(),
        "meta": told.metadata(),
    }))
}

async fn list_v2(job: &Job, s3: &Client) -> Told {
    let asked = s3
        .list_objects_v2()
        .bucket(job.text("bucket"))
        .prefix(job.text("prefix"));
    let asked = match job.text("delimiter") {
        "" => asked,
        delimiter => asked.delimiter(delimiter),
    };
    let page = job.number("page").and_then(|page| i32::try_from(page).ok());
    let mut pages = asked.set_max_keys(page).into_paginator().send();
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page?;
        keys.extend(names(page.contents()));
        prefixes.extend(groups(page.common_prefixes()));
    }
    Ok(json!({ "keys": keys, "prefixes": prefixes }))
}

async fn list_v1(job: &Job, s3: &Client) -> Told {
    let (mut keys, mut prefixes) = (Vec::<Value>::new(), Vec::<Value>::new());
    let mut marker = None;
    loop {
        let asked = s3
            .list_objects()
            .bucket(job.text("bucket"))
            .prefix(job.text("prefix"));
        let asked = match job.text("delimiter") {
            "" => asked,
            delimiter => asked.delimiter(delimiter),
        };
        let page = job.number("page").and_then(|page| i32::try_from(page).ok());
        let told = asked.set_max_keys(page).set_marker(marker).send().await?;
        keys.extend(names(told.contents()));
        prefixes.extend(groups(told.common_prefixes()));
        if told.is_truncated() != Some(true) {
            return Ok(json!({ "keys": keys, "prefixes": prefixes }));
        }
        let last = told.contents().last().and_then(|one| one.key());
        marker = told.next_marker().or(last).map(str::to_owned);
    }
}

fn names(objects: &[Object]) -> impl Iterator<Item = Value> {
    objects.iter().filter_map(|one| one.key()).map(Value::from)
}

fn groups(prefixes: &[CommonPrefix]) -> impl Iterator<Item = Value> {
    prefixes
        .iter()
        .filter_map(|one| one.prefix())
        .map(Value::from)
}

async fn remove_many(job: &Job, s3: &Client) -> Result<(), Refused> {
    let objects = job
        .keys()
        .map(|key| ObjectIdentifier::builder().key(key).build());
    let objects = objects.collect::<Result<Vec<_>, _>>().map_err(ours)?;
    let list = Delete::builder()
        .set_objects(Some(objects))
        .build()
        .map_err(ours)?;
    let told = s3
        .delete_objects()
        .bucket(job.text("bucket"))
        .delete(list)
        .send()
        .await?;
    match told.errors() {
        [] => Ok(()),
        errors => Err(ours(errors)),
    }
}

/// Percent-encoded, as its manual asks.
fn source(job: &Job) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let path = format!("{}/{}", job.text("bucket"), job.text("from"));
    let encoded = path.bytes().map(|b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    encoded.collect()
}

async fn copy(job: &Job, s3: &Client) -> Result<(), Refused> {
    let asked = s3
        .copy_object()
        .bucket(job.text("bucket"))
        .key(job.text("key"));
    let asked = asked.copy_source(source(job));
    let asked = match job.meta() {
        None => asked,
        Some(meta) => asked
            .metadata_directive(MetadataDirective::Replace)
            .set_metadata(Some(meta.collect())),
    };
    asked.send().await?;
    Ok(())
}

async fn presign(job: &Job, s3: &Client) -> Told {
    let (bucket, key) = (job.text("bucket"), job.text("key"));
    let lives = Duration::from_secs(job.number("seconds").unwrap_or_default() as u64);
    let config = PresigningConfig::expires_in(lives).map_err(ours)?;
    let signed = match job.text("method") {
        "PUT" => {
            s3.put_object()
                .bucket(bucket)
                .key(key)
                .presigned(config)
                .await?
        }
        _ => {
            s3.get_object()
                .bucket(bucket)
                .key(key)
                .presigned(config)
                .await?
        }
    };
    Ok(json!({ "url": signed.uri() }))
}
