//! Whether automation runs: it stops when the members' states differ at one index, since then one of them is wrong
//! and nobody knows which. States of two levels are not compared: during a rolling upgrade both are right.

use crate::shared_projector::{LevelDigest, StateDigest};
use events::ids::{LogIndex, NodeId};
use tokio::sync::watch;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Automation {
    #[default]
    Running,
    /// Until this process starts again: first find out which member is wrong, and let it fold its log anew.
    Stopped { peer: NodeId, index: LogIndex, own: StateDigest, theirs: StateDigest },
}

/// The switch; on until a difference is seen.
#[derive(Clone, Default)]
pub struct AutomationSwitch(watch::Sender<Automation>);

impl AutomationSwitch {
    #[must_use]
    pub fn now(&self) -> Automation {
        self.0.borrow().clone()
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(&*self.0.borrow(), Automation::Running)
    }

    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Automation> {
        self.0.subscribe()
    }

    /// Compares a peer's digests with this node's at the indices that both know at one level.
    pub fn compare(&self, peer: NodeId, own: &[LevelDigest], theirs: &[LevelDigest]) {
        let Some(difference) = first_difference(peer, own, theirs) else { return };
        self.0.send_if_modified(|now| {
            let first = *now == Automation::Running;
            if first {
                tracing::error!(?difference, "the members' states differ: automation stopped");
                *now = difference;
            }
            first
        });
    }
}

fn first_difference(peer: NodeId, own: &[LevelDigest], theirs: &[LevelDigest]) -> Option<Automation> {
    theirs.iter().find_map(|theirs| {
        let at = own.binary_search_by_key(&theirs.index, |own| own.index).ok()?;
        let own = own.get(at).filter(|own| own.level == theirs.level)?;
        let (index, own, theirs) = (own.index, own.digest, theirs.digest);
        (own != theirs).then_some(Automation::Stopped { peer, index, own, theirs })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(from: u64, last: u8) -> Vec<LevelDigest> {
        let digest = |n| StateDigest([if n == 3 { last } else { 7 }; 32]);
        (from..4).map(|n| LevelDigest { level: 1, index: n * 64, digest: digest(n) }).collect()
    }

    #[test]
    fn a_member_of_another_level_stops_nothing_and_one_of_the_same_level_still_does() {
        let switch = AutomationSwitch::default();
        let mut upgraded = digests(0, 8);
        upgraded.iter_mut().for_each(|at| at.level = 2);
        switch.compare(2, &digests(0, 9), &upgraded);
        assert!(switch.is_running(), "a rolling upgrade is no difference");
        upgraded[3].level = 1;
        switch.compare(2, &digests(0, 9), &upgraded);
        assert!(!switch.is_running());
    }

    #[test]
    fn automation_runs_while_all_known_digests_are_equal() {
        let switch = AutomationSwitch::default();
        switch.compare(2, &digests(0, 9), &digests(2, 9));
        switch.compare(3, &digests(1, 9), &[]);
        assert!(switch.is_running());
    }

    #[test]
    fn one_difference_at_one_index_stops_automation_for_good() {
        let switch = AutomationSwitch::default();
        switch.compare(2, &digests(0, 9), &digests(0, 8));
        let stopped = Automation::Stopped {
            peer: 2,
            index: 192,
            own: StateDigest([9; 32]),
            theirs: StateDigest([8; 32]),
        };
        assert_eq!(switch.now(), stopped);
        switch.compare(3, &digests(0, 9), &digests(0, 9));
        assert_eq!(switch.now(), stopped, "a third node that agrees does not heal it");
    }
}
