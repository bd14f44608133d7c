//! Awaiting the sealed answer to an activation, or to a re-key, which is an activation without a code.
//!
//! Sealed activation and exporter secret are on flash before the first transmission, the plain code is forgotten
//! (protocol.md rule 18), and the same sealed bytes are sent until a sealed answer comes. Only the ticket beside them
//! is renewed when it expired: neither a long outage nor a power cut costs the customer a second typing.

use super::backoff::full_jitter;
use super::beating::{Beating, Granted};
use super::core::{Core, Refusals, World};
use super::effects::{AgentEvent, RequestId, SessionOrigin, TransmitKind};
use super::exchange::Exchange;
use super::hello::{Hello, Purpose};
use super::phase::Phase;
use super::plan;
use super::saved::SavedActivation;
use super::session;
use events::envelope::answer::GrantBody;
use events::envelope::{
    ActivationBody, Answer, ExporterSecret, PreparedActivation, Ticket, after_activation,
    open_activation_answer, seal_activation,
};
use events::ids::LogIndex;
use events::license::ActivationCode;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, OperationKind};

#[derive(Debug)]
pub(super) struct Activating {
    exchange: Exchange,
    exporter: ExporterSecret,
}

impl Activating {
    /// Seals a new activation, which replaces one that was never answered.
    pub fn seal(
        code: Option<ActivationCode>,
        ticket: &Ticket,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let has_code = code.is_some();
        let Some(prepared) = seal(code, ticket, core, world) else {
            core.events
                .push_back(AgentEvent::CommandRefused { why: "the pinned cluster key is no P-384 point" });
            return Phase::AwaitingCode;
        };
        core.saved.activation = Some(SavedActivation {
            message: prepared.message.clone(),
            exporter: prepared.exporter.as_bytes().to_vec().into(),
            boot: core.boot,
            has_code,
            offered: core.settings.offered,
            directive: if has_code {
                DirectiveId::default()
            } else {
                std::mem::take(&mut core.rekey_directive)
            },
        });
        core.rekey_tickets = 0;
        if !has_code {
            core.saved.rekeyed_at = world.now.wall;
        }
        Activating::transmit(prepared, 0, core, world)
    }

