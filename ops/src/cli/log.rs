//! `muster log`: the log on a node's disk, read-only.

mod stat;
mod tail;

use super::Global;
use super::evidence::{self, CheckArguments, CheckpointArguments, ProveArguments};
use super::replay::moment;
use crate::exit::{NOT_HELD, answered};
use crate::offline::{Moment, entries_end, open_log, read_keyring, refusal};
use crate::output::{Format, line};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::batch::{BatchId, access, split_stamp};
use events::ids::{LogIndex, Sequence, Slot};
use events::log::leaf::entry_leaf_hash;
use events::log::merkle::Frontier;
use events::log::record::EntryBody;
use events::time::Timestamp;
use events::vocabulary::Event;
use nodes::storage::log_reader::{History, HistoryEntry};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Check every frame of a node's log: checksums, seals, order, batches; a fault is named by file and offset
    Verify(LogArguments),
    /// Print committed entries, one a line
    Cat(CatArguments),
    /// Print the last committed entries, and with --follow those that come
    Tail(tail::TailArguments),
    /// Count what a log holds, by kind of event, and what it costs
    Stat(LogArguments),
    /// Sign how many entries are committed and the Merkle root over them
    Checkpoint(CheckpointArguments),
    /// Prove that an entry stands in the log, or that the log only grew since a checkpoint
    Prove(ProveArguments),
    /// Check a proof or a checkpoint offline, with the public checkpoint key alone
    Check(CheckArguments),
}

#[derive(Args)]
pub(crate) struct LogArguments {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CatArguments {
    #[command(flatten)]
    log: LogArguments,
    /// Begin at this moment: a log index (4711), a time (yesterday 14:34) or so long ago (-2h)
    #[arg(long, visible_alias = "since", value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    from: Option<Moment>,
    /// End with this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    until: Option<Moment>,
}

pub(crate) async fn run(global: &Global, command: LogCommand) -> Result<()> {
    match command {
        LogCommand::Verify(arguments) => verify(global, arguments),
        LogCommand::Cat(arguments) => cat(global, arguments),
        LogCommand::Tail(arguments) => tail::run(global, arguments).await,
        LogCommand::Stat(arguments) => stat::run(global, arguments),
        LogCommand::Checkpoint(arguments) => evidence::checkpoint(global, arguments),
        LogCommand::Prove(arguments) => evidence::prove(global, arguments),
        LogCommand::Check(arguments) => evidence::check(global, arguments),
    }
}

#[derive(Serialize)]
struct Verified {
    ok: bool,
    cluster: Option<events::ids::ClusterId>,
    node: Option<u64>,
    segments: u64,
    frames: u64,
    bytes: u64,
    entries: u64,
    first: Option<LogIndex>,
    last: Option<LogIndex>,
    uncommitted: u64,
    gaps: Vec<(LogIndex, LogIndex)>,
    torn_tail_bytes: u64,
    /// Entries in the Merkle tree and its root in base64, as a checkpoint names them; none if the log has a gap.
    tree: Option<(u64, String)>,
    fault: Option<String>,
}

fn verify(global: &Global, arguments: LogArguments) -> Result<()> {
    let keyring = read_keyring(&super::keyring_path(global, arguments.keyring)?)?;
    let mut reader = open_log(&arguments.data, &keyring)?;
    let (mut first, mut last, mut gaps, mut fault) = (None, None, Vec::new(), None);
    let mut frontier = Frontier::default();
    for history in reader.by_ref() {
        if let Ok(History::Entry(held)) = &history
            && let Ok(leaf) = entry_leaf_hash(held.entry.at.term, &held.entry.body)
        {
            frontier.push(leaf);
        }
        match history.map_err(|error| error.to_string()).and_then(|history| check(history, last)) {
            Ok(Checked::Entry(index)) => {
                first = first.or(Some(index));
                last = Some(index);
            }
            Ok(Checked::Gap(from, through)) => {
                gaps.push((from, through));
                last = Some(through);
            }
            Err(why) => {
                fault = Some(why);
                break;
            }
        }
    }
    let report = reader.report();
    let said = Verified {
        ok: fault.is_none(),
        cluster: report.cluster,
        node: report.node,
        segments: report.segments,
        frames: report.frames,
        bytes: report.bytes,
        entries: report.entries,
        first,
        last,
        uncommitted: report.uncommitted,
        tree: (gaps.is_empty() && fault.is_none()).then(|| evidence::root_of(&frontier)),
        gaps,
        torn_tail_bytes: report.torn_tail.map_or(0, |tail| tail.bytes),
        fault: fault.clone(),
    };
    global.format().print(&said, human_verified)?;
    fault.map_or(Ok(()), |why| Err(answered(NOT_HELD, why)))
}

enum Checked {
    Entry(LogIndex),
    Gap(LogIndex, LogIndex),
}

/// Order of entries, and that each batch and event in them can be read.
fn check(history: History, last: Option<LogIndex>) -> Result<Checked, String> {
    let entry = match history {
        History::Gap { from, through } => return Ok(Checked::Gap(from, through)),
        History::Entry(entry) => entry,
    };
    let index = entry.entry.at.index;
    let place = format!("{} at byte {}", entry.file.display(), entry.offset);
    if let Some(last) = last
        && index != last + 1
    {
        return Err(format!("{place}: entry {index} follows entry {last}"));
    }
    readable(&entry).map_err(|why| format!("{place}: entry {index}: {why}"))?;
    Ok(Checked::Entry(index))
}

fn readable(entry: &HistoryEntry) -> Result<Line> {
    Line::of(entry)
}

fn human_verified(said: &Verified) -> String {
    let range = match (said.first, said.last) {
        (Some(first), Some(last)) => format!("log index {first} to {last}"),
        _ => "empty".to_owned(),
    };
    let gaps: Vec<_> = said.gaps.iter().map(|(from, through)| format!("{from} to {through}")).collect();
    format!(
        "{}\n{}{} segments, {} frames, {} bytes: {} committed entries, {range}; {} more not known committed\n\
         gaps: {}\ntorn tail: {} bytes (a running node may be writing them)",
        match &said.fault {
            None => "The log is sound.".to_owned(),
            Some(fault) => format!("THE LOG IS DAMAGED: {fault}"),
        },
        said.tree.as_ref().map_or_else(String::new, |(_, root)| format!("Merkle root {root}\n")),
        said.segments,
        said.frames,
        said.bytes,
        said.entries,
        said.uncommitted,
        if gaps.is_empty() { "none".to_owned() } else { gaps.join(", ") },
        said.torn_tail_bytes,
    )
}

/// One committed entry, as `cat` prints it.
#[derive(Serialize)]
struct Line {
    index: LogIndex,
    term: u64,
    #[serde(flatten)]
    body: Body,
}

#[derive(Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Body {
    Blank,
    Membership,
    Batch { stamp: Timestamp, batch: BatchId, events: Vec<Event>, heartbeats: Vec<Row> },
}

