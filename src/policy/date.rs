//! The shapes of dates: `expiration` in a policy, the day and the moment in a V4 scope, a date of HTTP.
//!
//! Owns: what counts as a date; a general RFC 3339 parser takes more than Amazon does (a space for the `T`, lower case, names of zones in
//! brackets), so the shape is checked byte by byte first.
//! Never does: compare with a clock.
//!
//! Source: Amazon S3 User Guide, "Creating a POST policy", expiration; ISO 8601; RFC 2822, section 3.3.

use jiff::fmt::rfc2822::DateTimeParser;

use crate::model::Timestamp;

/// Date, `T`, time with one to nine digits of a second or none, then `Z` or an offset `+hh:mm`.
pub(super) fn parse_expiration(text: &str) -> Option<Timestamp> {
    let (head, tail) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let zone = match tail.strip_prefix('.') {
        None => tail,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (1..=9)
                .contains(&(fraction.len() - zone.len()))
                .then_some(zone)?
        }
    };
    let is_zone = zone == "Z" || has_shape(zone, "+00:00") || has_shape(zone, "-00:00");
    if !is_zone || !has_shape(head, "0000-00-00T00:00:00") {
        return None;
    }
    let moment = text.parse().ok().or_else(|| last_day(head, zone))?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

/// The calendar of the library ends a day before the year 9999 does, and `9999-12-31` is a common way to write "for ever".
fn last_day(head: &str, zone: &str) -> Option<jiff::Timestamp> {
    let exists = head.parse::<jiff::civil::DateTime>().is_ok();
    let is_utc = matches!(zone, "Z" | "+00:00" | "-00:00");
    (exists && is_utc && head.starts_with("9999-12-3")).then_some(jiff::Timestamp::MAX)
}

/// The moment of an `x-amz-date`, `yyyyMMddTHHmmssZ`.
pub(super) fn parse_moment(text: &str) -> Option<Timestamp> {
    if !has_shape(text, "00000000T000000Z") {
        return None;
    }
    let part = |range| text.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(9..11)?, part(11..13)?, part(13..15)?);
    let spelled = [
        year, "-", month, "-", day, "T", hour, ":", minute, ":", second, "Z",
    ];
    parse_expiration(&spelled.concat())
}

/// A date of HTTP, or the moment of an `x-amz-date`, from 1970 on. As at Amazon, the day of the week may be a wrong one.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let millis = |moment: jiff::Timestamp| Timestamp::from_millis(moment.as_millisecond());
    let rfc = || PARSER.parse_timestamp(text).ok().map(millis);
    let moment = parse_moment(text).or_else(rfc);
    moment.filter(|moment| moment.millis() >= 0)
}

/// Whether this is a day of the calendar as a scope writes it, `yyyyMMdd`.
pub(super) fn is_day(text: &str) -> bool {
    parse_moment(&format!("{text}T000000Z")).is_some()
}

/// A moment as `x-amz-date` writes it, `yyyyMMddTHHmmssZ`.
pub(super) fn moment_of(moment: Timestamp) -> String {
    let text = moment.rfc3339();
    let whole = text.split('.').next().unwrap_or_default();
    let basic = whole.chars().filter(|c| !matches!(c, '-' | ':'));
    basic.chain(['Z']).collect()
}

/// A day as a scope writes it, `yyyyMMdd`.
pub(super) fn day_of(moment: Timestamp) -> String {
    let text = moment.rfc3339();
    text.chars()
        .filter(|c| *c != '-')
        .take("yyyyMMdd".len())
        .collect()
}

/// Whether `text` has a digit wherever `shape` has `0`, and elsewhere the same byte.
pub(super) fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_sdks_write_is_the_same_moment() {
        let noon = Some(Timestamp::from_seconds(1_196_510_400));
        for text in [
            "2007-12-01T12:00:00Z",
            "2007-12-01T12:00:00.000Z",
            "2007-12-01T12:00:00.0Z",
            "2007-12-01T12:00:00.000000000Z",
            "2007-12-01T12:00:00+00:00",
            "2007-12-01T13:30:00.000+01:30",
        ] {
            assert_eq!(parse_expiration(text), noon, "{text}");
        }
        assert_eq!(
            parse_expiration("2007-12-01T12:00:00.279Z"),
            Some(Timestamp::from_millis(1_196_510_400_279))
        );
    }

    #[test]
    fn the_last_days_there_are_stand_for_for_ever() {
        let last = Timestamp::from_millis(jiff::Timestamp::MAX.as_millisecond());
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999Z",
            "9999-12-31T00:00:00Z",
            "9999-12-31T23:59:59.999999+00:00",
            "9999-12-31T23:59:59-00:00",
        ] {
            assert_eq!(parse_expiration(text), Some(last), "{text}");
        }
        for text in [
            "9999-12-32T00:00:00Z",
            "9999-12-31T24:00:00Z",
            "9999-12-31T00:00:00+99:99",
            "9999-12-32T00:00:00+00:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(parse_expiration(text), None, "{text}");
        }
    }

    #[test]
    fn the_moment_of_a_signature_is_read_and_its_day_written() {
        let moment = parse_moment("20291231T235959Z");
        assert_eq!(moment.map(day_of).as_deref(), Some("20291231"));
        for text in ["", "20291331T000000Z", "2029-12-31T23:59:59Z"] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_of_http_is_from_1970_on_and_may_name_a_wrong_day_of_the_week() {
        for (text, seconds) in [
            ("Tue, 27 Mar 2007 19:36:42 +0000", Some(1_175_024_202)),
            ("Wed, 27 Mar 2007 19:36:42 GMT", Some(1_175_024_202)),
            ("20070327T193642Z", Some(1_175_024_202)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Fri, 07 Jul 1950 21:53:04 GMT", None),
            ("19500707T215304Z", None),
            ("Tue, 32 Mar 2007 19:36:42 GMT", None),
            ("yesterday", None),
            ("", None),
        ] {
            let expected = seconds.map(Timestamp::from_seconds);
            assert_eq!(parse_http_date(text), expected, "{text}");
        }
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        for day in ["20291231", "20280229", "99991231", "20270101"] {
            assert!(is_day(day), "{day}");
        }
        for text in [
            "",
            "20261399",
            "20261301",
            "20261232",
            "20260229",
            "20260100",
            "20260001",
            "2026-1-1",
            "202601011",
            "2026010\u{661}",
        ] {
            assert!(!is_day(text), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_expiration() {
        for text in [
            "",
            "2007-12-01 12:00:00",
            "2007-12-01 12:00:00Z",
            "2007-12-01t12:00:00Z",
            "2007-12-01T12:00:00z",
            "2007-12-01T12:00:00",
            "2007-12-01T12:00:00.Z",
            "2007-12-01T12:00:00.0000000000Z",
            "2007-12-01T12:00:00,0Z",
            "2007-12-01T12:00:00Z[UTC]",
            "2007-12-01T12:00:00+0000",
            "2007-12-01T12:00Z",
            "2007-12-01",
            "2007-13-01T12:00:00Z",
            "2007-02-30T12:00:00Z",
            "2007-12-01T24:00:00Z",
            "20071201T120000Z",
            "1196510400",
            "2007-12-01T12:00:0\u{e9}Z",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(parse_expiration(text), None, "{text}");
        }
    }
}
