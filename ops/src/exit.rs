//! Exit codes, so that scripts can tell what happened.

use nodes::api::shapes::RefusalCode;

/// Whatever is not named below.
pub const FAILED: i32 = 1;
/// Wrong flags or a wrong file; clap uses the same.
pub const USAGE: i32 = 2;
/// No node of the cluster could be reached, or none can decide now.
pub const UNREACHABLE: i32 = 3;
/// The cluster understood and refused.
pub const REFUSED: i32 = 4;
/// A check ran and did not hold: a log, a record, the scene.
pub const NOT_HELD: i32 = 5;
/// A node's disk failed, or holds what another start does not make good: somebody has to look at it first.
pub const DISK_FAILED: i32 = 6;
/// A node found its log damaged while it ran: the next start repairs it.
pub const LOG_DAMAGED: i32 = 7;
/// Ended by Ctrl-C or SIGTERM before it was done; what shells give for SIGINT.
pub const INTERRUPTED: i32 = 130;

/// An error that ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Coded {
    pub code: i32,
    pub message: String,
    /// The API's code, where a node refused.
    pub refusal: Option<RefusalCode>,
    /// The command's JSON answer says it already.
    pub answered: bool,
}

/// An error with an exit code of its own.
#[must_use]
pub fn coded(code: i32, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Coded { code, message: message.into(), refusal: None, answered: false })
}

/// As [`coded`], with the code that the API's document names.
#[must_use]
pub fn refused(code: i32, refusal: Option<RefusalCode>, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Coded { code, message: message.into(), refusal, answered: false })
}

/// As [`coded`], for what the command's JSON answer says already: programs get one document, not two.
#[must_use]
pub fn answered(code: i32, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Coded { code, message: message.into(), refusal: None, answered: true })
}

/// The code that an error ends with: the first coded one in its chain.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> i32 {
    find(error).map_or(FAILED, |coded| coded.code)
}

/// What the API calls it, where a node refused.
#[must_use]
pub fn refusal_of(error: &anyhow::Error) -> Option<RefusalCode> {
    find(error).and_then(|coded| coded.refusal)
}

/// Whether the command's JSON answer says it already.
#[must_use]
pub fn is_answered(error: &anyhow::Error) -> bool {
    find(error).is_some_and(|coded| coded.answered)
}

fn find(error: &anyhow::Error) -> Option<&Coded> {
    error.chain().find_map(|cause| cause.downcast_ref())
}
