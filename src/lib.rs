//! Pillarbox: a self-hosted upload appliance.

pub mod api;
pub mod model;
pub mod policy;
pub mod server;
pub mod store;
