//! `muster log`: the log on a node's disk, read-only.

mod make;
mod snapshots;
mod stat;
mod tail;
mod verify;

use super::Global;
use super::evidence::{self, CheckArguments, CheckpointArguments, ProveArguments};
use super::progress::Progress;
use super::replay::moment;
use crate::offline::{Mended, Moment, entries_end, read_keyring, refusal};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::batch::{BatchId, access, split_stamp};
use events::ids::{LogIndex, Sequence, Slot};
use events::log::record::EntryBody;
use events::time::Timestamp;
use events::vocabulary::Event;
use nodes::storage::log_reader::{History, HistoryEntry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum LogCommand {
    Verify(verify::VerifyArguments),
    /// Print committed entries, one a line
    Cat(CatArguments),
    /// Print the last committed entries, and with --follow those that come
    ///
    /// It reads a folder, also that of a running node; it follows no node over the operators' API, which shows no entries:
    /// they hold what a terminal sealed for the nodes. What entries change (legitimacy, flags, operations, licenses, who
    /// leads) any node tells live at GET /v1/events, from any log index on that is not long past:
    ///
    ///   curl -N --cacert ca.pem -H @<(echo "Authorization: Bearer $(cat operator.token)") 'https://NODE:7500/v1/events?after=4711'
    #[command(verbatim_doc_comment)]
    Tail(tail::TailArguments),
    /// Count what a log holds, by kind of event, and what it costs
    Stat(LogArguments),
    Checkpoint(CheckpointArguments),
    Prove(ProveArguments),
    /// Check a proof or a checkpoint offline, with the public checkpoint key alone
    Check(CheckArguments),
    /// Write the log of a fleet that never was, by the writer that nodes use: for measuring
    Make(make::MakeArguments),
}

#[derive(Args)]
pub(crate) struct LogArguments {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    pub(super) data: PathBuf,
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long)]
    pub(super) progress: bool,
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
        LogCommand::Verify(arguments) => verify::run(global, arguments).await,
        LogCommand::Cat(arguments) => cat(global, arguments),
        LogCommand::Tail(arguments) => tail::run(global, arguments).await,
        LogCommand::Stat(arguments) => stat::run(global, arguments),
        LogCommand::Checkpoint(arguments) => evidence::checkpoint(global, arguments).await,
        LogCommand::Prove(arguments) => evidence::prove(global, arguments).await,
        LogCommand::Check(arguments) => evidence::check(global, arguments),
        LogCommand::Make(arguments) => make::run(global, arguments),
    }
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
    Batch {
        stamp: Timestamp,
        batch: BatchId,
        events: Vec<Event>,
        /// Events of kinds that this version does not know, by kind: a newer one wrote them.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        unknown: BTreeMap<u16, u64>,
        heartbeats: Vec<Row>,
    },
}

/// Entries that are not in the log, in their place among those that are.
#[derive(Serialize)]
struct Gap {
    entry: &'static str,
    from: LogIndex,
    through: LogIndex,
}

impl Gap {
    fn of(from: LogIndex, through: LogIndex) -> Self {
        Gap { entry: "gap", from, through }
    }

    fn human(&self) -> String {
        let Gap { from, through, .. } = self;
        format!(
            "          entries {from} to {through} are not here: a snapshot brought them, or the archive has them"
        )
    }
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
                let (mut events, mut unknown) = (Vec::new(), BTreeMap::new());
                for (event, encoded) in batch.decode_events().zip(batch.events.iter()) {
                    let kind = encoded.kind.to_native();
                    match Event::name_of(kind) {
                        Some(_) => events.push(event?),
                        None => *unknown.entry(kind).or_default() += 1,
                    }
                }
                Body::Batch {
                    stamp,
                    batch: batch.batch_id(),
                    events,
                    unknown,
                    heartbeats: rows
                        .map(|row| Row { slot: row.slot, epoch_low: row.epoch_low, sequence: row.sequence })
                        .collect(),
                }
            }
        };
        Ok(Line { index: entry.entry.at.index, term: entry.entry.at.term, body })
    }

    /// Events of kinds that this version does not know, by kind.
    fn into_unknown(self) -> BTreeMap<u16, u64> {
        match self.body {
            Body::Batch { unknown, .. } => unknown,
            Body::Blank | Body::Membership => BTreeMap::new(),
        }
    }

    fn human(&self) -> String {
        match &self.body {
            Body::Blank => format!("{:>8}  a leader of term {} began", self.index, self.term),
            Body::Membership => format!("{:>8}  membership", self.index),
            Body::Batch { stamp, batch, events, unknown, heartbeats } => {
                let names = events.iter().map(|event| event.name().to_owned());
                let others = unknown.iter().map(|(kind, count)| format!("{count} of unknown kind {kind}"));
                let beats = (!heartbeats.is_empty()).then(|| format!("{} heartbeats", heartbeats.len()));
                let what: Vec<_> = names.chain(others).chain(beats).collect();
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
    let mut reader = Mended::open(&arguments.log.data, &keyring)?;
    let mut progress = Progress::new(global, arguments.log.progress, reader.bytes_total());
    let (from, until) = (arguments.from.unwrap_or(Moment::Index(0)), arguments.until.unwrap_or(Moment::END));
    let (mut stamp, mut readable) = (Timestamp::ZERO, None);
    while let Some(history) = reader.next() {
        let history = history.map_err(|error| refusal(error, readable))?;
        readable = Some(entries_end(&history));
        progress.read(reader.bytes_passed(), entries_end(&history));
        let entry = match history {
            History::Entry(entry) => entry,
            History::Gap { from, through } => {
                let gap = Gap::of(from, through);
                progress.make_way();
                global.format().print(&gap, Gap::human)?;
                continue;
            }
        };
        if !until.includes(&entry, stamp) {
            break;
        }
        stamp = stamp.max(crate::offline::moment::stamp_of(&entry).unwrap_or(stamp));
        if !from.is_after(entry.entry.at.index, stamp) {
            let entry = Line::of(&entry)?;
            progress.make_way();
            global.format().print(&entry, Line::human)?;
        }
    }
    progress.end();
    Ok(())
}
