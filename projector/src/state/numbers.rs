//! Which bodies of a device were counted: by boot and number, over all its epochs (protocol.md rule 8).
//!
//! A body that was sent and not answered may come again from the spool, under another epoch. Rows carry no number, but
//! within an epoch numbers and sequences count up together, so one event of it tells the numbers of all its rows.
//!
//! Invariants: at most [`BOOTS_KEPT`] boots, ascending; at most [`RANGES_KEPT`] ranges each, ascending, apart. What is
//! forgotten counts as counted: a full memory loses bodies from a count, and never counts one twice.

use super::usual::Usual;
use events::ids::Sequence;
use serde::{Deserialize, Serialize};
use std::num::NonZero;

/// Boots whose numbers are kept: the running one and three that were offline, or older.
pub(crate) const BOOTS_KEPT: usize = 4;
/// Gaps in the numbers of a boot are outages whose bodies have not all come yet; of an honest one there are few.
pub(crate) const RANGES_KEPT: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    boots: Usual<Boot, 1>,
    /// The heartbeat of the current epoch that came as an event last: from there on rows are numbered.
    said: Option<Said>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    count: u32,
    /// First and last number.
    ranges: Usual<(u32, u32), 1>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    /// No sequence is 0, so that it takes no room to say whether there is one.
    sequence: NonZero<Sequence>,
    number: u32,
}

impl Numbers {
    /// Another boot speaks. Counts that are not above what is known were begun anew: its flash forgot.
    pub(crate) fn begin_boot(&mut self, boot: u32) {
        if self.boots.iter().any(|kept| kept.count >= boot) {
            self.boots.change(|boots| boots.retain(|kept| kept.count < boot));
        }
    }

    /// The epoch of `boot` is over, whose highest sequence was `highest`.
    pub(crate) fn end_epoch(&mut self, boot: u32, highest: Sequence) {
        self.count_rows(boot, highest);
        self.said = None;
    }

    /// Body `number` came by itself, under `sequence`; the highest sequence before was `highest`. True if it is new.
    pub(crate) fn say(&mut self, boot: u32, sequence: Sequence, number: u32, highest: Sequence) -> bool {
        self.count_rows(boot, highest);
        if let Some(sequence) = NonZero::new(sequence)
            && self.said.is_none_or(|said| said.sequence < sequence)
        {
            self.said = Some(Said { sequence, number });
        }
        self.take(boot, number)
    }

    /// Body `number` of `boot` came. True if it is new.
    pub(crate) fn take(&mut self, boot: u32, number: u32) -> bool {
        let Some(boot) = self.boot(boot) else { return false };
        let known = boot.ranges.iter().any(|&(first, last)| (first..=last).contains(&number));
        if !known {
            boot.add(number, number);
        }
        !known
    }

    fn count_rows(&mut self, boot: u32, highest: Sequence) {
        let Some(said) = &mut self.said else { return };
        let rows = NonZero::new(highest).filter(|highest| *highest > said.sequence);
        let Some((sequence, rows)) = rows.map(|highest| (highest, highest.get() - said.sequence.get()))
        else {
            return;
        };
        let first = said.number.saturating_add(1);
        let last = said.number.saturating_add(rows);
        *said = Said { sequence, number: last };
        if let Some(boot) = self.boot(boot) {
            boot.add(first, last);
        }
    }

    /// None for a boot so long ago that newer ones took its place.
    fn boot(&mut self, count: u32) -> Option<&mut Boot> {
        let at = match self.boots.binary_search_by_key(&count, |boot| boot.count) {
            Ok(at) => at,
            Err(0) if self.boots.len() == BOOTS_KEPT => return None,
            Err(at) if self.boots.len() == BOOTS_KEPT => {
                // The oldest makes room, in place: this happens at every boot of every device.
                self.boots[..at].rotate_left(1);
                self.boots[at - 1] = Boot { count, ranges: Usual::default() };
                at - 1
            }
            Err(at) => self.boots.change(|boots| {
                boots.insert(at, Boot { count, ranges: Usual::default() });
                at
            }),
        };
        self.boots.get_mut(at)
    }

