//! The road in: one post, chunks, and many small posts, beside what the machine and others can do.
//!
//! Owns: the tables of uploads, over plain HTTP and over TLS. Never does: reads.

use std::cell::Cell;

use crate::Bench;
use crate::client::Target;
use crate::figures::{Amount, Figures};
use crate::garage::{self, Garage};
use crate::nginx::{self, Nginx};
use crate::receiver;
use crate::server::Server;
use crate::table::Table;

const MIB: usize = 1 << 20;
const CHUNK: usize = 8 * MIB;

/// Both listeners' servers, and who they are compared with.
struct Peers<'a> {
    bench: &'a Bench,
    plain: Server,
    secure: Server,
    /// The release before, over plain HTTP and over TLS.
    before: Option<[Server; 2]>,
    nginx: Option<Nginx>,
    /// Without and with syncs.
    garage: [Option<Garage>; 2],
    /// Every upload gets a key of its own; a store's cost of replacing is not measured here.
    number: Cell<usize>,
}

pub(crate) fn tables(bench: &Bench) {
    let peers = Peers {
        bench,
        plain: Server::start(),
        secure: Server::start_tls(&bench.certificate),
        before: Server::before(&bench.certificate),
        nginx: Nginx::start(&bench.certificate),
        garage: [Garage::start(false), Garage::start(true)],
        number: Cell::new(0),
    };
    peers.large();
    peers.chunks(&peers.plain, "1 upload in 8 MiB chunks", "one post");
    peers.small(MIB, 16, 512);
    peers.small(64 << 10, 32, 4096);
    peers.large_tls();
    peers.chunks(
        &peers.secure,
        "1 upload in 8 MiB chunks, TLS",
        "one post, TLS",
    );
    peers.small_tls(MIB, 16, 512);
    peers.small_tls(64 << 10, 32, 4096);
    let peak = peers.plain.process.status_kib("VmHWM") >> 10;
    println!("\npeak resident memory after all of these: {peak} MiB");
}

