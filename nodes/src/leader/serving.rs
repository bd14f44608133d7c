//! Whether what this node takes in can be committed now. While it cannot, it leaves the queue group, so that its
//! region is not a black hole.

use super::clock_guard::{ClockGuard, ClockVerdict};
use super::lag::Lag;
use crate::node::room::Room;
use crate::peers::watch::PeerReports;
use crate::raft::MusterRaft;
use crate::raft::leadership::{Leadership, LeadershipWatch};
use crate::raft::types::TypeConfig;
use events::ids::LogIndex;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, RaftMetrics};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A node that does not serve looks this often whether it may.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

pub struct Serving {
    pub raft: MusterRaft,
    pub leadership: LeadershipWatch,
    pub clock_guard: Arc<ClockGuard>,
    pub reports: watch::Receiver<Arc<PeerReports>>,
    pub room: watch::Receiver<Room>,
    /// How far this node's fold is.
    pub applied: watch::Receiver<LogIndex>,
    /// A leader that no majority answered for so long is no leader any more.
    pub quorum_within: Duration,
}

impl Serving {
    /// Says it whenever it changes, until raft or the reports end.
    pub async fn run(mut self, publish: watch::Sender<bool>) {
        let (metrics, mut lag) = (self.raft.metrics(), Lag::default());
        loop {
            let serving = self.judge(&metrics.borrow_watched(), &mut lag);
            publish.send_if_modified(|before| std::mem::replace(before, serving) != serving);
            let goes_on = tokio::select! {
                goes_on = self.leadership.changed() => goes_on,
                changed = self.reports.changed() => changed.is_ok(),
                changed = self.room.changed() => changed.is_ok(),
                // Whether a majority answers, and whether the clock agrees, is told by nothing of these: look again.
                () = tokio::time::sleep(if serving { self.quorum_within } else { LOOK_AGAIN_AFTER }) => true,
            };
            if !goes_on {
                publish.send_replace(false);
                return;
            }
        }
    }

    fn judge(&self, metrics: &RaftMetrics<TypeConfig>, lag: &mut Lag) -> bool {
        if metrics.running_state.is_err() || !self.room.borrow().is_enough() {
            return false;
        }
        match Leadership::of(metrics) {
            Leadership::Here { .. } => {
                self.has_quorum(metrics) && self.clock_guard.verdict() == ClockVerdict::Agrees
            }
            Leadership::HereSoon | Leadership::Nobody => false,
            Leadership::Elsewhere(leader) => {
                let reports = self.reports.borrow();
                let report = reports.get(&leader.node).filter(|report| report.reachable);
                let status = report.and_then(|report| report.status.as_ref());
                status.is_some_and(|status| {
                    lag.is_fresh(*self.applied.borrow(), status.applied, Instant::now())
                })
            }
        }
    }

    fn has_quorum(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let alone = metrics.membership_config.voter_ids().count() <= 1;
        alone || metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < self.quorum_within)
    }
}
