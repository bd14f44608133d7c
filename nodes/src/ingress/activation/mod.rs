//! Activations and re-keys: three gates, then P-384 on its own threads, then the log.
//!
//! ```text
//!   message ─▶ gates.rs ──▶ │ open.rs, on a P-384 thread │ ──▶ wrap, propose ──▶ batch
//!               ticket      │ signature, HPKE            │                         │
//!               mac         │ code, fingerprint, suite   │                         ▼
//!               answered or under way                           grant: what apply kept
//!               bucket                                                            │
//!   answer ◀── seal, license token (a P-384 thread) ◀────────────────────────────┘
//! ```
//!
//! Invariants: no P-384 before all gates (protocol.md rule 15); what is refused once the message is open is
//! refused inside the seal, every code in the same words (rule 16); the same transcript again is neither opened while
//! the first is under way, nor proposed once it was granted.

mod gates;
mod open;

use super::Admitted;
use super::answered::Said;
use super::desk::Desk;
use super::grant::grant_body;
use super::pool::Work;
use super::queue::{Favour, Refused as NoPlace};
use super::received::Received;
use super::settle::{EventWaiter, Moment};
use super::under_way::First;
use crate::bus::Outgoing;
use bytes::Bytes;
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
    /// Those with the same transcript that came while it was under way. Their mac verified, under tickets of their own.
    first: First<[u8; 32], Received>,
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
            return admitted.answers.extend(gated.unavailable(&self.desk));
        };
        let desk = Arc::clone(&self.desk);
        place.submit(move || open::run(&desk, gated));
    }
}

impl ActivationWaiter {
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// What was granted for this transcript before, and the moment of this node's fold.
    fn kept(&self, desk: &Desk) -> Option<(Moment, Box<Grant>)> {
        desk.projector.read(|fold| {
            let grant = fold.device(self.slot)?.activated_before(&self.verified.transcript)?;
            Some((Moment { index: fold.applied(), stamp: fold.stamp() }, grant))
        })
    }

    /// Proposes the activation with the epoch that this node expects, or with the one that apply named.
    fn propose(mut self, desk: &Arc<Desk>, expected: Option<Epoch>) -> Vec<Outgoing> {
        if let Some(trace) = &mut self.received.trace {
            trace.propose();
        }
        let (applied, known) = desk.projector.read(|fold| {
            let claimed = self.verified.body.epoch_claimed;
            let known = fold.device(self.slot).map(|device| device.epoch_for_activation(claimed));
            (fold.applied(), known)
        });
        let Some(epoch) = expected.or(known) else {
            return self.unavailable(desk);
        };
        let event = Event::from(self.event(desk, epoch));
        // The first proposal of a raced message still stands in the queue's memory.
        let tag = (self.attempts == 0).then(|| self.received.payload.last_chunk().copied()).flatten();
        self.attempts += 1;
        let waiter = EventWaiter::Activation(Box::new(self));
        match desk.batcher.fill(applied, |queue| queue.event(&event, Favour::Common, tag, waiter)) {
            Ok(()) | Err(NoPlace::UnderWay(_)) => Vec::new(),
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
            source: self.received.source_id(),
        }
    }

    /// Answers with what apply made of it. A grant is sealed on a P-384 thread, since it brings a license token.
    pub fn settle(self, desk: &Arc<Desk>, moment: Moment, outcome: Outcome) -> Vec<Outgoing> {
        match outcome {
            Outcome::Activated(grant) => {
                let Ok(place) = desk.pool.reserve(Work::Answer) else {
                    // The grant is kept: the same message again finds it.
                    return self.unavailable(desk);
                };
                let desk = Arc::clone(desk);
                place.submit(move || {
                    for answer in self.seal_grant(&desk, moment, &grant) {
                        desk.outbox.send_blocking(answer);
                    }
                });
                Vec::new()
            }
            Outcome::Raced { expected } if self.attempts < ATTEMPTS_MAX => self.propose(desk, Some(expected)),
            Outcome::Refused(reason) => self.refuse(desk, reason),
            _ => self.unavailable(desk),
        }
    }

    /// P-384 work: for its own threads.
    fn seal_grant(mut self, desk: &Desk, moment: Moment, grant: &Grant) -> Vec<Outgoing> {
        desk.counters.activations.add(1);
        let span = self.received.trace.as_mut().map(|trace| trace.verdict());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let answer = Answer::Granted(grant_body(desk, moment.stamp, grant, Some(&self.public_key)));
        self.seal(desk, grant.granted, &answer, &Said::Granted(grant.epoch))
    }

    /// Refuses outside of the seal, all who wait.
    pub fn unavailable(self, desk: &Desk) -> Vec<Outgoing> {
        let all = std::iter::once(self.received).chain(self.first.companions());
        all.filter_map(|received| desk.refuse(received.refused(RejectionReason::Unavailable))).collect()
    }

    /// Refuses inside the seal, which is authentic; counted against source and device, since the device signed.
    fn refuse(self, desk: &Desk, reason: RejectionReason) -> Vec<Outgoing> {
        // The transcript is the identity of an activation (rule 17): repeated, by an agent that got no answer or by
        // somebody who captured it, it is no further guess.
        if desk.refused_transcripts.lock().insert(&self.verified.transcript) {
            desk.charge(self.received.source_id(), reason, Some(self.verified.device));
        } else {
            desk.counters.refuse(reason);
        }
        // The box before a transfer hears the same words as everybody whose code is refused (rule 16), and is not
        // counted as one that guesses.
        let told = match reason {
            RejectionReason::NotLicensed if self.code.is_some() => RejectionReason::CodeRefused,
            other => other,
        };
        let (index, code) = (desk.applied(), self.code);
        let transcript = &self.verified.transcript;
        let judged = desk.projector.read(|fold| fold.judge_activation(self.slot, code.as_ref(), transcript));
        self.seal(desk, index, &Answer::Refused(told), &Said::Refused(code, judged))
    }

    /// Answers all who wait, each in words that are bound to his own request, and keeps the answers.
    fn seal(self, desk: &Desk, index: LogIndex, answer: &Answer, said: &Said) -> Vec<Outgoing> {
        let exporter = &self.verified.exporter;
        let seal = |received: Received| {
            let request = &received.payload;
            let sealed: Bytes =
                seal_activation_answer(exporter, request, index, desk.random(), answer).into();
            desk.answered.lock().keep(request, said.clone(), sealed.clone());
            Outgoing::to(received.inbox, sealed)
        };
        std::iter::once(self.received).chain(self.first.companions()).map(seal).collect()
    }
}
