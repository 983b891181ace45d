//! Changes of an object's record.
//!
//! Owns: [`ObjectChange`], and what a copy onto itself changes: it names what is replaced, and not what the whole is to be afterwards. The
//! engine applies it to the record as it is in its step, so what is changed beside it, tags say, is never written back.
//! Never does: know which headers a dialect keeps; its caller names them.
//!
//! Invariant: what a change does not name is as it was.

use super::StoreError;
use crate::model::{CannedAcl, Checksum, HeaderSet, ObjectMeta, ObjectParts, Tags, Timestamp};

/// A change of an object's record; its bytes never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// Sets or lifts (`None`) the expiry. A used object keeps `None`: the change is then refused with
    /// [`StoreError::InUse`].
    ExpiresAt(Option<Timestamp>),
    /// Records the Job that used the object, at most 64 bytes, and lifts the expiry for good.
    UsedBy(String),
    /// Replaces the stored headers.
    Headers(HeaderSet),
    /// Replaces what is named, as a copy onto itself does: the object is as old as the change.
    Rewritten(Rewrite),
    /// Replaces the tags.
    Tags(Tags),
    /// Sets who may do what with it.
    Acl {
        /// Who may now, as whoever allows the change has seen it. When that is no longer so, nothing is changed, and it is refused with
        /// [`StoreError::ConditionOvertaken`].
        from: CannedAcl,
        /// Who may from then on.
        to: CannedAcl,
    },
}

/// What a copy onto itself replaces; the bytes stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Its stored headers.
    pub headers: HeaderChange,
    /// Who may do what with it.
    pub acl: CannedAcl,
    /// Its tags; `None` leaves those that it has.
    pub tags: Option<Tags>,
    /// The checksum of all its bytes, which the caller has computed; it stands in place of one of its parts' checksums, too. `None` leaves
    /// what it has.
    pub checksum: Option<Checksum>,
}

/// Which stored headers are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// All of them.
    All(HeaderSet),
    /// Those of these names, by what the set says of them; the others stay.
    Named(&'static [&'static str], HeaderSet),
}

impl HeaderChange {
    /// What becomes of these headers; `None` when it would be more than [`HeaderSet::MAX_BYTES`].
    pub fn applied(&self, old: &HeaderSet) -> Option<HeaderSet> {
        let (names, new) = match self {
            Self::All(new) => return Some(new.clone()),
            Self::Named(names, new) => (names, new),
        };
        let others = old.iter().filter(|(name, _)| !names.contains(name));
        let named = new.iter().filter(|(name, _)| names.contains(name));
        let mut all = HeaderSet::default();
        let fits = others
            .chain(named)
            .all(|(name, value)| all.set(name, value));
        fits.then_some(all)
    }
}

impl Rewrite {
    /// Changes an object's record.
    ///
    /// # Errors
    /// [`StoreError::RecordTooLarge`] when the headers that stay leave no room for the new ones.
    pub fn apply(self, meta: &mut ObjectMeta) -> Result<(), StoreError> {
        let headers = self.headers.applied(&meta.headers);
        meta.headers = headers.ok_or(StoreError::RecordTooLarge)?;
        meta.attributes.acl = self.acl;
        if let Some(tags) = self.tags {
            meta.attributes.tags = tags;
        }
        if let Some(checksum) = self.checksum {
            meta.attributes.checksum = Some(checksum);
            meta.parts = meta.parts.take().map(ObjectParts::without_composite);
        }
        Ok(())
    }
}
