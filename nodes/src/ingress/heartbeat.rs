//! Heartbeats, a burst at a time: find the session, open, judge, place into the next batch.
//!
//! ```text
//!   burst ─▶ header ─▶ session (kept, or unwrapped from the fold) ─▶ open ─▶ judge ─┬─▶ row or event of the batch
//!                                                              one read lock ──┘      ├─▶ verdict from applied state
//!                                                                                      ├─▶ wait: this node lags
//!                                                                                      └─▶ refusal, counted
//! ```
//!
//! Invariants: the fold is locked twice a burst at most, and never while something is opened; nothing is counted
//! against a device but what its own tag proves; unknown devices and bad tags cost and say the same (rule 16).

use super::buckets::{PairBuckets, Rate, SlotBuckets};
use super::desk::{Desk, NoKey};
use super::opened::Opened;
use super::parked::Until;
use super::queue::{Favour, Queue, Refused as NoPlace, RowPlace, Toll};
use super::received::Received;
use super::sessions::{Found, Session, Sessions};
use super::settle::EventWaiter;
use super::under_way::Joined;
use super::{Admitted, Patience};
use crate::egress::Sealer;
use crate::egress::verdict::directive;
use events::batch::EncodedEvent;
use events::envelope::{Header, HeartbeatStatus, MessageKind, ResumptionSecret, SessionKeys, VerdictBody};
use events::ids::{DeviceId, LogIndex, Slot};
use events::keyring::Purpose;
use events::limits::SPOOL_BODIES_MAX;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, Suite, Wrapped};
use projector::{DeviceView, Judgement, Projector};
use std::sync::Arc;

/// A device may beat twice as often as it was told, and make up for this many beats at once.
const BEATS_BURST: u32 = 32;
/// Answers to retries and stale beats of one device from one source: they cost a seal and no log.
const RETRIES: Rate = Rate { burst: 16, every_millis: 500 };

/// The way of heartbeats; one owner, no locks of its own.
pub(super) struct Heartbeats {
    desk: Arc<Desk>,
    sessions: Sessions,
    beats: Beats,
    retries: PairBuckets,
    sealer: Sealer,
    /// Opens what has no session, because its secret does not unwrap.
    decoy: SessionKeys,
}

/// What devices may add to the log.
#[derive(Default)]
struct Beats {
    heartbeats: SlotBuckets,
    /// Bodies from spools.
    spooled: SlotBuckets,
}

/// A heartbeat whose header is read.
struct Headed {
    received: Received,
    header: Header,
    session: Option<Arc<Session>>,
    /// A tag verified under it before.
    proven: bool,
}

/// What opening gave. Neither is boxed: forged heartbeats must not cost an allocation each.
enum Opening {
    Opened(Opened),
    Unopened(Unopened),
}

/// A heartbeat that does not open.
struct Unopened {
    received: Received,
    reason: RejectionReason,
    /// What its sender says to have seen.
    seen: LogIndex,
    /// It was tried under a key of its own, or of nobody if there is none such; else this node lacks its key.
    judged: bool,
}

/// What becomes of an authentic heartbeat.
enum Decision {
    Propose(Place),
    Answer(VerdictBody),
    Replay {
        /// It came through the source that the device speaks through.
        own: bool,
    },
    /// Its sender knows more of the log than this node.
    Wait,
    /// As above, and it waited long enough.
    Unavailable,
    /// Its epoch is not kept any more.
    Gone,
}

/// How it goes into the batch.
#[derive(Clone, Copy)]
struct Place {
    routine: bool,
    /// It proves that two hold one secret.
    evidence: bool,
    favour: Favour,
    rate: Rate,
}

impl Heartbeats {
    pub fn new(desk: Arc<Desk>, sessions_max: usize) -> Self {
        let decoy = ResumptionSecret::from_bytes(desk.random::<48>());
        let nobody = DeviceId::from_bytes([0; 16]);
        Heartbeats {
            sealer: Sealer::new(Arc::clone(&desk.entropy)),
            sessions: Sessions::new(sessions_max),
            beats: Beats::default(),
            retries: PairBuckets::new(RETRIES),
            decoy: decoy.session_keys(nobody, 0, Suite::Aes256Gcm),
            desk,
        }
    }

