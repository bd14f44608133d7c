//! Detectors: one file each.
pub mod bucket;
