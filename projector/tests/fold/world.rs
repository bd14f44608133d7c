//! A log, the fold over it, and what a factory and a node do around it.

use events::batch::{Batch, BatchId, HeartbeatRow, stamped};
use events::ids::{
    ClusterId, CodeBatchId, CodeDigest, DeviceId, Epoch, LogIndex, LotId, RecordDigest, Slot, SourceId,
    StationId,
};
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::operation::{Cause, OperationOrdered};
use events::vocabulary::rejection::{RejectionCount, RejectionReason, RejectionSummary};
use events::vocabulary::shared::{ComponentKind, FlagKind, Legitimacy, OperationKind, Wrapped};
use events::vocabulary::{
    ClusterCreated, CodesIssued, DeviceProvisioned, Event, LotCreated, StationCertified, Tick,
};
use projector::view::{FlagSubject, FlagView};
use projector::{Applied, Effect, HeartbeatOutcome, Outcome, Projector, WantOperation};
use sha2::{Digest, Sha384};

pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
pub(crate) const LOT: LotId = LotId::from_bytes([1; 4]);
pub(crate) const STATION: StationId = StationId::from_bytes([2; 4]);
pub(crate) const INTERVAL: u32 = 60_000;

pub(crate) struct World {
    pub fold: Projector,
    pub log: Vec<(LogIndex, Vec<u8>)>,
    pub effects: Vec<Effect>,
    now: u64,
    counter: u64,
}

impl World {
    /// A log with nothing in it.
    pub(crate) fn empty() -> Self {
        World {
            fold: Projector::new(),
            log: Vec::new(),
            effects: Vec::new(),
            now: 1_800_000_000_000,
            counter: 0,
        }
    }

    /// A cluster with a lot, a certified station and 1000 codes.
    pub(crate) fn new() -> Self {
        let mut world = World::empty();
        world.accept(ClusterCreated { cluster: CLUSTER, generation: 1, heartbeat_millis: INTERVAL });
        world.accept(lot(LOT));
        world.accept(station(STATION, 10_000));
        world.accept(codes(0..1000));
        world
    }

    pub(crate) fn applied(&self) -> LogIndex {
        self.fold.applied()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// Lets log time pass, told to the fold by a tick.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += millis;
        self.accept(Tick {});
    }

    pub(crate) fn batch(&mut self, events: &[Event], rows: &[HeartbeatRow]) -> Batch {
        self.counter += 1;
        let mut batch = Batch::new(BatchId { node: 1, boot: 1, counter: self.counter });
        events.iter().for_each(|event| batch.push(event).unwrap());
        rows.iter().for_each(|row| batch.heartbeats.push(*row));
        batch
    }

    /// Commits a batch ten milliseconds after the last one.
    pub(crate) fn commit_batch(&mut self, batch: &Batch) -> Applied {
        self.now += 10;
        let payload = stamped(self.now(), &batch.encode().unwrap());
        let index = self.applied() + 1;
        let applied = self.fold.apply(index, &payload).unwrap();
        assert_eq!(applied.outcomes.events.len(), batch.events.len());
        assert_eq!(applied.outcomes.heartbeats.len(), batch.heartbeats.len());
        projector::invariants::check(&self.fold).unwrap();
        self.effects.extend(applied.effects.iter().cloned());
        self.log.push((index, payload));
        applied
    }

    pub(crate) fn commit(&mut self, events: &[Event]) -> Vec<Outcome> {
        let batch = self.batch(events, &[]);
        self.commit_batch(&batch).outcomes.events
    }

    pub(crate) fn tell(&mut self, event: impl Into<Event>) -> Outcome {
        self.commit(&[event.into()]).remove(0)
    }

    #[track_caller]
    pub(crate) fn accept(&mut self, event: impl Into<Event>) {
        assert_eq!(self.tell(event), Outcome::Accepted);
    }

