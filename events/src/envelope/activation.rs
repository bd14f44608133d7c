//! Activation and re-key, the device's side. The cluster's side is in `receive.rs`.
//!
//! ```text
//! message  up header 40 │ cluster key u32 │ encapsulated key 97 │ ciphertext n+16 │ signature 96 │ ticket 52 │ mac 32
//!          └────── associated data ──────┘
//!          └────────────────────── transcript ───────────────────────────┘
//!          └────────────────────────── what the mac covers ────────────────────────────────────┘
//! body     code: present u8, 20 │ record 16 │ random 32 │ boot 16 │ boot count u32 │ firmware u32 │
//!          epoch claimed u32 │ count u8 │ count × (kind u8, digest 8), canonical, each kind once
//! ```
//!
//! HPKE in PSK mode hides the body and proves the OTP seed; the signature over the transcript proves the device key to
//! everybody; the mac lets the cluster refuse a stranger before any P-384 (protocol.md rules 15 and 17).
//!
//! The ticket stands outside the transcript: a terminal that was cut off for longer than a ticket counts renews it and
//! keeps the seal, since it has forgotten the code (rule 18), and the cluster knows the activation again (rule 17).

use super::EnvelopeError;
use super::header::{Header, MessageKind, SuiteSet};
use super::reader::Reader;
use super::ticket::Ticket;
use crate::identity::key::{DeviceKey, PreSharedKey, Signature};
use crate::ids::{BootId, ClusterId, DeviceId, Epoch, RecordDigest};
use crate::keyring::hpke::ENCAPSULATED_BYTES;
use crate::keyring::{ClusterPublic, HpkeError, hmac_sha384_mac};
use crate::license::code::ActivationCode;
use crate::limits::COMPONENTS_MAX;
use crate::secret::{derive, secret_bytes};
use crate::vocabulary::provisioning::ComponentDigest;
use crate::vocabulary::shared::ComponentKind;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha384;
use hpke::kem::DhP384HkdfSha384;
use hpke::{OpModeS, PskBundle, Serializable, setup_sender_with_rng};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub(super) const KEY_ID_AT: usize = Header::BYTES;
pub(super) const ENCAPSULATED_AT: usize = KEY_ID_AT + 4;
pub(super) const CIPHERTEXT_AT: usize = ENCAPSULATED_AT + ENCAPSULATED_BYTES;
pub(super) const MAC_BYTES: usize = 32;
/// Ticket and mac: what [`PreparedActivation::with_ticket`] replaces.
pub(super) const RENEWABLE_BYTES: usize = Ticket::BYTES + MAC_BYTES;
pub(super) const CODE_BYTES: usize = crate::license::code::CODE_SYMBOLS;
const BODY_FIXED_BYTES: usize = 1 + CODE_BYTES + 16 + 32 + 16 + 4 + 4 + 4 + 1;

/// Nothing shorter can be an activation: no components, an AEAD tag, signature, ticket and mac.
pub const ACTIVATION_BYTES_MIN: usize =
    CIPHERTEXT_AT + BODY_FIXED_BYTES + 16 + Signature::BYTES + RENEWABLE_BYTES;

secret_bytes!(
    /// What both sides export from the HPKE context; the agent keeps it until the answer came.
    ExporterSecret, 48
);

/// What an activation says inside its seal. Without a code it is a re-key (protocol.md rule 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationBody {
    pub code: Option<ActivationCode>,
    pub record: RecordDigest,
    pub random: [u8; 32],
    pub boot: BootId,
    pub boot_count: u32,
    pub firmware: u32,
    /// The highest epoch that the device knows of; zero if it knows none.
    pub epoch_claimed: Epoch,
    pub components: Vec<ComponentDigest>,
}

/// A sealed activation and what is needed to read its answer. The agent persists both before it sends, and retries
/// these very bytes while their ticket counts (protocol.md rule 18).
#[derive(Clone, Debug)]
pub struct PreparedActivation {
    pub message: Vec<u8>,
    pub exporter: ExporterSecret,
}

/// Seals an activation. The ticket must be fresh (protocol.md rule 1).
pub fn seal_activation(
    rng: &mut impl CryptoRng,
    device: &DeviceKey,
    pre_shared: &PreSharedKey,
    cluster: &ClusterPublic,
    offered: SuiteSet,
    ticket: &Ticket,
    body: &ActivationBody,
) -> Result<PreparedActivation, HpkeError> {
    let id = device.public().device_id();
    let header = Header { suite: offered.bits(), ..Header::new(MessageKind::Activation, id) };
    let mut message = header.encode().to_vec();
    message.extend_from_slice(&cluster.cluster_key.id.to_le_bytes());

    let psk = PskBundle::new(pre_shared.as_bytes(), id.as_bytes()).map_err(|_| HpkeError)?;
    let (encapsulated, mut context) = setup_sender_with_rng::<AesGcm256, HkdfSha384, DhP384HkdfSha384>(
        &OpModeS::Psk(psk),
        &cluster.cluster_key.to_hpke()?,
        &hpke_info(cluster.cluster),
        rng,
    )
    .map_err(|_| HpkeError)?;
    let ciphertext = context.seal(&encode_body(body), &message).map_err(|_| HpkeError)?;
    let mut exporter = Zeroizing::new([0; 48]);
    context.export(EXPORTER_LABEL, &mut exporter[..]).map_err(|_| HpkeError)?;

    message.extend_from_slice(&encapsulated.to_bytes());
    message.extend_from_slice(&ciphertext);
    let signature = device.sign(&signed(&message));
    message.extend_from_slice(signature.as_bytes());
    append_ticket(&mut message, pre_shared, id, ticket);
    Ok(PreparedActivation { message, exporter: ExporterSecret::from_bytes(*exporter) })
}

