//! Golden bytes: every kind of event that ever shipped, and a batch, read the same for ever.
//!
//! A file holds one sample in hexadecimal. `MUSTER_WRITE_GOLDEN=1 cargo nextest run -p events golden` writes the files
//! that are missing and never touches one that is there: changed bytes mean a new kind with a new number.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]
#![allow(clippy::disallowed_methods, reason = "a test that keeps its bytes; the library touches no file")]

use data_encoding::HEXLOWER;
use events::batch::{Batch, BatchId, HeartbeatRow, access};
use events::ids::*;
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody, condition};
use events::vocabulary::license::Plan;
use events::vocabulary::operation::{Cause, Settlement};
use events::vocabulary::provisioning::{ComponentDigest, RewrappedDevice, RewrappedLot};
use events::vocabulary::rejection::{RejectionCount, RejectionReason, TamperReason};
use events::vocabulary::shared::{ComponentKind, DirectiveId, OperationKind, Suite, Wrapped};
use events::vocabulary::update::{RolloutPhase, RolloutRules};
use events::vocabulary::*;
use std::path::PathBuf;

fn device() -> DeviceId {
    DeviceId::from_bytes(std::array::from_fn(|i| i as u8))
}

fn source() -> SourceId {
    "shop-7".parse().unwrap()
}

fn wrapped(byte: u8) -> Wrapped {
    Wrapped { key: 3, salt: [byte; 16], sealed: vec![byte ^ 0xff; 64] }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + millis)
}

fn samples() -> Vec<Event> {
    let lot = LotId::from_bytes([1, 2, 3, 4]);
    let station = StationId::from_bytes([5, 6, 7, 8]);
    let record = RecordDigest::from_bytes([9; 16]);
    let code = CodeDigest::from_bytes([10; 16]);
    let license = LicenseId::from_bytes([29; 16]);
    let flag = FlagId::from_bytes([11; 8]);
    let rollout = RolloutId::from_bytes([33; 16]);
    let obeyed = DirectiveId { generation: 1, index: 55, ordinal: 2 };
    vec![
        ClusterCreated { cluster: ClusterId::from_bytes([12; 16]), generation: 1, heartbeat_millis: 60_000 }
            .into(),
        Tick {}.into(),
        CheckpointSigned { generation: 1, size: 4711, root: [34; 32], signature: vec![35; 107] }.into(),
        LotCreated {
            lot,
            sku: "box-4k".into(),
            required: vec![ComponentKind::SocSerial],
            optional: vec![ComponentKind::EmmcCid, ComponentKind::MacAddress],
            threshold: 1,
            tamper_key: wrapped(13),
        }
        .into(),
        StationCertified {
            station,
            lot,
            public_key: vec![4; 97],
            quota: 1000,
            until: at(1),
            certificate: vec![14; 120],
        }
        .into(),
        StationRevoked { station, reason: "stolen".into() }.into(),
        DeviceProvisioned {
            device: device(),
            lot,
            station,
            unit: 17,
            public_key: vec![4; 97],
            pre_shared_key: wrapped(15),
            nats_key: [16; 32],
            components: vec![ComponentDigest { kind: ComponentKind::SocSerial, digest: [17; 8] }],
            record,
            burned_at: at(2),
        }
        .into(),
        SecretsRewrapped {
            devices: vec![RewrappedDevice { device: device(), pre_shared_key: wrapped(36) }],
            lots: vec![RewrappedLot { lot, tamper_key: wrapped(37) }],
        }
        .into(),
        CodesIssued {
            batch: CodeBatchId::from_bytes([18; 8]),
            plan: Plan {
                name: "gold".into(),
                entitlements: vec!["4k".into(), "sports".into()],
                term_seconds: 31_536_000,
                lease_seconds: 259_200,
            },
            reseller: "north".into(),
            codes: vec![code, CodeDigest::from_bytes([19; 16])],
        }
        .into(),
        CodeVoided { code, reason: "refunded".into() }.into(),
        LicenseTransferred {
            license,
            from: device(),
            to: DeviceId::from_bytes([30; 16]),
            by: "kim".into(),
            reason: "broken board".into(),
        }
        .into(),
        LicenseRenewed { license, expires: at(6), by: "kim".into(), reason: "paid".into() }.into(),
        LicenseSuspended { license, by: "kim".into(), reason: "chargeback".into() }.into(),
        LicenseResumed { license, by: "kim".into(), reason: "settled".into() }.into(),
        LicenseReissued { license, code, by: "kim".into(), reason: "lost its state".into() }.into(),
        DeviceActivated {
            device: device(),
            code: Some(code),
            transcript: vec![20; 300],
            signature: vec![21; 96],
            mismatched: vec![ComponentKind::MacAddress],
            ticket_generation: 1,
            ticket_applied: 41,
            boot: BootId::from_bytes([22; 16]),
            boot_count: 3,
            firmware: 10_200,
            suite: Suite::Aes256Gcm,
            epoch: 1,
            epoch_claimed: 0,
            server_nonce: [23; 32],
            resumption: wrapped(24),
            source: source(),
        }
        .into(),
        SessionResumed {
            device: device(),
            from_epoch: 1,
            epoch: 2,
            client_nonce: [25; 16],
            server_nonce: [26; 32],
            ticket_generation: 1,
            ticket_applied: 42,
            boot: BootId::from_bytes([27; 16]),
            boot_count: 4,
            firmware: 10_200,
            suite: Suite::ChaCha20Poly1305,
            resumption: wrapped(28),
            source: source(),
        }
        .into(),
        HeartbeatObserved {
            device: device(),
            epoch: 2,
            sequence: 1,
            seen: 43,
            acked: 0,
            digest: 0xdead_beef,
            source: source(),
            body: HeartbeatBody {
                number: 1,
                uptime_seconds: 12,
                firmware: 10_200,
                condition: condition::CLOCK_ROLLBACK,
                obeyed,
            },
        }
        .into(),
        SpoolDrained {
            heartbeat: HeartbeatObserved {
                device: device(),
                epoch: 2,
                sequence: 1,
                seen: 43,
                acked: 0,
                digest: 0xdead_beef,
                source: source(),
                body: HeartbeatBody {
                    number: 1,
                    uptime_seconds: 12,
                    firmware: 10_200,
                    condition: condition::SPOOL_DROPPED,
                    obeyed,
                },
            },
            spooled: vec![SpooledBody {
                boot_count: 3,
                number: 77,
                uptime_seconds: 4_620,
                firmware: 10_100,
                made: at(7),
                condition: condition::CLOCK_ROLLBACK,
            }],
        }
        .into(),
        RejectionSummary {
            node: 2,
            from: at(3),
            until: at(4),
            entries: vec![RejectionCount {
                source: source(),
                reason: RejectionReason::CodeRefused,
                device: Some(device()),
                count: 6,
            }],
            overflow: 9,
        }
        .into(),
        TamperReported {
            lot,
            record,
            reason: TamperReason::RequiredHardware,
            mismatched: 2,
            source: source(),
        }
        .into(),
        FlagCleared { flag, by: "kim".into(), reason: "proof of purchase".into() }.into(),
        OperationOrdered {
            kind: OperationKind::Restrict,
            device: device(),
            cause: Cause::Operator { name: "kim".into(), reason: "stolen truck".into() },
            expires: at(5),
        }
        .into(),
        OperationSettled { device: device(), ordered: 55, settlement: Settlement::Obeyed }.into(),
        BreakerReset { by: "kim".into(), reason: "one bad batch".into() }.into(),
        UpdateCreated {
            offer: vec![31; 300],
            rules: RolloutRules {
                phases: vec![
                    RolloutPhase { permille: 10, seconds: 3_600 },
                    RolloutPhase { permille: 1_000, seconds: 0 },
                ],
                success_permille: 800,
                failure_permille: 50,
                sample_min: 20,
                per_minute_max: 1_000,
            },
            by: "kim".into(),
            reason: "security".into(),
        }
        .into(),
        UpdatePaused { rollout, by: "kim".into(), reason: "look".into() }.into(),
        UpdateResumed { rollout, by: "kim".into(), reason: "fine".into() }.into(),
        UpdateAborted { rollout, by: "kim".into(), reason: "not fine".into() }.into(),
        RequestKeyed { key: [31; 16], content: [32; 16] }.into(),
    ]
}

