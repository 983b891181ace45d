//! What the server needs to be there: memory, and time to start.
//!
//! Owns: idle and peak resident memory, the time until `dev` accepts, and the time of a restart with many objects after a
//! clean stop and after a kill. Never does: tables of throughput.

use std::time::Duration;

use crate::Bench;
use crate::figures::Amount;
use crate::fill::fill;
use crate::server::{Server, folder};
use crate::table::median;

const MIB: usize = 1 << 20;
const STARTS: usize = 10;

pub(crate) fn show(bench: &Bench) {
    println!("\nwhat the server needs");
    starts();
    memory(bench);
    restarts(bench);
}

fn starts() {
    let ready: Vec<f64> = (0..STARTS)
        .map(|_| millis(Server::start().ready_after))
        .collect();
    let worst = ready.iter().copied().fold(0.0, f64::max);
    let middle = median(ready);
    println!(
        "dev, from its start until it accepts: {middle:.0} ms, median of {STARTS} (worst {worst:.0} ms)"
    );
}

fn memory(bench: &Bench) {
    let server = Server::start();
    std::thread::sleep(Duration::from_secs(1));
    let idle = server.process.status_kib("VmRSS");
    println!("idle resident memory: {:.1} MiB", mib(idle));
    let file = &bench.large[..16 * MIB];
    for round in 0..bench.rounds {
        let figures = server.run(Amount::of(file.len(), 64, 64), |client, index| {
            client.post(&bench.signer, &format!("{round}/{index}"), file);
        });
        let peak = server.process.status_kib("VmHWM");
        let rate = figures.rate();
        println!(
            "peak with 64 uploads of 16 MiB in flight: {:.1} MiB ({rate:.0} MB/s)",
            mib(peak)
        );
    }
}

fn restarts(bench: &Bench) {
    let folder = folder();
    let data = folder.path().join("data");
    let began = std::time::Instant::now();
    fill(&data, bench.objects);
    let (objects, seconds) = (bench.objects, began.elapsed().as_secs_f64());
    println!("{objects} objects were stored in {seconds:.0} s");
    for round in 0..bench.rounds {
        let mut server = Server::on(&data);
        let clean = millis(server.ready_after);
        // So that the log of the index has something that no snapshot holds.
        let mut client = server.client();
        for index in 0..100 {
            client.post(&bench.signer, &format!("{round}/{index}"), b"new");
        }
        drop(client);
        server.process.kill();
        drop(server);
        let mut server = Server::on(&data);
        let killed = millis(server.ready_after);
        let memory = mib(server.process.status_kib("VmRSS"));
        println!(
            "restart with {objects} objects: {clean:.0} ms after a clean stop, {killed:.0} ms after a kill; {memory:.0} MiB"
        );
        server.process.stop();
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
