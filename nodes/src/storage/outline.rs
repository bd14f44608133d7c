//! What the segments' headers say of each other: which of them is damaged, and from which on an open must read.

use super::error::{Corruption, CorruptionKind};
use super::retention::Retired;
use super::segment_file::segment_path;
use events::log::segment::SegmentHeader;
use events::log::standing::Standing;
use std::path::Path;

/// A segment's header and length.
pub(super) struct Outline {
    pub(super) header: SegmentHeader,
    pub(super) length: u64,
}

/// Which of two neighbours is damaged, if they do not belong together.
pub(super) fn check_follows(
    dir: &Path,
    before: Outline,
    outline: Outline,
) -> (Result<Outline, Corruption>, Result<Outline, Corruption>) {
    let corruption = |of: &Outline, offset, what| {
        let path = segment_path(dir, of.header.identity.segment);
        Err(Corruption { path, offset, what })
    };
    let (found, expected) = (before.length, outline.header.previous_length);
    if found != expected {
        let damage = corruption(&before, found.min(expected), CorruptionKind::Length { expected, found });
        return (damage, Ok(outline));
    }
    if before.header.birth != outline.header.birth {
        let damage = corruption(&outline, 0, CorruptionKind::OtherBirth);
        return (Ok(before), damage);
    }
    (Ok(before), Ok(outline))
}

/// The first one that is left follows what was retired.
pub(super) fn check_begins(dir: &Path, retired: &Retired, outline: Outline) -> Result<Outline, Corruption> {
    let SegmentHeader { identity, birth, standing, previous_length, .. } = outline.header;
    let path = segment_path(dir, identity.segment);
    if birth != retired.birth {
        return Err(Corruption { path, offset: 0, what: CorruptionKind::OtherBirth });
    }
    if standing != retired.standing() || previous_length != retired.length {
        return Err(Corruption { path, offset: 0, what: CorruptionKind::Standpoint });
    }
    Ok(outline)
}

/// Which of the segments is the newest before which nothing above the purge floor was written: an open reads from there on.
/// Of one without a believable header that is not known.
pub(super) fn first_needed(found: &[Result<Outline, Corruption>]) -> usize {
    let standing = |outline: &Result<Outline, Corruption>| outline.as_ref().ok().map(|it| it.header.standing);
    let floor = found.iter().rev().find_map(standing).and_then(|newest| newest.floor);
    let begins_below = |standing: Standing| standing.last.map(|last| last.index) <= floor.map(|at| at.index);
    found.iter().rposition(|outline| standing(outline).is_some_and(begins_below)).unwrap_or(0)
}
