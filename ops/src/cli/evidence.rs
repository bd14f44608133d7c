//! `muster log checkpoint|prove|check`: the log as evidence, for somebody who trusts the checkpoint key alone.
//!
//! A proof of an entry is a C2SP tlog-proof; its `extra` is the entry's leaf. A proof of growth is written alike:
//!
//! ```text
//! muster/log-growth@v1
//! since <size of the older checkpoint>
//! <hashes, base64, one a line>
//!
//! <the newer checkpoint>
//! ```

use super::Global;
use super::log::LogArguments;
use crate::exit::{NOT_HELD, USAGE, coded};
use crate::files::{read_text, write_public};
use crate::offline::{open_log, read_keyring};
use crate::output::line;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use events::identity::key::PublicKey;
use events::ids::LogIndex;
use events::keyring::{ClusterPublic, Keyring};
use events::log::checkpoint::Checkpoint;
use events::log::leaf::entry_leaf;
use events::log::merkle::{Frontier, TreeHash, leaf_hash};
use events::log::proof::{consistency_path, inclusion_path, is_consistent, root_by_inclusion};
use nodes::storage::log_reader::{History, LogReader};
use std::path::{Path, PathBuf};

const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
const GROWTH: &str = "muster/log-growth@v1";

#[derive(Args)]
pub(crate) struct CheckpointArguments {
    #[command(flatten)]
    log: LogArguments,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    log: LogArguments,
    /// The entry to prove
    #[arg(value_name = "INDEX", required_unless_present = "since", conflicts_with = "since")]
    index: Option<LogIndex>,
    /// Prove that the log only grew since this checkpoint
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

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

/// The leaves of a log's committed entries.
struct Tree {
    leaves: Vec<TreeHash>,
    /// The leaf that was asked for, in full.
    wanted: Option<Vec<u8>>,
}

impl Tree {
    fn read(reader: LogReader, wanted: Option<LogIndex>) -> Result<Tree> {
        let mut tree = Tree { leaves: Vec::new(), wanted: None };
        for history in reader {
            let entry = match history.map_err(|error| coded(NOT_HELD, error.to_string()))? {
                History::Entry(held) => held.entry,
                History::Gap { from, through } => {
                    let why = format!(
                        "entries {from} to {through} came to this node in a snapshot; prove from the log of another node"
                    );
                    return Err(coded(NOT_HELD, why));
                }
            };
            let leaf = entry_leaf(entry.at.term, &entry.body)
                .with_context(|| format!("entry {} is no batch", entry.at.index))?;
            tree.leaves.push(leaf_hash(&leaf));
            if wanted == Some(entry.at.index) {
                tree.wanted = Some(leaf);
            }
        }
        Ok(tree)
    }

