//! The form post, asked in-process: the table of cases, the fields, the object, and what real clients send. One binary for all of
//! it, which is linked once; each test has an application and a folder of its own.

mod cases;
#[path = "../support/form.rs"]
mod form;
#[path = "../support/mod.rs"]
mod support;

mod clients;
mod dumps;
mod fields;
mod object;
mod table;