    /// Admits all of `burst`, which is empty then. `expired` says that its messages have waited long enough.
    pub fn admit(&mut self, burst: &mut Vec<Received>, expired: bool, admitted: &mut Admitted) {
        let (mut headed, now) = (Vec::<Headed>::with_capacity(burst.len()), self.desk.now_millis());
        for received in burst.drain(..) {
            let header = Header::parse(&received.payload, MessageKind::Heartbeat).ok();
            // The subject's device equals the header's (protocol.md rule 13).
            match header.filter(|header| Some(header.device) == received.device()) {
                Some(header) => {
                    let (session, proven) = match self.sessions.find(header.device, header.epoch) {
                        Some(Found::Proven(session)) => (Some(session), true),
                        Some(Found::Unproven(session)) => (Some(session), false),
                        None => (None, false),
                    };
                    if !proven && self.desk.failures.are_too_many(&received, now) {
                        self.refuse(received, RejectionReason::RateExceeded, admitted);
                        continue;
                    }
                    headed.push(Headed { received, header, session, proven });
                }
                None => self.refuse(received, RejectionReason::Malformed, admitted),
            }
        }
        self.find_sessions(&mut headed);
        let mut opened = Vec::with_capacity(headed.len());
        for headed in headed {
            match self.open(headed) {
                Opening::Opened(heartbeat) => opened.push(heartbeat),
                Opening::Unopened(unopened) => self.fail(unopened, expired, admitted),
            }
        }
        if !opened.is_empty() {
            self.decide(opened, expired, admitted);
        }
    }

    /// Makes the sessions that are not kept, from what the fold knows. What is not known costs as much (rule 16).
    fn find_sessions(&mut self, headed: &mut [Headed]) {
        let mut unproven: Vec<&mut Headed> = headed.iter_mut().filter(|headed| !headed.proven).collect();
        if unproven.is_empty() {
            return;
        }
        let found: Vec<Option<(Slot, Suite, Wrapped)>> = self.desk.projector.read(|fold| {
            let find = |headed: &&mut Headed| wrapped_session(fold, &headed.header);
            unproven.iter().map(find).collect()
        });
        for (headed, found) in unproven.iter_mut().zip(found) {
            let outdated = |session: &Arc<Session>| session.exists != found.is_some();
            if headed.session.as_ref().is_none_or(outdated) {
                headed.session = self.make_session(&headed.header, found);
            }
        }
    }

    fn make_session(
        &mut self,
        header: &Header,
        found: Option<(Slot, Suite, Wrapped)>,
    ) -> Option<Arc<Session>> {
        let (device, epoch) = (header.device, header.epoch);
        let exists = found.is_some();
        let (slot, suite, secret): (Slot, Suite, Result<ResumptionSecret, NoKey>) = match found {
            Some((slot, suite, wrapped)) => {
                let secret = self.desk.unwrap_secret(Purpose::Resumption, device.as_bytes(), epoch, &wrapped);
                (slot, suite, secret)
            }
            None => (Slot::MAX, Suite::Aes256Gcm, self.desk.unwrap_decoy(ResumptionSecret::BYTES)),
        };
        self.desk.counters.derived.add(1);
        let keys = secret.ok()?.session_keys(device, epoch, suite);
        let session = Arc::new(Session { slot, device, epoch, keys, exists });
        self.sessions.keep_unproven(Arc::clone(&session));
        Some(session)
    }

