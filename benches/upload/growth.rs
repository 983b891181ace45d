//! How the cost of one operation grows with what is there already.
//!
//! Owns: the tables for keys, for chunks of a session, and for idle connections. The sizes are asked in turns, many times,
//! so that a busy moment falls on all of them. Never does: throughput; one connection, one operation at a time.

use std::net::TcpStream;
use std::time::Instant;

use crate::Bench;
use crate::client::{Client, Upload};
use crate::figures::Amount;
use crate::fill::{OBJECT_BYTES, fill, key};
use crate::server::{Server, folder};
use crate::table::median;

const TURNS: usize = 200;
const CHUNK: usize = 4096;
/// Chunks of a small session; a new one follows, so that it stays small.
const FEW_CHUNKS: usize = 10;
/// Chunks of the large session; the last ones are posted while it is measured.
const MANY_CHUNKS: usize = 10_000;
const IDLE: [usize; 2] = [10, 5000];

/// An operation on the server of column `size`, in turn `turn`.
type Operation<'a> = (&'a str, Box<dyn Fn(&mut Client, usize, usize) + 'a>);

pub(crate) fn tables(bench: &Bench) {
    keys(bench);
    chunks();
    idle(bench);
}

fn keys(bench: &Bench) {
    let sizes = [10, 10_000, bench.objects];
    let folders = sizes.map(|_| folder());
    for (size, folder) in sizes.iter().zip(&folders) {
        fill(folder.path(), *size);
    }
    let servers = folders.each_ref().map(|folder| Server::on(folder.path()));
    let file = &bench.large[..CHUNK];
    // Starting a session makes the pipeline.
    let uploads: Vec<Upload> = servers
        .iter()
        .map(|server| server.client().start("grown"))
        .collect();
    let middle = |column: usize| key(sizes[column] / 2);
    let found: Vec<(String, String)> = (0..sizes.len())
        .map(|column| {
            let link = servers[column].client().link(&middle(column));
            let id = link.split('/').find(|part| part.len() == 24);
            let id = id.expect("a link names the file").to_owned();
            (link, id)
        })
        .collect();
    let get_page = |query: &'static str| {
        move |client: &mut Client, _: usize, _: usize| {
            client.json("GET", query);
        }
    };
    let operations: Vec<Operation<'_>> = vec![
        (
            "post, 4 KiB",
            Box::new(|client, _, turn| client.post(&bench.signer, &format!("new/{turn}"), file)),
        ),
        (
            "chunk, 4 KiB",
            Box::new(|client, column, turn| {
                client.post_chunk(&uploads[column], turn, TURNS + 1, file)
            }),
        ),
        (
            "GET by a link",
            Box::new(|client, column, _| client.get(&found[column].0, OBJECT_BYTES)),
        ),
        (
            "GET /v1/files/ID",
            Box::new(|client, column, _| {
                client.json("GET", &format!("/v1/files/{}", found[column].1));
            }),
        ),
        ("list, first 10", Box::new(get_page("/v1/files/?limit=10"))),
        (
            "list, newest 10",
            Box::new(get_page("/v1/files/?limit=10&direction=-1")),
        ),
        (
            "list, 10 of one pipeline",
            Box::new(get_page(
                "/v1/files/?limit=10&pipeline.id=547f3eede4b025bcbff38657",
            )),
        ),
    ];
    measure("keys", &sizes, &servers.each_ref(), &operations, TURNS);
    let slow: Vec<Operation<'_>> = vec![
        (
            "list, 10 by size",
            Box::new(get_page("/v1/files/?limit=10&sort=size")),
        ),
        (
            "list, 10 by name",
            Box::new(get_page("/v1/files/?limit=10&sort=name")),
        ),
    ];
    measure(
        "keys, lists that look at every key",
        &sizes,
        &servers.each_ref(),
        &slow,
        5,
    );
}

