//! Resumes: symmetric, microseconds, so that a region can come back at once.
//!
//! ```text
//!   message ─▶ ticket ─▶ open under the secret of `from_epoch` ─▶ bucket ─▶ next secret, wrap ─▶ batch
//!                                     │ under way, or granted before                              │
//!   answer ◀── seal under the same secret ◀── grant: what apply kept, whoever proposed it ◀───────┘
//! ```
//!
//! Invariants: every node answers from what apply kept, never from what it proposed (protocol.md rule 5), and the same
//! resume again is neither logged nor signed for again; unknown device, unknown epoch and bad tag cost and say the same,
//! and wait the same (rules 9 and 16).

use super::activation::ATTEMPTS_MAX;
use super::answered::Said;
use super::buckets::{Buckets, PairBuckets, Rate};
use super::desk::{Desk, NoKey, SUITES_ALLOWED};
use super::grant::grant_body;
use super::parked::Until;
use super::pool::Work;
use super::queue::{Favour, Refused as NoPlace};
use super::received::Received;
use super::settle::{EventWaiter, Moment};
use super::under_way::{First, Joined};
use super::{Admitted, Patience};
use crate::bus::Outgoing;
use bytes::Bytes;
use events::envelope::resume::{ReceivedResume, VerifiedResume};
use events::envelope::session::EpochBinding;
use events::envelope::{Answer, EnvelopeError, ResumptionSecret, after_resume, seal_resume_answer};
use events::identity::key::PublicKey;
use events::ids::{DeviceId, Epoch, Generation, LogIndex, Slot};
use events::keyring::Purpose;
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Suite, Wrapped};
use events::vocabulary::{Event, SessionResumed};
use projector::Projector;
use projector::outcome::{Grant, Outcome};
use std::sync::Arc;

/// Authentic resumes of one device: reboots, and answers that were lost.
const RATE: Rate = Rate { burst: 12, every_millis: 30_000 };
/// The same resume again: anybody may repeat it while its ticket counts.
const REPEATED_RATE: Rate = Rate { burst: 8, every_millis: 5_000 };
const DEVICES_MAX: usize = 262_144;

pub(super) struct Resumes {
    desk: Arc<Desk>,
    buckets: Buckets<DeviceId>,
    repeated: PairBuckets,
}

/// What must be known of the fold to open a resume.
struct View {
    generation: Generation,
    stamp: Timestamp,
    applied: LogIndex,
    from: Option<(Slot, Wrapped)>,
}

enum Failure {
    /// Malformed, or its ticket does not count.
    Refused(RejectionReason),
    /// No such device or epoch, or a bad tag.
    NotAuthentic,
    /// The epoch's key was retired, or this node never had it.
    NoKey,
}

/// Whoever asked first for this resume: device, epoch, the client's nonce.
type FirstOfItsKind = First<(Slot, Epoch, [u8; 16]), ResumeWaiter>;

/// A verified resume on its way into the log.
pub(super) struct ResumeWaiter {
    received: Received,
    verified: VerifiedResume,
    /// Of the epoch that is resumed from.
    secret: ResumptionSecret,
    slot: Slot,
    suite: Suite,
    attempts: u32,
    /// Who came with the same while it was under way, if this is the first.
    first: Option<FirstOfItsKind>,
}

impl Resumes {
    pub fn new(desk: Arc<Desk>) -> Self {
        Resumes { desk, buckets: Buckets::new(RATE, DEVICES_MAX), repeated: PairBuckets::new(REPEATED_RATE) }
    }

    /// `expired` says that the message has waited long enough for this node to catch up.
    pub fn admit(&mut self, received: Received, expired: bool, admitted: &mut Admitted) {
        let span = received.trace.as_ref().map(|trace| trace.admission());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let Some((device, from_epoch)) = named(&received) else {
            return self.refuse(received, RejectionReason::Malformed, admitted);
        };
        if self.desk.failures.are_too_many(&received, self.desk.now_millis()) {
            return self.refuse(received, RejectionReason::RateExceeded, admitted);
        }
        let view = self.desk.projector.read(|fold| View::of(fold, device, from_epoch));
        match self.open(&received, device, from_epoch, &view) {
            Ok((verified, secret, slot)) => self.pass(received, verified, secret, slot, admitted),
            Err(Failure::NotAuthentic) => self.fail(received, view.applied, expired, admitted),
            Err(Failure::Refused(reason)) => self.refuse(received, reason, admitted),
            Err(Failure::NoKey) => {
                let refused = received.refused(RejectionReason::NotAuthentic);
                admitted.answers.extend(self.desk.refuse_unjudged(refused));
            }
        }
    }

