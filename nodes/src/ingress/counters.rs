//! What ingress did since the node started, for `status` and metrics.

use events::vocabulary::rejection::RejectionReason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that tasks and threads share.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) received: Counter,
    pub(super) tickets: Counter,
    pub(super) activations: Counter,
    pub(super) resumes: Counter,
    pub(super) tamper_reports: Counter,
    pub(super) update_requests: Counter,
    pub(super) heartbeats_routine: Counter,
    pub(super) heartbeats_irregular: Counter,
    pub(super) verdicts: Counter,
    pub(super) retries: Counter,
    pub(super) parked: Counter,
    pub(super) unanswered: Counter,
    pub(super) unwrapped: Counter,
    pub(super) derived: Counter,
    pub(super) lacking: Counter,
    refused: [Counter; RejectionReason::ALL.len()],
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters at one moment. All count messages since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressCounters {
    pub received: u64,
    /// Hellos answered with a ticket.
    pub tickets: u64,
    /// Granted; so are `resumes`.
    pub activations: u64,
    pub resumes: u64,
    pub tamper_reports: u64,
    /// Answered, with an offer or without.
    pub update_requests: u64,
    /// Admitted as rows of a batch.
    pub heartbeats_routine: u64,
    /// Admitted as events.
    pub heartbeats_irregular: u64,
    pub verdicts: u64,
    /// Answered again from applied state, logged once.
    pub retries: u64,
    /// Waited for this node to catch up.
    pub parked: u64,
    /// Whether they were committed is unknown, so nothing was said.
    pub unanswered: u64,
    /// Secrets of devices and lots that were unwrapped, decoys included.
    pub unwrapped: u64,
    /// Session keys that were derived, decoys included.
    pub derived: u64,
    /// Secrets that did not unwrap: this node's keyring lacks their key.
    pub lacking: u64,
    /// By reason; reasons that never occurred are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Batches proposed.
    pub batches: u64,
    /// Jobs begun on the P-384 threads.
    pub p384: u64,
}

/// How full ingress is at one moment: what stands at its bound is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressLevels {
    /// Heartbeats that wait for the next batch.
    pub queued_heartbeats: usize,
    /// Events that wait for the next batch.
    pub queued_events: usize,
    /// P-384 jobs at work.
    pub p384_running: usize,
    /// P-384 jobs that wait for a thread.
    pub p384_waiting: usize,
}

impl Counters {
    pub(super) fn refuse(&self, reason: RejectionReason) {
        if let Some(at) = RejectionReason::ALL.iter().position(|known| *known == reason) {
            self.refused[at].add(1);
        }
    }

    pub(super) fn read(&self, batches: u64, p384: u64) -> IngressCounters {
        let refused = RejectionReason::ALL.iter().zip(&self.refused);
        IngressCounters {
            received: self.received.get(),
            tickets: self.tickets.get(),
            activations: self.activations.get(),
            resumes: self.resumes.get(),
            tamper_reports: self.tamper_reports.get(),
            update_requests: self.update_requests.get(),
            heartbeats_routine: self.heartbeats_routine.get(),
            heartbeats_irregular: self.heartbeats_irregular.get(),
            verdicts: self.verdicts.get(),
            retries: self.retries.get(),
            parked: self.parked.get(),
            unanswered: self.unanswered.get(),
            unwrapped: self.unwrapped.get(),
            derived: self.derived.get(),
            lacking: self.lacking.get(),
            refused: refused
                .map(|(reason, count)| (reason.as_str(), count.get()))
                .filter(|(_, count)| *count > 0)
                .collect(),
            batches,
            p384,
        }
    }
}
