//! Which peers are asked for history first, after some of them gave what was false.
//!
//! What is false is mostly known of a whole history, not of an entry: of several that gave parts of it any may have lied. So
//! each is doubted once more, and whoever is doubted least is asked first: one that lies is asked alone sooner or later, or
//! not at all. Nobody is left out, since a doubted one may be the only one that has an entry.

use crate::peers::PeerAddress;
use events::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Before a history is fetched for the third time; twice as long each time after that.
const REST_MIN: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// How often each peer was among those that gave a false history.
    times: BTreeMap<NodeId, u32>,
    /// Who gave what lies here unproven.
    gave: BTreeSet<NodeId>,
    /// False histories since the last that was proven.
    in_a_row: u32,
}

impl Doubts {
    /// Those that are doubted least first.
    pub fn order<'a>(&self, peers: impl IntoIterator<Item = &'a PeerAddress>) -> Vec<&'a PeerAddress> {
        let mut ordered: Vec<_> = peers.into_iter().collect();
        ordered.sort_by_key(|peer| self.times.get(&peer.node).copied().unwrap_or(0));
        ordered
    }

    pub fn gave(&mut self, peer: NodeId) {
        self.gave.insert(peer);
    }

    /// What this one offered cannot be true, whatever others gave; whether anything that it gave before lies here.
    pub fn refuse(&mut self, peer: NodeId) -> bool {
        *self.times.entry(peer).or_default() += 1;
        self.gave.contains(&peer)
    }

    /// What was given is false; who gave it, as far as this process knows.
    pub fn doubt(&mut self) -> Vec<NodeId> {
        self.in_a_row += 1;
        let gave = std::mem::take(&mut self.gave);
        for peer in &gave {
            *self.times.entry(*peer).or_default() += 1;
        }
        gave.into_iter().collect()
    }

    /// What was given is proven.
    pub fn settle(&mut self) {
        self.gave.clear();
        self.in_a_row = 0;
    }

    /// Whether the last history that was judged is false.
    pub fn are_open(&self) -> bool {
        self.in_a_row > 0
    }

    /// How long to wait before history is fetched: not after the first lie, since another peer is asked.
    pub fn rest(&self) -> Duration {
        match self.in_a_row {
            0 | 1 => Duration::ZERO,
            more => REST_MIN.saturating_mul(1 << (more - 2).min(16)).min(REST_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(doubts: &Doubts) -> Vec<NodeId> {
        let peers = [1, 2, 3].map(|node| PeerAddress { node, address: String::new() });
        doubts.order(&peers).into_iter().map(|peer| peer.node).collect()
    }

    #[test]
    fn whoever_gave_a_false_history_is_asked_last_and_one_that_lies_is_found_among_several() {
        let mut doubts = Doubts::default();
        assert_eq!(order(&doubts), [1, 2, 3]);
        doubts.gave(1);
        doubts.gave(2);
        assert_eq!(doubts.doubt(), [1, 2]);
        assert_eq!(order(&doubts), [3, 1, 2]);
        // 3 lacks it, and 1, who lies, gives all of it alone.
        doubts.gave(1);
        doubts.doubt();
        assert_eq!(order(&doubts), [3, 2, 1]);
        assert!(doubts.doubt().is_empty(), "each history is told once");
    }

    #[test]
    fn whose_offer_cannot_be_true_is_asked_last_and_it_is_told_if_it_gave_something_before() {
        let mut doubts = Doubts::default();
        assert!(!doubts.refuse(1));
        assert_eq!(order(&doubts), [2, 3, 1]);
        doubts.gave(2);
        assert!(doubts.refuse(2));
        assert_eq!(order(&doubts), [3, 1, 2]);
    }

    #[test]
    fn after_one_lie_another_peer_is_asked_at_once_and_after_each_further_one_later() {
        let mut doubts = Doubts::default();
        let mut rests = vec![doubts.rest().as_secs()];
        for _ in 0..12 {
            doubts.doubt();
            rests.push(doubts.rest().as_secs());
        }
        assert_eq!(rests, [0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
        doubts.settle();
        assert_eq!(doubts.rest(), Duration::ZERO);
    }
}
