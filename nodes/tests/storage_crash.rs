//! The power goes at every step of a log's life: what was acknowledged is there, and nothing else is made up.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::log::record::VoteRecord;
use nodes::storage::error::StorageError;
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::view::LogEntry;
use proptest::prelude::*;
use std::path::Path;
use storage_support::mem_disk::{Faults, Left, MemDisk, SyncPromise};
use storage_support::{LOG_DIR, all, append, at, entry, open_with, options, vote, wait};

/// What a log holds, as far as its user knows: entries above the floor, floor, vote.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<LogEntry>,
    floor: Option<u64>,
    vote: Option<VoteRecord>,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Vote(u64),
    Append { term: u64, count: u64 },
    Commit(u64),
    Truncate(u64),
    Purge(u64),
    Reopen,
}

const LIFE: &[Deed] = &[
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
    fn after(&self, deed: Deed) -> Model {
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
            Deed::Commit(_) | Deed::Reopen => {}
        }
        next
    }

    /// How far a group of appended entries may have got: any prefix of it.
    fn may_become(&self, deed: Deed) -> Vec<Model> {
        let next = self.after(deed);
        let lengths = self.entries.len().min(next.entries.len())..next.entries.len();
        let prefixes =
            lengths.map(|length| Model { entries: next.entries[..length].to_vec(), ..next.clone() });
        match deed {
            Deed::Append { .. } => prefixes.chain([next.clone()]).collect(),
            _ => vec![self.clone(), next],
        }
    }

    fn term_at(&self, index: u64) -> u64 {
        self.entries.iter().find(|entry| entry.at.index == index).unwrap().at.term
    }
}

