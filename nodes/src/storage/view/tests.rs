use super::*;

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
