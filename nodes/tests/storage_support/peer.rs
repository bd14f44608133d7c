//! A peer that has all entries, for a log that needs repair.

use super::life::{Planted, open_planted, small};
use super::mem_disk::MemDisk;
use super::{entry, reader, vote};
use events::log::record::VoteRecord;
use nodes::entropy::OsEntropy;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::History;
use nodes::storage::repair::{Need, Rebuild, note_damage, noted};
use nodes::storage::view::LogEntry;

/// All committed entries of a log.
pub fn committed(disk: &MemDisk) -> Vec<LogEntry> {
    reader(&disk.as_disk())
        .map(|item| match item.unwrap() {
            History::Entry(held) => held.entry,
            History::Gap { .. } => panic!("a gap in a log that never got a snapshot"),
        })
        .collect()
}

/// As [`committed`], of a log that got snapshots: what it lacks is what others have there, in the terms that this tells.
pub fn committed_and_gaps(disk: &MemDisk, term_of: impl Fn(u64) -> u64) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    for item in reader(&disk.as_disk()) {
        match item.unwrap() {
            History::Entry(held) => entries.push(held.entry),
            History::Gap { from, through } => {
                entries.extend((from..=through).map(|index| entry(term_of(index), index)));
            }
        }
    }
    entries
}

/// Repairs a log from `peer`, as far as the disk lasts; `voted` is the highest term of any member.
pub fn try_repair(disk: &MemDisk, peer: &[LogEntry], voted: Option<u64>) -> Result<(), StorageError> {
    let as_disk = disk.as_disk();
    let need = match open_planted(disk, Planted::Nothing) {
        Ok(_) => return Ok(()),
        Err(StorageError::Corrupt(damage)) => note_damage(&*as_disk, &small(), &damage)?,
        Err(StorageError::NeedsRepair { .. }) => match noted(&*as_disk, &small())? {
            Some(need) => need,
            None => return Ok(()),
        },
        Err(other) => return Err(other),
    };
    let vote = vote_after(&need, voted);
    let need = need.reaching((peer.len() as u64).checked_sub(1));
    let mut rebuild = Rebuild::begin(as_disk, std::sync::Arc::new(OsEntropy), small(), need, vote)?;
    loop {
        let next = usize::try_from(rebuild.next_index()).unwrap();
        match peer.get(next..(next + 7).min(peer.len())) {
            Some(range) if !range.is_empty() => rebuild.take(range.to_vec())?,
            _ => return rebuild.finish(),
        }
    }
}

pub fn repair(disk: &MemDisk, peer: &[LogEntry], voted: Option<u64>) {
    try_repair(disk, peer, voted).unwrap();
}

fn vote_after(need: &Need, voted: Option<u64>) -> Option<VoteRecord> {
    let left = need.vote.map(|(term, node, committed)| VoteRecord { term, node, committed });
    if need.vote_is_known { left } else { Some(vote(voted.unwrap_or(0) + 1, 1)) }
}
