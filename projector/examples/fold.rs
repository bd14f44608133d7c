//! How fast the fold is, and what a device costs it: `cargo run --release -p projector --example fold [devices …]`.
//!
//! A log is made in memory, piece by piece, and only what the fold does with a piece is timed: the
//! median of many, and the fastest tenth, which what else runs on the machine did not disturb. Memory is what the process grew by.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "its figures are for the reader; what fails ends it"
)]

use events::batch::{Batch, BatchId, HeartbeatRow, stamped};
use events::ids::{
    BootId, ClusterId, CodeBatchId, CodeDigest, DeviceId, LotId, RecordDigest, Slot, SourceName, StationId,
};
use events::time::Timestamp;
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::license::Plan;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::{ComponentKind, Suite, Wrapped};
use events::vocabulary::{
    ClusterCreated, CodesIssued, DeviceActivated, DeviceProvisioned, Event, HeartbeatObserved, LotCreated,
    StationCertified,
};
use projector::Projector;
use sha2::{Digest, Sha384};
use std::time::{Duration, Instant};

/// Rows of an entry.
const ROWS: usize = 256;
/// Entries that are made before they are folded.
const ENTRIES: usize = 64;
/// Devices behind one source.
const SOURCE_DEVICES: u32 = 1000;
const ROUTINE_ROWS: usize = 16_000_000;

fn main() {
    let asked: Vec<u32> = std::env::args().skip(1).map(|devices| devices.parse().unwrap()).collect();
    let sizes = if asked.is_empty() { vec![10_000, 100_000, 1_000_000] } else { asked };
    for devices in sizes {
        let mut log = Log::default();
        let resident = resident_bytes();
        let setup = set_up(&mut log, devices);
        let per_device = resident_bytes().saturating_sub(resident) / u64::from(devices);
        println!("{devices:>8} devices: {per_device} bytes each");
        for (what, took) in setup {
            println!("  {what:<17} {:>7.3} M/s", f64::from(devices) / took.as_secs_f64() / 1e6);
        }
        let pieces = beat(&mut log, devices);
        let of_tenth =
            |tenth: usize| (ENTRIES * ROWS) as f64 / pieces[pieces.len() * tenth / 10].as_secs_f64() / 1e6;
        let (median, quiet) = (of_tenth(5), of_tenth(1));
        println!("  state {}", log.fold.digest());
        println!("  routine heartbeat {median:>7.3} M/s, undisturbed {quiet:.3} M/s");
    }
}

/// A fold and the log that it reads.
#[derive(Default)]
struct Log {
    fold: Projector,
    next: u64,
    chance: u64,
}

impl Log {
    fn batch(&mut self) -> Batch {
        self.next += 1;
        Batch::new(BatchId { node: 1, boot: 1, counter: self.next })
    }

    fn payload(&self, batch: &Batch) -> Vec<u8> {
        stamped(Timestamp::from_millis(1_000_000 + self.next), &batch.encode().unwrap())
    }

    /// Folds entries, and says how long that took.
    fn fold(&mut self, payloads: &[Vec<u8>]) -> Duration {
        let (began, first) = (Instant::now(), self.fold.applied() + 1);
        for (index, payload) in (first..).zip(payloads) {
            let applied = self.fold.apply(index, payload).unwrap();
            assert!(applied.effects.is_empty(), "{:?}", applied.effects);
        }
        began.elapsed()
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Duration {
        let mut batch = self.batch();
        events.into_iter().for_each(|event| batch.push(&event).unwrap());
        let payload = self.payload(&batch);
        self.fold(&[payload])
    }

    fn number(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.number().to_le_bytes()[..part.len()]));
        bytes
    }

    fn wrapped(&mut self) -> Wrapped {
        Wrapped { key: 1, salt: self.fill(), sealed: self.fill::<64>().to_vec() }
    }
}

