//! `pillarbox explain [FILE...]`: why a form is refused, without a server.
//!
//! Owns: reading the inputs, and the verdict of all of them: exit code 0 when every form is granted and every policy valid, 1 when one is
//! refused, 2 when an input cannot be read or is nothing that can be explained.
//!
//! Never does: ask a server, open a store, or read a settings file. The secret comes from a file, so that it stands in no list of
//! processes; it is never printed.
//!
//! Invariant: every input is explained, also after one that is refused.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::output::{complain, say};
use crate::api::app::Clock;
use crate::api::explain::offline::{MAX_INPUT_BYTES, Options, Told, explain_input};
use crate::model::{Bucket, Secret, Timestamp};

/// Most bytes of a file that holds a secret.
const MAX_SECRET_BYTES: u64 = 4096;

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// A raw HTTP request, a multipart body, a HAR file, or a policy (base64 or JSON), 64 MiB at most; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// The bucket that the form was posted to [default: the URL's, else the policy's]
    #[arg(long, value_name = "NAME", value_parser = bucket)]
    bucket: Option<Bucket>,
    /// The only access key that counts [default: the one that the form names]
    #[arg(long, value_name = "ID", requires = "secret_file")]
    key_id: Option<String>,
    /// File with the key's secret, so that the signature is checked
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Judge at this time: RFC 3339, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// The files are multipart bodies with this Content-Type [default: found out]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn bucket(name: &str) -> Result<Bucket, String> {
    Bucket::parse(name).map_err(|why| why.to_string())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp::from_seconds(seconds));
    }
    let parsed = text.parse::<jiff::Timestamp>();
    parsed
        .map(|moment| Timestamp::from_millis(moment.as_millisecond()))
        .map_err(|_| "must be like 2030-01-01T00:00:00Z, or seconds since 1970".to_owned())
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let options = Options {
            bucket: self.bucket.clone(),
            key_id: self.key_id.clone(),
            secret: self.secret_file.as_ref().map(secret).transpose()?,
            content_type: self.content_type.clone(),
            now: self.at.unwrap_or_else(|| Clock::system().now()),
        };
        let (mut all, mut unread) = (Vec::new(), false);
        for file in &self.files {
            match explain(file, &options).await {
                Ok(told) => all.extend(told),
                Err(failure) => {
                    complain(&failure.message);
                    unread = true;
                }
            }
        }
        self.print(&all)?;
        match all.iter().all(|(_, told)| told.granted) {
            _ if unread => Err(Failure::usage("")),
            true => Ok(()),
            false => Err(Failure::told()),
        }
    }

    fn print(&self, all: &[(String, Told)]) -> Result<(), Failure> {
        if self.json {
            let all: Vec<_> = all.iter().map(|(name, told)| value(name, told)).collect();
            return say(&format!("{:#}", json!({ "explanations": all })));
        }
        let pages = all.iter().map(|(name, told)| match all.len() {
            1 if told.source.is_none() => told.page().text(),
            _ => format!("== {name}\n{}", told.page().text()),
        });
        let pages: Vec<_> = pages.collect();
        match pages.is_empty() {
            true => Ok(()),
            false => say(pages.join("\n").trim_end()),
        }
    }
}

fn value(name: &str, told: &Told) -> Value {
    json!({ "source": name, "granted": told.granted, "explanation": told.report })
}

/// Reads an input and explains it; each explanation under the name of what it is about.
async fn explain(file: &PathBuf, options: &Options) -> Result<Vec<(String, Told)>, Failure> {
    let name = match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let input = read(file).map_err(|why| Failure::of(&name, why))?;
    let told = explain_input(input.into(), options).await;
    let told = told.map_err(|why| Failure::new(format!("{name} {why}")))?;
    let name_of = |told: Told| match &told.source {
        None => (name.clone(), told),
        Some(part) => (format!("{name}, {part}"), told),
    };
    Ok(told.into_iter().map(name_of).collect())
}

/// One byte more than the limit, so that too much is noticed and never read whole.
fn read(file: &PathBuf) -> io::Result<Vec<u8>> {
    let most = MAX_INPUT_BYTES as u64 + 1;
    let mut input = Vec::new();
    match file.as_os_str() == "-" {
        true => io::stdin().lock().take(most).read_to_end(&mut input)?,
        false => File::open(file)?.take(most).read_to_end(&mut input)?,
    };
    Ok(input)
}

/// A secret without the line end that editors put behind it.
fn secret(file: &PathBuf) -> Result<Secret, Failure> {
    let what = format!("secret file {}", file.display());
    let mut text = String::new();
    let read =
        File::open(file).and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text));
    let length = read.map_err(|why| Failure::usage(format!("{what}: {why}")))?;
    // Half a secret would be told to be a wrong one.
    if length as u64 > MAX_SECRET_BYTES {
        let rule = format!("must be at most {MAX_SECRET_BYTES} bytes");
        return Err(Failure::usage(format!("{what}: {rule}")));
    }
    match text.trim() {
        "" => Err(Failure::usage(format!("{what} is empty"))),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}
