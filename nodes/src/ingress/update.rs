//! Update requests: answered with the signed offer of the lot, from applied state, unsealed and unlogged. A terminal
//! without a key asks too, and an offer is public; what bounds this is the budget of its source.

use super::desk::Desk;
use super::received::Received;
use super::update_budget::UpdateBudget;
use crate::bus::Outgoing;
use crate::bus::subject::Sender;
use events::update::{UpdateAnswer, UpdateRequest};
use events::vocabulary::rejection::RejectionReason;
use std::sync::Arc;

/// Who has an offer asks again only if it was not to its liking.
const AFTER_OFFER_MILLIS: u32 = 3_600_000;
/// Who has none may be in the next phase.
const AFTER_NOTHING_MILLIS: u32 = 900_000;

pub(super) struct Updates {
    desk: Arc<Desk>,
    budget: UpdateBudget,
}

impl Updates {
    pub fn new(desk: Arc<Desk>) -> Self {
        Updates { desk, budget: UpdateBudget::new() }
    }

    pub fn admit(&mut self, received: Received) -> Option<Outgoing> {
        let Some(request) =
            UpdateRequest::parse(&received.payload).ok().filter(|asked| speaks(asked, &received))
        else {
            return self.desk.refuse(received.refused(RejectionReason::Malformed));
        };
        let known = request.device.and_then(|device| self.desk.projector.read(|fold| fold.slot_of(&device)));
        if !self.budget.take(&received.source_id(), known, self.desk.now_millis()) {
            return self.desk.refuse(received.refused(RejectionReason::RateExceeded));
        }
        self.desk.counters.update_requests.add(1);
        Some(Outgoing::to(received.inbox, self.answer(&request).encode()))
    }

    fn answer(&self, asked: &UpdateRequest) -> UpdateAnswer {
        let offer = self
            .desk
            .projector
            .read(|fold| fold.offer_for(&asked.lot, &asked.subject, asked.firmware).map(<[u8]>::to_vec));
        match offer {
            Some(offer) => UpdateAnswer { ask_after_millis: AFTER_OFFER_MILLIS, offer },
            None => UpdateAnswer { ask_after_millis: AFTER_NOTHING_MILLIS, offer: Vec::new() },
        }
    }
}

/// The subject's sender is who the request says: a device, or the lot of a terminal without a key.
fn speaks(asked: &UpdateRequest, received: &Received) -> bool {
    match received.sender {
        Sender::Device(device) => asked.device == Some(device),
        Sender::Lot(lot) => asked.device.is_none() && asked.lot == lot,
    }
}
