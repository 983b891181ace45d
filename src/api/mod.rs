//! Requests in, answers out: the REST dialect, the form post, the download links, the admin pages.
//!
//! Owns: routes, dialects, authentication, and the translation between HTTP and the floors below.
//! Never does: touch files or sockets.

pub mod app;
pub mod body;
pub mod error;
