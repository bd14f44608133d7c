//! A rolling upgrade: members of two levels in one cluster, until the last one is new.

use crate::automation::Strayed;
use crate::checkpoints::{all_compared, sign};
use crate::support::in_time;
use crate::support::members::Members;
use events::ids::NodeId;
use events::limits::DIGEST_INDEX_INTERVAL;
use events::vocabulary::Tick;
use futures::future::BoxFuture;
use nodes::leader::notary::NotaryError;
use nodes::node::core::Core;
use nodes::peers::watch::PeerReports;
use nodes::peers::{PeerReply, PeerRequest, PeerService};
use nodes::raft::tree::Verdict;
use projector::StateDigest;
use std::sync::Arc;

/// Knows no checkpoints.
const OLD: u16 = 4;

/// What a member says of itself whose program is older: another level, and so another digest of the same state.
struct Older(Arc<dyn PeerService>);

impl PeerService for Older {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            let mut reply = self.0.answer(from, request).await;
            if let PeerReply::Status(status) = &mut reply {
                status.level = OLD;
                for at in &mut status.digests {
                    (at.level, at.digest) = (OLD, StateDigest([4; 32]));
                }
            }
            reply
        })
    }
}

/// Waits for a round of reports that says this of `peer`, and for two more: by then the first was judged.
async fn heard(core: &Core, peer: NodeId, says: impl Fn(&nodes::peers::PeerStatus) -> bool) {
    let mut reports = core.reports();
    let told = |reports: &Arc<PeerReports>| {
        reports.get(&peer).and_then(|report| report.status.as_ref()).is_some_and(&says)
    };
    in_time("a report", reports.wait_for(told)).await.unwrap();
    for _ in 0..2 {
        in_time("another round", reports.changed()).await.unwrap();
    }
}

/// A cluster of three, one of whose members is older.
async fn mixed() -> (Members, NodeId, NodeId) {
    let members = Members::start(3).await;
    let (leader, older) = (members.leader().await, members.a_follower().await);
    members.board.plug_in(older, Arc::new(Older(members.core(older).receiver())));
    (members, leader, older)
}

async fn go_on_to(members: &Members, index: u64) {
    let leader = members.leader().await;
    let mut last = 0;
    while last < index {
        last = members.core(leader).proposer().propose_events(&[Tick {}.into()]).await.unwrap().index;
    }
    members.all_applied(last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_before_the_last_member_knows_checkpoints_and_then_all_hold_one_against_their_logs()
{
    let (members, leader, older) = mixed().await;
    heard(members.core(leader), older, |status| status.level == OLD).await;
    let refused = members.core(leader).notary().checkpoint().await;
    assert_eq!(refused, Err(NotaryError::OlderMember(older)));
    assert_eq!(
        members.core(leader).notary().levels.below(OLD),
        None,
        "it is known to be that old, not unknown"
    );
    assert_eq!(members.core(leader).projector().read(|fold| fold.checkpoints().count()), 0);

    // It stays silent for a while, as whoever is restarted does.
    members.board.cut_off(older);
    let refused = members.core(leader).notary().checkpoint().await;
    assert_eq!(refused, Err(NotaryError::OlderMember(older)));
    members.board.plug_in(older, members.core(older).receiver());
    members.board.heal();
    let signed = sign(&members, members.leader().await).await;
    assert_eq!(all_compared(&members, signed.index).await, [Verdict::Equal; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_of_two_levels_are_not_compared_and_those_of_one_level_are_in_the_same_cluster() {
    let (members, leader, older) = mixed().await;
    go_on_to(&members, DIGEST_INDEX_INTERVAL).await;
    let core = members.core(leader);
    let digests =
        |status: &nodes::peers::PeerStatus| status.digests.iter().any(|at| at.index >= DIGEST_INDEX_INTERVAL);
    heard(core, older, digests).await;
    assert!(core.automation().is_running(), "a rolling upgrade is no difference");

    // The upgrade is done, and this time the state itself is another.
    members.board.plug_in(older, Arc::new(Strayed(members.core(older).receiver())));
    let mut automation = core.automation().watch();
    let stops = automation.wait_for(|now| *now != nodes::leader::automation::Automation::Running);
    in_time("the difference", stops).await.unwrap();
}
