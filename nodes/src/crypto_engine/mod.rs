//! The P-384 arithmetic of nodes. Terminals run the pure Rust of `events`; a node links aws-lc, which does the same
//! in a fraction of the time (figures: tests/BENCHMARK.md). `tests/p384_engines.rs` holds both to the same answers.

mod aws_lc;

pub use aws_lc::AwsLcEngine;
pub use events::keyring::engine::{P384Engine, PureEngine};

use std::sync::Arc;

/// The engine that nodes use, warm.
#[must_use]
pub fn node_engine() -> Arc<dyn P384Engine> {
    let engine = AwsLcEngine::default();
    engine.warm_up();
    Arc::new(engine)
}
