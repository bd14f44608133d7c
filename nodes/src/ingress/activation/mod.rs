//! Activations and re-keys: three gates, then P-384 on its own threads, then the log.
//!
//! ```text
//!   message ─▶ gates.rs ──▶ │ open.rs, on a P-384 thread │ ──▶ wrap, propose ──▶ batch
//!               ticket      │ signature, HPKE            │                         │
//!               mac         │ code, fingerprint, suite   │                         ▼
//!               bucket                                          grant: what apply kept
//!   answer ◀── seal, license token (a P-384 thread) ◀────────────────────────────┘
//! ```
//!
//! Invariants: no P-384 before all three gates (protocol.md rule 15); what is refused once the message is open is
//! refused inside the seal, every code in the same words (rule 16).

mod gates;
mod open;

use super::Admitted;
use super::desk::Desk;
use super::grant::grant_body;
use super::pool::Work;
use super::queue::{Favour, Refused as NoPlace};
use super::received::Received;
use super::settle::{EventWaiter, Moment};
use crate::bus::Outgoing;
use events::envelope::session::EpochBinding;
use events::envelope::{Answer, VerifiedActivation, after_activation, seal_activation_answer};
use events::identity::key::PublicKey;
use events::ids::{CodeDigest, Epoch, LogIndex, Slot};
use events::keyring::Purpose;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{ComponentKind, Suite};
use events::vocabulary::{DeviceActivated, Event};
use gates::Gates;
use projector::outcome::{Grant, Outcome};
use std::sync::Arc;

/// Proposals of one message, if others take the epoch first.
pub(super) const ATTEMPTS_MAX: u32 = 3;

pub(super) struct Activations {
    desk: Arc<Desk>,
    gates: Gates,
}

/// A verified activation on its way into the log.
pub(super) struct ActivationWaiter {
    received: Received,
    verified: VerifiedActivation,
    public_key: PublicKey,
    slot: Slot,
    suite: Suite,
    code: Option<CodeDigest>,
    mismatched: Vec<ComponentKind>,
    attempts: u32,
}

impl Activations {
    pub fn new(desk: Arc<Desk>) -> Self {
        Activations { gates: Gates::new(Arc::clone(&desk)), desk }
    }

    /// `expired` says that the message has waited long enough for this node to catch up.
    pub fn admit(&mut self, received: Received, expired: bool, admitted: &mut Admitted) {
        let Some(gated) = self.gates.pass(received, expired, admitted) else { return };
        // A closure that finds no place is gone with all it holds, so the place is asked for first.
        let Ok(place) = self.desk.pool.reserve(Work::Open) else {
            let refused = gated.received.refused(RejectionReason::Unavailable);
            return admitted.answers.extend(self.desk.refuse(refused));
        };
        let desk = Arc::clone(&self.desk);
        place.submit(move || open::run(&desk, gated));
    }
}

impl ActivationWaiter {
    pub fn received(&self) -> &Received {
        &self.received
    }

    pub fn into_received(self) -> Received {
        self.received
    }

    /// Proposes the activation with the epoch that this node expects, or with the one that apply named.
    fn propose(mut self, desk: &Arc<Desk>, expected: Option<Epoch>) -> Option<Outgoing> {
        if let Some(trace) = &mut self.received.trace {
            trace.propose();
        }
        let (applied, known) = desk.projector.read(|fold| {
            let claimed = self.verified.body.epoch_claimed;
            let known = fold.device(self.slot).map(|device| device.epoch_for_activation(claimed));
            (fold.applied(), known)
        });
        let Some(epoch) = expected.or(known) else {
            return desk.refuse(self.received.refused(RejectionReason::Unavailable));
        };
        let event = Event::from(self.event(desk, epoch));
        // The first proposal of a raced message still stands in the queue's memory.
        let tag = (self.attempts == 0).then(|| self.received.payload.last_chunk().copied()).flatten();
        self.attempts += 1;
        let waiter = EventWaiter::Activation(Box::new(self));
        match desk.batcher.fill(applied, |queue| queue.event(&event, Favour::Common, tag, waiter)) {
            Ok(()) | Err(NoPlace::UnderWay(_)) => None,
            Err(NoPlace::Full(waiter) | NoPlace::Malformed(waiter, _)) => {
                waiter.refuse(desk, RejectionReason::Unavailable)
            }
        }
    }

