//! History that was fetched and turned out to be false, whenever the power goes while it is set aside.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use bytes::Bytes;
use events::log::merkle::Frontier;
use events::log::record::EntryBody;
use nodes::storage::error::StorageError;
use nodes::storage::gaps::Gap;
use nodes::storage::view::LogEntry;
use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use storage_support::backfill::{BACKFILL_DIR, book, fill, held, place, try_book};
use storage_support::entry;
use storage_support::life::lefts;
use storage_support::mem_disk::{Left, MemDisk};

const FIRST: Gap = Gap { from: 0, through: 19, term: 1 };
const SECOND: Gap = Gap { from: 40, through: 59, term: 1 };

fn truth(range: Range<u64>) -> Vec<LogEntry> {
    range.map(|index| entry(1, index)).collect()
}

fn lies(range: Range<u64>) -> Vec<LogEntry> {
    let lie = |told: LogEntry| LogEntry { body: EntryBody::Batch(Bytes::from_static(b"a lie")), ..told };
    truth(range).into_iter().map(lie).collect()
}

fn all_true() -> Vec<LogEntry> {
    [truth(0..20), truth(40..60)].concat()
}

/// A tree of so many entries; which ones, nobody here asks.
fn tree(size: u64) -> Frontier {
    (0..size).map(|_| [7; 32]).collect()
}

/// The first gap is filled and proven, the second filled with lies.
fn half_false() -> MemDisk {
    let disk = MemDisk::default();
    book(&disk).note(FIRST).unwrap();
    fill(&disk, &|from| truth(from..from + 5)).unwrap();
    assert!(book(&disk).prove(tree(20)).unwrap());
    book(&disk).note(SECOND).unwrap();
    fill(&disk, &|from| lies(from..from + 5)).unwrap();
    disk
}

/// What a node does once a checkpoint told: it sets aside, and fetches from somebody honest; the number of fetches.
fn mend(disk: &MemDisk) -> Result<u32, StorageError> {
    let fetches = Cell::new(0);
    let honest = |from| {
        fetches.set(fetches.get() + 1);
        truth(from..from + 5)
    };
    fill(disk, &honest)?;
    // Looked at apart, so that what fails is not this look.
    if held(&disk.copy()) != all_true() {
        place(disk).disbelieve(&try_book(disk)?)?;
        fill(disk, &honest)?;
    }
    Ok(fetches.get())
}

#[test]
fn what_is_proven_is_remembered_until_its_gaps_are_opened_again() {
    let disk = half_false();
    let disk = disk.after_power_cut(Left::Nothing);
    let unproven = book(&disk).to_prove().unwrap();
    assert_eq!((unproven.through, unproven.proven), (59, tree(20)));
    assert_eq!(*book(&disk).unproven().borrow(), 20, "of the second gap");
    assert!(book(&disk).prove(tree(60)).unwrap());
    assert_eq!(book(&disk).to_prove(), None);
    book(&disk).reopen().unwrap();
    assert!(!book(&disk).prove(tree(60)).unwrap(), "there is a gap");
    assert_eq!((book(&disk).proven_before(), *book(&disk).unproven().borrow()), (0, 40));
}

#[test]
fn a_note_of_what_is_proven_that_cannot_be_believed_proves_nothing_and_keeps_nobody_from_starting() {
    let disk = half_false();
    let path = Path::new(BACKFILL_DIR).join("proven.json");
    for flipped in 0..disk.bytes(&path).len() {
        let disk = disk.copy();
        disk.tamper(&path, |bytes| bytes[flipped] ^= 1);
        assert_eq!(book(&disk).proven_before(), 0, "{flipped}");
    }
}

#[test]
fn of_false_history_only_what_nobody_vouched_for_is_fetched_again() {
    let disk = half_false();
    assert_ne!(held(&disk), all_true());
    let fetches = mend(&disk).unwrap();
    assert_eq!(held(&disk), all_true());
    assert!((4..=6).contains(&fetches), "{fetches} fetches of five entries for the twenty that were false");
}

#[test]
fn false_history_is_used_no_more_and_is_kept_once_however_often_it_comes() {
    let disk = half_false();
    let mut kept = 0;
    for time in 0..5 {
        place(&disk).disbelieve(&book(&disk)).unwrap();
        for from in 0..60 {
            let salvaged = place(&disk).salvage(from).unwrap();
            assert!(salvaged.iter().all(|entry| truth(from..60).contains(entry)), "{from}: {salvaged:?}");
        }
        fill(&disk, &|from| lies(from..from + 5)).unwrap();
        let files = disk.files().into_iter();
        let bytes = files
            .filter(|path| path.to_string_lossy().contains("segment-"))
            .map(|path| disk.bytes(&path).len());
        let bytes: usize = bytes.sum();
        // The first round lies about more than the beginning did.
        match time {
            0 | 1 => kept = bytes,
            _ => assert!(bytes <= kept + 600, "{bytes} bytes after {kept}"),
        }
    }
}

#[test]
fn whenever_the_power_goes_or_an_operation_fails_while_false_history_is_set_aside_the_truth_is_there_in_the_end()
 {
    let whole = half_false();
    let counted = whole.copy();
    mend(&counted).unwrap();
    let operations = counted.operations();
    assert!(operations > 50);
    for survived in 0..operations {
        for left in lefts(1) {
            let disk = whole.copy();
            disk.cut_power_after(survived);
            // Whether it was told of the cut or not.
            let _ = mend(&disk);
            let disk = disk.after_power_cut(left);
            mend(&disk).unwrap();
            assert_eq!(held(&disk), all_true(), "after {survived} operations");
        }
    }
    for faults in counted.single_faults() {
        let disk = whole.copy_with(faults);
        let _ = mend(&disk);
        let disk = disk.copy();
        mend(&disk).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert_eq!(held(&disk), all_true(), "{faults:?}");
    }
}
