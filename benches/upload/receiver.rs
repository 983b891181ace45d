//! What the machine can do at all, measured in the same run.
//!
//! Owns: reference (a), bytes received from loopback, written and synced by a minimal receiver; and (b), MD5 on one core.
//! Never does: HTTP, hash in (a), or sync in (b).
//!
//! Invariant: (a) syncs each file before it answers, as the server does.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use pillarbox::model::Md5;

use crate::figures::{Amount, Figures, spread};
use crate::server::folder;

/// (b) MD5 of the bytes.
pub(crate) fn md5(bytes: &[u8]) -> Figures {
    let started = Instant::now();
    std::hint::black_box(Md5::of(bytes));
    let seconds = started.elapsed().as_secs_f64();
    Figures {
        bytes: bytes.len(),
        seconds,
        each: vec![seconds],
        cpu_seconds: Some(seconds),
    }
}

/// (a) `count` copies of `file` over `parallel` connections, each synced before its answer.
pub(crate) fn receive(file: &[u8], count: usize, parallel: usize) -> Figures {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let accepting = Mutex::new(listener);
    thread::scope(|scope| {
        let connect = |connection| {
            let accepting = accepting.lock().expect("no panic");
            let client = TcpStream::connect(address).expect("accepted");
            let (stream, _) = accepting.accept().expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let folder = folder.path();
            scope.spawn(move || take_files(stream, folder, connection, file.len()));
            client
        };
        spread(
            Amount::of(file.len(), count, parallel),
            connect,
            |client, _| {
                client.write_all(file).expect("the file is sent");
                client.read_exact(&mut [0]).expect("the answer");
            },
        )
    })
}

fn take_files(mut stream: TcpStream, folder: &Path, connection: usize, size: usize) {
    let mut buffer = vec![0; size.min(1 << 20)];
    for number in 0.. {
        let Ok(1..) = stream.peek(&mut [0]) else {
            return;
        };
        let path = folder.join(format!("{connection}.{number}"));
        let file = File::create(path).expect("a file");
        let mut taken = 0;
        while taken < size {
            let wanted = buffer.len().min(size - taken);
            stream.read_exact(&mut buffer[..wanted]).expect("the bytes");
            let written = file.write_all_at(&buffer[..wanted], taken as u64);
            written.expect("written");
            taken += wanted;
        }
        file.sync_data().expect("synced");
        stream.write_all(&[1]).expect("answered");
    }
}
