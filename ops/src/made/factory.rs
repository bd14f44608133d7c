//! What the factory and the sales desk say: all of it follows from the seed and the unit's number.

use super::LogPlan;
use super::author::Author;
use crate::dev::chance::Chance;
use anyhow::Result;
use events::ids::{CodeBatchId, CodeDigest, DeviceId, LotId, RecordDigest, SourceId, StationId};
use events::limits::CODES_PER_EVENT_MAX;
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::{ComponentKind, Wrapped};
use events::vocabulary::{
    ClusterCreated, CodesIssued, DeviceProvisioned, Event, LotCreated, StationCertified,
};
use sha2::{Digest, Sha384};

/// Units of one lot, which one station burns.
const LOT_UNITS: u32 = 50_000;
/// Entries of a manifest that a node imports as one batch.
const IMPORTED_AT_ONCE: u32 = 512;
/// Terminals behind one source.
const SOURCE_UNITS: u32 = 1000;

const COMPONENTS: [ComponentKind; 4] =
    [ComponentKind::SocSerial, ComponentKind::EmmcCid, ComponentKind::MacAddress, ComponentKind::BoardSerial];

/// Cluster, lots, stations and codes.
pub(super) fn found(author: &mut Author, plan: &LogPlan) -> Result<()> {
    let mut chance = Chance::new(plan.seed);
    let mut cluster = [0; 16];
    chance.fill(&mut cluster);
    let cluster = events::ids::ClusterId::from_bytes(cluster);
    let heartbeat_millis = plan.interval_seconds * 1000;
    author.tell([ClusterCreated { cluster, generation: 1, heartbeat_millis }.into()])?;
    for number in 0..plan.devices.div_ceil(LOT_UNITS) {
        author.pass(1000);
        author.tell(lot_and_station(plan, number))?;
    }
    let license = Plan {
        name: "basic".to_owned(),
        entitlements: vec!["tv".to_owned()],
        term_seconds: 2 * 365 * 86_400,
        lease_seconds: 72 * 3600,
    };
    let mut first = 0;
    while first < plan.devices {
        let end = plan.devices.min(first + CODES_PER_EVENT_MAX as u32);
        author.pass(1000);
        author.tell([CodesIssued {
            batch: CodeBatchId::from_bytes([1; 8]),
            plan: license.clone(),
            reseller: "corner-shop".to_owned(),
            codes: (first..end).map(|unit| code(plan, unit)).collect(),
        }
        .into()])?;
        first = end;
    }
    Ok(())
}

/// Imports all units, in the order of their numbers: a unit's number is its slot.
pub(super) fn import(
    author: &mut Author,
    plan: &LogPlan,
    go_on: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<()> {
    let mut first = 0;
    while first < plan.devices {
        let end = plan.devices.min(first + IMPORTED_AT_ONCE);
        author.pass(200);
        let burned_at = author.now();
        author.tell((first..end).map(|unit| provisioned(plan, unit, burned_at).into()))?;
        first = end;
        go_on(0)?;
    }
    Ok(())
}

/// The device's id, as its public key gives it.
pub(super) fn device(plan: &LogPlan, unit: u32) -> DeviceId {
    device_of(&public_key(&mut of_unit(plan, unit)))
}

pub(super) fn code(plan: &LogPlan, unit: u32) -> CodeDigest {
    let mut bytes = [0; 16];
    Chance::new(plan.seed ^ 0xc0de_0000_0000_0000 ^ u64::from(unit)).fill(&mut bytes);
    CodeDigest::from_bytes(bytes)
}

/// The source that a terminal is connected by when it is at home; `away` is another's.
pub(super) fn source(plan: &LogPlan, unit: u32, away: bool) -> Result<SourceId> {
    let sources = plan.devices.div_ceil(SOURCE_UNITS);
    let number = (unit / SOURCE_UNITS + u32::from(away)) % sources.max(2);
    Ok(format!("shop-{number:05}").parse()?)
}

pub(super) fn wrapped(chance: &mut Chance) -> Wrapped {
    let (mut salt, mut sealed) = ([0; 16], vec![0; 48 + 16]);
    chance.fill(&mut salt);
    chance.fill(&mut sealed);
    Wrapped { key: 1, salt, sealed }
}

fn lot_and_station(plan: &LogPlan, number: u32) -> [Event; 2] {
    let mut chance = Chance::new(plan.seed ^ 0x107_0000_0000_0000 ^ u64::from(number));
    let public_key = public_key(&mut chance);
    let mut certificate = vec![0; 160];
    chance.fill(&mut certificate);
    let lot = LotCreated {
        lot: lot(number),
        sku: "box-1".to_owned(),
        required: COMPONENTS[..2].to_vec(),
        optional: COMPONENTS[2..].to_vec(),
        threshold: 1,
        tamper_key: wrapped(&mut chance),
    };
    let station = StationCertified {
        station: station(number),
        lot: lot.lot,
        public_key,
        quota: LOT_UNITS,
        until: Timestamp::from_millis(super::BEGIN + 365 * 86_400_000),
        certificate,
    };
    [lot.into(), station.into()]
}

fn lot(number: u32) -> LotId {
    LotId::from_bytes((1 + number).to_be_bytes())
}

fn station(number: u32) -> StationId {
    StationId::from_bytes((0x5100_0000 + number).to_be_bytes())
}

fn provisioned(plan: &LogPlan, unit: u32, burned_at: Timestamp) -> DeviceProvisioned {
    let mut chance = of_unit(plan, unit);
    let public_key = public_key(&mut chance);
    let (mut nats_key, mut record) = ([0; 32], [0; 16]);
    chance.fill(&mut nats_key);
    chance.fill(&mut record);
    let mut component = |kind| {
        let mut digest = [0; 8];
        chance.fill(&mut digest);
        ComponentDigest { kind, digest }
    };
    let components = COMPONENTS.map(&mut component).to_vec();
    DeviceProvisioned {
        device: device_of(&public_key),
        lot: lot(unit / LOT_UNITS),
        station: station(unit / LOT_UNITS),
        unit,
        public_key,
        pre_shared_key: wrapped(&mut chance),
        nats_key,
        components,
        record: RecordDigest::from_bytes(record),
        burned_at,
    }
}

fn of_unit(plan: &LogPlan, unit: u32) -> Chance {
    Chance::new(plan.seed.rotate_left(32) ^ u64::from(unit).wrapping_mul(0xd605_1c24_9b0d_9b4f))
}

/// In the form of an uncompressed point; hardly one on the curve, which only signatures would show.
fn public_key(chance: &mut Chance) -> Vec<u8> {
    let mut key = vec![4; 97];
    chance.fill(&mut key[1..]);
    key
}

fn device_of(public_key: &[u8]) -> DeviceId {
    let digest: [u8; 48] = Sha384::digest(public_key).into();
    let mut id = [0; DeviceId::BYTES];
    id.copy_from_slice(&digest[..DeviceId::BYTES]);
    DeviceId::from_bytes(id)
}
