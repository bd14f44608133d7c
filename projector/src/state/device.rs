//! The cold record of a device: what the factory said, its session, what it owns and what was done to it.

use super::incidents::IfAny;
use super::kept::Kept;
use super::pages::{PAGE_BYTES_MAX, Pages};
use super::seldom::Seldom;
use super::session::{Link, Origin, Session};
use super::story::Story;
use super::usual::Usual;
use super::window::Window;
use crate::outcome::DirectiveView;
use events::ids::{DeviceId, Epoch, Generation, LogIndex, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::{ComponentDigest, DeviceProvisioned};
use serde::{Deserialize, Serialize};

/// Unsettled directives kept per device; the oldest gives way, and is settled as expired.
pub(crate) const DIRECTIVES_KEPT: usize = 4;
/// Heartbeats that show that the device was told of a directive and did not obey, until it counts as refused.
pub(crate) const UNHEEDED_MAX: u8 = 3;
/// Transcripts of activations that are remembered after their epoch died.
pub(crate) const TRANSCRIPTS_KEPT: usize = 4;

/// All cold records, by slot.
pub(crate) type Records = Pages<Record, RECORDS_OF_A_PAGE>;

const RECORDS_OF_A_PAGE: usize = 18;

const _: () = assert!(
    size_of::<Record>() * RECORDS_OF_A_PAGE + size_of::<usize>() <= PAGE_BYTES_MAX,
    "a page of records must fit into what an allocator cuts without waste"
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub birth: Birth,
    pub session: Session,
    /// See [`Record::transcripts`]. Empty if there is only that of the current epoch, which knows it.
    other_transcripts: Seldom<[u8; 32]>,
    /// Bodies that were counted.
    pub numbers: super::numbers::Numbers,
    /// Those of them that came from a spool.
    pub spooled: u64,
    /// Index of the license that the device owns.
    pub license: Option<u32>,
    pub held: Held,
    /// Not settled, ascending by id.
    pub directives: Seldom<Directed>,
    pub incidents: IfAny,
    pub story: Story,
}

/// The last lease whose token surely reached the device: it spoke under an epoch that was granted with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Index of the license; none if nothing is surely held.
    pub license: Option<u32>,
    pub lease: u32,
    pub given: Timestamp,
}

/// A directive on its way to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directed {
    pub view: DirectiveView,
    /// The log index since which every verdict names it; 0 while a lower one is named.
    pub named: LogIndex,
    /// Heartbeats of a device that was told and did not obey.
    pub unheeded: u8,
}

/// What the factory said, and never changes but for the key-encryption key of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub device: DeviceId,
    pub lot: LotId,
    pub station: StationId,
    pub unit: u32,
    #[serde(with = "super::octets")]
    pub public_key: Usual<u8, 97>,
    pub pre_shared_key: Kept,
    pub nats_key: [u8; 32],
    pub components: Usual<ComponentDigest, 4>,
    pub record: RecordDigest,
    pub burned_at: Timestamp,
    pub imported: LogIndex,
}

impl Birth {
    #[must_use]
    pub(crate) fn new(event: DeviceProvisioned, imported: LogIndex) -> Self {
        Birth {
            device: event.device,
            lot: event.lot,
            station: event.station,
            unit: event.unit,
            public_key: event.public_key.into(),
            pre_shared_key: event.pre_shared_key.into(),
            nats_key: event.nats_key,
            components: event.components.into(),
            record: event.record,
            burned_at: event.burned_at,
            imported,
        }
    }

    /// Whether a manifest entry says the same. The wrapped key is left out: each import wraps it anew.
    #[must_use]
    pub(crate) fn says(&self, event: &DeviceProvisioned) -> bool {
        self.device == event.device
            && self.lot == event.lot
            && self.station == event.station
            && self.unit == event.unit
            && *self.public_key == *event.public_key
            && self.nats_key == event.nats_key
            && *self.components == *event.components
            && self.record == event.record
    }
}

impl Record {
    #[must_use]
    pub(crate) fn new(birth: Birth) -> Self {
        Record {
            birth,
            session: Session::default(),
            other_transcripts: Seldom::default(),
            numbers: super::numbers::Numbers::default(),
            spooled: 0,
            license: None,
            held: Held::default(),
            directives: Seldom::default(),
            incidents: IfAny::default(),
            story: Story::default(),
        }
    }

