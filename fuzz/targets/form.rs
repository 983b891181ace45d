//! Any fields under any policy that is truly signed: what is granted, a second and simpler judge must grant too.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use pillarbox::model::{AccessKey, Bucket, KeyPurpose, Secret, Timestamp};
use pillarbox::policy::{
    Context, PostForm, PostFormBuilder, PostPolicy, Rules, Test, authorize, claim, sign_v2,
};

const BUCKET: &str = "uploads";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Fields that need no condition, as Amazon's documents list them.
const EXEMPT: [&str; 4] = ["awsaccesskeyid", "signature", "file", "policy"];

// Lines: the policy document, the file's name, then NAME=VALUE for each field.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let policy = STANDARD.encode(lines.next().unwrap_or_default());
    let file_name = lines.next();
    let fields = lines.filter_map(|line| line.split_once('='));
    let key = AccessKey {
        id: "AKFUZZFUZZFUZZFUZZ00".to_owned(),
        secret: Secret::new("secret".to_owned()),
        purpose: KeyPurpose::User,
        created_at: NOW,
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    };
    let signature = sign_v2(&key.secret, &policy);
    let signed = [
        ("policy", &policy),
        ("signature", &signature),
        ("AWSAccessKeyId", &key.id),
    ];
    let mut builder = PostFormBuilder::default();
    let all = fields.chain(signed.iter().map(|(name, value)| (*name, value.as_str())));
    for (name, value) in all {
        if builder.push(name, value.as_bytes()).is_err() {
            return;
        }
    }
    let Ok(form) = builder.finish(file_name) else {
        return;
    };
    let Ok(claim) = claim(&form, None) else {
        return;
    };
    let bucket = Bucket::parse(BUCKET).expect("a bucket");
    let rules = Rules::default();
    let context = Context {
        bucket: &bucket,
        public_write: false,
        now: NOW,
        rules: &rules,
    };
    if let Ok(grant) = authorize(&claim, Some(&key), &context) {
        let policy = PostPolicy::parse(&policy).expect("what was granted has a policy");
        assert_eq!(
            grant.key().as_str(),
            form.get("key").expect("what was granted has a key")
        );
        assert!(allows(&policy, &form), "granted against the policy");
        assert!(
            authorize(&claim, None, &context).is_err(),
            "granted without a key"
        );
    }
});

fn allows(policy: &PostPolicy, form: &PostForm) -> bool {
    let value = |name: &str| {
        if name == "bucket" {
            Some(BUCKET)
        } else {
            form.get(name)
        }
    };
    let met = |test: &Test| match test {
        Test::Equals {
            name,
            value: wanted,
        } => value(name) == Some(wanted),
        Test::StartsWith { name, prefix } => {
            value(name).is_some_and(|v| v.starts_with(prefix.as_str()))
        }
        Test::Length { .. } => true,
        Test::Never => false,
    };
    let covered = |name: &str| {
        EXEMPT.contains(&name) || policy.conditions().iter().any(|c| c.field() == Some(name))
    };
    NOW < policy.expiration()
        && policy
            .conditions()
            .iter()
            .all(|condition| met(condition.test()))
        && form
            .iter()
            .all(|(name, _)| covered(name) || name.starts_with("x-amz-checksum-"))
}
