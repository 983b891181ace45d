//! What a row says: the sentence, the change, and what must come back.

use super::post::{Post, Sent, Version};

const BOTH: &[Version] = &[Version::V2, Version::V4];

/// One row of the table.
pub(crate) struct Row {
    pub(crate) says: String,
    pub(crate) change: Box<dyn Fn(&mut Post)>,
    pub(crate) expected: Expected,
    pub(crate) versions: &'static [Version],
}

/// A sentence, ONE change to a valid form, and what must come back.
pub(crate) fn row(
    says: impl Into<String>,
    change: impl Fn(&mut Post) + 'static,
    expected: Expected,
) -> Row {
    Row {
        says: says.into(),
        change: Box::new(change),
        expected,
        versions: BOTH,
    }
}

impl Row {
    /// Only under this version, for it is about its members.
    pub(crate) fn only(mut self, versions: &'static [Version]) -> Self {
        self.versions = versions;
        self
    }
}

/// A text that an answer must have.
pub(crate) enum Text {
    /// Whole.
    Is(String),
    /// Somewhere in it.
    Has(String),
    /// Whole, as the form says it.
    Of(Box<dyn Fn(&Sent) -> String>),
}

/// What must come back.
pub(crate) enum Expected {
    Refused(Refused),
    Stored(Stored),
}

/// A refusal in S3's XML.
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: Option<Text>,
    /// Further elements.
    pub(crate) elements: Vec<(&'static str, Text)>,
}

/// An object, and the answer that tells of it.
pub(crate) struct Stored {
    pub(crate) status: u16,
    pub(crate) key: Option<String>,
    pub(crate) bytes: Option<Vec<u8>>,
    /// All headers that are stored with it.
    pub(crate) headers: Vec<(String, String)>,
    /// Its canned acl.
    pub(crate) acl: &'static str,
    /// All its tags.
    pub(crate) tags: Vec<(String, String)>,
    /// The checksum that is kept, in base64; none when not set.
    pub(crate) checksum: Option<String>,
    /// Headers of the answer.
    pub(crate) answer: Vec<(&'static str, String)>,
    pub(crate) body: Option<String>,
}

/// Amazon's status for a code; written from the reference, not taken from the program.
pub(crate) fn status_of(code: &str) -> u16 {
    match code {
        "AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => 403,
        "NoSuchBucket" => 404,
        "MethodNotAllowed" => 405,
        "MissingContentLength" => 411,
        "PreconditionFailed" => 412,
        "NotImplemented" => 501,
        "BadDigest"
        | "BadRequest"
        | "EntityTooLarge"
        | "EntityTooSmall"
        | "ExpiredToken"
        | "IncompleteBody"
        | "InvalidArgument"
        | "InvalidDigest"
        | "InvalidPolicyDocument"
        | "InvalidRedirectLocation"
        | "InvalidRequest"
        | "InvalidStorageClass"
        | "InvalidTag"
        | "InvalidToken"
        | "KeyTooLongError"
        | "MalformedPOSTRequest"
        | "MalformedXML"
        | "MaxPostPreDataLengthExceededError"
        | "MetadataTooLarge" => 400,
        other => panic!("the table knows no status of {other}"),
    }
}

// Acceptances.

/// Accepted with 204, under the form's key and with its file's bytes, without stored headers.
pub(crate) fn stored() -> Expected {
    Expected::Stored(Stored {
        status: 204,
        key: None,
        bytes: None,
        headers: Vec::new(),
        acl: "private",
        tags: Vec::new(),
        checksum: None,
        answer: Vec::new(),
        body: None,
    })
}

impl Expected {
    fn of_stored(mut self, change: impl FnOnce(&mut Stored)) -> Self {
        match &mut self {
            Self::Stored(stored) => change(stored),
            Self::Refused(_) => panic!("a refusal has no such thing"),
        }
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        self.of_stored(|stored| stored.status = status)
    }

    /// Stored under this key.
    pub(crate) fn under(self, key: impl Into<String>) -> Self {
        self.of_stored(|stored| stored.key = Some(key.into()))
    }