    /// Digests of the last transcripts that were granted, oldest first.
    #[must_use]
    pub(crate) fn transcripts(&self) -> &[[u8; 32]] {
        match &self.session.current {
            Some(Link { origin: Origin::Activation(transcript), .. })
                if self.other_transcripts.is_empty() =>
            {
                std::slice::from_ref(transcript)
            }
            Some(_) | None => &self.other_transcripts,
        }
    }

    /// Remembers one that was granted; the oldest gives way.
    pub(crate) fn remember_transcript(&mut self, transcript: [u8; 32]) {
        let known = self.transcripts();
        let kept = &known[known.len().saturating_sub(TRANSCRIPTS_KEPT - 1)..];
        self.other_transcripts = [kept, &[transcript]].concat().into();
    }

    /// As [`Session::confirm`].
    pub(crate) fn confirm(&mut self, epoch: Epoch, window: Window, at: LogIndex, now: Generation) -> bool {
        if self.session.pending.iter().all(|link| link.epoch != epoch) {
            return false;
        }
        let known = self.transcripts().to_vec();
        let confirmed = self.session.confirm(epoch, window, at, now);
        self.know_transcripts(&known);
        confirmed
    }

    fn know_transcripts(&mut self, known: &[[u8; 32]]) {
        self.other_transcripts.clear();
        if self.transcripts() != known {
            self.other_transcripts = known.to_vec().into();
        }
    }

    /// The lowest directive that is not settled: what was obeyed is then exactly what the device reports, since it
    /// obeys only higher ones afterwards. Expired ones are settled before anything is answered.
    #[must_use]
    pub(crate) fn directive(&self) -> Option<DirectiveView> {
        self.directives.first().map(|directed| directed.view)
    }
}

/// Stored as if it held all that it is asked for.
impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Record { birth, session, other_transcripts: _, numbers, spooled, .. } = self;
        let Record { license, held, directives, incidents, story, .. } = self;
        let transcripts = self.transcripts();
        (birth, session, transcripts, numbers, spooled, license, held, directives, incidents, story)
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (birth, session, transcripts, numbers, spooled, license, held, directives, incidents, story) =
            Deserialize::deserialize(deserializer)?;
        let (transcripts, other_transcripts): (Usual<_, 1>, _) = (transcripts, Seldom::default());
        let mut record = Record {
            birth,
            session,
            other_transcripts,
            numbers,
            spooled,
            license,
            held,
            directives,
            incidents,
            story,
        };
        record.know_transcripts(&transcripts);
        if record.transcripts() == &transcripts[..] {
            return Ok(record);
        }
        Err(serde::de::Error::custom("an epoch that was activated, and no transcript of it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frozen::tests::record;

    #[test]
    fn transcripts_are_told_and_stored_as_a_list_whoever_keeps_them() {
        let (mut record, mut model) = (record(1), Vec::new());
        let link = record.session.current.take().unwrap();
        for epoch in 1..=9u8 {
            let resumes = epoch % 3 == 0;
            let origin = if resumes {
                Origin::Resume([epoch; 16])
            } else {
                record.remember_transcript([epoch; 32]);
                model.push([epoch; 32]);
                Origin::Activation([epoch; 32])
            };
            model.drain(..model.len().saturating_sub(TRANSCRIPTS_KEPT));
            let (epoch, parent) = (Epoch::from(epoch), Epoch::from(epoch - 1));
            record.session.grant(Link { epoch, parent, origin, ..link.clone() });
            assert_eq!(record.transcripts(), model);
            assert!(record.confirm(epoch, Window::default(), 1, 1));
            assert_eq!(record.transcripts(), model);

            let with = |transcripts: &[[u8; 32]]| {
                let Record { birth, session, numbers, spooled, license, held, .. } = &record;
                let (directives, incidents, story) = (&record.directives, &record.incidents, &record.story);
                let before = (birth, session, transcripts, numbers, spooled, license, held);
                postcard::to_stdvec(&(before, directives, incidents, story)).unwrap()
            };
            let stored = postcard::to_stdvec(&record).unwrap();
            assert_eq!(stored, with(&model));
            assert_eq!(postcard::from_bytes(&stored), Ok(record.clone()));
            assert_eq!(postcard::from_bytes::<Record>(&with(&[])).is_ok(), resumes);
        }
    }
}
