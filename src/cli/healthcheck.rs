//! `pillarbox healthcheck`: asks a running server's `/readyz`, for containers that have no curl.
//!
//! Owns: the exit code, 0 when ready.
//!
//! Never does: print more than one line.

use std::time::Duration;

use clap::Args;
use http::{Method, Request};

use super::client::Client;
use super::output::say;
use super::{Failure, Settings};

/// Longest wait for the answer.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct Healthcheck {
    /// The admin listener's URL [default: server.admin_listen]
    #[arg(long, value_name = "URL", env = "PILLARBOX_ADMIN_URL")]
    admin_url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let url = match &self.admin_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.settings.load(Vec::new())?.admin_listen),
        };
        let client = Client::new(None)?;
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{url}/readyz"))
            .body(Client::empty())
            .map_err(|error| Failure::of(&url, error))?;
        let answer = tokio::time::timeout(DEADLINE, client.send(request)).await;
        let answer = answer.map_err(|_| Failure::new(format!("{url}: no answer in 5 s")))??;
        if answer.status.is_success() {
            return say("ready");
        }
        Err(Failure::new(format!(
            "not ready: {} answers {}",
            url, answer.status
        )))
    }
}
