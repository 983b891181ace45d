//! The refusals of the last minutes, for those who ask why.
//!
//! Owns: a bounded memory of [`Case`]s, each behind an id that only the refused client was told, and what gives way when it is full.
//! Never does: explain (that is done when somebody asks, so that a refusal costs a move and no work), or write to disk.
//!
//! Invariants: at most [`MAX_KEPT`] cases of [`MAX_KEPT_BYTES`] together and [`MAX_CASE_BYTES`] each; a case is gone after
//! [`LIFETIME`]. When there is no room, the client who holds the most loses its oldest: who floods the memory drops its own cases, and
//! those of others stay. Only a hash of an id is kept, so looking one up takes no time that depends on the ids that are there.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::seen::Case;
use crate::model::{Timestamp, TokenHash, encode_hex};

/// How long an explanation can be read.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Most cases that are kept.
pub const MAX_KEPT: usize = 512;
/// Most bytes of all cases together.
pub const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of one case; of a larger one the fields are left out.
pub const MAX_CASE_BYTES: usize = 64 * 1024;
/// Bytes of an id: 128 random bits.
pub const ID_BYTES: usize = 16;

/// The id of a case, for its link.
pub(super) fn id_of(random: &[u8; ID_BYTES]) -> String {
    encode_hex(random)
}

/// Who was refused: an IPv4 address, the network of an IPv6 address (whoever has one has 2^64), or whoever comes by a Unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Client(Option<IpAddr>);

impl Client {
    fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

struct Entry {
    id: TokenHash,
    client: Client,
    until: Timestamp,
    bytes: usize,
    case: Arc<Case>,
}

#[derive(Default)]
struct Ring {
    /// In the order of arrival.
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// The memory.
#[derive(Default)]
pub struct Kept(Mutex<Ring>);

impl Kept {
    /// Keeps a case for a client behind the id of these random bytes, which are drawn for it alone.
    pub(super) fn keep(
        &self,
        mut case: Case,
        client: Option<IpAddr>,
        random: [u8; ID_BYTES],
        now: Timestamp,
    ) {
        case.seen.close();
        if case.bytes() > MAX_CASE_BYTES {
            case.seen.shed();
        }
        let entry = Entry {
            id: TokenHash::of(&id_of(&random)),
            client: Client::of(client),
            until: now.plus(LIFETIME),
            bytes: case.bytes() + size_of::<Entry>(),
            case: Arc::new(case),
        };
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.forget_what_is_over(now);
        ring.make_room(entry.bytes);
        ring.bytes += entry.bytes;
        ring.entries.push_back(entry);
    }

    /// The case behind an id.
    pub(super) fn find(&self, id: &str, now: Timestamp) -> Option<Arc<Case>> {
        let wanted = TokenHash::of(id);
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live = ring.entries.iter().filter(|entry| now < entry.until);
        live.find(|entry| entry.id == wanted)
            .map(|entry| Arc::clone(&entry.case))
    }

    /// How many cases are kept, and how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.entries.len(), ring.bytes)
    }
}

impl Ring {
    fn forget_what_is_over(&mut self, now: Timestamp) {
        while self.entries.front().is_some_and(|entry| entry.until <= now) {
            self.drop_at(0);
        }
    }

    /// Drops the oldest of the greediest until there is room for `bytes` more.
    fn make_room(&mut self, bytes: usize) {
        while !self.entries.is_empty()
            && (self.entries.len() >= MAX_KEPT || self.bytes + bytes > MAX_KEPT_BYTES)
        {
            let oldest = self.oldest_of_greediest();
            self.drop_at(oldest);
        }
    }

    fn oldest_of_greediest(&self) -> usize {
        let mut held: HashMap<Client, (usize, usize)> = HashMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let (_, bytes) = held.entry(entry.client).or_insert((at, 0));
            *bytes += entry.bytes;
        }
        let greediest = held.into_values().max_by_key(|(_, bytes)| *bytes);
        greediest.map_or(0, |(oldest, _)| oldest)
    }

