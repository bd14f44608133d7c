//! Judges each round of peers' reports: this node's clock, and whether all states are equal; and each checkpoint that was
//! committed.

use super::automation::AutomationSwitch;
use super::clock_guard::{ClockGuard, ClockVerdict};
use super::levels::MemberLevels;
use super::transfer;
use crate::peers::watch::PeerReports;
use crate::raft::MusterRaft;
use crate::shared_projector::SharedProjector;
use events::identity::key::PublicKey;
use events::ids::ClusterId;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Watchman {
    pub raft: MusterRaft,
    pub projector: SharedProjector,
    pub clock_guard: Arc<ClockGuard>,
    pub automation: AutomationSwitch,
    pub reports: watch::Receiver<Arc<PeerReports>>,
    pub levels: Arc<MemberLevels>,
    pub cluster: ClusterId,
    pub checkpoint_key: PublicKey,
}

impl Watchman {
    /// Watches until the reports end.
    pub async fn run(mut self) {
        let mut before = self.clock_guard.verdict();
        let mut compared = self.projector.tree().compared();
        // What the log that was recovered said before anybody listened.
        compared.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = compared.changed() => {
                    let compared = compared.borrow_and_update().clone();
                    self.automation.judge(&compared, self.cluster, &self.checkpoint_key);
                    continue;
                }
                changed = self.reports.changed() => if changed.is_err() { return },
            }
            let reports = self.reports.borrow_and_update().clone();
            self.levels.hear(&reports);
            self.compare_states(&reports);
            let ahead: Vec<i64> = reports.values().filter_map(|report| report.ahead_millis).collect();
            let verdict = self.clock_guard.judge(&ahead);
            self.act_on_clock(&reports, before, verdict).await;
            before = verdict;
        }
    }

    fn compare_states(&self, reports: &PeerReports) {
        let own = self.projector.digests();
        for (&peer, report) in reports {
            if let Some(status) = report.status.as_ref().filter(|_| report.reachable) {
                self.automation.compare(peer, &own, &status.digests);
            }
        }
    }

    /// A node whose clock is off neither leads nor stands for election (protocol.md rule 10).
    async fn act_on_clock(&self, reports: &PeerReports, before: ClockVerdict, now: ClockVerdict) {
        if before.is_off() != now.is_off() {
            self.raft.runtime_config().elect(!now.is_off());
            tracing::warn!(?before, ?now, "the verdict on this node's clock changed");
        }
        // Asked again in every round: it may have come to lead meanwhile, or nobody could take over yet.
        if now.is_off() && self.raft.is_leader() {
            transfer::hand_over(&self.raft, reports).await;
        }
    }
}
