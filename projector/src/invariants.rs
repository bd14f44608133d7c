//! What must hold after every entry.
use crate::projector::Projector;

/// An invariant that does not hold: a bug of the fold, or a forged snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Checks every invariant.
pub fn check(_projector: &Projector) -> Result<(), Violation> {
    Ok(())
}
