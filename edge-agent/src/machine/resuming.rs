//! Awaiting the sealed answer to a resume: symmetric only, a ratchet that a power cut never turns against us.
//!
//! Which epoch to resume from (protocol.md rules 4, 5 and 7): to resume from one whose successor the cluster confirmed
//! would look like a fork. So
//! - while nothing was sealed under the newest, its parent, which the cluster holds for sure; if that is refused, the
//!   newest, which a re-key may have rooted beside a dead parent;
//! - from then on only the newest;
//! - but in turn when the cluster shows a newer generation: it was restored from a backup and may not know the newest;
//! - and once back to the older when all is refused and a failed boot check forbids the re-key: suspicion is better than
//!   the end. The newest is forgotten before that leaves. If both spoke in turn, somebody on the wire who drops answers
//!   and says `NOT_AUTHENTIC` could make an honest terminal look like both branches of a fork.

use super::beating::{Beating, Granted};
use super::core::{Core, World};
use super::effects::{AgentEvent, RequestId, SessionOrigin, TransmitKind};
use super::exchange::Exchange;
use super::hello::{Hello, Purpose};
use super::now::Now;
use super::phase::Phase;
use super::plan;
use super::saved::{Saved, SavedSession};
use super::session;
use events::envelope::answer::GrantBody;
use events::envelope::resume::{ResumeBody, ResumeHead};
use events::envelope::{Answer, ResumptionSecret, Ticket, after_resume, open_resume_answer, seal_resume};
use events::ids::LogIndex;
use events::vocabulary::rejection::RejectionReason;

pub(super) struct Resuming {
    exchange: Exchange,
    head: ResumeHead,
    from: SavedSession,
    secret: ResumptionSecret,
}

impl Resuming {
    /// Seals a resume under a fresh client nonce; what is sent again is these bytes.
    pub fn seal(ticket: &Ticket, core: &mut Core, world: &mut World<'_>) -> Phase {
        if must_go_back(ticket, core, world.now) {
            core.go_back();
            core.events.push_back(AgentEvent::StartedOver {
                why: "all is refused and no re-key is allowed: back to the epoch before the newest",
            });
        }
        let Some((from, secret)) = source(ticket, core) else {
            // Flash holds no session that could be resumed: the plan finds another way.
            core.saved.current = None;
            core.saved.next = None;
            core.must_persist();
            return plan::next(core, 0, world);
        };
        core.speak(from.epoch);
        let mut client_nonce = [0; 16];
        world.rng.fill_bytes(&mut client_nonce);
        let head = ResumeHead {
            device: core.saved.device,
            from_epoch: from.epoch,
            client_nonce,
            offered: core.settings.offered,
            ticket: *ticket,
        };
        let body = ResumeBody {
            boot: core.boot,
            boot_count: core.saved.boot_count,
            firmware: core.settings.firmware,
        };
        let bytes = seal_resume(&secret, &head, &body);
        let mut exchange = core.exchange(TransmitKind::Resume, bytes, 0, world.now);
        core.transmit(&mut exchange, world);
        Phase::Resuming(Box::new(Resuming { exchange, head, from, secret }))
    }

    pub fn due(&self) -> u64 {
        self.exchange.due()
    }

    pub fn handle_timeout(mut self: Box<Self>, core: &mut Core, world: &mut World<'_>) -> Phase {
        if self.exchange.outlives_ticket(world.now, &core.settings) {
            return Phase::Hello(Hello::start(Purpose::Resume, core, 0, world));
        }
        core.transmit(&mut self.exchange, world);
        Phase::Resuming(self)
    }

    pub fn handle_reply(
        mut self: Box<Self>,
        request: RequestId,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        if request != self.exchange.request {
            return Phase::Resuming(self);
        }
        match open_resume_answer(&self.secret, &self.head, &self.exchange.bytes, bytes) {
            Ok((index, Answer::Granted(grant))) => self.handle_grant(index, &grant, core, world),
            Ok((_, Answer::Refused(reason))) => self.handle_refusal(reason, None, core, world),
            Err(_) => match core.hint(bytes, &mut self.exchange, world) {
                Some(reason) => {
                    let wait = self.exchange.due().saturating_sub(world.now.monotonic_millis);
                    self.handle_refusal(reason, Some(wait), core, world)
                }
                None => Phase::Resuming(self),
            },
        }
    }

    fn handle_grant(
        self: Box<Self>,
        index: LogIndex,
        grant: &GrantBody,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let binding = session::binding(grant, self.head.offered, core.saved.device);
        let Ok(binding) =
            binding.map_err(|_| ()).and_then(|b| if grant.epoch > self.from.epoch { Ok(b) } else { Err(()) })
        else {
            core.events
                .push_back(AgentEvent::StartedOver { why: "a grant that this terminal must not take" });
            return plan::after_refused_resume(core, true, 0, world);
        };
        let secret = after_resume(&self.secret, &self.head.client_nonce, &grant.server_nonce, &binding);
        // The sealed answer proves that the cluster knows the epoch resumed from: it is the one to keep.
        core.saved.keep(self.from);
        session::take_grant(grant, &secret, SessionOrigin::Resume, core, world);
        let keys = session::keys(&secret, &binding);
        let interval_millis = grant.interval_millis;
        let granted = Granted { epoch: grant.epoch, keys, index, interval_millis };
        Phase::Beating(Box::new(Beating::start(granted, world)))
    }

    /// Of an unsealed refusal comes the back-off that the next hello keeps.
    fn handle_refusal(
        self: Box<Self>,
        reason: RejectionReason,
        unsealed: Option<u64>,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let wait = unsealed.unwrap_or(0);
        match reason {
            RejectionReason::TicketRefused => {
                let wait = wait.max(core.back_off_tickets(world));
                Phase::Hello(Hello::start(Purpose::Resume, core, wait, world))
            }
            RejectionReason::EpochStale
            | RejectionReason::NotAuthentic
            | RejectionReason::Replayed
            | RejectionReason::Downgrade
            | RejectionReason::NotLicensed => {
                plan::after_refused_resume(core, unsealed.is_none(), wait, world)
            }
            RejectionReason::Malformed
            | RejectionReason::CodeRefused
            | RejectionReason::RateExceeded
            | RejectionReason::ReplySubject
            | RejectionReason::Oversized
            | RejectionReason::Unavailable => Phase::Resuming(self),
        }
    }
}

/// The session to resume from, and its secret.
fn source(ticket: &Ticket, core: &Core) -> Option<(SavedSession, ResumptionSecret)> {
    let newest = core.saved.newest_session()?;
    let second = core.refusals.count % 2 == 1;
    let older_first = !core.saved.next_spoken;
    let takes_older = if older_first { !second } else { second && restored(ticket, newest) };
    let from = match &core.saved.current {
        Some(older) if takes_older => older,
        _ => newest,
    };
    Some((from.clone(), from.secret()?))
}

/// Across generations nothing is held against anybody (rule 7). A ticket that only says so is refused by the cluster.
fn restored(ticket: &Ticket, newest: &SavedSession) -> bool {
    ticket.generation > newest.generation
}

/// Once for one older epoch: the cluster keeps the last two that were superseded, so a second time might find it gone.
fn must_go_back(ticket: &Ticket, core: &Core, now: Now) -> bool {
    let Saved { current: Some(_), next: Some(newest), next_spoken: true, went_back: false, .. } = &core.saved
    else {
        return false;
    };
    !restored(ticket, newest) && !core.may_rekey() && core.refusals.are_enough(now, &core.settings)
}
