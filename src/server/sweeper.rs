//! The sweeper: calls the store's sweep at an interval.
//!
//! Owns: when a sweep runs, and what the log says of it.
//!
//! Never does: decide what is expired; the store does, and it alone judges whether the clock is to be trusted, and warns when it is not.
//!
//! Invariant: bounded work per call ([`SWEEP_LIMIT`]), the next call at once while more is due; a failing sweep is tried
//! again at the next tick and logged once until it succeeds.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::api::app::Clock;
use crate::store::{Store, StoreError, SweepReport};

/// Most objects, sessions and catalog entries that one call removes.
const SWEEP_LIMIT: usize = 1000;

pub(super) fn spawn(
    store: Arc<dyn Store>,
    clock: Clock,
    interval: Duration,
    stopping: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            while sweep_once(store.as_ref(), &clock, &mut failing).await && !stopping.is_cancelled()
            {
            }
        }
    })
}

/// One call; whether more is due. `failing` is whether the last one failed, which the log was told then.
async fn sweep_once(store: &dyn Store, clock: &Clock, failing: &mut bool) -> bool {
    match store.sweep(clock.reading(), SWEEP_LIMIT).await {
        Ok(report) => {
            *failing = false;
            tell(&report);
            report.more
        }
        // An earlier failed sync, or the store is closing: the operator was told, and only a restart changes it.
        Err(StoreError::ReadOnly) => false,
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::error!(%error, "the sweep failed; it is tried again");
            }
            false
        }
    }
}

fn tell(report: &SweepReport) {
    if report.objects + report.sessions + report.catalog > 0 {
        tracing::info!(
            objects = report.objects,
            sessions = report.sessions,
            catalog = report.catalog,
            "swept"
        );
    }
}
