//! `muster log verify`: whether logs are what was committed.
//!
//! ```text
//!   each folder's frames ─▶ checksums, seals, order, batches      each folder's snapshots ─▶ seals, state
//!   the folders as one history ─▶ equal entries, root at every checkpoint and snapshot (audit.rs)
//!                              ─▶ with --cluster: the state's digests at the indices that running nodes report
//! ```

use super::Line;
use crate::cli::Global;
use crate::cli::progress::Progress;
use crate::exit::{NOT_HELD, answered, coded};
use crate::files::read_text;
use crate::offline::audit::{Audit, Expected, Judged, sizes_in};
use crate::offline::{Fold, Moment, Passed, open_folders, open_logs, read_keyring};
use anyhow::Result;
use clap::Args;
use data_encoding::BASE64;
use events::ids::{ClusterId, LogIndex, NodeId};
use events::keyring::Keyring;
use events::log::checkpoint::Checkpoint;
use nodes::api::shapes::Status;
use nodes::node::core::LOG_FOLDER;
use nodes::storage::disk::OsDisk;
use nodes::storage::error::StorageError;
use nodes::storage::gaps::BACKFILL_FOLDER;
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::notes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Check logs frame by frame, entry by entry and against every signed head of them
///
/// A fault is named by file and offset; what was altered by somebody who holds the keys, by the entries among which it lies.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// A node's data directory; several nodes' of one cluster are checked one by one and against each other
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// A checkpoint that you kept: the log must have had its root; may be given again
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Fold the log too, and compare the state's digests with those that the cluster's nodes report now
    #[arg(long)]
    cluster: bool,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long)]
    progress: bool,
}

#[derive(Serialize)]
struct Verified {
    ok: bool,
    /// The first folder.
    #[serde(flatten)]
    folder: Folder,
    /// The other folders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Folder>,
    /// Entries in the Merkle tree and its root in base64, as a checkpoint names them; none if the history has a gap.
    tree: Option<(u64, String)>,
    /// Checkpoints in the log, those that were given, and snapshots.
    heads: Vec<Judged>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeCompared>,
    /// The first of what is wrong.
    fault: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// What is wrong with snapshots: the log may be sound all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snapshot_faults: Vec<String>,
}

/// What one data directory holds.
#[derive(Default, Serialize)]
struct Folder {
    data: PathBuf,
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
    segments: u64,
    frames: u64,
    bytes: u64,
    entries: u64,
    first: Option<LogIndex>,
    last: Option<LogIndex>,
    uncommitted: u64,
    gaps: Vec<(LogIndex, LogIndex)>,
    torn_tail_bytes: u64,
    /// Where the torn tail begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    torn_tail: Option<String>,
    snapshots: u64,
    /// Events of kinds that this version does not know, by kind: a newer one wrote them, and what they say is not checked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unknown: BTreeMap<u16, u64>,
    /// Of signed heads that it carries.
    #[serde(skip)]
    sizes: BTreeSet<u64>,
    #[serde(skip)]
    faults: Vec<String>,
    /// With which words whoever reads the folder as history names the same faults.
    #[serde(skip)]
    fault_places: Vec<String>,
    #[serde(skip)]
    snapshot_faults: Vec<String>,
}

/// A running node held against the logs.
#[derive(Serialize)]
struct NodeCompared {
    url: String,
    node: Option<NodeId>,
    /// Digests that both know.
    compared: u64,
    /// The first index at which they differ.
    differs_at: Option<LogIndex>,
    why: Option<String>,
}

