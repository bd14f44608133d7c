//! Whose timeout is next: one binary heap for the whole fleet.
//!
//! Setting a new time leaves the old entry where it is; an entry counts only if it still is what its terminal wants.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Default)]
pub struct Schedule {
    /// (due, terminal), the earliest first.
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    /// What each terminal wants, by number; monotonic milliseconds.
    wanted: Vec<Option<u64>>,
}

impl Schedule {
    /// Terminal `number` wants to be called at `due`, or not at all.
    pub fn set(&mut self, number: usize, due: Option<u64>) {
        if self.wanted.len() <= number {
            self.wanted.resize(number + 1, None);
        }
        if self.wanted[number] == due {
            return;
        }
        self.wanted[number] = due;
        if let Some(due) = due {
            self.heap.push(Reverse((due, number)));
        }
    }

    /// The time of the earliest entry that counts.
    pub fn next_due(&mut self) -> Option<u64> {
        while let Some(&Reverse((due, number))) = self.heap.peek() {
            if self.wanted[number] == Some(due) {
                return Some(due);
            }
            self.heap.pop();
        }
        None
    }

    /// The next terminal whose time has come; it wants nothing until it is set again.
    pub fn pop_due(&mut self, now: u64) -> Option<usize> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, number)) = self.heap.pop()?;
        self.wanted[number] = None;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_come_up_in_the_order_of_their_times() {
        let mut schedule = Schedule::default();
        for (number, due) in [(0, 30), (1, 10), (2, 20)] {
            schedule.set(number, Some(due));
        }
        assert_eq!(schedule.pop_due(5), None);
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop_due(25)).collect();
        assert_eq!(order, [1, 2]);
        assert_eq!(schedule.next_due(), Some(30));
    }

    #[test]
    fn a_time_that_was_changed_or_withdrawn_does_not_come_up() {
        let mut schedule = Schedule::default();
        schedule.set(0, Some(10));
        schedule.set(0, Some(40));
        schedule.set(1, Some(15));
        schedule.set(1, None);
        assert_eq!(schedule.pop_due(39), None);
        assert_eq!(schedule.pop_due(40), Some(0));
        assert_eq!(schedule.pop_due(u64::MAX), None);
    }

    #[test]
    fn the_same_time_set_twice_comes_up_once() {
        let mut schedule = Schedule::default();
        schedule.set(0, Some(10));
        schedule.set(0, Some(20));
        schedule.set(0, Some(10));
        assert_eq!(schedule.pop_due(10), Some(0));
        assert_eq!(schedule.pop_due(10), None);
    }
}
