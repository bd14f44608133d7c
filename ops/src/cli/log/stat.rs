//! `muster log stat`: what a log holds and what it costs.

use super::LogArguments;
use crate::cli::Global;
use crate::cli::progress::Progress;
use crate::exit::{NOT_HELD, answered};
use crate::offline::{Mended, entries_end, read_keyring, refusal};
use crate::output::Table;
use anyhow::{Context as _, Result};
use events::batch::{access, split_stamp};
use events::ids::{ClusterId, LogIndex};
use events::log::record::EntryBody;
use events::time::Timestamp;
use events::vocabulary::Event;
use nodes::storage::log_reader::{History, HistoryEntry, LogReport};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Default, Serialize)]
struct Stat {
    cluster: Option<ClusterId>,
    node: Option<u64>,
    segments: u64,
    bytes: u64,
    entries: u64,
    uncommitted: u64,
    first: Option<LogIndex>,
    last: Option<LogIndex>,
    /// Entries that are not here, the first and the last of each stretch.
    gaps: Vec<(LogIndex, LogIndex)>,
    first_stamp: Option<Timestamp>,
    last_stamp: Option<Timestamp>,
    /// Terms that committed something.
    terms: u64,
    batches: u64,
    heartbeats: u64,
    /// All bytes of the log, for each routine heartbeat; none without heartbeats.
    bytes_per_heartbeat: Option<f64>,
    /// By name; of an unknown kind, by its number.
    events: BTreeMap<String, Weight>,
    /// What could not be read, and where.
    fault: Option<String>,
}

#[derive(Default, Serialize)]
struct Weight {
    count: u64,
    bytes: u64,
}

pub(super) fn run(global: &Global, arguments: LogArguments) -> Result<()> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.keyring)?)?;
    let mut reader = Mended::open(&arguments.data, &keyring)?;
    let (mut stat, mut term, mut fault, mut readable) = (Stat::default(), None, None, None);
    let mut progress = Progress::new(global, arguments.progress, reader.bytes_total());
    while let Some(history) = reader.next() {
        progress.read(reader.bytes_passed(), readable.unwrap_or(0));
        match history {
            Ok(history) => {
                readable = Some(entries_end(&history));
                let entry = match history {
                    History::Entry(entry) => entry,
                    History::Gap { from, through } => {
                        stat.gaps.push((from, through));
                        continue;
                    }
                };
                stat.terms += u64::from(term != Some(entry.entry.at.term));
                term = Some(entry.entry.at.term);
                stat.add(&entry)?;
            }
            Err(error) => fault = Some(refusal(error, readable)),
        }
    }
    progress.end();
    stat.end(&reader.report(), fault.as_ref());
    global.format().print(&stat, human)?;
    match fault {
        Some(fault) => Err(answered(NOT_HELD, fault.to_string())),
        None => Ok(()),
    }
}

impl Stat {
    fn add(&mut self, entry: &HistoryEntry) -> Result<()> {
        let index = entry.entry.at.index;
        self.first = self.first.or(Some(index));
        self.last = Some(index);
        let EntryBody::Batch(payload) = &entry.entry.body else { return Ok(()) };
        let place = || format!("{} at offset {}: entry {index}", entry.file.display(), entry.offset);
        let (stamp, bytes) = split_stamp(payload).with_context(place)?;
        self.first_stamp = self.first_stamp.or(Some(stamp));
        self.last_stamp = self.last_stamp.max(Some(stamp));
        self.batches += 1;
        let batch = access(bytes).with_context(place)?;
        self.heartbeats += batch.heartbeats.len() as u64;
        for event in batch.events.iter() {
            let kind = event.kind.to_native();
            let name = Event::name_of(kind).map_or_else(|| format!("unknown kind {kind}"), String::from);
            let weight = self.events.entry(name).or_default();
            weight.count += 1;
            weight.bytes += event.bytes.len() as u64;
        }
        Ok(())
    }

    fn end(&mut self, report: &LogReport, fault: Option<&anyhow::Error>) {
        (self.cluster, self.node) = (report.cluster, report.node);
        (self.segments, self.bytes) = (report.segments, report.bytes);
        (self.entries, self.uncommitted) = (report.entries, report.uncommitted);
        let heartbeats = (self.heartbeats > 0).then_some(self.heartbeats);
        self.bytes_per_heartbeat = heartbeats.map(|heartbeats| self.bytes as f64 / heartbeats as f64);
        self.fault = fault.map(ToString::to_string);
    }
}

fn human(stat: &Stat) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let time = |stamp: Option<Timestamp>| stamp.map_or_else(|| "-".to_owned(), |stamp| stamp.to_string());
    let mut table = Table::with_head(&["event", "count", "bytes"]);
    for (name, weight) in &stat.events {
        table.row([name.clone(), weight.count.to_string(), weight.bytes.to_string()]);
    }
    let each =
        stat.bytes_per_heartbeat.map_or_else(String::new, |bytes| format!(" ({bytes:.1} bytes of log each)"));
    let gaps: Vec<_> = stat.gaps.iter().map(|(from, through)| format!("{from} to {through}")).collect();
    let gaps = match gaps.is_empty() {
        true => String::new(),
        false => format!("NOT HERE    entries {}\n", gaps.join(", ")),
    };
    let fault = stat.fault.as_ref().map_or_else(String::new, |fault| format!("DAMAGED: {fault}\n"));
    format!(
        "{fault}cluster     {}, node {}\n\
         files       {} segments, {} bytes\n\
         entries     {}, log index {} to {}, {} terms; {} more are not known committed\n\
         {gaps}\
         log time    {} to {}\n\
         heartbeats  {} routine, in {} batches{each}\n{table}",
        stat.cluster.map_or_else(|| "-".to_owned(), |cluster| cluster.to_string()),
        number(stat.node),
        stat.segments,
        stat.bytes,
        stat.entries,
        number(stat.first),
        number(stat.last),
        stat.terms,
        stat.uncommitted,
        time(stat.first_stamp),
        time(stat.last_stamp),
        stat.heartbeats,
        stat.batches,
    )
}
