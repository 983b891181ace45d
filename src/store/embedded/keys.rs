//! Lists of a bucket's objects by key, page by page.
//!
//! Owns: grouping by a delimiter, and passing over what a group holds: from its first live object the scan goes to the first key behind
//! all of them.
//! Never does: hold more than a page.
//!
//! Invariants: expired objects neither show nor make a group. A group shows once, in the place of its name, and not when it is not
//! behind `after`; so a list that is gone on with from a group's name never meets it again.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::records::{self, OBJECTS};
use super::{Engine, objects, tagged};
use crate::model::{ObjectKey, Timestamp};
use crate::store::{KeyEntry, KeyPage, KeyQuery, ObjectName, StoreError};

/// One page.
pub(super) async fn list(
    engine: &Arc<Engine>,
    query: KeyQuery,
    now: Timestamp,
) -> Result<KeyPage, StoreError> {
    engine
        .blocking(move |engine| page(engine, &query, now))
        .await
}

fn page(engine: &Engine, query: &KeyQuery, now: Timestamp) -> Result<KeyPage, StoreError> {
    let mut page = KeyPage::default();
    let limit = query.limit.min(KeyQuery::MAX_LIMIT);
    if limit == 0 {
        return Ok(page);
    }
    let place = |name: &str, end: &[u8]| {
        let bucket = query.bucket.as_str().as_bytes();
        records::key(OBJECTS, &[bucket, &[0], name.as_bytes(), end])
    };
    let first = place(&query.prefix, &[]);
    let key_at = first.len() - query.prefix.len();
    // No key lies between a name and that name with a zero byte behind it.
    let behind = query.after.as_deref().map(|after| place(after, &[0]));
    let mut from = behind.map_or(first.clone(), |behind| behind.max(first.clone()));
    loop {
        let mut behind_group = None;
        engine.index.scan_from(&from, &first, |key, record| {
            let name = key
                .get(key_at..)
                .and_then(|key| std::str::from_utf8(key).ok());
            let name = name.ok_or_else(|| StoreError::Corrupt("a key is no text".to_owned()))?;
            let group = group(query, name);
            if let Some(group) = group.filter(|group| is_past(query, group)) {
                behind_group = Some(end_of(place(group, &[])));
                return Ok(ControlFlow::Break(()));
            }
            let entry = match group {
                // What it is called is known; only whether it is live is not.
                Some(group) => is_live(record, now)?.then(|| KeyEntry::Group(group.to_owned())),
                None => entry(engine, query, (name, record), now)?,
            };
            let Some(entry) = entry else {
                return Ok(ControlFlow::Continue(()));
            };
            if page.entries.len() >= limit {
                page.more = true;
                return Ok(ControlFlow::Break(()));
            }
            page.entries.push(entry);
            behind_group = group.map(|group| end_of(place(group, &[])));
            Ok(match behind_group {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            })
        })?;
        match behind_group {
            Some(place) => from = place,
            None => return Ok(page),
        }
    }
}

/// Whether the object of a record is there at `now`.
fn is_live(record: &[u8], now: Timestamp) -> Result<bool, StoreError> {
    let end = records::decode_listed(record)?.expires_at;
    Ok(end.is_none_or(|end| now < end))
}

/// The object of a record; `None` when it has expired, or was deleted while it was looked at.
fn entry(
    engine: &Engine,
    query: &KeyQuery,
    (name, record): (&str, &[u8]),
    now: Timestamp,
) -> Result<Option<KeyEntry>, StoreError> {
    let entry = |meta| Some(KeyEntry::Object(Box::new(meta)));
    if let Some(meta) = tagged::join(record, |piece| engine.index.get(piece))? {
        return Ok(match meta.is_live(now) {
            true => entry(meta),
            false => None,
        });
    }
    // It was replaced before all of its tags were read.
    let key =
        ObjectKey::parse(name).map_err(|_| StoreError::Corrupt("a key is too long".to_owned()))?;
    match objects::find_live(engine, &ObjectName::Key(query.bucket.clone(), key), now) {
        Ok(meta) => Ok(entry(meta)),
        Err(StoreError::NoSuchObject) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The group that a key belongs to.
fn group<'a>(query: &KeyQuery, name: &'a str) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref()?;
    let rest = name.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    name.get(..end)
}

fn is_past(query: &KeyQuery, group: &str) -> bool {
    query.after.as_deref().is_some_and(|after| group <= after)
}

/// The first place behind all that begin with this one. UTF-8 has no byte that could not grow.
fn end_of(mut place: Vec<u8>) -> Vec<u8> {
    if let Some(last) = place.last_mut() {
        *last = last.saturating_add(1);
    }
    place
}
