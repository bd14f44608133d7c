//! Leaky buckets on log time: what is poured in drains at a steady rate; what flows over is a finding.
//!
//! A bucket is one stamp, the time at which it will be empty (as in the generic cell rate algorithm): exact, with
//! nothing to update while nobody looks.

use crate::view::FlagSubject;
use events::time::Timestamp;
use events::vocabulary::shared::FlagKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much a bucket holds and how fast it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub capacity: u32,
    /// One unit drains in this time, in milliseconds of log time.
    pub leak_every_millis: u64,
}

/// The buckets that are not empty, by what they look for and in whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    empty_at: BTreeMap<(FlagKind, FlagSubject), Timestamp>,
}

impl Buckets {
    /// Pours `amount` in and says whether it flowed over. A full bucket stays full, not fuller.
    #[must_use]
    pub(crate) fn pour(
        &mut self,
        kind: FlagKind,
        subject: FlagSubject,
        amount: u32,
        size: Size,
        now: Timestamp,
    ) -> bool {
        let empty_at = self.empty_at.entry((kind, subject)).or_insert(now);
        let full = now.plus_millis(u64::from(size.capacity) * size.leak_every_millis);
        let poured =
            (*empty_at).max(now).plus_millis(u64::from(amount).saturating_mul(size.leak_every_millis));
        *empty_at = poured.min(full);
        poured > full
    }

    /// Empties one bucket: a person closed the case.
    pub(crate) fn empty(&mut self, kind: FlagKind, subject: &FlagSubject) {
        self.empty_at.remove(&(kind, subject.clone()));
    }

    /// Empties all of them.
    pub(crate) fn empty_all(&mut self) {
        self.empty_at.clear();
    }

    /// Forgets the buckets that drained; changes no judgement.
    pub(crate) fn forget_drained(&mut self, now: Timestamp) {
        self.empty_at.retain(|_, empty_at| *empty_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { capacity: 8, leak_every_millis: 60_000 };

    fn pour(buckets: &mut Buckets, amount: u32, minutes: u64) -> bool {
        let subject = FlagSubject::Source("shop-7".parse().unwrap());
        buckets.pour(FlagKind::Replay, subject, amount, SIZE, Timestamp::from_millis(minutes * 60_000))
    }

    #[test]
    fn what_drains_in_time_never_flows_over() {
        let mut buckets = Buckets::default();
        assert!((0..1000).all(|minute| !pour(&mut buckets, 1, minute)));
    }

    #[test]
    fn the_ninth_at_once_flows_over_and_an_hour_later_it_is_forgiven() {
        let mut buckets = Buckets::default();
        assert!(!pour(&mut buckets, 8, 10));
        assert!(pour(&mut buckets, 1, 10));
        assert!(!pour(&mut buckets, 8, 70));
    }

    #[test]
    fn a_flood_does_not_fill_a_bucket_for_longer_than_its_capacity() {
        let mut buckets = Buckets::default();
        assert!(pour(&mut buckets, u32::MAX, 10));
        assert!(!pour(&mut buckets, 8, 18));
    }
}
