//! Why an agent does not hand its license token to an app.

use crate::vocabulary::shared::plain_enum;

plain_enum! {
    /// What an app is told; `PROTOCOL.md` 6.3 says what to do about each.
    LicenseRefusal {
        /// Not a question of this protocol, or too long.
        Malformed = 1 => "MALFORMED",
        /// The user id is not listed for this app: the same for an app that nobody listed.
        NotAllowed = 2 => "NOT_ALLOWED",
        /// More than the agent answers to one user id.
        RateExceeded = 3 => "RATE_EXCEEDED",
        /// Software update only.
        Restricted = 4 => "RESTRICTED",
        /// No token is held.
        NoLicense = 5 => "NO_LICENSE",
        /// The lease ended.
        Expired = 6 => "EXPIRED",
        /// The token does not verify under the pinned keys.
        NotAuthentic = 7 => "NOT_AUTHENTIC",
        /// The agent is starting, stopping or busy.
        Unavailable = 8 => "UNAVAILABLE",
    }
}