/// A routine heartbeat as the log keeps it.
#[derive(Serialize)]
struct Row {
    slot: Slot,
    epoch_low: u16,
    sequence: Sequence,
}

impl Line {
    fn of(entry: &HistoryEntry) -> Result<Self> {
        let body = match &entry.entry.body {
            EntryBody::Blank => Body::Blank,
            EntryBody::Membership(_) => Body::Membership,
            EntryBody::Batch(payload) => {
                let (stamp, bytes) = split_stamp(payload)?;
                let batch = access(bytes)?;
                let rows = batch.heartbeats.rows();
                Body::Batch {
                    stamp,
                    batch: batch.batch_id(),
                    events: batch.decode_events().collect::<Result<_, _>>()?,
                    heartbeats: rows
                        .map(|row| Row { slot: row.slot, epoch_low: row.epoch_low, sequence: row.sequence })
                        .collect(),
                }
            }
        };
        Ok(Line { index: entry.entry.at.index, term: entry.entry.at.term, body })
    }

    fn human(&self) -> String {
        match &self.body {
            Body::Blank => format!("{:>8}  a leader of term {} began", self.index, self.term),
            Body::Membership => format!("{:>8}  membership", self.index),
            Body::Batch { stamp, batch, events, heartbeats } => {
                let names = events.iter().map(|event| event.name().to_owned());
                let beats = (!heartbeats.is_empty()).then(|| format!("{} heartbeats", heartbeats.len()));
                let what: Vec<_> = names.chain(beats).collect();
                format!(
                    "{:>8}  {stamp}  node {} batch {}: {}",
                    self.index,
                    batch.node,
                    batch.counter,
                    what.join(", ")
                )
            }
        }
    }
}

fn cat(global: &Global, arguments: CatArguments) -> Result<()> {
    let keyring = read_keyring(&super::keyring_path(global, arguments.log.keyring)?)?;
    let reader = open_log(&arguments.log.data, &keyring)?;
    let (from, until) = (arguments.from.unwrap_or(Moment::Index(0)), arguments.until.unwrap_or(Moment::END));
    let (mut stamp, mut readable) = (Timestamp::ZERO, None);
    for history in reader {
        let history = history.map_err(|error| refusal(error, readable))?;
        readable = Some(entries_end(&history));
        let entry = match history {
            History::Entry(entry) => entry,
            History::Gap { from, through } => {
                if global.format() == Format::Human {
                    line(&format!("          entries {from} to {through} came in a snapshot"))?;
                }
                continue;
            }
        };
        if !until.includes(&entry, stamp) {
            break;
        }
        stamp = stamp.max(crate::offline::moment::stamp_of(&entry).unwrap_or(stamp));
        if !from.is_after(entry.entry.at.index, stamp) {
            let entry = Line::of(&entry)?;
            global.format().print(&entry, Line::human)?;
        }
    }
    Ok(())
}
