//! Who may ask for an update how often. Nothing of a request is proven: whoever speaks as a source may name any device.
//!
//! ```text
//!   of a device in the registry ──▶ the source's wide bucket ──▶ the pair (device, source) ──▶ answered
//!   of anybody else ──────────────────┐   │ drained                │ drained
//!                                     ▼   ▼                        ▼
//!                                  the source's narrow bucket ──▶ answered, or refused and charged to the source
//! ```
//!
//! - A gateway with ten thousand terminals is as fast as ten thousand sources with one, and pays for none of them.
//! - Whoever knows the ids of all devices gets the wide bucket of his own source, and nobody's tokens but his own.
//! - Whoever knows none, or repeats one, gets the narrow bucket.
//! - Pairs are kept each by itself, not by chance with others: else a flood of many would drain those of honest terminals.
//!   The wide bucket comes first, so that one source has no more of them than it lets through in the time in which they
//!   are forgotten. Were the table full all the same, newcomers would be as slow as strangers.

use super::buckets::{Buckets, Rate};
use events::ids::{Slot, SourceId};
use std::hash::{BuildHasher as _, RandomState};

/// Requests of one device through one source: some at a rollout (which offer, whether it still stands, once more after a
/// restart), and forgotten soon.
const PAIR_RATE: Rate = Rate { burst: 16, every_millis: 5_000 };
/// About 24 bytes each, while they are not full.
const PAIRS_MAX: usize = 262_144;
/// Requests of one source for devices that are known: three of each terminal of a large gateway at once, then a thousand
/// answers a second, which cost a node about one hundredth of a core and carry an offer each.
const WIDE_RATE: Rate = Rate { burst: 32_768, every_millis: 1 };
/// Requests of one source for whom nothing speaks: terminals without a key at a site that boots, and then one every
/// other second.
const NARROW_RATE: Rate = Rate { burst: 256, every_millis: 2_000 };
const SOURCES_MAX: usize = 4_096;

pub(super) struct UpdateBudget {
    pairs: Buckets<(Slot, u64)>,
    hasher: RandomState,
    wide: Buckets<SourceId>,
    narrow: Buckets<SourceId>,
}

impl UpdateBudget {
    pub fn new() -> Self {
        UpdateBudget {
            pairs: Buckets::new(PAIR_RATE, PAIRS_MAX),
            hasher: RandomState::new(),
            wide: Buckets::new(WIDE_RATE, SOURCES_MAX),
            narrow: Buckets::new(NARROW_RATE, SOURCES_MAX),
        }
    }

    /// Whether one more request of `source` is answered; `device` is the one that it names, if the registry has it.
    pub fn take(&mut self, source: &SourceId, device: Option<Slot>, now: u64) -> bool {
        let is_expected = device.is_some_and(|slot| {
            let pair = (slot, self.hasher.hash_one(source.as_str()));
            self.wide.take(source.clone(), now) && self.pairs.take(pair, now)
        });
        is_expected || self.narrow.take(source.clone(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINALS: u32 = 10_000;

    fn source(name: &str) -> SourceId {
        name.parse().unwrap()
    }

    /// How many of the requests are answered.
    fn answered(
        budget: &mut UpdateBudget,
        from: &SourceId,
        devices: impl Iterator<Item = Option<Slot>>,
        now: u64,
    ) -> usize {
        devices.filter(|device| budget.take(from, *device, now)).count()
    }

    /// Each terminal asks which offer there is, asks again after its download, and once more after it started anew.
    #[test]
    fn a_gateway_with_ten_thousand_terminals_rolls_out_at_full_speed_and_is_refused_nothing() {
        let (mut budget, gateway) = (UpdateBudget::new(), source("gateway"));
        for asked in 0..3 {
            let all = answered(&mut budget, &gateway, (0..TERMINALS).map(Some), asked * 5_000);
            assert_eq!(all, TERMINALS as usize, "round {asked}");
        }
        // And so the next day, rollout after rollout.
        for hour in 1..24 {
            let all = answered(&mut budget, &gateway, (0..TERMINALS).map(Some), hour * 3_600_000);
            assert_eq!(all, TERMINALS as usize, "hour {hour}");
        }
    }

    #[test]
    fn who_names_devices_that_are_not_in_the_registry_gets_little_however_many_he_names() {
        let (mut budget, flooder) = (UpdateBudget::new(), source("flooder"));
        let strangers = || std::iter::repeat_n(None, 100_000);
        assert_eq!(answered(&mut budget, &flooder, strangers(), 0), 256);
        assert_eq!(answered(&mut budget, &flooder, strangers(), 60_000), 30, "one every other second");
    }

    #[test]
    fn who_repeats_one_device_gets_what_a_device_gets_and_the_little_of_a_stranger() {
        let (mut budget, flooder) = (UpdateBudget::new(), source("flooder"));
        let one = || std::iter::repeat_n(Some(7), 100_000);
        assert_eq!(answered(&mut budget, &flooder, one(), 0), 16 + 256);
        assert_eq!(answered(&mut budget, &flooder, one(), 60_000), 12 + 30);
    }

    /// Many sources flood at once, each with all ids: the table is full, and a newcomer is still answered.
    #[test]
    fn a_table_full_of_floods_leaves_a_newcomer_what_strangers_get() {
        let mut budget = UpdateBudget::new();
        for flooder in 0..12 {
            answered(&mut budget, &source(&format!("flooder-{flooder}")), (0..40_000).map(Some), 0);
        }
        assert_eq!(answered(&mut budget, &source("home"), std::iter::once(Some(7)), 0), 1);
        let gateway = source("gateway");
        let served = answered(&mut budget, &gateway, (0..TERMINALS).map(Some), 60_000);
        assert_eq!(served, TERMINALS as usize, "soon forgotten");
    }

    /// The worst that one source can do: it names a million devices that all are in the registry.
    #[test]
    fn who_names_every_device_of_the_fleet_gets_a_bounded_number_of_answers() {
        let (mut budget, flooder) = (UpdateBudget::new(), source("flooder"));
        let fleet = || (0..1_000_000).map(Some);
        assert_eq!(answered(&mut budget, &flooder, fleet(), 0), 32_768 + 256);
        let later = answered(&mut budget, &flooder, fleet(), 10_000);
        assert!(later <= 10_000 + 5, "a thousand a second: {later}");
    }

    #[test]
    fn a_flood_in_the_name_of_a_gateways_terminals_through_another_source_costs_the_gateway_nothing() {
        let (mut budget, gateway, flooder) = (UpdateBudget::new(), source("gateway"), source("flooder"));
        for _ in 0..20 {
            answered(&mut budget, &flooder, (0..TERMINALS).map(Some), 0);
        }
        for asked in 0..3 {
            let served = answered(&mut budget, &gateway, (0..TERMINALS).map(Some), asked);
            assert_eq!(served, TERMINALS as usize, "round {asked}");
        }
    }
}
