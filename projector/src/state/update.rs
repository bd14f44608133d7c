//! Rollouts of software update: what is offered, how far it has come, and what the terminals made of it.
//!
//! Invariants:
//! - Of the rollouts that have not ended at most one is for any lot.
//! - `offered` counts the devices that were told; each has at most one result. A rollout that ended is offered to
//!   nobody.

use events::ids::{LogIndex, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, SignedOffer, UpdateFailure};
use events::vocabulary::update::RolloutRules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::view::RolloutView;
pub(crate) use crate::view::{RolloutEnd, RolloutStanding};

const MINUTE_MILLIS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    /// As it was signed; read back by `offer`.
    pub signed: Vec<u8>,
    pub rules: RolloutRules,
    pub created: LogIndex,
    /// Its event's place in the batch.
    pub ordinal: u16,
    pub created_at: Timestamp,
    pub by: String,
    pub reason: String,
    pub standing: RolloutStanding,
    /// Counted from 0.
    pub phase: u8,
    pub phase_began: Timestamp,
    /// The phase lasted its time; results decide when the next one begins.
    pub awaits_results: bool,
    pub offered: u32,
    pub installed: u32,
    /// By number of `UpdateFailure`.
    pub failed: BTreeMap<u8, u32>,
    /// Devices told within the minute `minute` of the log's time.
    pub told: u32,
    pub minute: u64,
    pub end: Option<RolloutEnd>,
}

/// What a device made of the last rollout that it was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// Index of the rollout.
    pub rollout: u32,
    pub result: Trial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trial {
    /// Told; nothing was heard yet.
    Open,
    Installed,
    /// Number of the `UpdateFailure`.
    Failed(u8),
}

/// What is read of an offer again and again; derived from `signed`, hence kept in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    pub offer: Offer,
}

impl Rollout {
    pub(crate) fn is_active(&self) -> bool {
        self.end.is_none()
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failed.values().sum()
    }

    /// The part of the terminals that are told now.
    pub(crate) fn permille(&self) -> u16 {
        self.rules.phases.get(usize::from(self.phase)).map_or(0, |phase| phase.permille)
    }

    pub(crate) fn phase_is_over(&self, now: Timestamp) -> bool {
        let lasts = self.rules.phases.get(usize::from(self.phase)).map_or(0, |phase| phase.seconds);
        now >= self.phase_began.plus_millis(u64::from(lasts) * 1000)
    }

    pub(crate) fn has_next_phase(&self) -> bool {
        usize::from(self.phase) + 1 < self.rules.phases.len()
    }

    pub(crate) fn begin_phase(&mut self, phase: u8, now: Timestamp) {
        self.phase = phase;
        self.phase_began = now;
        self.awaits_results = false;
    }

    /// So many of those that were told run the new version that the next phase may begin.
    pub(crate) fn went_well(&self) -> bool {
        u64::from(self.installed) * 1000 >= u64::from(self.offered) * u64::from(self.rules.success_permille)
    }

    /// More failed than may: the rollout must not go on.
    pub(crate) fn goes_badly(&self) -> bool {
        let (failed, results) = (self.failures(), self.failures() + self.installed);
        results >= self.rules.sample_min
            && u64::from(failed) * 1000 > u64::from(results) * u64::from(self.rules.failure_permille)
    }

    /// Takes one of this minute's places, if there is one.
    pub(crate) fn take_place(&mut self, now: Timestamp) -> bool {
        let minute = now.as_millis() / MINUTE_MILLIS;
        if self.minute != minute {
            (self.minute, self.told) = (minute, 0);
        }
        let free = self.told < self.rules.per_minute_max;
        self.told += u32::from(free);
        free
    }

    /// Replaces a device's result in the counts.
    pub(crate) fn recount(&mut self, before: Trial, after: Trial) {
        match before {
            Trial::Open => {}
            Trial::Installed => self.installed = self.installed.saturating_sub(1),
            Trial::Failed(code) => {
                if let Some(count) = self.failed.get_mut(&code) {
                    *count -= 1;
                    if *count == 0 {
                        self.failed.remove(&code);
                    }
                }
            }
        }
        match after {
            Trial::Open => {}
            Trial::Installed => self.installed += 1,
            Trial::Failed(code) => *self.failed.entry(code).or_default() += 1,
        }
    }
}

impl Rollout {
    pub(crate) fn is_running(&self) -> bool {
        self.is_active() && self.standing == RolloutStanding::Running
    }

    /// None only of a forged snapshot: nothing else enters without having been read.
    pub(crate) fn offer(&self) -> Option<Offer> {
        SignedOffer::parse(&self.signed).ok().map(|signed| signed.unverified().clone())
    }

    pub(crate) fn id(&self) -> RolloutId {
        // Version, then the rollout's id: the form of an offer that was read.
        let id = self.signed.get(1..).and_then(|rest| rest.first_chunk());
        id.map_or(RolloutId::from_bytes([0; 16]), |id| RolloutId::from_bytes(*id))
    }

    pub(crate) fn view(&self) -> Option<RolloutView> {
        let offer = self.offer()?;
        let named = |number: u8| UpdateFailure::from_number(number).map_or("UNKNOWN", UpdateFailure::as_str);
        Some(RolloutView {
            rollout: offer.rollout,
            standing: self.shown_standing(),
            scope: offer.scope,
            firmware: offer.firmware,
            floor: offer.floor,
            kind: offer.kind,
            size: offer.size,
            not_after: offer.not_after,
            urls: offer.urls,
            rules: self.rules.clone(),
            phase: self.phase + 1,
            phase_began: self.phase_began,
            awaits_results: self.awaits_results,
            offered: self.offered,
            installed: self.installed,
            failed: self.failed.iter().map(|(code, count)| (named(*code).to_owned(), *count)).collect(),
            created: self.created,
            created_at: self.created_at,
            by: self.by.clone(),
            reason: self.reason.clone(),
            end: self.end.clone(),
        })
    }

    /// Running or paused, or how it ended.
    pub(crate) fn shown_standing(&self) -> RolloutStanding {
        match &self.end {
            None => self.standing,
            Some(end) => RolloutStanding::Ended(end.how),
        }
    }
}
