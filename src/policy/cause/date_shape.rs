//! What is wrong with an expiration that is no date: the first place where its spelling leaves the one that is read.
//!
//! Owns: the words for each place, from the kind of the value to its time zone.
//! Never does: decide what a date is; `policy/date.rs` has refused the text before it comes here.
//! Invariant: "no date that exists" is said only of a text whose spelling is right.

use super::super::date::has_shape;

/// The first fault of a text that is no expiration.
pub(super) fn fault(text: &str) -> &'static str {
    let begins = |is: fn(&char) -> bool| text.chars().next().is_some_and(|c| is(&c));
    let is_number = begins(|c| c.is_ascii_digit() || *c == '-') && text.parse::<f64>().is_ok();
    if is_number {
        "it is a number of seconds"
    } else if text.is_empty() {
        "it is empty"
    } else if text.trim() != text {
        "it has blanks around it"
    } else if ["null", "true", "false"].contains(&text) || begins(|c| "{[".contains(*c)) {
        "it is no text"
    } else if begins(|c| c.is_alphabetic()) {
        "it is written in words"
    } else if text
        .get(..9)
        .is_some_and(|head| has_shape(head, "00000000T"))
    {
        "it lacks the hyphens and colons, as x-amz-date does"
    } else {
        of_date(text)
    }
}

fn of_date(text: &str) -> &'static str {
    let split = text.split_at_checked("0000-00-00".len());
    let Some((_, rest)) = split.filter(|(date, _)| has_shape(date, "0000-00-00")) else {
        return "its date is not four digits of the year, two of the month and two of the day";
    };
    match rest.split_at_checked(1) {
        None if rest.is_empty() => "it has no time of day",
        Some((" ", _)) => "it has a blank where the T belongs",
        Some(("t", _)) => "its t must be a capital T",
        Some(("T", time)) => of_time(time),
        _ => "there is no T between its date and its time",
    }
}

fn of_time(time: &str) -> &'static str {
    let is = |shape: &str| {
        let head = time.get(..shape.len());
        head.is_some_and(|head| has_shape(head, shape))
    };
    if is("00:00:00") {
        return of_tail(&time["00:00:00".len()..]);
    }
    let has_minutes = is("00:00") && !time["00:00".len()..].starts_with(':');
    match has_minutes {
        true => "it has no seconds",
        false => "its time is not two digits each of hours, minutes and seconds",
    }
}

/// What follows the seconds: a fraction or none, and the time zone.
fn of_tail(tail: &str) -> &'static str {
    let fraction = tail.strip_prefix('.');
    let zone = fraction.map_or(tail, |text| {
        text.trim_start_matches(|c: char| c.is_ascii_digit())
    });
    let digits = fraction.map_or(1, |text| text.len() - zone.len());
    match zone {
        _ if !(1..=9).contains(&digits) => {
            "its fraction of a second has no digit, or more than nine"
        }
        "" => "it names no time zone",
        "z" => "its z must be a capital Z",
        zone if has_shape(zone, "+0000") || has_shape(zone, "-0000") => {
            "its offset from UTC lacks the colon"
        }
        zone if zone.starts_with(' ') => "it has a blank before its time zone",
        zone if zone == "Z" || has_shape(zone, "+00:00") || has_shape(zone, "-00:00") => {
            "it is no date that exists"
        }
        _ => "what follows its seconds is no time zone",
    }
}
