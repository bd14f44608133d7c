//! Time as the shell passes it in.

use events::time::Timestamp;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since this agent process started; never goes back.
    pub monotonic_millis: u64,
    /// What the terminal believes the time is; may be wrong by decades.
    pub wall: Timestamp,
}
