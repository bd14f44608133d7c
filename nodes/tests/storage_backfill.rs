//! Gaps in a node's history, noted before they come about and filled from a peer, whenever the power goes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod storage_support;

use events::log::segment::HEADER_BYTES;
use nodes::storage::archive::Archive;
use nodes::storage::backfill::Backfill;
use nodes::storage::error::StorageError;
use nodes::storage::gaps::{Gap, GapBook};
use nodes::storage::scrub::Scrub;
use nodes::storage::suspect::Suspect;
use nodes::storage::view::LogEntry;
use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use storage_support::backfill::{BACKFILL_DIR, book, fill, held, place};
use storage_support::life::lefts;
use storage_support::mem_disk::{Left, MemDisk};
use storage_support::{LOG_DIR, append_range, at, entry, keys, open, segment, wait};

const GAPS: [Gap; 2] = [gap(0, 19), gap(40, 59)];

const fn gap(from: u64, through: u64) -> Gap {
    Gap { from, through, term: 1 }
}

fn entries(range: Range<u64>) -> Vec<LogEntry> {
    range.map(|index| entry(1, index)).collect()
}

fn backfill(disk: &MemDisk) -> Backfill {
    place(disk).open(&book(disk)).unwrap()
}

/// A disk with two gaps, both filled.
fn filled() -> MemDisk {
    let disk = MemDisk::default();
    let book = book(&disk);
    for gap in GAPS {
        book.note(gap).unwrap();
    }
    fill(&disk, &|from| entries(from..from + 5)).unwrap();
    disk
}

/// What a check does that finds damage.
fn check(disk: &MemDisk) -> Result<bool, StorageError> {
    let dir = PathBuf::from(BACKFILL_DIR);
    let scrub = Scrub { disk: disk.as_disk(), dir: dir.clone(), keys: keys() };
    let checked = scrub.run(|| true)?.unwrap();
    let Some(damage) = checked.damaged.first() else { return Ok(true) };
    Suspect::note(&*disk.as_disk(), &dir, damage)?.unwrap();
    GapBook::open(disk.as_disk(), dir)?.reopen()?;
    Ok(false)
}

#[test]
fn a_gap_is_noted_for_good_and_one_that_grew_is_one_gap() {
    let disk = MemDisk::default();
    let missing = book(&disk).missing();
    assert_eq!(*missing.borrow(), 0);
    let noting = book(&disk);
    noting.note(gap(10, 19)).unwrap();
    noting.note(gap(40, 49)).unwrap();
    // The purge of the first was never made: the snapshot that came later reaches further.
    noting.note(gap(10, 29)).unwrap();
    let disk = disk.after_power_cut(Left::Nothing);
    let again = book(&disk);
    assert_eq!((again.first(), *again.missing().borrow()), (Some(gap(10, 29)), 30));
    again.close(gap(10, 29)).unwrap();
    assert_eq!(book(&disk).first(), Some(gap(40, 49)));
}

#[test]
fn a_log_says_what_a_purge_would_leave_out_of_its_history() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 7)).unwrap();
    assert_eq!(log.gap_below(at(1, 5)), None, "it holds them");
    assert_eq!(log.gap_below(at(1, 9)), None, "it holds that very entry");
    // Entries 8 and 9 were never known committed: another leader may have replaced them.
    assert_eq!(log.gap_below(at(2, 20)), Some(Gap { from: 8, through: 20, term: 2 }));
    wait(|done| log.purge(at(2, 20), done)).unwrap();
    assert_eq!(log.gap_below(at(2, 20)), None);
    assert_eq!(log.gap_below(at(2, 30)), Some(Gap { from: 21, through: 30, term: 2 }));
}

