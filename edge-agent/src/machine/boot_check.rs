//! The boot check: does this board carry the record that was burned for it? A pure function of bytes.
//!
//! A record that does not open leaves no key (protocol.md rule 25): the terminal can only report a digest of it,
//! under a key of its lot. A record that opens on hardware that changed too much leaves the key, and a restriction.

use super::effects::Standing;
use super::unread::HardwareSource;
use events::envelope::TamperReport;
use events::identity::fingerprint::{Component, Fingerprint};
use events::identity::key::{DeviceKey, PreSharedKey};
use events::identity::lot::{LotFirmware, TamperKey};
use events::identity::otp::{FuseSecret, OpenedRecord, OtpError, OtpRecord, record_digest};
use events::ids::{DeviceId, LotId, RecordDigest};
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::rejection::TamperReason;
use events::vocabulary::shared::ComponentKind;
use std::fmt;

/// Who this terminal is: what an opened record yields. The seed itself is forgotten at once.
#[derive(Clone, Debug)]
pub struct Identity {
    pub device: DeviceId,
    pub(super) key: DeviceKey,
    pub(super) pre_shared_key: PreSharedKey,
    /// Digests of the components as they are now.
    pub(super) components: Vec<ComponentDigest>,
}

/// What the boot check found.
#[derive(Clone, Debug)]
pub struct BootCheck {
    pub standing: Standing,
    pub lot: LotId,
    /// Digest of the bytes where the record should be, whatever they are.
    pub record: RecordDigest,
    /// Why it is restricted.
    pub reason: Option<TamperReason>,
    /// Components that differ or are missing; some may, if the lot's threshold allows.
    pub mismatched: Vec<ComponentKind>,
    /// None if the record does not open.
    pub(super) identity: Option<Identity>,
    /// What could not be read, see `unread.rs`.
    pub(super) unread: Vec<HardwareSource>,
    pub(super) awaits_hardware: bool,
    /// The record is of profile `seed`, and there was no secret to open it with.
    pub(super) wants_fuse_secret: bool,
    tamper_key: TamperKey,
    explained: String,
}

/// Checks `record`, the bytes where the OTP record should be, against the components that could be read.
#[must_use]
pub fn boot_check(
    record: Option<&[u8]>,
    firmware: &LotFirmware,
    fuse_secret: Option<&FuseSecret>,
    components: Vec<Component>,
) -> BootCheck {
    let missing = |kind: &ComponentKind| !components.iter().any(|component| component.kind() == *kind);
    let missing_required: Vec<_> = firmware.policy.required().iter().copied().filter(missing).collect();
    match open(record, firmware, fuse_secret, components) {
        Ok(opened) => BootCheck::of_opened(opened, record, firmware),
        Err(error) => BootCheck {
            mismatched: missing_required,
            explained: error.to_string(),
            wants_fuse_secret: error == OtpError::FuseSecret && fuse_secret.is_none(),
            ..BootCheck::restricted(error.tamper_reason(), record, firmware)
        },
    }
}

/// The record as it opened, and the digests of the hardware as it is now.
type Opened = (OpenedRecord, Vec<ComponentDigest>);

fn open(
    record: Option<&[u8]>,
    firmware: &LotFirmware,
    fuse_secret: Option<&FuseSecret>,
    components: Vec<Component>,
) -> Result<Opened, OtpError> {
    let record = OtpRecord::parse(record.ok_or(OtpError::Blank)?)?;
    // No component at all, or one kind twice: what the record is bound to is not there.
    let fingerprint = Fingerprint::new(components).map_err(|_| OtpError::RequiredHardware)?;
    let opened = firmware.open_record(&record, fuse_secret, &fingerprint)?;
    let digests = fingerprint.digests(&opened.seed);
    Ok((opened, digests))
}

impl BootCheck {
    fn restricted(reason: TamperReason, record: Option<&[u8]>, firmware: &LotFirmware) -> Self {
        BootCheck {
            standing: Standing::Restricted,
            lot: firmware.lot,
            record: digest_of(record),
            reason: Some(reason),
            mismatched: Vec::new(),
            identity: None,
            unread: Vec::new(),
            awaits_hardware: false,
            wants_fuse_secret: false,
            tamper_key: firmware.lot_secret.tamper_key(firmware.lot),
            explained: String::new(),
        }
    }

    fn of_opened((opened, components): Opened, record: Option<&[u8]>, firmware: &LotFirmware) -> Self {
        let key = opened.seed.device_key();
        let identity = Identity {
            device: key.public().device_id(),
            key,
            pre_shared_key: opened.seed.pre_shared_key(),
            components,
        };
        let restricted = BootCheck::restricted(TamperReason::ComponentMismatch, record, firmware);
        let mismatched = opened.comparison.mismatched;
        if opened.comparison.passes {
            let (standing, reason) = (Standing::Full, None);
            return BootCheck { standing, reason, mismatched, identity: Some(identity), ..restricted };
        }
        let explained = "more components differ than the lot allows".to_owned();
        BootCheck { mismatched, explained, identity: Some(identity), ..restricted }
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.standing == Standing::Full
    }

    /// The device, if its record opens.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        self.identity.as_ref().map(|identity| identity.device)
    }

    /// The sealed report of a check that ended restricted.
    pub(super) fn tamper_report(&self, random: [u8; 16]) -> Vec<u8> {
        let report = TamperReport {
            lot: self.lot,
            record: self.record,
            reason: self.reason.unwrap_or(TamperReason::RecordInvalid),
            mismatched: self.mismatched.iter().fold(0, |bits, kind| bits | 1 << (*kind as u16)),
            random,
        };
        report.seal(&self.tamper_key)
    }

    /// The result for applications and people: no secrets.
    #[must_use]
    pub fn report(&self) -> BootCheckReport {
        BootCheckReport {
            standing: self.standing,
            device: self.device(),
            lot: self.lot,
            record: self.record,
            reason: self.reason,
            mismatched: self.mismatched.clone(),
            unread: self.unread.clone(),
            explained: self.explained.clone(),
        }
    }
}

/// Records of 240 bytes lie in slots of 256: the digest is of the record, so that the cluster knows it again.
fn digest_of(record: Option<&[u8]>) -> RecordDigest {
    let bytes = record.unwrap_or_default();
    OtpRecord::parse(bytes).map_or_else(|_| record_digest(bytes), |record| record.digest())
}

/// What `boot-check.json` holds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BootCheckReport {
    pub standing: Standing,
    pub device: Option<DeviceId>,
    pub lot: LotId,
    pub record: RecordDigest,
    pub reason: Option<TamperReason>,
    pub mismatched: Vec<ComponentKind>,
    /// Could not be read; what is restricted by that alone is judged again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<HardwareSource>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub explained: String,
}

impl fmt::Display for BootCheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standing {
            Standing::Full => writeln!(f, "boot check  full")?,
            Standing::Restricted => writeln!(f, "boot check  restricted: {}", self.explained)?,
        }
        if let Some(device) = self.device {
            writeln!(f, "device      {device}")?;
        }
        writeln!(f, "lot         {}\nrecord      {}", self.lot, self.record)?;
        if !self.mismatched.is_empty() {
            let names: Vec<_> = self.mismatched.iter().map(|kind| kind.as_str()).collect();
            writeln!(f, "differs     {}", names.join(", "))?;
        }
        if !self.unread.is_empty() {
            let names: Vec<_> = self.unread.iter().map(|source| source.as_str()).collect();
            writeln!(f, "unreadable  {}", names.join(", "))?;
        }
        Ok(())
    }
}
