//! Update requests: answered with the signed offer of the lot, from applied state, unsealed and unlogged. A terminal
//! without a key asks too, and an offer is public; what bounds this is a bucket per source.

use super::buckets::{Buckets, Rate};
use super::desk::Desk;
use super::received::Received;
use crate::bus::Outgoing;
use crate::bus::subject::Sender;
use events::ids::SourceName;
use events::update::{UpdateAnswer, UpdateRequest};
use events::vocabulary::rejection::RejectionReason;
use std::sync::Arc;

/// Requests of one source: a site whose terminals all boot at once, and then one every other second.
const SOURCE_RATE: Rate = Rate { burst: 256, every_millis: 2_000 };
const SOURCES_MAX: usize = 4_096;
/// Who has an offer asks again only if it was not to its liking.
const AFTER_OFFER_MILLIS: u32 = 3_600_000;
/// Who has none may be in the next phase.
const AFTER_NOTHING_MILLIS: u32 = 900_000;

pub(super) struct Updates {
    desk: Arc<Desk>,
    sources: Buckets<SourceName>,
}

impl Updates {
    pub fn new(desk: Arc<Desk>) -> Self {
        Updates { desk, sources: Buckets::new(SOURCE_RATE, SOURCES_MAX) }
    }

    pub fn admit(&mut self, received: Received) -> Option<Outgoing> {
        let Some(request) =
            UpdateRequest::parse(&received.payload).ok().filter(|asked| speaks(asked, &received))
        else {
            return self.desk.refuse(received.refused(RejectionReason::Malformed));
        };
        if !self.sources.take(received.source_name(), self.desk.now_millis()) {
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
