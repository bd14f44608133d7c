//! Why a terminal refuses an offer, and why an update that it took failed.
//!
//! A refusal is told to nobody but the terminal's own people: whoever can put bytes into an inbox could else stop
//! rollouts. A failure is told in the heartbeat, in the four high bits of its condition: it costs the log nothing.

use crate::vocabulary::shared::plain_enum;

plain_enum! {
    /// Why an offer is not taken. The terminal stays as it was.
    UpdateRefusal {
        Malformed = 1 => "MALFORMED",
        NotAuthentic = 2 => "NOT_AUTHENTIC",
        OtherLot = 3 => "OTHER_LOT",
        NotNewer = 4 => "NOT_NEWER",
        BelowFloor = 5 => "BELOW_FLOOR",
        Expired = 6 => "EXPIRED",
        UnknownKind = 7 => "UNKNOWN_KIND",
        AlreadyFailed = 8 => "ALREADY_FAILED",
        AlreadyTaken = 9 => "ALREADY_TAKEN",
    }
}

plain_enum! {
    /// Why an update that was taken did not end in the new version. The terminal stays as it was, or its boot loader
    /// brought it back.
    UpdateFailure {
        Download = 1 => "DOWNLOAD",
        Size = 2 => "SIZE",
        Digest = 3 => "DIGEST",
        NoSpace = 4 => "NO_SPACE",
        Storage = 5 => "STORAGE",
        HookFailed = 6 => "HOOK_FAILED",
        HookTimeout = 7 => "HOOK_TIMEOUT",
        NotBooted = 8 => "NOT_BOOTED",
        Expired = 9 => "EXPIRED",
    }
}

/// The low bits of a condition are flags of their own.
const FAILURE_SHIFT: u8 = 4;

/// The condition of a heartbeat that tells of this failure.
#[must_use]
pub const fn with_failure(condition: u8, failure: Option<UpdateFailure>) -> u8 {
    let number = match failure {
        Some(failure) => failure as u8,
        None => 0,
    };
    condition & ((1 << FAILURE_SHIFT) - 1) | number << FAILURE_SHIFT
}

/// The failure that a condition tells of. A number that this version does not know counts as a failed hook.
#[must_use]
pub fn failure_in(condition: u8) -> Option<UpdateFailure> {
    match condition >> FAILURE_SHIFT {
        0 => None,
        number => Some(UpdateFailure::from_number(number).unwrap_or(UpdateFailure::HookFailed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_fits_beside_the_flags_of_a_condition() {
        for failure in UpdateFailure::ALL {
            let condition = with_failure(0b101, Some(*failure));
            assert_eq!((condition & 0b1111, failure_in(condition)), (0b101, Some(*failure)));
        }
        assert_eq!(with_failure(0xf5, None), 0x05);
        assert_eq!(failure_in(0x0f), None);
    }
}
