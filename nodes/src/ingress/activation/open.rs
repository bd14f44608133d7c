//! On a P-384 thread: check the signature, open, and judge what needs keys and state.

use super::ActivationWaiter;
use super::gates::Gated;
use crate::bus::Outgoing;
use crate::ingress::desk::{Desk, SUITES_ALLOWED};
use crate::ingress::received::Received;
use crate::ingress::under_way::First;
use events::envelope::{EnvelopeError, ReceivedActivation, VerifiedActivation};
use events::identity::fingerprint::{Comparison, ComponentPolicy, compare};
use events::identity::key::PublicKey;
use events::ids::Slot;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::ComponentKind;
use events::vocabulary::{Event, TamperReported};
use projector::Projector;
use std::sync::Arc;

/// Opens, judges, and proposes; answers whatever does not come that far.
pub fn run(desk: &Arc<Desk>, gated: Gated) {
    let span = gated.received.trace.as_ref().map(|trace| trace.admission());
    let entered = span.as_ref().map(tracing::Span::enter);
    let answers = match open(desk, &gated) {
        Ok((verified, public_key)) => {
            drop(entered);
            judge(desk, gated.received, gated.first, verified, public_key, gated.slot)
        }
        Err(error) => desk.refuse(gated.received.refused(error.reason())).into_iter().collect(),
    };
    for answer in answers {
        desk.outbox.send_blocking(answer);
    }
}

fn open(desk: &Desk, gated: &Gated) -> Result<(VerifiedActivation, PublicKey), EnvelopeError> {
    let public_key = PublicKey::from_bytes(&gated.public_key).map_err(|_| EnvelopeError::NotAuthentic)?;
    let verified = ReceivedActivation::parse(&gated.received.payload)?
        .check_ticket(&desk.keyring.ticket_key, gated.generation, gated.stamp)?
        .check_mac(&gated.pre_shared)?
        .open_with(&desk.engine, &desk.keyring, &public_key)?;
    Ok((verified, public_key))
}

fn judge(
    desk: &Arc<Desk>,
    received: Received,
    first: First<[u8; 32], Received>,
    verified: VerifiedActivation,
    public_key: PublicKey,
    slot: Slot,
) -> Vec<Outgoing> {
    let code = verified.body.code.as_ref().map(|code| desk.keyring.code_digest(code));
    let (applied, allowed, comparison) = desk.projector.read(|fold| {
        let allowed = fold.judge_activation(slot, code.as_ref(), &verified.transcript);
        (fold.applied(), allowed, compare_hardware(fold, slot, &verified))
    });
    let suite = verified.offered.choose(SUITES_ALLOWED);
    let hardware_holds = comparison.passes;
    let waiter = ActivationWaiter {
        suite: suite.unwrap_or(SUITES_ALLOWED[0]),
        mismatched: comparison.mismatched,
        received,
        verified,
        public_key,
        slot,
        code,
        attempts: 0,
        first,
    };
    if let Some((moment, grant)) = waiter.kept(desk) {
        return waiter.seal_grant(desk, moment, &grant);
    }
    if !hardware_holds {
        report(desk, &waiter);
        return waiter.refuse(desk, RejectionReason::NotAuthentic);
    }
    match (allowed, suite) {
        // The code may have been issued, or the device licensed, by an entry that this node has not applied: a refusal
        // that counts is judged at or past what the sender has heard (protocol.md rule 9), and this one is final.
        (Err(_), _) if waiter.verified.ticket.applied > applied => waiter.unavailable(desk),
        (Err(reason), _) => waiter.refuse(desk, reason),
        (Ok(()), Err(error)) => waiter.refuse(desk, error.reason()),
        (Ok(()), Ok(_)) => waiter.propose(desk, None),
    }
}

/// Compares the hardware that the device names with what was burned, by its lot's policy. Another OTP record than
/// the manifest's passes as little as a foreign board.
fn compare_hardware(fold: &Projector, slot: Slot, verified: &VerifiedActivation) -> Comparison {
    let nothing = Comparison { mismatched: Vec::new(), passes: false };
    let Some(device) = fold.device(slot) else { return nothing };
    let Some(lot) = fold.lot(&device.lot()) else { return nothing };
    let Ok(policy) = ComponentPolicy::new(lot.required.clone(), lot.optional.clone(), lot.threshold) else {
        return nothing;
    };
    let compared = compare(device.components(), &verified.body.components, &policy);
    Comparison { passes: compared.passes && device.record() == verified.body.record, ..compared }
}

/// The device signed that its hardware is another: `tamper` hears of it, within the bounds of all such reports, since
/// whoever owns a terminal can sign without end. If the queue is full the refusal is counted all the same.
fn report(desk: &Desk, waiter: &ActivationWaiter) {
    let born = |fold: &Projector| fold.device(waiter.slot).map(|device| (device.lot(), device.record()));
    // The record that the factory burned into the one who signs: what he claims may be another's.
    let Some((lot, record)) = desk.projector.read(born) else { return };
    let (reason, now) = (TamperReason::ComponentMismatch, desk.now_millis());
    let mut book = desk.tamper.lock();
    if !book.hear_record(lot, record, reason, now) || !book.hear_source(waiter.received.source_id(), now) {
        return;
    }
    drop(book);
    let bits = |bits: u16, kind: &ComponentKind| bits | 1u16.checked_shl(*kind as u32).unwrap_or(0);
    let event = Event::from(TamperReported {
        lot,
        record,
        reason,
        mismatched: waiter.mismatched.iter().fold(0, bits),
        source: waiter.received.source_id(),
    });
    desk.propose_for_nobody(&event, waiter.received.payload.last_chunk().copied());
}
