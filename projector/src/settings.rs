//! The numbers that detectors and policy go by. A live node has the default ones, always: every node must judge the same.
//! Others are for replays: what would have been, had they been other ones.

use crate::detect::bucket::Size;
use serde::{Deserialize, Serialize};

/// Times are log time, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether policy restricts a device with an open `clone` flag.
    pub restrict_clones: bool,
    /// A fork without a second voice is forgotten after so long.
    pub suspicion_ms: u64,
    /// So long after a person reinstated a device, automation leaves it alone.
    pub hands_off_ms: u64,
    /// When automation stops and asks.
    pub breaker: BreakerSettings,
    /// `replay`: what a source sends again after it was answered.
    pub replay: BucketSettings,
    /// `code_bruteforce`: refused codes, by source and by device.
    pub code_bruteforce: BucketSettings,
}

/// Automation restricts so many devices within the window: a number always, and a share of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    pub window_ms: u64,
    /// Below this many nothing is out of proportion, however small the fleet.
    pub always_allowed: u32,
    pub fleet_permille: u32,
}

/// A leaky bucket: what flows over raises the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSettings {
    pub capacity: u32,
    /// One unit drains in this time.
    pub leak_every_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            restrict_clones: true,
            suspicion_ms: 24 * 3_600_000,
            hands_off_ms: 3_600_000,
            breaker: BreakerSettings::default(),
            // Networks duplicate a packet now and then; ten at once, or ten a minute for long, are no accident.
            replay: BucketSettings { capacity: 10, leak_every_ms: 6_000 },
            // A person mistypes a code a few times, and each node counts what a retry or somebody on the wire brings to it;
            // twelve at once, or one a minute for long, is guessing.
            code_bruteforce: BucketSettings { capacity: 11, leak_every_ms: 60_000 },
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        BreakerSettings { window_ms: 3_600_000, always_allowed: 10, fleet_permille: 10 }
    }
}

impl BreakerSettings {
    /// What automation may restrict within a window, in a fleet of this size.
    #[must_use]
    pub(crate) fn limit(&self, fleet: u32) -> u32 {
        let share = u64::from(fleet) * u64::from(self.fleet_permille) / 1000;
        self.always_allowed.max(u32::try_from(share).unwrap_or(u32::MAX))
    }
}

impl From<BucketSettings> for Size {
    fn from(settings: BucketSettings) -> Self {
        Size { capacity: settings.capacity, leak_every_millis: settings.leak_every_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::VERSION;

    /// The numbers are rules: who folds a log by others comes to another state under the same level.
    #[test]
    fn the_numbers_that_live_nodes_go_by_are_those_of_this_level() {
        let minute = 60_000;
        let of_level_7 = Settings {
            restrict_clones: true,
            suspicion_ms: 24 * 60 * minute,
            hands_off_ms: 60 * minute,
            breaker: BreakerSettings { window_ms: 60 * minute, always_allowed: 10, fleet_permille: 10 },
            replay: BucketSettings { capacity: 10, leak_every_ms: 6_000 },
            code_bruteforce: BucketSettings { capacity: 11, leak_every_ms: minute },
        };
        assert_eq!((VERSION, Settings::default()), (7, of_level_7), "other numbers need another level");
    }
}