    pub(crate) fn row(&mut self, row: HeartbeatRow) -> HeartbeatOutcome {
        let batch = self.batch(&[], &[row]);
        self.commit_batch(&batch).outcomes.heartbeats.get(0).unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn import(&mut self, unit: u32) -> Slot {
        match self.tell(device(unit)) {
            Outcome::Imported { slot } => slot,
            other => panic!("unit {unit} was not imported: {other:?}"),
        }
    }

    pub(crate) fn legitimacy(&self, device: DeviceId) -> Legitimacy {
        self.fold.device(self.fold.slot_of(&device).unwrap()).unwrap().legitimacy()
    }

    pub(crate) fn epoch(&self, device: DeviceId) -> Epoch {
        self.fold.device(self.fold.slot_of(&device).unwrap()).unwrap().epoch()
    }

    /// Open flags.
    pub(crate) fn flags(&self) -> Vec<(FlagKind, FlagSubject)> {
        let open = |flag: &&FlagView| flag.cleared.is_none();
        self.fold.flags().filter(open).map(|flag| (flag.kind, flag.subject.clone())).collect()
    }

    #[track_caller]
    pub(crate) fn the_flag(&self, kind: FlagKind, subject: &FlagSubject) -> FlagView {
        self.fold.open_flag(kind, subject).expect("the flag is open").clone()
    }

    pub(crate) fn refuse(
        &mut self,
        from: &str,
        reason: RejectionReason,
        device: Option<DeviceId>,
        count: u32,
    ) {
        let (now, source) = (self.now(), source(from));
        let entries = vec![RejectionCount { source, reason, device, count }];
        self.accept(RejectionSummary { node: 1, from: now, until: now, entries, overflow: 0 });
    }

    /// What a leader does with what the fold wants now.
    pub(crate) fn obey_wants(&mut self) -> Vec<Outcome> {
        let wants = self.fold.wanted_operations();
        wants.into_iter().map(|want| self.tell(order_of(want))).collect()
    }

    pub(crate) fn by_hand(&mut self, kind: OperationKind, device: DeviceId, reason: &str) -> Outcome {
        let cause = Cause::Operator { name: "ada".into(), reason: reason.into() };
        self.tell(OperationOrdered { kind, device, cause, expires: Timestamp::ZERO })
    }
}

impl Drop for World {
    /// The same log, folded anew and through a snapshot in its middle, gives the same state.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (mut again, middle) = (Projector::new(), self.log.len() / 2);
        for (at, (index, payload)) in self.log.iter().enumerate() {
            if at == middle {
                again = Projector::from_snapshot(&again.to_snapshot()).unwrap();
            }
            let _ = again.apply(*index, payload).unwrap();
        }
        assert_eq!(again.digest(), self.fold.digest());
        assert_eq!(again, self.fold);
        assert_eq!(again.to_snapshot(), self.fold.to_snapshot());
    }
}

pub(crate) fn order_of(want: WantOperation) -> OperationOrdered {
    OperationOrdered { kind: want.kind, device: want.device, cause: want.cause, expires: want.expires }
}

pub(crate) fn source(name: &str) -> SourceId {
    name.parse().unwrap()
}

pub(crate) fn wrapped(n: u32) -> Wrapped {
    Wrapped { key: 1, salt: [n as u8; 16], sealed: n.to_le_bytes().to_vec() }
}

pub(crate) fn lot(lot: LotId) -> LotCreated {
    LotCreated {
        lot,
        sku: "box-1".into(),
        required: vec![ComponentKind::SocSerial],
        optional: vec![ComponentKind::MacAddress, ComponentKind::EmmcCid],
        threshold: 1,
        tamper_key: wrapped(1),
    }
}

pub(crate) fn station(station: StationId, quota: u32) -> StationCertified {
    StationCertified {
        station,
        lot: LOT,
        public_key: vec![4; 97],
        quota,
        until: Timestamp::from_millis(2_000_000_000_000),
        certificate: vec![1, 2, 3],
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        name: "basic".into(),
        entitlements: vec!["tv".into()],
        term_seconds: 365 * 86_400,
        lease_seconds: 72 * 3600,
    }
}

pub(crate) fn code(n: u32) -> CodeDigest {
    let mut bytes = [0xcd; 16];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    CodeDigest::from_bytes(bytes)
}

pub(crate) fn codes(range: std::ops::Range<u32>) -> CodesIssued {
    let batch = CodeBatchId::from_bytes([9; 8]);
    CodesIssued { batch, plan: plan(), reseller: "corner-shop".into(), codes: range.map(code).collect() }
}

pub(crate) fn public_key(unit: u32) -> Vec<u8> {
    let mut key = vec![4; 97];
    key[1..5].copy_from_slice(&unit.to_le_bytes());
    key
}

pub(crate) fn device_id(unit: u32) -> DeviceId {
    let digest = Sha384::digest(public_key(unit));
    DeviceId::from_bytes(digest[..16].try_into().unwrap())
}

pub(crate) fn record_digest(unit: u32) -> RecordDigest {
    let mut bytes = [0x4e; 16];
    bytes[..4].copy_from_slice(&unit.to_le_bytes());
    RecordDigest::from_bytes(bytes)
}

/// The manifest entry of a unit of [`STATION`].
pub(crate) fn device(unit: u32) -> DeviceProvisioned {
    DeviceProvisioned {
        device: device_id(unit),
        lot: LOT,
        station: STATION,
        unit,
        public_key: public_key(unit),
        pre_shared_key: wrapped(unit),
        nats_key: [unit as u8; 32],
        components: Vec::new(),
        record: record_digest(unit),
        burned_at: Timestamp::from_millis(1_790_000_000_000),
    }
}