    fn checkpoint(&self, keyring: &Keyring) -> Checkpoint {
        let root = self.leaves.iter().copied().collect::<Frontier>().root();
        Checkpoint { cluster: keyring.cluster, size: self.leaves.len() as u64, root }
    }
}

/// The root over all committed entries, and how many they are.
pub(super) fn root_of(frontier: &Frontier) -> (u64, String) {
    (frontier.size(), BASE64.encode(&frontier.root()))
}

pub(crate) fn checkpoint(global: &Global, arguments: CheckpointArguments) -> Result<()> {
    let (keyring, reader) = open(global, &arguments.log)?;
    let note = Tree::read(reader, None)?.checkpoint(&keyring).sign(&keyring.checkpoint_key);
    put(arguments.out.as_deref(), &note)
}

pub(crate) fn prove(global: &Global, arguments: ProveArguments) -> Result<()> {
    let (keyring, reader) = open(global, &arguments.log)?;
    let tree = Tree::read(reader, arguments.index)?;
    let note = tree.checkpoint(&keyring).sign(&keyring.checkpoint_key);
    let proof = match (&arguments.since, arguments.index) {
        (Some(since), _) => {
            growth(&tree, &Checkpoint::open(&read_text(since)?, &keyring.checkpoint_key.public())?)?
        }
        (None, Some(index)) => inclusion(&tree, index)?,
        (None, None) => bail!("give an index, or --since"),
    };
    put(arguments.out.as_deref(), &format!("{proof}\n{note}"))
}

fn inclusion(tree: &Tree, index: LogIndex) -> Result<String> {
    let path = inclusion_path(&tree.leaves, usize::try_from(index)?);
    let (Some(path), Some(leaf)) = (path, &tree.wanted) else {
        let why = format!("entry {index} is not committed here; the log has {} entries", tree.leaves.len());
        return Err(coded(NOT_HELD, why));
    };
    Ok(format!("{INCLUSION}\nextra {}\nindex {index}\n{}", BASE64.encode(leaf), lines(&path)))
}

fn growth(tree: &Tree, old: &Checkpoint) -> Result<String> {
    let path = usize::try_from(old.size).ok().and_then(|size| consistency_path(&tree.leaves, size));
    let path = path.ok_or_else(|| {
        let why =
            format!("the checkpoint is of {} entries, and this log has {}", old.size, tree.leaves.len());
        coded(NOT_HELD, why)
    })?;
    Ok(format!("{GROWTH}\nsince {}\n{}", old.size, lines(&path)))
}

fn lines(path: &[TreeHash]) -> String {
    path.iter().map(|hash| BASE64.encode(hash) + "\n").collect()
}

pub(crate) fn check(_: &Global, arguments: CheckArguments) -> Result<()> {
    let key = public_key(&arguments.key)?;
    let since = arguments.since.as_deref().map(read_text).transpose()?;
    line(&checked(&read_text(&arguments.file)?, &key, since.as_deref())?)
}

/// What a proof or checkpoint shows, or why it shows nothing.
fn checked(text: &str, key: &PublicKey, since: Option<&str>) -> Result<String> {
    let refused = |why: &str| coded(NOT_HELD, format!("THE PROOF DOES NOT HOLD: {why}"));
    let opened = |note: &str| Checkpoint::open(note, key).map_err(|error| refused(&error.to_string()));
    let Some((proof, note)) = text.split_once("\n\n").filter(|_| text.contains("@v1\n")) else {
        let Checkpoint { cluster, size, .. } = opened(text)?;
        return Ok(format!("the checkpoint is signed: {size} entries of {cluster}"));
    };
    let head = opened(note)?;
    let mut lines = proof.lines();
    let kind = lines.next().unwrap_or_default();
    let mut field = |name: &str| {
        let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(str::to_owned).ok_or_else(|| refused("it is malformed"))
    };
    let number = |text: String| text.parse::<u64>().map_err(|_| refused("it is malformed"));
    let hashes = |lines: std::str::Lines<'_>| -> Option<Vec<TreeHash>> {
        lines.map(|line| BASE64.decode(line.as_bytes()).ok()?.try_into().ok()).collect()
    };
    match kind {
        INCLUSION => {
            let leaf = BASE64.decode(field("extra")?.as_bytes()).map_err(|_| refused("it is malformed"))?;
            let index = number(field("index")?)?;
            let path = hashes(lines).ok_or_else(|| refused("it is malformed"))?;
            if root_by_inclusion(leaf_hash(&leaf), index, head.size, &path) != Some(head.root) {
                return Err(refused("this leaf does not stand at this index"));
            }
            Ok(format!("entry {index} of {} stands in the log of {} entries", head.cluster, head.size))
        }
        GROWTH => {
            let size = number(field("since")?)?;
            let path = hashes(lines).ok_or_else(|| refused("it is malformed"))?;
            let since = since.ok_or_else(|| coded(USAGE, "give the older checkpoint: --since FILE"))?;
            let old = opened(since)?;
            let of_one = old.cluster == head.cluster && old.size == size;
            if !of_one || !is_consistent((old.size, old.root), (head.size, head.root), &path) {
                return Err(refused("the log is not the one of the older checkpoint, grown"));
            }
            Ok(format!("the log of {} only grew: from {} entries to {}", head.cluster, old.size, head.size))
        }
        other => Err(refused(&format!("{other:?} is no kind of proof"))),
    }
}

