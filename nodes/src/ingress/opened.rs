//! A heartbeat whose tag has verified, and the ways it goes on: as a row, as an event, to its answer.

use super::queue::MessageTag;
use super::received::Received;
use super::sessions::Session;
use super::under_way::First;
use crate::bus::Outgoing;
use crate::egress::Sealer;
use events::batch::HeartbeatRow;
use events::envelope::{Header, RequestDigest, VerdictBody};
use events::ids::{Sequence, Slot};
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::{Event, HeartbeatObserved, SpoolDrained};
use projector::Heard;
use std::sync::Arc;

#[derive(Debug)]
pub struct Opened {
    pub session: Arc<Session>,
    pub heard: Heard,
    pub body: HeartbeatBody,
    /// What it brings from the terminal's spool.
    pub spooled: Vec<SpooledBody>,
    pub received: Received,
    /// Lives as long as this is on its way into the log as an event.
    pub under_way: Option<First<(Slot, Sequence), ()>>,
    /// The same bytes, which came again while it was under way: what it is answered, they are.
    pub companions: Vec<Opened>,
    request: RequestDigest,
}

impl Opened {
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        (header, body, spooled): (Header, HeartbeatBody, Vec<SpooledBody>),
        received: Received,
    ) -> Self {
        let request = RequestDigest::of(&received.payload);
        let heard = Heard {
            epoch: header.epoch,
            sequence: header.sequence,
            digest: request.content(),
            acked: header.acked,
            seen: header.seen,
        };
        Opened { session, heard, body, spooled, received, under_way: None, companions: Vec::new(), request }
    }

    /// Its row, if it is judged routine: that implies `acked` within 255 below the sequence.
    #[must_use]
    pub fn row(&self) -> HeartbeatRow {
        let unacked = self.heard.sequence.saturating_sub(self.heard.acked);
        HeartbeatRow {
            slot: self.session.slot,
            epoch_low: self.heard.epoch as u16,
            sequence: self.heard.sequence,
            digest: self.heard.digest,
            seen_low: self.heard.seen as u32,
            unacked: u8::try_from(unacked).unwrap_or(u8::MAX),
            condition: self.body.condition,
        }
    }

    #[must_use]
    pub fn event(&self) -> Event {
        let heartbeat = self.observed();
        if self.spooled.is_empty() {
            return heartbeat.into();
        }
        SpoolDrained { heartbeat, spooled: self.spooled.clone() }.into()
    }

    fn observed(&self) -> HeartbeatObserved {
        HeartbeatObserved {
            device: self.session.device,
            epoch: self.heard.epoch,
            sequence: self.heard.sequence,
            seen: self.heard.seen,
            acked: self.heard.acked,
            digest: self.heard.digest,
            source: self.received.source_id(),
            body: self.body,
        }
    }

    /// The tag at the end of its bytes.
    #[must_use]
    pub fn tag(&self) -> MessageTag {
        self.received.payload.last_chunk().copied().unwrap_or_default()
    }

    /// From here on it waits for the log.
    pub fn wait_for_the_log(&mut self) {
        if let Some(trace) = &mut self.received.trace {
            trace.propose();
        }
    }

    /// Seals the verdict.
    #[must_use]
    pub fn answer(mut self, sealer: &mut Sealer, verdict: &VerdictBody) -> Outgoing {
        let span = self.received.trace.as_mut().map(|trace| trace.verdict());
        let _entered = span.as_ref().map(tracing::Span::enter);
        let sealed = sealer.verdict(&self.session.keys, &self.request, verdict);
        Outgoing::to(self.received.inbox, sealed)
    }
}