impl PreparedActivation {
    /// The same sealed and signed activation with a fresh ticket. None if the message is no activation.
    #[must_use]
    pub fn with_ticket(&self, pre_shared: &PreSharedKey, device: DeviceId, ticket: &Ticket) -> Option<Self> {
        if self.message.len() < ACTIVATION_BYTES_MIN {
            return None;
        }
        let mut message = self.message[..self.message.len() - RENEWABLE_BYTES].to_vec();
        append_ticket(&mut message, pre_shared, device, ticket);
        Some(PreparedActivation { message, exporter: self.exporter.clone() })
    }
}

fn append_ticket(message: &mut Vec<u8>, pre_shared: &PreSharedKey, device: DeviceId, ticket: &Ticket) {
    message.extend_from_slice(&ticket.encode());
    let mac = gate_mac(pre_shared, device, message);
    message.extend_from_slice(&mac);
}

pub(super) const EXPORTER_LABEL: &[u8] = b"muster v1 exporter";

pub(super) fn hpke_info(cluster: ClusterId) -> Vec<u8> {
    [b"muster v1 activation", &cluster.as_bytes()[..]].concat()
}

/// What the device key signs: a label of this protocol, then the transcript. Third parties rebuild it from the log.
#[must_use]
pub fn signed(transcript: &[u8]) -> Vec<u8> {
    [b"muster v1 activation signature\0", transcript].concat()
}

/// HMAC-SHA384 under a key from the pre-shared key, 32 bytes of it.
fn gate_mac(pre_shared: &PreSharedKey, device: DeviceId, message: &[u8]) -> [u8; MAC_BYTES] {
    use hmac::Mac;
    let mac = gate(pre_shared, device, message).finalize().into_bytes();
    std::array::from_fn(|i| mac[i])
}

pub(super) fn gate(pre_shared: &PreSharedKey, device: DeviceId, message: &[u8]) -> hmac::Hmac<sha2::Sha384> {
    let mut key = Zeroizing::new([0; 48]);
    derive(device.as_bytes(), pre_shared.as_bytes(), &[b"muster v1 activation gate"], &mut key[..]);
    hmac_sha384_mac(&key[..], &[message])
}

fn encode_body(body: &ActivationBody) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(BODY_FIXED_BYTES + 9 * body.components.len()));
    match &body.code {
        Some(code) => {
            bytes.push(1);
            bytes.extend_from_slice(&code.to_bytes()[..]);
        }
        None => bytes.extend_from_slice(&[0; 1 + CODE_BYTES]),
    }
    bytes.extend_from_slice(body.record.as_bytes());
    bytes.extend_from_slice(&body.random);
    bytes.extend_from_slice(body.boot.as_bytes());
    bytes.extend_from_slice(&body.boot_count.to_le_bytes());
    bytes.extend_from_slice(&body.firmware.to_le_bytes());
    bytes.extend_from_slice(&body.epoch_claimed.to_le_bytes());
    bytes.push(body.components.len().min(COMPONENTS_MAX) as u8);
    for component in body.components.iter().take(COMPONENTS_MAX) {
        bytes.push(component.kind as u8);
        bytes.extend_from_slice(&component.digest);
    }
    bytes
}

pub(super) fn parse_body(bytes: &[u8]) -> Result<ActivationBody, EnvelopeError> {
    let mut reader = Reader::new(bytes);
    let present = reader.u8()?;
    let code = Zeroizing::new(reader.array::<CODE_BYTES>()?);
    let code = match present {
        0 if *code == [0; CODE_BYTES] => None,
        1 => Some(ActivationCode::from_bytes(&code[..]).map_err(|_| EnvelopeError::Malformed)?),
        _ => return Err(EnvelopeError::Malformed),
    };
    let record = RecordDigest::from_bytes(reader.array()?);
    let random = reader.array()?;
    let boot = BootId::from_bytes(reader.array()?);
    let (boot_count, firmware, epoch_claimed) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let count = usize::from(reader.u8()?);
    if count > COMPONENTS_MAX {
        return Err(EnvelopeError::Malformed);
    }
    let mut components: Vec<ComponentDigest> = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = ComponentKind::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?;
        if components.last().is_some_and(|last| last.kind >= kind) {
            return Err(EnvelopeError::Malformed);
        }
        components.push(ComponentDigest { kind, digest: reader.array()? });
    }
    reader.end()?;
    Ok(ActivationBody { code, record, random, boot, boot_count, firmware, epoch_claimed, components })
}
