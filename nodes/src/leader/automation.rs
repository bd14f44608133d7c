//! Whether automation runs: it stops when the members' states differ at one index, or when a committed checkpoint has
//! another root than this node's log, since then one of them is wrong and nobody knows which. States of two levels are
//! not compared: during a rolling upgrade both are right.

use crate::raft::tree::{Compared, Difference};
use crate::shared_projector::{LevelDigest, StateDigest};
use events::identity::key::PublicKey;
use events::ids::{ClusterId, LogIndex, NodeId};
use events::log::checkpoint::CheckpointError;
use tokio::sync::watch;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Automation {
    #[default]
    Running,
    /// Until this process starts again: first find out which member is wrong, and let it fold its log anew.
    Stopped { peer: NodeId, index: LogIndex, own: StateDigest, theirs: StateDigest },
    /// Until this process starts again: `muster log verify` on every member's log says whose entries were altered.
    LogDiffers(Box<Difference>),
    /// The checkpoint that this entry carries was not signed with the cluster's checkpoint key.
    CheckpointForged { index: LogIndex, why: CheckpointError },
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
        self.stop(difference);
    }

    /// Judges what a committed checkpoint is to this node.
    pub fn judge(&self, compared: &Compared, cluster: ClusterId, key: &PublicKey) {
        if let Some(difference) = &compared.difference {
            self.stop(Automation::LogDiffers(Box::new(difference.clone())));
        }
        if let Some(last) = &compared.last
            && let Err(why) = last.checkpoint(cluster).verify(&last.signature, key)
        {
            self.stop(Automation::CheckpointForged { index: last.index, why });
        }
    }

    /// For the first reason that comes.
    fn stop(&self, why: Automation) {
        self.0.send_if_modified(|now| {
            let first = *now == Automation::Running;
            if first {
                tracing::error!(?why, "automation stopped");
                *now = why;
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
    use events::identity::key::SigningKey;
    use events::time::Timestamp;
    use projector::view::CheckpointView;

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
    fn a_checkpoint_with_another_root_or_a_signature_that_does_not_hold_stops_automation() {
        let key = SigningKey::from_bytes(&[3; 48]).unwrap();
        let cluster = ClusterId::from_bytes([7; 16]);
        let (index, at, signature) = (9, Timestamp::ZERO, Vec::new());
        let mut last = CheckpointView { index, at, generation: 1, size: 8, root: [4; 32], signature };
        last.signature = last.checkpoint(cluster).signature(&key);
        let judged = |compared: &Compared| {
            let switch = AutomationSwitch::default();
            switch.judge(compared, cluster, &key.public());
            switch.now()
        };
        let good = Compared { last: Some(last.clone()), ..Compared::default() };
        assert_eq!(judged(&good), Automation::Running);
        let difference = Difference { checkpoint: last.clone(), own: [5; 32] };
        let differs = Compared { difference: Some(difference.clone()), ..good.clone() };
        assert_eq!(judged(&differs), Automation::LogDiffers(Box::new(difference)));
        let forged = Compared { last: Some(CheckpointView { size: 7, ..last }), ..good };
        let why = CheckpointError::Signature;
        assert_eq!(judged(&forged), Automation::CheckpointForged { index: 9, why });
    }

    #[test]
    fn automation_runs_while_all_known_digests_are_equal() {
        let switch = AutomationSwitch::default();
        switch.compare(2, &digests(0, 9), &digests(2, 9));
        switch.compare(3, &digests(1, 9), &[]);
        assert!(switch.is_running());
    }

    #[test]
    fn members_that_compare_at_other_intervals_are_held_against_each_other_where_they_meet() {
        let every = |interval: usize| digests(0, 9).into_iter().step_by(interval).collect::<Vec<_>>();
        let switch = AutomationSwitch::default();
        let mut theirs = every(2);
        switch.compare(2, &every(1), &theirs);
        switch.compare(3, &every(3), &theirs);
        // Where this node made none it says nothing.
        theirs.iter_mut().filter(|at| at.index > 0).for_each(|at| at.digest = StateDigest([8; 32]));
        switch.compare(2, &every(3), &theirs);
        assert!(switch.is_running());
        switch.compare(2, &every(1), &theirs);
        assert!(matches!(switch.now(), Automation::Stopped { peer: 2, index: 128, .. }));
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
