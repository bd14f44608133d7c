//! openraft: types, log, machine, network.

pub mod types;
