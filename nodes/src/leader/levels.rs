//! The level that each other member was heard to have: what a leader may propose depends on it, since a member of a lower
//! level halts at an event that it does not know.
//!
//! A member that is cut off or repairs its log says nothing of it; so what was heard once is remembered.

use crate::peers::watch::PeerReports;
use events::ids::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;

pub struct MemberLevels {
    /// None: not heard yet.
    of: Mutex<BTreeMap<NodeId, Option<u16>>>,
}

impl MemberLevels {
    /// Of all members but this one.
    #[must_use]
    pub fn of(peers: impl IntoIterator<Item = NodeId>) -> Self {
        MemberLevels { of: Mutex::new(peers.into_iter().map(|peer| (peer, None)).collect()) }
    }

    /// Takes note of a round of reports.
    pub fn hear(&self, reports: &PeerReports) {
        let mut of = self.of.lock();
        for (peer, level) in of.iter_mut() {
            let status = reports.get(peer).and_then(|report| report.status.as_ref());
            let heard = status.map(|status| status.level).filter(|level| *level > 0);
            *level = heard.or(*level);
        }
    }

    /// A member that was not heard to have this level.
    #[must_use]
    pub fn below(&self, level: u16) -> Option<NodeId> {
        self.of
            .lock()
            .iter()
            .find(|(_, heard)| heard.is_none_or(|heard| heard < level))
            .map(|(peer, _)| *peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_once_it_was_heard_to_have_the_level() {
        let levels = MemberLevels::of([2, 3]);
        assert_eq!(levels.below(5), Some(2));
        levels.of.lock().insert(2, Some(5));
        assert_eq!(levels.below(5), Some(3));
        levels.of.lock().insert(3, Some(4));
        assert_eq!(levels.below(5), Some(3));
        levels.of.lock().insert(3, Some(6));
        levels.hear(&PeerReports::new());
        assert_eq!(levels.below(5), None, "what was heard once is remembered");
        assert_eq!(MemberLevels::of([]).below(5), None);
    }
}
