//! The gates before P-384: ticket, mac, bucket per device, in this order (protocol.md rule 15).
//!
//! Invariant: an unknown device costs and says what a bad mac does (rule 16).

use crate::bus::Outgoing;
use crate::ingress::buckets::{Buckets, Rate};
use crate::ingress::desk::Desk;
use crate::ingress::parked::Until;
use crate::ingress::received::Received;
use crate::ingress::{Admitted, Patience};
use events::envelope::ReceivedActivation;
use events::identity::key::PreSharedKey;
use events::ids::{DeviceId, Generation, LogIndex, Slot};
use events::keyring::Purpose;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Wrapped;
use projector::Projector;
use std::sync::Arc;

/// Authentic activations of one device: a customer who mistypes, a terminal that asks again.
const RATE: Rate = Rate { burst: 12, every_millis: 10_000 };
const DEVICES_MAX: usize = 65_536;

pub struct Gates {
    desk: Arc<Desk>,
    buckets: Buckets<DeviceId>,
}

/// Passed all three.
pub struct Gated {
    pub received: Received,
    pub slot: Slot,
    pub pre_shared: PreSharedKey,
    /// Uncompressed point, as the log has it.
    pub public_key: Vec<u8>,
    /// What the ticket was checked against.
    pub generation: Generation,
    pub stamp: Timestamp,
}

/// What the gates must know of the fold.
struct View {
    generation: Generation,
    stamp: Timestamp,
    applied: LogIndex,
    known: Option<Known>,
}

struct Known {
    slot: Slot,
    public_key: Vec<u8>,
    pre_shared: Wrapped,
}

enum Failure {
    Refused(RejectionReason),
    /// No such device, or a bad mac. The ticket proves that its holder heard the cluster after this index.
    NotAuthentic {
        heard_after: LogIndex,
    },
}

impl Gates {
    pub fn new(desk: Arc<Desk>) -> Self {
        Gates { desk, buckets: Buckets::new(RATE, DEVICES_MAX) }
    }

    /// `expired` says that the message has waited long enough for this node to catch up.
    pub fn pass(&mut self, received: Received, expired: bool, admitted: &mut Admitted) -> Option<Gated> {
        let Some(device) = device_of(&received) else {
            return self.refuse(received, RejectionReason::Malformed, admitted);
        };
        let view = self.desk.projector.read(|fold| View::of(fold, &device));
        let (pre_shared, known) = match self.check(&received, device, &view) {
            Ok(pre_shared) => (pre_shared, view.known?),
            Err(Failure::Refused(reason)) => return self.refuse(received, reason, admitted),
            Err(Failure::NotAuthentic { heard_after }) => {
                self.fail(received, heard_after, view.applied, expired, admitted);
                return None;
            }
        };
        if self.is_under_way(&received) {
            return None;
        }
        if !self.buckets.take(device, self.desk.now_millis()) {
            let refused = received.refused(RejectionReason::RateExceeded);
            admitted.answers.extend(self.desk.refuse_device(refused, device));
            return None;
        }
        let View { generation, stamp, .. } = view;
        let Known { slot, public_key, .. } = known;
        Some(Gated { received, slot, pre_shared, public_key, generation, stamp })
    }

    fn check(&self, received: &Received, device: DeviceId, view: &View) -> Result<PreSharedKey, Failure> {
        let refused = |error: events::envelope::EnvelopeError| Failure::Refused(error.reason());
        let parsed = ReceivedActivation::parse(&received.payload).map_err(refused)?;
        let heard_after = parsed.ticket().applied;
        let ticket_key = &self.desk.keyring.ticket_key;
        let ticketed = parsed.check_ticket(ticket_key, view.generation, view.stamp).map_err(refused)?;
        let pre_shared: Option<PreSharedKey> = match &view.known {
            Some(known) => {
                self.desk.unwrap_secret(Purpose::PreSharedKey, device.as_bytes(), 0, &known.pre_shared)
            }
            None => self.desk.unwrap_decoy(PreSharedKey::BYTES),
        };
        let failure = Failure::NotAuthentic { heard_after };
        let Some(pre_shared) = pre_shared else { return Err(failure) };
        match ticketed.check_mac(&pre_shared) {
            Ok(_) if view.known.is_some() => Ok(pre_shared),
            _ => Err(failure),
        }
    }

    /// A failure counts only if it is judged at or past what the sender has heard (protocol.md rule 9): the device
    /// may have been imported by an entry that this node has not applied yet.
    fn fail(
        &self,
        received: Received,
        heard_after: LogIndex,
        applied: LogIndex,
        expired: bool,
        admitted: &mut Admitted,
    ) {
        let patience = self.desk.patience(received.arrived_millis, applied, expired);
        let reason = match patience {
            Patience::Waits if heard_after > applied => {
                return admitted.waiting.push((received, Until::Applied(heard_after)));
            }
            Patience::Over if heard_after > applied => RejectionReason::Unavailable,
            Patience::Waits | Patience::Over | Patience::CaughtUp => RejectionReason::NotAuthentic,
        };
        self.refuse::<()>(received, reason, admitted);
    }

    /// The very same message waits for the log already.
    fn is_under_way(&self, received: &Received) -> bool {
        let tag = received.payload.last_chunk().copied().unwrap_or_default();
        self.desk.batcher.fill(self.desk.applied(), |queue| queue.is_under_way(&tag))
    }

    fn refuse<T>(&self, received: Received, reason: RejectionReason, admitted: &mut Admitted) -> Option<T> {
        let answer: Option<Outgoing> = self.desk.refuse(received.refused(reason));
        admitted.answers.extend(answer);
        None
    }
}

/// The device, if header and subject name the same one (protocol.md rule 13).
fn device_of(received: &Received) -> Option<DeviceId> {
    let device = ReceivedActivation::parse(&received.payload).ok()?.header().device;
    (Some(device) == received.device()).then_some(device)
}

impl View {
    fn of(fold: &Projector, device: &DeviceId) -> Self {
        let known = fold.slot_of(device).and_then(|slot| fold.device(slot)).map(|known| Known {
            slot: known.slot(),
            public_key: known.public_key().to_vec(),
            pre_shared: known.pre_shared_key().clone(),
        });
        View { generation: fold.generation(), stamp: fold.stamp(), applied: fold.applied(), known }
    }
}
