//! Tamper reports: a terminal whose record does not open speaks under a key of its lot. Symmetric and weak, so it is
//! bounded per source and per record, and held against neither device (protocol.md rule 25).

use super::Admitted;
use super::buckets::{Buckets, Rate};
use super::desk::{Desk, NoKey};
use super::queue::{Favour, Refused as NoPlace};
use super::received::Received;
use super::settle::EventWaiter;
use crate::bus::Outgoing;
use crate::bus::subject::Sender;
use bytes::Bytes;
use events::envelope::header::PROTOCOL_VERSION;
use events::envelope::{MessageKind, TamperReport};
use events::identity::lot::TamperKey;
use events::ids::{LotId, RecordDigest, SourceId};
use events::keyring::Purpose;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::{Event, TamperReported};
use std::sync::Arc;

/// What a report is answered with: nobody believes more than that somebody listens.
pub(super) const ACKNOWLEDGEMENT: &[u8] = &[PROTOCOL_VERSION, MessageKind::Tamper as u8];

/// Reports of one source. Whoever has a lot's firmware can invent records, so this alone bounds what he writes; a
/// terminal reports again at its next boot.
const SOURCE_RATE: Rate = Rate { burst: 16, every_millis: 60_000 };
/// What one record has to say stays the same: the log hears it a few times a day.
const RECORD_RATE: Rate = Rate { burst: 4, every_millis: 3_600_000 };
const SOURCES_MAX: usize = 4_096;
const RECORDS_MAX: usize = 16_384;

pub(super) struct TamperReports {
    desk: Arc<Desk>,
}

/// What bounds the reports of this node, whether a lot's firmware or a device's own key vouches for them.
pub(super) struct TamperBook {
    sources: Buckets<SourceId>,
    records: Buckets<(LotId, RecordDigest, TamperReason)>,
}

impl TamperBook {
    pub fn new() -> Self {
        TamperBook {
            sources: Buckets::new(SOURCE_RATE, SOURCES_MAX),
            records: Buckets::new(RECORD_RATE, RECORDS_MAX),
        }
    }

    /// Whether the log may hear more of this source.
    pub fn hear_source(&mut self, source: SourceId, now: u64) -> bool {
        self.sources.take(source, now)
    }

    /// Whether the log may hear this of a record once more.
    pub fn hear_record(&mut self, lot: LotId, record: RecordDigest, reason: TamperReason, now: u64) -> bool {
        self.records.take((lot, record, reason), now)
    }
}

impl TamperReports {
    pub fn new(desk: Arc<Desk>) -> Self {
        TamperReports { desk }
    }

    pub fn admit(&mut self, received: Received, admitted: &mut Admitted) {
        let refuse = |received: Received, reason| self.desk.refuse(received.refused(reason));
        let Sender::Lot(lot) = received.sender else {
            return admitted.answers.extend(refuse(received, RejectionReason::Malformed));
        };
        if TamperReport::parse(&received.payload).ok().is_none_or(|report| report.lot != lot) {
            return admitted.answers.extend(refuse(received, RejectionReason::Malformed));
        }
        let now = self.desk.now_millis();
        if !self.desk.tamper.lock().hear_source(received.source_id(), now) {
            return admitted.answers.extend(refuse(received, RejectionReason::RateExceeded));
        }
        let hear = |report: &TamperReport| {
            self.desk.tamper.lock().hear_record(lot, report.record, report.reason, now)
        };
        match self.verify(&received, lot) {
            Ok(Some(report)) if hear(&report) => self.propose(received, &report, admitted),
            Ok(Some(_)) => admitted.answers.push(acknowledge(received)),
            Ok(None) => admitted.answers.extend(refuse(received, RejectionReason::NotAuthentic)),
            Err(NoKey) => {
                let refused = received.refused(RejectionReason::Unavailable);
                admitted.answers.extend(self.desk.refuse_unjudged(refused));
            }
        }
    }

    /// None if it is not authentic: an unknown lot costs and says what a bad mac does.
    fn verify(&self, received: &Received, lot: LotId) -> Result<Option<TamperReport>, NoKey> {
        let wrapped = self.desk.projector.read(|fold| fold.lot(&lot).map(|known| known.tamper_key.clone()));
        let key: Result<TamperKey, NoKey> = match &wrapped {
            Some(wrapped) => self.desk.unwrap_secret(Purpose::TamperKey, lot.as_bytes(), 0, wrapped),
            None => self.desk.unwrap_decoy(TamperKey::BYTES),
        };
        let report = TamperReport::verify(&received.payload, &key?).ok();
        Ok(report.filter(|_| wrapped.is_some()))
    }

    fn propose(&self, received: Received, report: &TamperReport, admitted: &mut Admitted) {
        let event = Event::from(TamperReported {
            lot: report.lot,
            record: report.record,
            reason: report.reason,
            mismatched: report.mismatched,
            source: received.source_id(),
        });
        let tag = received.payload.last_chunk().copied();
        let waiter = EventWaiter::Tamper(Box::new(received));
        let placed = self
            .desk
            .batcher
            .fill(self.desk.applied(), |queue| queue.event(&event, Favour::Common, tag, waiter));
        match placed {
            Ok(()) | Err(NoPlace::UnderWay(_)) => {}
            Err(NoPlace::Full(waiter) | NoPlace::Malformed(waiter, _)) => {
                admitted.answers.extend(waiter.refuse(&self.desk, RejectionReason::Unavailable));
            }
        }
    }
}

fn acknowledge(received: Received) -> Outgoing {
    Outgoing::to(received.inbox, Bytes::from_static(ACKNOWLEDGEMENT))
}
