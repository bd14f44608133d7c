//! What was refused, counted: the only trace that an attack leaves in the log.
//!
//! ```text
//!   refusal ──count──▶ window ──close, every REJECTION_WINDOW_MILLIS──▶ RejectionSummary ──▶ batch
//!                        ▲                                                   │ could not be proposed
//!                        └───────────────────── restore ◀────────────────────┘
//! ```
//!
//! Invariants: memory is bounded whatever comes; one source cannot fill the places of the others; an empty window
//! makes no event; every refusal is in an entry or in the overflow, of one summary.

use events::ids::{DeviceId, NodeId, SourceId};
use events::limits::REJECTION_ENTRIES_MAX;
use events::time::Timestamp;
use events::vocabulary::RejectionSummary;
use events::vocabulary::rejection::{RejectionCount, RejectionReason};
use std::collections::BTreeMap;

/// Distinct (source, reason) counted in one window; the largest of them find a place in the summary.
const PLACES_MAX: usize = 4 * REJECTION_ENTRIES_MAX;
/// As many again that name a device besides, because its own tag or signature verified. Garbage costs nothing, from as
/// many sources as there are: it must not hide who guesses codes.
const PROVEN_PLACES_MAX: usize = 4 * REJECTION_ENTRIES_MAX;
/// Of a summary's entries, those that proven ones have before all others.
const PROVEN_ENTRIES_MAX: usize = REJECTION_ENTRIES_MAX / 2;
/// Of these, places of one source; what it does beyond is counted without the device.
const PLACES_PER_SOURCE_MAX: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Charge {
    source: SourceId,
    reason: RejectionReason,
    device: Option<DeviceId>,
}

/// Counts of the window that is open.
#[derive(Debug)]
pub struct RejectionCounts {
    opened: Timestamp,
    counts: BTreeMap<Charge, u32>,
    /// Of these, how many name a device.
    proven: usize,
    overflow: u64,
}

impl RejectionCounts {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        RejectionCounts { opened: now, counts: BTreeMap::new(), proven: 0, overflow: 0 }
    }

    /// Charges one refusal to `source`; to `device` too only where its own tag or signature was verified.
    pub fn count(&mut self, source: SourceId, reason: RejectionReason, device: Option<DeviceId>) {
        self.add(Charge { source, reason, device }, 1);
    }

    /// Counts a refusal whose subject names no source.
    pub fn count_nameless(&mut self) {
        self.overflow = self.overflow.saturating_add(1);
    }

    /// Closes the window and opens the next; nothing if nothing was refused.
    pub fn close(&mut self, node: NodeId, now: Timestamp) -> Option<RejectionSummary> {
        let from = std::mem::replace(&mut self.opened, now);
        let mut overflow = std::mem::take(&mut self.overflow);
        let counts = std::mem::take(&mut self.counts);
        self.proven = 0;
        // The largest first; equal ones stay in the order of their charge.
        let by_count = |entry: &RejectionCount| std::cmp::Reverse(entry.count);
        let (mut entries, mut others): (Vec<_>, Vec<_>) =
            counts.into_iter().map(into_entry).partition(|entry| entry.device.is_some());
        entries.sort_by_key(by_count);
        others.extend(entries.split_off(entries.len().min(PROVEN_ENTRIES_MAX)));
        others.sort_by_key(by_count);
        entries.extend(others);
        let rest = entries.split_off(entries.len().min(REJECTION_ENTRIES_MAX));
        entries.sort_by_key(by_count);
        overflow = rest.iter().fold(overflow, |sum, entry| sum.saturating_add(u64::from(entry.count)));
        if entries.is_empty() && overflow == 0 {
            return None;
        }
        Some(RejectionSummary { node, from, until: now.max(from), entries, overflow })
    }

    /// Takes back a summary that certainly did not reach the log.
    pub fn restore(&mut self, summary: RejectionSummary) {
        self.opened = self.opened.min(summary.from);
        self.overflow = self.overflow.saturating_add(summary.overflow);
        for RejectionCount { source, reason, device, count } in summary.entries {
            self.add(Charge { source, reason, device }, count);
        }
    }

    fn add(&mut self, charge: Charge, count: u32) {
        if let Some(known) = self.counts.get_mut(&charge) {
            *known = known.saturating_add(count);
            return;
        }
        if self.has_place(&charge) {
            self.proven += usize::from(charge.device.is_some());
            self.counts.insert(charge, count);
        } else if charge.device.is_some() {
            self.add(Charge { device: None, ..charge }, count);
        } else {
            self.overflow = self.overflow.saturating_add(u64::from(count));
        }
    }

    /// The entries without a device are at most one per reason and always find a place of their source's.
    fn has_place(&self, charge: &Charge) -> bool {
        match charge.device {
            None => self.counts.len() - self.proven < PLACES_MAX,
            Some(_) => {
                self.proven < PROVEN_PLACES_MAX && self.places_of(&charge.source) < PLACES_PER_SOURCE_MAX
            }
        }
    }

    fn places_of(&self, source: &SourceId) -> usize {
        let first = RejectionReason::ALL.iter().copied().min().unwrap_or(RejectionReason::Malformed);
        let from = Charge { source: source.clone(), reason: first, device: None };
        self.counts.range(from..).take_while(|(charge, _)| charge.source == *source).count()
    }
}

