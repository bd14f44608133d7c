//! Holds a history against signed heads of it: those that it carries, and those that somebody kept elsewhere.
//!
//! Who holds a node's keys can write another history that every checksum and seal agrees with. What he cannot do is make
//! it have the root that was signed before; and what was signed after he began gives him away to every other node.

use anyhow::{Context as _, Result};
use data_encoding::BASE64;
use events::batch::{access, split_stamp};
use events::identity::key::PublicKey;
use events::ids::{ClusterId, Generation, LogIndex};
use events::log::checkpoint::Checkpoint;
use events::log::leaf::entry_leaf_hash;
use events::log::merkle::TreeHash;
use events::log::recent::RecentTree;
use events::log::record::EntryBody;
use events::vocabulary::{CheckpointSigned, ClusterCreated, Event};
use nodes::storage::log_reader::HistoryEntry;
use serde::Serialize;
use std::collections::BTreeMap;

/// A head of the log, and who says so.
#[derive(Clone, Debug)]
pub struct Expected {
    pub from: String,
    pub size: u64,
    pub root: TreeHash,
}

/// What a head of the log is to the history that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The entry or the file that carries it.
    pub from: String,
    /// It covers so many entries.
    pub size: u64,
    pub holds: bool,
    /// It cannot be said: the root of that size is not known any more. That is no fault of the log.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Why it does not hold, or cannot be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The first and the last entry among which one or more are not those that were signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altered_among: Option<(LogIndex, LogIndex)>,
}

/// A checkpoint that the history carries and the cluster's key signed.
#[derive(Clone, Debug)]
pub struct Carried {
    pub index: LogIndex,
    pub checkpoint: Checkpoint,
    pub signature: Vec<u8>,
}

/// Follows a history from its first entry on.
pub struct Audit {
    cluster: ClusterId,
    key: PublicKey,
    tree: RecentTree,
    /// Sizes of heads that the history carries somewhere behind them, and their roots once they were passed.
    sizes: BTreeMap<u64, Option<TreeHash>>,
    generation: Option<Generation>,
    /// Ascending by size.
    expected: Vec<Expected>,
    judged: Vec<Judged>,
    carried: Vec<Carried>,
    /// The largest size up to which a signed root was met.
    good: u64,
}

impl Audit {
    #[must_use]
    pub fn new(cluster: ClusterId, key: PublicKey, mut expected: Vec<Expected>) -> Audit {
        expected.sort_by_key(|head| std::cmp::Reverse(head.size));
        Audit {
            cluster,
            key,
            tree: RecentTree::default(),
            sizes: BTreeMap::new(),
            generation: None,
            expected,
            judged: Vec::new(),
            carried: Vec::new(),
            good: 0,
        }
    }

    /// Keeps the roots of these sizes, however far behind them the entries lie that carry their heads: a node that was far
    /// behind may have signed what it had applied.
    #[must_use]
    pub fn keeping(self, sizes: impl IntoIterator<Item = u64>) -> Audit {
        let mut sizes: BTreeMap<_, _> = sizes.into_iter().map(|size| (size, None)).collect();
        if let Some(empty) = sizes.get_mut(&0) {
            *empty = self.tree.root_at(0);
        }
        Audit { sizes, ..self }
    }

    /// The next entry.
    pub fn take(&mut self, entry: &HistoryEntry) -> Result<()> {
        let at = entry.entry.at;
        let place = || format!("{} at offset {}: entry {}", entry.file.display(), entry.offset, at.index);
        if let EntryBody::Batch(payload) = &entry.entry.body {
            for event in heads_in(payload).with_context(place)? {
                match event {
                    Event::ClusterCreated(ClusterCreated { generation, .. }) => {
                        self.generation = Some(generation);
                    }
                    Event::CheckpointSigned(signed) => self.judge_carried(at.index, signed),
                    _ => {}
                }
            }
        }
        self.tree.push(entry_leaf_hash(at.term, &entry.entry.body).with_context(place)?);
        if let Some(root) = self.sizes.get_mut(&self.tree.size()) {
            *root = self.tree.root_at(self.tree.size());
        }
        while let Some(head) = self.expected.pop_if(|head| head.size <= self.tree.size()) {
            self.judge(head);
        }
        Ok(())
    }

