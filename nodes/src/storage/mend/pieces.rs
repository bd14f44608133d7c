//! What a damaged segment holds, and what must have lain in its holes.
//!
//! The next header says where the log stood at the segment's end. What of that no intact record says and no entry brings,
//! the last hole held: a vote, a committed index, a purge floor. Bytes that are left over lay there in records of which
//! nothing is known, but that they changed nothing in the end. They are made up by records that change nothing at all: what
//! is committed, said again (56 bytes), a truncation to the last entry (57), the vote, given again (65).

use crate::storage::salvage::{Salvage, Salvaged};
use crate::storage::segment_file::SegmentFile;
use crate::storage::view::LogEntry;
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::frame::frame_length;
use events::log::record::{LogPosition, PurgeFloor, Record};
use events::log::segment::HEADER_BYTES;
use events::log::standing::Standing;

pub(super) enum Piece {
    Intact(Record<Bytes>),
    Hole(Hole),
}

pub(super) struct Hole {
    bytes: u64,
    /// The entries that lay there, and those that are here again.
    first: LogIndex,
    count: u64,
    pub(super) entries: Vec<LogEntry>,
    /// The first of them did not lie there: it is what comes before, and must be the same.
    after: Option<LogPosition>,
}

impl Hole {
    pub(super) fn missing_from(&self) -> Option<LogIndex> {
        let held = self.entries.len() as u64;
        (held < self.count).then_some(self.first + held)
    }

    /// The entries that lay there; none if they do not follow what comes before.
    fn own(&self) -> Option<&[LogEntry]> {
        match self.after {
            None => Some(&self.entries),
            Some(after) => {
                self.entries.split_first().filter(|(first, _)| first.at == after).map(|(_, own)| own)
            }
        }
    }
}

/// The pieces of a damaged segment; none if a hole's entries cannot be told.
pub(super) fn take_apart(
    file: &SegmentFile,
    bytes: &[u8],
    standing: Standing,
    end: (Standing, u64),
) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut last: Option<LogPosition> = standing.last;
    let mut hole: Option<(u64, u64)> = None;
    let fill = |hole: Option<(u64, u64)>, last: Option<LogPosition>, next: LogIndex| {
        let (from, to) = hole?;
        let first = last.map_or(0, |last| last.index + 1);
        let count = next.checked_sub(first)?;
        Some(Piece::Hole(Hole { bytes: to - from, first, count, entries: Vec::new(), after: None }))
    };
    let mut waiting: Vec<Record<Bytes>> = Vec::new();
    let mut salvage = Salvage::new(file, bytes);
    loop {
        let from = u64::from(salvage.offset);
        match salvage.next() {
            // Two holes without an entry between them: which of the missing lay in which nobody can tell.
            Some(Salvaged::Hole { .. }) if hole.is_some() => return None,
            Some(Salvaged::Hole { .. }) => hole = Some((from, u64::from(salvage.offset))),
            Some(Salvaged::Record(record)) => {
                let record = record.map_body(Bytes::from);
                let at = match &record {
                    Record::Entry { at, .. } => Some(*at),
                    Record::Truncation { keep } if hole.is_none() => {
                        last = *keep;
                        None
                    }
                    _ => None,
                };
                if let Some(at) = at {
                    if hole.is_some() {
                        pieces.push(fill(hole.take(), last, at.index)?);
                        pieces.extend(waiting.drain(..).map(Piece::Intact));
                    }
                    last = Some(at);
                }
                match hole {
                    Some(_) => waiting.push(record),
                    None => pieces.push(Piece::Intact(record)),
                }
            }
            None => break,
        }
    }
    // A file that was cut lacks its end.
    let lacks = end.1.checked_sub(bytes.len().max(HEADER_BYTES) as u64)?;
    if lacks > 0 {
        match &mut hole {
            Some((_, to)) if waiting.is_empty() => *to += lacks,
            Some(_) => return None,
            None => hole = Some((bytes.len().max(HEADER_BYTES) as u64, end.1)),
        }
    }
    if hole.is_some() {
        let next = end.0.last.map_or(0, |last| last.index + 1);
        pieces.push(fill(hole, last, next)?);
        pieces.extend(waiting.drain(..).map(Piece::Intact));
    }
    Some(pieces)
}

/// A segment of which nothing is left, as one hole; none if entries of an earlier one were replaced in it.
pub(super) fn all_missing(begin: Standing, end: (Standing, u64)) -> Option<Vec<Piece>> {
    // What was not known committed may have been replaced here: then the peers' entry there is another one.
    let after = begin.last.filter(|last| begin.committed < Some(*last));
    let first = after.map_or(begin.last.map_or(0, |last| last.index + 1), |after| after.index);
    let next = end.0.last.map_or(0, |last| last.index + 1);
    let bytes = end.1.checked_sub(HEADER_BYTES as u64)?;
    let hole = Hole { bytes, first, count: next.checked_sub(first)?, entries: Vec::new(), after };
    Some(vec![Piece::Hole(hole)])
}

