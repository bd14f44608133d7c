//! What the fold wants, the leader orders, unless the members' states differ.

use crate::support::device::Device;
use crate::support::in_time;
use crate::support::members::Members;
use events::ids::{LogIndex, NodeId};
use events::limits::DIGEST_INDEX_INTERVAL;
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::Legitimacy;
use futures::future::BoxFuture;
use nodes::leader::automation::Automation;
use nodes::peers::{PeerReply, PeerRequest, PeerService};
use projector::StateDigest;
use std::sync::Arc;

async fn propose(members: &Members, device: &Device) -> LogIndex {
    let leader = members.leader().await;
    let mut last = 0;
    for event in device.life_of_a_clone() {
        let outcomes = members.core(leader).proposer().propose_events(&[event]).await.unwrap();
        last = outcomes.index;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_clone_is_restricted_by_an_order_of_the_leader() {
    let members = Members::start(3).await;
    let device = Device::new();
    propose(&members, &device).await;
    for (node, core) in members.all() {
        let mut applied = core.projector().applied();
        in_time(&format!("the restriction at node {node}"), async {
            let legitimacy = || {
                core.projector().read(|fold| fold.device(fold.slot_of(&device.id())?).map(|d| d.legitimacy()))
            };
            while legitimacy() != Some(Legitimacy::Restricted) {
                applied.changed().await.unwrap();
            }
        })
        .await;
        let causes: Vec<Cause> = core
            .projector()
            .read(|fold| fold.operations().map(|operation| operation.cause.clone()).collect());
        assert!(matches!(causes[..], [Cause::Flag(_)]), "ordered once, by policy: {causes:?}");
    }
}

/// A member whose state says something else at every fixed index.
pub(crate) struct Strayed(pub Arc<dyn PeerService>);

impl PeerService for Strayed {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            let mut reply = self.0.answer(from, request).await;
            if let PeerReply::Status(status) = &mut reply {
                status.digests.iter_mut().for_each(|at| at.digest = StateDigest([0; 32]));
            }
            reply
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_members_states_differ_automation_orders_nothing_and_says_why() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let strayed = members.a_follower().await;
    members.board.plug_in(strayed, Arc::new(Strayed(members.core(strayed).receiver())));
    let mut applied = members.core(leader).projector().applied();
    while *applied.borrow_and_update() < DIGEST_INDEX_INTERVAL {
        members.core(leader).proposer().propose_events(&[events::vocabulary::Tick {}.into()]).await.unwrap();
    }
    let mut automation = members.core(leader).automation().watch();
    let stopped = in_time("the difference", automation.wait_for(|now| *now != Automation::Running)).await;
    let Automation::Stopped { peer, .. } = stopped.unwrap().clone() else { panic!("it runs") };
    assert_eq!(peer, strayed);

    let evidence = propose(&members, &Device::new()).await;
    // Ticks go on after the evidence, and each of them would have ordered what is wanted.
    in_time("two ticks", applied.wait_for(|index| *index >= evidence + 2)).await.unwrap();
    let (wanted, ordered) = members
        .core(leader)
        .projector()
        .read(|fold| (fold.wanted_operations().len(), fold.operations().count()));
    assert_eq!((wanted, ordered), (1, 0));
}
