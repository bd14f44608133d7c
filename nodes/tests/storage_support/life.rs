//! A log's life, deed by deed, beside a model of what must be there afterwards; and bugs that can be planted into it.

use super::mem_disk::{Faults, Left, MemDisk, SyncPromise};
use super::{LOG_DIR, all, append, at, entry, open_with, options, vote, wait};
use events::log::frame::Frame;
use events::log::record::VoteRecord;
use events::log::segment::{HEADER_BYTES, SealedHeader};
use nodes::storage::error::StorageError;
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::view::LogEntry;
use std::path::Path;

/// What a log holds, as far as its user knows: entries above the floor, floor, vote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub entries: Vec<LogEntry>,
    pub floor: Option<u64>,
    pub vote: Option<VoteRecord>,
}

#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Vote(u64),
    Append {
        term: u64,
        count: u64,
    },
    Commit(u64),
    Truncate(u64),
    Purge(u64),
    /// A snapshot came that stands so many entries past the end of the log.
    PurgePast(u64),
    Reopen,
}

pub const LIFE: &[Deed] = &[
    Deed::Vote(1),
    Deed::Append { term: 1, count: 3 },
    Deed::Commit(1),
    Deed::Append { term: 1, count: 2 },
    Deed::Vote(2),
    Deed::Truncate(2),
    Deed::Append { term: 2, count: 4 },
    Deed::Reopen,
    Deed::Append { term: 2, count: 1 },
    Deed::Commit(5),
    Deed::Purge(3),
    Deed::Append { term: 2, count: 8 },
    Deed::Truncate(9),
    Deed::Vote(3),
    Deed::Append { term: 3, count: 2 },
    Deed::Purge(8),
    Deed::Append { term: 3, count: 5 },
];

impl Model {
    pub fn after(&self, deed: Deed) -> Model {
        let mut next = self.clone();
        match deed {
            Deed::Vote(term) => next.vote = Some(vote(term, 1)),
            Deed::Append { term, count } => {
                let start =
                    self.entries.last().map(|last| last.at.index).or(self.floor).map_or(0, |last| last + 1);
                next.entries.extend((start..start + count).map(|index| entry(term, index)));
            }
            Deed::Truncate(keep) => next.entries.retain(|entry| entry.at.index <= keep),
            Deed::Purge(floor) => {
                next.floor = Some(floor);
                next.entries.retain(|entry| entry.at.index > floor);
            }
            Deed::PurgePast(_) => {
                next.floor = Some(self.past_the_end(deed));
                next.entries.clear();
            }
            Deed::Commit(_) | Deed::Reopen => {}
        }
        next
    }

    /// How far a group of appended entries may have got: any prefix of it.
    pub fn may_become(&self, deed: Deed) -> Vec<Model> {
        let next = self.after(deed);
        let lengths = self.entries.len().min(next.entries.len())..next.entries.len();
        let prefixes =
            lengths.map(|length| Model { entries: next.entries[..length].to_vec(), ..next.clone() });
        match deed {
            Deed::Append { .. } => prefixes.chain([next.clone()]).collect(),
            _ => vec![self.clone(), next],
        }
    }

    fn past_the_end(&self, deed: Deed) -> u64 {
        let end = self.entries.last().map(|last| last.at.index).or(self.floor).map_or(0, |last| last + 1);
        if let Deed::PurgePast(by) = deed { end + by } else { end }
    }

    fn term_at(&self, index: u64) -> u64 {
        self.entries.iter().find(|entry| entry.at.index == index).unwrap().at.term
    }
}

/// Deeds that make sense one after the other, from any numbers.
pub fn sensible(choices: &[(u8, u64)]) -> Vec<Deed> {
    let (mut model, mut committed, mut deeds) = (Model::default(), None, Vec::new());
    for (kind, number) in choices {
        let term = model.vote.map_or(0, |vote| vote.term);
        let last = model.entries.last().map(|last| last.at.index);
        let within = |from: Option<u64>| {
            let first = from.map_or(0, |from| from + 1).max(model.entries.first()?.at.index);
            (first <= last?).then(|| first + number % (last.unwrap_or(0) - first + 1))
        };
        let deed = match kind % 10 {
            0 => Some(Deed::Vote(term + 1)),
            1 => within(committed).map(Deed::Commit),
            2 => within(committed.max(model.floor)).map(Deed::Truncate),
            3 => within(model.floor).filter(|floor| Some(*floor) <= committed).map(Deed::Purge),
            4 => Some(Deed::Reopen),
            5 => Some(Deed::PurgePast(number % 5)),
            _ => Some(Deed::Append { term, count: 1 + number % 6 }),
        };
        let Some(deed) = deed else { continue };
        if let Deed::Commit(index) = deed {
            committed = Some(index);
        }
        model = model.after(deed);
        deeds.push(deed);
    }
    deeds
}

pub fn small() -> LogOptions {
    LogOptions { segment_bytes_target: 700, ..options(Path::new(LOG_DIR)) }
}

/// A mistake that somebody could make in storage, made on purpose, to see that the suite catches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    Nothing,
    /// Nobody calls fsync.
    NoFsync,
    /// The callback comes before the fsync.
    CallbackBeforeFsync,
    /// A vote is acknowledged at once and written after the next entries.
    VoteAfterAppend,
    /// The last segment is cut at its first damage, whatever follows.
    CutOfANonTail,
}

