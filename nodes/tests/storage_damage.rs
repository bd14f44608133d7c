//! What happens to the files of a log at rest: bits flip, files are cut, swapped, rolled back, lost. Whatever was known
//! durable is there or its loss is named by file and offset, and nothing is changed then; only a torn tail is cut.
//!
//! What no single disk can tell is written down here too: after an unclean end, the end of the last file cut at a frame's
//! end, or an older copy of that file with the same header, is an earlier moment of the same log. Nothing is made up, and
//! no log is ever put together from two moments.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use nodes::storage::error::StorageError;
use nodes::storage::repair::note_damage;
use nodes::storage::view::LogEntry;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use std::path::PathBuf;
use storage_support::entry;
use storage_support::life::{
    Model, Planted, frames, held, live_watched, open_planted, segments, sensible, small,
};
use storage_support::mem_disk::{Left, MemDisk};
use storage_support::peer::{committed_and_gaps, repair};

#[derive(Clone, Debug)]
enum Damage {
    Flip { file: Index, at: Index, bit: u8 },
    Zeros { file: Index, at: Index, length: usize },
    Cut { file: Index, at: Index },
    Swap { one: Index, two: Index },
    RollBack { file: Index, to: Index },
    Lose { file: Index },
    BadSector { file: Index, at: Index, length: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), index(), 0u8..8).prop_map(|(file, at, bit)| Damage::Flip { file, at, bit }),
        2 => (index(), index(), 1usize..1200).prop_map(|(file, at, length)| Damage::Zeros { file, at, length }),
        2 => (index(), index()).prop_map(|(file, at)| Damage::Cut { file, at }),
        1 => (index(), index()).prop_map(|(one, two)| Damage::Swap { one, two }),
        2 => (index(), index()).prop_map(|(file, to)| Damage::RollBack { file, to }),
        1 => index().prop_map(|file| Damage::Lose { file }),
        3 => (index(), index(), 1usize..700)
            .prop_map(|(file, at, length)| Damage::BadSector { file, at, length }),
    ]
}

/// A life that ended, with all of its moments.
struct Lived {
    disk: MemDisk,
    moments: Vec<(Model, MemDisk)>,
    end: Model,
    /// The last entry that this log held when it ended, whether it is purged by now or not. What a purge floor past the end
    /// passed over came as a snapshot and was never acknowledged by it.
    acknowledged: Option<u64>,
}

fn live_on(choices: &[(u8, u64)]) -> Lived {
    let (disk, mut moments) = (MemDisk::default(), Vec::new());
    let (end, _) = live_watched(&disk, &sensible(choices), Planted::Nothing, &mut moments);
    let last = |(model, _): &(Model, MemDisk)| model.entries.last().map(|last| last.at.index);
    let acknowledged = moments.iter().rev().find_map(last);
    Lived { disk: disk.after_power_cut(Left::Everything), moments, end, acknowledged }
}

/// Whether every log must notice this. It was closed in good order, so that all of it was known durable: by a later file, or by
/// the one beside the last. What came after the last frame is nobody's.
fn must_be_noticed(lived: &Lived, damaged: &MemDisk) -> bool {
    // Nothing that was written may pass for torn because it cannot be read.
    if damaged.has_unreadable() {
        return true;
    }
    let files = segments(&lived.disk);
    let last_with_frames = files.iter().rposition(|path| !frames(&lived.disk.bytes(path)).is_empty());
    files.iter().enumerate().any(|(number, path)| {
        let now = if damaged.files().contains(path) { damaged.bytes(path) } else { Vec::new() };
        Some(number) <= last_with_frames && now != lived.disk.bytes(path)
    })
}

fn apply(damage: &Damage, lived: &Lived) -> MemDisk {
    let disk = lived.disk.copy();
    let files = segments(&disk);
    let pick = |index: &Index| files[index.index(files.len())].clone();
    match damage {
        Damage::Flip { file, at, bit } => {
            disk.tamper(&pick(file), |bytes| {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            });
        }
        Damage::Zeros { file, at, length } => disk.tamper(&pick(file), |bytes| {
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes[start..end].fill(0);
        }),
        Damage::Cut { file, at } => {
            disk.tamper(&pick(file), |bytes| bytes.truncate(at.index(bytes.len())));
        }
        Damage::Swap { one, two } => {
            let (one, two) = (pick(one), pick(two));
            let (first, second) = (disk.bytes(&one), disk.bytes(&two));
            disk.tamper(&one, |bytes| *bytes = second);
            disk.tamper(&two, |bytes| *bytes = first);
        }
        Damage::RollBack { file, to } => {
            let (path, (_, then)) = (pick(file), &lived.moments[to.index(lived.moments.len())]);
            if then.files().contains(&path) {
                let older = then.bytes(&path);
                disk.tamper(&path, |bytes| *bytes = older);
            }
        }
        Damage::Lose { file } => disk.lose(&pick(file)),
        Damage::BadSector { file, at, length } => {
            let start = at.index(disk.bytes(&pick(file)).len());
            disk.make_unreadable(&pick(file), start, start + length);
        }
    }
    disk
}

fn contents(disk: &MemDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    // A last file that holds no frame may be removed by any open.
    let files = segments(disk).into_iter().map(|path| (path.clone(), disk.bytes(&path)));
    files.filter(|(_, bytes)| bytes.len() > events::log::segment::HEADER_BYTES).collect()
}

