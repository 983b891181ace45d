//! What a workload took, and the loop that runs it.
//!
//! Owns: [`Figures`], and [`run`], which spreads requests over connections, one thread each.
//! Never does: print, or judge.
//!
//! Invariant: the clock of a request runs from its first byte sent to the last byte of its answer.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::client::{Client, Target};

/// What one workload took.
#[derive(Clone, Default)]
pub(crate) struct Figures {
    pub(crate) bytes: usize,
    pub(crate) seconds: f64,
    /// Seconds of each request, sorted.
    pub(crate) each: Vec<f64>,
    /// Processor time of the server under measurement, where there is one.
    pub(crate) cpu_seconds: Option<f64>,
}

impl Figures {
    /// Megabytes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }

    pub(crate) fn requests(&self) -> f64 {
        self.each.len() as f64 / self.seconds
    }

    /// Processor seconds for each GiB.
    pub(crate) fn cpu_per_gib(&self) -> Option<f64> {
        let gib = self.bytes as f64 / f64::from(1 << 30);
        self.cpu_seconds.map(|seconds| seconds / gib)
    }

    /// The milliseconds that this share of the requests stayed below.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let last = self.each.len() - 1;
        self.each[(last as f64 * share) as usize] * 1e3
    }
}

/// How much work a workload is.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) bytes: usize,
    pub(crate) count: usize,
    pub(crate) parallel: usize,
}

impl Amount {
    /// `count` requests of `size` bytes over `parallel` connections.
    pub(crate) fn of(size: usize, count: usize, parallel: usize) -> Self {
        let bytes = size * count;
        Self {
            bytes,
            count,
            parallel,
        }
    }
}

/// Sends `amount` of requests to `target`; each connection is made, and shaken hands on, before the clock starts.
pub(crate) fn run(
    target: &Target,
    amount: Amount,
    request: impl Fn(&mut Client, usize) + Sync,
) -> Figures {
    spread(amount, |_| target.connect(), request)
}

/// As [`run`], with any kind of connection.
pub(crate) fn spread<C>(
    amount: Amount,
    connect: impl Fn(usize) -> C + Sync,
    request: impl Fn(&mut C, usize) + Sync,
) -> Figures {
    let next = AtomicUsize::new(0);
    let ready = Barrier::new(amount.parallel + 1);
    let work = |worker| {
        let mut connection = connect(worker);
        ready.wait();
        let mut each = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= amount.count {
                return each;
            }
            let begun = Instant::now();
            request(&mut connection, index);
            each.push(begun.elapsed().as_secs_f64());
        }
    };
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..amount.parallel)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        ready.wait();
        let started = Instant::now();
        let each = workers.into_iter();
        let mut each: Vec<f64> = each
            .flat_map(|worker| worker.join().expect("no request fails"))
            .collect();
        let seconds = started.elapsed().as_secs_f64();
        each.sort_by(f64::total_cmp);
        Figures {
            bytes: amount.bytes,
            seconds,
            each,
            cpu_seconds: None,
        }
    })
}