/// What each device says before it is one of many, and the time that it took for all.
fn set_up(log: &mut Log, devices: u32) -> [(&'static str, Duration); 4] {
    let (lot, station) = (LotId::from_bytes([1; 4]), StationId::from_bytes([2; 4]));
    let (public_key, tamper_key) = (vec![4; 97], log.wrapped());
    let (required, optional) = (vec![ComponentKind::SocSerial], vec![ComponentKind::EmmcCid]);
    let until = Timestamp::from_millis(u64::MAX);
    let _ = log.tell([
        ClusterCreated { cluster: ClusterId::from_bytes([1; 16]), generation: 1, heartbeat_millis: 60_000 }
            .into(),
        LotCreated { lot, sku: "box-1".to_owned(), required, optional, threshold: 1, tamper_key }.into(),
        StationCertified { station, lot, public_key, quota: devices, until, certificate: vec![0; 160] }
            .into(),
    ]);
    let mut ids = vec![DeviceId::from_bytes([0; 16]); devices as usize];
    let codes: Vec<_> = (0..devices).map(|_| CodeDigest::from_bytes(log.fill())).collect();
    let parts =
        |length: u32| (0..devices).step_by(length as usize).map(move |at| at..devices.min(at + length));
    let [mut issued, mut imported, mut activated, mut heard] = [Duration::ZERO; 4];
    for units in parts(4096) {
        let codes = codes[units.start as usize..units.end as usize].to_vec();
        let entitlements = vec!["tv".to_owned()];
        let plan =
            Plan { name: "basic".to_owned(), entitlements, term_seconds: 63_072_000, lease_seconds: 259_200 };
        let batch = CodeBatchId::from_bytes([1; 8]);
        issued += log.tell([CodesIssued { batch, plan, reseller: "corner-shop".to_owned(), codes }.into()]);
    }
    for units in parts(512) {
        let events: Vec<Event> = units.map(|unit| provisioned(log, &mut ids, unit).into()).collect();
        imported += log.tell(events);
    }
    for units in parts(256) {
        let device = |unit: u32| (ids[unit as usize], codes[unit as usize], unit);
        let events: Vec<Event> = units.clone().map(|unit| activation(log, device(unit)).into()).collect();
        activated += log.tell(events);
        let events: Vec<Event> = units.map(|unit| observed(log, ids[unit as usize], unit).into()).collect();
        heard += log.tell(events);
    }
    [("code issued", issued), ("provisioned", imported), ("activated", activated), ("first heartbeat", heard)]
}

fn provisioned(log: &mut Log, ids: &mut [DeviceId], unit: u32) -> DeviceProvisioned {
    let public_key = [&[4][..], &log.fill::<96>()].concat();
    let digest: [u8; 48] = Sha384::digest(&public_key).into();
    let device = DeviceId::from_bytes(*digest.first_chunk().unwrap());
    ids[unit as usize] = device;
    let kinds = [
        ComponentKind::SocSerial,
        ComponentKind::EmmcCid,
        ComponentKind::MacAddress,
        ComponentKind::BoardSerial,
    ];
    DeviceProvisioned {
        device,
        lot: LotId::from_bytes([1; 4]),
        station: StationId::from_bytes([2; 4]),
        unit,
        public_key,
        pre_shared_key: log.wrapped(),
        nats_key: log.fill(),
        components: kinds.map(|kind| ComponentDigest { kind, digest: log.fill() }).to_vec(),
        record: RecordDigest::from_bytes(log.fill()),
        burned_at: Timestamp::from_millis(1),
    }
}

fn activation(log: &mut Log, (device, code, unit): (DeviceId, CodeDigest, u32)) -> DeviceActivated {
    DeviceActivated {
        device,
        code: Some(code),
        transcript: log.fill::<411>().to_vec(),
        signature: log.fill::<96>().to_vec(),
        mismatched: Vec::new(),
        ticket_generation: 1,
        ticket_applied: log.fold.applied(),
        boot: BootId::from_bytes(log.fill()),
        boot_count: 1,
        firmware: 1,
        suite: Suite::Aes256Gcm,
        epoch: 1,
        epoch_claimed: 0,
        server_nonce: log.fill(),
        resumption: log.wrapped(),
        source: source(unit),
    }
}

fn observed(log: &mut Log, device: DeviceId, unit: u32) -> HeartbeatObserved {
    HeartbeatObserved {
        device,
        epoch: 1,
        sequence: 1,
        seen: log.fold.applied(),
        acked: 0,
        digest: log.number() as u32,
        source: source(unit),
        body: HeartbeatBody { number: 1, firmware: 1, ..HeartbeatBody::default() },
    }
}

fn source(unit: u32) -> SourceName {
    format!("shop-{:05}", unit / SOURCE_DEVICES).parse().unwrap()
}

/// Beats, each round in another order; the times that pieces of equal size took, ascending.
fn beat(log: &mut Log, devices: u32) -> Vec<Duration> {
    let mut order: Vec<Slot> = (0..devices).collect();
    let mut sequences = vec![1; devices as usize];
    let (mut said, mut pieces) = (0, Vec::new());
    while said < ROUTINE_ROWS {
        let payloads: Vec<Vec<u8>> = (0..ENTRIES)
            .map(|_| {
                let mut batch = log.batch();
                for _ in 0..ROWS {
                    // Shuffled along the way, so that no round is like the one before.
                    let at = said % order.len();
                    let other = at + log.number() as usize % (order.len() - at);
                    order.swap(at, other);
                    batch.heartbeats.push(row(log, order[at], &mut sequences));
                    said += 1;
                }
                log.payload(&batch)
            })
            .collect();
        pieces.push(log.fold(&payloads));
    }
    pieces.sort_unstable();
    pieces
}

fn row(log: &mut Log, slot: Slot, sequences: &mut [u32]) -> HeartbeatRow {
    let (digest, seen_low) = (log.number() as u32, log.fold.applied() as u32);
    let sequence = &mut sequences[slot as usize];
    *sequence += 1;
    HeartbeatRow { slot, epoch_low: 1, sequence: *sequence, digest, seen_low, unacked: 1, condition: 0 }
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