impl Planted {
    pub fn faults(self) -> Faults {
        let sync = match self {
            Planted::NoFsync => SyncPromise::Broken,
            Planted::CallbackBeforeFsync => SyncPromise::Late,
            Planted::Nothing | Planted::VoteAfterAppend | Planted::CutOfANonTail => SyncPromise::Kept,
        };
        Faults { sync, ..Faults::default() }
    }
}

/// A log as its user drives it, with at most one bug planted into it.
struct Living {
    log: Option<DurableLog>,
    planted: Planted,
    vote_owed: Option<VoteRecord>,
}

/// Opens the log, with the bug if it is one of opening.
pub fn open_planted(disk: &MemDisk, planted: Planted) -> Result<DurableLog, StorageError> {
    if planted == Planted::CutOfANonTail {
        cut_at_first_damage(disk);
    }
    open_with(&disk.as_disk(), small())
}

fn cut_at_first_damage(disk: &MemDisk) {
    let Some(last) = segments(disk).pop() else { return };
    let bytes = disk.bytes(&last);
    let end = frames(&bytes).last().map_or(HEADER_BYTES as u32, |frame| frame.end);
    if bytes.len() >= HEADER_BYTES {
        disk.tamper(&last, |bytes| bytes.truncate(end as usize));
    }
}

pub fn segments(disk: &MemDisk) -> Vec<std::path::PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

/// Where a frame lies, and what it knew durable.
#[derive(Clone, Copy, Debug)]
pub struct FrameAt {
    pub start: u32,
    pub end: u32,
    pub durable: u32,
}

/// The intact frames of a segment, up to the first damage.
pub fn frames(bytes: &[u8]) -> Vec<FrameAt> {
    let Ok(header) = SealedHeader::parse(bytes) else { return Vec::new() };
    let (identity, mut start, mut found) = (header.claims().identity, HEADER_BYTES as u32, Vec::new());
    while let Ok(frame) = Frame::read(&identity, start, &bytes[(start as usize).min(bytes.len())..]) {
        found.push(FrameAt { start, end: frame.end(), durable: frame.place.durable });
        start = frame.end();
    }
    found
}

impl Living {
    fn perform(&mut self, disk: &MemDisk, deed: Deed, model: &Model) -> Result<(), StorageError> {
        if let Deed::Reopen = deed {
            self.log.take();
            self.log = Some(open_planted(disk, self.planted)?);
            return Ok(());
        }
        let log = self.log.as_ref().unwrap();
        match deed {
            Deed::Vote(term) if self.planted == Planted::VoteAfterAppend => {
                self.vote_owed = Some(vote(term, 1));
                Ok(())
            }
            Deed::Vote(term) => wait(|done| log.save_vote(vote(term, 1), done)),
            Deed::Append { .. } => {
                let before = model.entries.len();
                append(log, &model.after(deed).entries[before..])?;
                self.vote_owed.take().map_or(Ok(()), |vote| wait(|done| log.save_vote(vote, done)))
            }
            Deed::Commit(index) => log.save_committed(at(model.term_at(index), index)),
            Deed::Truncate(keep) => {
                wait(|done| log.truncate_after(Some(at(model.term_at(keep), keep)), done))
            }
            Deed::Purge(floor) => wait(|done| log.purge(at(model.term_at(floor), floor), done)),
            Deed::PurgePast(_) => {
                let term = model.vote.map_or(0, |vote| vote.term);
                wait(|done| log.purge(at(term, model.past_the_end(deed)), done))
            }
            Deed::Reopen => Ok(()),
        }
    }
}

/// Lives until the disk fails; returns what was acknowledged, and what was under way.
pub fn live(disk: &MemDisk, life: &[Deed], planted: Planted) -> (Model, Option<Deed>) {
    let mut watched = Vec::new();
    let (model, unfinished) = live_watched(disk, life, planted, &mut watched);
    (model, unfinished)
}

/// As [`live`], and what was acknowledged and what lay on the disk after each deed.
pub fn live_watched(
    disk: &MemDisk,
    life: &[Deed],
    planted: Planted,
    watched: &mut Vec<(Model, MemDisk)>,
) -> (Model, Option<Deed>) {
    let mut model = Model::default();
    let Ok(log) = open_planted(disk, planted) else { return (model, None) };
    let mut living = Living { log: Some(log), planted, vote_owed: None };
    for &deed in life {
        if living.perform(disk, deed, &model).is_err() {
            return (model, Some(deed));
        }
        model = model.after(deed);
        watched.push((model.clone(), disk.copy()));
    }
    (model, None)
}

pub fn held(log: &DurableLog) -> Model {
    let standing = log.standing();
    Model { entries: all(log), floor: standing.floor.map(|floor| floor.index), vote: standing.vote }
}

/// What is there after a power cut, as the next process finds it.
pub fn found(disk: &MemDisk) -> Model {
    held(&open_with(&disk.as_disk(), small()).unwrap())
}

/// What may be there after a life that ended with `under_way` unfinished.
pub fn allowed(acknowledged: &Model, under_way: Option<Deed>) -> Vec<Model> {
    under_way.map_or(vec![acknowledged.clone()], |deed| acknowledged.may_become(deed))
}

/// What power cuts leave: nothing unsynced, all of it, or a random part, out of order.
pub fn lefts(seeds: u64) -> impl Iterator<Item = Left> {
    [Left::Nothing, Left::Everything].into_iter().chain((0..seeds).map(Left::Some))
}
