//! The form post as a table of sentences at the level of HTTP: a valid signed form plus ONE change, and what comes back.
//!
//! Each row runs under Signature Version 2 and under Version 4 (unless it is about one of them), and in two shapes of body: every
//! part with a `filename`, as python-requests sends it, and browser-shaped, where only the file has one. After every refusal
//! nothing is stored or listed; after every acceptance bytes and headers are as asked. The rows lie in `tests/post/cases/`, one file
//! for each family.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::cases;
use std::collections::HashSet;

use cases::{FAMILIES, run};

/// So few rows that families must have been lost.
const FEWEST_ROWS: usize = 250;

macro_rules! families {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            run(stringify!($name), cases::$name::rows()).await;
        })*

        #[test]
        fn no_family_is_left_out() {
            let run = [$(stringify!($name)),*];
            let all = FAMILIES.map(|(name, _)| name);
            assert_eq!(run, all);
        }
    };
}

families! {
    framing parts fields file_name signature document conditions coverage size acting tagging answers anonymous attacks
}

#[test]
fn there_are_enough_rows_and_each_tells_something_of_its_own() {
    let rows: Vec<_> = FAMILIES.iter().flat_map(|(_, rows)| rows()).collect();
    assert!(rows.len() >= FEWEST_ROWS, "{} rows", rows.len());
    let told: HashSet<_> = rows.iter().map(|row| row.says.as_str()).collect();
    assert_eq!(told.len(), rows.len(), "two rows tell the same");
    let both = rows.iter().filter(|row| row.versions.len() == 2).count();
    assert!(both >= FEWEST_ROWS, "{both} rows run in both versions");
    println!("{} rows, {both} of them in both versions", rows.len());
}
