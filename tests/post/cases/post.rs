//! A valid signed form as a list of parts, made by hand and not by the code under test, on which a row changes one thing.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Whose key signs, unless a row says otherwise; the runner puts it into the catalog.
pub(crate) const KEY_ID: &str = "S3POSTEXAMPLEKEY";
pub(crate) const SECRET: &str = "s3post-example-secret";
/// The day of every V4 scope; the clock of the tests stands at 13:20 of it.
pub(crate) const DAY: &str = "20261122";
pub(crate) const BUCKET: &str = "uploads";
pub(crate) const KEY: &str = "in/a.bin";
pub(crate) const FILE: &[u8] = b"the bytes of the file";
/// MD5 of [`FILE`].
pub(crate) const ETAG: &str = "cffa9c1b881d78504c21d7bef7a680e0";

/// Which signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V2,
    V4,
}

/// Which parts carry a `filename`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Only the file, as browsers send it.
    Browser,
    /// Every part, as python-requests sends it.
    EveryPartNamed,
}

/// One part of the body.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// The parameter `filename` as it stands between its quotes.
    pub(crate) file_name: Option<String>,
    /// Header lines after the disposition, each with its CR LF.
    pub(crate) more: String,
    /// The whole head, up to and without its empty line, in place of what is made from the above.
    pub(crate) head: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
}

impl Part {
    pub(crate) fn new(name: &str, value: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.to_owned(),
            file_name: None,
            more: String::new(),
            head: None,
            value: value.as_ref().to_vec(),
        }
    }

    fn encode(&self, shape: Shape) -> Vec<u8> {
        let named = (shape == Shape::EveryPartNamed).then_some(&self.name);
        let is_file = self.name.eq_ignore_ascii_case("file");
        let file_name = if is_file { None } else { named };
        let file_name = self.file_name.as_ref().or(file_name);
        let file_name = file_name.map_or(String::new(), |name| format!("; filename=\"{name}\""));
        let (name, more) = (&self.name, &self.more);
        let made = format!("Content-Disposition: form-data; name=\"{name}\"{file_name}\r\n{more}");
        let mut bytes = self.head.clone().unwrap_or_else(|| made.into_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.value);
        bytes
    }
}

type Late = Box<dyn Fn(&mut Vec<Part>)>;
type Body = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;

/// A request with a form, before it is signed and encoded.
pub(crate) struct Post {
    pub(crate) version: Version,
    pub(crate) shape: Shape,
    pub(crate) method: String,
    pub(crate) target: String,
    /// Besides `Host`, `Content-Type` and `Content-Length`.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Each `Content-Type` header; `{B}` stands for the boundary.
    pub(crate) content_types: Vec<String>,
    pub(crate) host: String,
    pub(crate) boundary: String,
    pub(crate) expiration: String,
    pub(crate) conditions: Vec<String>,
    /// The policy's JSON text, in place of expiration and conditions.
    pub(crate) document: Option<String>,
    /// The policy's base64 text, in place of the document's.
    pub(crate) policy_text: Option<String>,
    pub(crate) secret: String,
    /// Region that the V4 key is derived for.
    pub(crate) region: String,
    /// The fields before the file; policy and signature are added when it is signed.
    pub(crate) fields: Vec<Part>,
    pub(crate) file: Part,
    /// Parts after the file.
    pub(crate) after: Vec<Part>,
    /// Bytes of each piece that the body comes in; the whole when not set.
    pub(crate) piece_bytes: Option<usize>,
    /// What `Content-Length` says; the truth when not set, and nothing where the body comes in pieces.
    pub(crate) announced: Option<String>,
    late: Vec<Late>,
    body: Vec<Body>,
}

/// What goes over the wire.
pub(crate) struct Sent {
    /// The fields before the file, as they are sent.
    pub(crate) fields: Vec<Part>,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    /// The value of a field, by its name in any case.
    pub(crate) fn field(&self, name: &str) -> String {
        let part = self
            .fields
            .iter()
            .find(|part| part.name.eq_ignore_ascii_case(name));
        part.map_or(String::new(), |part| {
            String::from_utf8(part.value.clone()).unwrap()
        })
    }
}