/// Whether `found` is the log as it stood at some moment, or between two of them: a group that was written in part.
fn is_a_moment(lived: &Lived, found: &Model) -> bool {
    let moments = [Model::default()].into_iter().chain(lived.moments.iter().map(|(model, _)| model.clone()));
    moments.collect::<Vec<_>>().windows(2).any(|pair| {
        let (before, after) = (&pair[0], &pair[1]);
        let is_part = found.vote == after.vote
            && found.floor == after.floor
            && after.entries.starts_with(&found.entries)
            && found.entries.starts_with(&before.entries);
        found == before || found == after || is_part
    })
}

fn judge(lived: &Lived, damaged: &MemDisk, planted: Planted) -> Result<(), String> {
    let before = contents(damaged);
    let must = must_be_noticed(lived, damaged);
    match open_planted(damaged, planted) {
        Ok(log) => {
            let found = held(&log);
            if found == lived.end {
                return Ok(());
            }
            if must {
                return Err(format!("what was known durable is gone without a word: {found:?}"));
            }
            if is_a_moment(lived, &found) { Ok(()) } else { Err(format!("made up: {found:?}")) }
        }
        Err(StorageError::Corrupt(corruption)) => {
            let named = corruption.path.to_string_lossy().contains("segment-");
            let unchanged = contents(damaged) == before;
            match (named, unchanged) {
                (true, true) => Ok(()),
                (false, _) => Err(format!("no file is named: {corruption}")),
                (_, false) => Err("a refused log was changed".to_owned()),
            }
        }
        Err(other) => Err(format!("another error: {other}")),
    }
}

/// What a peer holds that agreed with this log all along, and went on.
fn peers_entries(lived: &Lived) -> Vec<LogEntry> {
    // A snapshot came in the term of the vote that was given by then.
    let mut entries = committed_and_gaps(&lived.disk, |index| {
        let mut moments = lived.moments.iter().map(|(model, _)| model);
        let after = moments.find(|model| model.floor >= Some(index));
        after.and_then(|model| model.vote).map_or(0, |vote| vote.term)
    });
    let next = entries.len() as u64;
    entries.extend(lived.end.entries.iter().filter(|entry| entry.at.index >= next).cloned());
    let (term, next) = (lived.end.vote.map_or(0, |vote| vote.term), entries.len() as u64);
    // A damaged file may have held more entries than this log had; the cluster goes on, so a repair gets there.
    entries.extend((next..next + 400).map(|index| entry(term, index)));
    entries
}

fn choices() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((any::<u8>(), any::<u64>()), 4..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_to_a_file_is_noticed_or_a_torn_tail_or_does_no_harm(choices in choices(), damage in damage()) {
        let lived = live_on(&choices);
        if !lived.moments.is_empty() {
            let damaged = apply(&damage, &lived);
            let judged = judge(&lived, &damaged, Planted::Nothing);
            prop_assert!(judged.is_ok(), "{damage:?}: {judged:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn what_is_refused_is_repaired_from_a_peer_and_takes_back_neither_entry_nor_vote(
        choices in choices(),
        damage in damage(),
    ) {
        let lived = live_on(&choices);
        if !lived.moments.is_empty() {
            let peer = peers_entries(&lived);
            let damaged = apply(&damage, &lived);
            if let Err(StorageError::Corrupt(found)) = open_planted(&damaged, Planted::Nothing) {
                let need = note_damage(&*damaged.as_disk(), &small(), &found)
                    .unwrap_or_else(|error| panic!("{damage:?}: {error}"));
                let last = lived.acknowledged;
                prop_assert!(need.acknowledged >= last || need.tail_is_lost, "{damage:?}: {need:?} of {last:?}");
                let vote = need.vote.map(|(term, ..)| term);
                let held = lived.end.vote.map(|vote| vote.term);
                prop_assert!(!need.vote_is_known || vote == held, "{damage:?}: {need:?} of {held:?}");

                let refused = open_planted(&damaged, Planted::Nothing).err();
                prop_assert!(matches!(refused, Some(StorageError::NeedsRepair { .. })), "{refused:?}");
                repair(&damaged, &peer, held);
                let log = open_planted(&damaged, Planted::Nothing).unwrap();
                let repaired = storage_support::life::held(&log);
                let of_peer: Vec<_> = peer.iter().filter(|entry| repaired.floor < Some(entry.at.index)).collect();
                prop_assert!(of_peer.into_iter().take(repaired.entries.len()).eq(repaired.entries.iter()));
                prop_assert!(repaired.entries.last().map(|last| last.at.index).or(repaired.floor) >= last);
                prop_assert!(repaired.vote.map(|vote| vote.term) >= held);
                drop(log);
                prop_assert!(open_planted(&damaged, Planted::Nothing).is_ok());
            }
        }
    }
}

#[test]
fn a_cut_of_what_is_no_tail_is_caught() {
    let choices = [(6, 0); 5];
    let lived = live_on(&choices);
    let caught = (0..200).filter(|at| {
        let damaged = lived.disk.copy();
        let last = segments(&damaged).pop().unwrap();
        damaged.tamper(&last, |bytes| {
            let at = 192 + at * (bytes.len() - 192) / 200;
            bytes[at] ^= 1;
        });
        assert!(judge(&lived, &damaged.copy(), Planted::Nothing).is_ok());
        judge(&lived, &damaged, Planted::CutOfANonTail).is_err()
    });
    assert!(caught.count() > 50);
}
