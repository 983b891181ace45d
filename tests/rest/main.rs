//! The REST API and what all routes share, asked in-process. One binary for all of it, which is linked once; each test has an
//! application and a folder of its own. What fills a room of the whole process has a binary of its own (`tests/documents.rs`).

#[path = "../support/form.rs"]
mod form;
#[path = "../support/objects.rs"]
mod objects;
#[path = "../support/sigv4.rs"]
mod sigv4;
#[path = "../support/mod.rs"]
mod support;

mod admin;
mod buckets;
mod dispatch;
mod downloads;
mod explanations;
mod files;
mod head;
mod pipelines;
mod tokens;
mod uploads;