impl Post {
    /// A form that is accepted: [`FILE`] as [`KEY`] in [`BUCKET`].
    pub(crate) fn valid(version: Version, shape: Shape) -> Self {
        let mut post = Self {
            version,
            shape,
            method: "POST".to_owned(),
            target: format!("/{BUCKET}"),
            headers: Vec::new(),
            content_types: vec!["multipart/form-data; boundary={B}".to_owned()],
            host: "127.0.0.1:7080".to_owned(),
            boundary: "----formBoundary7MA4YWxk".to_owned(),
            expiration: "2026-11-23T00:00:00.000Z".to_owned(),
            conditions: vec![format!("{{\"bucket\":\"{BUCKET}\"}}")],
            document: None,
            policy_text: None,
            secret: SECRET.to_owned(),
            region: "us-east-1".to_owned(),
            fields: Vec::new(),
            file: Part {
                file_name: Some("a.bin".to_owned()),
                ..Part::new("file", FILE)
            },
            after: Vec::new(),
            piece_bytes: None,
            announced: None,
            late: Vec::new(),
            body: Vec::new(),
        };
        post.cover("key", KEY);
        match version {
            Version::V2 => {
                post.set("AWSAccessKeyId", KEY_ID);
            }
            Version::V4 => {
                let credential = format!("{KEY_ID}/{DAY}/us-east-1/s3/aws4_request");
                post.cover("x-amz-algorithm", "AWS4-HMAC-SHA256");
                post.cover("x-amz-credential", &credential);
                post.cover("x-amz-date", &format!("{DAY}T120000Z"));
            }
        }
        post
    }

    // The policy.

    /// One more condition, as JSON text.
    pub(crate) fn condition(&mut self, json: &str) -> &mut Self {
        self.conditions.push(json.to_owned());
        self
    }

    /// Takes out the conditions that hold this text; there must be one.
    pub(crate) fn uncondition(&mut self, part: &str) -> &mut Self {
        let before = self.conditions.len();
        self.conditions.retain(|json| !json.contains(part));
        assert_ne!(self.conditions.len(), before, "no condition {part}");
        self
    }

    /// Another document than the conditions make.
    pub(crate) fn document(&mut self, json: &str) -> &mut Self {
        self.document = Some(json.to_owned());
        self
    }

    // The fields.

