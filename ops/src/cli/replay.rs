//! `muster replay`: folds nodes' logs again and says what they mean, at any moment.

mod at;
mod diff;
mod export;

use super::Global;
use super::device::{human_lines, when};
use super::progress::Progress;
use crate::exit::{USAGE, coded};
use crate::offline::story::{WholeStory, tell};
use crate::offline::{Fold, Moment, open_logs, read_keyring};
use crate::spent::{Spent, memory_peak_bytes};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use events::batch::access;
use events::ids::{DeviceId, LogIndex};
use events::time::Timestamp;
use projector::settings::Settings;
use projector::view::Counts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;

/// Fold a node's log from its first entry, read-only, beside a running node or without one, and print the state's
/// digest. The digest at an index equals the one that the live nodes reported there.
///
/// A moment is a log index (4711), a time (2026-11-22T14:34:00Z, 2026-11-22 14:34, yesterday 14:34) or so long ago
/// (-2h). Times are UTC unless they say otherwise.
#[derive(Args)]
#[command(subcommand_precedence_over_arg = true)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    window: Window,
    #[command(subcommand)]
    command: Option<ReplayCommand>,
}

#[derive(Subcommand)]
enum ReplayCommand {
    /// The state at a moment: of the fleet, or of one device
    At(at::AtArguments),
    /// What changed between two moments, what differs between two nodes' folders, or what would have been under other
    /// settings: for whom, and by which entry
    Diff(diff::DiffArguments),
    /// Write events, heartbeats, devices, flags, operations or licenses as JSON Lines, CSV or Parquet
    Export(export::ExportArguments),
    /// Print the settings that live nodes go by, as TOML to change and to give to `diff`
    Settings,
}

/// Whose log, and how it is read.
#[derive(Args)]
pub(super) struct Files {
    /// A node's data directory; several nodes' of one cluster are read as one history, each making up for the others
    #[arg(long, value_name = "DIR", global = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE", global = true)]
    keyring: Option<PathBuf>,
    /// Pass over events of kinds that this version does not know, and count them; the state is then not the cluster's
    #[arg(long, global = true)]
    skip_unknown: bool,
    /// Cores to use: with two or more each log is read ahead by a thread of its own [default: all there are]
    #[arg(long, value_name = "N", global = true)]
    threads: Option<NonZero<usize>>,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long, global = true)]
    progress: bool,
}

#[derive(Args)]
struct Window {
    /// Stop after this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Say also what happened from this moment on; the fold begins with the first entry all the same
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Tell this device's story (dev_…)
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
}

/// Reads a moment that somebody typed.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text, super::now()).map_err(|error| error.to_string())
}

impl Files {
    /// Begins to fold the logs that were named.
    fn open(&self, global: &Global) -> Result<(Fold, Progress)> {
        if self.data.is_empty() {
            return Err(coded(USAGE, "whose log? Give --data DIR, a node's data directory"));
        }
        self.open_these(global, &self.data)
    }

    fn open_these(&self, global: &Global, data: &[PathBuf]) -> Result<(Fold, Progress)> {
        let keyring = read_keyring(&super::keyring_path(global, self.keyring.clone())?)?;
        let mut logs = open_logs(data, &keyring)?;
        if self.threads() > 1 {
            logs = logs.reading_ahead()?;
        }
        let progress = Progress::new(global, self.progress, logs.bytes_total()?);
        Ok((Fold::new(logs).skipping_unknown(self.skip_unknown), progress))
    }

    fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        self.threads.unwrap_or_else(all).get()
    }
}

#[derive(Serialize)]
struct Replayed {
    cluster: Option<events::ids::ClusterId>,
    node: Option<u64>,
    applied: LogIndex,
    stamp: Timestamp,
    digest: String,
    entries: u64,
    /// Heartbeats included.
    events: u64,
    heartbeats: u64,
    bytes: u64,
    /// Entries behind these that are not known committed; none if the log was not read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncommitted: Option<u64>,
    /// Until everything was folded; the digest comes on top.
    seconds: f64,
    events_per_second: f64,
    /// Cores that it could use.
    threads: usize,
    /// What all of them spent: one core alone would take about so long.
    cpu_seconds: f64,
    events_per_second_one_core: f64,
    digest_seconds: f64,
    /// The most memory that was resident; none where the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    counts: Counts,
    /// Events of unknown kinds that were passed over, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped: BTreeMap<u16, u64>,
    /// What is wrong with folders that others made up for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Since>,
    #[serde(skip_serializing_if = "Option::is_none")]
    story: Option<WholeStory>,
}

/// What happened from a moment on, by name of the event.
#[derive(Default, Serialize)]
struct Since {
    first: Option<LogIndex>,
    events: BTreeMap<&'static str, u64>,
    heartbeats: u64,
}

pub(crate) fn run(global: &Global, arguments: ReplayArguments) -> Result<()> {
    let ReplayArguments { files, window, command } = arguments;
    let Some(command) = command else { return fold(global, &files, &window) };
    if window.until.is_some() || window.since.is_some() || window.device.is_some() {
        let what =
            "--until, --since and --device stand before no verb; give them after it, where it takes them";
        return Err(coded(USAGE, what));
    }
    match command {
        ReplayCommand::At(arguments) => at::run(global, &files, &arguments),
        ReplayCommand::Diff(arguments) => diff::run(global, &files, &arguments),
        ReplayCommand::Export(arguments) => export::run(global, &files, arguments),
        ReplayCommand::Settings => settings(global),
    }
}

fn settings(global: &Global) -> Result<()> {
    let settings = Settings::default();
    let text = toml::to_string(&settings)?;
    global.format().print(&settings, |_| text.trim_end().to_owned())
}

