//! Pillarbox: a self-hosted upload appliance.

pub mod api;
pub mod cli;
pub mod config;
pub mod model;
pub mod policy;
pub mod server;
pub mod store;