    fn open(
        &self,
        received: &Received,
        device: DeviceId,
        from_epoch: Epoch,
        view: &View,
    ) -> Result<(VerifiedResume, ResumptionSecret, Slot), Failure> {
        let refused = |error: EnvelopeError| Failure::Refused(error.reason());
        let ticket_key = &self.desk.keyring.ticket_key;
        let parsed = ReceivedResume::parse(&received.payload).map_err(refused)?;
        let ticketed = parsed.check_ticket(ticket_key, view.generation, view.stamp).map_err(refused)?;
        let secret: Result<ResumptionSecret, NoKey> = match &view.from {
            Some((_, wrapped)) => {
                self.desk.unwrap_secret(Purpose::Resumption, device.as_bytes(), from_epoch, wrapped)
            }
            None => self.desk.unwrap_decoy(ResumptionSecret::BYTES),
        };
        let secret = secret.or(Err(Failure::NoKey))?;
        match (ticketed.open(&secret), &view.from) {
            (Ok(verified), Some((slot, _))) => Ok((verified, secret, *slot)),
            (Ok(_), None) | (Err(_), _) => Err(Failure::NotAuthentic),
        }
    }

    fn pass(
        &mut self,
        received: Received,
        verified: VerifiedResume,
        secret: ResumptionSecret,
        slot: Slot,
        admitted: &mut Admitted,
    ) {
        let device = verified.head.device;
        let key = (slot, verified.head.from_epoch, verified.head.client_nonce);
        let suite = verified.head.offered.choose(SUITES_ALLOWED);
        let chosen = suite.unwrap_or(SUITES_ALLOWED[0]);
        let waiter =
            ResumeWaiter { received, verified, secret, slot, suite: chosen, attempts: 0, first: None };
        if self.desk.resumes_under_way.contains(&key) && !self.may_repeat(&waiter) {
            return self.refuse(waiter.received, RejectionReason::RateExceeded, admitted);
        }
        let mut waiter = match self.desk.resumes_under_way.join(key, waiter) {
            Joined::First(first, waiter) => ResumeWaiter { first: Some(first), ..waiter },
            Joined::Companion => return,
            Joined::Full(waiter) => {
                return self.refuse(waiter.received, RejectionReason::RateExceeded, admitted);
            }
        };
        // Committed, but not applied here: what was granted is not known yet.
        let tag = waiter.received.payload.last_chunk().copied().unwrap_or_default();
        if self.desk.batcher.fill(self.desk.applied(), |queue| queue.is_under_way(&tag)) {
            return;
        }
        if let Some((stamp, grant)) = waiter.kept(&self.desk) {
            waiter.first = None;
            return admitted.answers.extend(self.repeat(waiter, stamp, grant));
        }
        let now = self.desk.now_millis();
        if !self.buckets.take(device, now) {
            // It was opened for nothing, whoever owns the device.
            self.desk.failures.note(&waiter.received, now);
            let refused = waiter.received.refused(RejectionReason::RateExceeded);
            return admitted.answers.extend(self.desk.refuse_device(refused, device));
        }
        admitted.answers.extend(match suite {
            Ok(_) => waiter.propose(&self.desk, None),
            Err(error) => waiter.refuse(&self.desk, error.reason()),
        });
    }

    /// Answers from what apply kept. The source is charged for too many: anybody may repeat a message.
    fn repeat(&mut self, waiter: ResumeWaiter, stamp: Timestamp, grant: Box<Grant>) -> Vec<Outgoing> {
        if !self.may_repeat(&waiter) {
            let refused = waiter.received.refused(RejectionReason::RateExceeded);
            return self.desk.refuse(refused).into_iter().collect();
        }
        let answered = self.desk.answered.lock().find(&waiter.received.payload);
        match answered {
            Some((Said::Granted(epoch), sealed)) if epoch == grant.epoch && grant.license.is_some() => {
                self.desk.counters.resumes.add(1);
                vec![Outgoing::to(waiter.received.inbox, sealed)]
            }
            Some(_) | None => answer(vec![waiter], &self.desk, stamp, grant),
        }
    }

