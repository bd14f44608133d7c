//! What a damaged log still says, and what it may have said.
//!
//! The stream is followed over its holes. After a hole:
//! - Every later header, and every later entry, says how far the log had got; frames that no later record accounts for
//!   are counted as entries, one each.
//!   A jump to a purge floor past the last entry may have stood last in the last hole. How far it went nothing here tells, nor
//!   has it to: what it passed over came as a snapshot, which a majority held before, so that this node's word stood
//!   for none of it; raft writes the floor anew from the snapshot.
//! - Of a segment without a header the heads of its frames are read (headless.rs). If the log ends with one of which
//!   nothing is left, what it held is not known here at all.
//! - A vote is known if a later header or vote tells it, or if the hole's frames are all accounted for by entries: as many
//!   as are missing, no fewer and no more. No hole has entries on both sides of a jump to a purge floor, since a segment
//!   ends there; in segments of older versions it may.

use super::headless::{Headless, Piece, recognize};
use super::need::Need;
use crate::storage::disk::Disk;
use crate::storage::error::{Corruption, CorruptionKind, StorageError};
use crate::storage::newest::Newest;
use crate::storage::recover::{Before, recover_before};
use crate::storage::retention::Retired;
use crate::storage::salvage::{Salvage, Salvaged, frames_at_most};
use crate::storage::segment_file::{Owner, SegmentFile, last_segment, segment_number_of, segment_path};
use crate::storage::unreadable::read_readable;
use events::ids::LogIndex;
use events::log::record::{EntryBody, PurgeFloor, Record, Told, VoteRecord};
use events::log::segment::{SegmentHeader, SegmentIdentity};
use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::Path;

/// A segment was begun at most so many generations after the last one that is known.
const GENERATIONS_TRIED: u64 = 16;

