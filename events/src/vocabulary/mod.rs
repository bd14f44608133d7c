//! What can happen: every event that the log can hold, one file per family.
//!
//! An event is stored as (kind, rkyv bytes). The kind names the event *and* its version: a changed event gets a new
//! number and its old shape an upcast, so that a reader knows from two bytes whether it understands what follows. Kinds are
//! never reused. Golden bytes in `tests/golden/` hold every kind that ever shipped.
//!
//! The node that proposes an event *attests* what needs keys (tags, signatures, HPKE, code derivation); the fold
//! judges again whatever depends on state.

pub mod activation;
pub mod cluster;
pub mod flag;
pub mod heartbeat;
pub mod license;
pub mod operation;
pub mod provisioning;
pub mod rejection;
pub mod request;
pub mod session;
pub mod shared;
pub mod update;

pub use activation::DeviceActivated;
pub use cluster::{CheckpointSigned, ClusterCreated, Tick};
pub use flag::FlagCleared;
pub use heartbeat::{HeartbeatObserved, SpoolDrained};
pub use license::{
    CodeVoided, CodesIssued, LicenseReissued, LicenseRenewed, LicenseResumed, LicenseSuspended,
    LicenseTransferred,
};
pub use operation::{BreakerReset, OperationOrdered, OperationSettled};
pub use provisioning::{DeviceProvisioned, LotCreated, SecretsRewrapped, StationCertified, StationRevoked};
pub use rejection::{RejectionSummary, TamperReported};
pub use request::RequestKeyed;
pub use session::SessionResumed;
pub use update::{UpdateAborted, UpdateCreated, UpdatePaused, UpdateResumed};

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error(
        "event kind {0} is not known to this version; upgrade this node, or replay offline with --skip-unknown"
    )]
    UnknownKind(u16),
    #[error("event kind {kind} has malformed bytes: {why}")]
    Malformed { kind: u16, why: String },
    #[error("an event of {got} bytes is larger than the {max} allowed")]
    TooLarge { got: usize, max: usize },
}

/// `number => Event` for each kind that is written, and after `old:` `number => shape it had => Event that it is read as`
/// for each that was: the event is `From` its old shape, and nobody but [`Event::decode`] knows of that.
macro_rules! vocabulary {
    (
        $($number:literal => $name:ident),+ $(,)?
        old: $($old_number:literal => $old:ty => $now:ident),* $(,)?
    ) => {
        /// Any event, decoded.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(tag = "event", content = "data")]
        pub enum Event {
            $($name($name)),+
        }

        impl Event {
            /// The numbers of all kinds that this version writes.
            pub const KINDS: &'static [u16] = &[$($number),+];

            /// The numbers of the kinds that it reads besides: versions of events that changed since.
            pub const OLD_KINDS: &'static [u16] = &[$($old_number),*];

            /// The names of all events.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// The name of the event that a kind is read as, whatever its version; none of a kind that is not known.
            #[must_use]
            pub const fn name_of(kind: u16) -> Option<&'static str> {
                match kind {
                    $($number => Some(stringify!($name)),)+
                    $($old_number => Some(stringify!($now)),)*
                    _ => None,
                }
            }

            #[must_use]
            pub const fn kind(&self) -> u16 {
                match self { $(Event::$name(_) => $number),+ }
            }

            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Event::$name(_) => stringify!($name)),+ }
            }

            /// The event's rkyv bytes (little endian, unaligned).
            pub fn encode(&self) -> Result<Vec<u8>, EventError> {
                let kind = self.kind();
                let encoded = match self {
                    $(Event::$name(event) => rkyv::to_bytes::<rkyv::rancor::Error>(event)),+
                };
                let bytes = encoded.map_err(|e| EventError::Malformed { kind, why: e.to_string() })?.to_vec();
                within_limit(bytes)
            }

            /// Validates, decodes and upcasts; never panics, whatever the bytes.
            pub fn decode(kind: u16, bytes: &[u8]) -> Result<Self, EventError> {
                let decoded: Result<Self, rkyv::rancor::Error> = match kind {
                    $($number => rkyv::from_bytes::<$name, _>(bytes).map(Event::$name),)+
                    $($old_number => rkyv::from_bytes::<$old, _>(bytes).map(|was| Event::$now(was.into())),)*
                    unknown => return Err(EventError::UnknownKind(unknown)),
                };
                decoded.map_err(|e| EventError::Malformed { kind, why: e.to_string() })
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self {
                Event::$name(event)
            }
        })+
    };
}

