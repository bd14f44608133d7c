//! `muster log prove`: that an entry stands in the log, one device's part of an entry, or that the log only grew.

use super::put;
use crate::cli::Global;
use crate::cli::progress::Progress;
use crate::exit::{NOT_HELD, USAGE, coded};
use crate::files::read_text;
use crate::offline::audit::Audit;
use crate::offline::{Fold, Moment, items_about, open_logs, read_keyring};
use anyhow::Result;
use clap::Args;
use events::ids::{DeviceId, LogIndex};
use events::keyring::Keyring;
use events::log::checkpoint::Checkpoint;
use events::log::prover::{Ask, Prover, ProverError};
use nodes::api::shapes::ProofShown;
use std::path::PathBuf;

/// Prove that an entry stands in the log, one item of it, or that the log only grew since a checkpoint
///
/// The proof is made against the newest checkpoint of the cluster that covers it. With --data, and if there is none, the
/// keyring's checkpoint key signs the head of what the folders hold. `muster log check` checks it with the public key.
#[derive(Args)]
pub(crate) struct ProveArguments {
    /// A node's data directory, instead of asking a node; several nodes' of one cluster are read as one history
    #[arg(long, value_name = "DIR", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The cluster's keyring, for --data [default: the one that the context names]
    #[arg(long, value_name = "FILE", requires = "data")]
    keyring: Option<PathBuf>,
    /// The entry to prove
    #[arg(value_name = "INDEX", required_unless_present = "since", conflicts_with = "since")]
    index: Option<LogIndex>,
    /// Of a batch, this item only: events come first, then heartbeats, counted from 0
    #[arg(long, value_name = "NUMBER", requires = "index")]
    item: Option<u32>,
    /// Of a batch, the item that is about this device only (needs --data)
    #[arg(long, value_name = "DEVICE", requires = "index", requires = "data", conflicts_with = "item")]
    device: Option<DeviceId>,
    /// Prove that the log only grew since this checkpoint
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// Sign the head of what the folders hold, whatever the cluster signed
    #[arg(long, requires = "data")]
    sign: bool,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long, requires = "data")]
    progress: bool,
}

pub(crate) async fn prove(global: &Global, arguments: ProveArguments) -> Result<()> {
    let since = arguments.since.as_deref().map(read_text).transpose()?;
    let (proof, size) = if arguments.data.is_empty() {
        let asked: ProofShown = global.api()?.get(&query(&arguments, since.as_deref())?).await?;
        (asked.proof, asked.size)
    } else {
        from_files(global, &arguments, since.as_deref())?
    };
    put(global, arguments.out.as_deref(), &proof, size)
}

/// What a node is asked. It knows its key; here only the size of the older checkpoint is read.
fn query(arguments: &ProveArguments, since: Option<&str>) -> Result<String> {
    Ok(match (arguments.index, arguments.item, since) {
        (Some(index), Some(item), _) => format!("/v1/proofs?index={index}&item={item}"),
        (Some(index), None, _) => format!("/v1/proofs?index={index}"),
        (None, _, Some(since)) => {
            let size: Option<u64> = since.lines().nth(1).and_then(|size| size.parse().ok());
            format!(
                "/v1/proofs?since={}",
                size.ok_or_else(|| coded(USAGE, "--since: this is no checkpoint"))?
            )
        }
        (None, _, None) => return Err(coded(USAGE, "give an index, or --since")),
    })
}

fn from_files(global: &Global, arguments: &ProveArguments, since: Option<&str>) -> Result<(String, u64)> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.keyring.clone())?)?;
    let key = keyring.checkpoint_key.public();
    let bytes = open_logs(&arguments.data, &keyring)?.bytes_total()?;
    // One to find the item, one to find the head, one to prove.
    let passes = if arguments.device.is_some() { 3 } else { 2 };
    let mut progress = Progress::new(global, arguments.progress, passes * bytes);
    let ask = match (arguments.index, arguments.item, arguments.device, since) {
        (Some(index), Some(item), ..) => Ask::Item(index, item),
        (Some(index), None, Some(device), _) => {
            let item = the_item(arguments, &keyring, index, device, &mut progress)?;
            progress.pass_done(bytes);
            Ask::Item(index, item)
        }
        (Some(index), None, None, _) => Ask::Entry(index),
        (None, _, _, Some(since)) => {
            let old = Checkpoint::open(since, &key);
            let old = old.map_err(|error| coded(NOT_HELD, format!("--since: {error}")))?;
            Ask::Growth(old.size)
        }
        (None, _, _, None) => return Err(coded(USAGE, "give an index, or --since")),
    };
    let (head, note) = head_for(arguments, &keyring, ask, &mut progress)?;
    progress.pass_done(bytes);
    let not_proven = |error: ProverError| coded(NOT_HELD, error.to_string());
    let mut prover = Prover::new(ask, head).map_err(not_proven)?;
    let mut fold = Fold::new(open_logs(&arguments.data, &keyring)?);
    while let Some(entry) = fold.read_up_to(Moment::END)? {
        let at = entry.entry.at;
        progress.read(fold.bytes_passed(), at.index);
        if prover.push(at.term, at.index, &entry.entry.body).map_err(not_proven)? {
            break;
        }
    }
    progress.end();
    Ok((prover.finish(note).map_err(not_proven)?.write(), head.size))
}

/// The newest checkpoint of the cluster that covers what is asked; else the present head, signed here.
fn head_for(
    arguments: &ProveArguments,
    keyring: &Keyring,
    ask: Ask,
    progress: &mut Progress,
) -> Result<(Checkpoint, String)> {
    let mut fold = Fold::new(open_logs(&arguments.data, keyring)?);
    let mut audit = Audit::new(keyring.cluster, keyring.checkpoint_key.public(), Vec::new());
    while let Some(entry) = fold.read_up_to(Moment::END)? {
        audit.take(&entry)?;
        progress.read(fold.bytes_passed(), entry.entry.at.index);
    }
    let covers = |size: u64| match ask {
        Ask::Entry(index) | Ask::Item(index, _) => index < size,
        Ask::Growth(old) => old <= size,
    };
    let carried = audit.carried().iter().rev().find(|carried| covers(carried.checkpoint.size));
    Ok(match carried.filter(|_| !arguments.sign) {
        Some(carried) => (carried.checkpoint, carried.checkpoint.note(&carried.signature)),
        None => {
            let head = audit.head();
            (head, head.sign(&keyring.checkpoint_key))
        }
    })
}

/// The number of the only item that is about the device.
fn the_item(
    arguments: &ProveArguments,
    keyring: &Keyring,
    index: LogIndex,
    device: DeviceId,
    progress: &mut Progress,
) -> Result<u32> {
    let mut fold = Fold::new(open_logs(&arguments.data, keyring)?);
    while let Some(entry) = fold.read_up_to(Moment::Index(index))? {
        if entry.entry.at.index < index {
            fold.apply(&entry)?;
            progress.show(&fold);
            continue;
        }
        let items = items_about(&entry, device, fold.state())?;
        return match items[..] {
            [item] => Ok(item),
            [] => Err(coded(NOT_HELD, format!("entry {index} says nothing about {device}"))),
            _ => {
                let numbers: Vec<_> = items.iter().map(ToString::to_string).collect();
                let numbers = numbers.join(", ");
                let why =
                    format!("items {numbers} of entry {index} are about {device}; give one with --item");
                Err(coded(USAGE, why))
            }
        };
    }
    Err(coded(NOT_HELD, format!("the log has no entry {index}, as far as it is known committed")))
}
