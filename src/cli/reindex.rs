//! `pillarbox reindex`: rebuilds the index from the labels of the objects.
//!
//! Owns: nothing else.
//!
//! Never does: run beside a server; the store's lock refuses it.
//!
//! Invariant: the old index is set aside, never deleted.

use clap::Args;

use super::control::refuse_absent;
use super::launch::of_store;
use super::output::{complain, say};
use super::ownership::{judged, refuse_foreign};
use super::{Failure, Settings};
use crate::api::app::Clock;
use crate::server::telemetry;
use crate::store::embedded::EmbeddedStore;
use crate::store::{FileQuery, ObjectStore, StoreError};

#[derive(Args, Debug)]
pub(super) struct Reindex {
    #[command(flatten)]
    settings: Settings,
}

impl Reindex {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.load(Vec::new())?;
        refuse_absent(&config.store.data)?;
        refuse_foreign(&config.store.data)?;
        let now = Clock::system().now();
        let data = &config.store.data;
        let failed = |error: StoreError| of_store("reindex of", data, &error);
        telemetry::init_of_verb();
        let store = EmbeddedStore::reindex(judged(config.store.options_of_verb()), now)
            .await
            .map_err(failed)?;
        let files = store.list_files(&FileQuery::default(), now).await;
        let left_out = store.left_out();
        store.close().await.map_err(failed)?;
        say(&format!("{} files indexed", files.map_err(failed)?.total))?;
        if left_out > 0 {
            complain(&format!(
                "{left_out} files without a usable record are left where they are: those of unfinished uploads, and of objects that were damaged, \
                 or whose extended attributes were lost"
            ));
        }
        Ok(())
    }
}
