//! A provisioning station: burns terminals of one lot, offline, each once, and loses none.
//!
//! ```text
//!   setup.rs     station.key, station.pub ──▶ factory certifies ──▶ lot.firmware.json, cluster.public.json
//!   open.rs      the folder, checked as a whole
//!   burn.rs      plan ──▶ burn ──▶ settle.rs: what the OTP holds decides what the unit is
//!   verify.rs    what a burned terminal will find at boot
//!   export.rs    burned units, sealed to the cluster, in signed and numbered manifests
//!
//!   journal.rs   one durable line per step (step.rs) on a medium.rs; ledger.rs adds them up
//!   terminal.rs  what is connected: components and memory
//! ```
//!
//! Invariants:
//! - Memory that is not blank is never burned.
//! - A manifest entry is on the disk before its unit is burned, so no burned unit is ever lost.
//! - Seed, pre-shared key and fuse secret are in memory only while their unit is planned and burned, then wiped.

mod burn;
mod export;
mod journal;
mod ledger;
mod medium;
mod open;
mod settle;
pub mod setup;
mod step;
mod terminal;
mod verify;

pub use burn::{BurnConsent, BurnError, BurnedUnit};
pub use export::{ExportError, ExportedUnits};
pub use journal::JournalError;
pub use ledger::{ExportedManifest, Ledger, LedgerError, Unit, UnitState};
pub use medium::{FileMedium, Medium};
pub use open::{OpenError, StationParts};
pub use step::{Bytes, ManifestNumber, PlannedUnit, Tag, UnitNumber, VoidReason};
pub use terminal::{Memory, Terminal, TerminalError};
pub use verify::{VerifiedUnit, VerifyError};

use events::identity::certificate::CertifiedStation;
use events::identity::fingerprint::Fingerprint;
use events::identity::key::StationKey;
use events::identity::lot::LotFirmware;
use events::ids::{LotId, StationId};
use events::keyring::ClusterPublic;
use events::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use journal::Journal;
use sha2::Sha384;
use zeroize::Zeroizing;

/// A station, ready to burn. It holds the journal's lock until it is dropped.
#[derive(Debug)]
pub struct Station {
    key: StationKey,
    certified: CertifiedStation,
    firmware: LotFirmware,
    cluster: ClusterPublic,
    hardware_key: Zeroizing<[u8; 48]>,
    journal: Journal,
}

impl Station {
    #[must_use]
    pub fn id(&self) -> StationId {
        self.certified.station()
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        self.certified.lot()
    }

    #[must_use]
    pub fn firmware(&self) -> &LotFirmware {
        &self.firmware
    }

    #[must_use]
    pub fn cluster(&self) -> &ClusterPublic {
        &self.cluster
    }

    /// Units that it may burn in all.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.certified.quota()
    }

    /// It burns nothing after this.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.certified.until()
    }

    /// Every unit that it ever planned, and what became of it.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.journal.ledger()
    }

    /// Names a terminal in the journal by its components, for nobody but this station.
    fn hardware_tag(&self, fingerprint: &Fingerprint) -> Tag {
        let encoded = fingerprint.components().iter().map(|component| component.encode());
        let whole = encoded.fold(Zeroizing::new(Vec::new()), |mut whole, component| {
            whole.extend_from_slice(&component);
            whole
        });
        let digest = hmac_sha384(&self.hardware_key[..], &whole);
        Tag(std::array::from_fn(|i| digest[i]))
    }
}

fn hmac_sha384(key: &[u8], message: &[u8]) -> [u8; 48] {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = <Hmac<Sha384> as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
