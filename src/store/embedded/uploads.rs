//! Lists of unfinished uploads in parts, in the order of their keys; and which sessions are seen at all.
//!
//! Owns: the form of their places in the index: bucket, 0, the key, an end, the id. A zero byte in a key is followed by 255, and the end
//! is two zero bytes; so no key is mistaken for the beginning of another, and places sort as keys do.
//! Never does: hold more than a page, or change anything.
//!
//! An upload whose bucket was removed is hidden as soon as there is another bucket of that name: nobody can list, go on with, end or
//! abort it. Its bytes are freed by the sweep, at the latest at its own `abandoned_at`, as those of every upload that nobody ends
//! (`sweep`), or before, by a lifecycle rule of the bucket that has the name now.
//!
//! Invariants: a group shows once, in the place of its name, and not when it is not behind `after`; so a list that is gone on with from
//! an entry never meets it again.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::records::{self, UPLOADS};
use super::{Engine, catalog};
use crate::model::{Bucket, Id, NewUpload, UploadSession};
use crate::store::{CatalogEntry, CatalogKey, StoreError, UploadEntry, UploadPage, UploadQuery};

/// Ends a key.
const END: [u8; 2] = [0, 0];
/// Behind the end of a key, and before every longer one.
const BEHIND: [u8; 2] = [0, 1];

/// Where an upload stands among the unfinished ones.
pub(super) fn place(upload: &NewUpload) -> Vec<u8> {
    let mut place = of_key(&upload.bucket, upload.key.as_str());
    place.extend_from_slice(&END);
    place.extend_from_slice(upload.id.as_bytes());
    place
}

/// A session. One that is open is gone when its bucket was removed and there is another one of that name; and one that gave way is nothing that
/// anybody could be told of.
pub(super) fn find(engine: &Engine, id: Id) -> Result<UploadSession, StoreError> {
    let record = engine.session(id)?;
    if record.gave_way() {
        return Err(StoreError::GaveWay);
    }
    if record.is_open() && catalog::has_other_bucket(engine, &record.session.upload)? {
        return Err(StoreError::NoSuchUpload);
    }
    Ok(record.session)
}

/// One page.
pub(super) async fn list(
    engine: &Arc<Engine>,
    query: UploadQuery,
) -> Result<UploadPage, StoreError> {
    engine.blocking(move |engine| page(engine, &query)).await
}

fn page(engine: &Engine, query: &UploadQuery) -> Result<UploadPage, StoreError> {
    let mut page = UploadPage::default();
    let limit = query.limit.min(UploadQuery::MAX_LIMIT);
    if limit == 0 {
        return Ok(page);
    }
    let bucket = catalog::find(engine, &CatalogKey::Bucket(query.bucket.clone()))?;
    let first = of_key(&query.bucket, &query.prefix);
    let mut from = behind(query).map_or(first.clone(), |behind| behind.max(first.clone()));
    loop {
        let mut behind_group = None;
        engine.index.scan_from(&from, &first, |place, _| {
            let (key, id) = parse(&query.bucket, place)
                .ok_or_else(|| StoreError::Corrupt("the place of an upload".to_owned()))?;
            let group = group(query, &key);
            if let Some(group) = group.filter(|group| is_past(query, group)) {
                behind_group = Some(end_of(of_key(&query.bucket, group)));
                return Ok(ControlFlow::Break(()));
            }
            let Some(session) = open(engine, id, bucket.as_ref())? else {
                return Ok(ControlFlow::Continue(()));
            };
            if page.entries.len() >= limit {
                page.more = true;
                return Ok(ControlFlow::Break(()));
            }
            if let Some(group) = group {
                page.entries.push(UploadEntry::Group(group.to_owned()));
                behind_group = Some(end_of(of_key(&query.bucket, group)));
                return Ok(ControlFlow::Break(()));
            }
            let upload = UploadEntry::Upload(Box::new(session));
            page.entries.push(upload);
            Ok(ControlFlow::Continue(()))
        })?;
        match behind_group {
            Some(place) => from = place,
            None => return Ok(page),
        }
    }
}

/// The session of an upload, unless it ended while it was looked at, or was begun in another bucket of that name.
fn open(
    engine: &Engine,
    id: Id,
    bucket: Option<&CatalogEntry>,
) -> Result<Option<UploadSession>, StoreError> {
    match engine.session(id) {
        Ok(record) if catalog::is_later(bucket, &record.session.upload) => Ok(None),
        Ok(record) => Ok(Some(record.session)),
        Err(StoreError::NoSuchUpload) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where to go on.
fn behind(query: &UploadQuery) -> Option<Vec<u8>> {
    let (key, id) = query.after.as_ref()?;
    let mut place = of_key(&query.bucket, key);
    match id {
        None => place.extend_from_slice(&BEHIND),
        Some(id) => {
            place.extend_from_slice(&END);
            place.extend_from_slice(id.as_bytes());
            // No id is longer.
            place.push(0);
        }
    }
    Some(place)
}

/// The group that a key belongs to.
fn group<'a>(query: &UploadQuery, key: &'a str) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref()?;
    let rest = key.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

fn is_past(query: &UploadQuery, group: &str) -> bool {
    let after = query.after.as_ref();
    after.is_some_and(|(after, _)| group <= after.as_str())
}

fn of_key(bucket: &Bucket, key: &str) -> Vec<u8> {
    let mut place = records::key(UPLOADS, &[bucket.as_str().as_bytes(), &[0]]);
    for byte in key.bytes() {
        place.push(byte);
        if byte == 0 {
            place.push(u8::MAX);
        }
    }
    place
}

/// Reads back [`place`].
fn parse(bucket: &Bucket, place: &[u8]) -> Option<(String, Id)> {
    let start = of_key(bucket, "").len();
    let end = place.len().checked_sub(Id::BYTES + END.len())?;
    let id = records::trailing_id(place)?;
    let mut key = Vec::with_capacity(end.saturating_sub(start));
    let mut bytes = place.get(start..end)?.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&u8::MAX) {
            return None;
        }
    }
    Some((String::from_utf8(key).ok()?, id))
}

/// The first place behind all that begin with this one.
fn end_of(mut place: Vec<u8>) -> Vec<u8> {
    while place.last() == Some(&u8::MAX) {
        place.pop();
    }
    if let Some(last) = place.last_mut() {
        *last += 1;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::upload;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_sort_as_keys_do_and_read_back(keys: [String; 2]) {
            let bucket = Bucket::parse("uploads").unwrap();
            let keys = keys.map(|key| format!("{key}a"));
            let places = keys.clone().map(|key| place(&upload(&key)));
            if keys[0] != keys[1] {
                prop_assert_eq!(places[0].cmp(&places[1]), keys[0].cmp(&keys[1]));
            }
            let (key, _) = parse(&bucket, &places[0]).unwrap();
            prop_assert_eq!(&key, &keys[0]);
        }
    }

    #[test]
    fn a_key_with_zero_bytes_has_its_end_behind_all_that_begin_with_it() {
        let bucket = Bucket::parse("uploads").unwrap();
        for group in ["a/", "a\0", "\0\0", "\u{10ffff}"] {
            let end = end_of(of_key(&bucket, group));
            for rest in ["", "\0", "x", "\u{10ffff}\u{10ffff}"] {
                let inside = place(&upload(&format!("{group}{rest}b")));
                assert!(inside < end, "{group:?} {rest:?}");
            }
        }
        assert!(place(&upload("b")) >= end_of(of_key(&bucket, "a")));
    }
}
