//! The File resource: how a stored object shows itself in the hosted API's words.
//!
//! Owns: the members of a File, in the order of the hosted API's own sample. What only a media pipeline could know
//! (`container`, `duration`, tracks, thumbnails, folders, the user) is null: shown only with `show_null=true`.
//!
//! Never does: read anything; all it shows is in the object's record. `expand`, `expand_all` and `bin_data` change nothing,
//! because nothing here can be embedded. `size_on_disk` is `size`: bytes lie in one plain file.
//!
//! Invariants: times are milliseconds; every address begins with the base URL that the client used.
//!
//! Source: the hosted API's documents, "Get a specific File".

use percent_encoding::utf8_percent_encode;
use serde_json::{Value, json};

use super::disposition::ENCODED;
use super::media_type;
use super::resource::{href, millis, reference};
use crate::model::{Md5, ObjectMeta};

/// The File of an object.
pub fn file(base_url: &str, meta: &ObjectMeta) -> Value {
    let name = meta.key.file_name();
    json!({
        "storage": "intern",
        "title": title(name),
        "name": name,
        "type": "file",
        "subtype": media_type::subtype(meta),
        "job": meta.job.as_deref().map(|job| job_reference(base_url, job)),
        "autograph": null,
        "container": null,
        "mime_type": media_type::of(meta),
        "md5_checksum": meta.md5.as_ref().map(Md5::hex),
        "size": meta.size,
        "size_on_disk": meta.size,
        "application": meta.application.map(|id| reference(base_url, "applications", &id)),
        "duration": null,
        "pipeline": meta.pipeline.as_ref().map(|pipeline| reference(base_url, "pipelines", &pipeline.id)),
        "finished_at": meta.finished_at.millis(),
        "expires_at": millis(meta.expires_at),
        "elements": null,
        "video_tracks": null,
        "audio_tracks": null,
        "subtitle_tracks": null,
        "description": null,
        "user_data": null,
        "parents": null,
        "uri": format!("{base_url}/v1/files/downloads/?file_id={}", meta.id),
        "version": meta.version,
        "user": null,
        "created_at": meta.created_at.millis(),
        "updated_at": meta.updated_at.millis(),
        "id": meta.id.to_string(),
        "href": href(base_url, "files", &meta.id),
    })
}

/// A Job's id is the client's own word for it, so it is encoded in its address.
fn job_reference(base_url: &str, job: &str) -> Value {
    let segment = utf8_percent_encode(job, ENCODED);
    json!({ "id": job, "href": format!("{base_url}/v1/jobs/{segment}") })
}

/// The name without its ending; the whole name when it has none, or nothing else.
fn title(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_name_without_its_ending() {
        for (name, expected) in [
            ("Intro.mp4", "Intro"),
            ("a.b.mp4", "a.b"),
            ("noending", "noending"),
            (".hidden", ".hidden"),
            ("", ""),
        ] {
            assert_eq!(title(name), expected);
        }
    }
}
