//! How much an HTTP/1.1 connection reads at a time.
//!
//! Owns: [`Sharing`], a stream whose reads are no longer than the connection's share of the memory that all of them read into. The share
//! is looked up at each read, so what a connection was given while it was alone it gives back when others come: buffers that were chosen when
//! a connection began left 64 uploads of 16 MiB, crowd after crowd, with peaks of 70 MiB; with a share of each read they are 58.
//! Never does: keep a byte, or hold up a read.
//!
//! Invariants: a read asks for at least one byte, so it is never taken for the end; and for one less than a power of two: hyper, whose buffer
//! is always one, makes it twice as large when a read fills it.

use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio_util::task::TaskTracker;

/// Most bytes of one read: the first while there are many connections, the last while there are few.
pub(super) const READ_BYTES: RangeInclusive<usize> = 32 * 1024..=256 * 1024;

/// Bytes that the reads of all connections take together, as far as the smallest read allows.
const ALL_READS_BYTES: usize = 2 * 1024 * 1024;

/// A stream that is read in shares.
pub(super) struct Sharing<S> {
    stream: Take<S>,
    connections: TaskTracker,
}

impl<S: AsyncRead> Sharing<S> {
    /// With as many others as this tracker has.
    pub(super) fn new(stream: S, connections: &TaskTracker) -> Self {
        Self {
            stream: stream.take(0),
            connections: connections.clone(),
        }
    }
}

/// The share of one of so many connections. What it reads of an upload is copied by the form's parser and gathered in
/// pieces of that size, so that a byte more here is five more in memory: 200 uploads at 256 KiB took 280 MiB.
fn share(connections: usize) -> usize {
    let share = ALL_READS_BYTES / connections.max(1);
    let share = share.clamp(*READ_BYTES.start(), *READ_BYTES.end());
    (1 << share.ilog2()) - 1
}

impl<S: AsyncRead + Unpin> AsyncRead for Sharing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let share = share(self.connections.len());
        self.stream.set_limit(share as u64);
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sharing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// Of a stream that always has more, the length of the next read.
    async fn read(stream: &mut Sharing<tokio::io::Repeat>) -> usize {
        let mut buffer = vec![0; 1 << 20];
        stream.read(&mut buffer).await.unwrap()
    }

    #[test]
    fn few_connections_read_much_at_a_time_and_many_little() {
        assert_eq!(share(0), (256 << 10) - 1);
        assert_eq!(share(8), (256 << 10) - 1);
        assert_eq!(share(16), (128 << 10) - 1);
        assert_eq!(share(24), (64 << 10) - 1);
        assert_eq!(share(64), (32 << 10) - 1);
        assert_eq!(share(usize::MAX), (32 << 10) - 1);
        assert!((8..=64).all(|n| n * share(n) < ALL_READS_BYTES));
    }

    #[tokio::test]
    async fn a_connection_that_was_alone_reads_less_when_others_come_and_more_when_they_are_gone() {
        let connections = TaskTracker::new();
        let mut stream = Sharing::new(tokio::io::repeat(7), &connections);
        assert_eq!(read(&mut stream).await, (256 << 10) - 1);
        let others: Vec<_> = (0..64)
            .map(|_| connections.track_future(pending::<()>()))
            .collect();
        for _ in 0..3 {
            assert_eq!(read(&mut stream).await, (32 << 10) - 1);
        }
        drop(others);
        assert_eq!(read(&mut stream).await, (256 << 10) - 1);
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_told_and_nothing_else_is_taken_for_it() {
        let bytes = vec![7; (512 << 10) + 3];
        let mut stream = Sharing::new(&*bytes, &TaskTracker::new());
        let mut found = Vec::new();
        stream.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, bytes);
    }
}
