//! Exit codes, as the help documents them.

use std::fmt;

/// Anything that has no code of its own.
pub const FAILED: u8 = 1;
/// Command line, config or a file that it names is wrong.
pub const USAGE: u8 = 2;
/// No answer in time.
pub const UNREACHABLE: u8 = 3;
/// The cluster, or this terminal, said no.
pub const REFUSED: u8 = 4;
/// The boot check ended restricted.
pub const RESTRICTED: u8 = 5;
/// Another agent works on the same state.
pub const LOCKED: u8 = 6;

/// Doctor found a problem.
pub const PROBLEM: u8 = 7;

/// Why the program ends, and with which code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    what: String,
}

impl Failure {
    pub fn new(code: u8, what: impl fmt::Display) -> Self {
        Failure { code, what: what.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