fn chunks() {
    let server = Server::start();
    let file = vec![7; CHUNK];
    let large = server.client().start("many");
    let small: Vec<Upload> = (0..TURNS.div_ceil(FEW_CHUNKS))
        .map(|number| server.client().start(&format!("few/{number}")))
        .collect();
    let before = MANY_CHUNKS - TURNS - 1;
    server.run(Amount::of(CHUNK, before, 32), |client, index| {
        client.post_chunk(&large, index, MANY_CHUNKS, &file);
    });
    let place = |column: usize, turn: usize| match column {
        0 => (&small[turn / FEW_CHUNKS], turn % FEW_CHUNKS, FEW_CHUNKS + 1),
        _ => (&large, before + turn, MANY_CHUNKS),
    };
    let operations: Vec<Operation<'_>> = vec![(
        "chunk, 4 KiB",
        Box::new(|client, column, turn| {
            let (upload, index, count) = place(column, turn);
            client.post_chunk(upload, index, count, &file);
        }),
    )];
    let sizes = [FEW_CHUNKS, MANY_CHUNKS];
    measure(
        "chunks of a session",
        &sizes,
        &[&server, &server],
        &operations,
        TURNS,
    );
    // The answer names every chunk, so it grows with them.
    let inspect: Vec<Operation<'_>> = vec![(
        "GET /v1/files/uploads/ID",
        Box::new(|client, column, _| {
            let id = &place(column, 0).0.id;
            client.json("GET", &format!("/v1/files/uploads/{id}"));
        }),
    )];
    measure(
        "chunks of a session, inspected",
        &sizes,
        &[&server, &server],
        &inspect,
        5,
    );
    let mut client = server.client();
    for (column, last) in [(0, FEW_CHUNKS), (1, MANY_CHUNKS - 1)] {
        let upload = place(column, 0).0;
        let begun = Instant::now();
        client.post_chunk(upload, last, last + 1, &file);
        let took = begun.elapsed().as_secs_f64() * 1e3;
        println!(
            "the last of {} chunks, which makes it whole: {took:.1} ms",
            last + 1
        );
    }
}

fn idle(bench: &Bench) {
    pillarbox::server::raise_file_limit(IDLE[1]);
    let settings = ["server.max_connections=6000", "server.header_timeout=10m"];
    let servers = IDLE.map(|_| Server::with(&settings));
    let silent: Vec<Vec<TcpStream>> = servers
        .iter()
        .zip(IDLE)
        .map(|(server, count)| {
            let connect = |_| TcpStream::connect(server.target.address).expect("accepted");
            (0..count).map(connect).collect()
        })
        .collect();
    let file = &bench.large[..CHUNK];
    let links: Vec<String> = servers
        .iter()
        .map(|server| {
            let mut client = server.client();
            let upload = client.start("one");
            client.post_chunk(&upload, 0, 1, file);
            client.link_to_file(&upload.id)
        })
        .collect();
    let operations: Vec<Operation<'_>> = vec![
        (
            "post, 4 KiB",
            Box::new(|client, _, turn| client.post(&bench.signer, &format!("new/{turn}"), file)),
        ),
        (
            "GET by a link",
            Box::new(|client, column, _| client.get(&links[column], CHUNK)),
        ),
    ];
    measure(
        "idle connections",
        &IDLE,
        &servers.each_ref(),
        &operations,
        TURNS,
    );
    for (server, count) in servers.iter().zip(IDLE) {
        let memory = server.process.status_kib("VmRSS") >> 10;
        println!("resident memory with {count} idle connections: {memory} MiB");
    }
    drop(silent);
}

/// Prints, for each operation, the median time at every size, and how many times that of the smallest the largest is.
fn measure(
    what: &str,
    sizes: &[usize],
    servers: &[&Server],
    operations: &[Operation<'_>],
    turns: usize,
) {
    let titles: String = sizes.iter().map(|size| format!("{size:>12}")).collect();
    println!("\n{what:<34}{titles}   ratio (median ms of {turns})");
    for (title, operation) in operations {
        let mut clients: Vec<Client> = servers.iter().map(|server| server.client()).collect();
        let mut times = vec![Vec::new(); sizes.len()];
        for turn in 0..turns {
            for (column, client) in clients.iter_mut().enumerate() {
                let begun = Instant::now();
                operation(client, column, turn);
                times[column].push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let times: Vec<f64> = times.into_iter().map(median).collect();
        let shown: String = times.iter().map(|time| format!("{time:>12.2}")).collect();
        println!(
            "{title:<34}{shown}{:>8.2}",
            times[times.len() - 1] / times[0]
        );
    }
}