    /// Opens under the session's key, which is a decoy's for an unknown device.
    fn open(&mut self, headed: Headed) -> Opening {
        let Headed { received, header, session, proven: _ } = headed;
        let span = received.trace.as_ref().map(|trace| trace.admission());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let keys = session.as_ref().map_or(&self.decoy, |session| &session.keys);
        let judged = session.is_some();
        let reason = match (keys.open_heartbeat(&received.payload), session) {
            (Ok(opened), Some(session)) if session.exists => {
                self.sessions.prove(&session);
                return Opening::Opened(Opened::new(session, opened, received));
            }
            (Ok(_), Some(_) | None) => RejectionReason::NotAuthentic,
            (Err(error), _) => error.reason(),
        };
        Opening::Unopened(Unopened { received, reason, seen: header.seen, judged })
    }

    /// A failure counts only if it is judged at or past what the sender has seen (protocol.md rule 9).
    fn fail(&self, unopened: Unopened, expired: bool, admitted: &mut Admitted) {
        let Unopened { received, reason, seen, judged } = unopened;
        if !judged {
            return admitted.answers.extend(self.desk.refuse_unjudged(received.refused(reason)));
        }
        let applied = self.desk.applied();
        let patience = match reason == RejectionReason::NotAuthentic && seen > applied {
            true => self.desk.patience(received.arrived_millis, applied, expired),
            false => Patience::CaughtUp,
        };
        let reason = match patience {
            Patience::Waits => return admitted.waiting.push((received, Until::Applied(seen))),
            Patience::CaughtUp => reason,
            Patience::Over => RejectionReason::Unavailable,
        };
        self.desk.failures.note(&received, self.desk.now_millis());
        self.refuse(received, reason, admitted);
    }

    fn refuse(&self, received: Received, reason: RejectionReason, admitted: &mut Admitted) {
        admitted.answers.extend(self.desk.refuse(received.refused(reason)));
    }

    fn decide(&mut self, opened: Vec<Opened>, expired: bool, admitted: &mut Admitted) {
        let desk = Arc::clone(&self.desk);
        let (applied, decisions) = desk.projector.read(|fold| {
            let applied = fold.applied();
            let patience = |arrived_millis| desk.patience(arrived_millis, applied, expired);
            let decide = |heartbeat| decide(fold, heartbeat, patience);
            (applied, opened.iter().map(decide).collect::<Vec<_>>())
        });
        let now = desk.now_millis();
        let mut placed = Vec::with_capacity(opened.len());
        for (heartbeat, decision) in opened.into_iter().zip(decisions) {
            match decision {
                Decision::Propose(place) => placed.push((heartbeat, place)),
                Decision::Answer(verdict) => self.answer_again(heartbeat, &verdict, now, admitted),
                Decision::Replay { own } => self.refuse_replay(heartbeat, own, now, admitted),
                Decision::Wait => {
                    let until = Until::Applied(heartbeat.heard.seen);
                    admitted.waiting.push((heartbeat.received, until));
                }
                Decision::Unavailable => {
                    self.refuse(heartbeat.received, RejectionReason::Unavailable, admitted);
                }
                Decision::Gone => self.refuse(heartbeat.received, RejectionReason::NotAuthentic, admitted),
            }
        }
        if !placed.is_empty() {
            desk.batcher.fill(applied, |queue| {
                for (heartbeat, place) in placed {
                    self.place(queue, heartbeat, place, now, admitted);
                }
            });
        }
    }

