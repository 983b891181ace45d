//! Settings of the S3 side: the region, the open questions, and the buckets with what is special about each.
//!
//! Owns: `[s3]`, `[[bucket]]` and `[[bucket.cors]]`.
//! Never does: make a bucket; the application does, at its start.
//! Invariants: a bucket is named once; what is not configured here is private and answered by `[cors] origins`.

use super::reader::Reader;
use super::values::number;
use crate::api::app::{BucketOptions, DEFAULT_REGION};
use crate::model::{Bucket, CorsRule, quoted};
use crate::policy::Rules;

/// Longest that a browser may be told to remember a preflight, in seconds: a day, which is also what browsers cap it at.
const MAX_MAX_AGE: usize = 86_400;

/// Longest name of a region, in bytes.
const MAX_REGION_BYTES: usize = 64;

/// What is set for the S3 side.
pub(super) struct S3 {
    pub(super) buckets: Vec<BucketOptions>,
    pub(super) region: Option<String>,
    pub(super) rules: Rules,
}

pub(super) fn s3(reader: &mut Reader) -> Option<S3> {
    let region = reader.value("s3.region", DEFAULT_REGION, region);
    let names = reader.list("s3.buckets", "", name);
    let absent_is_empty = reader.value("s3.absent_is_empty", "false", flag);
    let cover_checksums = reader.value("s3.cover_checksums", "false", flag);
    let buckets = reader.tables("bucket", bucket);
    let (names, mut buckets) = (names?, buckets?);
    let plain = names.into_iter().filter(|name| {
        let special = |bucket: &BucketOptions| bucket.name == *name;
        !buckets.iter().any(special)
    });
    let plain = plain.map(|name| BucketOptions {
        name,
        public_write: false,
        cors: None,
    });
    let plain = plain.collect::<Vec<_>>();
    buckets.extend(plain);
    refuse_twice(reader, &buckets);
    Some(S3 {
        buckets,
        region: region?,
        rules: Rules {
            absent_is_empty: absent_is_empty?,
            cover_checksums: cover_checksums?,
        },
    })
}

/// Behind a proxy that takes the prefix of the public URL off, a path that begins like the prefix cannot be told from one that still has
/// it.
pub(super) fn refuse_prefix(
    reader: &mut Reader,
    public_url: Option<&str>,
    bucket: &Bucket,
    s3: &S3,
) {
    let public = public_url.and_then(|url| url.parse::<http::Uri>().ok());
    let path = public.as_ref().map_or("", |uri| uri.path());
    let first = path.split('/').find(|segment| !segment.is_empty());
    let Some(first) = first else {
        return;
    };
    let further = s3.buckets.iter().map(|bucket| bucket.name.as_str());
    let mut taken = further.chain([bucket.as_str(), "v1"]);
    if taken.any(|name| name == first) {
        let what =
            format!("its path must not begin with /{first}, which is a bucket or the API here");
        reader.mistake("server.public_url", what);
    }
}

fn bucket(reader: &mut Reader) -> Option<BucketOptions> {
    let name = reader.value("name", "", name);
    let public_write = reader.value("acl", "private", |text| match text {
        "private" => Ok(false),
        "public-read-write" => Ok(true),
        _ => Err(format!(
            "{text:?} is not private or public-read-write (anybody may post a form without a policy)"
        )),
    });
    let is_set = reader.is_set("cors");
    let rules = reader.tables("cors", cors_rule)?;
    if rules.len() > CorsRule::MAX_RULES {
        let most = format!("must be at most {} rules", CorsRule::MAX_RULES);
        reader.mistake("cors", most);
    }
    Some(BucketOptions {
        name: name?,
        public_write: public_write?,
        cors: is_set.then(|| rules.into()),
    })
}

fn cors_rule(reader: &mut Reader) -> Option<CorsRule> {
    let origins = reader.list("origins", "", pattern);
    let methods = reader.list("methods", "", method);
    let headers = reader.list("headers", "", pattern);
    let expose = reader.list("expose", "", header_name);
    let max_age = reader.optional("max_age", |text| number(0, MAX_MAX_AGE)(text));
    let (origins, methods) = (origins?, methods?);
    for (key, list) in [("origins", &origins), ("methods", &methods)] {
        if list.is_empty() {
            reader.mistake(key, "must name at least one");
        }
    }
    Some(CorsRule {
        id: String::new(),
        origins,
        methods,
        headers: headers?,
        expose: expose?,
        max_age: max_age?.and_then(|seconds| u32::try_from(seconds).ok()),
    })
}

fn refuse_twice(reader: &mut Reader, buckets: &[BucketOptions]) {
    for (index, bucket) in buckets.iter().enumerate() {
        if buckets[..index]
            .iter()
            .any(|other| other.name == bucket.name)
        {
            let twice = format!("the bucket {} is named twice", bucket.name);
            reader.mistake("bucket", twice);
        }
    }
}

