//! `pillarbox token`: bearer tokens, and the client credentials of applications.
//!
//! Owns: how they are asked for and shown. A secret is shown once, when it is made; the store keeps only its hash.
//!
//! Never does: write a secret anywhere but to standard output.
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
pub(super) enum TokenVerb {
    /// Make a token, or client credentials with --application
    Create(Create),
    /// List tokens and applications
    List(Plain),
    /// Revoke a token or an application by its id
    Revoke(ById),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// What it is for; shown in the list
    #[arg(long, default_value = "command line")]
    name: String,
    /// What it may do, with commas between: mediahub (all), mediahub_read, mediahub_write, mediahub_download_files, mediahub_submit_jobs, me, autograph
    #[arg(long, value_delimiter = ',', default_value = "mediahub")]
    scopes: Vec<String>,
    /// How long it lives, for example 90d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Make client credentials, which get tokens from /v1/oauth2/token/
    #[arg(long, conflicts_with = "expires_in")]
    application: bool,
    #[command(flatten)]
    settings: Settings,
}

impl TokenVerb {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run().await,
            Self::List(verb) => verb.settings.with_store(list).await,
            Self::Revoke(verb) => verb.remove(&["/tokens", "/applications"], "revoked").await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let mut request = json!({"name": self.name, "scopes": self.scopes});
        if let Some(lifetime) = self.expires_in {
            request["expires_in"] = lifetime.as_secs().into();
        }
        let making = async |control: &mut Control| {
            let place = if self.application {
                "/applications"
            } else {
                "/tokens"
            };
            let made = control.ask(Method::POST, place, Some(request)).await?;
            if self.application {
                say(&format!(
                    "client_id      {}\nclient_secret  {}",
                    cell(&made, "client_id"),
                    cell(&made, "client_secret")
                ))
            } else {
                say(&cell(&made, "token"))
            }
        };
        self.settings.with_new_store(making).await
    }
}

async fn list(control: &mut Control) -> Result<(), Failure> {
    let tokens = control.ask(Method::GET, "/tokens", None).await?;
    let applications = control.ask(Method::GET, "/applications", None).await?;
    let mut rows = Vec::new();
    for (kind, list) in [("token", &tokens), ("application", &applications)] {
        rows.extend(entries(list).iter().map(|entry| {
            let id = match cell(entry, "id") {
                id if id == "-" => cell(entry, "client_id"),
                id => id,
            };
            vec![
                id,
                kind.to_owned(),
                cell(entry, "name"),
                cell(entry, "scopes"),
                cell(entry, "created_at"),
                cell(entry, "expires_at"),
            ]
        }));
    }
    table(
        &["ID", "KIND", "NAME", "SCOPES", "CREATED", "EXPIRES"],
        &rows,
    )
}
