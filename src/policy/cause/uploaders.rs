//! What the uploaders of the field add to a form by themselves.
//!
//! Owns: the table of their fields, by name or by how the name begins, and what to do when nothing but these arrive.
//! Never does: say whether such a field is allowed. Invariant: names are lower-case.
//!
//! Sources: what Plupload 2 and 3, Dropzone 5 and 6, Uppy, FineUploader, Resumable.js, Flow.js and FilePond send, recorded from them.

use crate::policy::form::PostForm;

/// One uploader, or a habit of frameworks.
pub(super) struct Uploader {
    /// Names of its fields; a `*` at the end stands for the rest of a name.
    names: &'static [&'static str],
    /// Who adds them, and when.
    pub(super) adds: &'static str,
    /// Why nothing else may have come; none for what is never the only thing to come.
    alone: Option<&'static str>,
}

const UPLOADERS: &[Uploader] = &[
    Uploader {
        names: &["dz*"],
        adds: "Dropzone adds its dz fields to each chunk",
        alone: Some(
            "Only Dropzone's own fields came: Dropzone 6 drops params that are given as an object, so give it params as a function that \
             returns the form's fields together with the chunk's.",
        ),
    },
    Uploader {
        names: &["x-amz-meta-qqfilename"],
        adds: "FineUploader S3 adds the file's name as metadata",
        alone: None,
    },
    Uploader {
        names: &["qq*"],
        adds: "FineUploader adds its qq fields to each chunk",
        alone: Some(
            "Only FineUploader's own fields came: give it the form's fields as request.params, or use FineUploader S3.",
        ),
    },
    Uploader {
        names: &["resumable*"],
        adds: "Resumable.js adds its fields to each chunk",
        alone: Some(
            "Only Resumable.js' own fields came: give it the form's fields as its option query.",
        ),
    },
    Uploader {
        names: &["flow*"],
        adds: "Flow.js adds its fields to each chunk",
        alone: Some(
            "Only Flow.js' own fields came: give it the form's fields as its option query.",
        ),
    },
    Uploader {
        names: &["filepond"],
        adds: "FilePond sends its metadata under the name of its input",
        alone: Some(
            "Only FilePond's own field came: add the form's fields in server.process.ondata, before the file.",
        ),
    },
    Uploader {
        names: &["relativepath", "type"],
        adds: "Uppy adds it as metadata; allowedMetaFields names what it may send",
        alone: Some(
            "Only Uppy's own fields came: give it the form's fields in getUploadParameters, or as metadata.",
        ),
    },
    Uploader {
        names: &["name", "filename"],
        adds: "Plupload and Flash uploaders add it",
        alone: Some(PLUPLOAD_ALONE),
    },
    Uploader {
        names: &["chunk", "chunks", "offset", "total"],
        adds: "Plupload adds it when chunk_size is set",
        alone: Some(PLUPLOAD_ALONE),
    },
    Uploader {
        names: &["submit", "upload"],
        adds: "the form's submit button comes before the file input",
        alone: None,
    },
    Uploader {
        names: &[
            "_token",
            "_csrf",
            "csrf_token",
            "csrfmiddlewaretoken",
            "authenticity_token",
            "utf8",
            "commit",
        ],
        adds: "a web framework adds it to every form of its pages",
        alone: None,
    },
];

const PLUPLOAD_ALONE: &str =
    "Only Plupload's own fields came: give it the form's fields as multipart_params.";

/// Who adds this field.
pub(super) fn who_adds(name: &str) -> Option<&'static Uploader> {
    let is_named = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    };
    UPLOADERS
        .iter()
        .find(|uploader| uploader.names.iter().any(is_named))
}

/// Why nothing came but what an uploader adds by itself; none when anything else came, or nothing at all.
pub fn alone(form: &PostForm) -> Option<&'static str> {
    let mut told = None;
    for (name, _) in form.iter() {
        let sentence = who_adds(name)?.alone?;
        told = told.or(Some(sentence));
    }
    told
}
