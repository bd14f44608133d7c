//! The gates before P-384: ticket, mac, whether it was answered or is under way, bucket per device, in this order
//! (protocol.md rule 15).
//!
//! Invariants: an unknown device costs and says what a bad mac does (rule 16); the very same message again costs its
//! source a token, and neither P-384 nor a token of the device.

use crate::bus::Outgoing;
use crate::ingress::answered::Said;
use crate::ingress::buckets::{Buckets, PairBuckets, Rate};
use crate::ingress::desk::{Desk, NoKey};
use crate::ingress::parked::Until;
use crate::ingress::received::Received;
use crate::ingress::under_way::{First, Joined};
use crate::ingress::{Admitted, Patience};
use events::envelope::ReceivedActivation;
use events::identity::key::PreSharedKey;
use events::ids::{DeviceId, Generation, LogIndex, Slot};
use events::keyring::Purpose;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Wrapped;
use projector::Projector;
use projector::outcome::Grant;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Authentic activations of one device: a customer who mistypes, a terminal that asks again.
const RATE: Rate = Rate { burst: 12, every_millis: 10_000 };
const DEVICES_MAX: usize = 65_536;
/// The same activation again: anybody may repeat it while its ticket counts.
const REPEATED_RATE: Rate = Rate { burst: 8, every_millis: 5_000 };

pub struct Gates {
    desk: Arc<Desk>,
    buckets: Buckets<DeviceId>,
    repeated: PairBuckets,
}

/// Passed all of them.
pub struct Gated {
    pub received: Received,
    pub slot: Slot,
    pub pre_shared: PreSharedKey,
    /// Uncompressed point, as the log has it.
    pub public_key: Vec<u8>,
    /// What the ticket was checked against.
    pub generation: Generation,
    pub stamp: Timestamp,
    /// Those with the same transcript that come meanwhile.
    pub first: First<[u8; 32], Received>,
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
    /// This node's keyring lacks the key of the device's secret: another node may have it.
    NoKey,
}

impl Gates {
    pub fn new(desk: Arc<Desk>) -> Self {
        Gates { desk, buckets: Buckets::new(RATE, DEVICES_MAX), repeated: PairBuckets::new(REPEATED_RATE) }
    }

    /// `expired` says that the message has waited long enough for this node to catch up.
    pub fn pass(&mut self, received: Received, expired: bool, admitted: &mut Admitted) -> Option<Gated> {
        let Some(device) = device_of(&received) else {
            return self.refuse(received, RejectionReason::Malformed, admitted);
        };
        if self.desk.failures.are_too_many(&received, self.desk.now_millis()) {
            return self.refuse(received, RejectionReason::RateExceeded, admitted);
        }
        let view = self.desk.projector.read(|fold| View::of(fold, &device));
        let ((pre_shared, heard_after), known) = match self.check(&received, device, &view) {
            Ok(checked) => (checked, view.known?),
            Err(Failure::Refused(reason)) => return self.refuse(received, reason, admitted),
            Err(Failure::NotAuthentic { heard_after }) => {
                self.fail(received, heard_after, view.applied, expired, admitted);
                return None;
            }
            Err(Failure::NoKey) => {
                let refused = received.refused(RejectionReason::Unavailable);
                admitted.answers.extend(self.desk.refuse_unjudged(refused));
                return None;
            }
        };
        let View { generation, stamp, applied, .. } = view;
        // What its sender was told of, a code or a license, may lie in an entry that this node has not applied.
        let patience = self.desk.patience(received.arrived_millis, applied, expired);
        if heard_after > applied && matches!(patience, Patience::Waits) {
            admitted.waiting.push((received, Until::Applied(heard_after)));
            return None;
        }
        let Known { slot, public_key, .. } = known;
        let (received, first) = self.once(received, slot, device, admitted)?;
        Some(Gated { received, slot, pre_shared, public_key, generation, stamp, first })
    }

