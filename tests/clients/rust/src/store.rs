//! Apache's `object_store`, and the tests that it publishes for whoever implements its trait.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3CopyIfNotExists};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt, PutOptions, integration,
};
use serde_json::{Value, json};

use crate::{Job, Refused, Told, no_word};

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let told = match &error {
            Error::NotFound { .. } => "NotFound",
            Error::PermissionDenied { .. } => "PermissionDenied",
            Error::Unauthenticated { .. } => "Unauthenticated",
            Error::InvalidPath { .. } => "its own refusal",
            _ => "another error",
        };
        Self(told.to_owned(), format!("{error:?}"))
    }
}

fn builder(job: &Job) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(job.text("endpoint"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(job.text("bucket"))
        .with_access_key_id(job.text("access_key"))
        .with_secret_access_key(job.text("secret"))
}

fn path(key: &str) -> Result<Path, Refused> {
    Path::parse(key).map_err(|why| Error::from(why).into())
}

pub async fn play(job: &Job) -> Told {
    let store = builder(job).build()?;
    if job.text("op") == "published" {
        return published(job, store).await;
    }
    // A prefix is a folder, with or without the slash at its end.
    let prefix = Path::from(job.text("prefix"));
    match job.text("op") {
        "put" => put(job, &store).await?,
        "put_parts" => put_parts(job, &store).await?,
        "get" => {
            let told = store.get(&path(job.text("key"))?).await?;
            return job.write(&told.bytes().await?).await;
        }
        "range" => {
            let range = job.number("first").unwrap_or_default() as u64
                ..job.number("last").unwrap_or_default() as u64 + 1;
            let bytes = store.get_range(&path(job.text("key"))?, range).await?;
            return job.write(&bytes).await;
        }
        "head" => return head(job, &store).await,
        "list" if job.text("delimiter").is_empty() => {
            let found: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
            let keys = found.iter().map(|one| one.location.as_ref());
            return Ok(json!({ "keys": keys.collect::<Vec<_>>(), "prefixes": [] }));
        }
        "list" => {
            let found = store.list_with_delimiter(Some(&prefix)).await?;
            let keys = found.objects.iter().map(|one| one.location.as_ref());
            let prefixes = found.common_prefixes.iter().map(|one| format!("{one}/"));
            return Ok(
                json!({ "keys": keys.collect::<Vec<_>>(), "prefixes": prefixes.collect::<Vec<_>>() }),
            );
        }
        "remove" => store.delete(&path(job.text("key"))?).await?,
        "remove_many" => {
            let paths = job.keys().map(Path::parse).collect::<Result<Vec<_>, _>>();
            let paths = paths.map_err(Error::from)?;
            let paths = futures_util::stream::iter(paths.into_iter().map(Ok)).boxed();
            store.delete_stream(paths).try_collect::<Vec<_>>().await?;
        }
        "copy" => {
            store
                .copy(&path(job.text("from"))?, &path(job.text("key"))?)
                .await?
        }
        "presign" => {
            let method = job.text("method").parse().unwrap_or(Method::GET);
            let lives = Duration::from_secs(job.number("seconds").unwrap_or_default() as u64);
            let url = store
                .signed_url(method, &path(job.text("key"))?, lives)
                .await?;
            return Ok(json!({ "url": url.as_str() }));
        }
        other => return Err(no_word(other)),
    }
    Ok(json!({}))
}

async fn put(job: &Job, store: &AmazonS3) -> Result<(), Refused> {
    let mut attributes = Attributes::new();
    for (name, attribute) in [
        ("type", Attribute::ContentType),
        ("cache", Attribute::CacheControl),
    ] {
        if !job.text(name).is_empty() {
            attributes.insert(attribute, job.text(name).to_owned().into());
        }
    }
    for (name, value) in job.meta().into_iter().flatten() {
        attributes.insert(Attribute::Metadata(name.into()), value.into());
    }
    let options = PutOptions::from(attributes);
    let bytes = job.read().await?;
    store
        .put_opts(&path(job.text("key"))?, bytes.into(), options)
        .await?;
    Ok(())
}

async fn put_parts(job: &Job, store: &AmazonS3) -> Result<(), Refused> {
    let bytes = job.read().await?;
    let mut upload = store.put_multipart(&path(job.text("key"))?).await?;
    let parts = bytes.chunks(job.number("part").unwrap_or(8 << 20));
    let sent: Vec<_> = parts
        .map(|part| upload.put_part(part.to_vec().into()))
        .collect();
    futures_util::stream::iter(sent)
        .buffer_unordered(4)
        .try_collect::<Vec<_>>()
        .await?;
    upload.complete().await?;
    Ok(())
}

async fn head(job: &Job, store: &AmazonS3) -> Told {
    let options = GetOptions::new().with_head(true);
    let told = store.get_opts(&path(job.text("key"))?, options).await?;
    let said = |attribute| told.attributes.get(&attribute).map(|value| value.as_ref());
    let metadata = told
        .attributes
        .iter()
        .filter_map(|(name, value)| match name {
            Attribute::Metadata(name) => Some((name.to_string(), Value::from(value.as_ref()))),
            _ => None,
        });
    Ok(json!({
        "size": told.meta.size,
        "etag": told.meta.e_tag.as_deref().map(|tag| tag.trim_matches('"')),
        "type": said(Attribute::ContentType),
        "cache": said(Attribute::CacheControl),
        "meta": metadata.collect::<serde_json::Map<_, _>>(),
    }))
}

/// Runs one of the published tests, which panics when it fails; the bucket is empty.
async fn published(job: &Job, store: AmazonS3) -> Told {
    match job.text("test") {
        "put_get_delete_list" => integration::put_get_delete_list(&store).await,
        "put_get_delete_list, unsigned payload" => {
            let unsigned = builder(job).with_unsigned_payload(true).build()?;
            integration::put_get_delete_list(&unsigned).await;
        }
        "put_get_delete_list, SHA-256" => {
            let summed = builder(job)
                .with_checksum_algorithm(Checksum::SHA256)
                .build()?;
            integration::put_get_delete_list(&summed).await;
        }
        "put_get_delete_list, CRC-64/NVME" => {
            let summed = builder(job)
                .with_checksum_algorithm(Checksum::CRC64NVME)
                .build()?;
            integration::put_get_delete_list(&summed).await;
        }
        "put_get_attributes" => integration::put_get_attributes(&store).await,
        "get_opts" => integration::get_opts(&store).await,
        "put_opts" => integration::put_opts(&store, true).await,
        "stream_get" => integration::stream_get(&store).await,
        "list_uses_directories_correctly" => {
            integration::list_uses_directories_correctly(&store).await;
        }
        "list_with_delimiter" => integration::list_with_delimiter(&store).await,
        "list_with_offset_exclusivity" => integration::list_with_offset_exclusivity(&store).await,
        "list_paginated" => integration::list_paginated(&store, &store).await,
        "get_nonexistent_object" => {
            let refused = integration::get_nonexistent_object(&store, None).await;
            assert!(
                matches!(refused, Err(Error::NotFound { .. })),
                "{refused:?}"
            );
        }
        "rename_and_copy" => integration::rename_and_copy(&store).await,
        "copy_if_not_exists" => {
            let native = S3CopyIfNotExists::Multipart;
            let store = builder(job).with_copy_if_not_exists(native).build()?;
            integration::copy_if_not_exists(&store).await;
        }
        "copy_rename_nonexistent_object" => {
            let native = S3CopyIfNotExists::Multipart;
            let store = builder(job).with_copy_if_not_exists(native).build()?;
            integration::copy_rename_nonexistent_object(&store).await;
        }
        "multipart" => integration::multipart(&store, &store).await,
        "multipart_with_opts" => integration::multipart_with_opts(&store, &store).await,
        "multipart_put_part_out_of_order" => {
            integration::multipart_put_part_out_of_order(&store, &store).await;
        }
        "multipart_race_condition" => integration::multipart_race_condition(&store, true).await,
        "multipart_out_of_order" => integration::multipart_out_of_order(&store).await,
        other => return Err(no_word(other)),
    }
    Ok(json!({}))
}