pub(super) async fn run(global: &Global, arguments: VerifyArguments) -> Result<()> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.keyring.clone())?)?;
    let mut expected = kept_checkpoints(&arguments, &keyring)?;
    let bytes = open_logs(&arguments.data, &keyring)?.bytes_total()?;
    let mut progress = Progress::new(global, arguments.progress, PASSES * bytes);
    let mut folders = Vec::new();
    for data in &arguments.data {
        let mut folder = Folder { data: data.clone(), ..Folder::default() };
        for reader in open_folders(data, &keyring)? {
            let bytes = reader.bytes_total()?;
            folder.read(reader, &mut progress);
            progress.pass_done(bytes);
        }
        folder.read_notes(&keyring)?;
        expected.extend(super::snapshots::heads(
            &mut folder.snapshot_faults,
            &mut folder.snapshots,
            data,
            &keyring,
        )?);
        folders.push(folder);
    }
    let statuses = match arguments.cluster {
        true => global.api()?.get_from_each::<Status>("/v1/status").await,
        false => Vec::new(),
    };
    let sizes = folders.iter().flat_map(|folder| folder.sizes.iter().copied());
    let audit = Audit::new(keyring.cluster, keyring.checkpoint_key.public(), expected).keeping(sizes);
    let history = read_history(&arguments.data, &keyring, audit, &statuses, &mut progress)?;
    progress.end();

    // What broke the history off may be told by its folder already, and is not if it lies between folders.
    let is_told = |broken: &String| {
        folders.iter().flat_map(|folder| &folder.fault_places).any(|place| broken.starts_with(place.as_str()))
    };
    let mut faults: Vec<_> = folders.iter().flat_map(|folder| folder.faults.clone()).collect();
    faults.extend(history.broken.filter(|broken| !is_told(broken)));
    let snapshot_faults: Vec<_> = folders.iter().flat_map(|folder| folder.snapshot_faults.clone()).collect();
    let folder = folders.remove(0);
    faults.extend(history.heads.iter().filter(|head| !head.holds && !head.unknown).map(described));
    faults.extend(history.nodes.iter().filter_map(NodeCompared::fault));
    let said = Verified {
        ok: faults.is_empty() && snapshot_faults.is_empty(),
        folder,
        others: folders,
        tree: history.tree,
        heads: history.heads,
        nodes: history.nodes,
        fault: faults.first().or(snapshot_faults.first()).cloned(),
        faults,
        snapshot_faults,
    };
    global.format().print(&said, human)?;
    said.fault.map_or(Ok(()), |why| Err(answered(NOT_HELD, why)))
}

/// Each log is read by itself and then as a part of the whole history.
const PASSES: u64 = 2;

/// Checkpoints from files; one that is not signed is refused at once.
fn kept_checkpoints(arguments: &VerifyArguments, keyring: &Keyring) -> Result<Vec<Expected>> {
    let open = |path: &PathBuf| {
        let from = path.display().to_string();
        let opened = Checkpoint::open(&read_text(path)?, &keyring.checkpoint_key.public());
        let Checkpoint { cluster, size, root, .. } =
            opened.map_err(|error| coded(NOT_HELD, format!("{from}: {error}")))?;
        match cluster == keyring.cluster {
            true => Ok(Expected { from, size, root }),
            false => Err(coded(NOT_HELD, format!("{from} is a checkpoint of cluster {cluster}"))),
        }
    };
    arguments.checkpoint.iter().map(open).collect()
}

impl Folder {
    /// The small files beside the segments of both logs.
    fn read_notes(&mut self, keyring: &Keyring) -> Result<()> {
        let keys = keyring.segment_keys()?;
        for folder in [LOG_FOLDER, BACKFILL_FOLDER] {
            let faults = notes::examine(&OsDisk, &self.data.join(folder), &keys)?;
            self.faults.extend(faults.iter().map(ToString::to_string));
        }
        Ok(())
    }

    /// Order of entries, and that each batch and event in them can be read.
    fn read(&mut self, mut reader: LogReader, progress: &mut Progress) {
        let (mut last, mut passed) = (None, Passed::default());
        for history in reader.by_ref() {
            history.iter().for_each(|history| passed.note(history));
            if let Ok(History::Entry(entry)) = &history {
                self.sizes.extend(sizes_in(entry));
            }
            let checked = history.map_err(Fault::of).and_then(|history| check(history, last));
            match checked {
                Ok(Checked::Entry(index, unknown)) => {
                    progress.read(passed.bytes(), index);
                    unknown
                        .into_iter()
                        .for_each(|(kind, count)| *self.unknown.entry(kind).or_default() += count);
                    self.first = Some(self.first.map_or(index, |first| first.min(index)));
                    last = Some(index);
                }
                Ok(Checked::Gap(from, through)) => {
                    self.gaps.push((from, through));
                    last = Some(through);
                }
                Err(Fault { why, place }) => {
                    self.faults.push(why);
                    self.fault_places.push(place);
                    break;
                }
            }
        }
        let report = reader.report();
        if report.standing.last.map(|last| last.index) > self.last.max(last) {
            self.uncommitted = report.uncommitted;
        }
        self.last = self.last.max(last);
        (self.cluster, self.node) = (report.cluster.or(self.cluster), report.node.or(self.node));
        self.segments += report.segments;
        self.frames += report.frames;
        self.bytes += report.bytes;
        self.entries += report.entries;
        if let Some(tail) = report.torn_tail {
            self.torn_tail_bytes += tail.bytes;
            self.torn_tail = Some(format!("{} at offset {}", tail.file.display(), tail.offset));
        }
    }
}

