//! Policy: which flag leads to which operation, with its guards.
pub mod breaker;

use crate::effects::WantOperation;
use crate::state::State;

/// What policy asks for now and nobody ordered yet.
#[must_use]
pub fn wanted(_state: &State) -> Vec<WantOperation> {
    Vec::new()
}
