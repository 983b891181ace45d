//! Forms that are ready for one uploader: `client` and `answer` of `/v1/files/uploads/`.
//!
//! Owns: the names of the uploaders, the style of answers that each understands, and which members of `form_post_params` would
//! come in its way: an uploader that says by itself which chunk it sends must not be handed the form's own `chunk=0` and
//! `chunks=1`, which it would send instead (Plupload) or beside (all others).
//!
//! Never does: sign; `policy` does. Invariant: who names no uploader gets the ten members of the hosted API, unchanged.
//!
//! Sources: the sources of the uploaders, as in `uploader_chunks.rs` and `answer_style.rs`.

use serde_json::{Map, Value, json};

use super::answer_style;
use super::error::ApiError;
use super::params::Params;
use crate::model::AnswerStyle;
use crate::policy::{ANSWER_FIELD, SessionForm};

/// The name of the part that is the file, whoever sends it.
pub(super) const FILE_FIELD: &str = "file";

/// Every uploader by name, and how it wants to be answered.
const CLIENTS: [(&str, AnswerStyle); 7] = [
    ("plupload", AnswerStyle::S3),
    ("dropzone", AnswerStyle::Json),
    ("resumable", AnswerStyle::Json),
    ("flow", AnswerStyle::Json),
    ("fineuploader", AnswerStyle::Json),
    ("filepond", AnswerStyle::Text),
    ("uppy", AnswerStyle::Json),
];

/// Members of the form that uploaders say by themselves; for our own sessions an absent field counts as empty.
const SAID_BY_CLIENTS: [&str; 4] = ["name", "filename", "chunk", "chunks"];

/// For whom a form is to be, and how its posts are to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormWish {
    client: Option<(&'static str, AnswerStyle)>,
    answer: Option<AnswerStyle>,
}

impl FormWish {
    /// Reads `client` and `answer`.
    ///
    /// # Errors
    /// `InvalidArgument` that lists what there is.
    pub fn read(params: &Params, envelope: &str) -> Result<Self, ApiError> {
        let client = params.text(envelope, "client")?;
        let answer = params.text(envelope, "answer")?;
        Ok(Self {
            client: client.map(|name| client_named(&name)).transpose()?,
            answer: answer
                .map(|word| answer_style::parse("answer", &word))
                .transpose()?,
        })
    }

    /// Whether anything was said.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// How posts are to be answered: as said, else as the uploader wants; `None` when neither was named.
    pub fn answer(&self) -> Option<AnswerStyle> {
        self.answer.or(self.client.map(|(_, style)| style))
    }

    /// The name of the file part, for who names an uploader.
    pub fn file_field(&self) -> Option<&'static str> {
        self.client.map(|_| FILE_FIELD)
    }

    /// The members of `form_post_params`. `answer` is the style of the session: when another one is meant, the form says so.
    pub fn members(&self, form: &SessionForm, answer: AnswerStyle) -> Value {
        let left_out = |name: &str| self.client.is_some() && SAID_BY_CLIENTS.contains(&name);
        let fields = form.fields().iter().filter(|(name, _)| !left_out(name));
        let mut members: Map<String, Value> = fields
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        if let Some(other) = self.answer().filter(|style| *style != answer) {
            members.insert(ANSWER_FIELD.to_owned(), json!(other.as_str()));
        }
        Value::Object(members)
    }
}

fn client_named(name: &str) -> Result<(&'static str, AnswerStyle), ApiError> {
    let found = CLIENTS.into_iter().find(|(known, _)| *known == name);
    found.ok_or_else(|| {
        let names = CLIENTS.map(|(known, _)| known).join(", ");
        ApiError::invalid("client", format!("must be one of {names}."))
    })
}
