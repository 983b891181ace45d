//! Lifecycle rules: when the objects of a bucket, and its unfinished uploads, go by themselves.
//!
//! Owns: what a rule is about, and the moment from which it lets an object or an upload go.
//! Never does: remove anything, or read a clock; the store's sweep asks it, with the time.
//!
//! Invariants: a moment is always midnight UTC. A rule that is not enabled lets nothing go. An object that a Job used stays, as it does
//! when it has an expiry of its own.
//!
//! Sources: Amazon S3 User Guide, "Expiring objects" and "Lifecycle configuration elements": days count from the creation of the object,
//! and the result is rounded up to midnight UTC; a date is midnight UTC, and counts for objects that came later, too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{NewUpload, ObjectMeta, Tags, Timestamp};

/// One day, in milliseconds.
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    /// Its name, 1 to [`LifecycleRule::MAX_ID_CHARS`] characters, unique in its bucket.
    pub id: String,
    /// Whether it does anything.
    pub enabled: bool,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// When objects go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Expiration>,
    /// After how many days an upload that is not finished goes; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_days: Option<u32>,
}

/// What a rule is about: all that is named must be true of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleFilter {
    /// Whether it was written as the old form has it, a prefix without a filter around it.
    #[serde(default)]
    pub is_old_form: bool,
    /// What the key begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Tags that the object has, among others.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// It has more bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// It has fewer bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
}

/// When objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiration {
    /// This many days after they became whole, at least 1, at the midnight that follows.
    Days(u32),
    /// At this midnight, and whenever one comes later.
    Date(Timestamp),
}

impl LifecycleRule {
    /// Most rules of one bucket.
    pub const MAX_RULES: usize = 1000;
    /// Longest name, in characters.
    pub const MAX_ID_CHARS: usize = 255;

    /// From when on this rule lets an object go; `None` when it never does.
    pub fn expires_at(&self, meta: &ObjectMeta) -> Option<Timestamp> {
        let expiration = self.expiration.filter(|_| self.enabled)?;
        if meta.job.is_some() || !self.filter.covers(meta) {
            return None;
        }
        Some(match expiration {
            Expiration::Days(days) => midnight_after(meta.finished_at, days),
            Expiration::Date(date) => date,
        })
    }

    /// From when on this rule lets an upload go that is still not finished.
    pub fn aborts_at(&self, upload: &NewUpload) -> Option<Timestamp> {
        let days = self.abort_days.filter(|_| self.enabled)?;
        let begins = upload.key.as_str().starts_with(self.filter.prefix());
        begins.then(|| midnight_after(upload.created_at, days))
    }

    /// The rule that lets an object go first, and when.
    pub fn first<'r>(rules: &'r [Self], meta: &ObjectMeta) -> Option<(&'r Self, Timestamp)> {
        let ends = rules
            .iter()
            .filter_map(|rule| Some((rule, rule.expires_at(meta)?)));
        ends.min_by_key(|(_, end)| *end)
    }

    /// The rule that lets an upload go first that is still not finished, and when.
    pub fn first_to_abort<'r>(
        rules: &'r [Self],
        upload: &NewUpload,
    ) -> Option<(&'r Self, Timestamp)> {
        let ends = rules
            .iter()
            .filter_map(|rule| Some((rule, rule.aborts_at(upload)?)));
        ends.min_by_key(|(_, end)| *end)
    }
}

impl LifecycleFilter {
    /// What the key begins with; empty for any.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    fn covers(&self, meta: &ObjectMeta) -> bool {
        let has = |tag: (&str, &str)| meta.attributes.tags.iter().any(|held| held == tag);
        meta.key.as_str().starts_with(self.prefix())
            && self.tags.iter().all(has)
            && self.larger_than.is_none_or(|least| meta.size > least)
            && self.smaller_than.is_none_or(|most| meta.size < most)
    }
}

/// This many days later, and then the next midnight; a midnight is its own.
fn midnight_after(from: Timestamp, days: u32) -> Timestamp {
    let later = from.plus(Duration::from_secs(u64::from(days) * 24 * 60 * 60));
    let over = later.millis().rem_euclid(DAY_MILLIS);
    match over {
        0 => later,
        _ => Timestamp::from_millis(later.millis().saturating_add(DAY_MILLIS - over)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2014-01-15T10:30:00Z, of Amazon's example.
    const CREATED: Timestamp = Timestamp::from_seconds(1_389_781_800);

    fn object(key: &str, size: u64) -> ObjectMeta {
        ObjectMeta {
            size,
            ..ObjectMeta::put(key, b"", CREATED)
        }
    }

    fn rule(prefix: &str, expiration: Expiration) -> LifecycleRule {
        LifecycleRule {
            id: prefix.to_owned(),
            enabled: true,
            filter: LifecycleFilter {
                prefix: Some(prefix.to_owned()),
                ..LifecycleFilter::default()
            },
            expiration: Some(expiration),
            abort_days: None,
        }
    }

    #[test]
    fn days_count_from_the_creation_and_end_at_the_next_midnight() {
        let after = |days| rule("", Expiration::Days(days)).expires_at(&object("a", 0));
        assert_eq!(after(3).unwrap().rfc3339(), "2014-01-19T00:00:00.000Z");
        let mut at_midnight = object("a", 0);
        at_midnight.finished_at = after(3).unwrap();
        let end = rule("", Expiration::Days(1)).expires_at(&at_midnight);
        assert_eq!(end.unwrap().rfc3339(), "2014-01-20T00:00:00.000Z");
        assert!(after(u32::MAX).unwrap() > CREATED);
    }

    #[test]
    fn a_rule_is_about_what_all_of_its_filter_is_true_of() {
        let tags = Tags::new(vec![("a".to_owned(), "1".to_owned())]).unwrap();
        let mut tagged = object("logs/x", 100);
        tagged.attributes.tags = tags.clone();
        let days = Expiration::Days(1);
        let with = |change: &dyn Fn(&mut LifecycleRule)| {
            let mut rule = rule("logs/", days);
            change(&mut rule);
            rule.expires_at(&tagged).is_some()
        };
        assert!(with(&|_| {}));
        assert!(with(&|rule| rule.filter.tags = tags.clone()));
        assert!(with(&|rule| rule.filter.larger_than = Some(99)));
        assert!(with(&|rule| rule.filter.smaller_than = Some(101)));
        assert!(!with(&|rule| rule.enabled = false));
        assert!(!with(&|rule| rule.expiration = None));
        assert!(!with(&|rule| rule.filter.prefix = Some("log/".to_owned())));
        assert!(!with(&|rule| rule.filter.larger_than = Some(100)));
        assert!(!with(&|rule| rule.filter.smaller_than = Some(100)));
        let other = Tags::new(vec![("a".to_owned(), "2".to_owned())]).unwrap();
        assert!(!with(&|rule| rule.filter.tags = other.clone()));
        let mut used = tagged.clone();
        used.job = Some("job-1".to_owned());
        assert_eq!(rule("", days).expires_at(&used), None);
    }

    #[test]
    fn the_rule_that_ends_first_counts() {
        let early = Timestamp::from_seconds(0);
        let rules = [
            rule("", Expiration::Days(9)),
            rule("a", Expiration::Days(2)),
            rule("b", Expiration::Date(early)),
        ];
        let first = |key| {
            let (rule, end) = LifecycleRule::first(&rules, &object(key, 0)).unwrap();
            (rule.id.as_str(), end)
        };
        assert_eq!(first("ab").0, "a");
        assert_eq!(first("c").0, "");
        assert_eq!(first("b"), ("b", early));
    }
}
