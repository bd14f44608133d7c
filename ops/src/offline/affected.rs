//! Whom an event is about, and what it says in a few words.

use anyhow::{Context as _, Result};
use events::batch::{access, split_stamp};
use events::ids::{DeviceId, LicenseId};
use events::log::record::EntryBody;
use events::vocabulary::Event;
use nodes::storage::log_reader::HistoryEntry;
use projector::Projector;
use projector::view::FlagSubject;

/// The devices that an event speaks of, as the fold knows them.
pub(super) fn devices_of(event: &Event, projector: &Projector) -> Vec<DeviceId> {
    let owner = |license: &LicenseId| projector.license(license).map(|license| license.device);
    match event {
        Event::DeviceProvisioned(event) => vec![event.device],
        Event::SecretsRewrapped(event) => event.devices.iter().map(|rewrapped| rewrapped.device).collect(),
        Event::DeviceActivated(event) => vec![event.device],
        Event::SessionResumed(event) => vec![event.device],
        Event::HeartbeatObserved(event) => vec![event.device],
        Event::SpoolDrained(event) => vec![event.heartbeat.device],
        Event::OperationOrdered(event) => vec![event.device],
        Event::OperationSettled(event) => vec![event.device],
        Event::LicenseTransferred(event) => vec![event.from, event.to],
        Event::LicenseRenewed(event) => owner(&event.license).into_iter().collect(),
        Event::LicenseSuspended(event) => owner(&event.license).into_iter().collect(),
        Event::LicenseResumed(event) => owner(&event.license).into_iter().collect(),
        Event::LicenseReissued(event) => owner(&event.license).into_iter().collect(),
        Event::RejectionSummary(event) => event.entries.iter().filter_map(|entry| entry.device).collect(),
        Event::TamperReported(event) => {
            let slot = projector.slot_of_record(&event.record);
            slot.and_then(|slot| projector.device(slot)).map(|device| device.id()).into_iter().collect()
        }
        Event::FlagCleared(event) => match projector.flag(&event.flag).map(|flag| &flag.subject) {
            Some(FlagSubject::Device(device)) => vec![*device],
            Some(FlagSubject::Source(_) | FlagSubject::Record(_) | FlagSubject::Lot(_)) | None => Vec::new(),
        },
        Event::ClusterCreated(_)
        | Event::Tick(_)
        | Event::CheckpointSigned(_)
        | Event::LotCreated(_)
        | Event::StationCertified(_)
        | Event::StationRevoked(_)
        | Event::CodesIssued(_)
        | Event::CodeVoided(_)
        | Event::UpdateCreated(_)
        | Event::UpdatePaused(_)
        | Event::UpdateResumed(_)
        | Event::UpdateAborted(_)
        | Event::BreakerReset(_)
        | Event::RequestKeyed(_) => Vec::new(),
    }
}

/// The numbers of an entry's items that are about a device: events first, then routine heartbeats. `projector` stands
/// before the entry.
pub(crate) fn items_about(entry: &HistoryEntry, device: DeviceId, projector: &Projector) -> Result<Vec<u32>> {
    let EntryBody::Batch(payload) = &entry.entry.body else { return Ok(Vec::new()) };
    let place = || format!("{} at offset {}", entry.file.display(), entry.offset);
    let (_, bytes) = split_stamp(payload).with_context(place)?;
    let batch = access(bytes).with_context(place)?;
    let slot = projector.slot_of(&device);
    let events = batch
        .decode_events()
        .map(|event| event.is_ok_and(|event| devices_of(&event, projector).contains(&device)));
    let heartbeats = batch.heartbeats.rows().map(|row| Some(row.slot) == slot);
    let numbered = (0u32..).zip(events.chain(heartbeats));
    Ok(numbered.filter_map(|(number, is_about)| is_about.then_some(number)).collect())
}

/// The event in a few words: its name, and who wanted it and why where it says so.
pub(super) fn in_words(event: &Event) -> String {
    let name = event.name();
    let person = |by: &str, reason: &str| format!("{name} by {by}: {reason}");
    match event {
        Event::OperationOrdered(event) => format!("{name} {}, {}", event.kind, event.cause),
        Event::OperationSettled(event) => {
            format!("{name}: the order of log index {} {}", event.ordered, event.settlement)
        }
        Event::SessionResumed(event) => format!("{name} from epoch {} at {}", event.from_epoch, event.source),
        Event::DeviceActivated(event) => format!("{name} at {}", event.source),
        Event::HeartbeatObserved(event) => {
            format!("{name} epoch {} sequence {} at {}", event.epoch, event.sequence, event.source)
        }
        Event::SpoolDrained(event) => {
            let heartbeat = &event.heartbeat;
            let (epoch, sequence, bodies) = (heartbeat.epoch, heartbeat.sequence, event.spooled.len());
            format!("{name} epoch {epoch} sequence {sequence} with {bodies} bodies at {}", heartbeat.source)
        }
        Event::DeviceProvisioned(event) => format!("{name} by {} as unit {}", event.station, event.unit),
        Event::TamperReported(event) => format!("{name} {} at {}", event.reason, event.source),
        Event::FlagCleared(event) => person(&event.by, &event.reason),
        Event::LicenseTransferred(event) => person(&event.by, &event.reason),
        Event::LicenseRenewed(event) => person(&event.by, &event.reason),
        Event::LicenseSuspended(event) => person(&event.by, &event.reason),
        Event::LicenseResumed(event) => person(&event.by, &event.reason),
        Event::LicenseReissued(event) => person(&event.by, &event.reason),
        Event::UpdateCreated(event) => person(&event.by, &event.reason),
        Event::UpdatePaused(event) => person(&event.by, &event.reason),
        Event::UpdateResumed(event) => person(&event.by, &event.reason),
        Event::UpdateAborted(event) => person(&event.by, &event.reason),
        Event::BreakerReset(event) => person(&event.by, &event.reason),
        Event::SecretsRewrapped(event) => {
            format!("{name} of {} devices and {} lots", event.devices.len(), event.lots.len())
        }
        Event::CheckpointSigned(event) => format!("{name} of {} entries", event.size),
        Event::ClusterCreated(_)
        | Event::Tick(_)
        | Event::LotCreated(_)
        | Event::StationCertified(_)
        | Event::StationRevoked(_)
        | Event::CodesIssued(_)
        | Event::CodeVoided(_)
        | Event::RejectionSummary(_)
        | Event::RequestKeyed(_) => name.to_owned(),
    }
}
