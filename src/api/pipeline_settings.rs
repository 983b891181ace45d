//! The settings of a pipeline: what a client may set, by which rules, and how they are shown.
//!
//! Owns: the table of all documented members. Pillarbox acts on `root_path` (its own) and `default_object_timeout`;
//! everything else is checked for its type, kept, and given back.
//!
//! Never does: store. Invariants: a member that nobody documents is refused by name; one that is only read (`id`, `href`,
//! times, ...) is passed over, so that what GET answered can be sent back by PUT. Null resets a member, an absent member
//! stays as it was.
//!
//! Sources: the hosted API's "Add a Pipeline", "Get a specific Pipeline", and its manual, "PUT /pipelines".

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::json_body::shown_name;
use crate::model::PipelineSettings;

/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Longest root path, in bytes; it leaves half of an object key to the client.
pub const MAX_ROOT_PATH_BYTES: usize = 512;
/// Longest timeout: 100 years, in seconds.
pub const MAX_TIMEOUT: u64 = 100 * 365 * 24 * 3600;
/// All settings that are only kept, as JSON text, in bytes.
pub const MAX_OTHER_BYTES: usize = 2048;

/// The type of a member that is only kept.
#[derive(Clone, Copy)]
enum Kind {
    Seconds,
    Flag,
    Text,
    Options,
}

/// The members that are only kept, in the order in which the hosted API shows them.
const KEPT: [(&str, Kind); 10] = [
    ("cancel_timeout", Kind::Seconds),
    ("enable_backtrace_pings", Kind::Flag),
    ("input_download_dir", Kind::Text),
    ("image_download_dir", Kind::Text),
    ("download_options", Kind::Options),
    ("output_upload_dir", Kind::Text),
    ("image_upload_dir", Kind::Text),
    ("upload_options", Kind::Options),
    ("store_options", Kind::Options),
    ("ping_urls", Kind::Options),
];
/// The members that are only read.
const READ_ONLY: [&str; 7] = [
    "file",
    "version",
    "user",
    "created_at",
    "updated_at",
    "id",
    "href",
];

/// The members that can be set.
pub fn names() -> impl Iterator<Item = &'static str> {
    let acted_on = ["name", "description", "root_path", "default_object_timeout"];
    acted_on.into_iter().chain(KEPT.map(|(name, _)| name))
}

/// Whether somebody documents a member, be it one that is only read.
pub fn is_known(name: &str) -> bool {
    READ_ONLY.contains(&name) || names().any(|known| known == name)
}

/// Whether members change nothing, whatever they say.
pub fn are_only_read(members: &Map<String, Value>) -> bool {
    members
        .keys()
        .all(|name| READ_ONLY.contains(&name.as_str()))
}

/// A member as JSON would have it, from the text of a query or a form.
pub fn member_from_text(name: &str, text: &str) -> Value {
    let kind = KEPT.into_iter().find(|(known, _)| *known == name);
    let typed = match kind {
        Some((_, Kind::Flag)) => text.to_ascii_lowercase().parse().ok().map(Value::Bool),
        Some((_, Kind::Seconds)) => text.parse::<u64>().ok().map(Value::from),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::from(text))
}

/// The refusal of a member that nobody documents.
pub fn unknown(name: &str) -> ApiError {
    ApiError::invalid(&shown_name(name), "is no setting of a pipeline.")
}

/// The settings after a change: `members` on top of `old`.
///
/// # Errors
/// `InvalidArgument` that names the member and the rule.
pub fn changed(
    old: &PipelineSettings,
    members: &Map<String, Value>,
) -> Result<PipelineSettings, ApiError> {
    let mut settings = old.clone();
    let mut other = kept_members(old);
    for (name, value) in members {
        match name.as_str() {
            "name" => settings.name = parse_name(value)?,
            "description" => settings.description = parse_description(value)?,
            "root_path" => settings.root_path = parse_root_path(value)?,
            "default_object_timeout" => settings.default_object_timeout = parse_timeout(value)?,
            name if READ_ONLY.contains(&name) => {}
            name => {
                let kept = parse_kept(name, value)?;
                other.insert(name.to_owned(), kept);
            }
        }
    }
    if settings.name.is_empty() {
        return Err(ApiError::invalid("name", "is required."));
    }
    settings.other = other_text(&other)?;
    Ok(settings)
}

/// The settings as members, in the hosted API's order; what is not set is null.
pub fn shown(settings: &PipelineSettings) -> Map<String, Value> {
    let mut kept = kept_members(settings);
    let mut members = Map::new();
    members.insert("name".to_owned(), json!(settings.name));
    members.insert("description".to_owned(), json!(settings.description));
    for (name, _) in KEPT {
        let value = kept.remove(name).unwrap_or(Value::Null);
        members.insert(name.to_owned(), value);
        if name == "cancel_timeout" {
            let timeout = json!(settings.default_object_timeout);
            members.insert("default_object_timeout".to_owned(), timeout);
        }
    }
    members
}

fn kept_members(settings: &PipelineSettings) -> Map<String, Value> {
    let text = settings.other.as_deref().unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

fn other_text(other: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    let set = other.iter().filter(|(_, value)| !value.is_null());
    let set = set
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<Map<_, _>>();
    if set.is_empty() {
        return Ok(None);
    }
    let text = Value::Object(set).to_string();
    if text.len() > MAX_OTHER_BYTES {
        return Err(ApiError::invalid(
            "The settings that are only kept (cancel_timeout, *_dir, *_options, ping_urls, ...)",
            format!("must be at most {MAX_OTHER_BYTES} bytes of JSON in all."),
        ));
    }
    Ok(Some(text))
}

fn parse_name(value: &Value) -> Result<String, ApiError> {
    let name = value.as_str().unwrap_or_default();
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    let rule = format!("must be a text of 1 to {MAX_NAME_BYTES} bytes.");
    Err(ApiError::invalid("name", rule))
}

fn parse_description(value: &Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() <= MAX_DESCRIPTION_BYTES => Ok(Some(text.clone())),
        _ => Err(ApiError::invalid(
            "description",
            format!("must be a text of at most {MAX_DESCRIPTION_BYTES} bytes, or null."),
        )),
    }
}

