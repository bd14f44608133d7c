use super::*;
use crate::storage::disk::DiskFile;
use crate::storage::segment_file::SegmentFile;
use events::ids::ClusterId;
use events::log::keys::KeyEncryptionKey;
use events::log::segment::{SegmentHeader, SegmentIdentity};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry { at: at(term, index), body: EntryBody::Batch(Bytes::from(vec![7; 100])) }
}

fn view_of(entries: &[LogEntry]) -> LogView {
    let mut view = LogView::new(Standing::default(), usize::MAX);
    view.append(entries).unwrap();
    view
}

fn indices(view: &LogView) -> Vec<u64> {
    let found = view.find(0..u64::MAX, usize::MAX);
    found
        .iter()
        .map(|found| match found {
            Found::Cached(entry) => entry.at.index,
            Found::OnDisk(at, _) => at.index,
        })
        .collect()
}

#[test]
fn entries_that_do_not_follow_are_taken_not_even_in_part() {
    let mut view = view_of(&[entry(1, 0)]);
    assert!(view.append(&[entry(1, 1), entry(1, 3)]).is_err());
    assert_eq!(indices(&view), [0]);
    assert_eq!(view.standing().last, Some(at(1, 0)));
}

#[test]
fn a_read_gives_at_least_one_entry_and_stops_at_the_byte_limit() {
    let view = view_of(&[entry(1, 0), entry(1, 1), entry(1, 2)]);
    assert_eq!(view.find(0..3, 0).len(), 1);
    assert_eq!(view.find(0..3, 200).len(), 2);
    assert_eq!(view.find(1..9, usize::MAX).len(), 2);
    assert_eq!(view.find(5..9, usize::MAX).len(), 0);
}

#[test]
fn a_truncation_to_an_entry_of_another_term_is_refused() {
    let mut view = view_of(&[entry(1, 0), entry(1, 1), entry(1, 2)]);
    assert!(view.truncate(Some(at(2, 1))).is_err());
    assert!(!view.truncate(Some(at(1, 9))).unwrap());
    assert!(view.truncate(Some(at(1, 1))).unwrap());
    assert!(!view.truncate(Some(at(1, 1))).unwrap());
    assert_eq!(indices(&view), [0, 1]);
    view.truncate(None).unwrap();
    assert!(indices(&view).is_empty());
}

#[test]
fn a_purge_within_the_log_keeps_its_history_whole() {
    let mut view = view_of(&[entry(1, 0), entry(1, 1), entry(1, 2)]);
    let purge = view.purge(at(1, 1)).unwrap().unwrap();
    assert_eq!(purge.history_through, Some(1));
    assert_eq!(indices(&view), [2]);
    assert!(view.purge(at(1, 1)).unwrap().is_none());
}

#[test]
fn a_snapshot_past_the_log_ends_history_at_what_was_committed() {
    let mut view = view_of(&[entry(1, 0), entry(1, 1), entry(1, 2)]);
    view.commit(at(1, 1)).unwrap();
    let purge = view.purge(at(5, 50)).unwrap().unwrap();
    assert_eq!(purge.history_through, Some(1));
    assert!(indices(&view).is_empty());
    assert_eq!(view.standing().last, Some(at(5, 50)));
    view.append(&[entry(5, 51)]).unwrap();
    assert_eq!(indices(&view), [51]);
}

#[test]
fn a_purge_that_contradicts_the_log_is_refused() {
    let mut view = view_of(&[entry(1, 0), entry(1, 1)]);
    assert!(matches!(
        view.purge(at(2, 1)),
        Err(StorageError::PurgeConflict { index: 1, held: 1, purged: 2 })
    ));
}

#[test]
fn committed_only_rises() {
    let mut view = view_of(&[entry(1, 0), entry(1, 1)]);
    assert!(view.commit(at(1, 1)).unwrap());
    assert!(!view.commit(at(1, 0)).unwrap());
    assert_eq!(view.standing().committed, Some(at(1, 1)));
}

/// A file that nobody reads.
struct Nowhere;

impl DiskFile for Nowhere {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

fn place(offset: u32) -> Place {
    let identity =
        SegmentIdentity { cluster: ClusterId::from_bytes([1; 16]), node: 1, segment: 1, generation: 1 };
    let header = SegmentHeader {
        identity,
        key_id: 1,
        salt: [0; 32],
        previous_length: 0,
        birth: 0,
        standing: Standing::default(),
    };
    let (_, cipher) = header.seal(&KeyEncryptionKey::new(1, [1; 32]));
    let segment = SegmentFile { path: PathBuf::from("nowhere"), file: Arc::new(Nowhere), cipher };
    Place { segment: Arc::new(segment), offset, length: 100 }
}

#[test]
fn a_late_word_about_a_truncated_entry_does_not_reach_the_one_that_replaced_it() {
    let mut view = LogView::new(Standing::default(), 0);
    let before = view.append(&[entry(1, 0)]).unwrap();
    view.truncate(None).unwrap();
    let after = view.append(&[entry(2, 0)]).unwrap();
    view.placed(0, before, place(10));
    let found = view.find(0..1, usize::MAX);
    assert!(
        matches!(&found[0], Found::Cached(cached) if *cached == entry(2, 0)),
        "its body is the only copy"
    );
    view.placed(0, after, place(20));
    let found = view.find(0..1, usize::MAX);
    assert!(
        matches!(&found[0], Found::OnDisk(position, place) if *position == at(2, 0) && place.offset == 20)
    );
}

#[test]
fn bodies_beyond_the_cache_are_forgotten_oldest_first_and_only_once_they_are_placed() {
    let mut view = LogView::new(Standing::default(), 400);
    let ticket = view.append(&(0..5).map(|index| entry(1, index)).collect::<Vec<_>>()).unwrap();
    let cached = |view: &LogView| {
        view.find(0..9, usize::MAX).iter().map(|found| matches!(found, Found::Cached(_))).collect::<Vec<_>>()
    };
    view.placed(1, ticket, place(10));
    assert_eq!(cached(&view), [true; 5], "the oldest is not placed yet");
    view.placed(0, ticket, place(10));
    assert_eq!(cached(&view), [false, false, true, true, true]);
    (2..5).for_each(|index| view.placed(index, ticket, place(10)));
    assert_eq!(cached(&view), [false, false, false, true, true]);
}
