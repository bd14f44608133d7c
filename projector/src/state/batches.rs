//! Which batches came already: per node its last boots and the highest counter of each, so that the memory of a
//! node is bounded.
//!
//! A node numbers its batches from 1 in each boot and proposes one only after the one before was decided; so
//! whatever is not above the highest counter came before. One process counts as several boots: each of its lanes has a
//! number of its own.

use events::batch::BatchId;
use events::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Boots remembered per node: those of the lanes of three processes, since a batch of one that was killed may still be
/// under way when the next one speaks.
const BOOTS_KEPT: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batches {
    /// (boot, highest counter), the latest boot last.
    nodes: BTreeMap<NodeId, Vec<(u64, u64)>>,
}

impl Batches {
    /// Whether this batch came before; it has from now on.
    pub(crate) fn came_before(&mut self, id: BatchId) -> bool {
        let boots = self.nodes.entry(id.node).or_default();
        if let Some((_, highest)) = boots.iter_mut().find(|(boot, _)| *boot == id.boot) {
            let before = id.counter <= *highest;
            *highest = id.counter.max(*highest);
            return before;
        }
        if boots.len() == BOOTS_KEPT {
            boots.remove(0);
        }
        boots.push((id.boot, id.counter));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(boot: u64, counter: u64) -> BatchId {
        BatchId { node: 1, boot, counter }
    }

    #[test]
    fn a_batch_comes_once() {
        let mut batches = Batches::default();
        assert!(!batches.came_before(id(7, 1)));
        assert!(!batches.came_before(id(7, 2)));
        assert!(batches.came_before(id(7, 2)));
        assert!(batches.came_before(id(7, 1)));
        assert!(!batches.came_before(BatchId { node: 2, ..id(7, 1) }));
    }

    #[test]
    fn a_late_batch_of_the_boot_before_is_still_known() {
        let mut batches = Batches::default();
        assert!(!batches.came_before(id(7, 9)));
        assert!(!batches.came_before(id(8, 1)));
        assert!(batches.came_before(id(7, 9)));
        assert!(batches.came_before(id(8, 1)));
    }

    #[test]
    fn a_node_that_restarts_for_ever_takes_bounded_space() {
        let mut batches = Batches::default();
        (0..1000).for_each(|boot| assert!(!batches.came_before(id(boot, 1))));
        assert_eq!(batches.nodes[&1].len(), BOOTS_KEPT);
    }
}
