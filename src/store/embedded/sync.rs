//! Where the engine gets its locks, threads and tasks from.
//!
//! Owns: the names of std and tokio that decide who runs when. With the feature `schedules` the same names come from shuttle,
//! which runs everything in turns on one thread and chooses each turn at random, so that a test can try 100,000 schedules of
//! the engine's own code and repeat the one that failed.
//! Never does: anything of its own in a program that is built for users: there it is a list of names.
//!
//! Invariant: whatever may wait for another thread or task of the engine uses these names. The futures of `tokio::sync` need not:
//! they know no threads.

#[cfg(not(feature = "schedules"))]
mod place {
    pub(in super::super) use std::sync::atomic::{AtomicBool, AtomicUsize};
    pub(in super::super) use std::sync::{Condvar, Mutex, MutexGuard, RwLock};
    pub(in super::super) use std::thread;

    pub(in super::super) use tokio::runtime::Handle;
    pub(in super::super) use tokio::task::{JoinError, JoinHandle, spawn_blocking};
    pub(in super::super) use tokio::time::timeout;
    pub(in super::super) use tokio_util::task::TaskTracker;

    /// A place where another thread may get its turn.
    pub(in super::super) const fn point() {}

    /// The next value, or `None` when all senders are gone.
    pub(in super::super) fn receive<T>(queue: &mut tokio::sync::mpsc::Receiver<T>) -> Option<T> {
        queue.blocking_recv()
    }
}

#[cfg(feature = "schedules")]
mod place {
    use std::future::Future;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    pub(in super::super) use shuttle::future::{JoinError, JoinHandle};
    use shuttle::future::{block_on, spawn};
    pub(in super::super) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
    pub(in super::super) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock};
    pub(in super::super) use shuttle::thread;

    pub(in super::super) fn point() {
        thread::sleep(Duration::ZERO);
    }

    pub(in super::super) fn receive<T>(queue: &mut tokio::sync::mpsc::Receiver<T>) -> Option<T> {
        point();
        block_on(queue.recv())
    }

    pub(in super::super) fn spawn_blocking<R: Send + 'static>(
        job: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        spawn(async move {
            point();
            job()
        })
    }

    /// It was not there at once.
    #[derive(Debug)]
    pub(in super::super) struct Elapsed;

    /// Never times out, for there is no time here; but what no time at all is given is looked at once.
    pub(in super::super) async fn timeout<F: Future>(
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        match limit.is_zero() {
            true => work.now_or_never().ok_or(Elapsed),
            false => Ok(work.await),
        }
    }

    /// Tells jobs that they may spawn others.
    #[derive(Debug)]
    pub(in super::super) struct Handle;

    impl Handle {
        pub(in super::super) const fn current() -> Self {
            Self
        }

        pub(in super::super) const fn try_current() -> Result<Self, std::fmt::Error> {
            Ok(Self)
        }

        pub(in super::super) fn block_on<F: Future>(&self, work: F) -> F::Output {
            block_on(work)
        }
    }

    /// Counts with the real tracker, and runs under shuttle.
    #[derive(Clone, Debug, Default)]
    pub(in super::super) struct TaskTracker(tokio_util::task::TaskTracker);

    impl TaskTracker {
        pub(in super::super) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            spawn(self.0.track_future(work))
        }

        pub(in super::super) fn spawn_blocking<R: Send + 'static>(
            &self,
            job: impl FnOnce() -> R + Send + 'static,
        ) -> JoinHandle<R> {
            self.spawn(async move {
                point();
                job()
            })
        }

        pub(in super::super) fn spawn_blocking_on<R: Send + 'static>(
            &self,
            job: impl FnOnce() -> R + Send + 'static,
            _: &Handle,
        ) -> JoinHandle<R> {
            self.spawn_blocking(job)
        }

        pub(in super::super) fn close(&self) {
            self.0.close();
        }

        pub(in super::super) async fn wait(&self) {
            self.0.wait().await;
        }
    }
}

pub(super) use place::*;
