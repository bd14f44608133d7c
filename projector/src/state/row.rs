//! The hot row of a device: all that a routine heartbeat touches, by slot.

use super::window::Window;
use events::ids::{Epoch, Generation, LogIndex, Sequence};
use events::time::Timestamp;
use events::vocabulary::shared::Legitimacy;
use serde::{Deserialize, Serialize};

/// A million of these lie in memory side by side, each in two cache lines that memory fetches as a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(align(128))]
pub(crate) struct Row {
    pub window: Window,
    pub last_heard: Timestamp,
    /// When the next lease of the license is due; see [`marks::LICENSED`].
    pub lease_due: Timestamp,
    pub heartbeats: u64,
    /// The confirmed epoch; 0 if there was none yet.
    pub epoch: Epoch,
    /// The number that the next grant gets.
    pub next_epoch: Epoch,
    /// In which generation the epoch was confirmed: no evidence counts across generations.
    pub generation: Generation,
    /// Index of the source that spoke last in this epoch; [`NO_SOURCE`] before the first.
    pub source: u32,
    pub firmware: u32,
    pub boot_count: u32,
    pub legitimacy: Legitimacy,
    pub condition: u8,
    /// Bit set of [`marks`].
    pub marks: u8,
}

/// What a device takes of the memory that its heartbeats touch.
pub const HOT_ROW_BYTES: usize = std::mem::size_of::<Row>();

const _: () = assert!(HOT_ROW_BYTES <= 160, "design.md section 7: a hot row has at most 160 bytes");

/// No source was heard yet.
pub(crate) const NO_SOURCE: u32 = u32::MAX;

/// What a routine heartbeat must know of the cold record without reading it.
pub(crate) mod marks {
    /// A fork is remembered: every heartbeat must show its `seen`, so none is routine.
    pub(crate) const FORKED: u8 = 1;
    /// A directive is not settled: every verdict names it.
    pub(crate) const DIRECTED: u8 = 2;
    /// There is an active license, so leases fall due.
    pub(crate) const LICENSED: u8 = 4;
}

impl Row {
    #[must_use]
    pub(crate) fn new(generation: Generation) -> Self {
        Row {
            window: Window::default(),
            last_heard: Timestamp::ZERO,
            lease_due: Timestamp::ZERO,
            heartbeats: 0,
            epoch: 0,
            next_epoch: 1,
            generation,
            source: NO_SOURCE,
            firmware: 0,
            boot_count: 0,
            legitimacy: Legitimacy::Provisioned,
            condition: 0,
            marks: 0,
        }
    }

    /// Reads a byte of each cache line of what a heartbeat will write, so that it is at hand then.
    #[inline]
    pub(crate) fn touch(&self) -> u8 {
        self.marks ^ self.window.touch()
    }

    #[must_use]
    pub(crate) fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    pub(crate) fn set(&mut self, mark: u8, on: bool) {
        self.marks = if on { self.marks | mark } else { self.marks & !mark };
    }
}

/// What the header of a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub epoch: Epoch,
    pub sequence: Sequence,
    /// First 4 bytes of SHA-384 of the sealed message.
    pub digest: u32,
    /// Every sequence up to this one was answered.
    pub acked: Sequence,
    /// Log index of the last verdict that the sender verified.
    pub seen: LogIndex,
}