impl Peers<'_> {
    fn large(&self) {
        let mut table = Table::new("1 upload in one post");
        let large = &self.bench.large;
        let md5 = table.row("(b) MD5 on one core", || receiver::md5(large));
        let raw = table.row("(a) received, written, synced", || {
            receiver::receive(large, 1, 1)
        });
        let before = self.before(&mut table, 0, |server| self.post_large(server));
        let row = table.ratio("one post", "of the slower of (a), (b)", &[md5, raw], || {
            self.post_large(&self.plain)
        });
        table.before(row, before);
        self.put(&mut table, false, large, 1, 1);
        self.garage(&mut table, large, 1, 1);
        table.run(self.bench.rounds);
    }

    fn large_tls(&self) {
        let mut table = Table::new("1 upload in one post, TLS");
        let plain = table.row("one post", || self.post_large(&self.plain));
        let before = self.before(&mut table, 1, |server| self.post_large(server));
        let row = table.ratio("one post, TLS", "of plain", &[plain], || {
            self.post_large(&self.secure)
        });
        table.before(row, before);
        self.put(&mut table, true, &self.bench.large, 1, 1);
        table.run(self.bench.rounds);
    }

    fn chunks(&self, server: &Server, title: &'static str, one: &str) {
        let mut table = Table::new(title);
        let listener = usize::from(server.target.tls.is_some());
        let one = table.row(one, || self.post_large(server));
        for parallel in [1, 4] {
            let title = format!("{parallel} at a time");
            let chunks = move |server: &_| self.post_chunks(server, parallel);
            let before = self.before(&mut table, listener, chunks);
            let row = table.ratio(title, "of one post", &[one], move || chunks(server));
            table.before(row, before);
        }
        table.run(self.bench.rounds);
    }

    /// Posts of one size at many connections, against files of that size synced by as many threads.
    fn small(&self, size: usize, parallel: usize, count: usize) {
        let title = format!("{} KiB, {parallel} connections", size >> 10);
        let mut table = Table::new(title.leak());
        let file = &self.bench.large[..size];
        let raw = table.row("(a) a file each, synced", || {
            receiver::receive(file, count, parallel)
        });
        let posts = move |server: &_| self.post_small(server, file, count, parallel);
        let before = self.before(&mut table, 0, posts);
        let row = table.ratio("posts", "of (a)", &[raw], move || posts(&self.plain));
        table.before(row, before);
        self.put(&mut table, false, file, count, parallel);
        self.garage(&mut table, file, count / 8, parallel);
        table.run(self.bench.rounds);
    }

    fn small_tls(&self, size: usize, parallel: usize, count: usize) {
        let title = format!("{} KiB, {parallel} connections, TLS", size >> 10);
        let mut table = Table::new(title.leak());
        let file = &self.bench.large[..size];
        let posts = move |server: &_| self.post_small(server, file, count, parallel);
        let plain = table.row("posts", move || posts(&self.plain));
        let before = self.before(&mut table, 1, posts);
        let row = table.ratio("posts, TLS", "of plain", &[plain], move || {
            posts(&self.secure)
        });
        table.before(row, before);
        self.put(&mut table, true, file, count, parallel);
        table.run(self.bench.rounds);
    }

    /// Adds a row of the release before, at its plain (0) or its TLS (1) listener.
    fn before<'a>(
        &'a self,
        table: &mut Table<'a>,
        listener: usize,
        work: impl Fn(&Server) -> Figures + 'a,
    ) -> Option<usize> {
        let server = &self.before.as_ref()?[listener];
        Some(table.row("(e) the release before", move || work(server)))
    }

    fn post_large(&self, server: &Server) -> Figures {
        let large = &self.bench.large;
        let figures = self.post_small(server, large, 1, 1);
        self.forget(&server.target);
        figures
    }

    fn post_small(&self, server: &Server, file: &[u8], count: usize, parallel: usize) -> Figures {
        let run = self.next();
        server.run(Amount::of(file.len(), count, parallel), |client, index| {
            client.post(&self.bench.signer, &format!("{run}/{index}"), file);
        })
    }

    fn post_chunks(&self, server: &Server, parallel: usize) -> Figures {
        let large = &self.bench.large;
        let count = large.len().div_ceil(CHUNK);
        let upload = server.client().start(&format!("{}", self.next()));
        let amount = Amount {
            bytes: large.len(),
            count,
            parallel,
        };
        let figures = server.run(amount, |client, index| {
            let end = large.len().min((index + 1) * CHUNK);
            client.post_chunk(&upload, index, count, &large[index * CHUNK..end]);
        });
        self.forget(&server.target);
        figures
    }

    fn put<'a>(
        &'a self,
        table: &mut Table<'a>,
        tls: bool,
        file: &'a [u8],
        count: usize,
        parallel: usize,
    ) {
        let title = "(c) nginx, PUT, no hash, no sync";
        let Some(nginx) = &self.nginx else {
            table.missing(title, nginx::HOW_TO_INSTALL);
            return;
        };
        table.row(title, move || {
            let figures = nginx.run(
                tls,
                Amount::of(file.len(), count, parallel),
                |client, index| {
                    client.put(&format!("/{index}"), file);
                },
            );
            nginx.settle();
            figures
        });
    }

    fn garage<'a>(&'a self, table: &mut Table<'a>, file: &'a [u8], count: usize, parallel: usize) {
        let titles = [
            "(d) Garage, form post, no sync",
            "(d) Garage, form post, synced",
        ];
        for (title, garage) in titles.into_iter().zip(&self.garage) {
            let Some(garage) = garage else {
                table.missing(title, garage::HOW_TO_INSTALL);
                continue;
            };
            let count = count.max(1);
            table.row(title, move || {
                garage.run(Amount::of(file.len(), count, parallel), |client, index| {
                    client.post(&garage.signer, &index.to_string(), file);
                })
            });
        }
    }

    fn next(&self) -> usize {
        self.number.replace(self.number.get() + 1)
    }

    /// Deletes what was uploaded, so that the disk does not fill.
    fn forget(&self, target: &Target) {
        let mut client = target.connect();
        let files = client.json("GET", "/v1/files/?sort=size&direction=-1&limit=4");
        for file in files["files"].as_array().expect("files") {
            let id = file["id"].as_str().expect("an id");
            client.json("DELETE", &format!("/v1/files/{id}"));
        }
    }
}
