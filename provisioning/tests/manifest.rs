//! Manifests: what leaves a station, what a cluster makes of it, and what lies on the station's disk meanwhile.

#![allow(clippy::unwrap_used, reason = "tests may fail by panicking")]

#[allow(dead_code, reason = "each suite uses its part of the bench")]
mod bench;

use bench::floor::Floor;
use bench::{CLUSTER, NOW, fingerprint, rng};
use events::identity::key::FactoryKey;
use events::identity::manifest::{Manifest, ManifestError};
use events::identity::otp::OtpRecord;
use events::keyring::Keyring;
use provisioning::otp::OtpMemory;
use provisioning::station::ExportError;
use provisioning::{files, manifest};
use std::fs;

#[test]
fn rule_22_burned_units_reach_the_cluster_in_a_sealed_manifest() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let burned: Vec<_> = (0..3).map(|terminal| floor.burn(&mut station, terminal).unwrap()).collect();
    let exported = station.export(&mut rng(), NOW).unwrap();
    let path = floor.dir.path().join("manifest-1");
    files::create_public(&path, manifest::text(exported.number, &exported.manifest).as_bytes()).unwrap();
    let opened = floor.open_manifest(&manifest::load(&path).unwrap());
    let entries: Vec<_> =
        opened.entries.iter().map(|e| (e.unit, e.device(), e.record, e.burned_at)).collect();
    let expected: Vec<_> = burned.iter().map(|b| (b.unit, b.device, b.record, b.at)).collect();
    assert_eq!(entries, expected);
    assert_eq!(
        (opened.station.station(), opened.declaration.lot()),
        (station.id(), floor.lot.firmware().lot)
    );
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_units_are_written_down_as_exported() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let taken = floor.dir.path().join("taken");
    fs::write(&taken, "somebody's").unwrap();
    for out in [taken, floor.dir.path().join("no such folder").join("manifest-1")] {
        let refused = station.export_into(&out, None, &mut rng(), NOW).unwrap_err();
        assert!(matches!(refused, ExportError::Unwritable(_)), "{refused}");
        assert_eq!(station.ledger().unexported(), [1], "{refused}");
    }
    let out = floor.dir.path().join("manifest-1");
    let exported = station.export_into(&out, None, &mut rng(), NOW).unwrap();
    assert_eq!((exported.number, exported.units), (1, vec![1]));
    assert_eq!(floor.open_manifest(&manifest::load(&out).unwrap()).entries.len(), 1);
}

#[test]
fn a_manifest_whose_file_was_lost_is_made_again_by_its_number_also_after_later_ones() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    let out = |name: &str| floor.dir.path().join(name);
    for (terminal, name) in [(0, "first"), (1, "second")] {
        floor.burn(&mut station, terminal).unwrap();
        station.export_into(&out(name), None, &mut rng(), NOW).unwrap();
    }
    fs::remove_file(out("first")).unwrap();
    let again = station.export_into(&out("again"), Some(1), &mut rng(), NOW).unwrap();
    assert_eq!((again.number, again.units), (1, vec![1]));
    let opened = floor.open_manifest(&manifest::load(&out("again")).unwrap());
    assert_eq!(opened.entries.iter().map(|entry| entry.unit).collect::<Vec<_>>(), [1]);
    let unknown = station.export_into(&out("third"), Some(3), &mut rng(), NOW).unwrap_err();
    assert!(matches!(unknown, ExportError::NoSuchManifest { number: 3, last: 2 }), "{unknown}");
    assert!(!out("third").exists());
}

#[test]
fn a_manifest_for_another_cluster_does_not_open() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let exported = station.export(&mut rng(), NOW).unwrap().manifest;
    let other = Keyring::generate(&mut rng(), CLUSTER);
    let verified = exported.verify(&floor.factory.public()).unwrap();
    assert!(verified.open(&other).is_err());
}

#[test]
fn a_manifest_that_was_tampered_with_is_refused() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let bytes = station.export(&mut rng(), NOW).unwrap().manifest.encode();
    for at in (0..bytes.len()).step_by(7) {
        let mut tampered = bytes.clone();
        tampered[at] ^= 1;
        let verified = Manifest::parse(&tampered).and_then(|m| m.verify(&floor.factory.public()));
        assert!(verified.is_err(), "a changed byte {at} passed");
    }
    let forged = Manifest::parse(&bytes).unwrap().verify(&FactoryKey::generate(&mut rng()).public());
    assert!(matches!(forged, Err(ManifestError::Declaration(_))));
}

#[test]
fn exporting_again_gives_the_same_units_under_the_same_number() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    for terminal in 0..2 {
        floor.burn(&mut station, terminal).unwrap();
    }
    let first = station.export(&mut rng(), NOW).unwrap();
    let second = station.export(&mut rng(), NOW.plus_millis(5)).unwrap();
    assert_eq!((first.number, &first.units, first.at), (second.number, &second.units, second.at));
    let import = |m: &Manifest| floor.open_manifest(m).entries;
    assert_eq!(import(&first.manifest), import(&second.manifest), "importing twice brings nothing new");
    floor.burn(&mut station, 2).unwrap();
    let third = station.export(&mut rng(), NOW).unwrap();
    assert_eq!((third.number, third.units), (2, vec![3]));
    drop(station);
    let reopened = floor.open().unwrap().export_again(1, &mut rng()).unwrap();
    assert_eq!(import(&first.manifest), import(&reopened.manifest));
}

#[test]
fn two_hundred_units_are_burned_in_one_go() {
    let floor = Floor::new(200);
    let mut station = floor.open().unwrap();
    let started = std::time::Instant::now();
    for terminal in 0..200 {
        floor.burn(&mut station, terminal).unwrap();
    }
    let took = started.elapsed();
    eprintln!("200 units in {took:?}");
    let exported = station.export(&mut rng(), NOW).unwrap();
    assert_eq!(floor.open_manifest(&exported.manifest).entries.len(), 200);
}

#[test]
fn no_secret_of_a_unit_lies_on_the_stations_disk() {
    let floor = Floor::new(10);
    let mut station = floor.open().unwrap();
    floor.burn(&mut station, 0).unwrap();
    let exported = station.export(&mut rng(), NOW).unwrap().manifest;
    let entry = &floor.open_manifest(&exported).entries[0];
    let record = OtpRecord::parse(&floor.otp(0).read().unwrap()).unwrap();
    let seed = station.firmware().open_record(&record, None, &fingerprint(0)).unwrap().seed;
    for name in fs::read_dir(floor.folder()).unwrap().flatten() {
        let bytes = fs::read(name.path()).unwrap();
        for secret in [&entry.pre_shared_key.as_bytes()[..], seed.as_bytes(), &record.as_bytes()[32..64]] {
            let found = spellings(secret).iter().any(|s| bytes.windows(s.len()).any(|window| window == s));
            assert!(!found, "{:?} holds a unit's secret", name.path());
        }
    }
    let encoded = data_encoding::BASE64.encode(&[b"x", &seed.as_bytes()[..]].concat());
    let found =
        spellings(seed.as_bytes()).iter().any(|s| encoded.as_bytes().windows(s.len()).any(|w| w == s));
    assert!(found, "the search itself finds a secret inside base64");
}

/// How a secret may look in a file: raw, hexadecimal, and inside base64 at each of its three alignments.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut spellings = vec![secret.to_vec(), data_encoding::HEXLOWER.encode(secret).into_bytes()];
    for skip in 0..3 {
        let whole = (secret.len() - skip) / 3 * 3;
        spellings.push(data_encoding::BASE64.encode(&secret[skip..skip + whole]).into_bytes());
    }
    spellings
}
