//! The tokens of each application, in the order in which they were issued, and how many they are.
//!
//! Owns: the table [`APPLICATION_TOKENS`], a counter for each application, which tokens give way to another one, and how many tokens of
//! whomever go in one job.
//! Never does: judge whether a token is good; whoever is shown one does.
//!
//! Invariants:
//! 1. The row of a token, and the counter, change in the job that changes the token; so they are right after a restart, a sweep and a
//!    removal. A rebuild of the index brings none of these tokens back (`snapshot`), and so no row.
//! 2. An application has at most [`MAX_TOKENS_OF_APPLICATION`] tokens. For one more those that have expired go, else the one that was issued first. To refuse
//!    the new one would be worse: a build job that fetches a token each time and gives none back, which nothing of RFC 6749 asks
//!    of it, would be locked out by leftovers for up to 30 days, and its client does not expect a refusal; whose token was taken back is
//!    answered as for one that has expired, and clients fetch another then. Other services that count do the same.
//! 3. The rows are in the order of issue, by the clock as long as that goes on, and behind each other when it went back: whatever the time,
//!    the token that was issued last is the last to go.
//! 4. The rows are looked at only where an application has as many as it may: at most so many of them.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::index::Txn;
use super::records::{self, APPLICATION_TOKENS, META};
use super::{Engine, catalog, damage, snapshot};
use crate::model::{Id, Token, TokenHash};
use crate::store::{CatalogEntry, CatalogKey, MAX_TOKENS_OF_APPLICATION, StoreError};

/// Tokens that are removed in one job.
const STEP: usize = 256;
/// Length of what puts a row in its place: the milliseconds of its issue.
const PLACE_BYTES: usize = 8;

/// A token that was issued to an application, and to which.
fn issued(entry: &CatalogEntry) -> Option<(&Token, Id)> {
    match entry {
        CatalogEntry::Token(token) => Some((token, token.application?)),
        _ => None,
    }
}

/// Notes an entry that was not there.
pub(super) fn put(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    let Some((token, application)) = issued(entry) else {
        return Ok(());
    };
    let place = next_place(txn, token, application)?;
    let row = row_key(application, &place, token.hash);
    txn.put(row, records::end_of(token.expires_at))?;
    if place != records::sortable(token.created_at) {
        txn.put(place_key(application, token.hash), place.to_vec())?;
    }
    txn.put(last_key(application), place.to_vec())?;
    count(txn, application, |tokens| tokens.saturating_add(1))
}