#[test]
fn two_gaps_are_filled_piece_by_piece_and_the_work_goes_on_after_a_power_cut() {
    let disk = MemDisk::default();
    let (first, second) = (gap(0, 9), gap(20, 29));
    let filling = backfill(&disk);
    assert_eq!(filling.missing_from(first), Some(0));
    filling.take(first, entries(0..4)).unwrap();
    drop(filling);

    let disk = disk.after_power_cut(Left::Nothing);
    let filling = backfill(&disk);
    assert_eq!(filling.missing_from(first), Some(4));
    filling.take(first, entries(4..15)).unwrap();
    assert_eq!(filling.missing_from(first), None, "what lies beyond the gap is left out");
    filling.take(second, entries(20..30)).unwrap();
    assert_eq!(filling.missing_from(second), None);
    drop(filling);

    let disk = disk.after_power_cut(Left::Nothing);
    assert_eq!(held(&disk), [entries(0..10), entries(20..30)].concat());
    let archive = Archive::new(disk.as_disk(), vec![PathBuf::from(LOG_DIR), BACKFILL_DIR.into()], keys());
    assert_eq!(archive.range(22, usize::MAX).unwrap(), entries(22..30), "and peers are given it");
    assert!(archive.range(12, usize::MAX).unwrap().is_empty());
}

#[test]
fn what_does_not_follow_or_is_of_another_term_is_not_taken() {
    let disk = MemDisk::default();
    let filling = backfill(&disk);
    let mut doubled = entries(10..12);
    doubled.push(entry(1, 11));
    let mut backwards = entries(10..11);
    backwards.push(entry(0, 11));
    let later = vec![entry(2, 10)];
    let mut ends_otherwise = entries(10..14);
    ends_otherwise.push(entry(0, 14));
    for wrong in [entries(11..13), doubled, backwards, later] {
        let refused = filling.take(gap(10, 19), wrong);
        assert!(matches!(refused, Err(StorageError::PeersEntry { .. })), "{refused:?}");
    }
    assert!(filling.take(gap(10, 14), ends_otherwise).is_err());
    assert_eq!(filling.missing_from(gap(10, 19)), Some(10), "nothing of it was kept");
}

fn backfill_segment(number: u64) -> PathBuf {
    PathBuf::from(BACKFILL_DIR).join(segment(number).file_name().unwrap())
}

fn all_filled() -> Vec<LogEntry> {
    [entries(0..20), entries(40..60)].concat()
}

#[test]
fn damage_of_fetched_history_is_found_and_only_what_lies_behind_it_is_fetched_again() {
    let whole = filled();
    assert_eq!(held(&whole), all_filled());
    assert!(check(&whole).unwrap());
    for (number, most) in [(1, 40), (3, 30), (5, 22)] {
        let length = whole.bytes(&backfill_segment(number)).len();
        assert!(length > 500, "the test's segments are large enough to hold entries: {length}");
        for flipped in (0..length).step_by(37) {
            let disk = whole.copy();
            disk.tamper(&backfill_segment(number), |bytes| bytes[flipped] ^= 4);
            assert!(!check(&disk).unwrap(), "a flip at {flipped} of segment {number}");
            let fetched = Cell::new(0);
            let peer = |from: u64| {
                fetched.set(fetched.get() + 1);
                entries(from..from + 1)
            };
            fill(&disk, &peer).unwrap();
            assert_eq!(held(&disk), all_filled());
            assert!(check(&disk).unwrap() && fetched.get() > 0);
            assert!(fetched.get() <= most, "{} fetched again for segment {number}", fetched.get());
        }
    }
}

#[test]
fn what_no_peer_gives_any_more_is_taken_from_what_was_set_aside() {
    let (whole, from_peers) = (filled(), Cell::new(0));
    let length = whole.bytes(&backfill_segment(3)).len();
    for flipped in (HEADER_BYTES..length).step_by(31) {
        let disk = whole.copy();
        disk.tamper(&backfill_segment(3), |bytes| bytes[flipped] ^= 4);
        check(&disk).unwrap();
        let (before, place) = (from_peers.get(), place(&disk));
        let find = |from| match place.salvage(from).unwrap() {
            none if none.is_empty() => {
                from_peers.set(from_peers.get() + 1);
                entries(from..from + 1)
            }
            salvaged => salvaged,
        };
        fill(&disk, &find).unwrap();
        assert_eq!(held(&disk), all_filled());
        assert!(from_peers.get() <= before + 1, "at most the one that is damaged");
    }
    assert!(from_peers.get() > 3, "some of the flips hit an entry");
}