    /// Whether the invariants at the top of this file hold.
    pub(crate) fn is_sound(&self) -> bool {
        let boots_ascend = self.boots.windows(2).all(|two| two[0].count < two[1].count);
        let few = self.boots.len() <= BOOTS_KEPT;
        few && boots_ascend && self.boots.iter().all(Boot::is_sound)
    }
}

impl Boot {
    fn add(&mut self, mut first: u32, mut last: u32) {
        let (before, after) = (first, last);
        let touches =
            |&(from, to): &(u32, u32)| from <= after.saturating_add(1) && before <= to.saturating_add(1);
        if let [only] = &mut self.ranges[..]
            && touches(only)
        {
            *only = (first.min(only.0), last.max(only.1));
            return;
        }
        self.ranges.change(|ranges| {
            ranges.retain(|range| {
                let meets = touches(range);
                if meets {
                    (first, last) = (first.min(range.0), last.max(range.1));
                }
                !meets
            });
            let at = ranges.partition_point(|range| range.0 < first);
            ranges.insert(at, (first, last));
            if ranges.len() > RANGES_KEPT {
                // The gap between the two lowest is forgotten: what lay in it counts as counted.
                let (from, _) = ranges.remove(0);
                ranges[0].0 = from;
            }
        });
    }

    fn is_sound(&self) -> bool {
        let apart = self.ranges.windows(2).all(|two| two[0].1.saturating_add(1) < two[1].0);
        self.ranges.len() <= RANGES_KEPT && apart && self.ranges.iter().all(|range| range.0 <= range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_body_counts_once_whether_it_came_by_itself_as_a_row_or_from_the_spool() {
        let mut numbers = Numbers::default();
        numbers.begin_boot(3);
        assert!(numbers.say(3, 1, 1, 0));
        // Rows 2 to 9 came, then the epoch was over.
        numbers.end_epoch(3, 9);
        assert!(!numbers.take(3, 9), "the row that was not answered comes from the spool");
        assert!(numbers.take(3, 10) && !numbers.take(3, 10));
        assert!(numbers.say(3, 1, 12, 0), "another epoch of the same boot");
        assert!(numbers.take(3, 11));
    }

    #[test]
    fn four_boots_are_kept_and_an_older_one_counts_no_more() {
        let mut numbers = Numbers::default();
        for boot in [9, 8, 7, 6] {
            assert!(numbers.take(boot, 1));
        }
        assert!(!numbers.take(5, 1));
        assert!(numbers.take(10, 1), "a newer one takes the place of the oldest");
        assert!(!numbers.take(6, 2) && numbers.take(7, 2));
    }

    #[test]
    fn flash_that_forgot_its_boots_begins_them_anew() {
        let mut numbers = Numbers::default();
        for boot in 1..=4 {
            assert!(numbers.take(boot, 1));
        }
        numbers.begin_boot(3);
        assert!(!numbers.take(2, 1));
        assert!(numbers.take(3, 1) && numbers.take(4, 1));
    }

    proptest! {
        #[test]
        fn nothing_counts_twice_and_what_fits_counts_once(
            taken in prop::collection::vec((0u32..6, prop_oneof![0u32..40, any::<u32>()]), 0..300),
        ) {
            let (mut numbers, mut counted) = (Numbers::default(), BTreeSet::new());
            for (boot, number) in taken {
                if numbers.take(boot, number) {
                    prop_assert!(counted.insert((boot, number)), "{} of boot {} counted twice", number, boot);
                }
                prop_assert!(numbers.is_sound());
            }
        }

        #[test]
        fn a_spool_that_comes_newest_first_in_parts_counts_whole(parts in prop::collection::vec(1u32..33, 1..32)) {
            let mut numbers = Numbers::default();
            let mut number: u32 = parts.iter().sum();
            for part in parts {
                for body in 0..part {
                    prop_assert!(numbers.take(1, number - part + 1 + body));
                }
                number -= part;
            }
        }
    }
}