/// All records, in order; none if what was taken does not fill the holes to a byte.
pub(super) fn records(pieces: &[Piece], begin: Standing, end: Standing) -> Option<Vec<Record<Bytes>>> {
    let mut parts = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Intact(record) => parts.push(Part::Record(record.clone())),
            Piece::Hole(hole) => {
                let mut left = hole.bytes;
                for LogEntry { at, body } in hole.own()? {
                    let record = Record::Entry { at: *at, body: body.clone() };
                    left = left.checked_sub(length(&record)?)?;
                    parts.push(Part::Record(record));
                }
                parts.push(Part::Space(left));
            }
        }
    }
    let said = unsaid(&parts, begin, end)?;
    let last_space = parts.iter().rposition(|part| matches!(part, Part::Space(_)))?;
    let (mut records, mut standing) = (Vec::new(), begin);
    let mut add = |record: Record<Bytes>| {
        standing.follow(&record).ok()?;
        records.push(record);
        Some(standing)
    };
    let mut here = begin;
    for (position, part) in parts.into_iter().enumerate() {
        let mut left = match part {
            Part::Record(record) => {
                here = add(record)?;
                continue;
            }
            Part::Space(space) => space,
        };
        for record in said.iter().filter(|_| position == last_space) {
            left = left.checked_sub(length(record)?)?;
            here = add(record.clone())?;
        }
        for record in padding(left, &here)? {
            add(record)?;
        }
    }
    Some(records)
}

enum Part {
    Record(Record<Bytes>),
    /// So many bytes beside entries.
    Space(u64),
}

/// What of the end no intact record and no entry says.
fn unsaid(parts: &[Part], begin: Standing, end: Standing) -> Option<Vec<Record<Bytes>>> {
    let mut standing = begin;
    for part in parts {
        if let Part::Record(record) = part {
            standing.follow(record).ok()?;
        }
    }
    let vote = end.vote.filter(|_| standing.vote != end.vote).map(Record::Vote);
    let committed = end.committed.filter(|_| standing.committed != end.committed).map(Record::Committed);
    let floor = end.floor.filter(|_| standing.floor != end.floor);
    // All entries up to it are here, by now.
    let floor = floor.map(|floor| PurgeFloor { floor, history_through: Some(floor.index) });
    Some(vote.into_iter().chain(committed).chain(floor.map(Record::PurgeFloor)).collect())
}

/// Records that change nothing of where the log stands, of so many bytes in all.
fn padding(bytes: u64, standing: &Standing) -> Option<Vec<Record<Bytes>>> {
    let again = standing.committed.map_or(Record::Closed, Record::Committed);
    let truncation = Record::Truncation { keep: standing.last };
    let vote = standing.vote.map(Record::Vote);
    let (bare, cut, voted) = (length(&again)?, length(&truncation)?, vote.as_ref().map_or(Some(0), length)?);
    let votes = if vote.is_some() { bare } else { 1 };
    let mixed = (0..votes).flat_map(|votes| (0..bare).map(move |cuts| (votes, cuts)));
    let odd = |(votes, cuts): &(u64, u64)| votes * voted + cuts * cut;
    let fits = |mix: &(u64, u64)| bytes.checked_sub(odd(mix)).is_some_and(|left| left % bare == 0);
    let (votes, cuts) = mixed.filter(fits).min_by_key(odd)?;
    let times = |record: &Record<Bytes>, times: u64| std::iter::repeat_n(record.clone(), times as usize);
    let all = times(&again, (bytes - odd(&(votes, cuts))) / bare).chain(times(&truncation, cuts));
    Some(all.chain(vote.iter().flat_map(|vote| times(vote, votes))).collect())
}

fn length(record: &Record<Bytes>) -> Option<u64> {
    Some(u64::from(frame_length(record).ok()?.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::log::record::VoteRecord;

    const AT: LogPosition = LogPosition { term: 2, index: 7 };

    #[test]
    fn every_length_that_such_records_can_have_is_made_up_by_records_that_change_nothing() {
        let vote = VoteRecord { term: 2, node: 1, committed: false };
        let standing = Standing { vote: Some(vote), last: Some(AT), committed: Some(AT), floor: None };
        for (bare, cuts, votes) in [(0, 0, 0), (3, 0, 0), (0, 2, 0), (1, 1, 1), (0, 0, 2), (40, 3, 5)] {
            let bytes = 56 * bare + 57 * cuts + 65 * votes;
            let made = padding(bytes, &standing).unwrap();
            assert_eq!(made.iter().map(|record| length(record).unwrap()).sum::<u64>(), bytes);
            let mut after = standing;
            made.iter().for_each(|record| after.follow(record).unwrap());
            assert_eq!(after, standing);
        }
        assert!((3200..4000).all(|bytes| padding(bytes, &Standing::default()).is_some()), "long ones always");
        assert!(padding(100, &standing).is_none());
    }
}