fn public_key(text: &str) -> Result<PublicKey> {
    if let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(text.as_bytes()) {
        return PublicKey::from_bytes(&bytes).context("--key");
    }
    let public: ClusterPublic = serde_json::from_str(&read_text(Path::new(text))?)
        .with_context(|| format!("{text} is neither a key in hexadecimal nor a cluster's public file"))?;
    Ok(public.checkpoint_key)
}

fn open(global: &Global, log: &LogArguments) -> Result<(Keyring, LogReader)> {
    let keyring = read_keyring(&super::keyring_path(global, log.keyring.clone())?)?;
    let reader = open_log(&log.data, &keyring)?;
    Ok((keyring, reader))
}

fn put(out: Option<&Path>, text: &str) -> Result<()> {
    match out {
        Some(path) => write_public(path, text.as_bytes()),
        None => line(text.trim_end_matches('\n')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::ids::ClusterId;
    use events::log::record::{EntryBody, LogPosition};
    use nodes::entropy::{EntropyRng, OsEntropy};
    use nodes::storage::birth::Beginning;
    use nodes::storage::disk::OsDisk;
    use nodes::storage::log::{DurableLog, LogOptions};
    use nodes::storage::view::LogEntry;
    use std::sync::Arc;

    /// A real log of `count` entries without events, and its keyring.
    fn log_of(dir: &Path, keyring: &Keyring, entries: std::ops::Range<u64>) {
        let keys = keyring.segment_keys().unwrap();
        let options = LogOptions::new(dir.join("log"), keyring.cluster, 1, keys, Beginning::DangerUnasked);
        let log = DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
        for index in entries {
            let at = LogPosition { term: 1 + index / 5, index };
            log.append(vec![LogEntry { at, body: EntryBody::Blank }], Box::new(|_| ())).unwrap();
            log.save_committed(at).unwrap();
        }
        log.close().unwrap();
    }

    fn tree(dir: &Path, keyring: &Keyring, wanted: Option<LogIndex>) -> Tree {
        Tree::read(open_log(dir, keyring).unwrap(), wanted).unwrap()
    }

    #[test]
    fn proofs_made_from_a_log_hold_with_the_public_key_alone_and_a_changed_byte_breaks_them() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&mut EntropyRng(&OsEntropy), ClusterId::from_bytes([7; 16]));
        let key = keyring.checkpoint_key.public();
        let note = |tree: &Tree| tree.checkpoint(&keyring).sign(&keyring.checkpoint_key);
        log_of(dir.path(), &keyring, 0..13);
        let before = note(&tree(dir.path(), &keyring, None));
        assert!(checked(&before, &key, None).unwrap().contains("13 entries"));

        log_of(dir.path(), &keyring, 13..29);
        for index in [0, 12, 28] {
            let tree = tree(dir.path(), &keyring, Some(index));
            let proof = format!("{}\n{}", inclusion(&tree, index).unwrap(), note(&tree));
            assert!(checked(&proof, &key, None).unwrap().contains(&format!("entry {index} of")), "{proof}");
            let elsewhere = proof.replacen(&format!("index {index}\n"), "index 7\n", 1);
            assert!(checked(&elsewhere, &key, None).is_err());
            let stranger = Keyring::generate(&mut EntropyRng(&OsEntropy), keyring.cluster);
            assert!(checked(&proof, &stranger.checkpoint_key.public(), None).is_err());
        }
        let whole = tree(dir.path(), &keyring, None);
        let old = Checkpoint::open(&before, &key).unwrap();
        let proof = format!("{}\n{}", growth(&whole, &old).unwrap(), note(&whole));
        assert!(checked(&proof, &key, Some(&before)).unwrap().contains("from 13 entries to 29"));
        let mut forged = old;
        forged.root[0] ^= 1;
        let forged = forged.sign(&keyring.checkpoint_key);
        assert!(
            checked(&proof, &key, Some(&forged)).is_err(),
            "another past, be it signed, is not this log's"
        );
        assert!(inclusion(&whole, 29).is_err());
    }
}
