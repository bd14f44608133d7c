//! Reads all that lies sealed in a log, beside whoever writes it: what an open does not read would else be found damaged
//! only by who needs it, when the peers' copies may be damaged too.
//!
//! Damage ends no check: it goes on with the next segment, since one that nothing can mend must not hide the others.

use super::disk::Disk;
use super::error::{Corruption, CorruptionKind, StorageError};
use super::gaps::Gap;
use super::log_reader::{History, LogReader};
use super::segment_file::{numbers_of_segments, segment_number_of};
use events::log::keys::SegmentKeys;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One log to be checked.
pub struct Scrub {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub keys: SegmentKeys,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    pub segments: u64,
    pub bytes: u64,
    /// One for each segment that is damaged, or where files begin to be missing; in their order.
    pub damaged: Vec<Corruption>,
    /// What the log says that it never held: it came in snapshots.
    pub absent: Vec<Gap>,
}

impl Checked {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl Scrub {
    /// Checks every frame and seal and how the segments follow each other. Between two files `goes_on` is asked, and may
    /// take its time; `None` if it said no. Blocks on the disk.
    pub fn run(&self, mut goes_on: impl FnMut() -> bool) -> Result<Option<Checked>, StorageError> {
        let (mut checked, mut from) = (Checked::default(), None);
        loop {
            let mut reader = LogReader::open(Arc::clone(&self.disk), self.dir.clone(), self.keys.clone())?;
            if let Some(segment) = from {
                reader = reader.beginning_with(segment);
            }
            let read = read(&mut reader, &mut checked.absent, &mut goes_on);
            let report = reader.report();
            (checked.segments, checked.bytes) =
                (checked.segments + report.segments, checked.bytes + report.bytes);
            let damage = match read {
                Ok(true) => return Ok(Some(checked)),
                Ok(false) => return Ok(None),
                Err(StorageError::Corrupt(damage)) => damage,
                Err(other) => return Err(other),
            };
            let next = self.segment_after(&damage, from)?;
            checked.damaged.push(damage);
            if next.is_none() {
                return Ok(Some(checked));
            }
            from = next;
        }
    }

    /// Where a check goes on that began with the segment `from`.
    fn segment_after(&self, damage: &Corruption, from: Option<u64>) -> Result<Option<u64>, StorageError> {
        let Some(damaged) = segment_number_of(&damage.path) else { return Ok(None) };
        let there = numbers_of_segments(&*self.disk, &self.dir)?;
        // One that does not follow the one before it is not read yet.
        let is_read = damage.what != CorruptionKind::Standpoint;
        let next = (damaged + u64::from(is_read)).max(from.map_or(0, |from| from + 1));
        Ok(there.into_iter().find(|segment| *segment >= next))
    }
}

/// Reads to the end, or to damage; false if it is to stop.
fn read(
    reader: &mut LogReader,
    absent: &mut Vec<Gap>,
    goes_on: &mut impl FnMut() -> bool,
) -> Result<bool, StorageError> {
    let mut reading: Option<Arc<Path>> = None;
    while let Some(history) = reader.next().transpose()? {
        let entry = match history {
            History::Entry(entry) => entry,
            History::Gap { from, through } => {
                absent.extend(gap(reader, from, through));
                continue;
            }
        };
        let is_another = reading.as_ref() != Some(&entry.file);
        if is_another && reading.replace(entry.file).is_some() && !goes_on() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What of a gap is not in the archive, if it ends with the purge floor that was just read.
fn gap(reader: &LogReader, from: u64, through: u64) -> Option<Gap> {
    let report = reader.report();
    let floor = report.standing.floor.filter(|floor| floor.index == through)?;
    let from = from.max(report.retired_through.map_or(0, |retired| retired + 1));
    (from <= through).then_some(Gap { from, through, term: floor.term })
}
