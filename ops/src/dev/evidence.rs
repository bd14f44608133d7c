//! What the nodes' own states and logs say once the terminals are silent: the only witnesses that count.

use super::cluster::DevCluster;
use super::tap::HeartbeatName;
use crate::offline::{Fold, open_log, read_keyring};
use anyhow::{Context as _, Result};
use events::batch::access;
use events::ids::{Epoch, LogIndex, NodeId};
use events::vocabulary::Event;
use nodes::api::shapes::Status;
use projector::{HeartbeatOutcome, HeartbeatStatus, Outcome, Projector, StateDigest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One node's log, read from its files and folded again.
pub struct LogEvidence {
    pub node: NodeId,
    /// The first entry of each term.
    pub terms: BTreeMap<u64, LogIndex>,
    /// Every heartbeat that the log holds and the fold accepted.
    pub heartbeats: BTreeSet<HeartbeatName>,
    /// The entries in which operations were ordered.
    pub orders: BTreeSet<LogIndex>,
    /// The digest at the fixed index that all nodes reported, if there was one.
    pub digest_at_fixed: Option<StateDigest>,
    /// The digest at the index up to which every log was read.
    pub digest_at_end: StateDigest,
}

/// What all nodes said and what all logs hold.
pub struct Evidence {
    /// Of every node, all at or past `end`.
    pub statuses: Vec<Status>,
    /// The latest fixed index of which every node reported the digest.
    pub fixed: Option<(LogIndex, Vec<StateDigest>)>,
    /// All logs were read up to here.
    pub end: LogIndex,
    pub logs: Vec<LogEvidence>,
}

/// Lets the nodes settle, then reads every node's status and log.
pub async fn gather(cluster: &DevCluster) -> Result<Evidence> {
    let statuses = cluster.settle().await?;
    let data = cluster.ids().map(|node| Ok((node, cluster.data_directory(node)?)));
    read(statuses, data.collect::<Result<_>>()?, &cluster.files.keyring).await
}

/// Reads the nodes' logs, whose data directories these are, up to where all of `statuses` have applied.
pub async fn read(statuses: Vec<Status>, data: Vec<(NodeId, PathBuf)>, keyring: &Path) -> Result<Evidence> {
    let end = statuses.iter().map(|status| status.applied).min().context("no node answered")?;
    let fixed = fixed_in_common(&statuses, end);
    let mut reading = Vec::new();
    for (node, data) in data {
        let keyring = keyring.to_owned();
        let fixed_index = fixed.as_ref().map(|(index, _)| *index);
        let read = move || read_log(node, &data, &keyring, fixed_index, end);
        reading.push(tokio::task::spawn_blocking(move || once_it_is_written(read)));
    }
    let mut logs = Vec::new();
    for read in reading {
        logs.push(read.await.context("reading a log")??);
    }
    Ok(Evidence { statuses, fixed, end, logs })
}

impl Evidence {
    /// Whether nodes and replays agree: at the fixed index all nodes with all replays, at the end all replays.
    #[must_use]
    pub fn digests_equal(&self) -> bool {
        let all_same = |digests: &[StateDigest]| digests.windows(2).all(|pair| pair[0] == pair[1]);
        let Some((_, reported)) = &self.fixed else { return false };
        let replayed = self.logs.iter().filter_map(|log| log.digest_at_fixed);
        let at_fixed: Vec<_> = reported.iter().copied().chain(replayed).collect();
        let at_end: Vec<_> = self.logs.iter().map(|log| log.digest_at_end).collect();
        at_fixed.len() == 2 * self.logs.len() && all_same(&at_fixed) && all_same(&at_end)
    }

    /// The first entry of any term after `term`.
    #[must_use]
    pub fn first_after_term(&self, term: u64) -> Option<LogIndex> {
        let later = |log: &LogEvidence| log.terms.range(term + 1..).map(|(_, index)| *index).min();
        self.logs.iter().filter_map(later).min()
    }

    /// Of these heartbeats, those that every log holds.
    #[must_use]
    pub fn found_in_every_log<'a>(&'a self, names: &'a BTreeSet<HeartbeatName>) -> usize {
        names.iter().filter(|name| self.logs.iter().all(|log| log.heartbeats.contains(name))).count()
    }
}

/// A node that is idle writes once a second.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The latest fixed index up to `end` at which every status knows a digest, and those digests.
fn fixed_in_common(statuses: &[Status], end: LogIndex) -> Option<(LogIndex, Vec<StateDigest>)> {
    let at = |status: &Status, index| status.digests.iter().find(|at| at.index == index).map(|at| at.digest);
    let candidates = statuses.first()?.digests.iter().rev().map(|at| at.index).filter(|&index| index <= end);
    candidates.into_iter().find_map(|index| {
        let digests: Option<Vec<_>> = statuses.iter().map(|status| at(status, index)).collect();
        digests.map(|digests| (index, digests))
    })
}

/// A node applies what is committed before its file says so, and says it with whatever it writes next: what is not there
/// yet is looked for again, for a while.
fn once_it_is_written(read: impl Fn() -> Result<LogEvidence>) -> Result<LogEvidence> {
    let give_up = Instant::now() + WRITTEN_WITHIN;
    loop {
        match read() {
            Err(error) if error.is::<NotThereYet>() && Instant::now() < give_up => {
                std::thread::sleep(LOOK_AGAIN_AFTER)
            }
            answer => return answer,
        }
    }
}

