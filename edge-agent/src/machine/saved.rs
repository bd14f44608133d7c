//! What survives a power cut: the only state that a boot starts from.
//!
//! Invariants:
//! - `current` is the newest epoch that the cluster confirmed to us by a sealed answer; `next` was granted and is on
//!   flash, but no verdict under it verified yet. `next` is used only after it was written (protocol.md rule 5).
//! - While `next_spoken` is false nothing was ever sealed under `next`, so that the cluster cannot have confirmed it:
//!   `current` is as good to resume from. It is set on flash before the first word under `next` leaves.
//! - Once `current` was gone back to although `next` was spoken, that `next` is on flash no more: speaking again it would
//!   be the proof of a second holder (rule 4). `went_back` keeps this from happening twice for one `current`.
//! - `activation` was written before its first transmission and holds no plain code (rule 18).
//! - `obeyed`, `time_floor`, `time_reached` and `epoch_highest` never go down, unless the flash lied.

use super::spool::Spool;
use events::envelope::SuiteSet;
use events::ids::{BootId, DeviceId, Epoch, Generation};
use events::limits::SPOOL_BODIES_MAX;
use events::time::Timestamp;
use events::vocabulary::shared::{DirectiveId, Legitimacy, Suite};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// First byte of the payload; a changed layout gets a new number.
const LAYOUT: u8 = 5;
/// Older layouts are the same with less at the end: without `time_reached` ...
const LAYOUT_WITHOUT_TIME_REACHED: u8 = 4;
/// ... without `went_back` ...
const LAYOUT_WITHOUT_WENT_BACK: u8 = 3;
/// ... and without the spool.
const LAYOUT_WITHOUT_SPOOL: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    #[error("the state is of layout {0}, which this version does not know")]
    Layout(u8),
    #[error("the state is malformed")]
    Malformed,
    #[error("the state belongs to another device")]
    OtherDevice,
}

/// A session as it lies on flash; its keys are derived from `resumption` when it is used.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SavedSession {
    pub epoch: Epoch,
    pub suite: Suite,
    /// Under which generation of the cluster it was granted (rule 7).
    pub generation: Generation,
    pub resumption: Zeroizing<Vec<u8>>,
}

/// A sealed activation or re-key whose answer did not arrive yet.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SavedActivation {
    pub message: Vec<u8>,
    pub exporter: Zeroizing<Vec<u8>>,
    /// The start of the agent that sealed it: only there its grant may be beaten under (rule 8).
    pub boot: BootId,
    /// False for a re-key.
    pub has_code: bool,
    pub offered: SuiteSet,
    /// What demanded the re-key; it counts as obeyed once a sealed answer came. Zero for none.
    pub directive: DirectiveId,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    pub device: DeviceId,
    pub boot_count: u32,
    pub epoch_highest: Epoch,
    pub current: Option<SavedSession>,
    pub next: Option<SavedSession>,
    pub next_spoken: bool,
    pub activation: Option<SavedActivation>,
    /// The highest directive obeyed (rule 12).
    pub obeyed: DirectiveId,
    /// The cluster restricted this terminal: a directive said so first, sealed legitimacy says when it ends.
    pub restricted: bool,
    pub legitimacy: Legitimacy,
    /// The newest time that a sealed answer named (rule 14).
    pub time_floor: Timestamp,
    /// Wall time of the last re-key on our own accord.
    pub rekeyed_at: Timestamp,
    pub license_token: Option<String>,
    /// Counter of the license lease that the token belongs to.
    pub lease: u32,
    /// Heartbeats that could not be told.
    pub spool: Spool,
    /// A resume from `current` left after its successor was spoken.
    pub went_back: bool,
    /// It was at least this late when the state was written: sealed stamps, and what a clock that nobody can set counted
    /// on from them. Leases go on from here after a boot; it is told to nobody.
    pub time_reached: Timestamp,
}

