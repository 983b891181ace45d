//! The forms that we sign ourselves: one for each upload session.
//!
//! Owns: the ten members of `form_post_params` and the policy behind them, modelled on the hosted API's example of 2017.
//! Never does: look at the clock or choose the key.
//! Invariants: a form made here passes `authorize` with the same key until it expires, with `chunk`, `chunks`, `name` and `filename`
//! changed at will, and with any suffix to the object key; it passes for no other session, bucket or acl.
//!
//! The last condition, `["starts-with","$x-pillarbox-upload-<id>",""]`, names the session. For our own sessions an absent field counts
//! as empty, so that the form needs no eleventh member; `evaluate` says when a policy is our own. It makes two sessions on one
//! object key two different forms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::evaluate::SESSION_FIELD_PREFIX;
use super::signing::sign_v2;
use crate::model::{AccessKey, Bucket, Id, MAX_CHUNK_BYTES, ObjectKey, Timestamp};

/// A signed form for one upload session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionForm {
    fields: Vec<(&'static str, String)>,
}

impl SessionForm {
    /// Signs a form with which the session `upload` takes chunks for `key` in `bucket` until `expires`.
    pub fn issue(
        upload: Id,
        bucket: &Bucket,
        key: &ObjectKey,
        signer: &AccessKey,
        expires: Timestamp,
    ) -> Self {
        let policy = STANDARD.encode(policy_json(upload, bucket, key, expires));
        let signature = sign_v2(&signer.secret, &policy);
        let fields = vec![
            ("name", key.file_name().to_owned()),
            ("success_action_status", "201".to_owned()),
            ("filename", String::new()),
            ("chunk", "0".to_owned()),
            ("chunks", "1".to_owned()),
            ("policy", policy),
            ("signature", signature),
            ("AWSAccessKeyId", signer.id.clone()),
            ("key", key.as_str().to_owned()),
            ("acl", "private".to_owned()),
        ];
        Self { fields }
    }

    /// The members of `form_post_params`, in the reference's order.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.fields
    }
}

impl std::fmt::Debug for SessionForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionForm(..)")
    }
}

fn policy_json(upload: Id, bucket: &Bucket, key: &ObjectKey, expires: Timestamp) -> String {
    json!({
        "expiration": expires.rfc3339(),
        "conditions": [
            {"bucket": bucket.as_str()},
            ["starts-with", "$name", ""],
            ["starts-with", "$key", key.as_str()],
            ["starts-with", "$filename", ""],
            ["starts-with", "$chunk", ""],
            ["starts-with", "$chunks", ""],
            {"acl": "private"},
            {"success_action_status": "201"},
            ["content-length-range", 0, MAX_CHUNK_BYTES],
            ["starts-with", format!("${SESSION_FIELD_PREFIX}{upload}"), ""],
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyLimits, KeyPurpose, Secret};

    #[test]
    fn the_form_has_the_ten_members_in_order_and_the_policy_names_the_session_last() {
        let signer = AccessKey {
            id: "PILLARBOXDEVACCESS00".to_owned(),
            secret: Secret::new("pillarbox-dev-secret".to_owned()),
            purpose: KeyPurpose::Dev,
            created_at: Timestamp::default(),
            expires_at: None,
            session_token: None,
            limits: KeyLimits::default(),
            form_lifetime: Default::default(),
        };
        let form = SessionForm::issue(
            Id::parse("598358fe6baa605b1e33754e").unwrap(),
            &Bucket::parse("uploads").unwrap(),
            &ObjectKey::parse("tmp/547f3eede4b025bcbff38657/uploads/te\"st.mp4").unwrap(),
            &signer,
            Timestamp::from_millis(1_501_782_022_039),
        );
        let names: Vec<_> = form.fields().iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "name",
                "success_action_status",
                "filename",
                "chunk",
                "chunks",
                "policy",
                "signature",
                "AWSAccessKeyId",
                "key",
                "acl"
            ]
        );
        assert_eq!(form.fields()[0].1, "te\"st.mp4");
        let policy = STANDARD.decode(&form.fields()[5].1).unwrap();
        assert_eq!(
            String::from_utf8(policy).unwrap(),
            concat!(
                r#"{"expiration":"2017-08-03T17:40:22.039Z","conditions":[{"bucket":"uploads"},["starts-with","$name",""],"#,
                r#"["starts-with","$key","tmp/547f3eede4b025bcbff38657/uploads/te\"st.mp4"],["starts-with","$filename",""],"#,
                r#"["starts-with","$chunk",""],["starts-with","$chunks",""],{"acl":"private"},{"success_action_status":"201"},"#,
                r#"["content-length-range",0,5368709120],["starts-with","$x-pillarbox-upload-598358fe6baa605b1e33754e",""]]}"#
            )
        );
    }
}
