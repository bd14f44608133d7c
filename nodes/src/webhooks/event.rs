//! What a receiver is told: a change of the state as a CloudEvent (1.0, JSON), named noun and participle.

use events::ids::{ClusterId, Generation, LogIndex};
use events::time::Timestamp;
use events::vocabulary::shared::Legitimacy;
use projector::Change;
use projector::view::{FlagSubject, LicenseState, RolloutEnding, RolloutStanding};
use serde::Serialize;
use serde_json::{Value, json};

/// What can be asked for, and how it is written. The table of them stands in `WEBHOOKS.md`; a test holds it against this.
macro_rules! event_kinds {
    ($($kind:ident = $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EventKind { $($kind,)* }

        impl EventKind {
            pub const ALL: &[EventKind] = &[$(EventKind::$kind,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$kind => $name,)* }
            }
        }
    };
}

event_kinds! {
    DeviceProvisioned = "device.provisioned",
    DeviceLegitimate = "device.legitimate",
    DeviceSuspect = "device.suspect",
    DeviceRestricted = "device.restricted",
    DeviceRevoked = "device.revoked",
    DeviceRetired = "device.retired",
    DeviceFlagged = "device.flagged",
    DeviceCleared = "device.cleared",
    DeviceNotified = "device.notified",
    SourceFlagged = "source.flagged",
    SourceCleared = "source.cleared",
    RecordFlagged = "record.flagged",
    RecordCleared = "record.cleared",
    LotFlagged = "lot.flagged",
    LotCleared = "lot.cleared",
    OperationOrdered = "operation.ordered",
    OperationSettled = "operation.settled",
    LicenseActive = "license.active",
    LicenseSuspended = "license.suspended",
    LicenseExpired = "license.expired",
    LicenseMoved = "license.moved",
    UpdateRunning = "update.running",
    UpdatePaused = "update.paused",
    UpdateAborted = "update.aborted",
    UpdateReplaced = "update.replaced",
    UpdateExpired = "update.expired",
    AutomationStopped = "automation.stopped",
    AutomationResumed = "automation.resumed",
}

/// Told to every webhook whatever it asks for: events in between were pushed out before they were delivered.
pub const GAP: &str = "webhook.gap";
/// What `muster webhook test` sends.
pub const TEST: &str = "webhook.test";

impl EventKind {
    #[must_use]
    pub fn of(change: &Change) -> Self {
        match change {
            Change::Legitimacy { to, .. } => match to {
                Legitimacy::Provisioned => EventKind::DeviceProvisioned,
                Legitimacy::Legitimate => EventKind::DeviceLegitimate,
                Legitimacy::Suspect => EventKind::DeviceSuspect,
                Legitimacy::Restricted => EventKind::DeviceRestricted,
                Legitimacy::Revoked => EventKind::DeviceRevoked,
                Legitimacy::Retired => EventKind::DeviceRetired,
            },
            Change::FlagRaised { subject, .. } => match subject {
                FlagSubject::Device(_) => EventKind::DeviceFlagged,
                FlagSubject::Source(_) => EventKind::SourceFlagged,
                FlagSubject::Record(_) => EventKind::RecordFlagged,
                FlagSubject::Lot(_) => EventKind::LotFlagged,
            },
            Change::FlagCleared { subject, .. } => match subject {
                FlagSubject::Device(_) => EventKind::DeviceCleared,
                FlagSubject::Source(_) => EventKind::SourceCleared,
                FlagSubject::Record(_) => EventKind::RecordCleared,
                FlagSubject::Lot(_) => EventKind::LotCleared,
            },
            Change::OperationOrdered { .. } => EventKind::OperationOrdered,
            Change::OperationSettled { .. } => EventKind::OperationSettled,
            Change::License { to, .. } => match to {
                LicenseState::Active => EventKind::LicenseActive,
                LicenseState::Suspended => EventKind::LicenseSuspended,
                LicenseState::Expired => EventKind::LicenseExpired,
            },
            Change::LicenseMoved(_) => EventKind::LicenseMoved,
            Change::Update { standing, .. } => match standing {
                RolloutStanding::Running => EventKind::UpdateRunning,
                RolloutStanding::Paused => EventKind::UpdatePaused,
                RolloutStanding::Ended(RolloutEnding::Aborted) => EventKind::UpdateAborted,
                RolloutStanding::Ended(RolloutEnding::Replaced) => EventKind::UpdateReplaced,
                RolloutStanding::Ended(RolloutEnding::Expired) => EventKind::UpdateExpired,
            },
            Change::Notified { .. } => EventKind::DeviceNotified,
            Change::AutomationStopped { .. } => EventKind::AutomationStopped,
            Change::AutomationResumed => EventKind::AutomationResumed,
        }
    }

