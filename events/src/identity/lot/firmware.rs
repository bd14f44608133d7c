//! `lot.firmware.json`: what the firmware of a lot carries, and what its stations work with. Secret, mode 0600.
//!
//! It opens the records of its own lot, and of no other: lot, certificate and signature are checked before anything
//! is opened.

use super::{DeclarationError, LotDeclaration, LotSecret};
use crate::identity::certificate::{CertificateError, CertifiedStation, StationCertificate};
use crate::identity::fingerprint::{ComponentPolicy, Fingerprint};
use crate::identity::key::{FactoryKey, PublicKey};
use crate::identity::otp::{FuseSecret, OpenedRecord, OtpError, OtpRecord, VerifiedRecord};
use crate::ids::{LotId, StationId};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

const FORMAT: &str = "muster lot firmware v1";

/// What belongs to one lot. Everything in it was checked against the factory key that it names.
#[derive(Clone, Debug)]
pub struct LotFirmware {
    pub lot: LotId,
    pub sku: String,
    pub policy: ComponentPolicy,
    pub lot_secret: LotSecret,
    pub factory: PublicKey,
    pub declaration: LotDeclaration,
    /// The stations whose records this firmware opens.
    pub stations: Vec<CertifiedStation>,
}

/// Why there is no such lot.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error("not a lot file: {0}")]
    Json(String),
    #[error("expected a file of format `{FORMAT}`, got `{0}`")]
    Format(String),
    #[error("field `{0}` is not hexadecimal of the right length")]
    Hex(&'static str),
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    #[error("the file says {file}, the declaration in it is of {declared}")]
    OtherDeclaration { file: LotId, declared: LotId },
    #[error("the lot secret is not the one that the factory declared for {0}")]
    LotSecret(LotId),
    #[error("station {station}: {why}")]
    Certificate { station: StationId, why: CertificateError },
    #[error("a station certificate does not parse: {0}")]
    CertificateForm(CertificateError),
    #[error("station {station} is certified for {got}, this is {expected}")]
    OtherLot { station: StationId, expected: LotId, got: LotId },
}

impl LotFirmware {
    /// A new lot, without stations yet.
    pub fn create(
        factory: &FactoryKey,
        lot: LotId,
        sku: &str,
        policy: ComponentPolicy,
        lot_secret: LotSecret,
    ) -> Result<Self, FirmwareError> {
        let declaration = LotDeclaration::issue(factory, lot, sku, policy, &lot_secret)?;
        LotFirmware::from_parts(factory.public(), declaration, lot_secret, vec![])
    }

    /// Checks everything against the factory key.
    pub fn from_parts(
        factory: PublicKey,
        declaration: LotDeclaration,
        lot_secret: LotSecret,
        certificates: Vec<StationCertificate>,
    ) -> Result<Self, FirmwareError> {
        declaration.verify(&factory)?;
        let (lot, sku) = (declaration.lot(), declaration.sku().to_owned());
        if !declaration.names_tamper_key(&lot_secret.tamper_key(lot)) {
            return Err(FirmwareError::LotSecret(lot));
        }
        let policy = declaration.policy().clone();
        let mut firmware =
            LotFirmware { lot, sku, policy, lot_secret, factory, declaration, stations: vec![] };
        for certificate in certificates {
            firmware.add_station(certificate)?;
        }
        Ok(firmware)
    }

    /// Adds a station that the factory certified for this lot; a newer certificate replaces the station's older one.
    pub fn add_station(&mut self, certificate: StationCertificate) -> Result<(), FirmwareError> {
        let (station, got) = (certificate.station(), certificate.lot());
        if got != self.lot {
            return Err(FirmwareError::OtherLot { station, expected: self.lot, got });
        }
        let certified =
            certificate.verify(&self.factory).map_err(|why| FirmwareError::Certificate { station, why })?;
        self.stations.retain(|known| known.public_key() != certified.public_key());
        self.stations.push(certified);
        Ok(())
    }

    #[must_use]
    pub fn station(&self, station: StationId) -> Option<&CertifiedStation> {
        self.stations.iter().find(|known| known.station() == station)
    }

    /// Checks lot, certificate and signature of a record; opens nothing.
    pub fn verify_record(&self, record: &OtpRecord) -> Result<VerifiedRecord, OtpError> {
        if record.lot() != self.lot {
            return Err(OtpError::WrongLot { expected: self.lot, got: record.lot() });
        }
        let station = self.station(record.station()).ok_or(OtpError::UnknownStation(record.station()))?;
        record.verify(station.public_key())
    }

    /// The boot check: verifies the record, opens it with this board's hardware, and compares component by component.
    pub fn open_record(
        &self,
        record: &OtpRecord,
        fuse_secret: Option<&FuseSecret>,
        fingerprint: &Fingerprint,
    ) -> Result<OpenedRecord, OtpError> {
        self.verify_record(record)?.open(&self.policy, &self.lot_secret, fuse_secret, fingerprint)
    }

    /// Text of the file.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let text = FirmwareText {
            format: FORMAT.to_owned(),
            lot: self.lot,
            declaration: HEXLOWER.encode(&self.declaration.encode()),
            factory_key: self.factory,
            lot_secret: Zeroizing::new(HEXLOWER.encode(self.lot_secret.as_bytes())),
            certificates: self.stations.iter().map(|s| HEXLOWER.encode(&s.certificate().encode())).collect(),
        };
        #[allow(clippy::expect_used, reason = "a struct of strings has a JSON form")]
        Zeroizing::new(serde_json::to_string_pretty(&text).expect("a struct of strings serializes") + "\n")
    }

    /// Reads the file; an unknown field, a bad signature or a foreign certificate is refused.
    pub fn from_json(json: &str) -> Result<Self, FirmwareError> {
        let text: FirmwareText =
            serde_json::from_str(json).map_err(|e| FirmwareError::Json(e.to_string()))?;
        if text.format != FORMAT {
            return Err(FirmwareError::Format(text.format.chars().take(64).collect()));
        }
        let declaration = LotDeclaration::parse(&from_hex("declaration", &text.declaration)?)?;
        if declaration.lot() != text.lot {
            return Err(FirmwareError::OtherDeclaration { file: text.lot, declared: declaration.lot() });
        }
        let secret = from_hex("lot_secret", &text.lot_secret)?;
        let secret = LotSecret::try_from(&secret[..]).map_err(|_| FirmwareError::Hex("lot_secret"))?;
        let certificates = text.certificates.iter().map(|certificate| {
            StationCertificate::parse(&from_hex("certificates", certificate)?)
                .map_err(FirmwareError::CertificateForm)
        });
        LotFirmware::from_parts(
            text.factory_key,
            declaration,
            secret,
            certificates.collect::<Result<_, _>>()?,
        )
    }
}

/// The file as it lies on the disk.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareText {
    format: String,
    lot: LotId,
    declaration: String,
    factory_key: PublicKey,
    lot_secret: Zeroizing<String>,
    certificates: Vec<String>,
}

fn from_hex(field: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, FirmwareError> {
    HEXLOWER.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| FirmwareError::Hex(field))
}
