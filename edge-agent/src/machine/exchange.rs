//! One request on its way: the same bytes until something ends it.

use super::backoff::full_jitter;
use super::effects::{RequestId, Transmit, TransmitKind};
use super::now::Now;
use super::settings::{RETRY_AFTER_MILLIS_MAX, Settings};
use bytes::Bytes;
use events::limits::TICKET_MILLIS_MAX;
use rand_core::CryptoRng;

/// Sealed bytes and when to send them again. Every attempt carries the very same bytes and id, so that an answer
/// to any of them counts and no nonce is ever used for other words.
#[derive(Debug)]
pub(super) struct Exchange {
    pub request: RequestId,
    pub kind: TransmitKind,
    pub bytes: Bytes,
    pub attempts: u32,
    due: u64,
    first_sent: Option<u64>,
}

impl Exchange {
    pub fn starting_at(request: RequestId, kind: TransmitKind, bytes: Bytes, due: u64) -> Self {
        Exchange { request, kind, bytes, attempts: 0, due, first_sent: None }
    }

    pub fn due(&self) -> u64 {
        self.due
    }

    /// The transmission that is due now, if one is; the next attempt is scheduled.
    pub fn transmit(&mut self, now: Now, settings: &Settings, rng: &mut dyn CryptoRng) -> Option<Transmit> {
        if now.monotonic_millis < self.due {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        self.first_sent.get_or_insert(now.monotonic_millis);
        self.due = now.monotonic_millis + settings.reply_timeout + full_jitter(settings, self.attempts, rng);
        Some(Transmit { request: self.request, kind: self.kind, payload: self.bytes.clone() })
    }

    /// Somebody, perhaps a liar, said no: nothing changes but when the next attempt is made.
    pub fn back_off(&mut self, retry_after: u64, now: Now, settings: &Settings, rng: &mut dyn CryptoRng) {
        let delay = retry_after.min(RETRY_AFTER_MILLIS_MAX) + full_jitter(settings, self.attempts + 1, rng);
        self.due = now.monotonic_millis + delay;
    }

    /// Sent often enough without a verified answer: time to ask for a ticket again.
    pub fn is_exhausted(&self, now: Now, settings: &Settings) -> bool {
        now.monotonic_millis >= self.due && self.attempts >= settings.attempts_before_hello
    }

    /// The same for a request that carries a ticket, which counts for 60 s of log time.
    pub fn outlives_ticket(&self, now: Now, settings: &Settings) -> bool {
        let age = self.first_sent.map_or(0, |first| now.monotonic_millis.saturating_sub(first));
        let expired = now.monotonic_millis >= self.due && age >= TICKET_MILLIS_MAX;
        expired || self.is_exhausted(now, settings)
    }
}
