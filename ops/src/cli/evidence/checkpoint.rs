//! `muster log checkpoint`: a signed head of the log, by the cluster or from a folder.

use super::put;
use crate::cli::Global;
use crate::cli::progress::Progress;
use crate::exit::{REFUSED, coded};
use crate::offline::audit::Audit;
use crate::offline::{Fold, Moment, open_logs, read_keyring};
use anyhow::Result;
use clap::Args;
use nodes::api::shapes::{CheckpointShown, CheckpointsShown, SignCheckpoint};
use std::path::PathBuf;

/// Sign how many entries are committed and the Merkle root over them
///
/// Without --data the cluster signs, now, and commits the checkpoint as an event, so that every node compares its own root.
/// With --data the keyring's checkpoint key signs what the folders hold.
#[derive(Args)]
pub(crate) struct CheckpointArguments {
    /// A node's data directory; several nodes' of one cluster are read as one history
    #[arg(long, value_name = "DIR", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The cluster's keyring, for --data [default: the one that the context names]
    #[arg(long, value_name = "FILE", requires = "data")]
    keyring: Option<PathBuf>,
    /// Show the last checkpoint that the cluster signed, and sign none
    #[arg(long, conflicts_with = "data")]
    last: bool,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long, requires = "data")]
    progress: bool,
}

pub(crate) async fn checkpoint(global: &Global, arguments: CheckpointArguments) -> Result<()> {
    let (note, size) = match (arguments.data.is_empty(), arguments.last) {
        (false, _) => from_files(global, &arguments)?,
        (true, false) => {
            let signed: CheckpointShown = global.api()?.post("/v1/checkpoints", &SignCheckpoint {}).await?;
            (signed.note, signed.size)
        }
        (true, true) => {
            let kept: CheckpointsShown = global.api()?.get("/v1/checkpoints").await?;
            let last = kept.checkpoints.into_iter().next();
            let last = last.ok_or_else(|| {
                coded(REFUSED, "the log has no checkpoint yet; leave out --last to have one signed")
            })?;
            (last.note, last.size)
        }
    };
    put(global, arguments.out.as_deref(), &note, size)
}

fn from_files(global: &Global, arguments: &CheckpointArguments) -> Result<(String, u64)> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.keyring.clone())?)?;
    let logs = open_logs(&arguments.data, &keyring)?;
    let mut progress = Progress::new(global, arguments.progress, logs.bytes_total()?);
    let mut fold = Fold::new(logs);
    let mut audit = Audit::new(keyring.cluster, keyring.checkpoint_key.public(), Vec::new());
    while let Some(entry) = fold.read_up_to(Moment::END)? {
        audit.take(&entry)?;
        progress.read(fold.bytes_passed(), entry.entry.at.index);
    }
    progress.end();
    let head = audit.head();
    Ok((head.sign(&keyring.checkpoint_key), head.size))
}