    /// What repeats costs its source a token, and the device none. One too many was opened for nothing, as what is not
    /// authentic is.
    fn may_repeat(&mut self, waiter: &ResumeWaiter) -> bool {
        let now = self.desk.now_millis();
        let may = self.repeated.take(waiter.slot, waiter.received.source(), now);
        if !may {
            self.desk.failures.note(&waiter.received, now);
        }
        may
    }

    /// Not authentic for all that this node knows; it may not know the epoch yet (protocol.md rule 9).
    fn fail(&self, received: Received, applied: LogIndex, expired: bool, admitted: &mut Admitted) {
        let reason = match self.desk.patience(received.arrived_millis, applied, expired) {
            Patience::Waits => return admitted.waiting.push((received, Until::CaughtUp)),
            // The sender heard of a log that this node has not applied: not for this node to judge.
            Patience::Over if ticket_applied(&received).is_some_and(|ticket| ticket > applied) => {
                RejectionReason::Unavailable
            }
            Patience::CaughtUp | Patience::Over => RejectionReason::NotAuthentic,
        };
        self.desk.failures.note(&received, self.desk.now_millis());
        self.refuse(received, reason, admitted);
    }

    fn refuse(&self, received: Received, reason: RejectionReason, admitted: &mut Admitted) {
        admitted.answers.extend(self.desk.refuse(received.refused(reason)));
    }
}

/// The applied index of the resume's ticket.
fn ticket_applied(received: &Received) -> Option<LogIndex> {
    Some(ReceivedResume::parse(&received.payload).ok()?.head().ticket.applied)
}

/// Device and epoch, if header and subject name the same device (protocol.md rule 13).
fn named(received: &Received) -> Option<(DeviceId, Epoch)> {
    let parsed = ReceivedResume::parse(&received.payload).ok()?;
    let head = parsed.head();
    (Some(head.device) == received.device()).then_some((head.device, head.from_epoch))
}

impl View {
    fn of(fold: &Projector, device: DeviceId, from_epoch: Epoch) -> Self {
        let from = fold.slot_of(&device).and_then(|slot| {
            let epoch = fold.device(slot)?.epoch_view(from_epoch)?;
            Some((slot, epoch.resumption()))
        });
        View { generation: fold.generation(), stamp: fold.stamp(), applied: fold.applied(), from }
    }
}

impl ResumeWaiter {
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// What was granted for this very message before, and the log's time.
    fn kept(&self, desk: &Desk) -> Option<(Timestamp, Box<Grant>)> {
        let head = &self.verified.head;
        desk.projector.read(|fold| {
            let grant = fold.device(self.slot)?.resumed_before(head.from_epoch, &head.client_nonce)?;
            Some((fold.stamp(), grant))
        })
    }

    /// Proposes the next epoch: the one that this node expects, or the one that apply named.
    fn propose(mut self, desk: &Arc<Desk>, expected: Option<Epoch>) -> Vec<Outgoing> {
        if let Some(trace) = &mut self.received.trace {
            trace.propose();
        }
        let (applied, known) = desk
            .projector
            .read(|fold| (fold.applied(), fold.device(self.slot).map(|device| device.next_epoch())));
        let Some(epoch) = expected.or(known) else {
            return self.unavailable(desk);
        };
        let event = Event::from(self.event(desk, epoch));
        // The first proposal of a raced message still stands in the queue's memory.
        let tag = (self.attempts == 0).then(|| self.received.payload.last_chunk().copied()).flatten();
        self.attempts += 1;
        let waiter = EventWaiter::Resume(Box::new(self));
        match desk.batcher.fill(applied, |queue| queue.event(&event, Favour::Common, tag, waiter)) {
            Ok(()) | Err(NoPlace::UnderWay(_)) => Vec::new(),
            Err(NoPlace::Full(waiter) | NoPlace::Malformed(waiter, _)) => {
                waiter.refuse(desk, RejectionReason::Unavailable)
            }
        }
    }

