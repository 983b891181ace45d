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
use std::thread;
use std::time::Instant;

use pillarbox::model::Md5;

use super::{Figures, run};

/// (b) MD5 of the bytes.
pub(super) fn md5(bytes: &[u8]) -> Figures {
    let started = Instant::now();
    std::hint::black_box(Md5::of(bytes));
    let seconds = started.elapsed().as_secs_f64();
    Figures {
        bytes: bytes.len(),
        seconds,
        each: vec![seconds],
        cpu_seconds: seconds,
    }
}

/// (a) `total` bytes in files of `file.len()` bytes over `parallel` connections, each file synced before its answer.
pub(super) fn receive(file: &[u8], total: usize, parallel: usize) -> Figures {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections: Vec<_> = (0..parallel)
        .map(|_| TcpStream::connect(address).expect("accepted"))
        .collect();
    thread::scope(|scope| {
        for connection in 0..parallel {
            let (stream, _) = listener.accept().expect("a connection");
            let folder = folder.path();
            scope.spawn(move || take_files(stream, folder, connection, file.len()));
        }
        let figures = run(total, total / file.len(), parallel, &|_, worker| {
            let mut stream = &connections[worker];
            stream.write_all(file).expect("the file is sent");
            stream.read_exact(&mut [0]).expect("the answer");
        });
        drop(connections);
        figures
    })
}

fn take_files(mut stream: TcpStream, folder: &Path, connection: usize, size: usize) {
    let mut buffer = vec![0; size.min(1 << 20)];
    for number in 0.. {
        let mut taken = 0;
        let mut file = None;
        while taken < size {
            let wanted = buffer.len().min(size - taken);
            let Ok(1..) = stream.peek(&mut [0]) else {
                return;
            };
            stream.read_exact(&mut buffer[..wanted]).expect("the bytes");
            let file = file.get_or_insert_with(|| {
                File::create(folder.join(format!("{connection}.{number}"))).expect("a file")
            });
            file.write_all_at(&buffer[..wanted], taken as u64)
                .expect("written");
            taken += wanted;
        }
        file.expect("a file").sync_data().expect("synced");
        stream.write_all(&[1]).expect("answered");
    }
}