#[test]
fn damage_of_the_only_header_leaves_nothing_and_all_is_fetched_again() {
    let disk = MemDisk::default();
    let book = book(&disk);
    book.note(gap(0, 1)).unwrap();
    fill(&disk, &|from| entries(from..from + 2)).unwrap();
    disk.tamper(&backfill_segment(1), |bytes| bytes[20] ^= 4);
    assert!(!check(&disk).unwrap());
    fill(&disk, &|from| entries(from..from + 2)).unwrap();
    assert_eq!(held(&disk), entries(0..2));
}

#[test]
fn whenever_the_power_goes_while_fetched_history_is_mended_it_ends_whole() {
    let whole = filled();
    whole.tamper(&backfill_segment(3), |bytes| bytes[300] ^= 4);
    let mend = |disk: &MemDisk| {
        check(disk)?;
        fill(disk, &|from| entries(from..from + 5))
    };
    let operations = {
        let disk = whole.copy();
        let before = disk.operations();
        mend(&disk).unwrap();
        disk.operations() - before
    };
    assert!(operations > 100);
    for survived in 0..operations {
        for left in lefts(1) {
            let disk = whole.copy();
            disk.cut_power_after(survived);
            // Whether it was told of the cut or not.
            let _ = mend(&disk);
            let disk = disk.after_power_cut(left);
            mend(&disk).unwrap();
            assert!(check(&disk).unwrap(), "after {survived} operations");
            assert_eq!(held(&disk), all_filled(), "after {survived} operations");
        }
    }
}

#[test]
fn whichever_operation_fails_alone_while_fetched_history_is_filled_or_mended_it_ends_whole() {
    let damaged = filled();
    damaged.tamper(&backfill_segment(3), |bytes| bytes[300] ^= 4);
    let gapped = MemDisk::default();
    GAPS.iter().for_each(|gap| book(&gapped).note(*gap).unwrap());
    let mend = |disk: &MemDisk| {
        check(disk)?;
        fill(disk, &|from| entries(from..from + 5))
    };
    for whole in [damaged, gapped] {
        let counted = whole.copy();
        mend(&counted).unwrap();
        for faults in counted.single_faults() {
            let disk = whole.copy_with(faults);
            let _ = mend(&disk);
            for disk in lefts(0).map(|left| disk.after_power_cut(left)).chain([disk.copy()]) {
                mend(&disk).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
                assert!(check(&disk).unwrap(), "{faults:?}");
                assert_eq!(held(&disk), all_filled(), "{faults:?}");
            }
        }
    }
}

#[test]
fn five_thousand_filled_gaps_are_remembered_and_those_that_touch_are_one() {
    let disk = MemDisk::default();
    let noting = book(&disk);
    for number in 0..5_000 {
        let gap = gap(10 * number, 10 * number + 5);
        noting.note(gap).unwrap();
        noting.close(gap).unwrap();
    }
    let again = book(&disk);
    again.reopen().unwrap();
    assert_eq!(*again.missing().borrow(), 30_000);

    let disk = MemDisk::default();
    let noting = book(&disk);
    for number in 0..100 {
        let gap = gap(10 * number, 10 * number + 9);
        noting.note(gap).unwrap();
        noting.close(gap).unwrap();
    }
    let length = disk.bytes(&Path::new(BACKFILL_DIR).join("filled.json")).len();
    assert!(length < 300, "{length}");
    noting.reopen().unwrap();
    assert_eq!(noting.first(), Some(gap(0, 999)));
}

#[test]
fn a_list_of_gaps_that_cannot_be_believed_is_set_aside_and_keeps_nobody_from_starting() {
    let disk = MemDisk::default();
    let noting = book(&disk);
    noting.note(gap(0, 9)).unwrap();
    noting.close(gap(0, 9)).unwrap();
    noting.note(gap(20, 29)).unwrap();
    for file in ["gaps.json", "filled.json"] {
        let path = Path::new(BACKFILL_DIR).join(file);
        for flipped in 0..disk.bytes(&path).len() {
            let disk = disk.copy();
            disk.tamper(&path, |bytes| bytes[flipped] ^= 1);
            let book = book(&disk);
            assert!(disk.files().contains(&path.with_extension("json.malformed")), "{file}, {flipped}");
            assert_eq!(book.first().is_none(), file == "gaps.json");
            book.note(gap(40, 49)).unwrap();
        }
        let malformed = disk.copy();
        malformed.tamper(&path, |bytes| bytes.truncate(7));
        book(&malformed);
    }
}