    fn place(
        &mut self,
        queue: &mut Queue<Opened, EventWaiter>,
        mut heartbeat: Opened,
        Place { routine, evidence, favour, rate }: Place,
        now: u64,
        admitted: &mut Admitted,
    ) {
        let slot = heartbeat.session.slot;
        let bodies = u32::try_from(heartbeat.spooled.len()).unwrap_or(u32::MAX);
        heartbeat.wait_for_the_log();
        let mut contradicts = evidence;
        // The same bytes through another source are the same bytes.
        let as_row = routine || queue.holds(slot, heartbeat.heard.sequence);
        let mut heartbeat = match as_row {
            true => {
                let toll = Toll {
                    new: || self.beats.take(slot, bodies, rate, now),
                    again: |again: &Opened| self.retries.take(slot, again.received.source(), now),
                };
                match queue.row(heartbeat.row(), favour, toll, heartbeat) {
                    RowPlace::Placed => return self.desk.counters.heartbeats_routine.add(1),
                    RowPlace::Joined => return self.desk.counters.retries.add(1),
                    RowPlace::Settling(index, heartbeat) => {
                        return admitted.waiting.push((heartbeat.received, Until::Applied(index)));
                    }
                    RowPlace::TooOften(heartbeat) => {
                        // Anybody may repeat these bytes: the source is charged, not the device.
                        return self.refuse(heartbeat.received, RejectionReason::RateExceeded, admitted);
                    }
                    RowPlace::TooFast(heartbeat) => return self.too_fast(heartbeat, admitted),
                    RowPlace::Full(heartbeat) => {
                        return self.refuse(heartbeat.received, RejectionReason::Unavailable, admitted);
                    }
                    RowPlace::Contradicts(heartbeat) => {
                        contradicts = true;
                        heartbeat
                    }
                }
            }
            false if queue.is_under_way(&heartbeat.tag()) => return,
            false => heartbeat,
        };
        let tag = heartbeat.tag();
        let event = match EncodedEvent::of(&heartbeat.event()) {
            Ok(event) if queue.has_place(event.bytes.len(), favour) => event,
            Ok(_) | Err(_) => {
                return self.refuse(heartbeat.received, RejectionReason::Unavailable, admitted);
            }
        };
        let sequence = if contradicts { 0 } else { heartbeat.heard.sequence };
        match self.desk.heartbeats_under_way.join((slot, sequence), ()) {
            Joined::First(first, ()) => heartbeat.under_way = Some(first),
            // Not the same bytes, which were told above: who holds the key contradicts himself.
            Joined::Companion | Joined::Full(()) => return self.too_fast(heartbeat, admitted),
        }
        // Last, so that nobody pays for a place that he does not get. Who holds a key may contradict himself without
        // end: each time costs him a token.
        if !self.beats.take(slot, bodies, rate, now) {
            return self.too_fast(heartbeat, admitted);
        }
        match queue.encoded(event, favour, Some(tag), EventWaiter::Heartbeat(Box::new(heartbeat))) {
            Ok(()) => self.desk.counters.heartbeats_irregular.add(1),
            Err(NoPlace::UnderWay(_)) => {}
            Err(NoPlace::Full(waiter) | NoPlace::Malformed(waiter, _)) => {
                admitted.answers.extend(waiter.refuse(&self.desk, RejectionReason::Unavailable));
            }
        }
    }

    /// The tag verified, so the device itself is too fast (protocol.md rule 15): counted, not logged.
    fn too_fast(&self, heartbeat: Opened, admitted: &mut Admitted) {
        let device = heartbeat.session.device;
        let refused = heartbeat.received.refused(RejectionReason::RateExceeded);
        admitted.answers.extend(self.desk.refuse_device(refused, device));
    }

    /// What was answered before is a replay. Through the device's own source a few of them are what lay in a node or in a
    /// network while the device asked another node: nobody is charged for those.
    fn refuse_replay(&mut self, heartbeat: Opened, own: bool, now: u64, admitted: &mut Admitted) {
        let (slot, received) = (heartbeat.session.slot, heartbeat.received);
        let is_late = own && self.retries.take(slot, received.source(), now);
        let refused = received.refused(RejectionReason::Replayed);
        let answer = if is_late { self.desk.refuse_unjudged(refused) } else { self.desk.refuse(refused) };
        admitted.answers.extend(answer);
    }

    fn answer_again(&mut self, heartbeat: Opened, verdict: &VerdictBody, now: u64, admitted: &mut Admitted) {
        if !self.retries.take(heartbeat.session.slot, heartbeat.received.source(), now) {
            // Anybody may repeat these bytes: the source is charged, not the device.
            return self.refuse(heartbeat.received, RejectionReason::RateExceeded, admitted);
        }
        self.desk.counters.retries.add(1);
        self.desk.counters.verdicts.add(1);
        admitted.answers.push(heartbeat.answer(&mut self.sealer, verdict));
    }
}

