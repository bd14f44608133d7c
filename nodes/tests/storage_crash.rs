//! The power goes, or the disk fails, at every step of a log's life: what was acknowledged is there, and nothing else is
//! made up. The last tests plant bugs, and the same checks catch them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use proptest::prelude::*;
use std::path::Path;
use storage_support::life::{
    Deed, LIFE, Model, Planted, allowed, found, held, lefts, live, live_watched, open_planted, sensible,
    small,
};
use storage_support::mem_disk::{Faults, Left, MemDisk, SyncPromise};
use storage_support::{LOG_DIR, append, entry, open_with, options, vote, wait};

/// Lives on `disk` until it fails, and looks at what each kind of power cut leaves; how many worlds there were, and
/// what was wrong in which.
fn judge(disk: &MemDisk, life: &[Deed], planted: Planted, seeds: u64) -> (usize, Vec<String>) {
    let (acknowledged, under_way) = live(disk, life, planted);
    let allowed = allowed(&acknowledged, under_way);
    let (mut worlds, mut wrong) = (0, Vec::new());
    for left in lefts(seeds) {
        worlds += 1;
        if let Err(why) = believed_twice(&disk.after_power_cut(left), &allowed, planted) {
            wrong.push(format!("{left:?}, during {under_way:?}: {why}"));
        }
    }
    (worlds, wrong)
}

/// What an open finds is allowed, and still there after a power cut that follows the open at once.
fn believed_twice(disk: &MemDisk, allowed: &[Model], planted: Planted) -> Result<(), String> {
    let found = open_planted(disk, planted).map(|log| held(&log)).map_err(|error| error.to_string())?;
    if !allowed.contains(&found) {
        return Err(format!("{found:?}"));
    }
    let again = open_planted(&disk.after_power_cut(Left::Nothing), planted).map_err(|e| e.to_string())?;
    if held(&again) == found { Ok(()) } else { Err(format!("{found:?}, and then {:?}", held(&again))) }
}

/// Cuts the power at every operation.
fn cut_everywhere(planted: Planted) -> (usize, Vec<String>) {
    let whole = MemDisk::default();
    live(&whole, LIFE, Planted::Nothing);
    let (mut worlds, mut lost) = (0, Vec::new());
    for power_fails_at in 0..=whole.operations() {
        let disk = MemDisk::with(Faults { power_fails_at: Some(power_fails_at), ..planted.faults() });
        let (more, wrong) = judge(&disk, LIFE, planted, 8);
        worlds += more;
        lost.extend(wrong.into_iter().map(|wrong| format!("at {power_fails_at}, {wrong}")));
    }
    (worlds, lost)
}

#[test]
fn whenever_the_power_goes_what_was_acknowledged_is_there() {
    let (worlds, lost) = cut_everywhere(Planted::Nothing);
    assert!(worlds > 500, "{worlds}");
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// A fault, anywhere in a life.
fn fault() -> impl Strategy<Value = fn(usize, usize, usize, usize) -> Faults> {
    prop_oneof![
        Just(
            (|at, _, _, _| Faults { power_fails_at: Some(at), ..Faults::default() })
                as fn(usize, usize, usize, usize) -> Faults
        ),
        Just((|_, at, _, _| Faults { sync_fails_at: Some(at), ..Faults::default() }) as _),
        Just((|_, _, at, part| Faults { write_fails_at: Some((at, part)), ..Faults::default() }) as _),
        Just((|_, _, at, _| Faults { write_fails_at: Some((at, 0)), ..Faults::default() }) as _),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_fails_in_any_life_what_was_acknowledged_is_there(
        choices in prop::collection::vec((any::<u8>(), any::<u64>()), 1..60),
        fault in fault(),
        when in any::<prop::sample::Index>(),
        part in 0usize..400,
    ) {
        let life = sensible(&choices);
        let whole = MemDisk::default();
        let (_, unfinished) = live(&whole, &life, Planted::Nothing);
        prop_assert!(unfinished.is_none(), "{unfinished:?} fails on a healthy disk");
        let (syncs, writes) = whole.syncs_and_writes();
        let faults =
            fault(when.index(whole.operations()), when.index(syncs), when.index(writes), part);
        let (_, wrong) = judge(&MemDisk::with(faults), &life, Planted::Nothing, 2);
        prop_assert!(wrong.is_empty(), "{faults:?}: {}", wrong.join("\n"));
    }

    #[test]
    fn wherever_the_disk_gets_full_what_was_acknowledged_is_there(
        choices in prop::collection::vec((any::<u8>(), any::<u64>()), 1..60),
        room in 0usize..8000,
    ) {
        let disk = MemDisk::with(Faults { capacity: Some(room), ..Faults::default() });
        let (_, wrong) = judge(&disk, &sensible(&choices), Planted::Nothing, 2);
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Each operation of one life fails in turn, alone, and the process that comes after it finds the same kernel with
/// the same cache: pages that a failed sync left clean are read, but no sync writes them any more.
#[test]
fn whatever_fails_alone_what_it_left_in_the_cache_is_lost_by_no_power_cut_once_it_was_believed() {
    let whole = MemDisk::default();
    live(&whole, LIFE, Planted::Nothing);
    for faults in whole.single_faults() {
        let disk = MemDisk::with(faults);
        let (acknowledged, under_way) = live(&disk, LIFE, Planted::Nothing);
        let same_kernel = disk.copy();
        believed_twice(&same_kernel, &allowed(&acknowledged, under_way), Planted::Nothing)
            .and_then(|()| {
                let after = found(&same_kernel.after_power_cut(Left::Nothing));
                let before = found(&same_kernel);
                if after == before { Ok(()) } else { Err(format!("{before:?}, and then {after:?}")) }
            })
            .unwrap_or_else(|why| panic!("{faults:?}, during {under_way:?}: {why}"));
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
    let mut watched = Vec::new();
    live_watched(&MemDisk::default(), LIFE, Planted::Nothing, &mut watched);
    // Not closed: what is torn after that is damage.
    let torn = watched.pop().unwrap().1.after_power_cut(Left::Everything);
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
fn a_left_out_fsync_is_caught() {
    assert!(!cut_everywhere(Planted::NoFsync).1.is_empty());
}

#[test]
fn a_callback_before_the_fsync_is_caught() {
    assert!(!cut_everywhere(Planted::CallbackBeforeFsync).1.is_empty());
}

#[test]
fn a_vote_that_is_written_after_the_entries_that_follow_it_is_caught() {
    let lost = cut_everywhere(Planted::VoteAfterAppend).1;
    assert!(lost.iter().any(|lost| lost.contains("vote: Some(VoteRecord { term: 1")), "{lost:?}");
}