    fn event(&self, desk: &Desk, epoch: Epoch) -> SessionResumed {
        let VerifiedResume { head, body } = &self.verified;
        let server_nonce = desk.random();
        let binding = EpochBinding { device: head.device, epoch, offered: head.offered, suite: self.suite };
        let secret = after_resume(&self.secret, &head.client_nonce, &server_nonce, &binding);
        let subject = head.device.as_bytes();
        let wrapped =
            desk.keyring.wrap(&mut desk.rng(), Purpose::Resumption, subject, epoch, secret.as_bytes());
        SessionResumed {
            device: head.device,
            from_epoch: head.from_epoch,
            epoch,
            client_nonce: head.client_nonce,
            server_nonce,
            ticket_generation: head.ticket.generation,
            ticket_applied: head.ticket.applied,
            boot: body.boot,
            boot_count: body.boot_count,
            firmware: body.firmware,
            suite: self.suite,
            resumption: wrapped,
            source: self.received.source_id(),
        }
    }

    /// Answers with what apply made of it, companions too.
    pub fn settle(mut self, desk: &Arc<Desk>, moment: Moment, outcome: Outcome) -> Vec<Outgoing> {
        match outcome {
            Outcome::Resumed(grant) => {
                let mut waiters = self.companions();
                waiters.insert(0, self);
                answer(waiters, desk, moment.stamp, grant)
            }
            Outcome::Raced { expected } if self.attempts < ATTEMPTS_MAX => self.propose(desk, Some(expected)),
            Outcome::Refused(reason) => self.refuse(desk, reason),
            _ => self.unavailable(desk),
        }
    }

    fn companions(&mut self) -> Vec<ResumeWaiter> {
        self.first.take().map(First::companions).unwrap_or_default()
    }

    /// Refuses outside of the seal, all who wait.
    pub fn unavailable(mut self, desk: &Desk) -> Vec<Outgoing> {
        let companions = self.companions();
        let all = std::iter::once(self).chain(companions);
        all.filter_map(|waiter| desk.refuse(waiter.received.refused(RejectionReason::Unavailable))).collect()
    }

    /// Refuses inside the seal, all who wait. Anybody may repeat the message, so the source is charged, not the device.
    fn refuse(mut self, desk: &Desk, reason: RejectionReason) -> Vec<Outgoing> {
        let index = desk.applied();
        let companions = self.companions();
        let refuse = |waiter: ResumeWaiter| {
            desk.charge(waiter.received.source_id(), reason, None);
            let (request, sealed) = waiter.seal(desk, index, &Answer::Refused(reason));
            Outgoing::to(request.inbox, sealed)
        };
        std::iter::once(self).chain(companions).map(refuse).collect()
    }

    /// The request, and what answers it.
    fn seal(mut self, desk: &Desk, index: LogIndex, answer: &Answer) -> (Received, Bytes) {
        let span = self.received.trace.as_mut().map(|trace| trace.verdict());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let head = &self.verified.head;
        let request = &self.received.payload;
        let sealed = seal_resume_answer(&self.secret, head, request, index, desk.random(), answer);
        (self.received, sealed.into())
    }
}

/// A license token is P-384 work, and so made on those threads, once for all who wait. When they are busy nobody is
/// answered with a grant: the fold takes a lease for held once its epoch is spoken under, so that none may lack its token.
/// The same message again finds the grant.
fn answer(
    waiters: Vec<ResumeWaiter>,
    desk: &Arc<Desk>,
    stamp: Timestamp,
    grant: Box<Grant>,
) -> Vec<Outgoing> {
    if grant.license.is_none() {
        desk.counters.resumes.add(waiters.len());
        let answer = Answer::Granted(grant_body(desk, stamp, &grant, None));
        let seal = |waiter: ResumeWaiter| {
            let (request, sealed) = waiter.seal(desk, grant.granted, &answer);
            Outgoing::to(request.inbox, sealed)
        };
        return waiters.into_iter().map(seal).collect();
    }
    let Ok(place) = desk.pool.reserve(Work::Answer) else {
        return waiters.into_iter().flat_map(|waiter| waiter.unavailable(desk)).collect();
    };
    desk.counters.resumes.add(waiters.len());
    let desk = Arc::clone(desk);
    place.submit(move || {
        let key = desk.projector.read(|fold| fold.device(grant.slot).map(|d| d.public_key().to_vec()));
        let key = key.and_then(|key| PublicKey::from_bytes(&key).ok());
        let answer = Answer::Granted(grant_body(&desk, stamp, &grant, key.as_ref()));
        for waiter in waiters {
            let (request, sealed) = waiter.seal(&desk, grant.granted, &answer);
            desk.answered.lock().keep(&request.payload, Said::Granted(grant.epoch), sealed.clone());
            desk.outbox.send_blocking(Outgoing::to(request.inbox, sealed));
        }
    });
    Vec::new()
}