impl Beats {
    /// Takes a device's tokens for one heartbeat with so many spooled bodies. A terminal that comes back may bring all
    /// that a spool holds, and from then on twice as many bodies as it was told to make: whatever it claims, that is what
    /// it can add to the log. What is refused for its spool has paid for a heartbeat: who tries again at full speed gets
    /// nowhere.
    fn take(&mut self, slot: Slot, bodies: u32, rate: Rate, now: u64) -> bool {
        let catching_up = Rate { burst: SPOOL_BODIES_MAX as u32, ..rate };
        self.heartbeats.take(slot, rate, now)
            && (bodies == 0 || self.spooled.take_many(slot, bodies, catching_up, now))
    }
}

fn wrapped_session(fold: &Projector, header: &Header) -> Option<(Slot, Suite, Wrapped)> {
    let slot = fold.slot_of(&header.device)?;
    let epoch = fold.device(slot)?.epoch_view(header.epoch)?;
    Some((slot, epoch.suite, epoch.resumption()))
}

fn decide(fold: &Projector, heartbeat: &Opened, patience: impl Fn(u64) -> Patience) -> Decision {
    let slot = heartbeat.session.slot;
    let Some(device) = fold.device(slot) else { return Decision::Gone };
    let judgement = match fold.judge(slot, &heartbeat.heard) {
        Judgement::BehindSeen => match patience(heartbeat.received.arrived_millis) {
            Patience::Waits => return Decision::Wait,
            Patience::Over => return Decision::Unavailable,
            // Nothing that high was committed when it came: its sender knows a log that is no more (rule 7).
            Patience::CaughtUp => fold.judge_regardless(slot, &heartbeat.heard),
        },
        judgement => judgement,
    };
    let propose = |routine, evidence| {
        let favour = if device.is_licensed() { Favour::Favoured } else { Favour::Common };
        let every_millis = u64::from(device.interval_millis()) / 2;
        let rate = Rate { burst: BEATS_BURST, every_millis };
        Decision::Propose(Place { routine, evidence, favour, rate })
    };
    match judgement {
        Judgement::Routine => propose(says_nothing_new(&device, heartbeat), false),
        Judgement::Irregular => propose(false, false),
        Judgement::CloneEvidence => propose(false, true),
        Judgement::Retry => Decision::Answer(from_state(fold, &device, HeartbeatStatus::Retried)),
        Judgement::Stale => Decision::Answer(from_state(fold, &device, HeartbeatStatus::EpochStale)),
        Judgement::Replay => Decision::Replay { own: is_own_source(&device, heartbeat) },
        Judgement::BehindSeen | Judgement::UnknownEpoch => Decision::Gone,
    }
}

/// Whether the columns of a batch hold all that the heartbeat says.
fn says_nothing_new(device: &DeviceView<'_>, heartbeat: &Opened) -> bool {
    let obeyed = heartbeat.body.obeyed > DirectiveId::default() && device.directive().is_some();
    heartbeat.spooled.is_empty()
        && device.firmware() == heartbeat.body.firmware
        && !obeyed
        && is_own_source(device, heartbeat)
}

fn is_own_source(device: &DeviceView<'_>, heartbeat: &Opened) -> bool {
    device.source().is_some_and(|source| heartbeat.received.is_from(source))
}

/// A verdict on what needs no log: from applied state, at its index.
fn from_state(fold: &Projector, device: &DeviceView<'_>, status: HeartbeatStatus) -> VerdictBody {
    VerdictBody {
        index: fold.applied(),
        stamp: fold.stamp(),
        status,
        legitimacy: device.legitimacy(),
        interval_millis: device.interval_millis(),
        lease: 0,
        directive: device.directive().map(directive),
    }
}