fn golden_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with the file; writes it only if it is missing and writing was asked for.
fn assert_golden(name: &str, bytes: &[u8]) {
    let path = golden_file(name);
    if !path.exists() && std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, HEXLOWER.encode(bytes) + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("{name} has no golden file; run with MUSTER_WRITE_GOLDEN=1 and commit it")
    });
    let golden = HEXLOWER.decode(text.trim().as_bytes()).unwrap();
    assert!(golden == bytes, "{name}: the bytes changed; give the changed event a new number and an upcast");
}

fn file_name(event: &Event) -> String {
    format!("{:03}-{}.hex", event.kind(), event.name())
}

#[test]
fn every_kind_has_golden_bytes_that_never_change() {
    let samples = samples();
    let kinds: Vec<u16> = samples.iter().map(Event::kind).collect();
    assert_eq!(kinds, Event::KINDS, "one sample of each kind, in the order of their numbers");
    for event in &samples {
        assert_golden(&file_name(event), &event.encode().unwrap());
    }
}

#[test]
fn every_golden_file_still_reads_as_its_sample() {
    for event in samples() {
        let text = std::fs::read_to_string(golden_file(&file_name(&event))).unwrap();
        let bytes = HEXLOWER.decode(text.trim().as_bytes()).unwrap();
        assert_eq!(Event::decode(event.kind(), &bytes), Ok(event));
    }
}

#[test]
fn a_batch_has_golden_bytes_that_never_change() {
    let mut batch = Batch::new(BatchId { node: 2, boot: 0x0102_0304_0506_0708, counter: 9 });
    batch.push(&Tick {}.into()).unwrap();
    for slot in 0..2 {
        batch.heartbeats.push(HeartbeatRow {
            slot,
            epoch_low: 2,
            sequence: 77,
            digest: 0xdead_beef,
            seen_low: 1234,
            unacked: 1,
            condition: condition::SPOOL_DROPPED,
        });
    }
    let bytes = batch.encode().unwrap();
    assert_golden("batch.hex", &bytes);
    assert_eq!(access(&bytes).unwrap().heartbeats.rows().len(), 2);
}

#[test]
fn no_changed_bit_of_any_event_panics_the_reader() {
    for event in samples() {
        let bytes = event.encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let _ = Event::decode(event.kind(), &changed);
        }
    }
}
