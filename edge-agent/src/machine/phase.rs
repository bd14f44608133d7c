//! The states of the machine, each named for what it awaits; handling consumes the state and returns the next.

use super::activating::Activating;
use super::beating::Beating;
use super::core::{Core, World};
use super::effects::RequestId;
use super::hello::Hello;
use super::reporting::Reporting;
use super::resuming::Resuming;

pub(super) enum Phase {
    /// Awaits `handle_started`.
    Stopped,
    /// Awaits a ticket.
    Hello(Hello),
    /// Awaits the sealed answer to an activation or re-key.
    Activating(Activating),
    /// Awaits the sealed answer to a resume.
    Resuming(Box<Resuming>),
    /// Awaits verdicts.
    Beating(Box<Beating>),
    /// Awaits an activation code: there is no session and no license.
    AwaitingCode,
    /// Awaits a boot check over hardware that can be read, and so another start.
    AwaitingHardware,
    /// Awaits nothing: a failed boot check without a key can only be reported.
    Reporting(Reporting),
}

impl Phase {
    pub fn handle_reply(
        self,
        request: RequestId,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        match self {
            Phase::Hello(hello) => hello.handle_reply(request, bytes, core, world),
            Phase::Activating(activating) => activating.handle_reply(request, bytes, core, world),
            Phase::Resuming(resuming) => resuming.handle_reply(request, bytes, core, world),
            Phase::Beating(beating) => beating.handle_reply(request, bytes, core, world),
            // Nothing was asked, or nothing that is answered is believed.
            Phase::Stopped | Phase::AwaitingCode | Phase::AwaitingHardware | Phase::Reporting(_) => self,
        }
    }

    pub fn handle_timeout(self, core: &mut Core, world: &mut World<'_>) -> Phase {
        match self {
            Phase::Hello(hello) => hello.handle_timeout(core, world),
            Phase::Activating(activating) => activating.handle_timeout(core, world),
            Phase::Resuming(resuming) => resuming.handle_timeout(core, world),
            Phase::Beating(beating) => beating.handle_timeout(core, world),
            Phase::Reporting(reporting) => reporting.handle_timeout(core, world),
            Phase::Stopped | Phase::AwaitingCode | Phase::AwaitingHardware => self,
        }
    }

    /// When `handle_timeout` wants to be called, in monotonic milliseconds.
    pub fn due(&self) -> Option<u64> {
        match self {
            Phase::Hello(hello) => Some(hello.due()),
            Phase::Activating(activating) => Some(activating.due()),
            Phase::Resuming(resuming) => Some(resuming.due()),
            Phase::Beating(beating) => Some(beating.due()),
            Phase::Reporting(reporting) => Some(reporting.due()),
            Phase::Stopped | Phase::AwaitingCode | Phase::AwaitingHardware => None,
        }
    }

    /// Whether heartbeats are made that nobody can be told.
    pub fn is_offline(&self) -> bool {
        match self {
            Phase::Hello(_) | Phase::Activating(_) | Phase::Resuming(_) => true,
            Phase::Stopped
            | Phase::Beating(_)
            | Phase::AwaitingCode
            | Phase::AwaitingHardware
            | Phase::Reporting(_) => false,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Phase::Stopped => "stopped",
            Phase::Hello(_) => "hello",
            Phase::Activating(_) => "activating",
            Phase::Resuming(_) => "resuming",
            Phase::Beating(_) => "beating",
            Phase::AwaitingCode => "awaiting-code",
            Phase::AwaitingHardware => "awaiting-hardware",
            Phase::Reporting(_) => "reporting",
        }
    }
}
