//! Any sequence of events, however senseless, is folded without a panic and keeps the invariants. `World` checks them
//! after every entry, and folds every log again, through a snapshot, to the same digest.

use crate::world::{
    LOT, STATION, World, code, codes, device_id, lot, record_digest, source, station, wrapped,
};
use events::batch::{Batch, BatchId, HeartbeatRow};
use events::ids::{BootId, CodeBatchId, DeviceId, Epoch, FlagId, StationId};
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::operation::{Cause, OperationOrdered, Settlement};
use events::vocabulary::provisioning::{RewrappedDevice, RewrappedLot};
use events::vocabulary::rejection::{RejectionCount, RejectionReason, TamperReason};
use events::vocabulary::shared::{DirectiveId, OperationKind, Suite};
use events::vocabulary::{
    CheckpointSigned, ClusterCreated, CodeVoided, CodesIssued, DeviceActivated, Event, FlagCleared,
    HeartbeatObserved, OperationSettled, RejectionSummary, SecretsRewrapped, SessionResumed, SpoolDrained,
    StationRevoked, TamperReported, Tick,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Raw numbers that an event is made of; small domains, so that events meet.
type Raw = [u8; 10];

fn event(world: &World, kind: u8, raw: Raw) -> Event {
    let [a, b, c, d, e, f, g, h, i, j] = raw.map(u32::from);
    let unit = a % 6;
    let device = device_id(unit);
    let applied = world.applied();
    let next =
        world.fold.slot_of(&device).and_then(|slot| world.fold.device(slot)).map_or(1, |d| d.next_epoch());
    // Mostly what a node would propose, sometimes anything.
    let epoch: Epoch = if b % 4 > 0 { next } else { c };
    let ticket_applied = applied.saturating_sub(u64::from(d % 8)) + u64::from(d == 200);
    let ticket_generation = if e == 9 { e } else { world.fold.generation() };
    match kind {
        0..=2 => crate::world::device(unit).into(),
        3..=5 => DeviceActivated {
            device,
            code: (f % 3 > 0).then(|| code(g % 8)),
            transcript: vec![h as u8],
            signature: Vec::new(),
            mismatched: Vec::new(),
            ticket_generation,
            ticket_applied,
            boot: BootId::from_bytes([i as u8; 16]),
            boot_count: i,
            firmware: j,
            suite: Suite::ChaCha20Poly1305,
            epoch,
            epoch_claimed: if j == 7 { u32::MAX } else { 0 },
            server_nonce: [h as u8; 32],
            resumption: wrapped(h),
            source: source("home-1"),
        }
        .into(),
        6..=12 => SessionResumed {
            device,
            from_epoch: next.saturating_sub(1 + f % 5),
            epoch,
            client_nonce: [g as u8; 16],
            server_nonce: [h as u8; 32],
            ticket_generation,
            ticket_applied,
            boot: BootId::from_bytes([i as u8; 16]),
            boot_count: i,
            firmware: j,
            suite: Suite::Aes256Gcm,
            resumption: wrapped(h),
            source: source("home-2"),
        }
        .into(),
        13..=20 => {
            let heartbeat = HeartbeatObserved {
                device,
                epoch: next.saturating_sub(1 + f % 5),
                sequence: if c == 255 { u32::MAX } else { c % 80 },
                seen: applied.saturating_sub(u64::from(d % 20)) + u64::from(d / 200) * 3,
                acked: g,
                digest: h % 3,
                source: source(if i % 2 == 0 { "home-1" } else { "home-2" }),
                body: HeartbeatBody {
                    number: j,
                    condition: h as u8,
                    obeyed: DirectiveId { generation: 1, index: u64::from(j) * 4, ordinal: 0 },
                    ..HeartbeatBody::default()
                },
            };
            if kind < 17 {
                return heartbeat.into();
            }
            let body = |n: u32| SpooledBody {
                boot_count: i.wrapping_add(n).wrapping_sub(2),
                number: j.wrapping_mul(n),
                uptime_seconds: n,
                firmware: n,
                made: Timestamp::from_millis(u64::MAX / u64::from(1 + n)),
                condition: n as u8,
            };
            SpoolDrained { heartbeat, spooled: (0..f % 40).map(body).collect() }.into()
        }
        21 => RejectionSummary {
            node: 1,
            from: Timestamp::ZERO,
            until: Timestamp::ZERO,
            entries: RejectionReason::ALL
                .iter()
                .map(|&reason| RejectionCount {
                    source: source("home-1"),
                    reason,
                    device: Some(device),
                    count: c,
                })
                .collect(),
            overflow: 0,
        }
        .into(),
        22 => TamperReported {
            lot: LOT,
            record: record_digest(unit),
            reason: TamperReason::RecordInvalid,
            mismatched: 0,
            source: source("home-1"),
        }
        .into(),
        23..=24 => {
            let any = world.fold.flags().nth(b as usize % 4).map(|flag| flag.id);
            let flag = any.unwrap_or(FlagId::from_bytes([1; 8]));
            FlagCleared { flag, by: "ada".into(), reason: String::new() }.into()
        }
        25..=28 => {
            let kind = OperationKind::ALL[b as usize % OperationKind::ALL.len()];
            let flag = world.fold.flags().nth(c as usize % 4).map(|flag| Cause::Flag(flag.id));
            let person = Cause::Operator { name: "ada".into(), reason: (d % 3).to_string() };
            let cause = flag.filter(|_| e % 2 == 0).unwrap_or(person);
            let expires =
                if f % 3 == 0 { world.now().plus_millis(u64::from(g) * 10_000) } else { Timestamp::ZERO };
            OperationOrdered { kind, device, cause, expires }.into()
        }
        29 => {
            let ordered = world.fold.operations().nth(b as usize % 6).map_or(3, |o| o.directive.id.index);
            OperationSettled { device, ordered, settlement: Settlement::Refused }.into()
        }
        30 => CodeVoided { code: code(b % 8), reason: String::new() }.into(),
        31 => CodesIssued { batch: CodeBatchId::from_bytes([b as u8 % 3; 8]), ..codes(c..c + 3) }.into(),
        32 => ClusterCreated {
            cluster: crate::world::CLUSTER,
            generation: if b % 8 == 0 { c % 4 } else { 1 },
            heartbeat_millis: d,
        }
        .into(),
        33 => {
            let station = if b < 8 { STATION } else { StationId::from_bytes([3; 4]) };
            StationRevoked { station, reason: String::new() }.into()
        }
        34 => station(STATION, b % 8).into(),
        35 => lot(LOT).into(),
        37 => SecretsRewrapped {
            devices: vec![RewrappedDevice { device, pre_shared_key: wrapped(b) }],
            lots: vec![RewrappedLot { lot: LOT, tamper_key: wrapped(c) }],
        }
        .into(),
        36 => CheckpointSigned {
            generation: ticket_generation,
            size: applied.saturating_sub(u64::from(b % 4)) + u64::from(c % 3),
            root: [d as u8; 32],
            signature: vec![e as u8; f as usize],
        }
        .into(),
        _ => Tick {}.into(),
    }
}

fn row(world: &World, raw: Raw) -> HeartbeatRow {
    let [a, b, c, d, e, f, g, h, ..] = raw.map(u32::from);
    let slot = a % 7;
    let epoch = world.fold.device(slot).map_or(1, |device| device.epoch());
    HeartbeatRow {
        slot,
        epoch_low: if b % 4 > 0 { epoch as u16 } else { c as u16 },
        sequence: if d == 255 { u32::MAX } else { d % 80 },
        digest: e % 3,
        // Mostly an entry that is there, sometimes anything.
        seen_low: if h % 4 > 0 {
            world.applied() as u32
        } else {
            u32::from_le_bytes([raw[6], raw[7], raw[8], raw[9]])
        },
        unacked: f as u8,
        condition: g as u8,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nonsense_never_panics_and_keeps_every_invariant(
        entries in prop::collection::vec(
            (prop::collection::vec((0u8..40, any::<Raw>()), 0..4), prop::collection::vec(any::<Raw>(), 0..4), any::<u8>()),
            0..120,
        ),
    ) {
        let mut world = World::new();
        let mut epochs: BTreeMap<DeviceId, (Epoch, Epoch)> = BTreeMap::new();
        for (events, rows, spice) in entries {
            let events: Vec<Event> = events.into_iter().map(|(kind, raw)| event(&world, kind, raw)).collect();
            let rows: Vec<HeartbeatRow> = rows.into_iter().map(|raw| row(&world, raw)).collect();
            let batch = world.batch(&events, &rows);
            let outcomes = world.commit_batch(&batch).outcomes;
            prop_assert!(!outcomes.duplicate);
            let travelled = postcard::to_stdvec(&outcomes).unwrap();
            prop_assert_eq!(postcard::from_bytes::<projector::Outcomes>(&travelled).unwrap(), outcomes);
            match spice {
                0..8 => prop_assert!(world.commit_batch(&batch).outcomes.duplicate),
                8..12 => world.wait(u64::from(spice) * 4 * crate::world::HOUR),
                12..20 => drop(world.obey_wants()),
                20..24 => {
                    let other = Batch::new(BatchId { node: 2, boot: u64::from(spice), counter: 1 });
                    let _ = world.commit_batch(&other);
                }
                _ => {}
            }
            for device in world.fold.devices() {
                let now = (device.epoch(), device.next_epoch());
                let before = epochs.insert(device.id(), now).unwrap_or_default();
                prop_assert!(before.0 <= now.0 && before.1 <= now.1, "epochs only count up");
                let json = serde_json::to_string(&device.summary()).unwrap();
                prop_assert_eq!(
                    serde_json::from_str::<projector::view::DeviceSummary>(&json).unwrap(),
                    device.summary()
                );
            }
        }
        let views = (
            world.fold.flags().collect::<Vec<_>>(),
            world.fold.operations().collect::<Vec<_>>(),
            world.fold.licenses().collect::<Vec<_>>(),
            world.fold.sources().collect::<Vec<_>>(),
            world.fold.counts(),
        );
        prop_assert!(serde_json::to_string(&views).is_ok(), "operators read all of it as JSON");
    }
}
