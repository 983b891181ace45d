//! The judgement of a saved form, in the server's order.
//!
//! Owns: the order (the framing up to the file, the policy, the rest of the framing, the bytes), and what stands for what only a server
//! knows: the key that the caller gave, the bucket that the URL or the policy names.
//! Never does: read. Invariant: whatever was not checked is said in a note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Options, Told, default_bucket};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::explain::report::{Known, explanation, refusal_of, report};
use crate::api::explain::seen::{Asked, Case, Refusal, Seen};
use crate::api::post_refusal::{no_bucket, second_file, wrong_md5};
use crate::api::route::Route;
use crate::model::{AccessKey, Bucket, KeyLimits, KeyPurpose, Md5, TokenHash};
use crate::policy::{PostForm, PostPolicy, Rules, Test, claim};

/// How the bytes of a form hash, and what came behind them.
pub(super) struct Hashed {
    pub(super) md5: Md5,
    /// Whether the checksum that the form claims is theirs.
    pub(super) checksum: Result<(), ApiError>,
    /// How many further parts are named as the file is.
    pub(super) more_files: usize,
}

/// Judges what was read, in the server's order: the framing up to the file, the policy, the rest of the framing, the bytes.
pub(super) fn conclude(
    asked: Asked,
    mut seen: Seen,
    read: Result<Option<Hashed>, ApiError>,
    options: &Options,
    mut notes: Vec<String>,
) -> Told {
    seen.close();
    let key = key(seen.form(), options);
    let bucket = bucket(&asked, seen.form(), options, &mut notes);
    let known = Known {
        key: key.as_ref(),
        bucket: bucket.as_ref(),
        region: None,
        rules: &Rules::default(),
        unchecked: key.is_none(),
    };
    let mut case = Case {
        asked,
        refusal: None,
        seen,
    };
    let refused = match (read, case.seen.is_complete()) {
        (Err(error), false) => Some(error),
        (read, _) => judge(&case, &known, read),
    };
    if key.is_none() && case.seen.form().get("policy").is_some() {
        notes.push("The signature was not checked: give the key's secret (--secret-file) to have it checked.".to_owned());
    }
    case.refusal = refused.as_ref().map(Refusal::of);
    let mut report = report(&case, &known);
    report["notes"] = notes.into();
    Told {
        source: None,
        granted: refused.is_none(),
        report,
    }
}

fn judge(
    case: &Case,
    known: &Known<'_>,
    read: Result<Option<Hashed>, ApiError>,
) -> Option<ApiError> {
    if let Some(Route::Bucket(name)) = &case.asked.route
        && known.bucket.is_none()
    {
        return Some(no_bucket(name));
    }
    let explanation = explanation(case, known);
    let is_session = explanation
        .as_ref()
        .is_some_and(|found| found.session.is_some());
    let of_policy = explanation.as_ref().and_then(refusal_of);
    let (of_size, of_policy) = match of_policy {
        Some(error)
            if matches!(
                error.code,
                ErrorCode::EntityTooLarge | ErrorCode::EntityTooSmall
            ) =>
        {
            (Some(error), None)
        }
        other => (None, other),
    };
    let (broken, hashed) = match read {
        Ok(hashed) => (None, hashed),
        Err(error) => (Some(error), None),
    };
    let has_more_files = hashed.as_ref().is_some_and(|hashed| hashed.more_files > 0);
    of_policy
        .or(broken)
        .or_else(|| (is_session && has_more_files).then(second_file))
        .or(of_size)
        .or_else(|| wrong_digest(case.seen.form(), hashed?))
}

fn wrong_digest(form: &PostForm, hashed: Hashed) -> Option<ApiError> {
    if let Err(error) = hashed.checksum {
        return Some(error);
    }
    let claimed = STANDARD.decode(form.get("content-md5")?).ok()?;
    let claimed = <[u8; 16]>::try_from(claimed).ok()?;
    let differs = Md5::from_bytes(claimed) != hashed.md5;
    differs.then(wrong_md5)
}

/// The key to check with: the caller's, under the id that the form names unless another was given.
fn key(form: &PostForm, options: &Options) -> Option<AccessKey> {
    let secret = options.secret.clone()?;
    let of_form = claim(form, None).ok();
    let of_form = of_form.and_then(|claim| claim.access_key_id().map(str::to_owned));
    Some(AccessKey {
        id: options.key_id.clone().or(of_form)?,
        secret,
        purpose: KeyPurpose::Forms,
        created_at: options.now,
        expires_at: None,
        // Whether a token is the key's only its server knows; here it counts as right.
        session_token: form.get("x-amz-security-token").map(TokenHash::of),
        // What the key may do only its server knows, too.
        limits: KeyLimits::default(),
        form_lifetime: Default::default(),
    })
}

/// The bucket that the form is judged for: the caller's, the URL's, or the one that was signed.
fn bucket(
    asked: &Asked,
    form: &PostForm,
    options: &Options,
    notes: &mut Vec<String>,
) -> Option<Bucket> {
    if let Some(bucket) = &options.bucket {
        return Some(bucket.clone());
    }
    if let Some(Route::Bucket(bucket)) = &asked.route {
        return Bucket::parse(bucket).ok();
    }
    if asked.route.is_some() {
        return None;
    }
    let policy = form
        .get("policy")
        .and_then(|text| PostPolicy::parse(text).ok());
    let conditions = policy.iter().flat_map(PostPolicy::conditions);
    let mut signed = conditions.filter_map(|condition| match condition.test() {
        Test::Equals { name, value } if name == "bucket" => Some(value.as_str()),
        _ => None,
    });
    let named = signed.next().or_else(|| form.get("bucket"));
    let bucket = match named {
        Some(named) => Bucket::parse(named).ok()?,
        None => default_bucket(),
    };
    notes.push(format!(
        "The URL is not known; the form is judged as if it were posted to the bucket '{bucket}' (--bucket names another)."
    ));
    Some(bucket)
}
