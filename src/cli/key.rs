//! `pillarbox key`: the keys that sign forms, links and requests over S3.
//!
//! Owns: how they are asked for and shown, and what a new one may do. A secret and a session token are shown once, when a key is made for
//! a user; the secret of the server's own key is never shown.
//!
//! Never does: sign anything.
//!
//! Invariant: a running server and a stopped one answer alike.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::control::{Control, cell, entries};
use super::output::{say, table};
use super::{ById, Failure, Plain, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Make a key for a program that signs forms or S3 requests itself (boto3 and friends), for everything or for less
    Create(Create),
    /// List the keys
    List(Plain),
    /// Sign new forms with a new key; the old one stays valid as long as a form it signed. Links stay as they are
    Rotate(Plain),
    /// Revoke a key by its id; that of the links ends them all, and a new one takes over
    Revoke(ById),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// End by itself after this time, for example 1h, at most 36h; forms must then carry the session token as x-amz-security-token
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    temporary: Option<Duration>,
    /// Let it read and list only, and sign no form that works
    #[arg(long, conflicts_with = "write_only")]
    read_only: bool,
    /// Let it store and remove only, and see nothing
    #[arg(long)]
    write_only: bool,
    /// Let it into this bucket only; may be repeated, at most 16 times
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Let it at objects only whose key begins so; may be repeated, at most 16 times and 1,024 bytes together
    #[arg(long = "prefix", value_name = "PREFIX")]
    prefixes: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

impl KeyVerb {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run().await,
            Self::List(verb) => verb.settings.with_store(list).await,
            Self::Rotate(verb) => verb.settings.with_store(rotate).await,
            Self::Revoke(verb) => verb.remove(&["/keys"], "revoked").await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let mut request = json!({"buckets": self.buckets, "prefixes": self.prefixes});
        if self.read_only || self.write_only {
            request["permission"] = json!(if self.read_only { "read" } else { "write" });
        }
        if let Some(lifetime) = self.temporary {
            request["temporary"] = lifetime.as_secs().into();
        }
        let mut members = vec!["access_key", "secret_key"];
        if self.temporary.is_some() {
            members.extend(["session_token", "expires_at"]);
        }
        let making = async |control: &mut Control| {
            let made = control.ask(Method::POST, "/keys", Some(request)).await?;
            let width = members.iter().map(|member| member.len()).max();
            let width = width.unwrap_or_default() + 2;
            let line = |member: &&str| format!("{member:<width$}{}", cell(&made, member));
            let lines: Vec<_> = members.iter().map(line).collect();
            say(&lines.join("\n"))
        };
        self.settings.with_new_store(making).await
    }
}

async fn list(control: &mut Control) -> Result<(), Failure> {
    let listed = control.ask(Method::GET, "/keys", None).await?;
    let columns = [
        ("ACCESS KEY", "id"),
        ("PURPOSE", "purpose"),
        ("CREATED", "created_at"),
        ("EXPIRES", "expires_at"),
        ("PERMISSION", "permission"),
        ("BUCKETS", "buckets"),
        ("PREFIXES", "prefixes"),
    ];
    let text = |entry, (_, member): (&str, &str)| match cell(entry, member) {
        none if none.is_empty() => "-".to_owned(),
        text => text,
    };
    let row = |entry| columns.map(|column| text(entry, column)).to_vec();
    let rows: Vec<Vec<String>> = entries(&listed).iter().map(row).collect();
    table(&columns.map(|(head, _)| head), &rows)
}

async fn rotate(control: &mut Control) -> Result<(), Failure> {
    let request = Some(json!({}));
    let made = control.ask(Method::POST, "/keys/rotate", request).await?;
    say(&format!("new forms are signed with {}", cell(&made, "id")))
}
