//! Unsealed refusals. One text per reason and nothing else in it, so that nothing can be learnt from one.

use bytes::Bytes;
use events::envelope::Refusal;
use events::vocabulary::rejection::RejectionReason;
use std::sync::LazyLock;

/// The bytes of the refusal for `reason`.
#[must_use]
pub fn refusal(reason: RejectionReason) -> Bytes {
    static REFUSALS: LazyLock<Vec<(RejectionReason, Bytes)>> = LazyLock::new(|| {
        let encode = |reason| Refusal { reason, retry_after_millis: retry_after_millis(reason) }.encode();
        RejectionReason::ALL.iter().map(|&reason| (reason, Bytes::copy_from_slice(&encode(reason)))).collect()
    });
    let known = REFUSALS.iter().find(|(known, _)| *known == reason);
    known.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

/// What an honest sender does well to wait before it asks again; it adds its own jitter.
const fn retry_after_millis(reason: RejectionReason) -> u32 {
    match reason {
        // Over in the time of an election.
        RejectionReason::Unavailable => 500,
        // Another message is needed, and none of these stands in its way.
        RejectionReason::TicketRefused
        | RejectionReason::Replayed
        | RejectionReason::EpochStale
        | RejectionReason::ReplySubject => 0,
        RejectionReason::RateExceeded | RejectionReason::NotAuthentic => 2_000,
        // The same again will be refused again.
        RejectionReason::Malformed
        | RejectionReason::Oversized
        | RejectionReason::CodeRefused
        | RejectionReason::Downgrade
        | RejectionReason::NotLicensed => 10_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_text_that_names_it() {
        for &reason in RejectionReason::ALL {
            assert_eq!(Refusal::parse(&refusal(reason)).unwrap().reason, reason);
        }
    }
}
