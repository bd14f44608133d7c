//! Where a log stands: what its records, followed one by one, amount to.
//!
//! Writer, recovery and readers follow the same records by the same rules. What breaks a rule is refused by the writer
//! before it is written, and is corruption to a reader:
//!
//! - A vote never goes back to a lower term. Within a term it is given once; it changes only from asked to committed,
//!   when the node that the majority chose leads, whoever was voted for.
//! - Entries have no holes, and their terms never go down.
//! - What is committed or below the purge floor is never truncated.
//! - Committed and purge floor never go back; nothing is committed that is not there.

use super::record::{LogPosition, PurgeFloor, Record, VoteRecord};

/// What a node must know to vote and to append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub vote: Option<VoteRecord>,
    /// The last entry, or the purge floor if there is none above it.
    pub last: Option<LogPosition>,
    pub committed: Option<LogPosition>,
    pub floor: Option<LogPosition>,
}

/// A record that may not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StandingError {
    #[error("a vote for node {node} in term {term} after one for node {held_node} in term {held_term}")]
    Vote { term: u64, node: u64, held_term: u64, held_node: u64 },
    #[error("entry {index} of term {term} after entry {last_index} of term {last_term}")]
    Entry { term: u64, index: u64, last_term: u64, last_index: u64 },
    #[error("a truncation to {keep:?} (term, index) which is not in the log")]
    TruncationMissing { keep: Option<(u64, u64)> },
    #[error("a truncation that removes entry {index}, which is committed or purged")]
    TruncationCommitted { index: u64 },
    #[error("committed goes from {held:?} to {index}, with {last:?} as last entry")]
    Committed { index: u64, held: Option<u64>, last: Option<u64> },
    #[error("the purge floor goes from {held} to {index}")]
    Floor { index: u64, held: u64 },
}

impl Standing {
    /// Follows one record.
    pub fn follow<B>(&mut self, record: &Record<B>) -> Result<(), StandingError> {
        match record {
            Record::Vote(vote) => self.follow_vote(*vote),
            Record::Entry { at, .. } => self.follow_entry(*at),
            Record::Truncation { keep } => self.follow_truncation(*keep),
            Record::Committed(position) => self.follow_committed(*position),
            Record::PurgeFloor(purge) => self.follow_floor(*purge),
            Record::Closed => Ok(()),
        }
    }

    fn follow_vote(&mut self, vote: VoteRecord) -> Result<(), StandingError> {
        if let Some(held) = self.vote {
            let won = vote.committed && !held.committed;
            let back = vote.term < held.term || (vote.term == held.term && vote != held && !won);
            if back {
                return Err(StandingError::Vote {
                    term: vote.term,
                    node: vote.node,
                    held_term: held.term,
                    held_node: held.node,
                });
            }
        }
        self.vote = Some(vote);
        Ok(())
    }

    fn follow_entry(&mut self, at: LogPosition) -> Result<(), StandingError> {
        if let Some(last) = self.last
            && (last.index.checked_add(1) != Some(at.index) || at.term < last.term)
        {
            return Err(StandingError::Entry {
                term: at.term,
                index: at.index,
                last_term: last.term,
                last_index: last.index,
            });
        }
        self.last = Some(at);
        Ok(())
    }

    fn follow_truncation(&mut self, keep: Option<LogPosition>) -> Result<(), StandingError> {
        if let Some(held) = self.committed.max(self.floor).map(|held| held.index)
            && keep.is_none_or(|keep| keep.index < held)
        {
            return Err(StandingError::TruncationCommitted { index: held });
        }
        if keep.map(|keep| keep.index) > self.last.map(|last| last.index) {
            return Err(StandingError::TruncationMissing { keep: keep.map(|keep| (keep.term, keep.index)) });
        }
        self.last = keep;
        Ok(())
    }

    fn follow_committed(&mut self, position: LogPosition) -> Result<(), StandingError> {
        let (held, last) = (self.committed.map(|held| held.index), self.last.map(|last| last.index));
        if held > Some(position.index) || last < Some(position.index) {
            return Err(StandingError::Committed { index: position.index, held, last });
        }
        self.committed = Some(position);
        Ok(())
    }