fn fold(global: &Global, files: &Files, window: &Window) -> Result<()> {
    let (mut fold, mut progress) = files.open(global)?;
    let until = window.until.unwrap_or(Moment::END);
    let started = Spent::mark();
    let (mut since, mut story) = (window.since.map(|_| Since::default()), None);
    match window.device {
        Some(device) => {
            let from = window.since.unwrap_or(Moment::Index(0));
            story = Some(tell(&mut fold, device, from, until, |fold| progress.show(fold))?);
            since = None;
        }
        None => {
            while let Some(folded) = fold.next_up_to(until)? {
                progress.show(&fold);
                if let (Some(count), Some(from)) = (&mut since, window.since)
                    && !from.is_after(folded.index, fold.stamp())
                {
                    count.add(&folded)?;
                }
            }
            fold.check_reached(until)?;
        }
    }
    progress.end();
    let said = replayed(&mut fold, files.threads(), started.since(), since, story);
    warn_of(&said.damaged);
    global.format().print(&said, human)
}

fn replayed(
    fold: &mut Fold,
    threads: usize,
    spent: Spent,
    since: Option<Since>,
    story: Option<WholeStory>,
) -> Replayed {
    let report = fold.report();
    let (entries, events) = (fold.entries(), fold.events());
    let (skipped, damaged, uncommitted) = (fold.skipped().clone(), fold.troubles(), fold.uncommitted());
    let projector = fold.projector();
    let counts = projector.counts();
    let (digesting, digest) = (Spent::mark(), projector.digest().to_string());
    Replayed {
        cluster: report.cluster,
        node: report.node,
        applied: projector.applied(),
        stamp: projector.stamp(),
        digest,
        entries,
        events,
        heartbeats: counts.heartbeats,
        bytes: report.bytes,
        uncommitted,
        seconds: spent.seconds,
        events_per_second: rate(events, spent.seconds),
        threads,
        cpu_seconds: spent.cpu_seconds,
        events_per_second_one_core: rate(events, spent.cpu_seconds),
        digest_seconds: digesting.since().seconds,
        memory_peak_bytes: memory_peak_bytes(),
        counts,
        skipped,
        damaged,
        since,
        story,
    }
}

fn rate(events: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { events as f64 / seconds } else { 0.0 }
}

/// Says on stderr what others made up for: the answer is right, the folder is not.
pub(super) fn warn_of(damaged: &[String]) {
    for why in damaged {
        eprintln!("muster: warning: {why}. Read on from the other folders.");
    }
}

/// What was passed over, as a line of its own; nothing if nothing was.
pub(super) fn human_skipped(skipped: &BTreeMap<u16, u64>) -> String {
    skipped_in_words(skipped).map_or_else(String::new, |words| format!("\nSKIPPED     {words}"))
}

/// None if nothing was passed over.
pub(super) fn skipped_in_words(skipped: &BTreeMap<u16, u64>) -> Option<String> {
    let kinds: Vec<_> = skipped.iter().map(|(kind, count)| format!("{count} of kind {kind}")).collect();
    let kinds = (!kinds.is_empty()).then(|| kinds.join(", "))?;
    Some(format!("{kinds}: this version does not know them, and the state is not the cluster's"))
}

impl Since {
    fn add(&mut self, folded: &crate::offline::Folded) -> Result<()> {
        self.first = self.first.or(Some(folded.index));
        let Some((bytes, _)) = &folded.batch else { return Ok(()) };
        let batch = access(bytes).with_context(|| format!("entry {}", folded.index))?;
        for event in batch.decode_events() {
            let event = event.with_context(|| format!("entry {}", folded.index))?;
            *self.events.entry(event.name()).or_default() += 1;
        }
        self.heartbeats += batch.heartbeats.len() as u64;
        Ok(())
    }
}

fn human(said: &Replayed) -> String {
    let mut text = format!(
        "applied     {} (log time {})\n\
         digest      {}\n\
         {}\n\
         read        {} entries, {} events, {} bytes in {:.2} s: {:.0} events/s, {:.0} on one core",
        said.applied,
        when(said.stamp),
        said.digest,
        human_counts(&said.counts),
        said.entries,
        said.events,
        said.bytes,
        said.seconds,
        said.events_per_second,
        said.events_per_second_one_core,
    );
    if let Some(uncommitted) = said.uncommitted {
        text.push_str(&format!("; {uncommitted} more entries are not known committed"));
    }
    if let Some(Since { first, events, heartbeats }) = &said.since {
        let named: Vec<_> = events.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let first = first.map_or_else(|| "nothing".to_owned(), |first| format!("log index {first} on"));
        text.push_str(&format!(
            "\nsince       {first}: {heartbeats} routine heartbeats {}",
            named.join(", ")
        ));
    }
    text.push_str(&human_skipped(&said.skipped));
    if let Some(story) = &said.story {
        text.push_str(&format!("\n\n{}", human_story(story)));
    }
    text
}

pub(super) fn human_story(story: &WholeStory) -> String {
    let (summary, lines) = (&story.summary, human_lines(&story.lines));
    format!(
        "{} is {}, as of log index {}\n{lines}{} heartbeats, the last {}",
        summary.device,
        summary.legitimacy,
        story.applied,
        summary.heartbeats,
        when(summary.last_heard)
    )
}

fn human_counts(counts: &Counts) -> String {
    let legitimacy: Vec<_> =
        counts.legitimacy.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let flags: Vec<_> = counts.flags.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(
        "devices     {} ({})\n\
         heartbeats  {}\n\
         open flags  {}",
        counts.burned,
        legitimacy.join(", "),
        counts.heartbeats,
        if flags.is_empty() { "none".to_owned() } else { flags.join(", ") },
    )
}