impl Saved {
    /// The state of a terminal that was never switched on.
    pub fn fresh(device: DeviceId) -> Self {
        Saved {
            device,
            boot_count: 0,
            epoch_highest: 0,
            current: None,
            next: None,
            next_spoken: false,
            activation: None,
            obeyed: DirectiveId::default(),
            restricted: false,
            legitimacy: Legitimacy::Provisioned,
            time_floor: Timestamp::ZERO,
            rekeyed_at: Timestamp::ZERO,
            license_token: None,
            lease: 0,
            spool: Spool::default(),
            went_back: false,
            time_reached: Timestamp::ZERO,
        }
    }

    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        /// Larger than any state: a vector that grows would leave unwiped copies of secrets behind.
        const CAPACITY: usize = 8 * 1024 + SPOOL_BODIES_MAX * Spool::BODY_BYTES_MAX;
        let mut bytes = Vec::with_capacity(CAPACITY);
        bytes.push(LAYOUT);
        #[allow(clippy::expect_used, reason = "plain data of known lengths; a vector takes all of it")]
        let bytes = postcard::to_extend(self, bytes).expect("a state can be encoded");
        Zeroizing::new(bytes)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, SavedError> {
        let (layout, body) = bytes.split_first().ok_or(SavedError::Malformed)?;
        let missing = match *layout {
            LAYOUT => Ok(Vec::new()),
            LAYOUT_WITHOUT_TIME_REACHED => postcard::to_stdvec(&Timestamp::ZERO),
            LAYOUT_WITHOUT_WENT_BACK => postcard::to_stdvec(&(false, Timestamp::ZERO)),
            LAYOUT_WITHOUT_SPOOL => postcard::to_stdvec(&(Spool::default(), false, Timestamp::ZERO)),
            unknown => return Err(SavedError::Layout(unknown)),
        };
        let missing = missing.map_err(|_| SavedError::Malformed)?;
        let whole;
        let body = if missing.is_empty() {
            body
        } else {
            whole = Zeroizing::new([body, missing.as_slice()].concat());
            &whole[..]
        };
        let (saved, rest) = postcard::take_from_bytes::<Saved>(body).map_err(|_| SavedError::Malformed)?;
        if rest.is_empty() { Ok(saved) } else { Err(SavedError::Malformed) }
    }

    /// `session` is the one to keep beside its successors. What was done to the one before it says nothing about it.
    pub fn keep(&mut self, session: SavedSession) {
        self.went_back &= self.current.as_ref().is_some_and(|current| current.epoch == session.epoch);
        self.current = Some(session);
    }

    /// The newest that the cluster granted.
    pub fn newest_session(&self) -> Option<&SavedSession> {
        self.next.as_ref().or(self.current.as_ref())
    }
}

/// What `muster-agent status` shows of a state: no secrets.
#[derive(Clone, Debug, Serialize)]
pub struct StateSummary {
    pub device: DeviceId,
    pub boot_count: u32,
    /// The newest epoch on flash; none before the first activation.
    pub epoch: Option<Epoch>,
    /// Whether a verdict under that epoch verified.
    pub epoch_proven: bool,
    pub suite: Option<Suite>,
    pub activation_pending: bool,
    pub restricted: bool,
    pub legitimacy: Legitimacy,
    pub obeyed: DirectiveId,
    pub time_floor: Timestamp,
    pub licensed: bool,
    /// Heartbeats of an outage that the cluster does not have yet, as far as they are on flash.
    pub spooled: usize,
    /// For `doctor`, which judges the lease by it.
    #[serde(skip)]
    pub time_reached: Timestamp,
    /// For `doctor`, which checks it; never shown.
    #[serde(skip)]
    pub license_token: Option<String>,
}

impl StateSummary {
    /// Reads the payload of a state file.
    pub fn parse(payload: &[u8]) -> Result<Self, SavedError> {
        let saved = Saved::decode(payload)?;
        let session = saved.newest_session();
        Ok(StateSummary {
            device: saved.device,
            boot_count: saved.boot_count,
            epoch: session.map(|session| session.epoch),
            epoch_proven: saved.next.is_none() && saved.current.is_some(),
            suite: session.map(|session| session.suite),
            activation_pending: saved.activation.is_some(),
            restricted: saved.restricted,
            legitimacy: saved.legitimacy,
            obeyed: saved.obeyed,
            time_floor: saved.time_floor,
            time_reached: saved.time_reached,
            licensed: saved.license_token.is_some(),
            spooled: saved.spool.len(),
            license_token: saved.license_token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_an_older_layout_is_read_with_what_it_lacks_as_if_nothing_had_happened() {
        let saved = Saved { boot_count: 7, went_back: false, ..Saved::fresh(DeviceId::from_bytes([4; 16])) };
        let newest = saved.encode();
        let spool = postcard::to_stdvec(&Spool::default()).unwrap().len();
        let lacks = [
            (LAYOUT_WITHOUT_TIME_REACHED, 1),
            (LAYOUT_WITHOUT_WENT_BACK, 2),
            (LAYOUT_WITHOUT_SPOOL, 2 + spool),
        ];
        for (layout, lacks) in lacks {
            let mut older = newest[..newest.len() - lacks].to_vec();
            older[0] = layout;
            let read = Saved::decode(&older).unwrap();
            assert_eq!((read.boot_count, read.went_back), (7, false), "layout {layout}");
            assert_eq!(*read.encode(), *newest);
        }
    }
}