/// What is wrong, and how it begins in the words of whoever reads the same as history.
struct Fault {
    why: String,
    place: String,
}

impl Fault {
    #[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
    fn of(error: StorageError) -> Self {
        let why = error.to_string();
        let place = match &error {
            StorageError::Corrupt(damage) => {
                format!("{} is corrupt at offset {}:", damage.path.display(), damage.offset)
            }
            _ => why.clone(),
        };
        Fault { why, place }
    }
}

enum Checked {
    /// With its events of unknown kinds.
    Entry(LogIndex, BTreeMap<u16, u64>),
    Gap(LogIndex, LogIndex),
}

fn check(history: History, last: Option<LogIndex>) -> Result<Checked, Fault> {
    let entry = match history {
        History::Gap { from, through } => return Ok(Checked::Gap(from, through)),
        History::Entry(entry) => entry,
    };
    let index = entry.entry.at.index;
    let place = format!("{} at offset {}", entry.file.display(), entry.offset);
    if let Some(last) = last
        && index != last + 1
    {
        return Err(Fault { why: format!("{place}: entry {index} follows entry {last}"), place });
    }
    match Line::of(&entry) {
        Ok(line) => Ok(Checked::Entry(index, line.into_unknown())),
        Err(why) => Err(Fault { why: format!("{place}: entry {index}: {why}"), place }),
    }
}

/// What all folders together say.
struct WholeHistory {
    tree: Option<(u64, String)>,
    heads: Vec<Judged>,
    nodes: Vec<NodeCompared>,
    /// Why it was not read to its end.
    broken: Option<String>,
}

fn read_history(
    data: &[PathBuf],
    keyring: &Keyring,
    mut audit: Audit,
    statuses: &[(String, Result<Status>)],
    progress: &mut Progress,
) -> Result<WholeHistory> {
    let mut fold = Fold::new(open_logs(data, keyring)?);
    let mut digests: BTreeMap<LogIndex, String> = BTreeMap::new();
    let asked = |status: &Result<Status>| {
        let digests = status.as_ref().map(|status| status.digests.clone()).unwrap_or_default();
        digests.into_iter().map(|at| (at.index, String::new()))
    };
    digests.extend(statuses.iter().flat_map(|(_, status)| asked(status)));
    let (mut broken, mut next) = (None, 0);
    loop {
        let entry = match fold.read_up_to(Moment::END) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                broken = Some(format!("{error:#}"));
                break;
            }
        };
        let index = entry.entry.at.index;
        if index != next {
            broken = Some(format!(
                "the history begins with entry {index}; what lies before it is not in these folders"
            ));
            break;
        }
        next += 1;
        progress.read(fold.bytes_passed(), index);
        if let Err(error) = audit.take(&entry) {
            broken = Some(format!("{error:#}"));
            break;
        }
        if !statuses.is_empty() {
            fold.apply(&entry)?;
            if let Some(digest) = digests.get_mut(&index) {
                *digest = fold.projector().digest().to_string();
            }
        }
    }
    let level = fold.projector().level();
    let head = audit.head();
    Ok(WholeHistory {
        tree: broken.is_none().then(|| (head.size, BASE64.encode(&head.root))),
        heads: audit.judged(),
        nodes: statuses.iter().map(|(url, status)| compare(url, status, level, &digests)).collect(),
        broken,
    })
}

