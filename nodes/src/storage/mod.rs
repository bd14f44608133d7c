//! The disk: one ordered, checksummed, encrypted log, and snapshots.

pub mod disk;
