//! Messages that wait for this node to catch up (protocol.md rule 9): only what is judged at or past the log index
//! that its sender knows of may be counted as a failure.
//!
//! Invariants: bounded per source and in all; nobody waits longer than [`WAIT_MILLIS_MAX`].

use super::received::Received;
use events::ids::LogIndex;
use std::collections::HashMap;

/// A terminal waits five seconds for an answer; a node that needs longer had better say so early.
pub const WAIT_MILLIS_MAX: u64 = 1_000;
/// All sources together.
const PARKED_MAX: usize = 16_384;

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// This log index is applied here.
    Applied(LogIndex),
    /// All is applied here that was committed when the message came.
    CaughtUp,
}

impl Until {
    fn is_over(self, progress: &impl Progress) -> bool {
        match self {
            Until::Applied(index) => progress.applied() >= index,
            Until::CaughtUp => false,
        }
    }
}

/// How far this node is.
pub trait Progress {
    fn applied(&self) -> LogIndex;
    /// Whether all is applied here that was committed at `arrived_millis`.
    fn has_caught_up(&self, arrived_millis: u64) -> bool;
}

#[derive(Debug)]
struct Parked {
    received: Received,
    until: Until,
}

#[derive(Debug)]
pub struct ParkingLot {
    per_source_max: usize,
    parked: Vec<Parked>,
    per_source: HashMap<Box<str>, usize>,
}

/// Who leaves the parking lot.
#[derive(Debug, Default)]
pub struct Leaving {
    /// What they waited for is here.
    pub ready: Vec<Received>,
    /// They waited long enough.
    pub expired: Vec<Received>,
}

impl ParkingLot {
    #[must_use]
    pub fn new(per_source_max: usize) -> Self {
        ParkingLot { per_source_max, parked: Vec::new(), per_source: HashMap::new() }
    }

    /// Lets a message wait; gives it back if its source has too many waiting already.
    #[must_use]
    pub fn park(&mut self, received: Received, until: Until) -> Option<Received> {
        let waiting = self.per_source.get(received.source()).copied().unwrap_or(0);
        if waiting >= self.per_source_max || self.parked.len() >= PARKED_MAX {
            return Some(received);
        }
        self.per_source.insert(received.source().into(), waiting + 1);
        self.parked.push(Parked { received, until });
        None
    }

    /// Milliseconds until the next one waited long enough, if anybody waits.
    #[must_use]
    pub fn due_in_millis(&self, now: u64) -> Option<u64> {
        // Nearly sorted, but a message that was parked twice keeps its time of arrival.
        let due = self.parked.iter().map(|parked| parked.received.arrived_millis + WAIT_MILLIS_MAX).min();
        due.map(|due| due.saturating_sub(now))
    }

    /// Lets go who may go, in the order of arrival.
    pub fn leave(&mut self, progress: &impl Progress, now: u64) -> Leaving {
        let mut leaving = Leaving::default();
        for Parked { received, until } in std::mem::take(&mut self.parked) {
            // A node that caught up knows better than a sender that claims more than there is.
            let is_over = until.is_over(progress) || progress.has_caught_up(received.arrived_millis);
            if is_over {
                leaving.ready.push(received);
            } else if received.arrived_millis + WAIT_MILLIS_MAX <= now {
                leaving.expired.push(received);
            } else {
                self.parked.push(Parked { received, until });
                continue;
            }
        }
        let gone = leaving.ready.iter().chain(&leaving.expired);
        for received in gone {
            self.forget(received.source());
        }
        leaving
    }

    /// Everybody leaves: this node stops.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<Received> {
        self.per_source.clear();
        std::mem::take(&mut self.parked).into_iter().map(|parked| parked.received).collect()
    }

    fn forget(&mut self, source: &str) {
        if let Some(waiting) = self.per_source.get_mut(source) {
            *waiting -= 1;
            if *waiting == 0 {
                self.per_source.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Message;
    use events::ids::DeviceId;

    fn a_message(source: &str, arrived_millis: u64) -> Received {
        let device = DeviceId::from_bytes([7; 16]);
        let subject = format!("muster.v1.eu.up.{source}.{device}.heartbeat");
        Received::read(Message::new(subject, format!("_INBOX_{device}.1"), vec![]), arrived_millis, |_| true)
            .unwrap()
    }

    /// A node that applied this index, all of which was committed at that moment.
    struct At(LogIndex, u64);

    impl Progress for At {
        fn applied(&self) -> LogIndex {
            self.0
        }
        fn has_caught_up(&self, arrived_millis: u64) -> bool {
            arrived_millis < self.1
        }
    }

    #[test]
    fn rule_9_who_waits_goes_on_once_the_node_caught_up() {
        let mut lot = ParkingLot::new(8);
        assert!(lot.park(a_message("a", 9), Until::Applied(10)).is_none());
        assert!(lot.park(a_message("a", 5), Until::CaughtUp).is_none());
        assert!(lot.park(a_message("a", 9), Until::Applied(20)).is_none());
        assert!(lot.leave(&At(9, 5), 10).ready.is_empty());
        assert_eq!(lot.leave(&At(10, 5), 10).ready.len(), 1, "its index is applied");
        assert_eq!(lot.leave(&At(10, 6), 10).ready.len(), 1, "the node caught up with its arrival");
        assert_eq!(lot.due_in_millis(400), Some(9 + WAIT_MILLIS_MAX - 400));
        let leaving = lot.leave(&At(10, 6), 9 + WAIT_MILLIS_MAX);
        assert_eq!((leaving.ready.len(), leaving.expired.len()), (0, 1));
        assert!(lot.parked.is_empty() && lot.per_source.is_empty());
    }

    #[test]
    fn rule_9_parking_is_bounded_per_source() {
        let mut lot = ParkingLot::new(2);
        let park =
            |lot: &mut ParkingLot, source| lot.park(a_message(source, 0), Until::Applied(10)).is_none();
        assert_eq!((0..10).filter(|_| park(&mut lot, "greedy")).count(), 2);
        assert!(park(&mut lot, "modest"));
        lot.leave(&At(10, 0), 0);
        assert!(park(&mut lot, "greedy"), "there is room again");
    }
}
