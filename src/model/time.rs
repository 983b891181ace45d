//! Time as a value: milliseconds since the Unix epoch.
//!
//! Owns: the unit and the conversions to seconds and to RFC 3339 text.
//! Never does: ask what time it is. The clock lives in `api/app.rs`, and every function that needs the time takes it as
//! an argument, so that tests can set it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment this many seconds after the epoch; saturates at the ends of the range.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The second that this moment is in.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        Self::from_seconds(self.seconds())
    }

    /// The moment `span` later; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The moment `span` earlier; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Reads RFC 3339 with any offset, or a date alone, which is its midnight in UTC; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        // A time of the day without an offset would be passed over.
        let is_date = text.len() == "2030-01-01".len();
        let date = || text.parse::<jiff::civil::Date>().ok();
        let midnight = || {
            date()
                .filter(|_| is_date)?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
        };
        let moment = text.parse::<jiff::Timestamp>().ok();
        let moment = moment.or_else(|| midnight().map(|zoned| zoned.timestamp()))?;
        Some(Self(moment.as_millisecond()))
    }

    /// RFC 3339 in UTC with milliseconds, for example `2026-11-22T13:15:09.279Z`.
    pub fn rfc3339(self) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        format!("{moment:.3}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_always_shows_milliseconds_and_z() {
        assert_eq!(
            Timestamp::from_seconds(1_403_257_566).rfc3339(),
            "2014-06-20T09:46:06.000Z"
        );
        assert_eq!(
            Timestamp::from_millis(1_403_257_566_279).rfc3339(),
            "2014-06-20T09:46:06.279Z"
        );
    }

    #[test]
    fn a_moment_is_read_with_any_offset_and_a_date_is_its_midnight() {
        for (text, seconds) in [
            ("2014-06-20T09:46:06Z", Some(1_403_257_566)),
            ("2014-06-20T11:46:06.000+02:00", Some(1_403_257_566)),
            ("2014-06-20", Some(1_403_222_400)),
            ("2014-06-31", None),
            ("20 June 2014", None),
            ("", None),
        ] {
            assert_eq!(
                Timestamp::parse(text),
                seconds.map(Timestamp::from_seconds),
                "{text}"
            );
        }
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_millis(-1).seconds(), -1);
        let second = Timestamp::from_millis(-1).whole_second();
        assert_eq!(second, Timestamp::from_millis(-1000));
    }
}
