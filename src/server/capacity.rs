//! How many connections each door may hold under this process's limit of open files, and how many streams each of them.
//!
//! Owns: lifting the limit as far as it goes, and sharing it out: whoever is let in finds a descriptor for the file it writes or
//! reads, and a health check finds one for itself, however many clients wait outside.
//!
//! Never does: accept; `listener.rs` does, with as many permits as are counted here.
//!
//! Invariant: the program's own files and the connections of all doors, each with the files it may open, fit under the limit.
//! Streams of HTTP/2 open a file each (two while an upload is put together) and are counted apart: [`ALL_STREAMS`] while there are few connections, and
//! [`STREAMS`] at least for each of many. With 1,024 connections that came one after another these are at most 10,400 streams, which fit under the 65,536
//! files of the unit as well. Under a limit of a few thousand they may not: one that finds no descriptor is answered 503.

use std::ops::RangeInclusive;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Most connections of the admin listener; its own number, so that health checks work when the public one is full.
const MAX_ADMIN_CONNECTIONS: u64 = 64;

/// Most connections of the control socket.
const MAX_CONTROL_CONNECTIONS: u64 = 16;

/// Descriptors that belong to no connection: standard streams, pollers, signals, the lock, the index, the listeners (17 in all), and
/// folders that are synced for a moment.
const OWN_DESCRIPTORS: u64 = 24;

/// Descriptors of one public connection: its socket, and two files while an upload is put together.
const DESCRIPTORS_EACH: u64 = 3;

/// Streams at once on one HTTP/2 connection: the first while there are many connections, the last while there are few. Eight are what a browser asks for at
/// once, and each may hold an open file and what was read of it.
const STREAMS: RangeInclusive<u32> = 8..=64;

/// Streams at once on all connections together, as far as the smallest number allows.
const ALL_STREAMS: usize = 1024;

/// How many streams at once a connection may have that comes to so many others.
pub(super) fn streams(connections: usize) -> u32 {
    let share = ALL_STREAMS / connections.max(1);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    share.clamp(*STREAMS.start(), *STREAMS.end())
}

/// How many connections may be open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) public: usize,
    pub(super) admin: usize,
    pub(super) control: usize,
}

impl Capacity {
    /// What fits under the limit that is in force now.
    pub(super) fn now(max_connections: usize) -> Self {
        Self::under(getrlimit(Resource::Nofile).current, max_connections)
    }

    /// What fits under `limit` descriptors; at least one connection at each door.
    fn under(limit: Option<u64>, max_connections: usize) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let admin = (limit / 16).clamp(1, MAX_ADMIN_CONNECTIONS);
        let control = (limit / 32).clamp(1, MAX_CONTROL_CONNECTIONS);
        let left = limit.saturating_sub(OWN_DESCRIPTORS + admin + control);
        let count = |n| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            public: count((left / DESCRIPTORS_EACH).max(1)).min(max_connections),
            admin: count(admin),
            control: count(control),
        }
    }
}

/// Lifts this process's limit of open files to the most that it may have, and warns when that is too few for `max_connections`.
pub fn raise_file_limit(max_connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
    let connections = Capacity::now(max_connections).public;
    if connections < max_connections {
        tracing::warn!(
            connections,
            max_connections,
            "the limit of open files has room for fewer connections than server.max_connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(capacity: Capacity) -> usize {
        24 + 3 * capacity.public + capacity.admin + capacity.control
    }

    #[test]
    fn all_doors_together_fit_under_the_limit() {
        for limit in [32, 48, 64, 128, 256, 1024, 3000] {
            let capacity = Capacity::under(Some(limit), 1_000_000);
            let (needed, limit) = (needed(capacity), usize::try_from(limit).unwrap());
            assert!(needed <= limit, "{capacity:?} needs {needed} of {limit}");
            assert!(limit - needed < 3, "{capacity:?} wastes some of {limit}");
        }
    }

    #[test]
    fn few_connections_have_many_streams_and_many_have_few() {
        assert_eq!(streams(0), 64);
        assert_eq!(streams(16), 64);
        assert_eq!(streams(32), 32);
        assert_eq!(streams(usize::MAX), 8);
        // However they came, each held what it had when it began.
        let all = |count| -> u64 { (0..count).map(|n| u64::from(streams(n))).sum() };
        assert!(all(32) < 2 * ALL_STREAMS as u64, "{}", all(32));
        assert!(all(1024) <= 10_400, "{}", all(1024));
        // Each with two files, and its connection.
        let usual = Capacity::under(Some(65_536), 1024);
        let own = needed(usual) - 2 * usual.public;
        assert!(own as u64 + 2 * all(1024) < 65_536);
    }

    #[test]
    fn a_usual_limit_leaves_the_configured_number() {
        let usual = Capacity {
            public: 1024,
            admin: 64,
            control: 16,
        };
        assert_eq!(Capacity::under(Some(65_536), 1024), usual);
        assert_eq!(Capacity::under(None, 1024), usual);
    }

    #[test]
    fn a_limit_that_barely_starts_the_program_lets_one_in_at_each_door() {
        let one = Capacity {
            public: 1,
            admin: 1,
            control: 1,
        };
        assert_eq!(Capacity::under(Some(18), 1024), one);
    }
}