    /// A fresh server nonce for every proposal; the resumption secret of the new epoch goes into the event, wrapped.
    fn event(&self, desk: &Desk, epoch: Epoch) -> DeviceActivated {
        let VerifiedActivation { device, offered, ticket, body, exporter, transcript, signature } =
            &self.verified;
        let server_nonce = desk.random();
        let binding = EpochBinding { device: *device, epoch, offered: *offered, suite: self.suite };
        let secret = after_activation(exporter, &server_nonce, &binding);
        let wrap = |secret| {
            desk.keyring.wrap(&mut desk.rng(), Purpose::Resumption, device.as_bytes(), epoch, secret)
        };
        DeviceActivated {
            device: *device,
            code: self.code,
            transcript: transcript.clone(),
            signature: signature.as_bytes().to_vec(),
            mismatched: self.mismatched.clone(),
            ticket_generation: ticket.generation,
            ticket_applied: ticket.applied,
            boot: body.boot,
            boot_count: body.boot_count,
            firmware: body.firmware,
            suite: self.suite,
            epoch,
            epoch_claimed: body.epoch_claimed,
            server_nonce,
            resumption: wrap(secret.as_bytes()),
            source: self.received.source_name(),
        }
    }

    /// Answers with what apply made of it. A grant is sealed on a P-384 thread, since it brings a license token.
    pub fn settle(self, desk: &Arc<Desk>, moment: Moment, outcome: Outcome) -> Option<Outgoing> {
        match outcome {
            Outcome::Activated(grant) => {
                desk.counters.activations.add(1);
                let Ok(place) = desk.pool.reserve(Work::Answer) else {
                    // The grant is kept: the same message again finds it.
                    return desk.refuse(self.received.refused(RejectionReason::Unavailable));
                };
                let desk = Arc::clone(desk);
                place.submit(move || {
                    let answer = self.seal_grant(&desk, moment, &grant);
                    desk.outbox.send_blocking(answer);
                });
                None
            }
            Outcome::Raced { expected } if self.attempts < ATTEMPTS_MAX => self.propose(desk, Some(expected)),
            Outcome::Refused(reason) => self.refuse(desk, reason),
            _ => desk.refuse(self.received.refused(RejectionReason::Unavailable)),
        }
    }

    fn seal_grant(mut self, desk: &Desk, moment: Moment, grant: &Grant) -> Outgoing {
        let span = self.received.trace.as_mut().map(|trace| trace.verdict());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let answer = Answer::Granted(grant_body(desk, moment.stamp, grant, Some(&self.public_key)));
        self.seal(desk, grant.granted, &answer)
    }

    /// Refuses inside the seal, which is authentic; counted against source and device, since the device signed.
    fn refuse(self, desk: &Desk, reason: RejectionReason) -> Option<Outgoing> {
        // The transcript is the identity of an activation (rule 17): repeated, by an agent that got no answer or by
        // somebody who captured it, it is no further guess.
        if desk.refused_transcripts.lock().insert(&self.verified.transcript) {
            desk.charge(self.received.source_name(), reason, Some(self.verified.device));
        } else {
            desk.counters.refuse(reason);
        }
        let index = desk.applied();
        Some(self.seal(desk, index, &Answer::Refused(reason)))
    }

    fn seal(self, desk: &Desk, index: LogIndex, answer: &Answer) -> Outgoing {
        let (exporter, request) = (&self.verified.exporter, &self.received.payload);
        let sealed = seal_activation_answer(exporter, request, index, desk.random(), answer);
        Outgoing::to(self.received.inbox, sealed)
    }
}
