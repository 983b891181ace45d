//! Pillarbox: a self-hosted upload appliance.

pub mod model;
pub mod policy;
pub mod store;
