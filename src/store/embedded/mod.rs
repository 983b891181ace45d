//! The embedded engine: plain files for bytes, one sled tree for names.