    fn drop_at(&mut self, at: usize) {
        if let Some(entry) = self.entries.remove(at) {
            self.bytes -= entry.bytes;
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cases, bytes) = self.size();
        write!(f, "Kept({cases} cases, {bytes} bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::explain::seen::{Asked, Seen};

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn case(path_bytes: usize) -> Case {
        let asked = Asked {
            path: "x".repeat(path_bytes),
            ..Asked::default()
        };
        Case {
            asked,
            refusal: None,
            seen: Seen::at(NOW),
        }
    }

    fn keep(
        kept: &Kept,
        case: Case,
        client: Option<IpAddr>,
        number: u32,
        now: Timestamp,
    ) -> String {
        let random = u128::from(number).to_be_bytes();
        kept.keep(case, client, random, now);
        id_of(&random)
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_case_is_found_by_its_id_until_it_is_over() {
        let kept = Kept::default();
        let told = keep(&kept, case(1), address(1), 1, NOW);
        assert_eq!(told, "00000000000000000000000000000001");
        let last = NOW.plus(LIFETIME).minus(Duration::from_millis(1));
        assert!(kept.find(&told, NOW).is_some() && kept.find(&told, last).is_some());
        assert!(kept.find(&told, NOW.plus(LIFETIME)).is_none());
        assert!(kept.find("00000000000000000000000000000002", NOW).is_none());
        keep(&kept, case(1), address(1), 2, NOW.plus(LIFETIME));
        assert_eq!(kept.size().0, 1, "what is over is forgotten");
    }

    #[test]
    fn the_memory_has_a_limit_in_cases_and_in_bytes() {
        for (path_bytes, most) in [(10, MAX_KEPT), (60_000, MAX_KEPT_BYTES / 60_000)] {
            let kept = Kept::default();
            for number in 0..2000 {
                keep(&kept, case(path_bytes), address(1), number, NOW);
                let (cases, bytes) = kept.size();
                assert!(
                    cases <= MAX_KEPT && bytes <= MAX_KEPT_BYTES,
                    "{cases} {bytes}"
                );
            }
            let (cases, _) = kept.size();
            assert!(cases <= most && cases > most / 2, "{cases} of {most}");
        }
    }

    #[test]
    fn who_floods_the_memory_drops_his_own_cases_and_not_those_of_others() {
        let kept = Kept::default();
        let mine = keep(&kept, case(500), address(1), 1, NOW);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let theirs = keep(&kept, case(500), Some(v6), 2, NOW);
        for number in 3..5000 {
            keep(
                &kept,
                case(if number % 2 == 0 { 100 } else { 50_000 }),
                address(2),
                number,
                NOW,
            );
        }
        assert!(kept.find(&mine, NOW).is_some() && kept.find(&theirs, NOW).is_some());
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_client() {
        let of = |text: &str| Client::of(Some(text.parse().unwrap()));
        assert!(of("2001:db8::1") == of("2001:db8::ffff:1"));
        assert!(of("2001:db8::1") != of("2001:db8:0:1::1"));
        assert!(of("::ffff:192.0.2.1") == of("192.0.2.1"));
    }

    #[test]
    fn of_a_case_that_is_too_large_the_rest_is_kept() {
        let kept = Kept::default();
        let mut large = case(100);
        let value = "v".repeat(20_000);
        for name in 0..1 {
            large.seen.part_begins(crate::api::part_head::PartHead {
                name: format!("x-amz-meta-{name}"),
                file_name: None,
            });
            large.seen.value(value.as_bytes()).unwrap();
        }
        large.refusal = Some(super::super::seen::Refusal {
            code: crate::api::error::ErrorCode::AccessDenied,
            message: "m".repeat(MAX_CASE_BYTES - 10_000),
            extras: Vec::new(),
        });
        let told = keep(&kept, large, address(1), 1, NOW);
        let found = kept.find(&told, NOW).unwrap();
        assert_eq!(found.seen.form().iter().count(), 0);
        assert!(found.refusal.is_some() && kept.size().1 <= MAX_CASE_BYTES + 1024);
    }
}
