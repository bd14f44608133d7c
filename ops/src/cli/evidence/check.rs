//! `muster log check`: what a proof or a checkpoint shows, offline.

use super::public_key;
use crate::cli::Global;
use crate::exit::{NOT_HELD, coded};
use crate::files::read_text;
use anyhow::Result;
use clap::Args;
use events::ids::{ClusterId, Generation, LogIndex, NodeId, Slot};
use events::log::checkpoint::Checkpoint;
use events::log::leaf::{BatchLeaf, Item};
use events::log::proof_file::{ProofFile, Shown};
use events::time::Timestamp;
use events::vocabulary::Event;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// A proof, or a checkpoint
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The checkpoint key: hexadecimal, or the cluster's public file, which names it
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The older checkpoint, for a proof of growth
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
}

/// What was shown.
#[derive(Serialize)]
struct Checked {
    cluster: ClusterId,
    /// None in a checkpoint of an older version.
    generation: Option<Generation>,
    /// The checkpoint covers so many entries.
    size: u64,
    #[serde(flatten)]
    shown: What,
}

#[derive(Serialize)]
#[serde(tag = "shows", rename_all = "snake_case")]
enum What {
    Checkpoint,
    Growth { since: u64 },
    Entry { index: LogIndex, batch: Option<BatchShown> },
    Event { index: LogIndex, item: u32, batch: BatchShown, event: Box<Event> },
    Heartbeat { index: LogIndex, item: u32, batch: BatchShown, slot: Slot, sequence: u32, condition: u8 },
}

#[derive(Serialize)]
struct BatchShown {
    term: u64,
    stamp: Timestamp,
    /// The node that made it.
    node: NodeId,
    events: u32,
    heartbeats: u32,
}

pub(crate) fn check(global: &Global, arguments: CheckArguments) -> Result<()> {
    let key = public_key(&arguments.key)?;
    let refused = |why: String| coded(NOT_HELD, format!("THE PROOF DOES NOT HOLD: {why}"));
    let opened = |note: &str| Checkpoint::open(note, &key).map_err(|error| refused(error.to_string()));
    let since = arguments.since.as_deref().map(read_text).transpose()?;
    let since = since.as_deref().map(opened).transpose()?;
    let text = read_text(&arguments.file)?;
    let checked = match ProofFile::parse(&text) {
        Some(proof) => {
            let shown = proof.check(&key, since.as_ref());
            Checked::of(shown.map_err(|error| refused(error.to_string()))?)
        }
        None => Checked::at(opened(&text)?, What::Checkpoint),
    };
    global.format().print(&checked, human)
}

impl Checked {
    fn at(head: Checkpoint, shown: What) -> Checked {
        let Checkpoint { cluster, generation, size, .. } = head;
        Checked { cluster, generation, size, shown }
    }

    fn of(shown: Shown) -> Checked {
        match shown {
            Shown::Entry { index, batch, head } => {
                Checked::at(head, What::Entry { index, batch: batch.map(BatchShown::of) })
            }
            Shown::Growth { since, head } => Checked::at(head, What::Growth { since }),
            Shown::Item { index, number, item, batch, head } => {
                let batch = BatchShown::of(batch);
                Checked::at(
                    head,
                    match item {
                        Item::Event(event) => What::Event { index, item: number, batch, event },
                        Item::Heartbeat(row) => What::Heartbeat {
                            index,
                            item: number,
                            batch,
                            slot: row.slot,
                            sequence: row.sequence,
                            condition: row.condition,
                        },
                    },
                )
            }
        }
    }
}

impl BatchShown {
    fn of(leaf: BatchLeaf) -> BatchShown {
        let BatchLeaf { term, stamp, id, events, heartbeats, .. } = leaf;
        BatchShown { term, stamp, node: id.node, events, heartbeats }
    }
}

fn human(said: &Checked) -> String {
    let Checked { cluster, size, .. } = said;
    match &said.shown {
        What::Checkpoint => format!("the checkpoint is signed: {size} entries of {cluster}"),
        What::Growth { since } => format!("the log of {cluster} only grew: from {since} entries to {size}"),
        What::Entry { index, batch } => {
            let what = batch.as_ref().map_or_else(String::new, human_batch);
            format!("entry {index} of {cluster} stands in the log of {size} entries{what}")
        }
        What::Event { index, item, batch, event } => {
            let content = serde_json::to_string_pretty(event).unwrap_or_default();
            format!(
                "item {item} of entry {index} of {cluster} stands in the log of {size} entries{}\n{content}",
                human_batch(batch)
            )
        }
        What::Heartbeat { index, item, batch, slot, sequence, .. } => format!(
            "item {item} of entry {index} of {cluster} stands in the log of {size} entries{}\nheartbeat {sequence} of \
             the device in slot {slot}",
            human_batch(batch)
        ),
    }
}

fn human_batch(batch: &BatchShown) -> String {
    format!(
        "\nstamped {} in term {}; made by node {} of {} events and {} heartbeats",
        batch.stamp, batch.term, batch.node, batch.events, batch.heartbeats
    )
}
