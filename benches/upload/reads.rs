//! The road out: one large download, and many small ones, beside nginx serving the same bytes from plain files.
//!
//! Owns: the tables of downloads, over plain HTTP and over TLS. Never does: measure a cold disk; both read from memory.

use crate::Bench;
use crate::figures::Amount;
use crate::nginx::{self, Nginx};
use crate::server::Server;
use crate::table::Table;

pub(crate) fn tables(bench: &Bench) {
    let plain = Server::start();
    let secure = Server::start_tls(&bench.certificate);
    let nginx = Nginx::start(&bench.certificate);
    let large = Amount::of(bench.large.len(), 1, 1);
    let small = Amount::of(64 << 10, 8192, 32);
    for (amount, title) in [
        (large, "1 download"),
        (small, "64 KiB downloads, 32 connections"),
    ] {
        for (server, tls) in [(&plain, false), (&secure, true)] {
            table(
                bench,
                title,
                amount,
                server,
                nginx.as_ref().map(|nginx| (nginx, tls)),
            );
        }
    }
}

fn table(
    bench: &Bench,
    title: &'static str,
    amount: Amount,
    server: &Server,
    nginx: Option<(&Nginx, bool)>,
) {
    let size = amount.bytes / amount.count;
    let file = &bench.large[..size];
    let mut client = server.client();
    let key = format!("read/{size}");
    let upload = client.start(&key);
    client.post_chunk(&upload, 0, 1, file);
    let link = client.link_to_file(&upload.id);
    let tls = server.target.tls.is_some();
    let title = format!("{title}{}", if tls { ", TLS" } else { "" });
    let mut table = Table::new(title.leak());
    let served = "(c) nginx, static file";
    let rows = match nginx {
        None => vec![table.missing(served, nginx::HOW_TO_INSTALL)],
        Some((nginx, tls)) => {
            nginx.put_file(&size.to_string(), file);
            vec![table.row(served, move || {
                nginx.run(tls, amount, |client, _| {
                    client.get(&format!("/{size}"), size)
                })
            })]
        }
    };
    table.ratio("GET by a download link", "of (c)", &rows, || {
        server.run(amount, |client, _| client.get(&link, size))
    });
    table.run(bench.rounds);
}