    fn follow_floor(&mut self, purge: PurgeFloor) -> Result<(), StandingError> {
        if let Some(held) = self.floor.map(|held| held.index)
            && held >= purge.floor.index
        {
            return Err(StandingError::Floor { index: purge.floor.index, held });
        }
        self.floor = Some(purge.floor);
        if self.last.is_none_or(|last| last.index <= purge.floor.index) {
            self.last = Some(purge.floor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::EntryBody;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term, index }
    }

    fn entry(term: u64, index: u64) -> Record {
        Record::Entry { at: at(term, index), body: EntryBody::Blank }
    }

    fn vote(term: u64, node: u64) -> Record {
        Record::Vote(VoteRecord { term, node, committed: false })
    }

    fn committed(term: u64, index: u64) -> Record {
        Record::Committed(at(term, index))
    }

    fn floor(term: u64, index: u64) -> Record {
        Record::PurgeFloor(PurgeFloor { floor: at(term, index), history_through: None })
    }

    fn truncation(term: u64, index: u64) -> Record {
        Record::Truncation { keep: Some(at(term, index)) }
    }

    fn after(records: &[Record]) -> Standing {
        let mut standing = Standing::default();
        records.iter().for_each(|record| standing.follow(record).unwrap());
        standing
    }

    fn refused(records: &[Record], record: Record) -> bool {
        let before = after(records);
        let mut standing = before;
        let refused = standing.follow(&record).is_err();
        assert!(!refused || standing == before, "a refused record changes nothing");
        refused
    }

    #[test]
    fn a_log_stands_where_its_records_lead() {
        let records = [
            vote(2, 1),
            entry(1, 0),
            entry(2, 1),
            entry(2, 2),
            committed(2, 1),
            truncation(2, 1),
            entry(3, 2),
        ];
        let standing = after(&records);
        assert_eq!(standing.last, Some(at(3, 2)));
        assert_eq!(standing.committed, Some(at(2, 1)));
        assert_eq!(standing.floor, None);
    }

    #[test]
    fn a_snapshot_past_the_log_becomes_its_end() {
        let standing = after(&[entry(1, 0), floor(4, 9)]);
        assert_eq!(standing.last, Some(at(4, 9)));
        assert!(!refused(&[entry(1, 0), floor(4, 9)], entry(4, 10)));
        assert!(refused(&[entry(1, 0), floor(4, 9)], entry(4, 11)));
    }

    #[test]
    fn a_vote_never_goes_back_and_is_given_once_in_a_term() {
        let leader = |term, node| Record::Vote(VoteRecord { term, node, committed: true });
        assert!(refused(&[vote(3, 1)], vote(2, 1)));
        assert!(refused(&[vote(3, 1)], vote(3, 2)));
        assert!(!refused(&[vote(3, 1)], vote(3, 1)));
        assert!(!refused(&[vote(3, 1)], vote(4, 2)));
        assert!(!refused(&[vote(3, 1)], leader(3, 1)));
        assert!(!refused(&[vote(3, 1)], leader(3, 2)));
        assert!(refused(&[leader(3, 1)], leader(3, 2)));
        assert!(refused(&[leader(3, 1)], vote(3, 1)));
    }

    #[test]
    fn entries_have_no_holes_and_terms_never_go_down() {
        assert!(refused(&[entry(2, 5)], entry(2, 7)));
        assert!(refused(&[entry(2, 5)], entry(2, 5)));
        assert!(refused(&[entry(2, 5)], entry(1, 6)));
    }

    #[test]
    fn what_is_committed_or_purged_is_never_truncated() {
        let records = [entry(1, 0), entry(1, 1), entry(1, 2), committed(1, 1)];
        assert!(refused(&records, truncation(1, 0)));
        assert!(refused(&records, Record::Truncation { keep: None }));
        assert!(!refused(&records, truncation(1, 1)));
        assert!(refused(&[entry(1, 0), entry(1, 1), floor(1, 1)], truncation(1, 0)));
        assert!(refused(&[entry(1, 0)], truncation(1, 4)));
    }

    #[test]
    fn nothing_is_committed_that_is_not_there() {
        assert!(refused(&[entry(1, 0)], committed(1, 1)));
        assert!(refused(&[entry(1, 0), entry(1, 1), committed(1, 1)], committed(1, 0)));
    }

    #[test]
    fn the_purge_floor_only_rises() {
        assert!(refused(&[floor(1, 4)], floor(1, 4)));
        assert!(refused(&[floor(1, 4)], floor(1, 3)));
    }
}
