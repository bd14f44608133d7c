use super::*;
use crate::state::device::{Birth, Record};
use crate::state::row::Row;
use crate::state::session::{Link, Origin};
use crate::state::story::Happening;
use crate::state::timers::Timer;
use events::ids::{BootId, DeviceId, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::{ComponentKind, Suite, Wrapped};
use std::time::{Duration, Instant};

fn wrapped() -> Wrapped {
    Wrapped { key: 1, salt: [1; 16], sealed: vec![2; 64] }
}

fn numbered<const N: usize>(number: u32) -> [u8; N] {
    let mut bytes = [7; N];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
    bytes
}

pub(crate) fn record(number: u32) -> Record {
    let component = ComponentDigest { kind: ComponentKind::SocSerial, digest: numbered(number) };
    let birth = Birth {
        device: DeviceId::from_bytes(numbered(number)),
        lot: LotId::from_bytes([1; 4]),
        station: StationId::from_bytes([2; 4]),
        unit: number,
        public_key: vec![4; 97].into(),
        pre_shared_key: wrapped().into(),
        nats_key: numbered(number),
        components: vec![component; 4].into(),
        record: RecordDigest::from_bytes(numbered(number)),
        burned_at: Timestamp::from_millis(1),
        imported: 1,
    };
    let mut record = Record::new(birth);
    record.session.current = Some(Link {
        epoch: 1,
        parent: 0,
        branch: 1,
        root: 0,
        ticket: 0,
        origin: Origin::Resume(numbered(number)),
        server_nonce: numbered(number),
        resumption: wrapped().into(),
        suite: Suite::Aes256Gcm,
        generation: 1,
        granted: 1,
        granted_at: Timestamp::from_millis(1),
        boot: BootId::from_bytes(numbered(number)),
        boot_count: 1,
        firmware: 1,
        source: 0,
        lease: 1,
    });
    for index in 1..=4 {
        record.story.tell(index, Timestamp::from_millis(index), Happening::Imported);
    }
    record
}

/// A fleet as large as is asked, imported and activated; every license ends some day.
fn fleet(devices: u32) -> Projector {
    let mut projector = Projector::new();
    let state = &mut projector.state;
    for number in 0..devices {
        let record = record(number);
        let ends = Timestamp::from_millis(1_000_000 + u64::from(number.wrapping_mul(0x9e37_79b9)));
        state.timers.set(ends, Timer::LicenseExpires, number);
        state.rows.push(Row::new(1));
        state.records.push(record);
        state.index.add_device(&state.records, number);
    }
    projector
}

/// What a routine heartbeat and now and then a resume change.
fn live_on(projector: &mut Projector, devices: u32) {
    for number in (0..devices).step_by(3) {
        let number = number.wrapping_mul(0x9e37_79b9) % devices;
        if let Some(row) = projector.state.rows.get_mut(number) {
            row.heartbeats += 1;
        }
        if number.is_multiple_of(10)
            && let Some(record) = projector.state.records.get_mut(number)
        {
            record.license = Some(number);
        }
    }
    projector.state.timers.set(Timestamp::from_millis(5), Timer::LicenseExpires, 1);
    projector.state.applied += 1;
}

#[test]
fn what_was_frozen_stays_as_it_was_while_the_fold_goes_on() {
    let mut projector = fleet(500);
    let (before, frozen) = (projector.to_snapshot(), projector.freeze());
    live_on(&mut projector, 500);
    assert!(frozen.to_snapshot() == before, "the copy moved with the fold");
    assert!(projector.to_snapshot() != before, "the fold did go on");
}

/// `cargo test --release -p projector --lib -- --ignored --nocapture a_million`
#[test]
#[ignore = "measures; takes a gigabyte and some seconds"]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "its figures are for the reader, and its clock for them"
)]
fn a_million_devices_are_frozen_in_this_time() {
    const DEVICES: u32 = 1_000_000;
    let mut projector = fleet(DEVICES);
    let _ = projector.digest();
    let timed = |what: &str, work: &mut dyn FnMut()| -> Duration {
        let began = Instant::now();
        work();
        let took = began.elapsed();
        println!("{what}: {:.3} ms", 1000.0 * took.as_secs_f64());
        took
    };
    let mut kept = None;
    let deep = timed("a deep copy, as before", &mut || {
        let state = &projector.state;
        let rows: Vec<Row> = state.rows.iter().cloned().collect();
        let records: Vec<Record> = state.records.iter().cloned().collect();
        let timers: std::collections::BTreeSet<_> = (0..DEVICES).collect();
        kept = Some((rows, records, state.index.clone(), timers));
    });
    kept = None;
    assert!(kept.is_none());
    timed("a third of all devices changed, nothing shared", &mut || live_on(&mut projector, DEVICES));
    let mut frozen = None;
    let shallow = timed("frozen", &mut || frozen = Some(projector.freeze()));
    timed("a third of all devices changed, every page shared", &mut || live_on(&mut projector, DEVICES));
    timed("the digest after that", &mut || assert_ne!(projector.digest().0, [0; 32]));
    timed("encoded, off the apply path", &mut || {
        let bytes = frozen.as_ref().map(Frozen::to_snapshot).map_or(0, |bytes| bytes.len());
        println!("  {bytes} bytes");
    });
    timed("dropped, off the apply path", &mut || drop(frozen.take()));
    assert!(shallow * 20 < deep, "{shallow:?} against {deep:?}");
}
