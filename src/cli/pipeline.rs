//! `pillarbox pipeline`: create, list, delete.
//!
//! Owns: how they are asked for and shown.
//!
//! Never does: change one; the REST API does (`PUT /v1/pipelines/ID`).
//!
//! Invariant: a pipeline with open sessions is not deleted.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::control::{Control, cell, entries};
use super::output::{say, table};
use super::{Failure, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum PipelineVerb {
    /// Make a pipeline and print its id
    Create(Create),
    /// List the pipelines
    List(List),
    /// Delete a pipeline by its id; refused while it has open sessions
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Its name
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its id, 24 hexadecimal digits [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    /// The id, as shown by the list
    id: String,
    #[command(flatten)]
    settings: Settings,
}

impl PipelineVerb {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run().await,
            Self::List(verb) => verb.run().await,
            Self::Delete(verb) => verb.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let mut request = json!({"name": self.name});
        for (member, value) in [("description", self.description), ("id", self.id)] {
            if let Some(value) = value {
                request[member] = value.into();
            }
        }
        let mut control = Control::open(&self.settings.load(Vec::new())?).await?;
        let made = control.ask(Method::POST, "/pipelines", Some(request)).await;
        control.close().await?;
        say(&cell(&made?, "id"))
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut control = Control::of_store(&self.settings.load(Vec::new())?).await?;
        let listed = control.ask(Method::GET, "/pipelines", None).await;
        control.close().await?;
        let listed = listed?;
        let members = ["id", "name", "description"];
        let row = |entry| members.iter().map(|member| cell(entry, member)).collect();
        let rows: Vec<Vec<String>> = entries(&listed).iter().map(row).collect();
        table(&["ID", "NAME", "DESCRIPTION"], &rows)
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let id =
            percent_encoding::utf8_percent_encode(&self.id, percent_encoding::NON_ALPHANUMERIC);
        let mut control = Control::of_store(&self.settings.load(Vec::new())?).await?;
        let done = control
            .ask(Method::DELETE, &format!("/pipelines/{id}"), None)
            .await;
        control.close().await?;
        done?;
        say(&format!("deleted {}", self.id))
    }
}