    /// Stored with these bytes, where the file that was built is not it.
    pub(crate) fn holding(self, bytes: impl AsRef<[u8]>) -> Self {
        self.of_stored(|stored| stored.bytes = Some(bytes.as_ref().to_vec()))
    }

    /// Stored with this header.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        self.of_stored(|stored| stored.headers.push((name.to_owned(), value.to_owned())))
    }

    pub(crate) fn acl(self, acl: &'static str) -> Self {
        self.of_stored(|stored| stored.acl = acl)
    }

    /// Stored with this tag.
    pub(crate) fn tagged(self, key: &str, value: &str) -> Self {
        self.of_stored(|stored| stored.tags.push((key.to_owned(), value.to_owned())))
    }

    /// Stored with this checksum, and answered with it under this name.
    pub(crate) fn summed(self, name: &'static str, base64: &str) -> Self {
        let stored = self.of_stored(|stored| stored.checksum = Some(base64.to_owned()));
        stored.answered(name, base64)
    }

    /// Answered with this header; an empty value: without it.
    pub(crate) fn answered(self, name: &'static str, value: impl Into<String>) -> Self {
        self.of_stored(|stored| stored.answer.push((name, value.into())))
    }

    /// Answered with exactly this body.
    pub(crate) fn body(self, body: impl Into<String>) -> Self {
        self.of_stored(|stored| stored.body = Some(body.into()))
    }

    // Refusals.

    fn of_refused(mut self, change: impl FnOnce(&mut Refused)) -> Self {
        match &mut self {
            Self::Refused(refused) => change(refused),
            Self::Stored(_) => panic!("an acceptance has no such thing"),
        }
        self
    }

    /// With exactly this message.
    pub(crate) fn saying(self, message: impl Into<String>) -> Self {
        self.of_refused(|refused| refused.message = Some(Text::Is(message.into())))
    }

    /// With a message that holds this.
    pub(crate) fn about(self, part: impl Into<String>) -> Self {
        self.of_refused(|refused| refused.message = Some(Text::Has(part.into())))
    }

    /// With an element of exactly this value.
    pub(crate) fn element(self, name: &'static str, value: impl Into<String>) -> Self {
        self.of_refused(|refused| refused.elements.push((name, Text::Is(value.into()))))
    }

    /// With an element whose value the form says.
    pub(crate) fn element_of(
        self,
        name: &'static str,
        value: impl Fn(&Sent) -> String + 'static,
    ) -> Self {
        self.of_refused(|refused| refused.elements.push((name, Text::Of(Box::new(value)))))
    }
}

/// Refused with this code, in any words.
pub(crate) fn refused(code: &'static str) -> Expected {
    Expected::Refused(Refused {
        code,
        message: None,
        elements: Vec::new(),
    })
}

/// Recorded: nobody presented anything.
pub(crate) fn denied() -> Expected {
    refused("AccessDenied").saying("Access Denied")
}

/// Recorded: a condition does not hold; echoed as written.
pub(crate) fn failed(condition: &str) -> Expected {
    refused("AccessDenied").saying(format!(
        "Invalid according to Policy: Policy Condition failed: {condition}"
    ))
}

/// Recorded: a field that no condition names, in lower case.
pub(crate) fn extra(field: &str) -> Expected {
    refused("AccessDenied").saying(format!(
        "Invalid according to Policy: Extra input fields: {field}"
    ))
}

/// Recorded: a member that must be there, as Amazon prints it.
pub(crate) fn missing(field: &str) -> Expected {
    refused("InvalidArgument")
        .saying(format!(
            "Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields."
        ))
        .element("ArgumentName", field)
        .element("ArgumentValue", "")
}

/// The policy breaks its grammar.
pub(crate) fn bad_policy(detail: &str) -> Expected {
    refused("InvalidPolicyDocument").saying(format!("Invalid Policy: {detail}"))
}

/// The body is no form.
pub(crate) fn malformed() -> Expected {
    refused("MalformedPOSTRequest")
        .about("The body of your POST request is not well-formed multipart/form-data.")
}

/// A field is not of its kind.
pub(crate) fn bad_field(name: &str, value: &str) -> Expected {
    refused("InvalidArgument")
        .element("ArgumentName", name)
        .element("ArgumentValue", value)
}
