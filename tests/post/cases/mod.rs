//! The rows of the table, one file for each family, and the one runner of all of them; and on the same server what is not about one
//! form: `beyond` (other operations, replays), `cors` (who may read an answer), `road` (bodies in any pieces).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

pub(crate) mod acting;
pub(crate) mod anonymous;
pub(crate) mod answers;
pub(crate) mod attacks;
mod beyond;
pub(crate) mod conditions;
mod cors;
pub(crate) mod coverage;
pub(crate) mod document;
pub(crate) mod fields;
pub(crate) mod file_name;
pub(crate) mod framing;
pub(crate) mod parts;
mod post;
mod road;
mod row;
mod runner;
mod seeds;
pub(crate) mod signature;
pub(crate) mod size;
pub(crate) mod tagging;

pub(crate) use post::{Part, Post, Sent, Version};
pub(crate) use row::{Expected, Row};
pub(crate) use runner::run;

/// A family's name and its rows.
type Family = (&'static str, fn() -> Vec<Row>);

/// Every family.
pub(crate) const FAMILIES: [Family; 14] = [
    ("framing", framing::rows),
    ("parts", parts::rows),
    ("fields", fields::rows),
    ("file_name", file_name::rows),
    ("signature", signature::rows),
    ("document", document::rows),
    ("conditions", conditions::rows),
    ("coverage", coverage::rows),
    ("size", size::rows),
    ("acting", acting::rows),
    ("tagging", tagging::rows),
    ("answers", answers::rows),
    ("anonymous", anonymous::rows),
    ("attacks", attacks::rows),
];
