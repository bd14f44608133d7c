//! Awaiting a ticket (protocol.md rule 1). A ticket is nothing that an agent can check: it is carried, not believed.

use super::activating::Activating;
use super::core::{Core, World};
use super::effects::{RequestId, TransmitKind};
use super::exchange::Exchange;
use super::phase::Phase;
use super::resuming::Resuming;
use events::envelope::ticket::{Ticket, encode_hello};
use events::license::ActivationCode;

/// What the ticket is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Redeem a code. It is in memory only, and forgotten once sealed.
    Activate(ActivationCode),
    /// Activate without a code, for a licensed device (rule 6).
    Rekey,
    /// Give the sealed activation on flash a fresh ticket.
    Refresh,
    Resume,
}

#[derive(Debug)]
pub(super) struct Hello {
    purpose: Purpose,
    exchange: Exchange,
}

impl Hello {
    pub fn start(purpose: Purpose, core: &mut Core, delay: u64, world: &mut World<'_>) -> Self {
        let bytes = encode_hello(core.saved.device);
        let mut exchange = core.exchange(TransmitKind::Hello, bytes, delay, world.now);
        core.transmit(&mut exchange, world);
        Hello { purpose, exchange }
    }

    pub fn due(&self) -> u64 {
        self.exchange.due()
    }

    pub fn handle_reply(
        mut self,
        request: RequestId,
        bytes: &[u8],
        core: &mut Core,
        world: &mut World<'_>,
    ) -> Phase {
        if request != self.exchange.request {
            return Phase::Hello(self);
        }
        if let Ok(ticket) = Ticket::parse_answer(bytes) {
            return self.use_ticket(&ticket, core, world);
        }
        let _hint = core.hint(bytes, &mut self.exchange, world);
        Phase::Hello(self)
    }

    fn use_ticket(self, ticket: &Ticket, core: &mut Core, world: &mut World<'_>) -> Phase {
        match self.purpose {
            Purpose::Activate(code) => Activating::seal(Some(code), ticket, core, world),
            Purpose::Rekey => Activating::seal(None, ticket, core, world),
            Purpose::Refresh => Activating::refresh(ticket, core, world),
            Purpose::Resume => Resuming::seal(ticket, core, world),
        }
    }

    pub fn handle_timeout(mut self, core: &mut Core, world: &mut World<'_>) -> Phase {
        core.transmit(&mut self.exchange, world);
        Phase::Hello(self)
    }
}
