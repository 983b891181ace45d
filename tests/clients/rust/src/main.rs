//! An ordinary day of `aws-sdk-s3` and `object_store`, each as its own manual shows.
//!
//! Reads one job a line from standard input, as JSON, and answers each with one line: what was told, or how the client was refused.
//! `suites/readers.mjs` starts it; `readers/tasks.mjs` says what a job holds.

mod sdk;
mod store;

use std::io::Write;

use serde_json::{Value, json};

/// What a client is asked to do.
struct Job(Value);

/// How it was refused: in a table's words, and in the client's own.
#[derive(Debug)]
struct Refused(String, String);

type Told = Result<Value, Refused>;

impl Job {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<usize> {
        usize::try_from(self.0[name].as_u64()?).ok()
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.0["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// Names and values of an object's own metadata; none when they are not given.
    fn meta(&self) -> Option<impl Iterator<Item = (String, String)>> {
        let pairs = self.0["meta"].as_object()?.iter();
        Some(
            pairs
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())),
        )
    }

    async fn read(&self) -> Result<Vec<u8>, Refused> {
        tokio::fs::read(self.text("file")).await.map_err(ours)
    }

    async fn write(&self, bytes: &[u8]) -> Told {
        tokio::fs::write(self.text("file"), bytes)
            .await
            .map_err(ours)?;
        Ok(json!({}))
    }
}

/// A failure that no client is to blame for.
fn ours(why: impl std::fmt::Debug) -> Refused {
    Refused("a failure of the suite".to_owned(), format!("{why:?}"))
}

fn no_word(op: &str) -> Refused {
    Refused("no word for it".to_owned(), op.to_owned())
}

async fn play(job: Job) -> Told {
    match job.text("client") {
        "aws-sdk-s3" => sdk::play(&job).await,
        "object_store" => store::play(&job).await,
        other => Err(no_word(other)),
    }
}

#[tokio::main]
async fn main() {
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .expect("the first provider of TLS");
    // Nothing else is done on this thread.
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let job = Job(serde_json::from_str(&line).expect("a job"));
        // A published test that fails panics.
        let told = match tokio::spawn(play(job)).await {
            Ok(told) => told,
            Err(why) => Err(Refused("it panicked".to_owned(), format!("{why}"))),
        };
        let answer = match told {
            Ok(told) => told,
            Err(Refused(refused, text)) => json!({ "refused": refused, "text": text }),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody listens");
    }
}