/// The log ends before what its node has applied.
#[derive(Debug, thiserror::Error)]
#[error("the log of node {node} ends at {applied} although the node has applied {end}")]
struct NotThereYet {
    node: NodeId,
    applied: LogIndex,
    end: LogIndex,
}

fn read_log(
    node: NodeId,
    data: &Path,
    keyring: &Path,
    fixed: Option<LogIndex>,
    end: LogIndex,
) -> Result<LogEvidence> {
    let keyring = read_keyring(keyring)?;
    let mut fold = Fold::new(open_log(data, &keyring)?);
    let (mut heartbeats, mut orders) = (BTreeSet::new(), BTreeSet::new());
    let mut digest_at_fixed = None;
    let mut terms = BTreeMap::new();
    while let Some(folded) = fold.next_within(end)? {
        terms.entry(folded.term).or_insert(folded.index);
        if let Some((batch, outcomes)) = &folded.batch {
            let batch = access(batch).with_context(|| format!("entry {}", folded.index))?;
            for (event, outcome) in batch.decode_events().zip(&outcomes.events) {
                note_event(&event?, outcome, &mut heartbeats);
                if matches!(outcome, Outcome::Ordered { .. }) {
                    orders.insert(folded.index);
                }
            }
            let rows = batch.heartbeats.rows().zip(outcomes.heartbeats.iter());
            for (row, _) in rows.filter(|(_, outcome)| is_in_log(outcome)) {
                heartbeats.extend(name_of_row(fold.projector(), row.slot, row.epoch_low, row.sequence));
            }
        }
        if fixed == Some(folded.index) {
            digest_at_fixed = Some(fold.projector().digest());
        }
    }
    let projector = fold.projector();
    let applied = projector.applied();
    if applied != end {
        return Err(NotThereYet { node, applied, end }.into());
    }
    Ok(LogEvidence { node, terms, heartbeats, orders, digest_at_fixed, digest_at_end: projector.digest() })
}

fn note_event(event: &Event, outcome: &Outcome, heartbeats: &mut BTreeSet<HeartbeatName>) {
    let seen = match event {
        Event::HeartbeatObserved(seen) => seen,
        Event::SpoolDrained(event) => &event.heartbeat,
        _ => return,
    };
    if let Outcome::Observed(outcome) = outcome
        && is_in_log(outcome)
    {
        heartbeats.insert((seen.device, seen.epoch, seen.sequence));
    }
}

/// Whether the fold took this heartbeat for what an acknowledgement says: that it is in the log.
fn is_in_log(outcome: &HeartbeatOutcome) -> bool {
    matches!(outcome.status, HeartbeatStatus::Committed | HeartbeatStatus::Retried)
}

/// A routine row names its device by slot and the epoch by its low bits; it was routine under the current epoch.
fn name_of_row(projector: &Projector, slot: u32, epoch_low: u16, sequence: u32) -> Option<HeartbeatName> {
    let device = projector.device(slot)?;
    let high: Epoch = device.epoch() & !Epoch::from(u16::MAX);
    Some((device.id(), high | Epoch::from(epoch_low), sequence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::ids::DeviceId;

    fn log(node: NodeId, heartbeats: &[HeartbeatName], digest: u8) -> LogEvidence {
        LogEvidence {
            node,
            terms: BTreeMap::from([(1, 0), (3, 70)]),
            heartbeats: heartbeats.iter().copied().collect(),
            orders: BTreeSet::new(),
            digest_at_fixed: Some(StateDigest([digest; 32])),
            digest_at_end: StateDigest([digest; 32]),
        }
    }

    fn evidence(logs: Vec<LogEvidence>, reported: u8) -> Evidence {
        let fixed = Some((64, vec![StateDigest([reported; 32]); logs.len()]));
        Evidence { statuses: Vec::new(), fixed, end: 100, logs }
    }

    const ONE: HeartbeatName = (DeviceId::from_bytes([1; 16]), 1, 1);
    const TWO: HeartbeatName = (DeviceId::from_bytes([1; 16]), 1, 2);

    #[test]
    fn a_heartbeat_that_one_log_lacks_is_not_found() {
        let evidence = evidence(vec![log(1, &[ONE, TWO], 7), log(2, &[ONE], 7)], 7);
        assert_eq!(evidence.found_in_every_log(&BTreeSet::from([ONE, TWO])), 1);
        assert_eq!(evidence.found_in_every_log(&BTreeSet::from([ONE])), 1);
    }

    #[test]
    fn one_node_or_one_replay_that_differs_makes_digests_unequal() {
        assert!(evidence(vec![log(1, &[], 7), log(2, &[], 7)], 7).digests_equal());
        assert!(!evidence(vec![log(1, &[], 7), log(2, &[], 8)], 7).digests_equal());
        assert!(!evidence(vec![log(1, &[], 7), log(2, &[], 7)], 8).digests_equal());
        assert!(!Evidence { fixed: None, ..evidence(vec![log(1, &[], 7)], 7) }.digests_equal());
    }

    #[test]
    fn the_takeover_is_the_first_entry_of_any_later_term() {
        let evidence = evidence(vec![log(1, &[], 7)], 7);
        assert_eq!((evidence.first_after_term(1), evidence.first_after_term(3)), (Some(70), None));
    }
}
