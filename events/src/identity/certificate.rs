//! Station certificate: the factory lets one station sign records and manifests of one lot (protocol.md rule 21).
//!
//! ```text
//!   0  version u8 = 1 ‖ lot 4 ‖ station key 97 ‖ quota u32 ‖ until u64 (ms since 1970)     little endian
//! 114  ECDSA P-384 signature 96 of the factory key, over "muster v1 station certificate" ‖ bytes 0..114
//! 210
//! ```

use super::key::{FactoryKey, PublicKey, Signature};
use crate::ids::{LotId, StationId};
use crate::time::Timestamp;

/// Bytes of a certificate.
pub const CERTIFICATE_BYTES: usize = BODY_BYTES + Signature::BYTES;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"muster v1 station certificate";
const BODY_BYTES: usize = 114;

/// What the factory says of a station. Trust it only after [`StationCertificate::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationCertificate {
    lot: LotId,
    station_key: PublicKey,
    quota: u32,
    until: Timestamp,
    signature: Signature,
}

/// A station that the factory vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedStation(StationCertificate);

/// Why bytes are no certificate that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("a station certificate has {CERTIFICATE_BYTES} bytes, got {0}")]
    Length(usize),
    #[error("a station certificate of version {0} is not known to this program")]
    Version(u8),
    #[error("the station key in the certificate is no P-384 point")]
    Key,
    #[error("the factory's signature on the station certificate does not hold")]
    Signature,
}

impl StationCertificate {
    /// Certifies a station for `quota` burned units of one lot, until a date (inclusive).
    #[must_use]
    pub fn issue(
        factory: &FactoryKey,
        station_key: PublicKey,
        lot: LotId,
        quota: u32,
        until: Timestamp,
    ) -> Self {
        let unsigned = Signature::from_bytes([0; Signature::BYTES]);
        let mut certificate = StationCertificate { lot, station_key, quota, until, signature: unsigned };
        certificate.signature = factory.sign(&certificate.signed_message());
        certificate
    }

    #[must_use]
    pub fn encode(&self) -> [u8; CERTIFICATE_BYTES] {
        let mut bytes = [0; CERTIFICATE_BYTES];
        bytes[..BODY_BYTES].copy_from_slice(&self.body());
        bytes[BODY_BYTES..].copy_from_slice(self.signature.as_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let wrong = CertificateError::Length(bytes.len());
        let bytes: &[u8; CERTIFICATE_BYTES] = bytes.try_into().map_err(|_| wrong)?;
        if bytes[0] != VERSION {
            return Err(CertificateError::Version(bytes[0]));
        }
        Ok(StationCertificate {
            lot: LotId::from_bytes(field(bytes, 1)),
            station_key: PublicKey::from_bytes(&bytes[5..102]).map_err(|_| CertificateError::Key)?,
            quota: u32::from_le_bytes(field(bytes, 102)),
            until: Timestamp::from_millis(u64::from_le_bytes(field(bytes, 106))),
            signature: Signature::from_bytes(field(bytes, BODY_BYTES)),
        })
    }

    pub fn verify(self, factory: &PublicKey) -> Result<CertifiedStation, CertificateError> {
        let refused = |_| CertificateError::Signature;
        factory.verify(&self.signed_message(), &self.signature).map_err(refused)?;
        Ok(CertifiedStation(self))
    }

    /// The station that it speaks of, as it says; for naming it in errors and lists.
    #[must_use]
    pub fn station(&self) -> StationId {
        self.station_key.station_id()
    }

    /// The lot that it speaks of, as it says.
    #[must_use]
    pub fn lot(&self) -> LotId {
        self.lot
    }

    fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[0] = VERSION;
        body[1..5].copy_from_slice(self.lot.as_bytes());
        body[5..102].copy_from_slice(self.station_key.as_bytes());
        body[102..106].copy_from_slice(&self.quota.to_le_bytes());
        body[106..].copy_from_slice(&self.until.as_millis().to_le_bytes());
        body
    }

    fn signed_message(&self) -> Vec<u8> {
        [LABEL, &self.body()[..]].concat()
    }
}

impl CertifiedStation {
    #[must_use]
    pub fn certificate(&self) -> &StationCertificate {
        &self.0
    }

    #[must_use]
    pub fn station(&self) -> StationId {
        self.0.station()
    }

    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.station_key
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        self.0.lot
    }

    /// Units that it may burn.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.0.quota
    }

    /// It signs nothing after this.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.0.until
    }
}

fn field<const N: usize>(bytes: &[u8; CERTIFICATE_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests;