    /// The activation on flash, as it is.
    pub fn again(
        saved: &SavedActivation,
        delay: u64,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Option<Phase> {
        let prepared = prepared(saved)?;
        Some(Activating::transmit(prepared, delay, core, world))
    }

    /// The activation on flash, with a fresh ticket.
    pub fn refresh(ticket: &Ticket, core: &mut Core, world: &mut World<'_>) -> Phase {
        let identity = core.check.identity.as_ref();
        let renewed = identity.zip(core.saved.activation.as_ref()).and_then(|(identity, saved)| {
            prepared(saved)?.with_ticket(&identity.pre_shared_key, identity.device, ticket)
        });
        let Some(renewed) = renewed else {
            // Flash holds something that is no activation: it could never be answered.
            core.saved.activation = None;
            core.must_persist();
            return plan::next(core, 0, world);
        };
        if let Some(saved) = &mut core.saved.activation {
            saved.message.clone_from(&renewed.message);
        }
        Activating::transmit(renewed, 0, core, world)
    }

    fn transmit(prepared: PreparedActivation, delay: u64, core: &mut Core, world: &mut World<'_>) -> Phase {
        core.must_persist();
        let mut exchange = core.exchange(TransmitKind::Activation, prepared.message, delay, world.now);
        core.transmit(&mut exchange, world);
        Phase::Activating(Activating { exchange, exporter: prepared.exporter })
    }

    pub fn due(&self) -> u64 {
        self.exchange.due()
    }

    pub fn handle_timeout(mut self, core: &mut Core, world: &mut World<'_>) -> Phase {
        if self.exchange.outlives_ticket(world.now, &core.settings) {
            return renew(0, core, world);
        }
        core.transmit(&mut self.exchange, world);
        Phase::Activating(self)
    }

    pub fn handle_reply(
        mut self,
        request: RequestId,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        if request != self.exchange.request {
            return Phase::Activating(self);
        }
        match open_activation_answer(&self.exporter, &self.exchange.bytes, bytes) {
            Ok((index, Answer::Granted(grant))) => self.handle_grant(index, &grant, core, world),
            Ok((_, Answer::Refused(reason))) => self.handle_refusal(reason, core, world),
            Err(_) => match core.hint(bytes, &mut self.exchange, world) {
                Some(RejectionReason::TicketRefused) => {
                    let wait = self.exchange.due().saturating_sub(world.now.monotonic_millis);
                    let wait = wait.max(core.back_off_tickets(world));
                    renew(wait, core, world)
                }
                Some(_) | None => Phase::Activating(self),
            },
        }
    }

    fn handle_grant(
        self,
        index: LogIndex,
        grant: &GrantBody,
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        let Some(saved) = core.saved.activation.take() else { return plan::next(core, 0, world) };
        let Ok(binding) = session::binding(grant, saved.offered, core.saved.device) else {
            return final_refusal(RejectionReason::Downgrade, saved.has_code, core, world);
        };
        let secret = after_activation(&self.exporter, &grant.server_nonce, &binding);
        let origin = if saved.has_code { SessionOrigin::Activation } else { SessionOrigin::Rekey };
        session::take_grant(grant, &secret, origin, core, world);
        core.count_obeyed(saved.directive, OperationKind::Rekey);
        if saved.boot != core.boot {
            // An earlier start sealed it and may have beaten under this very epoch before its flash forgot: this
            // start takes an epoch of its own (protocol.md rule 8).
            return plan::next(core, 0, world);
        }
        let keys = session::keys(&secret, &binding);
        let interval_millis = grant.interval_millis;
        let granted = Granted { epoch: grant.epoch, keys, index, interval_millis };
        Phase::Beating(Box::new(Beating::start(granted, world)))
    }

    /// A refusal inside the seal: authentic.
    fn handle_refusal(mut self, reason: RejectionReason, core: &mut Core, world: &mut World<'_>) -> Phase {
        match reason {
            RejectionReason::CodeRefused
            | RejectionReason::NotLicensed
            | RejectionReason::NotAuthentic
            | RejectionReason::Malformed
            | RejectionReason::Downgrade
            | RejectionReason::Replayed => {
                let Some(saved) = core.saved.activation.take() else { return plan::next(core, 0, world) };
                core.must_persist();
                core.count_obeyed(saved.directive, OperationKind::Rekey);
                final_refusal(reason, saved.has_code, core, world)
            }
            RejectionReason::TicketRefused => {
                let wait = core.back_off_tickets(world);
                renew(wait, core, world)
            }
            RejectionReason::EpochStale => self.outlived(core, world),
            RejectionReason::RateExceeded if may_wait(core) => plan::rekey_later(core, world),
            RejectionReason::RateExceeded
            | RejectionReason::ReplySubject
            | RejectionReason::Oversized
            | RejectionReason::Unavailable => {
                self.exchange.back_off(0, world.now, &core.settings, world.rng);
                Phase::Activating(self)
            }
        }
    }
}

impl Activating {
    /// It was granted once and that epoch is gone: flash forgot the grant. The license is there, so no code is needed.
    fn outlived(self, core: &mut Core, world: &mut World<'_>) -> Phase {
        core.saved.activation = None;
        core.must_persist();
        if core.saved.newest_session().is_some() || !core.check.is_full() {
            return plan::next(core, 0, world);
        }
        core.events
            .push_back(AgentEvent::StartedOver { why: "the epoch of this activation is gone: re-keying" });
        let delay = full_jitter(&core.settings, self.exchange.attempts, world.rng);
        Phase::Hello(Hello::start(Purpose::Rekey, core, delay, world))
    }
}

/// Asks for a fresh ticket, under which the same seal is sent again. A re-key that used up a few of them without a
/// sealed answer gives way to the session on flash.
fn renew(wait: u64, core: &mut Core, world: &mut World<'_>) -> Phase {
    core.rekey_tickets = core.rekey_tickets.saturating_add(1);
    if core.rekey_tickets >= core.settings.tickets_per_rekey && may_wait(core) {
        return plan::rekey_later(core, world);
    }
    Phase::Hello(Hello::start(Purpose::Refresh, core, wait, world))
}

/// Whether what is under way is a re-key, and there is a session to go on with.
fn may_wait(core: &Core) -> bool {
    let is_rekey = core.saved.activation.as_ref().is_some_and(|activation| !activation.has_code);
    is_rekey && core.saved.newest_session().is_some()
}

/// The activation is over; a session that is still on flash goes on.
fn final_refusal(reason: RejectionReason, has_code: bool, core: &mut Core, world: &mut World<'_>) -> Phase {
    core.must_persist();
    core.rekey_due = None;
    core.rekey_owed = false;
    core.refusals = Refusals::default();
    if has_code {
        core.events.push_back(AgentEvent::ActivationRefused { reason });
    } else {
        core.events.push_back(AgentEvent::RekeyRefused { reason });
    }
    plan::next(core, 0, world)
}

fn prepared(saved: &SavedActivation) -> Option<PreparedActivation> {
    let exporter = ExporterSecret::try_from(saved.exporter.as_slice()).ok()?;
    Some(PreparedActivation { message: saved.message.clone(), exporter })
}

fn seal(
    code: Option<ActivationCode>,
    ticket: &Ticket,
    core: &Core,
    world: &mut World<'_>,
) -> Option<PreparedActivation> {
    let identity = core.check.identity.as_ref()?;
    let mut random = [0; 32];
    world.rng.fill_bytes(&mut random);
    let body = ActivationBody {
        code,
        record: core.check.record,
        random,
        boot: core.boot,
        boot_count: core.saved.boot_count,
        firmware: core.settings.firmware,
        epoch_claimed: core.saved.epoch_highest,
        components: identity.components.clone(),
    };
    let (key, pre_shared, offered) = (&identity.key, &identity.pre_shared_key, core.settings.offered);
    seal_activation(&mut world.rng, key, pre_shared, &core.cluster, offered, ticket, &body).ok()
}