/// A prefix of keys, not a path: nothing in it is special, but it must not run into the key that follows.
fn parse_root_path(value: &Value) -> Result<Option<String>, ApiError> {
    let fits = |path: &str| {
        path.is_empty()
            || (path.ends_with('/') && !path.starts_with('/') && path.len() <= MAX_ROOT_PATH_BYTES)
    };
    match value {
        Value::Null => Ok(None),
        Value::String(path) if fits(path) => Ok(Some(path.clone())),
        _ => Err(ApiError::invalid(
            "root_path",
            format!(
                "must be null, empty, or a prefix that ends with / and does not begin with it, at most {MAX_ROOT_PATH_BYTES} bytes."
            ),
        )),
    }
}

fn parse_timeout(value: &Value) -> Result<Option<u64>, ApiError> {
    if value.is_null() {
        return Ok(None);
    }
    let seconds = whole_number(value).filter(|seconds| (1..=MAX_TIMEOUT).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        ApiError::invalid(
            "default_object_timeout",
            format!("must be from 1 to {MAX_TIMEOUT} seconds, or null."),
        )
    })
}

fn parse_kept(name: &str, value: &Value) -> Result<Value, ApiError> {
    let Some((_, kind)) = KEPT.into_iter().find(|(known, _)| *known == name) else {
        return Err(unknown(name));
    };
    let (fits, rule) = match kind {
        Kind::Seconds => (
            whole_number(value).is_some(),
            "must be a whole number of seconds, or null.",
        ),
        Kind::Flag => (value.is_boolean(), "must be true, false or null."),
        Kind::Text => (value.is_string(), "must be a text or null."),
        Kind::Options => (
            value.as_object().is_some_and(is_flat),
            "must be an object of texts, numbers and flags, or null.",
        ),
    };
    if value.is_null() || fits {
        return Ok(value.clone());
    }
    Err(ApiError::invalid(name, rule))
}

fn is_flat(options: &Map<String, Value>) -> bool {
    options
        .values()
        .all(|value| !value.is_object() && !value.is_array())
}

/// A whole number, or a text that is one: the hosted API's own sample sends `"3600"`.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: Value) -> Result<PipelineSettings, ApiError> {
        let mut named = json!({ "name": "movies" });
        let members = members.as_object().unwrap().clone();
        named.as_object_mut().unwrap().extend(members);
        changed(&PipelineSettings::default(), named.as_object().unwrap())
    }

    #[test]
    fn every_documented_member_is_given_back() {
        let members = json!({
            "description": "for films", "cancel_timeout": 5, "default_object_timeout": "3600",
            "enable_backtrace_pings": true, "input_download_dir": "s3://a/", "image_download_dir": "https://b/",
            "download_options": { "https_certificate_check": "on" }, "output_upload_dir": "sftp://c/",
            "image_upload_dir": "d", "upload_options": { "s3_allow_read": true }, "store_options": { "mode": "temporary" },
            "ping_urls": { "error": "https://e/" },
        });
        let shown = shown(&set(members.clone()).unwrap());
        assert_eq!(shown["default_object_timeout"], json!(3600));
        for (name, value) in members.as_object().unwrap() {
            if name != "default_object_timeout" {
                assert_eq!(&shown[name], value, "{name}");
            }
        }
    }

    #[test]
    fn null_resets_and_absent_keeps() {
        let old =
            set(json!({ "description": "d", "cancel_timeout": 5, "root_path": "a/" })).unwrap();
        let members = json!({ "description": null, "cancel_timeout": null });
        let new = changed(&old, members.as_object().unwrap()).unwrap();
        assert_eq!((new.description, new.other), (None, None));
        assert_eq!((new.name, new.root_path), (old.name, old.root_path));
    }

    #[test]
    fn what_breaks_a_rule_is_refused_by_name() {
        for (name, value) in [
            ("name", json!("")),
            ("name", json!(null)),
            ("name", json!(7)),
            ("name", json!("n".repeat(129))),
            ("description", json!(["d"])),
            ("description", json!("d".repeat(1025))),
            ("root_path", json!("/a/")),
            ("root_path", json!("/")),
            ("root_path", json!("a")),
            ("root_path", json!(1)),
            ("root_path", json!(format!("{}/", "r".repeat(512)))),
            ("default_object_timeout", json!(0)),
            ("default_object_timeout", json!(-1)),
            ("default_object_timeout", json!(1.5)),
            ("default_object_timeout", json!("soon")),
            ("default_object_timeout", json!(MAX_TIMEOUT + 1)),
            ("cancel_timeout", json!("now")),
            ("enable_backtrace_pings", json!("yes")),
            ("input_download_dir", json!(5)),
            ("download_options", json!("on")),
            ("store_options", json!({ "mode": { "a": 1 } })),
            ("nothing", json!(1)),
        ] {
            let refused = set(json!({ name: value })).unwrap_err();
            assert!(
                refused.message.starts_with(&format!("{name} ")),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn what_is_only_read_is_passed_over_and_what_is_kept_is_bounded() {
        assert!(set(json!({ "id": "x", "version": 9, "href": 1 })).is_ok());
        let url = "u".repeat(MAX_OTHER_BYTES);
        let refused = set(json!({ "input_download_dir": url })).unwrap_err();
        assert!(refused.message.contains("2048 bytes"));
    }
}
