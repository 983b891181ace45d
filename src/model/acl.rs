//! Access control lists by their names.
//!
//! Owns: the seven lists that a form may name. Never does: decide who may read; what a list means is the business of the
//! road that serves an object (a download link is a permission of its own, whatever the list says).
//!
//! Source: Amazon S3 User Guide, "Access control list overview", canned ACL.

use serde::{Deserialize, Serialize};

/// An access control list by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CannedAcl {
    /// `private`
    #[default]
    Private,
    /// `public-read`
    PublicRead,
    /// `public-read-write`
    PublicReadWrite,
    /// `aws-exec-read`
    AwsExecRead,
    /// `authenticated-read`
    AuthenticatedRead,
    /// `bucket-owner-read`
    BucketOwnerRead,
    /// `bucket-owner-full-control`
    BucketOwnerFullControl,
}

impl CannedAcl {
    /// Every list.
    pub const ALL: [Self; 7] = [
        Self::Private,
        Self::PublicRead,
        Self::PublicReadWrite,
        Self::AwsExecRead,
        Self::AuthenticatedRead,
        Self::BucketOwnerRead,
        Self::BucketOwnerFullControl,
    ];

    /// The name on the wire, and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AwsExecRead => "aws-exec-read",
            Self::AuthenticatedRead => "authenticated-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }

    /// The list with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|acl| acl.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_the_name_of_the_wire() {
        for acl in CannedAcl::ALL {
            let name = serde_json::to_value(acl).unwrap();
            assert_eq!(name, acl.as_str());
            assert_eq!(CannedAcl::parse(acl.as_str()), Some(acl));
        }
        assert_eq!(CannedAcl::parse("Private"), None);
    }
}
