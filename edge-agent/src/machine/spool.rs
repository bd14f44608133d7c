//! Heartbeats that nobody could be told when they were made: bounded, and brought along by later ones.
//!
//! ```text
//!   no epoch to seal under ─▶ make one per interval ─▶ spool (oldest first) ─▶ newest 32 ride on each heartbeat
//!                                                        │ full                 └─ a verdict on it: forgotten here
//!                                                        └─▶ the oldest that tells nothing new goes
//! ```
//!
//! Invariants:
//! - A body is known by boot count and number for ever: it is never made anew, so the cluster counts it once.
//! - The first body of each stretch that tells of evidence outlives all that tell nothing new.

use events::limits::{SPOOL_BODIES_MAX, SPOOLED_BODIES_MAX};
use events::vocabulary::heartbeat::{SpooledBody, condition};
use serde::{Deserialize, Serialize};

/// What must not be lost with the oldest.
pub(super) const EVIDENCE: u8 = condition::RESTRICTED | condition::CLOCK_ROLLBACK;

/// What lies on flash.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spool {
    /// Oldest first.
    bodies: Vec<SpooledBody>,
    /// Some were dropped, and no verdict shows that the cluster knows.
    pub dropped: bool,
    /// The interval that was granted last, in milliseconds: an offline boot goes on with it. 0 before the first grant.
    pub interval_millis: u64,
}

impl Spool {
    /// A body on flash takes at most so many bytes.
    pub const BODY_BYTES_MAX: usize = 4 * 5 + 10 + 1;

    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// Keeps `body`, within `bodies_max`.
    pub fn keep(&mut self, body: SpooledBody, bodies_max: usize) {
        self.bodies.push(body);
        while self.bodies.len() > bodies_max.min(SPOOL_BODIES_MAX) {
            self.bodies.remove(self.least());
            self.dropped = true;
        }
    }

    /// The newest, newest first: as many as one heartbeat brings.
    pub fn newest(&self) -> Vec<SpooledBody> {
        self.bodies.iter().rev().take(SPOOLED_BODIES_MAX).copied().collect()
    }

    /// The cluster has these.
    pub fn forget(&mut self, brought: &[SpooledBody]) {
        self.bodies.retain(|body| !brought.contains(body));
    }

    /// The place of the one that goes first: the oldest that tells of no evidence or of the same as the one before it;
    /// else the oldest whose evidence another one tells too.
    fn least(&self) -> usize {
        let evidence = |at: usize| self.bodies.get(at).map_or(0, |body| body.condition & EVIDENCE);
        let begins = |at: usize| at == 0 || evidence(at) & !evidence(at - 1) != 0;
        let told_later =
            |at: usize| (at + 1..self.bodies.len()).any(|later| evidence(at) & !evidence(later) == 0);
        let mut all = 0..self.bodies.len();
        let plain = all.clone().find(|&at| evidence(at) == 0 || !begins(at));
        plain.or_else(|| all.find(|&at| told_later(at))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::time::Timestamp;
    use proptest::prelude::*;

    fn body(number: u32, condition: u8) -> SpooledBody {
        let made = Timestamp::from_millis(u64::from(number));
        SpooledBody { boot_count: 1, number, uptime_seconds: 0, firmware: 1, made, condition }
    }

    fn numbers(spool: &Spool) -> Vec<u32> {
        spool.bodies.iter().map(|body| body.number).collect()
    }

    #[test]
    fn the_oldest_go_first_and_what_goes_is_told() {
        let mut spool = Spool::default();
        (1..=4).for_each(|number| spool.keep(body(number, 0), 4));
        assert!(!spool.dropped);
        (5..=6).for_each(|number| spool.keep(body(number, 0), 4));
        assert_eq!((numbers(&spool), spool.dropped), (vec![3, 4, 5, 6], true));
    }

    #[test]
    fn where_evidence_begins_outlives_all_that_tells_nothing_new() {
        let mut spool = Spool::default();
        spool.keep(body(1, 0), 4);
        (2..=5).for_each(|number| spool.keep(body(number, condition::CLOCK_ROLLBACK), 4));
        (6..=50).for_each(|number| spool.keep(body(number, 0), 4));
        assert_eq!(numbers(&spool), [2, 48, 49, 50]);
    }

    #[test]
    fn what_a_heartbeat_brings_is_the_newest_and_stays_until_it_is_forgotten() {
        let mut spool = Spool::default();
        (1..=40).for_each(|number| spool.keep(body(number, 0), 64));
        let brought = spool.newest();
        assert_eq!((brought.len(), brought[0].number, brought[31].number), (32, 40, 9));
        assert_eq!(spool.len(), 40);
        spool.keep(body(41, 0), 64);
        spool.forget(&brought);
        assert_eq!(numbers(&spool), [1, 2, 3, 4, 5, 6, 7, 8, 41]);
    }

    proptest! {
        #[test]
        fn no_flood_of_evidence_breaks_the_bound_nor_loses_a_kind_of_it(
            conditions in prop::collection::vec(0u8..8, 0..200), bodies_max in 4usize..20,
        ) {
            let (mut spool, mut told) = (Spool::default(), 0);
            for (number, condition) in conditions.into_iter().enumerate() {
                told |= condition & EVIDENCE;
                spool.keep(body(number as u32, condition), bodies_max);
                prop_assert!(spool.len() <= bodies_max);
            }
            let kept = spool.bodies.iter().fold(0, |kept, body| kept | body.condition & EVIDENCE);
            prop_assert_eq!(kept, told);
        }

        #[test]
        fn a_body_on_flash_has_the_bytes_that_were_reckoned(
            boot_count: u32, number: u32, uptime_seconds: u32, firmware: u32, made: u64, condition: u8,
        ) {
            let made = Timestamp::from_millis(made);
            let body = SpooledBody { boot_count, number, uptime_seconds, firmware, made, condition };
            prop_assert!(postcard::to_stdvec(&body).unwrap().len() <= Spool::BODY_BYTES_MAX);
        }
    }
}
