//! Requests in, answers out: the REST dialect, the form post, the S3 dialect, the download links, the admin pages.
//!
//! Owns: routes, dialects, authentication, and the translation between HTTP and the floors below.
//!
//! Never does: touch files or sockets, or ask the time anywhere but in `app.rs`.
//!
//! Invariants: the route picks the dialect before anything can fail; every refusal is a row of `error.rs`; every byte of a
//! request is read through [`body::RequestBody`].

mod address;
pub mod admin;
mod admission;
mod answer_style;
pub mod app;
pub mod auth;
pub mod body;
pub mod call;
pub mod checksum;
mod chunk_claim;
mod chunk_target;
pub mod client_form;
pub mod conditional;
pub mod cors;
pub mod cors_rules;
pub mod dialect;
pub mod dispatch;
pub mod disposition;
pub mod documents;
pub mod downloads;
pub mod error;
pub mod explain;
pub mod file_view;
pub mod files;
mod form_gate;
mod form_reader;
pub mod framing;
pub mod guard;
mod host;
mod json_body;
pub mod link;
pub mod media_type;
pub mod object_answer;
pub mod object_body;
pub mod paging;
pub mod params;
pub mod part_head;
pub mod pipeline_settings;
pub mod pipelines;
pub mod post_answer;
pub mod post_object;
mod post_refusal;
mod post_target;
pub mod range;
mod request_id;
pub mod resource;
pub mod route;
mod s3;
mod scanner;
pub mod signed_url;
pub mod start;
mod store_failure;
mod stored_headers;
pub mod tokens;
pub mod turns;
pub mod upload_params;
mod uploader_chunks;
mod uploader_query;
pub mod uploads;

#[cfg(fuzzing)]
pub use s3::fuzzing;
