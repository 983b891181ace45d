//! How fast the road of a byte is, against named references in the same run.
//!
//! `cargo bench --bench upload` starts the release binary as a process of its own and drives it over loopback from this one.
//! `-- writes`, `-- reads`, `-- s3`, `-- resources` and `-- growth` choose a part. Beside it: the same bytes received by a minimal
//! receiver that writes and syncs them (a), MD5 of them on one core (b), nginx (c) and Garage (d), when they are installed.
//!
//! `PILLARBOX_BENCH_MIB` sets the size of the large object (1024), `PILLARBOX_BENCH_ROUNDS` how often each row is measured (3),
//! `PILLARBOX_BENCH_OBJECTS` how many objects a restart and the growth tables have to do with (100,000).
//! `PILLARBOX_BENCH_BEFORE` names another release binary, (e): every row of the uploads is compared with it too.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

mod client;
mod figures;
mod fill;
mod form;
mod garage;
mod growth;
mod nginx;
mod presign;
mod process;
mod quiet;
mod reads;
mod receiver;
mod resources;
mod s3;
mod server;
mod table;
mod tls;
mod writes;

use form::Signer;
use tls::Certificate;

/// What all parts share.
struct Bench {
    large: Vec<u8>,
    rounds: usize,
    objects: usize,
    signer: Signer,
    certificate: Certificate,
    _folder: tempfile::TempDir,
}

type Part = (&'static str, fn(&Bench));

const PARTS: [Part; 5] = [
    ("writes", writes::tables),
    ("reads", reads::tables),
    ("s3", s3::tables),
    ("resources", resources::show),
    ("growth", growth::tables),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for name in &wanted {
        let known = PARTS.iter().any(|(part, _)| part == name);
        assert!(known, "there is no part '{name}'");
    }
    let folder = server::folder();
    let bench = Bench {
        large: random(number("PILLARBOX_BENCH_MIB", 1024) << 20),
        rounds: number("PILLARBOX_BENCH_ROUNDS", 3),
        objects: number("PILLARBOX_BENCH_OBJECTS", 100_000),
        signer: Signer::dev(),
        certificate: Certificate::make(folder.path()),
        _folder: folder,
    };
    let mib = bench.large.len() >> 20;
    println!("the large object is {mib} MiB; {} rounds", bench.rounds);
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(&bench);
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
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