#[test]
fn what_the_book_of_gaps_forgot_the_log_still_says_and_it_is_noted_again() {
    let disk = MemDisk::default();
    let log = open(&disk.as_disk()).unwrap();
    append_range(&log, 1, 0..10);
    log.save_committed(at(1, 7)).unwrap();
    let absent = [Gap { from: 8, through: 20, term: 2 }, Gap { from: 21, through: 40, term: 3 }];
    for Gap { through, term, .. } in absent {
        let gap = log.gap_below(at(term, through)).unwrap();
        book(&disk).note(gap).unwrap();
        wait(|done| log.purge(at(term, through), done)).unwrap();
    }
    log.close().unwrap();
    let scrub = Scrub { disk: disk.as_disk(), dir: LOG_DIR.into(), keys: keys() };
    assert_eq!(scrub.run(|| true).unwrap().unwrap().absent, absent);
    assert!(book(&disk).recall(&absent).unwrap().is_empty(), "it knows them");
    let file = |name| Path::new(BACKFILL_DIR).join(name);
    let all_there_is = |from| match from {
        0..=20 => (from..=20).map(|index| entry(2, index)).collect(),
        _ => (from..=40).map(|index| entry(3, index)).collect::<Vec<_>>(),
    };

    disk.tamper(&file("gaps.json"), |bytes| bytes[20] ^= 1);
    let forgetful = book(&disk);
    assert_eq!(*forgetful.missing().borrow(), 0);
    assert_eq!(forgetful.recall(&absent).unwrap(), absent);
    assert_eq!(*forgetful.missing().borrow(), 33);
    assert_eq!(*book(&disk).missing().borrow(), 33, "for good");
    fill(&disk, &all_there_is).unwrap();

    disk.lose(&file("filled.json"));
    assert_eq!(*book(&disk).unproven().borrow(), 0, "it passes for proven");
    assert_eq!(book(&disk).recall(&absent).unwrap(), absent);
    fill(&disk, &|_| panic!("what is here is not fetched again")).unwrap();
    assert_eq!((book(&disk).first(), *book(&disk).unproven().borrow()), (None, 33));
}

#[test]
fn of_a_segment_that_was_set_aside_twice_both_are_read() {
    // Other entries of the same segment are damaged each time, and no peer has any of them.
    let disk = filled();
    let damaged = backfill_segment(1);
    let frames = storage_support::life::frames(&disk.bytes(&damaged));
    disk.tamper(&damaged, |bytes| bytes[frames[1].start as usize + 45] ^= 4);
    check(&disk).unwrap();
    drop(place(&disk).open(&book(&disk)).unwrap());
    let first: Vec<_> = (0..20).filter(|from| !place(&disk).salvage(*from).unwrap().is_empty()).collect();
    // What was fetched again since is damaged too.
    let lost = (0..20).find(|from| !first.contains(from)).unwrap();
    fill(&disk, &|from| match place(&disk).salvage(from).unwrap() {
        found if found.is_empty() => entries(from..from + 1),
        found => found,
    })
    .unwrap();
    assert_eq!(held(&disk), all_filled());
    let frames_of = |path: &PathBuf| storage_support::life::frames(&disk.bytes(path));
    let logs = storage_support::life::segments(&disk).into_iter();
    let full =
        logs.filter(|path| path.starts_with(BACKFILL_DIR)).find(|path| frames_of(path).len() > 5).unwrap();
    let late = frames_of(&full)[4].start as usize;
    disk.tamper(&full, |bytes| bytes[late + 45] ^= 4);
    check(&disk).unwrap();
    drop(place(&disk).open(&book(&disk)).unwrap());
    let aside = |end| disk.files().iter().filter(|path| path.to_string_lossy().ends_with(end)).count();
    assert!(aside(".damaged.2") > 0);
    for from in 0..20 {
        assert!(
            !place(&disk).salvage(from).unwrap().is_empty(),
            "entry {from}; {lost} was lost the first time"
        );
    }
}