    fn judge_carried(&mut self, index: LogIndex, signed: CheckpointSigned) {
        let CheckpointSigned { generation, size, root, signature } = signed;
        let checkpoint = Checkpoint { cluster: self.cluster, generation: Some(generation), size, root };
        let from = format!("log index {index}");
        match checkpoint.verify(&signature, &self.key) {
            Ok(()) => {
                self.carried.push(Carried { index, checkpoint, signature });
                self.judge(Expected { from, size, root });
            }
            Err(error) => {
                let why = Some(error.to_string());
                self.judged.push(Judged {
                    from,
                    size,
                    holds: false,
                    unknown: false,
                    why,
                    altered_among: None,
                });
            }
        }
    }

    fn judge(&mut self, Expected { from, size, root }: Expected) {
        let own = self.tree.root_at(size).or_else(|| self.sizes.get(&size).copied().flatten());
        let holds = own == Some(root);
        let altered = (own.is_some() && !holds).then(|| (self.good.min(size), size.saturating_sub(1)));
        let why = match own {
            Some(own) if own != root => Some(format!(
                "the root of these entries is {}, and {} was signed",
                BASE64.encode(&own),
                BASE64.encode(&root)
            )),
            Some(_) => None,
            None if size > self.tree.size() => {
                Some(format!("only {} entries lie before it, and whoever signs knows all", self.tree.size()))
            }
            None => Some("it lies too far before the entry that carries it to be looked at".to_owned()),
        };
        let unknown = own.is_none() && size <= self.tree.size();
        if holds {
            self.good = self.good.max(size);
        }
        self.judged.push(Judged { from, size, holds, unknown, why, altered_among: altered });
    }

    /// What was judged. Heads that the history does not reach do not hold.
    #[must_use]
    pub fn judged(mut self) -> Vec<Judged> {
        let size = self.tree.size();
        while let Some(head) = self.expected.pop() {
            let why = Some(format!("the log has {size} entries only"));
            let Expected { from, size, .. } = head;
            self.judged.push(Judged { from, size, holds: false, unknown: false, why, altered_among: None });
        }
        self.judged
    }

    /// The head of what was read.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        let size = self.tree.size();
        let root = self.tree.frontier().root();
        Checkpoint { cluster: self.cluster, generation: self.generation, size, root }
    }

    /// The checkpoints of the cluster's key that the history carries, whether they hold or not.
    #[must_use]
    pub fn carried(&self) -> &[Carried] {
        &self.carried
    }
}

/// The sizes of heads that an entry carries; of one that cannot be read none.
pub fn sizes_in(entry: &HistoryEntry) -> impl Iterator<Item = u64> {
    let heads = match &entry.entry.body {
        EntryBody::Batch(payload) => heads_in(payload).unwrap_or_default(),
        EntryBody::Blank | EntryBody::Membership(_) => Vec::new(),
    };
    heads.into_iter().filter_map(|event| match event {
        Event::CheckpointSigned(signed) => Some(signed.size),
        _ => None,
    })
}

/// The events of a batch that an audit looks at.
fn heads_in(payload: &[u8]) -> Result<Vec<Event>> {
    let (_, bytes) = split_stamp(payload)?;
    let batch = access(bytes)?;
    let mut heads = Vec::new();
    for event in batch.events.iter() {
        if HEADS.contains(&event.kind.to_native()) {
            heads.push(Event::decode(event.kind.to_native(), &event.bytes)?);
        }
    }
    Ok(heads)
}

/// Kinds of [`ClusterCreated`] and [`CheckpointSigned`].
const HEADS: [u16; 2] = [1, 3];
