//! `pillarbox path BUCKET/KEY`: the plain file that holds an object's bytes.
//!
//! Owns: nothing else.
//!
//! Never does: open that file.
//!
//! Invariant: an object that is expired has no path.

use clap::Args;
use http::Method;

use super::control::{Control, cell};
use super::output::say;
use super::{Failure, Settings};

#[derive(Args, Debug)]
pub(super) struct PathOf {
    /// The object, as in uploads/tmp/547f3eede4b025bcbff38657/film.mp4
    #[arg(value_name = "BUCKET/KEY")]
    object: String,
    #[command(flatten)]
    settings: Settings,
}

impl PathOf {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let named = self.object.trim_start_matches('/');
        let (bucket, key) = named
            .split_once('/')
            .ok_or_else(|| Failure::new("the object must be given as BUCKET/KEY"))?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("bucket", bucket)
            .append_pair("key", key)
            .finish();
        let finding = async |control: &mut Control| {
            let target = format!("/path?{query}");
            let found = control.ask(Method::GET, &target, None).await?;
            say(&cell(&found, "path"))
        };
        self.settings.with_store(finding).await
    }
}