fn compare(
    url: &str,
    status: &Result<Status>,
    level: u16,
    digests: &BTreeMap<LogIndex, String>,
) -> NodeCompared {
    let url = url.to_owned();
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            let why = Some(format!("it did not answer: {error:#}"));
            return NodeCompared { url, node: None, compared: 0, differs_at: None, why };
        }
    };
    let known = |index: LogIndex| digests.get(&index).filter(|digest| !digest.is_empty());
    let both = status.digests.iter().filter(|at| at.level == level);
    let both: Vec<_> = both.filter_map(|at| Some((at, known(at.index)?))).collect();
    let differs = both.iter().find(|(at, own)| at.digest.to_string() != **own);
    let differs_at = differs.map(|(at, _)| at.index);
    let why = differs.map(|(at, own)| {
        format!("at log index {} its state has digest {}, and the log gives {own}", at.index, at.digest)
    });
    NodeCompared { url, node: Some(status.node), compared: both.len() as u64, differs_at, why }
}

impl NodeCompared {
    fn fault(&self) -> Option<String> {
        let why = self.why.as_ref()?;
        Some(match self.node {
            Some(node) => format!("node {node} at {}: {why}", self.url),
            None => format!("the node at {}: {why}", self.url),
        })
    }
}

fn described(head: &Judged) -> String {
    let Judged { from, size, why, altered_among, .. } = head;
    let why = why.as_deref().unwrap_or("it does not hold");
    match altered_among {
        Some((first, last)) => format!(
            "the head of {size} entries that {from} carries does not hold: {why}. What was altered lies among entries \
             {first} to {last}; another node's folder beside this one (--data) names the entry"
        ),
        None => format!("the head of {size} entries that {from} carries does not hold: {why}"),
    }
}

fn human(said: &Verified) -> String {
    let mut text = match said.faults.is_empty() {
        true => "The log is sound.\n".to_owned(),
        false => said.faults.iter().map(|fault| format!("THE LOG IS DAMAGED: {fault}\n")).collect(),
    };
    for fault in &said.snapshot_faults {
        text.push_str(&format!("A SNAPSHOT IS DAMAGED: {fault}\n"));
    }
    if let Some((size, root)) = &said.tree {
        text.push_str(&format!("Merkle root {root} over {size} entries\n"));
    }
    let held: Vec<_> = said.heads.iter().filter(|head| head.holds).collect();
    if let Some(last) = held.iter().max_by_key(|head| head.size) {
        text.push_str(&format!(
            "{} signed heads hold, the largest of {} entries ({})\n",
            held.len(),
            last.size,
            last.from
        ));
    }
    for head in said.heads.iter().filter(|head| head.unknown) {
        let why = head.why.as_deref().unwrap_or_default();
        text.push_str(&format!("the head of {} entries that {} carries: {why}\n", head.size, head.from));
    }
    for node in said.nodes.iter().filter(|node| node.why.is_none()) {
        let number = node.node.unwrap_or_default();
        text.push_str(&format!("node {number}: {} digests are those of the log\n", node.compared));
    }
    std::iter::once(&said.folder).chain(&said.others).for_each(|folder| text.push_str(&human_folder(folder)));
    text.trim_end().to_owned()
}

fn human_folder(folder: &Folder) -> String {
    let range = match (folder.first, folder.last) {
        (Some(first), Some(last)) => format!("log index {first} to {last}"),
        _ => "empty".to_owned(),
    };
    let gaps: Vec<_> = folder.gaps.iter().map(|(from, through)| format!("{from} to {through}")).collect();
    let tail = match &folder.torn_tail {
        Some(place) => format!(
            "\n  torn tail: {} bytes, {place} (a running node may be writing them)",
            folder.torn_tail_bytes
        ),
        None => String::new(),
    };
    let unknown: Vec<_> =
        folder.unknown.iter().map(|(kind, count)| format!("{count} of kind {kind}")).collect();
    let unknown = match unknown.is_empty() {
        true => String::new(),
        false => format!(
            "\n  events of kinds that this version does not know, whose content was not checked: {}; a newer muster wrote \
             them",
            unknown.join(", ")
        ),
    };
    format!(
        "{}: {} segments, {} frames, {} bytes, {} snapshots: {} committed entries, {range}; {} more not known \
         committed; gaps: {}{tail}{unknown}\n",
        folder.data.display(),
        folder.segments,
        folder.frames,
        folder.bytes,
        folder.snapshots,
        folder.entries,
        folder.uncommitted,
        if gaps.is_empty() { "none".to_owned() } else { gaps.join(", ") },
    )
}
