//! Hello: answered with a ticket, stateless and unlogged (protocol.md rule 1).

use super::desk::Desk;
use super::received::Received;
use crate::bus::Outgoing;
use bytes::Bytes;
use events::envelope::Ticket;
use events::envelope::ticket::parse_hello;
use events::ids::{Generation, LogIndex};
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use std::sync::Arc;

/// Gives tickets. A ticket is equal for everybody, so one serves all hellos of a moment of the log.
pub(super) struct Hellos {
    desk: Arc<Desk>,
    last: Option<(Moment, Bytes)>,
}

type Moment = (Generation, LogIndex, Timestamp);

impl Hellos {
    pub fn new(desk: Arc<Desk>) -> Self {
        Hellos { desk, last: None }
    }

    pub fn admit(&mut self, received: Received) -> Option<Outgoing> {
        let header = parse_hello(&received.payload).ok();
        if header.is_none_or(|header| Some(header.device) != received.device()) {
            return self.desk.refuse(received.refused(RejectionReason::Malformed));
        }
        self.desk.counters.tickets.add(1);
        Some(Outgoing::to(received.inbox, self.ticket()))
    }

    fn ticket(&mut self) -> Bytes {
        let moment = self.desk.projector.read(|fold| (fold.generation(), fold.applied(), fold.stamp()));
        if let Some((at, ticket)) = &self.last
            && *at == moment
        {
            return ticket.clone();
        }
        let (generation, applied, stamp) = moment;
        let key = &self.desk.keyring.ticket_key;
        let ticket = Ticket::issue(key, generation, self.desk.random(), applied, stamp);
        let bytes = Bytes::from(ticket.encode_answer());
        self.last = Some((moment, bytes.clone()));
        bytes
    }
}
