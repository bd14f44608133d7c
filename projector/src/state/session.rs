//! The epochs of a device that still count: the confirmed one, its pending successors, the last two superseded, and what up to
//! three other branches ended with.
//!
//! ```text
//!            grant                 first heartbeat or resume under it
//!   (none) ────────▶ pending (≤4) ───────────────────────────────────▶ current ────▶ superseded (2 kept)
//!                       └── dies when another successor of its parent is confirmed, or when a fifth comes and it
//!                           was asked for with the oldest ticket
//! ```
//!
//! Invariants: numbers are unique and below the row's `next_epoch`; the row's `epoch` is `current`'s number. What was
//! evicted is never granted again: the highest ticket evicted is kept for each parent.

use super::kept::Kept;
use super::seldom::Seldom;
use super::window::Window;
use events::ids::{BootId, Epoch, Generation, LogIndex};
use events::limits::PENDING_SUCCESSORS_MAX;
use events::time::Timestamp;
use events::vocabulary::shared::Suite;
use serde::{Deserialize, Serialize};

/// Superseded epochs of one branch that are kept, to judge forks by.
pub(crate) const SUPERSEDED_KEPT: usize = 2;
/// What other branches ended with, beside these: more than anybody gets fresh roots in a while.
pub(crate) const OTHER_BRANCHES_KEPT: usize = 3;
/// Forks that are kept: the earliest, since a later one must not hide an earlier one.
pub(crate) const FORKS_KEPT: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub current: Option<Link>,
    pub pending: Seldom<Link>,
    /// Oldest first.
    pub superseded: Seldom<Superseded>,
    pub forks: Seldom<Fork>,
    /// At most one for each parent that is kept.
    pub evicted: Seldom<Evicted>,
}

/// A successor gave way to those with newer tickets. Its nonce is forgotten, so its ticket must not count any more:
/// who replays captured resumes could push the honest one out with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evicted {
    pub parent: Epoch,
    /// The highest ticket among those that gave way.
    pub ticket: LogIndex,
}

/// One epoch as it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub epoch: Epoch,
    /// The epoch that it succeeds; 0 for the first activation.
    pub parent: Epoch,
    /// Epochs that follow each other without a fork or a re-key share their branch.
    pub branch: Epoch,
    /// The log index that granted the re-key which the branch begins with, if nobody had demanded that re-key; else 0.
    pub root: LogIndex,
    /// The log index of the ticket that it was asked for with.
    pub ticket: LogIndex,
    pub origin: Origin,
    pub server_nonce: [u8; 32],
    pub resumption: Kept,
    pub suite: Suite,
    pub generation: Generation,
    pub granted: LogIndex,
    pub granted_at: Timestamp,
    pub boot: BootId,
    pub boot_count: u32,
    pub firmware: u32,
    /// Index of the source that asked for it.
    pub source: u32,
    /// Number of the license's lease that came with it; 0 for none.
    pub lease: u32,
}

/// What asked for an epoch, and how a repetition of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// Digest of the activation's transcript.
    Activation([u8; 32]),
    /// The client's nonce.
    Resume([u8; 16]),
}

/// An epoch that gave way to a confirmed successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Superseded {
    pub link: Link,
    pub window: Window,
    /// The log index at which its successor was confirmed, or at which it was last resumed all the same: what was
    /// asked for before that is late.
    pub at: LogIndex,
    pub generation: Generation,
}

/// Two claim to hold what only one can: a resume from a superseded epoch with a ticket issued after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fork {
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub generation: Generation,
    /// The superseded epoch that was resumed.
    pub from: Epoch,
    /// The branch that was current then.
    pub other: Epoch,
    /// The root of that branch; see [`Link::root`].
    pub root: LogIndex,
}

/// Where an epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    Current(&'a Link),
    Pending(&'a Link),
    Superseded(&'a Superseded),
}

impl<'a> Standing<'a> {
    #[must_use]
    pub(crate) fn link(self) -> &'a Link {
        match self {
            Standing::Current(link) | Standing::Pending(link) => link,
            Standing::Superseded(superseded) => &superseded.link,
        }
    }
}

