//! What every part of ingress stands on: the fold, the keys, the clock, the log's queue, and the book of refusals.

use super::Patience;
use super::answered::Answered;
use super::batcher::Batcher;
use super::counters::{Counters, IngressCounters, IngressLevels};
use super::failures::Failures;
use super::pool::Pool;
use super::queue::{Favour, MessageTag};
use super::received::{Received, Refused};
use super::recent::RecentDigests;
use super::rejections::RejectionCounts;
use super::resume::ResumeWaiter;
use super::settle::{Answers, EventWaiter};
use super::tamper::TamperBook;
use super::under_way::UnderWay;
use crate::bus::Outgoing;
use crate::clock::Clock;
use crate::crypto_engine::P384Engine;
use crate::egress::Outbox;
use crate::egress::refusal::refusal;
use crate::entropy::{Entropy, EntropyRng};
use crate::shared_projector::SharedProjector;
use events::ids::{DeviceId, Epoch, LogIndex, NodeId, Sequence, Slot, SourceId};
use events::keyring::{Keyring, Purpose};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Suite, Wrapped};
use events::vocabulary::{Event, RejectionSummary};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// Suites that this version allows, the preferred one first.
pub(super) const SUITES_ALLOWED: &[Suite] = &[Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

pub(super) struct Desk {
    pub node: NodeId,
    pub projector: SharedProjector,
    pub applied: watch::Receiver<LogIndex>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub outbox: Outbox,
    pub batcher: Batcher<Answers>,
    pub pool: Pool,
    /// Who multiplies on P-384.
    pub engine: Arc<dyn P384Engine>,
    pub counters: Counters,
    pub rejections: Mutex<RejectionCounts>,
    /// Activations whose refusal was charged already.
    pub refused_transcripts: Mutex<RecentDigests>,
    /// What the last answers that cost P-384 were.
    pub answered: Mutex<Answered>,
    /// Activations by transcript, from the P-384 queue to the answer.
    pub activations_under_way: UnderWay<[u8; 32], Received>,
    /// Resumes by slot, epoch and the client's nonce.
    pub resumes_under_way: UnderWay<(Slot, Epoch, [u8; 16]), ResumeWaiter>,
    /// Heartbeats on their way as events, one of each sequence; under sequence 0 evidence of a clone, one piece of each
    /// device: so that the log hears of one before the next is judged.
    pub heartbeats_under_way: UnderWay<(Slot, Sequence), ()>,
    /// What was reported of tampering, under whatever key.
    pub tamper: Mutex<TamperBook>,
    /// Stands in for the secret of a device or epoch that does not exist, so that refusing costs the same.
    pub decoy: Wrapped,
    /// What came of each source without being authentic.
    pub failures: Failures,
    /// Numbers of the keys that were asked for and are not in the keyring.
    pub lacking: Mutex<BTreeSet<u32>>,
}

/// The keyring of this node lacks the key that a secret is wrapped under.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoKey;

/// Bytes of the secret behind [`Desk::decoy`]: no secret that it stands in for is longer.
pub(super) const DECOY_BYTES: usize = 48;

impl Desk {
    pub fn now_millis(&self) -> u64 {
        self.clock.monotonic_millis()
    }

    pub fn rng(&self) -> EntropyRng<'_> {
        EntropyRng(&*self.entropy)
    }

    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Counts a refusal, and says so if there is a place to say it.
    pub fn refuse(&self, refused: Refused) -> Option<Outgoing> {
        let Refused { reason, source, inbox } = refused;
        match source {
            Some(source) => self.charge(source, reason, None),
            None => self.count_nameless(reason),
        }
        Some(Outgoing::to(inbox?, refusal(reason)))
    }

    /// Refuses what this node cannot judge because it lacks a key: whoever sent it may be honest, so that no source is
    /// charged. A session key that was retired refuses every terminal that slept through its time.
    pub fn refuse_unjudged(&self, refused: Refused) -> Option<Outgoing> {
        self.count_nameless(refused.reason);
        Some(Outgoing::to(refused.inbox?, refusal(refused.reason)))
    }

    fn count_nameless(&self, reason: RejectionReason) {
        self.counters.refuse(reason);
        self.rejections.lock().count_nameless();
    }

    /// As [`Desk::refuse`], where the device's own tag or signature verified.
    pub fn refuse_device(&self, refused: Refused, device: DeviceId) -> Option<Outgoing> {
        let Refused { reason, source, inbox } = refused;
        self.charge(source?, reason, Some(device));
        Some(Outgoing::to(inbox?, refusal(reason)))
    }

    /// Counts a refusal against its source, and against the device only where its own tag or signature verified.
    pub fn charge(&self, source: SourceId, reason: RejectionReason, device: Option<DeviceId>) {
        self.counters.refuse(reason);
        self.rejections.lock().count(source, reason, device);
    }

    /// How far this node's fold is.
    pub fn applied(&self) -> LogIndex {
        *self.applied.borrow()
    }

    /// Whether a message that this node cannot judge yet goes on waiting.
    pub fn patience(&self, arrived_millis: u64, applied: LogIndex, expired: bool) -> Patience {
        if self.batcher.has_caught_up(arrived_millis, applied) {
            Patience::CaughtUp
        } else if expired {
            Patience::Over
        } else {
            Patience::Waits
        }
    }

    /// Closes the window of refusals.
    pub fn close_window(&self) -> Option<RejectionSummary> {
        self.rejections.lock().close(self.node, self.clock.now())
    }

    /// Proposes what this node found by itself in the message of this tag. If the queue is full it is lost: what led to
    /// it is counted anyway.
    pub fn propose_for_nobody(&self, event: &Event, tag: Option<MessageTag>) {
        let placed = self
            .batcher
            .fill(self.applied(), |queue| queue.event(event, Favour::Common, tag, EventWaiter::Nobody));
        if placed.is_err() {
            tracing::warn!(event = event.name(), "the queue is full; an event of this node is lost");
        }
    }

    /// A device's or a lot's secret. One that does not unwrap is this node's trouble and no sender's:
    /// [`Desk::refuse_unjudged`].
    pub fn unwrap_secret<S>(
        &self,
        purpose: Purpose,
        subject: &[u8],
        epoch: u32,
        wrapped: &Wrapped,
    ) -> Result<S, NoKey>
    where
        S: for<'a> TryFrom<&'a [u8]>,
    {
        self.counters.unwrapped.add(1);
        match self.keyring.unwrap(purpose, subject, epoch, wrapped) {
            Ok(secret) => S::try_from(&secret).or(Err(NoKey)),
            Err(error) => {
                self.counters.lacking.add(1);
                // Once for each key: anybody may send what needs one that was retired, without end.
                if self.lacking.lock().insert(wrapped.key) {
                    tracing::error!(%error, key = wrapped.key, "a secret of the log does not unwrap");
                }
                Err(NoKey)
            }
        }
    }

    /// The work of [`Desk::unwrap_secret`] for a secret of `length` bytes that does not exist (protocol.md rule 16).
    pub fn unwrap_decoy<S>(&self, length: usize) -> Result<S, NoKey>
    where
        S: for<'a> TryFrom<&'a [u8]>,
    {
        self.counters.unwrapped.add(1);
        let secret = self.keyring.unwrap(Purpose::PreSharedKey, DECOY_SUBJECT, 0, &self.decoy);
        let secret = secret.unwrap_or_else(|_| Zeroizing::new(vec![0; DECOY_BYTES]));
        S::try_from(secret.get(..length).ok_or(NoKey)?).or(Err(NoKey))
    }

    pub fn read_levels(&self) -> IngressLevels {
        let (queued_heartbeats, queued_events) = self.batcher.waiting();
        let (p384_running, p384_waiting) = self.pool.load();
        IngressLevels { queued_heartbeats, queued_events, p384_running, p384_waiting }
    }

    pub fn read_counters(&self) -> IngressCounters {
        self.counters.read(self.batcher.proposed(), self.pool.started())
    }
}

const DECOY_SUBJECT: &[u8] = b"decoy";

/// Wraps random bytes for nobody.
pub(super) fn make_decoy(keyring: &Keyring, entropy: &dyn Entropy) -> Wrapped {
    let mut secret = Zeroizing::new([0; DECOY_BYTES]);
    entropy.fill(&mut secret[..]);
    keyring.wrap(&mut EntropyRng(entropy), Purpose::PreSharedKey, DECOY_SUBJECT, 0, &secret[..])
}