    /// Sets a field without a condition; at the end, where none has exactly this name.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        match self.fields.iter_mut().find(|part| part.name == name) {
            Some(part) => part.value = value.as_ref().to_vec(),
            None => self.fields.push(Part::new(name, value)),
        }
        self
    }

    /// Sets a field, and a condition that wants exactly this value.
    pub(crate) fn cover(&mut self, name: &str, value: &str) -> &mut Self {
        self.conditions
            .push(serde_json::json!({ name: value }).to_string());
        self.set(name, value)
    }

    /// Sets a field, and a condition that takes any value of it.
    pub(crate) fn allow(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.conditions
            .push(serde_json::json!(["starts-with", format!("${name}"), ""]).to_string());
        self.set(name, value)
    }

    /// Another key, signed for.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.uncondition(KEY);
        self.allow("key", key)
    }

    /// Changes one part among the fields as they are sent, signature and all.
    pub(crate) fn late(&mut self, change: impl Fn(&mut Vec<Part>) + 'static) -> &mut Self {
        self.late.push(Box::new(change));
        self
    }

    /// Leaves out a field after signing.
    pub(crate) fn leave_out(&mut self, name: &'static str) -> &mut Self {
        self.late(move |parts| {
            let before = parts.len();
            parts.retain(|part| !part.name.eq_ignore_ascii_case(name));
            assert_ne!(parts.len(), before, "no field {name}");
        })
    }

    /// Gives a field another value after signing.
    pub(crate) fn replace(&mut self, name: &'static str, value: &str) -> &mut Self {
        let value = value.to_owned();
        self.late(move |parts| {
            let part = parts
                .iter_mut()
                .find(|part| part.name.eq_ignore_ascii_case(name));
            part.unwrap().value = value.clone().into_bytes();
        })
    }

    /// Gives the signature another value.
    pub(crate) fn signature(&mut self, value: &str) -> &mut Self {
        self.replace(signature_field(self.version), value)
    }

    /// Leaves out all that signs, and the policy.
    pub(crate) fn unsigned(&mut self) -> &mut Self {
        self.late(|parts| {
            let proof = [
                "policy",
                "awsaccesskeyid",
                "signature",
                "x-amz-algorithm",
                "x-amz-credential",
                "x-amz-date",
                "x-amz-signature",
            ];
            parts.retain(|part| !proof.contains(&part.name.to_lowercase().as_str()));
        })
    }

    /// Gives the part of this field another head.
    pub(crate) fn head(&mut self, name: &'static str, head: impl AsRef<[u8]>) -> &mut Self {
        let head = [head.as_ref(), b"\r\n"].concat();
        self.late(move |parts| {
            let part = parts.iter_mut().find(|part| part.name == name);
            part.unwrap().head = Some(head.clone());
        })
    }

    // The file, and what surrounds the form.

    pub(crate) fn file(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.file.value = bytes.as_ref().to_vec();
        self
    }

    pub(crate) fn file_name(&mut self, name: &str) -> &mut Self {
        self.file.file_name = Some(name.to_owned());
        self
    }

    pub(crate) fn behind(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.after.push(Part::new(name, value));
        self
    }

    /// The one `Content-Type`; `{B}` stands for the boundary.
    pub(crate) fn content_type(&mut self, value: &str) -> &mut Self {
        self.content_types = vec![value.to_owned()];
        self
    }

    pub(crate) fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn to(&mut self, method: &str, target: &str) -> &mut Self {
        method.clone_into(&mut self.method);
        target.clone_into(&mut self.target);
        self
    }

    /// Changes the body as it is sent.
    pub(crate) fn bytes(&mut self, change: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> &mut Self {
        self.body.push(Box::new(change));
        self
    }

    /// Cuts so many bytes off the end of the body.
    pub(crate) fn cut(&mut self, bytes: usize) -> &mut Self {
        self.bytes(move |body| body[..body.len() - bytes].to_vec())
    }

    pub(crate) fn pieces(&mut self, bytes: usize) -> &mut Self {
        self.piece_bytes = Some(bytes);
        self
    }

    // What is made of it.

    /// The base64 text of the policy.
    pub(crate) fn policy(&self) -> String {
        let json = self.document.clone().unwrap_or_else(|| {
            let (end, conditions) = (&self.expiration, self.conditions.join(","));
            format!("{{\"expiration\":\"{end}\",\"conditions\":[{conditions}]}}")
        });
        self.policy_text
            .clone()
            .unwrap_or_else(|| STANDARD.encode(json))
    }

    /// The signature over `text` with the form's secret, in its version.
    pub(crate) fn sign(&self, text: &str) -> String {
        match self.version {
            Version::V2 => {
                let key = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
                STANDARD.encode(mac(key, self.secret.as_bytes(), text))
            }
            Version::V4 => {
                let mut key = format!("AWS4{}", self.secret).into_bytes();
                for part in [DAY, &self.region, "s3", "aws4_request"] {
                    key = mac(hmac::HMAC_SHA256, &key, part);
                }
                hex(&mac(hmac::HMAC_SHA256, &key, text))
            }
        }
    }

    /// Signs and encodes.
    pub(crate) fn send(&self) -> Sent {
        let policy = self.policy();
        let signature = self.sign(&policy);
        let mut fields = self.fields.clone();
        fields.push(Part::new("policy", policy));
        fields.push(Part::new(signature_field(self.version), signature));
        self.late.iter().for_each(|change| change(&mut fields));
        let mut body = Vec::new();
        for part in fields.iter().chain([&self.file]).chain(&self.after) {
            body.extend_from_slice(format!("--{}\r\n", self.boundary).as_bytes());
            body.extend_from_slice(&part.encode(self.shape));
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        let body = self.body.iter().fold(body, |body, change| change(body));
        Sent { fields, body }
    }
}

pub(crate) fn signature_field(version: Version) -> &'static str {
    match version {
        Version::V2 => "signature",
        Version::V4 => "x-amz-signature",
    }
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
