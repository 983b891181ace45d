//! Rest before each measurement, so that no row pays for what the one before left behind.
//!
//! Owns: [`wait`], which has everything written that waits for the disk, and then lets the machine finish what it does by itself: a file
//! system that tells its disk of freed blocks is busy for seconds after a large file was removed.
//! Never does: wait forever; on a machine that others keep busy it goes on after [`PATIENCE`].

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How long the machine is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for a quiet machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest share of the processors' time at work that counts as quiet.
const QUIET: f64 = 0.05;

/// Waits until nothing is left to be written and the machine is quiet.
pub(crate) fn wait() {
    rustix::fs::sync();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && busy() > QUIET {}
}

/// The share of the processors' time that was spent at work during one look.
fn busy() -> f64 {
    let before = ticks();
    thread::sleep(LOOK);
    let (idle, all) = ticks();
    let all = all.saturating_sub(before.1).max(1);
    1.0 - idle.saturating_sub(before.0) as f64 / all as f64
}

/// Idle ticks of all processors since the start, and all ticks (proc(5), `/proc/stat`).
fn ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").expect("proc is mounted");
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .filter_map(|t| t.parse().ok())
        .collect();
    // The fourth is idle, the fifth waits for a disk.
    (ticks[3] + ticks[4], ticks.iter().sum())
}
