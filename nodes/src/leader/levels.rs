//! The level that each other member was heard to have: what a leader may propose depends on it, since a member of a lower
//! level halts at an event that it does not know.
//!
//! A member that is cut off or repairs its log says nothing of it; so what was heard once is remembered, over restarts of
//! this node too: a member that is gone for good must not take from people what all the others know.

use crate::peers::watch::PeerReports;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::json_file;
use events::ids::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The file of what was heard, within the data directory.
pub const LEVELS_FILE: &str = "levels.json";

type Levels = BTreeMap<NodeId, Option<u16>>;

pub struct MemberLevels {
    /// None: not heard yet.
    of: Mutex<Levels>,
    disk: Arc<dyn Disk>,
    file: PathBuf,
}

impl MemberLevels {
    /// Of all members but this one, as an earlier life heard them.
    pub fn open(
        peers: impl IntoIterator<Item = NodeId>,
        disk: Arc<dyn Disk>,
        file: PathBuf,
    ) -> Result<Self, StorageError> {
        let kept: Levels = match json_file::read(&*disk, &file) {
            // Members say it again; nothing stands on it but what waits for them.
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::warn!(%error, "the members' levels are heard anew");
                Levels::new()
            }
            kept => kept?.unwrap_or_default(),
        };
        let heard = |peer| kept.get(&peer).copied().flatten();
        let of = peers.into_iter().map(|peer| (peer, heard(peer))).collect();
        Ok(MemberLevels { of: Mutex::new(of), disk, file })
    }

    /// Takes note of a round of reports; writes a small file when one says what it did not say before.
    pub fn hear(&self, reports: &PeerReports) {
        let changed = {
            let mut of = self.of.lock();
            let before = of.clone();
            for (peer, level) in of.iter_mut() {
                let status = reports.get(peer).and_then(|report| report.status.as_ref());
                let heard = status.map(|status| status.level).filter(|level| *level > 0);
                *level = heard.or(*level);
            }
            (*of != before).then(|| of.clone())
        };
        if let Some(of) = changed
            && let Err(error) = json_file::persist(&*self.disk, &self.file, &of)
        {
            tracing::warn!(%error, "the members' levels cannot be kept: after a restart they are heard anew");
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
    use crate::peers::PeerStatus;
    use crate::peers::watch::PeerReport;
    use crate::storage::disk::OsDisk;

    fn open(peers: &[NodeId], dir: &tempfile::TempDir) -> MemberLevels {
        let file = dir.path().join(LEVELS_FILE);
        MemberLevels::open(peers.iter().copied(), Arc::new(OsDisk), file).unwrap()
    }

    fn said(peer: NodeId, level: u16) -> PeerReports {
        let status = PeerStatus { level, ..PeerStatus::default() };
        PeerReports::from([(peer, PeerReport { status: Some(status), ..PeerReport::default() })])
    }

    #[test]
    fn what_a_member_said_is_known_to_the_next_life_too_and_what_it_says_later_counts() {
        let dir = tempfile::tempdir().unwrap();
        open(&[2, 3], &dir).hear(&said(2, 6));
        let levels = open(&[2, 3], &dir);
        assert_eq!(levels.below(6), Some(3), "who was never heard may know nothing");
        levels.hear(&said(3, 6));
        assert_eq!(open(&[2, 3], &dir).below(6), None);
        levels.hear(&said(3, 5));
        assert_eq!(open(&[2, 3], &dir).below(6), Some(3), "it was set back to an older version");
    }

    #[test]
    fn a_file_that_was_changed_is_heard_anew_and_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        open(&[2], &dir).hear(&said(2, 6));
        std::fs::write(dir.path().join(LEVELS_FILE), "{\"2\":9}\n").unwrap();
        assert_eq!(open(&[2], &dir).below(6), Some(2));
    }

    #[test]
    fn a_member_counts_once_it_was_heard_to_have_the_level() {
        let dir = tempfile::tempdir().unwrap();
        let levels = open(&[2, 3], &dir);
        assert_eq!(levels.below(5), Some(2));
        levels.of.lock().insert(2, Some(5));
        assert_eq!(levels.below(5), Some(3));
        levels.of.lock().insert(3, Some(4));
        assert_eq!(levels.below(5), Some(3));
        levels.of.lock().insert(3, Some(6));
        levels.hear(&PeerReports::new());
        assert_eq!(levels.below(5), None, "what was heard once is remembered");
        assert_eq!(open(&[], &dir).below(5), None);
    }
}
