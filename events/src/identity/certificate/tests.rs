use super::*;
use crate::identity::fixtures::{QUOTA, UNTIL, certificate, factory, high_s_twin, key, lot, station};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_certificate_survives_its_bytes(lot: [u8; 4], quota: u32, until: u64) {
        let (lot, until) = (LotId::from_bytes(lot), Timestamp::from_millis(until));
        let issued = StationCertificate::issue(&factory(), station().public(), lot, quota, until);
        let read = StationCertificate::parse(&issued.encode()).unwrap();
        prop_assert_eq!(&read, &issued);
        let certified = read.verify(&factory().public()).unwrap();
        prop_assert_eq!((certified.lot(), certified.quota(), certified.until()), (lot, quota, until));
        prop_assert_eq!(certified.station(), station().public().station_id());
    }

    #[test]
    fn rule_21_no_flipped_bit_of_a_certificate_goes_unnoticed(bit in 0..CERTIFICATE_BYTES * 8) {
        let mut bytes = certificate().encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = StationCertificate::parse(&bytes).and_then(|read| read.verify(&factory().public()));
        prop_assert!(refused.is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..250)) {
        prop_assert!(StationCertificate::parse(&bytes).is_err(), "random bytes hold no point of the curve");
    }
}

#[test]
fn rule_21_a_certificate_lies_byte_for_byte_as_specified() {
    let bytes = certificate().encode();
    assert_eq!(bytes[0], 1);
    assert_eq!(bytes[1..5], *lot().as_bytes());
    assert_eq!(bytes[5..102], *station().public().as_bytes());
    assert_eq!(bytes[102..106], QUOTA.to_le_bytes());
    assert_eq!(bytes[106..114], UNTIL.as_millis().to_le_bytes());
    let signature = Signature::try_from(&bytes[114..]).unwrap();
    let signed = [b"muster v1 station certificate", &bytes[..114]].concat();
    assert_eq!(factory().public().verify(&signed, &signature), Ok(()));
}

#[test]
fn rule_21_only_the_factory_certifies() {
    let self_made = StationCertificate::issue(&station(), station().public(), lot(), QUOTA, UNTIL);
    assert_eq!(self_made.verify(&factory().public()).unwrap_err(), CertificateError::Signature);
    assert_eq!(certificate().verify(&key(9).public()).unwrap_err(), CertificateError::Signature);
}

#[test]
fn rule_17_the_high_s_twin_of_a_certificates_signature_is_refused() {
    let mut bytes = certificate().encode();
    let twin = high_s_twin(&bytes[BODY_BYTES..]);
    bytes[BODY_BYTES..].copy_from_slice(&twin);
    let read = StationCertificate::parse(&bytes).unwrap();
    assert_eq!(read.verify(&factory().public()).unwrap_err(), CertificateError::Signature);
}

#[test]
fn another_length_or_version_is_refused_by_name() {
    let mut bytes = certificate().encode();
    assert_eq!(StationCertificate::parse(&bytes[1..]).unwrap_err(), CertificateError::Length(209));
    bytes[0] = 2;
    assert_eq!(StationCertificate::parse(&bytes).unwrap_err(), CertificateError::Version(2));
}