/// Where the row of a new token stands: behind all others, also when the clock went back since.
fn next_place(
    txn: &mut Txn<'_>,
    token: &Token,
    application: Id,
) -> Result<[u8; PLACE_BYTES], StoreError> {
    let (held, now) = (held(txn, application)?, records::sortable(token.created_at));
    let mut last = txn.get(&last_key(application))?;
    if last.is_none() && held > 0 {
        // An earlier version issued them, which does not note it.
        txn.scan(&prefix(application), |row, _| {
            last = row.get(prefix(application).len()..).map(<[u8]>::to_vec);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let last = last.and_then(|last| last.first_chunk().copied());
    let behind = last.map(|last| u64::from_be_bytes(last).saturating_add(1).to_be_bytes());
    Ok(behind.map_or(now, |behind| behind.max(now)))
}

/// Forgets an entry that goes.
pub(super) fn remove(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    match issued(entry) {
        Some((token, application)) => {
            let row = row_of(txn, token, application)?;
            forget(txn, row, application)
        }
        None => Ok(()),
    }
}

/// The row of a token. Where the clock had gone back it stands further behind than the token says. One of an earlier version, which did not
/// note where, stays until it is to give way.
fn row_of(txn: &Txn<'_>, token: &Token, application: Id) -> Result<Vec<u8>, StoreError> {
    let noted = txn.get(&place_key(application, token.hash))?;
    let place = noted.and_then(|place| place.try_into().ok());
    let place = place.unwrap_or_else(|| records::sortable(token.created_at));
    Ok(row_key(application, &place, token.hash))
}

/// Takes tokens out for a new one, where its application has as many as it may.
pub(super) fn make_place(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    let Some((token, application)) = issued(entry) else {
        return Ok(());
    };
    if held(txn, application)? < MAX_TOKENS_OF_APPLICATION as u64 {
        return Ok(());
    }
    let (mut looked_at, mut oldest, mut going) = (0, None, Vec::new());
    txn.scan(&prefix(application), |row, end| {
        looked_at += 1;
        if records::has_expired(end, token.created_at) {
            going.push(row.to_vec());
        } else if oldest.is_none() {
            oldest = Some(row.to_vec());
        }
        Ok(match looked_at {
            MAX_TOKENS_OF_APPLICATION.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    })?;
    if looked_at < MAX_TOKENS_OF_APPLICATION {
        // An earlier version, which does not count, has taken some away.
        count(txn, application, |_| looked_at as u64)?;
    } else if going.is_empty() {
        going.extend(oldest);
    }
    tracing::debug!(%application, tokens = going.len(), "tokens give way to a new one");
    going
        .into_iter()
        .try_for_each(|row| take(txn, row, application))
}

/// Takes out the token of a row.
fn take(txn: &mut Txn<'_>, row: Vec<u8>, application: Id) -> Result<(), StoreError> {
    let Some(hash) = row.last_chunk().copied().map(TokenHash::from_bytes) else {
        return forget(txn, row, application);
    };
    match catalog::take_out(txn, &CatalogKey::Token(hash)) {
        // The row is gone with its token. Were there none, the row may not keep the application from its next one.
        Ok(_) => forget(txn, row, application),
        Err(error) if damage::is_of_one_record(&error) => {
            tracing::warn!(%application, "a token stays that was to give way: its record cannot be read");
            forget(txn, row, application)
        }
        Err(error) => Err(error),
    }
}

/// Removes tokens, a step at a time; how many of them there were.
pub(super) async fn remove_tokens(
    engine: &Arc<Engine>,
    tokens: Vec<TokenHash>,
) -> Result<usize, StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        let (mut removed, mut lasting, mut done) = (0, false, Ok(()));
        for step in tokens.chunks(STEP) {
            let step = step.to_vec();
            let job = move |txn: &mut Txn<'_>| {
                txn.makes_room();
                let gone = step
                    .iter()
                    .map(|hash| catalog::take_out(txn, &CatalogKey::Token(*hash)));
                gone.filter_map(Result::transpose).collect()
            };
            let gone: Vec<CatalogEntry> = match owner.index.commit(job).await {
                Ok(gone) => gone,
                Err(error) => {
                    done = Err(error);
                    break;
                }
            };
            removed += gone.len();
            lasting |= gone.iter().any(catalog::is_lasting);
        }
        // Also of what went before a failure, or whoever asks again would be told that all is gone.
        match (lasting, removed) {
            (true, _) => snapshot::write(&owner).await?,
            // As where one entry goes.
            (false, 0) => snapshot::catch_up(&owner).await?,
            (false, _) => {}
        }
        done.map(|()| removed)
    };
    engine.carry_out(work).await
}

fn forget(txn: &mut Txn<'_>, row: Vec<u8>, application: Id) -> Result<(), StoreError> {
    if txn.get(&row)?.is_none() {
        return Ok(());
    }
    if let Some(hash) = row.last_chunk().copied().map(TokenHash::from_bytes) {
        txn.delete(place_key(application, hash));
    }
    txn.delete(row);
    count(txn, application, |tokens| tokens.saturating_sub(1))
}

fn count(
    txn: &mut Txn<'_>,
    application: Id,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), StoreError> {
    let key = count_key(application);
    match change(held(txn, application)?) {
        0 => {
            txn.delete(key);
            txn.delete(last_key(application));
            Ok(())
        }
        tokens => txn.put(key, tokens.to_be_bytes().to_vec()),
    }
}

fn prefix(application: Id) -> Vec<u8> {
    records::key(APPLICATION_TOKENS, &[application.as_bytes()])
}

fn row_key(application: Id, place: &[u8; PLACE_BYTES], hash: TokenHash) -> Vec<u8> {
    let parts: [&[u8]; 3] = [application.as_bytes(), place, hash.as_bytes()];
    records::key(APPLICATION_TOKENS, &parts)
}

/// How many tokens an application has.
fn held(txn: &Txn<'_>, application: Id) -> Result<u64, StoreError> {
    let count = txn.get(&count_key(application))?;
    Ok(records::parse_count(count.as_deref()))
}

/// Where it is kept at which place the last token was put.
fn last_key(application: Id) -> Vec<u8> {
    records::key(META, &[b"last token of ", application.as_bytes()])
}

/// Where it is kept at which place the row of a token is, if that is not the moment of its issue.
fn place_key(application: Id, hash: TokenHash) -> Vec<u8> {
    let parts: [&[u8]; 3] = [b"place of token ", application.as_bytes(), hash.as_bytes()];
    records::key(META, &parts)
}

fn count_key(application: Id) -> Vec<u8> {
    records::key(META, &[b"tokens of ", application.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Scopes, Timestamp};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::counts::set_count;
    use crate::store::embedded::records::CATALOG;
    use crate::store::embedded::tests::{Folder, NOW};
    use crate::store::{
        Catalog as _, CatalogKind, MAX_CATALOG_ENTRIES, ObjectStore as _, TOKENS_OF_OPERATOR,
    };

    const MAX: usize = MAX_TOKENS_OF_APPLICATION;

    fn application(number: u8) -> Id {
        Id::new(NOW, [number; 8])
    }

    /// The token of an application that was issued so many seconds from now and lives so many.
    fn token(number: u8, after: u64, life: u64) -> CatalogEntry {
        let created_at = NOW.plus(Duration::from_secs(after));
        CatalogEntry::Token(Token {
            id: application(number),
            hash: TokenHash::of(&format!("{number} {after} {life}")),
            name: "t".to_owned(),
            scopes: Scopes::default(),
            application: Some(application(number)),
            created_at,
            expires_at: Some(created_at.plus(Duration::from_secs(life))),
        })
    }

    /// Issues what is missing to as many as an application may have, one each second, in one job.
    async fn fill(store: &EmbeddedStore, number: u8, life: u64) {
        let held = counted(store, number).0;
        let job = move |txn: &mut Txn<'_>| {
            (held..MAX as u64).try_for_each(|after| catalog::put(txn, &token(number, after, life)))
        };
        store.engine.index.commit(job).await.unwrap();
    }

    async fn has(store: &EmbeddedStore, entry: &CatalogEntry) -> bool {
        store.find(&entry.key()).await.unwrap().is_some()
    }

    /// What the counter says, and how many rows there are.
    fn counted(store: &EmbeddedStore, number: u8) -> (u64, usize) {
        let index = &store.engine.index;
        let count = index.get(&count_key(application(number))).unwrap();
        let rows = index.prefix(&prefix(application(number)), 2 * MAX).unwrap();
        (records::parse_count(count.as_deref()), rows.len())
    }

    #[tokio::test]
    async fn the_oldest_token_of_an_application_gives_way_to_one_too_many() {
        let folder = Folder::new();
        let store = folder.open().await;
        fill(&store, 1, 10_000_000).await;
        store.insert(token(2, 0, 5)).await.unwrap();
        assert!(has(&store, &token(1, 0, 10_000_000)).await);
        let again = token(1, 7, 10_000_000);
        store.insert(again).await.expect("it is there");
        assert!(has(&store, &token(1, 0, 10_000_000)).await);
        drop(store);
        let store = folder.open().await;
        let new = token(1, 5000, 60);
        store.insert(new.clone()).await.unwrap();
        assert!(has(&store, &new).await);
        assert!(!has(&store, &token(1, 0, 10_000_000)).await);
        assert!(has(&store, &token(1, 1, 10_000_000)).await);
        assert!(has(&store, &token(2, 0, 5)).await, "it is of another");
        assert_eq!(counted(&store, 1), (MAX as u64, MAX));
        let all = store.list(CatalogKind::Token).await.unwrap();
        assert_eq!(all.len(), MAX + 1);
    }

    #[tokio::test]
    async fn tokens_that_have_expired_give_way_before_any_that_lives() {
        let folder = Folder::new();
        let store = folder.open().await;
        store.insert(token(1, 0, 10_000_000)).await.unwrap();
        fill(&store, 1, 60).await;
        assert_eq!(counted(&store, 1), (MAX as u64, MAX));
        store.insert(token(1, 5000, 60)).await.unwrap();
        assert!(has(&store, &token(1, 0, 10_000_000)).await, "it lives");
        assert!(!has(&store, &token(1, 1, 60)).await, "it has expired");
        assert_eq!(counted(&store, 1), (2, 2));
    }

    #[tokio::test]
    async fn a_token_that_was_just_issued_stays_though_the_clock_went_back() {
        let folder = Folder::new();
        let store = folder.open().await;
        fill(&store, 1, 10_000_000).await;
        let back = |number: i64| match token(1, 0, 10_000_000) {
            CatalogEntry::Token(token) => CatalogEntry::Token(Token {
                hash: TokenHash::of(&format!("back {number}")),
                created_at: Timestamp::from_millis(NOW.millis() - 3_600_000 + number),
                ..token
            }),
            other => panic!("{other:?}"),
        };
        for number in 0..3 {
            store.insert(back(number)).await.unwrap();
        }
        drop(store);
        let store = folder.open().await;
        store.insert(back(3)).await.unwrap();
        for number in 0..4 {
            assert!(has(&store, &back(number)).await, "{number} was just issued");
            let old = token(1, number.unsigned_abs(), 10_000_000);
            assert!(!has(&store, &old).await, "{number} is the oldest");
        }
        assert!(has(&store, &token(1, 4, 10_000_000)).await);
        assert_eq!(counted(&store, 1), (MAX as u64, MAX));
        // It is found again where it was put, which is noted for as long.
        let places = || {
            let first = records::key(META, &[b"place of token "]);
            store.engine.index.prefix(&first, 2 * MAX).unwrap().len()
        };
        assert_eq!(places(), 4);
        assert!(store.remove(&back(1).key()).await.unwrap());
        assert_eq!(counted(&store, 1), (MAX as u64 - 1, MAX - 1));
        assert_eq!(places(), 3);
        store.insert(back(2)).await.expect("it is there already");
        assert_eq!(counted(&store, 1), (MAX as u64 - 1, MAX - 1));
        let hashes = [0, 2, 3].map(|number| match back(number).key() {
            CatalogKey::Token(hash) => hash,
            other => panic!("{other:?}"),
        });
        assert_eq!(store.remove_tokens(&hashes).await.unwrap(), 3);
        assert_eq!(counted(&store, 1), (MAX as u64 - 4, MAX - 4));
        assert_eq!(places(), 0);
        // As an index that an earlier version has left, which did not note the last place.
        let forget = |txn: &mut Txn<'_>| {
            txn.delete(last_key(application(1)));
            Ok(())
        };
        store.engine.index.commit(forget).await.unwrap();
        for number in 10..15 {
            store.insert(back(number)).await.unwrap();
        }
        assert!(has(&store, &back(10)).await);
        assert!(!has(&store, &token(1, 4, 10_000_000)).await);
    }

    #[tokio::test]
    async fn what_is_counted_too_much_is_found_out_before_a_token_goes_for_it() {
        let folder = Folder::new();
        let store = folder.open().await;
        store.insert(token(1, 0, 60)).await.unwrap();
        let more = |txn: &mut Txn<'_>| count(txn, application(1), |_| MAX as u64);
        store.engine.index.commit(more).await.unwrap();
        store.insert(token(1, 1, 60)).await.unwrap();
        assert_eq!(counted(&store, 1), (2, 2));
    }

    #[tokio::test]
    async fn clients_leave_the_operator_places_for_tokens() {
        let folder = Folder::new();
        let store = folder.open().await;
        let operators = |text: &str| match token(9, 0, 60) {
            CatalogEntry::Token(token) => CatalogEntry::Token(Token {
                application: None,
                hash: TokenHash::of(text),
                ..token
            }),
            other => panic!("{other:?}"),
        };
        let all = MAX_CATALOG_ENTRIES as u64;
        let clients = all - TOKENS_OF_OPERATOR as u64;
        for (held, of_client, of_operator) in [
            (clients - 1, true, true),
            (clients, false, true),
            (all - 1, false, true),
            (all, false, false),
        ] {
            let set = async || {
                let job = move |txn: &mut Txn<'_>| set_count(txn, CatalogKind::Token, held);
                store.engine.index.commit(job).await.unwrap();
            };
            set().await;
            let issued = store.insert(token(3, held, 60)).await;
            assert_eq!(issued.is_ok(), of_client, "{held}: {issued:?}");
            set().await;
            let made = store.insert(operators(&held.to_string())).await;
            assert_eq!(made.is_ok(), of_operator, "{held}: {made:?}");
        }
    }

    #[tokio::test]
    async fn the_count_goes_down_with_whatever_takes_tokens_away() {
        let folder = Folder::new();
        let store = folder.open().await;
        for after in 0..4 {
            store.insert(token(1, after, 60)).await.unwrap();
        }
        assert_eq!(counted(&store, 1), (4, 4));
        assert!(store.remove(&token(1, 0, 60).key()).await.unwrap());
        assert!(!store.remove(&token(1, 0, 60).key()).await.unwrap());
        assert_eq!(counted(&store, 1), (3, 3));
        let hashes = [1, 1, 9].map(|after| match token(1, after, 60).key() {
            CatalogKey::Token(hash) => hash,
            other => panic!("{other:?}"),
        });
        assert_eq!(store.remove_tokens(&hashes).await.unwrap(), 1);
        assert_eq!(counted(&store, 1), (2, 2));
        let clock = crate::store::ClockReading {
            wall: NOW.plus(Duration::from_secs(1000)),
            monotonic: Duration::ZERO,
        };
        assert_eq!(store.sweep(clock, 100).await.unwrap().catalog, 2);
        assert_eq!(counted(&store, 1), (0, 0));
        for key in [count_key(application(1)), last_key(application(1))] {
            assert_eq!(store.engine.index.get(&key).unwrap(), None);
        }
    }

    #[tokio::test]
    async fn many_tokens_go_in_few_jobs() {
        let folder = Folder::new();
        let store = folder.open().await;
        fill(&store, 1, 60).await;
        store.insert(token(2, 0, 60)).await.unwrap();
        let hashes = (0..MAX as u64).map(|after| match token(1, after, 60).key() {
            CatalogKey::Token(hash) => hash,
            other => panic!("{other:?}"),
        });
        let hashes: Vec<_> = hashes.collect();
        let before = store.engine.index.version(CATALOG);
        assert_eq!(store.remove_tokens(&hashes).await.unwrap(), MAX);
        let jobs = store.engine.index.version(CATALOG) - before;
        assert!((1..=4).contains(&jobs), "{jobs}");
        assert_eq!((counted(&store, 1), counted(&store, 2)), ((0, 0), (1, 1)));
        assert_eq!(store.list(CatalogKind::Token).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_token_whose_record_cannot_be_read_locks_nobody_out() {
        let folder = Folder::new();
        let store = folder.open().await;
        fill(&store, 1, 10_000_000).await;
        let place = super::super::entry::entry_key(&token(1, 0, 10_000_000).key());
        let damage = |txn: &mut Txn<'_>| txn.put(place, b"no record".to_vec());
        store.engine.index.commit(damage).await.unwrap();
        store.insert(token(1, 5000, 60)).await.unwrap();
        assert!(has(&store, &token(1, 5000, 60)).await);
        assert_eq!(counted(&store, 1), (MAX as u64, MAX));
    }

    #[test]
    fn rows_are_in_the_order_of_issue() {
        let key = |after| match token(1, after, 60) {
            CatalogEntry::Token(token) => {
                let place = records::sortable(token.created_at);
                row_key(application(1), &place, token.hash)
            }
            other => panic!("{other:?}"),
        };
        assert!(key(1) < key(2) && key(2) < key(1000));
        let early = records::sortable(Timestamp::from_millis(-1));
        assert!(early < records::sortable(Timestamp::from_millis(0)));
    }
}
