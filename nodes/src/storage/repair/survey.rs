//! What a damaged log still says, and what it may have said.
//!
//! The stream is followed over its holes. After a hole:
//! - Every later header, and every later entry, says how far the log had got; frames that no later record accounts for
//!   are counted as entries, one each.
//! - A vote is known if a later header or vote tells it, or if the hole's frames are all accounted for by entries.

use super::need::Need;
use crate::storage::disk::Disk;
use crate::storage::error::{Corruption, StorageError};
use crate::storage::recover::recover_before;
use crate::storage::salvage::{Salvage, Salvaged, frames_at_most};
use crate::storage::segment_file::{Owner, SegmentFile, last_segment, segment_number_of, segment_path};
use events::ids::LogIndex;
use events::log::record::{Record, VoteRecord};
use events::log::segment::SegmentHeader;
use std::io::ErrorKind;
use std::path::Path;

/// What is known so far.
#[derive(Default)]
struct Known {
    birth: Option<u64>,
    generation: u64,
    /// The index after the last entry that was seen or told of.
    next: LogIndex,
    /// Frames in holes that may have been entries after that.
    unaccounted: u64,
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
        match recover_before(disk, dir, owner, from_segment) {
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
    let mut known = Known { birth: before.birth, generation: before.generation, ..Known::default() };
    known.heard_of(&before.standing);
    let last = last_segment(disk, dir)?;
    let longest = longest(disk, dir, last)?;
    for segment in from_segment..=last {
        known.look_into(disk, dir, owner, segment, longest)?;
    }
    // Without the mark no segment of this log can be written: the node's life cannot go on.
    let birth = known.birth.ok_or_else(lost)?;
    Ok(Need {
        cluster: owner.cluster.ok_or_else(lost)?,
        node: owner.node.ok_or_else(lost)?,
        file: damage.path.display().to_string(),
        offset: damage.offset,
        what: damage.what.to_string(),
        from_segment,
        generation: known.generation + 1,
        birth,
        acknowledged: (known.next + known.unaccounted).checked_sub(1),
        vote: known.vote.map(|vote| (vote.term, vote.node, vote.committed)),
        vote_is_known: known.vote_is_known == VoteIs::Known,
        rebuilt_through: None,
    })
}

/// Length of the longest segment: a file in the place of another says nothing of the other's length.
fn longest(disk: &dyn Disk, dir: &Path, last: u64) -> Result<usize, StorageError> {
    let mut longest = 0;
    for segment in 1..=last {
        let path = segment_path(dir, segment);
        let Ok(file) = disk.open_read(&path) else { continue };
        longest = longest.max(file.length().map_err(StorageError::io("reading the length of", &path))?);
    }
    Ok(longest as usize)
}

impl Known {
    fn look_into(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        owner: &Owner,
        segment: u64,
        longest: usize,
    ) -> Result<(), StorageError> {
        let path = segment_path(dir, segment);
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // It is not the last one, so a header after it says more; if that is damaged too, this counts.
                self.vote_is_known = VoteIs::Unknown;
                self.unaccounted += frames_at_most(longest);
                return Ok(());
            }
            Err(error) => return Err(StorageError::io("opening", &path)(error)),
        };
        match SegmentFile::open(path, file, segment, owner) {
            Ok(Ok((opened, header))) => {
                self.believe(&header);
                let bytes = opened.read_all()?;
                Salvage::new(&opened, &bytes).for_each(|piece| self.take(piece));
            }
            Ok(Err(_)) | Err(StorageError::Corrupt(_)) => {
                self.vote_is_known = VoteIs::Unknown;
                self.unaccounted += frames_at_most(longest);
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn believe(&mut self, header: &SegmentHeader) {
        self.birth = self.birth.or(Some(header.birth));
        self.generation = self.generation.max(header.identity.generation);
        self.heard_of(&header.standing);
        self.unaccounted = 0;
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
            if next.saturating_sub(expected) >= frames {
                self.vote_is_known = VoteIs::Known;
            } else if is_last_word {
                self.vote_is_known = VoteIs::Unknown;
            }
        }
    }
}
