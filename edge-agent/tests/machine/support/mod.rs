//! What the scenarios stand on: a factory, a model cluster, terminals and a network, all in memory.

pub mod checker;
pub mod cluster;
pub mod factory;
pub mod rng;
pub mod sim;
pub mod terminal;
