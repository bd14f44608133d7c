//! What the boot check could not read, against what it read and found different. Only the second is evidence: a driver
//! that was not probed yet, rights that udev has yet to give or a memory that is busy accuse nobody. The terminal is
//! restricted all the same, so that whoever unplugs a part gains nothing.

use super::boot_check::BootCheck;
use events::identity::fingerprint::ComponentPolicy;
use events::vocabulary::rejection::TamperReason;
use events::vocabulary::shared::ComponentKind;

/// One thing that the boot check reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareSource {
    Record,
    FuseSecret,
    Component(ComponentKind),
}

impl HardwareSource {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HardwareSource::Record => "otp-record",
            HardwareSource::FuseSecret => "fuse-secret",
            HardwareSource::Component(kind) => kind.as_str(),
        }
    }
}

impl serde::Serialize for HardwareSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl BootCheck {
    /// The same check, told what is missing only because it could not be read.
    #[must_use]
    pub fn with_unread(mut self, unread: Vec<HardwareSource>, policy: &ComponentPolicy) -> Self {
        self.awaits_hardware = !self.is_full() && could_pass(&self, &unread, policy);
        self.unread = unread;
        self
    }

    /// Whether it is restricted by what could not be read alone: it is to be judged again, and nothing is reported.
    #[must_use]
    pub fn awaits_hardware(&self) -> bool {
        self.awaits_hardware
    }

    #[must_use]
    pub fn unread(&self) -> &[HardwareSource] {
        &self.unread
    }
}

/// Whether the check would pass if all that could not be read were what it should be.
fn could_pass(check: &BootCheck, unread: &[HardwareSource], policy: &ComponentPolicy) -> bool {
    let is_unread = |kind: &ComponentKind| unread.contains(&HardwareSource::Component(*kind));
    let lacks_secret = unread.contains(&HardwareSource::FuseSecret);
    match check.reason {
        None => true,
        Some(TamperReason::RecordMissing) => unread.contains(&HardwareSource::Record),
        Some(TamperReason::RecordInvalid) => check.wants_fuse_secret && lacks_secret,
        // Nothing can be said of the other components before the required ones open the record.
        Some(TamperReason::RequiredHardware) => lacks_secret || policy.required().iter().any(is_unread),
        Some(TamperReason::ComponentMismatch) => {
            let differs = |kind: &ComponentKind| check.mismatched.contains(kind) && !is_unread(kind);
            let could_match = policy.optional().iter().filter(|kind| !differs(kind)).count();
            could_match >= usize::from(policy.threshold())
        }
    }
}
