//! Asks every peer how it is, once a second, and says what was heard.

use super::{PeerAddress, PeerReply, PeerRequest, PeerStatus, PeerTransport};
use crate::clock::Clock;
use events::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A peer is asked this often, and must answer within this time.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// Until a first round was answered by all, peers are asked this often: a cluster starts as fast as it can.
const ASK_EVERY_AT_FIRST: Duration = Duration::from_millis(100);
const ROUNDS_AT_FIRST: u32 = 50;

/// What is known of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerReport {
    /// Whether it answered in the last round.
    pub reachable: bool,
    /// Why it did not.
    pub why: Option<String>,
    /// What it said last.
    pub status: Option<PeerStatus>,
    /// How far its clock was ahead of this node's, in milliseconds; only of the last round.
    pub ahead_millis: Option<i64>,
    pub round_trip_micros: Option<u64>,
}

/// One report per peer.
pub type PeerReports = BTreeMap<NodeId, PeerReport>;

/// Asks in the background; dropping it ends that.
pub struct PeerWatch {
    reports: watch::Receiver<Arc<PeerReports>>,
    task: JoinHandle<()>,
}

impl PeerWatch {
    pub fn start(peers: Vec<PeerAddress>, transport: Arc<dyn PeerTransport>, clock: Arc<dyn Clock>) -> Self {
        let (publish, reports) = watch::channel(Arc::new(PeerReports::new()));
        let task = tokio::spawn(ask_for_ever(peers, transport, clock, publish));
        PeerWatch { reports, task }
    }

    /// The reports of the last round; empty before the first one.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<PeerReports>> {
        self.reports.clone()
    }
}

impl Drop for PeerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask_for_ever(
    peers: Vec<PeerAddress>,
    transport: Arc<dyn PeerTransport>,
    clock: Arc<dyn Clock>,
    publish: watch::Sender<Arc<PeerReports>>,
) {
    let mut last = PeerReports::new();
    let mut rounds: u32 = 0;
    loop {
        let asked = peers.iter().map(|peer| ask(peer, transport.as_ref(), clock.as_ref()));
        let mut round: PeerReports = futures::future::join_all(asked).await.into_iter().collect();
        for (node, report) in &mut round {
            if report.status.is_none() {
                report.status = last.get(node).and_then(|before| before.status.clone());
            }
        }
        rounds = rounds.saturating_add(1);
        let all = round.values().all(|report| report.reachable);
        last = round.clone();
        if publish.send(Arc::new(round)).is_err() {
            return;
        }
        let hurry = !all && rounds < ROUNDS_AT_FIRST;
        tokio::time::sleep(if hurry { ASK_EVERY_AT_FIRST } else { ASK_EVERY }).await;
    }
}

async fn ask(peer: &PeerAddress, transport: &dyn PeerTransport, clock: &dyn Clock) -> (NodeId, PeerReport) {
    let (wall, before) = (clock.now(), clock.monotonic_millis());
    let began = tokio::time::Instant::now();
    let silent = |why: String| PeerReport { why: Some(why), ..PeerReport::default() };
    let report = match transport.call(peer, PeerRequest::Status, ASK_EVERY).await {
        Ok(PeerReply::Status(status)) => {
            // The peer read its clock half a round trip ago, more or less.
            let elapsed = clock.monotonic_millis().saturating_sub(before);
            let own = wall.plus_millis(elapsed / 2).as_millis();
            PeerReport {
                reachable: true,
                why: None,
                ahead_millis: Some(signed_difference(status.clock.as_millis(), own)),
                status: Some(status),
                round_trip_micros: u64::try_from(began.elapsed().as_micros()).ok(),
            }
        }
        Ok(PeerReply::Stopped(why) | PeerReply::Refused(why)) => silent(why),
        Ok(_) => silent("its reply is of another kind".to_owned()),
        Err(error) => silent(error.to_string()),
    };
    (peer.node, report)
}

fn signed_difference(theirs: u64, own: u64) -> i64 {
    let apart = i64::try_from(theirs.abs_diff(own)).unwrap_or(i64::MAX);
    if theirs >= own { apart } else { -apart }
}