/// What is known so far.
#[derive(Default)]
struct Known {
    newest: Option<Newest>,
    birth: Option<u64>,
    generation: u64,
    /// The index after the last entry that was seen or told of.
    next: LogIndex,
    /// Frames in holes that may have been entries after that.
    unaccounted: u64,
    /// A segment told nothing, and no header came after it.
    tail_is_lost: bool,
    vote: Option<VoteRecord>,
    vote_is_known: VoteIs,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum VoteIs {
    #[default]
    Known,
    /// So many frames are missing, before which the next entry was to be this one.
    InDoubt {
        frames: u64,
        next: LogIndex,
    },
    Unknown,
}

pub(super) fn survey(
    disk: &dyn Disk,
    dir: &Path,
    owner: &Owner,
    damage: &Corruption,
) -> Result<Need, StorageError> {
    let lost = || StorageError::Corrupt(damage.clone());
    let mut from_segment = segment_number_of(&damage.path).ok_or_else(lost)?;
    let before = loop {
        match whole_before(disk, dir, owner, from_segment) {
            Ok(before) => break before,
            Err(StorageError::Corrupt(earlier)) => {
                let segment = segment_number_of(&earlier.path).ok_or_else(lost)?;
                if segment >= from_segment {
                    return Err(StorageError::Corrupt(earlier));
                }
                from_segment = segment;
            }
            Err(other) => return Err(other),
        }
    };
    let newest = Newest::read(disk, dir, owner)?;
    let mut known = Known { newest, birth: before.birth, generation: before.generation, ..Known::default() };
    known.heard_of(&before.standing);
    let last = last_segment(disk, dir)?.max(newest.map_or(0, |newest| newest.segment));
    for segment in from_segment..=last {
        known.look_into(disk, dir, owner, segment)?;
    }
    let generation = known.generation.max(newest.map_or(0, |newest| newest.generation));
    // Without the mark no segment of this log can be written: the node's life cannot go on.
    let birth = known.birth.or(newest.and_then(|newest| newest.birth)).ok_or_else(lost)?;
    Ok(Need {
        cluster: owner.cluster.ok_or_else(lost)?,
        node: owner.node.ok_or_else(lost)?,
        file: damage.path.display().to_string(),
        offset: damage.offset,
        what: damage.what.to_string(),
        from_segment,
        generation: generation + 1,
        birth,
        acknowledged: (known.next + known.unaccounted).checked_sub(1),
        tail_is_lost: known.tail_is_lost,
        vote: known.vote.map(|vote| (vote.term, vote.node, vote.committed)),
        vote_is_known: known.vote_is_known == VoteIs::Known,
        rebuilt_through: None,
    })
}

/// Where the log stands before `segment`; all that an open needs of what lies before it must be whole. A purge floor that
/// was damaged is not written anew, so that may be more than the last open needed.
fn whole_before(disk: &dyn Disk, dir: &Path, owner: &Owner, segment: u64) -> Result<Before, StorageError> {
    let before = recover_before(disk, dir, owner, segment)?;
    let floor = before.standing.floor.map(|floor| floor.index);
    let (mut number, mut beginning) = (segment.saturating_sub(1), before.beginning);
    let retired = Retired::read(disk, dir, owner)?.map_or(0, |retired| retired.through);
    while number > retired && beginning.0.last.map(|last| last.index) > floor {
        let earlier = recover_before(disk, dir, owner, number)?;
        if (earlier.standing, earlier.previous_length) != beginning {
            return Err(StorageError::corrupt(
                &segment_path(dir, (number - 1).max(1)),
                0,
                CorruptionKind::Standpoint,
            ));
        }
        (number, beginning) = (number - 1, earlier.beginning);
    }
    Ok(before)
}

impl Known {
    fn look_into(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
        segment: u64,
    ) -> Result<(), StorageError> {
        let path = segment_path(dir, segment);
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.lose();
                return Ok(());
            }
            Err(error) => return Err(StorageError::io("opening", &path)(error)),
        };
        match SegmentFile::open(path.clone(), file.clone(), segment, owner) {
            Ok(Ok((opened, header))) => {
                self.believe(&header);
                let bytes = opened.read_readable()?;
                Salvage::new(&opened, &bytes).for_each(|piece| self.take(piece));
                let length = opened.length()?;
                match self.newest.map_or(0, |newest| newest.lacks(segment, length)) {
                    0 => {}
                    lacks => self.take(Salvaged::Hole { frames: frames_at_most(lacks as usize) }),
                }
                if self.newest.is_some_and(|newest| newest.check(&header).is_err()) {
                    self.lose();
                }
            }
            // A file in the place of another tells nothing of the other.
            Err(StorageError::Corrupt(Corruption { what: CorruptionKind::Misplaced { .. }, .. })) => {
                self.lose();
            }
            Ok(Err(_)) | Err(StorageError::Corrupt(_)) => {
                let reading = StorageError::io("reading", &path);
                let length = file.length().map_err(StorageError::io("reading the length of", &path))?;
                let readable = read_readable(&*file, 0, length as usize).map_err(reading)?;
                self.take_headless(owner, segment, &readable.bytes);
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// Nothing is known of what a segment held.
    fn lose(&mut self) {
        self.vote_is_known = VoteIs::Unknown;
        self.tail_is_lost = true;
    }

    /// What is left of a segment without a header.
    fn take_headless(&mut self, owner: &Owner, segment: u64, bytes: &[u8]) {
        let (Some(cluster), Some(node)) = (owner.cluster, owner.node) else { return self.lose() };
        let named = self.newest.filter(|newest| newest.segment == segment).map(|newest| newest.generation);
        let tried = self.generation..=self.generation + GENERATIONS_TRIED;
        let identities = named.into_iter().chain(tried).map(|generation| SegmentIdentity {
            cluster,
            node,
            segment,
            generation,
        });
        let Some(identity) = recognize(identities, bytes) else { return self.lose() };
        self.generation = self.generation.max(identity.generation);
        for piece in Headless::new(identity, bytes) {
            match piece {
                Piece::Hole { frames } => self.take(Salvaged::Hole { frames }),
                Piece::Told(Told::Entry(at)) => {
                    self.take(Salvaged::Record(Record::Entry { at, body: EntryBody::Blank }))
                }
                Piece::Told(Told::Committed(at)) => self.take(Salvaged::Record(Record::Committed(at))),
                Piece::Told(Told::PurgeFloor(floor)) => {
                    let purge = PurgeFloor { floor, history_through: None };
                    self.take(Salvaged::Record(Record::PurgeFloor(purge)));
                }
                // For whom it was, nothing tells.
                Piece::Told(Told::Vote { .. }) => self.vote_is_known = VoteIs::Unknown,
                Piece::Told(Told::Other) => {}
            }
        }
    }

    fn believe(&mut self, header: &SegmentHeader) {
        self.birth = self.birth.or(Some(header.birth));
        self.generation = self.generation.max(header.identity.generation);
        self.heard_of(&header.standing);
        self.unaccounted = 0;
        self.tail_is_lost = false;
        self.vote_is_known = VoteIs::Known;
    }

    fn heard_of(&mut self, standing: &events::log::standing::Standing) {
        let positions = [standing.last, standing.committed, standing.floor];
        let highest = positions.into_iter().flatten().map(|at| at.index + 1).max();
        self.next = self.next.max(highest.unwrap_or(0));
        self.heard_vote(standing.vote);
    }

    fn heard_vote(&mut self, vote: Option<VoteRecord>) {
        let order = |vote: &VoteRecord| (vote.term, vote.committed);
        if let Some(vote) = vote
            && self.vote.as_ref().is_none_or(|held| order(held) <= order(&vote))
        {
            self.vote = Some(vote);
        }
    }

    fn take(&mut self, piece: Salvaged) {
        match piece {
            Salvaged::Hole { frames } => {
                self.unaccounted += frames;
                self.vote_is_known = match self.vote_is_known {
                    VoteIs::Known => VoteIs::InDoubt { frames, next: self.next },
                    VoteIs::InDoubt { .. } | VoteIs::Unknown => VoteIs::Unknown,
                };
            }
            Salvaged::Record(Record::Entry { at, .. }) => {
                self.settle(at.index, true);
                self.next = self.next.max(at.index + 1);
                self.unaccounted = 0;
            }
            Salvaged::Record(Record::Committed(at)) => {
                self.settle(at.index + 1, false);
                self.next = self.next.max(at.index + 1);
            }
            Salvaged::Record(Record::PurgeFloor(purge)) => self.next = self.next.max(purge.floor.index + 1),
            Salvaged::Record(Record::Vote(vote)) => {
                self.heard_vote(Some(vote));
                self.vote_is_known = VoteIs::Known;
            }
            // Rare, and the next segment's header says where it led.
            Salvaged::Record(Record::Truncation { .. } | Record::Closed) => {}
        }
    }

    /// Entries below `next` were written by now: do they account for all that is missing?
    fn settle(&mut self, next: LogIndex, is_last_word: bool) {
        if let VoteIs::InDoubt { frames, next: expected } = self.vote_is_known {
            match next.saturating_sub(expected).cmp(&frames) {
                Ordering::Equal => self.vote_is_known = VoteIs::Known,
                Ordering::Less if !is_last_word => {}
                // More than lay there: the log jumped to a purge floor, which may have stood in the hole beside a vote.
                Ordering::Less | Ordering::Greater => self.vote_is_known = VoteIs::Unknown,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::log::record::LogPosition;

    /// After entry 10, so many frames are missing, and this entry is the next one that is intact.
    fn known_after(frames: u64, index: LogIndex) -> bool {
        let mut known = Known { next: 11, ..Known::default() };
        known.take(Salvaged::Hole { frames });
        let at = LogPosition { term: 1, index };
        known.take(Salvaged::Record(Record::Entry { at, body: EntryBody::Blank }));
        known.vote_is_known == VoteIs::Known
    }

    #[test]
    fn a_hole_held_no_vote_only_if_its_frames_are_just_the_entries_that_are_missing() {
        assert!(known_after(2, 13), "entries 11 and 12");
        assert!(!known_after(2, 12), "one entry, and something else");
        assert!(
            !known_after(2, 101),
            "the log jumped to a purge floor in the hole: another frame may have been a vote"
        );
    }
}
