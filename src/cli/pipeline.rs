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
use super::{ById, Failure, Plain, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum PipelineVerb {
    /// Make a pipeline and print its id
    Create(Create),
    /// List the pipelines
    List(Plain),
    /// Delete a pipeline by its id; refused while it has open sessions
    Delete(ById),
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

impl PipelineVerb {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run().await,
            Self::List(verb) => verb.settings.with_store(list).await,
            Self::Delete(verb) => verb.remove(&["/pipelines"], "deleted").await,
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
        let making = async |control: &mut Control| {
            let request = Some(request);
            let made = control.ask(Method::POST, "/pipelines", request).await?;
            say(&cell(&made, "id"))
        };
        self.settings.with_new_store(making).await
    }
}

async fn list(control: &mut Control) -> Result<(), Failure> {
    let listed = control.ask(Method::GET, "/pipelines", None).await?;
    let members = ["id", "name", "description"];
    let row = |entry| members.iter().map(|member| cell(entry, member)).collect();
    let rows: Vec<Vec<String>> = entries(&listed).iter().map(row).collect();
    table(&["ID", "NAME", "DESCRIPTION"], &rows)
}
