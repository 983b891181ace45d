//! The read-back dialect of S3, asked in-process. One binary for all of it, which is linked once; each test has an application and
//! a folder of its own.

#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/objects.rs"]
mod drafts;
#[path = "../support/form.rs"]
mod form;
#[path = "../support/sigv4.rs"]
mod sigv4;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod auth;
mod buckets;
mod lifecycle;
mod model;
mod multipart;
mod objects;
mod scopes;
mod settings;
mod writes;
