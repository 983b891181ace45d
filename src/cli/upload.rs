//! `pillarbox upload FILE`: a file in chunks, in parallel, through a session, resumable.
//!
//! Owns: the plan (which bytes are which chunk), the workers, the retries and the progress bar. `upload/session.rs` speaks
//! REST, `upload/form.rs` makes a chunk's form.
//!
//! Never does: hold a chunk in memory; each is streamed from the file.
//!
//! Invariants: a chunk is sent again only with the same bytes, so a repeat is harmless; the session's id is printed before
//! the first byte is sent; the file must not change meanwhile, which is checked before the session is finished, and when an upload is
//! resumed against the chunks that are there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use super::client::Client;
use super::output::{complain, say};
use crate::model::{MAX_CHUNKS, printable};

mod form;
mod session;

use form::{Chunk, Refusal};
use session::Session;

/// Most chunks in flight.
const MAX_PARALLEL: u16 = 64;

/// Attempts for one chunk before the upload gives up; it can then be resumed.
const MAX_ATTEMPTS: u32 = 8;

/// Wait before the second attempt; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest wait between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Smallest chunk in bytes, but for the last.
const MIN_CHUNK_BYTES: u64 = 64 * 1024;

#[derive(Args, Debug)]
pub(super) struct Upload {
    /// The file; not standard input, which could not be read once more
    file: PathBuf,
    /// The server's URL
    #[arg(long, env = "PILLARBOX_URL", default_value = "http://127.0.0.1:7080")]
    url: String,
    /// Bearer token
    #[arg(long, env = "PILLARBOX_TOKEN", hide_env_values = true)]
    token: String,
    /// The pipeline's id
    #[arg(long, value_name = "ID", required_unless_present = "resume")]
    pipeline: Option<String>,
    /// Name of the object [default: the file's name]
    #[arg(long)]
    key: Option<String>,
    /// Bytes in a chunk; larger when the file would have more than 10,000
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    chunk_size: ByteSize,
    /// Chunks in flight
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PARALLEL)))]
    parallel: u16,
    /// Go on with this session; --pipeline and --key may stay on the command line, and must be its own
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
    /// Trust the certificates in this file instead of the system's
    #[arg(long, value_name = "FILE", env = "PILLARBOX_CACERT")]
    cacert: Option<PathBuf>,
}

