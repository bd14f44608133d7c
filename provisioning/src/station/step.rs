//! The words of the journal: what a station did, one step a line. No secret is among them: the manifest entry is
//! sealed to the cluster's import key, and what the OTP shall hold is named by its digest.

use data_encoding::HEXLOWER;
use events::ids::{DeviceId, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of a unit within its station, from 1; never used again, whatever became of the unit.
pub type UnitNumber = u32;
/// Number of a manifest within its station, from 1.
pub type ManifestNumber = u32;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub number: u64,
    /// The station's clock, never going back.
    pub at: Timestamp,
    pub step: Step,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// The first line: whose journal this is.
    Opened { station: StationId, lot: LotId },
    /// Everything about the unit is decided and its manifest entry kept; the terminal is untouched.
    Planned(PlannedUnit),
    /// From here on the OTP may hold anything.
    Burning { unit: UnitNumber },
    /// The OTP was read and holds what it shall.
    ReadBack { unit: UnitNumber },
    /// The record was verified and opened as the terminal will do it.
    Burned { unit: UnitNumber },
    /// The unit does not exist; its number stays used.
    Voided { unit: UnitNumber, reason: VoidReason },
    /// These units left the station in this manifest.
    Exported { manifest: ManifestNumber, units: Vec<UnitNumber> },
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PlannedUnit {
    pub unit: UnitNumber,
    pub device: DeviceId,
    pub record: RecordDigest,
    /// In the `seed` profile, the digest of the fuse secret; the fuses hold this instead of the record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fuses: Option<Tag>,
    /// Which terminal it is: a digest of its components under the station's key.
    pub hardware: Tag,
    /// The manifest entry, sealed to the import key.
    pub entry: Bytes,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum VoidReason {
    /// The burn did not happen; the terminal is blank and can be burned as another unit.
    Blank,
    /// The OTP holds something else than it shall; the terminal is scrap.
    Partial,
    /// The OTP holds what it shall, but does not open on this terminal; the terminal is scrap.
    Unsound,
    /// Given up by hand: the terminal is gone.
    GivenUp,
}

/// A 16-byte digest, hex in the journal.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(pub [u8; 16]);

/// Bytes, base64 in the journal.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl Line {
    #[must_use]
    pub fn encode(&self) -> String {
        #[allow(clippy::expect_used, reason = "strings, integers and lists only: JSON has all of them")]
        let json = serde_json::to_string(self).expect("a line is plain data");
        format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()))
    }

    /// One line with its line feed; `None` if it is torn or damaged.
    #[must_use]
    pub fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let (checksum, json) = text.split_once(' ')?;
        let expected = format!("{:08x}", crc32c::crc32c(json.as_bytes()));
        if checksum != expected {
            return None;
        }
        serde_json::from_str(json).ok()
    }
}

impl VoidReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            VoidReason::Blank => "the OTP is still blank",
            VoidReason::Partial => "the OTP holds something else than was burned",
            VoidReason::Unsound => "the record does not open on its terminal",
            VoidReason::GivenUp => "given up by hand",
        }
    }
}

impl std::fmt::Display for VoidReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        HEXLOWER.encode(&tag.0)
    }
}

impl TryFrom<String> for Tag {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| "a digest is written in lower-case hex")?;
        bytes.try_into().map(Tag).map_err(|_| "a digest has 16 bytes")
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        data_encoding::BASE64.encode(&bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        data_encoding::BASE64.decode(text.as_bytes()).map(Bytes).map_err(|_| "bytes are written in base64")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn planned(unit: UnitNumber) -> PlannedUnit {
        PlannedUnit {
            unit,
            device: DeviceId::from_bytes([unit as u8; 16]),
            record: RecordDigest::from_bytes([unit as u8; 16]),
            fuses: unit.is_multiple_of(2).then_some(Tag([4; 16])),
            hardware: Tag([unit as u8; 16]),
            entry: Bytes(vec![unit as u8; 30]),
        }
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let reasons = [VoidReason::Blank, VoidReason::Partial, VoidReason::Unsound, VoidReason::GivenUp];
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(station, lot)| Step::Opened {
                station: StationId::from_bytes(station),
                lot: LotId::from_bytes(lot)
            }),
            any::<u32>().prop_map(|unit| Step::Planned(planned(unit))),
            any::<u32>().prop_map(|unit| Step::Burning { unit }),
            any::<u32>().prop_map(|unit| Step::ReadBack { unit }),
            any::<u32>().prop_map(|unit| Step::Burned { unit }),
            (any::<u32>(), prop::sample::select(reasons.to_vec()))
                .prop_map(|(unit, reason)| Step::Voided { unit, reason }),
            any::<(u32, Vec<u32>)>().prop_map(|(manifest, units)| Step::Exported { manifest, units }),
        ]
    }

    proptest! {
        #[test]
        fn every_line_survives_its_text(number: u64, at: u64, step in any_step()) {
            let line = Line { number, at: Timestamp::from_millis(at), step };
            prop_assert_eq!(Line::decode(line.encode().as_bytes()), Some(line));
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>) {
            let _ = Line::decode(&bytes);
        }
    }

    #[test]
    fn a_line_reads_like_the_documentation_says() {
        let at = Timestamp::from_millis(1_795_374_203_042);
        let line = Line { number: 3, at, step: Step::Burning { unit: 1 } };
        let text = line.encode();
        assert_eq!(&text[8..], " {\"number\":3,\"at\":1795374203042,\"step\":{\"burning\":{\"unit\":1}}}\n");
    }
}
