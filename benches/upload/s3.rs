//! The S3 dialect: PUT beside the form post, GET beside nginx, and pages of a long list.
//!
//! Owns: those tables, over presigned URLs, so that every request is proven by its signature. Never does: a cold disk.

use std::time::Instant;

use crate::Bench;
use crate::client::{Client, PIPELINE};
use crate::figures::Amount;
use crate::fill::fill;
use crate::nginx::{self, Nginx};
use crate::presign::Presigner;
use crate::server::{Server, folder};
use crate::table::{Table, median};

const MIB: usize = 1 << 20;
/// So many small objects are more than the server keeps in its own memory.
const MANY_OBJECTS: usize = 1024;
/// Pages of a list that are asked for, at most.
const MAX_PAGES: usize = 400;

pub(crate) fn tables(bench: &Bench) {
    let server = Server::start();
    let signer = Presigner::new(server.target.address);
    for (size, count, parallel) in [
        (bench.large.len(), 1, 1),
        (MIB, 512, 16),
        (64 << 10, 4096, 32),
    ] {
        puts(bench, &server, &signer, Amount::of(size, count, parallel));
    }
    let nginx = Nginx::start(&bench.certificate);
    let small = Amount::of(64 << 10, 8192, 32);
    for (amount, objects) in [
        (Amount::of(bench.large.len(), 1, 1), 1),
        (small, 1),
        (small, MANY_OBJECTS),
    ] {
        gets(bench, &server, &signer, nginx.as_ref(), (amount, objects));
    }
    let peak = server.process.status_kib("VmHWM") >> 10;
    println!("\npeak resident memory after all of these: {peak} MiB");
    drop(server);
    lists(bench);
}

fn title(what: &str, amount: Amount) -> &'static str {
    let size = amount.bytes / amount.count;
    let (size, connections) = (size >> 10, amount.parallel);
    format!("S3 {what}, {size} KiB, {connections} at a time").leak()
}

/// Every round writes the same keys, so that the disk does not fill; a post and a PUT replace alike.
fn puts(bench: &Bench, server: &Server, signer: &Presigner, amount: Amount) {
    let mut table = Table::new(title("PUT", amount));
    let file = &bench.large[..amount.bytes / amount.count];
    let post = table.row("form post", move || {
        server.run(amount, |client, index| {
            client.post(&bench.signer, &format!("post/{index}"), file);
        })
    });
    table.ratio("PUT, presigned", "of form post", &[post], move || {
        server.run(amount, |client, index| {
            let path = format!("/uploads/put/{index}");
            client.put(&signer.target("PUT", &path, ""), file);
        })
    });
    table.run(bench.rounds);
}

/// The same object again and again, or one after the other of so many.
fn gets(
    bench: &Bench,
    server: &Server,
    signer: &Presigner,
    nginx: Option<&Nginx>,
    (amount, objects): (Amount, usize),
) {
    let size = amount.bytes / amount.count;
    let file = &bench.large[..size];
    let path = |number: usize| format!("/uploads/get/{size}/{number}");
    let mut client = server.client();
    for number in 0..objects {
        client.put(&signer.target("PUT", &path(number), ""), file);
    }
    let targets: Vec<_> = (0..objects)
        .map(|number| signer.target("GET", &path(number), ""))
        .collect();
    let mut table = Table::new(title(&format!("GET of {objects}"), amount));
    let served = "(c) nginx, static file";
    let rows = match nginx {
        None => vec![table.missing(served, nginx::HOW_TO_INSTALL)],
        Some(nginx) => {
            for number in 0..objects {
                nginx.put_file(&format!("{size}-{number}"), file);
            }
            vec![table.row(served, move || {
                nginx.run(false, amount, |client, index| {
                    client.get(&format!("/{size}-{}", index % objects), size)
                })
            })]
        }
    };
    table.ratio("GET, presigned", "of (c)", &rows, move || {
        server.run(amount, |client, index| {
            client.get(&targets[index % objects], size)
        })
    });
    table.run(bench.rounds);
}

/// Pages of 1,000 of all there is, one after the other, as a client walks through them.
fn lists(bench: &Bench) {
    let folder = folder();
    let data = folder.path().join("data");
    fill(&data, bench.objects);
    let server = Server::on(&data);
    let signer = Presigner::new(server.target.address);
    let mut client = server.client();
    let prefix = format!("tmp%2F{PIPELINE}%2F");
    println!("\npages of 1,000 of {} keys", bench.objects);
    for (what, delimiter, prefix) in [
        ("all keys", "", ""),
        ("the folders of a prefix", "delimiter=%2F&", &*prefix),
        ("the same once more", "delimiter=%2F&", &*prefix),
    ] {
        let before = server.process.status_kib("VmRSS");
        let pages = walk(&mut client, &signer, delimiter, prefix);
        let after = server.process.status_kib("VmRSS");
        let worst = pages.iter().copied().fold(0.0, f64::max);
        println!(
            "{what:<40}{:>8.1} ms at the median of {} pages, at most {worst:.1}; resident {} MiB before and {} after",
            median(pages.clone()),
            pages.len(),
            before >> 10,
            after >> 10
        );
    }
}

/// The milliseconds of each page.
fn walk(client: &mut Client, signer: &Presigner, delimiter: &str, prefix: &str) -> Vec<f64> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    while pages.len() < MAX_PAGES {
        // In the order of a signature: by the name of each parameter.
        let params = format!("{token}{delimiter}list-type=2&prefix={prefix}");
        let target = signer.target("GET", "/uploads", &params);
        let begun = Instant::now();
        let page = client.text("GET", &target);
        pages.push(begun.elapsed().as_secs_f64() * 1e3);
        let Some(next) = between(&page, "<NextContinuationToken>", "<") else {
            break;
        };
        let encoded = percent_encoding::utf8_percent_encode(next, crate::presign::RESERVED);
        token = format!("continuation-token={encoded}&");
    }
    pages
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}
