//! This node's places in the queue group: one per kind of message, so that a flood of one kind fills its own buffer
//! and not that of heartbeats. A node that cannot commit leaves, and its region's messages go to others.

use crate::bus::subject::UpKind;
use crate::bus::{Bus, BusError, Message, QUEUE_GROUP, Subscription};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// Heartbeats taken at once: enough to share a lock, few enough to answer soon.
const HEARTBEATS_MAX: usize = 512;
/// Messages of another kind taken at once.
const OTHERS_MAX: usize = 64;

pub(super) struct Membership {
    bus: Arc<dyn Bus>,
    places: Vec<Place>,
}

struct Place {
    kind: UpKind,
    subscription: Box<dyn Subscription>,
    /// It left the group; what was delivered before still comes.
    left: bool,
}

impl Membership {
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Membership { bus, places: Vec::new() }
    }

    /// Whether this node is in the group with every kind.
    pub fn is_member(&self) -> bool {
        UpKind::ALL.iter().all(|kind| self.places.iter().any(|place| place.kind == *kind && !place.left))
    }

    /// Takes the places that are missing.
    pub async fn join(&mut self) -> Result<(), BusError> {
        // Heartbeats come first in every burst.
        for kind in [
            UpKind::Heartbeat,
            UpKind::Resume,
            UpKind::Hello,
            UpKind::Activation,
            UpKind::Tamper,
            UpKind::Update,
        ] {
            if self.places.iter().any(|place| place.kind == kind && !place.left) {
                continue;
            }
            let subscription = self.bus.subscribe(&kind.pattern(), QUEUE_GROUP).await?;
            self.places.push(Place { kind, subscription, left: false });
        }
        tracing::info!("joined the queue group");
        Ok(())
    }

    /// Leaves the group.
    pub async fn leave(&mut self) {
        for place in self.places.iter_mut().filter(|place| !place.left) {
            place.left = true;
            if let Err(error) = place.subscription.leave().await {
                tracing::warn!(%error, kind = place.kind.as_str(), "cannot leave the queue group in order");
            }
        }
        tracing::info!("left the queue group");
    }

    /// Nothing was delivered that was not taken, and nothing will be.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Waits for messages and takes what is there. A caller may stop waiting at any moment.
    pub async fn next_burst(&mut self, into: &mut Vec<Message>) {
        poll_fn(|cx| {
            let mut ended = false;
            self.places.retain_mut(|place| {
                let max = if place.kind == UpKind::Heartbeat { HEARTBEATS_MAX } else { OTHERS_MAX };
                let goes_on = place.subscription.poll_burst(cx, into, max) != Poll::Ready(false);
                ended |= !goes_on;
                goes_on
            });
            // A place that ended is news too: the caller may want to join again.
            if into.is_empty() && !ended { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}