pub(super) fn name(text: &str) -> Result<Bucket, String> {
    Bucket::parse(text).map_err(|rule| format!("{} {rule}", quoted(text)))
}

/// `*` is any region.
fn region(text: &str) -> Result<Option<String>, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match text {
        "*" => Ok(None),
        _ if (1..=MAX_REGION_BYTES).contains(&text.len()) && text.bytes().all(legal) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(format!(
            "{text:?} is no region like us-east-1, nor * for any"
        )),
    }
}

fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not true or false"))
}

fn pattern(text: &str) -> Result<String, String> {
    if CorsRule::is_pattern(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no name with at most one *, of at most {} visible characters",
        CorsRule::MAX_PATTERN_BYTES
    ))
}

fn header_name(text: &str) -> Result<String, String> {
    match text.parse::<http::HeaderName>() {
        Ok(_) if text.len() <= CorsRule::MAX_PATTERN_BYTES => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no name of a header")),
    }
}

fn method(text: &str) -> Result<String, String> {
    let method = text.to_ascii_uppercase();
    if CorsRule::METHODS.contains(&method.as_str()) {
        return Ok(method);
    }
    let known = CorsRule::METHODS.join(", ");
    Err(format!("{text:?} is not one of {known}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Layers};

    fn read(file: &str) -> Result<crate::api::app::AppOptions, Vec<String>> {
        let layers = Layers {
            file: file.parse().unwrap(),
            ..Layers::default()
        };
        let told = |ConfigError(mistakes)| mistakes.iter().map(ToString::to_string).collect();
        Config::read(layers).map(|config| config.app).map_err(told)
    }

    #[test]
    fn a_bucket_has_an_acl_and_rules_of_its_own() {
        let file = "
            [s3]
            region = 'eu-west-1'
            buckets = ['plain', 'drop']
            [[bucket]]
            name = 'drop'
            acl = 'public-read-write'
            [[bucket.cors]]
            origins = ['https://*.example.com']
            methods = ['post']
            headers = ['*']
            expose = ['ETag']
            max_age = 600
            [[bucket]]
            name = 'closed'
            cors = []
        ";
        let app = read(file).unwrap();
        assert_eq!(app.region.as_deref(), Some("eu-west-1"));
        let names = app.buckets.iter().map(|bucket| bucket.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["drop", "closed", "plain"]);
        let drop = app.bucket_options("drop").unwrap();
        assert!(drop.public_write);
        let rule = &drop.cors.as_ref().unwrap()[0];
        assert_eq!(
            (rule.methods.as_slice(), rule.max_age),
            (&["POST".to_owned()][..], Some(600))
        );
        assert_eq!(
            app.bucket_options("closed").unwrap().cors,
            Some(Vec::new().into())
        );
        assert_eq!(app.bucket_options("plain").unwrap().cors, None);
        assert_eq!(read("s3.region = '*'").unwrap().region, None);
        assert!(
            read("s3.absent_is_empty = true")
                .unwrap()
                .rules
                .absent_is_empty
        );
    }

    #[test]
    fn every_mistake_names_its_key() {
        for (file, told) in [
            (
                "server.public_url = 'https://h/uploads'",
                "server.public_url: its path must not begin with /uploads",
            ),
            (
                "server.public_url = 'https://h/v1/x'",
                "server.public_url: its path must not begin with /v1",
            ),
            (
                "server.public_url = 'https://h/drop'\n[[bucket]]\nname = 'drop'",
                "server.public_url: its path must not begin with /drop",
            ),
            ("[[bucket]]\nname = 'UP'", "bucket[0].name: \"UP\" must "),
            (
                "[[bucket]]\nname = 'drop'\nacl = 'public-read'",
                "bucket[0].acl: ",
            ),
            (
                "[[bucket]]\nname = 'drop'\n[[bucket]]\nname = 'drop'",
                "bucket: the bucket drop is named twice",
            ),
            (
                "[[bucket]]\nname = 'drop'\n[[bucket.cors]]\norigins = ['*.*']\nmethods = ['GET']",
                "bucket[0].cors[0].origins: ",
            ),
            (
                "[[bucket]]\nname = 'drop'\n[[bucket.cors]]\norigins = ['*']",
                "bucket[0].cors[0].methods: must name",
            ),
            (
                "[[bucket]]\nname = 'drop'\n[[bucket.cors]]\norigins = ['*']\nmethods = ['PATCH']",
                "bucket[0].cors[0].methods: ",
            ),
            ("s3.region = 'eu west'", "s3.region: "),
            (
                "s3.buckets = ['fine', 'UP', 'also-fine']",
                "s3.buckets: \"UP\" must be 3 to 63 ",
            ),
            ("uploads.bucket = 'a..b'", "uploads.bucket: \"a..b\" must "),
            ("s3.cover_checksums = 'perhaps'", "s3.cover_checksums: "),
        ] {
            let mistakes = read(file).unwrap_err();
            assert!(mistakes[0].starts_with(told), "{mistakes:?}");
        }
    }
}