impl Session {
    /// All epochs that count, the current one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = Standing<'_>> {
        let current = self.current.iter().map(Standing::Current);
        let pending = self.pending.iter().map(Standing::Pending);
        current.chain(pending).chain(self.superseded.iter().rev().map(Standing::Superseded))
    }

    /// The confirmed epoch; 0 if there was none yet.
    #[must_use]
    pub(crate) fn current_epoch(&self) -> Epoch {
        self.current.as_ref().map_or(0, |link| link.epoch)
    }

    #[must_use]
    pub(crate) fn find(&self, epoch: Epoch) -> Option<Standing<'_>> {
        self.all().find(|standing| standing.link().epoch == epoch)
    }

    /// What was granted for the same resume before.
    #[must_use]
    pub(crate) fn resumed_before(&self, from: Epoch, nonce: &[u8; 16]) -> Option<&Link> {
        let same = |link: &&Link| link.parent == from && link.origin == Origin::Resume(*nonce);
        self.all().map(Standing::link).find(same)
    }

    /// What was granted for the same activation before.
    #[must_use]
    pub(crate) fn activated_before(&self, transcript: &[u8; 32]) -> Option<&Link> {
        self.all().map(Standing::link).find(|link| link.origin == Origin::Activation(*transcript))
    }

    /// Whether a successor of `parent` that is asked for with this ticket would be kept: not if it may have been
    /// evicted before, nor if it had to push out one with a newer ticket.
    #[must_use]
    pub(crate) fn has_place(&self, parent: Epoch, ticket: LogIndex) -> bool {
        let outdated =
            self.evicted.iter().any(|evicted| evicted.parent == parent && ticket <= evicted.ticket);
        let full = self.pending.len() == PENDING_SUCCESSORS_MAX;
        !outdated && (!full || self.pending.iter().any(|link| link.ticket <= ticket))
    }

    /// Keeps a new successor; the fifth pushes out the one with the oldest ticket, so that lost answers never lock a
    /// device out.
    pub(crate) fn grant(&mut self, link: Link) {
        if self.pending.len() == PENDING_SUCCESSORS_MAX {
            let pending = self.pending.iter().enumerate();
            let oldest = pending.min_by_key(|(_, link)| (link.ticket, link.epoch)).map_or(0, |(at, _)| at);
            let gone = self.pending.remove(oldest);
            match self.evicted.iter_mut().find(|evicted| evicted.parent == gone.parent) {
                Some(evicted) => evicted.ticket = evicted.ticket.max(gone.ticket),
                None => self.evicted.push(Evicted { parent: gone.parent, ticket: gone.ticket }),
            }
        }
        self.pending.push(link);
    }

    /// Makes a pending epoch the current one; `window` is the old one's. The others of its parent die, and so do
    /// those whose parent is not kept any more. False if there is no such pending epoch.
    pub(crate) fn confirm(
        &mut self,
        epoch: Epoch,
        window: Window,
        at: LogIndex,
        generation: Generation,
    ) -> bool {
        let Some(position) = self.pending.iter().position(|link| link.epoch == epoch) else { return false };
        let confirmed = self.pending.remove(position);
        let parent = confirmed.parent;
        if let Some(link) = self.current.replace(confirmed) {
            let superseded = Superseded { link, window, at, generation };
            match self.superseded_to_drop(&superseded.link) {
                Some(gone) => {
                    // In place: this happens at every boot of every device.
                    self.superseded[gone..].rotate_left(1);
                    let last = self.superseded.len() - 1;
                    self.superseded[last] = superseded;
                }
                None => self.superseded.push(superseded),
            }
        }
        if self.pending.is_empty() && self.evicted.is_empty() {
            return true;
        }
        let kept: Vec<Epoch> = self.all().map(|standing| standing.link().epoch).collect();
        self.pending.retain(|link| link.parent != parent && kept.contains(&link.parent));
        self.evicted.retain(|evicted| kept.contains(&evicted.parent));
        true
    }

    /// Which superseded epoch makes room for `leaving`. Of the branch that is current the oldest, and beside it what other
    /// branches ended with stays: else somebody who holds a device's seed would push the honest epoch out by one fresh root
    /// and two resumes from it, and no fork would ever show.
    fn superseded_to_drop(&self, leaving: &Link) -> Option<usize> {
        let current = self.current.as_ref().map_or(0, |link| link.branch);
        let is_own = |link: &Link| link.branch == current;
        let own = || self.superseded.iter().filter(|old| is_own(&old.link)).count();
        let first = |wanted: &dyn Fn(&Link) -> bool| self.superseded.iter().position(|old| wanted(&old.link));
        if self.superseded.len() < SUPERSEDED_KEPT {
            return None;
        }
        if own() + usize::from(is_own(leaving)) > SUPERSEDED_KEPT {
            return first(&is_own);
        }
        if self.superseded.len() < SUPERSEDED_KEPT + OTHER_BRANCHES_KEPT {
            return None;
        }
        let later = |at: usize| self.superseded[at + 1..].iter().map(|old| &old.link).chain([leaving]);
        let is_followed = |at: &usize| later(*at).any(|link| link.branch == self.superseded[*at].link.branch);
        let others = || (0..self.superseded.len()).filter(|at| !is_own(&self.superseded[*at].link));
        others().find(is_followed).or_else(|| others().next())
    }

    /// Remembers a fork, unless an earlier one says the same or there is no place.
    pub(crate) fn remember_fork(&mut self, fork: Fork) {
        if let Some(old) = self.superseded.iter_mut().find(|old| old.link.epoch == fork.from) {
            old.at = fork.index;
        }
        self.forks.retain(|kept| kept.generation == fork.generation);
        let known = self.forks.iter().any(|kept| kept.other == fork.other && kept.from <= fork.from);
        if !known && self.forks.len() < FORKS_KEPT {
            self.forks.push(fork);
        }
    }

    /// The earlier fork that this one proves to be no accident: twice a re-key that nobody had demanded took the
    /// session away, and twice the other side took it back by a resume. Flash that lies explains the first time; the
    /// second root was asked for by somebody who does not know what was granted at the first fork.
    #[must_use]
    pub(crate) fn alternates(&self, from: &Link, root: LogIndex, generation: Generation) -> Option<Fork> {
        let first = |fork: &&Fork| {
            fork.generation == generation && fork.root != 0 && from.granted >= fork.index && root > fork.index
        };
        self.forks.iter().find(first).copied()
    }

    /// The fork that is proven a clone by `link` speaking with knowledge of `fresh`, a log index: the other branch
    /// lives on after the fork.
    #[must_use]
    pub(crate) fn convicts(&self, link: &Link, fresh: LogIndex, generation: Generation) -> Option<Fork> {
        let proves = |fork: &&Fork| {
            fork.generation == generation
                && link.branch == fork.other
                && link.epoch > fork.from
                && fresh > fork.index
        };
        self.forks.iter().find(proves).copied()
    }
}