fn into_entry((charge, count): (Charge, u32)) -> RejectionCount {
    RejectionCount { source: charge.source, reason: charge.reason, device: charge.device, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(name: &str) -> SourceId {
        name.parse().unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn device(number: u32) -> DeviceId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn total(summary: &RejectionSummary) -> u64 {
        summary.entries.iter().map(|e| u64::from(e.count)).sum::<u64>() + summary.overflow
    }

    #[test]
    fn an_empty_window_makes_no_event() {
        let mut counts = RejectionCounts::new(at(0));
        assert_eq!(counts.close(1, at(2_000)), None);
    }

    #[test]
    fn refusals_are_counted_by_source_reason_and_device_and_then_forgotten() {
        let mut counts = RejectionCounts::new(at(0));
        for _ in 0..3 {
            counts.count(source("a"), RejectionReason::NotAuthentic, None);
        }
        counts.count(source("b"), RejectionReason::CodeRefused, Some(device(1)));
        let summary = counts.close(7, at(2_000)).unwrap();
        assert_eq!((summary.node, summary.from, summary.until), (7, at(0), at(2_000)));
        assert_eq!(summary.entries.len(), 2);
        assert_eq!((summary.entries[0].source.as_str(), summary.entries[0].count), ("a", 3));
        assert_eq!(summary.entries[1].device, Some(device(1)));
        assert_eq!(counts.close(7, at(4_000)), None);
    }

    #[test]
    fn one_source_cannot_take_the_places_of_the_others() {
        let mut counts = RejectionCounts::new(at(0));
        for number in 0..100_000 {
            counts.count(source("attacker"), RejectionReason::CodeRefused, Some(device(number)));
        }
        counts.count(source("other"), RejectionReason::Malformed, None);
        let summary = counts.close(1, at(1)).unwrap();
        assert!(summary.entries.len() <= PLACES_PER_SOURCE_MAX + 2);
        assert!(summary.entries.iter().any(|e| e.source == source("other")));
        assert_eq!(total(&summary), 100_001);
    }

    #[test]
    fn many_sources_fill_one_bounded_summary_and_its_overflow() {
        let mut counts = RejectionCounts::new(at(0));
        for number in 0..10_000 {
            counts.count(source(&format!("s-{number}")), RejectionReason::Oversized, None);
        }
        counts.count_nameless();
        let summary = counts.close(1, at(1)).unwrap();
        assert_eq!(summary.entries.len(), REJECTION_ENTRIES_MAX);
        assert_eq!(total(&summary), 10_001);
    }

    #[test]
    fn a_summary_that_was_not_proposed_joins_the_next() {
        let mut counts = RejectionCounts::new(at(0));
        counts.count(source("a"), RejectionReason::Malformed, None);
        let lost = counts.close(1, at(2_000)).unwrap();
        counts.count(source("a"), RejectionReason::Malformed, None);
        counts.restore(lost);
        let summary = counts.close(1, at(4_000)).unwrap();
        assert_eq!((summary.from, summary.entries[0].count), (at(0), 2));
    }

    #[test]
    fn garbage_from_a_thousand_sources_does_not_hide_who_guesses_codes() {
        let mut counts = RejectionCounts::new(at(0));
        for number in 0..1_000 {
            (0..9)
                .for_each(|_| counts.count(source(&format!("s-{number}")), RejectionReason::Malformed, None));
        }
        counts.count(source("guesser"), RejectionReason::CodeRefused, Some(device(7)));
        let summary = counts.close(1, at(1)).unwrap();
        assert!(summary.entries.iter().any(|e| e.source == source("guesser") && e.device == Some(device(7))));
        assert_eq!(summary.entries.len(), REJECTION_ENTRIES_MAX);
        assert_eq!(total(&summary), 9_001);
    }

    proptest! {
        #[test]
        fn every_refusal_is_counted_once_and_memory_is_bounded(
            refusals in proptest::collection::vec((0u8..200, 0usize..12, proptest::option::of(0u32..50)), 0..3_000),
        ) {
            let mut counts = RejectionCounts::new(at(0));
            for (name, reason, named) in &refusals {
                let reason = RejectionReason::ALL[*reason];
                counts.count(source(&format!("s-{name}")), reason, named.map(device));
                prop_assert!(counts.counts.len() <= PLACES_MAX + PROVEN_PLACES_MAX);
            }
            let counted = counts.close(1, at(1)).as_ref().map_or(0, total);
            prop_assert_eq!(counted, refusals.len() as u64);
        }
    }
}
