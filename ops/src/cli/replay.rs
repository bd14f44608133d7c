//! `muster replay`: folds a node's log again and says what it means.

use super::Global;
use crate::offline::{Fold, open_log, read_keyring};
use anyhow::{Context as _, Result};
use clap::Args;
use events::ids::LogIndex;
use events::time::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use projector::view::Counts;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Fold a node's log from its first entry, read-only, beside a running node or without one, and print the state's
/// digest. The digest at an index equals the one that the live nodes reported there.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ReplayArguments {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Stop after this log index
    #[arg(long, value_name = "INDEX", default_value_t = LogIndex::MAX, hide_default_value = true)]
    until: LogIndex,
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

#[derive(Serialize)]
struct Replayed {
    cluster: Option<events::ids::ClusterId>,
    node: Option<u64>,
    applied: LogIndex,
    stamp: Timestamp,
    digest: String,
    entries: u64,
    heartbeats: u64,
    bytes: u64,
    uncommitted: u64,
    seconds: f64,
    counts: Counts,
}

pub(crate) fn run(global: &Global, arguments: ReplayArguments) -> Result<()> {
    let keyring = read_keyring(&super::keyring_path(global, arguments.keyring)?)?;
    let reader = open_log(&arguments.data, &keyring)?;
    let bar = progress(global, reader.bytes_total()?);
    let started = Instant::now();
    let mut fold = Fold::new(reader);
    while let Some(folded) = fold.next_within(arguments.until)? {
        bar.inc(folded.batch.map_or(0, |(batch, _)| batch.len() as u64));
    }
    bar.finish_and_clear();
    let report = fold.report();
    let projector = fold.projector();
    let counts = projector.counts();
    let said = Replayed {
        cluster: report.cluster,
        node: report.node,
        applied: projector.applied(),
        stamp: projector.stamp(),
        digest: projector.digest().to_string(),
        entries: report.entries,
        heartbeats: counts.heartbeats,
        bytes: report.bytes,
        uncommitted: report.uncommitted,
        seconds: started.elapsed().as_secs_f64(),
        counts,
    };
    global.format().print(&said, human)
}

fn progress(global: &Global, bytes: u64) -> ProgressBar {
    if global.json {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}").context("a fixed template");
    let bar = ProgressBar::new(bytes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn human(said: &Replayed) -> String {
    let legitimacy: Vec<_> =
        said.counts.legitimacy.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let flags: Vec<_> = said.counts.flags.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(
        "applied     {} (log time {})\n\
         digest      {}\n\
         devices     {} ({})\n\
         heartbeats  {}\n\
         open flags  {}\n\
         read        {} entries, {} bytes in {:.2} s; {} more are not known committed",
        said.applied,
        said.stamp,
        said.digest,
        said.counts.burned,
        legitimacy.join(", "),
        said.heartbeats,
        if flags.is_empty() { "none".to_owned() } else { flags.join(", ") },
        said.entries,
        said.bytes,
        said.seconds,
        said.uncommitted,
    )
}
