//! How fast the road of a byte is, against named references in the same run.
//!
//! Starts the release binary as a process of its own and drives it over loopback: `cargo bench --bench upload`. Beside it, the
//! same bytes received by a minimal receiver that writes and syncs them (a), and MD5 of the same bytes on one core (b).
//! Prints MB/s, requests/s, p50, p99, server CPU s/GiB and the ratios. `PILLARBOX_BENCH_MIB` sets the size of the large object.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

mod client;
mod reference;
mod server;

use std::time::Instant;

use client::{Target, get, post, post_chunk, session};
use server::Server;

const MIB: usize = 1 << 20;
const CHUNK: usize = 8 * MIB;

/// What one workload took.
struct Figures {
    bytes: usize,
    seconds: f64,
    /// Seconds of each request, sorted.
    each: Vec<f64>,
    cpu_seconds: f64,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e6
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.each.len() - 1;
        self.each[(last as f64 * share) as usize] * 1e3
    }
}

fn main() {
    let mib = std::env::var("PILLARBOX_BENCH_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(1024);
    let large = random(mib * MIB);
    let server = Server::start();
    let target = server.target();
    println!(
        "{:<34}{:>9}{:>10}{:>10}{:>10}{:>10}{:>9}",
        "", "MB/s", "req/s", "p50 ms", "p99 ms", "CPU/GiB", "ratio"
    );

    let md5 = reference::md5(&large);
    show("(b) MD5 on one core", &md5, None);
    let raw = reference::receive(&large, large.len(), 1);
    show("(a) received, written, synced", &raw, None);
    let floor = raw.rate().min(md5.rate());

    let one = server.measure(large.len(), 1, 1, |_, _| post(&target, "large", &large));
    show(
        "one post",
        &one,
        Some(("of the slower of (a), (b)", one.rate() / floor)),
    );
    for parallel in [1, 4] {
        let upload = session(&target, "chunks");
        let count = large.len().div_ceil(CHUNK);
        let chunks = server.measure(large.len(), count, parallel, |index, _| {
            let end = large.len().min((index + 1) * CHUNK);
            post_chunk(&target, &upload, index, count, &large[index * CHUNK..end]);
        });
        show(
            &format!("8 MiB chunks, {parallel} at a time"),
            &chunks,
            Some(("of one post", chunks.rate() / one.rate())),
        );
    }
    small(&server, &target, &large, MIB, 16, 512);
    small(&server, &target, &large, 64 << 10, 32, 4096);
    reads(&server, &target, large.len());
    println!(
        "peak resident memory of the server: {} MiB",
        server.peak_mib()
    );
}

/// Posts of one size at many connections, against files of that size synced by as many threads.
fn small(
    server: &Server,
    target: &Target,
    bytes: &[u8],
    size: usize,
    parallel: usize,
    count: usize,
) {
    let raw = reference::receive(&bytes[..size], size * count, parallel);
    show(
        &format!("(a) {} KiB files, {parallel} threads", size >> 10),
        &raw,
        None,
    );
    let posts = server.measure(size * count, count, parallel, |index, _| {
        post(target, &format!("small/{size}/{index}"), &bytes[..size]);
    });
    let title = format!("{} KiB posts, {parallel} connections", size >> 10);
    show(&title, &posts, Some(("of (a)", posts.rate() / raw.rate())));
}

fn reads(server: &Server, target: &Target, large: usize) {
    let link = client::link(target, "chunks");
    let one = server.measure(large, 1, 1, |_, _| assert_eq!(get(target, &link), large));
    show("GET, large", &one, None);
    let upload = session(target, "tiny");
    post_chunk(target, &upload, 0, 1, &random(64 << 10));
    let link = client::link(target, "tiny");
    let many = server.measure(64 << 22, 4096, 32, |_, _| {
        assert_eq!(get(target, &link), 64 << 10)
    });
    show("GET, 64 KiB, 32 connections", &many, None);
}

fn show(title: &str, figures: &Figures, ratio: Option<(&str, f64)>) {
    let requests = figures.each.len() as f64 / figures.seconds;
    let cpu = figures.cpu_seconds / (figures.bytes as f64 / f64::from(1 << 30));
    let ratio = ratio
        .map(|(of, ratio)| format!("{ratio:>9.2} {of}"))
        .unwrap_or_default();
    println!(
        "{title:<34}{:>9.0}{requests:>10.0}{:>10.2}{:>10.2}{cpu:>10.2}{ratio}",
        figures.rate(),
        figures.at(0.5),
        figures.at(0.99),
    );
}

/// Runs `count` requests by `parallel` threads.
fn run(
    bytes: usize,
    count: usize,
    parallel: usize,
    request: &(impl Fn(usize, usize) + Sync),
) -> Figures {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let started = Instant::now();
    let mut each = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..parallel)
            .map(|worker| {
                let next = &next;
                scope.spawn(move || {
                    let mut each = Vec::new();
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if index >= count {
                            return each;
                        }
                        let begun = Instant::now();
                        request(index, worker);
                        each.push(begun.elapsed().as_secs_f64());
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no request fails"))
            .collect::<Vec<_>>()
    });
    let seconds = started.elapsed().as_secs_f64();
    each.sort_by(f64::total_cmp);
    Figures {
        bytes,
        seconds,
        each,
        cpu_seconds: 0.0,
    }
}

/// Bytes that do not compress, the same in every run.
fn random(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