impl Upload {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.file.as_os_str() == "-" {
            return Err(Failure::usage(format!(
                "standard input {NO_STREAM}; a file of this name is ./-"
            )));
        }
        let before = Stamp::of(&self.file).await?;
        let plan = Plan::new(before.length, self.chunk_size.as_u64())?;
        let client = Client::new(self.cacert.as_deref())?;
        let session = self.session(client).await?;
        if self.resume.is_none() {
            complain(&format!(
                "session {}; go on with --resume {}",
                session.id(),
                session.id()
            ));
        }
        let missing = plan.missing(&session)?;
        self.refuse_another_file(&session, &plan).await?;
        self.send((&session, before), &plan, missing).await?;
        if Stamp::of(&self.file).await? != before {
            return Err(Failure::new(CHANGED));
        }
        let file_id = session.finish(plan.count).await?;
        say(&format!(
            "{file_id}  {}",
            printable(session.object_key(), &[])
        ))
    }

    async fn session(&self, client: Client) -> Result<Session, Failure> {
        let url = self.url.trim_end_matches('/');
        if let Some(id) = &self.resume {
            let session = Session::resume(client, url, &self.token, id).await?;
            self.refuse_another_session(&session)?;
            return Ok(session);
        }
        let key = match &self.key {
            Some(key) => key.clone(),
            None => own_name(&self.file)?,
        };
        let pipeline = self.pipeline.as_deref().unwrap_or_default();
        Session::start(client, url, &self.token, &key, pipeline).await
    }

    /// What is named beside `--resume` must be what the session was begun for: it cannot be changed any more.
    fn refuse_another_session(&self, session: &Session) -> Result<(), Failure> {
        let id = session.id();
        let refused = |named: String, has: &str| {
            Failure::new(format!(
                "{named}: session {id} is for {has}; leave the flag out to go on with it, or begin anew, without --resume"
            ))
        };
        if let Some(key) = self.key.as_ref().filter(|key| *key != session.object_key()) {
            return Err(refused(format!("--key {key}"), session.object_key()));
        }
        match (&self.pipeline, session.pipeline()) {
            (Some(named), Some(has)) if !named.eq_ignore_ascii_case(has) => {
                let has = format!("pipeline {has}");
                Err(refused(format!("--pipeline {named}"), &has))
            }
            (Some(named), None) => {
                complain(&format!(
                    "--pipeline {named} is not looked at: the server does not say which one session {id} is for"
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the session has must be of this file: to go on with another one of the same length would make a mixture of both.
    async fn refuse_another_file(&self, session: &Session, plan: &Plan) -> Result<(), Failure> {
        if !session.received().is_empty() {
            complain("comparing what the session has with the file");
        }
        for (index, md5) in session.received() {
            let Some(md5) = md5 else {
                continue;
            };
            let here = form::md5_of(&self.file, &plan.chunk(*index)).await;
            let failed = |error| Failure::of(&self.file.display().to_string(), error);
            if here.map_err(failed)? != *md5 {
                return Err(Failure::new(format!(
                    "chunk {index} of the session is not what the file has there now; begin anew, without --resume"
                )));
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        (session, before): (&Session, Stamp),
        plan: &Plan,
        missing: Vec<u32>,
    ) -> Result<(), Failure> {
        let bar = progress_bar(plan, &missing);
        let sender = Sender {
            session,
            source: Source {
                path: Arc::from(self.file.as_path()),
                stamp: before,
            },
            bar: bar.clone(),
        };
        let chunks = missing.into_iter().map(|index| plan.chunk(index));
        let sent = stream::iter(chunks)
            .map(|chunk| sender.send(chunk))
            .buffer_unordered(usize::from(self.parallel))
            .try_collect::<()>()
            .await;
        bar.finish_and_clear();
        sent
    }
}

fn progress_bar(plan: &Plan, missing: &[u32]) -> ProgressBar {
    let to_send: u64 = missing.iter().map(|index| plan.chunk(*index).length).sum();
    let bar = ProgressBar::new(plan.length);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_position(plan.length.saturating_sub(to_send));
    bar.reset_eta();
    bar
}

/// Said of what can be read but once.
const NO_STREAM: &str = "cannot be uploaded so: a chunk that fails, or an upload that is resumed, is read from its file once more. Write it to \
     a file first, or stream it over S3 with a key of `pillarbox key create`, as in `aws s3 cp - s3://BUCKET/KEY --endpoint-url URL`";

/// Said of a file that is not what it was when its upload began.
const CHANGED: &str = "the file changed while it was uploaded; begin anew, without --resume";

/// A file, and what it was like when its upload began.
#[derive(Clone)]
struct Source {
    path: Arc<Path>,
    stamp: Stamp,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    async fn of(file: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::of(&file.display().to_string(), error);
        let metadata = tokio::fs::metadata(file).await.map_err(failed)?;
        if !metadata.is_file() {
            let why = match metadata.is_dir() {
                true => "is a folder; name one of its files",
                false => NO_STREAM,
            };
            return Err(Failure::new(format!("{} {why}", file.display())));
        }
        Ok(Self {
            length: metadata.len(),
            changed: metadata.modified().ok(),
        })
    }
}

/// Which bytes are which chunk.
#[derive(Debug)]
struct Plan {
    length: u64,
    chunk_bytes: u64,
    count: u32,
}

impl Plan {
    fn new(length: u64, wished: u64) -> Result<Self, Failure> {
        // The same file and the same --chunk-size always give the same plan; a resumed session depends on it.
        let smallest = length
            .div_ceil(u64::from(MAX_CHUNKS))
            .next_multiple_of(1 << 20);
        let chunk_bytes = match length > wished.saturating_mul(u64::from(MAX_CHUNKS)) {
            true => smallest,
            false => wished,
        };
        if chunk_bytes < MIN_CHUNK_BYTES {
            return Err(Failure::new(format!(
                "--chunk-size must be at least {MIN_CHUNK_BYTES} bytes"
            )));
        }
        let count = length.div_ceil(chunk_bytes).max(1);
        let count = u32::try_from(count).map_err(|_| Failure::new("the file is too large"))?;
        Ok(Self {
            length,
            chunk_bytes,
            count,
        })
    }

    fn chunk(&self, index: u32) -> Chunk {
        let offset = u64::from(index) * self.chunk_bytes;
        Chunk {
            index,
            count: self.count,
            offset,
            length: self.chunk_bytes.min(self.length.saturating_sub(offset)),
        }
    }

    /// The chunks that the session lacks. What it has must fit this plan: chunks of another size would make another file.
    fn missing(&self, session: &Session) -> Result<Vec<u32>, Failure> {
        let received = session.received();
        let mut bytes = 0;
        for index in received.keys() {
            bytes += self.chunk(*index).length;
        }
        let fits = received.keys().all(|index| *index < self.count)
            && session.received_bytes().is_none_or(|known| known == bytes);
        if !fits {
            return Err(Failure::new(
                "the session holds chunks of another size or of another file; give the --chunk-size it was begun with",
            ));
        }
        Ok((0..self.count)
            .filter(|index| !received.contains_key(index))
            .collect())
    }
}

/// Sends chunks of one file to one session.
struct Sender<'a> {
    session: &'a Session,
    source: Source,
    bar: ProgressBar,
}

impl Sender<'_> {
    async fn send(&self, chunk: Chunk) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let form = self.session.form();
            let refusal = match form
                .post(self.session.client(), &self.source, &chunk, &self.bar)
                .await
            {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            if Stamp::of(&self.source.path).await? != self.source.stamp {
                return Err(Failure::new(CHANGED));
            }
            let mut said = format!("chunk {}: {refusal}", chunk.index);
            let again = match &refusal {
                Refusal::Expired(_) => match self.session.refresh(&form).await {
                    Ok(()) => true,
                    Err(why) => {
                        said = format!("{said}; no fresh form: {}", why.message);
                        false
                    }
                },
                Refusal::Passing(_) => true,
                Refusal::Full(_) | Refusal::Final(_) => false,
            };
            if !again || attempt == MAX_ATTEMPTS {
                if !matches!(refusal, Refusal::Final(_)) {
                    said = format!("{said}; go on with --resume {}", self.session.id());
                }
                return Err(Failure::new(said));
            }
            self.bar
                .suspend(|| complain(&format!("{said}; trying again")));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }
}

/// The key of a file for which none is given. Bytes that are no text would make one key of several names.
fn own_name(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().unwrap_or_default().to_str();
    let name = name.ok_or_else(|| {
        let file = file.display();
        Failure::new(format!(
            "{file}: the name is no UTF-8; name the object with --key"
        ))
    })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_no_key() {
        use std::os::unix::ffi::OsStrExt as _;
        let named = |name: &[u8]| own_name(Path::new(std::ffi::OsStr::from_bytes(name)));
        assert_eq!(
            named("in/gr\u{fc}n.bin".as_bytes()).unwrap(),
            "gr\u{fc}n.bin"
        );
        assert!(named(b"in/n\xff").unwrap_err().message.contains("--key"));
    }

    #[test]
    fn the_chunks_of_a_plan_cover_the_file_once() {
        for (length, chunk) in [
            (0, 65_536),
            (65_536, 65_536),
            (65_537, 65_536),
            (1_000_000, 70_000),
        ] {
            let plan = Plan::new(length, chunk).unwrap();
            let mut next = 0;
            for index in 0..plan.count {
                let chunk = plan.chunk(index);
                assert_eq!(chunk.offset, next);
                next += chunk.length;
            }
            assert_eq!(next, length);
        }
    }

    #[test]
    fn a_file_too_large_for_the_chunk_size_gets_larger_chunks() {
        let plan = Plan::new(1 << 40, 8 << 20).unwrap();
        assert!(plan.count <= MAX_CHUNKS);
        assert_eq!(plan.chunk_bytes % (1 << 20), 0);
    }

    #[test]
    fn a_chunk_size_that_makes_dust_is_refused() {
        assert!(Plan::new(1_000_000, 100).is_err());
    }
}