vocabulary! {
    1 => ClusterCreated,
    2 => Tick,
    3 => CheckpointSigned,
    10 => LotCreated,
    11 => StationCertified,
    12 => StationRevoked,
    13 => DeviceProvisioned,
    14 => SecretsRewrapped,
    20 => CodesIssued,
    21 => CodeVoided,
    22 => LicenseTransferred,
    23 => LicenseRenewed,
    24 => LicenseSuspended,
    25 => LicenseResumed,
    26 => LicenseReissued,
    30 => DeviceActivated,
    40 => SessionResumed,
    50 => HeartbeatObserved,
    51 => SpoolDrained,
    60 => RejectionSummary,
    61 => TamperReported,
    70 => FlagCleared,
    80 => OperationOrdered,
    81 => OperationSettled,
    82 => BreakerReset,
    90 => UpdateCreated,
    91 => UpdatePaused,
    92 => UpdateResumed,
    93 => UpdateAborted,
    100 => RequestKeyed,
    old:
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, EventError> {
    let max = crate::limits::EVENT_BYTES_MAX;
    if bytes.len() > max { Err(EventError::TooLarge { got: bytes.len(), max }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary in its third version: one event changed twice.
    #[allow(dead_code, reason = "the vocabulary brings more than is asked here")]
    mod third {
        use super::super::{EventError, within_limit};
        use rkyv::{Archive, Deserialize, Serialize};

        #[derive(Archive, Serialize, Deserialize)]
        pub(super) struct MovedFirst {
            pub region: u8,
        }

        #[derive(Archive, Serialize, Deserialize)]
        pub(super) struct MovedSecond {
            pub region: String,
        }

        #[derive(Archive, Serialize, Deserialize, serde::Serialize, Clone, Debug, PartialEq, Eq)]
        pub struct Moved {
            pub region: String,
            pub by: Option<String>,
        }

        impl From<MovedFirst> for Moved {
            fn from(was: MovedFirst) -> Self {
                MovedSecond { region: format!("region-{}", was.region) }.into()
            }
        }

        impl From<MovedSecond> for Moved {
            fn from(was: MovedSecond) -> Self {
                Moved { region: was.region, by: None }
            }
        }

        vocabulary! {
            7 => Moved,
            old:
            5 => MovedFirst => Moved,
            6 => MovedSecond => Moved,
        }

        pub(super) fn bytes_of_first() -> Vec<u8> {
            rkyv::to_bytes::<rkyv::rancor::Error>(&MovedFirst { region: 4 }).unwrap().to_vec()
        }

        pub(super) fn bytes_of_second() -> Vec<u8> {
            let second = MovedSecond { region: "eu".into() };
            rkyv::to_bytes::<rkyv::rancor::Error>(&second).unwrap().to_vec()
        }
    }

    #[test]
    fn an_event_of_an_older_version_is_read_as_what_it_is_today() {
        let moved = |region: &str, by: Option<&str>| {
            third::Event::Moved(third::Moved { region: region.into(), by: by.map(String::from) })
        };
        assert_eq!(third::Event::decode(5, &third::bytes_of_first()), Ok(moved("region-4", None)));
        assert_eq!(third::Event::decode(6, &third::bytes_of_second()), Ok(moved("eu", None)));
        let today = moved("eu", Some("ops"));
        assert_eq!(today.kind(), 7, "what is written has the newest number");
        assert_eq!(third::Event::decode(7, &today.encode().unwrap()), Ok(today));
        assert!(matches!(
            third::Event::decode(6, &third::bytes_of_first()),
            Err(EventError::Malformed { kind: 6, .. })
        ));
    }

    #[test]
    fn no_number_means_two_things() {
        let mut numbers = [Event::KINDS, Event::OLD_KINDS].concat();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Event::KINDS.len() + Event::OLD_KINDS.len());
    }
}