/// Deeds that make sense one after the other, from any numbers.
fn sensible(choices: &[(u8, u64)]) -> Vec<Deed> {
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

fn small() -> LogOptions {
    LogOptions { segment_bytes_target: 700, ..options(Path::new(LOG_DIR)) }
}

fn perform(
    log: &mut Option<DurableLog>,
    disk: &MemDisk,
    deed: Deed,
    model: &Model,
) -> Result<(), StorageError> {
    if let Deed::Reopen = deed {
        log.take();
        *log = Some(open_with(&disk.as_disk(), small())?);
        return Ok(());
    }
    let log = log.as_ref().unwrap();
    match deed {
        Deed::Vote(term) => wait(|done| log.save_vote(vote(term, 1), done)),
        Deed::Append { .. } => {
            let before = model.entries.len();
            append(log, &model.after(deed).entries[before..])
        }
        Deed::Commit(index) => log.save_committed(at(model.term_at(index), index)),
        Deed::Truncate(keep) => wait(|done| log.truncate_after(Some(at(model.term_at(keep), keep)), done)),
        Deed::Purge(floor) => wait(|done| log.purge(at(model.term_at(floor), floor), done)),
        Deed::Reopen => Ok(()),
    }
}

/// Lives until the power goes; returns what was acknowledged, and what was under way.
fn live(disk: &MemDisk, life: &[Deed]) -> (Model, Option<Deed>) {
    let mut model = Model::default();
    let Ok(log) = open_with(&disk.as_disk(), small()) else { return (model, None) };
    let mut log = Some(log);
    for &deed in life {
        if perform(&mut log, disk, deed, &model).is_err() {
            return (model, Some(deed));
        }
        model = model.after(deed);
    }
    (model, None)
}

fn found(disk: &MemDisk) -> Model {
    let log = open_with(&disk.as_disk(), small()).unwrap();
    let standing = log.standing();
    Model { entries: all(&log), floor: standing.floor.map(|floor| floor.index), vote: standing.vote }
}

/// Cuts the power at every operation; returns how many worlds there were and in how many something was lost.
fn cut_everywhere(promise: SyncPromise) -> (usize, Vec<String>) {
    let whole = MemDisk::default();
    live(&whole, LIFE);
    let (mut worlds, mut lost) = (0, Vec::new());
    for power_fails_at in 0..=whole.operations() {
        let faults = Faults { power_fails_at: Some(power_fails_at), sync: promise, ..Faults::default() };
        let disk = MemDisk::with(faults);
        let (acknowledged, under_way) = live(&disk, LIFE);
        let allowed = under_way.map_or(vec![acknowledged.clone()], |deed| acknowledged.may_become(deed));
        let seeds = (0..8).map(Left::Some);
        for left in [Left::Nothing, Left::Everything].into_iter().chain(seeds) {
            worlds += 1;
            let after = disk.after_power_cut(left);
            let found = found(&after);
            if !allowed.contains(&found) {
                lost.push(format!("at {power_fails_at}, {left:?}, during {under_way:?}: {found:?}"));
            }
        }
    }
    (worlds, lost)
}

#[test]
fn whenever_the_power_goes_what_was_acknowledged_is_there() {
    let (worlds, lost) = cut_everywhere(SyncPromise::Kept);
    assert!(worlds > 500, "{worlds}");
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whenever_the_power_goes_in_any_life_what_was_acknowledged_is_there(
        choices in prop::collection::vec((any::<u8>(), any::<u64>()), 1..60),
        when in any::<prop::sample::Index>(),
        seed: u64,
    ) {
        let life = sensible(&choices);
        let whole = MemDisk::default();
        let (_, unfinished) = live(&whole, &life);
        prop_assert!(unfinished.is_none(), "{unfinished:?} fails on a healthy disk");
        let power_fails_at = Some(when.index(whole.operations()));
        let disk = MemDisk::with(Faults { power_fails_at, ..Faults::default() });
        let (acknowledged, under_way) = live(&disk, &life);
        let allowed = under_way.map_or(vec![acknowledged.clone()], |deed| acknowledged.may_become(deed));
        for left in [Left::Nothing, Left::Everything, Left::Some(seed)] {
            let found = found(&disk.after_power_cut(left));
            prop_assert!(allowed.contains(&found), "{left:?}, during {under_way:?}: {found:?}");
        }
    }
}

#[test]
fn what_an_open_believed_survives_a_power_cut_after_it() {
    // The process before died with everything in the kernel's cache and nothing on the disk but names.
    let before = MemDisk::with(Faults { sync: SyncPromise::Broken, ..Faults::default() });
    let log = open_with(&before.as_disk(), options(Path::new(LOG_DIR))).unwrap();
    wait(|done| log.save_vote(vote(4, 1), done)).unwrap();
    append(&log, &[entry(4, 0), entry(4, 1)]).unwrap();
    let killed = before.copy();
    let believed = found(&killed);
    assert_eq!(believed.entries.len(), 2);
    assert_eq!(found(&killed.after_power_cut(Left::Nothing)), believed);
}

#[test]
fn an_open_that_the_power_cuts_short_can_be_repeated() {
    let disk = MemDisk::default();
    live(&disk, LIFE);
    let torn = disk.after_power_cut(Left::Everything);
    let last = torn.files().into_iter().rfind(|path| path.extension().is_some()).unwrap();
    torn.tamper(&last, |bytes| bytes.truncate(bytes.len() - 5));
    let counted = torn.copy();
    let expected = found(&counted);
    for power_fails_at in 0..=counted.operations() {
        let faulty = torn.copy_with(Faults { power_fails_at: Some(power_fails_at), ..Faults::default() });
        let _ = open_with(&faulty.as_disk(), small());
        for left in [Left::Nothing, Left::Everything, Left::Some(3), Left::Some(4)] {
            assert_eq!(found(&faulty.after_power_cut(left)), expected, "at {power_fails_at}, {left:?}");
        }
    }
}

#[test]
fn the_check_above_catches_a_left_out_fsync() {
    let caught = std::panic::catch_unwind(|| cut_everywhere(SyncPromise::Broken));
    assert!(caught.map_or(true, |(_, lost)| !lost.is_empty()));
}

#[test]
fn the_check_above_catches_a_callback_before_the_fsync() {
    let caught = std::panic::catch_unwind(|| cut_everywhere(SyncPromise::Late));
    assert!(caught.map_or(true, |(_, lost)| !lost.is_empty()));
}