    /// Whether a filter lets it through: a whole name, or `noun.*`.
    #[must_use]
    pub fn matches(self, filter: &str) -> bool {
        match filter.strip_suffix(".*") {
            Some(noun) => self.as_str().split_once('.').is_some_and(|(own, _)| own == noun),
            None => self.as_str() == filter,
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The event as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CloudEvent {
    specversion: &'static str,
    /// `generation.index.ordinal` of the change: the same however often and by whomever it is sent.
    pub id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The stamp of the log.
    time: String,
    datacontenttype: &'static str,
    data: Value,
}

impl CloudEvent {
    #[must_use]
    pub fn of(
        cluster: ClusterId,
        (generation, index, ordinal): (Generation, LogIndex, usize),
        stamp: Timestamp,
        change: &Change,
    ) -> Self {
        // Ids, names and numbers have a JSON form.
        let mut data = serde_json::to_value(change).unwrap_or_default();
        data["index"] = json!(index);
        let id = format!("{generation}.{index}.{ordinal}");
        CloudEvent {
            subject: subject(change),
            ..event(cluster, id, EventKind::of(change).as_str(), stamp, data)
        }
    }

    /// Changes above `after` and below `from` were pushed out.
    #[must_use]
    pub fn gap(
        cluster: ClusterId,
        generation: Generation,
        (after, from): (LogIndex, LogIndex),
        now: Timestamp,
    ) -> Self {
        let what_to_do = "read the state anew; what follows is complete";
        let data = json!({ "after": after, "from": from, "what_to_do": what_to_do });
        event(cluster, format!("{generation}.{after}.gap"), GAP, now, data)
    }

    /// Nothing happened: somebody wants to know whether the receiver hears.
    #[must_use]
    pub fn test(cluster: ClusterId, now: Timestamp) -> Self {
        event(cluster, format!("test.{}", now.as_millis()), TEST, now, json!({}))
    }

    /// The bytes that are signed and sent.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        // Strings and numbers have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn event(cluster: ClusterId, id: String, kind: &'static str, time: Timestamp, data: Value) -> CloudEvent {
    CloudEvent {
        specversion: "1.0",
        id,
        source: format!("urn:muster:{cluster}"),
        kind,
        subject: None,
        time: time.to_string(),
        datacontenttype: "application/json",
        data,
    }
}

/// Whom it is about.
fn subject(change: &Change) -> Option<String> {
    Some(match change {
        Change::Legitimacy { device, .. }
        | Change::OperationOrdered { device, .. }
        | Change::OperationSettled { device, .. }
        | Change::Notified { device, .. } => device.to_string(),
        Change::FlagRaised { subject, .. } | Change::FlagCleared { subject, .. } => match subject {
            FlagSubject::Device(device) => device.to_string(),
            FlagSubject::Source(source) => source.to_string(),
            FlagSubject::Record(record) => record.to_string(),
            FlagSubject::Lot(lot) => lot.to_string(),
        },
        Change::License { license, .. } => license.to_string(),
        Change::LicenseMoved(done) => done.license.to_string(),
        Change::Update { rollout, .. } => rollout.to_string(),
        Change::AutomationStopped { .. } | Change::AutomationResumed => return None,
    })
}
