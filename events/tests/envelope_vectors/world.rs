//! The inputs of the vectors: constant bytes, each secret another one, so that a mix-up shows.

use events::envelope::Ticket;
use events::identity::key::{DeviceSeed, SigningKey};
use events::identity::lot::{LotSecret, TamperKey};
use events::ids::{BootId, ClusterId, DeviceId, LotId, RecordDigest};
use events::keyring::{CodeKey, HpkeSecretKey, Keyring, NumberedKey, TicketKey, WrappingKey};
use events::license::ActivationCode;
use events::time::Timestamp;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::ComponentKind;
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

pub const CLUSTER_KEY: [u8; 48] = [0x32; 48];
pub const DEVICE_WRAPPING_KEY: [u8; 32] = [0x36; 32];
pub const SESSION_WRAPPING_KEY: [u8; 32] = [0x37; 32];
pub const TICKET_KEY: [u8; 32] = [0x39; 32];
pub const CODE_KEY: [u8; 32] = [0x3a; 32];
pub const LOT_SECRET: [u8; 32] = [0x52; 32];
pub const GENERATION: u32 = 1;

/// "Randomness" that is one byte, over and over: what is sealed with it is the same each time.
pub struct Constant(pub u8);

impl TryRng for Constant {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes([self.0; 4]))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes([self.0; 8]))
    }
    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        destination.fill(self.0);
        Ok(())
    }
}

impl TryCryptoRng for Constant {}

pub fn keyring() -> Keyring {
    let signing = |byte| SigningKey::from_bytes(&[byte; 48]).unwrap();
    let numbered = |id, key| vec![NumberedKey { id, key: WrappingKey::from_bytes(key) }];
    Keyring {
        cluster: ClusterId::from_bytes([0x31; 16]),
        cluster_keys: vec![HpkeSecretKey::from_bytes(2, &CLUSTER_KEY).unwrap()],
        import_keys: vec![HpkeSecretKey::from_bytes(3, &[0x33; 48]).unwrap()],
        license_key: signing(0x34),
        checkpoint_key: signing(0x35),
        device_keys: numbered(4, DEVICE_WRAPPING_KEY),
        session_keys: numbered(5, SESSION_WRAPPING_KEY),
        segment_keys: numbered(6, [0x38; 32]),
        ticket_key: TicketKey::from_bytes(TICKET_KEY),
        code_key: CodeKey::from_bytes(CODE_KEY),
    }
}

pub fn seed() -> DeviceSeed {
    DeviceSeed::from_bytes([0x51; 32])
}

pub fn device() -> DeviceId {
    seed().device_key().public().device_id()
}

pub fn lot() -> LotId {
    LotId::from_bytes([1, 2, 3, 4])
}

pub fn tamper_key() -> TamperKey {
    LotSecret::from_bytes(LOT_SECRET).tamper_key(lot())
}

pub fn code() -> ActivationCode {
    ActivationCode::from_bytes(b"0123456789ABCDEFGHJK").unwrap()
}

pub fn boot() -> BootId {
    BootId::from_bytes([0x46; 16])
}

pub fn record() -> RecordDigest {
    RecordDigest::from_bytes([0x44; 16])
}

pub fn components() -> Vec<ComponentDigest> {
    [ComponentKind::SocSerial, ComponentKind::EmmcCid, ComponentKind::MacAddress]
        .into_iter()
        .map(|kind| ComponentDigest { kind, digest: [0x60 | kind as u8; 8] })
        .collect()
}

/// The log's time, some milliseconds after the first ticket.
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_795_374_203_042 + millis)
}

pub fn ticket(random: u8, applied: u64, millis: u64) -> Ticket {
    let key = TicketKey::from_bytes(TICKET_KEY);
    Ticket::issue(&key, GENERATION, [random; 16], applied, at(millis))
}