    /// Lets through what has to be opened: answers what was answered, and lets wait what is under way.
    fn once(
        &mut self,
        received: Received,
        slot: Slot,
        device: DeviceId,
        admitted: &mut Admitted,
    ) -> Option<(Received, First<[u8; 32], Received>)> {
        let transcript = ReceivedActivation::parse(&received.payload).ok()?.transcript().to_vec();
        let key: [u8; 32] = Sha256::digest(&transcript).into();
        let under_way = self.desk.activations_under_way.contains(&key);
        let kept = self.desk.projector.read(|fold| fold.device(slot)?.activated_before(&transcript));
        let answered = self.desk.answered.lock().find(&received.payload);
        let answered =
            answered.filter(|(said, _)| self.still_holds(said, slot, kept.as_deref(), &transcript));
        let now = self.desk.now_millis();
        // Anybody may repeat what was granted, or what he saw: the source is charged, not the device.
        let repeats = under_way || kept.is_some() || answered.is_some();
        if repeats && !self.repeated.take(slot, received.source(), now) {
            self.desk.failures.note(&received, now);
            return self.refuse(received, RejectionReason::RateExceeded, admitted);
        }
        if let Some((_, sealed)) = answered {
            admitted.answers.push(Outgoing::to(received.inbox, sealed));
            return None;
        }
        let (first, received) = match self.desk.activations_under_way.join(key, received) {
            Joined::First(first, received) => (first, received),
            Joined::Companion => return None,
            Joined::Full(received) => return self.refuse(received, RejectionReason::RateExceeded, admitted),
        };
        if self.is_committed(&received) {
            return None;
        }
        if !repeats && !self.buckets.take(device, now) {
            // It was opened for nothing, whoever owns the device.
            self.desk.failures.note(&received, now);
            let refused = received.refused(RejectionReason::RateExceeded);
            admitted.answers.extend(self.desk.refuse_device(refused, device));
            return None;
        }
        Some((received, first))
    }

    /// Whether the log still says what an answer said.
    fn still_holds(&self, said: &Said, slot: Slot, kept: Option<&Grant>, transcript: &[u8]) -> bool {
        match said {
            Said::Granted(epoch) => kept.is_some_and(|grant| grant.epoch == *epoch),
            Said::Refused(code, judged) => {
                let judge = |fold: &Projector| fold.judge_activation(slot, code.as_ref(), transcript);
                kept.is_none() && self.desk.projector.read(judge) == *judged
            }
        }
    }

    /// The key, and the index after which its holder heard the cluster.
    fn check(
        &self,
        received: &Received,
        device: DeviceId,
        view: &View,
    ) -> Result<(PreSharedKey, LogIndex), Failure> {
        let refused = |error: events::envelope::EnvelopeError| Failure::Refused(error.reason());
        let parsed = ReceivedActivation::parse(&received.payload).map_err(refused)?;
        let heard_after = parsed.ticket().applied;
        let ticket_key = &self.desk.keyring.ticket_key;
        let ticketed = parsed.check_ticket(ticket_key, view.generation, view.stamp).map_err(refused)?;
        let pre_shared: Result<PreSharedKey, NoKey> = match &view.known {
            Some(known) => {
                self.desk.unwrap_secret(Purpose::PreSharedKey, device.as_bytes(), 0, &known.pre_shared)
            }
            None => self.desk.unwrap_decoy(PreSharedKey::BYTES),
        };
        let pre_shared = pre_shared.or(Err(Failure::NoKey))?;
        match ticketed.check_mac(&pre_shared) {
            Ok(_) if view.known.is_some() => Ok((pre_shared, heard_after)),
            _ => Err(Failure::NotAuthentic { heard_after }),
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
        self.desk.failures.note(&received, self.desk.now_millis());
        self.refuse::<()>(received, reason, admitted);
    }

    /// The very same message is in the log, and not applied here yet.
    fn is_committed(&self, received: &Received) -> bool {
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

impl Gated {
    /// Refuses outside of the seal, all who wait.
    pub fn unavailable(self, desk: &Desk) -> Vec<Outgoing> {
        let all = std::iter::once(self.received).chain(self.first.companions());
        all.filter_map(|received| desk.refuse(received.refused(RejectionReason::Unavailable))).collect()
    }
}

impl View {
    fn of(fold: &Projector, device: &DeviceId) -> Self {
        let known = fold.slot_of(device).and_then(|slot| fold.device(slot)).map(|known| Known {
            slot: known.slot(),
            public_key: known.public_key().to_vec(),
            pre_shared: known.pre_shared_key(),
        });
        View { generation: fold.generation(), stamp: fold.stamp(), applied: fold.applied(), known }
    }
}
